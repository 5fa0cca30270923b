//! How many attempts a sink gets at once: as many as it answers well, at most `requests_in_flight`.
//!
//! Additive increase, multiplicative decrease, as TCP does it: an answer that says "too much" (429, 503, or none in time),
//! or one that takes far longer than the sink's quickest ones, halves the number, once for all attempts that were under
//! way at that moment; good answers while all places are taken raise it. Invariants: it is never below one nor above
//! the configured most; from any state, good answers alone bring it back to the most within [`RECOVERY`].

use std::time::Duration;

use crate::clock::Time;

/// How long good answers take at most to undo all that bad ones did.
pub const RECOVERY: Duration = Duration::from_secs(25);

/// An answer is slow that takes this many times as long as the sink's quick ones...
const SLOW_FACTOR: u32 = 4;

/// ...and longer than they by this.
const SLOW_MARGIN: Duration = Duration::from_millis(250);

/// What is taken for quick is forgotten by a 16th at each answer, for payloads and ways differ from hour to hour.
const FORGET_SHIFT: u32 = 4;

/// The number of attempts that may be under way.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// In thousandths: it grows by fractions.
    allowed_milli: u64,
    most: u64,
    /// Attempts that began before say nothing new about a sink that was found overloaded then.
    lowered_at: Option<Time>,
    raised_at: Time,
    quick: Option<Duration>,
}

impl Concurrency {
    /// All places free: nothing is known against the sink.
    pub fn new(most: usize) -> Concurrency {
        let most = most.max(1) as u64;
        Concurrency {
            allowed_milli: most * 1000,
            most,
            lowered_at: None,
            raised_at: Time::ZERO,
            quick: None,
        }
    }

    /// How many attempts may be under way.
    pub fn allowed(&self) -> usize {
        (self.allowed_milli / 1000) as usize
    }

    /// An attempt was answered well. `was_full`: all places were taken when it began; only then does it tell that there
    /// could be more.
    pub fn accepted(&mut self, now: Time, began: Time, was_full: bool) {
        let took = now.since(began);
        let quick = self.quick.get_or_insert(took);
        let is_slow = took > *quick * SLOW_FACTOR && took > *quick + SLOW_MARGIN;
        *quick = match took < *quick {
            true => took,
            false => *quick + (took - *quick) / (1 << FORGET_SHIFT),
        };
        if is_slow {
            return self.overloaded(now, began);
        }
        if was_full && self.allowed_milli < self.most * 1000 {
            let waited = now.since(self.raised_at).min(RECOVERY);
            let by_time = u128::from(self.most) * waited.as_millis() * 1000 / RECOVERY.as_millis();
            let by_answer = 1_000_000 / self.allowed_milli;
            let step = by_answer.max(u64::try_from(by_time).unwrap_or(u64::MAX));
            self.allowed_milli = (self.allowed_milli + step).min(self.most * 1000);
        }
        self.raised_at = now;
    }

    /// The sink has more to do than it can.
    pub fn overloaded(&mut self, now: Time, began: Time) {
        if self.lowered_at.is_some_and(|lowered| began < lowered) {
            return;
        }
        self.allowed_milli = (self.allowed_milli / 2).max(1000);
        self.lowered_at = Some(now);
        self.raised_at = now;
    }
}

/// Whether a reason to try again says that the sink has too much to do. What cannot be reached at all is the gate's.
pub fn is_overload(code: &str) -> bool {
    const OF_PROTOCOLS: [&str; 4] = [
        "es_rejected_execution_exception",
        "rejected_execution_exception",
        "hec_9_busy",
        "hec_18_unhealthy",
    ];
    matches!(code, "http_429" | "http_503" | "timeout") || OF_PROTOCOLS.contains(&code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_ms(ms)
    }

    #[test]
    fn one_overload_halves_once_for_all_that_was_under_way() {
        let mut it = Concurrency::new(16);
        it.overloaded(at(100), at(50));
        it.overloaded(at(101), at(60));
        assert_eq!(it.allowed(), 8);
        it.overloaded(at(200), at(150));
        assert_eq!(it.allowed(), 4);
        for round in 3..10 {
            it.overloaded(at(round * 100), at(round * 100 - 1));
        }
        assert_eq!(it.allowed(), 1);
    }

    #[test]
    fn answers_that_take_far_longer_lower_it_and_a_steadily_slow_sink_does_not() {
        let mut it = Concurrency::new(8);
        for round in 0..20 {
            it.accepted(at(round * 100 + 20), at(round * 100), true);
        }
        assert_eq!(it.allowed(), 8);
        it.accepted(at(10_900), at(10_000), true);
        assert_eq!(it.allowed(), 4);
        let mut slow = Concurrency::new(8);
        for round in 0..50 {
            slow.accepted(at(round * 3_000 + 2_900), at(round * 3_000), true);
        }
        assert_eq!(slow.allowed(), 8);
    }

    #[test]
    fn places_that_nobody_takes_do_not_raise_it() {
        let mut it = Concurrency::new(8);
        it.overloaded(at(10), at(0));
        for round in 1..100 {
            it.accepted(at(round * 100 + 10), at(round * 100), false);
        }
        assert_eq!(it.allowed(), 4);
    }

    proptest! {
        /// Whatever comes, it stays within its bounds; and good answers, one every so often, bring it back in time.
        #[test]
        fn it_is_bounded_and_recovers(
            most in 1_usize..64,
            events in prop::collection::vec((0_u64..5_000, 0_u64..3_000, any::<bool>()), 0..200),
            every in 10_u64..5_000,
        ) {
            let mut it = Concurrency::new(most);
            let mut now = 0;
            for (wait, took, good) in events {
                now += wait + took;
                match good {
                    true => it.accepted(at(now), at(now - took), true),
                    false => it.overloaded(at(now), at(now - took)),
                }
                prop_assert!((1..=most).contains(&it.allowed()));
            }
            // The next answer sets what is quick.
            it.quick = None;
            let end = now + 30_000;
            while now + every <= end {
                now += every;
                it.accepted(at(now), at(now - every.min(20)), true);
            }
            prop_assert_eq!(it.allowed(), most);
        }
    }
}
