//! From a URL to a connection: name, TCP, perhaps a proxy, perhaps TLS, all within one time limit.
//!
//! The way (direct or through which proxy) is settled once per sink, since a sink has one URL.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Mistake;
use super::verdict::Failure;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A connection that carries nothing is probed by the kernel after this long, so that a peer that vanished shows.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// How deep a chain of causes is followed.
const CAUSES_MAX: usize = 16;

/// The proxy variables of an environment. The upper-case name is asked first; empty means unset.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    http: String,
    https: String,
    no: String,
}

impl ProxySettings {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, or their lower-case forms.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> ProxySettings {
        let first = |upper: &str, lower: &str| {
            [upper, lower]
                .into_iter()
                .filter_map(&variable)
                .find(|value| !value.is_empty())
                .unwrap_or_default()
        };
        ProxySettings {
            http: first("HTTP_PROXY", "http_proxy"),
            https: first("HTTPS_PROXY", "https_proxy"),
            no: first("NO_PROXY", "no_proxy"),
        }
    }

    /// The way to `target`. A proxy that is set and cannot be used is a mistake, not a reason to go around it.
    pub fn way_to(&self, target: &Uri) -> Result<Way, Mistake> {
        let https = target.scheme_str() == Some("https");
        let (name, value) = match https {
            true => ("HTTPS_PROXY", &self.https),
            false => ("HTTP_PROXY", &self.http),
        };
        let proxies = || Matcher::builder().all(value.clone());
        if value.is_empty() {
            return Ok(Way::Direct);
        }
        let Some(any) = proxies().build().intercept(target) else {
            let problem = "is not a URL of a proxy; write http://HOST:PORT, or unset it";
            return Err(Mistake::new(name, problem));
        };
        if proxies()
            .no(self.no.clone())
            .build()
            .intercept(target)
            .is_none()
        {
            return Ok(Way::Direct);
        }
        if any.uri().scheme_str() != Some("http") {
            let problem = "only proxies that are reached by http:// are supported";
            return Err(Mistake::new(name, problem));
        }
        let (proxy, auth) = (any.uri().clone(), any.basic_auth().cloned());
        Ok(match https {
            true => Way::Tunnel { proxy, auth },
            false => Way::Forward { proxy, auth },
        })
    }
}

/// How a destination is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Without a proxy.
    Direct,
    /// The proxy is given the whole URL and makes the request itself.
    Forward {
        /// Where it is.
        proxy: Uri,
        /// `Proxy-Authorization` of each request.
        auth: Option<HeaderValue>,
    },
    /// The proxy passes bytes on (`CONNECT`, RFC 9110 section 9.3.6).
    Tunnel {
        /// Where it is.
        proxy: Uri,
        /// `Proxy-Authorization` of the `CONNECT`.
        auth: Option<HeaderValue>,
    },
}

impl Way {
    /// The way for a version of HTTP: a proxy that makes the request itself would make it in another one, so HTTP/2 is
    /// passed through.
    pub(super) fn of_version(self, http2: bool) -> Way {
        match self {
            Way::Forward { proxy, auth } if http2 => Way::Tunnel { proxy, auth },
            way => way,
        }
    }
}

/// Makes connections for the client's pool.
#[derive(Clone)]
pub struct Connector {
    inner: HttpsConnector<Hop>,
    timeout: Duration,
}

impl Connector {
    /// A connector that gives up after `timeout`, TLS included.
    pub fn new(way: Way, tls: Arc<ClientConfig>, timeout: Duration) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        // Shared among the addresses of a name, so that one dead address does not use up the whole limit.
        tcp.set_connect_timeout(Some(timeout));
        let names = Arc::new(DefaultServerNameResolver::default());
        Connector {
            inner: HttpsConnector::new(Hop { tcp, way }, tls, false, names),
            timeout,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Line>;
    type Error = ConnectError;
    type Future = BoxFuture<Self::Response, ConnectError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.inner.poll_ready(cx).map_err(ConnectError::Failed)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.inner.call(target);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected.map_err(ConnectError::Failed),
                Err(_) => Err(ConnectError::TimedOut(timeout)),
            }
        })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The limit was reached.
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Something else.
    #[error(transparent)]
    Failed(BoxError),
}

/// TCP to the destination or to (and through) the proxy.
#[derive(Clone)]
struct Hop {
    tcp: HttpConnector,
    way: Way,
}

impl Service<Uri> for Hop {
    type Response = Line;
    type Error = BoxError;
    type Future = BoxFuture<Line, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Hop { mut tcp, way } = self.clone();
        Box::pin(async move {
            poll_fn(|cx| Service::<Uri>::poll_ready(&mut tcp, cx)).await?;
            let forwarded = matches!(way, Way::Forward { .. });
            let stream = match way {
                Way::Direct => tcp.call(target).await?,
                Way::Forward { proxy, .. } => tcp.call(proxy).await?,
                Way::Tunnel { proxy, auth } => {
                    let mut tunnel = Tunnel::new(proxy, tcp);
                    if let Some(auth) = auth {
                        tunnel = tunnel.with_auth(auth);
                    }
                    tunnel.call(target).await.map_err(ProxyError::new)?
                }
            };
            Ok(Line { stream, forwarded })
        })
    }
}

/// The proxy could not be reached or refused the tunnel.
#[derive(Debug, thiserror::Error)]
#[error("through the proxy: {text}")]
struct ProxyError {
    text: String,
    wants_auth: bool,
    cause: Option<BoxError>,
}

impl ProxyError {
    /// The tunnel's error type has no public name, so that its text is all there is to tell one case from another.
    fn new(error: impl Error + Send + Sync + 'static) -> ProxyError {
        let text = error.to_string();
        ProxyError {
            wants_auth: text.contains("proxy authorization required"),
            text,
            cause: Some(Box::new(error)),
        }
    }
}

/// A TCP connection that knows whether a proxy at its other end wants whole URLs.
pub struct Line {
    stream: TokioIo<TcpStream>,
    forwarded: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.forwarded)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("forwarded", &self.forwarded)
            .finish_non_exhaustive()
    }
}

/// What an error of the client means.
pub fn failure_of(error: &(dyn Error + 'static)) -> Failure {
    let causes = causes(error);
    let text = told(&causes);
    for cause in &causes {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            let code = match tls {
                rustls::Error::InvalidCertificate(_) => "tls_certificate",
                _ => "tls",
            };
            return Failure::lasting(code, text);
        }
        if let Some(proxy) = cause.downcast_ref::<ProxyError>() {
            return match proxy.wants_auth {
                true => Failure::lasting("http_407", text),
                false => Failure::passing("proxy", text),
            };
        }
        if let Some(ConnectError::TimedOut(_)) = cause.downcast_ref::<ConnectError>() {
            return Failure::passing("connect_timeout", text);
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
        {
            return Failure::lasting("protocol", text);
        }
    }
    if causes
        .iter()
        .any(|cause| cause.to_string().starts_with("dns error"))
    {
        return Failure::passing("dns", text);
    }
    let timed_out = causes
        .iter()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut);
    let connecting = causes.iter().any(|cause| cause.is::<ConnectError>());
    let code = match (connecting, timed_out) {
        (true, true) => "connect_timeout",
        (true, false) => "connect",
        (false, true) => "timeout",
        (false, false) => "reset",
    };
    Failure::passing(code, text)
}

/// An error and its causes. What an [`io::Error`] wraps is one of them, which `source` would step over.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next
        && causes.len() < CAUSES_MAX
    {
        causes.push(error);
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match (error.downcast_ref::<ConnectError>(), wrapped) {
            (Some(ConnectError::Failed(inner)), _) => Some(inner.as_ref()),
            (_, Some(inner)) => Some(inner),
            _ => error.source(),
        };
    }
    causes
}

/// The causes as one sentence, each said once.
fn told(causes: &[&(dyn Error + 'static)]) -> String {
    let mut told = String::new();
    for cause in causes {
        let text = cause.to_string();
        if told.contains(&text) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&text);
    }
    told
}

#[cfg(test)]
mod tests;
