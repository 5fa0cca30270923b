//! Which records of a chain are wanted, and what is hidden in them.
//!
//! What is searched for in messages is compiled once per sink and shared ([`Matchers`]); a pod that asks for more hiding
//! shares one with all pods that ask for the same. What differs from chain to chain are plain values ([`ChainLines`]).
//!
//! Invariants: a decision follows from the record, its uid and the rules alone, so that it is the same in any worker and
//! after any restart; what a pod wishes never makes more of its output, and never shows what the operator hides.

pub mod rate;
mod redact;
mod required;
mod sieve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::meta::Regex;

use self::rate::Buckets;
use self::redact::Redactor;
pub use self::redact::{Hidden, Room, names as hidden_names};
use self::sieve::{Marks, Need, Sieve};
use crate::config::lines::{Detector, Lines, MessagePattern, Rate, RateLimits, compile};
use crate::record::{Flags, Level, Record};

const INCLUDE: Marks = 1;
const EXCLUDE: Marks = 2;
const FIRST_REDACTION: Marks = 4;

/// What a pod asks for its own records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinesWishes {
    /// Less urgent records are not wanted.
    pub min_level: Option<Level>,
    /// The share of records that is wanted.
    pub sample: Option<f64>,
    /// How much of the pod may be sent.
    pub rate: Option<Rate>,
    /// What is to be hidden.
    pub redact: Vec<Detector>,
}

/// What is searched for in messages.
#[derive(Debug)]
pub struct Matchers {
    sieve: Sieve,
    include: Option<Regex>,
    exclude: Option<Regex>,
    redactor: Redactor,
    redactions: Marks,
}

/// What one sink does with the records of one chain.
#[derive(Clone, Debug)]
pub struct ChainLines {
    min_level: Option<Level>,
    keep_unknown: bool,
    /// Of 2^64 uids so many are wanted; `None`: all.
    sample: Option<u64>,
    sample_keep_level: Option<Level>,
    matchers: Option<Arc<Matchers>>,
    /// How much may be sent; `None`: as much as there is.
    pub rate: Option<ChainRate>,
    /// The same message again within this time is not wanted; 0: it is.
    pub repeats_window_ms: u64,
}

/// How much of a chain's pod and namespace may be sent.
#[derive(Clone, Debug)]
pub struct ChainRate {
    /// The limits.
    pub limits: RateLimits,
    /// What is left of them, shared by all workers of the sink.
    pub buckets: Arc<Buckets>,
}

/// By value, and by which matchers are shared.
impl PartialEq for ChainLines {
    fn eq(&self, other: &ChainLines) -> bool {
        let plain = |it: &ChainLines| {
            (
                (it.min_level, it.keep_unknown, it.sample),
                (
                    it.sample_keep_level,
                    it.rate.as_ref().map(|rate| rate.limits),
                    it.repeats_window_ms,
                ),
            )
        };
        let matchers = match (&self.matchers, &other.matchers) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        };
        plain(self) == plain(other) && matchers
    }
}

impl Eq for ChainLines {}

/// Why a record is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// Not urgent enough.
    MinLevel,
    /// By `include` or `exclude`.
    Pattern,
    /// Not in the sample.
    Sampled,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// As it is.
    Wanted,
    /// With the message that is in the room.
    Masked,
    /// Left out.
    Unwanted(Unwanted),
}

/// Room for judging, of one worker.
#[derive(Debug, Default)]
pub struct Bench {
    lowered: Vec<u8>,
    /// The masked message, and what was hidden in it.
    pub room: Room,
}

/// Makes the plans for lines of one sink's chains.
#[derive(Debug)]
pub struct LinesPlanner {
    lines: Lines,
    buckets: Arc<Buckets>,
    /// By the set of detectors, as bits. There are at most 256.
    matchers: Mutex<HashMap<u32, Option<Arc<Matchers>>>>,
}

impl LinesPlanner {
    /// By the rules of one sink.
    pub fn new(lines: Lines) -> LinesPlanner {
        LinesPlanner {
            lines,
            buckets: Arc::default(),
            matchers: Mutex::default(),
        }
    }

    /// The plan for a chain whose pod wishes this; `None`: every record is wanted as it is.
    pub fn plan(&self, wishes: &LinesWishes) -> Option<Arc<ChainLines>> {
        let lines = &self.lines;
        let stricter = |a: Option<Level>, b: Option<Level>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let share = wishes
            .sample
            .unwrap_or(1.0)
            .clamp(0.0, 1.0)
            .min(lines.sample);
        let rate = RateLimits {
            pod: lines.rate.pod.lower(wishes.rate.unwrap_or_default()),
            ..lines.rate
        };
        let is_limited = !(rate.pod.is_unlimited() && rate.namespace.is_unlimited());
        let mut detectors = lines.redact.clone();
        detectors.extend(&wishes.redact);
        detectors.sort_unstable();
        detectors.dedup();
        let plan = ChainLines {
            min_level: stricter(lines.min_level, wishes.min_level),
            keep_unknown: lines.keep_unknown,
            sample: (share < 1.0).then_some((share * (u64::MAX as f64)) as u64),
            sample_keep_level: lines.sample_keep_level,
            matchers: self.matchers(&detectors),
            rate: is_limited.then(|| ChainRate {
                limits: rate,
                buckets: Arc::clone(&self.buckets),
            }),
            repeats_window_ms: lines.repeats_window_ms,
        };
        let wants_all = plan.min_level.is_none()
            && plan.sample.is_none()
            && plan.matchers.is_none()
            && plan.rate.is_none()
            && plan.repeats_window_ms == 0;
        (!wants_all).then(|| Arc::new(plan))
    }

    fn matchers(&self, detectors: &[Detector]) -> Option<Arc<Matchers>> {
        let set = detectors.iter().fold(0, |set, it| set | 1 << *it as u32);
        let mut known = self.matchers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = known
            .entry(set)
            .or_insert_with(|| Matchers::new(&self.lines, detectors).map(Arc::new));
        made.clone()
    }
}

impl Matchers {
    /// `None`: there is nothing to search for.
    fn new(lines: &Lines, detectors: &[Detector]) -> Option<Matchers> {
        let redactor = Redactor::new(detectors, &lines.redact_patterns, FIRST_REDACTION);
        let redactions = redactor.marks();
        if lines.include.is_empty() && lines.exclude.is_empty() && redactions == 0 {
            return None;
        }
        let mut needs = redactor.needs(&lines.redact_patterns);
        needs.push((INCLUDE, need_of(&lines.include)));
        needs.push((EXCLUDE, need_of(&lines.exclude)));
        Some(Matchers {
            sieve: Sieve::new(&needs),
            include: set_of(&lines.include),
            exclude: set_of(&lines.exclude),
            redactor,
            redactions,
        })
    }
}

fn need_of(patterns: &[MessagePattern]) -> Need {
    let each = patterns.iter().map(|it| required::required(it.as_str()));
    let all: Option<Vec<Vec<Vec<u8>>>> = each.collect();
    all.map_or(Need::Nothing, |all| Need::Literals(all.concat()))
}

/// The patterns as one automaton. The config has been checked: they compile, and are small enough together.
fn set_of(patterns: &[MessagePattern]) -> Option<Regex> {
    if patterns.is_empty() {
        return None;
    }
    let texts: Vec<&str> = patterns.iter().map(MessagePattern::as_str).collect();
    match compile(&texts) {
        Ok(regex) => Some(regex),
        Err(error) => {
            tracing::error!(%error, "the patterns of `lines` cannot be compiled together");
            None
        }
    }
}

impl ChainLines {
    /// What becomes of a record. `uid` is asked for only if it decides.
    #[inline]
    pub fn judge(
        &self,
        record: &Record<'_>,
        uid: impl FnOnce() -> u128,
        bench: &mut Bench,
    ) -> Judged {
        if !self.is_urgent_enough(record.level) {
            return Judged::Unwanted(Unwanted::MinLevel);
        }
        let marks = match &self.matchers {
            Some(matchers) => matchers.sieve.marks(record.message, &mut bench.lowered),
            None => 0,
        };
        if let Some(matchers) = &self.matchers
            && !matchers.wants(record.message, marks)
        {
            return Judged::Unwanted(Unwanted::Pattern);
        }
        if let Some(share) = self.sample
            && !is_at_least(record.level, self.sample_keep_level)
            && (uid() >> 64) as u64 >= share
        {
            return Judged::Unwanted(Unwanted::Sampled);
        }
        if let Some(matchers) = &self.matchers
            && (marks & matchers.redactions != 0 || is_cut(record))
        {
            let is_cut = is_cut(record);
            // What tells a secret may be cut off.
            let marks = if is_cut { matchers.redactions } else { marks };
            let room = &mut bench.room;
            if matchers
                .redactor
                .redact(record.message, marks, is_cut, room)
            {
                return Judged::Masked;
            }
        }
        Judged::Wanted
    }

    fn is_urgent_enough(&self, level: Level) -> bool {
        match self.min_level {
            None => true,
            Some(_) if level == Level::Unknown => self.keep_unknown,
            Some(least) => level <= least,
        }
    }
}

/// Whether the end of a record's message is missing.
#[inline]
fn is_cut(record: &Record<'_>) -> bool {
    record.flags.has(Flags::CUT) || record.flags.has(Flags::PARTIAL)
}

/// Whether a record says that it is at least so urgent.
fn is_at_least(level: Level, least: Option<Level>) -> bool {
    level != Level::Unknown && least.is_some_and(|least| level <= least)
}

impl Matchers {
    #[inline]
    fn wants(&self, message: &[u8], marks: Marks) -> bool {
        if marks & EXCLUDE != 0
            && let Some(exclude) = &self.exclude
            && exclude.is_match(message)
        {
            return false;
        }
        match &self.include {
            None => true,
            Some(include) => marks & INCLUDE != 0 && include.is_match(message),
        }
    }
}

#[cfg(test)]
mod tests;
