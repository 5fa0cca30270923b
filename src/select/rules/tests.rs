use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::select::{ANNOTATIONS, Streams};
use crate::config::selector::Values;
use crate::pods::{ContainerInfo, Workload};
use crate::record::ChainKey;
use crate::select::plan::{Plan, Planner};

fn globs(texts: &[&str]) -> Vec<Glob> {
    texts.iter().map(|text| Glob::new(text).unwrap()).collect()
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    let selector = |text: &&str| Selector::new(text, Values::OfAnnotations).unwrap();
    texts.iter().map(selector).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

fn info() -> PodInfo {
    PodInfo {
        uid: "uid".to_owned(),
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        labels: pairs(&[("app", "web"), ("tier", "front")]),
        annotations: pairs(&[("team", "blue")]),
        workload: Some(Workload {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        }),
        namespace_labels: pairs(&[("env", "prod")]),
        containers: vec![ContainerInfo {
            name: "main".to_owned(),
            image: "reg.example:5000/shop/web:1.2".to_owned(),
            ..ContainerInfo::default()
        }],
    }
}

fn chain(state: PodState) -> ChainMeta {
    ChainMeta {
        key: ChainKey {
            pod_uid: "uid".to_owned(),
            container: "main".to_owned(),
            restart: 0,
        },
        namespace: "shop".to_owned(),
        pod: "web-1".to_owned(),
        container_id: String::new(),
        pod_state: state,
    }
}

fn known(info: PodInfo) -> ChainMeta {
    chain(PodState::Known(Arc::new(info)))
}

/// Lists of rules, each with an item that matches the pod above and one that does not.
fn lists() -> Vec<(&'static str, Rules, Rules)> {
    let rules = |set: &dyn Fn(&mut Rules, &str), text: &str| {
        let mut rules = Rules::default();
        set(&mut rules, text);
        rules
    };
    type Set = fn(&mut Rules, &str);
    let all: [(&'static str, Set, &str, &str); 8] = [
        (
            "namespaces",
            |it, text| it.namespaces = globs(&[text]),
            "sh*",
            "kube-*",
        ),
        ("pods", |it, text| it.pods = globs(&[text]), "web-?", "db-?"),
        (
            "containers",
            |it, text| it.containers = globs(&[text]),
            "main",
            "side",
        ),
        (
            "workloads",
            |it, text| it.workloads = globs(&[text]),
            "deployment/w*",
            "StatefulSet/web",
        ),
        (
            "images",
            |it, text| it.images = globs(&[text]),
            "*/shop/*",
            "*/db/*",
        ),
        (
            "labels",
            |it, text| it.labels = selectors(&[text]),
            "app in (web,api),!x",
            "app=db",
        ),
        (
            "annotations",
            |it, text| it.annotations = selectors(&[text]),
            "team=blue",
            "team=red",
        ),
        (
            "namespace_labels",
            |it, text| it.namespace_labels = selectors(&[text]),
            "env=prod",
            "env!=prod",
        ),
    ];
    let of = |(name, set, hit, miss): (&'static str, Set, &str, &str)| {
        (name, rules(&set, hit), rules(&set, miss))
    };
    all.into_iter().map(of).collect()
}

fn select(include: Rules, exclude: Rules) -> Select {
    Select {
        include,
        exclude,
        ..Select::default()
    }
}

fn plan(select: &Select, chain: &ChainMeta) -> Plan {
    Planner::new(select.clone()).plan(chain)
}

#[test]
fn each_list_excludes_what_it_names_and_includes_nothing_else() {
    for (name, hit, miss) in lists() {
        let chain = known(info());
        let decide = |include: &Rules, exclude: &Rules| {
            let plan = plan(&select(include.clone(), exclude.clone()), &chain);
            (plan.decision, plan.rule)
        };
        let none = Rules::default();
        let (decision, rule) = decide(&none, &hit);
        assert_eq!(decision, Decision::Exclude, "{name}");
        assert!(rule.starts_with(&format!("exclude.{name}: ")), "{rule}");
        assert_eq!(decide(&none, &miss).0, Decision::Collect, "{name}");
        assert_eq!(decide(&hit, &none).0, Decision::Collect, "{name}");
        let (decision, rule) = decide(&miss, &none);
        assert_eq!(decision, Decision::Exclude, "{name}");
        assert!(rule.starts_with(&format!("include.{name}: ")), "{rule}");
        // Exclusion is stronger.
        assert_eq!(decide(&hit, &hit).0, Decision::Exclude, "{name}");
    }
}

#[test]
fn path_rules_never_wait_and_others_wait_for_the_pod() {
    const PATHS: [&str; 3] = ["namespaces", "pods", "containers"];
    for (name, hit, miss) in lists() {
        let mut select = select(Rules::default(), hit);
        select.pod_annotations.clear();
        for state in [PodState::Awaited, PodState::Missing, PodState::Unasked] {
            let expected = match PATHS.contains(&name) {
                true => Decision::Exclude,
                false => Decision::Wait,
            };
            assert_eq!(plan(&select, &chain(state)).decision, expected, "{name}");
        }
        // What the path excludes does not wait for the rest to be known.
        select.exclude.namespaces = globs(&["shop"]);
        assert_eq!(
            plan(&select, &chain(PodState::Awaited)).decision,
            Decision::Exclude
        );
        let mut only = Select {
            include: miss,
            ..select.clone()
        };
        only.exclude = Rules::default();
        only.include.namespaces = globs(&["other"]);
        assert_eq!(
            plan(&only, &chain(PodState::Awaited)).decision,
            Decision::Exclude
        );
    }
}

#[test]
fn without_rules_only_annotations_are_waited_for() {
    let mut select = Select::default();
    let decide = |select: &Select, state| plan(select, &chain(state)).decision;
    assert_eq!(decide(&select, PodState::Unasked), Decision::Collect);
    assert_eq!(decide(&select, PodState::Awaited), Decision::Wait);
    assert_eq!(decide(&select, PodState::Missing), Decision::Wait);
    select.pod_annotations.clear();
    for state in [PodState::Unasked, PodState::Awaited, PodState::Missing] {
        assert_eq!(decide(&select, state), Decision::Collect);
    }
}

#[test]
fn metadata_that_cannot_be_had_is_judged_as_the_config_says() {
    for (missing, expected) in [
        (MetadataMissing::Wait, Decision::Wait),
        (MetadataMissing::Include, Decision::Collect),
        (MetadataMissing::Exclude, Decision::Exclude),
    ] {
        let select = Select {
            metadata_missing: missing,
            ..Select::default()
        };
        let plan_of = |state| plan(&select, &chain(state));
        let plan = plan_of(PodState::Missing);
        assert_eq!(plan.decision, expected);
        assert!(plan.rule.contains(missing.as_str()), "{}", plan.rule);
        // Still to be had: the first lines have been held back already, and only that is an end of waiting.
        let awaited = match missing {
            MetadataMissing::Include => Decision::Collect,
            MetadataMissing::Wait | MetadataMissing::Exclude => Decision::Wait,
        };
        assert_eq!(plan_of(PodState::Awaited).decision, awaited);
    }
}

#[test]
fn an_image_of_a_container_that_the_pod_had_not_yet_is_missing() {
    let mut info = info();
    info.containers.clear();
    let images = || Rules {
        images: globs(&["x"]),
        ..Rules::default()
    };
    for (include, exclude) in [(images(), Rules::default()), (Rules::default(), images())] {
        let plan = plan(&select(include, exclude), &known(info.clone()));
        assert_eq!(plan.decision, Decision::Wait);
    }
}

#[test]
fn a_pod_by_itself_is_its_own_workload() {
    let mut info = info();
    info.workload = None;
    let rules = Rules {
        workloads: globs(&["Pod/web-1"]),
        ..Rules::default()
    };
    let plan = plan(&select(Rules::default(), rules), &known(info));
    assert_eq!(plan.decision, Decision::Exclude);
}

#[test]
fn streams_and_annotations_add_up() {
    let only = |stdout: bool, stderr: bool| Select {
        streams: Streams { stdout, stderr },
        ..Select::default()
    };
    let mut annotated = info();
    let exclude = |value: &str| ("longshore.dev/exclude".to_owned(), value.to_owned());
    let plain = plan(&only(true, false), &known(annotated.clone()));
    assert_eq!(plain.decision, Decision::Collect);
    assert_eq!(plain.left_out, [None, Some(By::Rule)]);
    annotated.annotations.extend([exclude("stderr")]);
    let one = plan(&only(true, true), &known(annotated.clone()));
    assert_eq!(one.left_out, [None, Some(By::Annotation)]);
    assert_eq!(one.decision, Decision::Collect);
    annotated.annotations.extend([exclude("stdout")]);
    let none = plan(&only(false, true), &known(annotated.clone()));
    assert_eq!(none.left_out, [Some(By::Rule), None]);
    let none = plan(&only(true, false), &known(annotated));
    assert_eq!(
        (none.decision, none.by),
        (Decision::Exclude, By::Annotation)
    );
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof![
        (0..ANNOTATIONS.len(), "(\\.main|-main|_stderr|_main|)")
            .prop_map(|(at, rest)| format!("{}{rest}", ANNOTATIONS[at])),
        "(longshore.dev|fluentbit.io|co.elastic.logs|ad.datadoghq.com)[./_-]\\PC{0,12}",
        "\\PC{0,20}",
    ];
    let value = prop_oneof!["(true|false|stdout|stderr|0\\.5|main|)", "\\PC{0,40}"];
    prop::collection::btree_map(name, value, 0..6)
}

proptest! {
    /// Whatever annotations say, they never make a chain collected, or a stream of it, that is not without them.
    #[test]
    fn an_annotation_only_takes_away(
        annotations in annotations(),
        at in 0..8_usize,
        excludes in any::<bool>(),
        hits in any::<bool>(),
        stdout in any::<bool>(),
    ) {
        let (name, hit, miss) = lists().swap_remove(at);
        prop_assume!(name != "annotations");
        let rules = if hits { hit } else { miss };
        let (include, exclude) = match excludes {
            true => (Rules::default(), rules),
            false => (rules, Rules::default()),
        };
        let mut select = select(include, exclude);
        select.streams = Streams { stdout, stderr: true };
        let mut pod = info();
        let without = plan(&select, &known(pod.clone()));
        pod.annotations.extend(annotations);
        let with = plan(&select, &known(pod));
        if without.decision == Decision::Exclude {
            prop_assert_eq!(with.decision, Decision::Exclude);
            prop_assert_eq!(with.rule, without.rule);
        }
        for (with, without) in with.left_out.iter().zip(without.left_out) {
            prop_assert!(without.is_none() || with.is_some());
        }
    }

    /// Where annotations are not obeyed they change nothing.
    #[test]
    fn what_is_not_obeyed_changes_nothing(annotations in annotations()) {
        let mut select = Select::default();
        select.pod_annotations.clear();
        let mut pod = info();
        let without = plan(&select, &known(pod.clone()));
        pod.annotations.extend(annotations);
        prop_assert_eq!(plan(&select, &known(pod)), without);
    }
}
