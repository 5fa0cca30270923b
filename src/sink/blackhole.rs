//! Accepts everything, keeps nothing: for measuring what comes before a sink.
//!
//! Invariant: an accepted attempt is counted, and its verdict is there before `try_submit` returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Attempt, Transport, Verdict};

/// What a [`Blackhole`] has swallowed since it was made.
#[derive(Debug, Default)]
pub struct Swallowed {
    /// Payloads.
    pub payloads: AtomicU64,
    /// Records in them.
    pub records: AtomicU64,
    /// Their bytes as submitted.
    pub bytes: AtomicU64,
    /// Their bytes before compression.
    pub uncompressed_bytes: AtomicU64,
}

/// A transport that is always done at once. It has no thread, so it wakes nobody: poll after submitting.
#[derive(Debug, Default)]
pub struct Blackhole {
    ids: VecDeque<u64>,
    swallowed: Arc<Swallowed>,
}

impl Blackhole {
    /// The most verdicts that wait to be polled.
    pub const UNDER_WAY_MAX: usize = 64;

    /// The counts, for another thread to read.
    pub fn swallowed(&self) -> Arc<Swallowed> {
        Arc::clone(&self.swallowed)
    }
}

impl Transport for Blackhole {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        if self.ids.len() >= Self::UNDER_WAY_MAX {
            return Err(attempt);
        }
        let add = |count: &AtomicU64, n: u64| {
            count.fetch_add(n, Ordering::Relaxed);
        };
        add(&self.swallowed.payloads, 1);
        add(&self.swallowed.records, u64::from(attempt.records));
        add(&self.swallowed.bytes, attempt.body.len() as u64);
        let uncompressed_bytes = attempt.uncompressed_bytes;
        add(&self.swallowed.uncompressed_bytes, uncompressed_bytes);
        self.ids.push_back(attempt.id);
        Ok(())
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.ids.pop_front().map(|id| (id, Verdict::Accepted))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn attempt(id: u64) -> Attempt {
        Attempt {
            id,
            body: Bytes::from_static(b"abc"),
            records: 2,
            uncompressed_bytes: 10,
        }
    }

    #[test]
    fn accepts_in_order_within_its_bound_and_counts() {
        let mut hole = Blackhole::default();
        for id in 0..64 {
            hole.try_submit(attempt(id)).expect("within the bound");
        }
        assert_eq!(
            hole.try_submit(attempt(64)).map_err(|back| back.id),
            Err(64)
        );
        assert_eq!(hole.poll_verdict(), Some((0, Verdict::Accepted)));
        hole.try_submit(attempt(64)).expect("one was polled");
        let rest: Vec<u64> = std::iter::from_fn(|| hole.poll_verdict())
            .map(|(id, _)| id)
            .collect();
        assert_eq!(rest, (1..65).collect::<Vec<u64>>());
        let swallowed = hole.swallowed();
        assert_eq!(swallowed.payloads.load(Ordering::Relaxed), 65);
        assert_eq!(swallowed.records.load(Ordering::Relaxed), 130);
        assert_eq!(swallowed.bytes.load(Ordering::Relaxed), 195);
        assert_eq!(swallowed.uncompressed_bytes.load(Ordering::Relaxed), 650);
    }
}
