//! The only file that knows every part: builds them, starts them in order, drains them in order.
//!
//! Threads: one per pipeline worker, one for the catalog, one for samples of the node (and one that asks its file
//! systems), one for the network (tokio: http sinks and the admin server), and those that file, stdout and checkpoint
//! keep for themselves.

mod build;
pub mod cluster;
pub mod connect;
mod descriptors;
mod measures;
mod network;
pub mod reload;
mod samples;
mod sinks;
mod stats;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use self::measures::Outlets;
use self::network::Network;
use self::sinks::{Maker, Places};
use crate::admin::bounds::Bound;
use crate::admin::configured::Configured;
use crate::admin::explain::Basis;
use crate::admin::server::{Server, serve};
use crate::admin::{CatalogHealth, Shared, Sources};
use crate::catalog::change::Changes;
use crate::catalog::watch;
use crate::catalog::{Catalog, Wanted};
use crate::clock::{Clock, SystemClock, Time};
use crate::config::Config;
use crate::files::{Files, NodeFiles};
use crate::node::sampler;
use crate::own_log::limit::RateLimit;
use crate::own_pod::OwnPod;
use crate::pipeline::board::Board;
use crate::pipeline::drain::After;
use crate::select::plan::Planner;

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
        "the sinks have more than {} workers together: lower `workers`",
        crate::catalog::feed::Feed::COUNT_MAX
    )]
    TooManyWorkers,
    /// More sinks than the catalog has places for.
    #[error(
        "a running agent has places for as many sinks as it began with, and for {} at least: restart it",
        Catalog::SLOTS_MIN
    )]
    TooManySinks,
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
    /// As it was given.
    config: Config,
    in_pod: bool,
    sinks: Vec<sinks::Running>,
    places: Places,
    catalog: watch::Running,
    changes: Arc<Changes>,
    catalog_health: Arc<dyn CatalogHealth>,
    basis: Basis,
    outlets: Arc<Outlets>,
    cluster: Option<cluster::Cluster>,
    sampler: Option<sampler::Running>,
    configured: Arc<Configured>,
    pages: Option<Pages>,
    network: Network,
    clock: Arc<dyn Clock>,
    files: Arc<dyn Files>,
    started: Time,
}

/// The admin server and what it shows.
struct Pages {
    sources: Arc<Shared>,
    own_log: Arc<RateLimit>,
    server: Server,
}

impl Agent {
    /// Starts everything that `config` asks for.
    pub fn start(config: &Config, surroundings: Surroundings) -> Result<Agent, StartError> {
        let given = config.clone();
        let config = &descriptors::fitted(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let files: Arc<dyn Files> = Arc::new(NodeFiles);
        let listener = match &surroundings.own_log {
            Some(_) => Some(listen(config)?),
            None => None,
        };
        let network = Network::start()?;
        let in_pod = surroundings.own_pod.is_some();
        let log_sinks = config.sinks.iter().filter(|sink| sink.signals.logs).count();
        let mut places = Places::new(log_sinks.max(Catalog::SLOTS_MIN));
        let maker = Maker {
            config,
            clock: &clock,
            files: &files,
            network: network.handle(),
            in_pod,
        };
        let made = config.sinks.iter();
        let made = made.map(|sink| maker.make(sink, None, &mut places));
        let made = made.collect::<Result<Vec<_>, StartError>>()?;
        let cluster = cluster::start(config, &clock, network.handle())?;
        let catalog = Catalog::new(
            &config.logs,
            Arc::clone(&files),
            Arc::clone(&clock),
            log_sinks,
            made.iter().flat_map(|made| made.feeds.clone()).collect(),
            surroundings.own_pod.filter(|_| !config.logs.collect_self),
        );
        let catalog = told(catalog, config, cluster.as_ref());
        let (changes, catalog_stats) = (catalog.changes(), catalog.stats());
        let basis = basis(config, &catalog, cluster.as_ref());
        let started = made.into_iter().map(|made| made.start(&clock));
        let sinks = started.collect::<Result<Vec<_>, StartError>>()?;
        let catalog = start_catalog(catalog, &clock)?;
        if let Some(cluster) = &cluster {
            cluster.pods.wakes(catalog.waker());
        }
        let pods = cluster.as_ref().map(|cluster| &cluster.pods);
        let outlets = Arc::new(Outlets::default());
        outlets.set(inboxes(&sinks));
        let mut agent = Agent {
            config: given,
            in_pod,
            sinks,
            places,
            catalog,
            sampler: measures::start(config, pods, &outlets, network.handle(), &clock)?,
            cluster,
            changes,
            basis,
            catalog_health: Arc::new(stats::CatalogView(catalog_stats)),
            outlets,
            configured: Arc::new(Configured::started(clock.now())),
            pages: None,
            network,
            started: clock.now(),
            clock,
            files,
        };
        if let (Some(listener), Some(own_log)) = (listener, surroundings.own_log) {
            agent.open_pages(listener, own_log)?;
        }
        Ok(agent)
    }

    fn open_pages(
        &mut self,
        listener: std::net::TcpListener,
        own_log: Arc<RateLimit>,
    ) -> Result<(), StartError> {
        let sources = Arc::new(Shared::from_pointee(self.sources(Arc::clone(&own_log))));
        let served = serve(listener, Arc::clone(&sources), self.network.handle());
        let address = self.config.admin.listen;
        let server = served.map_err(|source| StartError::Listen { address, source })?;
        self.pages = Some(Pages {
            sources,
            own_log,
            server,
        });
        Ok(())
    }

    /// What the pages show as things are now.
    fn sources(&self, own_log: Arc<RateLimit>) -> Sources {
        let samples = self.sinks.iter().filter_map(|sink| sink.samples.as_ref());
        Sources {
            boards: self.boards(),
            sample_boards: samples.map(|it| Arc::clone(&it.board)).collect(),
            clock: Arc::clone(&self.clock),
            catalog: Arc::clone(&self.catalog_health),
            cluster: self.cluster.as_ref().map(cluster::Cluster::health),
            samples: self.sampler.as_ref().map(|it| Arc::clone(it.published())),
            extra: self
                .sinks
                .iter()
                .filter_map(|sink| sink.stats.clone())
                .collect(),
            configured: Arc::clone(&self.configured),
            own_log,
            started: self.started,
            version: env!("CARGO_PKG_VERSION"),
            node: self.config.node.clone(),
            bounds: Bound::of(&descriptors::fitted(&self.config)),
            proc: "/proc".into(),
            basis: self.basis.clone(),
            container_series_max: Sources::CONTAINER_SERIES_MAX,
        }
    }

    /// One board per worker; a view on it is at most a second old.
    pub fn boards(&self) -> Vec<Arc<Board>> {
        let boards = self.sinks.iter().flat_map(|sink| &sink.boards);
        boards.cloned().collect()
    }

    /// Where the admin server listens, if there is one.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.pages.as_ref().map(|pages| pages.server.address())
    }

    /// What it runs by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The newest configuration is the one that it runs by.
    pub fn confirm(&self) {
        self.configured.confirm();
    }

    /// The newest configuration cannot be used, and this is why. Returns whether that is news.
    pub fn refuse(&self, why: &str) -> bool {
        self.configured.refuse(self.clock.now(), why)
    }

    /// Stops from the left: reading ends; what was read is sent, within `grace`, and made durable.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        let until = self.clock.now() + grace;
        for sink in &self.sinks {
            sink.drain_logs(until, After::Restart);
        }
        // Before the sinks of samples: what they send last is the end of every series.
        drop(self.sampler.take());
        for sink in &self.sinks {
            sink.drain_samples(until);
        }
        let mut drained = true;
        for sink in self.sinks.drain(..) {
            drained &= sink.join();
        }
        self.catalog.stop();
        drop(self.cluster.take());
        drop(self.pages.take());
        self.network.stop();
        Stopped { drained }
    }
}

fn listen(config: &Config) -> Result<std::net::TcpListener, StartError> {
    let address = config.admin.listen;
    std::net::TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

fn inboxes(sinks: &[sinks::Running]) -> Vec<Arc<crate::samples::inbox::Inbox>> {
    let samples = sinks.iter().filter_map(|sink| sink.samples.as_ref());
    samples.map(|it| Arc::clone(&it.inbox)).collect()
}

/// Of the sink that waits least.
fn flush_interval(config: &Config) -> Duration {
    let sinks = config.sinks.iter().filter(|sink| sink.signals.logs);
    let shortest = sinks.map(|sink| sink.limits.flush_interval_ms).min();
    shortest.map_or(Duration::MAX, Duration::from_millis)
}

/// The catalog, told what the sinks want and who knows the pods.
fn told(catalog: Catalog, config: &Config, cluster: Option<&cluster::Cluster>) -> Catalog {
    let catalog = catalog
        .flushed_each(flush_interval(config))
        .wanted_by(wanted(config));
    match cluster {
        Some(cluster) => cluster.shown_to(catalog),
        None => catalog,
    }
}

/// What `/explain` looks names up in.
fn basis(config: &Config, catalog: &Catalog, cluster: Option<&cluster::Cluster>) -> Basis {
    Basis {
        log_root: config.logs.pod_logs.clone(),
        register: catalog.register(),
        stats: catalog.stats(),
        pods: cluster.map(|cluster| Arc::clone(&cluster.pods)),
    }
}

/// Whether any sink may want a chain.
fn wanted(config: &Config) -> Wanted {
    let sinks = config.sinks.iter().filter(|sink| sink.signals.logs);
    let planners: Vec<Planner> = sinks
        .map(|sink| Planner::new(sink.select.clone()))
        .collect();
    Arc::new(move |chain| planners.iter().any(|planner| planner.may_want(chain)))
}

fn start_catalog(catalog: Catalog, clock: &Arc<dyn Clock>) -> Result<watch::Running, StartError> {
    let fail = |source| StartError::Thread {
        what: "the catalog",
        source,
    };
    watch::spawn(catalog, Arc::clone(clock)).map_err(fail)
}
