//! What is not wanted: a chain as a whole, one of its streams, or what was written before it was wanted.
//!
//! Invariant: bytes are excluded in the order of the file. Where older bytes of a segment are still on their way, the
//! exclusion goes behind them into the payload, so that cursors never stand behind what is not settled.

use super::chains::{ChainState, Replay, SegmentState};
use super::ledger::{Amount, Exclusion};
use super::payload::{Cursors, Frontier, Skip};
use super::worker::Worker;
use crate::clock::Time;
use crate::record::Stream;
use crate::select::rules::By;
use crate::tail::join::{Held, Open, Place};
use crate::tail::multiline::State;

/// The account of what was excluded by this.
fn reason(by: By) -> Exclusion {
    match by {
        By::Rule => Exclusion::Rule,
        By::Annotation => Exclusion::Annotation,
    }
}

/// The account of a chain that is excluded as a whole.
pub(super) fn reason_of(state: &ChainState) -> Exclusion {
    let own = state.chain.as_ref().is_some_and(|it| it.excluded.is_some());
    if own {
        Exclusion::OwnPod
    } else {
        reason(state.plan.by)
    }
}

impl Worker {
    /// Makes of a chain what its plan says, when something about it has changed; `was_shut`: all of it was excluded
    /// until then.
    pub(super) fn obey_plan(&mut self, slot: u32, was_shut: bool, now: Time) {
        let Some(state) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let plan = std::sync::Arc::clone(&state.plan);
        let why = reason_of(state);
        let (shut, left_out) = (state.shut, plan.left_out);
        for (stream, by) in Stream::ALL.into_iter().zip(left_out) {
            match (shut, by) {
                (true, _) => self.drop_open(slot, stream, why, now),
                (_, Some(by)) => self.drop_open(slot, stream, reason(by), now),
                (_, None) => {}
            }
        }
        match (was_shut, shut) {
            (_, true) => self.exclude_whole(slot, was_shut, why, now),
            (true, false) => self.take_up(slot, now),
            (false, false) => {
                self.exclude_unread(slot, Exclusion::Rule, now, |segment| segment.dismissed)
            }
        }
    }

    /// A chain that is not wanted is counted by its length and not opened.
    fn exclude_whole(&mut self, slot: u32, was_shut: bool, why: Exclusion, now: Time) {
        let sink = self.feed.shard.sink;
        self.exclude_unread(slot, why, now, |_| true);
        self.close_inflater(slot);
        let Some(state) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let mut held = false;
        for segment in state.segments.iter().filter_map(|it| it.segment.as_ref()) {
            segment.pass(sink, u64::MAX);
            held |= segment.source().handle.is_some();
        }
        if let Some(chain) = state.chain.as_ref().filter(|_| held && !was_shut) {
            // The catalog may give back its descriptors.
            chain.request_look();
        }
    }

    /// A chain that was excluded is wanted: from where it stands, at the next line start.
    fn take_up(&mut self, slot: u32, now: Time) {
        self.exclude_unread(slot, Exclusion::Rule, now, |_| true);
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        for segment in &mut state.segments {
            let over = |it: &std::sync::Arc<crate::catalog::chain::Segment>| {
                it.ended() || it.source().gzip
            };
            segment.dismissed = segment.segment.as_ref().is_some_and(over);
        }
    }

    /// Excludes what has not been read of those segments.
    fn exclude_unread(
        &mut self,
        slot: u32,
        why: Exclusion,
        now: Time,
        of: impl Fn(&SegmentState) -> bool,
    ) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let ChainState {
            segments, accounts, ..
        } = state.as_mut();
        for segment in segments.iter_mut().filter(|segment| of(segment)) {
            let ahead = segment.replay.ahead;
            let bytes = segment
                .seen
                .saturating_sub(segment.read)
                .saturating_sub(ahead);
            if segment.read >= segment.seen {
                continue;
            }
            let under_way = segment.read + ahead > segment.settled;
            segment.read = segment.seen;
            segment.skip = Skip::Excluded;
            segment.replay = Replay::default();
            segment.frontier = Frontier::default();
            segment.verify = false;
            segment.tail_seen = 0;
            let amount = Amount { bytes, lines: 0 };
            if !under_way {
                accounts.exclude(why, amount);
                segment.settled += bytes;
                segment.cursors = Cursors {
                    at: [segment.read; 2],
                    read: segment.read,
                    skip: segment.skip,
                    frontier: segment.frontier,
                };
                continue;
            }
            let number = self.builder.commit(slot, segment.serial, now);
            if let Some(commit) = self.builder.commit_mut(number) {
                commit.settled_bytes += bytes;
                commit.excluded[why as usize] += amount;
            }
        }
    }

    /// Excludes what is open of that stream: a group, and a line whose end has not been read.
    fn drop_open(&mut self, slot: u32, stream: Stream, why: Exclusion, now: Time) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(open) = state.open.get_mut(stream.index()) {
            *open = false;
        }
        if let Some(severed) = state.severed.get_mut(stream.index()) {
            *severed = false;
        }
        if let Some(group) = state.group.get_mut(stream.index()) {
            *group = State::Idle;
        }
        if let Some(grouped) = state.grouped.get_mut(stream.index()) {
            *grouped = false;
        }
        for held in [Held::Group, Held::Line] {
            if let Some(open) = self.join.take((slot, stream), held) {
                self.exclude_open(slot, open, why, now);
            }
        }
    }

    fn exclude_open(&mut self, slot: u32, open: Open, why: Exclusion, now: Time) {
        let mut lines = open.lines;
        for stretch in &open.stretches {
            let number = self.builder.commit(slot, stretch.segment, now);
            if let Some(commit) = self.builder.commit_mut(number) {
                commit.settled_bytes += stretch.bytes;
                commit.excluded[why as usize] += Amount {
                    bytes: stretch.bytes,
                    lines: std::mem::take(&mut lines),
                };
            }
        }
        self.join.recycle(open);
    }

    /// Excludes one line of a stream that is left out.
    pub(super) fn leave_out(&mut self, slot: u32, place: Place, by: By, now: Time) {
        let bytes = place.end - place.start;
        let number = self.builder.commit(slot, place.segment, now);
        if let Some(commit) = self.builder.commit_mut(number) {
            commit.settled_bytes += bytes;
            commit.excluded[reason(by) as usize] += Amount { bytes, lines: 1 };
        }
    }
}
