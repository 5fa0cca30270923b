//! `longshore import azm`: what is taken, what is said of the rest, and that the result is a configuration.

use std::io::Cursor;
use std::path::PathBuf;

use longshore::cli::check::{self, check};
use longshore::cli::import::{BAD, FAILED, GOOD, ImportFrom, import};
use longshore::config::Config;
use longshore::config::metrics::Profile;
use longshore::config::parse::parse;
use longshore::config::preset::Preset;
use longshore::config::{Compression, ReadFrom, SinkKind};

fn fixture(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/import").join(name)
}

/// Exit code, output, errors.
fn imported(names: &[&str]) -> (u8, String, String) {
    let files = names.iter().map(|name| fixture(name)).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let from = ImportFrom::Azm { files };
    let code = import(&from, &mut Cursor::new(b""), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// The variables that an import leaves to be filled in, and the node's address.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "AZURE_LOGS_ENDPOINT" => "https://rule-x1y2.westeurope-1.ingest.monitor.azure.com",
        "AZURE_LOGS_DCR" => "dcr-00000000000000000000000000000001",
        "NODE_IP" => "192.0.2.7",
        "KUBERNETES_SERVICE_HOST" => "192.0.2.1",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parsed(text: &str) -> Config {
    match parse(text, "imported", &environment, "node") {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes:#?}\n{text}"),
    }
}

/// The lines of the output that are no comments.
fn keys(out: &str) -> String {
    let lines = out.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

/// What one setting has in the comments: its line, and those that belong to it.
fn said(out: &str, setting: &str) -> String {
    let start = format!("#   {setting} = ");
    let mut lines = out.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| line.starts_with("#     "));
    let rest: Vec<&str> = rest.collect();
    format!("{first}\n{}", rest.join("\n"))
}

/// The parser takes what is made of any settings, once the variables are there.
#[test]
fn whatever_is_written_is_a_configuration() {
    for name in ["every.yaml", "template.json", "rule.json"] {
        let (_, out, _) = imported(&[name]);
        assert_eq!(parsed(&out).sinks.len(), 1, "{out}");
    }
}

/// The parser takes what is written.
#[test]
fn the_parser_takes_what_is_written() {
    let (code, out, err) = imported(&["plain.yaml"]);
    assert_eq!(code, GOOD, "{err}\n{out}");
    let config = parsed(&out);
    assert_eq!(config.preset, None);
    assert!(config.metrics.enabled);
    assert_eq!(config.metrics.interval_ms, 60_000);
    assert_eq!(config.metrics.profile, Profile::Minimal);
    assert_eq!(
        config.metrics.ip.azure_cns_url.as_deref(),
        Some("http://192.0.2.7:10092/metrics")
    );
    let urls: Vec<&str> = config
        .metrics
        .scrape
        .iter()
        .map(|it| it.http.url.as_str())
        .collect();
    assert_eq!(
        urls,
        [
            "http://192.0.2.7:9103/metrics?x=${NOT_OURS}",
            "http://192.0.2.7:10091/node-metrics"
        ]
    );
    assert_eq!(config.metrics.scrape[0].interval_ms, 30_000);
    assert!(config.metrics.scrape[0].keep[0].matches("app_x"));
    assert!(config.metrics.scrape[1].drop[0].matches("npm_ipset_counts"));
    let sink = &config.sinks[0];
    assert!(matches!(sink.kind, SinkKind::AzureLogs(_)));
    assert!(sink.signals.logs && sink.signals.metrics && sink.rows.parse_json);
    assert_eq!(sink.limits.flush_interval_ms, 10_000);
    assert_eq!(sink.compression, Compression::Gzip(3));
    let day = ReadFrom::Backlog {
        age_max_ms: Some(86_400_000),
        bytes_max: None,
    };
    assert_eq!(sink.read_from, day);
}

/// `check` itself, on a file, with the variables written into it.
#[test]
fn check_accepts_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    for names in [&["plain.yaml"][..], &["plain.yaml", "rule.json"]] {
        let (_, mut out, _) = imported(names);
        for name in ["AZURE_LOGS_ENDPOINT", "AZURE_LOGS_DCR", "NODE_IP"] {
            out = out.replace(&format!("${{{name}}}"), &environment(name).unwrap());
        }
        let file = directory.path().join("config.yaml");
        std::fs::write(&file, &out).unwrap();
        let (mut shown, mut err) = (Vec::new(), Vec::new());
        let code = check(Some(&file), false, &mut shown, &mut err);
        let err = String::from_utf8(err).unwrap();
        assert_eq!(code, check::GOOD, "{names:?}: {err}\n{out}");
    }
}

/// What every setting comes to.
const EVERY: &str = r#"kubernetes:
  source: api
logs:
  select:
    exclude:
      namespaces: [kube-system, gatekeeper-system, quiet]
    pod_annotations: [fluentbit.io/exclude]
  multiline:
    mode: [python, dotnet]
metrics:
  interval_ms: 60000
  profile: minimal
  ip:
    azure_cns_url: "http://${NODE_IP}:10092/metrics"
    compat_azure: true
  scrape:
    - url: "http://${NODE_IP}:9103/metrics"
      interval_ms: 90000
      keep: ["app_.*", up]
      drop: ["app_internal\\.."]
    - url: "http://127.0.0.1:9104/own"
      interval_ms: 90000
      keep: ["app_.*", up]
      drop: ["app_internal\\.."]
    - url: "http://${NODE_IP}:10091/node-metrics"
      interval_ms: 60000
      drop: [npm_ipset_counts]
      labels: {job: azure-npm}
sinks:
  azure:
    type: azure_logs
    endpoint: ${AZURE_LOGS_ENDPOINT}
    dcr: ${AZURE_LOGS_DCR}
    azure_auth:
      workload_identity: {}
    signals: [logs, metrics]
    parse_json: true
    include_fields: [podUid, podLabels, image]
    read_from:
      age_max_ms: 7200000
    flush_interval_ms: 60000
    compression_level: 6"#;

/// All settings at once: the keys that come of them, letter by letter, and nothing that is not understood.
#[test]
fn every_setting_is_taken_or_named() {
    let (code, out, err) = imported(&["every.yaml"]);
    assert_eq!(code, GOOD, "{err}\n{out}");
    assert_eq!(keys(&out), EVERY);
    assert!(err.contains(" 0 not understood"), "{err}");
    for (setting, words) in [
        (
            "log_collection_settings.stdout.exclude_namespaces (not of both streams)",
            "[\"only-out\"]",
        ),
        (
            "log_collection_settings.stdout.collect_system_pod_logs",
            "a second sink",
        ),
        (
            "log_collection_settings.env_var.enabled",
            "instead: `kubectl describe pod`",
        ),
        (
            "log_collection_settings.collect_all_kube_events.enabled",
            "an exporter",
        ),
        (
            "log_collection_settings.multi_tenancy.enabled",
            "a sink for each tenant",
        ),
        (
            "prometheus_data_collection_settings.cluster.urls",
            "its own node alone",
        ),
        ("agent_settings.high_log_scale.enabled", "`workers: 2`"),
        (
            "agent_settings.telemetry_config.disable_telemetry",
            "nothing is reported",
        ),
    ] {
        assert!(
            said(&out, setting).contains(words),
            "{setting}: {}",
            said(&out, setting)
        );
    }
}

/// Of an agent without a setting the defaults are taken, not ours.
#[test]
fn an_absent_setting_has_the_default_of_the_other_agent() {
    let (code, out, _) = imported(&["template.json"]);
    assert_eq!(code, GOOD, "{out}");
    let text = "namespaces: [kube-system, gatekeeper-system]";
    assert!(keys(&out).contains(text), "{out}");
    assert!(out.contains("# There was no ConfigMap"), "{out}");
    // A section of a stream clears the default for that stream.
    let (_, out, _) = imported(&["plain.yaml"]);
    assert!(!keys(&out).contains("namespaces"), "{out}");
    assert!(out.contains("# There was no data collection rule"), "{out}");
}

#[test]
fn the_presets_of_the_portal_are_known() {
    let (code, out, _) = imported(&["plain.yaml", "rule.json"]);
    assert_eq!(code, GOOD, "{out}");
    assert!(said(&out, "transformKql").contains("rule.json"), "{out}");
    assert!(said(&out, "syslog").contains("nodes"), "{out}");
    assert!(
        said(&out, "scrape targets").contains("neither there nor here"),
        "{out}"
    );
    let config = parsed(&out);
    assert_eq!(config.preset, Some(Preset::LogsAndEvents));
    assert!(!config.metrics.enabled && config.metrics.scrape.is_empty());
    assert!(config.sinks[0].signals.logs && !config.sinks[0].signals.metrics);

    let (_, out, _) = imported(&["template.json"]);
    let keys = keys(&out);
    assert!(keys.starts_with("preset: cost-optimized\n"), "{out}");
    // What the preset says is not said again.
    assert!(
        !keys.contains("interval_ms:") && !keys.contains("metrics:\n"),
        "{out}"
    );
    assert!(
        said(&out, "namespaces").contains("collected there"),
        "{out}"
    );
    assert!(said(&out, "transformKql").contains("unchanged"), "{out}");
}

/// Settings alone, as they are given to the command line of Azure: metrics without logs, beyond our bounds.
#[test]
fn bare_settings_of_a_rule_are_taken() {
    let (code, out, err) = imported(&["settings.json"]);
    assert_eq!(code, FAILED, "{err}");
    let config = parsed(&out);
    assert_eq!(config.preset, None);
    assert_eq!(config.metrics.interval_ms, 600_000);
    assert!(config.sinks[0].signals.metrics && !config.sinks[0].signals.logs);
    assert!(said(&out, "interval").contains("at most 600000"), "{out}");
    assert!(said(&out, "namespaceFilteringMode").contains("never the container logs"));
    assert!(
        out.contains("\"Microsoft-Nonsense\": no stream that is known"),
        "{out}"
    );
}

/// Each mistake is named, the rest is taken, and the exit code says so; no password is shown.
#[test]
fn mistakes_are_named_and_the_rest_is_taken() {
    let (code, out, err) = imported(&["mistakes.yaml"]);
    assert_eq!(code, FAILED);
    for words in [
        "schema-version = \"v3\": allowed is v1 or v2",
        "log-data-collection-setting: no section that is known; did you mean log-data-collection-settings?",
        "stdout.enabled = \"yes\": allowed is true or false",
        "stdout.exclude_namespaces = \"kube-system\": is not a list",
        "stderr.exclude_namespace = [\"x\"]: no setting that is known; did you mean exclude_namespaces?",
        "stderr.exclude_namespaces = [\"istio-*\"]: has \"istio-*\"",
        "stacktrace_languages = [\"java\", \"cobol\"]: allowed is a list",
        "include_fields = [\"podUid\", \"podName\"]: allowed are podUid",
        "agent_settings.proxy_config.ignore_proxy_settings = true: does not belong here",
        "node.interval = \"1 minute\": allowed is a duration",
        "the URL is neither http:// nor https://",
        "fielddrop = [1]: allowed is a list",
        "agent-settings: not TOML, line 2 of the section",
        "integrations: not a text",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(err.contains(" 14 not understood"), "{err}");
    assert!(
        !out.contains("hunter2") && !err.contains("hunter2"),
        "{out}"
    );
    let keys = keys(&out);
    assert!(
        keys.contains("    - url: \"http://10.0.0.2/metrics\""),
        "{out}"
    );
    assert!(
        !keys.contains("read_from") && !keys.contains("include_fields"),
        "{out}"
    );
}

/// A file that cannot be used leaves the output empty, whatever the others are.
#[test]
fn a_file_that_is_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (path, words) in [
        (
            write("other.yaml", b"kind: Pod\n"),
            "has neither a ConfigMap",
        ),
        (write("broken.yaml", b"kind: [\n"), "broken.yaml:"),
        (write("bytes", b"\xff\xfe"), "is not UTF-8 text"),
        (directory.path().join("absent"), "cannot read"),
        (PathBuf::from("/dev/zero"), "more than 1048576 bytes"),
    ] {
        let from = ImportFrom::Azm {
            files: vec![fixture("plain.yaml"), path.clone()],
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = import(&from, &mut Cursor::new(b""), &mut out, &mut err);
        let err = String::from_utf8(err).unwrap();
        assert_eq!((code, out.len()), (BAD, 0), "{}", path.display());
        assert!(
            err.contains(words) && err.contains("nothing was imported"),
            "{err}"
        );
    }
}
