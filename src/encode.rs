//! Runs of records to payload bytes: pure functions over bytes, no I/O and no sink in sight.
//!
//! The pipeline calls, per payload: [`Encode::begin`], then for each run [`Encode::begin_run`], [`Encode::record`]...,
//! [`Encode::end_run`], and at last [`Encode::finish`]. Each call appends to `out`. What one run appends is handed on
//! (to the compressor) only after `end_run`, so an encoder may go back within a run, for instance to patch a length
//! that its format wants before the content.

pub mod azure_logs;
pub mod bulk;
pub mod compress;
pub mod frames;
pub mod hec;
pub mod json;
pub mod log_batch;
pub mod loki;
mod metadata;
pub mod otlp;
pub mod protobuf;
pub mod rows;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod time;

use std::ops::Range;

use crate::record::{ChainMeta, Record};

/// Consecutive records of one chain and segment.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Whose they are.
    pub chain: &'a ChainMeta,
    /// What [`Encode::describe`] made of `chain`; made once per chain and kept by the pipeline.
    pub described: &'a [u8],
    /// Hash over the chain's key and the segment's identity: the fixed part of every record uid in this run.
    pub uid_seed: u64,
    /// Whether a message that is a JSON object is written as one, if the chain has it otherwise than the sink.
    pub parse_json: Option<bool>,
}

/// What encoding one record told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Some bytes were not UTF-8 and were replaced by U+FFFD.
    pub replaced: bool,
}

/// A wire format.
pub trait Encode: Send {
    /// What of this format is the same for all records of a chain, ready to be copied.
    fn describe(&self, chain: &ChainMeta) -> Vec<u8>;
    /// Opens a payload.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// Opens a run.
    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>);
    /// Appends one record.
    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded;
    /// Closes a run.
    fn end_run(&mut self, out: &mut Vec<u8>);
    /// Closes the payload.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Makes a complete payload of some of the records of another: `whole` is an uncompressed payload, `ends` the
    /// offset in it behind each of its records, `keep` ascending ranges of record numbers.
    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>);
    /// The HTTP media type of a payload.
    fn content_type(&self) -> &'static str;
}

/// The fixed part of the uids of a run's records: `chain` is the text of its [`crate::record::ChainKey`], `identity`
/// that of the segment's content, 0 if it has none.
pub fn uid_seed(chain: &str, identity: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(chain.as_bytes(), identity)
}

/// 128-bit name of a record: the same after any crash or re-read of the same bytes, so that a store which knows ids
/// keeps each record once. Another cut of the same bytes has another uid.
pub fn record_uid(uid_seed: u64, record: &Record<'_>) -> u128 {
    let mut place = [0_u8; 17];
    place[..8].copy_from_slice(&record.start.to_le_bytes());
    place[8..16].copy_from_slice(&record.end.to_le_bytes());
    place[16] = record.stream.index() as u8;
    xxhash_rust::xxh3::xxh3_128_with_seed(&place, uid_seed)
}

/// [`Encode::cut`] for formats whose payloads are their records one behind the other and nothing else.
pub fn cut_records(whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
    let end_of = |record: u32| {
        ends.get(record as usize)
            .map_or(whole.len(), |end| *end as usize)
    };
    for range in keep.iter().filter(|range| !range.is_empty()) {
        let start = range.start.checked_sub(1).map_or(0, end_of);
        let records = start..end_of(range.end - 1);
        out.extend_from_slice(whole.get(records).unwrap_or_default());
    }
}

/// Appends a uid as 32 hexadecimal digits.
pub fn write_hex(uid: u128, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(uid.to_be_bytes())
    {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
    out.extend_from_slice(&text);
}
