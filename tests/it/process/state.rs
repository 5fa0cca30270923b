use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore::checkpoint::decode;
use serde_json::{Value, json};

use crate::agent::{Agent, LONGSHORE, Node, Row, Written, of_sink, wait_for};
use crate::http_server::{HttpServer, Move, Rules};

fn rows(server: &HttpServer) -> Vec<Row> {
    let stored = server.stored();
    stored
        .iter()
        .flat_map(|request| request.lines.iter().map(|line| Row::of(line)))
        .collect()
}

fn http(server: &HttpServer) -> Value {
    json!({
        "type": "http",
        "url": server.url(),
        "compression": "none",
        "payload_records_max": 100,
        "flush_interval_ms": 20,
        "backoff_min_ms": 10,
        "backoff_max_ms": 50,
        "checkpoint_interval_ms": 100,
    })
}

/// A sink's checkpoint.
fn checkpoint_path(node: &Node, sink: &str) -> PathBuf {
    node.path(&format!("state/sinks/{sink}/checkpoint-0-of-1.jsonl"))
}

/// The lines that a checkpoint holds as delivered; 0 if there is none.
fn lines_in(checkpoint: &std::path::Path) -> u64 {
    let Ok(bytes) = fs::read(checkpoint) else {
        return 0;
    };
    let chains = decode(&bytes).unwrap().chains;
    chains
        .iter()
        .map(|chain| chain.accounts.delivered.lines)
        .sum()
}

#[test]
fn a_slow_sink_cannot_hold_up_the_end_and_loses_nothing_by_it() {
    const GRACE_MS: u64 = 500;
    let node = Node::new();
    let server = HttpServer::scripted(Rules::default(), vec![Move::Hang; 100]);
    let config = node.configure(
        json!({"main": http(&server), "file": node.file_sink("rows")}),
        json!({"shutdown_grace_ms": GRACE_MS}),
    );
    let mut log = node.container("p", "web");
    log.write(1_000);
    let agent = Agent::run(&config);
    server.wait_for("both requests to hang", |server| server.under_way() == 2);
    let begun = Instant::now();
    agent.terminate();
    let (status, said) = agent.wait();
    // A request may take 30 s, so an agent that waited for it would be far beyond this.
    assert!(begun.elapsed() < Duration::from_millis(GRACE_MS) + Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("stopped before all was delivered"), "{said}");
    server.follow([]);
    log.write(100);
    let agent = Agent::run(&config);
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    agent.wait_for_all("file", &written);
    let said = agent.stop();
    assert!(
        said.contains("everything that was read has been delivered"),
        "{said}"
    );
    assert_eq!(
        written.check(&rows(&server)),
        0,
        "a hanging request stored nothing"
    );
    written.check(&node.rows("rows"));
    // All is durable at the end: a successor has nothing to send.
    let requests = server.requests();
    let agent = Agent::run(&config);
    agent.wait_for_all("main", &written);
    agent.stop();
    assert_eq!(server.requests(), requests);
}

/// Told to end, and again, as soon as it has said that it runs.
#[test]
fn a_signal_right_after_the_start_is_a_clean_end() {
    let node = Node::new();
    let config = node.configure(json!({"file": node.file_sink("rows")}), json!({}));
    let mut log = node.container("p", "web");
    log.write(100);
    for _ in 0..5 {
        let agent = Agent::run(&config);
        agent.terminate();
        agent.terminate();
        let (status, said) = agent.wait();
        assert_eq!(status.code(), Some(0), "{said}");
    }
    let agent = Agent::run(&config);
    let written = Written::of([&log]);
    agent.wait_for_all("file", &written);
    agent.stop();
    assert_eq!(written.check(&node.rows("rows")), 0);
}

#[test]
fn a_wrong_configuration_starts_nothing_and_names_every_mistake() {
    let node = Node::new();
    let config = node.configure(
        json!({
            "main": {"type": "http", "url": "ftp://nowhere", "payload_slotz": 3},
            "file": {"type": "file", "directory": "relative"},
        }),
        json!({"shutdown_grace_ms": -1, "admin": {"listen": "everywhere"}}),
    );
    let output = Command::new(LONGSHORE)
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for mistake in [
        "url",
        "payload_slotz",
        "payload_slots",
        "relative",
        "shutdown_grace_ms",
        "everywhere",
    ] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    assert!(said.contains("5 mistakes; nothing was started"), "{said}");
    assert!(!node.path("state").exists());
    assert_eq!(output.stdout, b"");
}

/// A file system of its own, as far as the test may have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, bytes: u64) -> Option<SmallDisk> {
        fs::create_dir(&path).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// The value of a sink's series without further labels.
fn metric(agent: &Agent, name: &str, sink: &str) -> f64 {
    let (code, page) = agent.get("/metrics");
    assert_eq!(code, 200);
    crate::admin::page::Page::parse(&page).sum(name, &[("sink", sink)])
}

#[test]
fn a_full_disk_is_reported_and_waited_out() {
    let node = Node::new();
    let Some(_disk) = SmallDisk::mount(node.path("state"), 4 << 20) else {
        eprintln!(
            "SKIP a_full_disk_is_reported_and_waited_out: no file system can be mounted here"
        );
        return;
    };
    let server = HttpServer::scripted(Rules::default(), []);
    let mut file = node.file_sink("state/rows");
    file["backoff_max_ms"] = json!(500);
    file["checkpoint_interval_ms"] = json!(100);
    let config = node.configure(
        json!({"file": file, "elsewhere": http(&server)}),
        // So that no look at the logs happens to set off a checkpoint.
        json!({"logs": {"rescan_interval_ms": 3_600_000}}),
    );
    let mut log = node.container("p", "web");
    let agent = Agent::run(&config);
    log.write(100);
    agent.wait_for_all("file", &Written::of([&log]));
    agent.wait_for_all("elsewhere", &Written::of([&log]));
    let ballast = node.path("state/ballast");
    let mut filling = fs::File::create(&ballast).unwrap();
    for size in [65_536, 4_096, 1] {
        while filling.write_all(&vec![0; size]).is_ok() {}
    }
    // More than the room that is left in the last page of the open file.
    log.write(500);
    let written = Written::of([&log]);
    // A sink that has its data elsewhere goes on, though its checkpoint cannot be written.
    agent.wait_for_all("elsewhere", &written);
    agent.wait_for("the file sink to say so", |status| {
        let sink = of_sink(status, "file");
        let text = sink["last_error"]["text"].as_str().unwrap_or_default();
        sink["health"] == "retrying" && text.contains("No space left")
    });
    wait_for(
        "failed checkpoints to be counted",
        || agent.log(),
        || (metric(&agent, "longshore_checkpoint_failures_total", "elsewhere") > 0.0).then_some(()),
    );
    assert!(metric(&agent, "longshore_file_sink_write_errors_total", "file") > 0.0);
    assert_eq!(agent.get("/healthz").0, 200);
    let settled = agent.ledger("file");
    assert!(settled.pending > 0 && settled.lost == 0, "{settled:?}");
    drop(filling);
    fs::remove_file(&ballast).unwrap();
    agent.wait_for_all("file", &written);
    assert_eq!(written.check(&node.rows("state/rows")), 0);
    // Nothing more is written to the logs: the checkpoint is tried again by itself.
    let checkpoint = checkpoint_path(&node, "elsewhere");
    wait_for(
        "the checkpoint",
        || agent.log(),
        || (lines_in(&checkpoint) == written.lines).then_some(()),
    );
    agent.stop();
}

/// The bound on repeats: what the previous checkpoint did not have yet.
#[test]
fn a_damaged_checkpoint_is_put_aside_and_the_previous_one_is_used() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 3] = [
        ("truncated", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("flipped", |mut bytes| {
            let at = bytes.len() / 3;
            bytes[at] ^= 1;
            bytes
        }),
        ("empty", |_| Vec::new()),
    ];
    let node = Node::new();
    let server = HttpServer::scripted(Rules::default(), []);
    let mut sink = http(&server);
    sink["read_from"] = json!("end");
    let config = node.configure(json!({"main": sink}), json!({}));
    let path = checkpoint_path(&node, "main");
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let agent = Agent::run(&config);
    agent.wait_for("readiness", |status| status["ready"] == true);
    let mut log = node.container("p", "web");
    let mut repeats_max = 0;
    let mut agent = Some(agent);
    for (name, damage) in damages {
        let running = agent.take().unwrap_or_else(|| Agent::run(&config));
        for _ in 0..2 {
            log.write(300);
            let lines = Written::of([&log]).lines;
            running.wait_for_all("main", &Written::of([&log]));
            wait_for(
                "the checkpoint",
                || running.log(),
                || (lines_in(&path) == lines).then_some(()),
            );
        }
        running.kill();
        let previous = lines_in(&with(".previous"));
        assert!(previous > 0, "there is a previous one to go back to");
        repeats_max += lines_in(&path) - previous;
        fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
        log.write(100);
        let running = Agent::run(&config);
        let written = Written::of([&log]);
        running.wait_for_all("main", &written);
        assert_eq!(running.ledger("main").excluded, 0);
        assert!(with(".damaged").exists(), "{name}");
        assert!(
            running.log().contains("put aside"),
            "{name}: {}",
            running.log()
        );
        fs::remove_file(with(".damaged")).unwrap();
        agent = Some(running);
    }
    let repeats = Written::of([&log]).check(&rows(&server));
    assert!(
        repeats as u64 <= repeats_max,
        "{repeats} rows repeated, at most {repeats_max}"
    );
    agent.unwrap().stop();
    // With both of them damaged all is sent again: `read_from` is for a sink that never ran.
    for damaged in [path.clone(), with(".previous")] {
        fs::write(damaged, "damaged").unwrap();
    }
    let agent = Agent::run(&config);
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    assert_eq!(written.check(&rows(&server)), repeats + written.len());
    agent.stop();
}
