//! The addresses of a node's pods: how many it can give out, has reserved, and has given to pods.
//!
//! Each source is shown as what it is; the ratio that people watch is made of the best one. Invariant: a number that
//! a source does not tell is no sample, and what is derived says of which source.

pub mod endpoint;
pub mod host_local;
pub mod range;
pub mod routes;

mod show;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use self::endpoint::{Endpoint, Fetch};
use self::host_local::HostLocal;
use self::range::{Cidr, Family, Range};
use super::Collect;
use super::container::SharedLive;
use super::host::{Host, HostError};
use super::snapshot::Snapshot;

/// Who tells about addresses; in the order in which they are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Azure's container networking service.
    AzureCns,
    /// The AWS plugin.
    AwsCni,
    /// Cilium's agent.
    Cilium,
    /// Files of the `host-local` plugin.
    HostLocal,
    /// The pods of this node, as the cluster knows them.
    KubeApi,
    /// The kernel's routes to single pods.
    Routes,
    /// The address ranges that the cluster gave to the node.
    PodCidr,
    /// How many pods the node takes.
    MaxPods,
}

impl Source {
    /// The value of the label `source`.
    pub const fn name(self) -> &'static str {
        match self {
            Source::AzureCns => "azure_cns",
            Source::AwsCni => "aws_cni",
            Source::Cilium => "cilium",
            Source::HostLocal => "host_local",
            Source::KubeApi => "kube_api",
            Source::Routes => "routes",
            Source::PodCidr => "pod_cidr",
            Source::MaxPods => "max_pods",
        }
    }
}

/// What one source says of one family of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// What the node can give out.
    pub capacity: Option<f64>,
    /// What is reserved for the node, or taken in its books.
    pub allocated: Option<f64>,
    /// What pods have.
    pub assigned: Option<f64>,
    /// What is left.
    pub available: Option<f64>,
}

/// What the cluster says of the node, set from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
    /// `status.allocatable.pods`.
    pub pods_max: Option<u64>,
    /// Version 4 addresses of pods that are not over and not in the node's network.
    pub assigned_v4: Option<u64>,
    /// The same of version 6.
    pub assigned_v6: Option<u64>,
    /// Pods that are not over, in a network of their own.
    pub pods_own_network: Option<u64>,
    /// Pods that are not over, in the node's network.
    pub pods_host_network: Option<u64>,
    /// Pods that wait for an address for longer than is normal.
    pub pods_pending: Option<u64>,
}

/// [`ClusterFacts`] as they are shared with who learns them.
pub type SharedFacts = Arc<Mutex<Option<ClusterFacts>>>;

/// What may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSettings {
    /// Where the `host-local` plugin keeps its files, on the host; `None`: not read.
    pub host_local_directory: Option<PathBuf>,
    /// Where network plugins are configured, on the host.
    pub configuration_directory: PathBuf,
    /// Pages of address managers on this node.
    pub endpoints: Vec<Endpoint>,
    /// Whether the numbers are repeated under the names of Azure's `cx_ipam_` family.
    pub compat_azure: bool,
}

impl Default for IpSettings {
    fn default() -> IpSettings {
        IpSettings {
            host_local_directory: Some(PathBuf::from("/var/lib/cni/networks")),
            configuration_directory: PathBuf::from("/etc/cni/net.d"),
            endpoints: Vec::new(),
            compat_azure: false,
        }
    }
}

/// One source in one sample.
#[derive(Clone, Debug, Default, PartialEq)]
struct Report {
    counts: [Counts; 2],
    /// Address ranges, for people.
    cidrs: Vec<String>,
}

/// The collector. It comes after the one of containers, whose ids it compares with.
pub struct IpUsage {
    settings: IpSettings,
    fetch: Box<dyn Fetch>,
    live: SharedLive,
    facts: SharedFacts,
    host_local: HostLocal,
    text: String,
}

impl IpUsage {
    /// A collector that asks pages through `fetch`, compares reservations with the containers in `live`, and shows
    /// what the cluster says once `facts` holds it.
    pub fn new(
        settings: IpSettings,
        fetch: Box<dyn Fetch>,
        live: SharedLive,
        facts: SharedFacts,
    ) -> IpUsage {
        IpUsage {
            settings,
            fetch,
            live,
            facts,
            host_local: HostLocal::default(),
            text: String::new(),
        }
    }

    /// The files of the `host-local` plugin, beside the containers that live.
    fn host_local(
        &mut self,
        host: &Host,
        out: &mut Snapshot,
        pods_max: Option<u64>,
    ) -> Option<Report> {
        let settings = &self.settings;
        self.host_local.refresh(
            host,
            settings.host_local_directory.as_deref()?,
            &settings.configuration_directory,
            out.taken,
        );
        if !self.host_local.is_used() {
            return None;
        }
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let is_live = |id: &Option<String>| id.as_ref().is_some_and(|id| live.ids.contains(id));
        // A runtime that gives sandboxes no cgroup would make every reservation look forgotten.
        let sandboxes_show = live.complete
            && (live.ids.is_empty()
                || self
                    .host_local
                    .reservations()
                    .any(|one| is_live(&one.sandbox)));
        let mut report = Report {
            cidrs: self.host_local.configured.subnets.clone(),
            ..Report::default()
        };
        for (family, counts) in Family::ALL.into_iter().zip(&mut report.counts) {
            let of_family = || {
                self.host_local
                    .reservations()
                    .filter(|one| one.family == family)
            };
            let ranges = &self.host_local.configured.ranges;
            let ranges: Vec<&Range> = ranges
                .iter()
                .filter(|range| range.subnet.family == family)
                .collect();
            let allocated = of_family().count();
            if ranges.is_empty() && allocated == 0 {
                continue;
            }
            let size = ranges
                .iter()
                .map(|range| range.size())
                .reduce(u128::saturating_add);
            counts.capacity = size.and_then(|size| range::shown(family, size, pods_max));
            counts.allocated = Some(allocated as f64);
            counts.available = counts
                .capacity
                .map(|capacity| (capacity - allocated as f64).max(0.0));
            let unreadable = of_family().filter(|one| one.sandbox.is_none()).count();
            let dead = of_family()
                .filter(|one| one.sandbox.is_some() && !is_live(&one.sandbox))
                .count();
            let known = sandboxes_show && unreadable < allocated.max(1);
            let leaked = known.then_some(dead);
            counts.assigned = Some((allocated - leaked.unwrap_or(0)) as f64);
            let unknown = if known { unreadable } else { allocated };
            show::leaks(out, family, leaked, unknown);
        }
        Some(report)
    }

    /// The pages of address managers.
    fn endpoints(&mut self, out: &mut Snapshot) -> Vec<(Source, Report)> {
        let mut reports = Vec::new();
        for endpoint in &self.settings.endpoints {
            let page = self.fetch.get(&endpoint.url);
            show::source_up(out, endpoint.source, page.is_ok());
            let Ok(page) = page else {
                continue;
            };
            let counts = Family::ALL.map(|family| endpoint::counts(endpoint.source, &page, family));
            if self.settings.compat_azure && endpoint.source == Source::AzureCns {
                show::repeat_azure(out, &page);
            }
            reports.push((
                endpoint.source,
                Report {
                    counts,
                    cidrs: Vec::new(),
                },
            ));
        }
        reports
    }

    /// The kernel's routes to single pods, where there are any.
    fn routes(&mut self, host: &Host) -> Option<Report> {
        let mut report = Report::default();
        let mut any = false;
        let [v4, v6] = &mut report.counts;
        for (counts, path, count) in [
            (v4, "1/net/route", routes::pods_v4 as fn(&str) -> usize),
            (v6, "1/net/ipv6_route", routes::pods_v6),
        ] {
            if host.read_proc(path, &mut self.text).is_ok() {
                let found = count(&self.text);
                if found > 0 {
                    counts.assigned = Some(found as f64);
                    any = true;
                }
            }
        }
        any.then_some(report)
    }
}

/// What the cluster says, as sources: its pods, its ranges, its bound.
fn of_cluster(facts: &ClusterFacts) -> Vec<(Source, Report)> {
    let mut pods = Report::default();
    let mut ranges = Report {
        cidrs: facts.pod_cidrs.clone(),
        ..Report::default()
    };
    let mut bound = Report::default();
    let assigned = [facts.assigned_v4, facts.assigned_v6];
    let mut all = Family::ALL.into_iter().zip(assigned).enumerate();
    for (at, (family, assigned)) in &mut all {
        let of = |report: &mut Report, set: &dyn Fn(&mut Counts)| {
            if let Some(counts) = report.counts.get_mut(at) {
                set(counts);
            }
        };
        of(&mut pods, &|counts| {
            counts.assigned = assigned.map(|count| count as f64)
        });
        let cidrs = facts.pod_cidrs.iter().filter_map(|text| Cidr::parse(text));
        let sizes = cidrs
            .filter(|cidr| cidr.family == family)
            .map(|cidr| Range::whole(cidr).size());
        let size = sizes.reduce(u128::saturating_add);
        of(&mut ranges, &|counts| {
            counts.capacity = size.and_then(|size| range::shown(family, size, facts.pods_max));
        });
        let has_family = size.is_some() || assigned.is_some();
        of(&mut bound, &|counts| {
            counts.capacity = facts
                .pods_max
                .filter(|_| has_family)
                .map(|count| count as f64);
        });
    }
    vec![
        (Source::KubeApi, pods),
        (Source::PodCidr, ranges),
        (Source::MaxPods, bound),
    ]
}

impl Collect for IpUsage {
    fn name(&self) -> &'static str {
        "ip"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let facts = self
            .facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let pods_max = facts.as_ref().and_then(|facts| facts.pods_max);
        let mut reports = self.endpoints(out);
        if let Some(report) = self.host_local(host, out, pods_max) {
            show::source_up(out, Source::HostLocal, true);
            reports.push((Source::HostLocal, report));
        }
        if let Some(report) = self.routes(host) {
            show::source_up(out, Source::Routes, true);
            reports.push((Source::Routes, report));
        }
        if let Some(facts) = &facts {
            reports.extend(of_cluster(facts));
            show::source_up(out, Source::KubeApi, true);
        }
        reports.sort_by_key(|(source, _)| *source);
        for (source, report) in &mut reports {
            for (family, counts) in Family::ALL.into_iter().zip(&mut report.counts) {
                counts.complete();
                show::counts(out, family, *source, counts);
            }
        }
        show::ratios(out, &reports, self.settings.compat_azure);
        let live = self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        show::pods(out, &live, facts.as_ref());
        Ok(())
    }
}

impl Counts {
    /// Derives what is left, if the source does not tell.
    fn complete(&mut self) {
        if self.available.is_none()
            && let (Some(all), Some(assigned)) = (self.allocated.or(self.capacity), self.assigned)
        {
            self.available = Some((all - assigned).max(0.0));
        }
    }
}

#[cfg(test)]
mod tests;
