//! `diskstats`: what block devices have read, written and waited (Documentation/admin-guide/iostats.rst of Linux).
//!
//! Whole disks are kept, partitions are not; the configuration says which names are which.

use super::Collect;
use super::fields::{Faults, number};
use super::filter::Filter;
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};
use crate::config::pattern::Pattern;

/// See the module.
pub struct Disks {
    text: String,
    exclude: Filter,
}

impl Disks {
    /// All but those that are excluded.
    pub fn new(exclude: &Pattern) -> Disks {
        Disks {
            text: String::new(),
            exclude: Filter::new(exclude),
        }
    }
}

/// Bytes of one sector, as this file counts them whatever the disk has.
const SECTOR: f64 = 512.0;
/// From milliseconds.
const MS: f64 = 0.001;

/// The columns behind the name, with what one of them is in the family's unit.
static COLUMNS: [(Spec, f64); 17] = [
    (
        Spec::counter(
            "node_disk_reads_completed_total",
            Unit::Count,
            "Reads that ended well.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_reads_merged_total",
            Unit::Count,
            "Reads that were joined with others.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_read_bytes_total",
            Unit::Bytes,
            "Bytes that were read.",
        ),
        SECTOR,
    ),
    (
        Spec::counter(
            "node_disk_read_time_seconds_total",
            Unit::Seconds,
            "Time that all reads together took.",
        ),
        MS,
    ),
    (
        Spec::counter(
            "node_disk_writes_completed_total",
            Unit::Count,
            "Writes that ended well.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_writes_merged_total",
            Unit::Count,
            "Writes that were joined with others.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_written_bytes_total",
            Unit::Bytes,
            "Bytes that were written.",
        ),
        SECTOR,
    ),
    (
        Spec::counter(
            "node_disk_write_time_seconds_total",
            Unit::Seconds,
            "Time that all writes together took.",
        ),
        MS,
    ),
    (
        Spec::gauge(
            "node_disk_io_now",
            Unit::Count,
            "Reads and writes under way.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_io_time_seconds_total",
            Unit::Seconds,
            "Time in which anything was under way.",
        ),
        MS,
    ),
    (
        Spec::counter(
            "node_disk_io_time_weighted_seconds_total",
            Unit::Seconds,
            "Time in which anything was under way, times how much.",
        ),
        MS,
    ),
    (
        Spec::counter(
            "node_disk_discards_completed_total",
            Unit::Count,
            "Discards that ended well.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_discards_merged_total",
            Unit::Count,
            "Discards that were joined with others.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_discarded_sectors_total",
            Unit::Count,
            "Sectors that were discarded.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_discard_time_seconds_total",
            Unit::Seconds,
            "Time that all discards together took.",
        ),
        MS,
    ),
    (
        Spec::counter(
            "node_disk_flush_requests_total",
            Unit::Count,
            "Flushes that ended well.",
        ),
        1.0,
    ),
    (
        Spec::counter(
            "node_disk_flush_requests_time_seconds_total",
            Unit::Seconds,
            "Time that all flushes together took.",
        ),
        MS,
    ),
];

/// Kernels before 4.18 have no more; 4.18 added four, 5.5 two.
const COLUMNS_MIN: usize = 11;

impl Collect for Disks {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        host.read_proc("diskstats", &mut self.text)?;
        let mut faults = Faults::of("a line of a disk");
        for line in self.text.lines() {
            let mut words = line.split_ascii_whitespace();
            // Two numbers of the device come first.
            let Some(device) = faults.keep(words.nth(2)) else {
                continue;
            };
            if self.exclude.matches(device) {
                continue;
            }
            let mut count = 0;
            for ((spec, scale), word) in COLUMNS.iter().zip(words) {
                count += 1;
                if let Some(value) = faults.keep(number(word)) {
                    out.add(spec, &[("device", device)], scaled(value, *scale));
                }
            }
            if count < COLUMNS_MIN {
                faults.add();
            }
        }
        faults.told(&host.proc.join("diskstats"))
    }
}

/// A division is exact where a product with 0.001 is not.
fn scaled(value: f64, scale: f64) -> f64 {
    if scale == MS {
        value / 1_000.0
    } else {
        value * scale
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::metrics::DISKS_EXCLUDE;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const DISKSTATS: &str = "\
 259       0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17
 259       1 nvme0n1p1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17
   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11
   8       0 sda 1 2 3 1001 5 6 7 8 9 10 11
";

    fn disks() -> Disks {
        Disks::new(&Pattern::part(DISKS_EXCLUDE).unwrap())
    }

    #[test]
    fn whole_disks_of_kernels_old_and_new() {
        let tree = Tree::new(&[("proc/diskstats", DISKSTATS)]);
        let (snapshot, result) = tree.collect(&mut disks());
        result.unwrap();
        assert_eq!(snapshot.series(), 17 + 11);
        let nvme = [("device", "nvme0n1")];
        assert_eq!(
            value(&snapshot, "node_disk_read_bytes_total", &nvme),
            3.0 * 512.0
        );
        assert_eq!(
            value(
                &snapshot,
                "node_disk_flush_requests_time_seconds_total",
                &nvme
            ),
            0.017
        );
        assert_eq!(
            value(
                &snapshot,
                "node_disk_read_time_seconds_total",
                &[("device", "sda")]
            ),
            1.001
        );
    }

    #[test]
    fn one_bad_line_costs_itself_alone() {
        let tree = Tree::new(&[(
            "proc/diskstats",
            "8 0\n8 0 sda 1 2\n8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
        )]);
        let (snapshot, result) = tree.collect(&mut disks());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        assert_eq!(
            value(&snapshot, "node_disk_io_now", &[("device", "sdb")]),
            9.0
        );
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(DISKSTATS)) {
            let tree = Tree::new(&[]);
            tree.write("proc/diskstats", &bytes);
            check_valid(&tree.collect(&mut disks()).0);
        }
    }
}
