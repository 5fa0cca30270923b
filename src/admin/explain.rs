//! `/explain`: all that is known of one pod's logs, and where nothing is, what was looked for where.
//!
//! It is put together from what the others publish: the catalog's register, the store of pods, the workers' views.
//! Invariant: it is bounded, however many instances, files and pods of that name there are.

mod known;
pub mod question;
mod similar;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use self::question::Question;
use super::Sources;
use super::status::{cut, ms};
use crate::catalog::register::Register;
use crate::catalog::stats::CatalogStats;
use crate::clock::Time;
use crate::pods::store::{Named, Pods};

/// Container instances that one answer shows.
pub const INSTANCES_MAX: usize = 32;
/// Files that one instance shows, the newest of them.
pub const FILES_MAX: usize = 64;
/// Pods of one name that one answer shows.
pub const PODS_MAX: usize = 8;
/// Containers that one pod shows.
pub const CONTAINERS_MAX: usize = 64;
/// Names that are offered in place of one that nothing is known of.
pub const SIMILAR_MAX: usize = 8;

/// What names are looked up in; the same for as long as the agent runs.
#[derive(Clone, Default)]
pub struct Basis {
    /// The directory of the pods' logs.
    pub log_root: PathBuf,
    /// The chains that there are.
    pub register: Arc<Register>,
    /// What the catalog counts.
    pub stats: Arc<CatalogStats>,
    /// The pods that the cluster told of, if it is asked.
    pub pods: Option<Arc<Pods>>,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// The node's name.
    pub node: String,
    /// Where logs are looked for.
    pub logs: Logs,
    /// Who is asked for pods.
    pub cluster: Cluster,
    /// The pods of that name that the cluster told of.
    pub pods: Vec<Pod>,
    /// The container instances of which there is a log: those that run first.
    pub instances: Vec<Instance>,
    /// Further ones.
    pub instances_omitted: usize,
    /// `NAMESPACE/POD`, or `NAMESPACE/POD/CONTAINER` of the pod that was asked for, that may have been meant, if there is
    /// no log.
    pub similar: Vec<String>,
}

/// Where logs are looked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Logs {
    /// The directory of the pods' logs.
    pub root: String,
    /// Whether it cannot be listed, or is empty where it was not.
    pub root_missing: bool,
    /// Whether everything below it has been looked at once.
    pub ready: bool,
    /// How long ago that was done last.
    pub scan_age_ms: Option<u64>,
}

/// Who is asked for pods.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Whether anybody is.
    pub asked: bool,
    /// Whether all pods of the node have been told once.
    pub answered: bool,
    /// What is wrong with asking, if something is.
    pub problems: Vec<String>,
}

/// A pod, as the cluster tells of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pod {
    /// The API's uid.
    pub uid: String,
    /// Where its logs are expected.
    pub directory: String,
    /// Whether it was deleted.
    pub deleted: bool,
    /// `Pending`, `Running`, ...; empty if it is not known.
    pub phase: String,
    /// How many labels are known.
    pub labels: usize,
    /// How many annotations are known.
    pub annotations: usize,
    /// Kind and name of what it belongs to.
    pub workload: Option<String>,
    /// Its containers, or the one that was asked for.
    pub containers: Vec<Container>,
}

/// A container, as the cluster tells of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The image, as the pod asks for it.
    pub image: String,
    /// How often it was restarted.
    pub restarts: u32,
    /// Why it does not run, if it waits.
    pub waiting: Option<String>,
    /// Where the log of its present instance is expected.
    pub log: String,
    /// Whether that instance's log is among the instances that are known.
    pub has_log: bool,
}

/// One container instance of which there is a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// Its chain: `POD_UID/CONTAINER/RESTART`.
    pub chain: String,
    /// The container's name.
    pub container: String,
    /// How often it had been restarted.
    pub restart: u32,
    /// The runtime's id of it; empty while nothing names it.
    pub container_id: String,
    /// Whether it is over.
    pub ended: bool,
    /// What is known of its pod.
    pub metadata: Metadata,
    /// How long its first lines wait yet for what is known of its pod, at most.
    pub first_lines_wait_ms: Option<u64>,
    /// Its files, oldest first.
    pub files: Vec<LogFile>,
    /// Further files, older than those.
    pub files_omitted: usize,
    /// What each sink does with it.
    pub sinks: Vec<Stand>,
}

/// What is known of an instance's pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// `unasked`, `awaited`, `missing` or `known`.
    pub state: String,
    /// How many labels.
    pub labels: usize,
    /// How many annotations.
    pub annotations: usize,
    /// The container's image.
    pub image: Option<String>,
    /// Kind and name of what the pod belongs to.
    pub workload: Option<String>,
}

/// One segment of an instance's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogFile {
    /// Its number in this process: what [`Position::serial`] names.
    pub serial: u64,
    /// The path it was last seen under.
    pub path: String,
    /// Its length, decompressed.
    pub len_bytes: u64,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Its identity as hex digits, once it has one.
    pub identity: Option<String>,
    /// Whether a descriptor of it is held.
    pub held: bool,
    /// Whether nothing more is expected in it.
    pub ended: bool,
    /// Why no more of it can be read, if so.
    pub lost: Option<String>,
}

/// What one sink does with an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stand {
    /// The sink.
    pub sink: String,
    /// How the sink is doing.
    pub health: String,
    /// Its last verdict.
    pub last_verdict: Option<String>,
    /// Its last error, also if it has recovered.
    pub last_error: Option<PastError>,
    /// How long ago it last accepted a payload.
    pub last_accepted_age_ms: Option<u64>,
    /// How it stands to the log; `None`: it has not heard of it, or not said so yet.
    pub chain: Option<ChainStand>,
}

/// An error and its age.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PastError {
    /// How long ago.
    pub age_ms: u64,
    /// What.
    pub text: String,
}

/// How a sink stands to one chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChainStand {
    /// Which of the sink's workers it belongs to.
    pub worker: usize,
    /// `collect`, `exclude` or `wait`.
    pub decision: String,
    /// What decided that; `None`: nothing speaks against collecting.
    pub rule: Option<String>,
    /// The outputs that are left out.
    pub streams_excluded: Vec<String>,
    /// What the pod's annotations ask for.
    pub wishes: Vec<String>,
    /// Annotations that cannot be obeyed.
    pub annotation_errors: Vec<String>,
    /// Bytes that are neither delivered nor otherwise settled.
    pub behind_bytes: u64,
    /// Bytes that were delivered.
    pub delivered_bytes: u64,
    /// Bytes that were not wanted.
    pub excluded_bytes: u64,
    /// Bytes that were given up.
    pub dropped_bytes: u64,
    /// Bytes that could not be read any more.
    pub lost_bytes: u64,
    /// The last error on its files.
    pub read_error: Option<String>,
    /// Where it stands in each file.
    pub positions: Vec<Position>,
}

/// Where a sink stands in one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Which: [`LogFile::serial`].
    pub serial: u64,
    /// Read up to here.
    pub read_bytes: u64,
    /// The cursor of stdout: below it everything is settled.
    pub stdout_bytes: u64,
    /// The cursor of stderr.
    pub stderr_bytes: u64,
}

/// Answers a question.
pub fn answer(sources: &Sources, question: Question) -> Answer {
    let now = sources.clock.now();
    let basis = &sources.basis;
    let (instances, instances_omitted) = known::instances(sources, &question, now);
    let pods = basis.pods.as_ref();
    let named = pods.map(|pods| pods.named(&question.namespace, &question.pod, PODS_MAX));
    let named = named.unwrap_or_default();
    let pods: Vec<Pod> = named
        .iter()
        .map(|pod| told(basis, &question, pod, &instances))
        .collect();
    let similar = match instances.is_empty() {
        true => similar::names(basis, &question, &named),
        false => Vec::new(),
    };
    Answer {
        node: sources.node.clone(),
        logs: logs(sources, now),
        cluster: cluster(sources),
        pods,
        instances,
        instances_omitted,
        similar,
        question,
    }
}

fn logs(sources: &Sources, now: Time) -> Logs {
    let stats = &sources.basis.stats;
    let scanned = Time::from_ms(stats.scanned_ms.load(Ordering::Relaxed));
    Logs {
        root: sources.basis.log_root.display().to_string(),
        root_missing: stats.root_missing.get() > 0,
        ready: sources.catalog.first_scan_done(),
        scan_age_ms: (stats.scans.get() > 0).then(|| ms(now.since(scanned))),
    }
}

fn cluster(sources: &Sources) -> Cluster {
    let pods = sources.basis.pods.as_ref();
    let problems = sources.cluster.as_ref().map(|cluster| cluster.problems());
    let problems = problems.unwrap_or_default().into_iter();
    Cluster {
        asked: pods.is_some(),
        answered: pods.is_some_and(|pods| pods.is_complete()),
        problems: problems
            .map(|(resource, text)| cut(&format!("{resource}: {text}")))
            .collect(),
    }
}

/// What the cluster tells of a pod.
fn told(basis: &Basis, question: &Question, pod: &Named, instances: &[Instance]) -> Pod {
    let info = &pod.info;
    let uid = &pod.directory_uid;
    let directory = format!("{}_{}_{uid}", info.namespace, info.name);
    let directory = basis.log_root.join(directory);
    let waiting = |name: &str| {
        let statuses = &pod.status.containers;
        let status = statuses.iter().find(|status| status.name == name)?;
        status.waiting.clone()
    };
    let asked = |name: &str| question.container.as_deref().is_none_or(|it| it == name);
    let containers = info.containers.iter().filter(|it| asked(&it.name));
    let containers = containers.take(CONTAINERS_MAX).map(|it| {
        let chain = format!("{uid}/{}/{}", it.name, it.restarts);
        Container {
            log: directory
                .join(&it.name)
                .join(format!("{}.log", it.restarts))
                .display()
                .to_string(),
            has_log: instances.iter().any(|instance| instance.chain == chain),
            waiting: waiting(&it.name).map(|why| cut(&why)),
            name: it.name.clone(),
            image: cut(&it.image),
            restarts: it.restarts,
        }
    });
    Pod {
        containers: containers.collect(),
        uid: info.uid.clone(),
        directory: directory.display().to_string(),
        deleted: pod.deleted,
        phase: cut(&pod.status.phase),
        labels: info.labels.len(),
        annotations: info.annotations.len(),
        workload: known::workload(info),
    }
}
