//! What the agent says of itself over HTTP: `/metrics`, `/healthz`, `/readyz`, `/status` and `/explain`.
//!
//! It only reads: nothing here can block or slow a worker. Invariant: whatever one answer says of one sink comes
//! from one [`View`](crate::pipeline::board::View) per worker, so the accounts in it balance.

pub mod bounds;
pub mod configured;
pub mod explain;
pub mod filter;
pub mod health;
pub mod metrics;
pub mod process;
pub mod samples;
pub mod server;
pub mod status;
pub mod summary;
pub mod text;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admin::bounds::Bound;
use crate::admin::configured::Configured;
use crate::clock::{Clock, Time};
use crate::node::sampler::Published;
use crate::own_log::limit::RateLimit;
use crate::pipeline::board::Board;

/// One number that a part of the agent keeps of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The metric's name. One that ends in `_total` is a counter and never falls; any other is a gauge.
    pub name: &'static str,
    /// What it counts, in one line, ended by a full stop.
    pub help: &'static str,
    /// One more label, name and value, from a fixed set.
    pub label: Option<(&'static str, &'static str)>,
    /// Its value now.
    pub value: u64,
}

impl Stat {
    /// A number without a further label.
    pub const fn new(name: &'static str, help: &'static str, value: u64) -> Stat {
        Stat {
            name,
            help,
            label: None,
            value,
        }
    }
}

/// What the admin server asks of the catalog.
pub trait CatalogHealth: Send + Sync {
    /// When the catalog last stepped.
    fn stepped_at(&self) -> Time;
    /// Whether every log that existed at the start is known.
    fn first_scan_done(&self) -> bool;
    /// Its numbers, always the same names.
    fn stats(&self) -> Vec<Stat>;
}

/// What the admin server asks of whoever asks the cluster.
pub trait ClusterHealth: Send + Sync {
    /// Its numbers, always the same names.
    fn stats(&self) -> Vec<Stat>;
    /// What is wrong with each kind of object that is asked for, if something is.
    fn problems(&self) -> Vec<(&'static str, String)>;
}

/// Asks a part of the agent for its numbers, always the same names.
pub type ReadStats = Box<dyn Fn() -> Vec<Stat> + Send + Sync>;

/// Numbers of one sink's own, for instance the files it retired; labelled with the sink.
pub struct SinkStats {
    /// The sink's name.
    pub sink: String,
    /// Where they come from.
    pub read: ReadStats,
}

/// All that the admin server looks at; a reload makes it anew.
pub struct Sources {
    /// One board per worker of each sink.
    pub boards: Vec<Arc<Board>>,
    /// One board per sink that takes metrics.
    pub sample_boards: Vec<Arc<crate::samples::board::Board>>,
    /// The clock by which the boards are written.
    pub clock: Arc<dyn Clock>,
    /// The catalog.
    pub catalog: Arc<dyn CatalogHealth>,
    /// Who asks the cluster, if anybody does.
    pub cluster: Option<Arc<dyn ClusterHealth>>,
    /// The samples of the node, if any are taken.
    pub samples: Option<Arc<Published>>,
    /// Further numbers per sink.
    pub extra: Vec<Arc<SinkStats>>,
    /// What became of the configuration.
    pub configured: Arc<Configured>,
    /// The own log's limiter.
    pub own_log: Arc<RateLimit>,
    /// When the agent started.
    pub started: Time,
    /// The agent's version.
    pub version: &'static str,
    /// The node's name.
    pub node: String,
    /// The limits that are in force.
    pub bounds: Vec<Bound>,
    /// `/proc`.
    pub proc: PathBuf,
    /// What `/explain` looks names up in.
    pub basis: explain::Basis,
    /// How many containers of each sink `/metrics` names, those with the most lost and pending bytes first.
    pub container_series_max: usize,
}

/// The sources that each answer is made from: those of its beginning.
pub type Shared = ArcSwap<Sources>;

impl Sources {
    /// The default of [`Sources::container_series_max`].
    pub const CONTAINER_SERIES_MAX: usize = 500;

    /// How long ago a heartbeat was, counted from the start of the agent for one that has never beaten.
    fn step_age(&self, stepped_at: Time) -> std::time::Duration {
        self.clock.now().since(stepped_at.max(self.started))
    }
}
