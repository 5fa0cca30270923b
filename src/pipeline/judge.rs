//! What becomes of a record before it is encoded: the one place where the ways of a line meet.
//!
//! Invariants: a record that is left out is settled by its payload's commit, under the reason why, and nothing of it
//! reaches the encoder. Judging counts nothing; what was done is noted once it is done, for a record that finds no room
//! in the payload is judged again.

use std::time::Duration;

use super::ledger::{Amount, Drop, Exclusion};
use super::payload::Commit;
use crate::clock::Time;
use crate::encode::record_uid;
use crate::record::{Level, Record, Stream};
use crate::select::lines::rate::{Grant, Pressure};
use crate::select::lines::{Bench, ChainLines, ChainRate, Hidden, Judged, Unwanted};

/// Room for judging, and what was counted while it was.
#[derive(Debug, Default)]
pub struct Judge {
    bench: Bench,
    /// What was hidden, all in all.
    pub(super) hidden: Hidden,
    /// Records in which something was hidden.
    pub(super) masked: u64,
    /// Of the chain whose turn it is, if its rate is limited.
    turn: Option<Turn>,
    /// Repeats of this stream have to be summed up before the next record.
    due: Option<Stream>,
    /// Hash of the message that was judged last, where repeats matter.
    message_hash: u128,
}

/// The turn of a chain whose rate is limited.
#[derive(Clone, Debug)]
struct Turn {
    slot: u32,
    rate: ChainRate,
    grant: Grant,
    pressure: Pressure,
    stopped: bool,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is encoded as it is.
    Keep,
    /// It is encoded with the message [`Judge::masked_message`].
    Mask,
    /// It is left out.
    Exclude(Exclusion),
    /// It is given up.
    Drop(Drop),
    /// Not now: it stays unread. Where it cannot, it is encoded after all.
    Stop {
        /// As [`Ruling::Mask`] says.
        masked: bool,
    },
}

impl Ruling {
    /// Whether the record is not encoded.
    pub(super) fn leaves_out(self) -> bool {
        matches!(self, Ruling::Exclude(_) | Ruling::Drop(_))
    }

    /// The same for a record that has been read for good.
    pub(super) fn for_good(self) -> Ruling {
        match self {
            Ruling::Stop { masked: true } => Ruling::Mask,
            Ruling::Stop { masked: false } => Ruling::Keep,
            other => other,
        }
    }
}

/// What is remembered of a chain from record to record.
#[derive(Debug, Default)]
pub struct Flow {
    /// Given up for the rate and not summed up yet.
    pub(super) suppressed: Amount,
    /// When it was summed up last.
    pub(super) summed_up_at: Time,
    repeats: [Option<Repeats>; 2],
}

/// The message that was sent last.
#[derive(Clone, Copy, Debug)]
struct Repeats {
    message_hash: u128,
    level: Level,
    until: Time,
    /// How often it came again and was not sent.
    count: u64,
}

impl Flow {
    /// How often the last message of the stream came again, and its level; from now on it counts from 0.
    pub(super) fn take_repeats(&mut self, stream: Stream) -> Option<(u64, Level)> {
        let repeats = self.repeats.get_mut(stream.index())?.as_mut()?;
        let count = std::mem::take(&mut repeats.count);
        (count > 0).then_some((count, repeats.level))
    }

    /// Whether repeats of the stream are over: their time is.
    pub(super) fn repeats_are_over(&self, stream: Stream, now: Time) -> bool {
        let repeats = self.repeats.get(stream.index()).and_then(Option::as_ref);
        repeats.is_some_and(|repeats| repeats.count > 0 && now >= repeats.until)
    }
}

/// What judging needs to know beside the record.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) slot: u32,
    pub(super) lines: &'a ChainLines,
    pub(super) flow: Option<&'a Flow>,
    pub(super) uid_seed: u64,
    pub(super) now: Time,
}

impl Judge {
    /// What the chain's plan says of the record.
    #[inline]
    pub(super) fn rule(&mut self, case: &Case<'_>, record: &Record<'_>) -> Ruling {
        let lines = case.lines;
        let uid = || record_uid(case.uid_seed, record);
        let masked = match lines.judge(record, uid, &mut self.bench) {
            Judged::Wanted => false,
            Judged::Masked => true,
            Judged::Unwanted(why) => {
                return Ruling::Exclude(match why {
                    Unwanted::MinLevel => Exclusion::MinLevel,
                    Unwanted::Pattern => Exclusion::Lines,
                    Unwanted::Sampled => Exclusion::Sampled,
                });
            }
        };
        if lines.repeats_window_ms > 0 && self.is_repeated(case, record) {
            return Ruling::Exclude(Exclusion::Repeated);
        }
        if self.due.is_some() {
            return Ruling::Stop { masked };
        }
        if let Some(turn) = &mut self.turn
            && turn.slot == case.slot
        {
            let is_open = turn.grant.is_open();
            let pressure = turn.pressure;
            if pressure.drops(record.level) {
                return Ruling::Drop(Drop::Rate);
            }
            if !is_open && pressure.drops_rather_than_waits(record.level) {
                return Ruling::Drop(Drop::Rate);
            }
            if !is_open {
                turn.stopped = true;
                return Ruling::Stop { masked };
            }
        }
        match masked {
            true => Ruling::Mask,
            false => Ruling::Keep,
        }
    }

    /// Whether the message is the one that was sent last, and its time is not over. If it is another one and the last
    /// one was repeated, that has to be said first.
    fn is_repeated(&mut self, case: &Case<'_>, record: &Record<'_>) -> bool {
        self.message_hash = xxhash_rust::xxh3::xxh3_128(record.message);
        let repeats = case
            .flow
            .and_then(|flow| flow.repeats[record.stream.index()]);
        let Some(repeats) = repeats else {
            return false;
        };
        let is_same = repeats.message_hash == self.message_hash && case.now < repeats.until;
        if !is_same && repeats.count > 0 {
            self.due = Some(record.stream);
        }
        is_same
    }

    /// Repeats of this stream have to be summed up before anything else is judged.
    pub(super) fn take_due(&mut self) -> Option<Stream> {
        self.due.take()
    }

    /// The message of the record that was ruled to be masked.
    pub(super) fn masked_message(&self) -> &[u8] {
        &self.bench.room.masked
    }

    /// The same, to be given back with [`Judge::give_back`].
    pub(super) fn take_masked(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bench.room.masked)
    }

    pub(super) fn give_back(&mut self, masked: Vec<u8>) {
        self.bench.room.masked = masked;
    }

    /// The ruling was carried out on a record of so much.
    #[inline]
    pub(super) fn note(
        &mut self,
        (lines, slot): (&ChainLines, u32),
        flow: &mut Option<Box<Flow>>,
        (stream, level, ruling, amount): (Stream, Level, Ruling, Amount),
        now: Time,
    ) {
        match ruling {
            Ruling::Keep | Ruling::Stop { .. } => {}
            Ruling::Mask => {
                self.masked += 1;
                for (sum, count) in self.hidden.iter_mut().zip(self.bench.room.hidden) {
                    *sum += count;
                }
            }
            Ruling::Exclude(Exclusion::Repeated) => {
                let repeats = flow.as_mut().map(|flow| &mut flow.repeats);
                let repeats = repeats.and_then(|all| all.get_mut(stream.index()));
                if let Some(Some(repeats)) = repeats {
                    repeats.count += 1;
                }
                return;
            }
            Ruling::Exclude(_) => return,
            Ruling::Drop(_) => {
                let flow = flow.get_or_insert_default();
                if flow.suppressed == Amount::default() {
                    flow.summed_up_at = now;
                }
                flow.suppressed += amount;
                return;
            }
        }
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.slot == slot) {
            let of = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
            turn.grant.bytes = turn.grant.bytes.saturating_sub(of(amount.bytes));
            turn.grant.lines = turn.grant.lines.saturating_sub(of(amount.lines));
        }
        if lines.repeats_window_ms > 0 {
            let flow = flow.get_or_insert_default();
            if let Some(repeats) = flow.repeats.get_mut(stream.index()) {
                *repeats = Some(Repeats {
                    message_hash: self.message_hash,
                    level,
                    until: now + Duration::from_millis(lines.repeats_window_ms),
                    count: 0,
                });
            }
        }
    }

    /// A chain's turn begins. `false`: it has used up its rate, and there is nothing to be dropped; until when it waits.
    pub(super) fn begin_turn(
        &mut self,
        slot: u32,
        rate: &ChainRate,
        owner: (&str, &str),
        (unread_bytes, block_bytes): (u64, usize),
        now: Time,
    ) -> Result<(), Time> {
        let bytes = i64::try_from(block_bytes).unwrap_or(i64::MAX);
        let wanted = Grant {
            bytes,
            // A line has a byte at least.
            lines: bytes,
        };
        let pressure = Pressure::of(unread_bytes, rate.limits.backlog_bytes_max);
        let grant = match rate.buckets.reserve(owner, &rate.limits, wanted, now) {
            Ok(grant) => grant,
            // The turn is for what is dropped.
            Err(_) if pressure.drops(Level::Trace) => Grant { bytes: 0, lines: 0 },
            Err(wait) => return Err(now + wait),
        };
        self.turn = Some(Turn {
            slot,
            rate: rate.clone(),
            grant,
            pressure,
            stopped: false,
        });
        Ok(())
    }

    /// The turn is over; until when the chain waits, if it has used up its rate.
    pub(super) fn end_turn(&mut self, owner: (&str, &str), now: Time) -> Option<Time> {
        let turn = self.turn.take()?;
        let rate = &turn.rate;
        rate.buckets.give_back(owner, &rate.limits, turn.grant);
        if !turn.stopped {
            return None;
        }
        Some(now + rate.buckets.wait(owner, &rate.limits, now))
    }

    /// Whether the turn is over before the block is.
    pub(super) fn is_stopped(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.stopped)
    }
}

/// Settles a record that is not encoded.
pub(super) fn leave_out(commit: &mut Commit, ruling: Ruling, amount: Amount) {
    match ruling {
        Ruling::Exclude(why) => commit.excluded[why as usize] += amount,
        Ruling::Drop(why) => commit.dropped[why as usize] += amount,
        Ruling::Keep | Ruling::Mask | Ruling::Stop { .. } => {}
    }
}
