use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::transport::downgrade;
use super::*;
use crate::clock::Time;
use crate::node::snapshot::Spec;
use crate::samples::payload::{Codec, Packer};

const CPU: Spec = Spec::counter("node_cpu_seconds_total", Unit::Seconds, "Time.");
const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");

fn shape(version: RemoteWriteVersion, records_max: u32) -> RemoteWrite {
    let external = [("job", "node"), ("instance", "n1")];
    let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let limits = Limits {
        payload_records_max: records_max,
        ..Limits::default()
    };
    RemoteWrite::new(version, external.to_vec(), &limits)
}

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn snapshot(ms: u64) -> Snapshot {
    Snapshot::new(at(ms), Arc::new(|_| true), 1_000)
}

/// Payloads as version 1 has them.
fn decoded(version: RemoteWriteVersion, plain: &Plain) -> v1::WriteRequest {
    match version {
        RemoteWriteVersion::One => v1::WriteRequest::decode(plain.bytes.as_slice()).unwrap(),
        RemoteWriteVersion::Two => {
            let request = v2::Request::decode(plain.bytes.as_slice()).unwrap();
            assert_eq!(request.symbols[0], "");
            let unique: BTreeSet<&String> = request.symbols.iter().collect();
            assert_eq!(
                unique.len(),
                request.symbols.len(),
                "a symbol is there twice"
            );
            to_version_1(&request)
        }
    }
}

use super::messages::to_version_1;

/// Series (labels as text) with bits and time of their one sample.
fn sent(version: RemoteWriteVersion, plains: &[Plain]) -> BTreeMap<String, (u64, i64)> {
    let mut all = BTreeMap::new();
    for plain in plains {
        let request = decoded(version, plain);
        assert_eq!(request.timeseries.len(), plain.items.ends.len());
        for series in request.timeseries {
            let names: Vec<&String> = series.labels.iter().map(|label| &label.name).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            assert!(series.labels.iter().all(|label| !label.value.is_empty()));
            let labels = series.labels.iter();
            let labels: Vec<String> = labels
                .map(|it| format!("{}={}", it.name, it.value))
                .collect();
            let [sample] = series.samples.as_slice() else {
                panic!("{} samples", series.samples.len());
            };
            let twice = all.insert(labels.join(","), (sample.value.to_bits(), sample.timestamp));
            assert!(twice.is_none(), "{labels:?} is there twice");
        }
    }
    all
}

fn take(shape: &mut RemoteWrite, snapshot: &Snapshot) -> (Vec<Plain>, Unshaped) {
    let mut out = Vec::new();
    let unshaped = shape.snapshot(snapshot, &mut |plain| out.push(plain));
    (out, unshaped)
}

#[test]
fn a_series_that_vanishes_ends_and_one_that_comes_back_goes_on() {
    for version in [RemoteWriteVersion::One, RemoteWriteVersion::Two] {
        let mut shape = shape(version, 100);
        let cpu0 = "__name__=node_cpu_seconds_total,cpu=0,instance=n1,job=node";
        let load = "__name__=node_load1,instance=n1,job=node";
        let mut first = snapshot(1_000);
        first.add(&CPU, &[("cpu", "0")], 1.0);
        first.add(&LOAD, &[], 2.0);
        let one = sent(version, &take(&mut shape, &first).0);
        assert_eq!(one[cpu0], (1_f64.to_bits(), 1_000));
        assert_eq!(one[load], (2_f64.to_bits(), 1_000));
        let mut second = snapshot(2_000);
        second.add(&LOAD, &[], 3.0);
        let two = sent(version, &take(&mut shape, &second).0);
        assert_eq!(two[cpu0], (STALE_NAN_BITS, 2_000));
        assert_eq!(two[load], (3_f64.to_bits(), 2_000));
        let mut third = snapshot(3_000);
        third.add(&CPU, &[("cpu", "0")], 4.0);
        let three = sent(version, &take(&mut shape, &third).0);
        assert_eq!(three[cpu0], (4_f64.to_bits(), 3_000));
        assert_eq!(three[load], (STALE_NAN_BITS, 3_000));
        let mut out = Vec::new();
        // The clock fell back meanwhile: the end is still behind the last sample.
        shape.farewell(at(2_500), &mut |plain| out.push(plain));
        let end = sent(version, &out);
        assert_eq!(
            end,
            BTreeMap::from([(cpu0.to_owned(), (STALE_NAN_BITS, 3_001))])
        );
    }
}

#[test]
fn what_would_be_out_of_order_is_not_sent_unless_the_clock_was_corrected() {
    let mut shape = shape(RemoteWriteVersion::One, 100);
    let hour_ms = 3_600_000;
    for (ms, out_of_order) in [
        (2 * hour_ms, 0),
        (2 * hour_ms, 1),
        (2 * hour_ms - 1, 1),
        (2 * hour_ms + 1, 0),
        (hour_ms - 1_000, 0),
        (hour_ms, 0),
    ] {
        let mut snapshot = snapshot(ms);
        snapshot.add(&LOAD, &[], 1.0);
        let (plains, unshaped) = take(&mut shape, &snapshot);
        assert_eq!(unshaped.out_of_order, out_of_order, "{ms}");
        assert_eq!(plains.len() as u64, 1 - out_of_order);
    }
}

#[test]
fn what_no_receiver_takes_is_counted() {
    let mut shape = shape(RemoteWriteVersion::One, 100);
    let bad = Spec::gauge("not a name", Unit::One, "Bad.");
    for ms in [1, 2] {
        let mut snapshot = snapshot(ms);
        snapshot.add(&bad, &[], 1.0);
        snapshot.add(&LOAD, &[("a-b", "1")], 1.0);
        snapshot.add(&LOAD, &[], 1.0);
        // Once the empty label is gone it is the same series.
        snapshot.add(&LOAD, &[("x", "")], 1.0);
        let (plains, unshaped) = take(&mut shape, &snapshot);
        assert_eq!(unshaped.unfit, 3);
        assert_eq!(sent(RemoteWriteVersion::One, &plains).len(), 1);
    }
}

#[test]
fn version_2_says_what_a_series_is() {
    let mut shape = shape(RemoteWriteVersion::Two, 100);
    let mut snapshot = snapshot(9_000);
    snapshot.add_since(&CPU, &[], 1.0, Some(at(5_000)));
    let (plains, _) = take(&mut shape, &snapshot);
    let request = v2::Request::decode(plains[0].bytes.as_slice()).unwrap();
    let series = &request.timeseries[0];
    let metadata = series.metadata.unwrap();
    assert_eq!(metadata.kind, v2::METRIC_TYPE_COUNTER);
    assert_eq!(request.symbols[metadata.help_ref as usize], "Time.");
    assert_eq!(request.symbols[metadata.unit_ref as usize], "seconds");
    assert_eq!(series.samples[0].start_timestamp, 5_000);
}

proptest! {
    /// Whatever labels the samples have: both versions send the same, payloads are bounded, what is cut out of them is
    /// a request again, and the way from the second version to the first changes nothing.
    #[test]
    fn both_versions_send_the_same(
        samples in prop::collection::vec(("[a-c_:]{0,3}", "[a-c]{1,2}", "\\PC{0,4}", any::<f64>()), 0..60),
        records_max in 1_u32..20,
    ) {
        let mut results = Vec::new();
        for version in [RemoteWriteVersion::One, RemoteWriteVersion::Two] {
            let mut shape = shape(version, records_max);
            let mut snapshot = snapshot(1_000);
            for (name, label, text, value) in &samples {
                let spec = Spec { name: name.clone().into(), ..LOAD };
                snapshot.add(&spec, &[(label, text)], *value);
            }
            let (plains, unshaped) = take(&mut shape, &snapshot);
            let all = sent(version, &plains);
            prop_assert_eq!(all.len() as u64 + unshaped.unfit, snapshot.series() as u64);
            let mut packer = Packer::new(Codec::Snappy);
            for plain in &plains {
                prop_assert!(plain.items.ends.len() <= records_max as usize);
                let middle = plain.items.ends.len() / 2;
                let halves = [plain.cut(0..middle), plain.cut(middle..plain.items.ends.len())];
                prop_assert_eq!(sent(version, &halves), sent(version, std::slice::from_ref(plain)));
                if version == RemoteWriteVersion::Two {
                    let packed = packer.pack(plain.clone(), 1, Time::ZERO).unwrap();
                    let first = downgrade(&packed.body).unwrap();
                    let first = snap::raw::Decoder::new().decompress_vec(&first).unwrap();
                    let first = v1::WriteRequest::decode(first.as_slice()).unwrap();
                    prop_assert_eq!(first, decoded(version, plain));
                }
            }
            results.push(all);
        }
        prop_assert_eq!(&results[0], &results[1]);
    }

    /// The series that is written without making messages is the one that a message would give.
    #[test]
    fn a_series_is_written_as_its_message_would_be(
        labels in prop::collection::vec((".{1,200}", ".{1,200}"), 0..5),
        value in any::<f64>(),
        timestamp in any::<i64>(),
    ) {
        let mut written = Vec::new();
        v1::put_series(&labels, value, timestamp, &mut written);
        let labels = labels.into_iter().map(|(name, value)| v1::Label { name, value });
        let series = v1::TimeSeries {
            labels: labels.collect(),
            samples: vec![v1::Sample { value, timestamp }],
        };
        let request = v1::WriteRequest { timeseries: vec![series] };
        prop_assert_eq!(written, request.encode_to_vec());
    }
}
