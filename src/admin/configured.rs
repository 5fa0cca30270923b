//! What became of the configuration while the agent runs: the last one that was applied, and the one that was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::clock::Time;
use crate::config::mistake::cut;

/// Why the newest configuration is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When it was read.
    pub at: Time,
    /// What is wrong with it.
    pub text: String,
}

impl Refused {
    /// A longer text is cut: enough for a screen of mistakes.
    const TEXT_CHARS_MAX: usize = 8 * 1024;
}

/// Written by whoever reads the configuration, read by the pages.
#[derive(Debug, Default)]
pub struct Configured {
    applied_ms: AtomicU64,
    applied: AtomicU64,
    refusals: AtomicU64,
    refused: ArcSwapOption<Refused>,
}

impl Configured {
    /// A configuration came into force at a start.
    pub fn started(at: Time) -> Configured {
        let configured = Configured::default();
        configured.applied_ms.store(at.as_ms(), Ordering::Relaxed);
        configured
    }

    /// A new configuration is in force.
    pub fn apply(&self, at: Time) {
        self.applied_ms.store(at.as_ms(), Ordering::Relaxed);
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.refused.store(None);
    }

    /// The newest configuration is the one in force.
    pub fn confirm(&self) {
        self.refused.store(None);
    }

    /// The newest configuration cannot be used; the one before stays in force. Returns whether that is news.
    pub fn refuse(&self, at: Time, text: &str) -> bool {
        let text = cut(text, Refused::TEXT_CHARS_MAX);
        if self.refused().is_some_and(|known| known.text == text) {
            return false;
        }
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.refused.store(Some(Arc::new(Refused { at, text })));
        true
    }

    /// Why the newest configuration is not in force, if it is not.
    pub fn refused(&self) -> Option<Arc<Refused>> {
        self.refused.load_full()
    }

    /// When the configuration in force came into force.
    pub fn applied_at(&self) -> Time {
        Time::from_ms(self.applied_ms.load(Ordering::Relaxed))
    }

    /// Configurations that replaced another while the agent ran.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Configurations that were refused.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }
}
