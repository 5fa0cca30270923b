//! One pod's or container's cgroup, with what is known about it beside its numbers; and the pods as wholes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::ContainerSettings;
use super::names::{Names, Whose};
use super::process::{self, Network, Process, Which};
use super::tree::Entry;
use crate::node::cgroup::reader::{Kept, Reader};
use crate::node::cgroup::{Layout, Limits};

/// Limits are read again after so many samples, of each cgroup at another one.
const LIMITS_EVERY: u64 = 16;

/// Files that a cgroup does not have are looked for again after so many samples.
pub const ABSENT_EVERY: u64 = 8;

/// A cgroup that was found less than so many samples ago may not have all of its files yet.
const SETTLED_AFTER: u64 = 4;

/// Tries that fail are repeated after 1, 2, 4, .. samples, at most so many.
const PAUSE_MAX: u64 = 64;

/// When to try again what failed.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    pause: u64,
    next: u64,
}

impl Retry {
    fn is_due(self, sample: u64) -> bool {
        sample >= self.next
    }

    fn failed(&mut self, sample: u64) {
        self.pause = (self.pause * 2).clamp(1, PAUSE_MAX);
        self.next = sample + self.pause;
    }
}

/// A cgroup.
#[derive(Debug)]
pub struct Member {
    /// Where and what it is.
    pub entry: Entry,
    /// When its first process started; until that is known, since when its directory is there.
    pub started: Option<SystemTime>,
    /// What it may use.
    pub limits: Limits,
    /// Whether it only holds its pod's namespaces.
    pub is_sandbox: bool,
    /// Its files that are open.
    pub kept: Kept,
    names: Option<Arc<Names>>,
    process: Option<Process>,
    found: u64,
    limits_due: u64,
    retry: Retry,
}

impl Member {
    /// A cgroup that was just found below `root`.
    pub fn new(entry: Entry, root: &Path, sample: u64) -> Member {
        let directory = root.join(entry.path.trim_start_matches('/'));
        let started = fs::metadata(directory).and_then(|meta| meta.modified());
        Member {
            entry,
            started: started.ok(),
            limits: Limits::default(),
            is_sandbox: false,
            kept: Kept::default(),
            names: None,
            process: None,
            found: sample,
            limits_due: sample,
            retry: Retry::default(),
        }
    }

    /// Reads the limits, if it is time to. `at`: the cgroup's place among all, which spreads the work.
    pub fn refresh_limits(&mut self, layout: &Layout, sample: u64, at: usize, reader: &mut Reader) {
        if sample >= self.limits_due {
            self.limits = layout.limits(&self.entry.path, reader);
            let spread = (at as u64).wrapping_add(sample) % LIMITS_EVERY;
            self.limits_due = sample + LIMITS_EVERY - spread;
        }
    }

    /// Whether the files that it does not have now are likely to stay away.
    pub fn is_settled(&self, sample: u64) -> bool {
        sample >= self.found + SETTLED_AFTER
    }

    /// Whether its container's name is known.
    fn is_named(&self) -> bool {
        let names = self.names.as_ref();
        names.is_some_and(|names| !names.container.is_empty())
    }

    /// Its labels, those that are empty left out.
    pub fn labels<'a>(&'a self, settings: &'a ContainerSettings) -> Vec<(&'a str, &'a str)> {
        let mut labels = Vec::with_capacity(6);
        let mut add = |name, value: &'a str| {
            if !value.is_empty() {
                labels.push((name, value));
            }
        };
        let names = self.names.as_deref();
        let of = |part: fn(&Names) -> &str| names.map_or("", part);
        add("container", of(|names| &names.container));
        add("id", &self.entry.path);
        if let Some(id) = &self.entry.container {
            let image = of(|names| &names.image);
            let known = !image.is_empty();
            add(
                "image",
                if known {
                    image
                } else {
                    &settings.image_unknown
                },
            );
            add("name", id);
        }
        add("namespace", of(|names| &names.namespace));
        add("pod", of(|names| &names.pod));
        labels
    }
}

/// Finds the first processes of containers that have none yet.
pub fn find_processes(
    members: &mut [Member],
    (layout, proc): (&Layout, &Path),
    boot: Option<SystemTime>,
    sample: u64,
    reader: &mut Reader,
) {
    let mut missing = Vec::new();
    let mut pids = Vec::new();
    for (at, member) in members.iter_mut().enumerate() {
        let Some(id) = &member.entry.container else {
            continue;
        };
        if member.process.is_some() || !member.retry.is_due(sample) {
            continue;
        }
        pids.clear();
        layout.processes(&member.entry.path, reader, |pid| {
            if pid != 0 && pids.len() < process::PROCESSES_MAX {
                pids.push(pid);
            }
        });
        let found = process::first(proc, &pids, id, reader);
        if !member.found(found, boot) {
            missing.push(at);
        }
    }
    if missing.is_empty() {
        return;
    }
    // They are in pid namespaces that this process does not see.
    let all = process::scan(proc, reader);
    for at in missing {
        let Some(member) = members.get_mut(at) else {
            continue;
        };
        let id = member.entry.container.as_deref().unwrap_or_default();
        let pids = all.get(id).map(Vec::as_slice).unwrap_or_default();
        let found = process::first(proc, pids, id, reader);
        if !member.found(found, boot) {
            member.retry.failed(sample);
        }
    }
}

impl Member {
    fn found(&mut self, process: Option<Process>, boot: Option<SystemTime>) -> bool {
        self.process = process;
        if let (Some(process), Some(boot)) = (process, boot) {
            self.started = process::moment(boot, process.started_ticks).or(self.started);
        }
        process.is_some()
    }
}

/// What is known of pods as wholes, by uid.
#[derive(Debug, Default)]
pub struct Pods(BTreeMap<String, Pod>);

/// A pod.
#[derive(Debug, Default)]
pub struct Pod {
    /// The places of its cgroups among the members; its own first, if it has one.
    members: Vec<usize>,
    network: State,
    retry: Retry,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unknown,
    Host,
    Own(Network),
}

impl Pods {
    /// Follows a change of the members.
    pub fn follow(&mut self, members: &[Member]) {
        for pod in self.0.values_mut() {
            pod.members.clear();
        }
        for (at, member) in members.iter().enumerate() {
            let pod = self.0.entry(member.entry.pod.clone()).or_default();
            pod.members.push(at);
        }
        self.0.retain(|_, pod| !pod.members.is_empty());
    }

    /// Asks for the names that are not known yet, and tells from them which containers only hold their pod's
    /// namespaces: the one that has a process called `pause`, else the only one without a name among others with one.
    pub fn name(&self, members: &mut [Member], whose: &dyn Whose) {
        for (uid, pod) in &self.0 {
            let mut of_pod = None;
            for at in &pod.members {
                let Some(member) = members.get_mut(*at) else {
                    continue;
                };
                if let Some(id) = &member.entry.container
                    && !member.is_named()
                    && let Some(names) = whose.container(id, uid)
                {
                    member.names = Some(names);
                }
                if of_pod.is_none() {
                    of_pod.clone_from(&member.names);
                }
            }
            if pod
                .members
                .iter()
                .any(|at| members.get(*at).is_some_and(|one| one.names.is_none()))
            {
                let names = whose.pod(uid).or_else(|| {
                    of_pod.map(|names| {
                        Arc::new(Names {
                            container: String::new(),
                            image: String::new(),
                            ..(*names).clone()
                        })
                    })
                });
                for at in &pod.members {
                    if let Some(member) = members.get_mut(*at)
                        && member.names.is_none()
                    {
                        member.names.clone_from(&names);
                    }
                }
            }
            pod.mark_sandbox(members);
        }
    }

    /// A pod began no later than the oldest container that was ever seen in it; the time of change of its directory
    /// alone may be that of the first look at it.
    pub fn date(&self, members: &mut [Member]) {
        for pod in self.0.values() {
            let containers = pod.members.iter().filter_map(|at| members.get(*at));
            let oldest = containers.filter_map(|member| member.started).min();
            for at in &pod.members {
                if let Some(member) = members.get_mut(*at)
                    && member.entry.container.is_none()
                {
                    member.started = oldest;
                }
            }
        }
    }

    /// Brings up to date which network each pod has, and gives the pods with one of their own: the member that stands
    /// for the pod, and the network, if it could be opened.
    pub fn networks<'a>(
        &'a mut self,
        members: &[Member],
        proc: &Path,
        sample: u64,
        reader: &mut Reader,
    ) -> Vec<(usize, &'a mut Pod)> {
        let mut own = Vec::new();
        for pod in self.0.values_mut() {
            if matches!(pod.network, State::Unknown) && pod.retry.is_due(sample) {
                pod.find_network(members, proc, sample, reader);
            }
            if matches!(pod.network, State::Own(_))
                && let Some(at) = pod.stands_for(members)
            {
                own.push((at, pod));
            }
        }
        own
    }

    /// How many pods there are with a network of their own, in the node's, and of neither kind.
    pub fn count_networks(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        let [own, host, unknown] = &mut counts;
        for pod in self.0.values() {
            match pod.network {
                State::Own(_) => *own += 1,
                State::Host => *host += 1,
                State::Unknown => *unknown += 1,
            }
        }
        counts
    }
}

impl Pod {
    /// The network, while the process is there by which it is read.
    pub fn network(&self) -> Option<&Network> {
        match &self.network {
            State::Own(network) => Some(network),
            _ => None,
        }
    }

    /// The process by which the network was read is gone; another may be found.
    pub fn forget_network(&mut self) {
        self.network = State::Unknown;
    }

    fn mark_sandbox(&self, members: &mut [Member]) {
        let mut unnamed = Vec::new();
        let mut named = 0;
        for at in &self.members {
            match members.get(*at) {
                Some(member) if member.entry.container.is_none() => {}
                Some(member) if member.is_named() => named += 1,
                _ => unnamed.push(*at),
            }
        }
        for at in &unnamed {
            if let Some(member) = members.get_mut(*at) {
                let is_pause = member.process.is_some_and(|process| process.is_pause);
                member.is_sandbox = is_pause || (named > 0 && unnamed.len() == 1);
            }
        }
    }

    fn find_network(&mut self, members: &[Member], proc: &Path, sample: u64, reader: &mut Reader) {
        let all = || self.members.iter().filter_map(|at| members.get(*at));
        // A sandbox lives as long as its pod.
        let sandboxes = all().filter(|member| member.is_sandbox);
        let others = all().filter(|member| !member.is_sandbox);
        let found = sandboxes.chain(others).find_map(|member| {
            let process = member.process?;
            let id = member.entry.container.as_deref()?;
            // Still that container's: numbers of processes are used again.
            process::first(proc, &[process.pid], id, reader)?;
            process::network(proc, process.pid)
        });
        match found {
            Some(Which::Host) => self.network = State::Host,
            Some(Which::Own(network)) => self.network = State::Own(network),
            None => self.retry.failed(sample),
        }
    }

    /// The member whose labels the network's samples have: the sandbox, else the pod, else its first container.
    fn stands_for(&self, members: &[Member]) -> Option<usize> {
        let is_sandbox = |at: &&usize| members.get(**at).is_some_and(|member| member.is_sandbox);
        let sandbox = self.members.iter().find(is_sandbox);
        sandbox.or(self.members.first()).copied()
    }
}
