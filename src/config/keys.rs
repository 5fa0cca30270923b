//! Every key of a config, in tables: what is allowed, and for numbers how the value is reached.
//!
//! The checker, the renderer and the test of the config reference all read these tables, so they cannot disagree.
//! A new number is one field, one default and one row here.

mod limits;
mod lines;

use super::kubernetes;
use super::metrics::Metrics;
use super::multiline;
use super::scrape::Scrape;
use super::select;
use super::sinks::{SinkType, http, kafka};
use super::{Config, Logs, Sink};

pub use self::limits::LIMITS;
pub use self::lines::{LINES, LINES_NUMBERS, lines};

/// A key whose value is no plain number.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub allowed: &'static str,
}

/// A key whose value is a whole number in a `T`.
#[derive(Clone, Copy, Debug)]
pub struct Number<T: 'static> {
    /// Its name; the unit comes last in it.
    pub name: &'static str,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
    /// Reads it.
    pub get: fn(&T) -> u64,
    /// Writes it; the value lies within the range.
    pub set: fn(&mut T, u64),
}

impl<T> Number<T> {
    pub(super) const fn new(
        name: &'static str,
        range: (u64, u64),
        get: fn(&T) -> u64,
        set: fn(&mut T, u64),
    ) -> Number<T> {
        let (min, max) = range;
        Number {
            name,
            min,
            max,
            get,
            set,
        }
    }

    /// What it may be.
    pub fn allowed(&self) -> String {
        let unit = if self.name.ends_with("_ms") {
            " ms"
        } else if self.name.contains("bytes") {
            " bytes"
        } else {
            ""
        };
        format!("{} to {}{unit}", self.min, self.max)
    }
}

/// What a sink may not have read when it first starts: see [`super::ReadFrom::Backlog`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// Oldest segment that is read.
    pub age_max_ms: Option<u64>,
    /// Most bytes that are read per chain.
    pub bytes_max: Option<u64>,
}

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

pub(super) const TEXT: &str = "a text of 1 to 1024 printable characters";
pub(super) const PATH: &str = "an absolute path";
pub(super) const PATH_OR_NULL: &str = "an absolute path or null";
pub(super) const SWITCH: &str = "true or false";
pub(super) const URL: &str =
    "http://HOST[:PORT][/PATH] or https://..., without user, password and #";
pub(super) const NAMES: &str = "a list of at most 64 regular expressions for whole names";
const PATTERN: &str = "a regular expression";
pub(super) const URL_OR_NULL: &str =
    "http://HOST[:PORT][/PATH] or https://..., without user, password and #, or null";
pub(super) const LABELS: &str = "a mapping of label names to texts; null leaves a default one out";

pub(super) const fn key(name: &'static str, allowed: &'static str) -> Key {
    Key { name, allowed }
}

/// Top level, without numbers.
pub static TOP: [Key; 10] = [
    key("node", TEXT),
    key(
        "cluster_name",
        "a text of 1 to 1024 printable characters, or null",
    ),
    key(
        "preset",
        "standard, cost-optimized, logs-and-events or null",
    ),
    key("state_dir", PATH),
    key("logs", "a mapping"),
    key("metrics", "a mapping"),
    key("kubernetes", "a mapping"),
    key("admin", "a mapping"),
    key("own_log", "a mapping"),
    key("sinks", "a mapping of 1 to 64 names to sinks"),
];

/// Numbers of the top level.
pub static TOP_NUMBERS: [Number<Config>; 2] = [
    Number::new(
        "shutdown_grace_ms",
        (0, 10 * MINUTE),
        |config| config.shutdown_grace_ms,
        |config, value| config.shutdown_grace_ms = value,
    ),
    Number::new(
        "reload_grace_ms",
        (0, 10 * MINUTE),
        |config| config.reload_grace_ms,
        |config, value| config.reload_grace_ms = value,
    ),
];

/// `logs`, without numbers.
pub static LOGS: [Key; 6] = [
    key("pod_logs", PATH),
    key("container_links", PATH),
    key("collect_self", SWITCH),
    key("multiline", "a mapping"),
    key("select", "a mapping"),
    key("lines", "a mapping"),
];

/// Numbers of `logs`.
pub static LOGS_NUMBERS: [Number<Logs>; 6] = [
    Number::new(
        "poll_active_ms",
        (10, 10 * SECOND),
        |logs| logs.poll_active_ms,
        |logs, value| logs.poll_active_ms = value,
    ),
    Number::new(
        "poll_idle_ms",
        (10, MINUTE),
        |logs| logs.poll_idle_ms,
        |logs, value| logs.poll_idle_ms = value,
    ),
    Number::new(
        "rescan_interval_ms",
        (SECOND, HOUR),
        |logs| logs.rescan_interval_ms,
        |logs, value| logs.rescan_interval_ms = value,
    ),
    Number::new(
        "forget_after_ms",
        (MINUTE, 7 * DAY),
        |logs| logs.forget_after_ms,
        |logs, value| logs.forget_after_ms = value,
    ),
    Number::new(
        "held_bytes_max",
        (0, 1024 * GIB),
        |logs| logs.held_bytes_max,
        |logs, value| logs.held_bytes_max = value,
    ),
    Number::new(
        "held_files_max",
        (16, 1_000_000),
        |logs| logs.held_files_max as u64,
        |logs, value| logs.held_files_max = value as usize,
    ),
];

/// `metrics`, without numbers.
pub static METRICS: [Key; 13] = [
    key("enabled", SWITCH),
    key("profile", "minimal, standard or full"),
    key("keep", NAMES),
    key("drop", NAMES),
    key("proc", PATH),
    key("sys", PATH),
    key("root", PATH),
    key("filesystem_mounts_exclude", PATTERN),
    key("filesystem_types_exclude", PATTERN),
    key("disks_exclude", PATTERN),
    key("interfaces_exclude", PATTERN),
    key("ip", "a mapping"),
    key("scrape", "a list of at most 64 mappings"),
];

/// `metrics.scrape`, beside what an HTTP request needs, without numbers.
pub static SCRAPE: [Key; 3] = [
    key("keep", NAMES),
    key("drop", NAMES),
    key("labels", LABELS),
];

/// Numbers of `metrics.scrape`.
pub static SCRAPE_NUMBERS: [Number<Scrape>; 2] = [
    Number::new(
        "interval_ms",
        (SECOND, HOUR),
        |scrape| scrape.interval_ms,
        |scrape, value| scrape.interval_ms = value,
    ),
    Number::new(
        "series_max",
        (1, 1_000_000),
        |scrape| scrape.series_max as u64,
        |scrape, value| scrape.series_max = value as usize,
    ),
];

/// Numbers of `metrics`.
pub static METRICS_NUMBERS: [Number<Metrics>; 3] = [
    Number::new(
        "interval_ms",
        (SECOND, 10 * MINUTE),
        |metrics| metrics.interval_ms,
        |metrics, value| metrics.interval_ms = value,
    ),
    Number::new(
        "series_max",
        (100, 1_000_000),
        |metrics| metrics.series_max as u64,
        |metrics, value| metrics.series_max = value as usize,
    ),
    Number::new(
        "statvfs_timeout_ms",
        (100, MINUTE),
        |metrics| metrics.statvfs_timeout_ms,
        |metrics, value| metrics.statvfs_timeout_ms = value,
    ),
];

/// `metrics.ip`.
pub static IP: [Key; 5] = [
    key("cni_networks", PATH_OR_NULL),
    key("azure_cns_url", URL_OR_NULL),
    key("aws_url", URL_OR_NULL),
    key("cilium_url", URL_OR_NULL),
    key("compat_azure", SWITCH),
];

/// `admin`.
pub static ADMIN: [Key; 1] = [key("listen", "an IP address with a port")];

/// `own_log`.
pub static OWN_LOG: [Key; 2] = [
    key("level", "error, warn, info, debug or trace"),
    key("format", "text or json"),
];

/// What every sink has beside its type, without numbers.
pub static SINK: [Key; 13] = [
    key("signals", "a list of logs, metrics or both"),
    key("select", "a mapping"),
    key("lines", "a mapping"),
    key(
        "read_from",
        "beginning, end, or a mapping with age_max_ms, bytes_max or both",
    ),
    key("format", "ndjson, json_array or protobuf"),
    key(
        "columns",
        "a mapping of columns to new names; null, false or \"\" drops one",
    ),
    key("fields", "a mapping of names to JSON values"),
    key("multiline", "a mapping"),
    key("parse_json", SWITCH),
    key("record_uid", SWITCH),
    key(
        "include_fields",
        "a list of podUid, podLabels, podAnnotations, image, imageID, imageRepo and imageTag",
    ),
    key("compression", "none, gzip or zstd"),
    key(
        "compression_level",
        "1 to 9 with gzip, 1 to 19 with zstd, absent or null with none",
    ),
];

/// Numbers of every sink beside its limits.
pub static SINK_NUMBERS: [Number<Sink>; 1] = [Number::new(
    "workers",
    (1, 64),
    |sink| sink.workers as u64,
    |sink, value| sink.workers = value as usize,
)];

/// Numbers of `read_from`.
pub static BACKLOG_NUMBERS: [Number<Backlog>; 2] = [
    Number::new(
        "age_max_ms",
        (SECOND, 365 * DAY),
        |backlog| backlog.age_max_ms.unwrap_or_default(),
        |backlog, value| backlog.age_max_ms = Some(value),
    ),
    Number::new(
        "bytes_max",
        (1, 1024 * GIB),
        |backlog| backlog.bytes_max.unwrap_or_default(),
        |backlog, value| backlog.bytes_max = Some(value),
    ),
];

/// The keys of one place in a config, with what each may be.
#[derive(Clone, Debug, Default)]
pub struct Known(Vec<(&'static str, String)>);

impl Known {
    /// These keys.
    pub fn of(keys: &[Key]) -> Known {
        let all = keys.iter().map(|key| (key.name, key.allowed.to_owned()));
        Known(all.collect())
    }

    /// And these numbers.
    #[must_use]
    pub fn numbers<T>(mut self, numbers: &[Number<T>]) -> Known {
        let all = numbers.iter().map(|number| (number.name, number.allowed()));
        self.0.extend(all);
        self
    }

    /// And those.
    #[must_use]
    pub fn and(mut self, others: Known) -> Known {
        self.0.extend(others.0);
        self
    }

    /// Only those whose name is `wanted`.
    #[must_use]
    pub(super) fn only(mut self, wanted: impl Fn(&str) -> bool) -> Known {
        self.0.retain(|(name, _)| wanted(name));
        self
    }

    /// Names, each with what it may be.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .iter()
            .map(|(name, allowed)| (*name, allowed.as_str()))
    }

    /// What `name` may be; `None` if there is no such key.
    pub fn allowed(&self, name: &str) -> Option<&str> {
        let mut all = self.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, allowed)| allowed)
    }
}

/// Keys of every sink.
pub fn common() -> Known {
    let types = SinkType::ALL.map(SinkType::name);
    let types = match types.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    Known(vec![("type", types)])
        .and(Known::of(&SINK))
        .numbers(&SINK_NUMBERS)
        .numbers(&LIMITS)
}

/// Keys of an entry of `metrics.scrape`.
pub fn scrape() -> Known {
    http::request_keys().and(Known::of(&SCRAPE).numbers(&SCRAPE_NUMBERS))
}

/// Every place in a config with its keys, in the order of the reference.
pub fn places() -> Vec<(&'static str, Known)> {
    let mut places = vec![
        ("the top level", Known::of(&TOP).numbers(&TOP_NUMBERS)),
        ("logs", Known::of(&LOGS).numbers(&LOGS_NUMBERS)),
        ("logs.multiline", multiline::keys()),
        ("logs.lines", lines()),
        ("metrics", Known::of(&METRICS).numbers(&METRICS_NUMBERS)),
        ("metrics.ip", Known::of(&IP)),
        (
            "metrics.scrape",
            Known::of(&SCRAPE).numbers(&SCRAPE_NUMBERS),
        ),
        ("admin", Known::of(&ADMIN)),
        ("own_log", Known::of(&OWN_LOG)),
        ("sinks.NAME", common()),
        (
            "sinks.NAME.read_from",
            Known::default().numbers(&BACKLOG_NUMBERS),
        ),
    ];
    let own = SinkType::ALL.into_iter();
    places.extend(own.filter_map(SinkType::own_keys));
    places.extend(select::places());
    places.extend(http::inner_keys());
    places.extend(kafka::inner_keys());
    places.extend(kubernetes::places());
    places
}

/// Where a key that is in the wrong place would be in the right one.
pub fn home(name: &str) -> Option<&'static str> {
    let mut places = places().into_iter();
    places
        .find(|(_, known)| known.allowed(name).is_some())
        .map(|(place, _)| place)
}
