use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use longshore::checkpoint::{Checkpoint, decode};
use serde_json::{Value, json};

use crate::agent::{Agent, Log, Node, Row, Written, wait_for};
use crate::http_server::{HttpServer, Move, Rules};

/// `payload_records_max` of these tests.
const PAYLOAD_RECORDS_MAX: usize = 50;

fn sink(server: &HttpServer) -> Value {
    json!({"main": {
        "type": "http",
        "url": server.url(),
        "compression": "none",
        "payload_records_max": PAYLOAD_RECORDS_MAX,
        "payload_slots": 3,
        "requests_in_flight": 2,
        "flush_interval_ms": 20,
        "backoff_min_ms": 10,
        "backoff_max_ms": 40,
        "checkpoint_interval_ms": 100,
    }})
}

/// What the server stored, in order.
fn rows(server: &HttpServer) -> Vec<Row> {
    let stored = server.stored();
    stored
        .iter()
        .flat_map(|request| request.lines.iter().map(|line| Row::of(line)))
        .collect()
}

/// The checkpoint as the last killed agent left it.
fn checkpoint(node: &Node) -> Checkpoint {
    let path = node.path("state/sinks/main/checkpoint-0-of-1.jsonl");
    // A kill between the two renames of a write leaves the older one alone.
    let previous = node.path("state/sinks/main/checkpoint-0-of-1.jsonl.previous");
    let read = |path: &Path| fs::read(path).ok();
    let bytes = read(&path).or_else(|| read(&previous));
    bytes.map_or_else(Checkpoint::default, |bytes| decode(&bytes).unwrap())
}

/// How many different lines of the files the rows are made of, and how many all of them are made of.
fn lines_of(rows: &[Row]) -> (usize, usize) {
    let lines = |row: &Row| Log::lines_of(&row.message);
    let different: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| (row.origin.as_str(), row.message.as_str()))
        .collect();
    let once = different
        .iter()
        .map(|(_, message)| Log::lines_of(message))
        .sum();
    (once, rows.iter().map(lines).sum())
}

fn script(random: &mut fastrand::Rng) -> Vec<Move> {
    let one = |random: &mut fastrand::Rng| {
        let late = Duration::from_millis(random.u64(1..40));
        match random.u8(0..20) {
            0..8 => Move::Store(200),
            8..11 => Move::Late(late, Box::new(Move::Store(204))),
            11..13 => Move::status(500),
            13..15 => Move::Drop,
            15 => Move::Late(late, Box::new(Move::Drop)),
            16..18 => Move::StoreThenDrop,
            _ => Move::Late(late, Box::new(Move::StoreThenDrop)),
        }
    };
    (0..200).map(|_| one(random)).collect()
}

/// Between two looks of the writer: some lines, now and then a rotation.
fn write_some(logs: &mut [Log], random: &mut fastrand::Rng) {
    let at = random.usize(..logs.len());
    logs[at].write(random.usize(1..40));
    if random.u8(..25) == 0 {
        logs[at].rotate();
    }
}

/// The bound on repeats, all in lines of the files: what the sink had stored and the durable checkpoint did not say
/// when the agent was killed; and the payloads (of at most `payload_records_max` records, each of at most 3 lines) that
/// the server stored without saying so.
#[test]
fn killed_at_any_moment_nothing_is_lost_and_repeats_are_bounded() {
    const LIVES: usize = 25;
    let mut random = fastrand::Rng::with_seed(20_260_102);
    let node = Node::new();
    let server = HttpServer::scripted(Rules::default(), []);
    let config = node.configure(sink(&server), json!({}));
    let mut logs: Vec<Log> = (0..4)
        .map(|number| node.container(&format!("p{number}"), "web"))
        .collect();
    let (mut repeats_max, mut settled_before) = (0, 0);
    for _ in 0..LIVES {
        let script = script(&mut random);
        server.follow(script.clone());
        let (begun, target) = (server.requests(), random.usize(0..15));
        let agent = Agent::run(&config);
        let sight = || format!("{} requests\n{}", server.requests() - begun, agent.log());
        wait_for("requests", sight, || {
            write_some(&mut logs, &mut random);
            (server.requests() >= begun + target).then_some(())
        });
        agent.kill();
        server.wait_for("the killed agent's requests to end", |server| {
            server.under_way() == 0
        });
        let silent = script
            .iter()
            .take(server.requests() - begun)
            .filter(|step| match step {
                Move::StoreThenDrop => true,
                Move::Late(_, then) => matches!(**then, Move::StoreThenDrop),
                _ => false,
            });
        let checkpoint = checkpoint(&node);
        let lines = checkpoint
            .chains
            .iter()
            .map(|chain| chain.accounts.delivered.lines);
        let settled = usize::try_from(lines.sum::<u64>()).unwrap();
        let (stored, _) = lines_of(&rows(&server));
        assert!(
            settled <= stored,
            "{settled} lines settled of {stored} stored"
        );
        assert!(settled >= settled_before, "the checkpoint went back");
        settled_before = settled;
        repeats_max += stored - settled + silent.count() * PAYLOAD_RECORDS_MAX * 3;
        // Also while nobody looks.
        write_some(&mut logs, &mut random);
    }
    assert!(settled_before > 0, "no kill came after a checkpoint");
    server.follow([]);
    let agent = Agent::run(&config);
    let written = Written::of(&logs);
    agent.wait_for_all("main", &written);
    agent.stop();
    let rows = rows(&server);
    written.check(&rows);
    let (once, all) = lines_of(&rows);
    assert_eq!(once as u64, written.lines);
    assert!(
        all - once <= repeats_max,
        "{} lines repeated, at most {repeats_max}",
        all - once
    );
    assert!(server.violations().is_empty(), "{:?}", server.violations());
    assert!(server.under_way_most() <= 2);
}
