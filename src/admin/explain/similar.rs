//! Names that may have been meant by one of which nothing is known.

use std::collections::BTreeSet;

use super::question::Question;
use super::{Basis, SIMILAR_MAX};
use crate::pods::store::Named;

/// Names longer than this are not compared letter by letter: that costs length times length.
const COMPARED_BYTES_MAX: usize = 128;

/// The other containers of the pod, if one was asked for. Where the pod is not known, `NAMESPACE/POD` of those whose name
/// is like its own in its namespace, then of those of its name elsewhere. `named`: what the cluster tells of the pod.
pub(super) fn names(basis: &Basis, question: &Question, named: &[Named]) -> Vec<String> {
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let containers = named.iter().flat_map(|pod| &pod.info.containers);
    let mut containers: BTreeSet<String> = containers.map(|it| it.name.clone()).collect();
    for it in basis.register.chains() {
        let meta = it.chain.meta();
        if meta.namespace == question.namespace && meta.pod == question.pod {
            containers.insert(meta.key.container.clone());
        }
        known.insert((meta.namespace.clone(), meta.pod.clone()));
    }
    if !containers.is_empty() || !named.is_empty() {
        let Question {
            namespace,
            pod,
            container: Some(asked),
        } = question
        else {
            return Vec::new();
        };
        let others = containers.iter().filter(|name| *name != asked);
        let others = others.map(|name| format!("{namespace}/{pod}/{name}"));
        return others.take(SIMILAR_MAX).collect();
    }
    if let Some(pods) = &basis.pods {
        known.extend(pods.names());
    }
    let mut ranked: Vec<(usize, String)> = known
        .iter()
        .filter_map(|(namespace, pod)| {
            let rank = rank(question, namespace, pod)?;
            Some((rank, format!("{namespace}/{pod}")))
        })
        .collect();
    ranked.sort();
    let names = ranked.into_iter().map(|(_, name)| name);
    names.take(SIMILAR_MAX).collect()
}

/// How far a pod is from the one asked for; `None`: too far.
fn rank(question: &Question, namespace: &str, pod: &str) -> Option<usize> {
    let asked = question.pod.as_str();
    let elsewhere = namespace != question.namespace;
    if elsewhere {
        return (pod == asked).then_some(usize::MAX);
    }
    // A workload's name in place of its pod's.
    if pod
        .strip_prefix(asked)
        .is_some_and(|rest| rest.starts_with('-'))
    {
        return Some(0);
    }
    let slips_max = 1 + asked.len() / 4;
    let comparable = asked.len().max(pod.len()) <= COMPARED_BYTES_MAX
        && asked.len().abs_diff(pod.len()) <= slips_max;
    let slips = comparable.then(|| strsim::osa_distance(asked, pod));
    slips.filter(|slips| *slips <= slips_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_workloads_are_near_and_strangers_are_not() {
        let question = |pod: &str| Question {
            namespace: "ns".to_owned(),
            pod: pod.to_owned(),
            container: None,
        };
        let rank = |asked: &str, pod: &str| rank(&question(asked), "ns", pod);
        assert_eq!(rank("web", "web-7d9f-abcde"), Some(0));
        assert_eq!(rank("webb", "web"), Some(1));
        assert_eq!(rank("web", "website"), None);
        assert_eq!(rank("web", "db-0"), None);
        assert_eq!(rank(&"w".repeat(200), &"w".repeat(199)), None);
        let elsewhere = |pod: &str| super::rank(&question("web"), "other", pod);
        assert_eq!(elsewhere("web"), Some(usize::MAX));
        assert_eq!(elsewhere("web-1"), None);
    }
}
