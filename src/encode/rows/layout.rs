//! What of a row is known before its record: keys, and the values that are the same for the agent or for a chain.
//!
//! Invariant: the parts, put together in the order of [`Columns::NAMES`] with the static fields behind them, are one
//! JSON object. Each member brings its own comma, except the first that is always written.

use std::ops::Range;

use super::json;
use crate::config::{Columns, Rows as RowsConfig};
use crate::record::{ChainMeta, Level, Stream, TimeText};

const LEVELS: [Level; 7] = [
    Level::Critical,
    Level::Error,
    Level::Warning,
    Level::Info,
    Level::Debug,
    Level::Trace,
    Level::Unknown,
];

/// The parts that are the same for all chains.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Columns,
    first: Option<&'static str>,
    node: String,
    cluster_name: Option<String>,
    /// The brace and all up to the time's value.
    pub(super) open: Vec<u8>,
    /// Whether the time is written.
    pub(super) time: bool,
    /// Whether the message is written.
    pub(super) message: bool,
    /// `LogSource` and `LogLevel`, per stream and level.
    sources_and_levels: [[Vec<u8>; LEVELS.len()]; Stream::ALL.len()],
    /// All up to the uid's value, if it is written.
    pub(super) uid: Option<Vec<u8>>,
    /// All up to the flags' value, if they are to be written where there are any.
    pub(super) flags: Option<Vec<u8>>,
    /// The static fields and the brace.
    pub(super) close: Vec<u8>,
    /// No column is always written: what comes first in a row depends on the record, and its comma is too much.
    pub(super) leading_comma: bool,
    /// The `KubernetesMetadata` column is the pod's uid, not an object.
    pub(super) flat_metadata: bool,
}

impl Layout {
    pub(super) fn new(config: &RowsConfig, node: &str, cluster_name: Option<&str>) -> Layout {
        let mut layout = Layout {
            columns: config.columns.clone(),
            first: None,
            node: node.to_owned(),
            cluster_name: cluster_name.map(str::to_owned),
            open: b"{".to_vec(),
            time: false,
            message: false,
            sources_and_levels: Default::default(),
            uid: None,
            flags: None,
            close: Vec::new(),
            leading_comma: false,
            flat_metadata: false,
        };
        layout.first = Columns::NAMES.into_iter().find(|column| match *column {
            "ClusterName" => layout.cluster_name.is_some() && layout.has(column),
            "RecordUid" => config.record_uid && layout.has(column),
            "LogFlags" => false,
            _ => layout.has(column),
        });
        layout.leading_comma = layout.first.is_none();
        layout.message = layout.has("LogMessage");
        layout.time = layout.has("TimeGenerated");
        if layout.time {
            let mut open = std::mem::take(&mut layout.open);
            layout.key("TimeGenerated", &mut open);
            open.push(b'"');
            layout.open = open;
        }
        for stream in Stream::ALL {
            for level in LEVELS {
                let mut text = Vec::new();
                layout.string("LogSource", stream.as_str(), &mut text);
                layout.string("LogLevel", level.as_str(), &mut text);
                layout.sources_and_levels[stream.index()][level as usize] = text;
            }
        }
        layout.uid = layout.quoted("RecordUid").filter(|_| config.record_uid);
        layout.flags = layout.quoted("LogFlags");
        for (name, value) in &config.fields {
            layout.close.push(b',');
            json::write_string(name.as_bytes(), &mut layout.close);
            layout.close.push(b':');
            layout.close.extend_from_slice(value.to_string().as_bytes());
        }
        layout.close.push(b'}');
        layout
    }

    /// The `LogSource` and `LogLevel` columns.
    pub(super) fn source_and_level(&self, stream: Stream, level: Level) -> &[u8] {
        &self.sources_and_levels[stream.index()][level as usize]
    }

    /// The parts that are the same for all records of a chain, in the form that [`Described::load`] takes.
    pub(super) fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut before_message = Vec::new();
        if self.time {
            before_message.push(b'"');
        }
        self.string("Computer", &self.node, &mut before_message);
        self.string("ContainerId", &chain.container_id, &mut before_message);
        self.string("ContainerName", &chain.key.container, &mut before_message);
        self.string("PodName", &chain.pod, &mut before_message);
        self.string("PodNamespace", &chain.namespace, &mut before_message);
        if self.message {
            self.key("LogMessage", &mut before_message);
        }
        let mut metadata = Vec::new();
        if self.flat_metadata {
            self.string("KubernetesMetadata", &chain.key.pod_uid, &mut metadata);
        } else if self.has("KubernetesMetadata") {
            self.key("KubernetesMetadata", &mut metadata);
            metadata.extend_from_slice(b"{\"podUid\":");
            json::write_string(chain.key.pod_uid.as_bytes(), &mut metadata);
            metadata.push(b'}');
        }
        if let Some(cluster_name) = &self.cluster_name {
            self.string("ClusterName", cluster_name, &mut metadata);
        }
        Described::store(&before_message, &metadata)
    }

    fn has(&self, column: &'static str) -> bool {
        self.columns.name(column).is_some()
    }

    /// Appends a column's key, unless the column is dropped, with the comma in front of it.
    fn key(&self, column: &'static str, out: &mut Vec<u8>) {
        if let Some(name) = self.columns.name(column) {
            if self.first != Some(column) {
                out.push(b',');
            }
            json::write_string(name.as_bytes(), out);
            out.push(b':');
        }
    }

    fn string(&self, column: &'static str, value: &str, out: &mut Vec<u8>) {
        if self.has(column) {
            self.key(column, out);
            json::write_string(value.as_bytes(), out);
        }
    }

    /// A key and the quote that opens its value.
    fn quoted(&self, column: &'static str) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.key(column, &mut text);
        text.push(b'"');
        self.has(column).then_some(text)
    }
}

/// Bytes of a time as runtimes mostly write it: nine fraction digits.
const TIME_BYTES: usize = 30;

/// The parts of a chain's rows, put together so that few copies make a row.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// What [`Layout::describe`] made.
    source: Vec<u8>,
    /// Where in `source` the metadata behind the level begins, and where it ends.
    metadata: Range<usize>,
    /// Where in `source` the part between the time's value and the message's lies.
    before_message: Range<usize>,
    /// All up to the message's value, with a time of [`TIME_BYTES`] in it.
    head: Vec<u8>,
    /// Per stream and level, made when first asked for: all behind the message's value.
    tails: [[Vec<u8>; LEVELS.len()]; Stream::ALL.len()],
}

impl Described {
    fn store(before_message: &[u8], metadata: &[u8]) -> Vec<u8> {
        let message_at = before_message.len() as u64;
        [&message_at.to_le_bytes(), before_message, metadata].concat()
    }

    /// Takes over what [`Layout::describe`] made, reusing the memory; what it has already it keeps.
    pub(super) fn load(&mut self, layout: &Layout, described: &[u8]) {
        if self.source == described {
            return;
        }
        self.source.clear();
        self.source.extend_from_slice(described);
        let start = size_of::<u64>();
        let message_at = described.first_chunk().copied().map(u64::from_le_bytes);
        let message_at = start + message_at.unwrap_or_default() as usize;
        self.before_message = start..message_at;
        self.metadata = message_at..described.len();
        self.head.clear();
        self.head.extend_from_slice(&layout.open);
        if layout.time {
            self.head.extend_from_slice(&[b' '; TIME_BYTES]);
        }
        let before_message = described.get(start..message_at).unwrap_or_default();
        self.head.extend_from_slice(before_message);
        for tail in self.tails.as_flattened_mut() {
            tail.clear();
        }
    }

    /// Appends all up to the message's value.
    #[inline]
    pub(super) fn write_head(&self, layout: &Layout, time: &TimeText, out: &mut Vec<u8>) {
        let time = time.as_bytes();
        if !layout.time {
            out.extend_from_slice(&self.head);
        } else if let Ok(time) = <&[u8; TIME_BYTES]>::try_from(time) {
            let at = out.len() + layout.open.len();
            out.extend_from_slice(&self.head);
            if let Some(place) = out.get_mut(at..at + TIME_BYTES) {
                place.copy_from_slice(time);
            }
        } else {
            out.extend_from_slice(&layout.open);
            out.extend_from_slice(time);
            let before_message = self.source.get(self.before_message.clone());
            out.extend_from_slice(before_message.unwrap_or_default());
        }
    }

    /// All behind the message's value, of a record with neither uid nor flags.
    #[inline]
    pub(super) fn tail(&mut self, layout: &Layout, stream: Stream, level: Level) -> &[u8] {
        let tail = &mut self.tails[stream.index()][level as usize];
        if tail.is_empty() {
            tail.extend_from_slice(layout.source_and_level(stream, level));
            let metadata = self.source.get(self.metadata.clone());
            tail.extend_from_slice(metadata.unwrap_or_default());
            tail.extend_from_slice(&layout.close);
        }
        tail
    }

    pub(super) fn metadata(&self) -> &[u8] {
        self.source.get(self.metadata.clone()).unwrap_or_default()
    }
}
