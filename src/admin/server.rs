//! The HTTP server of the admin pages: HTTP/1, GET and HEAD, no authentication, nothing that changes anything.
//!
//! Invariant: what clients can make it hold is bounded, whatever they do: connections, request bytes, the time
//! of each connection, and pages that are made or on their way. One connection carries one request.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::explain::question::Question;
use super::filter::Filter;
use super::health::Probe;
use super::{Shared, Sources, explain, health, metrics, status};

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at a time; further ones wait in the listen queue.
    pub connections_max: usize,
    /// Pages of `/metrics`, `/status` and `/explain` that are made or being sent at a time; further requests wait.
    pub pages_max: usize,
    /// Limit on receiving the head of a request.
    pub header_read_timeout: Duration,
    /// Limit on a connection as a whole.
    pub connection_timeout: Duration,
    /// Limit on the bytes of a request's head; hyper's smallest is 8 KiB.
    pub request_bytes_max: usize,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections_max: 64,
            pages_max: 4,
            header_read_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(30),
            request_bytes_max: 8 * 1024,
        }
    }
}

/// How long accepting rests when the process has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The running server; it stops accepting when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl std::ops::Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves the admin pages on a runtime whose timers and sockets are enabled.
pub fn serve(
    listener: std::net::TcpListener,
    sources: Arc<Shared>,
    runtime: &Handle,
) -> io::Result<Server> {
    serve_within(ServerLimits::default(), listener, sources, runtime)
}

/// [`serve`] with limits of the caller's choice.
pub fn serve_within(
    limits: ServerLimits,
    listener: std::net::TcpListener,
    sources: Arc<Shared>,
    runtime: &Handle,
) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let pages = Pages {
        sources,
        permits: Arc::new(Semaphore::new(limits.pages_max)),
    };
    let accepting = runtime.spawn(accept(limits, listener, pages));
    Ok(Server {
        address,
        accepting: accepting.abort_handle(),
    })
}

#[derive(Clone)]
struct Pages {
    sources: Arc<Shared>,
    permits: Arc<Semaphore>,
}

async fn accept(limits: ServerLimits, listener: TcpListener, pages: Pages) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    // The semaphore is never closed, so the loop ends with the task only.
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(limits, stream, pages.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection to the admin server; trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    limits: ServerLimits,
    stream: TcpStream,
    pages: Pages,
    _permit: OwnedSemaphorePermit,
) {
    // Held until the connection ends: a page is in memory until the client has taken it.
    let page_permit: Arc<OnceLock<OwnedSemaphorePermit>> = Arc::default();
    let service = service_fn(|request| answer(pages.clone(), Arc::clone(&page_permit), request));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.request_bytes_max)
        .keep_alive(false);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    // A client that sends nonsense, goes away or takes too long is its own affair.
    match tokio::time::timeout(limits.connection_timeout, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "serving an admin request"),
        Err(_) => tracing::debug!("an admin request took too long"),
    }
}

async fn answer<B>(
    pages: Pages,
    page_permit: Arc<OnceLock<OwnedSemaphorePermit>>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD are understood here\n";
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    let made = match request.uri().path() {
        "/" => return Ok(page(StatusCode::OK, TEXT, INDEX)),
        "/healthz" => return Ok(probe(health::live(&pages.sources.load()))),
        "/readyz" => return Ok(probe(health::ready(&pages.sources.load()))),
        "/metrics" => make(&pages, &page_permit, metrics_page).await,
        "/status" => {
            let query = request.uri().query().unwrap_or_default();
            match Filter::parse(query) {
                Ok(filter) => make(&pages, &page_permit, move |it| status_page(it, &filter)).await,
                Err(error) => Some(page(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n"))),
            }
        }
        "/explain" => {
            let query = request.uri().query().unwrap_or_default();
            match Question::parse(query) {
                Ok(question) => {
                    make(&pages, &page_permit, move |it| explain_page(it, question)).await
                }
                Err(error) => Some(page(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n"))),
            }
        }
        _ => return Ok(page(StatusCode::NOT_FOUND, TEXT, INDEX)),
    };
    Ok(made.unwrap_or_else(failed))
}

/// Makes a page off the runtime's threads, because it may be megabytes, when it is its turn.
async fn make(
    pages: &Pages,
    page_permit: &OnceLock<OwnedSemaphorePermit>,
    work: impl FnOnce(&Sources) -> Response<Full<Bytes>> + Send + 'static,
) -> Option<Response<Full<Bytes>>> {
    let permit = Arc::clone(&pages.permits).acquire_owned().await.ok()?;
    // A connection asks once, so the place is free.
    let _first: Result<(), OwnedSemaphorePermit> = page_permit.set(permit);
    let sources = pages.sources.load_full();
    tokio::task::spawn_blocking(move || work(&sources))
        .await
        .ok()
}

fn metrics_page(sources: &Sources) -> Response<Full<Bytes>> {
    page(StatusCode::OK, METRICS, metrics::render(sources))
}

fn status_page(sources: &Sources, filter: &Filter) -> Response<Full<Bytes>> {
    match status::render(sources, filter) {
        Ok(text) => page(StatusCode::OK, JSON, text),
        Err(error) => {
            tracing::error!(%error, "writing /status as JSON");
            failed()
        }
    }
}

fn explain_page(sources: &Sources, question: Question) -> Response<Full<Bytes>> {
    match serde_json::to_string(&explain::answer(sources, question)) {
        Ok(text) => page(StatusCode::OK, JSON, text),
        Err(error) => {
            tracing::error!(%error, "writing /explain as JSON");
            failed()
        }
    }
}

fn failed() -> Response<Full<Bytes>> {
    let text = "the page could not be made; the agent's own log says why\n";
    page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
}

fn probe(probe: Probe) -> Response<Full<Bytes>> {
    let code = if probe.good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    page(code, TEXT, probe.text)
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const INDEX: &str = "longshore\n\n\
    /metrics  numbers, in the Prometheus text format\n\
    /healthz  200 while every part of the agent moves\n\
    /readyz   200 once every log that existed at the start is known\n\
    /status   sinks, ledgers and chains as JSON; ?sink= ?namespace= ?pod= ?chain= narrow it\n\
    /explain  one pod as JSON: ?namespace= and ?pod=, and ?container= if one is meant\n";

fn page(code: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
