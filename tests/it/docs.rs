//! The pages in `docs/` and `deploy/azure`, held to the code and to the record of the benches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore::config::Config;
use longshore::config::bounds::bounds;
use longshore::config::keys::places;
use longshore::config::metrics::{MINIMAL, MINIMAL_CONTAINERS};
use longshore::config::parse::parse;
use longshore::config::sinks::SinkType;

const MIB: u64 = 1024 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of a directory, with their paths.
fn pages(directory: &str) -> Vec<(PathBuf, String)> {
    let found = std::fs::read_dir(root().join(directory)).unwrap();
    let paths = found.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut pages: Vec<_> = paths
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    pages.sort();
    assert!(pages.len() >= 2, "{directory} has {} pages", pages.len());
    pages
}

fn loaded(text: &str) -> Result<Config, String> {
    let environment = |name: &str| {
        ["NODE_NAME", "NODE_IP", "KUBERNETES_SERVICE_HOST"]
            .contains(&name)
            .then(|| "x".to_owned())
    };
    parse(text, "example", &environment, "node").map_err(|mistakes| format!("{mistakes:#?}"))
}

/// What is printed for people to copy can be used as it is.
#[test]
fn every_example_of_the_pages_loads() {
    let mut examples = 0;
    for (path, text) in pages("docs").into_iter().chain(pages("deploy/azure")) {
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if let Err(mistakes) = loaded(block) {
                panic!("{}:\n{block}\n{mistakes}", path.display());
            }
            examples += 1;
        }
    }
    assert!(examples >= 5, "{examples} examples");
}

/// The cells of each row of each table.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.map(|line| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// The code spans of a cell.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Words that stand in the pages' middle column and are no keys: values, paths, commands, columns, variables.
fn is_no_key(span: &str) -> bool {
    let values = [
        "ndjson",
        "beginning",
        "json_array",
        "transformKql",
        "blackhole",
        "stdout",
        "dcr",
    ];
    let first = span.chars().next();
    first.is_none_or(|it| !it.is_ascii_lowercase())
        || span.starts_with("longshore")
        || span.starts_with("http:")
        || span.contains('*')
        || values.contains(&span)
}

/// The second column of a page of migration names keys that the configuration has.
#[test]
fn every_key_of_the_migration_pages_is_known() {
    let mut known = BTreeSet::from(["sinks", "NAME", "metrics", "scrape", "signals"]);
    let places = places();
    for (_, keys) in &places {
        known.extend(keys.iter().map(|(name, _)| name));
    }
    let (mut unknown, mut checked) = (Vec::new(), 0);
    for (path, text) in pages("docs") {
        for cells in rows(&text).into_iter().filter(|cells| cells.len() == 3) {
            for span in spans(&cells[1]).into_iter().filter(|span| !is_no_key(span)) {
                let key = span.split([':', ' ']).next().unwrap_or_default();
                let segments = key.split('.').map(|segment| segment.trim_end_matches("[]"));
                checked += 1;
                for segment in segments.filter(|segment| !known.contains(segment)) {
                    unknown.push(format!("{}: {segment} in {span}", path.display()));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(checked > 100, "{checked} keys");
}

/// The least of a sink of this type.
fn least(sink_type: SinkType, further: &str) -> Config {
    let needed = match sink_type.name() {
        "file" | "stdout" | "blackhole" => "",
        "azure_logs" => {
            "endpoint: https://a.example\n    dcr: dcr-00000000000000000000000000000001\n    \
             azure_auth: {managed_identity: {}}"
        }
        "splunk_hec" => "url: https://s.example/\n    token: t",
        "kafka" => "bootstrap_servers: [k.example:9092]\n    topic: t",
        _ => "url: https://h.example/",
    };
    let name = sink_type.name();
    let text = format!("sinks:\n  a:\n    type: {name}\n    {needed}\n    {further}\n");
    loaded(&text).unwrap()
}

/// The table of sizes has the figures of the record that it names, and the code's defaults and bounds.
#[test]
fn the_sizes_are_those_of_the_record_and_of_the_code() {
    let text = std::fs::read_to_string(root().join("docs/sizing.md")).unwrap();
    let record = text.split("](../benches/record/").nth(1).unwrap();
    let record = record.split(')').next().unwrap();
    let record = std::fs::read_to_string(root().join("benches/record").join(record)).unwrap();
    let measured = rows(&record);
    let mut seen = BTreeSet::new();
    for cells in rows(&text).into_iter().filter(|cells| cells.len() == 6) {
        let [sink, what, speed, peak, flush, bound] = cells.try_into().unwrap();
        let Some(name) = spans(&sink).first().copied().map(str::to_owned) else {
            continue;
        };
        let sink_type = SinkType::ALL
            .into_iter()
            .find(|it| it.name() == name)
            .unwrap();
        let further = match sink.split_once(", ") {
            Some((_, "zstd")) => "compression: zstd",
            Some((_, "uncompressed")) => "compression: none",
            _ if sink.ends_with("gRPC") => "protocol: grpc",
            _ => "",
        };
        let config = least(sink_type, further);
        let limits = &config.sinks[0].limits;
        if flush != "-" {
            assert_eq!(flush, limits.flush_interval_ms.to_string(), "{sink}");
        }
        let memory = bounds(&config).total.memory_bytes.div_ceil(MIB);
        assert_eq!(bound, memory.to_string(), "{sink}");
        if speed == "-" {
            continue;
        }
        let row = measured.iter().find(|row| row[0] == what);
        let row = row.unwrap_or_else(|| panic!("{what} is not in the record"));
        assert_eq!([&row[1], &row[4]], [&speed, &peak], "{what}");
        seen.insert(name);
    }
    assert!(seen.len() >= 7, "{seen:?}");
}

/// Names of measures in a text that the profile `minimal` does not have; it has all of addresses.
fn beyond_minimal(text: &str) -> BTreeSet<&str> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let names = words.filter(|word| word.starts_with("node_") || word.starts_with("container_"));
    let beyond = names.filter(|name| {
        !name.starts_with("node_ip_")
            && !MINIMAL.contains(name)
            && !MINIMAL_CONTAINERS.contains(name)
    });
    beyond.collect()
}

/// What needs more than the profile `minimal` says so: queries before them, alerts in one sentence of the runbook.
#[test]
fn what_the_minimal_profile_does_not_serve_is_said() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let queries = read("deploy/azure/queries.md");
    let mut said = "";
    for (at, part) in queries.split("```").enumerate() {
        match part.strip_prefix("kusto\n") {
            Some(query) => {
                let needs_more = !beyond_minimal(query).is_empty();
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(said.contains("`profile: standard`"), needs_more, "{query}");
            }
            None if at % 2 == 0 => said = part,
            None => {}
        }
    }
    let runbook = read("deploy/RUNBOOK.md");
    let sentence = runbook.split("they never fire:").nth(1).unwrap();
    let sentence = sentence.split('.').next().unwrap();
    let listed: BTreeSet<&str> = sentence.split(',').map(str::trim).collect();
    let rules = read("deploy/alerts/rules.yaml");
    let needing = rules.split("- alert: ").skip(1).filter_map(|rule| {
        let (name, rule) = rule.split_once('\n')?;
        let expression = rule.split("labels: {severity").next()?;
        // What is taken away where it is there may be missing.
        let needed = expression.split("unless").next()?;
        (!beyond_minimal(needed).is_empty()).then_some(name)
    });
    assert_eq!(listed, needing.collect());
}

/// A link to a file leads to one.
#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let further = ["deploy/RUNBOOK.md", "METRICS.md", "tests/observe/README.md"];
    let further = further.map(|name| {
        let path = root().join(name);
        (path.clone(), std::fs::read_to_string(path).unwrap())
    });
    let all = pages("docs").into_iter().chain(pages("deploy/azure"));
    for (path, text) in all.chain(further) {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                let file = path.parent().unwrap().join(target);
                assert!(file.exists(), "{}: {target}", path.display());
            }
        }
    }
}
