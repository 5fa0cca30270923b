//! Open records: a `P` part waits here for its `F`, as bytes, per (chain, stream), within one budget for the sink.
//!
//! Invariant: `bytes` is the sum of the content of all open records and never exceeds `bytes_max` by more than the
//! part just pushed. An open record remembers where its parts lie, so that its stream's cursor can stand before it.

use std::collections::HashMap;

use super::line::Line;
use crate::clock::Time;
use crate::record::{Stream, TimeText};

/// Names an open record: the worker's slot of the chain, and the stream.
pub type OpenKey = (u32, Stream);

/// Where the parts of an open record lie within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which segment.
    pub segment: u64,
    /// Offset of the first part in it.
    pub start: u64,
    /// Offset behind the last part in it.
    pub end: u64,
    /// File bytes of all parts in it.
    pub bytes: u64,
}

/// A record whose end has not been seen.
#[derive(Debug)]
pub struct Open {
    /// Timestamp of the first part.
    pub time: TimeText,
    /// The parts' content so far, at most the record limit.
    pub content: Vec<u8>,
    /// Where it lies, oldest segment first. Never empty.
    pub stretches: Vec<Stretch>,
    /// Physical lines it consists of.
    pub lines: u64,
    /// File bytes of content beyond the record limit.
    pub too_long_bytes: u64,
    /// When its first part was read.
    pub opened_at: Time,
}

impl Open {
    /// Its first byte in a segment, if it has parts there.
    pub fn start_in(&self, segment: u64) -> Option<u64> {
        self.stretches
            .iter()
            .find(|stretch| stretch.segment == segment)
            .map(|found| found.start)
    }
}

/// Where a part was read.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which segment.
    pub segment: u64,
    /// Offset of the line's first byte.
    pub start: u64,
    /// Offset behind its line end.
    pub end: u64,
}

/// All open records of one worker.
#[derive(Debug)]
pub struct JoinPool {
    open: HashMap<OpenKey, Open>,
    bytes: usize,
    bytes_max: usize,
    record_bytes_max: usize,
    /// Emptied buffers of records that were taken out.
    spare: Vec<(Vec<u8>, Vec<Stretch>)>,
}

/// Buffers kept for reuse.
const SPARE_MAX: usize = 8;

impl JoinPool {
    /// An empty pool: records of at most `record_bytes_max`, all together `bytes_max`.
    pub fn new(bytes_max: usize, record_bytes_max: usize) -> JoinPool {
        JoinPool {
            open: HashMap::new(),
            bytes: 0,
            bytes_max,
            record_bytes_max,
            spare: Vec::new(),
        }
    }

    /// Adds a part to the chain's open record of that stream, opening one if there is none.
    pub fn push(&mut self, slot: u32, line: &Line<'_>, place: Place, now: Time) {
        let spare = &mut self.spare;
        let open = self.open.entry((slot, line.stream)).or_insert_with(|| {
            let (content, stretches) = spare.pop().unwrap_or_default();
            Open {
                time: line.time,
                content,
                stretches,
                lines: 0,
                too_long_bytes: 0,
                opened_at: now,
            }
        });
        let room = self.record_bytes_max.saturating_sub(open.content.len());
        let kept = line.content.get(..room).unwrap_or(line.content);
        open.content.extend_from_slice(kept);
        open.too_long_bytes += (line.content.len() - kept.len()) as u64;
        open.lines += 1;
        let bytes = place.end.saturating_sub(place.start);
        match open.stretches.last_mut() {
            Some(last) if last.segment == place.segment => {
                last.bytes += bytes;
                last.end = place.end;
            }
            _ => {
                let Place {
                    segment,
                    start,
                    end,
                } = place;
                open.stretches.push(Stretch {
                    segment,
                    start,
                    end,
                    bytes,
                });
            }
        }
        self.bytes += kept.len();
    }

    /// The open record, if there is one.
    pub fn get(&self, key: OpenKey) -> Option<&Open> {
        self.open.get(&key)
    }

    /// Takes the record out.
    pub fn take(&mut self, key: OpenKey) -> Option<Open> {
        let open = self.open.remove(&key)?;
        self.bytes -= open.content.len();
        Some(open)
    }

    /// Gives a taken record's buffers back.
    pub fn recycle(&mut self, mut open: Open) {
        if self.spare.len() < SPARE_MAX && open.content.capacity() <= self.record_bytes_max * 2 {
            open.content.clear();
            open.stretches.clear();
            self.spare.push((open.content, open.stretches));
        }
    }

    /// The oldest open record, when the pool is over its budget.
    pub fn overflow(&self) -> Option<OpenKey> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        self.open
            .iter()
            .min_by_key(|(key, open)| (open.opened_at, **key))
            .map(|(key, _)| *key)
    }

    /// Keys of the records that were opened at or before `moment`.
    pub fn opened_until(&self, moment: Time) -> Vec<OpenKey> {
        let mut keys: Vec<OpenKey> = self
            .open
            .iter()
            .filter(|(_, open)| open.opened_at <= moment)
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        keys
    }

    /// When the oldest was opened.
    pub fn oldest(&self) -> Option<Time> {
        self.open.values().map(|open| open.opened_at).min()
    }

    /// Content held, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(content: &[u8]) -> Line<'_> {
        Line {
            time: TimeText::EPOCH,
            stream: Stream::Stdout,
            partial: true,
            content,
        }
    }

    #[test]
    fn parts_are_joined_as_bytes_over_segments() {
        let mut pool = JoinPool::new(1000, 100);
        // A character cut in the middle: each part alone is not UTF-8.
        pool.push(
            7,
            &line(b"gr\xc3"),
            Place {
                segment: 1,
                start: 10,
                end: 50,
            },
            Time::ZERO,
        );
        pool.push(
            7,
            &line(b"\xbc"),
            Place {
                segment: 1,
                start: 90,
                end: 120,
            },
            Time::ZERO,
        );
        pool.push(
            7,
            &line(b"n"),
            Place {
                segment: 2,
                start: 0,
                end: 30,
            },
            Time::ZERO,
        );
        let open = pool.take((7, Stream::Stdout)).unwrap();
        assert_eq!(open.content, "gr\u{fc}n".as_bytes());
        assert_eq!(open.lines, 3);
        assert_eq!(
            (open.start_in(1), open.start_in(2), open.start_in(3)),
            (Some(10), Some(0), None)
        );
        assert_eq!(
            open.stretches
                .iter()
                .map(|stretch| stretch.bytes)
                .sum::<u64>(),
            100
        );
        assert_eq!(pool.bytes(), 0);
    }

    #[test]
    fn a_record_is_cut_at_its_limit_and_the_rest_counted() {
        let mut pool = JoinPool::new(1000, 5);
        let place = Place {
            segment: 1,
            start: 0,
            end: 1,
        };
        pool.push(1, &line(b"abcd"), place, Time::ZERO);
        pool.push(1, &line(b"efgh"), place, Time::ZERO);
        let open = pool.take((1, Stream::Stdout)).unwrap();
        assert_eq!(
            (open.content.as_slice(), open.too_long_bytes),
            (&b"abcde"[..], 3)
        );
    }

    #[test]
    fn over_budget_the_oldest_goes_first() {
        let mut pool = JoinPool::new(5, 100);
        let place = Place {
            segment: 1,
            start: 0,
            end: 1,
        };
        pool.push(1, &line(b"abc"), place, Time::from_ms(2));
        pool.push(2, &line(b"abc"), place, Time::from_ms(1));
        assert_eq!(pool.overflow(), Some((2, Stream::Stdout)));
        pool.take((2, Stream::Stdout)).unwrap();
        assert_eq!(pool.overflow(), None);
    }
}
