//! The agent as the kernel sees it, under the names that every Prometheus client library uses.
//!
//! What `/proc` does not tell is left out of the page: a missing series is honest, a zero is not.

use std::fs;
use std::path::Path;

use super::text::Page;

/// Usage of the agent's own process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time.
    pub cpu_seconds: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_files: Option<u64>,
    /// The soft limit on open descriptors.
    pub open_files_max: Option<u64>,
    /// When it started, in seconds since the Unix epoch.
    pub start_seconds: Option<f64>,
}

impl Process {
    /// Reads `self/{stat,limits,fd}` and `stat` below `proc` (proc(5)).
    pub fn read(proc: &Path) -> Process {
        let own = proc.join("self");
        let text = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let stat = text(&own.join("stat"));
        let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
        let page = rustix::param::page_size() as u64;
        let seconds = |field| stat_field(&stat, field).map(|count| count as f64 / ticks);
        let booted = boot_seconds(&text(&proc.join("stat")));
        Process {
            cpu_seconds: seconds(14)
                .zip(seconds(15))
                .map(|(user, system)| user + system),
            resident_bytes: stat_field(&stat, 24).map(|pages| pages.saturating_mul(page)),
            open_files: fs::read_dir(own.join("fd"))
                .ok()
                .map(|names| names.count() as u64),
            open_files_max: open_files_max(&text(&own.join("limits"))),
            start_seconds: booted
                .zip(seconds(22))
                .map(|(boot, since)| boot as f64 + since),
        }
    }

    /// Adds what is known to a page.
    pub fn render(&self, page: &mut Page) {
        let mut add = |name: &'static str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                page.family(name, help).sample(&[], value);
            }
        };
        let number = |value: Option<u64>| value.map(|it| it as f64);
        add(
            "process_cpu_seconds_total",
            "User and system CPU time of the agent.",
            self.cpu_seconds,
        );
        add(
            "process_resident_memory_bytes",
            "Resident memory of the agent.",
            number(self.resident_bytes),
        );
        add(
            "process_open_fds",
            "Descriptors that the agent has open.",
            number(self.open_files),
        );
        add(
            "process_max_fds",
            "Descriptors that the agent may have open.",
            number(self.open_files_max),
        );
        add(
            "process_start_time_seconds",
            "When the agent started, since the Unix epoch.",
            self.start_seconds,
        );
    }
}

/// A field of `/proc/<pid>/stat` by its number in proc(5). The second, the name in parentheses, may itself hold
/// spaces and parentheses: fields are counted from the last `)`, behind which the third follows.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    fields.nth(number.checked_sub(3)?)?.parse().ok()
}

fn boot_seconds(stat: &str) -> Option<u64> {
    let value = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    value.trim().parse().ok()
}

/// The soft limit in `/proc/<pid>/limits`; `None` when there is none ("unlimited").
fn open_files_max(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let values = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_does_not_shift_the_fields() {
        let head = "42 (a) b 9 (c)) S";
        let rest: Vec<String> = (4..=30).map(|field| field.to_string()).collect();
        let stat = format!("{head} {}\n", rest.join(" "));
        for field in [14, 15, 22, 24] {
            assert_eq!(stat_field(&stat, field), Some(field as u64));
        }
        assert_eq!(stat_field(&stat, 99), None);
        assert_eq!(stat_field("", 14), None);
    }

    #[test]
    fn limits_and_boot_time() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             15000                15000                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(
            open_files_max("Max open files unlimited unlimited files\n"),
            None
        );
        assert_eq!(
            boot_seconds("cpu 1 2\nbtime 1700000000\n"),
            Some(1_700_000_000)
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::read(directory.path());
        assert_eq!(process, Process::default());
        let mut page = Page::default();
        process.render(&mut page);
        assert_eq!(page.finish(), "");
    }

    #[test]
    fn this_process_is_found() {
        let process = Process::read(Path::new("/proc"));
        assert!(process.resident_bytes > Some(0));
        assert!(process.open_files > Some(2) && process.open_files <= process.open_files_max);
        assert!(process.start_seconds > Some(1e9));
    }
}
