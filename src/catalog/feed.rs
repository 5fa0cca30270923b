//! How a pipeline worker hears from the catalog: a coalescing queue, drained once per step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::chain::Chain;
pub use crate::waker::Waker;

/// One thing a worker should look at.
#[derive(Clone, Debug)]
pub enum Event {
    /// A chain the worker has not heard of. Sent once per chain, before any [`Event::Changed`] of it.
    Added(Arc<Chain>),
    /// Something about the chain changed: length, segments, ended, metadata, forgotten. Coalesced: at most one is
    /// queued per chain.
    Changed(Arc<Chain>),
    /// A complete scan of the log root succeeded. A worker measures the absence of chains that only its checkpoint
    /// knows by these.
    Scanned,
}

/// The queue from the catalog to one worker. Bounded by the number of chains, because events coalesce.
#[derive(Debug)]
pub struct Feed {
    /// Which shard of which sink listens: chains of other shards are not sent.
    pub shard: Shard,
    bit: u64,
    queue: Mutex<Vec<Event>>,
    waker: Waker,
    pushed: AtomicU64,
}

/// One worker's share of a sink's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which sink, as an index into [`super::chain::Segment::passed`].
    pub sink: usize,
    /// Which worker of that sink, from 0.
    pub worker: usize,
    /// How many workers that sink has.
    pub workers: usize,
}

impl Shard {
    /// Whether this worker owns the chain.
    pub fn owns(self, chain: &Chain) -> bool {
        chain.hash % (self.workers.max(1) as u64) == self.worker as u64
    }
}

impl Feed {
    /// The most feeds one catalog can serve: one bit each in [`Chain`]'s queued mask.
    pub const COUNT_MAX: usize = 64;

    /// A feed for one worker; `number` is unique among the catalog's feeds and below [`Feed::COUNT_MAX`].
    pub fn new(shard: Shard, number: usize, waker: Waker) -> Feed {
        Feed {
            shard,
            bit: 1 << (number % Feed::COUNT_MAX),
            queue: Mutex::default(),
            waker,
            pushed: AtomicU64::new(0),
        }
    }

    /// Tells the worker, if the chain is its own and it has not been told since it last looked.
    pub fn changed(&self, chain: &Arc<Chain>) {
        if self.shard.owns(chain)
            && chain.queued.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0
        {
            self.push(Event::Changed(Arc::clone(chain)));
        }
    }

    /// Introduces a chain, if it is the worker's own.
    pub fn added(&self, chain: &Arc<Chain>) {
        if self.shard.owns(chain) {
            self.push(Event::Added(Arc::clone(chain)));
        }
    }

    /// Says that a complete scan succeeded.
    pub fn scanned(&self) {
        self.push(Event::Scanned);
    }

    fn push(&self, event: Event) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        self.pushed.fetch_add(1, Ordering::Release);
        self.waker.wake();
    }

    /// Moves all waiting events into `events`, oldest first.
    pub fn drain(&self, events: &mut Vec<Event>) {
        if self.pushed.swap(0, Ordering::Acquire) == 0 {
            return;
        }
        events.append(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        for event in events.iter() {
            if let Event::Changed(chain) = event {
                chain.queued.fetch_and(!self.bit, Ordering::AcqRel);
            }
        }
    }
}
