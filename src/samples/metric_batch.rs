//! The protobuf form of our own schema: `longshore.v1.MetricBatch` (`proto/longshore/v1/metrics.proto`).
//!
//! Invariant: a payload is one group, with a sample or more; all samples of a snapshot are in one, whatever their value.

use std::time::{SystemTime, UNIX_EPOCH};

use super::batches::Items;
use super::envelope::{Envelope, Envelopes};
use super::payload::{Form, Plain};
use crate::config::Rows as RowsConfig;
use crate::encode::log_batch::put_fields;
use crate::encode::protobuf::{fixed64, length_delimited, open, put_bytes, put_text, varint};
use crate::node::snapshot::{Family, Kind, Sample, Snapshot};

/// `MetricBatch.groups`.
const GROUPS: u8 = length_delimited(1);
/// `SampleGroup.origin`.
const ORIGIN: u8 = length_delimited(1);
/// `SampleGroup.samples`.
const SAMPLES: u8 = length_delimited(2);
/// `Origin.time_unix_nano`.
const TIME: u8 = fixed64(1);
/// `Origin.computer`.
const COMPUTER: u8 = length_delimited(2);
/// `Origin.cluster_name`.
const CLUSTER_NAME: u8 = length_delimited(3);
/// `Origin.fields`.
const FIELDS: u8 = length_delimited(4);
/// `Sample.name`.
const NAME: u8 = length_delimited(1);
/// `Sample.value`.
const VALUE: u8 = fixed64(2);
/// `Sample.kind`.
const KIND: u8 = varint(3);
/// `Sample.labels`.
const LABELS: u8 = length_delimited(4);
/// `Label.name`.
const LABEL_NAME: u8 = length_delimited(1);
/// `Label.value`.
const LABEL_VALUE: u8 = length_delimited(2);

/// The format of batches.
#[derive(Debug)]
pub struct MetricBatch {
    /// Frames, for a sink that makes the batches itself.
    frames: Option<Envelopes>,
    /// All of the origin but the time.
    origin: Vec<u8>,
    /// The sample and the label at hand.
    sample: Vec<u8>,
    label: Vec<u8>,
}

impl MetricBatch {
    /// Batches for the node of this name. Of `config` it takes the static fields. With `frames`, which are
    /// [`Envelope::Frames`], a payload is frames of samples and not a batch.
    pub fn new(
        config: &RowsConfig,
        frames: Option<Envelope>,
        node: &str,
        cluster_name: Option<&str>,
    ) -> MetricBatch {
        let mut origin = Vec::new();
        put_text(COMPUTER, node, &mut origin);
        put_text(CLUSTER_NAME, cluster_name.unwrap_or_default(), &mut origin);
        put_fields(FIELDS, &config.fields, &mut origin);
        MetricBatch {
            frames: frames.map(|frames| Envelopes::new(frames, node)),
            origin,
            sample: Vec::new(),
            label: Vec::new(),
        }
    }

    fn sample(&mut self, snapshot: &Snapshot, family: &Family, sample: &Sample) {
        self.sample.clear();
        put_text(NAME, &family.spec.name, &mut self.sample);
        self.sample.push(VALUE);
        self.sample.extend_from_slice(&sample.value.to_le_bytes());
        let kind = match family.spec.kind {
            Kind::Untyped => 0,
            Kind::Gauge => 1,
            Kind::Counter => 2,
        };
        self.sample.extend([KIND, kind]);
        for (name, value) in snapshot.labels(sample) {
            self.label.clear();
            put_text(LABEL_NAME, name, &mut self.label);
            put_text(LABEL_VALUE, value, &mut self.label);
            put_bytes(LABELS, &self.label, &mut self.sample);
        }
    }
}

impl Items for MetricBatch {
    /// A group up to its first sample.
    fn begin(&mut self, taken: SystemTime) -> Plain {
        let mut origin = vec![TIME];
        let since = taken.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        origin.extend_from_slice(&nanos.to_le_bytes());
        origin.extend_from_slice(&self.origin);
        if let Some(frames) = &mut self.frames {
            return frames.begin(taken, &origin);
        }
        let mut before = Vec::new();
        // Its length lies behind its tag, where `Form::Group` has it.
        open(GROUPS, &mut before);
        put_bytes(ORIGIN, &origin, &mut before);
        let mut plain = Plain::begin(&before, 0);
        plain.items.form = Form::Group;
        plain
    }

    fn item(
        &mut self,
        snapshot: &Snapshot,
        family: &Family,
        sample: &Sample,
        out: &mut Vec<u8>,
    ) -> bool {
        self.sample(snapshot, family, sample);
        match &self.frames {
            None => put_bytes(SAMPLES, &self.sample, out),
            Some(frames) => {
                self.label.clear();
                put_bytes(SAMPLES, &self.sample, &mut self.label);
                frames.put(&self.label, out);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message;
    use serde_json::json;

    use super::*;
    use crate::config::Limits;
    use crate::node::snapshot::{Spec, Unit};
    use crate::samples::batches::Batches;
    use crate::samples::shape::{Shape, Unshaped};

    /// The messages as a receiver declares them.
    #[derive(Clone, PartialEq, Message)]
    struct Batch {
        #[prost(message, repeated, tag = "1")]
        groups: Vec<Group>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Group {
        #[prost(message, optional, tag = "1")]
        origin: Option<Origin>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<One>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Origin {
        #[prost(fixed64, tag = "1")]
        time_unix_nano: u64,
        #[prost(string, tag = "2")]
        computer: String,
        #[prost(string, tag = "3")]
        cluster_name: String,
        #[prost(message, repeated, tag = "4")]
        fields: Vec<Pair>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct One {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(double, tag = "2")]
        value: f64,
        #[prost(int32, tag = "3")]
        kind: i32,
        #[prost(message, repeated, tag = "4")]
        labels: Vec<Pair>,
    }

    /// `Label`, and `Field`.
    #[derive(Clone, PartialEq, Message)]
    struct Pair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");
    const CPU: Spec = Spec::counter("node_cpu_seconds_total", Unit::Seconds, "Time.");

    fn pair(name: &str, value: &str) -> Pair {
        Pair {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn decoded(plain: &Plain) -> Batch {
        Batch::decode(plain.bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_snapshot_is_one_group_that_a_receiver_decodes() {
        let taken = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let mut snapshot = Snapshot::new(taken, Arc::new(|_| true), 100);
        snapshot.add(&LOAD, &[], f64::INFINITY);
        snapshot.add(&CPU, &[("cpu", "0"), ("mode", "")], 1e21);
        let config = RowsConfig {
            fields: vec![("team".to_owned(), json!(["a", 1]))],
            ..RowsConfig::default()
        };
        let batch = MetricBatch::new(&config, None, "n1", Some("blue"));
        let mut shape = Batches::new(batch, &Limits::default());
        let mut out = Vec::new();
        let unshaped = shape.snapshot(&snapshot, &mut |plain| out.push(plain));
        assert_eq!(unshaped, Unshaped::default());
        let one = |name: &str, value, kind, labels| One {
            name: name.to_owned(),
            value,
            kind,
            labels,
        };
        let cpu_labels = vec![pair("cpu", "0"), pair("mode", "")];
        let expected = Batch {
            groups: vec![Group {
                origin: Some(Origin {
                    time_unix_nano: 1_700_000_000_123_456_789,
                    computer: "n1".to_owned(),
                    cluster_name: "blue".to_owned(),
                    fields: vec![pair("team", "[\"a\",1]")],
                }),
                samples: vec![
                    one("node_load1", f64::INFINITY, 1, Vec::new()),
                    one("node_cpu_seconds_total", 1e21, 2, cpu_labels),
                ],
            }],
        };
        assert_eq!(out.iter().map(decoded).collect::<Vec<_>>(), [expected]);
    }

    proptest! {
        /// Whatever labels and values hold, each payload decodes and has at most the samples allowed; a part cut out of
        /// it has just the samples wanted and all that they share; and payloads one behind the other are one.
        #[test]
        fn payloads_are_bounded_and_can_be_cut(
            samples in prop::collection::vec((-1e9..1e9_f64, ".*"), 1..40),
            records_max in 1_u32..10,
            picks in prop::collection::vec(any::<bool>(), 10),
        ) {
            let limits = Limits { payload_records_max: records_max, ..Limits::default() };
            let batch = MetricBatch::new(&RowsConfig::default(), None, "n", None);
            let mut shape = Batches::new(batch, &limits);
            let mut snapshot = Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| true), 100);
            for (value, text) in &samples {
                snapshot.add(&LOAD, &[("x", text)], *value);
            }
            let mut out = Vec::new();
            shape.snapshot(&snapshot, &mut |plain| out.push(plain));
            let mut groups = Vec::new();
            for plain in &out {
                let [group] = &decoded(plain).groups[..] else { panic!("not one group") };
                let items = plain.items.ends.len();
                prop_assert!(items == group.samples.len() && items <= records_max as usize);
                let keep: Vec<usize> = (0..items).filter(|item| picks[*item]).collect();
                let cut = decoded(&plain.cut(keep.clone()));
                let wanted: Vec<One> = keep.iter().map(|item| group.samples[*item].clone()).collect();
                prop_assert_eq!(&cut.groups[0].samples, &wanted);
                prop_assert_eq!(&cut.groups[0].origin, &group.origin);
                prop_assert_eq!(plain.cut(0..items), plain.clone());
                groups.push(group.clone());
            }
            let total: usize = groups.iter().map(|group| group.samples.len()).sum();
            prop_assert_eq!(total, snapshot.series());
            let together: Vec<u8> = out.iter().flat_map(|plain| plain.bytes.clone()).collect();
            prop_assert_eq!(Batch::decode(together.as_slice()).unwrap().groups, groups);
        }
    }
}
