//! Pods looked up by name, for people: the data path asks by uid.

use std::sync::Arc;

use super::Pods;
use crate::pods::PodInfo;
use crate::pods::status::PodStatus;

/// A pod of the node, as the cluster knows it.
#[derive(Clone, Debug)]
pub struct Named {
    /// Who it is.
    pub info: Arc<PodInfo>,
    /// What its log directory bears as uid: the config hash of a static pod.
    pub directory_uid: String,
    /// How it fares.
    pub status: PodStatus,
    /// Whether it was deleted.
    pub deleted: bool,
}

impl Pods {
    /// The pods of that name, at most `most`; those that exist before deleted ones.
    pub fn named(&self, namespace: &str, name: &str, most: usize) -> Vec<Named> {
        let inner = self.inner();
        let entries = inner.pods.values();
        let mut named: Vec<Named> = entries
            .filter(|entry| entry.info.namespace == namespace && entry.info.name == name)
            .map(|entry| Named {
                info: Arc::clone(&entry.info),
                directory_uid: entry
                    .config_hash
                    .clone()
                    .unwrap_or_else(|| entry.info.uid.clone()),
                status: entry.status.clone(),
                deleted: entry.deleted,
            })
            .collect();
        drop(inner);
        named.sort_by(|one, other| {
            let order = |it: &Named| (it.deleted, it.info.uid.clone());
            order(one).cmp(&order(other))
        });
        named.truncate(most);
        named
    }

    /// Namespace and name of every pod that exists.
    pub fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        self.each(|info, _| names.push((info.namespace.clone(), info.name.clone())));
        names
    }

    /// Whether all pods of some moment since the start are known.
    pub fn is_complete(&self) -> bool {
        self.inner().vouched.is_some()
    }
}
