//! All samples of one moment: families of series, each with its labels and one value.
//!
//! Invariants: every name is a valid Prometheus name; a series (name and labels) is in it at most once; there are at
//! most `series_max` series, and what was refused beyond that is counted; names that nobody uses any more are forgotten
//! beyond [`FAMILIES_MAX`]. Memory is reused from one snapshot to the next: labels lie in one text, not in strings of
//! their own, and what many series have in common lies in it once.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// More names are not remembered for longer than a sample: a node has about 350 families, and each target that is
/// scraped some hundreds.
pub const FAMILIES_MAX: usize = 8_192;

/// A family keeps memory for so many samples, whatever it had in the last one.
const SPARE_SAMPLES: usize = 64;

/// What the values of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never falls but for a restart of what is counted.
    Counter,
    /// A state.
    Gauge,
    /// The kernel does not say which; Prometheus calls it untyped.
    Untyped,
}

/// What one unit of a family's values is; names of UCUM, as OpenTelemetry uses them, are made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `s`
    Seconds,
    /// `By`
    Bytes,
    /// `1`: a share, a flag, or a fact whose value is always 1.
    One,
    /// `{thing}`: a count of things.
    Count,
}

/// What a family is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its Prometheus name, `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub help: Cow<'static, str>,
    /// What its values mean.
    pub kind: Kind,
    /// Their unit.
    pub unit: Unit,
}

impl Spec {
    const fn of(name: &'static str, help: &'static str, kind: Kind, unit: Unit) -> Spec {
        Spec {
            name: Cow::Borrowed(name),
            help: Cow::Borrowed(help),
            kind,
            unit,
        }
    }

    /// A counter.
    pub const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Spec {
        Spec::of(name, help, Kind::Counter, unit)
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Spec {
        Spec::of(name, help, Kind::Gauge, unit)
    }

    /// Of a kind that the kernel does not tell.
    pub const fn untyped(name: &'static str, unit: Unit, help: &'static str) -> Spec {
        Spec::of(name, help, Kind::Untyped, unit)
    }
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The value; not a number where the source says so.
    pub value: f64,
    /// Since when a counter counts, if that is known to be other than the node's start.
    pub since: Option<SystemTime>,
    shared: Range<u32>,
    labels: Range<u32>,
}

/// Labels that many series have in common. Good for the snapshot that made it, until that is reset.
#[derive(Clone, Debug)]
pub struct Shared {
    labels: Range<u32>,
    key: u64,
}

/// The series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// What it is.
    pub spec: Spec,
    /// Its series, in the order in which they were added.
    pub samples: Vec<Sample>,
    wanted: bool,
}

/// Which families are wanted, by name.
pub type Wanted = dyn Fn(&str) -> bool + Send + Sync;

/// All samples of one moment: see the module.
pub struct Snapshot {
    /// When it was taken.
    pub taken: SystemTime,
    families: Vec<Family>,
    numbers: HashMap<Cow<'static, str>, usize, Seed>,
    labels: Vec<[Range<u32>; 2]>,
    text: String,
    seen: HashSet<u64, Seed>,
    wanted: Arc<Wanted>,
    series_max: usize,
    seed: Seed,
    refused: u64,
    forgotten: u64,
}

impl Snapshot {
    /// An empty one, of families that are `wanted`.
    pub fn new(taken: SystemTime, wanted: Arc<Wanted>, series_max: usize) -> Snapshot {
        let seed = Seed(RandomState::new().hash_one(0));
        Snapshot {
            taken,
            families: Vec::new(),
            numbers: HashMap::with_hasher(seed),
            labels: Vec::new(),
            text: String::new(),
            seen: HashSet::with_hasher(seed),
            wanted,
            series_max,
            seed,
            refused: 0,
            forgotten: 0,
        }
    }

    /// Empties it for another moment. Families stay known, without samples, so that their decisions and their memory
    /// are reused; of more than [`FAMILIES_MAX`], those that had no sample this time are forgotten.
    pub fn reset(&mut self, taken: SystemTime) {
        self.taken = taken;
        self.forgotten = 0;
        if self.families.len() > FAMILIES_MAX {
            self.forget();
        }
        for family in &mut self.families {
            let used = family.samples.len();
            family.samples.clear();
            if family.samples.capacity() > 2 * used + SPARE_SAMPLES {
                family.samples.shrink_to(SPARE_SAMPLES);
            }
        }
        self.labels.clear();
        self.text.clear();
        self.seen.clear();
        self.refused = 0;
    }

    /// Forgets the families without samples.
    fn forget(&mut self) {
        let before = self.families.len();
        self.families.retain(|family| !family.samples.is_empty());
        self.forgotten = (before - self.families.len()) as u64;
        self.numbers.clear();
        let names = self.families.iter().map(|family| family.spec.name.clone());
        self.numbers.extend(names.zip(0..));
    }

    /// Whether a family is wanted: what is not need not be measured.
    pub fn wants(&self, spec: &Spec) -> bool {
        let number = self.numbers.get(&spec.name);
        match number.and_then(|number| self.families.get(*number)) {
            Some(family) => family.wanted,
            None => (self.wanted)(&spec.name),
        }
    }

    /// Adds one series, if its family is wanted. A series that is there already, or is one too many, is refused and
    /// counted.
    pub fn add(&mut self, spec: &Spec, labels: &[(&str, &str)], value: f64) {
        self.add_shared(spec, &NONE, labels, value, None);
    }

    /// [`Snapshot::add`] of a counter that counts since a moment of its own.
    pub fn add_since(
        &mut self,
        spec: &Spec,
        labels: &[(&str, &str)],
        value: f64,
        since: Option<SystemTime>,
    ) {
        self.add_shared(spec, &NONE, labels, value, since);
    }

    /// Keeps labels that many series have in common, for [`Snapshot::add_shared`].
    pub fn share(&mut self, labels: &[(&str, &str)]) -> Shared {
        let key = self.seed.of_labels(labels);
        let labels = self.push(labels);
        Shared { labels, key }
    }

    /// [`Snapshot::add_since`] of a series that has labels in common with others, and labels of its own.
    pub fn add_shared(
        &mut self,
        spec: &Spec,
        shared: &Shared,
        labels: &[(&str, &str)],
        value: f64,
        since: Option<SystemTime>,
    ) {
        let Some(number) = self.family(spec) else {
            return;
        };
        let own = self.seed.of_labels(labels);
        let key = self.seed.of(number, shared.key.wrapping_add(own));
        if self.seen.len() >= self.series_max || !self.seen.insert(key) {
            self.refused += 1;
            return;
        }
        let labels = self.push(labels);
        if let Some(family) = self.families.get_mut(number) {
            family.samples.push(Sample {
                value,
                since,
                shared: shared.labels.clone(),
                labels,
            });
        }
    }

    fn push(&mut self, labels: &[(&str, &str)]) -> Range<u32> {
        let first = self.labels.len() as u32;
        for (name, value) in labels {
            let name = push(&mut self.text, name);
            let value = push(&mut self.text, value);
            self.labels.push([name, value]);
        }
        first..self.labels.len() as u32
    }

    /// The number of a family that is wanted, made if there is none.
    fn family(&mut self, spec: &Spec) -> Option<usize> {
        if let Some(number) = self.numbers.get(&spec.name) {
            let family = self.families.get(*number)?;
            return family.wanted.then_some(*number);
        }
        let wanted = (self.wanted)(&spec.name);
        let is_one_too_many = if wanted {
            // It will have a sample, unless that is refused.
            self.families.len() >= FAMILIES_MAX.saturating_add(self.series_max)
        } else {
            self.families.len() >= FAMILIES_MAX
        };
        if is_one_too_many {
            self.refused += u64::from(wanted);
            return None;
        }
        let number = self.families.len();
        self.families.push(Family {
            wanted,
            spec: spec.clone(),
            samples: Vec::new(),
        });
        self.numbers.insert(spec.name.clone(), number);
        wanted.then_some(number)
    }

    /// The families that have samples, in the order in which they were first added.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families
            .iter()
            .filter(|family| !family.samples.is_empty())
    }

    /// The labels of one of this snapshot's samples.
    pub fn labels(&self, sample: &Sample) -> impl Iterator<Item = (&str, &str)> {
        let of = |range: &Range<u32>| {
            let labels = self.labels.get(range.start as usize..range.end as usize);
            labels.unwrap_or_default().iter()
        };
        of(&sample.shared)
            .chain(of(&sample.labels))
            .map(|[name, value]| (self.str(name), self.str(value)))
    }

    fn str(&self, range: &Range<u32>) -> &str {
        self.text
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }

    /// How many series it holds.
    pub fn series(&self) -> usize {
        self.seen.len()
    }

    /// How many series were refused: there twice, or beyond `series_max`.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many families were forgotten when it was last reset.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The value of one series; for tests and for measures derived from others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.families.get(*self.numbers.get(name)?)?;
        let same = |sample: &&Sample| self.labels(sample).eq(labels.iter().copied());
        family.samples.iter().find(same).map(|sample| sample.value)
    }
}

fn push(text: &mut String, part: &str) -> Range<u32> {
    let start = text.len() as u32;
    text.push_str(part);
    start..text.len() as u32
}

/// No labels in common.
const NONE: Shared = Shared {
    labels: 0..0,
    key: 0,
};

/// Hashes names and series; of another seed in each snapshot, for names and labels may be made by strangers.
#[derive(Clone, Copy)]
struct Seed(u64);

impl Seed {
    /// The hash of a series of a family.
    fn of(self, family: usize, of_labels: u64) -> u64 {
        xxh3_64_with_seed(&family.to_le_bytes(), of_labels ^ self.0)
    }

    /// The hash of labels, whose order does not matter: the hash of two sets together is the sum of theirs.
    fn of_labels(self, labels: &[(&str, &str)]) -> u64 {
        let mut of_labels = 0_u64;
        for (name, value) in labels {
            let of_name = xxh3_64_with_seed(name.as_bytes(), self.0);
            of_labels = of_labels.wrapping_add(xxh3_64_with_seed(value.as_bytes(), of_name));
        }
        of_labels
    }
}

impl BuildHasher for Seed {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(self.0)
    }
}

/// The hash of one name, or of what is a hash already.
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, byte: u8) {
        // What the standard library puts behind a text.
        self.0 ^= u64::from(byte);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Spec = Spec::counter("node_cpu_seconds_total", Unit::Seconds, "Time.");
    const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");

    fn empty(series_max: usize) -> Snapshot {
        Snapshot::new(
            SystemTime::UNIX_EPOCH,
            Arc::new(|name| name != "node_load1"),
            series_max,
        )
    }

    #[test]
    fn a_series_is_there_once_whatever_the_order_of_its_labels() {
        let mut snapshot = empty(10);
        snapshot.add(&CPU, &[("cpu", "0"), ("mode", "user")], 1.0);
        snapshot.add(&CPU, &[("mode", "user"), ("cpu", "0")], 2.0);
        snapshot.add(&CPU, &[("cpu", "1"), ("mode", "user")], 3.0);
        assert_eq!((snapshot.series(), snapshot.refused()), (2, 1));
        assert_eq!(
            snapshot.value("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")]),
            Some(1.0)
        );
    }

    #[test]
    fn series_beyond_the_bound_are_refused_and_counted() {
        let mut snapshot = empty(2);
        for cpu in ["0", "1", "2", "3"] {
            snapshot.add(&CPU, &[("cpu", cpu)], 1.0);
        }
        assert_eq!((snapshot.series(), snapshot.refused()), (2, 2));
        snapshot.reset(SystemTime::UNIX_EPOCH);
        snapshot.add(&CPU, &[("cpu", "3")], 1.0);
        assert_eq!((snapshot.series(), snapshot.refused()), (1, 0));
    }

    #[test]
    fn what_is_not_wanted_costs_no_series() {
        let mut snapshot = empty(1);
        snapshot.add(&LOAD, &[], 1.0);
        snapshot.add(&CPU, &[], 1.0);
        assert_eq!((snapshot.series(), snapshot.refused()), (1, 0));
        assert_eq!(snapshot.families().count(), 1);
    }

    #[test]
    fn labels_in_common_are_labels() {
        let mut snapshot = empty(10);
        let shared = snapshot.share(&[("pod", "a"), ("cpu", "0")]);
        let since = Some(SystemTime::UNIX_EPOCH);
        snapshot.add_shared(&CPU, &shared, &[("mode", "user")], 1.0, since);
        snapshot.add_shared(&CPU, &shared, &[], 2.0, None);
        let whole = [("pod", "a"), ("cpu", "0"), ("mode", "user")];
        let name = "node_cpu_seconds_total";
        assert_eq!(snapshot.value(name, &whole), Some(1.0));
        assert_eq!(snapshot.value(name, &whole[..2]), Some(2.0));
        // The same series, however its labels are given.
        snapshot.add(&CPU, &whole, 3.0);
        assert_eq!((snapshot.series(), snapshot.refused()), (2, 1));
    }

    #[test]
    fn names_that_are_not_used_any_more_are_forgotten() {
        let mut snapshot = empty(100);
        let invented = |snapshot: &mut Snapshot, round: usize| {
            for number in 0..100 {
                let spec = Spec {
                    name: format!("invented_{}", round * 100 + number).into(),
                    ..CPU
                };
                snapshot.add(&spec, &[], 1.0);
            }
        };
        let mut forgotten = 0;
        for round in 0..3 * FAMILIES_MAX / 100 {
            snapshot.reset(SystemTime::UNIX_EPOCH);
            forgotten += snapshot.forgotten();
            invented(&mut snapshot, round);
            assert!(snapshot.families.len() <= FAMILIES_MAX + 100);
            assert_eq!(snapshot.numbers.len(), snapshot.families.len());
            assert_eq!((snapshot.series(), snapshot.refused()), (100, 0));
        }
        assert!(forgotten > FAMILIES_MAX as u64);
        let last = format!("invented_{}", 3 * FAMILIES_MAX / 100 * 100 - 1);
        assert_eq!(snapshot.value(&last, &[]), Some(1.0));
    }

    #[test]
    fn names_that_are_not_wanted_are_bounded_within_one_sample() {
        let mut snapshot = Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| false), 10);
        for number in 0..2 * FAMILIES_MAX {
            let name = format!("invented_{number}").into();
            snapshot.add(&Spec { name, ..CPU }, &[], 1.0);
        }
        assert_eq!(snapshot.families.len(), FAMILIES_MAX);
        assert_eq!((snapshot.series(), snapshot.refused()), (0, 0));
    }
}
