//! All samples of one moment: families of series, each with its labels and one value.
//!
//! Invariants: every name is a valid Prometheus name; a series (name and labels) is in it at most once; there are at
//! most `series_max` series, and what was refused beyond that is counted. Memory is reused from one snapshot to the
//! next: labels lie in one text, not in strings of their own.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

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
    labels: Range<u32>,
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
    numbers: HashMap<Cow<'static, str>, usize>,
    labels: Vec<[Range<u32>; 2]>,
    text: String,
    seen: HashSet<u64>,
    wanted: Arc<Wanted>,
    series_max: usize,
    refused: u64,
}

impl Snapshot {
    /// An empty one, of families that are `wanted`.
    pub fn new(taken: SystemTime, wanted: Arc<Wanted>, series_max: usize) -> Snapshot {
        Snapshot {
            taken,
            families: Vec::new(),
            numbers: HashMap::new(),
            labels: Vec::new(),
            text: String::new(),
            seen: HashSet::new(),
            wanted,
            series_max,
            refused: 0,
        }
    }

    /// Empties it for another moment. Families stay known, without samples, so that their decisions and their memory
    /// are reused.
    pub fn reset(&mut self, taken: SystemTime) {
        self.taken = taken;
        for family in &mut self.families {
            family.samples.clear();
        }
        self.labels.clear();
        self.text.clear();
        self.seen.clear();
        self.refused = 0;
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
        self.add_since(spec, labels, value, None);
    }

    /// [`Snapshot::add`] of a counter that counts since a moment of its own.
    pub fn add_since(
        &mut self,
        spec: &Spec,
        labels: &[(&str, &str)],
        value: f64,
        since: Option<SystemTime>,
    ) {
        let number = self.family(spec);
        if !self
            .families
            .get(number)
            .is_some_and(|family| family.wanted)
        {
            return;
        }
        let key = key_of(&spec.name, labels);
        if self.seen.len() >= self.series_max || !self.seen.insert(key) {
            self.refused += 1;
            return;
        }
        let first = self.labels.len() as u32;
        for (name, value) in labels {
            let name = push(&mut self.text, name);
            let value = push(&mut self.text, value);
            self.labels.push([name, value]);
        }
        let labels = first..self.labels.len() as u32;
        if let Some(family) = self.families.get_mut(number) {
            family.samples.push(Sample {
                value,
                since,
                labels,
            });
        }
    }

    /// The number of a family, made if there is none.
    fn family(&mut self, spec: &Spec) -> usize {
        if let Some(number) = self.numbers.get(&spec.name) {
            return *number;
        }
        let number = self.families.len();
        self.families.push(Family {
            wanted: (self.wanted)(&spec.name),
            spec: spec.clone(),
            samples: Vec::new(),
        });
        self.numbers.insert(spec.name.clone(), number);
        number
    }

    /// The families that have samples, in the order in which they were first added.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families
            .iter()
            .filter(|family| !family.samples.is_empty())
    }

    /// The labels of one of this snapshot's samples.
    pub fn labels(&self, sample: &Sample) -> impl Iterator<Item = (&str, &str)> {
        let range = sample.labels.start as usize..sample.labels.end as usize;
        let labels = self.labels.get(range).unwrap_or_default();
        labels
            .iter()
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

/// The hash of a series. The order of its labels does not matter.
fn key_of(name: &str, labels: &[(&str, &str)]) -> u64 {
    let mut of_labels = 0_u64;
    for (name, value) in labels {
        let of_name = xxh3_64(name.as_bytes());
        of_labels = of_labels.wrapping_add(xxh3_64_with_seed(value.as_bytes(), of_name));
    }
    xxh3_64_with_seed(name.as_bytes(), of_labels)
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
}
