use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde_json::{Value, json};

use super::{Keeper, Kept, assert_each_once, assert_only_refused, hurried, messages, run, tried};
use crate::agent::{Agent, Node, Written, of_sink};
use crate::store::{Asked, Store, StoreServer, Told};

/// `logproto.PushRequest` and what is in it, by their public field numbers.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamAdapter>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamAdapter {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Longest line.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Longest message between Loki's components.
const PUSH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How far behind the newest of its stream a line may be.
const BEHIND_MAX_NS: i64 = 3_600_000_000_000;

/// One tenant of a Loki.
#[derive(Default)]
struct Loki {
    /// Time and text of the lines of each stream: each is kept once.
    streams: BTreeMap<String, BTreeSet<(i64, String)>>,
    kept: Vec<Kept>,
    /// The newest line of each container that was new when it came.
    newest: BTreeMap<String, i64>,
    tenant: String,
}

/// The labels of a stream, or what is wrong with them.
fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("labels {text}");
    let inner = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    let mut left = inner.ok_or_else(wrong)?;
    let mut labels = BTreeMap::new();
    let mut last = String::new();
    while !left.is_empty() {
        let (name, rest) = left.split_once('=').ok_or_else(wrong)?;
        // The escapes that the agent uses are those of JSON as well.
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let value = values.next().ok_or_else(wrong)?.map_err(|_| wrong())?;
        let rest = rest.get(values.byte_offset()..).unwrap();
        left = rest.strip_prefix(", ").unwrap_or(rest);
        if !is_name(name) || *name <= *last || value.is_empty() || value.len() > 2048 {
            return Err(wrong());
        }
        last = name.to_owned();
        labels.insert(name.to_owned(), value);
    }
    match labels.len() {
        1..=15 => Ok(labels),
        _ => Err(wrong()),
    }
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

impl Loki {
    /// Takes a line unless it is refused, which is said.
    fn line(
        &mut self,
        stream: &str,
        labels: &BTreeMap<String, String>,
        entry: &Entry,
        violations: &mut Vec<String>,
    ) -> Result<(), String> {
        let time = entry.timestamp.clone().unwrap_or_default();
        let nanos = time.seconds * 1_000_000_000 + i64::from(time.nanos);
        if time.seconds <= 0 || !(0..1_000_000_000).contains(&time.nanos) {
            violations.push(format!("a time {time:?}"));
        }
        let mut known = labels.clone();
        for pair in &entry.metadata {
            let taken = known.insert(pair.name.clone(), pair.value.clone());
            if !is_name(&pair.name) || pair.value.is_empty() || taken.is_some() {
                violations.push(format!("metadata {pair:?}"));
            }
        }
        let ignored =
            |why: &str| format!("entry with timestamp {nanos} ignored, reason: '{why}',\n");
        if entry.line.len() > LINE_BYTES_MAX {
            return Err(ignored("max entry size exceeded"));
        }
        if entry.line.contains("poison") {
            return Err(ignored("as the test says"));
        }
        let lines = self.streams.entry(stream.to_owned()).or_default();
        let newest = lines.last().map_or(nanos, |(newest, _)| *newest);
        if nanos < newest - BEHIND_MAX_NS {
            return Err(ignored("entry too far behind"));
        }
        if !lines.insert((nanos, entry.line.clone())) {
            return Ok(());
        }
        let text = |name: &str| known.get(name).cloned().unwrap_or_default();
        let origin = format!("{}/{}", text("pod"), text("container"));
        let newest = self.newest.entry(origin.clone()).or_default();
        if nanos < *newest {
            violations.push(format!("{origin}: {nanos} after {newest}"));
        }
        *newest = nanos;
        self.kept.push(Kept {
            uid: text("record_uid"),
            origin,
            message: entry.line.clone(),
        });
        Ok(())
    }
}

impl Store for Loki {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("x-scope-orgid") != self.tenant {
            return Told::of(401, "no org id");
        }
        for (what, found, wanted) in [
            ("method", asked.method.as_str(), "POST"),
            ("path", &asked.path, "/loki/api/v1/push"),
            (
                "type",
                asked.header("content-type"),
                "application/x-protobuf",
            ),
            ("encoding", asked.header("content-encoding"), ""),
        ] {
            if found != wanted {
                violations.push(format!("{what} {found}"));
            }
        }
        let plain = snap::raw::Decoder::new().decompress_vec(&asked.body);
        let Ok(push) = PushRequest::decode(plain.unwrap_or_default().as_slice()) else {
            violations.push("neither snappy nor protobuf".to_owned());
            return Told::of(400, "snappy: corrupt input");
        };
        if push.encoded_len() > PUSH_BYTES_MAX {
            violations.push(format!("{} bytes", push.encoded_len()));
        }
        if push.streams.is_empty() {
            return Told::of(
                422,
                "error at least one valid stream is required for ingestion",
            );
        }
        let mut refused = String::new();
        for stream in &push.streams {
            let labels = match labels(&stream.labels) {
                Ok(labels) => labels,
                Err(wrong) => {
                    violations.push(wrong);
                    continue;
                }
            };
            if stream.entries.is_empty() {
                violations.push(format!("no entries in {}", stream.labels));
            }
            for entry in &stream.entries {
                if let Err(why) = self.line(&stream.labels, &labels, entry, violations) {
                    refused.push_str(&why);
                }
            }
        }
        match refused.is_empty() {
            true => Told::of(204, ""),
            false => Told::of(400, refused),
        }
    }
}

impl Keeper for Loki {
    fn count(&self) -> usize {
        self.kept.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.kept.clone()
    }
}

fn loki() -> Loki {
    Loki {
        tenant: "team-a".to_owned(),
        ..Loki::default()
    }
}

fn sink(server: &StoreServer<Loki>) -> Value {
    json!({
        "type": "loki",
        "url": server.url(""),
        "tenant": "team-a",
        "record_uid": true,
        // The lines of the scenario are of a day long past.
        "read_from": "beginning",
    })
}

/// Lines of a stream are kept once by their time and text; the lines of each container arrive in order.
#[test]
fn nothing_is_lost_and_lines_are_in_order() {
    let server = StoreServer::start(loki(), Some(20_260_104));
    let kept = run(&server, sink(&server));
    assert_each_once(&kept);
    assert_eq!(kept.len(), messages());
    server.look(|loki| {
        let streams: Vec<&String> = loki.streams.keys().collect();
        assert_eq!(streams, [r#"{container="web", namespace="ns", node="n1"}"#]);
    });
}

/// The lines that Loki refuses, of which it does not say all, are found; each of the others is kept once.
#[test]
fn lines_that_are_refused_cost_no_other() {
    let server = StoreServer::start(loki(), None);
    let refused = ["this is poison 0", "this is poison 1", "this is poison 2"];
    let words = ["as the test says"];
    let taken = assert_only_refused(&server, sink(&server), [&[], &refused], &words);
    assert_eq!(server.look(|loki| loki.count()), taken);
}

/// Without the tenant that Loki asks for the sink pauses and says what it was told.
#[test]
fn a_missing_tenant_pauses_with_lokis_words() {
    let server = StoreServer::start(loki(), None);
    let node = Node::new();
    let mut sink = hurried(sink(&server));
    sink["tenant"] = Value::Null;
    sink["structured_metadata"] = json!(false);
    sink["probe_interval_ms"] = json!(1_000);
    let config = node.configure(json!({"main": sink}), json!({}));
    let mut log = node.container("p", "web");
    log.write(100);
    let agent = Agent::run(&config);
    agent.wait_for("a pause", |answer| {
        let sink = of_sink(answer, "main");
        let text = sink["last_error"]["text"].as_str().unwrap_or_default();
        sink["health"] == "paused" && text.contains("no org id")
    });
    server.look(|loki| loki.tenant.clear());
    agent.wait_for_all("main", &Written::of([&log]));
    agent.stop();
    assert_eq!(server.look(|loki| loki.count()), 100);
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
}

#[test]
fn check_tells_a_good_tenant_from_a_bad_one() {
    let server = StoreServer::start(loki(), None);
    let mut sink = sink(&server);
    assert!(tried(sink.clone()).contains("good: "));
    sink["tenant"] = json!("team-b");
    let said = tried(sink);
    assert!(
        said.contains("BAD: ") && said.contains("no org id"),
        "{said}"
    );
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
}
