//! How the node's pods and the node itself fare, as the cluster says: what metrics are made of, not rows.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// How one pod fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Whether it is in the node's network.
    pub host_network: bool,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
}

/// How one container fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs before the others, once.
    pub init: bool,
    /// Restarts.
    pub restarts: u32,
    /// Why it waits, if it does.
    pub waiting: Option<String>,
    /// Why its last instance ended, if one has.
    pub last_terminated: Option<String>,
    /// What it asks for, in the base unit of each resource.
    pub requests: BTreeMap<String, f64>,
    /// What it may have, in the base unit of each resource.
    pub limits: BTreeMap<String, f64>,
}

/// The own node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Type and status of its conditions: `True`, `False` or `Unknown`.
    pub conditions: Vec<(String, String)>,
    /// What it has, in the base unit of each resource.
    pub capacity: BTreeMap<String, f64>,
    /// What pods may have of it.
    pub allocatable: BTreeMap<String, f64>,
    /// The ranges of its pods' addresses.
    pub pod_cidrs: Vec<String>,
}
