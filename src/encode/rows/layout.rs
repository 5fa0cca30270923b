//! What of a row is known before its record: keys, and the values that are the same for the agent or for a chain.
//!
//! Invariant: the parts, put together in the order of [`Columns::NAMES`] with the static fields behind them, are one
//! JSON object. Each member brings its own comma, except the first that is always written.

use super::json;
use crate::config::{Columns, Rows as RowsConfig};
use crate::record::{ChainMeta, Level, Stream};

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
        if self.has("KubernetesMetadata") {
            self.key("KubernetesMetadata", &mut metadata);
            metadata.extend_from_slice(b"{\"podUid\":");
            json::write_string(chain.key.pod_uid.as_bytes(), &mut metadata);
            metadata.push(b'}');
        }
        if let Some(cluster_name) = &self.cluster_name {
            self.string("ClusterName", cluster_name, &mut metadata);
        }
        Described::store(&before_message, &metadata, &self.close)
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

/// The parts of a chain's rows, one behind the other: all from the time's value to the message's, the metadata behind
/// the level, and the end of the row once more, so that one copy does for most rows.
#[derive(Debug, Default)]
pub(super) struct Described {
    text: Vec<u8>,
    message_at: usize,
    close_at: usize,
}

impl Described {
    fn store(before_message: &[u8], metadata: &[u8], close: &[u8]) -> Vec<u8> {
        let message_at = before_message.len() as u64;
        let close_at = message_at + metadata.len() as u64;
        [
            &message_at.to_le_bytes(),
            &close_at.to_le_bytes(),
            before_message,
            metadata,
            close,
        ]
        .concat()
    }

    /// Takes over what [`Layout::describe`] made, reusing the memory.
    pub(super) fn load(&mut self, described: &[u8]) {
        self.text.clear();
        if let Some((message_at, rest)) = described.split_first_chunk()
            && let Some((close_at, text)) = rest.split_first_chunk()
        {
            self.text.extend_from_slice(text);
            self.message_at = u64::from_le_bytes(*message_at) as usize;
            self.close_at = u64::from_le_bytes(*close_at) as usize;
        }
    }

    pub(super) fn before_message(&self) -> &[u8] {
        self.text.get(..self.message_at).unwrap_or_default()
    }

    pub(super) fn metadata(&self) -> &[u8] {
        self.text
            .get(self.message_at..self.close_at)
            .unwrap_or_default()
    }

    pub(super) fn after_level(&self) -> &[u8] {
        self.text.get(self.message_at..).unwrap_or_default()
    }
}
