//! How often one message may be written: the first few of each callsite per window, the rest counted.
//!
//! Invariant: every event is either admitted or is in exactly one summary's count (or will be).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing::callsite::Identifier;

use crate::clock::{Clock, Time};

/// The limit of each callsite. Its memory is bounded by the number of callsites in the program.
pub struct RateLimit {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    suppressed: AtomicU64,
}

struct State {
    windows: HashMap<Identifier, Window>,
    /// No window with something suppressed ends before this.
    next_due: Time,
}

struct Window {
    metadata: &'static Metadata<'static>,
    since: Time,
    shown: u32,
    suppressed: u64,
}

/// What a window held back.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Of which callsite.
    pub metadata: &'static Metadata<'static>,
    /// How many events.
    pub count: u64,
}

impl RateLimit {
    /// Events of one callsite that are written per window.
    pub const SHOWN_MAX: u32 = 5;
    /// Length of a window; it starts with a callsite's first event.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// A limit that has seen nothing.
    pub fn new(clock: Arc<dyn Clock>) -> RateLimit {
        RateLimit {
            clock,
            state: Mutex::new(State {
                windows: HashMap::new(),
                next_due: Time::NEVER,
            }),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Events not written since the start.
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Whether an event of this callsite may be written now. Take what is [`RateLimit::due`] first.
    pub fn admit(&self, metadata: &'static Metadata<'static>) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { windows, next_due } = &mut *state;
        let window = windows.entry(metadata.callsite()).or_insert(Window {
            metadata,
            since: now,
            shown: 0,
            suppressed: 0,
        });
        // A window that has something to report stays until it has been reported.
        if window.suppressed == 0 && now.since(window.since) >= Self::WINDOW {
            window.since = now;
            window.shown = 0;
        }
        if window.shown < Self::SHOWN_MAX {
            window.shown += 1;
            return true;
        }
        window.suppressed += 1;
        *next_due = (*next_due).min(window.since + Self::WINDOW);
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Takes the summaries of windows that are over.
    pub fn due(&self) -> Vec<Summary> {
        self.take(false)
    }

    /// Takes all summaries, of windows that are not over too: for the end of the program.
    pub fn all(&self) -> Vec<Summary> {
        self.take(true)
    }

    fn take(&self, all: bool) -> Vec<Summary> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now < state.next_due && !all {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let mut next_due = Time::NEVER;
        for window in state.windows.values_mut().filter(|it| it.suppressed > 0) {
            if all || now.since(window.since) >= Self::WINDOW {
                taken.push(Summary {
                    metadata: window.metadata,
                    count: std::mem::take(&mut window.suppressed),
                });
            } else {
                next_due = next_due.min(window.since + Self::WINDOW);
            }
        }
        state.next_due = next_due;
        taken
    }
}
