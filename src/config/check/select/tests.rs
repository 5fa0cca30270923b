use super::*;
use crate::config::parse::parse;
use crate::config::render::render;
use crate::config::yaml::read;

fn no_environment(_: &str) -> Option<String> {
    None
}

fn good(text: &str) -> Config {
    match parse(text, "f", &no_environment, "host") {
        Ok(config) => config,
        Err(mistakes) => panic!("{text}\n{mistakes:#?}"),
    }
}

fn bad(text: &str) -> Vec<String> {
    let mistakes = parse(text, "f", &no_environment, "host").unwrap_err();
    mistakes.iter().map(ToString::to_string).collect()
}

/// The keys of one `select`, where somebody is asked about pods.
fn asked(text: &str) -> (Select, usize) {
    let mut report = Report::new("f");
    let root = read(text, &no_environment, &mut report).unwrap();
    let place = root.place;
    let known = Known::of(&SELECT);
    let section = Section::of(&root, String::new(), place, known, &mut report).unwrap();
    let mut select = Select::default();
    let asked = Asked {
        pods: true,
        namespaces: true,
    };
    fill(&section, &mut select, asked, &mut report);
    (select, report.into_mistakes().len())
}

#[test]
fn a_sink_takes_its_rules_from_logs_key_by_key() {
    let config = good(
        "logs:\n  select:\n    include: {namespaces: [a, b]}\n    exclude: {pods: [x]}\n    \
         metadata_missing: include\n\
         sinks:\n  one: {type: blackhole}\n  two:\n    type: blackhole\n    select:\n      \
         include: {namespaces: [c], containers: ['*']}\n      streams: [stderr]\n      pod_annotations: none\n",
    );
    assert_eq!(config.sinks[0].select, config.logs.select);
    let two = &config.sinks[1].select;
    let texts = |globs: &[Glob]| -> Vec<String> {
        globs.iter().map(|glob| glob.as_str().to_owned()).collect()
    };
    assert_eq!(texts(&config.logs.select.include.namespaces), ["a", "b"]);
    assert_eq!(texts(&two.include.namespaces), ["c"]);
    assert_eq!(texts(&two.include.containers), ["*"]);
    assert_eq!(texts(&two.exclude.pods), ["x"]);
    assert_eq!(two.metadata_missing, MetadataMissing::Include);
    assert!(two.streams.stderr && !two.streams.stdout);
    assert!(two.pod_annotations.is_empty());
    // What is printed is the same config.
    assert_eq!(good(&render(&config)), config);
}

#[test]
fn all_mistakes_are_said_at_once_each_at_its_place() {
    let mistakes = bad(
        "logs:\n  select:\n    include: {namespaces: [ok, '', [x]]}\n    exclude: {pod: [x], pods: x}\n    \
         streams: []\n    metadata_missing: never\n    pod_annotations: [fluentbit.io/exlude, vector.dev/exclude]\n\
         sinks: {a: {type: blackhole, select: {include: {workloads: [web]}}}}\n",
    );
    let expected = [
        "f:3:32: logs.select.include.namespaces: found \"\": not a glob",
        "f:3:36: logs.select.include.namespaces: found a list: not a text",
        "f:4:15: logs.select.exclude.pod: unknown key here; did you mean pods?",
        "f:4:31: logs.select.exclude.pods: found \"x\"; allowed is a list",
        "f:5:14: logs.select.streams: found a list; allowed is",
        "f:6:23: logs.select.metadata_missing: found \"never\"",
        "f:7:23: logs.select.pod_annotations: unknown annotation fluentbit.io/exlude; did you mean fluentbit.io/exclude?",
        "f:8:61: sinks.a.select.include.workloads: found \"web\": not of the form KIND/NAME",
    ];
    let unsaid: Vec<_> = expected
        .iter()
        .filter(|it| !mistakes.iter().any(|mistake| mistake.starts_with(**it)))
        .collect();
    assert!(unsaid.is_empty(), "{unsaid:#?}\nof {mistakes:#?}");
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
}

#[test]
fn what_paths_do_not_say_is_refused_where_nobody_is_asked() {
    for key in ["images", "labels", "annotations", "namespace_labels"] {
        let text = format!(
            "logs: {{select: {{exclude: {{{key}: [x]}}}}}}\nsinks: {{a: {{type: blackhole}}}}"
        );
        let mistakes = bad(&text);
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(
            mistakes[0].contains("can never be decided"),
            "{mistakes:#?}"
        );
        let (select, mistakes) = asked(&format!("exclude: {{{key}: [x]}}"));
        assert!(select.exclude.need_metadata() && mistakes == 0);
    }
}

#[test]
fn selectors_are_checked_where_they_stand() {
    let (select, mistakes) =
        asked("include: {labels: ['tier in (a,b),!x', 'a in'], annotations: ['u=http://h/']}");
    assert_eq!(mistakes, 1);
    assert_eq!(select.include.labels.len(), 1);
    assert_eq!(select.include.annotations.len(), 1);
}
