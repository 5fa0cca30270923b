//! The durable cursors of one worker of one sink, with the accounts that belong to them.
//!
//! A file is a header line, one line per chain, and a footer with a checksum. It is written beside the old one,
//! synced and renamed; the old one is kept as `.previous`. A file that does not check out is put aside, and the
//! previous one is used.

mod deal;
mod file;
mod store;

pub use self::deal::deal;
pub use self::file::{DecodeError, decode, encode};
pub use self::store::{FileStore, Left, LoadError, Loaded, Store, load};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::chain::{Identity, Loss};
use crate::pipeline::chains::{ChainState, Replay, SegmentState};
use crate::pipeline::ledger::Accounts;
use crate::pipeline::payload::{Cursors, Frontier, Skip};
use crate::pods::PodState;
use crate::record::{ChainKey, ChainMeta};

/// Where one worker stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Accounts of forgotten chains.
    pub folded: Accounts,
    /// Where it stands in each chain.
    pub chains: Vec<SavedChain>,
}

/// Where it stands in one chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "ChainLine", into = "ChainLine")]
pub struct SavedChain {
    /// Whose; namespace and pod are for `/status` before the chain is found again. The container id is not kept.
    pub meta: Arc<ChainMeta>,
    /// Its accounts; `pending` is what was not settled.
    pub accounts: Accounts,
    /// Its segments, oldest first.
    pub segments: Vec<SavedSegment>,
    /// Whether it was excluded as a whole.
    pub excluded: bool,
    /// Bytes in the accounts that belong to segments without identity, which are not among `segments`.
    pub counted: u64,
}

/// By what is kept.
impl PartialEq for SavedChain {
    fn eq(&self, other: &SavedChain) -> bool {
        let (mine, theirs) = (&self.meta, &other.meta);
        (&mine.key, &mine.namespace, &mine.pod) == (&theirs.key, &theirs.namespace, &theirs.pod)
            && self.accounts == other.accounts
            && self.segments == other.segments
            && (self.excluded, self.counted) == (other.excluded, other.counted)
    }
}

/// [`SavedChain`] as it stands in the file.
#[derive(Serialize, Deserialize)]
struct ChainLine {
    pod_uid: String,
    container: String,
    restart: u32,
    namespace: String,
    pod: String,
    accounts: Accounts,
    segments: Vec<SavedSegment>,
    #[serde(default)]
    excluded: bool,
    #[serde(default)]
    counted: u64,
}

impl From<SavedChain> for ChainLine {
    fn from(saved: SavedChain) -> ChainLine {
        let meta = saved.meta;
        ChainLine {
            pod_uid: meta.key.pod_uid.clone(),
            container: meta.key.container.clone(),
            restart: meta.key.restart,
            namespace: meta.namespace.clone(),
            pod: meta.pod.clone(),
            accounts: saved.accounts,
            segments: saved.segments,
            excluded: saved.excluded,
            counted: saved.counted,
        }
    }
}

impl From<ChainLine> for SavedChain {
    fn from(line: ChainLine) -> SavedChain {
        let meta = ChainMeta {
            key: ChainKey {
                pod_uid: line.pod_uid,
                container: line.container,
                restart: line.restart,
            },
            namespace: line.namespace,
            pod: line.pod,
            container_id: String::new(),
            pod_state: PodState::Unasked,
        };
        SavedChain {
            meta: Arc::new(meta),
            accounts: line.accounts,
            segments: line.segments,
            excluded: line.excluded,
            counted: line.counted,
        }
    }
}

/// Where it stands in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSegment {
    /// Which.
    pub identity: u64,
    /// Largest length observed.
    pub seen: u64,
    /// Bytes settled.
    pub settled: u64,
    /// Per stream: everything below is settled.
    pub cursors: [u64; 2],
    /// Everything below has been read: whatever is not part of an open record is settled.
    pub read: u64,
    /// Why the rest of it was given up, if it was.
    #[serde(default)]
    pub lost: Option<Loss>,
    /// Whether `read` lies inside a line.
    #[serde(default)]
    pub skip: Skip,
    /// Offset, length and hash of the bytes before the read position.
    #[serde(default)]
    pub frontier: (u64, u8, u64),
}

impl Checkpoint {
    /// What the given states say.
    pub fn of<'a>(folded: Accounts, chains: impl Iterator<Item = &'a ChainState>) -> Checkpoint {
        Checkpoint {
            folded,
            chains: chains.map(SavedChain::of).collect(),
        }
    }
}

impl SavedChain {
    /// What one state says.
    pub fn of(state: &ChainState) -> SavedChain {
        let mut segments = Vec::with_capacity(state.segments.len() + state.missing.len());
        let known = state.segments.iter().chain(&state.missing);
        segments.extend(known.filter_map(SavedSegment::of));
        let nameless = state.segments.iter().filter(|it| it.identity.is_none());
        let counted: u64 = nameless.map(|segment| segment.settled).sum();
        SavedChain {
            meta: Arc::clone(&state.meta),
            accounts: state.accounts,
            segments,
            excluded: state.shut,
            counted: state.counted + counted,
        }
    }

    /// Its key.
    pub fn key(&self) -> ChainKey {
        self.meta.key.clone()
    }

    /// The state to go on from. What was seen of segments without identity is seen again when they have one.
    pub fn into_state(self) -> ChainState {
        let mut state = ChainState::new(self.meta);
        state.fresh = false;
        state.counted = self.counted;
        state.shut = self.excluded;
        state.accounts = self.accounts;
        let kept: u64 = self
            .segments
            .iter()
            .map(|saved| saved.seen - saved.settled.min(saved.seen))
            .sum();
        let unsaved = state.accounts.pending.saturating_sub(kept);
        state.accounts.pending -= unsaved;
        state.accounts.seen = state.accounts.seen.saturating_sub(unsaved);
        for saved in self.segments {
            let Some(loss) = saved.lost else {
                state.missing.push(saved.into_state());
                continue;
            };
            // What was under way of it cannot be read again. Damaged files stay where they are and must not be read
            // again; others are gone, and what comes in their place is new.
            state
                .accounts
                .lose(loss, saved.seen - saved.settled.min(saved.seen));
            if loss == Loss::Corrupt {
                state.missing.push(
                    SavedSegment {
                        settled: saved.seen,
                        ..saved
                    }
                    .into_state(),
                );
            }
        }
        state
    }
}

impl SavedSegment {
    fn of(state: &SegmentState) -> Option<SavedSegment> {
        let frontier = state.cursors.frontier;
        Some(SavedSegment {
            identity: state.identity?.0,
            seen: state.seen,
            settled: state.settled,
            cursors: state.cursors.at,
            read: state.cursors.read,
            lost: state.lost,
            skip: state.cursors.skip,
            frontier: (frontier.at, frontier.len, frontier.hash),
        })
    }

    fn into_state(self) -> SegmentState {
        let (at, len, hash) = self.frontier;
        let cursors = Cursors {
            at: self.cursors,
            read: self.read,
            skip: self.skip,
            frontier: Frontier {
                at,
                len: len.min(Frontier::BYTES_MAX as u8),
                hash,
            },
        };
        let mut state =
            SegmentState::resumed(Identity(self.identity), self.seen, self.settled, cursors);
        if self.lost.is_some() {
            state.read = self.seen;
            state.replay = Replay::default();
            state.lost = self.lost;
        }
        state
    }
}
