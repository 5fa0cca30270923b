use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use super::{
    Keeper, Kept, assert_each_once, assert_only_refused, assert_samples, hurried, messages, run,
    tried,
};
use crate::agent::{Agent, Node, Written, of_sink};
use crate::store::{Asked, Store, StoreServer, Told};

/// A cluster with one data stream template, by the rules of the bulk interface.
#[derive(Default)]
struct Cluster {
    /// By index and id.
    documents: HashMap<(String, String), Value>,
    order: Vec<(String, String)>,
    /// In about every tenth request half of the items fail.
    random: Option<fastrand::Rng>,
    /// This is such a request.
    half: bool,
    /// How often each id was sent.
    sent: BTreeMap<String, usize>,
    /// Answers 403 to every item.
    forbids: bool,
    /// The one key that is taken.
    key: String,
    /// Samples by id.
    samples: HashMap<String, Value>,
}

/// A JSON object whose members have different names.
struct Strict(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Strict;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if all.insert(key.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("{key} twice")));
                    }
                }
                Ok(Strict(all))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// What an index may not be named (elastic.co/guide, "create index").
fn wrong_name(name: &str) -> bool {
    name.is_empty()
        || name.len() > 255
        || name.starts_with(['-', '_', '+'])
        || name == "."
        || name == ".."
        || name
            .chars()
            .any(|c| c.is_uppercase() || "\\/*?\"<>| ,#:".contains(c))
}

/// `2026-01-02T03:04:05.123456789Z`.
fn is_time(text: &str) -> bool {
    let form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    form == "0000-00-00T00:00:00.000000000Z"
}

/// What makes a document one that the mapping does not take.
fn refusal(document: &BTreeMap<String, Value>) -> Option<String> {
    let time = document.get("@timestamp").and_then(Value::as_str);
    if !time.is_some_and(is_time) {
        return Some(format!("no @timestamp: {document:?}"));
    }
    // A field is text or has fields below it, never both.
    for name in document.keys() {
        let below = format!("{name}.");
        if let Some(other) = document.keys().find(|other| other.starts_with(&below)) {
            return Some(format!("{name} and {other}"));
        }
    }
    let texts = document.values().all(Value::is_string);
    (!texts).then(|| format!("not a text: {document:?}"))
}

/// What is wrong with a document of a sample.
fn wrong_sample(document: &BTreeMap<String, Value>) -> Option<String> {
    let is_right = document["@timestamp"]
        .as_str()
        .is_some_and(|time| time.len() == 24)
        && document["host.name"] == "n1"
        && document["Name"].is_string()
        && document["Val"].is_f64()
        && document["Tags"]
            .as_object()
            .is_some_and(|tags| tags.values().all(Value::is_string));
    (!is_right).then(|| format!("a sample {document:?}"))
}

impl Cluster {
    /// One action with its document: the item of the answer.
    fn item(&mut self, action: &[u8], document: &[u8], violations: &mut Vec<String>) -> Value {
        let Strict(action) = serde_json::from_slice(action).unwrap();
        let actions: Vec<&String> = action.keys().collect();
        if actions != ["create"] {
            violations.push(format!("a data stream takes create alone: {actions:?}"));
        }
        let target = &action["create"];
        let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let (index, id) = (text("_index"), text("_id"));
        let keys: BTreeSet<&str> = target
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        if keys != BTreeSet::from(["_id", "_index"]) || id.is_empty() || id.len() > 512 {
            violations.push(format!("an action {target}"));
        }
        if wrong_name(&index) {
            violations.push(format!("an index {index}"));
        }
        let document: BTreeMap<String, Value> = match serde_json::from_slice(document) {
            Ok(Strict(document)) => document,
            Err(error) => {
                violations.push(format!("a document: {error}"));
                BTreeMap::new()
            }
        };
        if index.starts_with("metrics-") {
            violations.extend(wrong_sample(&document));
            let known = self.samples.insert(id, json!(document));
            return json!({"create": {"status": if known.is_some() { 409 } else { 201 }}});
        }
        violations.extend(refusal(&document));
        *self.sent.entry(id.clone()).or_default() += 1;
        let told = |status: u16, kind: &str| {
            let error = json!({"type": kind, "reason": "as the test says"});
            json!({"create": {"status": status, "error": error}})
        };
        if self.forbids {
            return told(403, "security_exception");
        }
        if document["message"].as_str().unwrap().contains("poison") {
            return told(400, "document_parsing_exception");
        }
        let drawn = self.random.as_mut().map_or(0, |random| random.u8(..4));
        if self.half && drawn > 1 {
            let (status, kind) = match drawn {
                2 => (429, "es_rejected_execution_exception"),
                _ => (503, "unavailable_shards_exception"),
            };
            return told(status, kind);
        }
        let place = (index, id);
        if self.documents.contains_key(&place) {
            return told(409, "version_conflict_engine_exception");
        }
        self.order.push(place.clone());
        let document = document.into_iter().collect();
        self.documents.insert(place, Value::Object(document));
        json!({"create": {"status": 201}})
    }
}

impl Store for Cluster {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("authorization") != format!("ApiKey {}", self.key) {
            return Told::of(
                401,
                "{\"error\":{\"type\":\"security_exception\"},\"status\":401}",
            );
        }
        let filter = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
        for (what, found, wanted) in [
            ("method", asked.method.as_str(), "POST"),
            ("path", &asked.path, "/_bulk"),
            ("query", &asked.query, filter),
            ("type", asked.header("content-type"), "application/x-ndjson"),
            ("encoding", asked.header("content-encoding"), "gzip"),
        ] {
            if found != wanted {
                violations.push(format!("{what} {found}"));
            }
        }
        let plain = asked.plain();
        if plain.is_empty() {
            return Told::of(
                400,
                "{\"error\":{\"type\":\"parse_exception\"},\"status\":400}",
            );
        }
        let Some(text) = plain.strip_suffix(b"\n") else {
            violations.push("the body does not end in a line end".to_owned());
            return Told::of(400, "");
        };
        if plain.len() > 16 * 1024 * 1024 {
            violations.push(format!("{} bytes", plain.len()));
        }
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        if !lines.len().is_multiple_of(2) {
            violations.push("an action without a document".to_owned());
        }
        self.half = self
            .random
            .as_mut()
            .is_some_and(|random| random.u8(..10) == 0);
        let pairs = lines.chunks_exact(2);
        let items: Vec<Value> = pairs
            .map(|pair| self.item(pair[0], pair[1], violations))
            .collect();
        let errors = items
            .iter()
            .any(|item| item["create"].get("error").is_some());
        let body = json!({"errors": errors, "items": items});
        Told::of(200, body.to_string())
    }
}

impl Keeper for Cluster {
    fn count(&self) -> usize {
        self.order.len()
    }

    fn kept(&self) -> Vec<Kept> {
        let kept = |place: &(String, String)| {
            let document = &self.documents[place];
            let text = |key: &str| document[key].as_str().unwrap().to_owned();
            let (pod, container) = (
                text("kubernetes.pod.name"),
                text("kubernetes.container.name"),
            );
            Kept {
                uid: place.1.clone(),
                origin: format!("{pod}/{container}"),
                message: text("message"),
            }
        };
        self.order.iter().map(kept).collect()
    }
}

fn sink(server: &StoreServer<Cluster>) -> Value {
    json!({
        "type": "elasticsearch",
        "url": server.url(""),
        "api_key": "a2V5",
        "index": "logs-{namespace}-%Y.%m.%d",
    })
}

fn cluster(random: Option<u64>) -> Cluster {
    Cluster {
        key: "a2V5".to_owned(),
        random: random.map(fastrand::Rng::with_seed),
        ..Cluster::default()
    }
}

/// Single items fail as well as whole requests; the store keeps each line once by its id.
#[test]
fn nothing_is_lost_and_each_line_is_stored_once() {
    let server = StoreServer::start(cluster(Some(3)), Some(20_260_103));
    let kept = run(&server, sink(&server));
    assert_each_once(&kept);
    assert_eq!(kept.len(), messages());
    server.look(|cluster| {
        let indices: BTreeSet<&str> = cluster.order.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(indices, BTreeSet::from(["logs-ns-2026.01.02"]));
    });
}

/// Samples go to a data stream of their own, through faults, each once.
#[test]
fn samples_are_documents_too() {
    let server = StoreServer::start(cluster(None), Some(7));
    assert_samples(&server, sink(&server), |cluster| {
        let of = |name: &str| {
            cluster
                .samples
                .values()
                .filter(|it| it["Name"] == name)
                .count()
        };
        of("node_memory_MemTotal_bytes")
    });
}

/// A document that the mapping refuses is a dead letter with the reason; those around it are sent once.
#[test]
fn a_document_that_is_refused_costs_no_other() {
    let server = StoreServer::start(cluster(None), None);
    let poison = "this is poison";
    let words = [poison, "document_parsing_exception"];
    let taken = assert_only_refused(&server, sink(&server), [&[], &[poison]], &words);
    server.look(|cluster| {
        assert_eq!(cluster.count(), taken);
        assert!(cluster.sent.values().all(|times| *times == 1));
    });
}

/// Neither a key that is not taken nor a missing right empties the node into the dead letters; a new key is found in its
/// file.
#[test]
fn a_wrong_key_and_a_missing_right_pause_until_they_are_mended() {
    let server = StoreServer::start(
        Cluster {
            forbids: true,
            ..cluster(None)
        },
        None,
    );
    let node = Node::new();
    let key = node.path("key");
    fs::write(&key, "old").unwrap();
    let mut sink = hurried(sink(&server));
    sink["api_key"] = json!({"file": key});
    sink["probe_interval_ms"] = json!(1_000);
    let config = node.configure(json!({"main": sink}), json!({}));
    let mut log = node.container("p", "web");
    log.write(100);
    let written = Written::of([&log]);
    let agent = Agent::run(&config);
    let paused_for = |answer: &Value, word: &str| {
        let sink = of_sink(answer, "main");
        let text = sink["last_error"]["text"].as_str().unwrap_or_default();
        sink["health"] == "paused" && text.contains(word)
    };
    agent.wait_for("a pause for the key", |answer| paused_for(answer, "401"));
    fs::write(&key, "a2V5\n").unwrap();
    agent.wait_for("a pause for the right", |answer| {
        paused_for(answer, "security_exception")
    });
    server.look(|cluster| cluster.forbids = false);
    agent.wait_for_all("main", &written);
    agent.stop();
    assert_eq!(server.look(|cluster| cluster.count()), 100);
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
}

#[test]
fn check_tells_a_good_key_from_a_bad_one() {
    let server = StoreServer::start(cluster(None), None);
    let mut sink = sink(&server);
    assert!(tried(sink.clone()).contains("good: "));
    sink["api_key"] = json!("guessed");
    let said = tried(sink);
    assert!(said.contains("BAD: ") && said.contains("401"), "{said}");
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
}
