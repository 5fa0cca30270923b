//! Metrics for Splunk's HTTP Event Collector: one JSON object for each sample, in the form that a metrics index takes
//! (docs.splunk.com, "Get metrics in from other sources": the multiple-metric JSON format).
//!
//! Invariant: an object is valid JSON whatever the labels hold. A value that JSON does not know (not a number, infinite)
//! is none and is counted.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::batches::Items;
use super::payload::Plain;
use crate::config::{Rows as RowsConfig, SplunkHecSink};
use crate::encode::json;
use crate::node::snapshot::{Family, Sample, Snapshot};

/// Where metrics come from, as the collector is told.
const SOURCE: &str = "longshore";
/// What kind of events they are.
const SOURCETYPE: &str = "longshore:metrics";

/// The format.
#[derive(Debug)]
pub struct Hec {
    /// All between the time and the metric.
    head: Vec<u8>,
    /// The fields that are the same for all, and the end.
    tail: Vec<u8>,
    /// All before the metric.
    opening: Vec<u8>,
}

impl Hec {
    /// For the node of this name. Of `rows` it takes the static fields.
    pub fn new(
        sink: &SplunkHecSink,
        rows: &RowsConfig,
        node: &str,
        cluster_name: Option<&str>,
    ) -> Hec {
        let mut head = Vec::new();
        for (name, value) in [
            ("host", node),
            ("source", SOURCE),
            ("sourcetype", SOURCETYPE),
        ] {
            text(name, value, &mut head);
        }
        if let Some(index) = &sink.metrics_index {
            text("index", index, &mut head);
        }
        head.extend_from_slice(b",\"event\":\"metric\",\"fields\":{");
        let mut tail = Vec::new();
        text("k8s.node.name", node, &mut tail);
        if let Some(cluster) = cluster_name {
            text("k8s.cluster.name", cluster, &mut tail);
        }
        for (name, value) in &rows.fields {
            tail.push(b',');
            json::write_string(name.as_bytes(), &mut tail);
            tail.push(b':');
            tail.extend_from_slice(value.to_string().as_bytes());
        }
        tail.extend_from_slice(b"}}\n");
        Hec {
            head,
            tail,
            opening: Vec::new(),
        }
    }
}

/// Appends `,"name":"value"`.
fn text(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    json::write_string(name.as_bytes(), out);
    out.push(b':');
    json::write_string(value.as_bytes(), out);
}

impl Items for Hec {
    fn begin(&mut self, taken: SystemTime) -> Plain {
        let since = taken.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.opening.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(
            self.opening,
            "{{\"time\":{}.{:03}",
            since.as_secs(),
            since.subsec_millis()
        );
        self.opening.extend_from_slice(&self.head);
        Plain::begin(b"", 0)
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
        out.extend_from_slice(&self.opening);
        json::write_string(format!("metric_name:{}", family.spec.name).as_bytes(), out);
        // Writing to a Vec cannot fail.
        let _ = write!(out, ":{}", sample.value);
        for (name, value) in snapshot.labels(sample) {
            text(name, value, out);
        }
        out.extend_from_slice(&self.tail);
        true
    }
}
