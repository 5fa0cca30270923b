//! Every key of a config, in tables: what is allowed, and for numbers how the value is reached.
//!
//! The checker, the renderer and the test of the config reference all read these tables, so they cannot disagree.
//! A new number is one field, one default and one row here.

use super::metrics::Metrics;
use super::{Config, FileSink, HttpSink, Limits, Logs, Sink};

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
    const fn new(
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

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const TEXT: &str = "a text of 1 to 1024 printable characters";
const PATH: &str = "an absolute path";
const PATH_OR_NULL: &str = "an absolute path or null";
const SWITCH: &str = "true or false";
const NAMES: &str = "a list of at most 64 regular expressions for whole names";
const PATTERN: &str = "a regular expression";
const URL_OR_NULL: &str =
    "http://HOST[:PORT][/PATH] or https://..., without user, password and #, or null";
const SECRET: &str = "a text, or {file: PATH} with an absolute path";

const fn key(name: &'static str, allowed: &'static str) -> Key {
    Key { name, allowed }
}

/// Top level, without numbers.
pub static TOP: [Key; 8] = [
    key("node", TEXT),
    key(
        "cluster_name",
        "a text of 1 to 1024 printable characters, or null",
    ),
    key("state_dir", PATH),
    key("logs", "a mapping"),
    key("metrics", "a mapping"),
    key("admin", "a mapping"),
    key("own_log", "a mapping"),
    key("sinks", "a mapping of 1 to 64 names to sinks"),
];

/// Numbers of the top level.
pub static TOP_NUMBERS: [Number<Config>; 1] = [Number::new(
    "shutdown_grace_ms",
    (0, 10 * MINUTE),
    |config| config.shutdown_grace_ms,
    |config, value| config.shutdown_grace_ms = value,
)];

/// `logs`, without numbers.
pub static LOGS: [Key; 3] = [
    key("pod_logs", PATH),
    key("container_links", PATH),
    key("collect_self", SWITCH),
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
pub static METRICS: [Key; 12] = [
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

/// What every sink has, without numbers.
pub static SINK: [Key; 9] = [
    key("type", "http, file, stdout or blackhole"),
    key(
        "read_from",
        "beginning, end, or a mapping with age_max_ms, bytes_max or both",
    ),
    key("format", "ndjson or json_array"),
    key(
        "columns",
        "a mapping of columns to new names; null, false or \"\" drops one",
    ),
    key("fields", "a mapping of names to JSON values"),
    key("parse_json", SWITCH),
    key("record_uid", SWITCH),
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

/// Type `file`, without numbers.
pub static FILE: [Key; 1] = [key("directory", PATH)];

/// Numbers of type `file`.
pub static FILE_NUMBERS: [Number<FileSink>; 3] = [
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

/// Type `http`, without numbers.
pub static HTTP: [Key; 5] = [
    key(
        "url",
        "http://HOST[:PORT][/PATH] or https://..., without user, password and #",
    ),
    key(
        "headers",
        "a mapping of header names to texts or {file: PATH}",
    ),
    key("bearer_token", SECRET),
    key("basic", "a mapping with user and password"),
    key("tls", "a mapping"),
];

/// Numbers of type `http`.
pub static HTTP_NUMBERS: [Number<HttpSink>; 3] = [
    Number::new(
        "connect_timeout_ms",
        (100, MINUTE),
        |http| http.connect_timeout_ms,
        |http, value| http.connect_timeout_ms = value,
    ),
    Number::new(
        "request_timeout_ms",
        (100, 10 * MINUTE),
        |http| http.request_timeout_ms,
        |http, value| http.request_timeout_ms = value,
    ),
    Number::new(
        "keep_alive_ms",
        (0, HOUR),
        |http| http.keep_alive_ms,
        |http, value| http.keep_alive_ms = value,
    ),
];

/// `basic`.
pub static BASIC: [Key; 2] = [key("user", "a text without colon"), key("password", SECRET)];

/// `tls`.
pub static TLS: [Key; 3] = [
    key("ca_file", PATH_OR_NULL),
    key("certificate_file", PATH_OR_NULL),
    key("key_file", PATH_OR_NULL),
];

/// Numbers of [`Limits`], directly at the sink's level.
pub static LIMITS: [Number<Limits>; 18] = [
    Number::new(
        "record_bytes_max",
        (KIB, 16 * MIB),
        |limits| limits.record_bytes_max as u64,
        |limits, value| limits.record_bytes_max = value as usize,
    ),
    Number::new(
        "block_bytes",
        (64 * KIB, 4 * MIB),
        |limits| limits.block_bytes as u64,
        |limits, value| limits.block_bytes = value as usize,
    ),
    Number::new(
        "join_bytes_max",
        (64 * KIB, 256 * MIB),
        |limits| limits.join_bytes_max as u64,
        |limits, value| limits.join_bytes_max = value as usize,
    ),
    Number::new(
        "partial_timeout_ms",
        (SECOND, HOUR),
        |limits| limits.partial_timeout_ms,
        |limits, value| limits.partial_timeout_ms = value,
    ),
    Number::new(
        "payload_bytes_max",
        (16 * KIB, 64 * MIB),
        |limits| limits.payload_bytes_max as u64,
        |limits, value| limits.payload_bytes_max = value as usize,
    ),
    Number::new(
        "payload_uncompressed_bytes_max",
        (16 * KIB, 256 * MIB),
        |limits| limits.payload_uncompressed_bytes_max as u64,
        |limits, value| limits.payload_uncompressed_bytes_max = value as usize,
    ),
    Number::new(
        "payload_records_max",
        (1, 1_000_000),
        |limits| u64::from(limits.payload_records_max),
        |limits, value| limits.payload_records_max = value as u32,
    ),
    Number::new(
        "flush_interval_ms",
        (10, 10 * MINUTE),
        |limits| limits.flush_interval_ms,
        |limits, value| limits.flush_interval_ms = value,
    ),
    Number::new(
        "payload_slots",
        (1, 256),
        |limits| limits.payload_slots as u64,
        |limits, value| limits.payload_slots = value as usize,
    ),
    Number::new(
        "requests_in_flight",
        (1, 64),
        |limits| limits.requests_in_flight as u64,
        |limits, value| limits.requests_in_flight = value as usize,
    ),
    Number::new(
        "backoff_min_ms",
        (10, MINUTE),
        |limits| limits.backoff_min_ms,
        |limits, value| limits.backoff_min_ms = value,
    ),
    Number::new(
        "backoff_max_ms",
        (10, HOUR),
        |limits| limits.backoff_max_ms,
        |limits, value| limits.backoff_max_ms = value,
    ),
    Number::new(
        "probe_interval_ms",
        (SECOND, HOUR),
        |limits| limits.probe_interval_ms,
        |limits, value| limits.probe_interval_ms = value,
    ),
    Number::new(
        "stuck_after_ms",
        (SECOND, DAY),
        |limits| limits.stuck_after_ms,
        |limits, value| limits.stuck_after_ms = value,
    ),
    Number::new(
        "rejects_per_minute_max",
        (0, 1_000_000),
        |limits| u64::from(limits.rejects_per_minute_max),
        |limits, value| limits.rejects_per_minute_max = value as u32,
    ),
    Number::new(
        "dead_letter_bytes_max",
        (0, 64 * GIB),
        |limits| limits.dead_letter_bytes_max,
        |limits, value| limits.dead_letter_bytes_max = value,
    ),
    Number::new(
        "gzip_open_max",
        (1, 256),
        |limits| limits.gzip_open_max as u64,
        |limits, value| limits.gzip_open_max = value as usize,
    ),
    Number::new(
        "checkpoint_interval_ms",
        (100, MINUTE),
        |limits| limits.checkpoint_interval_ms,
        |limits, value| limits.checkpoint_interval_ms = value,
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
    Known::of(&SINK).numbers(&SINK_NUMBERS).numbers(&LIMITS)
}

/// Keys of the type `file` alone.
pub fn file() -> Known {
    Known::of(&FILE).numbers(&FILE_NUMBERS)
}

/// Keys of the type `http` alone.
pub fn http() -> Known {
    Known::of(&HTTP).numbers(&HTTP_NUMBERS)
}

/// Every place in a config with its keys, in the order of the reference.
pub fn places() -> [(&'static str, Known); 12] {
    [
        ("the top level", Known::of(&TOP).numbers(&TOP_NUMBERS)),
        ("logs", Known::of(&LOGS).numbers(&LOGS_NUMBERS)),
        ("metrics", Known::of(&METRICS).numbers(&METRICS_NUMBERS)),
        ("metrics.ip", Known::of(&IP)),
        ("admin", Known::of(&ADMIN)),
        ("own_log", Known::of(&OWN_LOG)),
        ("sinks.NAME", common()),
        (
            "sinks.NAME.read_from",
            Known::default().numbers(&BACKLOG_NUMBERS),
        ),
        ("sinks.NAME of type file", file()),
        ("sinks.NAME of type http", http()),
        ("sinks.NAME.basic", Known::of(&BASIC)),
        ("sinks.NAME.tls", Known::of(&TLS)),
    ]
}

/// Where a key that is in the wrong place would be in the right one.
pub fn home(name: &str) -> Option<&'static str> {
    let mut places = places().into_iter();
    places
        .find(|(_, known)| known.allowed(name).is_some())
        .map(|(place, _)| place)
}
