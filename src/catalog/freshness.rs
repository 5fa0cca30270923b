//! When a directory has to be listed again.
//!
//! Invariant: once a directory counts as settled, any later change of its entries shows in its modification time.
//! The kernel stamps changes with a coarse clock (up to 10 ms), so a change can hide behind an equal stamp; a
//! listing made [`TICK`] after the stamp was first seen cannot be deceived. Wall clocks are never compared.

use std::time::Duration;

use crate::clock::Time;
use crate::files::Meta;

/// Longer than the coarsest clock tick with which a kernel stamps files.
pub const TICK: Duration = Duration::from_millis(20);

/// What is known of one directory's modification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    seen: Option<((u64, u64, i64), Time)>,
    settled: bool,
}

fn stamp(meta: &Meta) -> (u64, u64, i64) {
    (meta.device, meta.inode, meta.modified_ns)
}

impl Freshness {
    /// Notes a stat made before listing. `now` is not later than the stat, `clock` not earlier.
    /// Returns whether the directory must be listed.
    pub fn needs_listing(&mut self, meta: &Meta, now: Time, clock: Time) -> bool {
        match self.seen {
            Some((known, since)) if known == stamp(meta) => {
                !self.settled && now.since(since) >= TICK
            }
            _ => {
                self.seen = Some((stamp(meta), clock));
                self.settled = false;
                true
            }
        }
    }

    /// Notes the stat made after a listing that began at or after `now`. Returns whether what the listing lacked
    /// is truly not there.
    pub fn listed(&mut self, after: &Meta, now: Time, clock: Time) -> bool {
        match self.seen {
            Some((known, since)) if known == stamp(after) => {
                self.settled = now.since(since) >= TICK;
            }
            _ => {
                self.seen = Some((stamp(after), clock));
                self.settled = false;
            }
        }
        self.settled
    }

    /// Whether nothing can have changed unseen up to the last stat.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// Whether it was settled and nothing has changed since.
    pub fn is_unchanged(&self, meta: &Meta) -> bool {
        self.settled && self.seen.is_some_and(|(known, _)| known == stamp(meta))
    }

    /// Forgets everything: the next stat asks for a listing.
    pub fn reset(&mut self) {
        *self = Freshness::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Kind;

    fn directory(modified_ns: i64) -> Meta {
        Meta {
            device: 1,
            inode: 2,
            len_bytes: 0,
            links: 2,
            modified_ns,
            changed_ns: modified_ns,
            kind: Kind::Directory,
        }
    }

    #[test]
    fn a_change_is_listed_at_once_and_again_after_a_tick() {
        let mut fresh = Freshness::default();
        let at = Time::from_ms;
        assert!(fresh.needs_listing(&directory(5), at(0), at(1)));
        assert!(!fresh.listed(&directory(5), at(0), at(2)));
        assert!(!fresh.needs_listing(&directory(5), at(10), at(10)));
        assert!(fresh.needs_listing(&directory(5), at(21), at(21)));
        assert!(fresh.listed(&directory(5), at(21), at(22)));
        assert!(!fresh.needs_listing(&directory(5), at(500), at(500)));
    }

    #[test]
    fn a_change_during_the_listing_unsettles() {
        let mut fresh = Freshness::default();
        let at = Time::from_ms;
        assert!(fresh.needs_listing(&directory(5), at(0), at(0)));
        assert!(fresh.needs_listing(&directory(5), at(30), at(30)));
        assert!(!fresh.listed(&directory(6), at(30), at(31)));
        assert!(!fresh.settled());
        assert!(fresh.needs_listing(&directory(6), at(60), at(60)));
    }
}
