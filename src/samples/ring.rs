//! Payloads that wait for a sink: bounded in bytes and in age, the oldest given up first.
//!
//! Invariant: all payloads in it and the one under way together take at most `bytes_max` bytes of memory, except one
//! that alone takes more, which is never taken in.

use std::collections::VecDeque;
use std::time::Duration;

use super::payload::Payload;
use crate::clock::Time;

/// The ring.
#[derive(Debug)]
pub struct Ring {
    payloads: VecDeque<Payload>,
    bytes: usize,
    /// Of those, in payloads that are under way.
    lent_bytes: usize,
    bytes_max: usize,
    age_max: Duration,
}

impl Ring {
    /// An empty ring.
    pub fn new(bytes_max: usize, age_max: Duration) -> Ring {
        Ring {
            payloads: VecDeque::new(),
            bytes: 0,
            lent_bytes: 0,
            bytes_max,
            age_max,
        }
    }

    /// Takes in the newest payload. Returns how many samples were given up for it, itself included.
    pub fn push(&mut self, payload: Payload) -> u64 {
        let mut given_up = 0;
        let bytes = payload.memory_bytes();
        if bytes > self.bytes_max.saturating_sub(self.lent_bytes) {
            return payload.samples();
        }
        self.bytes += bytes;
        self.payloads.push_back(payload);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.payloads.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            given_up += oldest.samples();
        }
        given_up
    }

    /// Puts payloads in front of all others, in this order: one that was lent, or its pieces. Returns how many samples
    /// were given up for want of room, the oldest.
    pub fn put_back(&mut self, payloads: Vec<Payload>) -> u64 {
        for payload in payloads.into_iter().rev() {
            self.bytes += payload.memory_bytes();
            self.payloads.push_front(payload);
        }
        let mut given_up = 0;
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.payloads.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            given_up += oldest.samples();
        }
        given_up
    }

    /// Lends the payload at a place in the order; its bytes stay counted until [`Ring::settled`].
    pub fn lend(&mut self, place: usize) -> Option<Payload> {
        let payload = self.payloads.remove(place)?;
        self.lent_bytes += payload.memory_bytes();
        Some(payload)
    }

    /// A payload that was lent came to its end, or comes back through [`Ring::put_back`].
    pub fn settled(&mut self, payload: &Payload) {
        let bytes = payload.memory_bytes();
        self.lent_bytes = self.lent_bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Gives up what is too old. Returns how many samples that were.
    pub fn expire(&mut self, now: Time) -> u64 {
        let mut given_up = 0;
        while let Some(oldest) = self.payloads.front()
            && now.since(oldest.taken_at) > self.age_max
            && let Some(oldest) = self.payloads.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            given_up += oldest.samples();
        }
        given_up
    }

    /// Gives up everything. Returns how many samples that were.
    pub fn clear(&mut self) -> u64 {
        let given_up = self.payloads.iter().map(Payload::samples).sum();
        self.payloads.clear();
        self.bytes = self.lent_bytes;
        given_up
    }

    /// The payload that is next.
    pub fn front(&self) -> Option<&Payload> {
        self.payloads.front()
    }

    /// When the oldest becomes too old.
    pub fn expires_at(&self) -> Time {
        let oldest = self.payloads.front();
        oldest.map_or(Time::NEVER, |oldest| {
            oldest.taken_at + self.age_max + Duration::from_millis(1)
        })
    }

    /// How many payloads wait.
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// The memory that all take, the one under way included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::samples::payload::Items;

    fn payload(bytes: usize, samples: usize, taken_ms: u64) -> Payload {
        Payload {
            body: Bytes::from(vec![0; bytes]),
            items: Items {
                ends: vec![0; samples],
                ..Items::default()
            },
            plain_bytes: 0,
            serial: 0,
            taken_at: Time::from_ms(taken_ms),
            failing_since: None,
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize, usize),
        Lend(usize),
        Settle,
        PutBack,
        Halve,
        Expire,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0_usize..3000, 1_usize..50).prop_map(|(bytes, samples)| Act::Push(bytes, samples)),
            3 => (0_usize..2).prop_map(Act::Lend),
            1 => Just(Act::Settle),
            2 => Just(Act::PutBack),
            1 => Just(Act::Halve),
            1 => Just(Act::Expire),
        ]
    }

    proptest! {
        /// Whatever happens the ring stays within its bytes, loses no sample uncounted, and keeps the order of time.
        #[test]
        fn it_stays_within_its_bounds(acts in prop::collection::vec(act(), 1..200)) {
            const BYTES_MAX: usize = 5_000;
            const AGE_MAX_MS: u64 = 40;
            let mut ring = Ring::new(BYTES_MAX, Duration::from_millis(AGE_MAX_MS));
            let mut lent: Option<Payload> = None;
            let (mut taken, mut gone) = (0, 0);
            for (now_ms, act) in acts.into_iter().enumerate() {
                let now_ms = now_ms as u64;
                match act {
                    Act::Push(bytes, samples) => {
                        taken += samples as u64;
                        gone += ring.push(payload(bytes, samples, now_ms));
                    }
                    Act::Lend(place) if lent.is_none() => lent = ring.lend(place),
                    Act::Lend(_) => {}
                    Act::Settle => if let Some(payload) = lent.take() {
                        ring.settled(&payload);
                        gone += payload.samples();
                    },
                    Act::PutBack => if let Some(payload) = lent.take() {
                        ring.settled(&payload);
                        gone += ring.put_back(vec![payload]);
                    },
                    Act::Halve => if let Some(whole) = lent.take() {
                        ring.settled(&whole);
                        let samples = whole.items.ends.len();
                        let at = whole.taken_at.as_ms();
                        let halves = [samples / 2, samples - samples / 2];
                        let halves = halves.map(|samples| payload(whole.body.len(), samples, at));
                        gone += ring.put_back(halves.to_vec());
                    },
                    Act::Expire => {
                        gone += ring.expire(Time::from_ms(now_ms));
                        if let Some(front) = ring.front() {
                            prop_assert!(now_ms - front.taken_at.as_ms() <= AGE_MAX_MS);
                        }
                    }
                }
                prop_assert!(ring.bytes() <= BYTES_MAX, "{}", ring.bytes());
                let waiting: u64 = ring.payloads.iter().map(Payload::samples).sum();
                let under_way = lent.as_ref().map_or(0, Payload::samples);
                prop_assert_eq!(taken, gone + waiting + under_way);
                let bytes: usize = ring.payloads.iter().chain(&lent).map(Payload::memory_bytes).sum();
                prop_assert_eq!(bytes, ring.bytes());
            }
        }
    }

    #[test]
    fn the_oldest_go_first() {
        let mut ring = Ring::new(3 * payload(100, 1, 0).memory_bytes(), Duration::MAX);
        for taken_ms in 0..5 {
            ring.push(payload(100, 1, taken_ms));
        }
        assert_eq!(ring.len(), 3);
        assert_eq!(ring.front().unwrap().taken_at, Time::from_ms(2));
    }
}
