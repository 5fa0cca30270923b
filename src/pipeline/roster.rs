//! Which chains a worker has: it hears of them, puts them into the schedule, and forgets them.

use std::sync::Arc;

use super::chains::ChainState;
use super::exclude::reason_of;
use super::worker::Worker;
use crate::catalog::chain::Chain;
use crate::catalog::feed::{Event, Feed};
use crate::clock::Time;
use crate::config::ReadFrom;
use crate::select::plan::{Decision, Plan};

impl Worker {
    /// Hears what the catalog says.
    pub(super) fn listen(&mut self, now: Time) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.feed.drain(&mut events);
        let any = !events.is_empty();
        for event in events.drain(..) {
            match event {
                Event::Added { chain, existed } => self.meet(&chain, existed, now),
                Event::Changed(chain) => {
                    if let Some(slot) = self.slots.get(&chain.meta().key).copied() {
                        self.look_at(slot, now);
                    }
                }
                Event::Scanned => {
                    self.scanned_at.get_or_insert(now);
                    self.forget_orphans(now);
                }
            }
        }
        self.events = events;
        any
    }

    pub(super) fn insert(&mut self, state: ChainState) -> u32 {
        let key = state.key().clone();
        self.feed.remember(&key);
        let slot = match self.chains.iter().position(Option::is_none) {
            Some(free) if self.chains.len() >= 64 => free,
            _ => {
                self.chains.push(None);
                self.chains.len() - 1
            }
        };
        if let Some(place) = self.chains.get_mut(slot) {
            *place = Some(Box::new(state));
        }
        self.slots.insert(key, slot as u32);
        slot as u32
    }

    /// A chain is heard of for the first time in this run.
    fn meet(&mut self, chain: &Arc<Chain>, existed: bool, now: Time) {
        let meta = chain.meta();
        let slot = match self.slots.get(&meta.key).copied() {
            Some(slot) => slot,
            None => self.insert(ChainState::new(Arc::clone(&meta))),
        };
        let skip = self.first_start && existed;
        if let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) {
            state.chain = Some(Arc::clone(chain));
        }
        self.look_at(slot, now);
        if skip {
            self.skip_backlog(slot);
        }
        if let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) {
            state.fresh = false;
        }
        self.wake(slot, now);
    }

    /// Something about a chain changed.
    pub(super) fn look_at(&mut self, slot: u32, now: Time) {
        let sink = self.feed.shard.sink;
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let Some(chain) = state.chain.clone() else {
            return;
        };
        let meta = chain.meta();
        if state.described.is_empty() || !Arc::ptr_eq(&meta, &state.meta) {
            self.builder.leave();
            state.described = self.builder.encoder().describe(&meta);
            state.plan = Arc::new(match chain.excluded {
                Some(why) => Plan::excluded(why),
                None => self.planner.plan(&meta),
            });
            state.meta = meta;
        }
        let was_shut = state.shut;
        state.shut = chain.is_unopened() || state.plan.decision == Decision::Exclude;
        if chain.is_unopened() {
            state.exclude_missing(reason_of(state));
        }
        let observed = state.observe(sink);
        self.counters.truncations += observed.truncations;
        self.counters.gaps += u64::from(observed.gap);
        self.dirty = true;
        let fresh_chain = state.fresh;
        self.obey_plan(slot, was_shut, now);
        if chain.forgotten() {
            self.forget(slot);
        } else if !fresh_chain {
            self.wake(slot, now);
        }
    }

    /// Puts a chain into the schedule if it has something to read.
    pub(super) fn wake(&mut self, slot: u32, now: Time) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if state.scheduled || state.next_segment().is_none() {
            return;
        }
        if now < state.retry_at {
            if !self.put_off.contains(&slot) {
                self.put_off.push(slot);
            }
            return;
        }
        state.scheduled = true;
        state.unseen_since = state.chain.as_ref().map(|chain| chain.unseen_since());
        self.schedule.add(&state.meta.key.pod_uid, slot);
    }

    /// `read_from`: what exists before the sink's first start is skipped, all or some of it.
    fn skip_backlog(&mut self, slot: u32) {
        let wall_ns = self
            .clock
            .wall()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            });
        let read_from = self.read_from;
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let (age_max_ms, mut budget) = match read_from {
            ReadFrom::Beginning => return,
            ReadFrom::End => (None, 0),
            ReadFrom::Backlog {
                age_max_ms,
                bytes_max,
            } => (age_max_ms, bytes_max.unwrap_or(u64::MAX)),
        };
        for at in (0..state.segments.len()).rev() {
            let Some(segment) = state.segments.get(at) else {
                continue;
            };
            let age_ns = segment.segment.as_ref().and_then(|segment| {
                let meta = self.files.stat(&segment.source().path).ok()?;
                Some(wall_ns.saturating_sub(meta.modified_ns))
            });
            let limit_ns = age_max_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX) * 1_000_000);
            if limit_ns.is_some_and(|limit| age_ns.is_none_or(|age| age > limit)) {
                budget = 0;
            }
            let wanted = segment.seen.min(budget);
            budget -= wanted;
            let skipped = segment.seen - wanted;
            state.exclude_backlog(at, skipped);
        }
        let sink = self.feed.shard.sink;
        state
            .segments
            .iter()
            .for_each(|segment| segment.publish(sink));
    }

    /// Says how much there is to do, where there are others who could do it: new chains go to the least busy.
    pub(super) fn report_load(&mut self) {
        if self.feed.shard.workers < 2 {
            return;
        }
        let read_bytes = self.counters.read_bytes - self.load_at_bytes;
        self.load_at_bytes = self.counters.read_bytes;
        self.load_bytes = (self.load_bytes + read_bytes) / 2;
        let chains = self.chains.iter().flatten();
        let live = chains.filter(|state| state.chain.as_ref().is_some_and(|chain| !chain.ended()));
        let waiting = live.map(|state| state.unread().saturating_add(Feed::CHAIN_LOAD_BYTES));
        let load = waiting.fold(self.load_bytes, u64::saturating_add);
        self.feed.set_load(load);
    }

    /// Chains that only the checkpoint knows, after the catalog has looked for long enough.
    pub(super) fn forget_orphans(&mut self, now: Time) {
        let Some(first) = self.scanned_at else { return };
        if now.since(first) < self.forget_after {
            return;
        }
        for slot in 0..self.chains.len() {
            let orphan = self.chains.get(slot).and_then(Option::as_ref);
            if orphan.is_some_and(|state| state.chain.is_none()) {
                self.forget(slot as u32);
            }
        }
    }

    /// Folds a chain that is gone into the totals, unless something of it is still under way.
    pub(super) fn forget(&mut self, slot: u32) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        state.abandon();
        if state.accounts.pending > 0 || state.scheduled || self.builder.holds(slot) {
            if !self.leaving.contains(&slot) {
                self.leaving.push(slot);
            }
            return;
        }
        if state.inflating.is_some() {
            self.inflating = self.inflating.saturating_sub(1);
        }
        self.folded += &state.accounts;
        self.slots.remove(state.key());
        self.feed.forget(state.key());
        if let Some(place) = self.chains.get_mut(slot as usize) {
            *place = None;
        }
        self.dirty = true;
    }
}
