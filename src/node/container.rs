//! Containers and pods: which there are, whose they are, and what they use.
//!
//! ```text
//!  cgroup directories --(tree, place)--> pods and containers --(names)--> namespace, pod, container
//!  cgroup files ------(node/cgroup)----> usage, limits
//!  host's procfs -----(process)--------> start, network of each pod
//! ```
//!
//! Invariants: at most `containers_max` cgroups of containers are sampled, and those beyond are counted; at most
//! `descriptors_max` files are kept open, and one directory a pod, for its network; what vanishes between two looks is left out without an error.

pub mod families;
pub mod names;
pub mod place;
pub mod process;
pub mod tree;

mod member;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use self::families::Out;
use self::member::{Member, Pods};
use self::names::Whose;
use self::tree::Tree;
use super::Collect;
use super::cgroup::parse::Device;
use super::cgroup::reader::Reader;
use super::cgroup::{Layout, Usage, Wants};
use super::host::{Host, HostError};
use super::snapshot::Snapshot;

/// Each container's directory is asked for after so many samples; in between when one has no files any more, or its
/// pod's directory has changed.
const THOROUGH_EVERY: u64 = 8;

/// What may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSettings {
    /// Most containers that are sampled.
    pub containers_max: usize,
    /// Most files of cgroups that are kept open; each container has up to 13, and so has each pod. Beyond that they are
    /// opened for each sample, which costs several times as much.
    pub descriptors_max: usize,
    /// Whether the containers that only hold a pod's namespaces have samples of their own.
    pub sandboxes: bool,
    /// The label `image` where the image is not known; empty: no label. Many rules of others tell containers from
    /// other cgroups by an image that is not empty.
    pub image_unknown: String,
}

impl Default for ContainerSettings {
    fn default() -> ContainerSettings {
        ContainerSettings {
            containers_max: 1_000,
            descriptors_max: 2_048,
            sandboxes: false,
            image_unknown: String::new(),
        }
    }
}

/// What of the containers others need: shared, brought up to date with each sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The ids of all containers, those of pods' sandboxes among them.
    pub ids: HashSet<String>,
    /// Pods with a network of their own.
    pub pods_own_network: u64,
    /// Pods in the node's network.
    pub pods_host_network: u64,
    /// Pods of which neither is known.
    pub pods_unknown_network: u64,
    /// Whether the last look at the cgroups was complete.
    pub complete: bool,
}

/// [`Live`] as it is shared.
pub type SharedLive = Arc<Mutex<Live>>;

/// The collector.
pub struct Containers {
    settings: ContainerSettings,
    whose: Box<dyn Whose>,
    live: SharedLive,
    layout: Option<Layout>,
    tree: Tree,
    members: Vec<Member>,
    pods: Pods,
    boot: Option<SystemTime>,
    disks: Disks,
    sample: u64,
    omitted: u64,
    is_doubtful: bool,
    reader: Reader,
    usage: Usage,
}

impl Containers {
    /// A collector that asks `whose` for names.
    pub fn new(settings: ContainerSettings, whose: Box<dyn Whose>) -> Containers {
        // A node has a few hundred cgroups beside those of its pods.
        let directories_max = settings.containers_max.saturating_mul(4) + 4096;
        Containers {
            settings,
            whose,
            live: SharedLive::default(),
            layout: None,
            tree: Tree::new(directories_max),
            members: Vec::new(),
            pods: Pods::default(),
            boot: None,
            disks: Disks::default(),
            sample: 0,
            omitted: 0,
            is_doubtful: false,
            reader: Reader::default(),
            usage: Usage::default(),
        }
    }

    /// What others may know of the containers.
    pub fn live(&self) -> SharedLive {
        Arc::clone(&self.live)
    }

    /// Brings the members up to date with what exists.
    fn discover(&mut self, layout: &Layout) -> Result<(), HostError> {
        let is_thorough = self.is_doubtful || self.sample.is_multiple_of(THOROUGH_EVERY);
        self.is_doubtful = false;
        if !self.tree.refresh(&layout.walk, is_thorough)? {
            return Ok(());
        }
        let mut known: HashMap<String, Member> = self
            .members
            .drain(..)
            .map(|member| (member.entry.path.clone(), member))
            .collect();
        let mut containers = 0;
        self.omitted = 0;
        for entry in self.tree.entries() {
            containers += usize::from(entry.container.is_some());
            if containers > self.settings.containers_max {
                self.omitted += 1;
                continue;
            }
            let member = known
                .remove(&entry.path)
                .unwrap_or_else(|| Member::new(entry.clone(), &layout.walk, self.sample));
            self.members.push(member);
        }
        self.pods.follow(&self.members);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.ids = self
            .tree
            .entries()
            .iter()
            .filter_map(|entry| entry.container.clone())
            .collect();
        Ok(())
    }

    /// Adds the samples of all cgroups.
    fn measure(&mut self, layout: &Layout, host: &Host, out: &mut Snapshot) {
        let wants = families::wants(out);
        let wants_limits = families::wants_limits(out);
        let mut kept: usize = self.members.iter().map(|member| member.kept.count()).sum();
        for (at, member) in self.members.iter_mut().enumerate() {
            if member.is_sandbox && !self.settings.sandboxes {
                continue;
            }
            // The processes of a pod are in the cgroups of its containers.
            let wants = Wants {
                processes: wants.processes && member.entry.container.is_some(),
                ..wants
            };
            let more = self.settings.descriptors_max.saturating_sub(kept);
            kept -= member.kept.count();
            let mut files = std::mem::take(&mut member.kept);
            if (self.sample + at as u64).is_multiple_of(member::ABSENT_EVERY) {
                files.look_again();
            }
            let is_settled = member.is_settled(self.sample);
            self.reader.keep(files, more, is_settled);
            let here = layout.usage(&member.entry.path, wants, &mut self.reader, &mut self.usage);
            member.kept = self.reader.take_kept();
            kept += member.kept.count();
            if !here {
                self.is_doubtful = true;
                continue;
            }
            if wants_limits {
                member.refresh_limits(layout, self.sample, at, &mut self.reader);
            }
            self.disks.name(&self.usage, host);
            let labels = out.share(&member.labels(&self.settings));
            let mut out = Out {
                snapshot: out,
                labels,
                since: member.started,
            };
            out.usage(&self.usage, &self.disks);
            out.limits(&member.limits, &self.usage);
            out.times();
        }
    }

    /// Adds the samples of pods' networks.
    fn measure_networks(&mut self, host: &Host, out: &mut Snapshot) {
        let networks = self
            .pods
            .networks(&self.members, &host.proc, self.sample, &mut self.reader);
        for (at, pod) in networks {
            let (Some(member), Some(network)) = (self.members.get(at), pod.network()) else {
                continue;
            };
            let labels = out.share(&member.labels(&self.settings));
            let mut out = Out {
                snapshot: out,
                labels,
                since: member.started,
            };
            let read = network.read(&mut self.reader, |interface, traffic| {
                out.traffic(interface, traffic);
            });
            if !read {
                pod.forget_network();
            }
        }
    }
}

impl Collect for Containers {
    fn name(&self) -> &'static str {
        "cadvisor"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => Layout::find(&host.sys)?,
        };
        if self.boot.is_none() {
            self.boot = process::boot(host);
        }
        let discovered = self.discover(&layout);
        self.whose.refresh(out.taken);
        let places = (&layout, &*host.proc);
        member::find_processes(
            &mut self.members,
            places,
            self.boot,
            self.sample,
            &mut self.reader,
        );
        self.pods.name(&mut self.members, &*self.whose);
        self.pods.date(&mut self.members);
        self.measure(&layout, host, out);
        if families::wants_network(out) {
            self.measure_networks(host, out);
        }
        self.sample += 1;
        let omitted = self.omitted + self.tree.omitted();
        let [own, host_network, unknown] = self.pods.count_networks();
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.pods_own_network = own;
        live.pods_host_network = host_network;
        live.pods_unknown_network = unknown;
        live.complete = discovered.is_ok() && self.tree.omitted() == 0;
        drop(live);
        let failed = discovered.is_err() || omitted > 0 || self.reader.take_refused() > 0;
        out.add(&families::SCRAPE_ERROR, &[], f64::from(u8::from(failed)));
        out.add(&families::OMITTED, &[], omitted as f64);
        if discovered.is_ok() {
            // Another look is due where the hierarchy itself was not there.
            self.layout = Some(layout);
        }
        discovered
    }
}

/// The names of disks, as they stand in the host's `/dev`.
#[derive(Debug, Default)]
struct Disks(HashMap<Device, String>);

impl Disks {
    /// Learns the names of all disks that a cgroup has used.
    fn name(&mut self, usage: &Usage, host: &Host) {
        if usage
            .io
            .iter()
            .all(|(device, _)| self.0.contains_key(device))
        {
            return;
        }
        let mut text = String::new();
        if host.read_proc("diskstats", &mut text).is_ok() {
            self.0.extend(text.lines().filter_map(disk));
        }
        for (device, _) in &usage.io {
            let number = || format!("{}:{}", device.major, device.minor);
            self.0.entry(*device).or_insert_with(number);
        }
    }

    /// What a disk is called.
    fn get(&self, device: &Device) -> &str {
        self.0.get(device).map_or("", String::as_str)
    }
}

/// A line of `diskstats`: ` 8 0 sda ...`.
fn disk(line: &str) -> Option<(Device, String)> {
    let mut words = line.split_ascii_whitespace();
    let device = Device {
        major: words.next()?.parse().ok()?,
        minor: words.next()?.parse().ok()?,
    };
    Some((device, format!("/dev/{}", words.next()?)))
}

#[cfg(test)]
mod tests;
