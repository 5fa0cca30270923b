//! The kinds of objects that are asked for: where they are, and what becomes of each.

use std::collections::HashSet;
use std::sync::Arc;

use super::wire;
use crate::clock::Time;
use crate::pods::store::Pods;

/// A kind of object.
pub trait Resource: Send + 'static {
    /// Its name in paths and metrics.
    fn name(&self) -> &'static str;
    /// Which of them, as the API has it: `key=value`.
    fn field_selector(&self) -> Option<String>;
    /// A list begins: what it will not hold does not exist.
    fn begin(&mut self);
    /// An object of the list, or one added or changed since. `false`: it cannot be read.
    fn apply(&mut self, json: &str, now: Time) -> bool;
    /// One that was deleted. `false`: it cannot be read.
    fn delete(&mut self, json: &str, now: Time) -> bool;
    /// The list is complete.
    fn end(&mut self, now: Time);
    /// All that existed `then` has been taken over.
    fn vouch(&mut self, then: Time);
    /// From when on another question would help somebody.
    fn wants_proof(&self) -> Option<Time>;
}

/// The pods of the own node.
pub struct OwnPods {
    /// The node's name.
    pub node: String,
    /// Where they are kept.
    pub pods: Arc<Pods>,
    /// Those of the list at hand.
    pub listed: Option<HashSet<String>>,
}

impl Resource for OwnPods {
    fn name(&self) -> &'static str {
        "pods"
    }

    fn field_selector(&self) -> Option<String> {
        Some(format!("spec.nodeName={}", self.node))
    }

    fn begin(&mut self) {
        self.listed = Some(HashSet::new());
    }

    fn apply(&mut self, json: &str, now: Time) -> bool {
        let Some(seen) = wire::pod(json) else {
            return false;
        };
        if let Some(listed) = &mut self.listed {
            listed.insert(seen.info.uid.clone());
        }
        self.pods.apply(seen, now);
        true
    }

    fn delete(&mut self, json: &str, now: Time) -> bool {
        let uid = wire::uid(json);
        if let Some(uid) = &uid {
            // It may have lived between two looks: what is said of it last is all that is ever known.
            if let Some(seen) = wire::pod(json) {
                self.pods.apply(seen, now);
            }
            self.pods.delete(uid, now);
        }
        uid.is_some()
    }

    fn end(&mut self, now: Time) {
        if let Some(listed) = self.listed.take() {
            self.pods.retain(&listed, now);
        }
    }

    fn vouch(&mut self, then: Time) {
        self.pods.vouch(then);
    }

    fn wants_proof(&self) -> Option<Time> {
        self.pods.wants_proof()
    }
}

/// The own node.
pub struct OwnNode {
    /// Its name.
    pub node: String,
    /// Where it is kept.
    pub pods: Arc<Pods>,
    /// Whether the list at hand has it.
    pub listed: bool,
}

impl Resource for OwnNode {
    fn name(&self) -> &'static str {
        "nodes"
    }

    fn field_selector(&self) -> Option<String> {
        Some(format!("metadata.name={}", self.node))
    }

    fn begin(&mut self) {
        self.listed = false;
    }

    fn apply(&mut self, json: &str, _now: Time) -> bool {
        let Some(node) = wire::node(json) else {
            return false;
        };
        if node.name == self.node {
            self.listed = true;
            self.pods.set_node(Some(node));
        }
        true
    }

    fn delete(&mut self, json: &str, _now: Time) -> bool {
        let node = wire::node(json);
        if node.as_ref().is_some_and(|node| node.name == self.node) {
            self.pods.set_node(None);
        }
        node.is_some()
    }

    fn end(&mut self, _now: Time) {
        if !self.listed {
            self.pods.set_node(None);
        }
    }

    fn vouch(&mut self, _then: Time) {}

    fn wants_proof(&self) -> Option<Time> {
        None
    }
}

/// The labels of all namespaces.
pub struct Namespaces {
    /// Where they are kept.
    pub pods: Arc<Pods>,
    /// Those of the list at hand.
    pub listed: Option<HashSet<String>>,
}

impl Resource for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    fn field_selector(&self) -> Option<String> {
        None
    }

    fn begin(&mut self) {
        self.listed = Some(HashSet::new());
    }

    fn apply(&mut self, json: &str, _now: Time) -> bool {
        let Some((name, labels)) = wire::namespace(json) else {
            return false;
        };
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        self.pods.set_namespace(&name, Some(labels));
        true
    }

    fn delete(&mut self, json: &str, _now: Time) -> bool {
        let namespace = wire::namespace(json);
        if let Some((name, _)) = &namespace {
            self.pods.set_namespace(name, None);
        }
        namespace.is_some()
    }

    fn end(&mut self, _now: Time) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        for name in self.pods.namespaces() {
            if !listed.contains(&name) {
                self.pods.set_namespace(&name, None);
            }
        }
    }

    fn vouch(&mut self, _then: Time) {}

    fn wants_proof(&self) -> Option<Time> {
        None
    }
}
