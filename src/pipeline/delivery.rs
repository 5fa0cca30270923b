//! Sealed payloads on their way: a FIFO whose finished prefix may be committed. What follows from each verdict is
//! decided here, synchronously, on the moment that is passed in.
//!
//! Invariants: payloads leave in the order of their numbers; a record leaves as delivered only if an attempt that
//! held it was accepted; a record is given up only if the sink rejected it *and* has shown that it takes others.

mod cutter;
mod flight;
mod refused;

use std::collections::VecDeque;
use std::time::Duration;

use self::cutter::Cutter;
use self::flight::{Flight, Piece, ranges};
use super::board::{Counters, Health};
use super::concurrency::{Concurrency, is_overload};
use super::payload::{Payload, Spare};
use crate::clock::Time;
use crate::config::{Compression, Limits};
use crate::encode::Encode;
use crate::sink::dead_letter::DeadLetters;
use crate::sink::gate::{BackOff, Gate};
use crate::sink::{Attempt, Item, Reason, Transport, Verdict};

/// How long a transport that took no attempt, though none is due to end, is left alone.
const REFUSED_WAIT: Duration = Duration::from_millis(20);

/// Answers that mean "later" which a single record may get, while others are accepted, before it is given up.
const SINGLE_FAILURES_MAX: u32 = 3;

/// What has been sent, since the start.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Attempts made.
    pub attempts: u64,
    /// What those that have ended took, together.
    pub attempt_time: Duration,
    /// Attempts that did not end in acceptance, by reason code.
    pub failures: Vec<(&'static str, u64)>,
    /// Bytes accepted, compressed.
    pub bytes: u64,
    /// Bytes accepted, before compression.
    pub uncompressed_bytes: u64,
    /// The last verdict's name.
    pub last_verdict: Option<&'static str>,
    /// When something was last accepted.
    pub last_accepted: Option<Time>,
    accepted: u64,
}

/// Sealed payloads of one worker and the way to its sink.
pub struct Delivery {
    flights: VecDeque<Flight>,
    transport: Box<dyn Transport>,
    dead_letters: Box<dyn DeadLetters>,
    gate: Gate,
    back_off: BackOff,
    concurrency: Concurrency,
    limits: Limits,
    cutter: Cutter,
    next_attempt: u64,
    in_flight: usize,
    refused_until: Time,
    rejects: VecDeque<Time>,
    spare: Vec<Spare>,
    /// Emptied queues of finished payloads.
    spare_pieces: Vec<VecDeque<Piece>>,
    sent: Sent,
}

impl Delivery {
    /// A delivery with nothing on its way. `cutter` is an encoder of the sink's format, `seed` decides the jitter.
    pub fn new(
        transport: Box<dyn Transport>,
        dead_letters: Box<dyn DeadLetters>,
        cutter: Box<dyn Encode>,
        compression: Compression,
        limits: &Limits,
        seed: u64,
    ) -> Delivery {
        Delivery {
            flights: VecDeque::new(),
            transport,
            dead_letters,
            gate: Gate::new(limits, seed),
            back_off: BackOff::new(limits, seed.wrapping_add(1)),
            concurrency: Concurrency::new(limits.requests_in_flight),
            limits: limits.clone(),
            cutter: Cutter::new(cutter, compression),
            next_attempt: 0,
            in_flight: 0,
            refused_until: Time::ZERO,
            rejects: VecDeque::new(),
            spare: Vec::new(),
            spare_pieces: Vec::new(),
            sent: Sent::default(),
        }
    }

    /// Whether another payload may be sealed.
    pub fn has_slot(&self) -> bool {
        self.flights.len() < self.limits.payload_slots
    }

    /// Payloads on their way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// How the sink is doing, and why.
    pub fn health(&self) -> (Health, Option<&Reason>) {
        self.gate.health()
    }

    /// The newest failure, kept after the sink recovered.
    pub fn last_error(&self) -> Option<&(Time, String)> {
        self.gate.last_error()
    }

    /// How many attempts the sink gets at once, now.
    pub fn allowed(&self) -> usize {
        self.concurrency.allowed()
    }

    /// What has been sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Used buffers to fill again.
    pub fn spare(&mut self) -> Spare {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a sealed payload.
    pub fn push(&mut self, payload: Payload) {
        let pieces = self.spare_pieces.pop().unwrap_or_default();
        self.flights.push_back(Flight::new(payload, pieces));
    }

    /// Takes verdicts, then makes the attempts that are due. Returns whether anything moved.
    pub fn pump(&mut self, now: Time) -> bool {
        let mut moved = false;
        while let Some((attempt, verdict)) = self.transport.poll_verdict() {
            moved = true;
            self.refused_until = Time::ZERO;
            self.judge(now, attempt, verdict);
        }
        while let Some(at) = self.choose(now) {
            if !self.submit(now, at) {
                self.refused_until = now + REFUSED_WAIT;
                break;
            }
            moved = true;
        }
        moved
    }

    /// When [`Delivery::pump`] has something to do without a verdict.
    pub fn due(&self) -> Time {
        if !self.gate.is_open() && self.in_flight > 0 {
            return Time::NEVER;
        }
        let mut waiting = self.flights.iter().filter(|flight| flight.waits());
        // As in `choose`: a sink that is not well is tried with the oldest alone.
        let retry_at = if self.gate.is_open() {
            waiting.map(|flight| flight.retry_at).min()
        } else {
            waiting.next().map(|flight| flight.retry_at)
        };
        match retry_at {
            Some(retry_at) if self.in_flight < self.concurrency.allowed() => {
                retry_at.max(self.gate.due()).max(self.refused_until)
            }
            _ => Time::NEVER,
        }
    }

    /// The oldest payload, if it is finished.
    pub fn pop_finished(&mut self) -> Option<Payload> {
        let oldest = self.flights.front()?;
        if !oldest.pieces.is_empty() || !oldest.rejected.is_empty() {
            return None;
        }
        let flight = self.flights.pop_front()?;
        if self.spare_pieces.len() < self.limits.payload_slots {
            self.spare_pieces.push(flight.pieces);
        }
        Some(flight.payload)
    }

    /// Takes a committed payload's buffers back.
    pub fn recycle(&mut self, payload: Payload) {
        if self.spare.len() < self.limits.payload_slots {
            self.spare.push(Spare::of(payload));
        }
    }

    /// The payload to send (the first waiting piece of) next.
    fn choose(&mut self, now: Time) -> Option<usize> {
        let open = self.gate.is_open();
        let in_flight_max = if open { self.concurrency.allowed() } else { 1 };
        let refused = now < self.refused_until;
        if refused || self.in_flight >= in_flight_max || !self.gate.lets_through(now) {
            return None;
        }
        if let Some(younger) = self.step_over(now) {
            return Some(younger);
        }
        let mut waiting = self
            .flights
            .iter()
            .enumerate()
            .filter(|(_, flight)| flight.waits());
        if open {
            waiting
                .find(|(_, flight)| flight.retry_at <= now)
                .map(|(at, _)| at)
        } else {
            // A sink that is not well is tried with the oldest alone.
            waiting
                .next()
                .filter(|(_, flight)| flight.retry_at <= now)
                .map(|(at, _)| at)
        }
    }

    /// While the oldest payload has failed for long, a younger one is tried once in a while: if that passes, the fault
    /// is in the oldest. Also while the last suspect record of a payload is at hand.
    fn step_over(&mut self, now: Time) -> Option<usize> {
        let stuck_after = Duration::from_millis(self.limits.stuck_after_ms);
        let oldest = self
            .flights
            .iter()
            .position(|flight| !flight.pieces.is_empty())?;
        let younger = self
            .flights
            .iter()
            .skip(oldest + 1)
            .position(Flight::waits)?;
        let accepted = self.sent.accepted;
        let flight = self.flights.get_mut(oldest)?;
        let since = flight.first_failure?;
        let suspect = flight.pieces.front().is_some_and(|piece| {
            piece.failures >= SINGLE_FAILURES_MAX && piece.accepted_before == accepted
        });
        let due = match flight.stepped_over_at {
            Some(last) if !flight.isolated => last + stuck_after,
            Some(last) if suspect => last + Duration::from_millis(self.limits.backoff_max_ms),
            Some(_) => return None,
            None => since + stuck_after,
        };
        if flight.is_under_way() || now < due {
            return None;
        }
        flight.stepped_over_at = Some(now);
        Some(oldest + 1 + younger)
    }

    fn submit(&mut self, now: Time, at: usize) -> bool {
        let id = self.next_attempt;
        let is_last = self.in_flight + 1 >= self.concurrency.allowed();
        let Some(flight) = self.flights.get_mut(at) else {
            return false;
        };
        let records = flight.payload.records();
        let Some(piece) = flight.pieces.front_mut() else {
            return false;
        };
        let attempt = Attempt {
            id,
            body: piece.body.clone(),
            records: piece.count(records),
            uncompressed_bytes: piece.uncompressed_bytes,
        };
        if self.transport.try_submit(attempt).is_err() {
            return false;
        }
        piece.attempt = Some(id);
        piece.began = now;
        piece.took_last_place = is_last;
        self.next_attempt += 1;
        self.in_flight += 1;
        self.sent.attempts += 1;
        true
    }

    fn judge(&mut self, now: Time, attempt: u64, verdict: Verdict) {
        let found = self
            .flights
            .iter_mut()
            .enumerate()
            .find_map(|(at, flight)| {
                let piece = flight
                    .pieces
                    .iter()
                    .position(|piece| piece.attempt == Some(attempt))?;
                flight.pieces.remove(piece).map(|piece| (at, piece))
            });
        let Some((at, mut piece)) = found else { return };
        piece.attempt = None;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.sent.attempt_time += now.since(piece.began);
        let (name, failure) = describe(&verdict);
        self.sent.last_verdict = Some(name);
        if let Some(code) = failure {
            Counters::count(&mut self.sent.failures, code);
        }
        match &verdict {
            Verdict::Accepted | Verdict::AcceptedExcept { .. } => {
                self.concurrency
                    .accepted(now, piece.began, piece.took_last_place)
            }
            Verdict::Retry { reason, .. } if is_overload(reason.code) => {
                self.concurrency.overloaded(now, piece.began);
            }
            _ => {}
        }
        match verdict {
            Verdict::Accepted => self.accepted(now, at, &piece),
            Verdict::AcceptedExcept { rejected, reason } => {
                self.accepted_except(now, at, &piece, rejected, &reason);
            }
            Verdict::Items(items) => self.items(now, at, piece, items),
            Verdict::Retry { after, reason } => self.retry(now, at, piece, after, reason),
            Verdict::Split(reason) | Verdict::Bisect(reason) => {
                self.gate.open();
                self.halve_or_reject(now, at, piece, reason);
            }
            Verdict::Pause(reason) => {
                self.failed(now, at, piece);
                self.gate.pause(now, reason);
            }
        }
        self.settle_rejected(now, at);
    }

    fn accepted(&mut self, now: Time, at: usize, piece: &Piece) {
        self.sent.accepted += 1;
        self.sent.last_accepted = Some(now);
        self.sent.bytes += piece.body.len() as u64;
        self.sent.uncompressed_bytes += piece.uncompressed_bytes;
        self.gate.open();
        if let Some(flight) = self.flights.get_mut(at) {
            flight.accepted_some = true;
            flight.failures = 0;
            flight.retry_at = Time::ZERO;
        }
        for older in self.flights.iter_mut().take(at) {
            older.passed_by |= older.first_failure.is_some();
        }
    }

    fn items(&mut self, now: Time, at: usize, piece: Piece, items: Vec<Item>) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        let numbers = piece.numbers(flight.payload.records());
        if numbers.len() != items.len() {
            let text = format!(
                "{} records sent, {} answered for",
                numbers.len(),
                items.len()
            );
            self.retry(now, at, piece, None, Reason::new("items_mismatch", text));
            return;
        }
        let mut again = Vec::new();
        let mut accepted = false;
        let mut refused = Vec::new();
        for (number, item) in numbers.into_iter().zip(items) {
            match item {
                Item::Accepted => accepted = true,
                Item::Retry => again.push(number),
                Item::Rejected(reason) => refused.push((number, reason)),
            }
        }
        if !again.is_empty() {
            let piece = self.cutter.piece(&flight.payload, ranges(&again));
            self.failed(now, at, piece);
        }
        if accepted {
            self.accepted(now, at, &piece);
        }
        if !again.is_empty() {
            self.gate.back_off(
                now,
                None,
                Reason::new("items_retry", "some records: try again"),
            );
        }
        self.reject(now, at, refused);
    }

    fn retry(
        &mut self,
        now: Time,
        at: usize,
        mut piece: Piece,
        after: Option<Duration>,
        reason: Reason,
    ) {
        let stuck_after = Duration::from_millis(self.limits.stuck_after_ms);
        let accepted = self.sent.accepted;
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        let stuck = flight
            .first_failure
            .is_some_and(|since| now >= since + stuck_after);
        flight.isolated |= stuck && flight.passed_by;
        if !flight.isolated {
            self.failed(now, at, piece);
            self.gate.back_off(now, after, reason);
            return;
        }
        if piece.failures == 0 {
            piece.accepted_before = accepted;
        }
        piece.failures += 1;
        let proven = piece.failures >= SINGLE_FAILURES_MAX && accepted > piece.accepted_before;
        if proven || piece.count(flight.payload.records()) > 1 {
            self.halve_or_reject(now, at, piece, reason);
            return;
        }
        // The others first: an acceptance among them tells a bad record from a sink that is down.
        flight.pieces.push_back(piece);
        self.gate.back_off(now, after, reason);
    }

    /// A piece of several records becomes two; a single record is rejected.
    fn halve_or_reject(&mut self, now: Time, at: usize, piece: Piece, reason: Reason) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        flight.first_failure.get_or_insert(now);
        let numbers = piece.numbers(flight.payload.records());
        if let [single] = numbers.as_slice() {
            self.reject(now, at, vec![(*single, reason)]);
            return;
        }
        let (first, second) = numbers.split_at(numbers.len() / 2);
        for half in [second, first] {
            let piece = self.cutter.piece(&flight.payload, ranges(half));
            flight.pieces.push_front(piece);
        }
    }

    /// Notes refused records. More than the limit within a minute pause the sink; while it has not shown that it takes
    /// others, the fault may be its own, and all that it refused is sent again once it is mended, after the rest.
    fn reject(&mut self, now: Time, at: usize, refused: Vec<(u32, Reason)>) {
        let minute = Duration::from_secs(60);
        while self
            .rejects
            .front()
            .is_some_and(|at| now.since(*at) > minute)
        {
            self.rejects.pop_front();
        }
        self.rejects.extend(std::iter::repeat_n(now, refused.len()));
        let most = self.limits.rejects_per_minute_max as usize;
        let too_many = self.rejects.len() > most;
        self.rejects.truncate(most + 1);
        let Some((_, last)) = refused.last() else {
            return;
        };
        let text = format!(
            "more than {most} records were rejected within a minute: {}",
            last.text
        );
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        flight.rejected.extend(refused);
        if !too_many {
            return;
        }
        for flight in &mut self.flights {
            if !flight.rejected.is_empty() && !flight.sink_is_sound() {
                let numbers = flight.take_rejected();
                let piece = self.cutter.piece(&flight.payload, ranges(&numbers));
                flight.pieces.push_back(piece);
            }
        }
        self.gate.pause(now, Reason::new("too_many_rejects", text));
    }

    /// Puts a piece back that is to be sent again, not before a back-off of its own.
    fn failed(&mut self, now: Time, at: usize, piece: Piece) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        flight.first_failure.get_or_insert(now);
        flight.retry_at = now + self.back_off.wait(flight.failures);
        flight.failures = flight.failures.saturating_add(1);
        flight.pieces.push_front(piece);
    }

    /// When a payload has nothing left but rejected records: gives them up if the sink is sound, else sends them again
    /// once somebody has mended the sink.
    fn settle_rejected(&mut self, now: Time, at: usize) {
        let Some(flight) = self.flights.get_mut(at) else {
            return;
        };
        if !flight.pieces.is_empty() || flight.rejected.is_empty() {
            return;
        }
        if flight.sink_is_sound() {
            self.give_up(at);
            return;
        }
        let last = flight.rejected.last();
        let answer = last
            .map(|(_, reason)| reason.text.as_str())
            .unwrap_or_default();
        let count = flight.rejected.len();
        let text = format!("all {count} records of a payload were rejected: {answer}");
        let numbers = flight.take_rejected();
        let piece = self.cutter.piece(&flight.payload, ranges(&numbers));
        self.failed(now, at, piece);
        self.gate.pause(now, Reason::new("all_rejected", text));
    }
}

/// A verdict's name, and the code of its reason if it is a failure.
fn describe(verdict: &Verdict) -> (&'static str, Option<&'static str>) {
    match verdict {
        Verdict::Accepted => ("accepted", None),
        Verdict::AcceptedExcept { reason, .. } => ("accepted_except", Some(reason.code)),
        Verdict::Items(items) => {
            let all = items.iter().all(|item| *item == Item::Accepted);
            ("items", (!all).then_some("items"))
        }
        Verdict::Retry { reason, .. } => ("retry", Some(reason.code)),
        Verdict::Split(reason) => ("split", Some(reason.code)),
        Verdict::Bisect(reason) => ("bisect", Some(reason.code)),
        Verdict::Pause(reason) => ("pause", Some(reason.code)),
    }
}
