//! What the cluster says of a chain's pod: asked once when the chain is found, told again when it changes.

use std::ffi::OsStr;

use super::Catalog;
use super::container::Container;
use super::env::Env;
use super::path::PodName;
use super::tracked::Tracked;
use crate::clock::Time;
use crate::pods::PodState;
use crate::pods::store::Whose;
use crate::record::ChainMeta;

impl PodName {
    /// The same, for the store of pods.
    pub(super) fn whose(&self) -> Whose {
        Whose {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            uid: self.uid.clone(),
        }
    }
}

impl Env {
    /// What is known of the pod of a chain that has just been found.
    pub(super) fn ask(&self, pod: &PodName, now: Time) -> PodState {
        match &self.pods {
            Some(pods) => pods.ask(&pod.whose(), !self.first_scan, now),
            None => PodState::Unasked,
        }
    }

    /// Forgets a chain of that pod.
    pub(super) fn forget(&self, tracked: &Tracked, pod: &PodName, now: Time) {
        tracked.chain.forget();
        tracked.changed(self);
        if let Some(pods) = &self.pods {
            pods.release(&pod.whose(), now);
        }
    }
}

impl ChainMeta {
    /// The same with another state of its pod, and with the container's id if that is known by it alone.
    fn knowing(&self, state: &PodState) -> ChainMeta {
        let mut meta = self.clone();
        meta.pod_state = state.clone();
        meta.with_id()
    }

    /// The same, with the container's id from the pod if nothing else has named it.
    pub(super) fn with_id(mut self) -> ChainMeta {
        if self.container_id.is_empty()
            && let Some(info) = self.pod_state.info()
            && let Some(container) = info.container(&self.key.container)
        {
            self.container_id = container.id_of(self.key.restart).to_owned();
        }
        self
    }
}

impl Tracked {
    /// Something else is known of the pod. The workers hear of it.
    fn hear(&mut self, env: &Env, state: &PodState) {
        let meta = self.chain.meta();
        if meta.pod_state != *state {
            self.chain.set_meta(meta.knowing(state));
            self.changed(env);
        }
    }
}

impl Container {
    fn hear(&mut self, env: &mut Env, now: Time, state: &PodState) {
        for tracked in self.chains.values_mut() {
            tracked.hear(env, state);
            tracked.introduce(env, now, &self.path);
        }
    }
}

impl Catalog {
    /// Takes over what has become known of pods.
    pub(super) fn hear_of_pods(&mut self, now: Time) {
        let Some(pods) = self.env.pods.clone() else {
            return;
        };
        for (whose, state) in pods.take_changed() {
            let directory = format!("{}_{}_{}", whose.namespace, whose.pod, whose.uid);
            let pod = self.pod_ids.get(OsStr::new(&directory));
            let Some(pod) = pod.and_then(|id| self.pods.get(id)) else {
                continue;
            };
            for id in pod.containers.values() {
                if let Some(container) = self.containers.get_mut(id) {
                    container.hear(&mut self.env, now, &state);
                }
                if self.containers.get(id).is_some_and(|it| !it.lacks_id()) {
                    self.lacking_ids.remove(id);
                }
            }
        }
    }
}
