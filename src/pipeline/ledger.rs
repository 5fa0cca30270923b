//! The accounts of one sink per chain, in decompressed file bytes, lines beside them.
//!
//! Invariant, at every look: `seen = excluded + dropped + delivered + lost + pending`. Every term is moved where
//! the thing happens; [`Accounts::balances`] is what tests and `/status` check.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

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
    /// Records less urgent than `min_level`.
    MinLevel,
    /// Records that `include` or `exclude` leaves out.
    Lines,
    /// Records that are not in the sample.
    Sampled,
    /// The same message again.
    Repeated,
}

impl Exclusion {
    /// All of them, in index order. New ones come last: checkpoints know them by their place.
    pub const ALL: [Exclusion; 8] = [
        Exclusion::Backlog,
        Exclusion::OwnPod,
        Exclusion::Rule,
        Exclusion::Annotation,
        Exclusion::MinLevel,
        Exclusion::Lines,
        Exclusion::Sampled,
        Exclusion::Repeated,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Exclusion::Backlog => "backlog",
            Exclusion::OwnPod => "own_pod",
            Exclusion::Rule => "rule",
            Exclusion::Annotation => "annotation",
            Exclusion::MinLevel => "min_level",
            Exclusion::Lines => "lines",
            Exclusion::Sampled => "sampled",
            Exclusion::Repeated => "repeated",
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
    /// More than the pod or its namespace may send.
    Rate,
}

impl Drop {
    /// All of them, in index order.
    pub const ALL: [Drop; 5] = [
        Drop::TooLong,
        Drop::Rejected,
        Drop::DeadLetterFull,
        Drop::NulHole,
        Drop::Rate,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Drop::TooLong => "too_long",
            Drop::Rejected => "rejected",
            Drop::DeadLetterFull => "dead_letter_full",
            Drop::NulHole => "nul_hole",
            Drop::Rate => "rate",
        }
    }
}

/// The accounts. Arrays are indexed by the enums above, in their `ALL` order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// The sum of the largest length observed of each segment.
    pub seen: u64,
    /// Not wanted.
    #[serde(deserialize_with = "shorter")]
    pub excluded: [Amount; Exclusion::ALL.len()],
    /// Wanted, read, not delivered.
    #[serde(deserialize_with = "shorter")]
    pub dropped: [Amount; Drop::ALL.len()],
    /// The sink has it.
    pub delivered: Amount,
    /// Could not be read.
    #[serde(deserialize_with = "shorter")]
    pub lost: [u64; Loss::ALL.len()],
    /// Neither yet: unread, open, or under way.
    pub pending: u64,
}

/// An array as an older version of the program wrote it, which knew fewer reasons: the others were never met. New
/// reasons go to the end. One that a newer version wrote is refused.
fn shorter<'de, D, T, const N: usize>(deserializer: D) -> Result<[T; N], D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Copy + Deserialize<'de>,
{
    let written = Vec::<T>::deserialize(deserializer)?;
    let mut all = [T::default(); N];
    match all.get_mut(..written.len()) {
        Some(known) => known.copy_from_slice(&written),
        None => {
            let found = written.len();
            return Err(serde::de::Error::invalid_length(
                found,
                &"an array of fewer reasons",
            ));
        }
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasons are written by their number: what an older version wrote has fewer, and what a newer one wrote is not read.
    #[test]
    fn accounts_with_fewer_reasons_are_read() {
        let old = r#"{"seen":60,"excluded":[{"bytes":10,"lines":1},{"bytes":0,"lines":0}],
            "dropped":[{"bytes":20,"lines":2}],"delivered":{"bytes":5,"lines":1},"lost":[25],"pending":0}"#;
        let read: Accounts = serde_json::from_str(old).unwrap();
        assert!(read.balances(), "{read:?}");
        assert_eq!(read.dropped[Drop::TooLong as usize].lines, 2);
        assert_eq!(read.dropped[Drop::Rate as usize], Amount::default());
        let again = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Accounts>(&again).unwrap(), read);
        let newer = again.replacen("\"lost\":[", "\"lost\":[0,0,0,0,0,0,0,0,0,0,", 1);
        assert!(serde_json::from_str::<Accounts>(&newer).is_err());
    }

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        let excluded = Exclusion::ALL.iter().map(|why| *why as usize);
        assert!(excluded.eq(0..Exclusion::ALL.len()));
        let dropped = Drop::ALL.iter().map(|why| *why as usize);
        assert!(dropped.eq(0..Drop::ALL.len()));
    }
}
