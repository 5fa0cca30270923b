//! Chains and segments: what the catalog publishes and the workers read, lock-free on the data path.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Time;
use crate::files::{FileHandle, Files};
use crate::record::ChainMeta;

/// Hash of a segment's decompressed content up to and including the first LF, or of its first 1,024 bytes,
/// whichever comes first. Survives rename, gzip, inode reuse and reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u64);

impl Identity {
    /// How many bytes are looked at, at most.
    pub const BYTES_MAX: usize = 1024;

    /// The identity of content that begins with `head` (at least [`Self::BYTES_MAX`] bytes, or all there is).
    /// `None` while there is neither a line end nor enough bytes.
    pub fn of(head: &[u8]) -> Option<Identity> {
        let head = head.get(..Self::BYTES_MAX).unwrap_or(head);
        match memchr::memchr(b'\n', head) {
            Some(end) => Some(Identity(xxh3_64(head.get(..=end).unwrap_or(head)))),
            None if head.len() == Self::BYTES_MAX => Some(Identity(xxh3_64(head))),
            None => None,
        }
    }

    /// The identity of content that ended before it had one: the hash of all of it.
    pub fn of_ended(content: &[u8]) -> Identity {
        Self::of(content).unwrap_or_else(|| Identity(xxh3_64(content)))
    }
}

/// Where a segment's bytes are to be had at the moment.
#[derive(Clone)]
pub struct Source {
    /// The path it was last seen under.
    pub path: PathBuf,
    /// Whether the bytes at `path` are a gzip of the segment.
    pub gzip: bool,
    /// Kept open by the catalog within its budgets; `None`: to be opened by path for each use.
    pub handle: Option<Arc<dyn FileHandle>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.path.display(),
            if self.handle.is_some() { " (open)" } else { "" }
        )
    }
}

/// Why a segment's unread bytes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Deleted before it was read, with no descriptor held.
    Deleted,
    /// The keeper's budget ran out while it was unread.
    Budget,
    /// Truncated in place before it was read to its end.
    Truncated,
    /// The compressed file is damaged.
    Corrupt,
}

impl Loss {
    /// All of them, in index order.
    pub const ALL: [Loss; 4] = [Loss::Deleted, Loss::Budget, Loss::Truncated, Loss::Corrupt];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Loss::Deleted => "deleted",
            Loss::Budget => "keeper_budget",
            Loss::Truncated => "truncated",
            Loss::Corrupt => "corrupt_gzip",
        }
    }
}

/// One file of a chain, whatever its name, inode or compression is at the moment.
pub struct Segment {
    /// Unique in this process.
    pub serial: u64,
    identity: OnceLock<Identity>,
    len_bytes: AtomicU64,
    ended: AtomicBool,
    finished: AtomicBool,
    gone: OnceLock<Loss>,
    source: ArcSwap<Source>,
    /// Per slot of a sink: the decompressed offset up to which it has settled everything; `u64::MAX` when it wants
    /// nothing more of it, or where no sink is. Written by the sink's worker, read by the keeper.
    pub passed: Box<[AtomicU64]>,
}

impl Segment {
    /// A segment just found.
    pub fn new(serial: u64, sinks: usize, source: Source) -> Segment {
        Segment {
            serial,
            identity: OnceLock::new(),
            len_bytes: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            gone: OnceLock::new(),
            source: ArcSwap::from_pointee(source),
            passed: (0..sinks).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Its identity; `None` while it is too short to have one. A segment without identity is not read.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.get().copied()
    }

    /// Sets the identity, once; later calls change nothing.
    pub fn identify(&self, identity: Identity) {
        let _already: Result<(), Identity> = self.identity.set(identity);
    }

    /// The largest length observed, in decompressed bytes. For a gzip segment what its trailer says.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Ordering::Acquire)
    }

    /// Notes a length; the largest stands. Returns whether it grew.
    pub fn observe_len(&self, len_bytes: u64) -> bool {
        self.len_bytes.fetch_max(len_bytes, Ordering::AcqRel) < len_bytes
    }

    /// Whether nothing more is expected to be appended: an unfinished last line may be delivered as it is.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Marks it ended.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether it has no name any more, has ended, and has been quiet since for long enough: a sink that has read
    /// and accounted all of it settles it with `pass(sink, u64::MAX)`, so that it can leave the chain.
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Marks it finished (catalog only).
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Why no more of it can be read, if so.
    pub fn gone(&self) -> Option<Loss> {
        self.gone.get().copied()
    }

    /// Marks it unreadable: whatever a sink has not read is lost to that sink for this reason.
    pub fn lose(&self, why: Loss) {
        let _already: Result<(), Loss> = self.gone.set(why);
    }

    /// Where its bytes are now.
    pub fn source(&self) -> Arc<Source> {
        self.source.load_full()
    }

    /// Changes where its bytes are (catalog only).
    pub fn set_source(&self, source: Source) {
        self.source.store(Arc::new(source));
    }

    /// A handle to read from: the one the catalog holds, or one opened for this use only.
    ///
    /// The caller of a handle opened here must expect foreign content (the path may have a new owner) and compare
    /// the head with [`Segment::identity`] before it trusts it.
    pub fn open(&self, files: &dyn Files) -> io::Result<Opened> {
        let source = self.source.load();
        Ok(match &source.handle {
            Some(handle) => Opened {
                handle: Arc::clone(handle),
                gzip: source.gzip,
                verified: true,
            },
            None => Opened {
                handle: files.open(&source.path)?,
                gzip: source.gzip,
                verified: false,
            },
        })
    }

    /// Notes how far a sink has read.
    pub fn pass(&self, sink: usize, offset: u64) {
        if let Some(passed) = self.passed.get(sink) {
            passed.store(offset, Ordering::Release);
        }
    }

    /// The offset that every sink has passed.
    pub fn passed_by_all(&self) -> u64 {
        self.passed
            .iter()
            .map(|passed| passed.load(Ordering::Acquire))
            .min()
            .unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("serial", &self.serial)
            .field("identity", &self.identity())
            .field("len_bytes", &self.len_bytes())
            .field("ended", &self.ended())
            .field("gone", &self.gone())
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

/// What [`Segment::open`] gives.
pub struct Opened {
    /// The open file.
    pub handle: Arc<dyn FileHandle>,
    /// Whether it holds a gzip of the segment.
    pub gzip: bool,
    /// Whether the catalog has compared its head with the identity.
    pub verified: bool,
}

/// The log of one container instance.
#[derive(Debug)]
pub struct Chain {
    /// Hash of the key, the same in every run.
    pub hash: u64,
    /// Whether lines are docker json-file lines (else CRI).
    pub docker: bool,
    /// Whether it existed when the agent's first scan ran.
    pub preexisting: bool,
    /// Why its bytes are excluded for every sink, for ever, if they are: counted by length and never opened.
    pub excluded: Option<&'static str>,
    unopened: AtomicBool,
    meta: ArcSwap<ChainMeta>,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    ended: AtomicBool,
    forgotten: AtomicBool,
    complete: AtomicBool,
    unsure: AtomicBool,
    recheck: AtomicBool,
    /// The last modification seen of any segment, wall clock seconds: what `read_from: {age_max}` compares.
    pub modified_s: AtomicU64,
    unseen_since_ms: AtomicU64,
    /// The feeds whose workers own it.
    pub(super) owners: AtomicU64,
    pub(super) queued: AtomicU64,
}

impl Chain {
    /// A chain just found.
    pub fn new(
        meta: ChainMeta,
        docker: bool,
        preexisting: bool,
        excluded: Option<&'static str>,
    ) -> Chain {
        Chain {
            hash: meta.key.hash64(),
            docker,
            preexisting,
            excluded,
            unopened: AtomicBool::new(excluded.is_some()),
            meta: ArcSwap::from_pointee(meta),
            segments: ArcSwap::default(),
            ended: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            unsure: AtomicBool::new(false),
            recheck: AtomicBool::new(false),
            modified_s: AtomicU64::new(0),
            unseen_since_ms: AtomicU64::new(0),
            owners: AtomicU64::new(0),
            queued: AtomicU64::new(0),
        }
    }

    /// Whose it is. The pointer changes when something about it becomes known.
    pub fn meta(&self) -> Arc<ChainMeta> {
        self.meta.load_full()
    }

    /// Replaces the metadata (catalog only).
    pub fn set_meta(&self, meta: ChainMeta) {
        self.meta.store(Arc::new(meta));
    }

    /// Whether its files are not opened, because no sink wants it; or wants it, and they have not been looked into
    /// since. What exists until they have been is excluded.
    pub fn is_unopened(&self) -> bool {
        self.unopened.load(Ordering::Acquire)
    }

    /// Says whether they are (catalog only).
    pub fn set_unopened(&self, unopened: bool) {
        self.unopened.store(unopened, Ordering::Release);
    }

    /// Its segments, oldest first. A segment leaves the list when no byte of it can be read any more and every
    /// sink has settled its account of it (`passed` is `u64::MAX`).
    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    /// Replaces the segment list (catalog only).
    pub fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        self.segments.store(Arc::new(segments));
    }

    /// The moment after which the bytes that were found last were written: of the look before.
    pub fn unseen_since(&self) -> Time {
        Time::from_ms(self.unseen_since_ms.load(Ordering::Acquire))
    }

    /// Says it (catalog only).
    pub fn set_unseen_since(&self, looked_at: Time) {
        self.unseen_since_ms
            .store(looked_at.as_ms(), Ordering::Release);
    }

    /// Whether the container instance is over: nothing will be appended to any segment.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Marks it over (or not, when its directory comes back).
    pub fn set_ended(&self, ended: bool) {
        self.ended.store(ended, Ordering::Release);
    }

    /// Whether it has been absent for long enough that its cursors may be forgotten.
    pub fn forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Marks it forgotten (catalog only).
    pub fn forget(&self) {
        self.forgotten.store(true, Ordering::Release);
    }

    /// Whether the last listing could be believed and every file in it be looked into: a segment that the chain lacks
    /// is not there.
    pub fn complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether some file could not be looked into: it may be one between those that are known.
    pub fn unsure(&self) -> bool {
        self.unsure.load(Ordering::Acquire)
    }

    /// Says what the last listing was worth (catalog only): whether what it lacks is not there, and whether all that
    /// it found could be looked into.
    pub fn set_complete(&self, settled: bool, sure: bool) {
        self.complete.store(settled && sure, Ordering::Release);
        self.unsure.store(!sure, Ordering::Release);
    }

    /// Whether a worker of any sink has been told of it.
    pub fn is_introduced(&self) -> bool {
        self.owners.load(Ordering::Acquire) != 0
    }

    /// Workers have ended: nothing waits for them, and their feeds' bits may be others' (catalog only).
    pub(super) fn forget_feeds(&self, bits: u64) {
        self.owners.fetch_and(!bits, Ordering::AcqRel);
        self.queued.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Asks the catalog to look at this chain's directory at its next step: a worker found a file missing,
    /// replaced or truncated.
    pub fn request_look(&self) {
        self.recheck.store(true, Ordering::Release);
    }

    /// Whether a look has been asked for.
    pub fn wants_look(&self) -> bool {
        self.recheck.load(Ordering::Acquire)
    }

    /// Takes the request, if there is one (catalog only).
    pub fn take_look_request(&self) -> bool {
        self.recheck.swap(false, Ordering::AcqRel)
    }
}
