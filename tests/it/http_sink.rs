//! The HTTP transport against a real server: every attempt gets exactly one verdict, and the right one; tokens,
//! certificates and authorities are followed when their files change; nothing is buffered or leaked.

/// Tokens that are asked for.
#[path = "http_sink/tokens.rs"]
mod tokens;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use longshore::clock::{Clock, Time};
use longshore::config::{Auth, HttpSink, Secret, Tls};
use longshore::sink::http::connect::ProxySettings;
use longshore::sink::http::token::WorkloadIdentity;
use longshore::sink::http::{Http, Surroundings, Wire};
use longshore::sink::{Attempt, Transport, Verdict};
use longshore::waker::Waker;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::certificates::{Authority, Shown, server_tls};
use super::http_server::{HttpServer, Move, Rules};
use super::proxy::{Proxy, ProxyRules};

const NDJSON: Wire = Wire {
    content_type: "application/x-ndjson",
    content_encoding: None,
};

/// How long a verdict may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that moves when it is told to.
struct HandClock(AtomicU64);

impl HandClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Time {
        Time::from_ms(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

/// A runtime that its own thread drives.
struct Driver {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Driver {
    fn start() -> Driver {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ended = runtime.block_on(stopped);
        });
        Driver {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A transport, its runtime, and the thread that waits for verdicts (the test's own).
struct Client {
    http: Http,
    wakes: Arc<(Mutex<u64>, Condvar)>,
    clock: Arc<HandClock>,
    next_id: u64,
    driver: Option<Driver>,
}

impl Client {
    fn start(config: &HttpSink, wire: Wire, in_flight_max: usize) -> Client {
        Client::start_by_proxy(config, wire, in_flight_max, &[])
    }

    fn start_by_proxy(
        config: &HttpSink,
        wire: Wire,
        in_flight_max: usize,
        variables: &[(&str, String)],
    ) -> Client {
        let driver = Driver::start();
        let clock = Arc::new(HandClock(AtomicU64::new(0)));
        let proxy = ProxySettings::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        });
        let surroundings = Surroundings {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            proxy,
            identity: WorkloadIdentity::default(),
        };
        let wakes = Arc::new((Mutex::new(0), Condvar::new()));
        let woken = Arc::clone(&wakes);
        let waker = Waker::new(move || {
            *woken.0.lock().unwrap() += 1;
            woken.1.notify_all();
        });
        let handle = &driver.handle;
        let http = Http::start_in(
            &surroundings,
            "test",
            config,
            wire,
            in_flight_max,
            handle,
            waker,
        )
        .unwrap();
        Client {
            http,
            wakes,
            clock,
            next_id: 0,
            driver: Some(driver),
        }
    }

    /// Starts an attempt; gives its id, or the attempt back.
    fn submit(&mut self, body: impl Into<Bytes>) -> Result<u64, Attempt> {
        let id = self.next_id;
        let body = body.into();
        self.http.try_submit(Attempt {
            id,
            records: 1,
            uncompressed_bytes: body.len() as u64,
            body,
        })?;
        self.next_id += 1;
        Ok(id)
    }

    /// The next verdict. Looks only after having been woken, so that a missing wake fails the test.
    fn verdict(&mut self) -> (u64, Verdict) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = *self.wakes.0.lock().unwrap();
            if let Some(settled) = self.http.poll_verdict() {
                return settled;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wakes = self.wakes.0.lock().unwrap();
            let (_wakes, waited) = self
                .wakes
                .1
                .wait_timeout_while(wakes, left, |wakes| *wakes == seen)
                .unwrap();
            assert!(!waited.timed_out(), "no verdict");
        }
    }

    /// One attempt from beginning to end.
    fn send(&mut self, body: impl Into<Bytes>) -> Verdict {
        let id = self.submit(body).unwrap();
        let (settled, verdict) = self.verdict();
        assert_eq!(settled, id);
        assert_eq!(self.http.poll_verdict(), None);
        verdict
    }
}

fn sink(url: &str) -> HttpSink {
    HttpSink {
        preset: None,
        metrics_url: None,
        url: url.to_string(),
        headers: Vec::new(),
        auth: Auth::None,
        tls: Tls::default(),
        connect_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        keep_alive_ms: 60_000,
    }
}

/// A verdict as kind and code.
fn short(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Accepted => ("accepted", ""),
        Verdict::AcceptedExcept { reason, .. } => ("accepted_except", reason.code),
        Verdict::Items(_) => ("items", ""),
        Verdict::Retry { reason, .. } => ("retry", reason.code),
        Verdict::Split(reason) => ("split", reason.code),
        Verdict::Bisect(reason) => ("bisect", reason.code),
        Verdict::Pause(reason) => ("pause", reason.code),
    }
}

fn text(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Accepted | Verdict::Items(_) => "",
        Verdict::Retry { reason, .. }
        | Verdict::AcceptedExcept { reason, .. }
        | Verdict::Split(reason)
        | Verdict::Bisect(reason)
        | Verdict::Pause(reason) => &reason.text,
    }
}

/// A server that reads one request head, says these bytes and closes; again and again.
fn raw_server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/rows", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut block = [0; 1024];
            while !request.ends_with(b"row\n") {
                let read = stream.read(&mut block).unwrap();
                assert!(read > 0);
                request.extend_from_slice(&block[..read]);
            }
            stream.write_all(answer).unwrap();
        }
    });
    url
}

#[test]
fn every_row_of_the_table_comes_through_a_socket() {
    let rows = [
        (200, "accepted", ""),
        (201, "accepted", ""),
        (204, "accepted", ""),
        (301, "pause", "http_301"),
        (307, "pause", "http_307"),
        (400, "bisect", "http_400"),
        (401, "pause", "http_401"),
        (403, "pause", "http_403"),
        (404, "pause", "http_404"),
        (408, "retry", "http_408"),
        (409, "pause", "http_409"),
        (413, "split", "http_413"),
        (415, "pause", "http_415"),
        (422, "bisect", "http_422"),
        (429, "retry", "http_429"),
        (500, "retry", "http_500"),
        (501, "retry", "http_501"),
        (503, "retry", "http_503"),
    ];
    let moves = rows.map(|(status, ..)| match status {
        204 => Move::status(204),
        _ => Move::Answer {
            status,
            headers: vec![("location", "/elsewhere?key=hidden".to_string())],
            body: format!("because {status}\nand more"),
        },
    });
    let server = HttpServer::scripted(Rules::default(), moves);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 1);
    for (status, kind, code) in rows {
        let verdict = client.send("row\n");
        assert_eq!(short(&verdict), (kind, code), "{status}");
        if kind != "accepted" {
            let text = text(&verdict);
            assert!(
                text.starts_with(&format!("POST {}: {status}", server.url())),
                "{text}"
            );
            assert!(text.ends_with(&format!(": because {status}")), "{text}");
            assert!(!text.contains("hidden"), "{text}");
        }
    }
    assert_eq!(
        server.requests(),
        rows.len(),
        "nothing is followed or repeated"
    );
    assert_eq!(server.violations(), [""; 0]);
}

#[test]
fn retry_after_is_taken_as_seconds_and_as_a_date() {
    let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let date = httpdate::fmt_http_date(wall + Duration::from_secs(42));
    let moves = ["7".to_string(), date, "0".to_string()].map(|value| Move::Answer {
        status: 429,
        headers: vec![("retry-after", value)],
        body: String::new(),
    });
    let server = HttpServer::scripted(Rules::default(), moves);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 1);
    for wait in [Some(7), Some(42), None] {
        match client.send("row\n") {
            Verdict::Retry { after, .. } => assert_eq!(after, wait.map(Duration::from_secs)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_carries_what_the_configuration_says() {
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &[u8]| zstd::stream::encode_all(text, 1).unwrap();
    let lines = b"{\"LogMessage\":\"one\"}\n{\"LogMessage\":\"two\"}\n";
    for (encoding, body) in [
        (None, lines.to_vec()),
        (Some("gzip"), gzip(lines)),
        (Some("zstd"), zstd(lines)),
    ] {
        let rules = Rules {
            content_type: "application/json".to_string(),
            content_encoding: encoding.map(str::to_string),
            authorization: Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_string()),
            ..Rules::default()
        };
        let server = HttpServer::scripted(rules, []);
        let mut config = sink(&server.url());
        config.headers = vec![("X-Scope".to_string(), Secret::Literal("team a".to_string()))];
        config.auth = Auth::Basic {
            user: "Aladdin".to_string(),
            password: Secret::Literal("open sesame".to_string()),
        };
        let wire = Wire {
            content_type: "application/json",
            content_encoding: encoding,
        };
        let mut client = Client::start(&config, wire, 1);
        assert_eq!(client.send(body), Verdict::Accepted);
        assert_eq!(server.violations(), [""; 0]);
        let stored = server.stored();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].lines.concat(), lines.replace_line_ends());
        assert_eq!(stored[0].headers["x-scope"], "team a");
        assert_eq!(stored[0].headers["host"], server.address().to_string());
    }
}

/// The lines without their ends, joined.
trait ReplaceLineEnds {
    fn replace_line_ends(&self) -> Vec<u8>;
}

impl ReplaceLineEnds for [u8] {
    fn replace_line_ends(&self) -> Vec<u8> {
        self.iter().copied().filter(|byte| *byte != b'\n').collect()
    }
}

fn bearer_sink(server: &HttpServer, path: &Path) -> HttpSink {
    HttpSink {
        auth: Auth::Bearer(Secret::File(path.to_path_buf())),
        ..sink(&server.url())
    }
}

fn wants(token: &str) -> Rules {
    Rules {
        authorization: Some(format!("Bearer {token}")),
        ..Rules::default()
    }
}

#[test]
fn a_rotated_token_is_used_before_the_old_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let server = HttpServer::scripted(wants("one"), []);
    let mut client = Client::start(&bearer_sink(&server, &path), NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    std::fs::write(&path, "the second").unwrap();
    server.change_rules(|rules| *rules = wants("the second"));
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(server.requests(), 2);
}

#[test]
fn after_a_401_the_token_is_read_again_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let server = HttpServer::scripted(wants("two"), []);
    let mut client = Client::start(&bearer_sink(&server, &path), NDJSON, 1);
    let refused = client.send("row\n");
    assert_eq!(short(&refused), ("pause", "http_401"));
    assert!(
        text(&refused).ends_with("who are you?"),
        "{}",
        text(&refused)
    );
    // The same length, and no time has passed on the sink's clock.
    std::fs::write(&path, "two").unwrap();
    assert_eq!(client.send("row\n"), Verdict::Accepted);
}

#[test]
fn a_401_that_a_rotation_has_overtaken_is_no_reason_to_pause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let moves = [Move::Hold(Box::new(Move::status(401)))];
    let server = HttpServer::scripted(Rules::default(), moves);
    let mut client = Client::start(&bearer_sink(&server, &path), NDJSON, 1);
    client.submit("row\n").unwrap();
    server.wait_for("the request", |server| server.under_way() == 1);
    std::fs::write(&path, "two").unwrap();
    server.release();
    assert_eq!(short(&client.verdict().1), ("retry", "http_401"));
    server.change_rules(|rules| *rules = wants("two"));
    assert_eq!(client.send("row\n"), Verdict::Accepted);
}

#[test]
fn a_missing_secret_pauses_without_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let server = HttpServer::scripted(wants("one"), []);
    let mut client = Client::start(&bearer_sink(&server, &path), NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("pause", "credentials"));
    assert_eq!(server.connections(), 0);
    std::fs::write(&path, "one\n").unwrap();
    assert_eq!(client.send("row\n"), Verdict::Accepted);
}

#[test]
fn a_server_that_never_answers_costs_one_timeout_and_its_connection() {
    let server = HttpServer::scripted(Rules::default(), [Move::Hang]);
    let mut config = sink(&server.url());
    config.request_timeout_ms = 200;
    let mut client = Client::start(&config, NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("retry", "timeout"));
    server.wait_for("the hanging request to end", |server| {
        server.under_way() == 0
    });
    assert_eq!(server.stored().len(), 0);
    let mut patient = Client::start(&sink(&server.url()), NDJSON, 1);
    assert_eq!(patient.send("row\n"), Verdict::Accepted);
}

#[test]
fn a_handshake_that_never_comes_is_a_connect_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    Authority::new().write(&ca);
    let port = listener.local_addr().unwrap().port();
    let mut config = sink(&format!("https://127.0.0.1:{port}/"));
    config.connect_timeout_ms = 200;
    config.tls.ca_file = Some(ca);
    let mut client = Client::start(&config, NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("retry", "connect_timeout"));
}

#[test]
fn without_a_server_or_a_name_it_is_tried_again() {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut client = Client::start(&sink(&format!("http://127.0.0.1:{port}/")), NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("retry", "connect"));
    let mut client = Client::start(&sink("http://no-such-name.invalid/"), NDJSON, 1);
    let verdict = client.send("row\n");
    assert_eq!(short(&verdict), ("retry", "dns"), "{}", text(&verdict));
}

#[test]
fn a_dropped_connection_is_a_reset_and_what_is_not_http_pauses() {
    for (answer, expected) in [
        (&b""[..], ("retry", "reset")),
        (b"HTTP/1.1 200 O", ("retry", "reset")),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            ("accepted", ""),
        ),
        (b"SSH-2.0-something\r\n\r\n", ("pause", "protocol")),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            ("pause", "http_1xx"),
        ),
    ] {
        let mut client = Client::start(&sink(&raw_server(answer)), NDJSON, 1);
        let verdict = client.send("row\n");
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(short(&verdict), expected, "{shown:?}: {}", text(&verdict));
    }
}

#[test]
fn one_connection_serves_many_requests_whatever_their_answers() {
    let moves = [200, 500, 404, 400, 200].map(|status| Move::Answer {
        status,
        headers: Vec::new(),
        body: "x".repeat(50_000),
    });
    let server = HttpServer::scripted(Rules::default(), moves);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 1);
    for _ in 0..20 {
        client.send("row\n");
    }
    assert_eq!((server.requests(), server.connections()), (20, 1));
    // Old enough connections are made anew, for the sake of names that lead elsewhere by now.
    client.clock.advance(600_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(server.connections(), 2);
}

#[test]
fn an_idle_connection_is_closed_after_the_keep_alive_time() {
    let server = HttpServer::scripted(Rules::default(), []);
    let mut config = sink(&server.url());
    config.keep_alive_ms = 100;
    let mut client = Client::start(&config, NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    server.wait_for("the connection to end", |server| {
        server.connections_open() == 0
    });
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(server.connections(), 2);
}

#[test]
fn as_many_as_allowed_are_under_way_at_once_and_no_more() {
    let held = || Move::Hold(Box::new(Move::Store(200)));
    let server = HttpServer::scripted(Rules::default(), [held(), held(), held()]);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 3);
    let ids: Vec<u64> = (0..3).map(|_| client.submit("row\n").unwrap()).collect();
    let body = Bytes::from_static(b"too many\n");
    let back = client.submit(body.clone()).unwrap_err();
    assert_eq!(back.body.as_ptr(), body.as_ptr());
    server.wait_for("three requests at once", |server| server.under_way() == 3);
    assert!(client.http.poll_verdict().is_none());
    (0..3).for_each(|_| server.release());
    let mut settled: Vec<u64> = (0..3).map(|_| client.verdict().0).collect();
    settled.sort_unstable();
    assert_eq!(settled, ids);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!((server.under_way_most(), server.stored().len()), (3, 4));
}

#[test]
fn an_answer_without_an_end_is_not_read_to_its_end() {
    let moves = [200, 404, 200].map(Move::StoreThenFlood);
    let server = HttpServer::scripted(Rules::default(), moves);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    let verdict = client.send("row\n");
    assert_eq!(short(&verdict), ("pause", "http_404"));
    assert!(text(&verdict).contains("wwww"), "{}", text(&verdict));
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    server.wait_for("the client to walk away", |server| {
        server.floods_ended() == 3
    });
    assert_eq!(server.connections(), 4);
    // What the client read is bounded; the rest of it lies in the kernel's buffers.
    assert!(
        server.flooded_bytes() < 3 * 32 * 1024 * 1024,
        "{}",
        server.flooded_bytes()
    );
}

#[test]
fn a_runtime_that_ends_leaves_no_attempt_without_a_verdict() {
    let server = HttpServer::scripted(Rules::default(), [Move::Hang, Move::Hang, Move::Hang]);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 4);
    let ids: Vec<u64> = (0..3).map(|_| client.submit("row\n").unwrap()).collect();
    server.wait_for("three requests", |server| server.under_way() == 3);
    client.driver = None;
    let late = client.submit("row\n").unwrap();
    let mut settled = BTreeMap::new();
    for _ in 0..4 {
        let (id, verdict) = client.verdict();
        assert_eq!(short(&verdict), ("retry", "cancelled"));
        assert!(settled.insert(id, ()).is_none());
    }
    let all: Vec<u64> = ids.into_iter().chain([late]).collect();
    assert_eq!(settled.into_keys().collect::<Vec<_>>(), all);
    assert_eq!(client.http.poll_verdict(), None);
}

#[test]
fn a_dropped_transport_gives_up_its_requests_and_connections() {
    let server = HttpServer::scripted(Rules::default(), [Move::Store(200), Move::Hang]);
    let mut client = Client::start(&sink(&server.url()), NDJSON, 2);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    client.submit("row\n").unwrap();
    server.wait_for("the request", |server| server.under_way() == 1);
    let Client { http, driver, .. } = client;
    drop(http);
    server.wait_for("the request to end", |server| server.under_way() == 0);
    let runtime = &driver.as_ref().unwrap().handle;
    let deadline = Instant::now() + PATIENCE;
    while runtime.metrics().num_alive_tasks() > 0 {
        assert!(Instant::now() < deadline, "tasks are left");
        std::thread::yield_now();
    }
}

fn tls_sink(server: &HttpServer, tls: Tls) -> HttpSink {
    HttpSink {
        tls,
        ..sink(&server.url())
    }
}

fn trusting(ca: &Path) -> Tls {
    Tls {
        ca_file: Some(ca.to_path_buf()),
        ..Tls::default()
    }
}

#[test]
fn only_a_certificate_of_the_authority_for_the_name_and_the_day_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ca);
    let shown = Shown::new(&authority.issue("localhost"));
    let server = HttpServer::secure(Rules::default(), server_tls(&shown, None));
    let mut client = Client::start(&tls_sink(&server, trusting(&ca)), NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    for bad in [
        Authority::new().issue("localhost"),
        authority.issue("elsewhere"),
        authority.issue_until("localhost", 2001),
    ] {
        shown.change(&bad);
        let mut client = Client::start(&tls_sink(&server, trusting(&ca)), NDJSON, 1);
        let verdict = client.send("row\n");
        assert_eq!(
            short(&verdict),
            ("pause", "tls_certificate"),
            "{}",
            text(&verdict)
        );
    }
    assert_eq!((server.connections(), server.stored().len()), (1, 1));
}

#[test]
fn a_swapped_authority_is_followed_without_a_failed_request() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (old, new) = (Authority::new(), Authority::new());
    for (name, authority) in [("old", &old), ("new", &new)] {
        std::fs::create_dir(at(name)).unwrap();
        authority.write(&at(name).join("ca.pem"));
    }
    // As the kubelet lays out a mounted secret: the file is a link through `..data`, which is swapped as a whole.
    std::os::unix::fs::symlink("old", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/ca.pem", at("ca.pem")).unwrap();
    let shown = Shown::new(&old.issue("localhost"));
    let server = HttpServer::secure(Rules::default(), server_tls(&shown, None));
    let mut client = Client::start(&tls_sink(&server, trusting(&at("ca.pem"))), NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(server.connections(), 1);

    shown.change(&new.issue("localhost"));
    std::os::unix::fs::symlink("new", at("..next")).unwrap();
    std::fs::rename(at("..next"), at("..data")).unwrap();
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(
        server.connections(),
        2,
        "a new connection, by the new authority"
    );

    // Half-written files leave the last good ones in force.
    std::fs::write(at("new").join("ca.pem"), "-----BEGIN").unwrap();
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(server.connections(), 2);
}

#[test]
fn after_a_refused_certificate_the_authority_is_read_again_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let authority = Authority::new();
    Authority::new().write(&ca);
    let shown = Shown::new(&authority.issue("localhost"));
    let server = HttpServer::secure(Rules::default(), server_tls(&shown, None));
    let mut client = Client::start(&tls_sink(&server, trusting(&ca)), NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("pause", "tls_certificate"));
    authority.write(&ca);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
}

#[test]
fn a_client_certificate_is_shown_and_followed_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (servers, clients) = (Authority::new(), Authority::new());
    servers.write(&at("ca.pem"));
    let shown = Shown::new(&servers.issue("localhost"));
    let tls = server_tls(&shown, Some(&clients));
    let server = HttpServer::secure(Rules::default(), tls);

    let mut stranger = Client::start(&tls_sink(&server, trusting(&at("ca.pem"))), NDJSON, 1);
    let verdict = stranger.send("row\n");
    // The alert comes behind the handshake; the reset that follows it may overtake it.
    assert!(
        matches!(verdict, Verdict::Pause(_) | Verdict::Retry { .. }),
        "{verdict:?}"
    );
    assert_eq!(server.connections(), 0);

    let (certificate, key) = (at("tls.crt"), at("tls.key"));
    let tls = Tls {
        certificate_file: Some(certificate.clone()),
        key_file: Some(key.clone()),
        ..trusting(&at("ca.pem"))
    };
    let mut client = Client::start(&tls_sink(&server, tls), NDJSON, 1);
    assert_eq!(short(&client.send("row\n")), ("pause", "tls_files"));
    clients.issue("agent").write(&certificate, &at("other.key"));
    clients.issue("agent").write(&at("other.crt"), &key);
    let verdict = client.send("row\n");
    assert_eq!(
        short(&verdict),
        ("pause", "tls_files"),
        "a key of another certificate"
    );
    assert!(text(&verdict).contains("tls.key"), "{}", text(&verdict));
    clients.issue("agent").write(&certificate, &key);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    clients.issue("agent, renewed").write(&certificate, &key);
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!((server.connections(), server.stored().len()), (2, 2));
}

#[test]
fn https_goes_through_a_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ca);
    let shown = Shown::new(&authority.issue("localhost"));
    let server = HttpServer::secure(Rules::default(), server_tls(&shown, None));
    let config = tls_sink(&server, trusting(&ca));
    let send = |proxy: &Proxy, userinfo: &str| {
        let variable = (
            "HTTPS_PROXY",
            format!("http://{userinfo}{}", proxy.address()),
        );
        Client::start_by_proxy(&config, NDJSON, 1, &[variable]).send("row\n")
    };
    let strict = Proxy::start(ProxyRules {
        authorization: Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_string()),
        refuse: None,
    });
    assert_eq!(send(&strict, "Aladdin:open%20sesame@"), Verdict::Accepted);
    let connect = format!("CONNECT localhost:{} HTTP/1.1", server.address().port());
    assert_eq!(strict.seen(), [connect]);
    assert_eq!(short(&send(&strict, "")), ("pause", "http_407"));
    let refusing = Proxy::start(ProxyRules {
        authorization: None,
        refuse: Some(503),
    });
    assert_eq!(short(&send(&refusing, "")), ("retry", "proxy"));
    assert_eq!(server.connections(), 1);
}

#[test]
fn http_is_forwarded_by_its_whole_url() {
    let server = HttpServer::scripted(Rules::default(), []);
    let config = sink(&server.url());
    let proxy = Proxy::start(ProxyRules {
        authorization: Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_string()),
        refuse: None,
    });
    let with = |userinfo: &str, no_proxy: &str| {
        let variables = [
            (
                "http_proxy",
                format!("http://{userinfo}{}", proxy.address()),
            ),
            ("no_proxy", no_proxy.to_string()),
        ];
        Client::start_by_proxy(&config, NDJSON, 1, &variables).send("row\n")
    };
    assert_eq!(with("Aladdin:open%20sesame@", ""), Verdict::Accepted);
    let whole = format!("POST {} HTTP/1.1", server.url());
    assert_eq!(proxy.seen(), [whole]);
    assert_eq!(short(&with("", "")), ("pause", "http_407"));
    assert_eq!(proxy.seen().len(), 2);
    assert_eq!(with("", "127.0.0.1"), Verdict::Accepted);
    assert_eq!(proxy.seen().len(), 2, "went around the proxy");
    assert_eq!(server.violations(), [""; 0]);
}

/// Invariant: whatever the server does, each submitted attempt gets exactly one verdict; what was accepted is
/// stored, what is poisoned never is, and no request breaks the rules.
#[test]
fn exactly_one_verdict_under_chaos() {
    for seed in 0..4 {
        let rules = Rules {
            poison: Some(b"poison".to_vec()),
            body_bytes_max: Some(2_000),
            ..Rules::default()
        };
        let server = HttpServer::chaotic(rules, seed);
        let mut config = sink(&server.url());
        config.request_timeout_ms = 500;
        let mut client = Client::start(&config, NDJSON, 4);
        let mut waiting: Vec<usize> = (0..80).rev().collect();
        let mut under_way: BTreeMap<u64, usize> = BTreeMap::new();
        let mut accepted = Vec::new();
        let body = |payload: usize| match payload {
            7 => format!("payload {payload} with poison\n"),
            9 => format!("payload {payload} {}\n", "x".repeat(3_000)),
            _ => format!("payload {payload}\n"),
        };
        while !waiting.is_empty() || !under_way.is_empty() {
            while let Some(payload) = waiting.pop() {
                match client.submit(body(payload)) {
                    Ok(id) => assert!(under_way.insert(id, payload).is_none()),
                    Err(back) => {
                        assert_eq!(back.body, body(payload));
                        waiting.push(payload);
                        break;
                    }
                }
            }
            let (id, verdict) = client.verdict();
            let payload = under_way.remove(&id).expect("one verdict, and one only");
            match (payload, verdict) {
                (7, Verdict::Bisect(_)) | (9, Verdict::Split(_)) => {}
                (_, Verdict::Retry { .. }) => waiting.insert(0, payload),
                (7 | 9, other) => panic!("{payload}: {other:?}"),
                (_, Verdict::Accepted) => accepted.push(payload),
                (_, other) => panic!("{payload}: {other:?}"),
            }
        }
        assert!(client.http.poll_verdict().is_none());
        let counts = server.line_counts();
        assert_eq!(accepted.len(), 78);
        for payload in accepted {
            let line = body(payload).trim_end().as_bytes().to_vec();
            assert!(
                counts.contains_key(&line),
                "seed {seed}: {payload} was accepted, not stored"
            );
        }
        assert_eq!(counts.len(), 78, "only what was accepted");
        assert_eq!(server.violations(), [""; 0]);
        assert!(server.requests() > 80, "chaos made repeats necessary");
        server.follow([]);
        assert_eq!(client.send("after\n"), Verdict::Accepted);
    }
}

#[test]
fn settings_that_can_never_work_are_told_at_the_start_without_their_secrets() {
    let driver = Driver::start();
    let start = |config: &HttpSink| {
        let surroundings = Surroundings {
            clock: Arc::new(HandClock(AtomicU64::new(0))),
            proxy: ProxySettings::default(),
            identity: WorkloadIdentity::default(),
        };
        let handle = &driver.handle;
        let waker = Waker::none();
        Http::start_in(&surroundings, "rows", config, NDJSON, 1, handle, waker)
            .unwrap_err()
            .to_string()
    };
    for url in [
        "",
        "rows",
        "/rows",
        "ftp://h/",
        "http:///rows",
        "http://me:s3cret@h/",
        "http://h/ s3cret",
    ] {
        let told = start(&sink(url));
        assert!(told.starts_with("cannot start sink rows: url: "), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    let mut config = sink("http://h/");
    config.auth = Auth::Bearer(Secret::Literal("s3cret\n".to_string()));
    let told = start(&config);
    assert!(
        told.contains("bearer_token") && !told.contains("s3cret"),
        "{told}"
    );
}
