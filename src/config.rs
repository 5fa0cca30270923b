//! The effective configuration: what the rest of the program reads. Every value here has been checked.
//!
//! `config/parse.rs` makes it from YAML and reports every mistake at once.

pub mod bounds;
pub mod check;
pub mod glob;
pub mod keys;
pub mod kubernetes;
pub mod lines;
pub mod metrics;
pub mod mistake;
pub mod multiline;
pub mod parse;
pub mod pattern;
pub mod preset;
pub mod render;
pub mod scrape;
pub mod secret;
pub mod select;
pub mod selector;
pub mod sinks;
pub mod substitute;
pub mod walk;
pub mod yaml;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::lines::{Detector, Lines};
pub use self::secret::Secret;
pub use self::sinks::SinkKind;
pub use self::sinks::azure_logs::AzureLogsSink;
pub use self::sinks::elasticsearch::{
    BulkAction, DocumentSchema, ElasticsearchSink, IndexPart, index_parts,
};
pub use self::sinks::file::FileSink;
pub use self::sinks::http::azure::{AzureAuth, AzureIdentity, Cloud};
pub use self::sinks::http::{Auth, HttpSink, Tls};
pub use self::sinks::kafka::{Address, KafkaSink, Sasl, ScramHash, Topic};
pub use self::sinks::loki::{LokiField, LokiLabel, LokiSink};
pub use self::sinks::otlp::{OtelNaming, OtlpProtocol, OtlpSink};
pub use self::sinks::remote_write::{RemoteWriteSink, RemoteWriteVersion};
pub use self::sinks::splunk_hec::{HecEvent, HecPart, SplunkHecSink, hec_parts};

/// Everything the agent is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The node's name, for the `Computer` column.
    pub node: String,
    /// The `ClusterName` column; absent: no such column.
    pub cluster_name: Option<String>,
    /// The profile that the defaults of other keys come from.
    pub preset: Option<preset::Preset>,
    /// Where checkpoints, dead letters and the default file sink live.
    pub state_dir: PathBuf,
    /// How long a drain may take after SIGTERM.
    pub shutdown_grace_ms: u64,
    /// How long a sink that a new configuration changes may take to send what it has read.
    pub reload_grace_ms: u64,
    /// What to tail.
    pub logs: Logs,
    /// What to measure.
    pub metrics: metrics::Metrics,
    /// Who is asked about pods and the node.
    pub kubernetes: kubernetes::Kubernetes,
    /// The admin server.
    pub admin: Admin,
    /// The agent's own log.
    pub own_log: OwnLog,
    /// Where it goes, in file order.
    pub sinks: Vec<Sink>,
}

/// What to tail, and the catalog's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Logs {
    /// `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// `/var/log/containers`: only its link names are read, for container ids.
    pub container_links: PathBuf,
    /// How often a growing log is looked at.
    pub poll_active_ms: u64,
    /// How often a quiet log is looked at, at least.
    pub poll_idle_ms: u64,
    /// How often every directory is listed whatever the watcher says.
    pub rescan_interval_ms: u64,
    /// How long a chain must be absent from successful scans before its cursors are forgotten.
    pub forget_after_ms: u64,
    /// The keeper's budget: bytes of deleted files that are held open because a sink has not read them.
    pub held_bytes_max: u64,
    /// The keeper's budget: descriptors of segments held open, live ones included.
    pub held_files_max: usize,
    /// Whether the agent's own pod is collected.
    pub collect_self: bool,
    /// Which lines belong together, for every sink that does not say otherwise.
    pub multiline: multiline::Multiline,
    /// Which containers are collected, by sinks that do not say otherwise.
    pub select: select::Select,
    /// Which records are wanted, where a sink does not say otherwise.
    pub lines: Lines,
}

/// The admin server.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Address of `/metrics`, `/healthz`, `/readyz`, `/status` and `/explain`.
    pub listen: SocketAddr,
}

/// The agent's own log, on stderr.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnLog {
    /// Least urgent level that is written.
    pub level: tracing::Level,
    /// JSON lines in place of text.
    pub json: bool,
}

/// One sink: a pipeline of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// The user's name for it: label value, checkpoint directory name.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
    /// What it takes.
    pub signals: Signals,
    /// Which containers it collects.
    pub select: select::Select,
    /// Which records it wants, and what is hidden in them.
    pub lines: Lines,
    /// How rows look.
    pub rows: Rows,
    /// Which lines belong together.
    pub multiline: multiline::Multiline,
    /// How payloads are compressed.
    pub compression: Compression,
    /// Where it starts in logs that exist when it first runs.
    pub read_from: ReadFrom,
    /// Threads; chains are hashed to them.
    pub workers: usize,
    /// Its bounds.
    pub limits: Limits,
}

/// What a sink takes; at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// Records of container logs.
    pub logs: bool,
    /// Samples of the node's metrics.
    pub metrics: bool,
}

/// How payloads are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    None,
    /// gzip, level 1-9.
    Gzip(u32),
    /// Zstandard, level 1-19.
    Zstd(i32),
    /// The block format of snappy, for protocols that ask for it: a payload is compressed as a whole when it is sealed.
    Snappy,
}

/// Where a sink starts in logs that exist when it first runs. Later logs start at their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Read all there is.
    Beginning,
    /// Skip all there is, counted as `excluded{backlog}`.
    End,
    /// Skip segments last written longer ago than `age_max_ms`, and what lies more than `bytes_max` before the end.
    Backlog {
        /// Oldest segment that is read.
        age_max_ms: Option<u64>,
        /// Most bytes that are read per chain.
        bytes_max: Option<u64>,
    },
}

/// How rows look.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Envelope.
    pub format: RowFormat,
    /// Renamed or dropped columns.
    pub columns: Columns,
    /// Write a message that is a JSON object as an object.
    pub parse_json: bool,
    /// Add the `RecordUid` column.
    pub record_uid: bool,
    /// What of the cluster's words on a pod goes along.
    pub include_fields: MetadataFields,
    /// Static columns, written last, in order.
    pub fields: Vec<(String, serde_json::Value)>,
}

/// Which members the `KubernetesMetadata` column has, by their names there; other forms have their own names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataFields(u8);

impl MetadataFields {
    /// The names, in the order in which they are written.
    pub const NAMES: [&'static str; 7] = [
        "podUid",
        "podLabels",
        "podAnnotations",
        "image",
        "imageID",
        "imageRepo",
        "imageTag",
    ];
    /// All of them.
    pub const ALL: MetadataFields = MetadataFields(0b111_1111);
    /// None of them.
    pub const NONE: MetadataFields = MetadataFields(0);

    /// The same with the one of this name, whatever its case; `None`: there is none.
    pub fn with(self, name: &str) -> Option<MetadataFields> {
        let mut names = Self::NAMES.into_iter();
        let at = names.position(|known| known.eq_ignore_ascii_case(name))?;
        Some(MetadataFields(self.0 | 1 << at))
    }

    /// Whether the one of this name is among them.
    pub fn has(self, name: &str) -> bool {
        self.with(name) == Some(self)
    }

    /// Those that are among them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter();
        names.filter(move |name| self.has(name))
    }
}

/// Envelope of a payload of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One object per line.
    Ndjson,
    /// One array.
    JsonArray,
    /// Messages of `proto/longshore/v1`: no rows, but what they say.
    Protobuf,
}

/// Names of the columns; `None` drops a column. `column` is one of [`Columns::NAMES`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(Vec<(&'static str, Option<String>)>);

impl Columns {
    /// The columns in the order in which they are written.
    pub const NAMES: [&'static str; 13] = [
        "TimeGenerated",
        "Computer",
        "ContainerId",
        "ContainerName",
        "PodName",
        "PodNamespace",
        "LogMessage",
        "LogSource",
        "LogLevel",
        "KubernetesMetadata",
        "ClusterName",
        "RecordUid",
        "LogFlags",
    ];

    /// The columns that rows of metrics have of their own; they have no other names.
    pub const OF_METRICS: [&'static str; 4] = ["Namespace", "Name", "Val", "Tags"];

    /// The columns that rows of metrics share with those of logs.
    pub const SHARED: [&'static str; 3] = ["TimeGenerated", "Computer", "ClusterName"];

    /// Renames a column, or drops it. Equal meaning is an equal value.
    pub fn set(&mut self, column: &'static str, name: Option<String>) {
        self.0.retain(|(known, _)| *known != column);
        if name.as_deref() != Some(column) {
            self.0.push((column, name));
        }
        let place = |column: &str| Self::NAMES.iter().position(|name| *name == column);
        self.0.sort_by_key(|(column, _)| place(column));
    }

    /// Under what name a column is written; `None`: not at all.
    pub fn name<'a>(&'a self, column: &'a str) -> Option<&'a str> {
        match self.0.iter().find(|(known, _)| *known == column) {
            Some((_, name)) => name.as_deref(),
            None => Some(column),
        }
    }
}

/// The bounds of one sink. Each has its default in [`Limits::default`] and its meaning in the config reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest message that is kept whole; the rest of a longer one is skipped and counted.
    pub record_bytes_max: usize,
    /// Bytes that one turn of one chain may read.
    pub block_bytes: usize,
    /// All open records (P without F) together.
    pub join_bytes_max: usize,
    /// An open record is delivered, marked partial, when it has waited this long for its end.
    pub partial_timeout_ms: u64,
    /// A payload is sealed when it has this many (compressed) bytes.
    pub payload_bytes_max: usize,
    /// A payload is sealed when it has this many bytes before compression.
    pub payload_uncompressed_bytes_max: usize,
    /// A payload is sealed when it has this many records.
    pub payload_records_max: u32,
    /// A payload is sealed when its first record is this old.
    pub flush_interval_ms: u64,
    /// Finished payloads that may wait or be under way; when all are taken, reading stops.
    pub payload_slots: usize,
    /// Attempts under way at once.
    pub requests_in_flight: usize,
    /// First back-off after a failure.
    pub backoff_min_ms: u64,
    /// Longest back-off.
    pub backoff_max_ms: u64,
    /// How often a paused sink is probed.
    pub probe_interval_ms: u64,
    /// After failing for this long, a payload is stepped over once to see whether the fault is its own.
    pub stuck_after_ms: u64,
    /// More rejected records in a minute pause the sink.
    pub rejects_per_minute_max: u32,
    /// Bytes of rejected records that are kept in the state directory.
    pub dead_letter_bytes_max: u64,
    /// Gzip segments being inflated at once, per worker.
    pub gzip_open_max: usize,
    /// How far the durable checkpoint may lag.
    pub checkpoint_interval_ms: u64,
    /// All payloads of samples that wait or are under way.
    pub samples_bytes_max: usize,
    /// Samples that have waited for longer are given up.
    pub samples_age_max_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            record_bytes_max: 256 * 1024,
            block_bytes: 256 * 1024,
            join_bytes_max: 4 * 1024 * 1024,
            partial_timeout_ms: 60_000,
            payload_bytes_max: 1024 * 1024,
            payload_uncompressed_bytes_max: 8 * 1024 * 1024,
            payload_records_max: 50_000,
            flush_interval_ms: 1_000,
            payload_slots: 4,
            requests_in_flight: 2,
            backoff_min_ms: 500,
            backoff_max_ms: 30_000,
            probe_interval_ms: 30_000,
            stuck_after_ms: 600_000,
            rejects_per_minute_max: 10,
            dead_letter_bytes_max: 16 * 1024 * 1024,
            gzip_open_max: 8,
            checkpoint_interval_ms: 1_000,
            samples_bytes_max: 8 * 1024 * 1024,
            samples_age_max_ms: 3_000_000,
        }
    }
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            pod_logs: PathBuf::from("/var/log/pods"),
            container_links: PathBuf::from("/var/log/containers"),
            poll_active_ms: 50,
            poll_idle_ms: 800,
            rescan_interval_ms: 10_000,
            forget_after_ms: 600_000,
            held_bytes_max: 512 * 1024 * 1024,
            held_files_max: 768,
            collect_self: false,
            multiline: multiline::Multiline::default(),
            select: select::Select::default(),
            lines: Lines::default(),
        }
    }
}

impl Default for Rows {
    fn default() -> Rows {
        Rows {
            format: RowFormat::Ndjson,
            columns: Columns::default(),
            parse_json: false,
            record_uid: false,
            include_fields: MetadataFields::ALL,
            fields: Vec::new(),
        }
    }
}
