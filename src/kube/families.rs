//! Metrics of the own node and its pods as the cluster says they are, under the names, labels and values of
//! kube-state-metrics; and what of it the use of addresses is measured by.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use crate::node::Collect;
use crate::node::host::{Host, HostError};
use crate::node::ip::{ClusterFacts, SharedFacts};
use crate::node::snapshot::{Snapshot, Spec, Unit};
use crate::pods::PodInfo;
use crate::pods::status::{NodeInfo, PodStatus};
use crate::pods::store::Pods;

const fn gauge(name: &'static str, help: &'static str) -> Spec {
    Spec::gauge(name, Unit::One, help)
}

const CONDITION: Spec = gauge(
    "kube_node_status_condition",
    "1 if the node's condition has this status.",
);
const CAPACITY: Spec = gauge(
    "kube_node_status_capacity",
    "What the node has of a resource.",
);
const ALLOCATABLE: Spec = gauge(
    "kube_node_status_allocatable",
    "What pods may have of the node's resource.",
);
const PHASE: Spec = gauge("kube_pod_status_phase", "1 if the pod is in this phase.");
const RESTARTS: Spec = Spec::counter(
    "kube_pod_container_status_restarts_total",
    Unit::Count,
    "Restarts of the container.",
);
const INIT_RESTARTS: Spec = Spec::counter(
    "kube_pod_init_container_status_restarts_total",
    Unit::Count,
    "Restarts of the init container.",
);
const WAITING: Spec = gauge(
    "kube_pod_container_status_waiting_reason",
    "1: the container waits for this reason.",
);
const TERMINATED: Spec = gauge(
    "kube_pod_container_status_last_terminated_reason",
    "1: the container's last instance ended for this reason.",
);
const REQUESTS: Spec = gauge(
    "kube_pod_container_resource_requests",
    "What the container asks for of a resource.",
);
const LIMITS: Spec = gauge(
    "kube_pod_container_resource_limits",
    "What the container may have of a resource.",
);

const PHASES: [&str; 5] = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];
const STATUSES: [&str; 3] = ["true", "false", "unknown"];

/// The collector. It comes before the one of addresses, which its facts are for.
pub struct ClusterState {
    node: String,
    pods: Arc<Pods>,
    facts: SharedFacts,
}

impl ClusterState {
    /// A collector of what `pods` knows of the node of this name.
    pub fn new(node: &str, pods: Arc<Pods>, facts: SharedFacts) -> ClusterState {
        ClusterState {
            node: node.to_owned(),
            pods,
            facts,
        }
    }
}

impl Collect for ClusterState {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn collect(&mut self, _host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut facts = ClusterFacts::default();
        let node = self.pods.node();
        if let Some(node) = &node {
            of_node(node, out);
            facts.pod_cidrs.clone_from(&node.pod_cidrs);
            // Whole pods, and far fewer than are lost here.
            facts.pods_max = node.allocatable.get("pods").map(|pods| *pods as u64);
        }
        let mut any = node.is_some();
        self.pods.each(|info, status| {
            any = true;
            count(&mut facts, status);
            of_pod(&self.node, info, status, out);
        });
        let mut shared = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = any.then_some(facts);
        Ok(())
    }
}

/// Adds a pod to what is known of addresses, unless it is over.
fn count(facts: &mut ClusterFacts, status: &PodStatus) {
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return;
    }
    let add = |number: &mut Option<u64>, more: usize| {
        *number = Some(number.unwrap_or_default() + more as u64);
    };
    if status.host_network {
        return add(&mut facts.pods_host_network, 1);
    }
    add(&mut facts.pods_own_network, 1);
    let v4 = status.ips.iter().filter(|ip| matches!(ip, IpAddr::V4(_)));
    let v4 = v4.count();
    add(&mut facts.assigned_v4, v4);
    add(&mut facts.assigned_v6, status.ips.len() - v4);
}

fn of_node(node: &NodeInfo, out: &mut Snapshot) {
    let name = ("node", node.name.as_str());
    for (condition, status) in &node.conditions {
        for known in STATUSES {
            let labels = [name, ("condition", condition.as_str()), ("status", known)];
            let is_so = status.eq_ignore_ascii_case(known);
            out.add(&CONDITION, &labels, f64::from(u8::from(is_so)));
        }
    }
    for (spec, amounts) in [
        (&CAPACITY, &node.capacity),
        (&ALLOCATABLE, &node.allocatable),
    ] {
        for (resource, amount) in amounts {
            let (resource, unit) = resource_and_unit(resource);
            let labels = [name, ("resource", &resource), ("unit", unit)];
            out.add(spec, &labels, *amount);
        }
    }
}

fn of_pod(node: &str, info: &PodInfo, status: &PodStatus, out: &mut Snapshot) {
    let of_pod = [
        ("namespace", info.namespace.as_str()),
        ("pod", info.name.as_str()),
        ("uid", info.uid.as_str()),
    ];
    for phase in PHASES {
        let mut labels = of_pod.to_vec();
        labels.push(("phase", phase));
        out.add(&PHASE, &labels, f64::from(u8::from(status.phase == phase)));
    }
    for container in &status.containers {
        let mut labels = of_pod.to_vec();
        labels.push(("container", &container.name));
        let restarts = f64::from(container.restarts);
        if container.init {
            out.add(&INIT_RESTARTS, &labels, restarts);
            continue;
        }
        out.add(&RESTARTS, &labels, restarts);
        for (spec, reason) in [
            (&WAITING, &container.waiting),
            (&TERMINATED, &container.last_terminated),
        ] {
            if let Some(reason) = reason {
                let mut labels = labels.clone();
                labels.push(("reason", reason));
                out.add(spec, &labels, 1.0);
            }
        }
        labels.push(("node", node));
        for (spec, amounts) in [
            (&REQUESTS, &container.requests),
            (&LIMITS, &container.limits),
        ] {
            for (resource, amount) in amounts {
                let (resource, unit) = resource_and_unit(resource);
                let mut labels = labels.clone();
                labels.extend([("resource", resource.as_str()), ("unit", unit)]);
                out.add(spec, &labels, *amount);
            }
        }
    }
}

/// A resource's name as a label has it, and its unit.
fn resource_and_unit(resource: &str) -> (String, &'static str) {
    let unit = match resource {
        "cpu" => "core",
        "memory" | "storage" | "ephemeral-storage" => "byte",
        _ if resource.starts_with("hugepages-") => "byte",
        _ => "integer",
    };
    let plain = |char: char| match char.is_ascii_alphanumeric() {
        true => char,
        false => '_',
    };
    (resource.chars().map(plain).collect(), unit)
}
