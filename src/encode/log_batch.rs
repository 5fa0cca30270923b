//! The protobuf form of our own schema: `longshore.v1.LogBatch`, straight from the records
//! (`proto/longshore/v1/logs.proto`).
//!
//! A run is one group: what is the same for a chain stands in its container, made once per chain. Invariant: the bytes
//! of a group depend on nothing but the configuration, the chain and the records, so groups may be cut and put together.

use std::ops::Range;

use super::protobuf::groups::{Group, Groups};
use super::protobuf::{
    fixed64, length_delimited, put_bytes, put_text, put_varint, varint, varint_bytes,
};
use super::text::Text;
use super::time::UnixTime;
use super::{Encode, Encoded, Run, record_uid};
use crate::config::Rows as RowsConfig;
use crate::record::{ChainMeta, Flags, Level, Record, Stream};

/// The HTTP media type of our messages.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// `LogBatch.groups`, with `RecordGroup.container` and `RecordGroup.records`.
const GROUPS: Groups = Groups {
    group: length_delimited(1),
    head: length_delimited(1),
    item: RECORDS,
};
/// `RecordGroup.records`.
const RECORDS: u8 = length_delimited(2);

/// `Container.computer`.
const COMPUTER: u8 = length_delimited(1);
/// `Container.container_id`.
const CONTAINER_ID: u8 = length_delimited(2);
/// `Container.container_name`.
const CONTAINER_NAME: u8 = length_delimited(3);
/// `Container.pod_name`.
const POD_NAME: u8 = length_delimited(4);
/// `Container.pod_namespace`.
const POD_NAMESPACE: u8 = length_delimited(5);
/// `Container.pod_uid`.
const POD_UID: u8 = length_delimited(6);
/// `Container.restart_count`.
const RESTART_COUNT: u8 = varint(7);
/// `Container.cluster_name`.
const CLUSTER_NAME: u8 = length_delimited(8);
/// `Container.fields`.
const FIELDS: u8 = length_delimited(9);

/// `LogRecord.time_unix_nano`.
const TIME: u8 = fixed64(1);
/// `LogRecord.message`.
const MESSAGE: u8 = length_delimited(2);
/// `LogRecord.source`.
const SOURCE: u8 = varint(3);
/// `LogRecord.level`.
const LEVEL: u8 = varint(4);
/// `LogRecord.record_uid`.
const RECORD_UID: u8 = length_delimited(5);
/// `LogRecord.partial`, `.cut` and `.unparsed`.
const FLAGS: [(Flags, u8); 3] = [
    (Flags::PARTIAL, varint(6)),
    (Flags::CUT, varint(7)),
    (Flags::UNPARSED, varint(8)),
];

/// Bytes of source and level, which every record has: tag and number each.
const SOURCE_AND_LEVEL_BYTES: usize = 4;
/// Bytes of a field with the uid.
const UID_BYTES: usize = 2 + size_of::<u128>();
/// Bytes of one flag that is set.
const FLAG_BYTES: usize = 2;

/// The encoder of batches.
#[derive(Debug)]
pub struct LogBatch {
    records: Records,
    group: Option<Group>,
}

impl LogBatch {
    /// An encoder for the node of this name. Of `config` it takes the static fields and whether records have their uid.
    pub fn new(config: &RowsConfig, node: &str, cluster_name: Option<&str>) -> LogBatch {
        LogBatch {
            records: Records::new(config, node, cluster_name),
            group: None,
        }
    }
}

impl Encode for LogBatch {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        self.records.container(chain)
    }

    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        self.records.uid_seed = run.uid_seed;
        self.group = Some(GROUPS.open(run.described, out));
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        self.records.record(record, out)
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        if let Some(group) = self.group.take() {
            group.close(out);
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn cut(&self, whole: &[u8], _ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        GROUPS.cut(whole, keep, out);
    }

    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }
}

/// Containers and records by themselves, for what puts them together otherwise than in runs.
#[derive(Debug)]
pub(super) struct Records {
    node: String,
    cluster_name: Option<String>,
    /// `Container.fields`.
    fields: Vec<u8>,
    record_uid: bool,
    time: UnixTime,
    /// Of the run at hand.
    pub(super) uid_seed: u64,
}

impl Records {
    pub(super) fn new(config: &RowsConfig, node: &str, cluster_name: Option<&str>) -> Records {
        let mut fields = Vec::new();
        put_fields(FIELDS, &config.fields, &mut fields);
        Records {
            node: node.to_owned(),
            cluster_name: cluster_name.map(str::to_owned),
            fields,
            record_uid: config.record_uid,
            time: UnixTime::default(),
            uid_seed: 0,
        }
    }

    /// The content of a `Container`.
    pub(super) fn container(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut out = Vec::new();
        put_text(COMPUTER, &self.node, &mut out);
        put_text(CONTAINER_ID, &chain.container_id, &mut out);
        put_text(CONTAINER_NAME, &chain.key.container, &mut out);
        put_text(POD_NAME, &chain.pod, &mut out);
        put_text(POD_NAMESPACE, &chain.namespace, &mut out);
        put_text(POD_UID, &chain.key.pod_uid, &mut out);
        if chain.key.restart > 0 {
            out.push(RESTART_COUNT);
            put_varint(chain.key.restart.into(), &mut out);
        }
        put_text(
            CLUSTER_NAME,
            self.cluster_name.as_deref().unwrap_or_default(),
            &mut out,
        );
        out.extend_from_slice(&self.fields);
        out
    }

    /// Appends one `RecordGroup.records`.
    pub(super) fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let text = Text::of(record.message);
        let text_bytes = text.bytes();
        let flags = || FLAGS.iter().filter(|(flag, _)| record.flags.has(*flag));
        let record_bytes = (1 + size_of::<u64>())
            + (1 + varint_bytes(text_bytes as u64) + text_bytes)
            + SOURCE_AND_LEVEL_BYTES
            + if self.record_uid { UID_BYTES } else { 0 }
            + flags().count() * FLAG_BYTES;

        out.reserve(1 + varint_bytes(record_bytes as u64) + record_bytes);
        out.push(RECORDS);
        put_varint(record_bytes as u64, out);
        out.push(TIME);
        out.extend_from_slice(&self.time.of(record.time).to_le_bytes());
        out.push(MESSAGE);
        put_varint(text_bytes as u64, out);
        text.put(out);
        out.extend([SOURCE, source(record.stream), LEVEL, level(record.level)]);
        if self.record_uid {
            let uid = record_uid(self.uid_seed, record).to_be_bytes();
            put_bytes(RECORD_UID, &uid, out);
        }
        for (_, tag) in flags() {
            out.extend([*tag, 1]);
        }
        Encoded {
            replaced: text.is_broken(),
        }
    }
}

/// Appends a `LogBatch` of one group: `container` as `Records::container` made it, records as
/// `Records::record` did.
pub fn put_batch<'a>(container: &[u8], records: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let group = GROUPS.open(container, out);
    records.for_each(|record| out.extend_from_slice(record));
    group.close(out);
}

/// Bytes that [`put_batch`] adds to container and records at most.
pub const BATCH_OVERHEAD_BYTES: usize = 2 * (1 + super::protobuf::PADDED_BYTES);

/// Appends the static fields of a sink as messages `Field`, each under `tag`.
pub fn put_fields(tag: u8, fields: &[(String, serde_json::Value)], out: &mut Vec<u8>) {
    /// `Field.name`.
    const NAME: u8 = length_delimited(1);
    /// `Field.json`.
    const JSON: u8 = length_delimited(2);
    for (name, value) in fields {
        let mut field = Vec::new();
        put_text(NAME, name, &mut field);
        put_text(JSON, &value.to_string(), &mut field);
        put_bytes(tag, &field, out);
    }
}

/// `LogSource`.
const fn source(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

/// `LogLevel`.
const fn level(level: Level) -> u8 {
    match level {
        Level::Unknown => 0,
        Level::Trace => 1,
        Level::Debug => 2,
        Level::Info => 3,
        Level::Warning => 4,
        Level::Error => 5,
        Level::Critical => 6,
    }
}

#[cfg(test)]
mod tests;
