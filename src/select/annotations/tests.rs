use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::select::ANNOTATIONS;
use crate::pods::ContainerInfo;

fn pod(annotations: &[(&str, &str)]) -> PodInfo {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let container = |name: &str| ContainerInfo {
        name: name.to_owned(),
        ..ContainerInfo::default()
    };
    PodInfo {
        annotations: annotations.iter().map(own).collect(),
        containers: vec![container("main"), container("side")],
        ..PodInfo::default()
    }
}

fn wishes(annotations: &[(&str, &str)], container: &str) -> Wishes {
    Wishes::of(&pod(annotations), container, &ANNOTATIONS)
}

/// What is excluded of `main` and of `side`: all, stdout, stderr.
fn excluded(annotations: &[(&str, &str)]) -> [[bool; 3]; 2] {
    ["main", "side"].map(|container| {
        let wishes = wishes(annotations, container);
        assert_eq!(wishes.errors, [], "{annotations:?}");
        let [stdout, stderr] = wishes.streams_excluded;
        [wishes.excluded_by.is_some(), stdout, stderr]
    })
}

const NO: [bool; 3] = [false, false, false];
const ALL: [bool; 3] = [true, false, false];
/// Both streams, which fluentbit.io's annotations mean by excluding all.
const BOTH: [bool; 3] = [true, true, true];
const OUT: [bool; 3] = [false, true, false];
const ERR: [bool; 3] = [false, false, true];

#[test]
fn exclusions_of_all_kinds_mean_what_their_inventors_say() {
    type Case = (&'static [(&'static str, &'static str)], [[bool; 3]; 2]);
    let cases: &[Case] = &[
        (&[("longshore.dev/exclude", "true")], [ALL, ALL]),
        (&[("longshore.dev/exclude", "false")], [NO, NO]),
        (&[("longshore.dev/exclude", "stderr")], [ERR, ERR]),
        (&[("longshore.dev/exclude.side", "true")], [NO, ALL]),
        (
            &[
                ("longshore.dev/exclude", "true"),
                ("longshore.dev/exclude.side", "false"),
            ],
            [ALL, NO],
        ),
        (&[("fluentbit.io/exclude", "true")], [BOTH, BOTH]),
        (&[("fluentbit.io/exclude", "false")], [NO, NO]),
        (&[("fluentbit.io/exclude-main", "on")], [BOTH, NO]),
        (&[("fluentbit.io/exclude_main", "true")], [BOTH, NO]),
        (&[("fluentbit.io/exclude_stdout", "true")], [OUT, OUT]),
        (&[("fluentbit.io/exclude_stderr-side", "true")], [NO, ERR]),
        (&[("fluentbit.io/exclude_stdout_main", "true")], [OUT, NO]),
        (
            &[
                ("fluentbit.io/exclude", "true"),
                ("fluentbit.io/exclude-main", "false"),
            ],
            [NO, BOTH],
        ),
        (
            &[
                ("fluentbit.io/exclude", "true"),
                ("fluentbit.io/exclude_stderr", "false"),
            ],
            [OUT, OUT],
        ),
        (&[("vector.dev/exclude", "true")], [ALL, ALL]),
        (&[("vector.dev/exclude-containers", "x, side")], [NO, ALL]),
        (&[("co.elastic.logs/enabled", "false")], [ALL, ALL]),
        (&[("co.elastic.logs/enabled", "true")], [NO, NO]),
        (&[("co.elastic.logs.side/enabled", "false")], [NO, ALL]),
        (
            &[
                ("co.elastic.logs/enabled", "false"),
                ("co.elastic.logs.side/enabled", "true"),
            ],
            [ALL, NO],
        ),
        (&[("ad.datadoghq.com/logs_exclude", "true")], [ALL, ALL]),
        (&[("ad.datadoghq.com/exclude", "true")], [ALL, ALL]),
        (&[("ad.datadoghq.com/metrics_exclude", "true")], [NO, NO]),
        (&[("ad.datadoghq.com/side.logs_exclude", "true")], [NO, ALL]),
        (&[("ad.datadoghq.com/main.exclude", "1")], [ALL, NO]),
        // Of others nobody knows anything.
        (
            &[
                ("fluentbit.io/parser", "x"),
                ("co.elastic.logs/json.keys", "x"),
            ],
            [NO, NO],
        ),
        (&[("longshore.development/exclude", "true")], [NO, NO]),
    ];
    for (annotations, expected) in cases {
        assert_eq!(excluded(annotations), *expected, "{annotations:?}");
    }
}

#[test]
fn vectors_label_counts_as_it_does_there() {
    let mut labelled = pod(&[]);
    labelled.labels = BTreeMap::from([("vector.dev/exclude".to_owned(), "true".to_owned())]);
    let excluded = Wishes::of(&labelled, "main", &ANNOTATIONS).excluded_by;
    assert_eq!(excluded.as_deref(), Some("vector.dev/exclude"));
    assert_eq!(
        Wishes::of(&labelled, "main", &["fluentbit.io/exclude"]),
        Wishes::default()
    );
}

#[test]
fn our_own_are_typed() {
    let wishes = wishes(
        &[
            ("longshore.dev/multiline", "java, python"),
            ("longshore.dev/parse-json", "true"),
            ("longshore.dev/sample", "0.25"),
            ("longshore.dev/rate", "100 lines/s, 65536 bytes/s"),
            ("longshore.dev/redact", "tokens,e-mail"),
            ("longshore.dev/min-level", "Warn"),
            ("longshore.dev/min-level.side", "error"),
        ],
        "main",
    );
    let expected = Wishes {
        multiline: Some(vec!["java".to_owned(), "python".to_owned()]),
        parse_json: Some(true),
        sample: Some(0.25),
        rate_lines: Some(100),
        rate_bytes: Some(65_536),
        redact: vec!["tokens".to_owned(), "e-mail".to_owned()],
        min_level: Some(Level::Warning),
        ..Wishes::default()
    };
    assert_eq!(wishes, expected);
}

#[test]
fn none_takes_back_what_the_pod_says() {
    let annotations = [
        ("longshore.dev/multiline", "java"),
        ("longshore.dev/multiline.side", "none"),
        ("longshore.dev/redact.side", "none"),
    ];
    let wishes = wishes(&annotations, "side");
    assert_eq!(
        (wishes.multiline, wishes.redact),
        (Some(Vec::new()), Vec::new())
    );
}

#[test]
fn what_cannot_be_obeyed_is_said_and_changes_nothing() {
    for (name, value) in [
        ("longshore.dev/exclude", "perhaps"),
        ("longshore.dev/exclude.nobody", "true"),
        ("longshore.dev/excluded", "true"),
        ("longshore.dev/", "true"),
        ("longshore.dev/multiline", ""),
        ("longshore.dev/multiline", "Java"),
        ("longshore.dev/parse-json", "json"),
        ("longshore.dev/sample", "1.5"),
        ("longshore.dev/sample", "-0.5"),
        ("longshore.dev/sample", "NaN"),
        ("longshore.dev/sample", "1e-1"),
        ("longshore.dev/rate", "0 lines/s"),
        ("longshore.dev/rate", "+5 lines/s"),
        ("longshore.dev/rate", "5 lines/s, 6 lines/s"),
        ("longshore.dev/rate", "5"),
        ("longshore.dev/rate", "99999999999999999999 bytes/s"),
        ("longshore.dev/redact", "a,,b"),
        ("longshore.dev/min-level", "loud"),
        ("fluentbit.io/exclude", "maybe"),
        ("fluentbit.io/exclude-nobody", "true"),
        ("co.elastic.logs/enabled", "2"),
        ("ad.datadoghq.com/logs_exclude", ""),
    ] {
        let wishes = wishes(&[(name, value)], "main");
        assert_eq!(wishes.errors.len(), 1, "{name}: {value}");
        assert_eq!(wishes.errors[0].annotation, name);
        let text = wishes.errors[0].to_string();
        assert!(text.contains("allowed is"), "{text}");
        let silent = Wishes {
            errors: Vec::new(),
            ..wishes
        };
        assert_eq!(silent, Wishes::default(), "{name}: {value}");
    }
}

#[test]
fn what_the_operator_does_not_allow_is_not_even_looked_at() {
    let annotations = [
        ("longshore.dev/exclude", "perhaps"),
        ("longshore.dev/sample", "0.5"),
    ];
    let wishes = Wishes::of(&pod(&annotations), "main", &["longshore.dev/sample"]);
    let expected = Wishes {
        sample: Some(0.5),
        ..Wishes::default()
    };
    assert_eq!(wishes, expected);
}

proptest! {
    /// Whatever a pod's author writes, what comes of it is bounded.
    #[test]
    fn any_annotations_make_bounded_wishes(
        annotations in prop::collection::btree_map(
            prop_oneof![
                "(longshore.dev/(exclude|sample|rate|redact|multiline)|fluentbit.io/exclude|ad.datadoghq.com/|co.elastic.logs)\\PC{0,20}",
                "\\PC{0,300}",
            ],
            prop_oneof!["\\PC{0,20}", "[a,0-9 ]{0,2000}"],
            0..40,
        ),
        container in "(main|\\PC{0,10})",
    ) {
        let info = PodInfo { annotations, ..pod(&[]) };
        let wishes = Wishes::of(&info, &container, &ANNOTATIONS);
        prop_assert!(wishes.errors.len() <= ERRORS_MAX);
        for error in &wishes.errors {
            prop_assert!(error.annotation.chars().count() <= 320 && error.found.chars().count() <= 64);
        }
        let names = wishes.multiline.iter().flatten().chain(&wishes.redact);
        prop_assert!(names.clone().count() <= 2 * NAMES_MAX);
        prop_assert!(names.clone().all(|name| name.len() <= 64));
        prop_assert!(wishes.sample.is_none_or(|part| (0.0..=1.0).contains(&part)));
    }
}
