//! How much of each pod and namespace may be sent: buckets of bytes and lines that fill with time.
//!
//! A worker reserves what a turn may need, and gives back what the turn did not: several workers of one sink share the
//! buckets. Invariant: over any time, what was used is at most the burst, what filled in that time, and one record for
//! each turn that was under way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Time;
use crate::config::lines::{Rate, RateLimits};
use crate::record::Level;

/// Thousandths of a byte or line: what one per second fills in a millisecond.
const UNIT: i64 = 1_000;
/// Quiet buckets are forgotten when there are more.
const OWNERS_MAX: usize = 1_024;

/// Bytes and lines, both in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tokens {
    bytes: i64,
    lines: i64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    burst_ms: u64,
    tokens: Tokens,
    filled_at: Time,
}

/// Whose bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Pod(String),
    Namespace(String),
}

/// The buckets of one sink.
#[derive(Debug, Default)]
pub struct Buckets {
    all: Mutex<HashMap<Owner, Bucket>>,
}

/// What a turn may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Bytes of log file.
    pub bytes: i64,
    /// Lines.
    pub lines: i64,
}

impl Grant {
    /// Whether anything may be used: the last record may take more than is left.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.bytes > 0 && self.lines > 0
    }
}

impl Bucket {
    fn full(rate: Rate, burst_ms: u64, now: Time) -> Bucket {
        let mut bucket = Bucket {
            rate,
            burst_ms,
            tokens: Tokens::default(),
            filled_at: now,
        };
        bucket.tokens = bucket.most();
        bucket
    }

    /// Tokens of that many milliseconds.
    fn worth(&self, ms: u64) -> Tokens {
        let of = |rate: u64| {
            let tokens = rate.saturating_mul(ms);
            i64::try_from(tokens).unwrap_or(i64::MAX / 4)
        };
        Tokens {
            bytes: of(self.rate.bytes),
            lines: of(self.rate.lines),
        }
    }

    /// A full bucket: the burst, but one line and its bytes at least.
    fn most(&self) -> Tokens {
        let burst = self.worth(self.burst_ms);
        Tokens {
            bytes: burst.bytes.max(UNIT),
            lines: burst.lines.max(UNIT),
        }
    }

    fn fill(&mut self, now: Time) {
        let elapsed_ms = now.since(self.filled_at).as_millis();
        let more = self.worth(u64::try_from(elapsed_ms).unwrap_or(u64::MAX));
        let most = self.most();
        self.tokens.bytes = self.tokens.bytes.saturating_add(more.bytes).min(most.bytes);
        self.tokens.lines = self.tokens.lines.saturating_add(more.lines).min(most.lines);
        self.filled_at = self.filled_at.max(now);
    }

    fn take(&mut self, grant: Grant) {
        self.tokens.bytes = self
            .tokens
            .bytes
            .saturating_sub(grant.bytes.saturating_mul(UNIT));
        self.tokens.lines = self
            .tokens
            .lines
            .saturating_sub(grant.lines.saturating_mul(UNIT));
    }

    /// Whole bytes and lines that may be used; what is not limited, as much as is wanted.
    fn grant(&self, wanted: Grant) -> Grant {
        let of = |rate: u64, tokens: i64, wanted: i64| match rate {
            0 => wanted,
            _ => tokens.div_euclid(UNIT).clamp(0, wanted),
        };
        Grant {
            bytes: of(self.rate.bytes, self.tokens.bytes, wanted.bytes),
            lines: of(self.rate.lines, self.tokens.lines, wanted.lines),
        }
    }

    /// Until a whole second's worth, or what the bucket can hold, is there.
    fn wait(&self) -> Duration {
        let of = |rate: u64, tokens: i64, most: i64| {
            let wanted = most.min(worth_waiting(rate));
            let lack = wanted.saturating_sub(tokens).max(0).unsigned_abs();
            match rate {
                0 => 0,
                rate => lack.div_ceil(rate),
            }
        };
        let most = self.most();
        let bytes = of(self.rate.bytes, self.tokens.bytes, most.bytes);
        let lines = of(self.rate.lines, self.tokens.lines, most.lines);
        Duration::from_millis(bytes.max(lines))
    }
}

/// Tokens for half a second, or for one of them: a turn for less would be mostly effort.
fn worth_waiting(rate: u64) -> i64 {
    i64::try_from(rate.saturating_mul(500))
        .unwrap_or(i64::MAX / 4)
        .max(UNIT)
}

impl Buckets {
    /// Takes what a turn may use, at most `wanted`. If it is nothing: how long to wait.
    pub fn reserve(
        &self,
        (pod, namespace): (&str, &str),
        limits: &RateLimits,
        wanted: Grant,
        now: Time,
    ) -> Result<Grant, Duration> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        forget_quiet(&mut all, now);
        let mut grant = wanted;
        let mut wait = Duration::ZERO;
        for (owner, rate) in owners(pod, namespace, limits) {
            let bucket = all
                .entry(owner)
                .or_insert_with(|| Bucket::full(rate, limits.burst_ms, now));
            (bucket.rate, bucket.burst_ms) = (rate, limits.burst_ms);
            bucket.fill(now);
            grant = bucket.grant(grant);
            if !bucket.grant(wanted).is_open() {
                wait = wait.max(bucket.wait());
            }
        }
        if !grant.is_open() {
            return Err(wait.max(Duration::from_millis(1)));
        }
        for (owner, _) in owners(pod, namespace, limits) {
            if let Some(bucket) = all.get_mut(&owner) {
                bucket.take(grant);
            }
        }
        Ok(grant)
    }

    /// How long until it is worth another try.
    pub fn wait(&self, (pod, namespace): (&str, &str), limits: &RateLimits, now: Time) -> Duration {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = owners(pod, namespace, limits).filter_map(|(owner, _)| {
            let bucket = all.get_mut(&owner)?;
            bucket.fill(now);
            Some(bucket.wait())
        });
        waits
            .max()
            .unwrap_or_default()
            .max(Duration::from_millis(1))
    }

    /// Gives back what is left of a grant, or takes what was used beyond it.
    pub fn give_back(&self, (pod, namespace): (&str, &str), limits: &RateLimits, left: Grant) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = Grant {
            bytes: -left.bytes,
            lines: -left.lines,
        };
        for (owner, _) in owners(pod, namespace, limits) {
            if let Some(bucket) = all.get_mut(&owner) {
                bucket.take(taken);
            }
        }
    }
}

/// A bucket that would be full again says nothing.
fn forget_quiet(all: &mut HashMap<Owner, Bucket>, now: Time) {
    if all.len() > OWNERS_MAX {
        all.retain(|_, bucket| {
            bucket.fill(now);
            bucket.tokens != bucket.most()
        });
    }
}

fn owners(
    pod: &str,
    namespace: &str,
    limits: &RateLimits,
) -> impl Iterator<Item = (Owner, Rate)> + use<> {
    let pod = (!limits.pod.is_unlimited()).then(|| (Owner::Pod(pod.to_owned()), limits.pod));
    let namespace = (!limits.namespace.is_unlimited())
        .then(|| (Owner::Namespace(namespace.to_owned()), limits.namespace));
    pod.into_iter().chain(namespace)
}

/// What is dropped of a container that is too far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// The unread bytes, in quarters of the bound.
    quarters: u64,
}

impl Pressure {
    /// Of so many unread bytes.
    pub fn of(unread_bytes: u64, backlog_bytes_max: u64) -> Pressure {
        Pressure {
            quarters: unread_bytes.saturating_mul(4) / backlog_bytes_max.max(1),
        }
    }

    /// Whether a record is dropped, also if it might be sent: what may is left to the more urgent.
    pub fn drops(self, level: Level) -> bool {
        let at = match level {
            Level::Trace | Level::Debug => 4,
            Level::Info | Level::Unknown => 5,
            Level::Warning => 6,
            Level::Error | Level::Critical => return false,
        };
        self.quarters >= at
    }

    /// Whether a record is dropped rather than waited for.
    pub fn drops_rather_than_waits(self, level: Level) -> bool {
        self.quarters >= 8 || self.drops(level)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(bytes: u64, lines: u64, namespace_lines: u64, burst_ms: u64) -> RateLimits {
        RateLimits {
            pod: Rate { bytes, lines },
            namespace: Rate {
                bytes: 0,
                lines: namespace_lines,
            },
            burst_ms,
            ..RateLimits::default()
        }
    }

    const WANTED: Grant = Grant {
        bytes: 1_000_000,
        lines: 10_000,
    };

    #[test]
    fn the_least_urgent_are_dropped_first() {
        for (unread, dropped) in [(99, 0), (100, 2), (125, 4), (150, 5), (199, 5)] {
            let pressure = Pressure::of(unread, 100);
            let levels = [&Level::STATED[..], &[Level::Unknown]].concat();
            let found = levels
                .iter()
                .filter(|level| pressure.drops(**level))
                .count();
            assert_eq!(found, dropped, "{unread}");
            assert!(
                !pressure.drops_rather_than_waits(Level::Critical),
                "{unread}"
            );
        }
        let far_behind = Pressure::of(200, 100);
        assert!(!far_behind.drops(Level::Error));
        assert!(far_behind.drops_rather_than_waits(Level::Error));
    }

    #[test]
    fn a_namespace_is_shared_by_its_pods() {
        let (buckets, limits) = (Buckets::default(), limits(0, 0, 10, 1_000));
        let reserve = |pod| buckets.reserve((pod, "ns"), &limits, WANTED, Time::ZERO);
        let grant = reserve("a").unwrap();
        assert_eq!((grant.bytes, grant.lines), (WANTED.bytes, 10));
        assert!(reserve("b").is_err());
        buckets.give_back(("a", "ns"), &limits, Grant { lines: 4, ..grant });
        assert_eq!(reserve("b").unwrap().lines, 4);
    }

    proptest! {
        /// Invariant: from the first moment to any later one no more is used than the burst, what time filled, and one
        /// record; and who waits as long as he was told gets something.
        #[test]
        fn no_more_is_used_than_is_allowed(
            bytes in 1_u64..100_000, lines in 1_u64..1_000, burst_ms in 1_000_u64..10_000,
            steps in proptest::collection::vec((0_u64..3_000, 1_i64..500), 1..60),
        ) {
            let (buckets, limits) = (Buckets::default(), limits(bytes, lines, 0, burst_ms));
            let (mut now_ms, mut used, mut largest) = (0, Grant { bytes: 0, lines: 0 }, 0);
            let mut promised_ms = None;
            for (pause_ms, record_bytes) in steps {
                now_ms += pause_ms;
                largest = largest.max(record_bytes);
                let now = Time::from_ms(now_ms);
                match buckets.reserve(("p", "n"), &limits, WANTED, now) {
                    Err(wait) => {
                        prop_assert!(promised_ms.is_none_or(|at| now_ms < at), "nothing at {now_ms}");
                        promised_ms = Some(now_ms + u64::try_from(wait.as_millis()).unwrap());
                    }
                    Ok(mut grant) => {
                        promised_ms = None;
                        while grant.is_open() {
                            grant.bytes -= record_bytes;
                            grant.lines -= 1;
                            used.bytes += record_bytes;
                            used.lines += 1;
                        }
                        buckets.give_back(("p", "n"), &limits, grant);
                    }
                }
                let filled = |rate: u64| (rate * (burst_ms + now_ms) / 1_000) as i64;
                prop_assert!(used.lines <= filled(lines).max(1) + 1, "{} lines", used.lines);
                prop_assert!(used.bytes <= filled(bytes).max(1) + largest, "{} bytes", used.bytes);
            }
        }
    }
}
