//! Sinks that come and go while the catalog runs.
//!
//! Invariant: a sink that is replaced keeps its slot, so whatever it has not settled stays held until its successor has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::env::Env;
use super::feed::Feed;
use super::schedule::Task;
use super::{Catalog, Wanted};
use crate::clock::Time;

/// How the sinks that read change, all at once.
#[derive(Default)]
pub struct Change {
    /// Slots whose workers have ended. One that no new feed has is free from now on.
    pub ended: Vec<usize>,
    /// Whom to tell beside those that stay. Their numbers and slots are free, or become so by this change.
    pub feeds: Vec<Arc<Feed>>,
    /// How long the least patient sink gathers lines now.
    pub flush_interval: Duration,
    /// Whether any sink may want a chain now.
    pub wanted: Option<Wanted>,
}

/// The way in for changes, from any thread.
#[derive(Default)]
pub struct Changes {
    waiting: Mutex<Vec<Change>>,
    any: AtomicBool,
}

impl Changes {
    /// Hands in a change; the catalog makes it at its next step.
    pub fn push(&self, change: Change) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(change);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Change> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiting)
    }
}

impl Catalog {
    /// The way in for changes.
    pub fn changes(&self) -> Arc<Changes> {
        Arc::clone(&self.changes)
    }

    /// Makes the changes that wait.
    pub(super) fn make_changes(&mut self) {
        for change in self.changes.take() {
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        let env = &mut self.env;
        let has_ended = |feed: &Arc<Feed>| change.ended.contains(&feed.shard.sink);
        let ended = env.feeds.iter().filter(|feed| has_ended(feed));
        let ended_bits = ended.fold(0, |bits, feed| bits | feed.bit());
        env.feeds.retain(|feed| !has_ended(feed));
        let goes_on = |slot: usize| change.feeds.iter().any(|feed| feed.shard.sink == slot);
        let freed: Vec<usize> = change
            .ended
            .iter()
            .copied()
            .filter(|slot| !goes_on(*slot))
            .collect();
        let taken = change.feeds.iter().map(|feed| feed.shard.sink);
        let taken: Vec<usize> = taken.filter(|slot| !change.ended.contains(slot)).collect();
        set(&mut env.slots, &freed, false);
        set(&mut env.slots, &taken, true);
        env.be_patient_for(change.flush_interval);
        env.wanted = change.wanted;
        for id in self.containers.keys() {
            self.schedule.set(Task::Container(*id), Time::ZERO);
        }
        let containers = self.containers.values_mut();
        for tracked in containers.flat_map(|container| container.tracked()) {
            tracked.forget_judgement();
            for known in &tracked.segments {
                freed
                    .iter()
                    .for_each(|slot| known.segment.pass(*slot, u64::MAX));
                taken.iter().for_each(|slot| known.segment.pass(*slot, 0));
            }
            tracked.chain.forget_feeds(ended_bits);
            if tracked.published {
                Feed::introduce(&change.feeds, &tracked.chain, true);
            }
        }
        env.feeds.extend(change.feeds);
        // The feeds of one sink follow one another.
        env.feeds.sort_by_key(|feed| feed.shard.sink);
    }
}

fn set(slots: &mut [bool], which: &[usize], used: bool) {
    for slot in which {
        if let Some(slot) = slots.get_mut(*slot) {
            *slot = used;
        }
    }
}

impl Env {
    /// The slots of no sink.
    pub fn free_slots(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, used)| !**used).map(|(slot, _)| slot)
    }

    /// A log that grows by little is looked at a little oftener than twice in that time.
    pub fn be_patient_for(&mut self, flush_interval: Duration) {
        let most = Duration::from_millis(self.logs.poll_idle_ms / 2);
        self.patience = most.min(flush_interval / 5 * 2);
    }
}
