//! OTLP logs: `ExportLogsServiceRequest` in wire format, straight from the records
//! (opentelemetry.io/docs/specs/otlp; field numbers of opentelemetry-proto 1.x).
//!
//! A run is one `ResourceLogs`: what is the same for a chain stands in its resource, made once per chain. Invariant: the
//! bytes of a run depend on nothing but the configuration, the chain and the records, so runs may be cut and put
//! together; for that reason no record has an observed time, which would be another one when it is read again.

mod attributes;
mod cut;

use std::ops::Range;

use self::attributes::put_string;
pub use self::attributes::{Attributes, Value};
use super::protobuf::{
    close, fixed64, length_delimited, open, put_bytes, put_varint, varint, varint_bytes,
};
use super::text::Text;
use super::time::UnixTime;
use super::{Encode, Encoded, Run, record_uid, write_hex};
use crate::config::MetadataFields;
use crate::record::{ChainMeta, Flags, Level, Record, Stream};

/// What the attributes' names mean: the release of the semantic conventions.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// Who made the records, as the scope says it.
pub const SCOPE_NAME: &str = "longshore";
/// The attribute that says what happened to a record on its way, if anything did.
pub const FLAGS_ATTRIBUTE: &str = "longshore.log.flags";

/// `ExportLogsServiceRequest.resource_logs`.
const RESOURCE_LOGS: u8 = length_delimited(1);
/// `ResourceLogs.resource`, made by [`Encode::describe`].
const RESOURCE: u8 = length_delimited(1);
/// `ResourceLogs.scope_logs`.
const SCOPE_LOGS: u8 = length_delimited(2);
/// `ResourceLogs.schema_url`.
const SCHEMA: u8 = length_delimited(3);
/// `ScopeLogs.scope`.
const SCOPE: u8 = length_delimited(1);
/// `ScopeLogs.log_records`.
const LOG_RECORDS: u8 = length_delimited(2);
/// `LogRecord.time_unix_nano`.
const TIME: u8 = fixed64(1);
/// `LogRecord.severity_number`.
const SEVERITY_NUMBER: u8 = varint(2);
/// `LogRecord.severity_text`.
const SEVERITY_TEXT: u8 = length_delimited(3);
/// `LogRecord.body`.
const BODY: u8 = length_delimited(5);
/// `LogRecord.attributes`.
const ATTRIBUTES: u8 = length_delimited(6);
/// `AnyValue.string_value`.
const STRING_VALUE: u8 = length_delimited(1);

const LEVELS: [Level; 7] = [
    Level::Critical,
    Level::Error,
    Level::Warning,
    Level::Info,
    Level::Debug,
    Level::Trace,
    Level::Unknown,
];
/// Hexadecimal digits of a uid.
const UID_BYTES: usize = 32;

/// The encoder of OTLP logs.
#[derive(Debug)]
pub struct Otlp {
    node: String,
    cluster_name: Option<String>,
    resource: Attributes,
    record_uid: bool,
    include_fields: MetadataFields,
    /// `ScopeLogs.scope`, and `ResourceLogs.schema_url`.
    scope: Vec<u8>,
    schema: Vec<u8>,
    /// Severity, per level.
    severities: [Vec<u8>; LEVELS.len()],
    /// The attributes, per stream, up to the uid's digits.
    tails: [Vec<u8>; Stream::ALL.len()],
    /// The flags' attribute of the record at hand.
    flags: Vec<u8>,
    time: UnixTime,
    uid_seed: u64,
    place: Place,
}

/// Where the run at hand lies in what is being made.
#[derive(Debug, Default)]
struct Place {
    /// Its beginning.
    start: usize,
    /// The lengths of `ResourceLogs` and `ScopeLogs`.
    run: usize,
    scope: usize,
    /// The first record.
    records: usize,
}

impl Otlp {
    /// An encoder for the node of this name. `resource` is what the user wants said of every resource;
    /// `record_uid`: whether records have the attribute `log.record.uid`.
    pub fn new(
        node: &str,
        cluster_name: Option<&str>,
        resource: Attributes,
        record_uid: bool,
    ) -> Otlp {
        let mut scope = Vec::new();
        put_bytes(SCOPE, &attributes::scope(), &mut scope);
        let mut schema = Vec::new();
        put_bytes(SCHEMA, SCHEMA_URL.as_bytes(), &mut schema);
        Otlp {
            node: node.to_owned(),
            cluster_name: cluster_name.map(str::to_owned),
            resource,
            record_uid,
            include_fields: MetadataFields::ALL,
            scope,
            schema,
            severities: LEVELS.map(severity),
            tails: Stream::ALL.map(|stream| tail(stream, record_uid)),
            flags: Vec::new(),
            time: UnixTime::default(),
            uid_seed: 0,
            place: Place::default(),
        }
    }

    /// Opens a run whose resource has been encoded.
    fn open_run(&self, resource: &[u8], out: &mut Vec<u8>) -> Place {
        let start = out.len();
        let run = open(RESOURCE_LOGS, out);
        out.extend_from_slice(resource);
        let scope = open(SCOPE_LOGS, out);
        out.extend_from_slice(&self.scope);
        Place {
            start,
            run,
            scope,
            records: out.len(),
        }
    }

    /// Closes a run; one without records leaves nothing.
    fn close_run(&self, place: &Place, out: &mut Vec<u8>) {
        if out.len() == place.records {
            out.truncate(place.start);
            return;
        }
        close(place.scope, out);
        out.extend_from_slice(&self.schema);
        close(place.run, out);
    }
}

impl Otlp {
    /// The same, with these of what is known of a pod.
    #[must_use]
    pub fn including(self, include_fields: MetadataFields) -> Otlp {
        Otlp {
            include_fields,
            ..self
        }
    }
}

impl Encode for Otlp {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        let mut described = Vec::new();
        let cluster_name = self.cluster_name.as_deref();
        let resource = self
            .resource
            .of_chain(chain, &self.node, cluster_name, self.include_fields);
        put_bytes(RESOURCE, &resource, &mut described);
        described
    }

    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        self.uid_seed = run.uid_seed;
        self.place = self.open_run(run.described, out);
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let text = Text::of(record.message);
        let text_bytes = text.bytes();
        let value_bytes = 1 + varint_bytes(text_bytes as u64) + text_bytes;
        let time = self.time.of(record.time);
        let severity = &self.severities[record.level as usize];
        let tail = &self.tails[record.stream.index()];
        self.flags.clear();
        if !record.flags.is_empty() {
            put_flags(record.flags, &mut self.flags);
        }
        let uid_bytes = if self.record_uid { UID_BYTES } else { 0 };
        let record_bytes = (1 + size_of::<u64>())
            + severity.len()
            + (1 + varint_bytes(value_bytes as u64) + value_bytes)
            + (tail.len() + uid_bytes)
            + self.flags.len();

        out.reserve(1 + varint_bytes(record_bytes as u64) + record_bytes);
        out.push(LOG_RECORDS);
        put_varint(record_bytes as u64, out);
        out.push(TIME);
        out.extend_from_slice(&time.to_le_bytes());
        out.extend_from_slice(severity);
        out.push(BODY);
        put_varint(value_bytes as u64, out);
        out.push(STRING_VALUE);
        put_varint(text_bytes as u64, out);
        text.put(out);
        out.extend_from_slice(tail);
        if self.record_uid {
            write_hex(record_uid(self.uid_seed, record), out);
        }
        out.extend_from_slice(&self.flags);
        Encoded {
            replaced: text.is_broken(),
        }
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        let place = std::mem::take(&mut self.place);
        self.close_run(&place, out);
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        cut::cut(self, whole, ends, keep, out);
    }

    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }
}

/// `SeverityNumber` of the log data model: the lowest of each range.
const fn severity_number(level: Level) -> u8 {
    match level {
        Level::Trace => 1,
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warning => 13,
        Level::Error => 17,
        Level::Critical => 21,
        Level::Unknown => 0,
    }
}

/// The severity's fields; none for a line that does not say.
fn severity(level: Level) -> Vec<u8> {
    let mut fields = Vec::new();
    if level != Level::Unknown {
        fields.extend([SEVERITY_NUMBER, severity_number(level)]);
        put_bytes(SEVERITY_TEXT, level.as_str().as_bytes(), &mut fields);
    }
    fields
}

/// The attributes that every record has, up to the uid's digits.
fn tail(stream: Stream, record_uid: bool) -> Vec<u8> {
    let mut tail = Vec::new();
    put_string(ATTRIBUTES, "log.iostream", stream.as_str(), &mut tail);
    if record_uid {
        let digits = "0".repeat(UID_BYTES);
        put_string(ATTRIBUTES, "log.record.uid", &digits, &mut tail);
        tail.truncate(tail.len() - UID_BYTES);
    }
    tail
}

#[cold]
fn put_flags(flags: Flags, out: &mut Vec<u8>) {
    let names: Vec<&str> = flags.names().collect();
    put_string(ATTRIBUTES, FLAGS_ATTRIBUTE, &names.join(","), out);
}

#[cfg(test)]
mod tests;
