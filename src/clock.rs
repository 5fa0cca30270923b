//! Time as the data plane sees it: one monotonic clock for decisions, one wall clock for what people read.
//!
//! Nothing outside this file asks the system for the time; a simulation replaces [`Clock`].

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime};

/// A moment on the monotonic clock, in nanoseconds since the clock's own start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The clock's start.
    pub const ZERO: Time = Time(0);
    /// Later than every moment that is ever reached.
    pub const NEVER: Time = Time(u64::MAX);

    /// A moment `ms` milliseconds after the clock's start.
    pub const fn from_ms(ms: u64) -> Time {
        Time(ms.saturating_mul(1_000_000))
    }

    /// Milliseconds since the clock's start.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The last multiple of `beat` that is not later; itself if `beat` is nothing.
    pub fn floor(self, beat: Duration) -> Time {
        let beat = u64::try_from(beat.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0 - self.0.checked_rem(beat).unwrap_or(0))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, rhs: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Not before the clock's start.
    fn sub(self, rhs: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The monotonic moment now.
    fn now(&self) -> Time;
    /// The wall clock now, for timestamps in rows and file names; may step either way.
    fn wall(&self) -> SystemTime;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[allow(clippy::new_without_default)] // two clocks would not agree: make one and share it
    pub fn new() -> SystemClock {
        SystemClock {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
