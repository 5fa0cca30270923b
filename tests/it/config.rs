//! The config reference, the examples, and `longshore check` on files.
#![allow(clippy::unwrap_used)] // a helper that cannot go on ends its test

use std::collections::BTreeSet;
use std::path::Path;

use longshore::catalog::chain::Loss;
use longshore::cli::check::{BAD, GOOD, UNREACHED, check};
use longshore::config::keys::{common, places};
use longshore::config::mistake::Report;
use longshore::config::parse::{DEFAULT_YAML, parse};
use longshore::config::preset::Preset;
use longshore::config::render::render;
use longshore::config::sinks::SinkType;
use longshore::config::yaml::{Node, Value, read};
use longshore::pipeline::ledger::{Drop, Exclusion};

use super::store::{Asked, Store, StoreServer, Told};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap()
}

/// What a sink of each type needs beside its type.
fn least(sink_type: &str) -> String {
    let needed = match sink_type {
        "file" | "stdout" | "blackhole" => String::new(),
        "azure_logs" => azure("managed_identity: {}"),
        "splunk_hec" => "    url: https://logs.example/\n    token: {file: /token}\n".to_owned(),
        "kafka" => "    bootstrap_servers: [kafka.example:9092]\n    topic: logs\n".to_owned(),
        _ => "    url: https://logs.example/rows\n".to_owned(),
    };
    format!("sinks:\n  name:\n    type: {sink_type}\n{needed}")
}

/// What a sink of type azure_logs needs, as this identity.
fn azure(identity: &str) -> String {
    let dcr = "dcr-00000000000000000000000000000001";
    format!("    endpoint: https://azure.example\n    dcr: {dcr}\n    azure_auth: {{{identity}}}\n")
}

/// One identity of each kind.
fn identity(kind: &str) -> &'static str {
    match kind {
        "client_secret" => "client_secret: {tenant_id: t, client_id: c, secret: s}",
        "workload_identity" => "workload_identity: {}",
        _ => "managed_identity: {}",
    }
}

/// All of an environment that the examples ask for.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "NODE_NAME" | "CLUSTER_NAME" | "LOGS_TOKEN" | "NODE_IP" | "KUBERNETES_SERVICE_HOST" => "x",
        "LOGS_URL" => "https://logs.example/rows",
        "METRICS_URL" => "https://prometheus.example/api/v1/write",
        "OTLP_URL" => "http://collector.example:4317",
        "AZURE_LOGS_ENDPOINT" => "https://rule-x1y2.westeurope-1.ingest.monitor.azure.com",
        "AZURE_DCR" => "dcr-00000000000000000000000000000001",
        _ => return None,
    };
    Some(value.to_owned())
}

fn without_environment(_: &str) -> Option<String> {
    None
}

/// The effective config of a sink of which only what is needed is given; `further` stands before it.
fn effective(sink_type: &str, further: &str) -> Node {
    effective_of(&format!("{further}{}", least(sink_type)))
}

fn effective_of(text: &str) -> Node {
    let config = parse(text, "f", &without_environment, "the host's name").unwrap();
    read(
        &render(&config),
        &without_environment,
        &mut Report::new("f"),
    )
    .unwrap()
}

/// The value under a dotted path as a cell of the reference has it; `None`: no such key.
fn cell(node: &Node, path: &str) -> Option<String> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let value = &entries.iter().find(|entry| entry.key == first)?.value;
    match (rest, &value.value) {
        (Some(rest), Value::List(items)) => cell(items.first()?, rest),
        (Some(rest), _) => cell(value, rest),
        (None, Value::Scalar(scalar)) if scalar.is_null() => Some("none".to_owned()),
        (None, Value::Scalar(scalar)) => Some(format!("`{}`", scalar.text)),
        (None, Value::Map(entries)) if entries.is_empty() => Some("`{}`".to_owned()),
        (None, Value::List(items)) if items.is_empty() => Some("`[]`".to_owned()),
        (None, Value::List(items)) => {
            let items = items.iter().map(|item| match &item.value {
                Value::Scalar(scalar) => scalar.text.as_str(),
                _ => "...",
            });
            let items: Vec<&str> = items.collect();
            Some(format!("`[{}]`", items.join(", ")))
        }
        (None, _) => Some("see below".to_owned()),
    }
}

/// Whether a config without this key is refused for the lack of it.
fn is_needed(path: &str) -> bool {
    let text = match path {
        "sinks" => String::new(),
        "sinks.name.type" => "sinks: {name: {}}".to_owned(),
        "sinks.name.url" => "sinks: {name: {type: http}}".to_owned(),
        "sinks.name.endpoint" | "sinks.name.dcr" => "sinks: {name: {type: azure_logs}}".to_owned(),
        "sinks.name.azure_auth.client_secret.tenant_id"
        | "sinks.name.azure_auth.client_secret.client_id"
        | "sinks.name.azure_auth.client_secret.secret" => {
            format!("{}    azure_auth: {{client_secret: {{}}}}\n", least("http"))
        }
        "sinks.name.token" => "sinks: {name: {type: splunk_hec}}".to_owned(),
        "sinks.name.basic.user" | "sinks.name.basic.password" => {
            format!("{}    basic: {{}}\n", least("http"))
        }
        "sinks.name.bootstrap_servers" | "sinks.name.topic" => {
            "sinks: {name: {type: kafka}}".to_owned()
        }
        "sinks.name.sasl.mechanism" => format!("{}    sasl: {{}}\n", least("kafka")),
        "sinks.name.event_hubs.connection_string" => {
            format!("{}    event_hubs: {{}}\n", least("kafka"))
        }
        _ => return false,
    };
    let mistakes = parse(&text, "f", &without_environment, "n").unwrap_err();
    mistakes
        .iter()
        .any(|mistake| mistake.path == path && mistake.text.starts_with("missing"))
}

/// The default of a key, from what the code does.
fn default_of(place: &str, key: &str) -> String {
    let (place, only) = match place.split_once(" of type ") {
        Some((place, only)) => (place, Some(only)),
        None => (place, None),
    };
    let path = if place == "the top level" {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    };
    let path = path.replace("NAME", "name");
    if is_needed(&path) {
        return "needed".to_owned();
    }
    if let Some(kind) = place.strip_prefix("sinks.NAME.azure_auth") {
        // A mapping is none by default, so it is looked at where there is another.
        let kind = match key {
            "managed_identity" => "client_secret",
            _ => kind.trim_start_matches('.'),
        };
        let text = format!(
            "sinks:\n  name:\n    type: azure_logs\n{}",
            azure(identity(kind))
        );
        return cell(&effective_of(&text), &path).unwrap_or_else(|| "none".to_owned());
    }
    let further = match place {
        "metrics.scrape" => "metrics: {scrape: [{url: 'http://h/metrics'}]}\n",
        _ => "",
    };
    let sink_type = only.unwrap_or("http");
    cell(&effective(sink_type, further), &path).unwrap_or_else(|| "none".to_owned())
}

/// What the section of a sink's type has to say of the keys of every sink: which defaults are others than those in the
/// table, and which keys it has not.
fn differences(sink_type: SinkType) -> String {
    let keys = sink_type.keys();
    let (own, general) = (effective(sink_type.name(), ""), effective("http", ""));
    let (mut others, mut lacking) = (Vec::new(), Vec::new());
    for (key, _) in common().iter().filter(|(key, _)| *key != "type") {
        if keys.allowed(key).is_none() {
            lacking.push(format!("`{key}`"));
            continue;
        }
        let path = format!("sinks.name.{key}");
        let (own, general) = (cell(&own, &path), cell(&general, &path));
        if own != general {
            others.push(format!("`{key}` {}", own.unwrap_or_default()));
        }
    }
    let mut sentences = Vec::new();
    if !others.is_empty() {
        sentences.push(format!("Other defaults: {}.", others.join(", ")));
    }
    if !lacking.is_empty() {
        sentences.push(format!("Not among its keys: {}.", lacking.join(", ")));
    }
    sentences.join(" ")
}

/// Each type's section says how it differs from the table of all sinks.
#[test]
fn the_sections_of_types_say_what_is_different() {
    let text = page("CONFIG.md");
    let sections: Vec<String> = text
        .split("\n## ")
        .map(|section| {
            section
                .split_ascii_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut unsaid = Vec::new();
    for sink_type in SinkType::ALL {
        let heading = format!("sinks.NAME of type {} ", sink_type.name());
        let section = sections.iter().find(|it| it.starts_with(&heading));
        let wanted = differences(sink_type);
        if !section.is_some_and(|section| section.contains(&wanted)) {
            unsaid.push(format!("{heading}: {wanted}"));
        }
    }
    let unsaid = unsaid.join("\n");
    assert!(unsaid.is_empty(), "to be said in CONFIG.md:\n{unsaid}");
}

/// First three cells of every row of every table, with the heading that they stand under.
fn documented(text: &str) -> Vec<(String, [String; 3], String)> {
    let mut heading = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.replace('`', "");
        }
        // A bar within a cell is written `\|`.
        let line = line.replace("\\|", "\0");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", key, allowed, default, meaning, ""] = cells.as_slice()
            && key.starts_with('`')
        {
            let cells = [key, allowed, default].map(|cell| cell.replace('\0', "|"));
            rows.push((heading.clone(), cells, (*meaning).to_owned()));
        }
    }
    rows
}

/// Each key is in the reference once, with the range and the default that the code has, and no other key is.
#[test]
fn the_reference_says_what_the_code_does() {
    let mut expected = BTreeSet::new();
    for (place, known) in places() {
        for (name, allowed) in known.iter() {
            let cells = [
                format!("`{name}`"),
                allowed.to_owned(),
                default_of(place, name),
            ];
            expected.insert((place.to_owned(), cells));
        }
    }
    let mut found = BTreeSet::new();
    for (place, cells, meaning) in documented(&page("CONFIG.md")) {
        assert!(meaning.len() > 20, "{place}: {cells:?} has no meaning");
        assert!(
            found.insert((place, cells.clone())),
            "{cells:?} is there twice"
        );
    }
    let row =
        |(place, cells): &(String, [String; 3])| format!("{place}: | {} |", cells.join(" | "));
    let missing: Vec<String> = expected.difference(&found).map(row).collect();
    let wrong: Vec<String> = found.difference(&expected).map(row).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "rows missing from CONFIG.md:\n{}\nrows that the code does not know:\n{}",
        missing.join("\n"),
        wrong.join("\n")
    );
}

/// The YAML blocks of a page.
fn blocks(text: &str) -> Vec<String> {
    let parts = text.split("```yaml\n").skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

/// What is printed for people to copy can be used as it is.
#[test]
fn every_example_loads() {
    let mut examples = blocks(&page("CONFIG.md"));
    assert!(examples.len() >= 5, "{} blocks", examples.len());
    let readme = blocks(&page("README.md"));
    assert!(!readme.is_empty(), "README.md has no config");
    examples.extend(readme);
    examples.push(page("deploy/base/longshore.yaml"));
    for overlay in ["azure", "full", "logs", "otlp"] {
        examples.push(page(&format!("deploy/overlays/{overlay}/longshore.yaml")));
    }
    examples.push(DEFAULT_YAML.to_owned());
    for example in examples {
        if let Err(mistakes) = parse(&example, "example", &environment, "node") {
            panic!("{example}\n{mistakes:#?}");
        }
    }
}

/// A reason that METRICS.md does not explain in the row of its family.
fn unexplained(metrics: &str, family: &str, reasons: &[&str]) -> Option<String> {
    let start = format!("| `{family}` |");
    let row = metrics.lines().find(|line| line.starts_with(&start))?;
    let mut reasons = reasons.iter();
    let missing = reasons.find(|reason| !row.contains(&format!("`{reason}`: ")))?;
    Some((*missing).to_owned())
}

/// Each reason why samples are dropped stands in METRICS.md.
#[test]
fn every_reason_of_the_samples_is_explained() {
    use longshore::samples::ledger::Drop;
    let reasons = Drop::ALL.map(Drop::as_str);
    let family = "longshore_samples_dropped_total";
    assert_eq!(unexplained(&page("METRICS.md"), family, &reasons), None);
    assert!(page("METRICS.md").contains(family));
}

/// Each reason of the ledger stands in METRICS.md, in the row of its family.
#[test]
fn every_reason_of_the_ledger_is_explained() {
    let metrics = page("METRICS.md");
    let row = |family: &str| {
        let start = format!("| `longshore_log_{family}_bytes_total` |");
        let found = metrics.lines().find(|line| line.starts_with(&start));
        found.unwrap().to_owned()
    };
    let reasons = [
        ("excluded", Exclusion::ALL.map(Exclusion::as_str).to_vec()),
        ("dropped", Drop::ALL.map(Drop::as_str).to_vec()),
        ("lost", Loss::ALL.map(Loss::as_str).to_vec()),
    ];
    for (family, reasons) in reasons {
        for reason in reasons {
            assert!(
                row(family).contains(&format!("`{reason}`: ")),
                "METRICS.md does not explain the reason {reason} of {family}"
            );
        }
    }
}

fn checked(bytes: &[u8]) -> (u8, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, bytes).unwrap();
    run_check(Some(&file))
}

fn run_check(file: Option<&Path>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check(file, false, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// `check` prints a config that can be used again, and the bounds.
#[test]
fn check_prints_the_effective_config_and_the_bounds() {
    for file in [None, Some(page("CONFIG.md"))] {
        let (code, out, err) = match &file {
            None => run_check(None),
            Some(text) => checked(blocks(text)[0].as_bytes()),
        };
        assert_eq!(code, GOOD, "{err}");
        assert!(out.contains("flush_interval_ms: 1000"), "{out}");
        assert!(
            out.contains("all together") && out.contains("descriptors"),
            "{out}"
        );
        parse(&out, "out", &without_environment, "node").unwrap();
    }
}

/// `check` names three mistakes in one run, starts nothing and exits with 2.
#[test]
fn check_names_every_mistake() {
    let text = "sinks:\n  a:\n    type: http\n    url: https://h/\n    workers: many\n    colums: {}\nlog: 1\n";
    let (code, out, err) = checked(text.as_bytes());
    assert_eq!((code, out.as_str()), (BAD, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 4, "{err}");
    for (line, words) in lines.iter().zip([
        "config.yaml:5:14: sinks.a.workers: found \"many\"; allowed is a whole number, 1 to 64",
        "config.yaml:6:5: sinks.a.colums: unknown key here; did you mean columns?",
        "config.yaml:7:1: log: unknown key here; did you mean logs?",
        "3 mistakes; nothing was started",
    ]) {
        assert!(line.ends_with(words), "{line}");
    }
}

/// What cannot be read as text is told apart, and nothing without end is read to its end.
#[test]
fn check_refuses_files_that_are_no_text() {
    let (code, _, err) = checked(b"sinks:\n  a\xff: 1\n");
    assert_eq!(code, BAD);
    assert!(
        err.contains("config.yaml:2:4: a byte that is not UTF-8"),
        "{err}"
    );

    let (code, _, err) = run_check(Some(Path::new("/dev/zero")));
    assert_eq!(code, BAD);
    assert!(err.contains("a config may have 1048576"), "{err}");

    let directory = tempfile::tempdir().unwrap();
    for path in [
        directory.path().to_owned(),
        directory.path().join("missing.yaml"),
    ] {
        let (code, out, err) = run_check(Some(&path));
        assert_eq!((code, out.as_str()), (BAD, ""));
        let words = format!("cannot read the config {}: ", path.display());
        assert!(err.starts_with(&words), "{err}");
    }
}

/// Lets in who has the word, with anything or nothing.
struct Door;

impl Store for Door {
    fn answer(&mut self, asked: &Asked, _violations: &mut Vec<String>) -> Told {
        match asked.header("authorization") {
            "Bearer right" => Told::of(204, ""),
            _ => Told::of(401, "who are you?"),
        }
    }
}

/// `check --connect` tries every sink by its own transport, and says of each in a line what is wrong.
#[test]
fn check_tries_each_sink() {
    let server = StoreServer::start(Door, None);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, "").unwrap();
    let text = format!(
        "state_dir: {}
sinks:
  right: {{type: http, url: '{url}', bearer_token: right, compression: none}}
  wrong: {{type: http, url: '{url}', bearer_token: guessed, compression: none}}
  nobody: {{type: http, url: 'http://127.0.0.1:1/', signals: [logs, metrics]}}
  nowhere: {{type: http, url: 'http://name.invalid/'}}
  files: {{type: file, directory: '{file}/under'}}
  void: {{type: blackhole}}
",
        directory.path().display(),
        file = file.display(),
        url = server.url("/rows")
    );
    std::fs::write(&file, text).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check(Some(&file), true, &mut out, &mut err);
    assert_eq!(code, UNREACHED);
    let out = String::from_utf8(out).unwrap();
    let found: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("#   sinks."))
        .collect();
    let said = |sink: &str, words: &str| {
        let starts = format!("#   sinks.{sink} ");
        let lines = found.iter().filter(|line| line.starts_with(&starts));
        let tells = |line: &&&str| {
            line.split_once("): ")
                .is_some_and(|(_, it)| it.starts_with(words))
        };
        lines.filter(tells).count()
    };
    assert_eq!(said("right", "good: took an empty payload"), 1, "{out}");
    assert_eq!(said("wrong", "BAD: POST http://127.0.0.1:"), 1, "{out}");
    assert!(out.contains("401 Unauthorized"), "{out}");
    assert_eq!(
        said("nobody", "BAD: POST http://127.0.0.1:1/: "),
        2,
        "{out}"
    );
    assert_eq!(said("nowhere", "BAD: "), 1, "{out}");
    assert_eq!(said("files", "BAD: "), 1, "{out}");
    assert_eq!(said("void", "good: "), 1, "{out}");
    assert!(!out.contains("guessed"), "a secret is shown");
}

/// The table of presets says what they set.
#[test]
fn the_table_of_presets_says_what_the_code_does() {
    let text = page("CONFIG.md");
    for preset in [None].into_iter().chain(Preset::ALL.map(Some)) {
        let name = preset.map_or("none", Preset::name);
        let further = preset.map_or(String::new(), |it| format!("preset: {}\n", it.name()));
        let node = effective("http", &further);
        let keys = [
            "metrics.enabled",
            "metrics.interval_ms",
            "metrics.profile",
            "logs.select.exclude.namespaces",
        ];
        let cells = keys.map(|key| cell(&node, key).unwrap().replace(['`', '[', ']'], ""));
        let row = format!("| {name} | {} |", cells.join(" | "));
        assert!(text.contains(&row), "not in CONFIG.md: {row}");
    }
}
