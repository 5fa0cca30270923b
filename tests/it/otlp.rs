//! OTLP over gRPC against a real server of HTTP/2, plain and with TLS: what is asked, and what each answer comes to.

#[path = "../../src/encode/otlp/tests/messages.rs"]
pub mod messages;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use longshore::clock::SystemClock;
use longshore::config::{Compression, HttpSink, OtlpProtocol, OtlpSink, Tls};
use longshore::sink::http::Surroundings;
use longshore::sink::http::connect::ProxySettings;
use longshore::sink::otlp::{Signal, start_in};
use longshore::sink::{Attempt, Transport, Verdict};
use longshore::waker::Waker;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, Shown, server_tls};

/// What the server says to one call.
#[derive(Clone, Debug)]
enum Say {
    /// This in the trailers behind a message.
    Trailers(Vec<(&'static str, &'static str)>, Vec<u8>),
    /// This in the headers, and nothing behind them.
    Headers(Vec<(&'static str, &'static str)>),
    /// A message, and then the connection's end.
    BreakOff,
    /// Headers, and then nothing ever.
    Silence,
}

/// A call as it came.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Default)]
struct Shared {
    says: Mutex<VecDeque<Say>>,
    calls: Mutex<Vec<Call>>,
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    shared.calls.lock().unwrap().push(Call {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    });
    let say = shared.says.lock().unwrap().pop_front().unwrap();
    let map = |pairs: Vec<(&'static str, &'static str)>| -> HeaderMap {
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    };
    let (headers, frames, silent) = match say {
        Say::Trailers(trailers, message) => {
            let mut framed = vec![0, 0, 0, 0, message.len() as u8];
            framed.extend(message);
            let data = Ok(Frame::data(Bytes::from(framed)));
            (
                HeaderMap::new(),
                vec![data, Ok(Frame::trailers(map(trailers)))],
                false,
            )
        }
        Say::Headers(headers) => (map(headers), Vec::new(), false),
        Say::BreakOff => {
            let data = Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0])));
            (
                HeaderMap::new(),
                vec![data, Err(std::io::Error::other("on purpose"))],
                false,
            )
        }
        Say::Silence => (HeaderMap::new(), Vec::new(), true),
    };
    let frames = Frames(frames.into(), silent);
    let mut response = Response::new(BodyExt::boxed(frames));
    *response.headers_mut() = headers;
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// Some frames, and perhaps no end.
struct Frames(VecDeque<Result<Frame<Bytes>, std::io::Error>>, bool);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.0.pop_front() {
            None if self.1 => std::task::Poll::Pending,
            frame => std::task::Poll::Ready(frame),
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(|request| answer(request, Arc::clone(&shared)));
    // A connection that ends on purpose ends in an error here.
    let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A server and a client on one runtime.
struct Bench {
    runtime: tokio::runtime::Handle,
    /// Its thread ends when this is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Bench {
    fn new(tls: Option<rustls::ServerConfig>) -> Bench {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&served);
                match acceptor.clone() {
                    None => tokio::spawn(serve(stream, shared)),
                    Some(acceptor) => tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, shared).await;
                        }
                    }),
                };
            }
        });
        std::thread::spawn(move || runtime.block_on(stopped));
        Bench {
            runtime: handle,
            _stop: stop,
            address,
            shared,
        }
    }

    /// What attempts at these answers come to, one after the other, of a payload of ten records.
    fn verdicts(&self, config: &OtlpSink, signal: Signal, says: Vec<Say>) -> Vec<Verdict> {
        *self.shared.says.lock().unwrap() = says.clone().into();
        let around = Surroundings {
            identity: longshore::sink::http::token::WorkloadIdentity::default(),
            clock: Arc::new(SystemClock::new()),
            proxy: ProxySettings::default(),
        };
        let bell = Arc::new((Mutex::new(()), Condvar::new()));
        let rung = Arc::clone(&bell);
        let waker = Waker::new(move || rung.1.notify_all());
        let config = (config, Compression::Gzip(1));
        let mut sink = start_in(&around, "otlp", config, signal, 1, &self.runtime, waker).unwrap();
        let mut verdicts = Vec::new();
        for id in 0..says.len() as u64 {
            let attempt = Attempt {
                id,
                body: Bytes::from_static(b"compressed already"),
                records: 10,
                uncompressed_bytes: 100,
            };
            sink.try_submit(attempt).unwrap();
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            let verdict = loop {
                if let Some((of, verdict)) = sink.poll_verdict() {
                    assert_eq!(of, id);
                    break verdict;
                }
                assert!(std::time::Instant::now() < deadline, "no verdict");
                let guard = bell.0.lock().unwrap();
                let _woken = bell
                    .1
                    .wait_timeout(guard, Duration::from_millis(20))
                    .unwrap();
            };
            verdicts.push(verdict);
        }
        verdicts
    }
}

fn grpc(url: String) -> OtlpSink {
    OtlpSink {
        http: HttpSink {
            request_timeout_ms: 1_500,
            ..HttpSink::new(url)
        },
        protocol: OtlpProtocol::Grpc,
        ..OtlpSink::new(String::new())
    }
}

fn kind(verdict: &Verdict) -> (&'static str, &'static str) {
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

#[test]
fn a_call_is_what_grpc_asks_for_and_its_status_is_found() {
    let bench = Bench::new(None);
    let config = grpc(format!("http://{}/not/asked/for?x=y", bench.address));
    let ok = vec![("grpc-status", "0")];
    let says = vec![
        Say::Trailers(ok.clone(), Vec::new()),
        // Three were rejected.
        Say::Trailers(ok, vec![10, 2, 8, 3]),
        Say::Headers(vec![("grpc-status", "14"), ("grpc-message", "full%21")]),
        Say::Headers(vec![("grpc-status", "16")]),
        Say::BreakOff,
        Say::Trailers(vec![("grpc-status", "3")], Vec::new()),
        Say::Silence,
    ];
    let count = says.len();
    let verdicts = bench.verdicts(&config, Signal::Logs, says);
    let kinds: Vec<_> = verdicts.iter().map(kind).collect();
    assert_eq!(
        kinds,
        [
            ("accepted", ""),
            ("accepted_except", "partial_success"),
            ("retry", "grpc_unavailable"),
            ("pause", "grpc_unauthenticated"),
            ("retry", "reset"),
            ("bisect", "grpc_invalid_argument"),
            ("retry", "timeout"),
        ]
    );
    let Verdict::AcceptedExcept { rejected, .. } = verdicts[1] else {
        panic!("{verdicts:?}");
    };
    assert_eq!(rejected, 3);
    let calls = bench.shared.calls.lock().unwrap().clone();
    assert_eq!(calls.len(), count);
    for call in calls {
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        assert_eq!(call.path, path);
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-encoding", "gzip"),
            ("grpc-timeout", "1500m"),
        ] {
            assert_eq!(call.headers[name], value, "{name}");
        }
        assert!(!call.headers.contains_key("content-encoding"));
        assert_eq!(&call.body[..5], &[1, 0, 0, 0, 18]);
        assert_eq!(&call.body[5..], b"compressed already");
    }
}

#[test]
fn https_agrees_on_http2() {
    let authority = Authority::new();
    let shown = Shown::new(&authority.issue("localhost"));
    let mut tls = server_tls(&shown, None);
    tls.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let bench = Bench::new(Some(tls));
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    authority.write(&ca);
    let mut config = grpc(format!("https://localhost:{}", bench.address.port()));
    config.http.tls = Tls {
        ca_file: Some(ca),
        ..Tls::default()
    };
    let says = vec![Say::Trailers(vec![("grpc-status", "0")], Vec::new()); 2];
    let verdicts = bench.verdicts(&config, Signal::Metrics, says);
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted]);
    let calls = bench.shared.calls.lock().unwrap();
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert!(calls.iter().all(|call| call.path == path), "{calls:?}");
}
