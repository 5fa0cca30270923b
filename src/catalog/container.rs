//! One container directory: when it is looked at, and which chains its names belong to.
//!
//! A look reads lengths first and the directory's stamp then: a length found by path is believed if no name changed hands.

mod awaited;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::chain::Chain;
use super::docker::{Docker, Target, list_docker, resolve};
use super::ends::Place;
use super::env::Env;
use super::freshness::{Freshness, TICK};
use super::pace::pace;
use super::path::{self, LogName, PodName};
use super::rest::Rest;
use super::sight::sight;
use super::tracked::{Growth, Tracked};
use crate::clock::Time;
use crate::files::Kind;
use crate::record::{ChainKey, ChainMeta};

/// A container directory.
pub struct Container {
    /// The pod's directory, by its number.
    pub pod_id: u64,
    /// Its path.
    pub path: PathBuf,
    /// Whose pod it is.
    pub pod: Arc<PodName>,
    /// Its name.
    pub name: String,
    /// Its chains by restart count.
    pub chains: BTreeMap<u32, Box<Tracked>>,
    /// Since when scans of its parents that succeeded have lacked it.
    pub missing_since: Option<Time>,
    /// When its names were last known to be complete: listed, or unchanged since they were.
    pub checked_at: Option<Time>,
    fresh: Freshness,
    /// Something could not be looked into: list again at the next look.
    retry: bool,
    interval: Duration,
    looked_at: Time,
    /// When the lengths were last read.
    measured_at: Time,
    /// When that last found something new.
    grown_at: Option<Time>,
    refused: usize,
    /// Bytes that its logs grew by since its names were last checked.
    unchecked_bytes: u64,
    /// How its files are while nothing is due.
    rest: Option<Box<Rest>>,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing has changed since a look that was good, and nothing is due.
    Resting,
    /// The directory is as it was, or has been listed.
    Good,
    /// It is not there: its parent should be looked at.
    Missing,
    /// It could not be listed.
    Failed,
}

/// Paths of one chain's files, or why there are none.
type Names = BTreeMap<u32, (Option<Docker>, Vec<(LogName, PathBuf)>)>;

impl Container {
    /// More names in one directory are not looked at.
    pub const NAMES_MAX: usize = 1_024;
    /// A chain is introduced without its container id after this long. The link is made only after the runtime has
    /// answered that the container runs, which on a busy node is hundreds of milliseconds after its first line ...
    const ID_WAIT_MAX: Duration = Duration::from_millis(700);
    /// ... or less, so that it is introduced within this long of its first line.
    const INTRODUCE_WITHIN: Duration = Duration::from_millis(900);
    /// How often the names in a quiet directory are checked, if there are links that show new restarts.
    const QUIET_CHECK_INTERVAL: Duration = Duration::from_secs(10);
    /// A log that has grown within this long is looked at twice as often as one that has not, at least: what writes a
    /// line a second is to be read before its line is old.
    const RECENT: Duration = Duration::from_secs(5);
    /// How often the names in a directory with a log that grows are checked ...
    const BUSY_CHECK_INTERVAL: Duration = Duration::from_millis(200);
    /// ... or after this many bytes: a fraction of the least length at which logs are rotated.
    const UNCHECKED_BYTES_MAX: u64 = 64 * 1024;
    /// How often a directory at rest is looked at although its file is watched.
    const WATCHED_INTERVAL: Duration = Duration::from_secs(5);
    /// Looks are due at multiples of at most this, so that many are served by one wake-up.
    const BEAT_MAX: Duration = Duration::from_millis(100);
    /// A directory that cannot be read is tried again after at most this long.
    const RETRY_MAX: Duration = Duration::from_secs(5);

    /// One just found by its parent, which was looked at before that at `looked_at`.
    pub fn new(
        pod_id: u64,
        path: PathBuf,
        pod: Arc<PodName>,
        name: String,
        looked_at: Time,
    ) -> Container {
        Container {
            pod_id,
            path,
            pod,
            name,
            chains: BTreeMap::new(),
            missing_since: None,
            checked_at: None,
            fresh: Freshness::default(),
            retry: false,
            interval: Duration::ZERO,
            looked_at,
            measured_at: looked_at,
            grown_at: None,
            refused: 0,
            unchecked_bytes: 0,
            rest: None,
        }
    }

    /// Looks at it. Returns what came of it and when to look again.
    pub fn look(&mut self, env: &mut Env, now: Time, force: bool) -> (Looked, Time) {
        if !force && self.is_resting(env, now) {
            return (Looked::Resting, self.next_glance(env, now));
        }
        self.chains.values_mut().for_each(|it| it.judge(env));
        let mut asked = false;
        let measured_before = std::mem::replace(&mut self.measured_at, now);
        let mut bytes = 0_u64;
        let mut growths = Vec::with_capacity(1);
        for (restart, tracked) in &mut self.chains {
            asked |= tracked.chain.take_look_request();
            let growth = tracked.measure(env, now);
            asked |= growth.suspicious;
            bytes += growth.bytes;
            growths.push((*restart, growth));
        }
        self.unchecked_bytes += bytes;
        let by_path = growths.iter().any(|(_, growth)| growth.needs_directory());
        let grown = growths.iter().any(|(_, growth)| growth.grown);
        if asked || by_path || grown {
            for tracked in self.chains.values() {
                tracked.chain.set_unseen_since(measured_before);
            }
        }
        let stays = grown || self.live_stays(&growths);
        let due = force || asked || by_path || self.retry || !stays;
        let looked = if !due && self.may_wait(env, now, grown) {
            Looked::Good
        } else {
            self.check_names(env, now, (force, asked), &mut growths)
        };
        let mut active = false;
        for (restart, growth) in &growths {
            if let Some(tracked) = self.chains.get(restart).filter(|_| growth.grown) {
                active = true;
                tracked.changed(env);
            }
        }
        self.settle_chains(env, now);
        let growth = active.then(|| (bytes, now.since(measured_before)));
        let next = self.next_look(env, now, growth, looked);
        self.find_rest(env, now, active || asked, looked);
        (looked, next)
    }

    /// Whether nothing is due and nothing has happened since a look that found so.
    fn is_resting(&mut self, env: &Env, now: Time) -> bool {
        let Some(rest) = &self.rest else { return false };
        let unjudged = self.chains.values().any(|it| it.is_unjudged());
        if self.missing_since.is_some() || unjudged || !rest.lasts(env.files.as_ref()) {
            return false;
        }
        self.measured_at = now;
        let shown_by_links = rest.shows_in_links(env);
        let recent = |at: Time| now.since(at) < Container::QUIET_CHECK_INTERVAL;
        if !(shown_by_links && self.checked_at.is_some_and(recent)) {
            if !self.names_are_unchanged(env) {
                return false;
            }
            (self.checked_at, self.looked_at) = (Some(now), now);
        }
        true
    }

    /// Whether the names are those of the last listing.
    fn names_are_unchanged(&self, env: &Env) -> bool {
        let unchanged = |path: &Path, fresh: &Freshness| {
            let meta = env.files.stat(path);
            meta.is_ok_and(|meta| fresh.is_unchanged(&meta))
        };
        let dockers = self
            .chains
            .values()
            .filter_map(|tracked| tracked.docker.as_ref());
        unchanged(&self.path, &self.fresh)
            && dockers
                .into_iter()
                .all(|docker| unchanged(&docker.directory, &docker.fresh))
    }

    /// Finds out whether nothing is due, if this look has checked the names and nothing is going on.
    fn find_rest(&mut self, env: &Env, now: Time, busy: bool, looked: Looked) {
        let before = self.rest.take();
        let quiet = !busy && self.interval >= Duration::from_millis(env.logs.poll_idle_ms);
        let checked = self.checked_at == Some(now) && self.is_settled();
        if quiet && checked && looked == Looked::Good && !self.retry && self.missing_since.is_none()
        {
            let chains = self.chains.values().map(Box::as_ref);
            self.rest = Rest::of(chains, before.map(|before| *before), env, now).map(Box::new);
        }
    }

    /// Compares the names with what is known, if they may have changed. `growths` is what was measured before that.
    fn check_names(
        &mut self,
        env: &mut Env,
        now: Time,
        (force, asked): (bool, bool),
        growths: &mut [(u32, Growth)],
    ) -> Looked {
        self.unchecked_bytes = 0;
        let looked = match self.needs_listing(env, now, force || asked || self.retry) {
            Ok(true) => self.list(env, now, asked),
            Ok(false) => {
                let settled = self.is_settled();
                if settled {
                    self.checked_at = Some(now);
                }
                for (restart, growth) in growths {
                    if let Some(tracked) = self.chains.get_mut(restart).filter(|_| settled) {
                        tracked.apply_by_path(env, growth, now);
                        if growth.suspicious {
                            tracked.chain.request_look();
                        }
                    }
                }
                Looked::Good
            }
            Err(looked) => looked,
        };
        self.looked_at = now;
        looked
    }

    /// Whether the names need not be checked this time, if the live file is still that. In a quiet directory a new
    /// restart shows in the links as well; without a link every look checks. In a busy one the live file stays that
    /// while little is written.
    fn may_wait(&self, env: &Env, now: Time, grown: bool) -> bool {
        let interval = if grown {
            Container::BUSY_CHECK_INTERVAL
        } else {
            Container::QUIET_CHECK_INTERVAL
        };
        let idle = self.interval >= Duration::from_millis(env.logs.poll_idle_ms);
        let fits = match grown {
            true => self.unchecked_bytes < Container::UNCHECKED_BYTES_MAX,
            // A directory found at rest has to be found so twice. What has grown may have been rotated with its last line.
            false => {
                let quiet = idle && self.unchecked_bytes == 0;
                quiet && self.shown_by_links(env) && self.rest.is_none()
            }
        };
        let recent = |at: Time| now.since(at) < interval;
        fits && self.checked_at.is_some_and(recent)
            && self.is_settled()
            && self.missing_since.is_none()
            && self.chains.values().all(|tracked| tracked.published)
    }

    /// Whether, of a log that has not grown, the live file is still what the runtime appends to: nothing else shows a
    /// rotation while no names are checked.
    fn live_stays(&self, growths: &[(u32, Growth)]) -> bool {
        let newest = self.chains.values().next_back();
        newest.is_some_and(|tracked| tracked.holds_live())
            && !growths.iter().any(|(_, growth)| growth.touched)
    }

    /// Whether the chains so far have their links, so that the next one will have one too.
    fn shown_by_links(&self, env: &Env) -> bool {
        env.links.present() && !self.lacks_id() && !self.chains.is_empty()
    }

    fn is_settled(&self) -> bool {
        let mut dockers = self
            .chains
            .values()
            .filter_map(|tracked| tracked.docker.as_ref());
        self.fresh.settled() && dockers.all(|docker| docker.fresh.settled())
    }

    fn needs_listing(&mut self, env: &mut Env, now: Time, force: bool) -> Result<bool, Looked> {
        let meta = match env.files.stat(&self.path) {
            Ok(meta) if meta.kind == Kind::Directory => meta,
            Ok(_) => return Err(Looked::Missing),
            Err(error) => return Err(self.failed(env, &error)),
        };
        let clock = env.clock.now();
        let mut needed = self.fresh.needs_listing(&meta, now, clock) || force;
        for tracked in self.chains.values_mut() {
            if let Some(docker) = &mut tracked.docker
                && let Ok(meta) = env.files.stat(&docker.directory)
            {
                needed |= docker.fresh.needs_listing(&meta, now, clock);
            }
        }
        Ok(needed)
    }

    fn failed(&mut self, env: &mut Env, error: &io::Error) -> Looked {
        if error.kind() == io::ErrorKind::NotFound {
            return Looked::Missing;
        }
        env.scan_failed(&self.path, error);
        self.fresh.reset();
        Looked::Failed
    }

    /// Lists the directory and makes every chain agree with it.
    fn list(&mut self, env: &mut Env, now: Time, verify: bool) -> Looked {
        let entries = match env.files.list(&self.path) {
            Ok(entries) => entries,
            Err(error) => return self.failed(env, &error),
        };
        let mut refused = entries.len().saturating_sub(Container::NAMES_MAX);
        let mut names = Names::new();
        let (mut uncertain, mut dangling) = (refused > 0, false);
        for entry in entries.into_iter().take(Container::NAMES_MAX) {
            let Some((restart, name)) = path::log_name(&entry.name) else {
                continue;
            };
            let path = self.path.join(&entry.name);
            match entry.kind {
                Kind::File => names.entry(restart).or_default().1.push((name, path)),
                Kind::Symlink if name.live() => match resolve(env, &path) {
                    Ok(Target::Docker(docker)) => {
                        names.entry(restart).or_default().0 = Some(docker);
                    }
                    // Rotated files may be there. When the target appears, nothing about this directory changes.
                    Ok(Target::Missing(docker)) => {
                        names.entry(restart).or_default().0 = docker;
                        dangling |= !self.chains.contains_key(&restart);
                    }
                    Ok(Target::Refused) => refused += 1,
                    Err(_) => uncertain = true,
                },
                _ => refused += 1,
            }
        }
        let settled = match env.files.stat(&self.path) {
            Ok(after) => self.fresh.listed(&after, now, env.clock.now()),
            Err(error) => return self.failed(env, &error),
        };
        for restart in self.chains.keys() {
            names.entry(*restart).or_default();
        }
        for (restart, (docker, list)) in names {
            let settled = settled && !uncertain;
            let (more, sure) = self.reconcile(env, now, (restart, docker, list), (settled, verify));
            refused += more;
            uncertain |= !sure;
        }
        for _ in self.refused..refused {
            env.stats.refused_files.add();
        }
        self.refused = refused;
        self.retry = uncertain || dangling;
        self.checked_at = Some(now);
        Looked::Good
    }

    /// Reconciles one chain. Returns how many files were refused, and whether all could be looked into.
    fn reconcile(
        &mut self,
        env: &mut Env,
        now: Time,
        (restart, docker, mut list): (u32, Option<Docker>, Vec<(LogName, PathBuf)>),
        (mut settled, verify): (bool, bool),
    ) -> (usize, bool) {
        // While docker rotates, the link leads nowhere for a moment: its directory is still the place.
        let before = self
            .chains
            .get(&restart)
            .and_then(|tracked| tracked.docker.clone());
        let mut docker_now = match (docker, before) {
            (Some(now), Some(before)) if now.id == before.id => Some(before),
            (Some(now), _) => Some(now),
            (None, before) => before,
        };
        if let Some(docker) = &mut docker_now {
            match list_docker(env, docker, now) {
                Ok((names, docker_settled)) => {
                    settled &= docker_settled;
                    list = names;
                }
                // Whether it is deleted or not mounted cannot be told: the chain's own directory decides.
                Err(error) if error.kind() == io::ErrorKind::NotFound => settled = false,
                Err(error) => {
                    env.scan_failed(&docker.directory.clone(), &error);
                    return (0, false);
                }
            }
        }
        list.sort_by(|(mine, _), (theirs, _)| {
            mine.age_order(theirs).then(mine.base.cmp(&theirs.base))
        });
        if !self.chains.contains_key(&restart) {
            if list.is_empty() {
                return (0, true);
            }
            let mut tracked = self.track(env, now, restart, docker_now.clone());
            tracked.judge(env);
            self.chains.insert(restart, Box::new(tracked));
        }
        let Some(tracked) = self.chains.get_mut(&restart) else {
            return (0, true);
        };
        if docker_now.is_some() {
            tracked.docker = docker_now;
        }
        tracked.absent_since = match (list.is_empty(), settled) {
            (false, _) => None,
            (true, true) => tracked.absent_since.or(Some(now)),
            (true, false) => tracked.absent_since,
        };
        let seen = sight(env, &tracked.segments, list, tracked.how(verify));
        let refused = seen.refused;
        let sure = tracked.reconcile(env, now, seen, settled);
        tracked.chain.set_complete(settled, sure);
        tracked.looked_into(sure);
        tracked.changed(env);
        (refused, sure)
    }

    fn track(&self, env: &Env, now: Time, restart: u32, docker: Option<Docker>) -> Tracked {
        let id = docker.as_ref().map(|docker| docker.id.clone());
        let meta = ChainMeta {
            key: ChainKey {
                pod_uid: self.pod.uid.clone(),
                container: self.name.clone(),
                restart,
            },
            namespace: self.pod.namespace.clone(),
            pod: self.pod.pod.clone(),
            container_id: id.unwrap_or_default(),
            pod_state: env.ask(&self.pod, now),
        }
        .with_id();
        let own = env
            .own_pod
            .as_ref()
            .is_some_and(|own| own.is(&self.pod.namespace, &self.pod.pod, &self.pod.uid));
        let excluded = (own && !env.logs.collect_self).then_some(super::OWN_POD);
        let chain = Chain::new(meta, docker.is_some(), env.first_scan, excluded);
        // Where links show restarts, one that has no link yet has only just begun.
        let age_max = match self.shown_by_links(env) {
            true => Duration::ZERO,
            false => now.since(self.looked_at),
        };
        let wait = Container::INTRODUCE_WITHIN
            .saturating_sub(age_max)
            .clamp(Duration::from_millis(100), Container::ID_WAIT_MAX);
        let tracked = Tracked::new(chain, docker, now + wait, now + env.metadata_wait);
        let introduced_by = tracked.introduced_by();
        env.register.add(&tracked.chain, introduced_by);
        tracked
    }

    /// Everything about the chains that follows from time passing.
    fn settle_chains(&mut self, env: &mut Env, now: Time) {
        let last = self.chains.keys().next_back().copied();
        let forget_after = Duration::from_millis(env.logs.forget_after_ms);
        let absent = |since: Option<Time>, at_least: Duration| {
            since.is_some_and(|since| env.root_ok_at.since(since) >= at_least)
        };
        let missing = absent(self.missing_since, super::MISSING_WAIT);
        let forgotten = absent(self.missing_since, forget_after);
        let places: Vec<Place> = self
            .chains
            .iter()
            .map(|(restart, tracked)| Place {
                succeeded: Some(*restart) != last,
                missing,
                forgotten: forgotten || absent(tracked.absent_since, forget_after),
            })
            .collect();
        for (tracked, place) in self.chains.values_mut().zip(places) {
            tracked.rehold_unread(env);
            let ended = tracked.judge_ends(now, place);
            let tidied = tracked.tidy(env, now, place);
            if ended || tidied {
                tracked.changed(env);
            }
            tracked.introduce(env, now, &self.path);
            let losers = env.keeper.keep_within(env.files.as_ref(), &mut env.heads);
            for chain in losers {
                env.changed(&chain);
            }
            if place.forgotten && tracked.segments.is_empty() && tracked.published {
                env.forget(tracked, &self.pod, now);
            }
        }
        self.chains.retain(|_, tracked| !tracked.chain.forgotten());
    }

    /// Soon while much is written, ever later while little or nothing is. `growth`: how much since the look before.
    fn next_look(
        &mut self,
        env: &Env,
        now: Time,
        growth: Option<(u64, Duration)>,
        looked: Looked,
    ) -> Time {
        let shortest = Duration::from_millis(env.logs.poll_active_ms.max(1));
        if growth.is_some() {
            self.grown_at = Some(now);
        }
        let recent = |at: Time| now.since(at) < Container::RECENT;
        let idle = Duration::from_millis(env.logs.poll_idle_ms);
        let longest = match looked {
            Looked::Good if self.grown_at.is_some_and(recent) => (idle / 2).max(shortest),
            Looked::Resting | Looked::Good => idle.max(shortest),
            Looked::Missing | Looked::Failed => Container::RETRY_MAX,
        };
        let twice = self.interval * 2;
        self.interval = match growth {
            _ if self.interval.is_zero() => shortest,
            None => twice.min(longest),
            // What has just begun to write may go on to write much.
            Some((bytes, within)) => pace(bytes, within)
                .min(env.patience.min(longest))
                .min(twice)
                .max(shortest),
        };
        let mut next = (now + self.interval).floor(Container::beat(self.interval));
        if looked == Looked::Good && !self.retry && !self.is_settled() {
            next = next.min(now + TICK.max(shortest / 2));
        }
        for tracked in self.chains.values().filter(|tracked| !tracked.published) {
            next = next.min(tracked.introduced_by());
        }
        next
    }

    /// When to look again at a directory at rest. Between two looks and its introduction a new restart must not take
    /// more than a second; what shows in the links needs no such room, and what is known no introduction.
    fn next_glance(&self, env: &Env, now: Time) -> Time {
        let idle = Duration::from_millis(env.logs.poll_idle_ms);
        let rest = self.rest.as_ref().filter(|rest| rest.shows_in_links(env));
        let interval = match rest {
            Some(rest) if rest.is_watched() => Container::WATCHED_INTERVAL.max(idle),
            Some(_) => idle * 6 / 5,
            None => idle,
        };
        (now + interval).floor(Container::beat(interval) / 2)
    }

    /// Its chains.
    pub fn tracked(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.chains.values_mut().map(Box::as_mut)
    }

    /// What dues are multiples of.
    fn beat(interval: Duration) -> Duration {
        (interval / 2).min(Container::BEAT_MAX)
    }

    /// Whether a chain's container id is not known yet.
    pub fn lacks_id(&self) -> bool {
        self.chains
            .values()
            .any(|tracked| tracked.chain.meta().container_id.is_empty())
    }
}
