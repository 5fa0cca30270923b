//! One payload on its way, whole or in pieces.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::clock::Time;
use crate::pipeline::payload::Payload;
use crate::sink::Reason;

/// A part of a payload that is sent as one request.
#[derive(Debug)]
pub(super) struct Piece {
    /// Which records, ascending; `None`: the payload as it was sealed.
    pub(super) records: Option<Vec<Range<u32>>>,
    /// The (compressed) bytes.
    pub(super) body: Bytes,
    /// Size before compression.
    pub(super) uncompressed_bytes: u64,
    /// The attempt under way.
    pub(super) attempt: Option<u64>,
    /// When it began.
    pub(super) began: Time,
    /// It took the last place that the sink's concurrency left.
    pub(super) took_last_place: bool,
    /// Answers of "later" that this piece got while its payload was being taken apart.
    pub(super) failures: u32,
    /// How much the sink had accepted at the first of them.
    pub(super) accepted_before: u64,
}

impl Piece {
    /// The payload as it was sealed.
    pub(super) fn whole(payload: &Payload) -> Piece {
        Piece::new(None, payload.body.clone(), payload.uncompressed_bytes)
    }

    pub(super) fn new(
        records: Option<Vec<Range<u32>>>,
        body: Bytes,
        uncompressed_bytes: u64,
    ) -> Piece {
        Piece {
            records,
            body,
            uncompressed_bytes,
            attempt: None,
            began: Time::ZERO,
            took_last_place: false,
            failures: 0,
            accepted_before: 0,
        }
    }

    /// The numbers of its records, of a payload with `all` records.
    pub(super) fn numbers(&self, all: u32) -> Vec<u32> {
        match &self.records {
            None => (0..all).collect(),
            Some(records) => records.iter().cloned().flatten().collect(),
        }
    }

    /// How many records it holds.
    pub(super) fn count(&self, all: u32) -> u32 {
        match &self.records {
            None => all,
            Some(records) => records.iter().map(|range| range.end - range.start).sum(),
        }
    }
}

/// Ascending numbers as ranges.
pub(super) fn ranges(numbers: &[u32]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == *number => last.end += 1,
            _ => ranges.push(*number..*number + 1),
        }
    }
    ranges
}

/// A payload on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) payload: Payload,
    /// What is left to send. Empty and `rejected` empty: finished.
    pub(super) pieces: VecDeque<Piece>,
    /// Records that the sink has refused for good, with its answer.
    pub(super) rejected: Vec<(u32, Reason)>,
    /// Some of its records were accepted.
    pub(super) accepted_some: bool,
    /// A younger payload was accepted since this one first failed: the fault is here.
    pub(super) passed_by: bool,
    /// It has failed for so long while others pass that it is taken apart even on answers that mean "later".
    pub(super) isolated: bool,
    /// When it first failed.
    pub(super) first_failure: Option<Time>,
    /// How often it failed in a row.
    pub(super) failures: u32,
    /// It is not tried before this.
    pub(super) retry_at: Time,
    /// When the next payload was last tried in its place.
    pub(super) stepped_over_at: Option<Time>,
}

impl Flight {
    /// A payload with nothing sent yet. `pieces` is an empty queue, used before or not.
    pub(super) fn new(payload: Payload, mut pieces: VecDeque<Piece>) -> Flight {
        if payload.records() > 0 {
            pieces.push_back(Piece::whole(&payload));
        }
        Flight {
            payload,
            pieces,
            rejected: Vec::new(),
            accepted_some: false,
            passed_by: false,
            isolated: false,
            first_failure: None,
            failures: 0,
            retry_at: Time::ZERO,
            stepped_over_at: None,
        }
    }

    /// Whether the sink has shown that it takes records, so that a rejection is the record's fault.
    pub(super) fn sink_is_sound(&self) -> bool {
        self.accepted_some || self.passed_by
    }

    /// Forgets that records were refused; gives their numbers, ascending, to be sent again.
    pub(super) fn take_rejected(&mut self) -> Vec<u32> {
        let rejected = std::mem::take(&mut self.rejected);
        let mut numbers: Vec<u32> = rejected.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether an attempt for it is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.pieces.iter().any(|piece| piece.attempt.is_some())
    }

    /// Whether it has something to send and nothing under way.
    pub(super) fn waits(&self) -> bool {
        !self.pieces.is_empty() && !self.is_under_way()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_two_forms_of_the_same() {
        let numbers = [0, 1, 2, 5, 7, 8];
        let piece = Piece::new(Some(ranges(&numbers)), Bytes::new(), 0);
        assert_eq!(piece.numbers(9), numbers);
        assert_eq!(piece.count(9), 6);
        assert_eq!(ranges(&[]), []);
    }
}
