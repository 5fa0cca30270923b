//! A strict receiver of remote write: whatever breaks a rule of the specification is noted.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;

/// The messages, from the specification, apart from the agent's own.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(bytes = "vec", tag = "1")]
        pub name: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sample {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub symbols: Vec<Vec<u8>>,
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries2>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries2 {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metadata {
        #[prost(int32, tag = "1")]
        pub kind: i32,
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}

/// Samples of each series, time and bits of the value, in the order in which they were stored.
pub type Stored = BTreeMap<String, Vec<(i64, u64)>>;

/// What the receiver does with one request that keeps the rules.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Stores it.
    Store,
    /// Stores nothing and answers with a status and headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Stores nothing and closes the connection.
    Drop,
    /// Stores it and closes the connection without an answer.
    StoreThenDrop,
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer::Status(status, Vec::new())
    }

    pub fn retry_after(seconds: &str) -> Answer {
        Answer::Status(429, vec![("retry-after", seconds.to_owned())])
    }
}

#[derive(Default)]
struct State {
    knows_version_2: bool,
    answers: VecDeque<Answer>,
    version_2: Option<Answer>,
    refused: Option<String>,
    authorization: Option<String>,
    stored: Stored,
    violations: Vec<String>,
    versions: Vec<u8>,
}

/// A runtime that a thread of its own drives until it is dropped.
pub struct Network {
    pub handle: tokio::runtime::Handle,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Network {
    pub fn start() -> Network {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            // Ends when the sender is dropped.
            let _: Result<(), _> = runtime.block_on(ended);
        });
        Network {
            handle,
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl std::ops::Drop for Network {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// The running receiver.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _network: Network,
}

impl Receiver {
    /// One that knows version 1, and version 2 if so told.
    pub fn start(knows_version_2: bool) -> Receiver {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            knows_version_2,
            ..State::default()
        }));
        let network = Network::start();
        let served = Arc::clone(&state);
        network.handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                let service =
                    hyper::service::service_fn(move |request| handle(request, Arc::clone(&state)));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Receiver {
            address,
            state,
            _network: network,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next answers; then it stores everything.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().answers = answers.into_iter().collect();
    }

    /// What it does with every request of version 2.
    pub fn answer_version_2(&self, answer: Answer) {
        self.state().version_2 = Some(answer);
    }

    /// Requests with a label like this, as NAME=VALUE, are answered 400.
    pub fn refuse(&self, label: &str) {
        self.state().refused = Some(label.to_owned());
    }

    /// Others are answered 401.
    pub fn authorize(&self, authorization: &str) {
        self.state().authorization = Some(authorization.to_owned());
    }

    pub fn stored(&self) -> Stored {
        self.state().stored.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The versions of all requests that came.
    pub fn versions(&self) -> Vec<u8> {
        let mut versions = self.state().versions.clone();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}

#[derive(Debug, thiserror::Error)]
#[error("as the test says")]
struct Dropped;

async fn handle(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let mut state = state.lock().unwrap();
    let checked = version(&parts.method, &parts.headers)
        .and_then(|version| Ok((version, decoded(version, &body)?)));
    let (version, series) = match checked {
        Ok(checked) => checked,
        Err(violation) => {
            state.violations.push(violation);
            return Ok(status(400, &[]));
        }
    };
    state.versions.push(version);
    let given = parts.headers.get("authorization");
    let given = given.and_then(|value| value.to_str().ok());
    if state.authorization.is_some() && state.authorization.as_deref() != given {
        return Ok(status(401, &[]));
    }
    if let Some(refused) = &state.refused
        && series
            .iter()
            .any(|(labels, _)| labels.split(',').any(|it| it == refused))
    {
        return Ok(status(400, &[]));
    }
    let answer = match &state.version_2 {
        Some(answer) if version == 2 => answer.clone(),
        _ => state.answers.pop_front().unwrap_or(Answer::Store),
    };
    match answer {
        Answer::Status(code, headers) => Ok(status(code, &headers)),
        Answer::Drop => Err(Dropped),
        Answer::Store | Answer::StoreThenDrop => {
            let count = series.len();
            for (labels, sample) in series {
                if let Err(violation) = store(&mut state.stored, &labels, sample) {
                    state.violations.push(violation);
                }
            }
            if matches!(answer, Answer::StoreThenDrop) {
                return Err(Dropped);
            }
            let written = (
                "x-prometheus-remote-write-samples-written",
                count.to_string(),
            );
            let headers = [written];
            let known = version == 2 && state.knows_version_2;
            Ok(status(200, if known { &headers } else { &[] }))
        }
    }
}

fn status(code: u16, headers: &[(&'static str, String)]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

/// What is there already may come again, as it was; nothing may come before what is there.
fn store(stored: &mut Stored, labels: &str, (at, bits): (i64, u64)) -> Result<(), String> {
    let samples = stored.entry(labels.to_owned()).or_default();
    if samples.contains(&(at, bits)) {
        return Ok(());
    }
    if samples.last().is_some_and(|(last, _)| *last >= at) {
        return Err(format!("{labels}: {at} comes behind {samples:?}"));
    }
    samples.push((at, bits));
    Ok(())
}

/// The version that the headers say, if they are as they have to be.
fn version(method: &Method, headers: &HeaderMap) -> Result<u8, String> {
    let header = |name: &str| -> Result<&str, String> {
        let mut all = headers.get_all(name).iter();
        match (all.next().and_then(|value| value.to_str().ok()), all.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(format!("{name} is not there once: {headers:?}")),
        }
    };
    if method != Method::POST || header("content-encoding")? != "snappy" {
        return Err(format!("{method} {headers:?}"));
    }
    if !header("user-agent")?.starts_with("longshore/") {
        return Err(format!("{headers:?}"));
    }
    let version = header("x-prometheus-remote-write-version")?;
    match (header("content-type")?, version) {
        ("application/x-protobuf", "0.1.0") => Ok(1),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0") => Ok(2),
        other => Err(format!("{other:?}")),
    }
}

type Series = Vec<(String, (i64, u64))>;

/// The series of a request, each with its one sample.
fn decoded(version: u8, body: &[u8]) -> Result<Series, String> {
    let plain = snap::raw::Decoder::new().decompress_vec(body);
    let plain = plain.map_err(|error| error.to_string())?;
    let series = match version {
        1 => {
            let request = wire::WriteRequest::decode(plain.as_slice());
            let request = request.map_err(|error| error.to_string())?;
            // Nothing beside what is understood.
            if request.encoded_len() != plain.len() {
                return Err("fields that version 1 does not have".to_owned());
            }
            request.timeseries
        }
        _ => {
            let request = wire::Request::decode(plain.as_slice());
            first_version(&request.map_err(|error| error.to_string())?)?
        }
    };
    if series.is_empty() {
        return Err("an empty request".to_owned());
    }
    let mut all: Series = Vec::new();
    for series in &series {
        let labels = labels(series)?;
        let [sample] = series.samples.as_slice() else {
            return Err(format!("{labels}: {} samples", series.samples.len()));
        };
        if sample.timestamp <= 0 || all.iter().any(|(known, _)| *known == labels) {
            return Err(format!("{labels}: twice, or at {}", sample.timestamp));
        }
        all.push((labels, (sample.timestamp, sample.value.to_bits())));
    }
    Ok(all)
}

/// Labels as text: UTF-8, sorted by name, none twice, none empty, the metric's name among them.
fn labels(series: &wire::TimeSeries) -> Result<String, String> {
    let mut text = Vec::new();
    let mut before = "";
    let mut is_named = false;
    for label in &series.labels {
        let name = std::str::from_utf8(&label.name).map_err(|error| error.to_string())?;
        let value = std::str::from_utf8(&label.value).map_err(|error| error.to_string())?;
        if name.is_empty() || value.is_empty() || name <= before {
            return Err(format!("{name}={value} behind {before}"));
        }
        is_named |= name == "__name__";
        before = name;
        text.push(format!("{name}={value}"));
    }
    if !is_named {
        return Err(format!("no name: {text:?}"));
    }
    Ok(text.join(","))
}

/// Version 2 with its symbols put in, which have to be there, each once.
fn first_version(request: &wire::Request) -> Result<Vec<wire::TimeSeries>, String> {
    let symbols = &request.symbols;
    let mut unique = symbols.clone();
    unique.sort();
    unique.dedup();
    if symbols.first().is_none_or(|first| !first.is_empty()) || unique.len() != symbols.len() {
        return Err(format!("symbols {symbols:?}"));
    }
    let symbol = |number: u32| -> Result<Vec<u8>, String> {
        let symbol = symbols.get(number as usize);
        symbol
            .cloned()
            .ok_or(format!("there is no symbol {number}"))
    };
    let mut all = Vec::new();
    for series in &request.timeseries {
        let mut labels = Vec::new();
        for pair in series.labels_refs.chunks(2) {
            let [name, value] = pair else {
                return Err("a label without a value".to_owned());
            };
            labels.push(wire::Label {
                name: symbol(*name)?,
                value: symbol(*value)?,
            });
        }
        let metadata = series.metadata.as_ref().ok_or("no metadata")?;
        symbol(metadata.help_ref)?;
        symbol(metadata.unit_ref)?;
        all.push(wire::TimeSeries {
            labels,
            samples: series.samples.clone(),
        });
    }
    Ok(all)
}
