//! A tree of nodes to a [`Config`]; the second stage of reading a config.
//!
//! Invariant: every mistake is in the report; the configuration is to be used only if there is none. Where a value is
//! wrong its default stands in, so that all other checks can be made.

mod lines;
mod metrics;
mod rows;
mod select;
mod sink;

pub(super) use self::rows::protobuf;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tracing::Level;

use super::keys::{ADMIN, Known, LOGS, LOGS_NUMBERS, OWN_LOG, TOP, TOP_NUMBERS};
use super::kubernetes::{self, Kubernetes};
use super::metrics::Metrics;
use super::mistake::{Place, Report};
use super::multiline;
use super::preset::Preset;
use super::substitute::Environment;
use super::walk::{Section, is_name};
use super::yaml::{Node, Value};
use super::{Admin, Config, Logs, OwnLog, Sink, SinkKind};

/// State directory of a config that names none.
pub const STATE_DIR: &str = "/var/lib/longshore";
/// Where the admin server listens if nobody says: on loopback.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9600);
/// Most sinks of one agent.
pub const SINKS_MAX: usize = 64;
/// Most workers of all sinks together: the catalog has one bit for each.
pub const WORKERS_MAX: usize = 64;

/// Makes the configuration. `node` is the node's name if the config has none; `env` has defaults of some paths.
pub fn check(root: &Node, node: &str, env: &Environment<'_>, report: &mut Report) -> Config {
    let known = Known::of(&TOP).numbers(&TOP_NUMBERS);
    let start = Place { line: 1, column: 1 };
    let mut config = Config {
        node: node.to_owned(),
        cluster_name: None,
        preset: None,
        state_dir: PathBuf::from(STATE_DIR),
        shutdown_grace_ms: 20_000,
        reload_grace_ms: 5_000,
        logs: Logs::default(),
        metrics: Metrics::new(env),
        kubernetes: Kubernetes::new(env),
        admin: Admin { listen: LISTEN },
        own_log: OwnLog {
            level: Level::INFO,
            json: false,
        },
        sinks: Vec::new(),
    };
    let Some(top) = Section::of(root, String::new(), start, known, report) else {
        return config;
    };
    top.refuse_unknown(report);
    preset(&top, &mut config, report);
    top.numbers(&TOP_NUMBERS, &mut config, report);
    match top.name("node", report) {
        Some(name) => config.node = name,
        None if top.entry("node").is_none() && !is_name(node) => top.missing("node", report),
        None => {}
    }
    config.cluster_name = top.name_or_null("cluster_name", report);
    if let Some(path) = top.path("state_dir", report) {
        config.state_dir = path;
    }
    logs(&top, &mut config.logs, report);
    if config.state_dir.starts_with(&config.logs.pod_logs) {
        let text = "lies under logs.pod_logs; allowed is a directory that is not collected";
        top.add("state_dir", report, text);
    }
    metrics::check(&top, &mut config.metrics, report);
    kubernetes::check(&top, &mut config.kubernetes, report);
    select::of_logs(&top, &mut config, report);
    admin(&top, &mut config.admin, report);
    own_log(&top, &mut config.own_log, report);
    sinks(&top, &mut config, report);
    config
}

/// Before all other keys, for it changes their defaults.
fn preset(top: &Section<'_>, config: &mut Config, report: &mut Report) {
    if top.field("preset").is_some_and(|field| field.is_null()) {
        return;
    }
    let presets = Preset::ALL.map(|preset| (preset.name(), preset));
    if let Some(preset) = top.choice("preset", &presets, report) {
        preset.apply(config);
    }
}

fn logs(top: &Section<'_>, logs: &mut Logs, report: &mut Report) {
    let known = Known::of(&LOGS).numbers(&LOGS_NUMBERS);
    let Some(section) = top.section("logs", known, report) else {
        return;
    };
    section.numbers(&LOGS_NUMBERS, logs, report);
    if let Some(path) = section.path("pod_logs", report) {
        logs.pod_logs = path;
    }
    if let Some(path) = section.path("container_links", report) {
        logs.container_links = path;
    }
    if let Some(collect) = section.switch("collect_self", report) {
        logs.collect_self = collect;
    }
    multiline::check(&section, &mut logs.multiline, report);
    lines::check(&section, &mut logs.lines, report);
    at_most(
        &section,
        ("poll_active_ms", logs.poll_active_ms),
        ("poll_idle_ms", logs.poll_idle_ms),
        report,
    );
}

fn admin(top: &Section<'_>, admin: &mut Admin, report: &mut Report) {
    let Some(section) = top.section("admin", Known::of(&ADMIN), report) else {
        return;
    };
    let Some(field) = section.field("listen") else {
        return;
    };
    match field.text().and_then(|text| text.parse().ok()) {
        Some(listen) => admin.listen = listen,
        None => field.refuse(report),
    }
}

fn own_log(top: &Section<'_>, own: &mut OwnLog, report: &mut Report) {
    let Some(section) = top.section("own_log", Known::of(&OWN_LOG), report) else {
        return;
    };
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    if let Some(level) = section.choice("level", &levels, report) {
        own.level = level;
    }
    if let Some(json) = section.choice("format", &[("text", false), ("json", true)], report) {
        own.json = json;
    }
}

fn sinks(top: &Section<'_>, config: &mut Config, report: &mut Report) {
    let Some(entry) = top.entry("sinks") else {
        top.missing("sinks", report);
        return;
    };
    let path = "sinks".to_owned();
    let known = Known::default();
    let Some(all) = Section::of(&entry.value, path, entry.place, known, report) else {
        return;
    };
    if !(1..=SINKS_MAX).contains(&all.entries.len()) {
        let found = all.entries.len();
        let text = format!("found {found} sinks; allowed are 1 to {SINKS_MAX}");
        report.add(entry.place, "sinks", text);
    }
    let mut owners: HashMap<PathBuf, &str> = HashMap::new();
    let mut stdout = None;
    for entry in all.entries.iter().take(SINKS_MAX) {
        let path = super::yaml::join("sinks", &entry.key);
        if !is_sink_name(&entry.key) {
            let text = "not a name for a sink; allowed is a-z, 0-9, _ and -, at most 63, not beginning with _ or -";
            report.add(entry.place, &path, text);
        }
        let known = Known::default();
        let Some(section) = Section::of(&entry.value, path, entry.place, known, report) else {
            continue;
        };
        let sink = sink::check(section, &entry.key, config, report);
        sole_owner(&sink, entry, &mut owners, &mut stdout, report);
        config.sinks.push(sink);
    }
    let of_logs = config.sinks.iter().filter(|sink| sink.signals.logs);
    let workers: usize = of_logs.map(|sink| sink.workers).sum();
    if workers > WORKERS_MAX {
        let text = format!(
            "the sinks have {workers} workers together; allowed are {WORKERS_MAX}: lower `workers`"
        );
        report.add(entry.place, "sinks", text);
    }
}

/// Refuses a second sink on the same directory, or on standard output.
fn sole_owner<'n>(
    sink: &Sink,
    entry: &'n super::yaml::Entry,
    owners: &mut HashMap<PathBuf, &'n str>,
    stdout: &mut Option<&'n str>,
    report: &mut Report,
) {
    let other = match &sink.kind {
        SinkKind::File(file) => {
            let logs = owners.insert(normal(&file.directory), &entry.key);
            let metrics = match sink.signals.metrics {
                true => owners.insert(normal(&file.metrics_directory()), &entry.key),
                false => None,
            };
            logs.or(metrics)
        }
        SinkKind::Stdout => stdout.replace(&entry.key),
        _ => None,
    };
    if let Some(other) = other {
        let path = super::yaml::join("sinks", &entry.key);
        let other = super::mistake::cut(other, 64);
        let text = match &sink.kind {
            SinkKind::File(_) => format!(
                "writes to the same directory as sinks.{other}; give each a `directory` of its own"
            ),
            _ => format!("writes to standard output, as sinks.{other} does; only one may"),
        };
        report.add(entry.place, &path, text);
    }
}

/// A path without `.` and doubled slashes.
pub(super) fn normal(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Sink names become directory names and label values.
fn is_sink_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || c == '_' || c == '-')
}

/// Checks that one number is no greater than another; reported at the first if it is there, else at the second.
pub(super) fn at_most(
    section: &Section<'_>,
    (low, low_value): (&str, u64),
    (high, high_value): (&str, u64),
    report: &mut Report,
) {
    if low_value <= high_value {
        return;
    }
    if section.entry(low).is_some() || section.entry(high).is_none() {
        let text = format!("found {low_value}; allowed is at most {high}, which is {high_value}");
        section.add(low, report, text);
    } else {
        let text = format!("found {high_value}; allowed is at least {low}, which is {low_value}");
        section.add(high, report, text);
    }
}

/// Whether `node` says anything at all.
fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}

#[cfg(test)]
mod tests;
