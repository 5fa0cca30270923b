//! Records to record batches: packing, the format of a message, compression, the checksum. Pure functions over bytes.
//!
//! Facts: "Kafka protocol guide" and its section "Record Batch" (magic 2). A batch holds records of one partition in
//! their order.

use std::ops::Range;

use super::wire::{patch_len, put_len, put_varint, varint_len};
use crate::config::{Compression, RowFormat};
use crate::encode::compress::{CompressError, Compressor};
use crate::encode::log_batch::{BATCH_OVERHEAD_BYTES, put_batch};
use crate::encode::write_hex;

/// The header of every message: the uids of its records in order, 32 hexadecimal digits each, with commas between.
pub const UID_HEADER: &[u8] = b"record_uid";

/// What stands before the records of a batch.
pub const BATCH_HEAD_BYTES: usize = 61;
/// Where the length is; it counts what is behind it.
const LENGTH_AT: usize = 8;
/// Where the checksum is; it is over what is behind it.
const CRC_AT: usize = 17;
const HEX_BYTES: usize = 32;
/// At least what surrounds key, row and uid in a message.
const MESSAGE_OVERHEAD_BYTES: usize = 40;

/// One record on its way to a partition. Places are offsets in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's number in its payload.
    pub number: u32,
    /// Where its key is.
    pub key: Range<u32>,
    /// Where the head of its chain's messages is; empty unless rows are protobuf.
    pub head: Range<u32>,
    /// Where its row is.
    pub row: Range<u32>,
    /// Its uid.
    pub uid: u128,
    /// Its time, in milliseconds since 1970.
    pub time_ms: i64,
}

/// How messages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Most records of one message.
    pub records_max: usize,
    /// How several rows make one value.
    pub format: RowFormat,
}

/// Makes batches, one after the other.
#[derive(Debug)]
pub struct Packer {
    packing: Packing,
    compression: Compression,
    compressor: Compressor,
    /// The messages of the batch at hand.
    messages: Vec<u8>,
    value: Vec<u8>,
    uids: Vec<u8>,
}

fn part(payload: &[u8], range: &Range<u32>) -> Range<usize> {
    let range = range.start as usize..range.end as usize;
    if range.end <= payload.len() && range.start <= range.end {
        range
    } else {
        0..0
    }
}

fn slice<'a>(payload: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    payload.get(part(payload, range)).unwrap_or_default()
}

/// What a record adds to a batch at most, before compression.
fn bytes_of(entry: &Entry) -> usize {
    let parts = entry.key.len() + entry.head.len() + entry.row.len();
    parts + HEX_BYTES + UID_HEADER.len() + MESSAGE_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES
}

impl Packer {
    /// A packer that has made nothing yet.
    pub fn new(packing: Packing, compression: Compression) -> Packer {
        Packer {
            packing,
            compression,
            compressor: Compressor::new(compression),
            messages: Vec::new(),
            value: Vec::new(),
            uids: Vec::new(),
        }
    }

    /// How many of the first entries make a batch of at most `bytes_max` bytes before compression.
    pub fn fitting(entries: &[Entry], bytes_max: usize) -> usize {
        let mut bytes = BATCH_HEAD_BYTES;
        let fitting = entries.iter().take_while(|entry| {
            bytes += bytes_of(entry);
            bytes <= bytes_max
        });
        fitting.count()
    }

    /// How large a batch of these entries is at most, before compression.
    pub fn bytes_of(entries: &[Entry]) -> usize {
        BATCH_HEAD_BYTES + entries.iter().map(bytes_of).sum::<usize>()
    }

    /// Appends a batch of all these entries to `out`.
    pub fn batch(
        &mut self,
        payload: &[u8],
        entries: &[Entry],
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let base_ms = entries.first().map_or(0, |entry| entry.time_ms);
        let mut latest_ms = base_ms;
        let mut count = 0;
        let mut rest = entries;
        self.messages.clear();
        while let Some(first) = rest.first() {
            let (together, behind) = rest.split_at(self.together(payload, rest));
            rest = behind;
            latest_ms = latest_ms.max(first.time_ms);
            self.message(payload, first, together, first.time_ms - base_ms, count);
            count += 1;
        }
        let start = out.len();
        let codec: i16 = match self.compression {
            // Snappy is for protocols that have nothing else: no configuration of this sink asks for it.
            Compression::None | Compression::Snappy => 0,
            Compression::Gzip(_) => 1,
            Compression::Zstd(_) => 4,
        };
        out.extend_from_slice(&0_i64.to_be_bytes()); // base offset: the broker's to give
        put_len(0, out); // length: patched below
        out.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch: not known
        out.push(2); // magic
        put_len(0, out); // checksum: patched below
        out.extend_from_slice(&codec.to_be_bytes()); // no transaction, our own time
        put_len(count.saturating_sub(1), out); // last offset delta
        out.extend_from_slice(&base_ms.to_be_bytes());
        out.extend_from_slice(&latest_ms.to_be_bytes());
        out.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id: none
        out.extend_from_slice(&(-1_i16).to_be_bytes()); // producer epoch
        out.extend_from_slice(&(-1_i32).to_be_bytes()); // base sequence
        put_len(count, out);
        match self.compression {
            Compression::None | Compression::Snappy => out.extend_from_slice(&self.messages),
            Compression::Gzip(_) | Compression::Zstd(_) => {
                self.compressor.begin()?;
                self.compressor.write(&self.messages, out)?;
                self.compressor.finish(out)?;
            }
        }
        patch_len(start + LENGTH_AT, out);
        let crc = crc32c::crc32c(out.get(start + CRC_AT + 4..).unwrap_or_default());
        if let Some(place) = out.get_mut(start + CRC_AT..start + CRC_AT + 4) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        Ok(())
    }

    /// How many of the first entries make one message: they are of one chain.
    fn together(&self, payload: &[u8], entries: &[Entry]) -> usize {
        let Some(first) = entries.first() else {
            return 0;
        };
        let key = slice(payload, &first.key);
        let head = slice(payload, &first.head);
        let same = |entry: &&Entry| {
            let in_one_run = entry.key == first.key && entry.head == first.head;
            in_one_run || slice(payload, &entry.key) == key && slice(payload, &entry.head) == head
        };
        entries
            .iter()
            .take(self.packing.records_max.max(1))
            .take_while(same)
            .count()
    }

    fn message(
        &mut self,
        payload: &[u8],
        first: &Entry,
        together: &[Entry],
        delta_ms: i64,
        number: usize,
    ) {
        self.uids.clear();
        for (at, entry) in together.iter().enumerate() {
            if at > 0 {
                self.uids.push(b',');
            }
            write_hex(entry.uid, &mut self.uids);
        }
        self.value(payload, together);
        let key = slice(payload, &first.key);
        let number = number as i64;
        let sized = |bytes: &[u8]| varint_len(bytes.len() as i64) + bytes.len();
        // Attributes, and the number of headers, are one byte each.
        let len = 2
            + varint_len(delta_ms)
            + varint_len(number)
            + [key, &self.value, UID_HEADER, &self.uids]
                .into_iter()
                .map(sized)
                .sum::<usize>();
        let out = &mut self.messages;
        put_varint(len as i64, out);
        out.push(0);
        put_varint(delta_ms, out);
        put_varint(number, out);
        put_sized(key, out);
        put_sized(&self.value, out);
        put_varint(1, out);
        put_sized(UID_HEADER, out);
        put_sized(&self.uids, out);
    }
}

impl Packer {
    /// Makes one value of the rows.
    fn value(&mut self, payload: &[u8], together: &[Entry]) {
        self.value.clear();
        let mut rows = together.iter().map(|entry| slice(payload, &entry.row));
        let (before, between, behind): (&[u8], &[u8], &[u8]) = match self.packing.format {
            RowFormat::Ndjson => (b"", b"\n", b""),
            RowFormat::JsonArray => (b"[", b",", b"]"),
            RowFormat::Protobuf => {
                let head = together.first().map(|first| slice(payload, &first.head));
                return put_batch(head.unwrap_or_default(), rows, &mut self.value);
            }
        };
        self.value.extend_from_slice(before);
        self.value
            .extend_from_slice(rows.next().unwrap_or_default());
        for row in rows {
            self.value.extend_from_slice(between);
            self.value.extend_from_slice(row);
        }
        self.value.extend_from_slice(behind);
    }
}

fn put_sized(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
