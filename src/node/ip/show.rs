//! The families of addresses.

use std::borrow::Cow;

use super::range::Family;
use super::{ClusterFacts, Counts, Report, Source, endpoint};
use crate::node::container::Live;
use crate::node::snapshot::{Snapshot, Spec, Unit};

const fn gauge(name: &'static str, help: &'static str) -> Spec {
    Spec::gauge(name, Unit::Count, help)
}

const CAPACITY: Spec = gauge(
    "node_ip_capacity",
    "Addresses that the node can give to pods.",
);
const ALLOCATED: Spec = gauge(
    "node_ip_allocated",
    "Addresses that are reserved for the node, or taken in its books.",
);
const ASSIGNED: Spec = gauge("node_ip_assigned", "Addresses that pods have.");
const AVAILABLE: Spec = gauge("node_ip_available", "Addresses that are left.");
const LEAKED: Spec = gauge(
    "node_ip_leaked",
    "Reservations of sandboxes that do not exist.",
);
const UNKNOWN: Spec = gauge(
    "node_ip_unknown",
    "Reservations of which it cannot be told whether their sandbox exists.",
);
const RATIO: Spec = Spec::gauge(
    "node_ip_utilization_ratio",
    Unit::One,
    "Assigned addresses as a share of the capacity, by the best source.",
);
const INFO: Spec = Spec::gauge(
    "node_ip_source_info",
    Unit::One,
    "Which source the ratio is made of, and its ranges.",
);
const UP: Spec = Spec::gauge(
    "node_ip_source_up",
    Unit::One,
    "Whether a source could be read.",
);
const PODS: Spec = gauge("node_pods", "Pods, by their network.");
const PODS_MAX: Spec = gauge("node_pods_capacity", "Pods that the node takes.");
const PENDING: Spec = gauge("node_ip_pending_pods", "Pods that wait for an address.");

/// What one source says.
pub(super) fn counts(out: &mut Snapshot, family: Family, source: Source, counts: &Counts) {
    let labels = [("family", family.name()), ("source", source.name())];
    for (spec, value) in [
        (&CAPACITY, counts.capacity),
        (&ALLOCATED, counts.allocated),
        (&ASSIGNED, counts.assigned),
        (&AVAILABLE, counts.available),
    ] {
        if let Some(value) = value {
            out.add(spec, &labels, value);
        }
    }
}

/// Reservations without a sandbox, if that can be told, and those of which it cannot.
pub(super) fn leaks(out: &mut Snapshot, family: Family, leaked: Option<usize>, unknown: usize) {
    let labels = [
        ("family", family.name()),
        ("source", Source::HostLocal.name()),
    ];
    if let Some(leaked) = leaked {
        out.add(&LEAKED, &labels, leaked as f64);
    }
    out.add(&UNKNOWN, &labels, unknown as f64);
}

/// Whether a source could be read.
pub(super) fn source_up(out: &mut Snapshot, source: Source, up: bool) {
    out.add(&UP, &[("source", source.name())], f64::from(u8::from(up)));
}

/// The share of the capacity that is used: both numbers of one source if it has both, else each of the first that has
/// it. `reports` are in the order in which they are believed.
pub(super) fn ratios(out: &mut Snapshot, reports: &[(Source, Report)], compat_azure: bool) {
    for (at, family) in Family::ALL.into_iter().enumerate() {
        let of = |report: &Report| report.counts.get(at).copied().unwrap_or_default();
        let has_both = |(_, report): &&(Source, Report)| {
            let counts = of(report);
            counts.assigned.is_some() && counts.capacity.is_some()
        };
        let first = |has: fn(&Counts) -> bool| reports.iter().find(|(_, report)| has(&of(report)));
        let both = reports.iter().find(has_both);
        let assigned = both.or_else(|| first(|counts| counts.assigned.is_some()));
        let bounding = both.or_else(|| first(|counts| counts.capacity.is_some()));
        let (Some((source, report)), Some((bounding, bound))) = (assigned, bounding) else {
            continue;
        };
        let mut capacity = of(bound).capacity;
        if *bounding == Source::PodCidr {
            // A range may be larger than what the node takes.
            let bounds = reports
                .iter()
                .filter(|(source, _)| *source == Source::MaxPods);
            for most in bounds.filter_map(|(_, report)| of(report).capacity) {
                capacity = capacity.map(|capacity| capacity.min(most));
            }
        }
        if let (Some(assigned), Some(capacity)) = (of(report).assigned, capacity)
            && capacity > 0.0
        {
            out.add(&RATIO, &[("family", family.name())], assigned / capacity);
        }
        if family == Family::V4 {
            info(
                out,
                *source,
                if report.cidrs.is_empty() {
                    &bound.cidrs
                } else {
                    &report.cidrs
                },
            );
            if compat_azure && *source != Source::AzureCns {
                azure(out, &of(report), capacity, &report.cidrs);
            }
        }
    }
}

fn info(out: &mut Snapshot, source: Source, cidrs: &[String]) {
    let cidr = cidrs.join(",");
    out.add(&INFO, &[("source", source.name()), ("cidr", &cidr)], 1.0);
}

/// The names of Azure's address manager that its workbooks ask for.
const AZURE: [Spec; 14] = [
    gauge("cx_ipam_pod_allocated_ips", "Addresses that pods have."),
    gauge("cx_ipam_available_ips", "Addresses that are left."),
    gauge("cx_ipam_total_ips", "Addresses that are reserved."),
    gauge(
        "cx_ipam_max_ips",
        "Addresses that the node can give to pods.",
    ),
    gauge("cx_ipam_requested_ips", "Addresses that were asked for."),
    gauge(
        "cx_ipam_batch_size",
        "Addresses that are asked for at once.",
    ),
    gauge("cx_ipam_secondary_ips", "Secondary addresses."),
    gauge("cx_ipam_primary_ips", "Primary addresses."),
    gauge(
        "cx_ipam_pending_programming_ips",
        "Addresses that are being set up.",
    ),
    gauge(
        "cx_ipam_pending_release_ips",
        "Addresses that are being given back.",
    ),
    gauge(
        "cx_ipam_current_available_ips",
        "Addresses that are left now.",
    ),
    gauge(
        "cx_ipam_expect_available_ips",
        "Addresses that will be left.",
    ),
    gauge(
        "cx_ipam_subnet_exhaustion_state",
        "Whether the subnet has none left.",
    ),
    gauge(
        "cx_ipam_subnet_exhaustion_state_count_total",
        "How often the subnet had none left.",
    ),
];

/// Repeats what Azure's address manager says, in its words.
pub(super) fn repeat_azure(out: &mut Snapshot, page: &str) {
    for line in endpoint::lines(page, "cx_ipam_") {
        if let Some(spec) = AZURE.iter().find(|spec| spec.name == line.name) {
            let labels: Vec<(&str, &str)> = line
                .labels
                .iter()
                .map(|(name, value): &(&str, Cow<'_, str>)| (*name, &**value))
                .collect();
            out.add(spec, &labels, line.value);
        }
    }
}

/// Says in Azure's words what another source knows.
fn azure(out: &mut Snapshot, counts: &Counts, capacity: Option<f64>, cidrs: &[String]) {
    let [assigned, available, total, max, ..] = &AZURE;
    let cidr = cidrs.join(",");
    let labels = [("subnet_cidr", cidr.as_str())];
    let labels = if cidr.is_empty() {
        &[][..]
    } else {
        &labels[..]
    };
    let left = match (capacity, counts.assigned) {
        (Some(capacity), Some(assigned)) => Some((capacity - assigned).max(0.0)),
        _ => None,
    };
    for (spec, value) in [
        (assigned, counts.assigned),
        (available, counts.available.or(left)),
        (total, counts.allocated.or(capacity)),
        (max, capacity),
    ] {
        if let Some(value) = value {
            out.add(spec, labels, value);
        }
    }
}

/// How many pods there are: as the cluster says, else as the cgroups show.
pub(super) fn pods(out: &mut Snapshot, live: &Live, facts: Option<&ClusterFacts>) {
    let known = facts.cloned().unwrap_or_default();
    let seen = |count: u64| live.complete.then_some(count);
    for (network, count) in [
        (
            "pod",
            known.pods_own_network.or(seen(live.pods_own_network)),
        ),
        (
            "host",
            known.pods_host_network.or(seen(live.pods_host_network)),
        ),
    ] {
        if let Some(count) = count {
            out.add(&PODS, &[("network", network)], count as f64);
        }
    }
    if live.complete && live.pods_unknown_network > 0 && known.pods_own_network.is_none() {
        out.add(
            &PODS,
            &[("network", "unknown")],
            live.pods_unknown_network as f64,
        );
    }
    for (spec, count) in [(&PODS_MAX, known.pods_max), (&PENDING, known.pods_pending)] {
        if let Some(count) = count {
            out.add(spec, &[], count as f64);
        }
    }
}
