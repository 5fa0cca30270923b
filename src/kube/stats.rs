//! What is counted of asking the cluster.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Time;

/// Why a request or a watch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke.
    Connection,
    /// Nothing was heard in time.
    Silence,
    /// The credentials were not taken (401).
    Unauthorized,
    /// The service account may not (403).
    Forbidden,
    /// Asked too often (429).
    Throttled,
    /// The version to go on from is too old (410).
    Gone,
    /// Another status of HTTP, or an error among the events.
    Server,
    /// Not what an API server says, or too much of it.
    Malformed,
}

impl Fault {
    /// All, in index order.
    pub const ALL: [Fault; 8] = [
        Fault::Connection,
        Fault::Silence,
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::Throttled,
        Fault::Gone,
        Fault::Server,
        Fault::Malformed,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Connection => "connection",
            Fault::Silence => "silence",
            Fault::Unauthorized => "unauthorized",
            Fault::Forbidden => "forbidden",
            Fault::Throttled => "throttled",
            Fault::Gone => "gone",
            Fault::Server => "server",
            Fault::Malformed => "malformed",
        }
    }
}

/// The counts of one kind of object. Shared with the admin pages.
#[derive(Debug)]
pub struct Counted {
    /// `pods`, `nodes` or `namespaces`.
    pub resource: &'static str,
    in_sync: AtomicBool,
    /// Lists that were asked for, pages counted one by one.
    pub lists: AtomicU64,
    /// Watches that were opened.
    pub watches: AtomicU64,
    /// Events of watches, or objects of the kubelet.
    pub events: AtomicU64,
    /// Objects that could not be read.
    pub malformed: AtomicU64,
    heard_ms: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
    complained: AtomicBool,
    last: Mutex<Option<String>>,
}

impl Counted {
    /// Nothing counted yet.
    pub fn new(resource: &'static str) -> Arc<Counted> {
        Arc::new(Counted {
            resource,
            in_sync: AtomicBool::new(false),
            lists: AtomicU64::new(0),
            watches: AtomicU64::new(0),
            events: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
            faults: Default::default(),
            complained: AtomicBool::new(false),
            last: Mutex::new(None),
        })
    }

    /// Counts one.
    pub fn add(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was heard.
    pub fn hear(&self, now: Time) {
        self.heard_ms.store(now.as_ms().max(1), Ordering::Relaxed);
    }

    /// When something was heard last.
    pub fn heard(&self) -> Option<Time> {
        let ms = self.heard_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Time::from_ms(ms))
    }

    /// Whether what is known is kept up to date.
    pub fn in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// It is.
    pub fn set_in_sync(&self) {
        self.in_sync.store(true, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It is not, for this reason. Says whether it was.
    pub fn fail(&self, fault: Fault, text: &str) -> bool {
        if let Some(count) = self.faults.get(fault as usize) {
            self.add(count);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        self.in_sync.swap(false, Ordering::Relaxed)
    }

    /// Whether this was asked before: the first failure is told, whatever was before.
    pub fn was_complained(&self) -> bool {
        self.complained.swap(true, Ordering::Relaxed)
    }

    /// How often it failed for that reason.
    pub fn faults(&self, fault: Fault) -> u64 {
        let count = self.faults.get(fault as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Why it is not in sync, in words.
    pub fn problem(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
