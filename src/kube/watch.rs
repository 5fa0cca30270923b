//! One kind of object at the API server: listed once, then watched from that version on.
//!
//! Invariant: what has been taken over is what existed at some version, in order. A watch goes on from the last version
//! that was heard of; what cannot be gone on from (410, an event that cannot be read whole) is listed again. Of a page
//! or an event there is at most its bound in memory. A watch that says nothing for longer than it may last is dead, and
//! one that may be dead when it matters (a log directory whose pod is not known) is opened anew, which costs no list.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::http::uri::PathAndQuery;
use tokio::sync::Notify;

use super::lines::Lines;
use super::pace::Pace;
use super::resources::Resource;
use super::stats::{Counted, Fault};
use super::wire::{Any, Event, List, Status};
use crate::clock::{Clock, Time};
use crate::sink::http::client::{Exchange, Outgoing, Streaming};
use crate::sink::http::verdict::Failure;

/// A longer page is not read: a node's pods have some MiB.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Objects of a page; the watch cache may give all at once.
const PAGE_OBJECTS: usize = 500;
/// Objects of a page after one was too long.
const PAGE_OBJECTS_FEW: usize = 25;
/// More pages of one list are not asked for.
const PAGES_MAX: usize = 1_000;
/// A watch may end this much later than was asked.
const MARGIN: Duration = Duration::from_secs(5);
/// What was missed is told this long after a watch was opened, if no bookmark says so before.
const SETTLE: Duration = Duration::from_secs(1);
/// A watch is opened anew for somebody's doubt at most this often.
const PROOF_INTERVAL: Duration = Duration::from_secs(2);
/// A watch that fails this often in a row without a word is begun again by a list.
const FAILURES_MAX: u32 = 5;

/// What went wrong.
pub(super) struct Wrong {
    pub(super) fault: Fault,
    pub(super) text: String,
    /// How long the server asks to wait.
    pub(super) after: Option<Duration>,
}

impl Wrong {
    pub(super) fn new(fault: Fault, text: impl Into<String>) -> Wrong {
        Wrong {
            fault,
            text: text.into(),
            after: None,
        }
    }

    /// No answer.
    pub(super) fn of(failure: &Failure) -> Wrong {
        let fault = match failure.code {
            "timeout" => Fault::Silence,
            "too_long" => Fault::Malformed,
            _ => Fault::Connection,
        };
        Wrong::new(fault, failure.text.clone())
    }

    /// An answer that is none; `body` may say why.
    pub(super) fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Wrong {
        let fault = match status.as_u16() {
            401 => Fault::Unauthorized,
            403 => Fault::Forbidden,
            410 => Fault::Gone,
            429 => Fault::Throttled,
            _ => Fault::Server,
        };
        let said: Status = serde_json::from_slice(body).unwrap_or_default();
        let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
        let seconds: Option<u64> = seconds.and_then(|seconds| seconds.trim().parse().ok());
        Wrong {
            fault,
            text: format!("{status}{}", in_words(&said)),
            after: seconds.map(Duration::from_secs),
        }
    }
}

fn in_words(status: &Status) -> String {
    const CHARS_MAX: usize = 300;
    let text = status.message.as_ref().or(status.reason.as_ref());
    let text: String = text
        .into_iter()
        .flat_map(|text| text.chars())
        .filter(|it| !it.is_control())
        .take(CHARS_MAX)
        .collect();
    match text.is_empty() {
        true => text,
        false => format!(": {text}"),
    }
}

/// How a watch ended.
enum End {
    /// As it should, or because it was to be opened anew.
    Over,
    /// Its version is too old, or it cannot be known what was missed.
    Lost(Wrong),
    /// It may go on from where it was.
    Failed(Wrong),
}

/// Lists and watches one kind of object.
pub struct Watcher<R> {
    /// The kind.
    pub resource: R,
    /// To whom.
    pub exchange: Arc<Exchange>,
    /// What is counted.
    pub counted: Arc<Counted>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When to ask.
    pub pace: Pace,
    /// The first request comes within this long.
    pub start_spread: Duration,
    /// How long a watch may last.
    pub watch_timeout: Duration,
    /// Told when somebody begins to doubt.
    pub doubted: Arc<Notify>,
}

/// Where it is in what there is to hear.
struct Position {
    /// What the watch goes on from.
    version: Option<String>,
    /// The watch cache may be behind what is known: ask for what is true now.
    consistent: bool,
    page_objects: usize,
    failures: u32,
    proven: Time,
}

impl<R: Resource> Watcher<R> {
    /// Does so until it is dropped.
    pub async fn run(mut self) {
        tokio::time::sleep(self.pace.start(self.start_spread)).await;
        let mut at = Position {
            version: None,
            consistent: false,
            page_objects: PAGE_OBJECTS,
            failures: 0,
            proven: self.clock.now(),
        };
        loop {
            if at.version.is_none() {
                match self.list(&at).await {
                    Ok(version) => at.version = Some(version),
                    Err(wrong) => {
                        at.consistent |= matches!(wrong.fault, Fault::Gone | Fault::Malformed);
                        if wrong.fault == Fault::Malformed {
                            at.page_objects = PAGE_OBJECTS_FEW;
                        }
                        self.pause(&wrong).await;
                        continue;
                    }
                }
            }
            match self.watch(&mut at).await {
                End::Over => at.failures = 0,
                End::Lost(wrong) => {
                    (at.version, at.consistent) = (None, true);
                    self.pause(&wrong).await;
                }
                End::Failed(wrong) => {
                    at.failures += 1;
                    if at.failures > FAILURES_MAX {
                        (at.version, at.failures) = (None, 0);
                    }
                    self.pause(&wrong).await;
                }
            }
        }
    }

    /// Takes note of a failure, and waits.
    async fn pause(&mut self, wrong: &Wrong) {
        let resource = self.counted.resource;
        let wait = self.pace.failed(wrong.after);
        let was_in_sync = self.counted.fail(wrong.fault, &wrong.text);
        if was_in_sync || !self.counted.was_complained() {
            let (url, problem) = (self.exchange.what(), &wrong.text);
            tracing::warn!(%resource, %url, %problem, "cannot follow what the API server knows; trying again");
        }
        tokio::time::sleep(wait).await;
    }

    /// The path of the kind, with these parameters beside the selector.
    fn target(&self, parameters: &str) -> Result<PathAndQuery, Wrong> {
        let selector = match self.resource.field_selector() {
            Some(selector) => format!("&fieldSelector={}", escaped(&selector)),
            None => String::new(),
        };
        let path = format!("/api/v1/{}?{parameters}{selector}", self.resource.name());
        path.parse()
            .map_err(|_| Wrong::new(Fault::Malformed, "no path can be made of the node's name"))
    }

    /// All objects; the version at which they were so.
    async fn list(&mut self, at: &Position) -> Result<String, Wrong> {
        let asked_at = self.clock.now();
        let mut version = None;
        let mut more: Option<String> = None;
        self.resource.begin();
        for _ in 0..PAGES_MAX {
            let mut parameters = format!("limit={}", at.page_objects);
            match &more {
                Some(more) => parameters.push_str(&format!("&continue={}", escaped(more))),
                None if !at.consistent => parameters.push_str("&resourceVersion=0"),
                None => {}
            }
            let outgoing = Outgoing {
                target: Some(self.target(&parameters)?),
                ..Outgoing::default()
            };
            self.counted.add(&self.counted.lists);
            let called = self
                .exchange
                .call(hyper::Method::GET, outgoing, PAGE_BYTES_MAX);
            let called = called.await.map_err(|failure| Wrong::of(&failure))?;
            if !called.status.is_success() {
                return Err(Wrong::answered(
                    called.status,
                    &called.headers,
                    &called.body,
                ));
            }
            let unreadable = |error| Wrong::new(Fault::Malformed, format!("not a list: {error}"));
            let page: List<'_> = serde_json::from_slice(&called.body).map_err(unreadable)?;
            let now = self.clock.now();
            self.counted.hear(now);
            for item in page.items.unwrap_or_default() {
                if !self.resource.apply(item.get(), now) {
                    self.counted.add(&self.counted.malformed);
                }
            }
            version = page.metadata.resource_version.or(version);
            more = page.metadata.more.filter(|more| !more.is_empty());
            if more.is_none() {
                self.resource.end(now);
                self.resource.vouch(asked_at);
                let missing = || Wrong::new(Fault::Malformed, "the list has no version");
                return version.filter(|it| !it.is_empty()).ok_or_else(missing);
            }
        }
        let text = format!("the list has more than {PAGES_MAX} pages");
        Err(Wrong::new(Fault::Malformed, text))
    }

    /// Watches from the version on, as long as it lasts.
    async fn watch(&mut self, at: &mut Position) -> End {
        let lasts = self.pace.watch(self.watch_timeout);
        let seconds = lasts.as_secs().max(1);
        let from = escaped(at.version.as_deref().unwrap_or_default());
        let target = self.target(&format!(
            "watch=1&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds={seconds}"
        ));
        let target = match target {
            Ok(target) => target,
            Err(wrong) => return End::Failed(wrong),
        };
        let asked_at = self.clock.now();
        self.counted.add(&self.counted.watches);
        let mut stream = match self.exchange.stream(target).await {
            Ok(stream) => stream,
            Err(failure) => return End::Failed(Wrong::of(&failure)),
        };
        if !stream.status.is_success() {
            let body = stream.head().await;
            let wrong = Wrong::answered(stream.status, &stream.headers, &body);
            return match wrong.fault {
                Fault::Gone => End::Lost(wrong),
                _ => End::Failed(wrong),
            };
        }
        self.counted.hear(self.clock.now());
        self.counted.set_in_sync();
        at.proven = asked_at;
        let dead_at = asked_at + Duration::from_secs(seconds) + MARGIN;
        self.follow(&mut stream, at, dead_at).await
    }

    /// Hears what a watch says.
    async fn follow(&mut self, stream: &mut Streaming, at: &mut Position, dead_at: Time) -> End {
        let mut lines = Lines::default();
        let settled_at = self.clock.now() + SETTLE;
        let mut settled = false;
        loop {
            let now = self.clock.now();
            if !settled && now >= settled_at {
                settled = true;
                at.failures = 0;
                self.pace.succeeded();
                self.resource.vouch(at.proven);
            }
            let doubt = self.resource.wants_proof();
            let doubt = doubt.filter(|wanted| *wanted > at.proven);
            let doubt = doubt.map(|wanted| wanted.max(at.proven + PROOF_INTERVAL));
            if now >= dead_at {
                return End::Failed(Wrong::new(
                    Fault::Silence,
                    "the watch neither ended nor said anything in time",
                ));
            }
            if settled && doubt.is_some_and(|doubt| now >= doubt) {
                return End::Over;
            }
            let mut wake_at = dead_at.min(doubt.unwrap_or(Time::NEVER));
            if !settled {
                wake_at = wake_at.max(now).min(settled_at);
            }
            let chunk = tokio::select! {
                chunk = stream.chunk() => chunk,
                () = tokio::time::sleep(wake_at.since(now)) => continue,
                () = self.doubted.notified() => continue,
            };
            let bytes = match chunk {
                Ok(Some(bytes)) => bytes,
                Ok(None) if settled => return End::Over,
                Ok(None) => {
                    return End::Failed(Wrong::new(Fault::Server, "the watch ended at once"));
                }
                Err(failure) => return End::Failed(Wrong::of(&failure)),
            };
            let now = self.clock.now();
            self.counted.hear(now);
            let mut end = None;
            let taken = lines.take(&bytes, |line| {
                if end.is_none() {
                    end = self.event(line, at, now).err();
                }
            });
            if let Some(end) = end {
                return end;
            }
            if let Err(too_long) = taken {
                return End::Lost(Wrong::new(Fault::Malformed, too_long.to_string()));
            }
        }
    }

    /// One line of a watch.
    fn event(&mut self, line: &[u8], at: &mut Position, now: Time) -> Result<(), End> {
        let lost = |text: String| End::Lost(Wrong::new(Fault::Malformed, text));
        let event: Event<'_> =
            serde_json::from_slice(line).map_err(|error| lost(format!("not an event: {error}")))?;
        let json = event.object.get();
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_str(json).unwrap_or_default();
            let text = format!("the watch was ended{}", in_words(&status));
            return Err(match status.code {
                Some(410) => End::Lost(Wrong::new(Fault::Gone, text)),
                _ => End::Failed(Wrong::new(Fault::Server, text)),
            });
        }
        self.counted.add(&self.counted.events);
        at.failures = 0;
        self.pace.succeeded();
        let good = match event.kind.as_str() {
            "ADDED" | "MODIFIED" => self.resource.apply(json, now),
            "DELETED" => self.resource.delete(json, now),
            "BOOKMARK" => {
                self.resource.vouch(at.proven);
                true
            }
            _ => false,
        };
        if !good {
            self.counted.add(&self.counted.malformed);
        }
        let any: Any = serde_json::from_str(json)
            .map_err(|error| lost(format!("an object without a version: {error}")))?;
        if let Some(version) = any.metadata.resource_version.filter(|it| !it.is_empty()) {
            at.version = Some(version);
        }
        Ok(())
    }
}

/// A parameter's value as a URL has it (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
