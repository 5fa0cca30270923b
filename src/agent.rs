//! The only file that knows every part: builds them, starts them in order, drains them in order.
//!
//! Threads: one per pipeline worker, one for the catalog, one for samples of the node (and one that asks its file
//! systems), one for the network (tokio: http sinks and the admin server), and those that file, stdout and checkpoint
//! keep for themselves.

mod build;
pub mod connect;
mod descriptors;
mod measures;
mod samples;
mod stats;
mod workers;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use self::build::SinkParts;
use self::workers::Running;
use crate::admin::bounds::Bound;
use crate::admin::server::{Server, serve};
use crate::admin::{CatalogHealth, SinkStats, Sources};
use crate::catalog::Catalog;
use crate::catalog::feed::{Feed, Shard};
use crate::catalog::watch;
use crate::checkpoint::{Checkpoint, deal, load};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Sink};
use crate::files::{Files, NodeFiles};
use crate::node::sampler;
use crate::own_log::limit::RateLimit;
use crate::own_pod::OwnPod;
use crate::pipeline::board::Board;
use crate::pipeline::worker::Parts;

/// Why the agent did not start. Nothing is left running.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state directory or a sink's part of it.
    #[error("{0}")]
    Checkpoint(#[from] crate::checkpoint::LoadError),
    /// A file or directory of the agent's own.
    #[error("cannot {attempt} {path}: {source}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A sink cannot work as configured.
    #[error("{0}")]
    Sink(String),
    /// More workers than one catalog can serve.
    #[error(
        "the sinks have {workers} workers together, at most {most} are possible: lower `workers`"
    )]
    TooManyWorkers {
        /// How many.
        workers: usize,
        /// The limit.
        most: usize,
    },
    /// The admin address.
    #[error("cannot listen on {address} (admin.listen): {source}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread or the network runtime.
    #[error("cannot start {what}: {source}; raise the limit on threads or descriptors")]
    Thread {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is not configuration.
#[derive(Default)]
pub struct Surroundings {
    /// The agent's own pod, if it runs in one.
    pub own_pod: Option<OwnPod>,
    /// The own log's limiter; with it the admin server is started.
    pub own_log: Option<Arc<RateLimit>>,
}

/// What [`Agent::stop`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Everything that was read has been settled; otherwise the rest is read again at the next start.
    pub drained: bool,
}

/// A running agent.
pub struct Agent {
    boards: Vec<Arc<Board>>,
    workers: Vec<Running>,
    samples: Vec<samples::Running>,
    catalog: watch::Running,
    sampler: Option<sampler::Running>,
    server: Option<Server>,
    network: Network,
    clock: Arc<dyn Clock>,
}

impl Agent {
    /// Starts everything that `config` asks for.
    pub fn start(config: &Config, surroundings: Surroundings) -> Result<Agent, StartError> {
        let config = &descriptors::fitted(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let files: Arc<dyn Files> = Arc::new(NodeFiles);
        let own_log = surroundings.own_log;
        let listener = match &own_log {
            Some(_) => Some(listen(config)?),
            None => None,
        };
        let network = Network::start()?;
        let in_pod = surroundings.own_pod.is_some();
        let built = Built::all(config, &clock, &files, network.handle(), in_pod)?;
        let catalog = Catalog::new(
            &config.logs,
            Arc::clone(&files),
            Arc::clone(&clock),
            built.log_sinks,
            built.feeds,
            surroundings.own_pod.filter(|_| !config.logs.collect_self),
        )
        .flushed_each(flush_interval(config));
        let catalog_health = Arc::new(stats::CatalogView(catalog.stats()));
        let workers = built
            .workers
            .into_iter()
            .map(|(bell, parts, from)| workers::start(bell, parts, from, Arc::clone(&clock)))
            .collect::<Result<Vec<Running>, StartError>>()?;
        let samples = built
            .samples
            .into_iter()
            .map(|waiting| waiting.start(&clock))
            .collect::<Result<Vec<samples::Running>, StartError>>()?;
        let inboxes = samples.iter().map(|it| Arc::clone(&it.inbox)).collect();
        let catalog = start_catalog(catalog, &clock)?;
        let mut agent = Agent {
            boards: built.boards,
            workers,
            samples,
            catalog,
            sampler: measures::start(config, inboxes, network.handle(), &clock)?,
            server: None,
            network,
            clock,
        };
        if let (Some(listener), Some(own_log)) = (listener, own_log) {
            let sources = agent.sources(config, catalog_health, built.sink_stats, own_log);
            let served = serve(listener, Arc::new(sources), agent.network.handle());
            let address = config.admin.listen;
            agent.server = Some(served.map_err(|source| StartError::Listen { address, source })?);
        }
        Ok(agent)
    }

    fn sources(
        &self,
        config: &Config,
        catalog: Arc<dyn CatalogHealth>,
        extra: Vec<SinkStats>,
        own_log: Arc<RateLimit>,
    ) -> Sources {
        Sources {
            boards: self.boards.clone(),
            sample_boards: self
                .samples
                .iter()
                .map(|it| Arc::clone(&it.board))
                .collect(),
            clock: Arc::clone(&self.clock),
            catalog,
            samples: self.sampler.as_ref().map(|it| Arc::clone(it.published())),
            extra,
            own_log,
            started: self.clock.now(),
            version: env!("CARGO_PKG_VERSION"),
            node: config.node.clone(),
            bounds: Bound::of(config),
            proc: "/proc".into(),
            container_series_max: Sources::CONTAINER_SERIES_MAX,
        }
    }

    /// One board per worker; a view on it is at most a second old.
    pub fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    /// Where the admin server listens, if there is one.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Stops from the left: reading ends; what was read is sent, within `grace`, and made durable.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        let until = self.clock.now() + grace;
        for worker in &self.workers {
            worker.drain(until);
        }
        // Before the sinks of samples: what they send last is the end of every series.
        drop(self.sampler.take());
        for samples in &self.samples {
            samples.drain(until);
        }
        let mut drained = true;
        for worker in self.workers.drain(..) {
            drained &= worker.join();
        }
        for samples in self.samples.drain(..) {
            samples.join();
        }
        self.catalog.stop();
        drop(self.server.take());
        self.network.stop();
        Stopped { drained }
    }
}

fn listen(config: &Config) -> Result<std::net::TcpListener, StartError> {
    let address = config.admin.listen;
    std::net::TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

/// What is made of the sinks before anything runs.
#[derive(Default)]
struct Built {
    boards: Vec<Arc<Board>>,
    feeds: Vec<Arc<Feed>>,
    workers: Vec<(workers::Bell, Parts, Option<Checkpoint>)>,
    sink_stats: Vec<SinkStats>,
    samples: Vec<samples::Waiting>,
    /// How many sinks take logs.
    log_sinks: usize,
}

impl Built {
    fn all(
        config: &Config,
        clock: &Arc<dyn Clock>,
        files: &Arc<dyn Files>,
        network: &tokio::runtime::Handle,
        in_pod: bool,
    ) -> Result<Built, StartError> {
        let mut built = Built::default();
        for sink in &config.sinks {
            let mut parts = SinkParts::new(config, sink, clock, network, in_pod);
            if sink.signals.metrics {
                built
                    .samples
                    .push(samples::Waiting::of(&sink.name, &mut parts)?);
            }
            if sink.signals.logs {
                built.logs(config, sink, &mut parts, files)?;
            }
            built.sink_stats.extend(parts.stats());
        }
        if built.feeds.len() > Feed::COUNT_MAX {
            return Err(StartError::TooManyWorkers {
                workers: built.feeds.len(),
                most: Feed::COUNT_MAX,
            });
        }
        Ok(built)
    }

    /// The workers of a sink that takes logs.
    fn logs(
        &mut self,
        config: &Config,
        sink: &Sink,
        parts: &mut SinkParts<'_>,
        files: &Arc<dyn Files>,
    ) -> Result<(), StartError> {
        let checkpoints = checkpoints(&config.state_dir, sink)?;
        for (worker, checkpoint) in checkpoints.into_iter().enumerate() {
            let shard = Shard {
                sink: self.log_sinks,
                worker,
                workers: sink.workers,
            };
            let bell = workers::Bell::new();
            let feed = Arc::new(Feed::new(shard, self.feeds.len(), bell.waker()));
            remember(&feed, checkpoint.as_ref());
            let board = Arc::new(Board::new(&sink.name, worker));
            let made = parts.worker(worker, &bell, &feed, &board, files)?;
            self.workers.push((bell, made, checkpoint));
            self.boards.push(board);
            self.feeds.push(feed);
        }
        self.log_sinks += 1;
        Ok(())
    }
}

/// Of the sink that waits least.
fn flush_interval(config: &Config) -> Duration {
    let sinks = config.sinks.iter().filter(|sink| sink.signals.logs);
    let shortest = sinks.map(|sink| sink.limits.flush_interval_ms).min();
    shortest.map_or(Duration::MAX, Duration::from_millis)
}

fn start_catalog(catalog: Catalog, clock: &Arc<dyn Clock>) -> Result<watch::Running, StartError> {
    let fail = |source| StartError::Thread {
        what: "the catalog",
        source,
    };
    watch::spawn(catalog, Arc::clone(clock)).map_err(fail)
}

/// A sink's checkpoints, one per worker that it has now. None at all: the sink never ran. One that ran and whose files
/// are all damaged has empty ones: it begins again and repeats, for what `read_from` would skip may be undelivered.
fn checkpoints(state_dir: &Path, sink: &Sink) -> Result<Vec<Option<Checkpoint>>, StartError> {
    let loaded = load(&build::sink_directory(state_dir, &sink.name))?;
    if loaded.left.is_empty() && loaded.put_aside.is_empty() {
        return Ok(vec![None; sink.workers]);
    }
    let dealt = deal(loaded.left, sink.workers);
    Ok(dealt.into_iter().map(Some).collect())
}

/// Whose each chain is, before the catalog can ask.
fn remember(feed: &Feed, checkpoint: Option<&Checkpoint>) {
    for chain in checkpoint.iter().flat_map(|checkpoint| &checkpoint.chains) {
        feed.remember(&chain.key());
    }
}

/// The thread that drives tokio.
struct Network {
    handle: tokio::runtime::Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    fn start() -> Result<Network, StartError> {
        let fail = |source| StartError::Thread {
            what: "the network runtime",
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fail)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                // Ends when the sender is used or dropped.
                let _either: Result<(), oneshot::error::RecvError> = runtime.block_on(ended);
            })
            .map_err(fail)?;
        Ok(Network {
            handle,
            end: Some(end),
            thread: Some(thread),
        })
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }

    fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the network thread ended abnormally");
        }
    }
}
