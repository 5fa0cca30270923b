//! Remote write against a strict receiver, over real sockets: what it stores is what was sampled, in order, whatever
//! it answers on the way; and, with the real binary, that logs and samples do not wait for each other.

#[path = "remote_write/receiver.rs"]
mod receiver;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longshore::clock::{Clock, SystemClock};
use longshore::config::scrape::Scrape;
use longshore::config::{
    Auth, AzureAuth, AzureIdentity, Cloud, HttpSink, Limits, RemoteWriteVersion, Secret,
};
use longshore::node::snapshot::{Snapshot, Spec, Unit};
use longshore::samples::board::Board;
use longshore::samples::inbox::Inbox;
use longshore::samples::ledger::{Accounts, Drop};
use longshore::samples::payload::{Codec, Packer};
use longshore::samples::remote_write::transport::Versions;
use longshore::samples::remote_write::{RemoteWrite, STALE_NAN_BITS};
use longshore::samples::worker::{Parts, Worker};
use longshore::scrape::Target;
use longshore::sink::gate::Health;
use longshore::sink::http::Surroundings;
use longshore::sink::http::connect::ProxySettings;
use longshore::sink::http::token::WorkloadIdentity;
use longshore::waker::Waker;
use serde_json::json;

use crate::agent::{Agent, Node, wait_for};
use crate::http_server::{HttpServer, Move, Rules};
use crate::store::{Asked, Store, StoreServer, Told};
use receiver::{Answer, Network, Receiver};

const CPU: Spec = Spec::counter("node_cpu_seconds_total", Unit::Seconds, "Time.");
const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");
const PATIENCE: Duration = Duration::from_secs(60);

/// The samples of a sink, stepped by the test.
struct Side {
    worker: Option<Worker>,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    clock: Arc<SystemClock>,
    taken_ms: u64,
    _network: Network,
}

impl Side {
    fn start(
        receiver: &Receiver,
        version: RemoteWriteVersion,
        change: impl FnOnce(&mut HttpSink),
    ) -> Side {
        let network = Network::start();
        let clock = Arc::new(SystemClock::new());
        let surroundings = Surroundings {
            clock: clock.clone(),
            proxy: ProxySettings::from_variables(|_| None),
            identity: WorkloadIdentity::default(),
        };
        let mut http = HttpSink::new(receiver.url());
        change(&mut http);
        let handle = &network.handle;
        let transport = Versions::start(&surroundings, "rw", &http, version, handle, Waker::none());
        let limits = Limits {
            backoff_min_ms: 10,
            backoff_max_ms: 50,
            probe_interval_ms: 50,
            payload_records_max: 3,
            ..Limits::default()
        };
        let labels = vec![("job".to_owned(), "node".to_owned())];
        let inbox = Arc::new(Inbox::new(Waker::none()));
        let board = Arc::new(Board::new("rw"));
        let worker = Worker::new(Parts {
            shape: Box::new(RemoteWrite::new(version, labels, &limits)),
            limits,
            inbox: Arc::clone(&inbox),
            packer: Packer::new(Codec::Snappy),
            transport: Box::new(transport.unwrap()),
            board: Arc::clone(&board),
            clock: clock.clone(),
            seed: 1,
        });
        Side {
            worker: Some(worker),
            inbox,
            board,
            clock,
            taken_ms: 1_700_000_000_000,
            _network: network,
        }
    }

    /// Offers the load and one counter for each CPU; each snapshot is a second later.
    fn offer(&mut self, cpus: &[&str]) {
        self.taken_ms += 1_000;
        let taken: SystemTime = UNIX_EPOCH + Duration::from_millis(self.taken_ms);
        let mut snapshot = Snapshot::new(taken, Arc::new(|_| true), 100);
        snapshot.add(&LOAD, &[], self.taken_ms as f64);
        for cpu in cpus {
            snapshot.add(
                &CPU,
                &[("mode", "user"), ("cpu", cpu)],
                self.taken_ms as f64,
            );
        }
        self.inbox.offer(Arc::new(snapshot));
        self.step();
    }

    fn step(&mut self) {
        let now = self.clock.now();
        self.worker.as_mut().unwrap().step(now);
    }

    fn accounts(&self) -> Accounts {
        self.board.view().accounts
    }

    fn until(&mut self, what: &str, done: impl Fn(&Side) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.board.view());
            self.step();
            let accounts = self.accounts();
            assert!(accounts.balances(), "{accounts:?}");
            std::thread::yield_now();
        }
    }

    /// Until nothing is pending.
    fn settle(&mut self) {
        self.until("settled", |side| side.accounts().pending == 0);
    }

    fn stop(&mut self) {
        let mut worker = self.worker.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        worker.drain(self.clock.now(), self.clock.now() + PATIENCE);
        while !worker.is_drained() {
            assert!(Instant::now() < deadline, "drained");
            worker.step(self.clock.now());
        }
        worker.finish();
    }
}

/// What a series holds at the end, for [`Side::offer`] of each of `rounds`: values, and then its end.
fn expected(first: u64, rounds: u64, ends: bool) -> Vec<(i64, u64)> {
    let times = (first..first + rounds).map(|round| 1_700_000_000_000 + 1_000 * round);
    let mut all: Vec<(i64, u64)> = times.map(|ms| (ms as i64, (ms as f64).to_bits())).collect();
    if ends {
        let (last, _) = *all.last().unwrap();
        all.push((last + 1_000, STALE_NAN_BITS));
    }
    all
}

const LOAD_SERIES: &str = "__name__=node_load1,job=node";

fn cpu_series(cpu: &str) -> String {
    format!("__name__=node_cpu_seconds_total,cpu={cpu},job=node,mode=user")
}

#[test]
fn whatever_it_answers_it_stores_all_samples_once_in_order_and_their_end() {
    for version in [RemoteWriteVersion::One, RemoteWriteVersion::Two] {
        let second = version == RemoteWriteVersion::Two;
        let receiver = Receiver::start(second);
        receiver.answer([
            Answer::status(503),
            Answer::Drop,
            Answer::Store,
            Answer::retry_after("1"),
            Answer::StoreThenDrop,
            Answer::status(500),
        ]);
        let mut side = Side::start(&receiver, version, |_| {});
        for round in 0..6 {
            // The third CPU goes offline.
            let cpus = if round < 3 {
                &["0", "1", "2"][..]
            } else {
                &["0", "1"]
            };
            side.offer(cpus);
        }
        side.settle();
        assert_eq!(receiver.violations(), Vec::<String>::new());
        let stored = receiver.stored();
        assert_eq!(stored[LOAD_SERIES], expected(1, 6, false));
        assert_eq!(stored[&cpu_series("1")], expected(1, 6, false));
        assert_eq!(stored[&cpu_series("2")], expected(1, 3, true));
        assert_eq!(side.accounts().dropped, [0; Drop::ALL.len()]);
        assert_eq!(side.accounts().delivered, 6 + 6 + 6 + 3 + 1);
        let failures = &side.board.view().failures;
        for code in ["http_503", "http_429", "http_500"] {
            assert!(failures.contains(&(code, 1)), "{failures:?}");
        }
        side.stop();
        let stored = receiver.stored();
        assert_eq!(stored[LOAD_SERIES].last().unwrap().1, STALE_NAN_BITS);
        assert_eq!(
            stored[&cpu_series("2")],
            expected(1, 3, true),
            "it has ended already"
        );
        assert_eq!(receiver.violations(), Vec::<String>::new());
        assert_eq!(receiver.versions(), [if second { 2 } else { 1 }]);
    }
}

#[test]
fn a_receiver_that_does_not_know_version_2_gets_version_1_and_loses_nothing() {
    for answer in [Answer::status(415), Answer::status(204)] {
        let receiver = Receiver::start(false);
        receiver.answer_version_2(answer);
        let mut side = Side::start(&receiver, RemoteWriteVersion::Two, |_| {});
        for _ in 0..4 {
            side.offer(&["0", "1", "2"]);
        }
        side.settle();
        assert_eq!(receiver.violations(), Vec::<String>::new());
        let stored = receiver.stored();
        for series in [LOAD_SERIES.to_owned(), cpu_series("0"), cpu_series("2")] {
            assert_eq!(stored[&series], expected(1, 4, false), "{series}");
        }
        assert_eq!(side.board.view().failures, [("version_1", 1)]);
        assert_eq!(receiver.versions(), [1, 2]);
    }
}

#[test]
fn one_refused_sample_costs_no_other() {
    let receiver = Receiver::start(false);
    receiver.refuse("cpu=1");
    let mut side = Side::start(&receiver, RemoteWriteVersion::One, |_| {});
    for _ in 0..3 {
        side.offer(&["0", "1", "2"]);
    }
    side.settle();
    let stored = receiver.stored();
    assert_eq!(stored[LOAD_SERIES], expected(1, 3, false));
    assert_eq!(stored[&cpu_series("0")], expected(1, 3, false));
    assert_eq!(stored[&cpu_series("2")], expected(1, 3, false));
    assert!(!stored.contains_key(&cpu_series("1")));
    assert_eq!(side.accounts().dropped[Drop::Rejected as usize], 3);
    assert_eq!(receiver.violations(), Vec::<String>::new());
}

#[test]
fn wrong_credentials_pause_it_until_there_are_others() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "old\n").unwrap();
    let receiver = Receiver::start(false);
    receiver.authorize("Bearer new");
    let mut side = Side::start(&receiver, RemoteWriteVersion::One, |http| {
        http.auth = Auth::Bearer(Secret::File(token.clone()));
    });
    side.offer(&[]);
    side.until("paused", |side| side.board.view().health == Health::Paused);
    side.offer(&[]);
    assert_eq!(side.accounts().pending, 2);
    std::fs::write(&token, "new\n").unwrap();
    side.settle();
    assert_eq!(receiver.stored()[LOAD_SERIES], expected(1, 2, false));
    assert_eq!(side.board.view().health, Health::Good);
}

/// The metadata service of a machine with an identity.
struct Metadata;

impl Store for Metadata {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        if asked.header("metadata") != "true" || asked.path != "/metadata/identity/oauth2/token" {
            violations.push(format!("{asked:?}"));
        }
        let told = json!({"access_token": "of-the-machine", "expires_in": "86400"});
        Told::of(200, told.to_string())
    }
}

/// As an Azure Monitor workspace wants it.
#[test]
fn it_is_written_with_a_token_of_the_machine() {
    let metadata = StoreServer::start(Metadata, None);
    let receiver = Receiver::start(false);
    receiver.authorize("Bearer of-the-machine");
    let mut side = Side::start(&receiver, RemoteWriteVersion::One, |http| {
        http.auth = Auth::Azure(AzureAuth {
            cloud: Cloud::Public,
            scope: None,
            identity: AzureIdentity::Managed {
                client_id: None,
                endpoint: Some(metadata.url("")),
            },
        });
    });
    side.offer(&["0"]);
    side.settle();
    assert_eq!(receiver.stored()[LOAD_SERIES], expected(1, 1, false));
    assert_eq!(receiver.violations(), Vec::<String>::new());
    assert_eq!(metadata.violations(), Vec::<String>::new());
}

/// Answers each connection with the page of the moment, a whole response, and hangs up; with nothing it never answers.
fn serve_page(shown: Arc<Mutex<Vec<u8>>>) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            // A client that has seen enough hangs up.
            let read = stream.read(&mut request).unwrap_or_default();
            let page = shown.lock().unwrap().clone();
            if page.is_empty() {
                held.push(stream);
            } else if request[..read].starts_with(b"GET /metrics HTTP/1.1\r\n") {
                let _: std::io::Result<()> = stream.write_all(&page);
            }
        }
    });
    address
}

fn page(status: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Whatever a target answers: its series are there while it does well, and `up` says how it does.
#[test]
fn a_target_that_fails_is_down_and_its_series_end() {
    use longshore::node::Collect;
    let flood = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        "flood 1\n".repeat(longshore::scrape::BODY_BYTES_MAX / 8 + 1)
    );
    let shown = Arc::new(Mutex::new(page("200 OK", "")));
    let address = serve_page(Arc::clone(&shown));
    let network = Network::start();
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock::new()),
        proxy: ProxySettings::from_variables(|_| None),
        identity: WorkloadIdentity::default(),
    };
    let mut config = Scrape::new(format!("http://{address}/metrics"));
    config.interval_ms = 20;
    config.http.request_timeout_ms = 1_000;
    let mut target = Target::start(&config, &surroundings, &network.handle).unwrap();
    let host = longshore::node::host::Host {
        proc: "/nowhere".into(),
        sys: "/nowhere".into(),
        root: "/nowhere".into(),
    };
    let instance = address.to_string();
    let labels = [("instance", instance.as_str()), ("job", "scrape")];
    let with_own = [("exported_job", "own"), labels[0], labels[1]];
    for (next, wanted) in [
        (
            page("200 OK", "a_total{job=\"own\"} 1\nbroken\n"),
            Some(1.0),
        ),
        (page("500 Oh", "a_total 2\n"), None),
        (page("200 OK", "a_total 3\n"), Some(3.0)),
        (flood.into_bytes(), None),
        (page("200 OK", "a_total 5\n"), Some(5.0)),
        (Vec::new(), None),
        (page("200 OK", "a_total 7\n"), Some(7.0)),
    ] {
        *shown.lock().unwrap() = next;
        let look = || {
            let mut snapshot = Snapshot::new(UNIX_EPOCH, Arc::new(|_| true), 100);
            target.collect(&host, &mut snapshot).unwrap();
            let up = snapshot.value("up", &labels)?;
            let value = snapshot.value("a_total", &labels);
            let value = value.or(snapshot.value("a_total", &with_own));
            (up == f64::from(u8::from(wanted.is_some())) && value == wanted).then_some(())
        };
        wait_for("the page", || format!("{wanted:?}"), look);
    }
}

/// Of the stored rows, those of a metric.
fn rows_of_metrics(server: &HttpServer) -> usize {
    let lines: BTreeMap<Vec<u8>, usize> = server.line_counts();
    let loads = lines.keys().filter(|line| {
        let row: serde_json::Value = serde_json::from_slice(line).unwrap();
        row["Name"] == "node_load1" && row["Computer"] == "n1" && row["Val"].is_number()
    });
    loads.count()
}

#[test]
fn a_log_s_retry_does_not_delay_samples_nor_the_other_way_round() {
    for metrics_fail in [false, true] {
        let never = || std::iter::repeat_n(Move::status(503), 10_000);
        let good = HttpServer::scripted(Rules::default(), []);
        let bad = HttpServer::scripted(Rules::default(), never());
        let (logs, metrics) = if metrics_fail {
            (&good, &bad)
        } else {
            (&bad, &good)
        };
        let node = Node::new();
        let config = node.configure(
            json!({"web": {
                "type": "http",
                "url": logs.url(),
                "metrics_url": metrics.url(),
                "signals": ["logs", "metrics"],
                "compression": "none",
                "flush_interval_ms": 20,
                "backoff_min_ms": 10,
                "backoff_max_ms": 100,
            }}),
            json!({"metrics": {"interval_ms": 1_000}}),
        );
        let mut log = node.container("pod", "main");
        log.write(10);
        let agent = Agent::run(&config);
        bad.wait_for("failures", |bad| bad.requests() > 3);
        if metrics_fail {
            wait_for(
                "lines",
                || agent.log(),
                || (good.line_counts().len() == 10).then_some(()),
            );
        } else {
            wait_for(
                "rows",
                || agent.log(),
                || (rows_of_metrics(&good) >= 2).then_some(()),
            );
        }
        let status = agent.status();
        let samples = &status["samples"][0];
        assert_eq!(samples["ledger"]["balances"], true, "{status}");
        let (of_logs, of_samples) = match metrics_fail {
            true => ("good", "retrying"),
            false => ("retrying", "good"),
        };
        assert_eq!(samples["health"], of_samples, "{status}");
        assert_eq!(status["sinks"][0]["health"], of_logs, "{status}");
        assert_eq!(good.violations(), Vec::<String>::new());
    }
}
