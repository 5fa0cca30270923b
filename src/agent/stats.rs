//! The numbers that the catalog and the file sinks keep, under the names that METRICS.md gives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::{CatalogHealth, Stat};
use crate::catalog::stats::{CatalogStats, Failures};
use crate::clock::Time;
use crate::sink::file::FileStats;

/// The catalog, as the admin server asks for it.
pub(super) struct CatalogView(pub(super) Arc<CatalogStats>);

impl CatalogHealth for CatalogView {
    fn stepped_at(&self) -> Time {
        Time::from_ms(self.0.stepped_ms.load(Ordering::Relaxed))
    }

    fn first_scan_done(&self) -> bool {
        self.0.scans.get() > 0
    }

    fn stats(&self) -> Vec<Stat> {
        let stats = &self.0;
        let mut all = vec![
            Stat::new(
                "longshore_catalog_chains",
                "Chains known.",
                stats.chains.get(),
            ),
            Stat::new(
                "longshore_catalog_segments",
                "Segments known.",
                stats.segments.get(),
            ),
            Stat::new(
                "longshore_catalog_held_files",
                "Descriptors of log files held open.",
                stats.handles_held.get(),
            ),
            Stat::new(
                "longshore_catalog_held_bytes",
                "Bytes of deleted files held open.",
                stats.deleted_bytes_held.get(),
            ),
            Stat::new(
                "longshore_catalog_scans_total",
                "Complete scans that succeeded.",
                stats.scans.get(),
            ),
            Stat::new(
                "longshore_catalog_scans_failed_total",
                "Scans in which something could not be listed.",
                stats.scans_failed.get(),
            ),
            Stat::new(
                "longshore_catalog_root_missing",
                "1 while the log directory cannot be listed.",
                stats.root_missing.get(),
            ),
            Stat::new(
                "longshore_catalog_watches",
                "Directories watched.",
                stats.watches.get(),
            ),
            Stat::new(
                "longshore_catalog_watch_failures_total",
                "Watches that could not be set, or died.",
                stats.watch_failures.get(),
            ),
        ];
        all.extend(troubles(stats));
        let kinds = [
            (
                "longshore_catalog_scan_errors_total",
                "Directories that could not be listed.",
                &stats.scan_errors,
            ),
            (
                "longshore_catalog_open_errors_total",
                "Log files that could not be opened or read by the catalog.",
                &stats.open_errors,
            ),
        ];
        for (name, help, failures) in kinds {
            all.extend(by_kind(name, help, failures));
        }
        all
    }
}

/// What went wrong with files.
fn troubles(stats: &CatalogStats) -> [Stat; 6] {
    [
        Stat::new(
            "longshore_catalog_refused_names_total",
            "Names that are not of a known form.",
            stats.refused_names.get(),
        ),
        Stat::new(
            "longshore_catalog_refused_files_total",
            "Links, pipes and devices in the place of a log.",
            stats.refused_files.get(),
        ),
        Stat::new(
            "longshore_catalog_damaged_files_total",
            "Compressed segments that cannot be read.",
            stats.damaged_files.get(),
        ),
        Stat::new(
            "longshore_catalog_truncations_total",
            "Segments truncated in place.",
            stats.truncations.get(),
        ),
        Stat::new(
            "longshore_catalog_budget_losses_total",
            "Segments given up because the budget for files held open ran out.",
            stats.budget_losses.get(),
        ),
        Stat::new(
            "longshore_catalog_deleted_losses_total",
            "Segments deleted before every sink had read them.",
            stats.deleted_losses.get(),
        ),
    ]
}

fn by_kind<'a>(
    name: &'static str,
    help: &'static str,
    failures: &'a Failures,
) -> impl Iterator<Item = Stat> + 'a {
    failures.counts().map(move |(kind, value)| Stat {
        name,
        help,
        label: Some(("kind", kind)),
        value,
    })
}

/// Reads one number of a file sink.
type Read = fn(&FileStats) -> &AtomicU64;

/// A file sink's numbers: those of its files of logs and of metrics together.
pub(super) fn of_files(all: &[Arc<FileStats>]) -> Vec<Stat> {
    let numbers: [(&'static str, &'static str, Read); 8] = [
        (
            "longshore_file_sink_files",
            "Files in the sink's directory.",
            |stats| &stats.files,
        ),
        (
            "longshore_file_sink_bytes",
            "Bytes of the files in the sink's directory.",
            |stats| &stats.bytes,
        ),
        (
            "longshore_file_sink_rolls_total",
            "Files rolled.",
            |stats| &stats.rolls,
        ),
        (
            "longshore_file_sink_retired_files_total",
            "Files deleted because of total_bytes_max.",
            |stats| &stats.files_retired,
        ),
        (
            "longshore_file_sink_retired_bytes_total",
            "Bytes of files deleted because of total_bytes_max.",
            |stats| &stats.bytes_retired,
        ),
        (
            "longshore_file_sink_write_errors_total",
            "Disk operations that failed.",
            |stats| &stats.write_errors,
        ),
        (
            "longshore_file_sink_cut_bytes_total",
            "Bytes of unfinished writes, cut at start.",
            |stats| &stats.bytes_cut,
        ),
        (
            "longshore_file_sink_damaged_files_total",
            "Files set aside at start because they could not be mended.",
            |stats| &stats.files_damaged,
        ),
    ];
    numbers
        .into_iter()
        .map(|(name, help, read)| {
            let values = all.iter().map(|stats| read(stats).load(Ordering::Relaxed));
            Stat::new(name, help, values.sum())
        })
        .collect()
}
