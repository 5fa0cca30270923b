//! What chains and segments exist now, how long they are, and whose they are.
//!
//! One catalog serves all sinks. It owns discovery, identity and descriptors; it never reads records. Workers
//! hear of changes through a [`Feed`] and read lengths and descriptors from the shared
//! [`Chain`](chain::Chain) and [`Segment`](chain::Segment).
//!
//! [`Catalog::step`] does what is due and says when to come back; it never waits. It needs no watcher: everything
//! is found by polling modification times, and [`Catalog::hint`] only makes it sooner.

mod adopt;
pub mod chain;
pub mod change;
mod container;
mod discover;
mod docker;
mod ends;
mod env;
pub mod feed;
mod freshness;
mod head;
mod keeper;
mod links;
mod owners;
mod pace;
pub mod path;
pub mod register;
mod rest;
mod schedule;
mod segment;
mod sight;
pub mod stats;
mod tracked;
pub mod watch;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use change::Changes;
use container::{Container, Looked};
use discover::{Pod, Root};
use env::Env;
pub use env::Wanted;
use feed::Feed;
use register::Register;
use schedule::{Schedule, Task};
use stats::CatalogStats;

use crate::clock::{Clock, Time};
use crate::config;
use crate::files::Files;
use crate::own_pod::OwnPod;
use crate::pods::store::Pods;

/// An ended segment is looked at for this long, in case somebody still appends to it.
const LINGER: Duration = Duration::from_secs(10);
/// A container whose directory is missing for this long is over.
const MISSING_WAIT: Duration = Duration::from_secs(2);
/// Why the agent's own log is excluded.
const OWN_POD: &str = "own_pod";

/// A wish about watches, see [`Catalog::take_watch_changes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchChange {
    /// Watch this directory, not what is below it.
    Add(PathBuf),
    /// Stop watching it.
    Remove(PathBuf),
    /// Watch this file, which is at rest, until something happens to it; see [`Catalog::set_awaited`].
    Await {
        /// The file.
        file: PathBuf,
        /// Whom to rouse then, see [`Catalog::rouse`].
        container: u64,
    },
}

/// The catalog: see the module.
pub struct Catalog {
    env: Env,
    root: Root,
    pods: BTreeMap<u64, Box<Pod>>,
    pod_ids: HashMap<OsString, u64>,
    containers: BTreeMap<u64, Box<Container>>,
    schedule: Schedule,
    rescan: Rescan,
    lacking_ids: HashSet<u64>,
    watch_changes: Vec<WatchChange>,
    changes: Arc<Changes>,
    ids: u64,
}

/// A pass over all directories, whatever the watcher says.
#[derive(Debug, Default)]
struct Rescan {
    number: u64,
    running: bool,
    started: Time,
    failed: bool,
    queue: VecDeque<Task>,
    slice: usize,
}

impl Rescan {
    /// Every sixth pass lists everything: that also finds what a file system without true modification times hides,
    /// and late writes to rotated files that are not held. The others list what has changed.
    const FULL_EVERY: u64 = 6;

    fn is_full(&self) -> bool {
        self.number % Rescan::FULL_EVERY == 1
    }
}

impl Catalog {
    /// Directories that one step looks at, at most.
    pub const DIRECTORIES_PER_STEP: usize = 512;
    /// How often a slice of the rescan is done; a pass is spread over half of the rescan interval.
    const RESCAN_SLICE: Duration = Duration::from_millis(100);
    /// How often the container links are looked at while some chain has no id ...
    const LINKS_INTERVAL: Duration = Duration::from_millis(200);
    /// ... and while none lacks one.
    const LINKS_IDLE_INTERVAL: Duration = Duration::from_millis(500);

    /// Places for sinks that a catalog has at least: so many may be added while it runs.
    pub const SLOTS_MIN: usize = 8;

    /// A catalog that has looked at nothing yet. `sinks` is how many sinks read, in the first slots; `own_pod` is
    /// excluded unless the config says otherwise. Descriptors stay within `config.held_files_max`: the caller lowers it
    /// to what the process may have open, with a reserve.
    pub fn new(
        config: &config::Logs,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        sinks: usize,
        feeds: Vec<Arc<Feed>>,
        own_pod: Option<OwnPod>,
    ) -> Catalog {
        let mut schedule = Schedule::default();
        for task in [Task::Root, Task::Links, Task::Rescan] {
            schedule.set(task, Time::ZERO);
        }
        Catalog {
            env: Env::new(config, files, clock, sinks, feeds, own_pod),
            root: Root::new(&config.pod_logs),
            pods: BTreeMap::new(),
            pod_ids: HashMap::new(),
            containers: BTreeMap::new(),
            schedule,
            rescan: Rescan::default(),
            lacking_ids: HashSet::new(),
            watch_changes: vec![WatchChange::Add(config.pod_logs.clone())],
            changes: Arc::default(),
            ids: 0,
        }
    }

    /// Says how long the least patient sink gathers lines before it sends them: a log that grows by little is looked
    /// at a little oftener than twice in that time. Until it is said, at half of `poll_idle_ms`.
    #[must_use]
    pub fn flushed_each(mut self, flush_interval: Duration) -> Catalog {
        self.env.be_patient_for(flush_interval);
        self
    }

    /// Says which chains are to be opened at all: those that some sink may want. Asked again whenever something about
    /// a chain becomes known.
    #[must_use]
    pub fn wanted_by(mut self, wanted: Wanted) -> Catalog {
        self.env.wanted = Some(wanted);
        self
    }

    /// Says who knows the pods, and how long a new chain waits at most for what is known of its pod before the workers
    /// are told of it.
    #[must_use]
    pub fn knowing(mut self, pods: Arc<Pods>, metadata_wait: Duration) -> Catalog {
        self.env.pods = Some(pods);
        self.env.metadata_wait = metadata_wait;
        self
    }

    /// What is counted.
    pub fn stats(&self) -> Arc<CatalogStats> {
        Arc::clone(&self.env.stats)
    }

    /// Which chains there are.
    pub fn register(&self) -> Arc<Register> {
        Arc::clone(&self.env.register)
    }

    /// Does what is due, at most [`Self::DIRECTORIES_PER_STEP`] directories of it. Returns when to be called next;
    /// that is `now` if there is more to do.
    pub fn step(&mut self, now: Time) -> Time {
        self.make_changes();
        self.env
            .stats
            .stepped_ms
            .store(now.as_ms(), std::sync::atomic::Ordering::Relaxed);
        self.hear_of_pods(now);
        let mut left = Catalog::DIRECTORIES_PER_STEP;
        while left > 0 {
            let Some(task) = self.schedule.pop(now) else {
                break;
            };
            let done = match task {
                Task::Root => self.run_root(now),
                Task::Links => self.run_links(now),
                Task::Rescan => self.run_rescan(now, left),
                Task::Pod(id) => {
                    self.look_at_pod(id, now, false);
                    1
                }
                Task::Container(id) => {
                    self.look_at_container(id, now, false);
                    1
                }
            };
            left = left.saturating_sub(done);
        }
        for feed in &self.env.feeds {
            feed.ring();
        }
        self.schedule.next().max(now)
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn run_links(&mut self, now: Time) -> usize {
        let env = &mut self.env;
        let new = env
            .links
            .refresh(env.files.as_ref(), env.clock.as_ref(), now);
        for key in new {
            let mut parts = key.split('/').map(OsString::from);
            let pod = parts.next().and_then(|name| self.pod_ids.get(&name));
            let pod = pod.and_then(|id| self.pods.get(id));
            let id = parts
                .next()
                .and_then(|name| pod?.containers.get(&name).copied());
            if let Some(container) = id.and_then(|id| self.containers.get_mut(&id)) {
                container.stir();
            }
            if let Some(id) = id {
                self.schedule.hasten(Task::Container(id), now);
            }
        }
        let interval = if self.lacking_ids.is_empty() {
            Catalog::LINKS_IDLE_INTERVAL
        } else {
            Catalog::LINKS_INTERVAL
        };
        self.schedule.set(Task::Links, now + interval);
        1
    }

    /// Looks at one container directory. Returns whether that went well.
    fn look_at_container(&mut self, id: u64, now: Time, force: bool) -> bool {
        let Some(container) = self.containers.get_mut(&id) else {
            return true;
        };
        let (looked, next) = container.look(&mut self.env, now, force);
        let next = next.max(now + Duration::from_millis(1));
        if let Some(file) = container.take_wish() {
            let wish = WatchChange::Await {
                file,
                container: id,
            };
            self.watch_changes.push(wish);
        }
        if looked == Looked::Resting {
            self.schedule.set(Task::Container(id), next);
            return true;
        }
        let pod_id = container.pod_id;
        let lacks_id = container.lacks_id();
        if container.missing_since.is_some() && container.chains.is_empty() {
            self.containers.remove(&id);
            self.lacking_ids.remove(&id);
            self.schedule.remove(Task::Container(id));
            self.drop_pod_if_over(pod_id);
            return true;
        }
        if looked == Looked::Missing {
            self.parent_of_missing(pod_id, now);
        }
        if !lacks_id {
            self.lacking_ids.remove(&id);
        } else if self.lacking_ids.insert(id) {
            self.schedule.hasten(Task::Links, now);
        }
        self.schedule.set(Task::Container(id), next);
        looked != Looked::Failed
    }

    /// A slice of the rescan: a pass lists the root, then every pod directory, then every container directory.
    fn run_rescan(&mut self, now: Time, left: usize) -> usize {
        if !self.rescan.running && !self.begin_rescan(now) {
            self.schedule
                .set(Task::Rescan, now + discover::POLL_INTERVAL);
            return 1;
        }
        let full = self.rescan.is_full();
        let mut done = 1;
        while done < left && done <= self.rescan.slice {
            let Some(task) = self.rescan.queue.pop_front() else {
                break;
            };
            done += 1;
            let good = match task {
                Task::Pod(id) => {
                    let checked = self.pods.get(&id).and_then(|pod| pod.checked_at);
                    let good = self.was_checked(checked) || self.look_at_pod(id, now, full);
                    let children = self.pods.get(&id).map(|pod| &pod.containers);
                    let children = children.into_iter().flat_map(HashMap::values);
                    self.rescan
                        .queue
                        .extend(children.map(|child| Task::Container(*child)));
                    good
                }
                Task::Container(id) => {
                    let checked = self.containers.get(&id).and_then(|found| found.checked_at);
                    self.was_checked(checked) || self.look_at_container(id, now, full)
                }
                Task::Root | Task::Links | Task::Rescan => true,
            };
            self.rescan.failed |= !good;
        }
        let next = if self.rescan.queue.is_empty() {
            self.end_rescan(now)
        } else if self.env.first_scan {
            now
        } else {
            now + Catalog::RESCAN_SLICE
        };
        self.schedule.set(Task::Rescan, next);
        done
    }

    /// A pass that is not full believes what a look since its start has found.
    fn was_checked(&self, checked_at: Option<Time>) -> bool {
        !self.rescan.is_full() && checked_at.is_some_and(|at| at >= self.rescan.started)
    }

    fn begin_rescan(&mut self, now: Time) -> bool {
        if !self.look_at_root(now, true) {
            return false;
        }
        let number = self.rescan.number + 1;
        let half_ms = (self.env.logs.rescan_interval_ms / 2).max(1);
        let total = (self.pods.len() + self.containers.len()) as u64;
        let slice = total * Catalog::RESCAN_SLICE.as_millis() as u64 / half_ms + 1;
        self.rescan = Rescan {
            number,
            running: true,
            started: now,
            failed: false,
            queue: self.pods.keys().map(|id| Task::Pod(*id)).collect(),
            slice: if self.env.first_scan {
                usize::MAX
            } else {
                slice as usize
            },
        };
        self.retry_watches();
        true
    }

    fn end_rescan(&mut self, now: Time) -> Time {
        self.rescan.running = false;
        self.env.first_scan = false;
        if self.rescan.failed {
            self.env.stats.scans_failed.add();
        } else {
            let scanned_ms = &self.env.stats.scanned_ms;
            scanned_ms.store(now.as_ms(), std::sync::atomic::Ordering::Relaxed);
            self.env.stats.scans.add();
            for feed in &self.env.feeds {
                feed.scanned();
            }
        }
        let interval = Duration::from_millis(self.env.logs.rescan_interval_ms);
        (self.rescan.started + interval).max(now + Catalog::RESCAN_SLICE)
    }

    /// Something happened to this path: look at the root or at its pod directory at the next step.
    pub fn hint(&mut self, path: &Path) {
        let Ok(below) = path.strip_prefix(&self.root.path) else {
            return;
        };
        let mut parts = below.iter();
        let Some(pod) = parts.next() else {
            self.schedule.set(Task::Root, Time::ZERO);
            return;
        };
        let id = self.pod_ids.get(pod);
        if let Some(id) = id {
            self.schedule.set(Task::Pod(*id), Time::ZERO);
        }
        if id.is_none() || parts.next().is_none() {
            self.schedule.set(Task::Root, Time::ZERO);
        }
    }

    /// Events were lost: look at everything that is watched.
    pub fn hint_all(&mut self) {
        self.schedule.set(Task::Root, Time::ZERO);
        for id in self.pods.keys() {
            self.schedule.set(Task::Pod(*id), Time::ZERO);
        }
        for (id, container) in &mut self.containers {
            if container.forget_watch() {
                self.schedule.set(Task::Container(*id), Time::ZERO);
            }
        }
    }

    /// Something happened to a file that was at rest, not before `since`: look at its directory at the next step, and
    /// soon again.
    pub fn rouse(&mut self, container: u64, since: Time) {
        if let Some(found) = self.containers.get_mut(&container) {
            found.rouse(since);
            self.schedule.set(Task::Container(container), Time::ZERO);
        }
    }

    /// A file at rest is watched from now on: its directory is looked at once more, for what happened before, and then
    /// much less.
    pub fn set_awaited(&mut self, container: u64) {
        if let Some(found) = self.containers.get_mut(&container)
            && found.set_awaited()
        {
            self.schedule.set(Task::Container(container), Time::ZERO);
        }
    }

    /// The watches that are wanted or not wanted any more since the last call. Of directories only
    /// the root and those of pods are ever named, never one that holds logs.
    pub fn take_watch_changes(&mut self) -> Vec<WatchChange> {
        std::mem::take(&mut self.watch_changes)
    }

    /// Counts a watch that could not be had.
    pub fn watch_failed(&self) {
        self.env.stats.watch_failures.add();
    }

    /// What came of a wish for a watch: a watched directory is polled less.
    pub fn set_watched(&mut self, path: &Path, watched: bool) {
        if !watched {
            self.watch_failed();
        }
        if path == self.root.path {
            self.root.watched = watched;
            self.schedule.set(Task::Root, Time::ZERO);
        } else if let Some(id) = path.file_name().and_then(|name| self.pod_ids.get(name)) {
            if let Some(pod) = self.pods.get_mut(id) {
                pod.watched = watched;
            }
            self.schedule.set(Task::Pod(*id), Time::ZERO);
        }
    }
}
