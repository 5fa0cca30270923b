// The helpers of tests are tests too: a failed expectation in them is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::string_slice)]

#[path = "admin/harness.rs"]
mod harness;
#[path = "admin/page.rs"]
pub mod page;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore::admin::server::ServerLimits;
use longshore::catalog::chain::Loss;
use longshore::pipeline::board::{Health, View};
use longshore::pipeline::ledger::{Accounts, Amount, Drop, Exclusion};

use harness::{Admin, chain, view_of};
use page::{Page, documented};

/// Limits under which a misbehaving client is done with soon.
fn strict() -> ServerLimits {
    ServerLimits {
        connections_max: 8,
        pages_max: 1,
        header_read_timeout: Duration::from_millis(200),
        connection_timeout: Duration::from_millis(800),
        ..ServerLimits::default()
    }
}

#[test]
fn each_path_answers_in_its_own_way() {
    let admin = Admin::start();
    let types = [
        ("/", 200, "text/plain; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "text/plain; charset=utf-8"),
        ("/status", 200, "application/json"),
        ("/status?pod=none", 200, "application/json"),
        ("/status?podd=none", 400, "text/plain; charset=utf-8"),
        ("/explain?namespace=shop&pod=none", 200, "application/json"),
        ("/explain?pod=none", 400, "text/plain; charset=utf-8"),
        ("/metrics/", 404, "text/plain; charset=utf-8"),
        ("/../etc/passwd", 404, "text/plain; charset=utf-8"),
    ];
    for (path, code, kind) in types {
        let answer = admin.get(path);
        assert_eq!(answer.code, code, "{path}");
        assert_eq!(answer.headers["content-type"], kind, "{path}");
        assert_eq!(
            answer.headers["content-length"],
            answer.body.len().to_string(),
            "{path}"
        );
    }
}

#[test]
fn only_get_and_head_are_understood() {
    let admin = Admin::start();
    for path in ["/", "/metrics", "/status", "/healthz"] {
        let got = admin.get(path);
        let head = admin.ask(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(head.code, 200, "{path}");
        assert_eq!(head.body, "", "{path}");
        assert_eq!(head.headers["content-type"], got.headers["content-type"]);
        assert!(head.headers.contains_key("content-length"));
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = admin.ask(&format!("{method} /status HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(answer.code, 405, "{method}");
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
}

#[test]
fn healthz_names_what_hangs_and_nothing_else_matters_to_it() {
    let admin = Admin::start();
    let mut paused = view_of(&[]);
    paused.health = Health::Paused;
    admin.boards[0].publish(paused);
    admin.advance(Duration::from_secs(61));
    let all = admin.get("/healthz");
    assert_eq!(all.code, 503);
    assert_eq!(
        all.body.lines().count(),
        2 + admin.boards.len(),
        "{}",
        all.body
    );

    admin.beat();
    assert_eq!(admin.get("/healthz").code, 200);
    admin.advance(Duration::from_secs(60));
    assert_eq!(admin.get("/healthz").code, 200, "60 s are allowed");
    admin.advance(Duration::from_secs(1));
    let now = admin.now();
    admin.catalog.step(now);
    for board in admin.boards.iter().skip(1) {
        board.stepped(now);
    }
    admin.samples.stepped(now);
    let one = admin.get("/healthz");
    assert_eq!(one.code, 503);
    assert_eq!(
        one.body,
        "worker 0 of sink files has not stepped for 61 s\n"
    );
    admin.boards[0].stepped(now);
    assert_eq!(admin.get("/healthz").code, 200);
}

#[test]
fn readyz_waits_for_the_first_scan_and_not_for_sinks() {
    let admin = Admin::start();
    admin.catalog.set_scanned(false);
    assert_eq!(admin.get("/readyz").code, 503);
    assert_eq!(admin.get("/healthz").code, 200);
    let mut paused = view_of(&[]);
    paused.health = Health::Paused;
    admin.boards[0].publish(paused);
    admin.catalog.set_scanned(true);
    assert_eq!(admin.get("/readyz").code, 200);
}

#[test]
fn garbage_and_oversized_requests_are_refused_and_the_next_is_served() {
    let admin = Admin::start();
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(1 << 20));
    let binary = "\u{0}\u{1}\u{16}\u{3}\u{1}\u{2}garbage\r\n\r\n";
    for request in [
        &*long,
        &*many,
        &*path,
        binary,
        "\r\n\r\nGET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let code = admin.try_ask(request.as_bytes()).map(|answer| answer.code);
        assert!(
            code.is_none_or(|code| (400..600).contains(&code)),
            "{code:?}"
        );
        assert_eq!(admin.get("/healthz").code, 200);
    }
}

#[test]
fn a_client_that_never_ends_its_request_is_let_go() {
    let admin = Admin::with_limits(strict());
    let mut slow = admin.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
    let mut rest = Vec::new();
    // Blocks until the server hangs up; the socket's own timeout is the test's guard.
    let ended = slow.read_to_end(&mut rest);
    assert!(
        ended.is_ok() || ended.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionReset)
    );
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(admin.get("/healthz").code, 200);
}

#[test]
fn a_hundred_idle_connections_only_delay_a_request() {
    let admin = Admin::with_limits(strict());
    let idle: Vec<_> = (0..100).map(|_| admin.connect()).collect();
    assert_eq!(admin.get("/healthz").code, 200);
    drop(idle);
}

#[test]
fn a_hundred_requests_at_once_are_all_served() {
    let admin = Admin::start();
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100)
            .map(|number| {
                let path = ["/metrics", "/status", "/healthz"][number % 3];
                let admin = &admin;
                scope.spawn(move || admin.get(path).code)
            })
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
}

#[test]
fn a_client_that_does_not_read_its_page_does_not_keep_it_from_others() {
    let admin = Admin::with_limits(ServerLimits {
        connection_timeout: Duration::from_secs(3),
        ..strict()
    });
    // More than the sockets of a connection can hold between them.
    let long = "p".repeat(6 * 1024 * 1024);
    admin.boards[0].publish(view_of(&[chain(&long, 0, 1)]));
    let mut deaf = admin.connect();
    deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut first = [0];
    deaf.read_exact(&mut first).unwrap();
    // Waiting for the page's place counts as the client's own time, so the first of these may be let go too.
    let request = b"GET /status?pod=none HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answers = (0..5).filter_map(|_| admin.try_ask(request));
    assert_eq!(answers.next().unwrap().code, 200);
    drop(deaf);
}

/// One more thing that happens to an account, whatever it is.
fn step(accounts: &mut Accounts) {
    accounts.see(fastrand::u64(1..10_000));
    let part = |accounts: &Accounts| Amount {
        bytes: fastrand::u64(0..=accounts.pending),
        lines: 1,
    };
    let amount = part(accounts);
    match fastrand::u8(0..4) {
        0 => accounts.deliver(amount),
        1 => accounts.exclude(Exclusion::ALL[fastrand::usize(0..2)], amount),
        2 => accounts.drop_for(Drop::ALL[fastrand::usize(0..3)], amount),
        _ => accounts.lose(Loss::ALL[fastrand::usize(0..4)], amount.bytes),
    }
}

/// The identity of the ledger on one page: per sink, seen is the sum of all other accounts.
fn assert_balanced(page: &Page) {
    for sink in ["files", "web"] {
        let sum = |family: &str| page.sum(family, &[("sink", sink)]);
        let settled = sum("longshore_log_excluded_bytes_total")
            + sum("longshore_log_dropped_bytes_total")
            + sum("longshore_log_delivered_bytes_total")
            + sum("longshore_log_lost_bytes_total")
            + sum("longshore_log_pending_bytes");
        assert_eq!(sum("longshore_log_seen_bytes_total"), settled, "{sink}");
        assert_eq!(sum("longshore_log_balanced"), 1.0, "{sink}");
    }
}

#[test]
fn accounts_balance_at_every_scrape_while_workers_publish() {
    let admin = Admin::start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for board in &admin.boards {
            let over = &over;
            scope.spawn(move || {
                let mut accounts = Accounts::default();
                while !over.load(Ordering::Relaxed) {
                    step(&mut accounts);
                    board.publish(View {
                        totals: accounts,
                        ..View::default()
                    });
                }
            });
        }
        // Ends the publishers also when an assertion fails.
        let scraped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut seen = 0.0;
            for turn in 0..200 {
                let page = Page::parse(&admin.get("/metrics").body);
                assert_balanced(&page);
                let now = page.sum("longshore_log_seen_bytes_total", &[]);
                assert!(now >= seen, "a total fell from {seen} to {now}");
                seen = now;
                if turn % 20 == 0 {
                    let status = admin.get("/status").json();
                    assert_eq!(status["sinks"][0]["ledger"]["balances"], true);
                }
            }
            seen
        }));
        over.store(true, Ordering::Relaxed);
        assert!(scraped.unwrap() > 0.0);
    });
}

#[test]
fn a_ledger_that_does_not_balance_shows() {
    let admin = Admin::start();
    let mut broken = view_of(&[chain("a", 0, 1)]);
    broken.chains[0].accounts.seen += 1;
    admin.boards[0].publish(broken);
    let page = Page::parse(&admin.get("/metrics").body);
    assert_eq!(
        page.sum("longshore_log_balanced", &[("sink", "files")]),
        0.0
    );
    assert_eq!(page.sum("longshore_log_balanced", &[("sink", "web")]), 1.0);
    let status = admin.get("/status").json();
    assert_eq!(status["sinks"][0]["ledger"]["balances"], false);
    assert_eq!(status["sinks"][0]["chains"][0]["ledger"]["balances"], false);
}

#[test]
fn every_reason_and_state_has_its_series_from_the_start() {
    let admin = Admin::start();
    let page = Page::parse(&admin.get("/metrics").body);
    let check = |family: &str, label: &str, expected: &[&str]| {
        let shown = page.label_values(family, &[("sink", "web")], label);
        let expected = expected.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(shown, expected, "{family}");
    };
    let exclusions = Exclusion::ALL.map(Exclusion::as_str);
    check("longshore_log_excluded_bytes_total", "reason", &exclusions);
    let drops = Drop::ALL.map(Drop::as_str);
    check("longshore_log_dropped_bytes_total", "reason", &drops);
    check("longshore_log_dropped_lines_total", "reason", &drops);
    check(
        "longshore_log_lost_bytes_total",
        "reason",
        &Loss::ALL.map(Loss::as_str),
    );
    check(
        "longshore_sink_state",
        "state",
        &["good", "retrying", "paused"],
    );
}

#[test]
fn the_worst_worker_is_the_state_of_its_sink() {
    let admin = Admin::start();
    for (health, name) in [
        (Health::Good, "good"),
        (Health::Retrying, "retrying"),
        (Health::Paused, "paused"),
    ] {
        let mut view = view_of(&[]);
        view.health = health;
        admin.boards[1].publish(view);
        let page = Page::parse(&admin.get("/metrics").body);
        for state in ["good", "retrying", "paused"] {
            let shown = page.sum(
                "longshore_sink_state",
                &[("sink", "files"), ("state", state)],
            );
            assert_eq!(
                shown,
                f64::from(u8::from(state == name)),
                "{state} while {name}"
            );
        }
        assert_eq!(admin.get("/status").json()["sinks"][0]["health"], name);
    }
}

#[test]
fn ages_grow_from_the_last_acceptance_or_from_the_start() {
    let admin = Admin::start();
    let family = "longshore_sink_last_accepted_age_seconds";
    admin.advance(Duration::from_secs(5));
    let mut accepted = view_of(&[]);
    accepted.last_accepted = Some(admin.now());
    admin.boards[0].publish(accepted);
    admin.advance(Duration::from_millis(2_500));
    let page = Page::parse(&admin.get("/metrics").body);
    assert_eq!(page.sum(family, &[("sink", "files")]), 2.5);
    assert_eq!(page.sum(family, &[("sink", "web")]), 7.5);
}

#[test]
fn container_series_are_bounded_worst_first_and_vanish_with_the_container() {
    let admin = Admin::start();
    let chains: Vec<_> = (0..30)
        .map(|number| chain(&format!("pod-{number}"), 0, number))
        .collect();
    admin.boards[0].publish(view_of(&chains[..15]));
    admin.boards[1].publish(view_of(&chains[15..]));
    let names = |page: &Page| {
        page.label_values(
            "longshore_container_pending_bytes",
            &[("sink", "files")],
            "pod",
        )
    };
    let omitted =
        |page: &Page| page.sum("longshore_container_series_omitted", &[("sink", "files")]);
    let page = Page::parse(&admin.get("/metrics").body);
    let worst = (20..30).map(|number| format!("pod-{number}")).collect();
    assert_eq!(names(&page), worst);
    assert_eq!(omitted(&page), 20.0);

    admin.boards[1].publish(view_of(&[]));
    let page = Page::parse(&admin.get("/metrics").body);
    assert_eq!(
        names(&page),
        (5..15).map(|number| format!("pod-{number}")).collect()
    );
    admin.boards[0].publish(view_of(&[]));
    let page = Page::parse(&admin.get("/metrics").body);
    assert!(names(&page).is_empty());
    assert_eq!(omitted(&page), 0.0);
}

#[test]
fn restarts_of_a_container_are_one_series() {
    let admin = Admin::start();
    admin.boards[0].publish(view_of(&[chain("pod", 0, 10)]));
    admin.boards[1].publish(view_of(&[chain("pod", 1, 32)]));
    let page = Page::parse(&admin.get("/metrics").body);
    assert_eq!(
        page.sum("longshore_container_pending_bytes", &[("pod", "pod")]),
        42.0
    );
}

#[test]
fn hostile_names_are_escaped() {
    let admin = Admin::start();
    let hostile = "a\"b\\c\n# TYPE forged counter\nforged 1 {x}=,";
    admin.boards[0].publish(view_of(&[chain(hostile, 0, 1)]));
    let page = Page::parse(&admin.get("/metrics").body);
    assert!(!page.families.contains_key("forged"));
    assert_eq!(
        page.sum("longshore_container_pending_bytes", &[("pod", hostile)]),
        1.0
    );
    let status = admin.get("/status").json();
    assert_eq!(status["sinks"][0]["chains"][0]["pod"], hostile);
}

#[test]
fn the_page_is_well_formed_and_the_same_for_the_same_state() {
    let admin = Admin::full();
    let first = admin.get("/metrics").body;
    let page = Page::parse(&first);
    let names: Vec<&String> = page.families.keys().collect();
    assert!(names.len() > 40, "{names:?}");
    assert_eq!(
        page.order,
        names.into_iter().cloned().collect::<Vec<_>>(),
        "families are sorted"
    );
    for (name, family) in &page.families {
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        assert!(!family.samples.is_empty(), "{name} has no sample");
        for sample in &family.samples {
            assert!(sample.value.is_finite() && sample.value >= 0.0, "{name}");
        }
    }
    let own = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("process_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(own(&first), own(&admin.get("/metrics").body));
}

#[test]
fn metrics_md_lists_exactly_what_is_exported() {
    let admin = Admin::full();
    let page = Page::parse(&admin.get("/metrics").body);
    let exported: BTreeMap<String, (String, Vec<String>)> = page
        .families
        .iter()
        .map(|(name, family)| {
            let labels = family.label_names();
            assert!(
                family
                    .samples
                    .iter()
                    .all(|sample| sample.labels.len() == labels.len()),
                "{name}: each series has all labels"
            );
            (name.clone(), (family.kind.clone(), labels))
        })
        .collect();
    assert_eq!(documented(include_str!("../../METRICS.md")), exported);
}

#[test]
fn status_tells_each_sink_and_chain() {
    let admin = Admin::full();
    let status = admin.get("/status").json();
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["node"], "node-1");
    assert_eq!(status["healthy"], true);
    assert_eq!(status["bounds"]["files"]["payload_slots"], 4);
    assert_eq!(status["catalog"]["stats"]["longshore_catalog_chains"], 7);
    let sink = &status["sinks"][0];
    assert_eq!(sink["sink"], "files");
    assert_eq!(sink["last_error"]["text"], "cannot write: disk full");
    assert_eq!(sink["last_error"]["age_ms"], 1_000);
    assert_eq!(sink["last_verdict"], "retry");
    assert_eq!(sink["stats"]["longshore_file_sink_files"], 7);
    assert_eq!(sink["workers"].as_array().unwrap().len(), 2);
    let shown = &sink["chains"][0];
    assert_eq!(shown["chain"], "uid-pod-full/main/0");
    assert_eq!(shown["behind_bytes"], 77);
    assert_eq!(shown["error"], "permission denied");
    let segment = &shown["segments"][0];
    assert_eq!(segment["identity"], "00000000000000ab");
    assert_eq!(segment["unread_bytes"], 60);
    assert_eq!(segment["cursors"]["stderr"], 30);
    assert_eq!(
        status["sinks"][1]["last_accepted_age_ms"],
        serde_json::Value::Null
    );
}

#[test]
fn status_can_be_narrowed() {
    let admin = Admin::start();
    let pods = [chain("a", 0, 3), chain("a", 1, 2), chain("b", 0, 1)];
    admin.boards[0].publish(view_of(&pods));
    let shown = |query: &str| {
        let status = admin.get(&format!("/status?{query}")).json();
        let sinks = status["sinks"].as_array().unwrap().clone();
        let chains = sinks
            .iter()
            .flat_map(|sink| sink["chains"].as_array().unwrap().clone());
        let names: Vec<String> = chains
            .map(|it| it["chain"].as_str().unwrap().to_owned())
            .collect();
        (sinks.len(), names)
    };
    let (a0, a1, b0) = ("uid-a/main/0", "uid-a/main/1", "uid-b/main/0");
    let list = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(shown(""), (2, list(&[a0, a1, b0])));
    assert_eq!(shown("sink=files"), (1, list(&[a0, a1, b0])));
    assert_eq!(shown("sink=web"), (1, list(&[])));
    assert_eq!(shown("pod=a"), (2, list(&[a0, a1])));
    assert_eq!(shown("namespace=shop&pod=b"), (2, list(&[b0])));
    assert_eq!(shown("namespace=other"), (2, list(&[])));
    assert_eq!(shown("chain=uid-a%2Fmain/1"), (2, list(&[a1])));
}

#[test]
fn status_is_bounded_and_says_what_it_left_out() {
    let admin = Admin::start();
    let many: Vec<_> = (0..9_000)
        .map(|number| chain(&format!("pod-{number}"), 0, number))
        .collect();
    admin.boards[0].publish(view_of(&many));
    admin.boards[2].publish(view_of(&many));
    let answer = admin.get("/status");
    assert!(answer.body.len() < 5 * 1024 * 1024, "{}", answer.body.len());
    let status = answer.json();
    let number = |sink: usize, name: &str| status["sinks"][sink][name].as_u64().unwrap();
    let count = |sink: usize| status["sinks"][sink]["chains"].as_array().unwrap().len() as u64;
    assert!(count(0) > 1_000 && count(0) + count(1) <= 5_000);
    for sink in [0, 1] {
        assert_eq!(number(sink, "chains_total"), 9_000);
        assert_eq!(number(sink, "chains_matching"), 9_000);
        assert_eq!(number(sink, "chains_omitted"), 9_000 - count(sink));
    }
    assert_eq!(
        status["sinks"][0]["chains"][0]["pod"], "pod-8999",
        "the worst comes first"
    );
}
