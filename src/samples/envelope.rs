//! What lies around a sample in a payload.
//!
//! Invariant: the uid of a sample is the same each time it is sent, and another for another sample.

use std::time::{SystemTime, UNIX_EPOCH};

use super::payload::Plain;
use crate::config::{ElasticsearchSink, IndexPart, RowFormat, index_parts};
use crate::encode::frames::{put_record, put_run};
use crate::encode::write_hex;
use crate::sink::dead_letter::rfc3339;

/// The forms.
#[derive(Clone, Debug)]
pub enum Envelope {
    /// One behind the other, each ended by LF.
    Lines,
    /// An array.
    Array,
    /// Documents for the bulk interface of Elasticsearch.
    Documents {
        /// All of the action up to the index.
        open: String,
        /// The index.
        index: Vec<IndexPart>,
        /// Whether a document's `_id` is its uid.
        ids: bool,
    },
    /// Frames for Kafka's batches.
    Frames {
        /// Where they go.
        topic: String,
        /// What keeps them in order: the node's name.
        key: String,
    },
}

/// Envelopes of the samples of one snapshot.
#[derive(Debug)]
pub struct Envelopes {
    envelope: Envelope,
    node: String,
    /// Of the snapshot at hand.
    seed: u64,
    time_ms: i64,
    /// The action of a document up to the uid, if it has one, or else whole.
    action: Vec<u8>,
}

impl Envelope {
    /// Of rows in this format.
    pub fn of_rows(format: RowFormat) -> Envelope {
        match format {
            RowFormat::JsonArray => Envelope::Array,
            RowFormat::Ndjson | RowFormat::Protobuf => Envelope::Lines,
        }
    }

    /// Of documents.
    pub fn documents(sink: &ElasticsearchSink) -> Envelope {
        Envelope::Documents {
            open: format!("{{\"{}\":{{\"_index\":\"", sink.action.as_str()),
            // Only a name that was checked gets here.
            index: index_parts(&sink.metrics_index).unwrap_or_default(),
            ids: sink.ids,
        }
    }
}

impl Envelopes {
    /// Envelopes for the node of this name.
    pub fn new(envelope: Envelope, node: &str) -> Envelopes {
        Envelopes {
            envelope,
            node: node.to_owned(),
            seed: 0,
            time_ms: 0,
            action: Vec::new(),
        }
    }

    /// A payload for the samples of one snapshot. `head`: what Kafka's messages share, see [`put_run`].
    pub fn begin(&mut self, taken: SystemTime, head: &[u8]) -> Plain {
        let since = taken.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = since.as_nanos() as u64;
        self.seed = xxhash_rust::xxh3::xxh3_64_with_seed(self.node.as_bytes(), nanos);
        self.time_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        match &self.envelope {
            Envelope::Lines => Plain::begin(b"", 0),
            Envelope::Array => Plain::begin(b"[", 1),
            Envelope::Documents { open, index, ids } => {
                self.action.clear();
                self.action.extend_from_slice(open.as_bytes());
                let time = rfc3339(taken);
                for part in index {
                    match part {
                        IndexPart::Text(text) => self.action.extend_from_slice(text.as_bytes()),
                        IndexPart::Time(from, to) => {
                            let digits = time.as_bytes().get(*from..*to);
                            self.action.extend_from_slice(digits.unwrap_or_default());
                        }
                        // Samples are of no namespace: a name with one is refused.
                        IndexPart::Namespace => {}
                    }
                }
                let close: &[u8] = match ids {
                    true => b"\",\"_id\":\"",
                    false => b"\"}}\n",
                };
                self.action.extend_from_slice(close);
                Plain::begin(b"", 0)
            }
            Envelope::Frames { topic, key } => {
                let mut run = Vec::new();
                put_run(topic, key, head, &mut run);
                Plain::begin(&run, 0)
            }
        }
    }

    /// Appends a sample that is encoded as `row`.
    pub fn put(&self, row: &[u8], out: &mut Vec<u8>) {
        let uid = || xxhash_rust::xxh3::xxh3_128_with_seed(row, self.seed);
        match &self.envelope {
            Envelope::Array => out.extend_from_slice(row),
            Envelope::Lines => {
                out.extend_from_slice(row);
                out.push(b'\n');
            }
            Envelope::Documents { ids, .. } => {
                out.extend_from_slice(&self.action);
                if *ids {
                    write_hex(uid(), out);
                    out.extend_from_slice(b"\"}}\n");
                }
                out.extend_from_slice(row);
                out.push(b'\n');
            }
            Envelope::Frames { .. } => put_record(uid(), self.time_ms, row, out),
        }
    }

    /// What stands between two.
    pub fn between(&self) -> &'static [u8] {
        match self.envelope {
            Envelope::Array => b",",
            _ => b"",
        }
    }

    /// What stands behind the last.
    pub fn end(&self) -> &'static [u8] {
        match self.envelope {
            Envelope::Array => b"]",
            _ => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Limits, Rows as RowsConfig, SplunkHecSink};
    use crate::encode::frames::{Frame, frames};
    use crate::node::snapshot::{Snapshot, Spec, Unit};
    use crate::samples::batches::{Batches, Items};
    use crate::samples::hec::Hec;
    use crate::samples::metric_batch::MetricBatch;
    use crate::samples::rows::Rows;
    use crate::samples::shape::Shape;

    const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");

    /// The payloads of a snapshot of two good values and one that JSON has not, with two samples to a payload at most.
    fn payloads<I: Items>(items: I, seconds: u64) -> Vec<Plain> {
        let taken = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
        let mut snapshot = Snapshot::new(taken, Arc::new(|_| true), 100);
        for (cpu, value) in [("0", 2.0), ("1", f64::NAN), ("2", 0.25)] {
            snapshot.add(&LOAD, &[("cpu", cpu)], value);
        }
        let limits = Limits {
            payload_records_max: 2,
            ..Limits::default()
        };
        let mut out = Vec::new();
        Batches::new(items, &limits).snapshot(&snapshot, &mut |plain| out.push(plain));
        out
    }

    fn rows(envelope: Envelope) -> Rows {
        Rows::new(&RowsConfig::default(), envelope, "n1", None)
    }

    fn values(bytes: &[u8]) -> Vec<Value> {
        let values = serde_json::Deserializer::from_slice(bytes).into_iter();
        values.map(Result::unwrap).collect()
    }

    #[test]
    fn documents_have_an_action_an_id_of_their_own_and_a_fraction() {
        let mut sink = ElasticsearchSink::new(String::new());
        sink.metrics_index = "m-%Y.%m".to_owned();
        let of = |seconds| payloads(rows(Envelope::documents(&sink)), seconds);
        let found = of(1_700_000_000);
        let [plain] = &found[..] else {
            panic!("{found:?}");
        };
        let lines = values(&plain.bytes);
        let [one, document, other, _] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(one["create"]["_index"], "m-2023.11");
        assert_ne!(one["create"]["_id"], other["create"]["_id"]);
        assert_eq!(document["Tags"], json!({"cpu": "0"}));
        let text = String::from_utf8(plain.bytes.clone()).unwrap();
        assert!(
            text.contains("\"Val\":2.0,") && text.contains("\"Val\":0.25,"),
            "{text}"
        );
        // The same samples of the next moment are others; those of the same moment are the same.
        assert_eq!(of(1_700_000_000), found);
        let next = values(&of(1_700_000_010)[0].bytes);
        assert_ne!(one["create"]["_id"], next[0]["create"]["_id"]);
        // Each action goes with its document.
        assert_eq!(values(&plain.cut([1]).bytes), lines[2..]);
        sink.ids = false;
        let without = payloads(rows(Envelope::documents(&sink)), 1_700_000_000);
        assert_eq!(
            values(&without[0].bytes)[0],
            json!({"create": {"_index": "m-2023.11"}})
        );
    }

    #[test]
    fn frames_have_the_key_of_the_node_and_the_moment() {
        let envelope = || Envelope::Frames {
            topic: "metrics".to_owned(),
            key: "n1".to_owned(),
        };
        let protobuf = MetricBatch::new(&RowsConfig::default(), Some(envelope()), "n1", None);
        for (payloads, samples, has_head) in [
            (payloads(rows(envelope()), 50), 2, false),
            (payloads(protobuf, 50), 3, true),
        ] {
            let mut records = 0;
            for plain in &payloads {
                for part in [plain.clone(), plain.cut([0])] {
                    let found: Vec<_> = frames(&part.bytes).map(|it| it.unwrap().1).collect();
                    let Some((Frame::Run { topic, key, head }, behind)) = found.split_first()
                    else {
                        panic!("{found:?}");
                    };
                    assert_eq!((*topic, *key), ("metrics", b"n1".as_slice()));
                    assert_eq!(!head.is_empty(), has_head);
                    assert_eq!(behind.len(), part.items.ends.len());
                    for record in behind {
                        let Frame::Record { time_ms, row, .. } = record else {
                            panic!("{record:?}");
                        };
                        assert_eq!(*time_ms, 50_007);
                        assert_eq!(serde_json::from_slice::<Value>(row).is_err(), has_head);
                    }
                }
                records += plain.items.ends.len();
            }
            assert_eq!(records, samples);
        }
    }

    #[test]
    fn events_of_metrics_are_as_a_metrics_index_takes_them() {
        let mut sink = SplunkHecSink::new(String::new());
        sink.metrics_index = Some("metrics".to_owned());
        let config = RowsConfig {
            fields: vec![("team".to_owned(), json!("a"))],
            ..RowsConfig::default()
        };
        let found = payloads(Hec::new(&sink, &config, "n1", Some("blue")), 1_700_000_000);
        let events = values(&found[0].bytes);
        assert_eq!(
            events[0],
            json!({"time": 1_700_000_000.007, "host": "n1", "source": "longshore", "sourcetype": "longshore:metrics",
                "index": "metrics", "event": "metric", "fields": {"metric_name:node_load1": 2, "cpu": "0",
                "k8s.node.name": "n1", "k8s.cluster.name": "blue", "team": "a"}})
        );
        assert_eq!(events.len(), 2);
        assert_eq!(values(&found[0].cut([1]).bytes), events[1..]);
    }
}
