//! Lines for Grafana Loki: `logproto.PushRequest` in wire format, straight from the records (grafana.com/docs/loki, "Ingest
//! logs": push; field numbers of its `push.proto`).
//!
//! A run is one `Stream`, or several where its records differ in a label. Invariant: each stream has a label or more and
//! an entry or more; its entries are in the order of the file.

mod labels;

use std::ops::Range;

use self::labels::{Labels, Variants};
use super::protobuf::groups::{Group, Groups};
use super::protobuf::{length_delimited, put_bytes, put_varint, varint, varint_bytes};
use super::text::Text;
use super::time::UnixTime;
use super::{Encode, Encoded, Run, record_uid, write_hex};
use crate::config::{LokiSink, MetadataFields};
use crate::record::{ChainMeta, Flags, Level, Record, Stream};

/// `PushRequest.streams`, with their labels and entries.
const STREAMS: Groups = Groups {
    group: length_delimited(1),
    head: length_delimited(1),
    item: ENTRIES,
};
/// `StreamAdapter.entries`.
const ENTRIES: u8 = length_delimited(2);
/// `EntryAdapter.timestamp`.
const TIMESTAMP: u8 = length_delimited(1);
/// `Timestamp.seconds`.
const SECONDS: u8 = varint(1);
/// `Timestamp.nanos`.
const NANOS: u8 = varint(2);
/// `EntryAdapter.line`.
const LINE: u8 = length_delimited(2);
/// `EntryAdapter.structuredMetadata`.
const METADATA: u8 = length_delimited(3);
/// `LabelPairAdapter.name`.
const NAME: u8 = length_delimited(1);
/// `LabelPairAdapter.value`.
const VALUE: u8 = length_delimited(2);

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Hexadecimal digits of a uid.
const UID_BYTES: usize = 32;
/// How many levels there are.
const LEVELS: usize = 7;

/// The encoder of lines.
#[derive(Debug)]
pub struct Loki {
    labels: Labels,
    /// The metadata that depends on a record's stream and level alone.
    tails: [[Vec<u8>; LEVELS]; Stream::ALL.len()],
    /// The metadata of the uid up to its digits, if it is sent.
    uid: Option<Vec<u8>>,
    /// Whether flags are sent.
    flagged: bool,
    /// The chain's part of the run at hand.
    run: Variants,
    uid_seed: u64,
    /// The stream at hand, and which labels it has.
    stream: Option<(Group, usize)>,
    time: UnixTime,
    /// The message `Timestamp` of the record at hand, and its flags.
    timestamp: Vec<u8>,
    flags: Vec<u8>,
}

impl Loki {
    /// An encoder for the node of this name; `record_uid`: whether lines carry the uid of their record.
    pub fn new(sink: &LokiSink, node: &str, cluster_name: Option<&str>, record_uid: bool) -> Loki {
        let labels = Labels::new(sink, node, cluster_name);
        let tails = Stream::ALL.map(|stream| labels::ALL_LEVELS.map(|it| labels.tail(stream, it)));
        let uid = (record_uid && sink.structured_metadata).then(|| {
            let mut uid = Vec::new();
            put_pair("record_uid", &"0".repeat(UID_BYTES), &mut uid);
            uid.truncate(uid.len() - UID_BYTES);
            uid
        });
        Loki {
            labels,
            tails,
            uid,
            flagged: sink.structured_metadata,
            run: Variants::default(),
            uid_seed: 0,
            stream: None,
            time: UnixTime::default(),
            timestamp: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Ends the stream at hand. One that was taken back with its only entry is none.
    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some((stream, _)) = self.stream.take() {
            stream.close(out);
        }
    }

    /// Writes the message `Timestamp`, without the parts that are 0.
    #[inline]
    fn put_time(&mut self, record: &Record<'_>) {
        let nanos = self.time.of(record.time);
        self.timestamp.clear();
        self.timestamp.push(SECONDS);
        put_varint(nanos / NANOS_PER_SECOND, &mut self.timestamp);
        self.timestamp.push(NANOS);
        put_varint(nanos % NANOS_PER_SECOND, &mut self.timestamp);
    }
}

/// Appends one pair of structured metadata.
fn put_pair(name: &str, value: &str, out: &mut Vec<u8>) {
    let mut pair = Vec::new();
    put_bytes(NAME, name.as_bytes(), &mut pair);
    put_bytes(VALUE, value.as_bytes(), &mut pair);
    put_bytes(METADATA, &pair, out);
}

#[cold]
fn put_flags(flags: Flags, out: &mut Vec<u8>) {
    let names: Vec<&str> = flags.names().collect();
    put_pair("log_flags", &names.join(","), out);
}

impl Loki {
    /// The same, with these of what is known of a pod.
    #[must_use]
    pub fn including(mut self, include_fields: MetadataFields) -> Loki {
        self.labels.include_fields = include_fields;
        self
    }
}

impl Encode for Loki {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        self.labels.describe(chain)
    }

    fn begin(&mut self, _out: &mut Vec<u8>) {
        self.stream = None;
    }

    fn begin_run(&mut self, run: &Run<'_>, _out: &mut Vec<u8>) {
        self.uid_seed = run.uid_seed;
        self.run.load(run.described);
        self.stream = None;
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let variant = self.labels.variant(record.stream, record.level);
        if self.stream.is_none_or(|(_, known)| known != variant) {
            self.close(out);
            self.stream = Some((STREAMS.open(self.run.labels(variant), out), variant));
        }
        self.put_time(record);
        let text = Text::of(record.message);
        let metadata = self.run.metadata();
        let tail = &self.tails[record.stream.index()][record.level as usize];
        let uid = self.uid.as_deref();
        let uid_bytes = uid.map_or(0, |uid| uid.len() + UID_BYTES);
        self.flags.clear();
        if self.flagged && !record.flags.is_empty() {
            put_flags(record.flags, &mut self.flags);
        }
        let entry_bytes = (1 + 1 + self.timestamp.len())
            + (1 + varint_bytes(text.bytes() as u64) + text.bytes())
            + metadata.len()
            + tail.len()
            + uid_bytes
            + self.flags.len();

        out.reserve(1 + varint_bytes(entry_bytes as u64) + entry_bytes);
        out.push(ENTRIES);
        put_varint(entry_bytes as u64, out);
        put_bytes(TIMESTAMP, &self.timestamp, out);
        out.push(LINE);
        put_varint(text.bytes() as u64, out);
        text.put(out);
        out.extend_from_slice(metadata);
        out.extend_from_slice(tail);
        if let Some(uid) = uid {
            out.extend_from_slice(uid);
            write_hex(record_uid(self.uid_seed, record), out);
        }
        out.extend_from_slice(&self.flags);
        Encoded {
            replaced: text.is_broken(),
        }
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        self.close(out);
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn cut(&self, whole: &[u8], _ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        STREAMS.cut(whole, keep, out);
    }

    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }
}

/// The level of a line that does not say one: as metadata it is not sent.
const UNKNOWN: Level = Level::Unknown;

#[cfg(test)]
mod tests;
