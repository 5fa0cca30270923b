//! A server that stores what a sink sends by the rules of a [`Store`], and fails on purpose.
//!
//! Real TCP, HTTP/1.1, own thread and runtime. Faults are drawn from a seed; they come before the store (which then sees
//! nothing of the request) or behind it (it has stored, and the sink does not hear of it).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

/// A request that arrived whole.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// What stands behind the question mark.
    pub query: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, compressed as it came.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body without its `Content-Encoding`.
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        match self.header("content-encoding") {
            "" => plain.extend_from_slice(&self.body),
            "gzip" => {
                let mut decoder = flate2::read::MultiGzDecoder::new(self.body.as_slice());
                std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
            }
            "zstd" => plain = zstd::decode_all(self.body.as_slice()).unwrap(),
            "snappy" => {
                plain = snap::raw::Decoder::new()
                    .decompress_vec(&self.body)
                    .unwrap();
            }
            other => panic!("an encoding that nobody asked for: {other}"),
        }
        plain
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Told {
    /// A status with a text.
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Told {
        Told {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// The rules of a protocol, and what has been stored by them.
pub trait Store: Send + 'static {
    /// Answers a request; what no sink may do is added to `violations`.
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told;

    /// Whether a request may meet a fault: those that deliver.
    fn may_fail(&self, asked: &Asked) -> bool {
        asked.method == Method::POST
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, nothing stored.
    Status(u16),
    /// 429 with seconds.
    TooManyForSeconds,
    /// 429 with a date.
    TooManyUntil,
    /// The connection ends without an answer, nothing stored.
    Drop,
    /// Nothing stored, and never an answer.
    Hang,
    /// Stored, and the connection ends without an answer.
    StoreThenDrop,
    /// Stored, and the answer breaks off in its body.
    StoreThenBreakOff,
    /// Stored, and the answer comes byte by byte.
    StoreThenTrickle,
}

impl Fault {
    const ALL: [Fault; 10] = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(502),
        Fault::TooManyForSeconds,
        Fault::TooManyUntil,
        Fault::Drop,
        Fault::Hang,
        Fault::StoreThenDrop,
        Fault::StoreThenBreakOff,
        Fault::StoreThenTrickle,
    ];
}

struct Shared<S> {
    store: Mutex<S>,
    violations: Mutex<Vec<String>>,
    /// `None`: all is well.
    faults: Mutex<Option<fastrand::Rng>>,
    met: Mutex<BTreeMap<String, usize>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server; stops when dropped.
pub struct StoreServer<S> {
    address: SocketAddr,
    shared: Arc<Shared<S>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Store> StoreServer<S> {
    /// Serves plain HTTP on a free port. With a seed, about every third delivery meets a fault.
    pub fn start(store: S, seed: Option<u64>) -> StoreServer<S> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            violations: Mutex::default(),
            faults: Mutex::new(seed.map(fastrand::Rng::with_seed)),
            met: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        StoreServer {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT` and then `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// No more faults.
    pub fn calm(&self) {
        *locked(&self.shared.faults) = None;
    }

    /// How often each fault was met.
    pub fn faults_met(&self) -> BTreeMap<String, usize> {
        locked(&self.shared.met).clone()
    }

    /// Looks at the store.
    pub fn look<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        look(&mut locked(&self.shared.store))
    }

    /// What requests did that they must not.
    pub fn violations(&self) -> Vec<String> {
        locked(&self.shared.violations).clone()
    }
}

impl<S> Drop for StoreServer<S> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

async fn accept<S: Store>(listener: TcpListener, shared: Arc<Shared<S>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service =
                hyper::service::service_fn(|request| handle(request, Arc::clone(&shared)));
            // A connection that is dropped on purpose ends in an error here.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection ends here.
#[derive(Debug, thiserror::Error)]
#[error("on purpose")]
struct Cut;

type Answered = Result<Response<BoxBody<Bytes, Cut>>, Cut>;

async fn handle<S: Store>(request: Request<Incoming>, shared: Arc<Shared<S>>) -> Answered {
    let (parts, body) = request.into_parts();
    // An agent that was killed in the midst of a request has sent none.
    let body = body.collect().await.map_err(|_| Cut)?;
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    });
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body.to_bytes().to_vec(),
    };
    let fault = match locked(&shared.store).may_fail(&asked) {
        true => drawn(&shared),
        false => None,
    };
    let later = |wait: Duration| httpdate::fmt_http_date(SystemTime::now() + wait);
    match fault {
        Some(Fault::Status(status)) => return answered(Told::of(status, "not now")),
        Some(Fault::TooManyForSeconds) => return answered(too_many("1".to_owned())),
        Some(Fault::TooManyUntil) => {
            return answered(too_many(later(Duration::from_secs(2))));
        }
        Some(Fault::Drop) => return Err(Cut),
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::StoreThenDrop | Fault::StoreThenBreakOff | Fault::StoreThenTrickle) | None => {}
    }
    let mut violations = Vec::new();
    let told = locked(&shared.store).answer(&asked, &mut violations);
    locked(&shared.violations).append(&mut violations);
    match fault {
        Some(Fault::StoreThenDrop) => Err(Cut),
        Some(Fault::StoreThenBreakOff) => slowly(told, true),
        Some(Fault::StoreThenTrickle) => slowly(told, false),
        _ => answered(told),
    }
}

fn drawn<S>(shared: &Shared<S>) -> Option<Fault> {
    let mut faults = locked(&shared.faults);
    let random = faults.as_mut()?;
    if random.u8(..3) > 0 {
        return None;
    }
    let fault = *random.choice(&Fault::ALL)?;
    *locked(&shared.met).entry(format!("{fault:?}")).or_default() += 1;
    Some(fault)
}

fn too_many(retry_after: String) -> Told {
    let mut told = Told::of(429, "too many");
    told.headers.push(("retry-after", retry_after));
    told
}

fn head_of(told: &Told) -> hyper::http::response::Builder {
    let mut response = Response::builder().status(told.status);
    for (name, value) in &told.headers {
        response = response.header(*name, value);
    }
    response
}

fn answered(told: Told) -> Answered {
    let head = head_of(&told);
    let body = Full::new(Bytes::from(told.body)).map_err(|never: Infallible| match never {});
    Ok(head.body(body.boxed()).unwrap())
}

/// The answer byte by byte; or with a body that is announced longer than what comes.
fn slowly(told: Told, breaks_off: bool) -> Answered {
    let mut bytes = told.body.clone();
    if breaks_off {
        bytes.truncate(told.body.len() / 2);
    }
    let announced = told.body.len() + usize::from(told.body.is_empty() && breaks_off);
    let mut head = head_of(&told);
    if told.status != 204 {
        head = head.header("content-length", announced);
    }
    let pieces = bytes.chunks(bytes.len().div_ceil(8).max(1));
    let pieces: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if sender.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
        }
        if breaks_off {
            // The client may have gone.
            let _heard: Result<(), _> = sender.send(Err(Cut)).await;
        }
    });
    Ok(head.body(BodyExt::boxed(Pieces(receiver))).unwrap())
}

/// A body out of a channel.
struct Pieces(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Cut>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(context)
    }
}
