use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    Keeper, Kept, assert_each_once, assert_only_refused, assert_samples, hurried, run, tried,
};
use crate::agent::{Agent, Node, of_sink};
use crate::store::{Asked, Store, StoreServer, Told};

/// Largest request, before compression.
const REQUEST_BYTES_MAX: usize = 1_000_000;

/// A collector and the indexer behind it.
#[derive(Default)]
struct Collector {
    kept: Vec<Kept>,
    /// Whether the token has acknowledgement.
    acknowledges: bool,
    /// What acknowledgements meet, if anything.
    random: Option<fastrand::Rng>,
    /// For each channel: acknowledgements that wait, with how often they are still to be asked for; `None`: for ever.
    waiting: BTreeMap<String, BTreeMap<u64, Option<u8>>>,
    next_ack: u64,
    told: usize,
    /// How often the node's memory was told.
    samples: usize,
}

fn told(status: u16, code: u16, text: &str) -> Told {
    let body = json!({"text": text, "code": code});
    Told::of(status, body.to_string())
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = |c: char| c == '-' || c.is_ascii_hexdigit();
    groups == [8, 4, 4, 4, 12] && text.chars().all(hex)
}

/// What is wrong with an event, as a code of the collector's.
fn refusal(event: &Value, violations: &mut Vec<String>) -> Option<(u16, &'static str)> {
    let keys: BTreeSet<&str> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let known = [
        "event",
        "fields",
        "host",
        "index",
        "source",
        "sourcetype",
        "time",
    ];
    if !keys.is_subset(&BTreeSet::from(known)) {
        violations.push(format!("{keys:?}"));
    }
    let time = event["time"].to_string();
    let (seconds, millis) = time.split_once('.').unwrap_or((&time, ""));
    if seconds.len() != 10 || millis.is_empty() || millis.len() > 3 {
        violations.push(format!("a time {time}"));
    }
    for key in ["host", "source", "sourcetype", "index"] {
        if event[key].as_str().is_none_or(str::is_empty) {
            violations.push(format!("{key} {}", event[key]));
        }
    }
    let fields = event["fields"].as_object();
    if event["event"] == "metric" {
        let fields = fields.unwrap().iter();
        let (values, dimensions): (Vec<_>, Vec<_>) =
            fields.partition(|(name, _)| name.starts_with("metric_name:"));
        let is_right = values.len() == 1 && values[0].1.is_number();
        if !is_right || !dimensions.iter().all(|(_, value)| value.is_string()) {
            violations.push(format!("a metric {event}"));
        }
        return None;
    }
    if fields.is_none_or(|fields| fields.values().any(|value| !value.is_string())) {
        return Some((15, "Error in handling indexed fields"));
    }
    match &event["event"] {
        Value::Null => Some((12, "Event field is required")),
        Value::String(text) if text.is_empty() => Some((13, "Event field cannot be blank")),
        Value::String(text) if text.contains("poison") => Some((6, "Invalid data format")),
        _ => None,
    }
}

impl Collector {
    fn event(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("content-encoding") != "gzip" {
            violations.push("not compressed".to_owned());
        }
        let plain = asked.plain();
        if plain.is_empty() {
            return told(400, 5, "No data");
        }
        if plain.len() > REQUEST_BYTES_MAX {
            violations.push(format!("{} bytes", plain.len()));
        }
        let events = serde_json::Deserializer::from_slice(&plain).into_iter::<Value>();
        for (number, event) in events.enumerate() {
            let event = event.unwrap();
            if let Some((code, text)) = refusal(&event, violations) {
                let body = json!({"text": text, "code": code, "invalid-event-number": number});
                return Told::of(400, body.to_string());
            }
            if event["event"] == "metric" {
                let memory = &event["fields"]["metric_name:node_memory_MemTotal_bytes"];
                self.samples += usize::from(memory.is_number());
                continue;
            }
            let field = |name: &str| event["fields"][name].as_str().unwrap().to_owned();
            self.kept.push(Kept {
                uid: field("record_uid"),
                origin: format!("{}/{}", field("k8s.pod.name"), field("k8s.container.name")),
                message: event["event"].as_str().unwrap().to_owned(),
            });
        }
        if !self.acknowledges {
            return told(200, 0, "Success");
        }
        let asks = match self.random.as_mut().map_or(0, |random| random.u8(..20)) {
            19 => None,
            asks => Some(asks % 4),
        };
        let channel = asked.header("x-splunk-request-channel").to_owned();
        let ack = self.next_ack;
        self.next_ack += 1;
        self.waiting.entry(channel).or_default().insert(ack, asks);
        let body = json!({"text": "Success", "code": 0, "ackId": ack});
        Told::of(200, body.to_string())
    }

    /// Each acknowledgement is told once; what is not known is not acknowledged.
    fn ack(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if !self.acknowledges {
            return told(400, 14, "ACK is disabled");
        }
        if !asked.header("content-encoding").is_empty() {
            violations.push("a question that is compressed".to_owned());
        }
        let channel = asked.header("x-splunk-request-channel");
        if asked.query != format!("channel={channel}") {
            violations.push(format!("{} on channel {channel}", asked.query));
        }
        let waiting = self.waiting.entry(channel.to_owned()).or_default();
        let question: Value = serde_json::from_slice(&asked.body).unwrap();
        let mut acks = serde_json::Map::new();
        for ack in question["acks"].as_array().unwrap() {
            let ack = ack.as_u64().unwrap();
            let stored = match waiting.get_mut(&ack) {
                Some(Some(0)) => waiting.remove(&ack).is_some(),
                Some(Some(asks)) => {
                    *asks -= 1;
                    false
                }
                Some(None) | None => false,
            };
            self.told += usize::from(stored);
            acks.insert(ack.to_string(), Value::Bool(stored));
        }
        Told::of(200, json!({"acks": acks}).to_string())
    }
}

impl Store for Collector {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("authorization") != "Splunk 11111111-2222-3333-4444-555555555555" {
            return told(403, 4, "Invalid token");
        }
        for (what, found, wanted) in [
            ("method", asked.method.as_str(), "POST"),
            ("type", asked.header("content-type"), "application/json"),
        ] {
            if found != wanted {
                violations.push(format!("{what} {found}"));
            }
        }
        if !is_guid(asked.header("x-splunk-request-channel")) {
            violations.push("no channel".to_owned());
        }
        match asked.path.as_str() {
            "/services/collector/event" => self.event(asked, violations),
            "/services/collector/ack" => self.ack(asked, violations),
            path => {
                violations.push(path.to_owned());
                Told::of(404, "")
            }
        }
    }
}

impl Keeper for Collector {
    fn count(&self) -> usize {
        self.kept.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.kept.clone()
    }
}

fn sink(server: &StoreServer<Collector>) -> Value {
    json!({
        "type": "splunk_hec",
        "url": server.url(""),
        "token": "11111111-2222-3333-4444-555555555555",
        "index": "k8s-{namespace}",
        "record_uid": true,
    })
}

#[test]
fn nothing_is_lost_and_uids_tell_repeats() {
    let server = StoreServer::start(Collector::default(), Some(20_260_105));
    assert_each_once(&run(&server, sink(&server)));
}

/// Samples are metric events, with acknowledgement and without, through faults.
#[test]
fn samples_are_metric_events() {
    for acknowledges in [false, true] {
        let collector = Collector {
            acknowledges,
            ..Collector::default()
        };
        let server = StoreServer::start(collector, Some(8));
        let mut sink = sink(&server);
        sink["metrics_index"] = json!("metrics");
        sink["acknowledge"] = json!(acknowledges);
        sink["payload_slots"] = json!(16);
        sink["ack_interval_ms"] = json!(10);
        assert_samples(&server, sink, |collector| collector.samples);
    }
}

/// The same with acknowledgements that come late, or never.
#[test]
fn nothing_is_lost_with_acknowledgement() {
    let collector = Collector {
        acknowledges: true,
        random: Some(fastrand::Rng::with_seed(5)),
        ..Collector::default()
    };
    let server = StoreServer::start(collector, Some(20_260_106));
    let mut sink = sink(&server);
    sink["acknowledge"] = json!(true);
    sink["ack_interval_ms"] = json!(10);
    sink["ack_timeout_ms"] = json!(300);
    sink["payload_slots"] = json!(16);
    assert_each_once(&run(&server, sink));
    assert!(server.look(|collector| collector.told) > 100);
}

/// An event that is refused is a dead letter with the collector's words; an empty line is none.
#[test]
fn an_event_that_is_refused_costs_no_other() {
    for acknowledges in [false, true] {
        let collector = Collector {
            acknowledges,
            ..Collector::default()
        };
        let server = StoreServer::start(collector, None);
        let mut sink = sink(&server);
        sink["acknowledge"] = json!(acknowledges);
        sink["ack_interval_ms"] = json!(10);
        sink["payload_slots"] = json!(16);
        let messages: [&[&str]; 2] = [&[""], &["this is poison"]];
        let taken = assert_only_refused(&server, sink, messages, &["Invalid data format"]);
        let uids: BTreeSet<String> =
            server.look(|it| it.kept.iter().map(|it| it.uid.clone()).collect());
        assert_eq!(uids.len(), taken);
        if !acknowledges {
            assert_eq!(server.look(|collector| collector.count()), taken);
        }
        let blank = |it: &&Kept| it.message == " ";
        assert!(server.look(|collector| collector.kept.iter().any(|it| blank(&it))));
    }
}

/// A token without acknowledgement is a mistake that a person mends, not one to be guessed around.
#[test]
fn acknowledgement_that_is_not_enabled_pauses() {
    let server = StoreServer::start(Collector::default(), None);
    let node = Node::new();
    let mut sink = hurried(sink(&server));
    sink["acknowledge"] = json!(true);
    sink["payload_slots"] = json!(16);
    let config = node.configure(json!({"main": sink}), json!({}));
    let mut log = node.container("p", "web");
    log.write(10);
    let agent = Agent::run(&config);
    agent.wait_for("a pause", |answer| {
        let sink = of_sink(answer, "main");
        let text = sink["last_error"]["text"].as_str().unwrap_or_default();
        sink["health"] == "paused" && text.contains("indexer acknowledgement")
    });
    assert_eq!(agent.ledger("main").delivered_bytes, 0);
    agent.stop();
}

#[test]
fn check_tells_a_good_token_from_a_bad_one() {
    let server = StoreServer::start(Collector::default(), None);
    let mut sink = sink(&server);
    assert!(tried(sink.clone()).contains("good: "));
    sink["token"] = json!("guessed");
    let said = tried(sink);
    assert!(
        said.contains("BAD: ") && said.contains("Invalid token"),
        "{said}"
    );
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
}
