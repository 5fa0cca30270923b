//! A container directory in which nothing is due: what one cheap look tells it by.
//!
//! Invariant: whatever happens to a file of a directory at rest ends the rest at the next look: a write shows in its
//! length, a new or lost name in its change time. A name that is only added does not show in a file; see
//! `Container::names_are_known` for how that is found.
//!
//! Kernels stamp changes with a coarse clock, so one stat is not enough: a change may hide behind an equal stamp. A
//! rest is proven by two equal stats at least [`TICK`] apart, with the directory unchanged between them; any change
//! after the second one has a later stamp.

use std::sync::Arc;

use super::chain::Segment;
use super::env::Env;
use super::freshness::TICK;
use super::segment::Known;
use super::tracked::Tracked;
use crate::clock::Time;
use crate::files::{Files, Meta};

/// A directory's files as they are when nothing is due.
#[derive(Debug)]
pub struct Rest {
    files: Box<[Still]>,
    since: Time,
    proven: bool,
    /// Whether every chain has its container id, so that the next one will show in the links.
    pub ids_known: bool,
}

/// A file that may grow, and how it was.
#[derive(Debug)]
struct Still {
    segment: Arc<Segment>,
    stamp: Stamp,
}

/// What does not stay the same when anything about a file changes.
#[derive(Debug, PartialEq, Eq)]
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

    /// One system call: by the descriptor if the catalog holds one, else by the path.
    fn take(segment: &Segment, files: &dyn Files) -> Option<Stamp> {
        let meta = segment.meta(files).ok()?;
        Some(Stamp::of(&meta))
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
        let mut ids_known = true;
        for (age, tracked) in chains.rev().enumerate() {
            if !tracked.published || tracked.absent_since.is_some() {
                return None;
            }
            ids_known &= !tracked.chain.meta().container_id.is_empty();
            for known in &tracked.segments {
                match standing(known, tracked.chain.excluded.is_some(), age == 0, env) {
                    Standing::Due => return None,
                    Standing::Over => {}
                    Standing::MayGrow => {
                        let segment = Arc::clone(&known.segment);
                        let stamp = Stamp::take(&segment, env.files.as_ref())?;
                        if stamp.len_bytes != known.raw_len {
                            return None;
                        }
                        files.push(Still { segment, stamp });
                    }
                }
            }
        }
        let same = before.filter(|before| before.is_like(&files));
        let since = same.as_ref().map_or(now, |before| before.since);
        Some(Rest {
            files: files.into_boxed_slice(),
            since,
            proven: same.is_some() && now.since(since) >= TICK,
            ids_known,
        })
    }

    fn is_like(&self, files: &[Still]) -> bool {
        let same = |(one, two): (&Still, &Still)| {
            one.segment.serial == two.segment.serial && one.stamp == two.stamp
        };
        self.files.len() == files.len() && self.files.iter().zip(files).all(same)
    }

    /// Whether it is proven and all files are as they were. One system call for each file that may grow.
    pub fn lasts(&self, files: &dyn Files) -> bool {
        let same =
            |still: &Still| Stamp::take(&still.segment, files).as_ref() == Some(&still.stamp);
        self.proven && self.files.iter().all(same)
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
