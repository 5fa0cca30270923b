//! Type `file`: rolling files.

use std::path::{Path, PathBuf};

use crate::config::check::{at_most, normal};
use crate::config::keys::{DAY, GIB, KIB, Key, Known, MIB, Number, PATH, SECOND, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::walk::Section;
use crate::config::{Config, Sink};

/// Rolling files.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSink {
    /// The directory; made if missing.
    pub directory: PathBuf,
    /// A file is rolled when it has reached this size.
    pub roll_bytes: u64,
    /// A file is rolled when it is this old and not empty.
    pub roll_interval_ms: u64,
    /// Oldest files are retired (deleted, counted) while all together are larger than this.
    pub total_bytes_max: u64,
}

impl FileSink {
    /// Rolling files in `directory`, all else by default.
    pub fn new(directory: PathBuf) -> FileSink {
        FileSink {
            directory,
            roll_bytes: 64 * 1024 * 1024,
            roll_interval_ms: 3_600_000,
            total_bytes_max: 1024 * 1024 * 1024,
        }
    }

    /// Where the rows of metrics go: files of logs and of metrics have a budget each.
    pub fn metrics_directory(&self) -> PathBuf {
        self.directory.join("metrics")
    }

    /// Where the files go if nobody says.
    pub fn default_directory(state_dir: &Path) -> PathBuf {
        state_dir.join("logs")
    }
}

/// Type `file`, without numbers.
static KEYS: [Key; 1] = [key("directory", PATH)];

/// Numbers of type `file`.
static NUMBERS: [Number<FileSink>; 3] = [
    Number::new(
        "roll_bytes",
        (64 * KIB, 16 * GIB),
        |file| file.roll_bytes,
        |file, value| file.roll_bytes = value,
    ),
    Number::new(
        "roll_interval_ms",
        (SECOND, 7 * DAY),
        |file| file.roll_interval_ms,
        |file, value| file.roll_interval_ms = value,
    ),
    Number::new(
        "total_bytes_max",
        (MIB, 16 * 1024 * GIB),
        |file| file.total_bytes_max,
        |file, value| file.total_bytes_max = value,
    ),
];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS).numbers(&NUMBERS)
}

/// One directory that takes one thing at a time: more in flight would only lose the order.
pub(super) fn preset(sink: &mut Sink) {
    sink.limits.requests_in_flight = 1;
}

/// Fills in `file`.
pub(super) fn check(
    section: &Section<'_>,
    file: &mut FileSink,
    config: &Config,
    report: &mut Report,
) {
    if let Some(directory) = section.path("directory", report) {
        file.directory = directory;
    }
    if file.directory.starts_with(&config.logs.pod_logs) {
        let text = "lies under logs.pod_logs: the agent would collect its own output; \
                    allowed is a directory elsewhere";
        section.add("directory", report, text);
    }
    if normal(&file.directory) == normal(&config.state_dir) {
        let text = "is the state directory itself; allowed is a directory under it or elsewhere";
        section.add("directory", report, text);
    }
    section.numbers(&NUMBERS, file, report);
    at_most(
        section,
        ("roll_bytes", file.roll_bytes),
        ("total_bytes_max", file.total_bytes_max),
        report,
    );
}

/// Writes it out.
pub(super) fn render(file: &FileSink, page: &mut Page) {
    page.path("directory", &file.directory);
    page.numbers(&NUMBERS, file);
}
