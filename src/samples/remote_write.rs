//! The shape of Prometheus remote write: a series is a sorted set of labels, `__name__` among them, with one sample.
//!
//! Invariants: what is sent has for each series valid, sorted, unique labels without empty values, no series twice in
//! one snapshot, and times that only grow. Receivers do not all check these: some store garbage, some fail in a way
//! that asks for endless retries (specification: prometheus.io/docs/specs/prw/remote_write_spec). A series that is not
//! in a snapshot though it was in the last one ends with a stale marker.

pub mod labels;
pub mod messages;
pub mod transport;
pub mod verdict;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use self::labels::{Labels, labels};
use self::messages::{SymbolTable, v1, v2};
use super::payload::Plain;
use super::shape::{Out, Shape, Unshaped};
use crate::config::{Limits, RemoteWriteVersion};
use crate::node::snapshot::{Family, Kind, Sample, Snapshot, Unit};

/// The value that says that a series has ended.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A wall clock that falls back by more than this was corrected: holding on to the time before would drop every sample
/// for as long.
const STEP_BACK_MAX: Duration = Duration::from_secs(3_600);

/// A series that was in the last snapshot.
#[derive(Debug)]
struct Series {
    labels: Labels,
    /// Hash of the labels as they are sent.
    identity: u128,
    /// The snapshot that it was last in.
    round: u64,
}

/// What a payload says of a series beside its labels and its sample.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    help: &'a str,
    unit: &'static str,
    kind: i32,
    start_ms: i64,
}

/// The shape of remote write.
#[derive(Debug)]
pub struct RemoteWrite {
    version: RemoteWriteVersion,
    external: Vec<(String, String)>,
    records_max: usize,
    bytes_max: usize,
    /// By hash of name and labels as the snapshot has them.
    known: HashMap<u128, Series>,
    identities: HashSet<u128>,
    round: u64,
    last_ms: Option<i64>,
}

impl RemoteWrite {
    /// Samples with these labels beside their own; where a series has one of that name, its own counts.
    pub fn new(
        version: RemoteWriteVersion,
        external: Vec<(String, String)>,
        limits: &Limits,
    ) -> RemoteWrite {
        RemoteWrite {
            version,
            external,
            records_max: limits.payload_records_max as usize,
            bytes_max: limits.payload_uncompressed_bytes_max,
            known: HashMap::new(),
            identities: HashSet::new(),
            round: 0,
            last_ms: None,
        }
    }

    fn batch(&self) -> Batch {
        Batch {
            version: self.version,
            records_max: self.records_max,
            bytes_max: self.bytes_max,
            symbols: SymbolTable::default(),
            plain: Plain::begin(b"", 0),
        }
    }

    /// Whether samples of this moment may still be sent.
    fn is_in_order(&self, at_ms: i64) -> bool {
        let Some(last_ms) = self.last_ms else {
            return true;
        };
        let step_back_max_ms = STEP_BACK_MAX.as_millis() as i64;
        at_ms > last_ms || at_ms < last_ms - step_back_max_ms
    }

    /// The number under which a series is known, which is of this round from now on; `None`: it cannot be sent.
    fn recognize(&mut self, snapshot: &Snapshot, family: &Family, sample: &Sample) -> Option<u128> {
        let mut hasher = Xxh3::new();
        family.spec.name.hash(&mut hasher);
        for label in snapshot.labels(sample) {
            label.hash(&mut hasher);
        }
        let key = hasher.digest128();
        if let Some(series) = self.known.get_mut(&key) {
            series.round = self.round;
            return Some(key);
        }
        let labels = labels(&family.spec.name, snapshot.labels(sample), &self.external)?;
        let mut hasher = Xxh3::new();
        labels.hash(&mut hasher);
        let identity = hasher.digest128();
        if !self.identities.insert(identity) {
            return None;
        }
        let series = Series {
            labels,
            identity,
            round: self.round,
        };
        self.known.insert(key, series);
        Some(key)
    }

    /// Ends the series that were not in this round.
    fn end_series(&mut self, at_ms: i64, out: &mut Out<'_>) {
        let round = self.round;
        let mut batch = self.batch();
        let identities = &mut self.identities;
        self.known.retain(|_, series| {
            if series.round == round {
                return true;
            }
            identities.remove(&series.identity);
            let stale = f64::from_bits(STALE_NAN_BITS);
            batch.add(&series.labels, (stale, at_ms), About::default(), out);
            false
        });
        batch.end(out);
    }
}

/// Payloads under construction.
struct Batch {
    version: RemoteWriteVersion,
    records_max: usize,
    bytes_max: usize,
    symbols: SymbolTable,
    plain: Plain,
}

impl Batch {
    fn add(
        &mut self,
        labels: &Labels,
        (value, at_ms): (f64, i64),
        about: About<'_>,
        out: &mut Out<'_>,
    ) {
        let full = self.plain.items.ends.len() >= self.records_max
            || self.plain.bytes.len() + self.symbols.bytes() >= self.bytes_max;
        if full {
            self.end(out);
        }
        match self.version {
            RemoteWriteVersion::One => v1::put_series(labels, value, at_ms, &mut self.plain.bytes),
            RemoteWriteVersion::Two => {
                let mut refs = Vec::with_capacity(2 * labels.len());
                for (name, value) in labels {
                    refs.push(self.symbols.number(name));
                    refs.push(self.symbols.number(value));
                }
                let series = v2::TimeSeries {
                    labels_refs: refs,
                    samples: vec![v2::Sample {
                        value,
                        timestamp: at_ms,
                        start_timestamp: about.start_ms,
                    }],
                    metadata: Some(v2::Metadata {
                        kind: about.kind,
                        help_ref: self.symbols.number(about.help),
                        unit_ref: self.symbols.number(about.unit),
                    }),
                };
                prost::encoding::message::encode(
                    v2::REQUEST_TIMESERIES,
                    &series,
                    &mut self.plain.bytes,
                );
            }
        }
        self.plain.end_item();
    }

    /// Finishes the payload at hand.
    fn end(&mut self, out: &mut Out<'_>) {
        let plain = std::mem::replace(&mut self.plain, Plain::begin(b"", 0));
        let symbols = std::mem::take(&mut self.symbols);
        if plain.items.ends.is_empty() {
            return;
        }
        match self.version {
            RemoteWriteVersion::One => out(plain),
            RemoteWriteVersion::Two => {
                let head = v2::Request {
                    symbols: symbols.into_symbols(),
                    timeseries: Vec::new(),
                };
                let mut whole = Plain::begin(&head.encode_to_vec(), 0);
                let before = whole.items.before;
                whole.bytes.extend_from_slice(&plain.bytes);
                let ends = plain.items.ends.iter();
                whole.items.ends = ends.map(|end| end + before).collect();
                out(whole);
            }
        }
    }
}

impl Shape for RemoteWrite {
    fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Out<'_>) -> Unshaped {
        let at_ms = ms(snapshot.taken);
        let mut unshaped = Unshaped::default();
        if !self.is_in_order(at_ms) {
            unshaped.out_of_order = snapshot.series() as u64;
            return unshaped;
        }
        self.last_ms = Some(at_ms);
        self.round += 1;
        let mut batch = self.batch();
        for family in snapshot.families() {
            let about = About {
                help: &family.spec.help,
                unit: unit(family.spec.unit),
                kind: kind(family.spec.kind),
                start_ms: 0,
            };
            for sample in &family.samples {
                let key = self.recognize(snapshot, family, sample);
                let Some(series) = key.and_then(|key| self.known.get(&key)) else {
                    unshaped.unfit += 1;
                    continue;
                };
                let start_ms = sample.since.map_or(0, ms);
                let about = About { start_ms, ..about };
                batch.add(&series.labels, (sample.value, at_ms), about, out);
            }
        }
        batch.end(out);
        self.end_series(at_ms, out);
        unshaped
    }

    fn farewell(&mut self, at: SystemTime, out: &mut Out<'_>) {
        let Some(last_ms) = self.last_ms else {
            return;
        };
        // Not before the last sample, whatever the clock did since.
        let at_ms = ms(at).max(last_ms + 1);
        self.last_ms = Some(at_ms);
        self.round += 1;
        self.end_series(at_ms, out);
    }
}

/// Milliseconds since 1970; moments before are 1970.
fn ms(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

const fn kind(kind: Kind) -> i32 {
    match kind {
        Kind::Untyped => v2::METRIC_TYPE_UNSPECIFIED,
        Kind::Counter => v2::METRIC_TYPE_COUNTER,
        Kind::Gauge => v2::METRIC_TYPE_GAUGE,
    }
}

/// Units in the words of OpenMetrics.
const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::One | Unit::Count => "",
    }
}

#[cfg(test)]
mod tests;
