//! Looking into the files of one chain: stat, open, head. Every file is opened in the look that finds it, and a
//! handle opened here is the one that is kept, so that no name is resolved twice.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::Loss;
use super::env::Env;
use super::head::{Head, Heads, Unreadable};
use super::keeper::Worth;
use super::path::LogName;
use super::segment::{Content, FileId, Known, Sighting, unchanged};
use super::stats::is_out_of_descriptors;
use crate::files::{FileHandle, Kind, Meta};

/// What one look at a chain's files found.
#[derive(Default)]
pub struct Sightings {
    /// The files, in the order of the names.
    pub list: Vec<Sighting>,
    /// Some file could not be looked into: whatever seems to be missing may be that one.
    pub uncertain: bool,
    /// Names behind which there is no regular file.
    pub refused: usize,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// The chain is excluded: nothing is opened.
    pub unopened: bool,
    /// Compare the heads of all files, also where nothing seems to have changed.
    pub verify: bool,
}

/// Looks into each of `names`.
pub fn sight(
    env: &mut Env,
    known: &[Known],
    names: Vec<(LogName, PathBuf)>,
    how: How,
) -> Sightings {
    let mut seen = Sightings::default();
    let mut kept = 0;
    for (name, path) in names {
        let meta = match env.files.stat(&path) {
            Ok(meta) if meta.kind == Kind::File => meta,
            Ok(_) => {
                seen.refused += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                env.open_failed(&path, &error);
                seen.uncertain = true;
                continue;
            }
        };
        let mut sighting = Sighting {
            name,
            path,
            meta,
            content: Content::Unopened,
            handle: None,
        };
        if !how.unopened {
            match look_into(env, known, &mut sighting, how.verify) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    env.open_failed(&sighting.path, &error);
                    sighting.content = Content::Unknown;
                    seen.uncertain = true;
                }
            }
        }
        // One descriptor of the look's share is for the file being opened.
        if sighting.handle.is_some() {
            kept += 1;
            if kept >= env.keeper.look_files_max {
                sighting.handle = None;
            }
        }
        seen.list.push(sighting);
    }
    seen
}

fn look_into(
    env: &mut Env,
    known: &[Known],
    sighting: &mut Sighting,
    verify: bool,
) -> io::Result<()> {
    if let Some((known, handle)) = held(env, known, &sighting.meta) {
        sighting.content = look_at_held(
            &mut env.heads,
            known,
            handle.as_ref(),
            &sighting.meta,
            verify,
        )?;
        return Ok(());
    }
    if let Some(known) = unchanged(known, &sighting.name, &sighting.meta)
        .filter(|known| !verify || known.segment.gone() == Some(Loss::Corrupt))
    {
        sighting.content = Content::Same(known.segment.serial);
        return Ok(());
    }
    let handle = open(env, &sighting.path)?;
    sighting.meta = handle.meta()?;
    if let Some((known, _)) = held(env, known, &sighting.meta) {
        sighting.content = Content::Same(known.segment.serial);
        return Ok(());
    }
    let gzip = sighting.name.gzip;
    sighting.content = match env
        .heads
        .read(handle.as_ref(), gzip, sighting.meta.len_bytes)
    {
        Ok(head) => match shortened(known, sighting, &head) {
            Some(serial) => Content::Rewritten(head, serial),
            None => Content::Head(head),
        },
        Err(Unreadable::Damaged) => Content::Damaged,
        Err(Unreadable::Failed(error)) => return Err(error),
    };
    sighting.handle = Some(handle);
    Ok(())
}

/// The segment that lies in this very file, which begins as it did and is shorter than it was.
fn shortened(known: &[Known], sighting: &Sighting, head: &Head) -> Option<u64> {
    let same = |known: &&Known| {
        !known.gzip
            && !sighting.name.gzip
            && known.segment.gone().is_none()
            && known.file == FileId::of(&sighting.meta)
            && known.last_name == sighting.name
            && known
                .segment
                .identity()
                .is_some_and(|identity| head.is(identity))
            && sighting.meta.len_bytes < known.raw_len
    };
    known.iter().find(same).map(|known| known.segment.serial)
}

/// The segment whose held descriptor is this very file.
fn held<'a>(
    env: &Env,
    known: &'a [Known],
    meta: &Meta,
) -> Option<(&'a Known, Arc<dyn FileHandle>)> {
    known.iter().find_map(|known| {
        let held = env.keeper.get(known.segment.serial)?;
        let same = FileId::of(&held.meta) == FileId::of(meta);
        same.then(|| (known, Arc::clone(&held.handle)))
    })
}

/// A held file is the same file, but it may have been truncated and written anew.
fn look_at_held(
    heads: &mut Heads,
    known: &Known,
    handle: &dyn FileHandle,
    meta: &Meta,
    verify: bool,
) -> io::Result<Content> {
    let same = Content::Same(known.segment.serial);
    let shorter = meta.len_bytes < known.raw_len;
    if known.gzip || !(shorter || verify) {
        return Ok(same);
    }
    let head = match heads.read(handle, false, meta.len_bytes) {
        Ok(head) => head,
        Err(Unreadable::Failed(error)) => return Err(error),
        Err(Unreadable::Damaged) => return Ok(same),
    };
    Ok(if shorter || !known.begins_like(&head) {
        Content::Rewritten(head, known.segment.serial)
    } else {
        same
    })
}

/// Opens a file; if no descriptor is left, after closing one that can be opened again.
pub fn open(env: &mut Env, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
    match env.files.open(path) {
        Err(error) if is_out_of_descriptors(&error) => {
            env.stats.open_errors.count(&error);
            env.keeper.close_cheapest(Worth::Live);
            env.files.open(path)
        }
        other => other,
    }
}
