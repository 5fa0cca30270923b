use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::agent::{Agent, Node, Row, Written, of_sink};
use crate::http_server::{HttpServer, Move, Rules};

fn http(server: &HttpServer, records_max: usize) -> Value {
    json!({
        "type": "http",
        "url": server.url(),
        "compression": "none",
        "payload_records_max": records_max,
        "flush_interval_ms": 20,
        "backoff_min_ms": 10,
        "backoff_max_ms": 40,
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

fn hang_up(agent: &Agent) {
    let id = i32::try_from(agent.id()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::HUP).unwrap();
}

fn config_of(status: &Value) -> &Value {
    &status["config"]
}

fn wait_for_reloads(agent: &Agent, count: usize) {
    agent.wait_for(&format!("reload {count}"), |status| {
        config_of(status)["reloads_applied"] == count
    });
}

fn refused(agent: &Agent) -> String {
    agent.wait_for("the refusal", |status| {
        !config_of(status)["refused"].is_null()
    });
    let status = agent.status();
    let text = &config_of(&status)["refused"]["text"];
    text.as_str().unwrap().to_owned()
}

/// Sinks change, come and go while logs are written and rotated; each goes on where it stood.
#[test]
fn five_hundred_reloads_lose_and_repeat_nothing() {
    const RELOADS: usize = 500;
    let mut random = fastrand::Rng::with_seed(20_260_103);
    let node = Node::new();
    // Every answer comes late, and within the grace.
    let late = |_| Move::Late(Duration::from_millis(3), Box::new(Move::Store(200)));
    let script = (0..100_000).map(late);
    let server = HttpServer::scripted(Rules::default(), script);
    let sinks = |mask: usize, records_max: usize| -> Value {
        let mut sinks =
            json!({"main": http(&server, records_max), "stays": node.file_sink("stays")});
        // Rules that come and go, and leave out nothing that is written here.
        if mask & 1 != 0 {
            sinks["main"]["lines"] = json!({"exclude": ["never said"], "min_level": "trace"});
        }
        if mask & 2 != 0 {
            sinks["main"]["select"] = json!({"exclude": {"namespaces": ["elsewhere"]}});
        }
        for number in (0..3).filter(|number| mask & (1 << number) != 0) {
            let name = format!("f{number}");
            sinks[&name] = node.file_sink(&name);
            sinks[&name]["read_from"] = json!("beginning");
            sinks[&name]["workers"] = json!(1 + number % 2);
        }
        sinks
    };
    let config = node.configure(sinks(0, 100), json!({}));
    let mut logs: Vec<_> = (0..4)
        .map(|number| node.container(&format!("p{number}"), "web"))
        .collect();
    let agent = Agent::run(&config);
    for reload in 1..=RELOADS {
        let at = random.usize(..logs.len());
        logs[at].write(random.usize(1..60));
        if random.u8(..20) == 0 {
            logs[at].rotate();
        }
        let last = reload == RELOADS;
        let mask = if last { 7 } else { random.usize(..8) };
        node.configure(sinks(mask, 100 + reload), json!({}));
        hang_up(&agent);
        wait_for_reloads(&agent, reload);
    }
    let written = Written::of(&logs);
    for sink in ["main", "stays", "f0", "f1", "f2"] {
        agent.wait_for_all(sink, &written);
    }
    agent.stop();
    assert_eq!(written.check(&rows(&server)), 0, "main repeats");
    for sink in ["stays", "f0", "f1", "f2"] {
        assert_eq!(written.check(&node.rows(sink)), 0, "{sink} repeats");
    }
}

/// What hangs when the grace is over is sent again, and what was deleted meanwhile is still held for the successor.
#[test]
fn a_sink_that_does_not_answer_is_replaced_without_loss() {
    let node = Node::new();
    let server = HttpServer::scripted(Rules::default(), vec![Move::Hang; 100]);
    let grace = json!({"reload_grace_ms": 200});
    let config = node.configure(json!({"main": http(&server, 100)}), grace.clone());
    let mut log = node.container("p", "web");
    log.write(500);
    let agent = Agent::run(&config);
    server.wait_for("both requests to hang", |server| server.under_way() == 2);
    // The first file loses its name while most of it has been read and none of it delivered.
    log.rotate();
    let directory = log.path().parent().unwrap().to_owned();
    log.write(50);
    let held = || {
        let (_, page) = agent.get("/metrics");
        let line = page
            .lines()
            .find(|line| line.starts_with("longshore_catalog_held_files "));
        line.is_some_and(|line| line.ends_with(" 2"))
    };
    crate::agent::wait_for(
        "both files to be held",
        || agent.log(),
        || held().then_some(()),
    );
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path != log.path() {
            fs::remove_file(path).unwrap();
        }
    }
    node.configure(json!({"main": http(&server, 99)}), grace);
    wait_for_reloads(&agent, 1);
    server.follow([]);
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    agent.stop();
    assert_eq!(
        written.check(&rows(&server)),
        0,
        "a hanging request stored nothing"
    );
}

#[test]
fn what_cannot_be_used_is_refused_and_the_old_goes_on() {
    let node = Node::new();
    let sinks = json!({"main": node.file_sink("rows")});
    let config = node.configure(sinks.clone(), json!({}));
    let mut log = node.container("p", "web");
    let agent = Agent::run(&config);
    let refusal_metric = |value: &str| {
        let (_, page) = agent.get("/metrics");
        assert!(
            page.contains(&format!("\nlongshore_config_refused {value}\n")),
            "{page}"
        );
    };
    refusal_metric("0");
    // Mistakes.
    node.configure(
        json!({"main": {"type": "fiel"}, "Other": {"type": "blackhole"}}),
        json!({}),
    );
    let text = refused(&agent);
    assert!(text.contains("fiel") && text.contains("Other"), "{text}");
    refusal_metric("1");
    // A change that needs a restart.
    node.configure(sinks.clone(), json!({"admin": {"listen": "127.0.0.1:1"}}));
    agent.wait_for("another refusal", |status| {
        config_of(status)["reloads_refused"] == 2
    });
    assert!(refused(&agent).contains("admin changed, which only a restart"));
    // A sink that cannot start, in place of one that runs.
    fs::write(node.path("in-the-way"), "").unwrap();
    node.configure(
        json!({"main": node.file_sink("in-the-way/rows")}),
        json!({}),
    );
    agent.wait_for("a third refusal", |status| {
        config_of(status)["reloads_refused"] == 3
    });
    assert!(
        refused(&agent).contains("in-the-way"),
        "{}",
        refused(&agent)
    );
    log.write(100);
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    // Back to what runs.
    node.configure(sinks, json!({}));
    agent.wait_for("the refusal to be withdrawn", |status| {
        config_of(status)["refused"].is_null()
    });
    refusal_metric("0");
    assert!(agent.stop().contains("the one before stays in force"));
    assert_eq!(written.check(&node.rows("rows")), 0);
}

/// As the kubelet mounts a ConfigMap: the file is a link into `..data`, itself a link that is renamed.
#[test]
fn a_config_map_that_is_swapped_is_applied() {
    let node = Node::new();
    let mount = node.path("mount");
    let publish = |version: &str, sinks: Value| {
        let text = fs::read(node.configure(sinks, json!({}))).unwrap();
        let directory = mount.join(format!("..{version}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("longshore.yaml"), text).unwrap();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    publish("one", json!({"main": node.file_sink("rows")}));
    symlink(
        Path::new("..data/longshore.yaml"),
        mount.join("longshore.yaml"),
    )
    .unwrap();
    let mut log = node.container("p", "web");
    log.write(10);
    let agent = Agent::run(&mount.join("longshore.yaml"));
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    publish(
        "two",
        json!({"main": node.file_sink("rows"), "new": node.file_sink("new")}),
    );
    wait_for_reloads(&agent, 1);
    // What was there before the sink was is its backlog.
    log.write(10);
    let written = Written::of([&log]);
    agent.wait_for_all("main", &written);
    agent.wait_for("the new sink", |status| {
        of_sink(status, "new")["ledger"]["pending_bytes"] == 0
    });
    publish("three", json!({"new": node.file_sink("new")}));
    wait_for_reloads(&agent, 2);
    let status = agent.status();
    assert_eq!(status["sinks"].as_array().unwrap().len(), 1, "{status}");
    agent.stop();
}
