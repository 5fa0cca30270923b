//! One line on its way into the payload: taken apart, joined, judged, encoded.

use super::chains::ChainState;
use super::judge::{Ruling, leave_out};
use super::ledger::{Amount, Drop};
use super::payload::{Mark, Offer};
use super::worker::Worker;
use crate::catalog::chain::Identity;
use crate::clock::Time;
use crate::encode::{Run, uid_seed};
use crate::record::{Flags, Record, Stream};
use crate::select::level;
use crate::tail::join::{Held, Open, OpenKey, Place};
use crate::tail::line::Line;
use crate::tail::{cri, docker, time};

impl Worker {
    /// Takes one line apart.
    pub(super) fn line(&mut self, slot: u32, line: &[u8], place: Place, flags: Flags, now: Time) {
        let Some(state) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let is_docker = state.chain.as_ref().is_some_and(|chain| chain.docker);
        let mut scratch = std::mem::take(&mut self.scratch);
        let parsed = if is_docker {
            docker::parse(line, &mut scratch)
        } else {
            cri::parse(line)
        };
        match parsed {
            Some(parsed) => self.parsed(slot, &parsed, place, flags, now),
            None => {
                if flags.has(Flags::CUT) {
                    self.sever(slot);
                }
                let raw = Line {
                    time: time::from_wall(self.clock.wall()),
                    stream: Stream::Stdout,
                    partial: false,
                    content: line,
                };
                self.parsed(slot, &raw, place, flags.with(Flags::UNPARSED), now);
            }
        }
        self.scratch = scratch;
    }

    fn parsed(&mut self, slot: u32, line: &Line<'_>, place: Place, flags: Flags, now: Time) {
        if self.was_settled(slot, line.stream, place, flags) {
            return;
        }
        let stream = line.stream.index();
        if !flags.has(Flags::UNPARSED) && self.is_severed((slot, line.stream), place) {
            self.close_all((slot, line.stream), true, now);
        }
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(by) = state.plan.left_out[stream] {
            return self.leave_out(slot, place, by, now);
        }
        let unfinished = flags.has(Flags::PARTIAL) || flags.has(Flags::CUT);
        if line.partial && !unfinished {
            state.open[stream] = true;
            self.join.push(slot, line, place, now);
            self.builder.commit(slot, place.segment, now);
            self.relieve(now);
        } else if state.groups(line.stream) && !flags.has(Flags::UNPARSED) {
            self.group_line(slot, line, place, flags, now);
        } else if state.open[stream] && !flags.has(Flags::UNPARSED) {
            self.join.push(slot, line, place, now);
            self.emit_open((slot, line.stream), Held::Line, flags, now);
        } else {
            self.emit(slot, line, place, flags, now);
        }
    }

    /// Whether the open record's next part may be another line than the one at `place`: something between them was
    /// lost, or lies in a file that cannot be read now.
    fn is_severed(&self, key: OpenKey, place: Place) -> bool {
        let Some(state) = self.chains.get(key.0 as usize).and_then(Option::as_ref) else {
            return false;
        };
        let stream = key.1.index();
        if state.severed[stream] || !(state.open[stream] || state.grouped[stream]) {
            return state.severed[stream];
        }
        let line = self.join.get(key, Held::Line);
        let open = line.or_else(|| self.join.get(key, Held::Group));
        let last = open.and_then(|open| open.stretches.last());
        let Some(last) = last.filter(|last| last.segment != place.segment) else {
            return false;
        };
        let mut segments = state.segments.iter();
        let late = segments.any(|segment| {
            segment.late && (segment.serial == last.segment || segment.serial == place.segment)
        });
        late || state.chain.as_ref().is_some_and(|chain| chain.unsure())
    }

    /// A line was too long to be understood: it may have been a part of any open record.
    fn sever(&mut self, slot: u32) {
        if let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) {
            chain.sever();
        }
    }

    /// Whether the line was settled before a restart; then it is passed over.
    fn was_settled(&mut self, slot: u32, stream: Stream, place: Place, flags: Flags) -> bool {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return true;
        };
        let Some(state) = chain.segment_mut(place.segment) else {
            return true;
        };
        let replay = &mut state.replay;
        if !replay.covers(place.start) {
            return false;
        }
        // What is no line of the runtime's is never a part of an open record.
        let settled = flags.has(Flags::UNPARSED) || place.start < replay.below[stream.index()];
        if settled {
            replay.pass(place.end - place.start);
        }
        replay.skips_settled = settled;
        settled
    }

    /// Encodes a record that is one line, if it is wanted.
    pub(super) fn emit(
        &mut self,
        slot: u32,
        line: &Line<'_>,
        place: Place,
        flags: Flags,
        now: Time,
    ) {
        let kept = line
            .content
            .get(..self.limits.record_bytes_max)
            .unwrap_or(line.content);
        let too_long = (line.content.len() - kept.len()) as u64;
        let flags = if too_long > 0 {
            flags.with(Flags::CUT)
        } else {
            flags
        };
        let mut record = Record {
            time: &line.time,
            stream: line.stream,
            message: kept,
            level: level::infer(kept),
            flags,
            start: place.start,
            end: place.end,
        };
        let bytes = place.end - place.start;
        let amount = Amount {
            bytes: bytes.saturating_sub(too_long),
            lines: 1,
        };
        let segment = place.segment;
        let ruling = self.rule(slot, segment, &record, now);
        let masked = self.judge.take_masked();
        if ruling == Ruling::Mask {
            record.message = &masked;
        }
        let commit = loop {
            if ruling.leaves_out() {
                let commit = self.builder.commit(slot, segment, now);
                if let Some(commit) = self.builder.commit_mut(commit) {
                    leave_out(commit, ruling, amount);
                }
                break commit;
            }
            self.enter(slot, segment);
            let commit = self.builder.commit(slot, segment, now);
            match self.builder.offer(&record, Mark::new(commit, amount)) {
                Offer::Full => self.seal(),
                Offer::Taken(encoded) => {
                    self.builder.deliver(commit, amount, 0);
                    self.count(flags, encoded.replaced);
                    break commit;
                }
            }
        };
        let done = (line.stream, record.level, ruling, amount);
        self.judge.give_back(masked);
        self.ruled(slot, done, now);
        if let Some(commit) = self.builder.commit_mut(commit) {
            commit.settled_bytes += bytes;
        }
        self.too_long(commit, bytes - amount.bytes);
    }

    /// Encodes an open record as it is, if it is wanted, under the segment of its last part.
    pub(super) fn emit_open(&mut self, key: OpenKey, held: Held, flags: Flags, now: Time) {
        let (slot, stream) = key;
        let Some(opened) = self
            .join
            .get(key, held)
            .and_then(|open| of_open(open, stream, flags))
        else {
            return;
        };
        let (segment, amount, too_long) = (opened.segment, opened.amount, opened.too_long);
        let level = opened.record.level;
        let ruling = self.rule_open(key, held, flags, now);
        let masked = self.judge.take_masked();
        let commit = loop {
            if ruling.leaves_out() {
                let commit = self.builder.commit(slot, segment, now);
                if let Some(commit) = self.builder.commit_mut(commit) {
                    leave_out(commit, ruling, amount);
                }
                break commit;
            }
            self.enter(slot, segment);
            let commit = self.builder.commit(slot, segment, now);
            // Looked up again: a payload may have been sealed, with the record open as it is.
            let open = self.join.get(key, held);
            let Some(opened) = open.and_then(|open| of_open(open, stream, flags)) else {
                break commit;
            };
            let mut record = opened.record;
            if ruling == Ruling::Mask {
                record.message = &masked;
            }
            match self.builder.offer(&record, Mark::new(commit, amount)) {
                Offer::Full => self.seal(),
                Offer::Taken(encoded) => {
                    self.builder.deliver(commit, amount, 0);
                    self.count(record.flags, encoded.replaced);
                    break commit;
                }
            }
        };
        self.judge.give_back(masked);
        self.ruled(slot, (stream, level, ruling, amount), now);
        self.too_long(commit, too_long);
        self.close(key, held, now);
    }

    /// Settles the bytes of an open record that is in the payload, or excluded.
    fn close(&mut self, key: OpenKey, held: Held, now: Time) {
        let (slot, stream) = key;
        let Some(open) = self.join.take(key, held) else {
            return;
        };
        for stretch in &open.stretches {
            let number = self.builder.commit(slot, stretch.segment, now);
            if let Some(commit) = self.builder.commit_mut(number) {
                commit.settled_bytes += stretch.bytes;
            }
        }
        let is_multiline = held == Held::Group && memchr::memchr(b'\n', &open.content).is_some();
        self.counters.records_multiline += u64::from(is_multiline);
        self.join.recycle(open);
        if let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) {
            match held {
                Held::Line => {
                    chain.open[stream.index()] = false;
                    chain.severed[stream.index()] = false;
                }
                Held::Group => chain.grouped[stream.index()] = false,
            }
        }
    }

    /// Makes the segment's run the current one.
    pub(super) fn enter(&mut self, slot: u32, segment: u64) {
        if self.builder.is_in(slot, segment) {
            return;
        }
        let Some(chain) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let run = run_of(chain, identity_in(chain, segment));
        self.builder.enter(slot, segment, &run);
    }

    fn too_long(&mut self, commit: u32, bytes: u64) {
        if let Some(commit) = self.builder.commit_mut(commit) {
            commit.dropped[Drop::TooLong as usize].bytes += bytes;
        }
    }

    fn count(&mut self, flags: Flags, replaced: bool) {
        self.counters.records += 1;
        self.counters.records_replaced += u64::from(replaced);
        if !flags.is_empty() {
            self.counters.records_unparsed += u64::from(flags.has(Flags::UNPARSED));
            self.counters.records_partial += u64::from(flags.has(Flags::PARTIAL));
            self.counters.records_cut += u64::from(flags.has(Flags::CUT));
            self.counters.records_multiline_cut += u64::from(flags.has(Flags::MULTILINE_CUT));
        }
    }
}

/// The run of a chain's records out of a segment of that identity.
pub(super) fn run_of(chain: &ChainState, identity: Option<Identity>) -> Run<'_> {
    Run {
        chain: &chain.meta,
        described: &chain.described,
        uid_seed: uid_seed(&chain.uid_base, identity.map_or(0, |identity| identity.0)),
        parse_json: chain.plan.wishes.parse_json,
    }
}

/// The identity of a segment of the chain, if it has one.
pub(super) fn identity_in(chain: &ChainState, segment: u64) -> Option<Identity> {
    let mut segments = chain.segments.iter();
    let state = segments.find(|state| state.serial == segment);
    state.and_then(|state| state.identity)
}

/// An open record as it is.
pub(super) struct Opened<'a> {
    pub(super) record: Record<'a>,
    /// Where its last part lies.
    pub(super) segment: u64,
    amount: Amount,
    too_long: u64,
}

pub(super) fn of_open(open: &Open, stream: Stream, flags: Flags) -> Option<Opened<'_>> {
    let last = open.stretches.last()?;
    let bytes: u64 = open.stretches.iter().map(|stretch| stretch.bytes).sum();
    let too_long = open.too_long_bytes.min(bytes);
    let flags = if too_long > 0 {
        flags.with(Flags::CUT)
    } else {
        flags
    };
    let record = Record {
        time: &open.time,
        stream,
        message: &open.content,
        level: level::infer(&open.content),
        flags,
        start: if open.stretches.len() == 1 {
            last.start
        } else {
            0
        },
        end: last.end,
    };
    Some(Opened {
        record,
        segment: last.segment,
        amount: Amount {
            bytes: bytes - too_long,
            lines: open.lines,
        },
        too_long,
    })
}
