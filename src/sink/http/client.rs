//! One request and its answer, within time and memory limits.
//!
//! Owns the connection pool and when it is made anew: when a TLS file changed, after a TLS failure, and every few
//! minutes so that a name that now leads elsewhere is followed. Requests under way keep the pool they began with.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::auth::{CHECK_INTERVAL, Credentials};
use super::body::TwoFrames;
use super::connect::{Connector, Way, failure_of};
use super::verdict::{Answer, Failure, fail, shown_url};
use super::{Mistake, Surroundings, Wire, tls};
use crate::clock::{Clock, Time};
use crate::config::{HttpSink, Tls};
use crate::sink::{Reason, Verdict};

/// Bytes of an answer that are kept for the reason's text, unless the protocol wants more.
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// Bytes of an answer that are read so that its connection can be used again; a longer one costs the connection.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

/// How long the rest of an answer may take once its status is known, since the status decides.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection of HTTP/2 is pinged after this long without a word, so that a peer that vanished shows.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// Connections are made anew after this long, so that changed addresses and new replicas behind a name are found.
const POOL_AGE_MAX: Duration = Duration::from_secs(300);

/// Codes of reasons for which credentials are read again, beside the statuses 401 and 403: the same in gRPC.
const REFUSED: [&str; 2] = ["grpc_unauthenticated", "grpc_permission_denied"];

type Pool = Client<Connector, TwoFrames>;

/// One request.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What is sent in front of the body.
    pub prefix: Bytes,
    /// What is sent.
    pub body: Bytes,
    /// Path and query, if others than those of the sink's URL.
    pub target: Option<PathAndQuery>,
    /// Headers beside those of every request; they win.
    pub headers: HeaderMap,
    /// How much of the answer is kept to be judged.
    pub answer_bytes_max: usize,
    /// Whether the answer's status says what counts, so that its rest need not be waited for; else its trailers do.
    pub status_decides: bool,
}

impl Outgoing {
    /// A request that is as every other of its sink.
    pub fn of(body: Bytes) -> Outgoing {
        Outgoing {
            body,
            ..Outgoing::default()
        }
    }
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        Outgoing {
            prefix: Bytes::new(),
            body: Bytes::new(),
            target: None,
            headers: HeaderMap::new(),
            answer_bytes_max: HEAD_BYTES_MAX,
            status_decides: true,
        }
    }
}

/// How the answer to a request is read.
pub type Reading<'a> = dyn Fn(&Answer<'_>) -> Verdict + Send + Sync + 'a;

/// What came back.
struct Answered<'a> {
    status: StatusCode,
    headers: &'a HeaderMap<HeaderValue>,
    trailers: &'a HeaderMap<HeaderValue>,
    head: &'a [u8],
    whole: bool,
}

/// The connections of one time, and what they were made from.
#[derive(Default)]
struct Connections {
    tls: Option<Arc<ClientConfig>>,
    stamps: tls::Stamps,
    /// Files that could not be used; said once per state of the files.
    reported: Option<tls::Stamps>,
    checked: Option<Time>,
    /// A handshake failed: the files are read whatever their stamps say.
    suspect: bool,
    pool: Option<(Pool, Time)>,
}

/// Everything that the requests of one sink share.
pub struct Exchange {
    sink: String,
    what: String,
    uri: Uri,
    way: Way,
    tls: Tls,
    connect_timeout: Duration,
    request_timeout: Duration,
    keep_alive: Duration,
    idle_max: usize,
    http2: bool,
    clock: Arc<dyn Clock>,
    credentials: Mutex<Credentials>,
    connections: Mutex<Connections>,
}

impl Exchange {
    /// Checks the settings. Nothing is read or connected yet.
    pub fn new(
        surroundings: &Surroundings,
        sink: &str,
        config: &HttpSink,
        wire: Wire,
        in_flight_max: usize,
    ) -> Result<Exchange, Mistake> {
        let uri = checked_url(&config.url)?;
        tls::check(&config.tls, uri.scheme_str() == Some("https"))?;
        Ok(Exchange {
            sink: sink.to_string(),
            what: format!("POST {}", shown_url(&uri)),
            way: surroundings.proxy.way_to(&uri)?.of_version(wire.http2()),
            uri,
            tls: config.tls.clone(),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            keep_alive: Duration::from_millis(config.keep_alive_ms),
            idle_max: in_flight_max,
            http2: wire.http2(),
            clock: Arc::clone(&surroundings.clock),
            credentials: Mutex::new(Credentials::new(config, wire)?),
            connections: Mutex::default(),
        })
    }

    /// Method and URL, for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Makes one request and judges the answer.
    pub async fn post(&self, outgoing: Outgoing, judge: &Reading<'_>) -> Verdict {
        match self.answer(outgoing, judge).await {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.suspect_tls(&failure);
                fail(&self.what, &failure)
            }
        }
    }

    /// Fetches what is at the URL: its status and at most `bytes_max` bytes; more is a failure. The limit on the time
    /// is that of any request.
    pub async fn fetch(&self, bytes_max: usize) -> Result<(StatusCode, Vec<u8>), Failure> {
        let fetched = self.fetched(bytes_max).await;
        if let Err(failure) = &fetched {
            self.suspect_tls(failure);
        }
        fetched
    }

    async fn fetched(&self, bytes_max: usize) -> Result<(StatusCode, Vec<u8>), Failure> {
        let (response, deadline, version) = self.send(Method::GET, Outgoing::default()).await?;
        let (parts, body) = response.into_parts();
        let mut whole = Vec::new();
        let read = timeout_at(deadline, read_whole(body, bytes_max, &mut whole)).await;
        read.map_err(|_| self.timed_out())??;
        if matches!(
            parts.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            let _renewed: bool = self.credentials().doubt(version, self.clock.now());
        }
        Ok((parts.status, whole))
    }

    fn suspect_tls(&self, failure: &Failure) {
        if matches!(failure.code, "tls" | "tls_certificate") {
            self.connections().suspect = true;
        }
    }

    fn timed_out(&self) -> Failure {
        let waited = self.request_timeout.as_millis();
        Failure::passing("timeout", format!("no answer within {waited} ms"))
    }

    /// Makes a request: the answer's head, by when the rest must be there, and the version of the credentials.
    async fn send(
        &self,
        method: Method,
        outgoing: Outgoing,
    ) -> Result<(Response<Incoming>, Instant, u64), Failure> {
        let (mut headers, version) = self.credentials().headers(self.clock.now())?;
        headers.extend(outgoing.headers);
        let pool = self.pool()?;
        if method == Method::POST && outgoing.prefix.is_empty() && outgoing.body.is_empty() {
            // Left out for an empty body otherwise, and missed by some servers (RFC 9110, section 8.6).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(TwoFrames::new(outgoing.prefix, outgoing.body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target(outgoing.target);
        *request.headers_mut() = headers;
        if let Way::Forward {
            auth: Some(auth), ..
        } = &self.way
        {
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, auth.clone());
        }
        let (response, deadline) = self.response(&pool, request).await?;
        Ok((response, deadline, version))
    }

    /// The sink's URL, with another path and query if these are given.
    fn target(&self, target: Option<PathAndQuery>) -> Uri {
        let Some(target) = target else {
            return self.uri.clone();
        };
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target);
        // Scheme and authority are those of a whole URL.
        Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone())
    }

    async fn answer(&self, outgoing: Outgoing, judge: &Reading<'_>) -> Result<Verdict, Failure> {
        let head_bytes_max = outgoing.answer_bytes_max;
        let status_decides = outgoing.status_decides;
        let (response, deadline, version) = self.send(Method::POST, outgoing).await?;
        let (parts, body) = response.into_parts();
        let (mut head, mut trailers) = (Vec::new(), HeaderMap::new());
        let drained = match status_decides {
            true => deadline.min(Instant::now() + DRAIN_TIME_MAX),
            false => deadline,
        };
        // An answer that breaks off behind its status has said what counts; whoever needs all of it is told.
        let read = timeout_at(
            drained,
            read_head(body, head_bytes_max, &mut head, &mut trailers),
        )
        .await;
        let whole = match read {
            Ok(whole) => whole,
            Err(_) if status_decides => false,
            Err(_) => return Err(self.timed_out()),
        };
        // The pool takes the connection back in a task of its own, which may run now: before the verdict lets the next
        // attempt begin, which would else open another connection.
        tokio::task::yield_now().await;
        let answer = Answered {
            status: parts.status,
            headers: &parts.headers,
            trailers: &trailers,
            head: &head,
            whole,
        };
        Ok(self.judged(&answer, version, judge))
    }

    /// The answer's head, and by when the rest must be there. The time for the request starts when there is a
    /// connection, since connecting has its own limit.
    async fn response(
        &self,
        pool: &Pool,
        mut request: Request<TwoFrames>,
    ) -> Result<(Response<Incoming>, Instant), Failure> {
        let mut connection = capture_connection(&mut request);
        let mut response: ResponseFuture = pool.request(request);
        let early = tokio::select! {
            response = &mut response => Some(response),
            _ = connection.wait_for_connection_metadata() => None,
        };
        let deadline = Instant::now() + self.request_timeout;
        let response = match early {
            Some(response) => response,
            None => timeout_at(deadline, response)
                .await
                .map_err(|_| self.timed_out())?,
        };
        match response {
            Ok(response) => Ok((response, deadline)),
            Err(error) => Err(failure_of(&error)),
        }
    }

    /// The verdict; where the server wants other credentials and there are others by now, that is no reason to
    /// pause.
    fn judged(&self, answered: &Answered<'_>, version: u64, judge: &Reading<'_>) -> Verdict {
        let mut credentials = self.credentials();
        let head = credentials.hide(answered.head);
        let status = answered.status;
        let verdict = judge(&Answer {
            what: &self.what,
            status,
            headers: answered.headers,
            trailers: answered.trailers,
            head: &head,
            whole: answered.whole,
            now: self.clock.wall(),
        });
        let refused = match &verdict {
            Verdict::Pause(reason) => REFUSED.contains(&reason.code),
            _ => false,
        };
        let unauthorized = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let doubtful = unauthorized || refused;
        let renewed = doubtful && credentials.doubt(version, self.clock.now());
        match verdict {
            Verdict::Pause(Reason { code, text }) if renewed => {
                let text = format!("{text} (the credentials have changed since)");
                Verdict::Retry {
                    after: None,
                    reason: Reason::new(code, text),
                }
            }
            verdict => verdict,
        }
    }

    /// The pool to use now.
    fn pool(&self) -> Result<Pool, Failure> {
        let now = self.clock.now();
        let mut held = self.connections();
        let tls = self
            .refreshed_tls(&mut held, now)
            .map_err(|problem| Failure::lasting("tls_files", problem))?;
        if let Some((pool, made)) = &held.pool
            && now.since(*made) < POOL_AGE_MAX
        {
            return Ok(pool.clone());
        }
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.keep_alive)
            .pool_max_idle_per_host(self.idle_max)
            .http2_only(self.http2)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .build(Connector::new(self.way.clone(), tls, self.connect_timeout));
        held.pool = Some((pool.clone(), now));
        Ok(pool)
    }

    /// The TLS configuration to use now. Files that seem changed are read; files that cannot be used leave the last
    /// good ones in force, since they may be in the midst of being replaced.
    fn refreshed_tls(
        &self,
        held: &mut Connections,
        now: Time,
    ) -> Result<Arc<ClientConfig>, String> {
        let https = self.uri.scheme_str() == Some("https");
        let due = held
            .checked
            .is_none_or(|checked| now.since(checked) >= CHECK_INTERVAL);
        // Taken before the files are read: a change in between shows at the next look.
        let stamps = match https && (due || held.suspect) {
            true => tls::stamps(&self.tls),
            false => held.stamps,
        };
        if let Some(tls) = &held.tls
            && stamps == held.stamps
            && !held.suspect
        {
            return Ok(Arc::clone(tls));
        }
        held.checked = Some(now);
        let mut loaded = match https {
            true => tls::load(&self.tls),
            false => tls::none(),
        };
        if let Ok(config) = &mut loaded
            && self.http2
        {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        match (loaded, &held.tls) {
            (Ok(config), _) => {
                let tls = Arc::new(config);
                *held = Connections {
                    tls: Some(Arc::clone(&tls)),
                    stamps,
                    checked: Some(now),
                    ..Connections::default()
                };
                Ok(tls)
            }
            (Err(problem), Some(tls)) => {
                let tls = Arc::clone(tls);
                if held.reported != Some(stamps) {
                    tracing::warn!(sink = %self.sink, %problem, "keeping the TLS files read before");
                    held.reported = Some(stamps);
                }
                Ok(tls)
            }
            (Err(problem), None) => Err(problem),
        }
    }

    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URL, if a sink can post to it.
fn checked_url(url: &str) -> Result<Uri, Mistake> {
    let uri: Uri = url
        .parse()
        .map_err(|error| Mistake::new("url", format!("is not a URL ({error})")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Mistake::new("url", "must begin with http:// or https://"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(Mistake::new(
            "url",
            "must not hold credentials; put them under basic",
        )),
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        _ => Err(Mistake::new("url", "names no host")),
    }
}

/// Reads the answer's body until its end, or until there is more than [`DRAIN_BYTES_MAX`] and `head_bytes_max` of it, and
/// keeps its head. Whether that is all of it.
async fn read_head(
    mut body: Incoming,
    head_bytes_max: usize,
    head: &mut Vec<u8>,
    trailers: &mut HeaderMap,
) -> bool {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                *trailers = other.into_trailers().unwrap_or_default();
                continue;
            }
        };
        let room = head_bytes_max.saturating_sub(head.len()).min(data.len());
        head.extend_from_slice(data.get(..room).unwrap_or_default());
        drained += data.len();
        if drained > DRAIN_BYTES_MAX.max(head_bytes_max) {
            return false;
        }
    }
    drained <= head_bytes_max
}

/// Reads an answer's body, as long as it has at most `bytes_max` bytes.
async fn read_whole(
    mut body: Incoming,
    bytes_max: usize,
    whole: &mut Vec<u8>,
) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::passing("reset", format!("the answer breaks off: {error}"))
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if whole.len() + data.len() > bytes_max {
            let text = format!("the answer has more than {bytes_max} bytes");
            return Err(Failure::passing("too_long", text));
        }
        whole.extend_from_slice(data);
    }
    Ok(())
}
