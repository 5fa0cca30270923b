//! A container directory in which nothing is due: what one cheap look tells it by.
//!
//! Invariant: whatever happens to a file of a directory at rest ends the rest at the next look: a write shows in its
//! length, a new or lost name in its change time. A name that is only added does not show in a file; see
//! `Container::is_resting` for how that is found.
//!
//! Kernels stamp changes with a coarse clock, so one stat is not enough: a change may hide behind an equal stamp. A
//! rest is proven by two equal stats at least [`TICK`] apart, with the directory unchanged between them; any change
//! after the second one has a later stamp.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::chain::{Chain, Segment};
use super::env::Env;
use super::freshness::TICK;
use super::segment::Known;
use super::tracked::Tracked;
use crate::clock::Time;
use crate::files::{FileHandle, Files, Meta};

/// A directory's chains and files as they are when nothing is due.
pub struct Rest {
    chains: Box<[Arc<Chain>]>,
    files: Box<[Still]>,
    since: Time,
    proven: bool,
    ids_known: bool,
    watch: Watch,
}

/// Whether somebody would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Nobody has been asked.
    None,
    /// A watch has been asked for.
    Asked,
    /// There is one.
    Set,
}

/// A file that may grow, and how it was.
struct Still {
    segment: Arc<Segment>,
    /// Its descriptor, for as long as anybody has it.
    handle: Option<Weak<dyn FileHandle>>,
    stamp: Stamp,
}

impl Still {
    fn of(segment: &Arc<Segment>, files: &dyn Files) -> Option<Still> {
        let source = segment.source();
        let mut still = Still {
            segment: Arc::clone(segment),
            handle: source.handle.as_ref().map(Arc::downgrade),
            stamp: Stamp::default(),
        };
        still.stamp = still.look(files)?;
        Some(still)
    }

    /// One system call: by the descriptor if there is one, else by the path.
    fn look(&self, files: &dyn Files) -> Option<Stamp> {
        let meta = match self.handle.as_ref().and_then(Weak::upgrade) {
            Some(handle) => handle.meta(),
            None => files.stat(&self.segment.source().path),
        };
        meta.ok().map(|meta| Stamp::of(&meta))
    }
}

/// What does not stay the same when anything about a file changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    changed_ns: i64,
}

impl Stamp {
    fn of(meta: &Meta) -> Stamp {
        Stamp {
            device: meta.device,
            inode: meta.inode,
            len_bytes: meta.len_bytes,
            changed_ns: meta.changed_ns,
        }
    }
}

impl Rest {
    /// The rest of these chains, if nothing is due in any. The directory has just been found unchanged; `before` is
    /// what an earlier call made.
    pub fn of<'a>(
        chains: impl DoubleEndedIterator<Item = &'a Tracked>,
        before: Option<Rest>,
        env: &Env,
        now: Time,
    ) -> Option<Rest> {
        let mut files = Vec::with_capacity(1);
        let mut own = Vec::with_capacity(1);
        let mut ids_known = true;
        for (age, tracked) in chains.rev().enumerate() {
            if !tracked.published || tracked.absent_since.is_some() {
                return None;
            }
            own.push(Arc::clone(&tracked.chain));
            ids_known &= !tracked.chain.meta().container_id.is_empty();
            for known in &tracked.segments {
                match standing(known, tracked.chain.is_unopened(), age == 0, env) {
                    Standing::Due => return None,
                    Standing::Over => {}
                    Standing::MayGrow => {
                        let still = Still::of(&known.segment, env.files.as_ref())?;
                        if still.stamp.len_bytes != known.raw_len {
                            return None;
                        }
                        files.push(still);
                    }
                }
            }
        }
        let same = before.filter(|before| before.is_like(&files));
        let since = same.as_ref().map_or(now, |before| before.since);
        let watch = same.as_ref().map_or(Watch::None, |before| before.watch);
        Some(Rest {
            chains: own.into_boxed_slice(),
            files: files.into_boxed_slice(),
            since,
            proven: same.is_some() && now.since(since) >= TICK,
            ids_known,
            watch,
        })
    }

    fn is_like(&self, files: &[Still]) -> bool {
        let same = |(one, two): (&Still, &Still)| {
            one.segment.serial == two.segment.serial && one.stamp == two.stamp
        };
        self.files.len() == files.len() && self.files.iter().zip(files).all(same)
    }

    /// Whether it is proven, nobody has asked for a look, and all files are as they were. One system call for each
    /// file that may grow.
    pub fn lasts(&self, files: &dyn Files) -> bool {
        self.proven
            && !self.chains.iter().any(|chain| chain.wants_look())
            && self
                .files
                .iter()
                .all(|still| still.look(files) == Some(still.stamp))
    }

    /// The file to be watched, once for each rest, if it is the only one that may grow.
    pub fn take_wish(&mut self) -> Option<PathBuf> {
        let [only] = &*self.files else { return None };
        if !self.proven || self.watch != Watch::None {
            return None;
        }
        self.watch = Watch::Asked;
        Some(only.segment.source().path.clone())
    }

    /// Notes that it is watched.
    pub fn set_watched(&mut self) {
        self.watch = Watch::Set;
    }

    /// Whether somebody would tell if anything happened to its files.
    pub fn is_watched(&self) -> bool {
        self.watch == Watch::Set || self.files.is_empty()
    }

    /// Whether another restart would show in the container links: those so far are there.
    pub fn shows_in_links(&self, env: &Env) -> bool {
        env.links.present() && self.ids_known && !self.chains.is_empty()
    }
}

/// What a segment waits for.
enum Standing {
    /// For somebody to append to it.
    MayGrow,
    /// For nothing.
    Over,
    /// For time to pass, for a worker, or for a listing.
    Due,
}

fn standing(known: &Known, excluded: bool, newest: bool, env: &Env) -> Standing {
    let segment = &known.segment;
    let held = env.keeper.get(segment.serial).is_some();
    let unread = !excluded && segment.passed_by_all() < segment.len_bytes();
    let gone = segment.gone().is_some();
    if known.names.is_empty() || known.truncated || (!held && unread && !gone) {
        return Standing::Due;
    }
    match (gone || segment.ended(), held) {
        (true, false) => Standing::Over,
        // Closed when it has been read and was quiet for long enough.
        (true, true) => Standing::Due,
        (false, _) if newest && known.live() && !known.gzip => Standing::MayGrow,
        (false, _) => Standing::Due,
    }
}
