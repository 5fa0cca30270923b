//! Open records: a `P` part waits here for its `F`, and a group of lines for its next one, as bytes, per (chain,
//! stream), within one budget for the sink.
//!
//! Invariants: `bytes` is the sum of the content of all open records and never exceeds `bytes_max` by more than the
//! part or line just pushed. An open record remembers where its parts lie, so that its stream's cursor can stand before
//! it. A group is older than the line that is open beside it.

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

/// What is open: a line whose parts are not all there, or a group of lines that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Parts of one line.
    Line,
    /// Whole lines of one record.
    Group,
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

/// Whole lines that are one record, to which more may come.
#[derive(Debug)]
struct Group {
    /// The lines, joined by LF.
    open: Open,
    /// How many of the container's lines they are, whatever number of parts these had.
    lines: u32,
    /// Over at this moment, unless a line comes before it.
    due: Time,
}

impl Open {
    /// Its first byte in a segment, if it has parts there.
    pub fn start_in(&self, segment: u64) -> Option<u64> {
        self.stretches
            .iter()
            .find(|stretch| stretch.segment == segment)
            .map(|found| found.start)
    }

    /// Adds where further bytes lie.
    fn extend(&mut self, further: Stretch) {
        match self.stretches.last_mut() {
            Some(last) if last.segment == further.segment => {
                last.bytes += further.bytes;
                last.end = further.end;
            }
            _ => self.stretches.push(further),
        }
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
    groups: HashMap<OpenKey, Group>,
    /// No group is over before this moment.
    groups_due: Time,
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
            groups: HashMap::new(),
            groups_due: Time::NEVER,
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
        open.extend(Stretch {
            segment: place.segment,
            start: place.start,
            end: place.end,
            bytes: place.end.saturating_sub(place.start),
        });
        self.bytes += kept.len();
    }

    /// Makes the chain's open line, which is whole now, the first of a group. There is no other group.
    pub fn begin_group(&mut self, key: OpenKey, due: Time) {
        let Some(open) = self.open.remove(&key) else {
            return;
        };
        self.groups_due = self.groups_due.min(due);
        let group = Group {
            open,
            lines: 1,
            due,
        };
        if let Some(before) = self.groups.insert(key, group) {
            debug_assert!(false, "a group was begun within another");
            self.bytes -= before.open.content.len();
        }
    }

    /// Whether `further` bytes and a line end fit into the group's record.
    pub fn group_has_room(&self, key: OpenKey, further: usize) -> bool {
        let group = self.groups.get(&key);
        group.is_some_and(|group| group.open.content.len() + 1 + further <= self.record_bytes_max)
    }

    /// Adds the chain's open line, which is whole now, to its group. Returns how many lines that has.
    pub fn extend_group(&mut self, key: OpenKey, due: Time) -> u32 {
        let Some(group) = self.groups.get_mut(&key) else {
            return 0;
        };
        let Some(line) = self.open.remove(&key) else {
            return group.lines;
        };
        group.open.content.push(b'\n');
        group.open.content.extend_from_slice(&line.content);
        self.bytes += 1;
        for stretch in &line.stretches {
            group.open.extend(*stretch);
        }
        group.open.lines += line.lines;
        group.open.too_long_bytes += line.too_long_bytes;
        group.lines += 1;
        group.due = due;
        self.groups_due = self.groups_due.min(due);
        let lines = group.lines;
        self.recycle(line);
        lines
    }

    /// The open record, if there is one.
    pub fn get(&self, key: OpenKey, held: Held) -> Option<&Open> {
        match held {
            Held::Line => self.open.get(&key),
            Held::Group => self.groups.get(&key).map(|group| &group.open),
        }
    }

    /// The first byte in a segment of what is open of a chain's stream, if it has any there.
    pub fn start_in(&self, key: OpenKey, segment: u64) -> Option<u64> {
        let start = |held| self.get(key, held)?.start_in(segment);
        start(Held::Group).or_else(|| start(Held::Line))
    }

    /// Takes the record out.
    pub fn take(&mut self, key: OpenKey, held: Held) -> Option<Open> {
        let open = match held {
            Held::Line => self.open.remove(&key)?,
            Held::Group => self.groups.remove(&key)?.open,
        };
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
    pub fn overflow(&self) -> Option<(OpenKey, Held)> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let groups = self.groups.iter();
        let groups = groups.map(|(key, group)| (group.open.opened_at, *key, Held::Group));
        let lines = self.open.iter();
        let lines = lines.map(|(key, open)| (open.opened_at, *key, Held::Line));
        // Of one moment and key the group is older; it comes first, and the first least one is taken.
        groups
            .chain(lines)
            .min_by_key(|(opened_at, key, _)| (*opened_at, *key))
            .map(|(_, key, held)| (key, held))
    }

    /// Keys of the streams that have anything open.
    pub fn keys(&self) -> Vec<OpenKey> {
        let mut keys: Vec<OpenKey> = self
            .open
            .keys()
            .chain(self.groups.keys())
            .copied()
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Groups to which nothing was added for long enough; one beside which a line is open still grows.
    pub fn groups_over(&mut self, now: Time) -> Vec<OpenKey> {
        if now < self.groups_due {
            return Vec::new();
        }
        let grows = |key: &OpenKey| self.open.contains_key(key);
        let resting = self.groups.iter().filter(|(key, _)| !grows(key));
        let mut keys: Vec<OpenKey> = resting
            .clone()
            .filter(|(_, group)| group.due <= now)
            .map(|(key, _)| *key)
            .collect();
        self.groups_due = resting
            .map(|(_, group)| group.due)
            .min()
            .unwrap_or(Time::NEVER);
        keys.sort_unstable();
        keys
    }

    /// No group is over before this moment.
    pub fn groups_due(&self) -> Time {
        self.groups_due
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
        let open = pool.take((7, Stream::Stdout), Held::Line).unwrap();
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
        let open = pool.take((1, Stream::Stdout), Held::Line).unwrap();
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
        assert_eq!(pool.overflow(), Some(((2, Stream::Stdout), Held::Line)));
        pool.take((2, Stream::Stdout), Held::Line).unwrap();
        assert_eq!(pool.overflow(), None);
    }
}
