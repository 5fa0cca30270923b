//! Which file is which segment: matching what a listing found with what is known. Pure.
//!
//! Invariant: a file is one segment, whatever its name, inode or compression. Content decides; an inode alone
//! decides only while the catalog holds it open (then the kernel cannot reuse it).

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Identity, Loss, Segment};
use super::head::{Head, Prefix};
use super::path::LogName;
use crate::clock::Time;
use crate::files::{FileHandle, Meta};

/// What the kernel calls a file: valid only while nobody deletes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that was looked at.
    pub fn of(meta: &Meta) -> FileId {
        FileId {
            device: meta.device,
            inode: meta.inode,
        }
    }
}

/// A name that a segment had in the last listing.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: LogName,
    /// What was there.
    pub meta: Meta,
}

/// A segment and where it was last seen.
#[derive(Debug)]
pub struct Known {
    /// The published part.
    pub segment: Arc<Segment>,
    /// Its names in the last listing; none: deleted, or its directory is gone.
    pub names: Vec<Named>,
    /// Its last name of all, for ordering.
    pub last_name: LogName,
    /// The file that its bytes are read from.
    pub file: FileId,
    /// Whether that file is a gzip.
    pub gzip: bool,
    /// Length of that file as stored.
    pub raw_len: u64,
    /// Timestamp of the first line, if it has one.
    pub stamp_ns: Option<i64>,
    /// The beginning of the content as long as it has no identity.
    pub prefix: Prefix,
    /// Whether its file is held open, so that no other file can be it.
    pub held: bool,
    /// When it was found.
    pub found_at: Time,
    /// When it last grew, or was found.
    pub grown_at: Time,
    /// Whether a settled listing lacked it.
    pub missed: bool,
    /// Whether its file has other content now, and no copy of it has been seen.
    pub truncated: bool,
    /// Whether the page cache has been told that nobody will read it again.
    pub cache_dropped: bool,
}

impl Known {
    /// Whether it is the file that the runtime appends to.
    pub fn live(&self) -> bool {
        self.names.iter().any(|named| named.name.live())
    }

    /// Whether its content begins like this. Content that ended without a line end may have been appended to since.
    pub fn begins_like(&self, head: &Head) -> bool {
        match self.segment.identity() {
            None => self.prefix.begins(&head.bytes),
            Some(identity) => head.is(identity) || self.continues(head),
        }
    }

    /// Whether it has no identity yet, or one made of all it had, and this begins with that.
    fn continues(&self, head: &Head) -> bool {
        let unfixed = |identity| self.prefix.len > 0 && identity == self.prefix.ended();
        self.segment.identity().is_none_or(unfixed) && self.prefix.begins(&head.bytes)
    }

    /// Whether a name of it was seen in the last listing exactly as it is now.
    fn is_unchanged(&self, name: &LogName, meta: &Meta) -> bool {
        self.names
            .iter()
            .any(|named| named.name == *name && named.meta == *meta)
    }
}

/// What is known of the content behind a name.
#[derive(Debug)]
pub enum Content {
    /// It is the segment with this serial: its descriptor is held, or nothing about the name has changed.
    Same(u64),
    /// This is how it begins.
    Head(Head),
    /// As `Head`, but found in the held file of the segment with this serial, which was truncated.
    Rewritten(Head, u64),
    /// Never opened, because the chain is excluded.
    Unopened,
    /// It could not be opened or read this time.
    Unknown,
    /// It is called a gzip and is none, or is not finished.
    Damaged,
}

impl Content {
    /// The head, where one was read.
    pub fn head(&self) -> Option<&Head> {
        match self {
            Content::Head(head) | Content::Rewritten(head, _) => Some(head),
            _ => None,
        }
    }
}

/// One name in a listing, looked into.
pub struct Sighting {
    /// The name.
    pub name: LogName,
    /// The path.
    pub path: PathBuf,
    /// What is there.
    pub meta: Meta,
    /// What it holds.
    pub content: Content,
    /// The descriptor that was opened for looking, if it may be kept.
    pub handle: Option<Arc<dyn FileHandle>>,
}

/// The known segment of which nothing about this name has changed since the last listing.
pub fn unchanged<'a>(known: &'a [Known], name: &LogName, meta: &Meta) -> Option<&'a Known> {
    known.iter().find(|known| known.is_unchanged(name, meta))
}

type Rule = fn(&Known, &Sighting) -> bool;

/// Strongest first. Each is tried on all sightings before the next, so that a weak match cannot take a segment from
/// a strong one.
const RULES: [Rule; 8] = [
    same_file,
    same_length_packed,
    same_name,
    same_start_of_file,
    same_start_of_name,
    same_identity,
    unopened_file,
    unopened_name,
];

/// For each sighting the index of the known segment that it is, or `None`.
pub fn assign(known: &[Known], sightings: &[Sighting]) -> Vec<Option<usize>> {
    let mut assigned: Vec<Option<usize>> = sightings
        .iter()
        .map(|sighting| match sighting.content {
            Content::Same(serial) => known
                .iter()
                .position(|known| known.segment.serial == serial),
            _ => None,
        })
        .collect();
    for rule in RULES {
        for (at, sighting) in sightings.iter().enumerate() {
            if assigned.get(at) != Some(&None) {
                continue;
            }
            let found = find(known, sightings, &assigned, sighting, rule);
            if let Some(place) = assigned.get_mut(at) {
                *place = found;
            }
        }
    }
    // What still has no segment may be a copy of one that has its file: only a timestamp makes equal heads a copy.
    for (place, sighting) in assigned.iter_mut().zip(sightings) {
        if place.is_none() {
            *place = known
                .iter()
                .position(|known| is_candidate(known, sighting) && is_copy(known, sighting));
        }
    }
    assigned
}

fn find(
    known: &[Known],
    sightings: &[Sighting],
    assigned: &[Option<usize>],
    sighting: &Sighting,
    rule: Rule,
) -> Option<usize> {
    let free = |index: usize| {
        let mut others = sightings.iter().zip(assigned);
        !others.any(|(other, place)| {
            *place == Some(index)
                && (other.name.gzip == sighting.name.gzip || other.name.base != sighting.name.base)
        })
    };
    let fits = |gone: bool| {
        known.iter().enumerate().position(|(index, known)| {
            known.segment.gone().is_some() == gone
                && is_candidate(known, sighting)
                && (!gone || may_return(known, sighting))
                && rule(known, sighting)
                && free(index)
        })
    };
    // A lost segment keeps its name if it comes back after all, but never takes one that another could have.
    fits(false).or_else(|| fits(true))
}

/// Whether a file can be one that was lost. What is assigned to a lost segment is not read, so there must be no
/// doubt: without a timestamp it may as well be new content with an old first line.
fn may_return(known: &Known, sighting: &Sighting) -> bool {
    let stamp = sighting.content.head().and_then(|head| head.stamp_ns);
    match known.segment.gone() {
        Some(Loss::Corrupt) => is_file(known, sighting),
        Some(Loss::Deleted | Loss::Budget) => stamp.is_some(),
        Some(Loss::Truncated) | None => false,
    }
}

/// A file that was truncated is no longer the segment it was.
fn is_candidate(known: &Known, sighting: &Sighting) -> bool {
    !matches!(sighting.content, Content::Rewritten(_, serial) if serial == known.segment.serial)
}

/// Emptiness is the same everywhere: it takes an unbroken hold on a name to know it again.
fn equal_identity(known: &Known, sighting: &Sighting) -> bool {
    let kept_name = !known.names.is_empty() && known.last_name.base == sighting.name.base;
    let same = |(head, identity): (&Head, Identity)| {
        head.is(identity) && (kept_name || !head.bytes.is_empty())
    };
    sighting
        .content
        .head()
        .zip(known.segment.identity())
        .is_some_and(same)
}

fn is_file(known: &Known, sighting: &Sighting) -> bool {
    known.file == FileId::of(&sighting.meta) && known.gzip == sighting.name.gzip
}

/// A name goes from the live one to a rotated one, and from number to number, and not else.
fn may_be_renamed(known: &Known, sighting: &Sighting) -> bool {
    let (before, now) = (&known.last_name, &sighting.name);
    before.base == now.base || before.live() || (before.is_numbered() && now.is_numbered())
}

/// A file only grows. What is shorter or renamed otherwise is another file with a reused inode.
fn same_file(known: &Known, sighting: &Sighting) -> bool {
    equal_identity(known, sighting)
        && is_file(known, sighting)
        && sighting.meta.len_bytes >= known.raw_len
        && may_be_renamed(known, sighting)
}

fn same_length_packed(known: &Known, sighting: &Sighting) -> bool {
    let packed_len = sighting.content.head().and_then(|head| head.gzip_len);
    equal_identity(known, sighting) && !known.gzip && packed_len == Some(known.raw_len as u32)
}

/// Whether something speaks against it being the same content under another inode of the same file system, where no
/// timestamp speaks for it: the live name changes hands at every rotation, and a held file is where it is.
fn is_doubtful(known: &Known, sighting: &Sighting) -> bool {
    let head = sighting.content.head();
    let stamped = head.is_some_and(|head| head.stamp_ns.is_some());
    let moved = known.file.device != sighting.meta.device;
    let packed_len = head.and_then(|head| head.gzip_len);
    let is_packed = !known.gzip && packed_len == Some(known.raw_len as u32);
    let elsewhere = sighting.name.live() || (known.held && !is_packed);
    !stamped && !moved && elsewhere
}

fn same_name(known: &Known, sighting: &Sighting) -> bool {
    equal_identity(known, sighting)
        && known.last_name.base == sighting.name.base
        && !is_doubtful(known, sighting)
}

/// In order; but none is unpacked.
fn same_identity(known: &Known, sighting: &Sighting) -> bool {
    let unpacked = known.gzip && !sighting.name.gzip;
    equal_identity(known, sighting)
        && may_be_renamed(known, sighting)
        && !unpacked
        && !is_doubtful(known, sighting)
}

fn continues(known: &Known, sighting: &Sighting) -> bool {
    sighting
        .content
        .head()
        .is_some_and(|head| known.continues(head))
}

/// Of an empty file, whose inode may be anybody's by now, only an unbroken hold on its name can say that.
fn same_start_of_file(known: &Known, sighting: &Sighting) -> bool {
    let kept_name = !known.names.is_empty() && known.last_name.base == sighting.name.base;
    continues(known, sighting) && is_file(known, sighting) && (known.prefix.len > 0 || kept_name)
}

/// Compressed since: the inode is another. A name that was given since needs a prefix that is more than the date.
fn same_start_of_name(known: &Known, sighting: &Sighting) -> bool {
    const PREFIX_BYTES_MIN: usize = 32;
    let renamed = known.last_name.live() && known.prefix.len >= PREFIX_BYTES_MIN;
    continues(known, sighting)
        && sighting.name.gzip
        && known.prefix.len > 0
        && (known.last_name.base == sighting.name.base || renamed)
}

fn is_copy(known: &Known, sighting: &Sighting) -> bool {
    let stamp = sighting.content.head().and_then(|head| head.stamp_ns);
    equal_identity(known, sighting) && stamp.is_some() && known.segment.gone().is_none()
}

/// Whether it was found while nobody wanted its chain, so that only its file and its name are known.
fn was_never_opened(known: &Known) -> bool {
    known.segment.identity().is_none() && known.prefix.len == 0 && known.raw_len > 0
}

fn unopened_file(known: &Known, sighting: &Sighting) -> bool {
    let unopened = matches!(sighting.content, Content::Unopened);
    (unopened || was_never_opened(known))
        && may_be_renamed(known, sighting)
        && is_file(known, sighting)
        && sighting.meta.len_bytes >= known.raw_len
}

fn unopened_name(known: &Known, sighting: &Sighting) -> bool {
    (matches!(sighting.content, Content::Unopened) || was_never_opened(known))
        && sighting.name.gzip
        && known.last_name.base == sighting.name.base
}

/// Which sightings that are no known segment are one and the same new one: a file with its compressed form, or with
/// its copies.
pub fn group(new: Vec<Sighting>) -> Vec<Vec<Sighting>> {
    let mut groups: Vec<Vec<Sighting>> = Vec::new();
    for sighting in new {
        let same = |group: &&mut Vec<Sighting>| {
            group
                .first()
                .is_some_and(|first| is_same_new(first, &sighting))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(sighting),
            None => groups.push(vec![sighting]),
        }
    }
    groups
}

fn is_same_new(first: &Sighting, second: &Sighting) -> bool {
    if first.name.base == second.name.base && matches!(first.content, Content::Unopened) {
        return true;
    }
    let (Some(one), Some(two)) = (first.content.head(), second.content.head()) else {
        return false;
    };
    let alike = match (one.identity, two.identity) {
        (Some(one), _) => two.is(one),
        (None, Some(two)) => one.is(two),
        (None, None) => false,
    };
    alike
        && (first.name.base == second.name.base
            || (one.stamp_ns.is_some() && two.stamp_ns.is_some()))
}

/// Where a new segment belongs among the known ones, whose order stands: by first timestamp where both have one,
/// else by name; the live file last.
pub fn place(known: &[Known], name: &LogName, stamp_ns: Option<i64>) -> usize {
    let later = |known: &Known| -> bool {
        if name.live() {
            return false;
        }
        if known.live() {
            return true;
        }
        match (known.stamp_ns, stamp_ns) {
            (Some(theirs), Some(mine)) if theirs != mine => theirs > mine,
            // It was the live file, and lost that name and every other since: what has a name now came later.
            _ if known.last_name.live() => false,
            _ => known.last_name.age_order(name) == Ordering::Greater,
        }
    };
    known.iter().position(later).unwrap_or(known.len())
}

#[cfg(test)]
mod tests;
