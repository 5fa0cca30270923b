//! Records as frames: each row with what names and places it, for a transport that makes messages of them.
//!
//! A payload is a list of frames, never compressed. A run frame tells topic, key and head of the record frames behind it;
//! a record frame holds the record's uid, its time and its row. In protobuf the head is the container and a row is a record
//! without it, so that what is made of several rows says once whose they are; other formats have no head. Invariant: a payload without runs that have no record
//! depends on nothing but the configuration, the chains and the records, so that one cut out of another is what would
//! have been encoded.

use std::ops::Range;

use super::log_batch::Records;
use super::rows::Rows;
use super::time::UnixTime;
use super::{Encode, Encoded, Run, record_uid};
use crate::config::{RowFormat, Rows as RowsConfig, Topic};
use crate::record::{ChainMeta, Record};

/// First byte of a run frame. Behind it: the length of the rest (u32), the lengths of topic and key (u16 and u32), topic,
/// key, head.
const RUN: u8 = 1;
/// First byte of a record frame. Behind it: the length of the rest (u32), uid (u128), time in ms (i64), row.
const RECORD: u8 = 2;
/// The byte that tells the kind, and the length of the rest.
const PREFIX_BYTES: usize = 5;
const UID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;

/// The encoder of frames.
#[derive(Debug)]
pub struct Frames {
    rows: Form,
    topic: Topic,
    time: UnixTime,
    uid_seed: u64,
}

/// What writes the rows.
#[derive(Debug)]
enum Form {
    /// Lines; the line end is cut off.
    Lines(Box<Rows>),
    /// Records of a batch.
    Protobuf(Records),
}

impl Frames {
    /// An encoder of frames for the node of this name; each row is one object or one record, whatever envelope is
    /// configured.
    pub fn new(
        config: &RowsConfig,
        node: &str,
        cluster_name: Option<&str>,
        topic: Topic,
    ) -> Frames {
        let rows = if config.format == RowFormat::Protobuf {
            Form::Protobuf(Records::new(config, node, cluster_name))
        } else {
            let config = RowsConfig {
                format: RowFormat::Ndjson,
                ..config.clone()
            };
            Form::Lines(Box::new(Rows::new(&config, node, cluster_name)))
        };
        Frames {
            rows,
            topic,
            time: UnixTime::default(),
            uid_seed: 0,
        }
    }
}

impl Encode for Frames {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        let topic = self.topic.of(&chain.namespace);
        let key = chain.key.to_string();
        let (head, described) = match &self.rows {
            Form::Lines(rows) => (Vec::new(), rows.describe(chain)),
            Form::Protobuf(records) => (records.container(chain), Vec::new()),
        };
        let mut out = Vec::new();
        put_run(&topic, &key, &head, &mut out);
        out.extend_from_slice(&described);
        out
    }

    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        let (frame, described) = split_frame(run.described).unwrap_or((&[], run.described));
        out.extend_from_slice(frame);
        self.uid_seed = run.uid_seed;
        match &mut self.rows {
            Form::Lines(rows) => {
                // What rows put in front of a run's rows would stand in front of our frames.
                let before = out.len();
                rows.begin_run(&Run { described, ..*run }, out);
                debug_assert_eq!(out.len(), before, "rows put something in front of a run");
            }
            Form::Protobuf(records) => records.uid_seed = run.uid_seed,
        }
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let start = out.len();
        out.extend_from_slice(&[RECORD, 0, 0, 0, 0]);
        out.extend_from_slice(&record_uid(self.uid_seed, record).to_le_bytes());
        let time_ms = self.time.of(record.time) / 1_000_000;
        out.extend_from_slice(&time_ms.cast_signed().to_le_bytes());
        let encoded = match &mut self.rows {
            Form::Lines(rows) => {
                let encoded = rows.record(record, out);
                if out.last() == Some(&b'\n') {
                    out.pop();
                }
                encoded
            }
            Form::Protobuf(records) => records.record(record, out),
        };
        let rest = (out.len() - start - PREFIX_BYTES) as u32;
        if let Some(len) = out.get_mut(start + 1..start + PREFIX_BYTES) {
            len.copy_from_slice(&rest.to_le_bytes());
        }
        encoded
    }

    fn end_run(&mut self, _out: &mut Vec<u8>) {}

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn cut(&self, whole: &[u8], _ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        let mut keep = keep.iter().filter(|range| !range.is_empty()).peekable();
        let mut number = 0;
        let mut run: &[u8] = &[];
        let mut rest = whole;
        while let Some((frame, behind)) = split_frame(rest) {
            rest = behind;
            if frame.first() == Some(&RUN) {
                run = frame;
                continue;
            }
            while keep.next_if(|range| range.end <= number).is_some() {}
            if keep.peek().is_some_and(|range| range.contains(&number)) {
                out.extend_from_slice(std::mem::take(&mut run));
                out.extend_from_slice(frame);
            }
            number += 1;
        }
    }

    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }
}

/// Appends a run frame. The topic is shorter than 64 KiB, as every name of a topic is.
pub fn put_run(topic: &str, key: &str, head: &[u8], out: &mut Vec<u8>) {
    let rest = size_of::<u16>() + size_of::<u32>() + topic.len() + key.len() + head.len();
    out.push(RUN);
    out.extend_from_slice(&(rest as u32).to_le_bytes());
    out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(head);
}

/// Appends a record frame of a row that is there already.
pub fn put_record(uid: u128, time_ms: i64, row: &[u8], out: &mut Vec<u8>) {
    let rest = UID_BYTES + TIME_BYTES + row.len();
    out.push(RECORD);
    out.extend_from_slice(&(rest as u32).to_le_bytes());
    out.extend_from_slice(&uid.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    out.extend_from_slice(row);
}

/// The first frame, and what is behind it; `None` if there is no whole frame.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, len) = bytes.get(..PREFIX_BYTES)?.split_first()?;
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    bytes.split_at_checked(PREFIX_BYTES.checked_add(len)?)
}

/// A frame, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Whose the records behind it are.
    Run {
        /// Where they go.
        topic: &'a str,
        /// What keeps them in order.
        key: &'a [u8],
        /// What belongs before the rows of a message; empty unless they are protobuf.
        head: &'a [u8],
    },
    /// A record.
    Record {
        /// Its uid.
        uid: u128,
        /// Its time, in milliseconds since 1970.
        time_ms: i64,
        /// Its row, without a line end; or its field `RecordGroup.records`.
        row: &'a [u8],
    },
}

/// A payload that is not made of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a payload of frames: it is damaged at byte {at}")]
pub struct Damaged {
    /// Where the frame begins that cannot be read.
    pub at: usize,
}

/// The frames of a payload, in order, each with the place of what it ends in: the head, or the row. Ends behind the
/// first that cannot be read.
pub fn frames(payload: &[u8]) -> impl Iterator<Item = Result<(Range<u32>, Frame<'_>), Damaged>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let at = payload.len() - rest.len();
        if rest.is_empty() {
            return None;
        }
        let split = split_frame(std::mem::take(&mut rest));
        let found = split.and_then(|(frame, behind)| {
            rest = behind;
            let frame = parse(frame)?;
            let tail = match frame {
                Frame::Run { head, .. } => head.len(),
                Frame::Record { row, .. } => row.len(),
            };
            let end = u32::try_from(payload.len() - behind.len()).ok()?;
            Some((end.checked_sub(u32::try_from(tail).ok()?)?..end, frame))
        });
        if found.is_none() {
            rest = &[];
        }
        Some(found.ok_or(Damaged { at }))
    })
}

fn parse(frame: &[u8]) -> Option<Frame<'_>> {
    let kind = frame.first()?;
    let rest = frame.get(PREFIX_BYTES..)?;
    match *kind {
        RUN => {
            let (topic_bytes, rest) = rest.split_first_chunk()?;
            let (key_bytes, rest) = rest.split_first_chunk()?;
            let topic_bytes = usize::from(u16::from_le_bytes(*topic_bytes));
            let (topic, rest) = rest.split_at_checked(topic_bytes)?;
            let key_bytes = u32::from_le_bytes(*key_bytes) as usize;
            let (key, head) = rest.split_at_checked(key_bytes)?;
            let topic = std::str::from_utf8(topic).ok()?;
            Some(Frame::Run { topic, key, head })
        }
        RECORD => {
            let (uid, rest) = rest.split_first_chunk::<UID_BYTES>()?;
            let (time_ms, row) = rest.split_first_chunk::<TIME_BYTES>()?;
            Some(Frame::Record {
                uid: u128::from_le_bytes(*uid),
                time_ms: i64::from_le_bytes(*time_ms),
                row,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
