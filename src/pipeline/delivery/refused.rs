//! Records that a sink will never take: kept as dead letters where it is known which they are, and moved from what their
//! payload delivers to what is dropped.
//!
//! Invariant: what a payload's commits deliver and drop adds up to the same before and after.

use super::Delivery;
use super::flight::Piece;
use crate::clock::Time;
use crate::pipeline::ledger::Drop;
use crate::sink::Reason;
use crate::sink::dead_letter::Kept;

impl Delivery {
    /// Some records were not taken and must not be sent again. Which is not known unless it is all of them: the last
    /// ones stand for them in the accounts, and only what is known to be rejected is kept as a dead letter.
    pub(super) fn accepted_except(
        &mut self,
        now: Time,
        at: usize,
        piece: &Piece,
        rejected: u64,
        reason: &Reason,
    ) {
        let Some(flight) = self.flights.get(at) else {
            return;
        };
        let numbers = piece.numbers(flight.payload.records());
        let rejected = usize::try_from(rejected).map_or(numbers.len(), |it| it.min(numbers.len()));
        let (taken, refused) = numbers.split_at(numbers.len() - rejected);
        tracing::warn!(
            rejected,
            reason = reason.code,
            "records given up: {}",
            reason.text
        );
        if taken.is_empty() {
            self.gate.open();
        } else {
            self.accepted(now, at, piece);
        }
        for number in refused {
            let why = match taken.is_empty() {
                true => self.bury(at, *number, reason),
                false => Drop::Rejected,
            };
            self.charge(at, *number, why);
        }
    }

    pub(super) fn give_up(&mut self, at: usize) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        for (number, reason) in std::mem::take(&mut flight.rejected) {
            let why = self.bury(at, number, &reason);
            self.charge(at, number, why);
        }
    }

    /// Keeps a record as a dead letter. Returns as what it is to be charged.
    fn bury(&mut self, at: usize, number: u32, reason: &Reason) -> Drop {
        let Some(flight) = self.flights.get(at) else {
            return Drop::Rejected;
        };
        let only = number..number + 1;
        let record = self
            .cutter
            .cut(&flight.payload, std::slice::from_ref(&only));
        match self.dead_letters.keep(reason, record.unwrap_or_default()) {
            Ok(Kept::Kept) => Drop::Rejected,
            Ok(Kept::Full) => Drop::DeadLetterFull,
            Err(error) => {
                tracing::warn!(%error, "a rejected record could not be kept as a dead letter");
                Drop::DeadLetterFull
            }
        }
    }

    /// Moves a record's bytes from what its payload delivers to what is dropped.
    fn charge(&mut self, at: usize, number: u32, why: Drop) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        let Some(mark) = flight.payload.marks.get(number as usize).copied() else {
            return;
        };
        if let Some(commit) = flight.payload.commits.get_mut(mark.commit as usize) {
            let amount = mark.amount();
            commit.delivered.bytes = commit.delivered.bytes.saturating_sub(amount.bytes);
            commit.delivered.lines = commit.delivered.lines.saturating_sub(amount.lines);
            commit.dropped[why as usize] += amount;
        }
    }
}
