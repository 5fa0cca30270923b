use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::config::mistake::Report;
use crate::config::yaml::read_foreign;

const EVERY: &str = include_str!("../../../tests/fixtures/import/every.yaml");
const RULE: &str = include_str!("../../../tests/fixtures/import/rule.json");

/// Imports one text from standard input: exit code, output, errors.
fn imported(bytes: &[u8]) -> (u8, String, String) {
    let from = ImportFrom::Azm {
        files: vec![PathBuf::from("-")],
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = import(&from, &mut Cursor::new(bytes), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// Whatever the files hold: an exit code that is documented, comments that are comments, and YAML below them.
fn holds(bytes: &[u8]) {
    let (code, out, err) = imported(bytes);
    assert!([GOOD, FAILED, BAD].contains(&code));
    assert_eq!(code == BAD, out.is_empty());
    assert!(!err.is_empty());
    if code != BAD {
        let mut report = Report::new("out");
        let node = read_foreign(&out, &mut report);
        assert!(node.is_some() && report.is_empty(), "{out}\n{report:?}");
        let comments = out.lines().take_while(|line| !line.is_empty());
        assert!(
            comments.into_iter().all(|line| line.starts_with('#')),
            "{out}"
        );
    }
}

/// Texts that stand where sections stand.
fn wrapped(key: &str, text: &str) -> String {
    let text = text.replace('\r', " ");
    let lines = text.split('\n').map(|line| format!("\n    {line}"));
    let lines: String = lines.collect();
    format!(
        "kind: ConfigMap\nmetadata: {{name: container-azm-ms-agentconfig}}\ndata:\n  {key}: |-{lines}\n"
    )
}

proptest! {
    /// Arbitrary bytes never panic.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        holds(&bytes);
    }

    /// A good file with bytes replaced never panics, and what comes out stays YAML.
    #[test]
    fn a_good_file_with_faults(
        of_rule in any::<bool>(),
        faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = if of_rule { RULE } else { EVERY }.as_bytes().to_vec();
        for (at, byte) in faults {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        holds(&bytes);
    }

    /// Any text in a section, also values in the place of settings that are known.
    #[test]
    fn any_section(
        text in "\\PC{0,80}",
        name in "[a-z_.]{0,40}",
        value in "(true|\\[\"\\PC{0,8}\"\\]|\"\\PC{0,20}\"|[0-9]{1,30}|1e9|\\[\\]|\\{a=1\\})",
    ) {
        holds(wrapped("log-data-collection-settings", &text).as_bytes());
        for (key, path) in [
            ("log-data-collection-settings", "log_collection_settings.stdout.exclude_namespaces"),
            ("log-data-collection-settings", "log_collection_settings.metadata_collection.include_fields"),
            ("prometheus-data-collection-settings", "prometheus_data_collection_settings.node.urls"),
            ("prometheus-data-collection-settings", "prometheus_data_collection_settings.node.fieldpass"),
            ("agent-settings", "agent_settings.fbit_config.tail_ignore_older"),
            ("agent-settings", name.as_str()),
        ] {
            holds(wrapped(key, &format!("{path} = {value}")).as_bytes());
        }
    }
}

/// The keys that come of a section of logs.
fn keys_of(section: &str) -> String {
    let (code, out, err) = imported(wrapped("log-data-collection-settings", section).as_bytes());
    assert_eq!(code, GOOD, "{err}\n{out}");
    let lines = out.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn one_stream_has_its_own_list() {
    let keys = keys_of(
        "[log_collection_settings.stdout]\nenabled = false\n[log_collection_settings.stderr]\nexclude_namespaces = [\"a\"]",
    );
    let wanted = "logs:\n  select:\n    exclude:\n      namespaces: [a]\n    streams: [stderr]\n";
    assert!(keys.contains(wanted), "{keys}");
}

#[test]
fn without_a_stream_there_are_metrics_alone() {
    let keys =
        keys_of("[log_collection_settings]\nstdout = {enabled = false}\nstderr.enabled = false");
    assert!(
        !keys.contains("logs:") && keys.contains("signals: [metrics]"),
        "{keys}"
    );
}

/// Asking the cluster for annotations makes no row longer.
#[test]
fn annotations_alone_add_nothing_to_rows() {
    let keys = keys_of("[log_collection_settings.filter_using_annotations]\nenabled = true");
    for line in [
        "source: api",
        "pod_annotations: [fluentbit.io/exclude]",
        "include_fields: [podUid]",
    ] {
        assert!(keys.contains(line), "{line}\n{keys}");
    }
    let keys = keys_of("[log_collection_settings.metadata_collection]\nenabled = true");
    assert!(
        keys.contains("pod_annotations: none") && !keys.contains("include_fields"),
        "{keys}"
    );
    // Without any field there is none, whatever the switch says.
    let keys = keys_of(
        "[log_collection_settings.metadata_collection]\nenabled = true\ninclude_fields = []",
    );
    assert!(!keys.contains("kubernetes:"), "{keys}");
}

#[test]
fn languages_have_the_default_of_the_other_agent() {
    let on = "[log_collection_settings.enable_multiline_logs]\nenabled = \"true\"\n";
    assert!(keys_of(on).contains("mode: [go, java, python]"));
    assert!(
        keys_of(&format!("{on}stacktrace_languages = []")).contains("mode: [go, java, python]")
    );
    assert!(!keys_of("").contains("multiline"));
}

/// As `kubectl get -o json` has it.
#[test]
fn json_is_read_as_yaml_is() {
    let section = "[log_collection_settings.stdout]\n\texclude_namespaces = [\"a\\u0062\"]\n[log_collection_settings.stderr]\nenabled = false";
    let map = serde_json::json!({
        "kind": "ConfigMap",
        "metadata": {"name": "container-azm-ms-agentconfig"},
        "data": {"log-data-collection-settings": section},
    });
    let (code, out, _) = imported(map.to_string().as_bytes());
    assert_eq!(code, GOOD, "{out}");
    assert!(out.contains("namespaces: [ab]"), "{out}");
}
