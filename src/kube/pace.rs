//! When to ask: the start, spread over many agents, and the waits after failures. Pure over its random numbers.

use std::time::Duration;

/// First wait after a failure; the longest that is drawn is twice as long.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait, unless the server asks for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// No server is obeyed for longer.
const OBEYED_MAX: Duration = Duration::from_secs(600);

/// The waits of one asker.
#[derive(Debug)]
pub struct Pace {
    random: fastrand::Rng,
    failures: u32,
}

impl Pace {
    /// One that draws its numbers from this seed.
    pub fn new(seed: u64) -> Pace {
        Pace {
            random: fastrand::Rng::with_seed(seed),
            failures: 0,
        }
    }

    /// How long after the agent's start it asks first: any moment within `spread` is as likely as any other.
    pub fn start(&mut self, spread: Duration) -> Duration {
        spread.mul_f64(self.random.f64())
    }

    /// It was answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after another failure. `after`: what the server asks for.
    pub fn failed(&mut self, after: Option<Duration>) -> Duration {
        let whole = WAIT_MIN * 2_u32.pow(self.failures.min(8) + 1);
        self.failures = self.failures.saturating_add(1);
        let wait = whole.min(WAIT_MAX).mul_f64(0.5 + self.random.f64() / 2.0);
        let asked = after.unwrap_or_default().min(OBEYED_MAX);
        // Those that were told the same moment do not come back together.
        wait.max(asked.mul_f64(1.0 + self.random.f64() / 4.0))
    }

    /// How long one watch shall last: not the same for agents that began together.
    pub fn watch(&mut self, most: Duration) -> Duration {
        most.mul_f64(0.8 + self.random.f64() / 5.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_thousand_agents_that_start_at_once_are_spread_over_the_window() {
        let spread = Duration::from_secs(10);
        let mut tenths = [0_u32; 10];
        for seed in 0..1_000 {
            let at = Pace::new(seed).start(spread);
            assert!(at < spread);
            tenths[at.as_secs() as usize] += 1;
        }
        // Each tenth of the window has its share, within what chance allows.
        assert!(
            tenths.iter().all(|share| (60..=140).contains(share)),
            "{tenths:?}"
        );
    }

    proptest! {
        /// However often it fails, a wait is neither none nor longer than is allowed, and no shorter than was asked for.
        #[test]
        fn waits_are_bounded(seed: u64, failures in 1_usize..200, after in proptest::option::of(0_u64..10_000)) {
            let mut pace = Pace::new(seed);
            let after = after.map(Duration::from_secs);
            for _ in 0..failures {
                let wait = pace.failed(after);
                let asked = after.unwrap_or_default().min(OBEYED_MAX);
                prop_assert!(wait >= WAIT_MIN && wait >= asked);
                prop_assert!(wait <= WAIT_MAX.max(asked.mul_f64(1.25)));
            }
            pace.succeeded();
            prop_assert!(pace.failed(None) <= 2 * WAIT_MIN);
        }
    }
}
