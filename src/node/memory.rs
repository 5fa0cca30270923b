//! `meminfo` and `vmstat`: memory, swap, faults and the OOM killer.

use super::Collect;
use super::fields::{Families, Faults, number, spec};
use super::host::{Host, HostError};
use super::snapshot::{Kind, Snapshot, Spec, Unit};

/// `meminfo`: each line is a family of its own.
#[derive(Default)]
pub struct Memory {
    text: String,
    families: Families,
}

impl Collect for Memory {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        host.read_proc("meminfo", &mut self.text)?;
        let mut faults = Faults::of("a line of memory");
        for line in self.text.lines() {
            let Some((field, value)) = faults.keep(meminfo_line(line)) else {
                continue;
            };
            let scale = if value.in_kib { 1_024.0 } else { 1.0 };
            let family = self
                .families
                .get(field, |_| memory_family(field, value.in_kib));
            if let Some(family) = faults.keep(family) {
                out.add(family, &[], value.number * scale);
            }
        }
        faults.told(&host.proc.join("meminfo"))
    }
}

struct Value {
    number: f64,
    in_kib: bool,
}

/// `Name:  123 kB`, or without a unit where pages are counted.
fn meminfo_line(line: &str) -> Option<(&str, Value)> {
    let (field, rest) = line.split_once(':')?;
    let mut words = rest.split_ascii_whitespace();
    let number = number(words.next()?)?;
    let in_kib = match words.next() {
        None => false,
        Some("kB") => true,
        Some(_) => return None,
    };
    Some((field, Value { number, in_kib }))
}

/// `Active(anon)` is `node_memory_Active_anon_bytes`.
fn memory_family(field: &str, in_kib: bool) -> Option<Spec> {
    let name = field.replace('(', "_").replace(')', "");
    let (unit, ending) = match in_kib {
        true => (Unit::Bytes, "_bytes"),
        false => (Unit::Count, ""),
    };
    let help = format!("The kernel's memory field {field}.");
    let name = format!("node_memory_{name}{ending}");
    Some(spec(name, help, Kind::Gauge, unit))
}

/// `vmstat`, of which only paging and the OOM killer are wanted.
#[derive(Default)]
pub struct Vmstat {
    text: String,
    families: Families,
}

impl Collect for Vmstat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        host.read_proc("vmstat", &mut self.text)?;
        let mut faults = Faults::of("a line of virtual memory");
        for line in self.text.lines() {
            let Some((field, value)) = faults.keep(line.split_once(' ')) else {
                continue;
            };
            if !is_wanted(field) {
                continue;
            }
            let family = self.families.get(field, vmstat_family);
            if let Some((family, value)) = faults.keep(family.zip(number(value.trim()))) {
                out.add(family, &[], value);
            }
        }
        faults.told(&host.proc.join("vmstat"))
    }
}

/// `^(oom_kill|pgpg|pswp|pg.*fault)`.
fn is_wanted(field: &str) -> bool {
    let starts = |prefix| field.starts_with(prefix);
    let is_fault = || {
        field
            .strip_prefix("pg")
            .is_some_and(|rest| rest.contains("fault"))
    };
    starts("oom_kill") || starts("pgpg") || starts("pswp") || is_fault()
}

fn vmstat_family(field: &str) -> Option<Spec> {
    let name = format!("node_vmstat_{field}");
    let help = format!("The kernel's count {field} of virtual memory.");
    Some(spec(name, help, Kind::Untyped, Unit::Count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const MEMINFO: &str = "\
MemTotal:       16314996 kB
Active(anon):         12 kB
HugePages_Total:       4
Hugepagesize:       2048 kB
";
    const VMSTAT: &str =
        "nr_free_pages 1\npgpgin 2\npswpout 3\npgmajfault 4\noom_kill 5\npgfree 6\n";

    #[test]
    fn fields_are_bytes_unless_they_are_counts() {
        let tree = Tree::new(&[("proc/meminfo", MEMINFO)]);
        let (snapshot, result) = tree.collect(&mut Memory::default());
        result.unwrap();
        let wanted = [
            ("node_memory_MemTotal_bytes", 16_314_996.0 * 1_024.0),
            ("node_memory_Active_anon_bytes", 12_288.0),
            ("node_memory_HugePages_Total", 4.0),
            ("node_memory_Hugepagesize_bytes", 2_097_152.0),
        ];
        for (name, expected) in wanted {
            assert_eq!(value(&snapshot, name, &[]), expected, "{name}");
        }
        assert_eq!(snapshot.series(), wanted.len());
    }

    #[test]
    fn of_vmstat_paging_and_the_oom_killer_are_wanted() {
        let tree = Tree::new(&[("proc/vmstat", VMSTAT)]);
        let (snapshot, result) = tree.collect(&mut Vmstat::default());
        result.unwrap();
        let names: Vec<_> = snapshot
            .families()
            .map(|it| it.spec.name.to_string())
            .collect();
        let wanted =
            ["pgpgin", "pswpout", "pgmajfault", "oom_kill"].map(|it| format!("node_vmstat_{it}"));
        assert_eq!(names, wanted);
        assert_eq!(value(&snapshot, "node_vmstat_oom_kill", &[]), 5.0);
    }

    #[test]
    fn one_bad_line_costs_itself_alone() {
        let tree = Tree::new(&[
            (
                "proc/meminfo",
                "MemTotal: x kB\n\nA b: 1 kB\nMemFree: 1 kB\nCached: 1 MB\n",
            ),
            ("proc/vmstat", "pgpgin\npgpgout x\npswpin 7\n"),
        ]);
        let (snapshot, result) = tree.collect(&mut Memory::default());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        assert_eq!(value(&snapshot, "node_memory_MemFree_bytes", &[]), 1_024.0);
        assert_eq!(snapshot.series(), 1);
        let (snapshot, result) = tree.collect(&mut Vmstat::default());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        assert_eq!(value(&snapshot, "node_vmstat_pswpin", &[]), 7.0);
    }

    proptest! {
        /// Invariant: no bytes make them panic or make an invalid sample.
        #[test]
        fn any_bytes(meminfo in garbage(MEMINFO), vmstat in garbage(VMSTAT)) {
            let tree = Tree::new(&[]);
            tree.write("proc/meminfo", &meminfo);
            tree.write("proc/vmstat", &vmstat);
            check_valid(&tree.collect(&mut Memory::default()).0);
            check_valid(&tree.collect(&mut Vmstat::default()).0);
        }
    }
}
