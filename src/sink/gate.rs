//! Whether a sink may be tried now: open, backing off after a failure, or paused until a person mends something.

use std::time::Duration;

use crate::clock::Time;
use crate::config::Limits;
use crate::sink::Reason;

/// How a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Delivering, or nothing to deliver.
    #[default]
    Good,
    /// The last attempt failed; trying again after a back-off.
    Retrying,
    /// Something a person must mend; probing now and then.
    Paused,
}

impl Health {
    /// Its name in `/status`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Health::Good => "good",
            Health::Retrying => "retrying",
            Health::Paused => "paused",
        }
    }
}

#[derive(Debug)]
enum State {
    Open,
    BackOff { until: Time, reason: Reason },
    Paused { probe_at: Time, reason: Reason },
}

/// The state of one way to a sink.
#[derive(Debug)]
pub struct Gate {
    state: State,
    failures: u32,
    back_off: BackOff,
    probe_interval: Duration,
    last_error: Option<(Time, String)>,
}

impl Gate {
    /// An open gate. `seed` decides the jitter.
    pub fn new(limits: &Limits, seed: u64) -> Gate {
        Gate {
            state: State::Open,
            failures: 0,
            back_off: BackOff::new(limits, seed),
            probe_interval: Duration::from_millis(limits.probe_interval_ms),
            last_error: None,
        }
    }

    /// Whether the sink is taken to be well.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether an attempt may be made now.
    pub fn lets_through(&self, now: Time) -> bool {
        now >= self.due()
    }

    /// When an attempt may be made; the clock's start when at once.
    pub fn due(&self) -> Time {
        match &self.state {
            State::Open => Time::ZERO,
            State::BackOff { until, .. } => *until,
            State::Paused { probe_at, .. } => *probe_at,
        }
    }

    /// The sink took something, or at least answered about it.
    pub fn open(&mut self) {
        self.state = State::Open;
        self.failures = 0;
    }

    /// The sink failed: not before a jittered back-off, nor before `after`.
    pub fn back_off(&mut self, now: Time, after: Option<Duration>, reason: Reason) {
        let wait = self
            .back_off
            .wait(self.failures)
            .max(after.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.note(now, &reason);
        self.state = State::BackOff {
            until: now + wait,
            reason,
        };
    }

    /// A person must mend something: one probe per interval until then.
    pub fn pause(&mut self, now: Time, reason: Reason) {
        if !matches!(&self.state, State::Paused { reason: known, .. } if known.code == reason.code)
        {
            tracing::warn!(reason = reason.code, "sink paused: {}", reason.text);
        }
        self.note(now, &reason);
        let jittered = self.back_off.spread(self.probe_interval);
        self.state = State::Paused {
            probe_at: now + jittered,
            reason,
        };
    }

    fn note(&mut self, now: Time, reason: &Reason) {
        self.last_error = Some((now, reason.text.clone()));
    }

    /// How the sink is doing, and why.
    pub fn health(&self) -> (Health, Option<&Reason>) {
        match &self.state {
            State::Open => (Health::Good, None),
            State::BackOff { reason, .. } => (Health::Retrying, Some(reason)),
            State::Paused { reason, .. } => (Health::Paused, Some(reason)),
        }
    }

    /// The newest failure, kept after the sink recovered.
    pub fn last_error(&self) -> Option<&(Time, String)> {
        self.last_error.as_ref()
    }
}

/// Exponential back-off with jitter: between half of and the whole of `min * 2^failures`, at most the limit, so that
/// many agents that failed together do not come back together.
#[derive(Debug)]
pub struct BackOff {
    min: Duration,
    max: Duration,
    random: fastrand::Rng,
}

impl BackOff {
    /// From the limits. `seed` decides the jitter.
    pub fn new(limits: &Limits, seed: u64) -> BackOff {
        BackOff {
            min: Duration::from_millis(limits.backoff_min_ms),
            max: Duration::from_millis(limits.backoff_max_ms),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait after that many earlier failures.
    pub fn wait(&mut self, failures: u32) -> Duration {
        let whole = self.min.saturating_mul(1 << failures.min(20)).min(self.max);
        self.spread(whole)
    }

    fn spread(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_is_capped_and_spread() {
        let limits = Limits {
            backoff_min_ms: 100,
            backoff_max_ms: 1_000,
            ..Limits::default()
        };
        let mut back_off = BackOff::new(&limits, 1);
        for failures in 0..40 {
            let whole = Duration::from_millis((100 << failures.min(10)).min(1_000));
            let waits: Vec<Duration> = (0..50).map(|_| back_off.wait(failures)).collect();
            assert!(
                waits
                    .iter()
                    .all(|wait| *wait >= whole / 2 && *wait <= whole)
            );
            assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter");
        }
    }

    #[test]
    fn the_sink_s_own_wish_is_honoured() {
        let limits = Limits {
            backoff_min_ms: 100,
            backoff_max_ms: 1_000,
            ..Limits::default()
        };
        let mut gate = Gate::new(&limits, 1);
        gate.back_off(
            Time::ZERO,
            Some(Duration::from_secs(90)),
            Reason::new("http_429", "x"),
        );
        assert!(!gate.lets_through(Time::from_ms(89_999)));
        assert!(gate.lets_through(Time::from_ms(90_000)));
        gate.open();
        assert!(gate.lets_through(Time::ZERO));
    }
}
