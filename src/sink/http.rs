//! HTTP POST: one payload, one request, one verdict.
//!
//! Owns the attempts under way on a tokio runtime that another thread drives. Invariant: every attempt that
//! [`Transport::try_submit`] took gets exactly one verdict, also when its task is cancelled or the runtime is gone.
//! What follows from a verdict (back-off, pieces, pause) is the pipeline's.

pub mod auth;
pub mod body;
pub mod client;
pub mod connect;
pub mod stamp;
pub mod tls;
pub mod token;
pub mod verdict;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::client::{Exchange, Outgoing, Reading};
use self::connect::ProxySettings;
use self::token::WorkloadIdentity;
use self::verdict::Failure;
use super::{Attempt, Transport, Verdict};
use crate::clock::{Clock, SystemClock};
use crate::config::HttpSink;
use crate::waker::Waker;

/// What the payloads are, for the request's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Encoding`; absent for uncompressed payloads.
    pub content_encoding: Option<&'static str>,
}

/// What surrounds the sink and is not its configuration. Given as a value so that nothing has to touch the
/// process's own environment to be tried.
#[derive(Clone)]
pub struct Surroundings {
    /// Moments and dates.
    pub clock: Arc<dyn Clock>,
    /// Which proxy to go through.
    pub proxy: ProxySettings,
    /// Who the pod is to Azure.
    pub identity: WorkloadIdentity,
}

impl Wire {
    /// Whether requests go over HTTP/2, which gRPC is defined on alone; all else goes over HTTP/1.1.
    pub fn http2(&self) -> bool {
        self.content_type.starts_with("application/grpc")
    }
}

impl Surroundings {
    /// The system's clock and the process's environment variables.
    pub fn of_process() -> Surroundings {
        Surroundings {
            clock: Arc::new(SystemClock::new()),
            proxy: ProxySettings::from_variables(|name| std::env::var(name).ok()),
            identity: WorkloadIdentity::from_variables(|name| std::env::var(name).ok()),
        }
    }
}

/// A setting with which the sink can never work. Files that cannot be read are not among these: they may come
/// right while the agent runs, so they pause the sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot start sink {sink}: {setting}: {problem}")]
pub struct StartError {
    /// The sink's name.
    pub sink: String,
    /// Which setting (or environment variable) is wrong.
    pub setting: String,
    /// What is wrong with it, without its value where that may be a secret.
    pub problem: String,
}

/// A setting that is wrong and why; [`StartError`] without the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    setting: String,
    problem: String,
}

impl Mistake {
    /// The same, of the sink (or other user of HTTP) of this name.
    pub fn of(self, sink: &str) -> StartError {
        StartError {
            sink: sink.to_owned(),
            setting: self.setting,
            problem: self.problem,
        }
    }

    fn new(setting: impl Into<String>, problem: impl Into<String>) -> Mistake {
        Mistake {
            setting: setting.into(),
            problem: problem.into(),
        }
    }
}

/// How a sink speaks over HTTP: what a request holds beside the payload, and what the answer to it means.
pub trait Protocol: Send + Sync {
    /// Makes an attempt, of one request or several. Cancelled by being dropped.
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a>;
}

/// An attempt under way.
pub type Attempting<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// The payload is the request, and each answer speaks for itself.
struct Judged<F>(F);

impl<F> Protocol for Judged<F>
where
    F: Fn(&verdict::Answer<'_>) -> Verdict + Send + Sync,
{
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        let reading: &Reading<'_> = &self.0;
        Box::pin(exchange.post(Outgoing::of(attempt.body), reading))
    }
}

/// The transport of a sink that speaks HTTP.
pub struct Http {
    exchange: Arc<Exchange>,
    protocol: Arc<dyn Protocol>,
    runtime: Handle,
    /// Dropping the set cancels what is still under way.
    tasks: JoinSet<()>,
    sender: Sender<(u64, Verdict)>,
    verdicts: Receiver<(u64, Verdict)>,
    waker: Waker,
    /// Attempts whose verdict has not been polled; bounds the tasks and the channel.
    in_flight: usize,
    in_flight_max: usize,
}

impl Http {
    /// A transport in the surroundings of this process. `in_flight_max` attempts are taken at once; `waker` is
    /// woken after each verdict. Connects only when the first attempt is made.
    pub fn start(
        name: &str,
        config: &HttpSink,
        wire: Wire,
        in_flight_max: usize,
        runtime: &Handle,
        waker: Waker,
    ) -> Result<Http, StartError> {
        let surroundings = Surroundings::of_process();
        Http::start_in(
            &surroundings,
            name,
            config,
            wire,
            in_flight_max,
            runtime,
            waker,
        )
    }

    /// [`Http::start`] in given surroundings.
    pub fn start_in(
        surroundings: &Surroundings,
        name: &str,
        config: &HttpSink,
        wire: Wire,
        in_flight_max: usize,
        runtime: &Handle,
        waker: Waker,
    ) -> Result<Http, StartError> {
        let in_flight_max = in_flight_max.max(1);
        let exchange = Exchange::new(surroundings, name, config, wire, in_flight_max)
            .map_err(|mistake| mistake.of(name))?;
        let (sender, verdicts) = channel();
        Ok(Http {
            exchange: Arc::new(exchange),
            protocol: Arc::new(Judged(verdict::judge)),
            runtime: runtime.clone(),
            tasks: JoinSet::new(),
            sender,
            verdicts,
            waker,
            in_flight: 0,
            in_flight_max,
        })
    }
}

impl Http {
    /// The same, speaking another protocol than that of the `http` sink.
    #[must_use]
    pub fn speaking(self, protocol: impl Protocol + 'static) -> Http {
        let protocol = Arc::new(protocol);
        Http { protocol, ..self }
    }

    /// The same, with answers read as another protocol means them.
    #[must_use]
    pub fn judged_by<F>(self, judge: F) -> Http
    where
        F: Fn(&verdict::Answer<'_>) -> Verdict + Send + Sync + 'static,
    {
        self.speaking(Judged(judge))
    }
}

impl Transport for Http {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        if self.in_flight >= self.in_flight_max {
            return Err(attempt);
        }
        self.in_flight += 1;
        let mut ticket = Ticket {
            id: attempt.id,
            what: Arc::clone(&self.exchange),
            verdicts: Some(self.sender.clone()),
            waker: self.waker.clone(),
        };
        let exchange = Arc::clone(&self.exchange);
        let protocol = Arc::clone(&self.protocol);
        self.tasks.spawn_on(
            async move {
                let verdict = protocol.attempt(&exchange, attempt).await;
                ticket.settle(verdict);
            },
            &self.runtime,
        );
        Ok(())
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        while self.tasks.try_join_next().is_some() {}
        let settled = self.verdicts.try_recv().ok()?;
        self.in_flight -= 1;
        Some(settled)
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("what", &self.exchange.what())
            .field("in_flight", &self.in_flight)
            .field("in_flight_max", &self.in_flight_max)
            .finish_non_exhaustive()
    }
}

/// The duty to give one verdict: given by [`Ticket::settle`], or by the drop of a task that never got there.
struct Ticket {
    id: u64,
    what: Arc<Exchange>,
    verdicts: Option<Sender<(u64, Verdict)>>,
    waker: Waker,
}

impl Ticket {
    fn settle(&mut self, verdict: Verdict) {
        if let Some(verdicts) = self.verdicts.take() {
            // The receiver is gone only when the transport is, and then nobody waits for the verdict.
            let _unheard: Result<(), _> = verdicts.send((self.id, verdict));
            self.waker.wake();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.verdicts.is_some() {
            let verdict = verdict::fail(self.what.what(), &Failure::cancelled());
            self.settle(verdict);
        }
    }
}
