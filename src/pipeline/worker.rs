//! The loop of one pipeline worker: what it hears, what it reads, what it sends, what it makes durable.
//!
//! A synchronous state machine: [`Worker::step`] does what is due at the moment it is given and says when it wants
//! to be called again. It never sleeps, and reaches files, time and network only through its seams.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Counters};
use super::chains::ChainState;
use super::delivery::Delivery;
use super::judge::Judge;
use super::ledger::Accounts;
use super::namespaces::Namespaces;
use super::payload::{Builder, Frontier, Payload};
use super::schedule::Schedule;
use crate::catalog::feed::{Event, Feed};
use crate::checkpoint::{Checkpoint, Store};
use crate::clock::{Clock, Time};
use crate::config::{Limits, ReadFrom, Sink};
use crate::encode::Encode;
use crate::files::Files;
use crate::record::ChainKey;
use crate::select::plan::Planner;
use crate::sink::Transport;
use crate::sink::dead_letter::DeadLetters;
use crate::tail::join::JoinPool;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again at once.
    Worked,
    /// Nothing to do before this moment, unless something wakes the worker.
    Idle {
        /// The moment.
        until: Time,
    },
}

/// What a worker is made of.
pub struct Parts {
    /// The sink's configuration.
    pub sink: Sink,
    /// Where the catalog speaks to it.
    pub feed: Arc<Feed>,
    /// The node's files.
    pub files: Arc<dyn Files>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Two encoders of the sink's format: one fills payloads, one cuts them.
    pub encoders: [Box<dyn Encode>; 2],
    /// The way to the sink.
    pub transport: Box<dyn Transport>,
    /// Where rejected records go.
    pub dead_letters: Box<dyn DeadLetters>,
    /// Where checkpoints go.
    pub store: Box<dyn Store>,
    /// Where it shows itself.
    pub board: Arc<Board>,
    /// How long a chain must be absent before its cursors are forgotten.
    pub forget_after: Duration,
    /// Decides what becomes of a chain's records.
    pub planner: Planner,
    /// Decides the jitter.
    pub seed: u64,
}

/// How often a view is published and expired open records are looked for.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// One worker.
pub struct Worker {
    pub(super) limits: Limits,
    pub(super) read_from: ReadFrom,
    pub(super) feed: Arc<Feed>,
    pub(super) files: Arc<dyn Files>,
    pub(super) clock: Arc<dyn Clock>,
    /// By slot; most are quiet, and the list may grow.
    pub(super) chains: Vec<Option<Box<ChainState>>>,
    pub(super) slots: HashMap<ChainKey, u32>,
    pub(super) planner: Planner,
    pub(super) schedule: Schedule,
    pub(super) builder: Builder,
    pub(super) join: JoinPool,
    pub(super) judge: Judge,
    pub(super) delivery: Delivery,
    pub(super) counters: Counters,
    pub(super) block: Vec<u8>,
    /// A longer line is cut.
    pub(super) line_bytes_max: usize,
    pub(super) scratch: Vec<u8>,
    /// Chains with an open inflater.
    pub(super) inflating: usize,
    /// Chains put off after an error, or for want of an inflater.
    pub(super) put_off: Vec<u32>,
    /// Chains to be forgotten, of which something is still under way.
    pub(super) leaving: Vec<u32>,
    pub(super) store: Box<dyn Store>,
    pub(super) board: Arc<Board>,
    pub(super) forget_after: Duration,
    /// Accounts of forgotten chains.
    pub(super) folded: Accounts,
    pub(super) namespaces: Namespaces,
    /// No checkpoint of this sink existed.
    pub(super) first_start: bool,
    /// When the first complete scan was heard of.
    pub(super) scanned_at: Option<Time>,
    pub(super) dirty: bool,
    pub(super) saved_at: Time,
    pub(super) kept_at: Time,
    /// Bytes lately read between two reports, and where the counter stood at the last one.
    pub(super) load_bytes: u64,
    pub(super) load_at_bytes: u64,
    /// Something has happened that the last view does not show.
    pub(super) unshown: bool,
    pub(super) draining: bool,
    /// While draining: segments that exist only behind our descriptors, as slot and serial.
    pub(super) last_chances: Vec<(u32, u64)>,
    pub(super) events: Vec<Event>,
}

impl Worker {
    /// A worker that goes on where `checkpoint` stands.
    pub fn new(parts: Parts, checkpoint: Option<Checkpoint>) -> Worker {
        let limits = parts.sink.limits.clone();
        let [encoder, cutter] = parts.encoders;
        let compression = parts.sink.compression;
        // A whole line up to the limit, its header and the frontier must fit.
        let block_bytes = limits.block_bytes.max(limits.record_bytes_max + 8 * 1024);
        let mut worker = Worker {
            builder: Builder::new(encoder, compression, &limits),
            join: JoinPool::new(limits.join_bytes_max, limits.record_bytes_max),
            delivery: Delivery::new(
                parts.transport,
                parts.dead_letters,
                cutter,
                compression,
                &limits,
                parts.seed,
            ),
            judge: Judge::default(),
            planner: parts.planner,
            schedule: Schedule::new(block_bytes),
            block: vec![0; block_bytes],
            line_bytes_max: block_bytes - Frontier::BYTES_MAX,
            limits,
            read_from: parts.sink.read_from,
            feed: parts.feed,
            files: parts.files,
            clock: parts.clock,
            chains: Vec::new(),
            slots: HashMap::new(),
            counters: Counters::default(),
            scratch: Vec::new(),
            inflating: 0,
            put_off: Vec::new(),
            leaving: Vec::new(),
            store: parts.store,
            board: parts.board,
            forget_after: parts.forget_after,
            folded: Accounts::default(),
            namespaces: Namespaces::default(),
            first_start: checkpoint.is_none(),
            scanned_at: None,
            // Also when nothing happens, so that files of another number of workers go.
            dirty: true,
            saved_at: Time::ZERO,
            kept_at: Time::ZERO,
            load_bytes: 0,
            load_at_bytes: 0,
            unshown: true,
            draining: false,
            last_chances: Vec::new(),
            events: Vec::new(),
        };
        if let Some(checkpoint) = checkpoint {
            worker.folded = checkpoint.folded;
            for chain in checkpoint.chains {
                worker.insert(chain.into_state());
            }
        }
        worker
    }

    /// Does what is due.
    pub fn step(&mut self, now: Time) -> Step {
        self.board.stepped(now);
        let mut worked = self.listen(now);
        worked |= self.delivery.pump(now);
        worked |= self.commit();
        worked |= if self.draining {
            self.read_last_chances(now)
        } else {
            self.read(now)
        };
        worked |= !self.draining && self.flush_groups(now);
        worked |= self.seal_due(now);
        // What is under way has counters of its own.
        self.unshown |= worked || !self.delivery.is_empty();
        if now.since(self.kept_at) >= HOUSEKEEPING {
            self.kept_at = now;
            worked |= self.keep_house(now);
        }
        let failures = self.counters.checkpoint_failures;
        worked |= self.store.poll(&mut self.counters);
        // What could not be written is tried again, also when nothing else happens.
        self.dirty |= self.counters.checkpoint_failures > failures;
        if self.dirty && now >= self.saved_at + self.checkpoint_interval() {
            self.save(now);
        }
        self.unshown |= worked;
        if worked {
            Step::Worked
        } else {
            Step::Idle {
                until: self.idle_until(now),
            }
        }
    }

    /// Writes the last checkpoint and waits for it; publishes the last view.
    pub fn finish(mut self, now: Time) {
        self.save(now);
        self.store.finish(&mut self.counters);
        self.publish();
    }

    fn checkpoint_interval(&self) -> Duration {
        Duration::from_millis(self.limits.checkpoint_interval_ms)
    }

    fn idle_until(&self, now: Time) -> Time {
        let flush = Duration::from_millis(self.limits.flush_interval_ms);
        let seal = match self.builder.opened_at() {
            Some(opened_at) if self.delivery.has_slot() => opened_at + flush,
            _ => Time::NEVER,
        };
        let save = if self.dirty {
            self.saved_at + self.checkpoint_interval()
        } else {
            Time::NEVER
        };
        // One that is due waits for something else.
        let group = match self.join.groups_due() {
            due if due > now && !self.draining => due,
            _ => Time::NEVER,
        };
        (self.kept_at + HOUSEKEEPING)
            .min(seal)
            .min(save)
            .min(self.delivery.due())
            .min(group)
            .max(now)
    }

    /// Reads while there is something to read and room for it, for at most a few turns, so that verdicts and events
    /// are not kept waiting.
    ///
    /// A payload's age counts from when its lines may have been written, not from when they were found. But it is
    /// filled for a quarter of the flush interval at least: where many wait for a sink, each payload would hold but a
    /// few of them.
    fn read(&mut self, now: Time) -> bool {
        const TURNS: usize = 4;
        let mut worked = false;
        let oldest = now - Duration::from_millis(self.limits.flush_interval_ms) * 3 / 4;
        for _ in 0..TURNS {
            if !self.delivery.has_slot() {
                break;
            }
            let Some(slot) = self.schedule.turn() else {
                break;
            };
            let bytes = self.turn(slot, now);
            let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
                self.schedule.done(bytes, false);
                continue;
            };
            let more = state.next_segment().is_some() && state.retry_at <= now;
            state.scheduled = more;
            if let Some(unseen_since) = state.unseen_since.take() {
                self.builder.backdate(unseen_since.max(oldest));
            }
            self.schedule.done(bytes, more);
            if state.retry_at > now && !self.put_off.contains(&slot) {
                self.put_off.push(slot);
            }
            worked = true;
        }
        worked
    }

    /// Seals the payload if it is full or old, or if nothing more will come.
    fn seal_due(&mut self, now: Time) -> bool {
        let Some(opened_at) = self.builder.opened_at() else {
            return false;
        };
        let flush = Duration::from_millis(self.limits.flush_interval_ms);
        let due = self.draining || self.builder.is_full() || now.since(opened_at) >= flush;
        if due && self.delivery.has_slot() {
            self.seal();
            self.delivery.pump(now);
        }
        due && self.delivery.has_slot()
    }

    /// Seals the payload with the cursors as they stand: nothing read so far is missing from it or from an older one.
    pub(super) fn seal(&mut self) {
        for commit in self.builder.commits_mut() {
            let chain = self
                .chains
                .get(commit.slot as usize)
                .and_then(Option::as_ref);
            let segment = chain.and_then(|chain| {
                chain
                    .segments
                    .iter()
                    .find(|state| state.serial == commit.segment)
            });
            if let Some(segment) = segment {
                commit.cursors = super::turn::cursors_of(commit.slot, segment, &self.join);
            }
        }
        let spare = self.delivery.spare();
        let payload = self.builder.seal(spare);
        self.counters.payloads += 1;
        self.delivery.push(payload);
    }

    /// Accounts finished payloads, oldest first.
    fn commit(&mut self) -> bool {
        let mut any = false;
        while let Some(payload) = self.delivery.pop_finished() {
            self.account(&payload);
            self.delivery.recycle(payload);
            self.dirty = true;
            any = true;
        }
        any
    }

    fn account(&mut self, payload: &Payload) {
        for commit in &payload.commits {
            let Some(chain) = self
                .chains
                .get_mut(commit.slot as usize)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            let Some(state) = chain.segment_mut(commit.segment) else {
                continue;
            };
            state.settled += commit.settled_bytes;
            state.cursors = commit.cursors;
            state.publish(self.feed.shard.sink);
            chain
                .accounts
                .apply(commit.delivered, &commit.dropped, &commit.excluded);
            self.namespaces
                .deliver(&chain.meta.namespace, commit.delivered);
        }
    }

    fn keep_house(&mut self, now: Time) -> bool {
        self.unshown |= !self.put_off.is_empty() || !self.leaving.is_empty();
        for slot in std::mem::take(&mut self.put_off) {
            self.wake(slot, now);
        }
        for slot in std::mem::take(&mut self.leaving) {
            let state = self.chains.get(slot as usize).and_then(Option::as_ref);
            let chain = state.map(|state| state.chain.as_ref());
            // It may have come back meanwhile.
            if chain.is_some_and(|chain| chain.is_none_or(|chain| chain.forgotten())) {
                self.forget(slot);
            }
        }
        let expired = if self.draining {
            false
        } else {
            self.flush_open_records(now)
        };
        let expired = self.sum_up(now) || expired;
        self.report_load();
        // To copy a thousand chains twice a second is most of what an idle worker would do.
        if expired || std::mem::take(&mut self.unshown) {
            self.publish();
        }
        expired
    }

    fn save(&mut self, now: Time) {
        self.saved_at = now;
        self.dirty = false;
        let live = self.chains.iter().flatten().map(Box::as_ref);
        self.store.save(Checkpoint::of(self.folded, live));
    }
}

/// The label value of an I/O error.
pub(super) fn error_label(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "not_found",
        std::io::ErrorKind::PermissionDenied => "permission_denied",
        std::io::ErrorKind::StaleNetworkFileHandle => "stale_handle",
        std::io::ErrorKind::InvalidInput => "not_a_regular_file",
        _ => match error.raw_os_error() {
            Some(5) => "io",
            Some(23 | 24) => "too_many_files",
            _ => "other",
        },
    }
}
