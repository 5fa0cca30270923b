//! Rows as Azure's InsightsMetrics names them: one JSON object per sample, in lines (NDJSON) or in one array.
//!
//! Columns: `TimeGenerated`, `Computer`, `Namespace` (`prometheus`, under which that table has samples of Prometheus
//! names), `Name`, `Val`, `Tags` (an object of the labels); `ClusterName` and the sink's static fields behind them.
//! Invariant: a row is valid JSON on one line whatever the labels hold. A value that JSON does not know (not a number,
//! infinite) makes no row and is counted.

use std::io::Write;
use std::time::SystemTime;

use super::payload::Plain;
use super::shape::{Out, Shape, Unshaped};
use crate::config::{Limits, RowFormat, Rows as RowsConfig};
use crate::encode::json;
use crate::node::snapshot::{Family, Sample, Snapshot};
use crate::sink::dead_letter::rfc3339;

/// The value of the `Namespace` column.
pub const NAMESPACE: &str = "prometheus";

/// The shape of rows.
#[derive(Debug)]
pub struct Rows {
    format: RowFormat,
    records_max: usize,
    bytes_max: usize,
    /// The name of the time's column.
    time: Option<String>,
    /// All between the time and the name.
    head: Vec<u8>,
    /// All behind the labels.
    tail: Vec<u8>,
}

impl Rows {
    /// Rows as configured, for the node of this name; `cluster_name`: the `ClusterName` column.
    pub fn new(
        config: &RowsConfig,
        limits: &Limits,
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
            format: config.format,
            records_max: limits.payload_records_max as usize,
            bytes_max: limits.payload_uncompressed_bytes_max,
            time: config.columns.name("TimeGenerated").map(str::to_owned),
            head,
            tail,
        }
    }

    /// The HTTP media type of a payload.
    pub fn content_type(&self) -> &'static str {
        match self.format {
            RowFormat::Ndjson => "application/x-ndjson",
            RowFormat::JsonArray => "application/json",
        }
    }

    fn begin(&self) -> Plain {
        match self.format {
            RowFormat::Ndjson => Plain::begin(b"", 0),
            RowFormat::JsonArray => Plain::begin(b"[", 1),
        }
    }

    fn end(&self, mut plain: Plain, out: &mut Out<'_>) {
        if self.format == RowFormat::JsonArray {
            plain.bytes.push(b']');
        }
        if !plain.items.ends.is_empty() {
            out(plain);
        }
    }

    /// All of a row before the name, for the samples of one snapshot.
    fn opening(&self, taken: SystemTime) -> Vec<u8> {
        let mut opening = vec![b'{'];
        if let Some(time) = &self.time {
            member(time, &mut opening);
            json::write_string(rfc3339(taken).as_bytes(), &mut opening);
            opening.push(b',');
        }
        opening.extend_from_slice(&self.head);
        opening
    }

    fn row(&self, snapshot: &Snapshot, family: &Family, sample: &Sample, out: &mut Vec<u8>) {
        member("Name", out);
        json::write_string(family.spec.name.as_bytes(), out);
        out.push(b',');
        member("Val", out);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}", sample.value);
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

impl Shape for Rows {
    fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Out<'_>) -> Unshaped {
        let mut unshaped = Unshaped::default();
        let opening = self.opening(snapshot.taken);
        let mut plain = self.begin();
        for family in snapshot.families() {
            for sample in &family.samples {
                if !sample.value.is_finite() {
                    unshaped.unfit += 1;
                    continue;
                }
                let full = plain.items.ends.len() >= self.records_max
                    || plain.bytes.len() + opening.len() >= self.bytes_max;
                if full {
                    let whole = std::mem::replace(&mut plain, self.begin());
                    self.end(whole, out);
                }
                if self.format == RowFormat::JsonArray && !plain.items.ends.is_empty() {
                    plain.bytes.push(b',');
                }
                plain.bytes.extend_from_slice(&opening);
                self.row(snapshot, family, sample, &mut plain.bytes);
                if self.format == RowFormat::Ndjson {
                    plain.bytes.push(b'\n');
                }
                plain.end_item();
            }
        }
        self.end(plain, out);
        unshaped
    }

    /// Rows do not end: a store of rows knows no series.
    fn farewell(&mut self, _at: SystemTime, _out: &mut Out<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::node::snapshot::{Spec, Unit};

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
            let mut rows = Rows::new(&config, &Limits::default(), "n\"1", Some("c"));
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
            let mut rows = Rows::new(&config, &limits, "n", None);
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
