//! Snapshots on their way from the sampler to the thread of one sink.
//!
//! Invariant: at most [`WAITING_MAX`] snapshots wait, whatever the sink's thread does; the sampler never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::node::snapshot::Snapshot;
use crate::waker::Waker;

/// A thread that is further behind than this misses snapshots.
pub const WAITING_MAX: usize = 4;

#[derive(Default)]
struct Waiting {
    snapshots: VecDeque<Arc<Snapshot>>,
    overrun: u64,
}

/// The inbox.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    waker: Waker,
}

impl Inbox {
    /// An empty inbox of the thread that `waker` wakes.
    pub fn new(waker: Waker) -> Inbox {
        Inbox {
            waiting: Mutex::default(),
            waker,
        }
    }

    /// Puts in a snapshot; the oldest has to go when there are too many.
    pub fn offer(&self, snapshot: Arc<Snapshot>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.snapshots.len() >= WAITING_MAX
            && let Some(oldest) = waiting.snapshots.pop_front()
        {
            waiting.overrun += oldest.series() as u64;
        }
        waiting.snapshots.push_back(snapshot);
        drop(waiting);
        self.waker.wake();
    }

    /// The oldest snapshot, if there is one, and how many samples went with snapshots that had to go since the last
    /// call.
    pub fn pop(&self) -> (Option<Arc<Snapshot>>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let overrun = std::mem::take(&mut waiting.overrun);
        (waiting.snapshots.pop_front(), overrun)
    }

    /// Whether no snapshot waits.
    pub fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.snapshots.is_empty()
    }
}
