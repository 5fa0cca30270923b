//! The log root and the pod directories: which container directories there are.
//!
//! Invariant: a directory counts as missing only by a settled listing of its parent that succeeded. A root that is
//! gone, cannot be read, or has become an empty directory of another file system says nothing about what was there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::container::Container;
use super::freshness::{Freshness, TICK};
use super::path::{PodName, container_name};
use super::schedule::Task;
use super::segment::FileId;
use super::{Catalog, WatchChange};
use crate::clock::Time;
use crate::files::{Entry, Kind};

/// How often a directory is looked at that is not watched.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often the root is looked at while it is watched.
const WATCHED_INTERVAL: Duration = Duration::from_secs(5);
/// How often a watched pod directory is looked at beside the rescan, which usually is sooner.
const WATCHED_POD_INTERVAL: Duration = Duration::from_secs(15);
/// A missing child makes its parent be looked at, but not more often than this.
const MISSING_INTERVAL: Duration = Duration::from_millis(100);
/// Watches that failed are tried again, this many in each rescan.
const WATCH_RETRIES: usize = 16;
/// More directories below one are not followed.
const ENTRIES_MAX: usize = 65_536;

/// The log root.
pub(super) struct Root {
    /// Its path.
    pub path: PathBuf,
    /// Whether a watch on it is alive.
    pub watched: bool,
    fresh: Freshness,
    file: Option<FileId>,
    looked_at: Time,
    changed_at: Time,
    refused: usize,
}

impl Root {
    /// A root not looked at yet.
    pub fn new(path: &Path) -> Root {
        Root {
            path: path.to_owned(),
            watched: false,
            fresh: Freshness::default(),
            file: None,
            looked_at: Time::ZERO,
            changed_at: Time::ZERO,
            refused: 0,
        }
    }
}

/// A pod directory.
pub(super) struct Pod {
    /// Its path.
    pub path: PathBuf,
    /// Whose.
    pub name: Arc<PodName>,
    /// Whether a watch on it is alive.
    pub watched: bool,
    /// Its container directories, by name.
    pub containers: HashMap<OsString, u64>,
    /// When its names were last known to be complete.
    pub checked_at: Option<Time>,
    missing: bool,
    fresh: Freshness,
    file: Option<FileId>,
    looked_at: Time,
    refused: usize,
}

/// When to look at a directory again that could be read; `most` while a watch would tell.
fn interval(watched: bool, fresh: &Freshness, most: Duration) -> Duration {
    match (fresh.settled(), watched) {
        (false, _) => TICK + Duration::from_millis(5),
        (true, true) => most,
        (true, false) => POLL_INTERVAL,
    }
}

impl Catalog {
    pub(super) fn run_root(&mut self, now: Time) -> usize {
        let good = self.look_at_root(now, false);
        let mut wait = if good {
            interval(self.root.watched, &self.root.fresh, WATCHED_INTERVAL)
        } else {
            POLL_INTERVAL
        };
        // Whether what went missing stays missing is judged by looks that succeed.
        if now.since(self.root.changed_at) < WATCHED_INTERVAL {
            wait = wait.min(POLL_INTERVAL);
        }
        self.schedule.set(Task::Root, now + wait);
        let stats = &self.env.stats;
        let chains = self
            .containers
            .values()
            .flat_map(|container| container.chains.values());
        let (mut chain_count, mut segment_count) = (0, 0);
        for tracked in chains {
            chain_count += 1;
            segment_count += tracked.segments.len();
        }
        stats.chains.set(chain_count);
        stats.segments.set(segment_count);
        let pods = self.pods.values().filter(|pod| pod.watched).count();
        stats.watches.set(pods + usize::from(self.root.watched));
        1
    }

    /// Looks at the root. Returns whether it could be read and can be believed.
    pub(super) fn look_at_root(&mut self, now: Time, force: bool) -> bool {
        let good = match self.read_root(now, force) {
            Ok(good) => good,
            Err(error) => {
                let path = self.root.path.clone();
                self.env.stats.scan_errors.count(&error);
                let advice = "waiting for it; check `logs.pod_logs` and the agent's mounts";
                self.env
                    .complain("read the log root", &path, &error, advice);
                self.root.fresh.reset();
                false
            }
        };
        self.root.looked_at = now;
        self.env.stats.root_missing.set(usize::from(!good));
        if good {
            self.env.root_ok_at = now;
        }
        good
    }

    fn read_root(&mut self, now: Time, force: bool) -> io::Result<bool> {
        let meta = self.env.files.stat(&self.root.path)?;
        // A root that is itself a link is read through it; then its stamp says nothing and it is always listed.
        let needed = self
            .root
            .fresh
            .needs_listing(&meta, now, self.env.clock.now());
        if !needed && !force && meta.kind == Kind::Directory {
            return Ok(true);
        }
        let entries = self.env.files.list(&self.root.path)?;
        let file = Some(FileId::of(&meta));
        if entries.is_empty() && !self.pods.is_empty() && file != self.root.file {
            let path = self.root.path.clone();
            let advice = "it is another directory than before, and empty: waiting for the logs";
            self.env
                .complain("believe the log root", &path, &"not mounted?", advice);
            self.root.fresh.reset();
            return Ok(false);
        }
        if file != self.root.file {
            self.root.file = file;
            self.watch_changes
                .push(WatchChange::Remove(self.root.path.clone()));
            self.watch_changes
                .push(WatchChange::Add(self.root.path.clone()));
        }
        let after = self.env.files.stat(&self.root.path)?;
        let settled = self.root.fresh.listed(&after, now, self.env.clock.now());
        self.take_pods(entries, now, settled || meta.kind == Kind::Symlink);
        Ok(true)
    }

    fn take_pods(&mut self, entries: Vec<Entry>, now: Time, settled: bool) {
        let mut refused = entries.len().saturating_sub(ENTRIES_MAX);
        let complete = settled && refused == 0;
        let mut seen = Vec::new();
        for entry in entries.into_iter().take(ENTRIES_MAX) {
            let name = PodName::parse(&entry.name).filter(|_| entry.kind == Kind::Directory);
            let Some(name) = name else {
                refused += 1;
                continue;
            };
            let id = match self.pod_ids.get(&entry.name) {
                Some(id) => *id,
                None => self.add_pod(entry.name, name, now),
            };
            if let Some(pod) = self.pods.get_mut(&id)
                && std::mem::take(&mut pod.missing)
            {
                self.schedule.hasten(Task::Pod(id), now);
            }
            seen.push(id);
        }
        for _ in self.root.refused..refused {
            self.env.stats.refused_names.add();
        }
        self.root.refused = refused;
        if complete {
            seen.sort_unstable();
            let gone = |id: &&u64| seen.binary_search(id).is_err();
            let gone: Vec<u64> = self.pods.keys().filter(gone).copied().collect();
            for id in gone {
                self.pod_is_missing(id, now);
            }
        }
    }

    fn add_pod(&mut self, name: OsString, parsed: PodName, now: Time) -> u64 {
        let id = self.next_id();
        let path = self.root.path.join(&name);
        self.watch_changes.push(WatchChange::Add(path.clone()));
        let pod = Pod {
            path,
            name: Arc::new(parsed),
            watched: false,
            containers: HashMap::new(),
            checked_at: None,
            missing: false,
            fresh: Freshness::default(),
            file: None,
            looked_at: self.root.looked_at,
            refused: 0,
        };
        self.pods.insert(id, Box::new(pod));
        self.pod_ids.insert(name, id);
        self.schedule.set(Task::Pod(id), now);
        id
    }

    fn pod_is_missing(&mut self, id: u64, now: Time) {
        let Some(pod) = self.pods.get_mut(&id) else {
            return;
        };
        if !pod.missing {
            pod.missing = true;
            pod.watched = false;
            pod.fresh.reset();
            self.root.changed_at = now;
        }
        let children: Vec<u64> = pod.containers.values().copied().collect();
        for child in children {
            self.container_is_missing(child, now);
        }
        self.drop_pod_if_over(id);
    }

    fn container_is_missing(&mut self, id: u64, now: Time) {
        if let Some(container) = self.containers.get_mut(&id)
            && container.missing_since.is_none()
        {
            container.missing_since = Some(now);
            self.root.changed_at = now;
            self.schedule.hasten(Task::Root, now + POLL_INTERVAL);
            self.schedule.hasten(Task::Container(id), now);
        }
    }

    /// A directory that is not there: whether it was deleted is for its parents to say.
    pub(super) fn parent_of_missing(&mut self, pod_id: u64, now: Time) {
        let at = self.root.looked_at + MISSING_INTERVAL;
        self.schedule.hasten(Task::Root, at.max(now));
        if let Some(pod) = self.pods.get(&pod_id).filter(|pod| !pod.missing) {
            let at = pod.looked_at + MISSING_INTERVAL;
            self.schedule.hasten(Task::Pod(pod_id), at.max(now));
        }
    }

    /// A missing pod stays known until the last of its chains has been forgotten.
    pub(super) fn drop_pod_if_over(&mut self, id: u64) {
        let containers = &self.containers;
        let Some(pod) = self.pods.get_mut(&id) else {
            return;
        };
        pod.containers
            .retain(|_, child| containers.contains_key(child));
        if pod.missing && pod.containers.is_empty() {
            self.watch_changes
                .push(WatchChange::Remove(pod.path.clone()));
            if let Some(name) = pod.path.file_name() {
                self.pod_ids.remove(name);
            }
            self.pods.remove(&id);
            self.schedule.remove(Task::Pod(id));
        }
    }

    /// Looks at a pod directory. Returns whether that went well.
    pub(super) fn look_at_pod(&mut self, id: u64, now: Time, force: bool) -> bool {
        let good = match self.read_pod(id, now, force) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let at = (self.root.looked_at + MISSING_INTERVAL).max(now);
                self.schedule.hasten(Task::Root, at);
                true
            }
            Err(error) => {
                if let Some(pod) = self.pods.get_mut(&id) {
                    pod.fresh.reset();
                    let path = pod.path.clone();
                    self.env.scan_failed(&path, &error);
                }
                false
            }
        };
        if let Some(pod) = self.pods.get_mut(&id) {
            pod.looked_at = now;
            if good {
                pod.checked_at = Some(now);
            }
            let wait = match (good, pod.missing) {
                (true, false) => interval(pod.watched, &pod.fresh, WATCHED_POD_INTERVAL),
                _ => WATCHED_INTERVAL,
            };
            self.schedule.set(Task::Pod(id), now + wait);
        }
        good
    }

    fn read_pod(&mut self, id: u64, now: Time, force: bool) -> io::Result<()> {
        let Some(pod) = self.pods.get_mut(&id) else {
            return Ok(());
        };
        let meta = self.env.files.stat(&pod.path)?;
        if meta.kind != Kind::Directory {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !pod.fresh.needs_listing(&meta, now, self.env.clock.now()) && !force {
            return Ok(());
        }
        let entries = self.env.files.list(&pod.path)?;
        let file = Some(FileId::of(&meta));
        if pod.file.is_some() && pod.file != file {
            self.watch_changes
                .push(WatchChange::Remove(pod.path.clone()));
            self.watch_changes.push(WatchChange::Add(pod.path.clone()));
        }
        pod.file = file;
        let after = self.env.files.stat(&pod.path)?;
        let settled = pod.fresh.listed(&after, now, self.env.clock.now());
        self.take_containers(id, entries, now, settled);
        Ok(())
    }

    fn take_containers(&mut self, id: u64, entries: Vec<Entry>, now: Time, settled: bool) {
        let mut next_id = self.ids;
        let Some(pod) = self.pods.get_mut(&id) else {
            return;
        };
        let mut refused = entries.len().saturating_sub(ENTRIES_MAX);
        let complete = settled && refused == 0;
        let mut seen = Vec::new();
        for entry in entries.into_iter().take(ENTRIES_MAX) {
            let name = container_name(&entry.name).filter(|_| entry.kind == Kind::Directory);
            let Some(name) = name.map(str::to_owned) else {
                refused += 1;
                continue;
            };
            let known = pod.containers.get(&entry.name).copied();
            let child = known.unwrap_or_else(|| {
                next_id += 1;
                let path = pod.path.join(&name);
                let pod_name = Arc::clone(&pod.name);
                let container = Container::new(id, path, pod_name, name, pod.looked_at);
                self.containers.insert(next_id, Box::new(container));
                self.schedule.set(Task::Container(next_id), now);
                pod.containers.insert(entry.name, next_id);
                next_id
            });
            if let Some(container) = self.containers.get_mut(&child)
                && container.missing_since.take().is_some()
            {
                container.stir();
                self.schedule.hasten(Task::Container(child), now);
            }
            seen.push(child);
        }
        for _ in pod.refused..refused {
            self.env.stats.refused_names.add();
        }
        pod.refused = refused;
        let gone = |child: &u64| complete && !seen.contains(child);
        let gone: Vec<u64> = pod.containers.values().copied().filter(gone).collect();
        self.ids = next_id;
        for child in gone {
            self.container_is_missing(child, now);
        }
    }

    /// Asks again for watches that failed: the limit may have been raised, or others may have ended.
    pub(super) fn retry_watches(&mut self) {
        if !self.root.watched {
            self.watch_changes
                .push(WatchChange::Add(self.root.path.clone()));
        }
        let unwatched = self
            .pods
            .values()
            .filter(|pod| !pod.watched && !pod.missing);
        let paths = unwatched.take(WATCH_RETRIES).map(|pod| pod.path.clone());
        self.watch_changes.extend(paths.map(WatchChange::Add));
    }
}
