//! What the catalog counts, for the metrics. Written by the catalog alone, read by anybody.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that others read.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Another value.
    pub fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Failures by kind.
#[derive(Debug, Default)]
pub struct Failures([Number; Failures::KINDS.len()]);

impl Failures {
    /// Values of the `kind` label.
    pub const KINDS: [&'static str; 6] = [
        "not_found",
        "permission",
        "descriptors",
        "stale",
        "io",
        "other",
    ];

    /// Counts an error.
    pub fn count(&self, error: &io::Error) {
        if let Some(number) = self.0.get(Failures::kind(error)) {
            number.add();
        }
    }

    fn kind(error: &io::Error) -> usize {
        if is_out_of_descriptors(error) {
            return 2;
        }
        match error.kind() {
            io::ErrorKind::NotFound => 0,
            io::ErrorKind::PermissionDenied => 1,
            io::ErrorKind::StaleNetworkFileHandle => 3,
            _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => 4,
            _ => 5,
        }
    }

    /// Each kind with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::KINDS.into_iter().zip(self.0.iter().map(Number::get))
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(Number::get).sum()
    }
}

/// Whether the process or the system has no descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(rustix::io::Errno::MFILE.raw_os_error())
        || code == Some(rustix::io::Errno::NFILE.raw_os_error())
}

/// What the catalog counts.
#[derive(Debug, Default)]
pub struct CatalogStats {
    /// The moment of the last step, in milliseconds of the clock.
    pub stepped_ms: AtomicU64,
    /// Gauge: chains known.
    pub chains: Number,
    /// Gauge: segments known.
    pub segments: Number,
    /// Gauge: descriptors held open.
    pub handles_held: Number,
    /// Gauge: bytes of deleted files held open.
    pub deleted_bytes_held: Number,
    /// The moment at which the last complete scan that succeeded ended, in milliseconds of the clock.
    pub scanned_ms: AtomicU64,
    /// Complete scans that succeeded.
    pub scans: Number,
    /// Complete scans in which something could not be listed.
    pub scans_failed: Number,
    /// Gauge: 1 while the log root cannot be listed or is empty where it was not.
    pub root_missing: Number,
    /// Directories that could not be listed.
    pub scan_errors: Failures,
    /// Files that could not be opened or read.
    pub open_errors: Failures,
    /// Gauge: directories watched.
    pub watches: Number,
    /// Watches that could not be set or died; those directories and files are polled.
    pub watch_failures: Number,
    /// Names that are not of a known form.
    pub refused_names: Number,
    /// Links, pipes and devices in the place of a log.
    pub refused_files: Number,
    /// Compressed segments that cannot be read.
    pub damaged_files: Number,
    /// Segments truncated in place.
    pub truncations: Number,
    /// Segments given up because the keeper's budget ran out.
    pub budget_losses: Number,
    /// Segments deleted before every sink had read them.
    pub deleted_losses: Number,
}
