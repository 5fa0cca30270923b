//! The scenario that every sink has to pass, with a store of its protocol's own.
//!
//! 100,000 numbered lines in four containers' logs, rotated and compressed on the way; the store fails in every way that
//! [`Fault`](crate::store::Fault) names; the agent is killed three times. Then the store's own count: nothing is lost, and
//! what a store that knows record uids keeps is each line once. `LONGSHORE_SINK_LINES` sets how many lines are written;
//! with `LONGSHORE_SINK_RESULTS` what came of each run is appended to that file.

// The helpers of tests are tests too: a failed expectation in them is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

/// Calls to the Logs Ingestion API, with tokens of a directory.
#[path = "sinks/azure_logs.rs"]
mod azure_logs;
/// Inserts into a table that knows tokens and uids.
#[path = "sinks/clickhouse.rs"]
mod clickhouse;
/// Documents through the bulk interface of Elasticsearch and OpenSearch.
#[path = "sinks/elasticsearch.rs"]
mod elasticsearch;
/// Rows as JSON lines over plain HTTP.
#[path = "sinks/http.rs"]
mod http;
/// Lines for Loki, as protobuf and snappy.
#[path = "sinks/loki.rs"]
mod loki;
/// OTLP over HTTP.
#[path = "sinks/otlp.rs"]
mod otlp;
/// Batches of our own schema in protobuf: over HTTP, and in files.
#[path = "sinks/protobuf.rs"]
pub mod protobuf;
/// Events for Splunk's collector, with and without acknowledgement.
#[path = "sinks/splunk_hec.rs"]
mod splunk_hec;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use longshore::cli::check::check;
use serde_json::{Value, json};

use crate::agent::{Agent, Ledger, Log, Node, Row, Written, wait_for};
use crate::store::{Store, StoreServer};

/// Messages of one run.
fn messages() -> usize {
    let set = std::env::var("LONGSHORE_SINK_LINES");
    set.map_or(100_000, |lines| lines.parse().unwrap())
}

/// Containers.
const LOGS: usize = 4;

/// A record in a store.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The record's uid, if the store has it.
    pub uid: String,
    /// `POD/CONTAINER`.
    pub origin: String,
    /// The message.
    pub message: String,
}

/// How to know what a store has.
pub trait Keeper: Store {
    /// How many records were stored, repeats among them.
    fn count(&self) -> usize;
    /// All of them.
    fn kept(&self) -> Vec<Kept>;
}

/// Limits with which the scenario makes many small requests and loses no time.
fn hurried(sink: Value) -> Value {
    let mut all = json!({
        "payload_records_max": 700,
        "payload_slots": 4,
        "flush_interval_ms": 20,
        "backoff_min_ms": 10,
        "backoff_max_ms": 40,
        "request_timeout_ms": 400,
        "checkpoint_interval_ms": 100,
    });
    for (key, value) in sink.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

/// Runs the scenario; gives what is in the store. `sink`: the sink's configuration, which may leave out what
/// [`hurried`] sets.
pub fn run<S: Keeper>(server: &StoreServer<S>, sink: Value) -> Vec<Kept> {
    let messages = messages();
    let began = Instant::now();
    let node = Node::new();
    let config = node.configure(json!({"main": hurried(sink)}), json!({}));
    let name = |number| format!("p{number}");
    let mut logs: Vec<Log> = (0..LOGS)
        .map(|number| node.container(&name(number), "web"))
        .collect();
    let mut left = messages;
    let mut write = |logs: &mut Vec<Log>| {
        let at = left % LOGS;
        let count = left.min(997);
        logs[at].write(count);
        left -= count;
        if left.is_multiple_of(5) && left > 0 {
            logs[at].rotate();
        }
        left == 0
    };
    // When the store has this many records.
    let kills_at = [messages / 6, messages / 3, messages * 2 / 3];
    for kill_at in kills_at {
        let agent = Agent::run(&config);
        let sight = || format!("{}\n{:?}", agent.log(), server.violations());
        wait_for("records", sight, || {
            write(&mut logs);
            (server.look(|store| store.count()) >= kill_at).then_some(())
        });
        agent.kill();
    }
    while !write(&mut logs) {}
    let agent = Agent::run(&config);
    let written = Written::of(&logs);
    assert_eq!(written.len(), messages);
    let sight = || format!("{}\n{:?}", agent.log(), server.violations());
    wait_for("the last third", sight, || {
        (server.look(|store| store.count()) >= messages * 5 / 6).then_some(())
    });
    server.calm();
    agent.wait_for_all("main", &written);
    agent.stop();
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
    let met = server.faults_met();
    assert!(met.len() >= 8, "too few faults were met: {met:?}");
    let kept = server.look(|store| store.kept());
    let rows: Vec<Row> = kept.iter().map(row).collect();
    written.check(&rows);
    record(&kept, kills_at.len(), began.elapsed());
    kept
}

/// Appends what came of a run to the file that is asked for.
fn record(kept: &[Kept], kills: usize, took: Duration) {
    let Ok(path) = std::env::var("LONGSHORE_SINK_RESULTS") else {
        return;
    };
    let name = |one: &Kept| (one.origin.clone(), one.message.clone());
    let distinct: HashSet<(String, String)> = kept.iter().map(name).collect();
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let (sent, stored, distinct) = (messages(), kept.len(), distinct.len());
    let seconds = took.as_secs();
    writeln!(
        file,
        "{test}: {sent} lines, {stored} stored, {distinct} distinct, {kills} kills, {seconds} s"
    )
    .unwrap();
}

fn row(kept: &Kept) -> Row {
    Row {
        origin: kept.origin.clone(),
        message: kept.message.clone(),
        flags: String::new(),
    }
}

/// Fails unless every record of [`run`] is there once when repeats are known by their uid.
pub fn assert_each_once(kept: &[Kept]) {
    let mut by_uid: BTreeMap<&str, &Kept> = BTreeMap::new();
    for one in kept {
        assert_eq!(one.uid.len(), 32, "{one:?}");
        let other = by_uid.entry(&one.uid).or_insert(one);
        let same = other.message == one.message && other.origin == one.origin;
        assert!(same, "two records with one uid: {other:?} {one:?}");
    }
    assert_eq!(by_uid.len(), messages());
}

/// Has a container write ordinary lines, the messages `taken`, and the messages `refused` with ordinary lines behind each.
/// Fails unless the refused ones, and no others, become dead letters with all of `words` in them, and the store has
/// all others. Gives how many those are.
fn assert_only_refused<S: Keeper>(
    server: &StoreServer<S>,
    sink: Value,
    [taken, refused]: [&[&str]; 2],
    words: &[&str],
) -> usize {
    let node = Node::new();
    let config = node.configure(json!({"main": hurried(sink)}), json!({}));
    let mut log = node.container("p", "web");
    log.write(250);
    taken.iter().for_each(|message| log.say(message));
    let mut refused_bytes = 0;
    for message in refused {
        let before = Written::of([&log]).bytes;
        log.say(message);
        refused_bytes += Written::of([&log]).bytes - before;
        log.write(150);
    }
    let written = Written::of([&log]);
    let agent = Agent::run(&config);
    agent.wait_for("all but what is refused to be delivered", |answer| {
        let ledger = Ledger::of(answer, "main");
        ledger.pending == 0 && ledger.seen == written.bytes
    });
    let dropped = agent.ledger("main").dropped;
    assert_eq!(dropped, [("rejected".to_owned(), refused_bytes)].into());
    agent.stop();
    let letters = node.path("state/sinks/main/dead-letters-0/dead-letters.ndjson");
    let letters = std::fs::read_to_string(letters).unwrap();
    assert_eq!(letters.lines().count(), refused.len(), "{letters}");
    for word in words {
        assert!(letters.contains(word), "{letters}");
    }
    assert!(server.violations().is_empty(), "{:#?}", server.violations());
    written.len() - refused.len()
}

/// Has the agent send samples of the node to a store that fails on purpose. Fails unless the store comes to have those
/// of two moments, `count` of them, and nothing was given up.
fn assert_samples<S: Store>(server: &StoreServer<S>, sink: Value, count: impl Fn(&mut S) -> usize) {
    let node = Node::new();
    let mut sink = hurried(sink);
    sink["signals"] = json!(["metrics"]);
    let top = json!({"metrics": {"interval_ms": 1_000}});
    let agent = Agent::run(&node.configure(json!({"main": sink}), top));
    let sight = || format!("{}\n{:?}", agent.log(), server.violations());
    wait_for("the samples of two moments", sight, || {
        (server.look(&count) >= 2).then_some(())
    });
    server.calm();
    agent.stop();
    assert_eq!(server.violations(), Vec::<String>::new());
}

/// What `longshore check --connect` says of a sink.
fn tried(sink: Value) -> String {
    let node = Node::new();
    let config = node.configure(json!({"main": sink}), json!({}));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    check(Some(&config), true, &mut out, &mut err);
    let out = String::from_utf8(out).unwrap();
    let told = |line: &&str| line.starts_with("#   sinks.main ") && line.contains("): ");
    let line = out.lines().find(told);
    line.unwrap_or_else(|| panic!("{out}")).to_owned()
}
