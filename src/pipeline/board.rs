//! What a worker shows of itself: one consistent [`View`] at a time, published at most a second behind.
//! The admin server and the demo read it; nothing flows back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::ledger::Accounts;
use super::namespaces::Namespaces;
use crate::catalog::chain::Identity;
use crate::clock::Time;
use crate::record::ChainMeta;
use crate::select::plan::Plan;
pub use crate::sink::gate::Health;

/// Things that are counted beside the ledger, per worker since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes read from files or inflated from them.
    pub read_bytes: u64,
    /// Records encoded.
    pub records: u64,
    /// Of those, lines that were not of the runtime's format.
    pub records_unparsed: u64,
    /// Of those, delivered before their end was seen.
    pub records_partial: u64,
    /// Of those, cut at `record_bytes_max`.
    pub records_cut: u64,
    /// Of those, made of several lines that belong together.
    pub records_multiline: u64,
    /// Of those, cut at a bound: more lines of the same group may follow in the next record.
    pub records_multiline_cut: u64,
    /// Of those, with invalid UTF-8 replaced.
    pub records_replaced: u64,
    /// Of those, with something hidden by `redact` or `redact_patterns`.
    pub records_redacted: u64,
    /// What was hidden, by what found it.
    pub redactions: Vec<(&'static str, u64)>,
    /// Open records flushed because the join pool was full.
    pub join_pool_full: u64,
    /// Payloads finished.
    pub payloads: u64,
    /// Payload bytes accepted by the sink, compressed.
    pub sent_bytes: u64,
    /// The same before compression.
    pub sent_uncompressed_bytes: u64,
    /// Attempts made.
    pub attempts: u64,
    /// What those that have ended took, together.
    pub attempt_time: Duration,
    /// Attempts that did not end in acceptance, by reason code.
    pub failures: Vec<(&'static str, u64)>,
    /// Segments truncated in place.
    pub truncations: u64,
    /// Chains of which at least one whole segment was never seen.
    pub gaps: u64,
    /// Files that could not be opened or read, by error kind.
    pub read_errors: Vec<(&'static str, u64)>,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that could not be written.
    pub checkpoint_failures: u64,
}

impl Counters {
    /// Adds one to a counter that has a label.
    pub fn count(list: &mut Vec<(&'static str, u64)>, label: &'static str) {
        match list.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => list.push((label, 1)),
        }
    }
}

/// One segment of one chain, as one sink stands to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Which, in this process; 0 while only the checkpoint knows it.
    pub serial: u64,
    /// Which, in every run.
    pub identity: Option<Identity>,
    /// Largest length seen.
    pub len_bytes: u64,
    /// Read up to here.
    pub read: u64,
    /// Durable cursors, stdout and stderr.
    pub cursors: [u64; 2],
}

/// One chain, as one sink stands to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainView {
    /// Whose.
    pub meta: Arc<ChainMeta>,
    /// What the sink does with it.
    pub plan: Arc<Plan>,
    /// Its accounts.
    pub accounts: Accounts,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentView>,
    /// The last error on its files, with when it will be tried again.
    pub error: Option<String>,
}

/// All that one worker shows.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Accounts of all chains, forgotten ones included.
    pub totals: Accounts,
    /// What was delivered since the start, by namespace.
    pub namespaces: Namespaces,
    /// Counted beside the accounts.
    pub counters: Counters,
    /// How the sink is doing.
    pub health: Health,
    /// Why, when it is not good; kept after it recovered, with its moment.
    pub last_error: Option<(Time, String)>,
    /// The last verdict's name.
    pub last_verdict: Option<&'static str>,
    /// When the last payload was accepted.
    pub last_accepted: Option<Time>,
    /// Payloads sealed and not finished.
    pub payloads_waiting: usize,
    /// How many requests the sink gets at once, as it answers now.
    pub requests_allowed: usize,
    /// Bytes in open records.
    pub join_bytes: usize,
    /// Live chains.
    pub chains: Vec<ChainView>,
}

/// Where one worker publishes and others look.
#[derive(Debug)]
pub struct Board {
    /// The sink's name.
    pub sink: String,
    /// Which of its workers.
    pub worker: usize,
    view: ArcSwap<View>,
    stepped_ms: AtomicU64,
}

impl Board {
    /// An empty board.
    pub fn new(sink: &str, worker: usize) -> Board {
        Board {
            sink: sink.to_owned(),
            worker,
            view: ArcSwap::default(),
            stepped_ms: AtomicU64::new(0),
        }
    }

    /// Replaces the view.
    pub fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
    }

    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The worker's heartbeat.
    pub fn stepped(&self, now: Time) {
        self.stepped_ms.store(now.as_ms(), Ordering::Relaxed);
    }

    /// When the worker last stepped.
    pub fn stepped_at(&self) -> Time {
        Time::from_ms(self.stepped_ms.load(Ordering::Relaxed))
    }
}
