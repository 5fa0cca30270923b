use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::admin::page::Page;
use crate::agent::{Agent, LONGSHORE, Ledger, Log, Node, Written, wait_for};
use crate::http_server::{HttpServer, Rules};

/// Fails unless a sink's accounts balance; gives what was seen and what was delivered.
fn check(page: &Page, sink: &str) -> [f64; 2] {
    let sum = |name: &str| page.sum(&format!("longshore_log_{name}"), &[("sink", sink)]);
    let [seen, delivered] = ["seen_bytes_total", "delivered_bytes_total"].map(sum);
    let others = [
        "excluded_bytes_total",
        "dropped_bytes_total",
        "lost_bytes_total",
    ]
    .map(sum);
    let settled = delivered + others.iter().sum::<f64>();
    assert_eq!(seen, settled + sum("pending_bytes"));
    assert_eq!(sum("balanced"), 1.0);
    [seen, delivered]
}

/// A sink in chaos, with two workers, and one that is well.
fn sinks(node: &Node, server: &HttpServer) -> Value {
    json!({
        "file": node.file_sink("rows"),
        "main": {
            "type": "http",
            "url": server.url(),
            "payload_records_max": 200,
            "flush_interval_ms": 20,
            "request_timeout_ms": 200,
            "backoff_min_ms": 10,
            "backoff_max_ms": 50,
            "workers": 2,
        },
    })
}

#[test]
fn the_accounts_balance_at_every_scrape_under_load() {
    const LINES: usize = 12_000;
    let node = Node::new();
    let content_encoding = Some("gzip".to_owned());
    let server = HttpServer::chaotic(
        Rules {
            content_encoding,
            ..Rules::default()
        },
        5,
    );
    let config = node.configure(sinks(&node, &server), json!({}));
    let mut logs: Vec<Log> = (0..4)
        .map(|number| node.container(&format!("p{number}"), "web"))
        .collect();
    let agent = Agent::run(&config);
    let (mut written, mut scrapes) = (0, 0);
    let mut totals = [[0.0; 2]; 2];
    wait_for(
        "all to be delivered",
        || agent.log(),
        || {
            if written < LINES {
                for log in &mut logs {
                    log.write(25);
                    written += 25;
                    if written % 2_000 == 0 {
                        log.rotate();
                    }
                }
            } else {
                // Enough of chaos.
                server.follow([]);
            }
            let (code, text) = agent.get("/metrics");
            assert_eq!(code, 200);
            let page = Page::parse(&text);
            scrapes += 1;
            for (sink, before) in ["file", "main"].iter().zip(&mut totals) {
                let now = check(&page, sink);
                let fell = now.iter().zip(&*before).any(|(now, before)| now < before);
                assert!(!fell, "a total fell: {before:?} {now:?}");
                *before = now;
            }
            // This checks the accounts of the sink; those of each chain are checked by the agent itself.
            let status = agent.status();
            let all = Written::of(&logs);
            let done = |sink: &str| Ledger::of(&status, sink).is_all_of(&all);
            let both = done("file") & done("main");
            (written >= LINES && both).then_some(())
        },
    );
    assert!(scrapes > 50, "{scrapes} scrapes");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(agent.get(path).0, 200);
    }
    assert_eq!(agent.get("/nowhere").0, 404);
    agent.stop();
    assert_eq!(Written::of(&logs).check(&node.rows("rows")), 0);
    assert!(server.violations().is_empty(), "{:?}", server.violations());
}

/// A directory that the demo takes for the system's temporary one.
fn demo(node: &Node, arguments: &[&str]) -> Command {
    let temporary = node.path("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(LONGSHORE);
    command
        .args(["demo", "--seconds", "6"])
        .args(arguments)
        .env("TMPDIR", temporary);
    command.stdin(Stdio::null());
    command
}

/// What the demo left behind.
fn left_behind(node: &Node) -> usize {
    fs::read_dir(node.path("tmp")).unwrap().count()
}

#[test]
fn the_demo_ends_well_and_leaves_nothing() {
    let node = Node::new();
    let output = demo(&node, &[]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("exactly once"), "{said}");
    assert_eq!(left_behind(&node), 0);
}

#[test]
fn the_demo_keeps_its_directory_when_asked() {
    let node = Node::new();
    let output = demo(&node, &["--keep", "--seed", "7"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let kept: Vec<_> = fs::read_dir(node.path("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(said.contains(kept[0].to_str().unwrap()), "{said}");
    assert!(
        !longshore::sink::file::files(&kept[0].join("rows"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_demo_tidily() {
    let node = Node::new();
    let mut child = demo(&node, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("longshore demo"), "{first}");
    let status = wait_for("the demo to end", String::new, || child.try_wait().unwrap());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(
        status.code(),
        Some(1),
        "nobody was told how it went: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(left_behind(&node), 0);
}
