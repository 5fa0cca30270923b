//! One turn of one chain: a block is taken apart into lines, each on its way into the payload.

use super::chains::{Replay, SegmentState};
use super::fill::Block;
use super::ledger::{Drop, Exclusion};
use super::payload::{Cursors, Frontier, Skip};
use super::worker::Worker;
use crate::clock::Time;
use crate::record::{Flags, Stream};
use crate::tail::join::Place;

/// A run of NULs at a line's start that is shorter than this belongs to the line.
const NUL_RUN_BYTES_MIN: usize = 64;

/// The cursors of a segment as they stand: a stream with an open record stands at that record's first byte.
pub(super) fn cursors_of(
    slot: u32,
    state: &SegmentState,
    join: &crate::tail::join::JoinPool,
) -> Cursors {
    let mut at = [state.read; 2];
    let durable = &state.cursors;
    for stream in Stream::ALL {
        if let Some(start) = join.start_in((slot, stream), state.serial) {
            at[stream.index()] = start;
        }
        // After a restart the lower stream's bytes are read again; the other's cursor does not go back.
        at[stream.index()] = at[stream.index()].max(durable.at[stream.index()]);
    }
    if state.replay.covers(state.read) {
        return Cursors {
            at,
            read: durable.read,
            skip: durable.skip,
            frontier: durable.frontier,
        };
    }
    Cursors {
        at,
        read: state.read,
        skip: state.skip,
        frontier: state.frontier,
    }
}

impl Worker {
    /// Reads one block of the chain and takes it in. Returns the bytes it cost.
    pub(super) fn turn(&mut self, slot: u32, now: Time) -> usize {
        let Some(state) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return 0;
        };
        match state.next_segment() {
            Some(at) => self.turn_at(slot, at, now),
            None => 0,
        }
    }

    /// [`Worker::turn`] on a segment of the caller's choice.
    pub(super) fn turn_at(&mut self, slot: u32, at: usize, now: Time) -> usize {
        if !self.begin_rate(slot, now) {
            return 1;
        }
        let mut buffer = std::mem::take(&mut self.block);
        let bytes = match self.fill(slot, at, &mut buffer, now) {
            Some(block) => {
                self.take_in(slot, at, &buffer, &block, now);
                block.to.saturating_sub(block.from).max(1)
            }
            None => 1,
        };
        self.block = buffer;
        self.end_rate(slot, now);
        bytes
    }

    /// Takes the lines of a block into the payload.
    fn take_in(&mut self, slot: u32, at: usize, buffer: &[u8], block: &Block, now: Time) {
        let data = buffer.get(block.from..block.to).unwrap_or_default();
        let Some((serial, base)) = self.place_of(slot, at) else {
            return;
        };
        let (data, replays_all) = self.up_to_replay_end(slot, at, data);
        let mut taken = self.skip_rest(slot, at, data, now);
        while taken < data.len() && self.delivery.has_slot() && !self.judge.is_stopped() {
            taken += self.straight(slot, at, data.get(taken..).unwrap_or_default(), now);
            if self.judge.is_stopped() {
                break;
            }
            if self.sum_up_due(slot, now) {
                continue;
            }
            if self.builder.is_staged() {
                self.builder.leave();
                continue;
            }
            let rest = data.get(taken..).unwrap_or_default();
            let start = base + taken as u64;
            let run = nul_run(rest, block.at_end || replays_all);
            if run > 0 {
                taken += run;
                self.drop_bytes(slot, at, run as u64, Drop::NulHole, now);
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break;
            };
            let line = rest.get(..end).unwrap_or_default();
            let place = Place {
                segment: serial,
                start,
                end: start + end as u64 + 1,
            };
            self.line(slot, line, place, Flags::NONE, now);
            taken += end + 1;
            self.advance(slot, at, base + taken as u64);
            if self.builder.is_staged() {
                self.builder.leave();
            }
        }
        self.counters.read_bytes += taken as u64;
        if taken < data.len() && self.delivery.has_slot() && !self.judge.is_stopped() {
            let rest = data.get(taken..).unwrap_or_default();
            taken += if replays_all {
                self.pass_settled(slot, at, rest.len())
            } else {
                self.unfinished(slot, at, rest, block, taken == 0, now)
            };
        }
        self.end_replay(slot, at);
        let before = buffer.get(..block.from + taken).unwrap_or_default();
        self.end_turn(slot, at, taken, before);
        self.builder.leave();
    }

    /// While a segment is replayed: the data up to where reading stood before, and whether it reaches that far.
    fn up_to_replay_end<'a>(&self, slot: u32, at: usize, data: &'a [u8]) -> (&'a [u8], bool) {
        let chain = self.chains.get(slot as usize).and_then(Option::as_ref);
        let Some(state) = chain.and_then(|chain| chain.segments.get(at)) else {
            return (data, false);
        };
        if !state.replay.covers(state.read) {
            return (data, false);
        }
        let left = usize::try_from(state.replay.to - state.read).unwrap_or(usize::MAX);
        (data.get(..left).unwrap_or(data), left <= data.len())
    }

    /// Passes over the unfinished line in which reading stood before a restart: what was taken of it was settled.
    fn pass_settled(&mut self, slot: u32, at: usize, bytes: usize) -> usize {
        if let Some(state) = self.segment_mut(slot, at) {
            state.replay.pass(bytes as u64);
            state.read += bytes as u64;
        }
        bytes
    }

    /// Once all is replayed, reading goes on as it would have.
    fn end_replay(&mut self, slot: u32, at: usize) {
        if let Some(state) = self.segment_mut(slot, at)
            && state.replay.to > 0
            && !state.replay.covers(state.read)
        {
            debug_assert_eq!(state.replay.ahead, 0, "replay passed over too little");
            state.skip = state.replay.skip;
            state.replay = Replay::default();
        }
    }

    /// The serial of a segment and where reading stands in it.
    fn place_of(&self, slot: u32, at: usize) -> Option<(u64, u64)> {
        let state = self.chains.get(slot as usize)?.as_ref()?.segments.get(at)?;
        Some((state.serial, state.read))
    }

    fn segment_mut(&mut self, slot: u32, at: usize) -> Option<&mut SegmentState> {
        self.chains
            .get_mut(slot as usize)?
            .as_mut()?
            .segments
            .get_mut(at)
    }

    fn advance(&mut self, slot: u32, at: usize, read: u64) {
        if let Some(state) = self.segment_mut(slot, at) {
            state.read = read;
        }
    }

    /// Inside a line whose rest nobody takes: passes over bytes up to its end. Returns how many.
    fn skip_rest(&mut self, slot: u32, at: usize, data: &[u8], now: Time) -> usize {
        let Some(state) = self.segment_mut(slot, at) else {
            return 0;
        };
        let skip = state.skip;
        if skip == Skip::No || data.is_empty() {
            return 0;
        }
        let end = memchr::memchr(b'\n', data);
        let len = end.map_or(data.len(), |end| end + 1);
        // A backlog that was skipped up to the very end of a line leaves nothing to skip.
        if end.is_some() {
            state.skip = Skip::No;
        }
        match skip {
            Skip::No => {}
            Skip::TooLong => self.drop_bytes(slot, at, len as u64, Drop::TooLong, now),
            Skip::Backlog => self.skip_excluded(slot, at, len as u64, Exclusion::Backlog, now),
            Skip::Excluded => self.skip_excluded(slot, at, len as u64, Exclusion::Rule, now),
        }
        len
    }

    /// Moves the read position over bytes that nobody wants.
    fn skip_excluded(&mut self, slot: u32, at: usize, bytes: u64, why: Exclusion, now: Time) {
        let commit = self.settle(slot, at, bytes, now);
        if let Some(commit) = self.builder.commit_mut(commit) {
            commit.excluded[why as usize].bytes += bytes;
        }
    }

    /// Moves the read position over bytes that are dropped, or were before a restart.
    fn drop_bytes(&mut self, slot: u32, at: usize, bytes: u64, why: Drop, now: Time) {
        let Some(state) = self.segment_mut(slot, at) else {
            return;
        };
        let replayed = state.replay.covers(state.read);
        if replayed && (why == Drop::NulHole || state.replay.skips_settled) {
            self.pass_settled(slot, at, usize::try_from(bytes).unwrap_or(usize::MAX));
            return;
        }
        let commit = self.settle(slot, at, bytes, now);
        if let Some(commit) = self.builder.commit_mut(commit) {
            commit.dropped[why as usize].bytes += bytes;
        }
    }

    /// Moves the read position over bytes that the payload settles; returns the commit that does.
    fn settle(&mut self, slot: u32, at: usize, bytes: u64, now: Time) -> u32 {
        let Some(state) = self.segment_mut(slot, at) else {
            return u32::MAX;
        };
        state.read += bytes;
        let serial = state.serial;
        let number = self.builder.commit(slot, serial, now);
        if let Some(commit) = self.builder.commit_mut(number) {
            commit.settled_bytes += bytes;
        }
        number
    }

    /// What is left of a block behind its last line end. Returns how much of it was taken.
    fn unfinished(
        &mut self,
        slot: u32,
        at: usize,
        rest: &[u8],
        block: &Block,
        is_whole_block: bool,
        now: Time,
    ) -> usize {
        let Some((serial, start)) = self.place_of(slot, at) else {
            return 0;
        };
        let place = Place {
            segment: serial,
            start,
            end: start + rest.len() as u64,
        };
        let Some(state) = self.segment_mut(slot, at) else {
            return 0;
        };
        if is_whole_block && block.full {
            // Longer than any record may be: its beginning is delivered, the rest passed over up to its line end. How
            // much is its beginning must not depend on how the block came to be, or its uid would.
            let len = rest.len().min(self.line_bytes_max);
            let place = Place {
                end: start + len as u64,
                ..place
            };
            self.line(
                slot,
                rest.get(..len).unwrap_or(rest),
                place,
                Flags::CUT,
                now,
            );
            if let Some(state) = self.segment_mut(slot, at) {
                state.skip = Skip::TooLong;
            }
            self.advance(slot, at, place.end);
            return len;
        } else if block.at_end && block.ended {
            self.line(slot, rest, place, Flags::PARTIAL, now);
        } else {
            if block.at_end {
                state.tail_seen = state.seen;
            }
            return 0;
        }
        self.advance(slot, at, place.end);
        rest.len()
    }

    fn end_turn(&mut self, slot: u32, at: usize, taken: usize, before: &[u8]) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let Some(segment) = state.segments.get_mut(at) else {
            return;
        };
        match &mut state.inflating {
            Some(inflating) if inflating.segment == segment.serial => {
                inflating.consume(segment.read);
                segment.frontier = Frontier::default();
            }
            _ if taken > 0 => segment.frontier = Frontier::of(segment.read, before),
            _ => {}
        }
        let done = segment.read >= segment.seen;
        let Some(known) = &segment.segment else {
            return;
        };
        if done && known.ended() {
            self.close_inflater(slot);
        }
    }
}

/// The length of a run of NULs at the beginning, if it is long enough to be a hole. Of one that may go on behind the
/// data enough is left to be known as a hole by.
fn nul_run(data: &[u8], is_end: bool) -> usize {
    if data.first() != Some(&0) {
        return 0;
    }
    match data.iter().position(|byte| *byte != 0) {
        Some(run) if run >= NUL_RUN_BYTES_MIN => run,
        None if is_end && data.len() >= NUL_RUN_BYTES_MIN => data.len(),
        None => data.len().saturating_sub(NUL_RUN_BYTES_MIN),
        Some(_) => 0,
    }
}
