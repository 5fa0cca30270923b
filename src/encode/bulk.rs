//! Documents for the bulk interface of Elasticsearch and OpenSearch: two lines for each record, what is to be done and
//! the document.
//!
//! Invariant: the bytes of a record depend on nothing but the configuration, the chain and the record, and the index in
//! them is a name that an index may have. So payloads may be cut and put together between records.

use std::ops::Range;

use super::rows::Rows;
use super::{Encode, Encoded, Run, cut_records, record_uid, write_hex};
use crate::config::{
    DocumentSchema, ElasticsearchSink, IndexPart, RowFormat, Rows as RowsConfig, index_parts,
};
use crate::record::{ChainMeta, Record, TimeText};

/// Longest namespace within a name of an index, in bytes: that of a DNS label, which namespaces are.
const NAMESPACE_BYTES_MAX: usize = 63;
/// Bytes of `YYYY-MM-DDTHH`, of which the name of an index may hold some.
const HOUR_BYTES: usize = 13;

/// The encoder of documents.
#[derive(Debug)]
pub struct Bulk {
    rows: Rows,
    /// What stands before the index's name.
    open: String,
    index: Vec<IndexPart>,
    /// Whether the index depends on the time.
    timed: bool,
    ids: bool,
    /// The time is written before the columns.
    timestamp: bool,
    uid_seed: u64,
    /// The namespace of the run at hand, as it stands in the name of an index.
    namespace: Vec<u8>,
    /// The hour for which `head` was made.
    hour: [u8; HOUR_BYTES],
    /// All up to the uid's digits, or to the end of the line if there are none. Empty: to be made.
    head: Vec<u8>,
}

impl Bulk {
    /// An encoder of documents as configured, for the node of this name.
    pub fn new(
        sink: &ElasticsearchSink,
        rows: &RowsConfig,
        node: &str,
        cluster_name: Option<&str>,
    ) -> Bulk {
        let config = RowsConfig {
            format: RowFormat::Ndjson,
            columns: sink.schema.columns(&rows.columns),
            ..rows.clone()
        };
        let mut encoder = Rows::new(&config, node, cluster_name);
        if sink.schema == DocumentSchema::Ecs {
            encoder = encoder.with_flat_metadata();
        }
        // Only a name that was checked gets here.
        let index = index_parts(&sink.index).unwrap_or_default();
        let timed = |part: &IndexPart| matches!(part, IndexPart::Time(..));
        Bulk {
            rows: encoder,
            open: format!("{{\"{}\":{{\"_index\":\"", sink.action.as_str()),
            timed: index.iter().any(timed),
            index,
            ids: sink.ids,
            timestamp: sink.schema.lacks_timestamp(rows),
            uid_seed: 0,
            namespace: Vec::new(),
            hour: [0; HOUR_BYTES],
            head: Vec::new(),
        }
    }

    /// Makes the head for records of this time, unless it is that of the record before.
    #[inline]
    fn turn(&mut self, time: &TimeText) {
        if !self.head.is_empty() && (!self.timed || time.as_bytes().starts_with(&self.hour)) {
            return;
        }
        self.make_head(time);
    }

    #[cold]
    fn make_head(&mut self, time: &TimeText) {
        self.hour = time.as_bytes().first_chunk().copied().unwrap_or_default();
        self.head.clear();
        self.head.extend_from_slice(self.open.as_bytes());
        for part in &self.index {
            match part {
                IndexPart::Text(text) => self.head.extend_from_slice(text.as_bytes()),
                IndexPart::Namespace => self.head.extend_from_slice(&self.namespace),
                IndexPart::Time(from, to) => {
                    let digits = self.hour.get(*from..*to).unwrap_or_default();
                    self.head.extend_from_slice(digits);
                }
            }
        }
        let close: &[u8] = match self.ids {
            true => b"\",\"_id\":\"",
            false => b"\"}}\n",
        };
        self.head.extend_from_slice(close);
    }

    /// The document behind its action.
    fn document(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if !self.timestamp {
            return self.rows.record(record, out);
        }
        out.extend_from_slice(b"{\"@timestamp\":\"");
        out.extend_from_slice(record.time.as_bytes());
        out.push(b'"');
        let brace = out.len();
        let encoded = self.rows.record(record, out);
        // The brace of the row becomes the comma behind the time, unless nothing follows.
        if out.get(brace + 1) == Some(&b'}') {
            out.remove(brace);
        } else if let Some(brace) = out.get_mut(brace) {
            *brace = b',';
        }
        encoded
    }
}

/// A namespace as a part of an index's name. Namespaces are DNS labels, which need no change; what is something else
/// because somebody named a directory so must not become an index that nobody can have.
fn legal(namespace: &str) -> Vec<u8> {
    let legal = |byte: u8| match byte.to_ascii_lowercase() {
        byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.') => byte,
        _ => b'_',
    };
    let mut name: Vec<u8> = namespace.bytes().map(legal).collect();
    name.truncate(NAMESPACE_BYTES_MAX);
    if !matches!(name.first(), Some(b'a'..=b'z' | b'0'..=b'9')) {
        // A name of an index may not begin with a sign.
        name.insert(0, b'x');
    }
    name
}

impl Encode for Bulk {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        self.rows.describe(chain)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        self.rows.begin(out);
    }

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        self.rows.begin_run(run, out);
        self.uid_seed = run.uid_seed;
        self.namespace = legal(&run.chain.namespace);
        self.head.clear();
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        self.turn(record.time);
        out.extend_from_slice(&self.head);
        if self.ids {
            write_hex(record_uid(self.uid_seed, record), out);
            out.extend_from_slice(b"\"}}\n");
        }
        self.document(record, out)
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        self.rows.end_run(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.rows.finish(out);
    }

    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        cut_records(whole, ends, keep, out);
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }
}

#[cfg(test)]
mod tests;
