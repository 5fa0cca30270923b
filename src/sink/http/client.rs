//! One request and its answer, within time and memory limits.
//!
//! Owns the connection pool and when it is made anew: when a TLS file changed, after a TLS failure, and every few
//! minutes so that a name that now leads elsewhere is followed. Requests under way keep the pool they began with.

mod read;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use self::read::{read_head, read_whole};
use super::auth::{CHECK_INTERVAL, Credentials};
use super::body::TwoFrames;
use super::connect::{Connector, Way, failure_of};
use super::token::{Given, Tokens};
use super::verdict::{Answer, Failure, fail, shown_url};
use super::{Mistake, Surroundings, Wire, tls};
use crate::clock::{Clock, Time};
use crate::config::{Auth, HttpSink, Tls};
use crate::sink::{Reason, Verdict};

/// Bytes of an answer that are kept for the reason's text, unless the protocol wants more.
const HEAD_BYTES_MAX: usize = 4 * 1024;

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

/// The answer to [`Exchange::call`].
#[derive(Debug)]
pub struct Called {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Vec<u8>,
    /// When it came, by the wall clock.
    pub at: SystemTime,
}

/// Which credentials a request was made with.
struct Shown {
    credentials: u64,
    token: Option<Given>,
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

/// The answer to [`Exchange::stream`]. Dropping it ends the request.
#[derive(Debug)]
pub struct Streaming {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Streaming {
    /// The next bytes of its body; `None`: it has ended as it should. May be dropped while it waits.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        read::next(&mut self.body).await
    }

    /// The beginning of its body, for the text of an error.
    pub async fn head(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        let until = Instant::now() + DRAIN_TIME_MAX;
        while let Ok(Ok(Some(bytes))) = timeout_at(until, self.chunk()).await {
            let room = HEAD_BYTES_MAX.saturating_sub(head.len()).min(bytes.len());
            head.extend_from_slice(bytes.get(..room).unwrap_or_default());
            if room == 0 {
                break;
            }
        }
        head
    }
}

/// Everything that the requests of one sink share.
pub struct Exchange {
    sink: String,
    what: String,
    uri: Uri,
    way: Way,
    tls: Tls,
    /// The server's certificate may be anybody's.
    trusts_anyone: bool,
    connect_timeout: Duration,
    request_timeout: Duration,
    keep_alive: Duration,
    idle_max: usize,
    http2: bool,
    clock: Arc<dyn Clock>,
    credentials: Mutex<Credentials>,
    /// In a box because they are asked for by an exchange of their own.
    tokens: Option<Box<Tokens>>,
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
        let tokens = match &config.auth {
            Auth::Azure(auth) => Some(Box::new(Tokens::new(surroundings, sink, config, auth)?)),
            Auth::None | Auth::Bearer(_) | Auth::Basic { .. } | Auth::Scheme { .. } => None,
        };
        Ok(Exchange {
            sink: sink.to_string(),
            what: format!("POST {}", shown_url(&uri)),
            way: surroundings.proxy.way_to(&uri)?.of_version(wire.http2()),
            uri,
            tls: config.tls.clone(),
            trusts_anyone: false,
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            keep_alive: Duration::from_millis(config.keep_alive_ms),
            idle_max: in_flight_max,
            http2: wire.http2(),
            clock: Arc::clone(&surroundings.clock),
            credentials: Mutex::new(Credentials::new(config, wire)?),
            tokens,
            connections: Mutex::default(),
        })
    }

    /// The same, but any certificate of the server will do, and none is shown to it.
    #[must_use]
    pub fn trusting_anyone(self) -> Exchange {
        Exchange {
            trusts_anyone: true,
            ..self
        }
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
        let called = self
            .call(Method::GET, Outgoing::default(), bytes_max)
            .await?;
        Ok((called.status, called.body))
    }

    /// Fetches what has no end, or none soon: its body is read as it comes. The limit on the time holds for the answer's
    /// head alone.
    pub async fn stream(&self, target: PathAndQuery) -> Result<Streaming, Failure> {
        let outgoing = Outgoing {
            target: Some(target),
            ..Outgoing::default()
        };
        let sent = self.send(Method::GET, outgoing).await;
        let (response, _, shown) = sent.inspect_err(|failure| self.suspect_tls(failure))?;
        let (parts, body) = response.into_parts();
        let _renewed: bool = self.doubt(&mut self.credentials(), parts.status, false, &shown);
        Ok(Streaming {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// Makes one request for what is answered: at most `bytes_max` bytes; more is a failure.
    pub async fn call(
        &self,
        method: Method,
        outgoing: Outgoing,
        bytes_max: usize,
    ) -> Result<Called, Failure> {
        let called = self.called(method, outgoing, bytes_max).await;
        if let Err(failure) = &called {
            self.suspect_tls(failure);
        }
        called
    }

    async fn called(
        &self,
        method: Method,
        outgoing: Outgoing,
        bytes_max: usize,
    ) -> Result<Called, Failure> {
        let (response, deadline, shown) = self.send(method, outgoing).await?;
        let (parts, body) = response.into_parts();
        let mut whole = Vec::new();
        let read = timeout_at(deadline, read_whole(body, bytes_max, &mut whole)).await;
        read.map_err(|_| self.timed_out())??;
        let _renewed: bool = self.doubt(&mut self.credentials(), parts.status, false, &shown);
        Ok(Called {
            status: parts.status,
            headers: parts.headers,
            body: whole,
            at: self.clock.wall(),
        })
    }

    /// Takes note of whether the server took the credentials. Says whether there are others by now, or can be.
    fn doubt(
        &self,
        credentials: &mut Credentials,
        status: StatusCode,
        refused: bool,
        shown: &Shown,
    ) -> bool {
        let unknown = refused || status == StatusCode::UNAUTHORIZED;
        let mut renewed = match (&self.tokens, &shown.token) {
            (Some(tokens), Some(given)) if unknown => tokens.refused(given.version),
            (Some(tokens), Some(_)) => {
                tokens.taken();
                false
            }
            _ => false,
        };
        if unknown || status == StatusCode::FORBIDDEN {
            renewed |= credentials.doubt(shown.credentials, self.clock.now());
        }
        renewed
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

    /// Makes a request: the answer's head, by when the rest must be there, and the credentials that were shown.
    async fn send(
        &self,
        method: Method,
        outgoing: Outgoing,
    ) -> Result<(Response<Incoming>, Instant, Shown), Failure> {
        let token = match &self.tokens {
            Some(tokens) => Some(tokens.get().await?),
            None => None,
        };
        let (mut headers, credentials) = self.credentials().headers(self.clock.now())?;
        if let Some(given) = &token {
            headers.insert(AUTHORIZATION, given.value.clone());
        }
        let shown = Shown { credentials, token };
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
        Ok((response, deadline, shown))
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
        let (response, deadline, shown) = self.send(Method::POST, outgoing).await?;
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
        Ok(self.judged(&answer, &shown, judge))
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
    fn judged(&self, answered: &Answered<'_>, shown: &Shown, judge: &Reading<'_>) -> Verdict {
        let mut credentials = self.credentials();
        let mut head = credentials.hide(answered.head);
        if let Some(given) = &shown.token {
            head = given.hide(head);
        }
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
        let renewed = self.doubt(&mut credentials, status, refused, shown);
        match verdict {
            Verdict::Pause(Reason { code, text }) if renewed => {
                let text = format!("{text} (trying again with other credentials)");
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
            true if self.trusts_anyone => tls::anyone(),
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
