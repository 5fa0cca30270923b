use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::agent::{Agent, Log, Node, Row, Written, of_sink};
use crate::http_server::{HttpServer, Move, Rules};

fn http(url: &str) -> Value {
    json!({
        "type": "http",
        "url": url,
        "compression": "none",
        "payload_records_max": 100,
        "flush_interval_ms": 20,
        "backoff_min_ms": 10,
        "backoff_max_ms": 50,
        "request_timeout_ms": 500,
        "probe_interval_ms": 1_000,
        "stuck_after_ms": 1_000,
        "checkpoint_interval_ms": 100,
    })
}

fn rows(server: &HttpServer) -> Vec<Row> {
    let stored = server.stored();
    stored
        .iter()
        .flat_map(|request| request.lines.iter().map(|line| Row::of(line)))
        .collect()
}

fn logs(node: &Node) -> Vec<Log> {
    (0..3)
        .map(|number| node.container(&format!("p{number}"), "web"))
        .collect()
}

/// What a sink has put into its dead letters.
fn dead_letters(node: &Node, sink: &str) -> Vec<String> {
    let path = node.path(&format!(
        "state/sinks/{sink}/dead-letters-0/dead-letters.ndjson"
    ));
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn dead_and_hanging_sinks_do_not_hold_up_the_others_and_get_everything_later() {
    let node = Node::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let hanging = HttpServer::scripted(Rules::default(), vec![Move::Hang; 10_000]);
    let config = node.configure(
        json!({
            "dead": http(&format!("http://{free}/rows")),
            "hanging": http(&hanging.url()),
            "file": node.file_sink("rows"),
        }),
        json!({}),
    );
    let mut logs = logs(&node);
    let agent = Agent::run(&config);
    for _ in 0..4 {
        for log in &mut logs {
            log.write(400);
            log.rotate();
        }
    }
    let written = Written::of(&logs);
    agent.wait_for_all("file", &written);
    assert_eq!(
        written.check(&node.rows("rows")),
        0,
        "a row was repeated without a failure"
    );
    agent.wait_for(
        "both to have failed, having read no more than they have slots for",
        |status| {
            ["dead", "hanging"].iter().all(|name| {
                let sink = of_sink(status, name);
                sink["health"] == "retrying"
                    && sink["ledger"]["delivered"]["bytes"] == 0
                    && sink["payloads_waiting"] == 4
            })
        },
    );
    let server = HttpServer::scripted_at(free, Rules::default());
    agent.wait_for_all("dead", &written);
    assert_eq!(written.check(&rows(&server)), 0);
    hanging.follow([]);
    agent.wait_for_all("hanging", &written);
    assert_eq!(written.check(&rows(&hanging)), 0);
    agent.stop();
}

#[test]
fn a_sink_that_refuses_everything_pauses_and_nothing_goes_to_the_dead_letters() {
    const STATUSES: [(&str, u16); 3] = [("lost", 404), ("type", 415), ("all", 400)];
    let node = Node::new();
    let servers = STATUSES.map(|(_, status)| {
        let moves = vec![Move::status(status); 10_000];
        HttpServer::scripted(Rules::default(), moves)
    });
    let sinks: serde_json::Map<String, Value> = STATUSES
        .iter()
        .zip(&servers)
        .map(|((name, _), server)| ((*name).to_owned(), http(&server.url())))
        .collect();
    let config = node.configure(Value::Object(sinks), json!({}));
    let mut logs = logs(&node);
    for log in &mut logs {
        log.write(200);
        log.rotate();
        log.write(200);
    }
    let agent = Agent::run(&config);
    for ((name, status), server) in STATUSES.iter().zip(&servers) {
        agent.wait_for("the sink to pause, with its reason", |answer| {
            let sink = of_sink(answer, name);
            let text = sink["last_error"]["text"].as_str().unwrap_or_default();
            sink["health"] == "paused" && text.contains(&status.to_string())
        });
        server.wait_for("a probe or more", |server| server.requests() >= 3);
        assert_eq!(agent.ledger(name).delivered_bytes, 0);
    }
    for server in &servers {
        server.follow([]);
    }
    let written = Written::of(&logs);
    for ((name, _), server) in STATUSES.iter().zip(&servers) {
        agent.wait_for_all(name, &written);
        assert_eq!(written.check(&rows(server)), 0);
        assert!(agent.ledger(name).dropped.is_empty());
        assert_eq!(dead_letters(&node, name), [""; 0], "{name}");
    }
    agent.stop();
}

#[test]
fn one_poison_record_becomes_the_only_dead_letter() {
    const POISON: &str = "this is poison";
    const STATUSES: [(&str, u16); 2] = [("bisected", 400), ("stuck", 500)];
    let node = Node::new();
    let servers = STATUSES.map(|(_, poison_status)| {
        let poison = Some(POISON.as_bytes().to_vec());
        HttpServer::scripted(
            Rules {
                poison,
                poison_status,
                ..Rules::default()
            },
            [],
        )
    });
    let config = node.configure(
        json!({"bisected": http(&servers[0].url()), "stuck": http(&servers[1].url())}),
        json!({}),
    );
    let mut log = node.container("p", "web");
    log.write(250);
    let before = Written::of([&log]).bytes;
    log.say(POISON);
    let poison_bytes = Written::of([&log]).bytes - before;
    log.write(250);
    let agent = Agent::run(&config);
    // The stuck one needs others that pass: the containers write on.
    log.write(50);
    let mut written = Written::of([&log]);
    for ((name, status), server) in STATUSES.iter().zip(&servers) {
        agent.wait_for("all but the poison to be delivered", |answer| {
            let ledger = crate::agent::Ledger::of(answer, name);
            ledger.pending == 0 && ledger.seen == written.bytes
        });
        let ledger = agent.ledger(name);
        assert_eq!(
            ledger.dropped,
            [("rejected".to_owned(), poison_bytes)].into()
        );
        assert_eq!(ledger.delivered_bytes, written.bytes - poison_bytes);
        assert_eq!((ledger.lost, ledger.excluded), (0, 0));
        let letters = dead_letters(&node, name);
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert!(letters[0].contains(POISON), "{letters:?}");
        assert!(letters[0].contains(&status.to_string()), "{letters:?}");
        let messages = written.messages.get_mut("p/web").unwrap();
        messages.retain(|message| message != POISON);
        assert_eq!(
            written.check(&rows(server)),
            0,
            "bisecting repeated what was accepted"
        );
    }
    agent.stop();
}
