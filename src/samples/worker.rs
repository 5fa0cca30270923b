//! The loop of one sink's samples: what it is offered, what it sends, what it gives up.
//!
//! A synchronous state machine: [`Worker::step`] does what is due at the moment it is given and says when it wants to
//! be called again. It never sleeps, and reaches time and network only through its seams. Invariants: one attempt is
//! under way at a time, and payloads are tried in the order in which they were taken, so that the samples of each
//! series arrive in the order of time; the one exception is a payload that the sink has failed on for `stuck_after_ms`,
//! which is given up once a newer one is accepted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::board::{Board, View};
use super::inbox::Inbox;
use super::ledger::Drop;
use super::payload::{PackError, Packer, Payload, Plain};
use super::ring::Ring;
use super::shape::{Out, Shape, Unshaped};
use crate::clock::{Clock, Time};
use crate::config::Limits;
use crate::node::snapshot::Snapshot;
use crate::sink::gate::Gate;
use crate::sink::{Attempt, Item, Reason, Transport, Verdict};

/// What a worker is made of.
pub struct Parts {
    /// The sink's limits.
    pub limits: Limits,
    /// Where snapshots come from.
    pub inbox: Arc<Inbox>,
    /// The sink's format.
    pub shape: Box<dyn Shape>,
    /// Its compression.
    pub packer: Packer,
    /// The way to the sink.
    pub transport: Box<dyn Transport>,
    /// Where it shows itself.
    pub board: Arc<Board>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Decides the jitter.
    pub seed: u64,
}

/// How long a transport that took no attempt is left alone: its queue is full of somebody else's.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// Refused payloads that are taken apart in a minute, to find the samples that are at fault; further ones are given up
/// whole, for a sink that refuses everything shall not be asked about each sample.
const CUTS_PER_MINUTE_MAX: usize = 64;

const MINUTE: Duration = Duration::from_secs(60);

/// An attempt under way.
struct Flight {
    id: u64,
    payload: Payload,
    /// The payload that seems stuck and was stepped over for this one.
    ahead_of: Option<u64>,
}

/// The samples of one sink.
pub struct Worker {
    parts: Parts,
    ring: Ring,
    gate: Gate,
    flight: Option<Flight>,
    next_id: u64,
    next_serial: u64,
    refused_until: Time,
    /// The next attempt is of the second payload, whatever the gate says.
    step_over: bool,
    stepped_over_at: Time,
    /// When refused payloads were taken apart, in the last minute.
    cuts: VecDeque<Time>,
    /// No more snapshots are taken.
    draining_until: Option<Time>,
    view: View,
    dirty: bool,
}

impl Worker {
    /// A worker that has nothing yet.
    pub fn new(parts: Parts) -> Worker {
        let limits = &parts.limits;
        let age_max = Duration::from_millis(limits.samples_age_max_ms);
        Worker {
            ring: Ring::new(limits.samples_bytes_max, age_max),
            gate: Gate::new(limits, parts.seed),
            parts,
            flight: None,
            next_id: 0,
            next_serial: 0,
            refused_until: Time::ZERO,
            step_over: false,
            stepped_over_at: Time::ZERO,
            cuts: VecDeque::new(),
            draining_until: None,
            view: View::default(),
            dirty: true,
        }
    }

    /// Does what is due. Returns when to call again, unless something wakes the worker before.
    pub fn step(&mut self, now: Time) -> Time {
        self.parts.board.stepped(now);
        loop {
            let (snapshot, overrun) = self.parts.inbox.pop();
            if overrun > 0 {
                self.view.accounts.take(overrun);
                self.drop_for(Drop::Overrun, overrun);
            }
            let Some(snapshot) = snapshot else { break };
            self.take(&snapshot, now);
        }
        while let Some((id, verdict)) = self.parts.transport.poll_verdict() {
            self.judge(id, verdict, now);
        }
        let expired = self.ring.expire(now);
        self.drop_for(Drop::TooOld, expired);
        self.submit(now);
        if self.dirty {
            self.publish();
        }
        self.due(now)
    }

    /// No more snapshots will come: the series end here. What waits is sent until then, unless the sink is not to be
    /// tried before.
    pub fn drain(&mut self, now: Time, until: Time) {
        if self.draining_until.is_some() {
            return;
        }
        // What was offered before still counts.
        self.step(now);
        self.draining_until = Some(until);
        let at: SystemTime = self.parts.clock.wall();
        self.encode(now, |shape, out| shape.farewell(at, out));
    }

    /// Whether nothing waits that could be sent before the drain's end.
    pub fn is_drained(&self) -> bool {
        let hopeless = self
            .draining_until
            .is_some_and(|until| self.gate.due() >= until);
        self.flight.is_none() && (self.ring.is_empty() || hopeless)
    }

    /// Gives up what still waits; publishes the last view.
    pub fn finish(mut self) {
        let (_, overrun) = self.parts.inbox.pop();
        self.view.accounts.take(overrun);
        let mut left = self.ring.clear();
        if let Some(flight) = self.flight.take() {
            left += flight.payload.samples();
        }
        self.drop_for(Drop::Overrun, overrun);
        self.drop_for(Drop::Stopped, left);
        self.publish();
    }

    fn due(&self, now: Time) -> Time {
        let submit = if self.flight.is_some() || self.ring.is_empty() {
            Time::NEVER
        } else {
            self.gate.due().max(self.refused_until)
        };
        submit.min(self.ring.expires_at()).max(now)
    }

    /// Encodes a snapshot.
    fn take(&mut self, snapshot: &Snapshot, now: Time) {
        if self.draining_until.is_some() {
            let samples = snapshot.series() as u64;
            self.view.accounts.take(samples);
            self.drop_for(Drop::Stopped, samples);
            return;
        }
        self.view.snapshots += 1;
        let unshaped = self.encode(now, |shape, out| shape.snapshot(snapshot, out));
        let Unshaped {
            unfit,
            out_of_order,
        } = unshaped;
        self.view.accounts.take(unfit + out_of_order);
        self.drop_for(Drop::Unfit, unfit);
        self.drop_for(Drop::OutOfOrder, out_of_order);
    }

    /// Takes in all payloads that `shaped` makes.
    fn encode<T>(
        &mut self,
        now: Time,
        shaped: impl FnOnce(&mut dyn Shape, &mut Out<'_>) -> T,
    ) -> T {
        let Parts { shape, packer, .. } = &mut self.parts;
        let accounts = &mut self.view.accounts;
        let mut failed: Option<(PackError, u64)> = None;
        let made = shaped(shape.as_mut(), &mut |plain: Plain| {
            let samples = plain.items.ends.len() as u64;
            accounts.take(samples);
            self.next_serial += 1;
            match packer.pack(plain, self.next_serial, now) {
                Ok(payload) => accounts.drop_for(Drop::RingFull, self.ring.push(payload)),
                Err(error) => {
                    let before = failed.take().map_or(0, |(_, samples)| samples);
                    failed = Some((error, before + samples));
                }
            }
        });
        if let Some((error, samples)) = failed {
            self.unpackable(&error, samples);
        }
        self.dirty = true;
        made
    }

    /// A codec that fails is out of memory or has a fault: the samples cannot be sent.
    fn unpackable(&mut self, error: &PackError, samples: u64) {
        tracing::error!(sink = %self.parts.board.sink, samples, "samples given up: {error}");
        self.drop_for(Drop::Unfit, samples);
    }

    fn drop_for(&mut self, why: Drop, samples: u64) {
        if samples > 0 {
            self.view.accounts.drop_for(why, samples);
            self.dirty = true;
        }
    }

    /// Starts the next attempt, if one may be made.
    fn submit(&mut self, now: Time) {
        let step_over = std::mem::take(&mut self.step_over);
        let may = step_over || self.gate.lets_through(now) && now >= self.refused_until;
        if self.flight.is_some() || !may {
            return;
        }
        let oldest = self.ring.front().map(|oldest| oldest.serial);
        let ahead_of = oldest.filter(|_| step_over);
        let Some(payload) = self.ring.lend(usize::from(step_over)) else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let attempt = Attempt {
            id,
            body: payload.body.clone(),
            records: u32::try_from(payload.samples()).unwrap_or(u32::MAX),
            uncompressed_bytes: payload.plain_bytes,
        };
        match self.parts.transport.try_submit(attempt) {
            Ok(()) => {
                self.view.attempts += 1;
                self.flight = Some(Flight {
                    id,
                    payload,
                    ahead_of,
                });
                self.dirty = true;
            }
            Err(_) => {
                self.refused_until = now + REFUSED_WAIT;
                self.ring.settled(&payload);
                self.put_back(vec![payload], ahead_of);
            }
        }
    }

    /// Puts what was a lent payload, or its pieces, where it came from.
    fn put_back(&mut self, mut payloads: Vec<Payload>, ahead_of: Option<u64>) {
        if let Some(stuck) = self.stuck(ahead_of) {
            self.ring.settled(&stuck);
            payloads.insert(0, stuck);
        }
        let given_up = self.ring.put_back(payloads);
        self.drop_for(Drop::RingFull, given_up);
    }

    /// Lends the payload that was stepped over, unless it grew too old meanwhile.
    fn stuck(&mut self, ahead_of: Option<u64>) -> Option<Payload> {
        let oldest = self.ring.front()?;
        if ahead_of != Some(oldest.serial) {
            return None;
        }
        self.ring.lend(0)
    }

    fn judge(&mut self, id: u64, verdict: Verdict, now: Time) {
        let Some(flight) = self.flight.take_if(|flight| flight.id == id) else {
            return;
        };
        self.dirty = true;
        match verdict {
            Verdict::Accepted => {
                self.gate.open();
                self.accepted(&flight, now);
                self.settle(flight.payload, None);
            }
            Verdict::AcceptedExcept { rejected, reason } => {
                self.failed(&reason);
                tracing::warn!(
                    sink = %self.parts.board.sink, rejected, reason = reason.code,
                    "samples given up: {}", reason.text
                );
                self.gate.open();
                self.accepted(&flight, now);
                let samples = flight.payload.samples();
                let rejected = rejected.min(samples);
                self.ring.settled(&flight.payload);
                self.view.accounts.deliver(samples - rejected);
                self.drop_for(Drop::Rejected, rejected);
            }
            Verdict::Items(items) => self.judge_items(flight, &items, now),
            Verdict::Retry { after, reason } => {
                self.failed(&reason);
                self.step_over = self.is_stuck(&flight, &reason, now);
                self.gate.back_off(now, after, reason);
                self.postpone(flight, now);
            }
            Verdict::Pause(reason) => {
                self.failed(&reason);
                self.gate.pause(now, reason);
                self.postpone(flight, now);
            }
            Verdict::Split(reason) | Verdict::Bisect(reason) => {
                self.failed(&reason);
                self.gate.open();
                self.take_apart(flight, &reason, now);
            }
        }
    }

    fn failed(&mut self, reason: &Reason) {
        let known = &mut self.view.failures;
        match known.iter_mut().find(|(code, _)| *code == reason.code) {
            Some((_, count)) => *count += 1,
            None => known.push((reason.code, 1)),
        }
    }

    /// A payload left for good; `why` unless it was delivered.
    fn settle(&mut self, payload: Payload, why: Option<Drop>) {
        self.ring.settled(&payload);
        match why {
            None => {
                self.view.accounts.deliver(payload.samples());
                self.view.sent_bytes += payload.body.len() as u64;
            }
            Some(why) => self.drop_for(why, payload.samples()),
        }
    }

    /// The sink took a payload: one that it failed on before, while it takes others, is at fault itself.
    fn accepted(&mut self, flight: &Flight, now: Time) {
        self.view.last_accepted = Some(now);
        if let Some(stuck) = self.stuck(flight.ahead_of) {
            let samples = stuck.samples();
            tracing::warn!(sink = %self.parts.board.sink, samples, "samples given up: the sink fails on them alone");
            self.settle(stuck, Some(Drop::Rejected));
        }
    }

    /// Whether a payload has made the sink fail for so long that the fault may be its own: then the next one is tried
    /// at once, and if the sink takes that the payload is given up. A sink that cannot be reached says nothing.
    fn is_stuck(&mut self, flight: &Flight, reason: &Reason, now: Time) -> bool {
        let stuck_after = Duration::from_millis(self.parts.limits.stuck_after_ms);
        let failing_since = flight.payload.failing_since.unwrap_or(now);
        let is_stuck = flight.ahead_of.is_none()
            && reason.code.starts_with("http_5")
            && now.since(failing_since.max(self.stepped_over_at)) >= stuck_after
            && !self.ring.is_empty();
        if is_stuck {
            self.stepped_over_at = now;
        }
        is_stuck
    }

    fn postpone(&mut self, mut flight: Flight, now: Time) {
        flight.payload.failing_since.get_or_insert(now);
        self.ring.settled(&flight.payload);
        self.put_back(vec![flight.payload], flight.ahead_of);
    }

    /// The sink answered for each sample.
    fn judge_items(&mut self, flight: Flight, items: &[Item], now: Time) {
        let samples = flight.payload.items.ends.len();
        let mut again: Vec<usize> = Vec::new();
        let mut rejected = 0_u64;
        for number in 0..samples {
            match items.get(number) {
                Some(Item::Accepted) => {}
                Some(Item::Rejected(_)) => rejected += 1,
                // What the sink did not answer for is asked again.
                Some(Item::Retry) | None => again.push(number),
            }
        }
        let accepted = samples as u64 - rejected - again.len() as u64;
        let piece = match again.is_empty() {
            true => None,
            false => Some(
                self.parts
                    .packer
                    .cut(&flight.payload, again.iter().copied()),
            ),
        };
        if accepted > 0 {
            self.gate.open();
            self.accepted(&flight, now);
        }
        self.ring.settled(&flight.payload);
        self.view.accounts.deliver(accepted);
        self.drop_for(Drop::Rejected, rejected);
        match piece {
            None => {}
            Some(Ok(mut piece)) => {
                let reason = Reason::new("items", "the sink put some samples off");
                self.failed(&reason);
                self.gate.back_off(now, None, reason);
                piece.failing_since.get_or_insert(now);
                self.put_back(vec![piece], flight.ahead_of);
            }
            Some(Err(error)) => self.unpackable(&error, again.len() as u64),
        }
    }

    /// The sink refused a payload for what is in it, or for its size: halves of it are tried, down to single samples.
    fn take_apart(&mut self, flight: Flight, reason: &Reason, now: Time) {
        while self.cuts.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.cuts.pop_front();
        }
        let samples = flight.payload.items.ends.len();
        if samples <= 1 || self.cuts.len() >= CUTS_PER_MINUTE_MAX {
            tracing::warn!(
                sink = %self.parts.board.sink, samples, reason = reason.code,
                "samples given up: {}", reason.text
            );
            self.settle(flight.payload, Some(Drop::Rejected));
            return;
        }
        self.cuts.push_back(now);
        let middle = samples / 2;
        let packer = &mut self.parts.packer;
        let first = packer.cut(&flight.payload, 0..middle);
        let second = packer.cut(&flight.payload, middle..samples);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                self.ring.settled(&flight.payload);
                self.put_back(vec![first, second], flight.ahead_of);
            }
            (Err(error), _) | (_, Err(error)) => {
                self.ring.settled(&flight.payload);
                self.unpackable(&error, samples as u64);
            }
        }
    }

    fn publish(&mut self) {
        let (health, _) = self.gate.health();
        self.view.health = health;
        self.view.last_error = self.gate.last_error().cloned();
        self.view.payloads_waiting = self.ring.len() + usize::from(self.flight.is_some());
        self.view.ring_bytes = self.ring.bytes();
        self.parts.board.publish(self.view.clone());
        self.dirty = false;
    }
}

#[cfg(test)]
mod tests;
