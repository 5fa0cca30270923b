//! The pods of the node by uid: filled by whoever asks the cluster, asked by the catalog.
//!
//! Owns what is known, and what was told of it. Invariants: a directory is told `Missing` only if the cluster was asked
//! for all pods later than [`GRACE`] after the directory was found, and is never told `Awaited` again once it was told
//! more; a pod that is deleted stays while one of its directories is asked for, and [`KEEP`] longer, within
//! [`DELETED_MAX`]; a directory is answered with a pod only if its namespace and name are that pod's, whatever its
//! annotations say.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

mod named;

pub use self::named::Named;
use super::status::{NodeInfo, PodStatus};
use super::{PodInfo, PodState};
use crate::clock::Time;
use crate::waker::Waker;

/// How much later than its directory was found a pod may become known to whoever is asked: the kubelet may hear of it
/// from another API server.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long a deleted pod that nobody asks for is kept: its directory may not have been found yet.
pub const KEEP: Duration = Duration::from_secs(600);
/// Most pods that exist, beside deleted ones. A node has at most some hundreds.
pub const PODS_MAX: usize = 4_096;
/// Most deleted pods that nobody asks for: as many as short jobs can leave behind in [`KEEP`] on a busy node.
pub const DELETED_MAX: usize = 2_048;
/// Most namespaces whose labels are kept.
pub const NAMESPACES_MAX: usize = 16_384;

/// Whose a log directory is, as its path says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// The pod's uid; of a static pod its config hash.
    pub uid: String,
}

/// A pod as it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Who it is.
    pub info: PodInfo,
    /// What its log directory bears in place of the uid, if it is a static pod's mirror.
    pub config_hash: Option<String>,
    /// How it fares.
    pub status: PodStatus,
    /// Labels and annotations that were too much.
    pub cut: u32,
}

struct Entry {
    info: Arc<PodInfo>,
    config_hash: Option<String>,
    status: PodStatus,
    cut: u32,
    deleted: bool,
}

struct Asked {
    chains: usize,
    /// Answers to questions from then on are certain.
    certain_at: Time,
    told: PodState,
}

#[derive(Default)]
struct Inner {
    /// By the API's uid.
    pods: HashMap<String, Entry>,
    /// The uids of static pods by their config hash.
    by_hash: HashMap<String, String>,
    asked: HashMap<Whose, Asked>,
    /// Directories that were told `Awaited`.
    awaited: HashSet<Whose>,
    /// Directories to be looked at again.
    doubtful: HashSet<Whose>,
    /// Deleted pods, and since when, oldest first.
    deleted: VecDeque<(Time, String)>,
    /// All pods that existed then are known.
    vouched: Option<Time>,
    /// That is news.
    vouched_anew: bool,
    namespaces: HashMap<String, Arc<BTreeMap<String, String>>>,
    node: Option<Arc<NodeInfo>>,
    refused: u64,
}

/// What is known, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods that exist.
    pub pods: usize,
    /// Deleted ones that are still known.
    pub deleted: usize,
    /// Directories whose pod is awaited.
    pub awaited: usize,
    /// Directories whose pod is missing.
    pub missing: usize,
    /// Pods of which labels or annotations were cut.
    pub cut: usize,
    /// Pods that were too many.
    pub refused: u64,
}

/// The store: see the module.
#[derive(Default)]
pub struct Pods {
    inner: Mutex<Inner>,
    /// Wakes the catalog.
    waker: OnceLock<Waker>,
    /// Wakes whoever asks the cluster.
    doubter: OnceLock<Waker>,
}

impl Pods {
    /// A store in which nothing is known yet.
    pub fn new() -> Pods {
        Pods::default()
    }

    /// Says whom to wake when something has changed, once.
    pub fn wakes(&self, waker: Waker) {
        waker.wake();
        let _once: Result<(), Waker> = self.waker.set(waker);
    }

    /// Says whom to wake when a pod is asked for that is not known, once.
    pub fn wakes_when_awaited(&self, waker: Waker) {
        let _once: Result<(), Waker> = self.doubter.set(waker);
    }

    /// A chain of this directory has been found: what is known, and from now on its changes are told. `new`: the
    /// directory may have been made just now.
    pub fn ask(&self, whose: &Whose, new: bool, now: Time) -> PodState {
        let mut inner = self.inner();
        let asked = inner.asked.entry(whose.clone()).or_insert(Asked {
            chains: 0,
            certain_at: if new { now + GRACE } else { now },
            told: PodState::Awaited,
        });
        asked.chains += 1;
        let (certain_at, told) = (asked.certain_at, asked.told.clone());
        let state = inner.state(whose, certain_at, &told);
        inner.tell(whose, state.clone());
        drop(inner);
        if let Some(doubter) = self.doubter.get().filter(|_| state == PodState::Awaited) {
            doubter.wake();
        }
        state
    }

    /// A chain of this directory is gone.
    pub fn release(&self, whose: &Whose, now: Time) {
        let mut inner = self.inner();
        let Some(asked) = inner.asked.get_mut(whose) else {
            return;
        };
        asked.chains = asked.chains.saturating_sub(1);
        if asked.chains == 0 {
            let asked = inner.asked.remove(whose);
            inner.awaited.remove(whose);
            if let Some(PodState::Known(info)) = asked.map(|asked| asked.told)
                && inner.pods.get(&info.uid).is_some_and(|entry| entry.deleted)
            {
                inner.deleted.push_back((now, info.uid.clone()));
            }
        }
        inner.tidy(now);
    }

    /// The directories of which something else is known than they were told, and what.
    pub fn take_changed(&self) -> Vec<(Whose, PodState)> {
        let mut inner = self.inner();
        let mut doubtful = std::mem::take(&mut inner.doubtful);
        if std::mem::take(&mut inner.vouched_anew) {
            doubtful.extend(inner.awaited.iter().cloned());
        }
        let mut changed = Vec::new();
        for whose in doubtful {
            let Some(asked) = inner.asked.get(&whose) else {
                continue;
            };
            let state = inner.state(&whose, asked.certain_at, &asked.told);
            if state == asked.told {
                continue;
            }
            inner.tell(&whose, state.clone());
            changed.push((whose, state));
        }
        changed
    }

    /// From when on it is worth asking for all pods once more, because some directory's is not known.
    pub fn wants_proof(&self) -> Option<Time> {
        let inner = self.inner();
        let awaited = inner.awaited.iter();
        let awaited = awaited.filter_map(|whose| inner.asked.get(whose));
        awaited.map(|asked| asked.certain_at).min()
    }

    /// A pod was added or has changed.
    pub fn apply(&self, seen: Seen, now: Time) {
        let changed = self.inner().apply(seen, now);
        self.wake_if(changed);
    }

    /// A pod was deleted.
    pub fn delete(&self, uid: &str, now: Time) {
        self.inner().delete(uid, now);
    }

    /// These are all that exist now; those that are known besides were deleted.
    pub fn retain(&self, uids: &HashSet<String>, now: Time) {
        let mut inner = self.inner();
        let pods = inner.pods.iter();
        let gone = pods.filter(|(uid, entry)| !entry.deleted && !uids.contains(*uid));
        let gone: Vec<String> = gone.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            inner.delete(&uid, now);
        }
    }

    /// All pods that existed `then` are known now.
    pub fn vouch(&self, then: Time) {
        let mut inner = self.inner();
        if inner.vouched.is_none_or(|before| before < then) {
            inner.vouched = Some(then);
            inner.vouched_anew = true;
        }
        let any = inner.vouched_anew && !inner.awaited.is_empty();
        drop(inner);
        self.wake_if(any);
    }

    /// The labels of a namespace, or that it is gone.
    pub fn set_namespace(&self, name: &str, labels: Option<BTreeMap<String, String>>) {
        let changed = self.inner().set_namespace(name, labels);
        self.wake_if(changed);
    }

    /// The names of the namespaces that are known.
    pub fn namespaces(&self) -> Vec<String> {
        self.inner().namespaces.keys().cloned().collect()
    }

    /// Says how the own node is; `None`: it is not there.
    pub fn set_node(&self, node: Option<NodeInfo>) {
        self.inner().node = node.map(Arc::new);
    }

    /// The own node, if it is known.
    pub fn node(&self) -> Option<Arc<NodeInfo>> {
        self.inner().node.clone()
    }

    /// Numbers.
    pub fn counts(&self) -> Counts {
        let inner = self.inner();
        let missing = |asked: &&Asked| asked.told == PodState::Missing;
        let deleted = inner.pods.values().filter(|entry| entry.deleted).count();
        Counts {
            pods: inner.pods.len() - deleted,
            deleted,
            awaited: inner.awaited.len(),
            missing: inner.asked.values().filter(missing).count(),
            cut: inner.pods.values().filter(|entry| entry.cut > 0).count(),
            refused: inner.refused,
        }
    }

    /// Shows every pod that exists.
    pub fn each(&self, mut show: impl FnMut(&PodInfo, &PodStatus)) {
        for entry in self.inner().pods.values().filter(|entry| !entry.deleted) {
            show(&entry.info, &entry.status);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_if(&self, changed: bool) {
        if let Some(waker) = self.waker.get().filter(|_| changed) {
            waker.wake();
        }
    }
}

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pods").field(&self.counts()).finish()
    }
}

impl Inner {
    /// The pod whose directory it is.
    fn find(&self, whose: &Whose) -> Option<&Entry> {
        let hashed = || self.pods.get(self.by_hash.get(&whose.uid)?);
        let entry = self.pods.get(&whose.uid).or_else(hashed)?;
        let same = entry.info.namespace == whose.namespace && entry.info.name == whose.pod;
        same.then_some(entry)
    }

    fn tell(&mut self, whose: &Whose, state: PodState) {
        if state == PodState::Awaited {
            self.awaited.insert(whose.clone());
        } else {
            self.awaited.remove(whose);
        }
        if let Some(asked) = self.asked.get_mut(whose) {
            asked.told = state;
        }
    }

    fn state(&self, whose: &Whose, certain_at: Time, told: &PodState) -> PodState {
        if let Some(entry) = self.find(whose) {
            return PodState::Known(Arc::clone(&entry.info));
        }
        match (told, self.vouched) {
            (PodState::Awaited, Some(vouched)) if vouched >= certain_at => PodState::Missing,
            (told, _) => told.clone(),
        }
    }

    /// Whether a directory of the pod is asked for: by its uid, or its config hash.
    fn is_asked(&self, uid: &str, entry: &Entry) -> bool {
        let is_asked = |uid: &str| {
            self.asked.contains_key(&Whose {
                namespace: entry.info.namespace.clone(),
                pod: entry.info.name.clone(),
                uid: uid.to_owned(),
            })
        };
        is_asked(uid) || entry.config_hash.as_deref().is_some_and(is_asked)
    }

    /// Has the directories of a pod looked at again. Whether any is asked for.
    fn doubt(&mut self, info: &PodInfo, config_hash: Option<&str>) -> bool {
        let mut any = false;
        for uid in [Some(info.uid.as_str()), config_hash].into_iter().flatten() {
            let whose = Whose {
                namespace: info.namespace.clone(),
                pod: info.name.clone(),
                uid: uid.to_owned(),
            };
            if self.asked.contains_key(&whose) {
                any = true;
                self.doubtful.insert(whose);
            }
        }
        any
    }

    fn apply(&mut self, mut seen: Seen, now: Time) -> bool {
        if let Some(labels) = self.namespaces.get(&seen.info.namespace) {
            seen.info.namespace_labels = labels.as_ref().clone();
        }
        let uid = seen.info.uid.clone();
        if let Some(entry) = self.pods.get_mut(&uid) {
            entry.status = seen.status;
            entry.cut = seen.cut;
            entry.deleted = false;
            if *entry.info == seen.info && entry.config_hash == seen.config_hash {
                return false;
            }
        } else if self.pods.len() >= PODS_MAX + DELETED_MAX {
            self.refused += 1;
            return false;
        } else {
            self.pods.insert(
                uid.clone(),
                Entry {
                    info: Arc::default(),
                    config_hash: None,
                    status: seen.status,
                    cut: seen.cut,
                    deleted: false,
                },
            );
        }
        let config_hash = seen.config_hash;
        let changed = self.doubt(&seen.info, config_hash.as_deref());
        if let Some(entry) = self.pods.get_mut(&uid) {
            entry.info = Arc::new(seen.info);
            let before = std::mem::replace(&mut entry.config_hash, config_hash.clone());
            if let Some(before) = before.filter(|before| Some(before) != config_hash.as_ref())
                && self.by_hash.get(&before) == Some(&uid)
            {
                self.by_hash.remove(&before);
            }
        }
        if let Some(hash) = config_hash {
            self.by_hash.insert(hash, uid);
        }
        self.tidy(now);
        changed
    }

    fn delete(&mut self, uid: &str, now: Time) {
        if let Some(entry) = self.pods.get_mut(uid)
            && !entry.deleted
        {
            entry.deleted = true;
            entry.status = PodStatus::default();
            self.deleted.push_back((now, uid.to_owned()));
        }
        self.tidy(now);
    }

    /// Forgets deleted pods that nobody asks for, when they are old or too many.
    fn tidy(&mut self, now: Time) {
        while let Some((since, _)) = self.deleted.front() {
            if now.since(*since) < KEEP && self.deleted.len() <= DELETED_MAX {
                break;
            }
            let Some((_, uid)) = self.deleted.pop_front() else {
                break;
            };
            // One that is asked for comes back into the queue when it is released.
            let is_over = self
                .pods
                .get(&uid)
                .is_some_and(|entry| entry.deleted && !self.is_asked(&uid, entry));
            if is_over && let Some(entry) = self.pods.remove(&uid) {
                let hash = entry
                    .config_hash
                    .filter(|hash| self.by_hash.get(hash) == Some(&uid));
                hash.and_then(|hash| self.by_hash.remove(&hash));
            }
        }
    }

    fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> bool {
        let Some(labels) = labels else {
            self.namespaces.remove(name);
            return false;
        };
        let is_known = self.namespaces.contains_key(name);
        if !is_known && self.namespaces.len() >= NAMESPACES_MAX {
            self.refused += 1;
            return false;
        }
        if self
            .namespaces
            .get(name)
            .is_some_and(|known| **known == labels)
        {
            return false;
        }
        let labels = Arc::new(labels);
        self.namespaces.insert(name.to_owned(), Arc::clone(&labels));
        let mut changed = Vec::new();
        for entry in self.pods.values_mut() {
            if entry.info.namespace == name && entry.info.namespace_labels != *labels {
                let mut info = entry.info.as_ref().clone();
                info.namespace_labels = labels.as_ref().clone();
                entry.info = Arc::new(info);
                changed.push((Arc::clone(&entry.info), entry.config_hash.clone()));
            }
        }
        let mut any = false;
        for (info, hash) in &changed {
            any |= self.doubt(info, hash.as_deref());
        }
        any
    }
}

#[cfg(test)]
mod tests;
