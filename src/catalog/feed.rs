//! How a pipeline worker hears from the catalog: a coalescing queue, drained once per step; and which worker of a sink
//! hears of a chain.
//!
//! Invariant: of the workers of one sink one owns a chain, and the same one for as long as it remembers the chain, over
//! restarts of the agent too. A chain that none remembers goes to the one with the least to do.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chain::Chain;
use crate::record::ChainKey;
use crate::waker::Waker;

/// One thing a worker should look at.
#[derive(Clone, Debug)]
pub enum Event {
    /// A chain the worker has not heard of. Sent once per chain, before any [`Event::Changed`] of it.
    Added {
        /// The chain.
        chain: Arc<Chain>,
        /// Whether it was there before the sink was: `read_from` applies to it in a sink that never ran.
        existed: bool,
    },
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
    /// Which worker of which sink listens: chains of others are not sent.
    pub shard: Shard,
    bit: u64,
    /// What the worker remembers; empty where it is the sink's only one.
    remembered: Mutex<HashSet<ChainKey>>,
    load_bytes: AtomicU64,
    queue: Mutex<Vec<Event>>,
    waker: Waker,
    pushed: AtomicU64,
    /// Something was pushed since the worker was last woken.
    rings: AtomicBool,
}

/// One worker's share of a sink's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The sink's slot, an index into [`super::chain::Segment::passed`].
    pub sink: usize,
    /// Which worker of that sink, from 0.
    pub worker: usize,
    /// How many workers that sink has.
    pub workers: usize,
}

impl Feed {
    /// The most feeds one catalog can serve: one bit each in [`Chain`]'s queued mask.
    pub const COUNT_MAX: usize = 64;

    /// What one more chain counts for when the load of workers is compared: most chains are quiet, and what a new one
    /// will write cannot be known.
    pub const CHAIN_LOAD_BYTES: u64 = 64 * 1024;

    /// A feed for one worker; `number` is unique among the catalog's feeds and below [`Feed::COUNT_MAX`].
    pub fn new(shard: Shard, number: usize, waker: Waker) -> Feed {
        Feed {
            shard,
            bit: 1 << (number % Feed::COUNT_MAX),
            remembered: Mutex::default(),
            load_bytes: AtomicU64::new(0),
            queue: Mutex::default(),
            waker,
            pushed: AtomicU64::new(0),
            rings: AtomicBool::new(false),
        }
    }

    /// The bit that is its own among the catalog's feeds: of its number.
    pub fn bit(&self) -> u64 {
        self.bit
    }

    /// Tells the worker, if the chain is its own and it has not been told since it last looked.
    pub fn changed(&self, chain: &Arc<Chain>) {
        if chain.owners.load(Ordering::Acquire) & self.bit != 0
            && chain.queued.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0
        {
            self.push(Event::Changed(Arc::clone(chain)));
        }
    }

    /// Introduces a chain to one worker of each sink: to the one that remembers it, else to the one that has the least
    /// to do. The feeds of one sink follow one another (catalog only).
    pub fn introduce(feeds: &[Arc<Feed>], chain: &Arc<Chain>, existed: bool) {
        let meta = chain.meta();
        for sink in feeds.chunk_by(|one, other| one.shard.sink == other.shard.sink) {
            let owner = sink.iter().find(|feed| feed.remembers(&meta.key));
            let idlest = || {
                sink.iter()
                    .min_by_key(|feed| feed.load_bytes.load(Ordering::Relaxed))
            };
            if let Some(owner) = owner.or_else(idlest) {
                owner.remember(&meta.key);
                owner.add_load(chain);
                owner.added(chain, existed);
            }
        }
    }

    fn added(&self, chain: &Arc<Chain>, existed: bool) {
        chain.owners.fetch_or(self.bit, Ordering::AcqRel);
        let chain = Arc::clone(chain);
        self.push(Event::Added { chain, existed });
    }

    fn add_load(&self, chain: &Chain) {
        let segments = chain.segments();
        let bytes: u64 = segments.iter().map(|segment| segment.len_bytes()).sum();
        let load = Feed::CHAIN_LOAD_BYTES.saturating_add(bytes);
        self.load_bytes.fetch_add(load, Ordering::Relaxed);
    }

    /// Says how much the worker has to do: bytes that it has not read, what it reads anyway, and
    /// [`Feed::CHAIN_LOAD_BYTES`] for each chain.
    pub fn set_load(&self, bytes: u64) {
        self.load_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The worker has a state of this chain: it is to hear of it whenever it turns up.
    pub fn remember(&self, key: &ChainKey) {
        if self.shard.workers > 1 {
            self.lock_remembered().insert(key.clone());
        }
    }

    /// The worker has no state of this chain any more.
    pub fn forget(&self, key: &ChainKey) {
        self.lock_remembered().remove(key);
    }

    fn remembers(&self, key: &ChainKey) -> bool {
        self.lock_remembered().contains(key)
    }

    fn lock_remembered(&self) -> MutexGuard<'_, HashSet<ChainKey>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        self.rings.store(true, Ordering::Release);
    }

    /// Wakes the worker, if something was pushed since this was last called. The catalog calls it once at the end of a
    /// step: a hundred logs that grew cost one wake-up.
    pub fn ring(&self) {
        if self.rings.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::chain::{Segment, Source};
    use crate::pods::PodState;
    use crate::record::ChainMeta;

    fn feeds(workers: &[usize]) -> Vec<Arc<Feed>> {
        let shards = workers.iter().enumerate().flat_map(|(sink, workers)| {
            (0..*workers).map(move |worker| Shard {
                sink,
                worker,
                workers: *workers,
            })
        });
        let feed = |(number, shard)| Arc::new(Feed::new(shard, number, Waker::none()));
        shards.enumerate().map(feed).collect()
    }

    fn chain(name: usize, bytes: u64) -> Arc<Chain> {
        let meta = ChainMeta {
            key: ChainKey {
                pod_uid: format!("uid-{name}"),
                container: "c".to_owned(),
                restart: 0,
            },
            namespace: "ns".to_owned(),
            pod: "p".to_owned(),
            container_id: String::new(),
            pod_state: PodState::Unasked,
        };
        let chain = Chain::new(meta, false, false, None);
        let source = Source {
            path: "/x".into(),
            gzip: false,
            handle: None,
        };
        let segment = Segment::new(1, 1, source);
        segment.observe_len(bytes);
        chain.set_segments(vec![Arc::new(segment)]);
        Arc::new(chain)
    }

    fn heard(feed: &Feed) -> Vec<String> {
        let mut events = Vec::new();
        feed.drain(&mut events);
        let name = |event: &Event| match event {
            Event::Added { chain, .. } => format!("+{}", chain.meta().key.pod_uid),
            Event::Changed(chain) => format!("~{}", chain.meta().key.pod_uid),
            Event::Scanned => "scanned".to_owned(),
        };
        events.iter().map(name).collect()
    }

    #[test]
    fn one_worker_of_each_sink_hears_of_a_chain_and_of_its_changes() {
        let feeds = feeds(&[1, 3]);
        let one = chain(1, 10);
        Feed::introduce(&feeds, &one, false);
        for feed in &feeds {
            feed.changed(&one);
            feed.changed(&one);
        }
        let all: Vec<_> = feeds.iter().map(|feed| heard(feed)).collect();
        let told = vec!["+uid-1".to_owned(), "~uid-1".to_owned()];
        assert_eq!(all, [told.clone(), told, Vec::new(), Vec::new()]);
    }

    #[test]
    fn a_new_chain_goes_to_the_worker_with_the_least_to_do() {
        let feeds = feeds(&[2]);
        // One of a megabyte weighs as much as some small ones.
        Feed::introduce(&feeds, &chain(0, 1 << 20), false);
        (1..=16).for_each(|name| Feed::introduce(&feeds, &chain(name, 0), false));
        assert_eq!(heard(&feeds[0]).len(), 1);
        assert_eq!(heard(&feeds[1]).len(), 16);
        feeds[0].set_load(0);
        Feed::introduce(&feeds, &chain(17, 0), false);
        assert_eq!(heard(&feeds[0]), ["+uid-17"]);
    }

    #[test]
    fn a_remembered_chain_goes_to_the_worker_that_remembers_it_until_it_forgets() {
        let feeds = feeds(&[2]);
        let one = chain(1, 0);
        feeds[1].remember(&one.meta().key);
        Feed::introduce(&feeds, &one, false);
        assert_eq!(heard(&feeds[1]), ["+uid-1"]);
        Feed::introduce(&feeds, &chain(1, 0), false);
        assert_eq!(heard(&feeds[1]), ["+uid-1"]);
        feeds[1].forget(&one.meta().key);
        Feed::introduce(&feeds, &chain(1, 0), false);
        assert_eq!(heard(&feeds[0]), ["+uid-1"]);
    }
}
