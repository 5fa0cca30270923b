//! `stat`: CPU time by processor and mode, and the kernel's counts of switches, interrupts and processes.
//!
//! Invariant: a CPU's time in a mode never falls while it is online. The kernel lets idle time jump back when a CPU is
//! unplugged and plugged in again, and I/O wait fall by itself (proc(5)): a mode keeps its greatest value, until idle
//! falls by three seconds or more, which is a CPU that begins anew.

use std::collections::HashMap;

use super::Collect;
use super::fields::{Faults, number};
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};

static CPU: Spec = Spec::counter(
    "node_cpu_seconds_total",
    Unit::Seconds,
    "Time that a CPU has spent in a mode; user and nice include the time of guests.",
);
static GUEST: Spec = Spec::counter(
    "node_cpu_guest_seconds_total",
    Unit::Seconds,
    "Time that a CPU has spent on virtual machines.",
);
static COUNTS: [(&str, Spec); 6] = [
    (
        "btime",
        Spec::gauge(
            "node_boot_time_seconds",
            Unit::Seconds,
            "When the node was started, since the Unix epoch.",
        ),
    ),
    (
        "ctxt",
        Spec::counter(
            "node_context_switches_total",
            Unit::Count,
            "Switches of a CPU from one task to another.",
        ),
    ),
    (
        "intr",
        Spec::counter("node_intr_total", Unit::Count, "Interrupts served."),
    ),
    (
        "processes",
        Spec::counter(
            "node_forks_total",
            Unit::Count,
            "Processes and threads that were started.",
        ),
    ),
    (
        "procs_running",
        Spec::gauge(
            "node_procs_running",
            Unit::Count,
            "Tasks that run or could run.",
        ),
    ),
    (
        "procs_blocked",
        Spec::gauge(
            "node_procs_blocked",
            Unit::Count,
            "Tasks that wait for I/O and cannot be interrupted.",
        ),
    ),
];

/// Modes in the order of the file's columns; the last two are parts of the first two.
const MODES: [&str; 10] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "user", "nice",
];
const OWN_MODES: usize = 8;
const IDLE: usize = 3;

/// Ticks per second of what the kernel shows; a constant of its interface on every platform that longshore is built for.
const TICKS_PER_SECOND: u64 = 100;
/// Three seconds.
const RESET_TICKS: u64 = 3 * TICKS_PER_SECOND;

type Ticks = [u64; MODES.len()];

/// See the module.
#[derive(Default)]
pub struct Cpu {
    text: String,
    seen: HashMap<u32, Seen>,
    round: u64,
}

#[derive(Default)]
struct Seen {
    ticks: Ticks,
    round: u64,
}

impl Seen {
    fn take(&mut self, now: Ticks) {
        let idle = |ticks: &Ticks| ticks.get(IDLE).copied().unwrap_or_default();
        if idle(&self.ticks).saturating_sub(idle(&now)) >= RESET_TICKS {
            self.ticks = now;
        }
        for (kept, now) in self.ticks.iter_mut().zip(now) {
            *kept = (*kept).max(now);
        }
    }
}

impl Collect for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut text = std::mem::take(&mut self.text);
        let result = host.read_proc("stat", &mut text).and_then(|()| {
            let mut faults = Faults::of("a line of CPU time or a count");
            self.parse(&text, out, &mut faults);
            faults.told(&host.proc.join("stat"))
        });
        self.text = text;
        result
    }
}

impl Cpu {
    fn parse(&mut self, text: &str, out: &mut Snapshot, faults: &mut Faults) {
        self.round += 1;
        for line in text.lines() {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            if let Some(cpu) = key.strip_prefix("cpu") {
                // Without a number it is the sum of all.
                if !cpu.is_empty() {
                    let read = cpu.parse().ok().zip(ticks(rest));
                    if let Some((number, ticks)) = faults.keep(read) {
                        self.cpu(number, cpu, ticks, out);
                    }
                }
            } else if let Some((_, spec)) = COUNTS.iter().find(|(name, _)| *name == key) {
                let first = rest.split_ascii_whitespace().next().and_then(number);
                if let Some(value) = faults.keep(first) {
                    out.add(spec, &[], value);
                }
            }
        }
        // What went offline begins anew when it comes back.
        self.seen.retain(|_, seen| seen.round == self.round);
    }

    fn cpu(&mut self, number: u32, cpu: &str, now: Ticks, out: &mut Snapshot) {
        let seen = self.seen.entry(number).or_default();
        seen.round = self.round;
        seen.take(now);
        for (at, (mode, ticks)) in MODES.iter().zip(seen.ticks).enumerate() {
            let spec = if at < OWN_MODES { &CPU } else { &GUEST };
            let seconds = ticks as f64 / TICKS_PER_SECOND as f64;
            out.add(spec, &[("cpu", cpu), ("mode", mode)], seconds);
        }
    }
}

/// The columns of a CPU's line. Kernels before 2.6.33 have fewer.
fn ticks(text: &str) -> Option<Ticks> {
    let mut ticks = Ticks::default();
    let mut columns = text.split_ascii_whitespace();
    let mut count = 0;
    for (slot, column) in ticks.iter_mut().zip(&mut columns) {
        *slot = column.parse().ok()?;
        count += 1;
    }
    (count > IDLE).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const STAT: &str = "\
cpu  40 0 0 0 0 0 0 0 0 0
cpu0 1000 20 300 4000 50 6 7 8 9 10
cpu3 1 2 3 4 5 6 7 8 9 10
intr 123456789 1 2 3
ctxt 42
btime 1700000000
processes 99
procs_running 3
procs_blocked 1
softirq 5 0 1
";

    fn idle(snapshot: &Snapshot, cpu: &str) -> f64 {
        value(
            snapshot,
            "node_cpu_seconds_total",
            &[("cpu", cpu), ("mode", "idle")],
        )
    }

    #[test]
    fn cpus_keep_their_numbers_and_counts_their_first_column() {
        let tree = Tree::new(&[("proc/stat", STAT)]);
        let (snapshot, result) = tree.collect(&mut Cpu::default());
        result.unwrap();
        assert_eq!(idle(&snapshot, "0"), 40.0);
        assert_eq!(idle(&snapshot, "3"), 0.04);
        assert_eq!(snapshot.series(), 2 * 10 + 6);
        let guest = [("cpu", "0"), ("mode", "nice")];
        assert_eq!(
            value(&snapshot, "node_cpu_guest_seconds_total", &guest),
            0.1
        );
        assert_eq!(value(&snapshot, "node_intr_total", &[]), 123_456_789.0);
        assert_eq!(value(&snapshot, "node_boot_time_seconds", &[]), 1.7e9);
    }

    #[test]
    fn one_bad_line_costs_itself_alone_and_old_kernels_have_fewer_columns() {
        let tree = Tree::new(&[(
            "proc/stat",
            "cpu0 1 2 3 400\ncpux 1 2 3 4\ncpu1 1 2\nctxt x\nbtime 5\n",
        )]);
        let (snapshot, result) = tree.collect(&mut Cpu::default());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        assert_eq!(idle(&snapshot, "0"), 4.0);
        assert_eq!(snapshot.series(), 10 + 1);
    }

    #[test]
    fn no_mode_falls_unless_the_cpu_begins_anew() {
        let mut cpu = Cpu::default();
        let tree = Tree::new(&[]);
        let mut step = |iowait: u64, idle_ticks: u64| {
            tree.write(
                "proc/stat",
                format!("cpu7 0 0 0 {idle_ticks} {iowait}\n").as_bytes(),
            );
            let (snapshot, _) = tree.collect(&mut cpu);
            let iowait = [("cpu", "7"), ("mode", "iowait")];
            (
                value(&snapshot, "node_cpu_seconds_total", &iowait),
                idle(&snapshot, "7"),
            )
        };
        assert_eq!(step(500, 1_000), (5.0, 10.0));
        assert_eq!(step(400, 1_100), (5.0, 11.0));
        assert_eq!(step(600, 900), (6.0, 11.0));
        assert_eq!(step(100, 800), (1.0, 8.0));
    }

    #[test]
    fn a_cpu_that_was_offline_begins_anew() {
        let mut cpu = Cpu::default();
        let tree = Tree::new(&[("proc/stat", "cpu0 0 0 0 1\ncpu1 900 0 0 1\n")]);
        tree.collect(&mut cpu).1.unwrap();
        tree.write("proc/stat", b"cpu0 0 0 0 1\n");
        let (snapshot, _) = tree.collect(&mut cpu);
        assert_eq!(snapshot.series(), 10);
        tree.write("proc/stat", b"cpu0 0 0 0 1\ncpu1 7 0 0 1\n");
        let (snapshot, _) = tree.collect(&mut cpu);
        let user = [("cpu", "1"), ("mode", "user")];
        assert_eq!(value(&snapshot, "node_cpu_seconds_total", &user), 0.07);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample; and no counter falls but for a reset of its CPU.
        #[test]
        fn any_bytes(first in garbage(STAT), second in garbage(STAT)) {
            let mut cpu = Cpu::default();
            let tree = Tree::new(&[]);
            for bytes in [first, second] {
                tree.write("proc/stat", &bytes);
                let (snapshot, _) = tree.collect(&mut cpu);
                check_valid(&snapshot);
            }
        }
    }
}
