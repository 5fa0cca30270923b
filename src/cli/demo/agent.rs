//! Where the demo meets the agent: how it is configured, started, watched and stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::DemoError;
use crate::agent::Surroundings;
use crate::config::kubernetes::Kubernetes;
use crate::config::metrics::Metrics;
use crate::config::multiline::Multiline;
use crate::config::select::Select;
use crate::config::{
    Admin, Compression, Config, FileSink, Limits, Logs, OwnLog, ReadFrom, Rows, Signals, Sink,
    SinkKind,
};
use crate::pipeline::board::Board;
use crate::pipeline::ledger::Accounts;

/// How long a drain may take.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// A running agent, as far as the demo needs one.
pub trait Running {
    /// One board per worker.
    fn boards(&self) -> Vec<Arc<Board>>;
    /// Drains and ends; the final views stay on the boards.
    fn stop(self: Box<Self>, grace: Duration);
}

/// Starts an agent.
pub type Start<'a> = &'a dyn Fn(&Config) -> Result<Box<dyn Running>, String>;

/// The one place where the demo meets the agent.
pub fn start_agent(config: &Config) -> Result<Box<dyn Running>, String> {
    match crate::agent::Agent::start(config, Surroundings::default()) {
        Ok(agent) => Ok(Box::new(agent)),
        Err(error) => Err(error.to_string()),
    }
}

impl Running for crate::agent::Agent {
    fn boards(&self) -> Vec<Arc<Board>> {
        crate::agent::Agent::boards(self)
    }

    fn stop(self: Box<Self>, grace: Duration) {
        crate::agent::Agent::stop(*self, grace);
    }
}

/// An agent that is stopped on every way out: it must not outlive the directory it works in.
pub struct Agent(Option<Box<dyn Running>>);

impl Agent {
    /// Starts it.
    pub fn start(config: &Config, start: Start<'_>) -> Result<Agent, DemoError> {
        start(config)
            .map(|running| Agent(Some(running)))
            .map_err(DemoError::Agent)
    }

    /// Its boards; they outlive it.
    pub fn boards(&self) -> Vec<Arc<Board>> {
        self.0
            .as_ref()
            .map_or_else(Vec::new, |running| running.boards())
    }

    /// Drains it and ends it.
    pub fn stop(mut self) {
        if let Some(running) = self.0.take() {
            running.stop(DRAIN_GRACE);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.stop(Duration::ZERO);
        }
    }
}

/// The accounts of all workers together.
pub fn accounts_of(boards: &[Arc<Board>]) -> Accounts {
    let mut accounts = Accounts::default();
    for board in boards {
        accounts += &board.view().totals;
    }
    accounts
}

/// The agent's configuration: the defaults, on the demo's directories.
pub fn config(directory: &Path) -> Config {
    Config {
        node: "demo-node".to_owned(),
        cluster_name: None,
        preset: None,
        state_dir: directory.join("state"),
        shutdown_grace_ms: DRAIN_GRACE.as_millis() as u64,
        reload_grace_ms: 5_000,
        logs: Logs {
            pod_logs: directory.join(super::PODS),
            container_links: directory.join(super::LINKS),
            ..Logs::default()
        },
        // The demo is about logs.
        metrics: Metrics {
            enabled: false,
            ..Metrics::new(&|_| None)
        },
        kubernetes: Kubernetes::new(&|_| None),
        admin: Admin {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        },
        own_log: OwnLog {
            level: tracing::Level::WARN,
            json: false,
        },
        sinks: vec![Sink {
            lines: crate::config::Lines::default(),
            name: "rows".to_owned(),
            kind: SinkKind::File(FileSink {
                directory: directory.join(super::ROWS),
                roll_bytes: 8 * 1024 * 1024,
                roll_interval_ms: 3_600_000,
                total_bytes_max: u64::MAX,
            }),
            rows: Rows::default(),
            multiline: Multiline::default(),
            compression: Compression::Gzip(1),
            select: Select::default(),
            signals: Signals {
                logs: true,
                metrics: false,
            },
            read_from: ReadFrom::Beginning,
            workers: 1,
            limits: Limits::default(),
        }],
    }
}
