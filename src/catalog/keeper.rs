//! The descriptors that the catalog holds, and what goes when there are too many.
//!
//! Invariant: at most `files_max` descriptors are held, and between two looks the deleted files among them have at
//! most `bytes_max` bytes. Only an unread segment that has no name left can lose bytes here; everything else can
//! be opened again by its path.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Chain, Loss, Segment, Source};
use super::head::Heads;
use super::stats::CatalogStats;
use crate::clock::Time;
use crate::files::{FileHandle, Files, Meta};

/// A segment's open descriptor.
pub struct Held {
    /// Whose segment it is.
    pub chain: Arc<Chain>,
    /// The segment.
    pub segment: Arc<Segment>,
    /// The descriptor.
    pub handle: Arc<dyn FileHandle>,
    /// Its last fstat.
    pub meta: Meta,
    /// Whether it holds a gzip.
    pub gzip: bool,
    /// Whether it is the file that the runtime appends to.
    pub live: bool,
    /// When it last grew, or was found.
    pub grown_at: Time,
    /// When it was first seen without a name.
    pub deleted_at: Option<Time>,
    /// Where the same content is to be had compressed, compared with this by identity and length.
    pub spare: Option<PathBuf>,
}

/// How little is lost when a descriptor is closed, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// Live, has a name, read to its end.
    Idle,
    /// Rotated, read to its end.
    Passed,
    /// Live, has a name, unread.
    Live,
    /// Rotated, has a name, unread: in danger at the next rotation.
    Rotated,
    /// Has no name and is unread: closing it loses the rest.
    Last,
}

impl Held {
    fn passed(&self) -> bool {
        self.segment.passed_by_all() >= self.segment.len_bytes()
    }

    /// What closing it would cost.
    pub fn worth(&self) -> Worth {
        match (self.passed(), self.meta.links == 0, self.live) {
            (true, false, true) => Worth::Idle,
            (true, _, _) => Worth::Passed,
            (false, true, _) => Worth::Last,
            (false, false, true) => Worth::Live,
            (false, false, false) => Worth::Rotated,
        }
    }

    fn deleted_bytes(&self) -> u64 {
        if self.meta.links == 0 {
            self.meta.len_bytes
        } else {
            0
        }
    }
}

/// All held descriptors, by segment serial.
pub struct Keeper {
    /// Descriptors that one look may have open beside the held ones; part of the caller's limit, at least one.
    pub look_files_max: usize,
    files_max: usize,
    bytes_max: u64,
    held: BTreeMap<u64, Held>,
    deleted_bytes: u64,
    stats: Arc<CatalogStats>,
}

impl Keeper {
    /// A keeper that, with the descriptors of the look under way, stays within `files_max`.
    pub fn new(files_max: usize, bytes_max: u64, stats: Arc<CatalogStats>) -> Keeper {
        let look_files_max = (files_max / 4).clamp(1, 8);
        Keeper {
            look_files_max,
            files_max: files_max.saturating_sub(look_files_max),
            bytes_max,
            held: BTreeMap::new(),
            deleted_bytes: 0,
            stats,
        }
    }

    /// The descriptor held for a segment.
    pub fn get(&self, serial: u64) -> Option<&Held> {
        self.held.get(&serial)
    }

    /// Changes what is known of a held descriptor, the accounts with it.
    pub fn update(&mut self, serial: u64, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.held.get_mut(&serial) {
            self.deleted_bytes -= held.deleted_bytes();
            change(held);
            self.deleted_bytes += held.deleted_bytes();
        }
    }

    /// Whether a descriptor of this worth would be taken without closing one of the same worth.
    pub fn has_room(&self, worth: Worth) -> bool {
        self.held.len() < self.files_max || self.held.values().any(|held| held.worth() < worth)
    }

    /// Takes a descriptor, closing one of at most the same worth if there is no room: the longest quiet one, so that
    /// the newest logs, which may be the shortest-lived, are the ones that are held. Publishes it as the source.
    pub fn offer(&mut self, held: Held) {
        if self.held.len() >= self.files_max {
            let worth = held.worth().min(Worth::Rotated);
            if !self.close_cheapest(worth) {
                return;
            }
        }
        let source = held.segment.source();
        held.segment.set_source(Source {
            path: source.path.clone(),
            gzip: held.gzip,
            handle: Some(Arc::clone(&held.handle)),
        });
        self.deleted_bytes += held.deleted_bytes();
        if let Some(before) = self.held.insert(held.segment.serial, held) {
            self.deleted_bytes -= before.deleted_bytes();
        }
    }

    /// Closes the cheapest descriptor, if it is worth no more than `worth`. Returns whether one was closed.
    pub fn close_cheapest(&mut self, worth: Worth) -> bool {
        let cheapest = self
            .held
            .values()
            .map(|held| (held.worth(), held.grown_at, held.segment.serial))
            .min();
        match cheapest {
            Some((least, _, serial)) if least <= worth => {
                self.close(serial);
                true
            }
            _ => false,
        }
    }

    /// Closes a descriptor; the segment is to be opened by path from now on.
    pub fn close(&mut self, serial: u64) -> Option<Held> {
        let held = self.held.remove(&serial)?;
        self.deleted_bytes -= held.deleted_bytes();
        let source = held.segment.source();
        let (path, gzip) = match (&held.spare, held.meta.links) {
            (Some(spare), 0) => (spare.clone(), true),
            _ => (source.path.clone(), held.gzip),
        };
        held.segment.set_source(Source {
            path,
            gzip,
            handle: None,
        });
        Some(held)
    }

    /// Lets go of deleted files until the byte budget is kept. Returns the chains that lost something.
    #[must_use]
    pub fn keep_within(&mut self, files: &dyn Files, heads: &mut Heads) -> Vec<Arc<Chain>> {
        let mut losers = Vec::new();
        while self.deleted_bytes > self.bytes_max {
            let victim = self
                .held
                .values()
                .filter(|held| held.deleted_bytes() > 0)
                .map(|held| {
                    let cost = (!held.passed(), held.spare.is_none());
                    (cost, held.deleted_at, held.segment.serial)
                })
                .min();
            let Some((_, _, serial)) = victim else { break };
            if let Some(chain) = self.give_up(serial, files, heads) {
                losers.push(chain);
            }
        }
        self.stats.handles_held.set(self.held.len());
        let bytes = usize::try_from(self.deleted_bytes).unwrap_or(usize::MAX);
        self.stats.deleted_bytes_held.set(bytes);
        losers
    }

    /// Closes one deleted file: for nothing if all have read it, against its compressed form if that is there, and
    /// else at the price of what is unread; then the chain is returned.
    fn give_up(&mut self, serial: u64, files: &dyn Files, heads: &mut Heads) -> Option<Arc<Chain>> {
        let held = self.close(serial)?;
        if held.passed() {
            return None;
        }
        if let Some(spare) = self.open_spare(&held, files, heads) {
            self.offer(spare);
            return None;
        }
        held.segment.lose(Loss::Budget);
        self.stats.budget_losses.add();
        Some(held.chain)
    }

    fn open_spare(&self, held: &Held, files: &dyn Files, heads: &mut Heads) -> Option<Held> {
        let path = held.spare.as_ref()?;
        let handle = files.open(path).ok()?;
        let meta = handle.meta().ok()?;
        let head = heads.read(handle.as_ref(), true, meta.len_bytes).ok()?;
        let same = head.identity == held.segment.identity()
            && head.gzip_len == Some(held.meta.len_bytes as u32);
        same.then(|| Held {
            chain: Arc::clone(&held.chain),
            segment: Arc::clone(&held.segment),
            handle,
            meta,
            gzip: true,
            live: false,
            grown_at: held.grown_at,
            deleted_at: None,
            spare: None,
        })
    }
}
