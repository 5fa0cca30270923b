//! What every part of the catalog works with: the seams, the keeper, the counts, and the workers to tell.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::chain::Chain;
use super::feed::Feed;
use super::head::Heads;
use super::keeper::Keeper;
use super::links::Links;
use super::register::Register;
use super::stats::CatalogStats;
use crate::clock::{Clock, Time};
use crate::config;
use crate::files::Files;
use crate::record::ChainMeta;

/// Says of a chain, by what is known of it, whether any sink may want it.
pub type Wanted = Arc<dyn Fn(&ChainMeta) -> bool + Send + Sync>;
use crate::pods::store::Pods;

/// Shared by all directories; one per catalog.
pub struct Env {
    /// Where the logs are.
    pub files: Arc<dyn Files>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The limits.
    pub logs: config::Logs,
    /// Which places a sink has that reads.
    pub slots: Vec<bool>,
    /// A log that grows by little is looked at this often.
    pub patience: Duration,
    /// Who is told.
    pub feeds: Vec<Arc<Feed>>,
    /// The descriptors.
    pub keeper: Keeper,
    /// Reads the beginnings of files.
    pub heads: Heads,
    /// The container ids.
    pub links: Links,
    /// The counts.
    pub stats: Arc<CatalogStats>,
    /// Which chains there are, for others.
    pub register: Arc<Register>,
    /// Whether any sink may want a chain; if nobody says, all are wanted.
    pub wanted: Option<Wanted>,
    /// Who the pods are, if anybody asks the cluster.
    pub pods: Option<Arc<Pods>>,
    /// How long a chain's introduction waits for that.
    pub metadata_wait: Duration,
    /// The agent's own pod.
    pub own_pod: Option<super::OwnPod>,
    /// When the log root was last read successfully.
    pub root_ok_at: Time,
    /// Whether the first complete scan is still under way: what it finds existed before.
    pub first_scan: bool,
    serials: u64,
    complaints: HashMap<&'static str, Time>,
}

impl Env {
    /// The same complaint is written to the agent's log at most this often.
    const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

    /// Everything before the first step.
    pub fn new(
        logs: &config::Logs,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        sinks: usize,
        feeds: Vec<Arc<Feed>>,
        own_pod: Option<super::OwnPod>,
    ) -> Env {
        let stats = Arc::new(CatalogStats::default());
        Env {
            files,
            clock,
            slots: (0..sinks.max(super::Catalog::SLOTS_MIN))
                .map(|slot| slot < sinks)
                .collect(),
            patience: Duration::from_millis(logs.poll_idle_ms / 2),
            feeds,
            keeper: Keeper::new(logs.held_files_max, logs.held_bytes_max, Arc::clone(&stats)),
            heads: Heads::default(),
            links: Links::new(&logs.container_links),
            stats,
            register: Arc::default(),
            wanted: None,
            pods: None,
            metadata_wait: Duration::ZERO,
            own_pod,
            root_ok_at: Time::ZERO,
            first_scan: true,
            serials: 0,
            complaints: HashMap::new(),
            logs: logs.clone(),
        }
    }

    /// The next segment's serial.
    pub fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    /// Tells the workers that something about a chain has changed.
    pub fn changed(&self, chain: &Arc<Chain>) {
        for feed in &self.feeds {
            feed.changed(chain);
        }
    }

    /// Writes a warning, unless the same was written lately. `what` is the attempt, `advice` what to do.
    pub fn complain(&mut self, what: &'static str, path: &Path, why: &dyn Display, advice: &str) {
        let now = self.clock.now();
        let last = self.complaints.get(what);
        if last.is_none_or(|last| now.since(*last) >= Env::COMPLAINT_INTERVAL) {
            self.complaints.insert(what, now);
            tracing::warn!(path = %path.display(), error = %why, "could not {what}: {advice}");
        }
    }

    /// Counts and reports a directory that could not be listed.
    pub fn scan_failed(&mut self, path: &Path, error: &io::Error) {
        self.stats.scan_errors.count(error);
        let advice = "trying again; check that the agent may read it";
        self.complain("list a log directory", path, error, advice);
    }

    /// Counts and reports a file that could not be opened or read.
    pub fn open_failed(&mut self, path: &Path, error: &io::Error) {
        self.stats.open_errors.count(error);
        let advice = "trying again; check that the agent may read it";
        self.complain("open a log file", path, error, advice);
    }
}
