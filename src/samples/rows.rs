//! Rows as Azure's InsightsMetrics names them: one JSON object per sample, in an envelope of the sink's.
//!
//! Columns: `TimeGenerated`, `Computer`, `Namespace` (`prometheus`, under which that table has samples of Prometheus
//! names), `Name`, `Val`, `Tags` (an object of the labels); `ClusterName` and the sink's static fields behind them.
//! Invariant: a row is valid JSON on one line whatever the labels hold. A value that JSON does not know (not a number,
//! infinite) makes no row and is counted.

use std::io::Write;
use std::time::SystemTime;

use super::batches::Items;
use super::envelope::{Envelope, Envelopes};
use super::payload::Plain;
use crate::config::Rows as RowsConfig;
use crate::encode::json;
use crate::node::snapshot::{Family, Sample, Snapshot};
use crate::sink::dead_letter::rfc3339;

/// The value of the `Namespace` column.
pub const NAMESPACE: &str = "prometheus";

/// The format of rows.
#[derive(Debug)]
pub struct Rows {
    envelopes: Envelopes,
    /// Values have a fraction even if it is 0: to a store that makes a column's type of the first value, all are numbers
    /// of one kind.
    fractions: bool,
    /// The name of the time's column.
    time: Option<String>,
    /// All between the time and the name.
    head: Vec<u8>,
    /// All behind the labels.
    tail: Vec<u8>,
    /// All of a row before the name, for the samples of one snapshot.
    opening: Vec<u8>,
    row: Vec<u8>,
}

impl Rows {
    /// Rows as configured, for the node of this name; `cluster_name`: the `ClusterName` column.
    pub fn new(
        config: &RowsConfig,
        envelope: Envelope,
        node: &str,
        cluster_name: Option<&str>,
    ) -> Rows {
        let mut head = Vec::new();
        if let Some(name) = config.columns.name("Computer") {
            member(name, &mut head);
            json::write_string(node.as_bytes(), &mut head);
            head.push(b',');
        }
        member("Namespace", &mut head);
        json::write_string(NAMESPACE.as_bytes(), &mut head);
        head.push(b',');
        let mut tail = Vec::new();
        if let (Some(name), Some(cluster)) = (config.columns.name("ClusterName"), cluster_name) {
            tail.push(b',');
            member(name, &mut tail);
            json::write_string(cluster.as_bytes(), &mut tail);
        }
        for (name, value) in &config.fields {
            tail.push(b',');
            member(name, &mut tail);
            // A JSON value always has a text.
            let _ = write!(tail, "{value}");
        }
        tail.push(b'}');
        Rows {
            fractions: matches!(envelope, Envelope::Documents { .. }),
            envelopes: Envelopes::new(envelope, node),
            time: config.columns.name("TimeGenerated").map(str::to_owned),
            head,
            tail,
            opening: Vec::new(),
            row: Vec::new(),
        }
    }

    fn row(&mut self, snapshot: &Snapshot, family: &Family, sample: &Sample) {
        let out = &mut self.row;
        out.clear();
        out.extend_from_slice(&self.opening);
        member("Name", out);
        json::write_string(family.spec.name.as_bytes(), out);
        out.push(b',');
        member("Val", out);
        // Writing to a Vec cannot fail.
        let _ = match self.fractions && sample.value.fract() == 0.0 {
            true => write!(out, "{:.1}", sample.value),
            false => write!(out, "{}", sample.value),
        };
        out.push(b',');
        member("Tags", out);
        out.push(b'{');
        for (number, (name, value)) in snapshot.labels(sample).enumerate() {
            if number > 0 {
                out.push(b',');
            }
            member(name, out);
            json::write_string(value.as_bytes(), out);
        }
        out.push(b'}');
        out.extend_from_slice(&self.tail);
    }
}

fn member(name: &str, out: &mut Vec<u8>) {
    json::write_string(name.as_bytes(), out);
    out.push(b':');
}

impl Items for Rows {
    fn begin(&mut self, taken: SystemTime) -> Plain {
        self.opening.clear();
        self.opening.push(b'{');
        if let Some(time) = &self.time {
            member(time, &mut self.opening);
            json::write_string(rfc3339(taken).as_bytes(), &mut self.opening);
            self.opening.push(b',');
        }
        self.opening.extend_from_slice(&self.head);
        self.envelopes.begin(taken, b"")
    }

    fn item(
        &mut self,
        snapshot: &Snapshot,
        family: &Family,
        sample: &Sample,
        out: &mut Vec<u8>,
    ) -> bool {
        if !sample.value.is_finite() {
            return false;
        }
        self.row(snapshot, family, sample);
        self.envelopes.put(&self.row, out);
        true
    }

    fn between(&self) -> &'static [u8] {
        self.envelopes.between()
    }

    fn end(&self) -> &'static [u8] {
        self.envelopes.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Limits, RowFormat};
    use crate::node::snapshot::{Spec, Unit};
    use crate::samples::batches::Batches;
    use crate::samples::shape::Shape;

    const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");
    const CPU: Spec = Spec::counter("node_cpu_seconds_total", Unit::Seconds, "Time.");

    fn snapshot() -> Snapshot {
        let taken = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut snapshot = Snapshot::new(taken, Arc::new(|_| true), 100);
        snapshot.add(&LOAD, &[], 0.25);
        snapshot.add(&CPU, &[("cpu", "0"), ("mode", "user")], 1e21);
        snapshot.add(&CPU, &[("cpu", "1"), ("mode", "user")], f64::NAN);
        snapshot
    }

    fn values(plains: &[Plain]) -> Vec<Value> {
        let rows = |plain: &Plain| -> Vec<Value> {
            let text = String::from_utf8(plain.bytes.clone()).unwrap();
            if text.starts_with('[') {
                return serde_json::from_str(&text).unwrap();
            }
            assert!(text.ends_with('\n'));
            let rows = text.lines();
            rows.map(|row| serde_json::from_str(row).unwrap()).collect()
        };
        plains.iter().flat_map(rows).collect()
    }

    #[test]
    fn rows_have_the_columns_of_insights_metrics() {
        let mut config = RowsConfig::default();
        config.columns.set("Computer", Some("host".to_owned()));
        config.fields.push(("team".to_owned(), json!(["a", 1])));
        for format in [RowFormat::Ndjson, RowFormat::JsonArray] {
            config.format = format;
            let rows = Rows::new(&config, Envelope::of_rows(format), "n\"1", Some("c"));
            let mut rows = Batches::new(rows, &Limits::default());
            let mut out = Vec::new();
            let unshaped = rows.snapshot(&snapshot(), &mut |plain| out.push(plain));
            assert_eq!(unshaped.unfit, 1);
            assert_eq!(
                values(&out),
                [
                    json!({"TimeGenerated": "2023-11-14T22:13:20.123Z", "host": "n\"1", "Namespace": "prometheus",
                        "Name": "node_load1", "Val": 0.25, "Tags": {}, "ClusterName": "c", "team": ["a", 1]}),
                    json!({"TimeGenerated": "2023-11-14T22:13:20.123Z", "host": "n\"1", "Namespace": "prometheus",
                        "Name": "node_cpu_seconds_total", "Val": 1e21, "Tags": {"cpu": "0", "mode": "user"},
                        "ClusterName": "c", "team": ["a", 1]}),
                ]
            );
        }
    }

    proptest! {
        /// Whatever labels and values hold, each payload parses, has at most the rows allowed, and can be cut anywhere.
        #[test]
        fn payloads_are_bounded_and_can_be_cut(
            samples in prop::collection::vec((any::<f64>(), ".*"), 0..40),
            records_max in 1_u32..10,
            array in any::<bool>(),
            middle in 0_usize..10,
        ) {
            let limits = Limits { payload_records_max: records_max, ..Limits::default() };
            let format = if array { RowFormat::JsonArray } else { RowFormat::Ndjson };
            let config = RowsConfig { format, ..RowsConfig::default() };
            let rows = Rows::new(&config, Envelope::of_rows(format), "n", None);
            let mut rows = Batches::new(rows, &limits);
            let mut snapshot = Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| true), 100);
            for (value, text) in &samples {
                snapshot.add(&LOAD, &[("x", text)], *value);
            }
            let mut out = Vec::new();
            let unshaped = rows.snapshot(&snapshot, &mut |plain| out.push(plain));
            let rows = values(&out);
            prop_assert_eq!(rows.len() as u64 + unshaped.unfit, snapshot.series() as u64);
            for plain in &out {
                let items = plain.items.ends.len();
                prop_assert!(items >= 1 && items <= records_max as usize);
                let halves = [plain.cut(0..middle.min(items)), plain.cut(middle.min(items)..items)];
                let halves = halves.map(|half| if half.items.ends.is_empty() { Vec::new() } else { values(&[half]) });
                prop_assert_eq!(halves.concat(), values(std::slice::from_ref(plain)));
            }
        }
    }
}
