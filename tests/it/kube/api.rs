//! A strict API server over TLS that does as a test tells it: lists in pages, watches, bookmarks, and every fault that
//! clients are known to trip over.
//!
//! What breaks the API's rules is noted in [`Api::violations`] and refused.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, Shown, server_tls};

/// How it shall fail.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Pages are no larger than this, whatever is asked for.
    pub page_objects: Option<usize>,
    /// Each list waits.
    pub list_delay: Duration,
    /// A version that is too old is told by an event, not by the status.
    pub gone_by_event: bool,
    /// The next requests are answered with these statuses.
    pub statuses: VecDeque<u16>,
    /// Bookmarks are sent this often.
    pub bookmarks: Option<Duration>,
}

/// One request, as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `pods`, `nodes`, `namespaces`.
    pub resource: String,
    /// Whether it is a watch.
    pub watch: bool,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Versions before this are forgotten.
    oldest: u64,
    /// By kind, namespace and name.
    objects: BTreeMap<(String, String), Value>,
    /// Version, kind, type, object.
    events: Vec<(u64, String, &'static str, Value)>,
    token: Option<String>,
    faults: Faults,
    asked: Vec<Asked>,
    violations: Vec<String>,
    watches_open: usize,
    /// Watches that began before this are ended.
    cut: u64,
    /// Connections that were made before this say nothing more.
    frozen: u64,
    connections: u64,
    begun: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server; stops when dropped.
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long [`Api::wait_for`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Api {
    /// A server that takes this token; the authority that signs for it is written to `ca`.
    pub fn start(token: &str, ca: &Path) -> Api {
        let authority = Authority::new();
        authority.write(ca);
        let tls = server_tls(&Shown::new(&authority.issue("localhost")), None);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            version: 100,
            token: Some(token.to_owned()),
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, TlsAcceptor::from(Arc::new(tls)), served) => {}
                    _ = stopped => {}
                }
            });
        });
        Api {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Adds or changes an object.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.shared.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let key = (resource.to_owned(), name_of(&object));
        let before = state.objects.insert(key, object.clone());
        let kind = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        state
            .events
            .push((version, resource.to_owned(), kind, object));
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Deletes an object, by `NAMESPACE/NAME`.
    pub fn delete(&self, resource: &str, name: &str) {
        let mut state = self.shared.state();
        let key = (resource.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key).unwrap();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state
            .events
            .push((version, resource.to_owned(), "DELETED", object));
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Changes how it fails.
    pub fn fail(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state().faults);
    }

    /// Ends all watches, as they should end.
    pub fn end_watches(&self) {
        let mut state = self.shared.state();
        state.cut = state.begun;
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Forgets all versions but the present one.
    pub fn compact(&self) {
        let mut state = self.shared.state();
        // What nobody can ask for any more.
        state.version += 1;
        state.oldest = state.version;
        state.events.clear();
    }

    /// Says nothing more on any connection that there is, and keeps them open.
    pub fn freeze(&self) {
        let mut state = self.shared.state();
        state.frozen = state.connections;
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Takes another token from now on.
    pub fn change_token(&self, token: &str) {
        self.shared.state().token = Some(token.to_owned());
    }

    /// All that was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How many lists (or watches) of a kind were asked for.
    pub fn count(&self, resource: &str, watch: bool) -> usize {
        let asked = self.asked();
        let same = |it: &&Asked| it.resource == resource && it.watch == watch;
        asked.iter().filter(same).count()
    }

    /// Watches that are open.
    pub fn watches_open(&self) -> usize {
        self.shared.state().watches_open
    }

    /// What was asked that must not be.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Waits until the condition holds; fails the test when it never does.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Api) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let asked = || self.asked();
            assert!(
                Instant::now() < deadline,
                "the API server waited for: {what}\n{:#?}",
                asked()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn name_of(object: &Value) -> String {
    let meta = &object["metadata"];
    match meta["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", meta["name"].as_str().unwrap()),
        None => meta["name"].as_str().unwrap().to_owned(),
    }
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let connection = {
                let mut state = shared.state();
                state.connections += 1;
                state.connections
            };
            let service = hyper::service::service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(handle(&request, connection, &shared).await) }
            });
            // A client that goes away ends in an error here.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(
    request: &Request<Incoming>,
    connection: u64,
    shared: &Arc<Shared>,
) -> Response<Answer> {
    if connection <= shared.state().frozen {
        std::future::pending::<()>().await;
    }
    let path = request.uri().path().to_owned();
    let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let expected = shared
        .state()
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    if expected.as_deref() != header("authorization") {
        return refuse(401, "Unauthorized");
    }
    if let Some(answer) = discovery(&path) {
        return whole(200, &answer);
    }
    let asked = match asked_of(request) {
        Ok(asked) => asked,
        Err(violation) => {
            shared.state().violations.push(violation.clone());
            return refuse(400, &violation);
        }
    };
    let status = {
        let mut state = shared.state();
        state.asked.push(asked.clone());
        state.faults.statuses.pop_front()
    };
    if let Some(status) = status {
        return refuse(status, "as the test says");
    }
    match asked.watch {
        true => watch(&asked, connection, shared),
        false => list(&asked, shared).await,
    }
}

/// What a request asks for, or what is wrong with it.
fn asked_of(request: &Request<Incoming>) -> Result<Asked, String> {
    if request.method() != Method::GET {
        return Err(format!("method {}", request.method()));
    }
    let accept = request.headers().get("accept");
    let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !accept.contains("application/json") {
        return Err(format!("accept {accept}"));
    }
    // The kubelet's list of pods is one as well.
    let path = request.uri().path();
    let resource = match path {
        "/kubelet/pods" => Some("pods"),
        path => path.strip_prefix("/api/v1/"),
    };
    let resource = resource.unwrap_or_default();
    if !["pods", "nodes", "namespaces"].contains(&resource) {
        return Err(format!("path {path}"));
    }
    let parameters = parameters(request.uri().query().unwrap_or_default())?;
    let asked = Asked {
        resource: resource.to_owned(),
        watch: matches!(
            parameters.get("watch").map(String::as_str),
            Some("1" | "true")
        ),
        parameters,
    };
    match wrong(&asked) {
        Some(wrong) => Err(wrong),
        None => Ok(asked),
    }
}

/// What a client asks before it asks for objects.
fn discovery(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind,
            "verbs": ["get", "list", "watch"]})
    };
    Some(match path {
        "/version" => json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
            resource("pods", "Pod", true), resource("nodes", "Node", false),
            resource("namespaces", "Namespace", false)]}),
        _ => return None,
    })
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(format!("parameter {pair}"))?;
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            if *first != b'%' {
                bytes.push(*first);
                continue;
            }
            let digits = rest.get(..2).and_then(|it| std::str::from_utf8(it).ok());
            let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
            bytes.push(byte.ok_or(format!("escape in {pair}"))?);
            rest = &rest[2..];
        }
        let value = String::from_utf8(bytes).map_err(|_| format!("text in {pair}"))?;
        if all.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} twice"));
        }
    }
    Ok(all)
}

/// What an API server would not understand, or would be harmed by.
fn wrong(asked: &Asked) -> Option<String> {
    let has = |name: &str| asked.parameters.get(name).map(String::as_str);
    let known = [
        "watch",
        "limit",
        "continue",
        "resourceVersion",
        "timeoutSeconds",
        "fieldSelector",
        "allowWatchBookmarks",
        "resourceVersionMatch",
    ];
    let mut names = asked.parameters.keys();
    if let Some(name) = names.find(|name| !known.contains(&name.as_str())) {
        return Some(format!("parameter {name}"));
    }
    let number = |name: &str| has(name).is_none_or(|it| it.parse::<u64>().is_ok());
    for name in ["limit", "timeoutSeconds", "resourceVersion"] {
        if !number(name) && has(name) != Some("") {
            return Some(format!("{name} is {:?}", has(name)));
        }
    }
    if has("continue").is_some() && has("resourceVersion").is_some() {
        return Some("continue together with resourceVersion".to_owned());
    }
    if asked.watch && has("continue").is_some() {
        return Some("a watch with continue".to_owned());
    }
    None
}

fn selected(object: &Value, selector: Option<&String>) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    selector.split(',').all(|term| {
        let (path, value) = term.split_once('=').unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str) == Some(value)
    })
}

async fn list(asked: &Asked, shared: &Arc<Shared>) -> Response<Answer> {
    let delay = shared.state().faults.list_delay;
    tokio::time::sleep(delay).await;
    let state = shared.state();
    // `VERSION:OFFSET`
    let (version, from) = match asked.parameters.get("continue") {
        Some(token) => {
            let (version, from) = token.split_once(':').unwrap();
            (version.parse().unwrap(), from.parse::<usize>().unwrap())
        }
        None => (state.version, 0),
    };
    if version < state.oldest {
        return refuse(410, "The provided continue parameter is too old");
    }
    let selector = asked.parameters.get("fieldSelector");
    let objects = state.objects.iter();
    let objects =
        objects.filter(|((kind, _), object)| *kind == asked.resource && selected(object, selector));
    let all: Vec<&Value> = objects.map(|(_, object)| object).collect();
    let limit = asked.parameters.get("limit").and_then(|it| it.parse().ok());
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let limit = limit.min(state.faults.page_objects.unwrap_or(usize::MAX));
    let page: Vec<&Value> = all.iter().skip(from).take(limit).copied().collect();
    let mut meta = json!({"resourceVersion": version.to_string()});
    if from + page.len() < all.len() {
        meta["continue"] = json!(format!("{version}:{}", from + page.len()));
    }
    let kind = match asked.resource.as_str() {
        "pods" => "PodList",
        "nodes" => "NodeList",
        _ => "NamespaceList",
    };
    whole(
        200,
        &json!({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": page}),
    )
}

fn watch(asked: &Asked, connection: u64, shared: &Arc<Shared>) -> Response<Answer> {
    let parameter = |name: &str| {
        asked
            .parameters
            .get(name)
            .and_then(|it| it.parse::<u64>().ok())
    };
    let mut state = shared.state();
    let from = parameter("resourceVersion").unwrap_or(state.version);
    let gone = from < state.oldest;
    if gone && !state.faults.gone_by_event {
        return refuse(410, "too old resource version");
    }
    state.begun += 1;
    state.watches_open += 1;
    let mut watching = Watching {
        asked: asked.clone(),
        connection,
        from,
        begun: state.begun,
        until: Instant::now() + Duration::from_secs(parameter("timeoutSeconds").unwrap_or(1_800)),
        bookmarks: state
            .faults
            .bookmarks
            .filter(|_| asked.parameters.contains_key("allowWatchBookmarks")),
        shared: Arc::clone(shared),
    };
    drop(state);
    let (sender, receiver) = mpsc::channel(1_024);
    tokio::spawn(async move {
        if gone {
            let status = status(410, "too old resource version");
            let _left = sender.send(line("ERROR", &status)).await;
        } else {
            watching.run(&sender).await;
        }
        watching.shared.state().watches_open -= 1;
    });
    Response::new(Answer::Stream(receiver))
}

struct Watching {
    asked: Asked,
    connection: u64,
    from: u64,
    begun: u64,
    until: Instant,
    bookmarks: Option<Duration>,
    shared: Arc<Shared>,
}

impl Watching {
    async fn run(&mut self, sender: &mpsc::Sender<Bytes>) {
        let mut bookmark_at = self.bookmarks.map(|every| Instant::now() + every);
        loop {
            let shared = Arc::clone(&self.shared);
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (lines, over, frozen) = self.news();
            if frozen {
                // Until the client goes away.
                sender.closed().await;
                return;
            }
            for line in lines {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            if over {
                return;
            }
            let wake = bookmark_at.map_or(self.until, |at| at.min(self.until));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake.into()) => {}
                () = sender.closed() => return,
            }
            if let (Some(at), Some(every)) = (bookmark_at, self.bookmarks)
                && Instant::now() >= at
            {
                bookmark_at = Some(at + every);
                let version = self.from.to_string();
                let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version}});
                let frozen = self.news().2;
                if !frozen && sender.send(line("BOOKMARK", &bookmark)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The lines that are new, and whether the watch is over or frozen.
    fn news(&mut self) -> (Vec<Bytes>, bool, bool) {
        let state = self.shared.state();
        if self.connection <= state.frozen {
            return (Vec::new(), false, true);
        }
        let selector = self.asked.parameters.get("fieldSelector");
        let mut lines = Vec::new();
        for (version, kind, event, object) in &state.events {
            if *version > self.from && *kind == self.asked.resource && selected(object, selector) {
                lines.push(line(event, object));
            }
        }
        self.from = self.from.max(state.version);
        let over = self.begun <= state.cut || Instant::now() >= self.until;
        (lines, over, false)
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        410 => "Expired",
        _ => "",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn refuse(code: u16, message: &str) -> Response<Answer> {
    whole(code, &status(code, message))
}

fn whole(code: u16, body: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(Bytes::from(body.to_string()))));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

/// A body: all at once, or as it comes.
pub enum Answer {
    /// This.
    Whole(Option<Bytes>),
    /// What is sent.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let framed = |bytes: Option<Bytes>| bytes.map(|bytes| Ok(Frame::data(bytes)));
        match &mut *self {
            Answer::Whole(body) => Poll::Ready(framed(body.take())),
            Answer::Stream(receiver) => receiver.poll_recv(context).map(framed),
        }
    }
}
