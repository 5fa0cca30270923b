//! What the samples' thread of one sink shows of itself: one consistent [`View`] at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::ledger::Accounts;
use crate::clock::Time;
use crate::sink::gate::Health;

/// All that one thread shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its accounts.
    pub accounts: Accounts,
    /// How the sink is doing.
    pub health: Health,
    /// Why, when it is not good; kept after it recovered, with its moment.
    pub last_error: Option<(Time, String)>,
    /// When a payload was last accepted.
    pub last_accepted: Option<Time>,
    /// Payloads that wait, the one under way included.
    pub payloads_waiting: usize,
    /// Their memory.
    pub ring_bytes: usize,
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that did not end in acceptance, by reason code.
    pub failures: Vec<(&'static str, u64)>,
    /// Payload bytes accepted by the sink, compressed.
    pub sent_bytes: u64,
    /// Snapshots encoded.
    pub snapshots: u64,
}

/// Where one thread publishes and others look.
#[derive(Debug)]
pub struct Board {
    /// The sink's name.
    pub sink: String,
    view: ArcSwap<View>,
    stepped_ms: AtomicU64,
}

impl Board {
    /// An empty board.
    pub fn new(sink: &str) -> Board {
        Board {
            sink: sink.to_owned(),
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

    /// The thread's heartbeat.
    pub fn stepped(&self, now: Time) {
        self.stepped_ms.store(now.as_ms(), Ordering::Relaxed);
    }

    /// When the thread last stepped.
    pub fn stepped_at(&self) -> Time {
        Time::from_ms(self.stepped_ms.load(Ordering::Relaxed))
    }
}
