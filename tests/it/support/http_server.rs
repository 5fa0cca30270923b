//! A strict HTTP/1.1 server that does as a test tells it: real TCP, own thread, own runtime.
//!
//! Every request is checked against [`Rules`]; what breaks them is noted in [`HttpServer::violations`] and answered
//! as a real server would. What became of a good request is decided by a script, or by seeded chaos.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

/// What each request must be like.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The exact `Content-Type`.
    pub content_type: String,
    /// The exact `Content-Encoding`, if any: `gzip` and `zstd` are decoded.
    pub content_encoding: Option<String>,
    /// The exact `Authorization`; another one is answered 401, which is no violation.
    pub authorization: Option<String>,
    /// Longer (compressed) bodies are answered 413.
    pub body_bytes_max: Option<usize>,
    /// A body with this in it is answered `poison_status`.
    pub poison: Option<Vec<u8>>,
    /// See there.
    pub poison_status: u16,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            content_type: "application/x-ndjson".to_string(),
            content_encoding: None,
            authorization: None,
            body_bytes_max: None,
            poison: None,
            poison_status: 400,
        }
    }
}

/// What the server does with one request that keeps the rules.
#[derive(Clone, Debug)]
pub enum Move {
    /// Stores its lines, answers this status.
    Store(u16),
    /// Stores nothing and answers.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Stores its lines and closes the connection without an answer.
    StoreThenDrop,
    /// Stores nothing and closes the connection.
    Drop,
    /// Never answers.
    Hang,
    /// Stores its lines, answers this status with a body that never ends.
    StoreThenFlood(u16),
    /// Waits, then does the other.
    Late(Duration, Box<Move>),
    /// Waits for one [`HttpServer::release`], then does the other.
    Hold(Box<Move>),
}

impl Move {
    /// An answer that is a status and nothing else.
    pub fn status(status: u16) -> Move {
        Move::Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

/// Who decides.
enum Plan {
    /// These moves, then `Store(200)` for ever.
    Script(VecDeque<Move>),
    /// Any move, about half of them good.
    Chaos(fastrand::Rng),
}

/// One request whose lines were stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its lines, without their ends.
    pub lines: Vec<Vec<u8>>,
    /// All its headers.
    pub headers: BTreeMap<String, String>,
}

/// Everything the server has seen.
#[derive(Default)]
struct Seen {
    connections: usize,
    connections_open: usize,
    requests: usize,
    under_way: usize,
    under_way_most: usize,
    stored: Vec<Stored>,
    violations: Vec<String>,
    flooded_bytes: usize,
    floods_ended: usize,
}

struct Shared {
    rules: Mutex<Rules>,
    plan: Mutex<Plan>,
    seen: Mutex<Seen>,
    changed: Condvar,
    releases: Semaphore,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn see<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let result = change(&mut locked(&self.seen));
        self.changed.notify_all();
        result
    }
}

/// The running server; stops when dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    scheme: &'static str,
}

/// Any free port.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long [`HttpServer::wait_for`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

impl HttpServer {
    /// Serves plain HTTP: the moves in order, then `Store(200)` for ever.
    pub fn scripted(rules: Rules, moves: impl IntoIterator<Item = Move>) -> HttpServer {
        let plan = Plan::Script(moves.into_iter().collect());
        HttpServer::start(LOOPBACK, rules, plan, None)
    }

    /// The same, where a server was before or shall be in time.
    pub fn scripted_at(address: SocketAddr, rules: Rules) -> HttpServer {
        HttpServer::start(address, rules, Plan::Script(VecDeque::new()), None)
    }

    /// Serves plain HTTP with moves drawn from a seed.
    pub fn chaotic(rules: Rules, seed: u64) -> HttpServer {
        HttpServer::start(
            LOOPBACK,
            rules,
            Plan::Chaos(fastrand::Rng::with_seed(seed)),
            None,
        )
    }

    /// Serves HTTPS, and stores everything.
    pub fn secure(rules: Rules, tls: ServerConfig) -> HttpServer {
        HttpServer::start(LOOPBACK, rules, Plan::Script(VecDeque::new()), Some(tls))
    }

    fn start(
        address: SocketAddr,
        rules: Rules,
        plan: Plan,
        tls: Option<ServerConfig>,
    ) -> HttpServer {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            rules: Mutex::new(rules),
            plan: Mutex::new(plan),
            seen: Mutex::default(),
            changed: Condvar::new(),
            releases: Semaphore::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, acceptor, served) => {}
                    _ = stopped => {}
                }
            });
        });
        HttpServer {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
            scheme,
        }
    }

    /// `http://127.0.0.1:PORT/rows` (or `https://localhost:PORT/rows`, the name that certificates carry).
    pub fn url(&self) -> String {
        let host = match self.scheme {
            "https" => "localhost",
            _ => "127.0.0.1",
        };
        format!("{}://{host}:{}/rows", self.scheme, self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rules for requests to come.
    pub fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut locked(&self.shared.rules));
    }

    /// From now on these moves, then `Store(200)` for ever: ends chaos, for instance.
    pub fn follow(&self, moves: impl IntoIterator<Item = Move>) {
        *locked(&self.shared.plan) = Plan::Script(moves.into_iter().collect());
    }

    /// Lets one held request go on, the first that was held or the next that will be.
    pub fn release(&self) {
        self.shared.releases.add_permits(1);
    }

    /// All requests whose lines were stored, in order.
    pub fn stored(&self) -> Vec<Stored> {
        locked(&self.shared.seen).stored.clone()
    }

    /// How often each line was stored.
    pub fn line_counts(&self) -> BTreeMap<Vec<u8>, usize> {
        let mut counts = BTreeMap::new();
        for stored in &locked(&self.shared.seen).stored {
            for line in &stored.lines {
                *counts.entry(line.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// What requests did that they must not.
    pub fn violations(&self) -> Vec<String> {
        locked(&self.shared.seen).violations.clone()
    }

    /// Connections accepted (with TLS: whose handshake succeeded).
    pub fn connections(&self) -> usize {
        locked(&self.shared.seen).connections
    }

    /// Connections that neither side has closed.
    pub fn connections_open(&self) -> usize {
        locked(&self.shared.seen).connections_open
    }

    /// Requests received whole.
    pub fn requests(&self) -> usize {
        locked(&self.shared.seen).requests
    }

    /// Requests received and not yet answered or given up.
    pub fn under_way(&self) -> usize {
        locked(&self.shared.seen).under_way
    }

    /// The most requests that were under way at once.
    pub fn under_way_most(&self) -> usize {
        locked(&self.shared.seen).under_way_most
    }

    /// Bytes handed to endless answers.
    pub fn flooded_bytes(&self) -> usize {
        locked(&self.shared.seen).flooded_bytes
    }

    /// Endless answers that the client walked away from.
    pub fn floods_ended(&self) -> usize {
        locked(&self.shared.seen).floods_ended
    }

    /// Waits until the condition holds for this server; fails the test when it never does.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&HttpServer) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if condition(self) {
                return;
            }
            assert!(Instant::now() < deadline, "the server waited for: {what}");
            let seen = locked(&self.shared.seen);
            // Bounded, since the condition may come true between its test and this wait.
            let _woken = self
                .shared
                .changed
                .wait_timeout(seen, Duration::from_millis(20));
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    shared.see(|seen| {
        seen.connections += 1;
        seen.connections_open += 1;
    });
    let service = hyper::service::service_fn(|request| handle(request, Arc::clone(&shared)));
    // Dropped connections end in an error here; that is what was asked for.
    let _ended = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    shared.see(|seen| seen.connections_open -= 1);
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("as the script says")]
struct Dropped;

type Answered = Result<Response<BoxBody<Bytes, Infallible>>, Dropped>;

/// Counts a request as under way, also when hyper gives it up.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> UnderWay {
        shared.see(|seen| {
            seen.requests += 1;
            seen.under_way += 1;
            seen.under_way_most = seen.under_way_most.max(seen.under_way);
        });
        UnderWay(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.see(|seen| seen.under_way -= 1);
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Answered {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // The client went away in the middle of its request.
        return Err(Dropped);
    };
    let body = body.to_bytes();
    let _under_way = UnderWay::new(&shared);
    let rules = locked(&shared.rules).clone();
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        })
        .collect();
    let lines = match checked(&rules, &parts.method, &headers, &body) {
        Ok(lines) => lines,
        Err(violation) => {
            shared.see(|seen| seen.violations.push(violation.clone()));
            return answer(400, &[], violation);
        }
    };
    if rules.authorization.is_some()
        && rules.authorization.as_ref() != headers.get(AUTHORIZATION.as_str())
    {
        return answer(401, &[], "who are you?".to_string());
    }
    if rules.body_bytes_max.is_some_and(|max| body.len() > max) {
        return answer(413, &[], "too large".to_string());
    }
    if let Some(poison) = &rules.poison
        && lines.iter().any(|line| contains(line, poison))
    {
        return answer(
            rules.poison_status,
            &[],
            "a line is not acceptable".to_string(),
        );
    }
    let next = match &mut *locked(&shared.plan) {
        Plan::Script(moves) => moves.pop_front().unwrap_or(Move::Store(200)),
        Plan::Chaos(random) => drawn(random),
    };
    act(next, Stored { lines, headers }, &shared).await
}

async fn act(mut next: Move, stored: Stored, shared: &Arc<Shared>) -> Answered {
    loop {
        next = match next {
            Move::Late(wait, then) => {
                tokio::time::sleep(wait).await;
                *then
            }
            Move::Hold(then) => {
                shared.releases.acquire().await.unwrap().forget();
                *then
            }
            now => {
                next = now;
                break;
            }
        };
    }
    let store = |stored| shared.see(|seen| seen.stored.push(stored));
    match next {
        Move::Store(status) => {
            store(stored);
            answer(status, &[], String::new())
        }
        Move::Answer {
            status,
            headers,
            body,
        } => answer(status, &headers, body),
        Move::StoreThenDrop => {
            store(stored);
            Err(Dropped)
        }
        Move::Drop | Move::Late(..) | Move::Hold(_) => Err(Dropped),
        Move::Hang => std::future::pending().await,
        Move::StoreThenFlood(status) => {
            store(stored);
            let mut response = Response::new(Flood(Arc::clone(shared)).boxed());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
    }
}

fn answer(status: u16, headers: &[(&'static str, String)], body: String) -> Answered {
    let mut response = Response::new(http_body_util::Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let value = value.parse().unwrap();
        response.headers_mut().append(*name, value);
    }
    Ok(response)
}

/// A move for [`HttpServer::chaotic`].
fn drawn(random: &mut fastrand::Rng) -> Move {
    let late = Duration::from_millis(random.u64(0..30));
    match random.u8(0..100) {
        0..35 => Move::Store(200),
        35..50 => Move::Late(late, Box::new(Move::Store(204))),
        50..58 => Move::status(500),
        58..64 => Move::status(503),
        64..72 => Move::Answer {
            status: 429,
            headers: vec![("retry-after", "1".to_string())],
            body: "slow down".to_string(),
        },
        72..80 => Move::Drop,
        80..88 => Move::StoreThenDrop,
        88..92 => Move::Late(late, Box::new(Move::StoreThenDrop)),
        92..96 => Move::Late(late, Box::new(Move::Drop)),
        _ => Move::Hang,
    }
}

/// The lines of a request that keeps the rules, or what it does wrong.
fn checked(
    rules: &Rules,
    method: &Method,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<Vec<Vec<u8>>, String> {
    let header = |name: &str| headers.get(name).map(String::as_str);
    if method != Method::POST {
        return Err(format!("method {method}"));
    }
    if header(CONTENT_TYPE.as_str()) != Some(&rules.content_type) {
        return Err(format!("content-type {:?}", header("content-type")));
    }
    if header(CONTENT_ENCODING.as_str()) != rules.content_encoding.as_deref() {
        return Err(format!("content-encoding {:?}", header("content-encoding")));
    }
    if header(CONTENT_LENGTH.as_str()) != Some(&body.len().to_string()) {
        return Err(format!("content-length {:?}", header("content-length")));
    }
    if !header(USER_AGENT.as_str()).is_some_and(|agent| agent.starts_with("longshore/")) {
        return Err(format!("user-agent {:?}", header("user-agent")));
    }
    let text = decoded(rules.content_encoding.as_deref(), body)
        .map_err(|error| format!("body cannot be decoded: {error}"))?;
    let Some(text) = text.strip_suffix(b"\n") else {
        return Err("body does not end in a line end".to_string());
    };
    let lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(Vec::from).collect();
    match lines.iter().any(Vec::is_empty) {
        true => Err("an empty line".to_string()),
        false => Ok(lines),
    }
}

fn decoded(encoding: Option<&str>, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match encoding {
        None => text.extend_from_slice(body),
        Some("gzip") => {
            flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text)?;
        }
        Some("zstd") => text = zstd::stream::decode_all(body)?,
        Some(other) => return Err(std::io::Error::other(format!("unknown encoding {other}"))),
    }
    Ok(text)
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(line, part).is_some()
}

/// A body without an end, which counts what it gives.
struct Flood(Arc<Shared>);

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const WATER: &[u8] = &[b'w'; 16 * 1024];
        self.0.see(|seen| seen.flooded_bytes += WATER.len());
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(WATER)))))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.see(|seen| seen.floods_ended += 1);
    }
}
