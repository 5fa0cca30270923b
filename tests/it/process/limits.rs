use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::agent::{Agent, LONGSHORE, Log, Node, Written};

#[test]
fn thousands_of_logs_are_delivered_with_256_descriptors() {
    const DESCRIPTORS: usize = 256;
    let node = Node::new();
    let config = node.configure(json!({"file": node.file_sink("rows")}), json!({}));
    let mut written = Written::default();
    for pod in 0..50 {
        for container in 0..100 {
            let mut log = node.container(&format!("p{pod}"), &format!("c{container}"));
            log.write(2);
            if container == 0 {
                log.rotate();
                log.write(1);
                log.rotate();
            }
            written.add(&log);
        }
    }
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    command
        .args(["-c", &limited, "sh", LONGSHORE, "run", "--config"])
        .arg(&config);
    let agent = Agent::spawn(command);
    // Pages are answered all the while: the logs leave descriptors for the others.
    agent.wait_for("all to be delivered", |status| {
        let open = agent.descriptors();
        assert!(open <= DESCRIPTORS, "{open} descriptors");
        crate::agent::Ledger::of(status, "file").is_all_of(&written)
    });
    assert_eq!(written.check(&node.rows("rows")), 0);
    let status = agent.status();
    let errors =
        &status["catalog"]["stats"]["longshore_catalog_open_errors_total{kind=descriptors}"];
    assert_eq!(errors, 0, "the catalog ran into the limit");
    let log = agent.stop();
    assert!(!log.contains("Too many open files"), "{log}");
}

#[test]
fn an_endless_line_is_cut_and_counted_within_the_stated_memory() {
    const LINE_BYTES: usize = 100 << 20;
    let node = Node::new();
    let mut sink = node.file_sink("rows");
    sink["record_bytes_max"] = json!(65_536);
    let config = node.configure(json!({"file": sink}), json!({}));
    let mut log = node.container("p", "web");
    log.write(20);
    let before = Written::of([&log]).bytes;
    let header = b"2026-01-02T03:05:00.000000000Z stdout F ";
    log.raw(header, 0);
    let block = vec![b'x'; 1 << 20];
    for _ in 0..LINE_BYTES / block.len() {
        log.raw(&block, 0);
    }
    let agent = Agent::run(&config);
    // While its end is not there yet.
    agent.wait_for("most of it to be dropped", |status| {
        let ledger = crate::agent::Ledger::of(status, "file");
        ledger
            .dropped
            .get("too_long")
            .is_some_and(|bytes| *bytes > LINE_BYTES as u64 / 2)
    });
    log.raw(b"\n", 1);
    let endless = Written::of([&log]).bytes - before;
    log.write(20);
    let written = Written::of([&log]);
    agent.wait_for("all to be settled", |status| {
        let ledger = crate::agent::Ledger::of(status, "file");
        ledger.seen == written.bytes && ledger.pending == 0
    });
    let ledger = agent.ledger("file");
    let rows = node.rows("rows");
    let (cut, whole): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| !row.flags.is_empty());
    assert_eq!(written.check(&whole), 0);
    assert_eq!(cut.len(), 1);
    assert!(cut[0].message.bytes().all(|byte| byte == b'x'));
    assert_eq!(cut[0].message.len(), 65_536);
    assert!(cut[0].flags.contains("cut"), "{}", cut[0].flags);
    let kept = (header.len() + cut[0].message.len()) as u64;
    let (dropped, slack) = (ledger.dropped["too_long"], 1);
    assert!(
        dropped + kept + slack >= endless && dropped + kept <= endless,
        "{ledger:?} {endless}"
    );
    assert_eq!(ledger.lost, 0);
    let (used, bound) = (
        agent.proc_status("VmHWM:") * 1024,
        agent.said_at_start("memory_bytes_max"),
    );
    assert!(used <= bound, "{used} bytes resident, {bound} stated");
    agent.stop();
}

#[test]
fn holes_are_passed_over_and_counted() {
    const HOLE_BYTES: u64 = 1 << 30;
    let node = Node::new();
    let config = node.configure(json!({"file": node.file_sink("rows")}), json!({}));
    let mut log = node.container("p", "web");
    log.write(20);
    let agent = Agent::run(&config);
    agent.wait_for_all("file", &Written::of([&log]));
    log.hole(HOLE_BYTES);
    log.write(20);
    let written = Written::of([&log]);
    agent.wait_for("all to be settled", |status| {
        let ledger = crate::agent::Ledger::of(status, "file");
        ledger.seen == written.bytes && ledger.pending == 0
    });
    let ledger = agent.ledger("file");
    assert_eq!(ledger.dropped, [("nul_hole".to_owned(), HOLE_BYTES)].into());
    assert_eq!(ledger.delivered_lines, written.lines);
    assert_eq!(written.check(&node.rows("rows")), 0);
    agent.stop();
}

/// A container may put anything into its own log directory.
#[test]
fn what_is_not_a_log_is_refused_and_counted_and_nothing_of_it_is_delivered() {
    let node = Node::new();
    let secret = node.path("secret");
    fs::write(&secret, "2026-01-02T03:04:05Z stdout F secret\n").unwrap();
    let mut good = node.container("good", "web");
    let place = |container: &str| {
        let log: Log = node.container("bad", container);
        fs::remove_file(log.path()).unwrap();
        log.path().to_owned()
    };
    mknodat(
        CWD,
        place("pipe"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(place("socket")).unwrap();
    symlink("/etc/shadow", place("shadow")).unwrap();
    symlink(&secret, place("link")).unwrap();
    fs::create_dir(place("directory")).unwrap();
    symlink("loop.log", place("loop")).unwrap();
    symlink(
        &secret,
        place("rotated").with_file_name("0.log.20260102-030405"),
    )
    .unwrap();
    symlink("/dev/zero", place("device")).unwrap();
    symlink(node.path(""), node.path("pods/ns_link_uid-link")).unwrap();
    symlink("/etc", node.path("pods/ns_bad_uid-bad/etc")).unwrap();
    let config = node.configure(json!({"file": node.file_sink("rows")}), json!({}));
    let agent = Agent::run(&config);
    good.write(50);
    let written = Written::of([&good]);
    agent.wait_for_all("file", &written);
    agent.wait_for("all to be refused", |status| {
        let stats = &status["catalog"]["stats"];
        let count = |name: &str| stats[name].as_u64().unwrap();
        // `loop.log` leads nowhere, which may be a rotation under way.
        count("longshore_catalog_refused_files_total") >= 7
            && count("longshore_catalog_refused_names_total") >= 2
    });
    good.write(50);
    let written = Written::of([&good]);
    agent.wait_for_all("file", &written);
    assert_eq!(written.check(&node.rows("rows")), 0);
    agent.stop();
}

#[test]
fn a_root_that_comes_late_is_waited_for() {
    let node = Node::new();
    fs::remove_dir(node.path("pods")).unwrap();
    let config = node.configure(json!({"file": node.file_sink("rows")}), json!({}));
    let agent = Agent::run(&config);
    agent.wait_for("the root to be missed", |status| {
        status["catalog"]["stats"]["longshore_catalog_root_missing"] == 1
    });
    assert_eq!(agent.get("/readyz").0, 503);
    assert_eq!(agent.get("/healthz").0, 200);
    let mut log = node.container("p", "web");
    log.write(50);
    let written = Written::of([&log]);
    agent.wait_for_all("file", &written);
    agent.wait_for("readiness", |status| status["ready"] == true);
    assert_eq!(agent.get("/readyz").0, 200);
    assert_eq!(written.check(&node.rows("rows")), 0);
    agent.stop();
}
