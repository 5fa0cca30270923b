//! Verdicts on their way from a transport's own thread to the worker that polls for them.
//!
//! Invariant: every [`Pending`] attempt puts exactly one verdict into its outbox, even when the thread that held it
//! dies, or gives its attempt back unstarted and puts none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Attempt, Reason, Verdict};
use crate::waker::Waker;

/// The verdicts one worker has yet to see. Bounded by what the transport takes at once.
#[derive(Debug)]
pub(super) struct Outbox {
    verdicts: Mutex<VecDeque<(u64, Verdict)>>,
    waker: Waker,
}

impl Outbox {
    /// An empty outbox of the worker that `waker` wakes.
    pub(super) fn new(waker: Waker) -> Arc<Outbox> {
        Arc::new(Outbox {
            verdicts: Mutex::default(),
            waker,
        })
    }

    /// The oldest verdict, if there is one.
    pub(super) fn pop(&self) -> Option<(u64, Verdict)> {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn push(&self, id: u64, verdict: Verdict) {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((id, verdict));
        self.waker.wake();
    }
}

/// An attempt under way, and where its verdict goes.
#[derive(Debug)]
pub(super) struct Pending {
    /// What is to be delivered.
    pub(super) attempt: Attempt,
    outbox: Arc<Outbox>,
    answered: bool,
}

impl Pending {
    /// An attempt that will be answered into `outbox`.
    pub(super) fn new(attempt: Attempt, outbox: Arc<Outbox>) -> Pending {
        Pending {
            attempt,
            outbox,
            answered: false,
        }
    }

    /// Ends the attempt.
    pub(super) fn answer(mut self, verdict: Verdict) {
        self.answered = true;
        self.outbox.push(self.attempt.id, verdict);
    }

    /// Gives the attempt back: it was not started and gets no verdict.
    pub(super) fn give_back(mut self) -> Attempt {
        self.answered = true;
        self.attempt.clone()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            let reason = Reason::new("io", "the sink's thread ended before it wrote the payload");
            let after = None;
            self.outbox
                .push(self.attempt.id, Verdict::Retry { after, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn attempt(id: u64) -> Attempt {
        Attempt {
            id,
            body: Bytes::from_static(b"x"),
            records: 1,
            uncompressed_bytes: 1,
        }
    }

    #[test]
    fn every_attempt_gets_one_verdict() {
        let outbox = Outbox::new(Waker::none());
        Pending::new(attempt(1), Arc::clone(&outbox)).answer(Verdict::Accepted);
        drop(Pending::new(attempt(2), Arc::clone(&outbox)));
        let back = Pending::new(attempt(3), Arc::clone(&outbox)).give_back();
        assert_eq!(back.id, 3);
        assert_eq!(outbox.pop(), Some((1, Verdict::Accepted)));
        assert!(matches!(outbox.pop(), Some((2, Verdict::Retry { .. }))));
        assert_eq!(outbox.pop(), None);
    }
}
