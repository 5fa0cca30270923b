//! The worker and its judge: what it asks before a record is encoded, and what it says of records that were left out.
//!
//! Invariant: a summary is a row of its own with level WARNING and the flag `summary`; no bytes of a file belong to it,
//! so the ledger does not know it, and its uid is never that of a record.

use std::time::Duration;

use super::chains::ChainState;
use super::emit::{identity_in, of_open, run_of};
use super::judge::{Case, Judge, Ruling};
use super::ledger::Amount;
use super::payload::{Mark, Offer};
use super::worker::Worker;
use crate::clock::Time;
use crate::record::{Flags, Level, Record, Stream};
use crate::tail::join::{Held, OpenKey};
use crate::tail::time;

/// How often it is said of a chain what was given up for its rate.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(30);

/// What the chain's plan says of a record whose last line lies in that segment.
fn ask(
    chains: &[Option<Box<ChainState>>],
    judge: &mut Judge,
    (slot, segment): (u32, u64),
    record: &Record<'_>,
    now: Time,
) -> Ruling {
    let Some(chain) = chains.get(slot as usize).and_then(Option::as_ref) else {
        return Ruling::Keep;
    };
    let Some(lines) = chain.plan.lines.as_deref() else {
        return Ruling::Keep;
    };
    let case = Case {
        slot,
        lines,
        flow: chain.flow.as_deref(),
        uid_seed: run_of(chain, identity_in(chain, segment)).uid_seed,
        now,
    };
    judge.rule(&case, record)
}

impl Worker {
    /// What becomes of a record that has been read for good; repeats before it are summed up first.
    pub(super) fn rule(
        &mut self,
        slot: u32,
        segment: u64,
        record: &Record<'_>,
        now: Time,
    ) -> Ruling {
        let place = (slot, segment);
        let ruling = ask(&self.chains, &mut self.judge, place, record, now);
        if !self.sum_up_due(slot, now) {
            return ruling.for_good();
        }
        ask(&self.chains, &mut self.judge, place, record, now).for_good()
    }

    /// The same of an open record as it is.
    pub(super) fn rule_open(
        &mut self,
        key: OpenKey,
        held: Held,
        flags: Flags,
        now: Time,
    ) -> Ruling {
        let mut ruling = Ruling::Keep;
        for _ in 0..2 {
            let Some(opened) = self
                .join
                .get(key, held)
                .and_then(|open| of_open(open, key.1, flags))
            else {
                return Ruling::Keep;
            };
            let place = (key.0, opened.segment);
            ruling = ask(&self.chains, &mut self.judge, place, &opened.record, now);
            if !self.sum_up_due(key.0, now) {
                break;
            }
        }
        ruling.for_good()
    }

    /// The ruling was carried out: stream and level of the record, and how much it was.
    pub(super) fn ruled(&mut self, slot: u32, done: (Stream, Level, Ruling, Amount), now: Time) {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let chain = chain.as_mut();
        if let Some(lines) = chain.plan.lines.as_deref() {
            self.judge.note((lines, slot), &mut chain.flow, done, now);
        }
    }

    /// Whether the chain may be read now, as far as its rate says.
    pub(super) fn begin_rate(&mut self, slot: u32, now: Time) -> bool {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return false;
        };
        let lines = chain.plan.lines.as_deref();
        // What a drain reads would be lost otherwise.
        let Some(rate) = lines
            .and_then(|lines| lines.rate.as_ref())
            .filter(|_| !self.draining)
        else {
            return true;
        };
        let owner = (
            chain.meta.key.pod_uid.as_str(),
            chain.meta.namespace.as_str(),
        );
        let (unread, block) = (chain.unread(), self.block.len());
        match self
            .judge
            .begin_turn(slot, rate, owner, (unread, block), now)
        {
            Ok(()) => true,
            Err(until) => {
                chain.retry_at = chain.retry_at.max(until);
                false
            }
        }
    }

    /// The chain's turn is over.
    pub(super) fn end_rate(&mut self, slot: u32, now: Time) {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let owner = (
            chain.meta.key.pod_uid.as_str(),
            chain.meta.namespace.as_str(),
        );
        if let Some(until) = self.judge.end_turn(owner, now) {
            chain.retry_at = chain.retry_at.max(until);
        }
    }

    /// Says how often a message was repeated, if that has to be said before the next record. Returns whether it was.
    pub(super) fn sum_up_due(&mut self, slot: u32, now: Time) -> bool {
        let Some(stream) = self.judge.take_due() else {
            return false;
        };
        self.sum_up_repeats(slot, stream, now);
        true
    }

    fn sum_up_repeats(&mut self, slot: u32, stream: Stream, now: Time) {
        let chain = self.chains.get_mut(slot as usize).and_then(Option::as_mut);
        let flow = chain.and_then(|chain| chain.flow.as_mut());
        if let Some((count, level)) = flow.and_then(|flow| flow.take_repeats(stream)) {
            let text = format!("longshore: the message before was repeated {count} times");
            self.say(slot, stream, level, &text, now);
        }
    }

    /// Says of all chains what has been left out for long enough. Returns whether anything was said.
    pub(super) fn sum_up(&mut self, now: Time) -> bool {
        let mut any = false;
        for slot in 0..self.chains.len() {
            let chain = self.chains.get_mut(slot).and_then(Option::as_mut);
            let Some(flow) = chain.and_then(|chain| chain.flow.as_mut()) else {
                continue;
            };
            if !self.delivery.has_slot() {
                break;
            }
            let over = Stream::ALL.map(|stream| flow.repeats_are_over(stream, now));
            let suppressed = flow.suppressed;
            let due = now.since(flow.summed_up_at) >= SUMMARY_INTERVAL || self.draining;
            if suppressed.lines > 0 && due {
                flow.suppressed = Amount::default();
                let text = format!(
                    "longshore: {} lines of {} bytes were dropped: more than the rate limit allows",
                    suppressed.lines, suppressed.bytes
                );
                self.say(slot as u32, Stream::Stderr, Level::Warning, &text, now);
                any = true;
            }
            for (stream, over) in Stream::ALL.into_iter().zip(over) {
                if over {
                    self.sum_up_repeats(slot as u32, stream, now);
                    any = true;
                }
            }
        }
        if any {
            self.builder.leave();
        }
        any
    }

    /// Encodes a row of the agent's own among those of a chain.
    fn say(&mut self, slot: u32, stream: Stream, level: Level, text: &str, now: Time) {
        let written_at = time::from_wall(self.clock.wall());
        let Some(chain) = self.chains.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let read = chain.segments.iter().rfind(|segment| segment.read > 0);
        let Some((segment, read)) = read.map(|segment| (segment.serial, segment.read)) else {
            return;
        };
        let record = Record {
            time: &written_at,
            stream,
            message: text.as_bytes(),
            level,
            flags: Flags::SUMMARY,
            // No record begins there.
            start: u64::MAX,
            end: read,
        };
        loop {
            self.enter(slot, segment);
            let commit = self.builder.commit(slot, segment, now);
            match self
                .builder
                .offer(&record, Mark::new(commit, Amount::default()))
            {
                Offer::Full => self.seal(),
                Offer::Taken(_) => {
                    self.counters.records += 1;
                    return;
                }
            }
        }
    }
}
