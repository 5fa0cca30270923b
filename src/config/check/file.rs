//! Keys of the type `file`.

use super::at_most;
use crate::config::keys::FILE_NUMBERS;
use crate::config::mistake::Report;
use crate::config::walk::Section;
use crate::config::{Config, FileSink};

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
    if super::normal(&file.directory) == super::normal(&config.state_dir) {
        let text = "is the state directory itself; allowed is a directory under it or elsewhere";
        section.add("directory", report, text);
    }
    section.numbers(&FILE_NUMBERS, file, report);
    at_most(
        section,
        ("roll_bytes", file.roll_bytes),
        ("total_bytes_max", file.total_bytes_max),
        report,
    );
}
