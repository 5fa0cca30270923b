//! Where one sink stands in each chain: what has been seen, read and settled, per segment.
//!
//! There is a position per segment, not one per chain: a late write to a rotated segment, or a segment that turns up
//! out of order, is then simply a segment with unread bytes.
//!
//! Invariants, per segment: `cursors <= read <= seen`; `settled` counts each settled byte once; what is neither
//! settled nor unread is in the join pool, the builder or the delivery.

use std::sync::Arc;

use super::judge::Flow;
use super::ledger::{Accounts, Amount, Exclusion};
use super::payload::{Cursors, Frontier, Skip};
use crate::catalog::chain::{Chain, Identity, Loss, Segment};
use crate::clock::Time;
use crate::record::{ChainKey, ChainMeta, Stream};
use crate::select::plan::{Decision, Plan};
use crate::tail::multiline::State;
use crate::tail::read::Inflating;

/// One segment, as one sink stands to it.
#[derive(Clone, Debug)]
pub struct SegmentState {
    /// The catalog's segment; `None` while only the checkpoint knows it.
    pub segment: Option<Arc<Segment>>,
    /// The segment's serial; 0 while only the checkpoint knows it.
    pub serial: u64,
    /// Known when anything was read of it.
    pub identity: Option<Identity>,
    /// Largest length observed, counted in the accounts.
    pub seen: u64,
    /// Everything below has been taken into the pipeline.
    pub read: u64,
    /// What the next line end closes, if reading is inside a line.
    pub skip: Skip,
    /// The bytes before `read`.
    pub frontier: Frontier,
    /// Whether `frontier` comes from a checkpoint and has not been compared yet.
    pub verify: bool,
    /// What had been settled before a restart.
    pub replay: Replay,
    /// Bytes that have left `pending`.
    pub settled: u64,
    /// The durable cursors.
    pub cursors: Cursors,
    /// The length at which an unfinished last line was found: not looked at again before it has grown.
    pub tail_seen: u64,
    /// Why the rest of it is given up, if it is.
    pub lost: Option<Loss>,
    /// It turned up after a newer one had been read: what its open records go on with may have been passed.
    pub late: bool,
    /// All of it was written while the chain was excluded, whatever more of it may be found.
    pub dismissed: bool,
}

/// After a restart reading begins again at the oldest open record. Up to where reading stood before, only the parts of
/// open records are taken again; everything else there is settled and passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replay {
    /// Where reading stood.
    pub to: u64,
    /// Per stream: lines of it that begin below were settled.
    pub below: [u64; 2],
    /// What reading stood inside of, at `to`.
    pub skip: Skip,
    /// Bytes at or above the read position that were settled.
    pub ahead: u64,
    /// The line whose rest is being skipped was settled.
    pub skips_settled: bool,
}

impl Replay {
    /// Whether bytes at `at` were read before the restart.
    pub fn covers(&self, at: u64) -> bool {
        at < self.to
    }

    /// Notes that settled bytes were passed over.
    pub fn pass(&mut self, bytes: u64) {
        self.ahead = self.ahead.saturating_sub(bytes);
    }
}

impl SegmentState {
    /// A segment of which nothing has been read.
    pub fn new(segment: &Arc<Segment>) -> SegmentState {
        SegmentState {
            segment: Some(Arc::clone(segment)),
            serial: segment.serial,
            identity: segment.identity(),
            seen: 0,
            read: 0,
            skip: Skip::No,
            frontier: Frontier::default(),
            verify: false,
            replay: Replay::default(),
            settled: 0,
            cursors: Cursors::default(),
            tail_seen: 0,
            lost: None,
            late: false,
            dismissed: false,
        }
    }

    /// A segment as a checkpoint left it.
    pub fn resumed(identity: Identity, seen: u64, settled: u64, cursors: Cursors) -> SegmentState {
        let read = cursors.at[0].min(cursors.at[1]).min(cursors.read);
        let replays = read < cursors.read;
        SegmentState {
            segment: None,
            serial: 0,
            identity: Some(identity),
            seen,
            read,
            skip: if replays { Skip::No } else { cursors.skip },
            frontier: cursors.frontier,
            verify: cursors.frontier.len > 0,
            replay: if replays {
                let ahead = settled.saturating_sub(read);
                let (to, below, skip) = (cursors.read, cursors.at, cursors.skip);
                Replay {
                    to,
                    below,
                    skip,
                    ahead,
                    skips_settled: false,
                }
            } else {
                Replay::default()
            },
            settled,
            cursors,
            tail_seen: 0,
            lost: None,
            late: false,
            dismissed: false,
        }
    }

    /// Whether a turn would find something to do.
    pub fn has_work(&self) -> bool {
        let Some(segment) = &self.segment else {
            return false;
        };
        let grown = self.seen > self.tail_seen || segment.ended();
        self.lost.is_none() && self.identity.is_some() && self.read < self.seen && grown
    }

    /// Whether bytes that cannot be taken yet forbid going on to the next segment.
    fn blocks(&self) -> bool {
        self.lost.is_none() && self.read < self.seen
    }

    /// Says in the catalog how far this sink is with it. What is read and not settled counts as unread: whoever goes on
    /// from the checkpoint, another worker of this process included, has to find it.
    pub fn publish(&self, sink: usize) {
        let Some(segment) = &self.segment else {
            return;
        };
        let over = segment.finished() && self.read >= self.seen && self.is_over();
        let settled = self.cursors.at[0].min(self.cursors.at[1]);
        segment.pass(
            sink,
            match self.lost.is_some() || over {
                true => u64::MAX,
                false => settled.min(self.cursors.read),
            },
        );
    }

    /// Whether this state may be forgotten: nothing in it is pending and nothing more can come.
    fn is_over(&self) -> bool {
        self.settled >= self.seen
    }
}

/// One chain, as one sink stands to it.
#[derive(Debug)]
pub struct ChainState {
    /// The catalog's chain; `None` while only the checkpoint knows it.
    pub chain: Option<Arc<Chain>>,
    /// Whose.
    pub meta: Arc<ChainMeta>,
    /// The same, in the sink's format.
    pub described: Vec<u8>,
    /// What this sink does with it.
    pub plan: Arc<Plan>,
    /// Whether all of it is excluded: by the plan, or because its files have not been looked into since it was by all
    /// sinks' plans.
    pub shut: bool,
    /// The key as text: what the uids of its records begin with.
    pub uid_base: String,
    /// Oldest first.
    pub segments: Vec<SegmentState>,
    /// Segments of the checkpoint that have not been found.
    pub missing: Vec<SegmentState>,
    /// Its accounts.
    pub accounts: Accounts,
    /// Whether a record is open in the join pool, per stream.
    pub open: [bool; 2],
    /// Whether a group of lines is open in the join pool, per stream.
    pub grouped: [bool; 2],
    /// Where the grammar of groups stands, per stream; also behind a group that was cut at a bound.
    pub group: [State; 2],
    /// Whether that record's next part may be among what was lost: what comes is not joined to it.
    pub severed: [bool; 2],
    /// Whether it waits in the schedule.
    pub scheduled: bool,
    /// Until its next turn: no byte that waits for it was written before this moment.
    pub unseen_since: Option<Time>,
    /// After an error: not before this.
    pub retry_at: Time,
    /// Errors in a row.
    pub errors: u32,
    /// The last of them.
    pub error: Option<String>,
    /// The gzip segment being inflated.
    pub inflating: Option<Box<Inflating>>,
    /// What judging its records remembers of them, if anything.
    pub flow: Option<Box<Flow>>,
    /// Never seen by this sink before (no checkpoint).
    pub fresh: bool,
    /// Bytes of segments without identity that were excluded before a restart: not counted again.
    pub counted: u64,
}

impl ChainState {
    /// A chain of which this sink knows nothing.
    pub fn new(meta: Arc<ChainMeta>) -> ChainState {
        ChainState {
            chain: None,
            described: Vec::new(),
            plan: Arc::default(),
            shut: false,
            uid_base: meta.key.to_string(),
            meta,
            segments: Vec::new(),
            missing: Vec::new(),
            accounts: Accounts::default(),
            open: [false; 2],
            grouped: [false; 2],
            group: [State::Idle; 2],
            severed: [false; 2],
            scheduled: false,
            unseen_since: None,
            retry_at: Time::ZERO,
            errors: 0,
            error: None,
            inflating: None,
            flow: None,
            fresh: true,
            counted: 0,
        }
    }

    /// Its key.
    pub fn key(&self) -> &ChainKey {
        &self.meta.key
    }

    /// The segment to read next: the first with something to do, unless an older one must be finished first.
    pub fn next_segment(&self) -> Option<usize> {
        if self.shut || self.plan.decision != Decision::Collect {
            return None;
        }
        for (at, segment) in self.segments.iter().enumerate() {
            if segment.has_work() {
                return Some(at);
            }
            if segment.blocks() {
                return None;
            }
        }
        None
    }

    /// So many bytes more of a segment were read.
    pub fn advance(&mut self, at: usize, bytes: u64) {
        if let Some(state) = self.segments.get_mut(at) {
            state.read += bytes;
        }
    }

    /// Bytes that have not been read.
    pub fn unread(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.seen.saturating_sub(segment.read))
            .sum()
    }

    /// The segment with that serial.
    pub fn segment_mut(&mut self, serial: u64) -> Option<&mut SegmentState> {
        self.segments
            .iter_mut()
            .find(|segment| segment.serial == serial)
    }

    /// Takes over what the catalog says now. Returns what happened that is to be counted.
    pub fn observe(&mut self, sink: usize) -> Observed {
        let mut observed = Observed::default();
        let Some(chain) = self.chain.clone() else {
            return observed;
        };
        let known = chain.segments();
        let mut new = Vec::new();
        let mut states = std::mem::take(&mut self.segments);
        self.segments.reserve_exact(known.len());
        for segment in known.iter() {
            let at = states.iter().position(|state| {
                state
                    .segment
                    .as_ref()
                    .is_some_and(|known| known.serial == segment.serial)
            });
            let mut state = match at {
                Some(at) => states.remove(at),
                None => SegmentState::new(segment),
            };
            if state.identity.is_none() || at.is_none() {
                state.identity = segment.identity();
                state = self.resume(state);
            }
            new.push(at.is_none());
            self.segments.push(state);
        }
        let newest_read = self
            .segments
            .iter()
            .zip(&new)
            .rposition(|(state, new)| !new && state.read > 0)
            .unwrap_or(0);
        for (state, new) in self.segments.iter_mut().zip(new).take(newest_read) {
            state.late |= new;
        }
        // Not listed any more: kept only while something of it is under way.
        states.retain(|state| !state.is_over());
        self.segments.splice(0..0, states);
        for state in &mut self.segments {
            if state.identity.is_none() && !self.missing.is_empty() {
                // It may be one that the checkpoint knows, and is counted already.
                continue;
            }
            pass_counted(state, &mut self.counted);
            settle_with(state, &mut self.accounts, sink, &mut observed);
        }
        if chain.complete() {
            self.counted = 0;
            self.lose_missing(&mut observed);
        }
        if observed.lost {
            self.sever();
        }
        observed
    }

    /// Bytes were lost: open records have no end that is known to be theirs.
    pub fn sever(&mut self) {
        self.severed = [0, 1].map(|stream| self.open[stream] || self.grouped[stream]);
    }

    /// Whether lines of that stream may belong together.
    pub fn groups(&self, stream: Stream) -> bool {
        self.plan.multiline.is_some() || self.grouped[stream.index()]
    }

    /// A segment that the checkpoint knows goes on where it was.
    fn resume(&mut self, state: SegmentState) -> SegmentState {
        let Some(identity) = state.identity else {
            return state;
        };
        let found = self.missing.iter().position(|missing| {
            missing.identity == Some(identity) && state.read == 0 && state.seen == 0
        });
        let Some(found) = found else { return state };
        let mut resumed = self.missing.remove(found);
        resumed.segment = state.segment;
        resumed.serial = state.serial;
        resumed
    }

    /// What the checkpoint knows and the directory does not hold is lost, once every file in it has been looked into
    /// and identified.
    fn lose_missing(&mut self, observed: &mut Observed) {
        let unclear = self
            .segments
            .iter()
            .any(|segment| segment.identity.is_none());
        if self.missing.is_empty() || unclear {
            return;
        }
        let found_some = self.segments.iter().any(|segment| segment.settled > 0);
        observed.gap = !found_some && !self.segments.is_empty();
        for missing in std::mem::take(&mut self.missing) {
            self.accounts
                .lose(Loss::Deleted, missing.seen.saturating_sub(missing.settled));
        }
    }

    /// The chain is excluded, so that its segments get no identity: those of the checkpoint will not be found among
    /// them by that. What of them is not settled is excluded, and none of it is counted again.
    pub fn exclude_missing(&mut self, why: Exclusion) {
        let unseen = self.segments.is_empty();
        for missing in std::mem::take(&mut self.missing) {
            let bytes = missing.seen.saturating_sub(missing.settled);
            self.accounts.exclude(why, Amount { bytes, lines: 0 });
            if unseen {
                self.counted += missing.seen;
            }
        }
    }

    /// The chain is gone for good: what is unread is lost.
    pub fn abandon(&mut self) {
        for missing in std::mem::take(&mut self.missing) {
            self.accounts
                .lose(Loss::Deleted, missing.seen.saturating_sub(missing.settled));
        }
        for state in &mut self.segments {
            lose_unread(state, &mut self.accounts, Loss::Deleted);
        }
    }

    /// Skips what exists now, because `read_from` says so: up to `upto` of the segment at `at`.
    pub fn exclude_backlog(&mut self, at: usize, upto: u64) {
        let Some(state) = self.segments.get_mut(at) else {
            return;
        };
        let skipped = upto.saturating_sub(state.read);
        if skipped == 0 {
            return;
        }
        self.accounts.exclude(
            Exclusion::Backlog,
            Amount {
                bytes: skipped,
                lines: 0,
            },
        );
        state.read = upto;
        state.settled += skipped;
        state.skip = Skip::Backlog;
        state.cursors = Cursors {
            at: [upto; 2],
            read: upto,
            skip: Skip::Backlog,
            frontier: Frontier::default(),
        };
    }
}

/// What [`ChainState::observe`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Segments truncated in place.
    pub truncations: u64,
    /// Something was given up.
    pub lost: bool,
    /// All segments that the checkpoint knew are gone, others are there: some in between may never have been seen.
    pub gap: bool,
}

/// Brings one segment's state up to what the catalog knows of it.
fn settle_with(
    state: &mut SegmentState,
    accounts: &mut Accounts,
    sink: usize,
    observed: &mut Observed,
) {
    let Some(segment) = state.segment.clone() else {
        return;
    };
    see(state, accounts, segment.len_bytes());
    match (segment.gone(), state.lost) {
        (Some(loss), None) => {
            observed.truncations += u64::from(loss == Loss::Truncated);
            observed.lost = true;
            lose_unread(state, accounts, loss);
        }
        // What was given up may still be seen to grow.
        (_, Some(loss)) => lose_unread(state, accounts, loss),
        (None, None) => {}
    }
    state.publish(sink);
}

/// What was counted before a restart, of a segment that nobody could identify then, is not counted again.
fn pass_counted(state: &mut SegmentState, counted: &mut u64) {
    let Some(segment) = state.segment.as_ref().filter(|_| *counted > 0) else {
        return;
    };
    let passed = segment.len_bytes().min(*counted);
    if state.seen == 0 && passed > 0 {
        *counted -= passed;
        state.seen = passed;
        state.settled = passed;
        state.read = passed;
        state.cursors = Cursors {
            at: [state.read; 2],
            read: state.read,
            skip: Skip::Excluded,
            frontier: Frontier::default(),
        };
        state.skip = Skip::Excluded;
    }
}

/// Counts newly observed length.
pub fn see(state: &mut SegmentState, accounts: &mut Accounts, len_bytes: u64) {
    let grown = len_bytes.saturating_sub(state.seen);
    if grown > 0 {
        accounts.see(grown);
        state.seen = len_bytes;
    }
}

/// Gives up what has not been read of a segment.
pub fn lose_unread(state: &mut SegmentState, accounts: &mut Accounts, loss: Loss) {
    let unread = state
        .seen
        .saturating_sub(state.read)
        .saturating_sub(state.replay.ahead);
    accounts.lose(loss, unread);
    state.settled += unread;
    state.read = state.seen;
    state.replay = Replay::default();
    state.skip = Skip::No;
    state.lost.get_or_insert(loss);
}
