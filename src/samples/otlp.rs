//! The shape of OTLP metrics: cumulative sums and gauges of the node, under the names that the configuration asks for.
//!
//! Invariants: the points of one name lie in one metric of a payload; a counter's start never moves while the counter
//! grows, and moves behind its last moment when it falls. A sample gives one point or more, or is counted as unfit.

pub mod messages;
pub mod naming;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use self::messages::{
    Any, CUMULATIVE, Data, Gauge, KeyValue, Metric, Number, Point, Request, Resource,
    ResourceMetrics, Scope, ScopeMetrics,
};
use self::naming::{Amount, Name, Source, Sum};
use super::payload::{Form, Items, Plain};
use super::shape::{Out, Shape, Unshaped};
use crate::config::{Limits, OtelNaming};
use crate::encode::otlp::{Attributes, SCHEMA_URL, SCOPE_NAME, Value};
use crate::node::snapshot::{Family, Sample, Snapshot};

/// The family whose value is the moment of the node's start.
const BOOT: &str = "node_boot_time_seconds";
/// The family that says whether a filesystem is read-only.
const READ_ONLY: &str = "node_filesystem_readonly";

/// A counter that was in the last snapshot.
#[derive(Debug)]
struct Counted {
    value: f64,
    start_ns: u64,
    /// The snapshot that it was last in.
    round: u64,
}

/// The shape of OTLP metrics.
#[derive(Debug)]
pub struct Otlp {
    naming: OtelNaming,
    resource: Resource,
    records_max: usize,
    bytes_max: usize,
    /// By hash of name and labels.
    counted: HashMap<u128, Counted>,
    round: u64,
    last_ns: u64,
}

impl Otlp {
    /// Metrics of the node of this name. `resource` is what the user wants said of every resource.
    pub fn new(
        naming: OtelNaming,
        node: &str,
        cluster_name: Option<&str>,
        resource: &Attributes,
        limits: &Limits,
    ) -> Otlp {
        let own = vec![
            ("service.name", Value::Text(SCOPE_NAME)),
            (
                "k8s.cluster.name",
                Value::Text(cluster_name.unwrap_or_default()),
            ),
            ("k8s.node.name", Value::Text(node)),
            ("host.name", Value::Text(node)),
        ];
        let attributes = resource.over(own);
        let attributes = attributes.into_iter().map(|(key, value)| match value {
            // A node has no lists.
            Value::Text(text) | Value::Listed(text) => KeyValue::text(key, text),
            Value::Number(number) => {
                KeyValue::of(key, Any::Int(i64::try_from(number).unwrap_or(i64::MAX)))
            }
        });
        Otlp {
            naming,
            resource: Resource {
                attributes: attributes.collect(),
            },
            records_max: limits.payload_records_max as usize,
            bytes_max: limits.payload_uncompressed_bytes_max,
            counted: HashMap::new(),
            round: 0,
            last_ns: 0,
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            resource: &self.resource,
            metrics: Vec::new(),
            numbers: HashMap::new(),
            points: 0,
            bytes: self.resource.encoded_len(),
        }
    }

    /// Since when a counter counts: since the moment that its source knows, or since the node's start, or since its
    /// last snapshot when it fell.
    fn start_ns(
        &mut self,
        snapshot: &Snapshot,
        family: &Family,
        sample: &Sample,
        boot_ns: u64,
    ) -> u64 {
        let mut hasher = Xxh3::new();
        family.spec.name.hash(&mut hasher);
        for label in snapshot.labels(sample) {
            label.hash(&mut hasher);
        }
        let counted = self.counted.entry(hasher.digest128());
        let counted = counted.or_insert(Counted {
            value: sample.value,
            start_ns: boot_ns,
            round: self.round,
        });
        if sample.value < counted.value {
            counted.start_ns = self.last_ns;
        }
        counted.value = sample.value;
        counted.round = self.round;
        sample.since.map_or(counted.start_ns, unix_ns)
    }
}

impl Shape for Otlp {
    fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Out<'_>) -> Unshaped {
        let at_ns = unix_ns(snapshot.taken);
        let boot_s = snapshot.value(BOOT, &[]).unwrap_or_default();
        let boot_ns = (boot_s * 1e9) as u64;
        self.round += 1;
        let mut unshaped = Unshaped::default();
        let mut starts = Vec::new();
        for family in snapshot.families() {
            for sample in &family.samples {
                starts.push(match naming::sum(family.spec.kind) {
                    Sum::Counter => self.start_ns(snapshot, family, sample, boot_ns),
                    Sum::UpDown | Sum::Gauge => 0,
                });
            }
        }
        let mut starts = starts.into_iter();
        let mut batch = self.batch();
        for family in snapshot.families() {
            let names = Names::of(family, self.naming);
            for (sample, start_ns) in family.samples.iter().zip(&mut starts) {
                let what = What {
                    snapshot,
                    sample,
                    times: (start_ns, at_ns),
                };
                let mut made = false;
                what.points(&names, |name, point| {
                    if batch.points >= self.records_max || batch.bytes >= self.bytes_max {
                        batch.end(out);
                    }
                    batch.add(family, name, point);
                    made = true;
                });
                unshaped.unfit += u64::from(!made);
            }
        }
        batch.end(out);
        let round = self.round;
        self.counted.retain(|_, counted| counted.round == round);
        self.last_ns = at_ns;
        unshaped
    }

    fn farewell(&mut self, _at: SystemTime, _out: &mut Out<'_>) {}
}

/// What a family is called.
enum Names {
    /// As it is.
    Own,
    /// By rows of the table.
    Rows(Vec<(Amount, &'static Name)>),
}

impl Names {
    fn of(family: &Family, naming: OtelNaming) -> Names {
        let rows = naming::rows(&family.spec.name);
        let rows = rows.filter_map(|row| Some((row.amount, row.name(naming)?)));
        let rows: Vec<_> = rows.collect();
        match rows.is_empty() {
            true => Names::Own,
            false => Names::Rows(rows),
        }
    }
}

/// One sample, with what is needed to make points of it.
struct What<'a> {
    snapshot: &'a Snapshot,
    sample: &'a Sample,
    /// Since when it counts, and when it was measured.
    times: (u64, u64),
}

impl What<'_> {
    /// Gives out the sample's points, each with the row that it is named by.
    fn points(&self, names: &Names, mut out: impl FnMut(Option<&'static Name>, Point)) {
        match names {
            Names::Own => {
                let labels = self.snapshot.labels(self.sample);
                let attributes = labels.map(|(name, value)| KeyValue::text(name, value));
                let value = Number::Double(self.sample.value);
                out(None, self.point(value, attributes.collect()));
            }
            Names::Rows(rows) => {
                for (amount, name) in rows {
                    let value = self.amount(*amount).and_then(|value| number(name, value));
                    if let Some(value) = value {
                        out(Some(name), self.point(value, self.attributes(name)));
                    }
                }
            }
        }
    }

    fn point(&self, value: Number, attributes: Vec<KeyValue>) -> Point {
        let (start_time_unix_nano, time_unix_nano) = self.times;
        Point {
            start_time_unix_nano,
            time_unix_nano,
            value: Some(value),
            attributes,
        }
    }

    fn amount(&self, amount: Amount) -> Option<f64> {
        let own = self.sample.value;
        match amount {
            Amount::Own => Some(own),
            Amount::Less(other) => Some(own - self.of_same_labels(other)?),
            Amount::Since => Some((self.times.1 as f64 / 1e9 - own).max(0.0)),
        }
    }

    /// The value of another family's series with the same labels.
    fn of_same_labels(&self, family: &str) -> Option<f64> {
        let labels: Vec<_> = self.snapshot.labels(self.sample).collect();
        self.snapshot.value(family, &labels)
    }

    fn label(&self, wanted: &str) -> &str {
        let mut labels = self.snapshot.labels(self.sample);
        let found = labels.find(|(name, _)| *name == wanted);
        found.map_or("", |(_, value)| value)
    }

    fn attributes(&self, name: &Name) -> Vec<KeyValue> {
        let of_labels = name.labels.iter().map(|(source, key)| match source {
            Source::Label(label) => KeyValue::text(key, self.label(label)),
            Source::Number(label) => match self.label(label).parse() {
                Ok(number) => KeyValue::of(key, Any::Int(number)),
                Err(_) => KeyValue::text(key, self.label(label)),
            },
            Source::CpuName => KeyValue::text(key, &format!("cpu{}", self.label("cpu"))),
            Source::CpuMode => KeyValue::text(key, naming::cpu_mode(self.label("mode"))),
            Source::CpuState => KeyValue::text(key, naming::cpu_state(self.label("mode"))),
            Source::FilesystemMode => {
                let is_read_only = self.of_same_labels(READ_ONLY) == Some(1.0);
                KeyValue::text(key, if is_read_only { "ro" } else { "rw" })
            }
        });
        let fixed = name.fixed.iter();
        of_labels
            .chain(fixed.map(|(key, value)| KeyValue::text(key, value)))
            .collect()
    }
}

/// A value in the type that the metric has: counts of things and bytes are whole numbers.
fn number(name: &Name, value: f64) -> Option<Number> {
    match name.unit {
        "s" | "1" | "{thread}" => Some(Number::Double(value)),
        _ if value.is_finite() => Some(Number::Int(value as i64)),
        _ => None,
    }
}

/// A payload under construction.
struct Batch<'a> {
    resource: &'a Resource,
    metrics: Vec<Metric>,
    /// Where the metric of a name is.
    numbers: HashMap<String, usize>,
    points: usize,
    /// About how many bytes it will have.
    bytes: usize,
}

/// What a point costs beside its own bytes, and a metric beside its texts.
const OVERHEAD_BYTES: usize = 8;

impl Batch<'_> {
    fn add(&mut self, family: &Family, name: Option<&'static Name>, point: Point) {
        let spec = &family.spec;
        let called = name.map_or(&*spec.name, |name| name.name);
        let number = match self.numbers.get(called) {
            Some(number) => *number,
            None => {
                let unit = name.map_or(naming::ucum(spec.unit), |name| name.unit);
                let sum = name.map_or(naming::sum(spec.kind), |name| name.sum);
                // What is made of several families is not described by the sentence of one.
                let description = if name.is_some() { "" } else { &spec.help };
                self.bytes += called.len() + unit.len() + description.len() + 2 * OVERHEAD_BYTES;
                self.metrics.push(Metric {
                    name: called.to_owned(),
                    description: description.to_owned(),
                    unit: unit.to_owned(),
                    data: Some(empty(sum)),
                });
                self.numbers
                    .insert(called.to_owned(), self.metrics.len() - 1);
                self.metrics.len() - 1
            }
        };
        self.bytes += point.encoded_len() + OVERHEAD_BYTES;
        let metric = self.metrics.get_mut(number);
        if let Some(points) = metric.and_then(Metric::points_mut) {
            points.push(point);
            self.points += 1;
        }
    }

    /// Finishes the payload at hand.
    fn end(&mut self, out: &mut Out<'_>) {
        self.numbers.clear();
        self.bytes = self.resource.encoded_len();
        let points = std::mem::take(&mut self.points);
        let metrics = std::mem::take(&mut self.metrics);
        if points > 0 {
            out(plain(&request(self.resource.clone(), metrics), points));
        }
    }
}

fn empty(sum: Sum) -> Data {
    match sum {
        Sum::Gauge => Data::Gauge(Gauge::default()),
        Sum::Counter | Sum::UpDown => Data::Sum(messages::Sum {
            data_points: Vec::new(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: sum == Sum::Counter,
        }),
    }
}

fn request(resource: Resource, metrics: Vec<Metric>) -> Request {
    Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope {
                    name: SCOPE_NAME.to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                metrics,
            }],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

/// A payload whose items are the points of a request, in their order.
fn plain(request: &Request, points: usize) -> Plain {
    Plain {
        bytes: request.encode_to_vec(),
        items: Items {
            form: Form::Otlp,
            // Points lie within messages: where they end does not tell how to cut them out.
            ends: vec![0; points],
            ..Items::default()
        },
    }
}

/// A payload of some points of another alone, whose numbers ascend; `None` if it is not one of ours.
pub(super) fn cut(whole: &[u8], keep: impl IntoIterator<Item = usize>) -> Option<Plain> {
    let mut request = Request::decode(whole).ok()?;
    let mut keep = keep.into_iter().peekable();
    let (mut number, mut kept) = (0, 0);
    let resources = request.resource_metrics.iter_mut();
    for scope in resources.flat_map(|resource| &mut resource.scope_metrics) {
        for points in scope.metrics.iter_mut().filter_map(Metric::points_mut) {
            points.retain(|_| {
                let wanted = keep.next_if_eq(&number).is_some();
                number += 1;
                kept += usize::from(wanted);
                wanted
            });
        }
        let is_empty =
            |metric: &mut Metric| metric.points_mut().is_none_or(|points| points.is_empty());
        scope.metrics.retain_mut(|metric| !is_empty(metric));
    }
    Some(plain(&request, kept))
}

/// Nanoseconds since 1970; moments before are 1970.
fn unix_ns(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
