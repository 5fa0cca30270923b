//! `pressure/`: how long tasks have waited for CPU, memory, disk and interrupts (PSI).
//!
//! Kernels before 5.13 have no `full` line for the CPU, none has a `some` line for interrupts, and a kernel may have
//! PSI switched off: then there is no series, and nothing is wrong.

use super::Collect;
use super::fields::{Faults, number};
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};

/// See the module.
#[derive(Default)]
pub struct Pressure {
    text: String,
}

static FAMILIES: [(&str, &str, Spec); 6] = [
    (
        "cpu",
        "some",
        Spec::counter(
            "node_pressure_cpu_waiting_seconds_total",
            Unit::Seconds,
            "Time in which some task waited for a CPU.",
        ),
    ),
    (
        "io",
        "some",
        Spec::counter(
            "node_pressure_io_waiting_seconds_total",
            Unit::Seconds,
            "Time in which some task waited for a disk.",
        ),
    ),
    (
        "io",
        "full",
        Spec::counter(
            "node_pressure_io_stalled_seconds_total",
            Unit::Seconds,
            "Time in which all tasks waited for a disk.",
        ),
    ),
    (
        "memory",
        "some",
        Spec::counter(
            "node_pressure_memory_waiting_seconds_total",
            Unit::Seconds,
            "Time in which some task waited for memory.",
        ),
    ),
    (
        "memory",
        "full",
        Spec::counter(
            "node_pressure_memory_stalled_seconds_total",
            Unit::Seconds,
            "Time in which all tasks waited for memory.",
        ),
    ),
    (
        "irq",
        "full",
        Spec::counter(
            "node_pressure_irq_stalled_seconds_total",
            Unit::Seconds,
            "Time in which no task could run because of interrupts.",
        ),
    ),
];

impl Collect for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut result = Ok(());
        for resource in ["cpu", "io", "memory", "irq"] {
            let path = format!("pressure/{resource}");
            match host.read_proc(&path, &mut self.text) {
                Ok(()) => {}
                Err(error) if is_switched_off(&error) => continue,
                Err(error) => {
                    result = Err(error);
                    continue;
                }
            }
            let mut faults = Faults::of("a total of pressure");
            for (_, line_name, spec) in FAMILIES.iter().filter(|family| family.0 == resource) {
                let mut lines = self.text.lines();
                let Some(rest) = lines.find_map(|line| line.strip_prefix(line_name)) else {
                    continue;
                };
                if let Some(us) = faults.keep(total_us(rest)) {
                    out.add(spec, &[], us / 1e6);
                }
            }
            result = result.and(faults.told(&host.proc.join(&path)));
        }
        result
    }
}

/// A kernel without PSI, or started without it: reading says that it is not supported.
fn is_switched_off(error: &HostError) -> bool {
    match error {
        HostError::Missing { .. } => true,
        HostError::Unreadable { source, .. } => {
            source.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
        }
        HostError::TooLong { .. } | HostError::Malformed { .. } => false,
    }
}

fn total_us(line: &str) -> Option<f64> {
    let mut words = line.split_ascii_whitespace();
    words
        .find_map(|word| word.strip_prefix("total="))
        .and_then(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const SOME: &str = "some avg10=0.00 avg60=0.12 avg300=1.00 total=2500000\n";
    const BOTH: &str = "some avg10=0.00 avg60=0.12 avg300=1.00 total=2500000\n\
                        full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";

    #[test]
    fn lines_that_a_kernel_lacks_are_not_missed() {
        let tree = Tree::new(&[("proc/pressure/cpu", SOME), ("proc/pressure/io", BOTH)]);
        let (snapshot, result) = tree.collect(&mut Pressure::default());
        result.unwrap();
        let names = ["cpu_waiting", "io_waiting", "io_stalled"];
        let values = names.map(|name| {
            value(
                &snapshot,
                &format!("node_pressure_{name}_seconds_total"),
                &[],
            )
        });
        assert_eq!(values, [2.5, 2.5, 0.000_007]);
        assert_eq!(snapshot.series(), 3);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(BOTH)) {
            let tree = Tree::new(&[]);
            for resource in ["cpu", "io", "memory", "irq"] {
                tree.write(&format!("proc/pressure/{resource}"), &bytes);
            }
            check_valid(&tree.collect(&mut Pressure::default()).0);
        }
    }
}
