//! Events for Splunk's HTTP Event Collector: one JSON object for each record, one behind the other
//! (docs.splunk.com, "Format events for HTTP Event Collector").
//!
//! Invariant: the bytes of an event depend on nothing but the configuration, the chain and the record, and an event is
//! never blank. So payloads may be cut and put together between events.

use std::ops::Range;

use super::metadata::{Metadata, workload_attribute};
use super::rows::Rows;
use super::time::UnixTime;
use super::{Encode, Encoded, Run, cut_records, json, record_uid, write_hex};
use crate::config::{
    HecEvent, HecPart, MetadataFields, RowFormat, Rows as RowsConfig, SplunkHecSink, hec_parts,
};
use crate::record::{ChainMeta, Level, Record, Stream};

const LEVELS: [Level; 7] = [
    Level::Critical,
    Level::Error,
    Level::Warning,
    Level::Info,
    Level::Debug,
    Level::Trace,
    Level::Unknown,
];
const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
/// What stands for an empty message: the collector refuses an empty event (code 13), and with it those behind it.
const BLANK: &[u8] = b"\" \"";

/// The encoder of events.
#[derive(Debug)]
pub struct Hec {
    /// For events that are rows.
    rows: Option<Rows>,
    node: String,
    cluster_name: Option<String>,
    index: Option<Vec<HecPart>>,
    source: Vec<HecPart>,
    sourcetype: Vec<HecPart>,
    /// What is behind the chain's fields, for a record of this stream and level, up to the uid's digits.
    tails: [[Vec<u8>; LEVELS.len()]; Stream::ALL.len()],
    uid: bool,
    include_fields: MetadataFields,
    /// Names that the user has given to fields of his own.
    taken: Vec<String>,
    time: UnixTime,
    uid_seed: u64,
    /// What the chain has before the event's value, and its fields behind it.
    run: Vec<u8>,
    fields_at: usize,
}

impl Hec {
    /// An encoder of events as configured, for the node of this name.
    pub fn new(
        sink: &SplunkHecSink,
        rows: &RowsConfig,
        node: &str,
        cluster_name: Option<&str>,
    ) -> Hec {
        let config = RowsConfig {
            format: RowFormat::Ndjson,
            ..rows.clone()
        };
        let rows = (sink.event == HecEvent::Row).then(|| Rows::new(&config, node, cluster_name));
        // Only texts that were checked get here.
        let parts = |text: &str| hec_parts(text).unwrap_or_default();
        Hec {
            rows,
            node: node.to_owned(),
            cluster_name: cluster_name.map(str::to_owned),
            index: sink.index.as_deref().map(parts),
            source: parts(&sink.source),
            sourcetype: parts(&sink.sourcetype),
            tails: Stream::ALL.map(|stream| LEVELS.map(|level| tail(&config, stream, level))),
            uid: config.record_uid,
            include_fields: config.include_fields,
            taken: config.fields.iter().map(|(name, _)| name.clone()).collect(),
            time: UnixTime::default(),
            uid_seed: 0,
            run: Vec::new(),
            fields_at: 0,
        }
    }

    fn message(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if record.message.is_empty() {
            out.extend_from_slice(BLANK);
            return Encoded::default();
        }
        Encoded {
            replaced: json::write_string(record.message, out),
        }
    }

    /// The indexed fields.
    fn fields(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.run.get(self.fields_at..).unwrap_or_default());
        out.extend_from_slice(&self.tails[record.stream.index()][record.level as usize]);
        if self.uid {
            out.extend_from_slice(b",\"record_uid\":\"");
            write_hex(record_uid(self.uid_seed, record), out);
            out.push(b'"');
        }
        if !record.flags.is_empty() {
            out.extend_from_slice(b",\"log.flags\":\"");
            for (at, name) in record.flags.names().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
            }
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// Appends `"key":"value"`.
fn put(key: &str, value: &str, out: &mut Vec<u8>) {
    json::write_string(key.as_bytes(), out);
    out.push(b':');
    json::write_string(value.as_bytes(), out);
}

/// The fields that depend on a record's stream and level, and those that are the same for all.
fn tail(rows: &RowsConfig, stream: Stream, level: Level) -> Vec<u8> {
    let mut tail = b",".to_vec();
    put("log.iostream", stream.as_str(), &mut tail);
    if level != Level::Unknown {
        tail.push(b',');
        put("log.level", level.as_str(), &mut tail);
    }
    for (name, value) in &rows.fields {
        tail.push(b',');
        json::write_string(name.as_bytes(), &mut tail);
        tail.push(b':');
        tail.extend_from_slice(value.to_string().as_bytes());
    }
    tail
}

fn filled(parts: &[HecPart], chain: &ChainMeta) -> String {
    let text = |part: &HecPart| match part {
        HecPart::Text(text) => text.clone(),
        HecPart::Namespace => chain.namespace.clone(),
        HecPart::Pod => chain.pod.clone(),
        HecPart::Container => chain.key.container.clone(),
    };
    parts.iter().map(text).collect()
}

/// Appends a number of that many digits, with zeros before it.
fn put_digits(number: u64, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut left = number;
    for digit in out.iter_mut().skip(start).rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// Appends the time as the collector wants it: seconds since 1970 and milliseconds.
fn put_time(nanos: u64, out: &mut Vec<u8>) {
    let seconds = nanos / NANOS_PER_SECOND;
    // A number of JSON does not begin with a zero.
    let digits = seconds
        .checked_ilog10()
        .map_or(1, |digits| digits as usize + 1);
    put_digits(seconds, digits, out);
    out.push(b'.');
    put_digits(nanos % NANOS_PER_SECOND / NANOS_PER_MILLI, 3, out);
}

impl Encode for Hec {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut before = b",".to_vec();
        put("host", &self.node, &mut before);
        let index = self.index.as_deref();
        let texts = [
            ("source", Some(self.source.as_slice())),
            ("sourcetype", Some(self.sourcetype.as_slice())),
            ("index", index),
        ];
        for (key, parts) in texts {
            if let Some(parts) = parts {
                before.push(b',');
                put(key, &filled(parts, chain), &mut before);
            }
        }
        before.extend_from_slice(b",\"event\":");
        let behind = match &self.rows {
            Some(rows) => rows.describe(chain),
            None => self.chain_fields(chain),
        };
        let at = before.len() as u64;
        [&at.to_le_bytes(), before.as_slice(), behind.as_slice()].concat()
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(rows) = &mut self.rows {
            rows.begin(out);
        }
    }

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        self.uid_seed = run.uid_seed;
        let at = run.described.first_chunk().copied();
        let at = at.map_or(0, u64::from_le_bytes) as usize;
        let described = run.described.get(size_of::<u64>()..).unwrap_or_default();
        self.fields_at = at.min(described.len());
        self.run.clear();
        self.run.extend_from_slice(described);
        if let Some(rows) = &mut self.rows {
            let described = described.get(self.fields_at..).unwrap_or_default();
            rows.begin_run(&Run { described, ..*run }, out);
        }
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        out.extend_from_slice(b"{\"time\":");
        put_time(self.time.of(record.time), out);
        out.extend_from_slice(self.run.get(..self.fields_at).unwrap_or_default());
        let encoded = match &mut self.rows {
            Some(rows) => {
                let encoded = rows.record(record, out);
                // The line end of the row.
                out.pop();
                encoded
            }
            None => {
                let encoded = self.message(record, out);
                self.fields(record, out);
                encoded
            }
        };
        out.extend_from_slice(b"}\n");
        encoded
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        if let Some(rows) = &mut self.rows {
            rows.end_run(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(rows) = &mut self.rows {
            rows.finish(out);
        }
    }

    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        cut_records(whole, ends, keep, out);
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }
}

impl Hec {
    /// The indexed fields that are the same for a chain.
    fn chain_fields(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut fields = b",\"fields\":{".to_vec();
        let cluster = self.cluster_name.as_deref().unwrap_or_default();
        let known = Metadata::of(chain, self.include_fields);
        let labels = known.labels.iter();
        // Annotations are left out: each indexed field costs the index.
        let labels: Vec<(String, &str)> = labels
            .map(|(name, value)| (format!("k8s.pod.labels.{name}"), *value))
            .collect();
        let workload = known.workload.and_then(|workload| {
            let name = workload_attribute(&workload.kind)?;
            Some((name, workload.name.as_str()))
        });
        let all = [
            ("k8s.cluster.name", cluster),
            ("k8s.node.name", &self.node),
            ("k8s.namespace.name", &chain.namespace),
            ("k8s.pod.name", &chain.pod),
            ("k8s.pod.uid", known.uid),
            ("k8s.container.name", &chain.key.container),
            ("container.id", &chain.container_id),
            ("container.image.name", &known.repository),
            ("container.image.tag", &known.image.tag),
            ("container.image.digest", &known.image.digest),
        ];
        let labels = labels.iter().map(|(name, value)| (name.as_str(), *value));
        let all = all.into_iter().chain(workload).chain(labels);
        let free = |name: &str| !self.taken.iter().any(|taken| taken == name);
        let mut first = true;
        for (name, value) in all.filter(|(name, value)| !value.is_empty() && free(name)) {
            if !std::mem::take(&mut first) {
                fields.push(b',');
            }
            put(name, value, &mut fields);
        }
        fields
    }
}

#[cfg(test)]
mod tests;
