//! The API's objects, as much of them as is used: JSON to what the store keeps. Whole objects are never held, and one
//! that cannot be read costs no other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::quantity::quantity;
use super::workload::workload;
use crate::pods::status::{ContainerStatus, NodeInfo, PodStatus};
use crate::pods::store::Seen;
use crate::pods::{ContainerInfo, PodInfo, limits};

/// A static pod's mirror names here what the pod's log directory bears in place of the uid.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// More containers of one pod are not looked at.
const CONTAINERS_MAX: usize = 256;
/// More conditions or resources of a node or container are not looked at.
const ENTRIES_MAX: usize = 128;
/// Longer texts (reasons, images) are cut off.
const TEXT_BYTES_MAX: usize = 1_024;

type Texts = BTreeMap<String, String>;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<'a> {
    /// Its version, and whether there is more.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(borrow, default)]
    pub items: Option<Vec<&'a RawValue>>,
}

/// Of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// What a watch goes on from.
    #[serde(default)]
    pub resource_version: Option<String>,
    /// The next page, if there is one.
    #[serde(default, rename = "continue")]
    pub more: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The object, or the error's status.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// What is wrong, as the API says.
#[derive(Debug, Default, Deserialize)]
pub struct Status {
    /// As of HTTP.
    #[serde(default)]
    pub code: Option<u16>,
    /// In words.
    #[serde(default)]
    pub message: Option<String>,
    /// In a word.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    /// What a watch goes on from.
    #[serde(default)]
    pub resource_version: Option<String>,
    #[serde(default)]
    labels: Option<Texts>,
    #[serde(default)]
    annotations: Option<Texts>,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
}

/// Any object.
#[derive(Debug, Default, Deserialize)]
pub struct Any {
    /// What all have.
    #[serde(default)]
    pub metadata: Meta,
}

#[derive(Debug, Deserialize)]
struct Owner {
    kind: String,
    name: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default)]
    spec: Option<PodSpec>,
    #[serde(default)]
    status: Option<PodState>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    host_network: Option<bool>,
    #[serde(default)]
    containers: Option<Vec<Container>>,
    #[serde(default)]
    init_containers: Option<Vec<Container>>,
    #[serde(default)]
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    resources: Option<Resources>,
}

#[derive(Default, Deserialize)]
struct Resources {
    #[serde(default)]
    requests: Option<BTreeMap<String, Amount>>,
    #[serde(default)]
    limits: Option<BTreeMap<String, Amount>>,
}

/// A quantity: a text, or a number in what was written by hand.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Text(String),
    Number(f64),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodState {
    #[serde(default)]
    phase: Option<String>,
    #[serde(default, rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default, rename = "podIPs")]
    pod_ips: Option<Vec<Address>>,
    #[serde(default)]
    container_statuses: Option<Vec<State>>,
    #[serde(default)]
    init_container_statuses: Option<Vec<State>>,
    #[serde(default)]
    ephemeral_container_statuses: Option<Vec<State>>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    ip: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    name: String,
    #[serde(default, rename = "imageID")]
    image_id: Option<String>,
    #[serde(default, rename = "containerID")]
    container_id: Option<String>,
    #[serde(default)]
    restart_count: Option<u32>,
    #[serde(default)]
    state: Option<Phase>,
    #[serde(default)]
    last_state: Option<Phase>,
}

#[derive(Default, Deserialize)]
struct Phase {
    #[serde(default)]
    waiting: Option<Reason>,
    #[serde(default)]
    terminated: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default, rename = "containerID")]
    container_id: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Meta,
    #[serde(default)]
    spec: Option<NodeSpec>,
    #[serde(default)]
    status: Option<NodeState>,
}

#[derive(Default, Deserialize)]
struct NodeSpec {
    #[serde(default, rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct NodeState {
    #[serde(default)]
    capacity: Option<BTreeMap<String, Amount>>,
    #[serde(default)]
    allocatable: Option<BTreeMap<String, Amount>>,
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// A pod; `None`: what it needs is not there.
pub fn pod(json: &str) -> Option<Seen> {
    let pod: Pod = serde_json::from_str(json).ok()?;
    let meta = pod.metadata;
    let uid = meta.uid.filter(|uid| is_word(uid))?;
    let namespace = meta.namespace.filter(|name| is_word(name))?;
    let name = meta.name.filter(|name| is_word(name))?;
    let (labels, labels_cut) = limits::labels(meta.labels.unwrap_or_default());
    let annotations = meta.annotations.unwrap_or_default();
    let config_hash = annotations.get(CONFIG_MIRROR).cloned();
    let config_hash = config_hash.filter(|hash| is_word(hash) && *hash != uid);
    let (annotations, annotations_cut) = limits::annotations(annotations);
    let owners = meta.owner_references.unwrap_or_default();
    let controls = owners.iter().find(|owner| owner.controller == Some(true));
    let workload = controls.or(owners.first()).map(|owner| {
        let hash = labels.get("pod-template-hash").map(String::as_str);
        workload(&cut(owner.kind.clone()), &cut(owner.name.clone()), hash)
    });
    let (containers, status) =
        containers(pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    Some(Seen {
        info: PodInfo {
            uid,
            namespace,
            name,
            labels,
            annotations,
            workload,
            namespace_labels: BTreeMap::new(),
            containers,
        },
        config_hash,
        status,
        cut: labels_cut + annotations_cut,
    })
}

/// What is asked for, and how it fares, of each container.
fn containers(spec: PodSpec, status: PodState) -> (Vec<ContainerInfo>, PodStatus) {
    let states = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let mut states: BTreeMap<String, State> = states
        .into_iter()
        .flatten()
        .flatten()
        .take(CONTAINERS_MAX)
        .map(|state| (state.name.clone(), state))
        .collect();
    let init = spec.init_containers.unwrap_or_default().into_iter();
    let others = [spec.containers, spec.ephemeral_containers];
    let others = others.into_iter().flatten().flatten();
    let all = init
        .map(|it| (true, it))
        .chain(others.map(|it| (false, it)));
    let (mut infos, mut statuses) = (Vec::new(), Vec::new());
    for (init, container) in all.take(CONTAINERS_MAX) {
        let state = states.remove(&container.name);
        let resources = container.resources.unwrap_or_default();
        let mut info = ContainerInfo {
            name: cut(container.name),
            image: cut(container.image.unwrap_or_default()),
            ..ContainerInfo::default()
        };
        let mut status = ContainerStatus {
            name: info.name.clone(),
            init,
            requests: amounts(resources.requests),
            limits: amounts(resources.limits),
            ..ContainerStatus::default()
        };
        if let Some(state) = state {
            fill(&mut info, &mut status, state);
        }
        infos.push(info);
        statuses.push(status);
    }
    let ips = status.pod_ips.unwrap_or_default().into_iter();
    let ips: Vec<String> = match ips.len() {
        0 => status.pod_ip.into_iter().collect(),
        _ => ips.take(2).map(|address| address.ip).collect(),
    };
    let status = PodStatus {
        host_network: spec.host_network.unwrap_or_default(),
        ips: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        phase: cut(status.phase.unwrap_or_default()),
        containers: statuses,
    };
    (infos, status)
}

fn fill(info: &mut ContainerInfo, status: &mut ContainerStatus, state: State) {
    info.image_id = cut(state.image_id.unwrap_or_default());
    info.restarts = state.restart_count.unwrap_or_default();
    info.container_id = bare(state.container_id);
    let (now, last) = (
        state.state.unwrap_or_default(),
        state.last_state.unwrap_or_default(),
    );
    status.restarts = info.restarts;
    status.waiting = now.waiting.and_then(|it| it.reason).map(cut);
    if let Some(last) = last.terminated {
        status.last_terminated = last.reason.map(cut);
        info.previous_id = bare(last.container_id);
    }
}

/// The id behind `containerd://`.
fn bare(id: Option<String>) -> String {
    let id = id.unwrap_or_default();
    let bare = id.split_once("://").map_or(id.as_str(), |(_, id)| id);
    if is_word(bare) {
        bare.to_owned()
    } else {
        String::new()
    }
}

fn amounts(all: Option<BTreeMap<String, Amount>>) -> BTreeMap<String, f64> {
    let all = all.unwrap_or_default().into_iter().take(ENTRIES_MAX);
    all.filter_map(|(name, amount)| {
        let amount = match amount {
            Amount::Text(text) => quantity(&text)?,
            Amount::Number(number) => number,
        };
        Some((cut(name), amount))
    })
    .collect()
}

/// A node; `None`: what it needs is not there.
pub fn node(json: &str) -> Option<NodeInfo> {
    let node: Node = serde_json::from_str(json).ok()?;
    let (spec, status) = (
        node.spec.unwrap_or_default(),
        node.status.unwrap_or_default(),
    );
    let cidrs = spec.pod_cidrs.unwrap_or_default();
    let cidrs = match cidrs.is_empty() {
        true => spec.pod_cidr.into_iter().collect(),
        false => cidrs,
    };
    let conditions = status.conditions.unwrap_or_default().into_iter();
    Some(NodeInfo {
        name: node.metadata.name.filter(|name| is_word(name))?,
        labels: limits::labels(node.metadata.labels.unwrap_or_default()).0,
        conditions: conditions
            .take(ENTRIES_MAX)
            .map(|it| (cut(it.kind), cut(it.status)))
            .collect(),
        capacity: amounts(status.capacity),
        allocatable: amounts(status.allocatable),
        pod_cidrs: cidrs.into_iter().take(4).map(cut).collect(),
    })
}

/// A namespace's name and labels.
pub fn namespace(json: &str) -> Option<(String, Texts)> {
    let namespace: Any = serde_json::from_str(json).ok()?;
    let meta = namespace.metadata;
    let name = meta.name.filter(|name| is_word(name))?;
    Some((name, limits::labels(meta.labels.unwrap_or_default()).0))
}

/// The uid of an object.
pub fn uid(json: &str) -> Option<String> {
    let any: Any = serde_json::from_str(json).ok()?;
    any.metadata.uid
}

/// What names and ids are made of, all of which go into paths, labels and rows.
fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(inner)
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let at = (0..=TEXT_BYTES_MAX)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(at.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests;
