#[path = "../../../src/encode/log_batch/tests/messages.rs"]
pub mod messages;

use std::io::Read;

use prost::Message;
use serde_json::json;

use self::messages::LogBatch;
use super::{Keeper, Kept, assert_each_once, assert_only_refused, run};
use crate::agent::{Agent, Node, Written, wait_for};
use crate::store::{Asked, Store, StoreServer, Told};

#[derive(Clone, PartialEq, Message)]
struct MetricBatch {
    #[prost(message, repeated, tag = "1")]
    groups: Vec<SampleGroup>,
}

#[derive(Clone, PartialEq, Message)]
struct SampleGroup {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(double, tag = "2")]
    value: f64,
}

/// Takes batches, and keeps what it has seen twice.
#[derive(Default)]
struct Batches {
    kept: Vec<Kept>,
    /// A message that cannot be stored.
    poison: Option<String>,
}

/// The records of some batches, one behind the other.
fn kept(bytes: &[u8]) -> Vec<Kept> {
    let mut all = Vec::new();
    for group in LogBatch::decode(bytes).unwrap().groups {
        let container = group.container.unwrap();
        assert_eq!(container.computer, "n1");
        assert!(!group.records.is_empty());
        for record in group.records {
            assert!(record.time_unix_nano > 0);
            let uid = record.record_uid.iter();
            all.push(Kept {
                uid: uid.map(|byte| format!("{byte:02x}")).collect(),
                origin: format!("{}/{}", container.pod_name, container.container_name),
                message: record.message,
            });
        }
    }
    all
}

impl Store for Batches {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("content-type") != "application/x-protobuf" {
            violations.push(format!("{asked:?}"));
        }
        let mut records = kept(&asked.plain());
        if records
            .iter()
            .any(|record| self.poison.as_ref() == Some(&record.message))
        {
            return Told::of(400, "cannot be stored");
        }
        self.kept.append(&mut records);
        Told::of(200, "")
    }
}

impl Keeper for Batches {
    fn count(&self) -> usize {
        self.kept.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.kept.clone()
    }
}

fn sink(server: &StoreServer<Batches>) -> serde_json::Value {
    json!({"type": "http", "url": server.url("/"), "format": "protobuf", "record_uid": true})
}

#[test]
fn nothing_is_lost_and_uids_tell_repeats() {
    let server = StoreServer::start(Batches::default(), Some(9));
    assert_each_once(&run(&server, sink(&server)));
}

/// A record that is refused is cut out of its group.
#[test]
fn a_record_that_is_refused_is_the_only_dead_letter() {
    let poison = "this is poison";
    let batches = Batches {
        poison: Some(poison.to_owned()),
        ..Batches::default()
    };
    let server = StoreServer::start(batches, None);
    let words = [poison, "cannot be stored"];
    let taken = assert_only_refused(&server, sink(&server), [&[], &[poison]], &words);
    assert_eq!(server.look(|batches| batches.kept.len()), taken);
}

/// A file of batches, with the agent killed while it writes, is a batch.
#[test]
fn files_of_batches_are_batches() {
    let node = Node::new();
    let mut sink = node.file_sink("out");
    for (key, value) in [
        ("format", json!("protobuf")),
        ("compression", json!("gzip")),
        ("record_uid", json!(true)),
        ("signals", json!(["logs", "metrics"])),
    ] {
        sink[key] = value;
    }
    let top = json!({"metrics": {"interval_ms": 1_000}});
    let config = node.configure(json!({"main": sink}), top);
    let mut log = node.container("p", "web");
    let agent = Agent::run(&config);
    log.write(5_000);
    let files = |directory: &str| longshore::sink::file::files(&node.path(directory));
    wait_for("bytes in a file", String::new, || {
        let first = files("out").unwrap_or_default().into_iter().next()?;
        (std::fs::metadata(first).unwrap().len() > 0).then_some(())
    });
    agent.kill();
    log.write(5_000);
    let agent = Agent::run(&config);
    agent.wait_for_all("main", &Written::of([&log]));
    wait_for("a file of metrics", String::new, || {
        (!files("out/metrics").ok()?.is_empty()).then_some(())
    });
    agent.stop();
    let content = |directory: &str| {
        let mut bytes = Vec::new();
        for path in files(directory).unwrap() {
            assert!(path.to_str().unwrap().contains(".pb.gz"), "{path:?}");
            let file = std::fs::File::open(path).unwrap();
            let mut decoder = flate2::read::MultiGzDecoder::new(file);
            decoder.read_to_end(&mut bytes).unwrap();
        }
        bytes
    };
    let kept = kept(&content("out"));
    Written::of([&log]).check(&kept.iter().map(super::row).collect::<Vec<_>>());
    let metrics = MetricBatch::decode(content("out/metrics").as_slice()).unwrap();
    for group in &metrics.groups {
        let named = |sample: &&Sample| sample.name == "node_memory_MemTotal_bytes";
        let total = group.samples.iter().find(named).map(|sample| sample.value);
        assert!(total.is_some_and(|bytes| bytes > 1e6), "{group:?}");
    }
    assert!(!metrics.groups.is_empty());
}
