//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore::clock::{Clock, Time};

/// Milliseconds since its start; clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<AtomicU64>);

impl SimClock {
    /// Where the wall clock stands at the start: 2024-01-01T00:00:00Z.
    pub const WALL_START_S: u64 = 1_704_067_200;

    /// Moves the clock to a moment, never back.
    pub fn set(&self, to: Time) {
        self.0.fetch_max(to.as_ms(), Ordering::SeqCst);
    }

    /// Milliseconds since the start.
    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        Time::from_ms(self.ms())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(SimClock::WALL_START_S) + Duration::from_millis(self.ms())
    }
}
