//! What the cluster says of the node's pods, beside what the paths of their logs say.
//!
//! [`Pods`](store::Pods) is what whoever asks the cluster fills, and the catalog asks.

pub mod image;
pub mod limits;
pub mod status;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

/// One pod as the API server or the kubelet describes it, cut down to what rows, rules and metrics use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodInfo {
    /// The API's uid. A static pod's log directory bears its config hash instead.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; from a pod's author, so whatever they say holds for this pod alone.
    pub annotations: BTreeMap<String, String>,
    /// What it belongs to, from its owner references.
    pub workload: Option<Workload>,
    /// The labels of its namespace; empty unless they are asked for.
    pub namespace_labels: BTreeMap<String, String>,
    /// Its containers: ordinary, init and ephemeral ones.
    pub containers: Vec<ContainerInfo>,
}

impl PodInfo {
    /// What is said of the container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerInfo> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }
}

/// What a pod belongs to, as people name it: a Deployment rather than its ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its name.
    pub name: String,
    /// The image as the pod asks for it.
    pub image: String,
    /// What the runtime made of it, digest included; empty before it has been pulled.
    pub image_id: String,
    /// The runtime's id of its present instance, without the runtime's name; empty before it runs.
    pub container_id: String,
    /// How often it has been restarted: the number of its present instance's log.
    pub restarts: u32,
    /// The runtime's id of the instance before; empty if there is none, or it is not known any more.
    pub previous_id: String,
}

impl ContainerInfo {
    /// The runtime's id of the instance that writes the log of this number; empty if it is not known.
    pub fn id_of(&self, restart: u32) -> &str {
        if restart == self.restarts {
            &self.container_id
        } else if restart.checked_add(1) == Some(self.restarts) {
            &self.previous_id
        } else {
            ""
        }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodState {
    /// Nobody is asked: only paths count.
    #[default]
    Unasked,
    /// Asked, not answered yet.
    Awaited,
    /// The answers are complete and the pod is not among them: it was deleted before it was seen.
    Missing,
    /// This.
    Known(Arc<PodInfo>),
}

impl PodState {
    /// What is said of it, if something is.
    pub fn info(&self) -> Option<&PodInfo> {
        match self {
            PodState::Known(info) => Some(info),
            _ => None,
        }
    }
}
