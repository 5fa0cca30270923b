//! What of a line is no message: the labels of its stream, and the metadata beside it.
//!
//! Invariant: a field is a label, or metadata, or (if that is switched off) neither; never both. Labels are sorted by
//! name and none is empty, as Loki wants them.

use std::ops::Range;

use super::{LEVELS, UNKNOWN, put_pair};
use crate::config::{LokiField, LokiLabel, LokiSink, MetadataFields};
use crate::encode::metadata::Metadata;
use crate::record::{ChainMeta, Level, Stream};

/// In the order of their discriminants.
pub(super) const ALL_LEVELS: [Level; LEVELS] = [
    Level::Critical,
    Level::Error,
    Level::Warning,
    Level::Info,
    Level::Debug,
    Level::Trace,
    Level::Unknown,
];

/// Most labels of a pod beside a line: Loki takes 128 entries (`max_structured_metadata_entries_count`).
const POD_LABELS_MAX: usize = 96;
/// Longest value of a label, in bytes (Loki's `max_label_value_length`).
const VALUE_BYTES_MAX: usize = 2048;

/// Which labels there are, and what is known of the node.
#[derive(Debug)]
pub(super) struct Labels {
    node: String,
    cluster_name: Option<String>,
    /// Sorted by name.
    labels: Vec<(String, LokiLabel)>,
    metadata: bool,
    /// What of a pod goes along as metadata.
    pub(super) include_fields: MetadataFields,
    by_stream: bool,
    by_level: bool,
}

impl Labels {
    pub(super) fn new(sink: &LokiSink, node: &str, cluster_name: Option<&str>) -> Labels {
        let given = sink.labels.iter();
        let mut labels: Vec<(String, LokiLabel)> = given
            .filter_map(|(name, label)| Some((name.clone(), label.clone()?)))
            .collect();
        labels.sort_by(|(one, _), (other, _)| one.cmp(other));
        let has = |field| labels.iter().any(|(_, it)| *it == LokiLabel::Field(field));
        Labels {
            node: node.to_owned(),
            cluster_name: cluster_name.map(str::to_owned),
            metadata: sink.structured_metadata,
            include_fields: MetadataFields::ALL,
            by_stream: has(LokiField::Stream),
            by_level: has(LokiField::Level),
            labels,
        }
    }

    /// Which of a chain's sets of labels a record has.
    #[inline]
    pub(super) fn variant(&self, stream: Stream, level: Level) -> usize {
        match (self.by_stream, self.by_level) {
            (false, false) => 0,
            (true, false) => stream.index(),
            (false, true) => level as usize,
            (true, true) => stream.index() * LEVELS + level as usize,
        }
    }

    /// All sets of labels of a chain, and its metadata, in the form that [`Variants::load`] takes.
    pub(super) fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut described = Vec::new();
        let streams = if self.by_stream {
            &Stream::ALL[..]
        } else {
            &Stream::ALL[..1]
        };
        let levels = if self.by_level {
            &ALL_LEVELS[..]
        } else {
            &[UNKNOWN]
        };
        let count = (streams.len() * levels.len()) as u64;
        described.extend_from_slice(&count.to_le_bytes());
        for stream in streams {
            for level in levels {
                let text = self.text(chain, *stream, *level);
                described.extend_from_slice(&(text.len() as u64).to_le_bytes());
                described.extend_from_slice(text.as_bytes());
            }
        }
        if self.metadata {
            let of_chain = LokiField::ALL.into_iter();
            let of_chain = of_chain
                .filter(|it| !matches!(it, LokiField::Stream | LokiField::Level))
                .filter(|it| !self.has(*it));
            for field in of_chain {
                let value = self.value(field, chain);
                if !value.is_empty() {
                    put_pair(field.name(), value, &mut described);
                }
            }
            self.put_pod(chain, &mut described);
        }
        described
    }

    /// What the cluster says of the pod. Annotations are left out: they are more than a line may have beside it.
    fn put_pod(&self, chain: &ChainMeta, out: &mut Vec<u8>) {
        let known = Metadata::of(chain, self.include_fields);
        if let Some(workload) = known.workload {
            let workload = format!("{}/{}", workload.kind, workload.name);
            put_pair("workload", &workload, out);
        }
        for (name, value) in [
            ("image", &known.repository),
            ("image_tag", &known.image.tag),
            ("image_id", &known.image.digest),
        ] {
            if !value.is_empty() {
                put_pair(name, value, out);
            }
        }
        for (name, value) in known.labels.iter().take(POD_LABELS_MAX) {
            let plain = |char: char| match char.is_ascii_alphanumeric() {
                true => char,
                false => '_',
            };
            let name: String = name.chars().map(plain).collect();
            put_pair(&format!("label_{name}"), value, out);
        }
    }

    /// The metadata of a record of this stream and level.
    pub(super) fn tail(&self, stream: Stream, level: Level) -> Vec<u8> {
        let mut tail = Vec::new();
        if !self.metadata {
            return tail;
        }
        if !self.by_stream {
            put_pair(LokiField::Stream.name(), stream.as_str(), &mut tail);
        }
        if !self.by_level && level != UNKNOWN {
            let level = level.as_str().to_ascii_lowercase();
            put_pair(LokiField::Level.name(), &level, &mut tail);
        }
        tail
    }

    fn has(&self, field: LokiField) -> bool {
        let mut labels = self.labels.iter();
        labels.any(|(_, label)| *label == LokiLabel::Field(field))
    }

    fn value<'a>(&'a self, field: LokiField, chain: &'a ChainMeta) -> &'a str {
        match field {
            LokiField::Cluster => self.cluster_name.as_deref().unwrap_or_default(),
            LokiField::Node => &self.node,
            LokiField::Namespace => &chain.namespace,
            LokiField::Pod => &chain.pod,
            LokiField::PodUid => &chain.key.pod_uid,
            LokiField::Container => &chain.key.container,
            LokiField::ContainerId => &chain.container_id,
            LokiField::Stream | LokiField::Level => "",
        }
    }

    /// The labels as text: `{name="value", ...}`.
    fn text(&self, chain: &ChainMeta, stream: Stream, level: Level) -> String {
        let mut pairs = Vec::new();
        for (name, label) in &self.labels {
            let value = match label {
                LokiLabel::Text(text) => text.clone(),
                LokiLabel::Field(LokiField::Stream) => stream.as_str().to_owned(),
                LokiLabel::Field(LokiField::Level) => level.as_str().to_ascii_lowercase(),
                LokiLabel::Field(field) => self.value(*field, chain).to_owned(),
            };
            if !value.is_empty() {
                pairs.push(format!("{name}={}", quoted(&value)));
            }
        }
        if pairs.is_empty() {
            // A stream has a label at least.
            pairs.push(format!("node={}", quoted(&self.node)));
        }
        format!("{{{}}}", pairs.join(", "))
    }
}

/// A value as a string of LogQL, which are those of Go (go.dev/ref/spec, "String literals"), cut to what Loki takes.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for (at, char) in value.char_indices() {
        if at + char.len_utf8() > VALUE_BYTES_MAX {
            break;
        }
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            char if char.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => text.push(char),
        }
    }
    text.push('"');
    text
}

/// The parts of a chain's lines.
#[derive(Debug, Default)]
pub(super) struct Variants {
    /// What [`Labels::describe`] made.
    source: Vec<u8>,
    labels: Vec<Range<usize>>,
    metadata: usize,
}

impl Variants {
    /// Takes over what [`Labels::describe`] made, reusing the memory; what it has already it keeps.
    pub(super) fn load(&mut self, described: &[u8]) {
        if self.source == described {
            return;
        }
        self.source.clear();
        self.source.extend_from_slice(described);
        self.labels.clear();
        let mut at = size_of::<u64>();
        for _ in 0..number_at(described, 0) {
            let start = at + size_of::<u64>();
            let end = start.saturating_add(number_at(described, at));
            self.labels.push(start..end);
            at = end;
        }
        self.metadata = at;
    }

    /// A set of labels, as text.
    pub(super) fn labels(&self, variant: usize) -> &[u8] {
        let range = self.labels.get(variant).cloned().unwrap_or_default();
        self.source.get(range).unwrap_or_default()
    }

    /// The metadata that is the same for all records of the chain.
    #[inline]
    pub(super) fn metadata(&self) -> &[u8] {
        self.source.get(self.metadata..).unwrap_or_default()
    }
}

/// The number at an offset.
fn number_at(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().map_or(0, u64::from_le_bytes) as usize
}
