//! The accounts of one sink per chain, in decompressed file bytes, lines beside them.
//!
//! Invariant, at every look: `seen = excluded + dropped + delivered + lost + pending`. Every term is moved where
//! the thing happens; [`Accounts::balances`] is what tests and `/status` check.

use std::ops::AddAssign;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::catalog::chain::Loss;

/// Bytes of the log file, line headers and line ends included, and how many lines they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Decompressed file bytes.
    pub bytes: u64,
    /// Physical lines (a record joined from three parts is three).
    pub lines: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, rhs: Amount) {
        self.bytes += rhs.bytes;
        self.lines += rhs.lines;
    }
}

/// Why bytes were excluded: somebody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// `read_from` skipped what was there before the sink's first start.
    Backlog,
    /// The agent's own pod.
    OwnPod,
    /// A rule of `select`.
    Rule,
    /// An annotation of the pod.
    Annotation,
}

impl Exclusion {
    /// All of them, in index order. New ones come last: checkpoints know them by their place.
    pub const ALL: [Exclusion; 4] = [
        Exclusion::Backlog,
        Exclusion::OwnPod,
        Exclusion::Rule,
        Exclusion::Annotation,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Exclusion::Backlog => "backlog",
            Exclusion::OwnPod => "own_pod",
            Exclusion::Rule => "rule",
            Exclusion::Annotation => "annotation",
        }
    }
}

/// Why bytes that were read were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The part of a line beyond `record_bytes_max`.
    TooLong,
    /// The sink will never take the record; it is in the dead letters, if the sink said which one it is.
    Rejected,
    /// As `Rejected`, but the dead letters are full (or could not be written).
    DeadLetterFull,
    /// A run of NUL bytes at the start of a line: a hole that a crash or a truncation left in the file.
    NulHole,
}

impl Drop {
    /// All of them, in index order.
    pub const ALL: [Drop; 4] = [
        Drop::TooLong,
        Drop::Rejected,
        Drop::DeadLetterFull,
        Drop::NulHole,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Drop::TooLong => "too_long",
            Drop::Rejected => "rejected",
            Drop::DeadLetterFull => "dead_letter_full",
            Drop::NulHole => "nul_hole",
        }
    }
}

/// The accounts. Arrays are indexed by the enums above, in their `ALL` order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// The sum of the largest length observed of each segment.
    pub seen: u64,
    /// Not wanted.
    #[serde(deserialize_with = "amounts")]
    pub excluded: [Amount; Exclusion::ALL.len()],
    /// Wanted, read, not delivered.
    #[serde(deserialize_with = "amounts")]
    pub dropped: [Amount; Drop::ALL.len()],
    /// The sink has it.
    pub delivered: Amount,
    /// Could not be read.
    pub lost: [u64; Loss::ALL.len()],
    /// Neither yet: unread, open, or under way.
    pub pending: u64,
}

/// Amounts as they were written by this version or by one that knew fewer reasons.
fn amounts<'de, D: Deserializer<'de>, const COUNT: usize>(
    deserializer: D,
) -> Result<[Amount; COUNT], D::Error> {
    let found = Vec::<Amount>::deserialize(deserializer)?;
    if found.len() > COUNT {
        return Err(D::Error::invalid_length(found.len(), &"fewer reasons"));
    }
    let mut amounts = [Amount::default(); COUNT];
    for (place, amount) in amounts.iter_mut().zip(found) {
        *place = amount;
    }
    Ok(amounts)
}

impl Accounts {
    /// More bytes exist.
    pub fn see(&mut self, bytes: u64) {
        self.seen += bytes;
        self.pending += bytes;
    }

    /// The sink has them.
    pub fn deliver(&mut self, amount: Amount) {
        self.delivered += amount;
        self.settle(amount.bytes);
    }

    /// Nobody wants them.
    pub fn exclude(&mut self, why: Exclusion, amount: Amount) {
        self.excluded[why as usize] += amount;
        self.settle(amount.bytes);
    }

    /// They were given up.
    pub fn drop_for(&mut self, why: Drop, amount: Amount) {
        self.dropped[why as usize] += amount;
        self.settle(amount.bytes);
    }

    /// They could not be read.
    pub fn lose(&mut self, why: Loss, bytes: u64) {
        self.lost[why as usize] += bytes;
        self.settle(bytes);
    }

    fn settle(&mut self, bytes: u64) {
        debug_assert!(
            self.pending >= bytes,
            "settled {bytes} of {} pending bytes",
            self.pending
        );
        self.pending = self.pending.saturating_sub(bytes);
    }

    /// They left `pending`, whatever became of them; for a commit that carries amounts of every kind.
    pub fn apply(&mut self, delivered: Amount, dropped: &[Amount], excluded: &[Amount]) {
        self.deliver(delivered);
        for (mine, theirs) in self.dropped.iter_mut().zip(dropped) {
            *mine += *theirs;
        }
        for (mine, theirs) in self.excluded.iter_mut().zip(excluded) {
            *mine += *theirs;
        }
        self.settle(
            dropped
                .iter()
                .chain(excluded)
                .map(|amount| amount.bytes)
                .sum(),
        );
    }

    /// Everything that has left `pending`.
    pub fn settled(&self) -> u64 {
        let excluded: u64 = self.excluded.iter().map(|amount| amount.bytes).sum();
        let dropped: u64 = self.dropped.iter().map(|amount| amount.bytes).sum();
        excluded + dropped + self.delivered.bytes + self.lost.iter().sum::<u64>()
    }

    /// Whether the invariant holds.
    pub fn balances(&self) -> bool {
        self.seen == self.settled() + self.pending
    }
}

impl AddAssign<&Accounts> for Accounts {
    fn add_assign(&mut self, rhs: &Accounts) {
        self.seen += rhs.seen;
        for (mine, theirs) in self.excluded.iter_mut().zip(rhs.excluded) {
            *mine += theirs;
        }
        for (mine, theirs) in self.dropped.iter_mut().zip(rhs.dropped) {
            *mine += theirs;
        }
        self.delivered += rhs.delivered;
        for (mine, theirs) in self.lost.iter_mut().zip(rhs.lost) {
            *mine += theirs;
        }
        self.pending += rhs.pending;
    }
}
