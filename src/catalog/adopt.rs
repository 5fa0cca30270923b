//! Making one segment agree with its files: lengths, head, source, descriptor.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chain::{Chain, Source};
use super::env::Env;
use super::head::Head;
use super::keeper::{Held, Worth};
use super::segment::{Content, FileId, Known, Named, Sighting};
use super::sight;
use crate::clock::Time;
use crate::files::{FileHandle, Meta};

/// Takes over an fstat of what is held.
pub fn update_links(held: &mut Held, meta: Meta, now: Time) {
    held.meta = meta;
    if meta.links == 0 {
        held.deleted_at.get_or_insert(now);
    } else {
        held.deleted_at = None;
    }
}

/// Notes the length of a segment's plain file.
pub fn note(chain: &Chain, known: &mut Known, meta: &Meta, now: Time) -> bool {
    let modified_s = u64::try_from(meta.modified_ns / 1_000_000_000).unwrap_or(0);
    chain.modified_s.fetch_max(modified_s, Ordering::AcqRel);
    if meta.len_bytes <= known.raw_len {
        return false;
    }
    known.raw_len = meta.len_bytes;
    known.grown_at = now;
    if !known.gzip {
        known.segment.observe_len(meta.len_bytes);
    }
    true
}

/// Takes over what a head says. Returns whether the segment got its identity by it.
pub fn learn(known: &mut Known, head: &Head) -> bool {
    known.stamp_ns = known.stamp_ns.or(head.stamp_ns);
    if known.segment.identity().is_some() {
        return false;
    }
    known.prefix = head.prefix();
    if let Some(identity) = head.identity {
        known.segment.identify(identity);
    }
    head.identity.is_some()
}

/// Makes a segment agree with the names that are its own.
pub fn update(
    env: &mut Env,
    chain: &Arc<Chain>,
    known: &mut Known,
    seen: Vec<Sighting>,
    now: Time,
) {
    let named = |sighting: &Sighting| Named {
        name: sighting.name.clone(),
        meta: sighting.meta,
    };
    known.names = seen.iter().map(named).collect();
    for sighting in &seen {
        if let Some(head) = sighting.content.head() {
            learn(known, head);
        }
    }
    if known.segment.gone().is_some() {
        return;
    }
    let serial = known.segment.serial;
    if is_replaced(env, serial, &seen) {
        env.keeper.close(serial);
    }
    let packed = seen.iter().find(|sighting| sighting.name.gzip);
    let spare = packed.and_then(|packed| spare_path(env, known, packed));
    if env.keeper.get(serial).is_some() {
        update_held(env, chain, known, &seen, now);
        if spare.is_some() {
            known.segment.end();
        }
        env.keeper.update(serial, |held| held.spare = spare);
        return;
    }
    // The same file as before if it is still there, else the one that has most.
    let plain = seen
        .iter()
        .filter(|sighting| !sighting.name.gzip)
        .max_by_key(|sighting| {
            let same = FileId::of(&sighting.meta) == known.file && !known.gzip;
            (same, sighting.meta.len_bytes)
        });
    let Some(best) = plain.or(packed) else { return };
    if FileId::of(&best.meta) != known.file || best.name.gzip != known.gzip {
        known.file = FileId::of(&best.meta);
        known.gzip = best.name.gzip;
        known.raw_len = 0;
    }
    known.truncated = false;
    known.last_name = best.name.clone();
    note(chain, known, &best.meta, now);
    known.segment.set_source(Source {
        path: best.path.clone(),
        gzip: best.name.gzip,
        handle: None,
    });
    if best.name.gzip {
        let stored = best.meta.len_bytes;
        let len = match &best.content {
            Content::Head(head) => head.gzip_len.map(|len| unpacked_len(len, stored)),
            // Of what cannot be opened the stored length is all there is to know.
            Content::Unopened | Content::Damaged => {
                (known.segment.len_bytes() == 0).then_some(stored)
            }
            _ => None,
        };
        known.segment.observe_len(len.unwrap_or(0));
        known.segment.end();
    }
    if let Some(handle) = &best.handle {
        let held = held_of(chain, known, Arc::clone(handle), best.meta);
        env.keeper.offer(held);
    }
}

/// Whether what is held has no name any more and another file under one of its names has all of it: after a remount
/// the path leads to what grows, the descriptor does not.
fn is_replaced(env: &Env, serial: u64, seen: &[Sighting]) -> bool {
    let Some(held) = env.keeper.get(serial).filter(|held| !held.gzip) else {
        return false;
    };
    let own = |sighting: &Sighting| FileId::of(&sighting.meta) == FileId::of(&held.meta);
    let whole =
        |sighting: &Sighting| !sighting.name.gzip && sighting.meta.len_bytes >= held.meta.len_bytes;
    !seen.iter().any(own) && seen.iter().any(whole)
}

/// Deflate makes at most 1,032 bytes out of one: what claims more is wrong.
fn unpacked_len(trailer: u32, packed_bytes: u64) -> u64 {
    const RATIO_MAX: u64 = 1_032;
    u64::from(trailer).min(packed_bytes.saturating_mul(RATIO_MAX))
}

/// The compressed form of what is held, if it is complete: same identity (else it would not be assigned), same
/// length.
fn spare_path(env: &Env, known: &Known, packed: &Sighting) -> Option<PathBuf> {
    let held = env
        .keeper
        .get(known.segment.serial)
        .filter(|held| !held.gzip)?;
    match packed.content.head().and_then(|head| head.gzip_len) {
        Some(len) => (len == held.meta.len_bytes as u32).then(|| packed.path.clone()),
        None => held.spare.clone(),
    }
}

fn update_held(env: &mut Env, chain: &Chain, known: &mut Known, seen: &[Sighting], now: Time) {
    let serial = known.segment.serial;
    let Some(held) = env.keeper.get(serial) else {
        return;
    };
    let handle = Arc::clone(&held.handle);
    let meta = match handle.meta() {
        Ok(meta) => meta,
        Err(error) => {
            let path = known.segment.source().path.clone();
            env.open_failed(&path, &error);
            return;
        }
    };
    let own = seen
        .iter()
        .find(|sighting| FileId::of(&sighting.meta) == FileId::of(&meta));
    if let Some(any) = own.or(seen.first()) {
        known.last_name = any.name.clone();
    }
    if let Some(own) = own
        && known.segment.source().path != own.path
    {
        known.segment.set_source(Source {
            path: own.path.clone(),
            gzip: known.gzip,
            handle: Some(handle),
        });
    }
    note(chain, known, &meta, now);
    let (live, grown_at) = (known.live(), known.grown_at);
    env.keeper.update(serial, |held| {
        (held.live, held.grown_at) = (live, grown_at);
        update_links(held, meta, now);
    });
}

fn held_of(chain: &Arc<Chain>, known: &Known, handle: Arc<dyn FileHandle>, meta: Meta) -> Held {
    Held {
        chain: Arc::clone(chain),
        segment: Arc::clone(&known.segment),
        handle,
        meta,
        gzip: known.gzip,
        live: known.live(),
        grown_at: known.grown_at,
        deleted_at: None,
        spare: None,
    }
}

/// Opens a segment by its path, to learn its identity if it has none yet, and to hold it if there is room.
pub fn rehold(env: &mut Env, chain: &Arc<Chain>, known: &mut Known) {
    let worth = if known.live() {
        Worth::Live
    } else {
        Worth::Rotated
    };
    let room = env.keeper.has_room(worth);
    if !room && known.segment.identity().is_some() {
        return;
    }
    let path = known.segment.source().path.clone();
    if let Some((handle, meta, head)) = open_same(env, known, &path) {
        learn(known, &head);
        if room {
            let held = held_of(chain, known, handle, meta);
            env.keeper.offer(held);
        }
    } else {
        chain.request_look();
    }
}

fn open_same(
    env: &mut Env,
    known: &Known,
    path: &Path,
) -> Option<(Arc<dyn FileHandle>, Meta, Head)> {
    let handle = sight::open(env, path).ok()?;
    let meta = handle.meta().ok()?;
    let head = env.heads.read(handle.as_ref(), known.gzip, meta.len_bytes);
    let head = head.ok()?;
    let alike = known.begins_like(&head);
    (FileId::of(&meta) == known.file && alike).then_some((handle, meta, head))
}
