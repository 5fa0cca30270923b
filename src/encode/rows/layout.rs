//! What of a row is known before its record: keys, and the values that are the same for the agent or for a chain.
//!
//! Invariant: the parts, put together in the order of [`Columns::NAMES`] with the static fields behind them, are one
//! JSON object. Each member brings its own comma, except the first that is always written.

use std::collections::BTreeSet;
use std::ops::Range;

use super::json;
use super::metadata::Metadata;
use crate::config::{Columns, MetadataFields, Rows as RowsConfig};
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
    /// The `KubernetesMetadata` column is the pod's uid, not an object; what else there is has fields of its own.
    pub(super) flat_metadata: bool,
    include_fields: MetadataFields,
    /// Names that the user has given to fields of his own.
    taken: Vec<String>,
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
            include_fields: config.include_fields,
            taken: config.fields.iter().map(|(name, _)| name.clone()).collect(),
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
            let known = Metadata::of(chain, self.include_fields);
            if self.flat_metadata {
                self.flat(&known, &mut metadata);
            } else {
                self.key("KubernetesMetadata", &mut metadata);
                object(&known, &mut metadata);
            }
        }
        if let Some(cluster_name) = &self.cluster_name {
            self.string("ClusterName", cluster_name, &mut metadata);
        }
        Described::store(&before_message, &metadata)
    }

    /// What is known of a pod in fields of its own, as the Elastic Common Schema and those who ship to it name them
    /// (elastic.co/guide/en/ecs, "Container Fields", and the fields of Beats). Dots in names of labels would be objects
    /// within objects.
    fn flat(&self, known: &Metadata<'_>, out: &mut Vec<u8>) {
        if !known.uid.is_empty() || self.first == Some("KubernetesMetadata") {
            self.string("KubernetesMetadata", known.uid, out);
        }
        let mut fields: Vec<(&str, Vec<u8>)> = Vec::new();
        for (name, pairs) in [
            ("kubernetes.labels", &known.labels),
            ("kubernetes.annotations", &known.annotations),
        ] {
            if !pairs.is_empty() {
                let pairs = pairs.iter();
                let pairs = pairs.map(|(name, value)| (name.replace('.', "_"), *value));
                fields.push((name, of_pairs(pairs)));
            }
        }
        let image = &known.image;
        let lists = [
            ("container.image.tag", &image.tag),
            ("container.image.hash.all", &image.digest),
        ];
        if !known.repository.is_empty() {
            fields.push(("container.image.name", quoted(&known.repository)));
        }
        for (name, value) in lists.into_iter().filter(|(_, value)| !value.is_empty()) {
            fields.push((name, [b"[", quoted(value).as_slice(), b"]"].concat()));
        }
        if let Some(workload) = known.workload {
            let field = match workload.kind.as_str() {
                "Deployment" => Some("kubernetes.deployment.name"),
                "StatefulSet" => Some("kubernetes.statefulset.name"),
                "DaemonSet" => Some("kubernetes.daemonset.name"),
                "ReplicaSet" => Some("kubernetes.replicaset.name"),
                "Job" => Some("kubernetes.job.name"),
                "CronJob" => Some("kubernetes.cronjob.name"),
                _ => None,
            };
            fields.extend(field.map(|field| (field, quoted(&workload.name))));
        }
        fields.retain(|(name, _)| !self.taken.iter().any(|taken| taken == name));
        for (name, value) in fields {
            out.push(b',');
            out.extend_from_slice(&quoted(name));
            out.push(b':');
            out.extend_from_slice(&value);
        }
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

fn quoted(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json::write_string(text.as_bytes(), &mut quoted);
    quoted
}

/// An object of these members; of two with one name the first.
fn of_pairs<'a>(pairs: impl Iterator<Item = (String, &'a str)>) -> Vec<u8> {
    let mut object = b"{".to_vec();
    let mut written = BTreeSet::new();
    for (name, value) in pairs {
        if written.contains(&name) {
            continue;
        }
        if object.len() > 1 {
            object.push(b',');
        }
        json::write_string(name.as_bytes(), &mut object);
        object.push(b':');
        json::write_string(value.as_bytes(), &mut object);
        written.insert(name);
    }
    object.push(b'}');
    object
}

/// The value of the `KubernetesMetadata` column. The uid is there whatever is known.
fn object(known: &Metadata<'_>, out: &mut Vec<u8>) {
    let image = &known.image;
    let pairs = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        of_pairs(pairs)
    };
    let text = |text: &str| Some(quoted(text)).filter(|_| !text.is_empty());
    let members = [
        ("podUid", text(known.uid)),
        (
            "podLabels",
            Some(pairs(&known.labels)).filter(|_| !known.labels.is_empty()),
        ),
        (
            "podAnnotations",
            Some(pairs(&known.annotations)).filter(|_| !known.annotations.is_empty()),
        ),
        ("image", text(&image.name)),
        ("imageID", text(&image.digest)),
        ("imageRepo", text(&image.repo)),
        ("imageTag", text(&image.tag)),
    ];
    out.push(b'{');
    let mut first = true;
    for (name, value) in members {
        let Some(value) = value else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(&quoted(name));
        out.push(b':');
        out.extend_from_slice(&value);
    }
    out.push(b'}');
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
