//! When a segment has ended, when it is finished, when its descriptor goes, and when it leaves its chain.
//!
//! Invariant: a segment leaves only when it has neither a name nor a descriptor and every sink has settled it.

use std::time::Duration;

use super::LINGER;
use super::env::Env;
use super::keeper::Held;
use super::segment::{FileId, Known, Named};
use super::tracked::{Tracked, give_up};
use crate::clock::Time;

/// After the live name is there again but empty, the old file is given this long before it counts as ended.
const REOPEN_WAIT: Duration = Duration::from_secs(1);
/// A container that has a successor writes nothing more after this long.
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// A deleted file without successor has ended when it was quiet for this long: the kubelet, which looks every 10 s,
/// has had the runtime reopen its log by then.
const DELETED_WAIT: Duration = Duration::from_secs(30);

/// What the directories say about a chain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// A higher restart count exists.
    pub succeeded: bool,
    /// Its directory is missing, for long enough that the container must be over.
    pub missing: bool,
    /// Its files have been missing for so long that they will not come back.
    pub forgotten: bool,
}

impl Tracked {
    /// Marks what has ended. Returns whether anything was marked.
    pub fn judge_ends(&mut self, now: Time, place: Place) -> bool {
        let reopened = self.segments.iter().any(|known| {
            known.live() && (known.raw_len > 0 || now.since(known.found_at) >= REOPEN_WAIT)
        });
        let newest_rotated = self.segments.iter().rposition(|known| !known.live());
        let mut marked = false;
        for index in 0..self.segments.len() {
            let Some(known) = self.segments.get(index) else {
                break;
            };
            if known.segment.ended() || known.segment.gone().is_some() {
                if known.segment.ended() && !self.chain.is_unopened() {
                    marked |= identify_ended(known);
                }
                continue;
            }
            let quiet = now.since(known.grown_at);
            let rotated = !known.live();
            let over = place.missing
                || known.gzip
                || (place.succeeded && quiet >= RESTART_WAIT)
                || (rotated && (reopened || newest_rotated != Some(index)))
                || (rotated && known.missed && quiet >= DELETED_WAIT);
            if over {
                marked |= end(known, self.chain.is_unopened());
            }
        }
        let all_ended = self
            .segments
            .iter()
            .all(|known| known.segment.ended() || known.segment.gone().is_some());
        let ended = (place.succeeded || place.missing) && all_ended;
        if ended != self.chain.ended() {
            self.chain.set_ended(ended);
            marked = true;
        }
        marked
    }

    /// Lets go of what is not needed any more. Returns whether the workers have to hear of it.
    pub fn tidy(&mut self, env: &mut Env, now: Time, place: Place) -> bool {
        let mut told = false;
        for known in &mut self.segments {
            close_if_done(env, known, now, place);
            let serial = known.segment.serial;
            let held = env.keeper.get(serial);
            let nameless = match held {
                // Without a listing since, its compressed form may be there.
                Some(held) => {
                    let listed = known.missed || place.missing;
                    (is_nameless(known, held) && listed) || place.forgotten
                }
                None => known.missed || place.forgotten,
            };
            if known.segment.finished() || known.segment.gone().is_some() || !nameless {
                continue;
            }
            let is_held = held.is_some();
            if !is_held {
                give_up(env, known);
                told = true;
            } else if known.segment.ended() && now.since(known.grown_at) >= LINGER {
                known.segment.finish();
                told = true;
            }
        }
        let before = self.segments.len();
        self.segments.retain(|known| {
            let named = !(known.missed || place.forgotten);
            let held = env.keeper.get(known.segment.serial).is_some();
            named || held || known.segment.passed_by_all() != u64::MAX
        });
        if self.segments.len() != before {
            self.publish_segments();
            told = true;
        }
        told
    }
}

/// A segment that ended while nobody wanted it gets its identity when it has been looked into. Returns whether it did.
fn identify_ended(known: &Known) -> bool {
    let segment = &known.segment;
    let known_whole = known.prefix.len as u64 == known.raw_len && segment.gone().is_none();
    let due = segment.identity().is_none() && known_whole;
    if due {
        segment.identify(known.prefix.ended());
    }
    due
}

/// Ends a segment; one that never had a line end is known by all of its content from now on. Returns whether it
/// could be ended: content that has grown since it was read has to be read first.
fn end(known: &Known, excluded: bool) -> bool {
    if known.segment.identity().is_none() && !excluded {
        if known.prefix.len as u64 == known.raw_len {
            known.segment.identify(known.prefix.ended());
        } else if !known.names.is_empty() {
            return false;
        }
    }
    known.segment.end();
    true
}

/// Whether what is held has no name left, and neither has another file with the same content.
fn is_nameless(known: &Known, held: &Held) -> bool {
    let other = |named: &Named| FileId::of(&named.meta) != FileId::of(&held.meta);
    held.meta.links == 0 && !known.names.iter().any(other)
}

fn close_if_done(env: &mut Env, known: &mut Known, now: Time, place: Place) {
    let segment = &known.segment;
    let Some(held) = env.keeper.get(segment.serial) else {
        return;
    };
    let passed = segment.passed_by_all();
    let settled = passed == u64::MAX;
    let read = passed >= segment.len_bytes() && segment.ended();
    let quiet = now.since(known.grown_at) >= LINGER;
    let nameless = is_nameless(known, held) || place.forgotten;
    // Without a name the workers settle first, as soon as it is finished.
    if !(settled || read && quiet && !nameless) {
        return;
    }
    if !held.gzip && !known.cache_dropped && !known.live() {
        held.handle.drop_cache();
        known.cache_dropped = true;
    }
    env.keeper.close(segment.serial);
    if nameless {
        known.missed = true;
    }
}
