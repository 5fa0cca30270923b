//! Rows as Azure's ContainerLogV2 names them: one JSON object per record, in lines (NDJSON) or in one array.
//!
//! Invariant: a row is valid JSON on one line whatever the record holds, and the bytes of a row depend on nothing but
//! the configuration, the chain and the record. So payloads may be cut and put together between rows.

mod layout;

use std::ops::Range;

use super::{Encode, Encoded, Run, cut_records, json, metadata, record_uid, write_hex};
use crate::config::{RowFormat, Rows as RowsConfig};
use crate::record::{ChainMeta, Record};
use layout::{Described, Layout};

/// The encoder of rows.
#[derive(Debug)]
pub struct Rows {
    format: RowFormat,
    parse_json: bool,
    layout: Layout,
    /// The chain's part of the rows of the run at hand.
    run: Described,
    uid_seed: u64,
    /// Whether messages of the run at hand are written as JSON.
    run_parses_json: bool,
    /// Whether the next row is the first of its payload.
    first: bool,
}

impl Rows {
    /// An encoder of rows as configured, for the node of this name; `cluster_name`: the `ClusterName` column.
    pub fn new(config: &RowsConfig, node: &str, cluster_name: Option<&str>) -> Rows {
        Rows {
            format: config.format,
            parse_json: config.parse_json,
            layout: Layout::new(config, node, cluster_name),
            run: Described::default(),
            uid_seed: 0,
            run_parses_json: config.parse_json,
            first: true,
        }
    }

    /// The same, with the pod's uid alone in place of the object of the `KubernetesMetadata` column.
    #[must_use]
    pub fn with_flat_metadata(mut self) -> Rows {
        self.layout.flat_metadata = true;
        self
    }

    fn message(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        if self.run_parses_json
            && let Some(object) = json::object::find(message)
        {
            return json::object::write(object, out);
        }
        json::write_string(message, out)
    }

    /// The row of a record, without what separates it from others.
    fn row(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let start = out.len();
        let mut encoded = Encoded::default();
        self.run.write_head(&self.layout, record.time, out);
        if self.layout.message {
            encoded.replaced = self.message(record.message, out);
        }
        if self.layout.uid.is_none() && record.flags.is_empty() {
            let tail = self.run.tail(&self.layout, record.stream, record.level);
            out.extend_from_slice(tail);
        } else {
            self.rare_tail(record, out);
        }
        if self.layout.leading_comma && out.get(start + 1) == Some(&b',') {
            out.remove(start + 1);
        }
        encoded
    }

    /// What is behind the message in a row with a uid or flags.
    fn rare_tail(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let layout = &self.layout;
        out.extend_from_slice(layout.source_and_level(record.stream, record.level));
        out.extend_from_slice(self.run.metadata());
        if let Some(key) = &layout.uid {
            out.extend_from_slice(key);
            write_hex(record_uid(self.uid_seed, record), out);
            out.push(b'"');
        }
        if let Some(key) = &layout.flags
            && !record.flags.is_empty()
        {
            out.extend_from_slice(key);
            for (at, name) in record.flags.names().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
            }
            out.push(b'"');
        }
        out.extend_from_slice(&layout.close);
    }
}

impl Encode for Rows {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        self.layout.describe(chain)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        self.first = true;
        if self.format == RowFormat::JsonArray {
            out.push(b'[');
        }
    }

    fn begin_run(&mut self, run: &Run<'_>, _out: &mut Vec<u8>) {
        self.run.load(&self.layout, run.described);
        self.uid_seed = run.uid_seed;
        self.run_parses_json = run.parse_json.unwrap_or(self.parse_json);
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if self.format == RowFormat::JsonArray && !self.first {
            out.push(b',');
        }
        self.first = false;
        let encoded = self.row(record, out);
        if self.format != RowFormat::JsonArray {
            out.push(b'\n');
        }
        encoded
    }

    fn end_run(&mut self, _out: &mut Vec<u8>) {}

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.format == RowFormat::JsonArray {
            out.push(b']');
        }
    }

    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        match self.format {
            RowFormat::Ndjson | RowFormat::Protobuf => cut_records(whole, ends, keep, out),
            RowFormat::JsonArray => {
                let end_of = |record: u32| {
                    ends.get(record as usize)
                        .map_or(whole.len(), |end| *end as usize)
                };
                let start_of = |record: u32| record.checked_sub(1).map_or(0, end_of);
                let ranges = keep.iter().filter(|range| !range.is_empty());
                // In front of each row stands one byte: the bracket before the first, a comma before the others.
                let mut before = b'[';
                for range in ranges {
                    let rows = start_of(range.start) + 1..end_of(range.end - 1);
                    out.push(before);
                    out.extend_from_slice(whole.get(rows).unwrap_or_default());
                    before = b',';
                }
                if before == b'[' {
                    out.push(b'[');
                }
                out.push(b']');
            }
        }
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            RowFormat::Ndjson | RowFormat::Protobuf => "application/x-ndjson",
            RowFormat::JsonArray => "application/json",
        }
    }
}

#[cfg(test)]
mod tests;
