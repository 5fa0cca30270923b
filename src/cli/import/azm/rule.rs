//! `dataCollectionSettings` of a data collection rule, and the streams beside it.

use crate::cli::import::draft::{Draft, INTERVAL_MS};
use crate::cli::import::notes::{Notes, Outcome};
use crate::cli::import::source::{Found, Rule};
use crate::cli::import::value::Value;
use crate::config::preset::Preset;

use super::{Row, by, not, settings};

/// The settings.
pub(super) const ROWS: &[Row] = &[
    by("interval", interval),
    by("namespaceFilteringMode", mode),
    by("namespaces", namespaces),
    by("enableContainerLogV2", log_v2),
];

/// Namespaces that the cost-optimized preset leaves out.
const PRESET_NAMESPACES: [&str; 3] = ["kube-system", "gatekeeper-system", "azure-arc"];

/// Longest interval that the node may be measured at.
const INTERVAL_MAX_MS: u64 = 600_000;

/// All rules; a cluster has one.
pub(super) fn all(found: &Found, draft: &mut Draft, notes: &mut Notes) {
    let mut rules = found.rules.iter();
    if let Some(rule) = rules.next() {
        take(rule, draft, notes);
    }
    for _ in rules {
        notes.unreadable(
            "dataCollectionSettings",
            "of another rule; a cluster has one, so the first was taken",
        );
    }
    for (name, value) in &found.others {
        let outcome = match (name.as_str(), value.text()) {
            ("transformKql", Some("source")) => Outcome::needless("rows are passed on unchanged"),
            _ => other(name),
        };
        notes.add(name, value, outcome);
    }
}

fn take(rule: &Rule, draft: &mut Draft, notes: &mut Notes) {
    let empty = Value::Map(Vec::new());
    let own = rule.settings.as_ref().unwrap_or(&empty);
    let own = match own {
        Value::Map(_) => own,
        other => {
            let what = "allowed is a mapping; export the template with its parameters filled in";
            notes.add("dataCollectionSettings", other, Outcome::wrong(what));
            &empty
        }
    };
    let (streams, further): (Vec<_>, Vec<_>) = match own {
        Value::Map(entries) => entries
            .iter()
            .cloned()
            .partition(|(key, _)| key == "streams"),
        _ => (Vec::new(), Vec::new()),
    };
    settings(&Value::Map(further), None, ROWS, draft, notes);
    let streams = streams.first().map(|(_, streams)| streams);
    let streams = streams.filter(|it| !it.is_off()).or(rule.streams.as_ref());
    if let Some(streams) = streams.filter(|it| !it.is_off()) {
        take_streams(streams, draft, notes);
    }
    draft.preset = preset(own, draft);
}

/// The portal's preset that the settings are, if they are one.
fn preset(own: &Value, draft: &Draft) -> Option<Preset> {
    let mode = own.get("namespaceFilteringMode").and_then(Value::text);
    let mode = mode.unwrap_or("Off").to_ascii_lowercase();
    let mut names = own
        .get("namespaces")
        .and_then(Value::texts)
        .unwrap_or_default();
    names.sort_unstable();
    let mut preset_names = PRESET_NAMESPACES;
    preset_names.sort_unstable();
    let is_whole = mode == "off" || names.is_empty();
    let interval_ms = draft.interval_ms.unwrap_or(INTERVAL_MS);
    match (draft.no_logs, draft.no_metrics) {
        (true, _) => None,
        (false, true) => Some(Preset::LogsAndEvents),
        (false, false) if is_whole && interval_ms == INTERVAL_MS => Some(Preset::Standard),
        (false, false)
            if mode == "exclude" && names == preset_names && interval_ms == 5 * INTERVAL_MS =>
        {
            Some(Preset::CostOptimized)
        }
        (false, false) => None,
    }
}

/// Whole minutes, 1 to 30; anything else counts as one minute there.
fn interval(value: &Value, draft: &mut Draft) -> Outcome {
    let minutes = value.text().and_then(|text| text.strip_suffix('m'));
    let minutes = minutes.and_then(|text| text.parse::<u64>().ok());
    let Some(minutes @ 1..=30) = minutes else {
        draft.interval_ms = Some(INTERVAL_MS);
        return not("1m to 30m, a minute");
    };
    let found_ms = minutes * INTERVAL_MS;
    draft.interval_ms = Some(found_ms.min(INTERVAL_MAX_MS));
    match found_ms <= INTERVAL_MAX_MS {
        true => Outcome::Taken,
        false => Outcome::lacking(
            "metrics.interval_ms is at most 600000, which was taken",
            "nothing, if rows may come oftener; metrics.profile minimal makes them fewer",
        ),
    }
}

fn mode(value: &Value, _: &mut Draft) -> Outcome {
    match value.text().map(str::to_ascii_lowercase).as_deref() {
        Some("off") => Outcome::needless("no namespace is filtered there or here"),
        Some("include" | "exclude") => Outcome::lacking(
            "it filters metrics and inventories, never the container logs; metrics of containers are not filtered here",
            "transformKql of the new rule, on Tags.namespace; for logs, see namespaces",
        ),
        _ => not("Off, Include or Exclude"),
    }
}

fn namespaces(value: &Value, _: &mut Draft) -> Outcome {
    match value.texts() {
        Some(names) if names.is_empty() => Outcome::needless("no namespace is filtered"),
        Some(_) => Outcome::lacking(
            "container logs of these namespaces are collected there, whatever the mode is, and so they are here",
            "if their logs are not wanted either: logs.select.exclude.namespaces, or include.namespaces",
        ),
        None => not("a list of names of namespaces"),
    }
}

fn log_v2(value: &Value, _: &mut Draft) -> Outcome {
    match value.switch() {
        Some(true) => Outcome::needless("rows have the columns of ContainerLogV2"),
        Some(false) => Outcome::lacking(
            "rows have the columns of ContainerLogV2 alone",
            "change queries: LogEntry is LogMessage, LogEntrySource is LogSource",
        ),
        None => not("true or false"),
    }
}

fn take_streams(streams: &Value, draft: &mut Draft, notes: &mut Notes) {
    let Some(names) = streams.texts() else {
        return notes.add("streams", streams, not("a list of names of streams"));
    };
    draft.no_logs = true;
    draft.no_metrics = true;
    for name in names {
        let outcome = stream(name, draft);
        notes.add("streams", &Value::Text(name.to_owned()), outcome);
    }
    if draft.no_logs && draft.no_metrics {
        draft.no_logs = false;
        let outcome = Outcome::wrong(
            "none of them is of logs or metrics; logs were taken, for a sink takes something",
        );
        notes.add("streams", streams, outcome);
    }
}

/// One stream.
fn stream(name: &str, draft: &mut Draft) -> Outcome {
    const INVENTORY: &str = "inventories are the cluster's, not a node's";
    const STATE: &str = "kube-state-metrics, scraped once for the cluster";
    match name.strip_prefix("Microsoft-").unwrap_or(name) {
        "ContainerLogV2" | "ContainerLogV2-HighScale" | "ContainerLog" => {
            draft.no_logs = false;
            Outcome::Taken
        }
        "Perf" | "InsightsMetrics" => {
            draft.no_metrics = false;
            Outcome::Taken
        }
        "ContainerInsights-Group-Default" => {
            draft.no_logs = false;
            draft.no_metrics = false;
            Outcome::lacking(
                format!("logs and metrics are taken; {INVENTORY}, nor are events"),
                STATE,
            )
        }
        "ContainerInventory"
        | "ContainerNodeInventory"
        | "KubeNodeInventory"
        | "KubePodInventory"
        | "KubePVInventory"
        | "KubeServices" => Outcome::lacking(INVENTORY, STATE),
        "KubeEvents" => Outcome::lacking(
            "events of the cluster are not collected",
            "run an exporter that prints events on its standard output: that is collected as any log is",
        ),
        "KubeMonAgentEvents" => {
            Outcome::needless("what is wrong is in /status, in metrics and in the agent's own log")
        }
        "Syslog" => other("syslog"),
        _ => Outcome::wrong("no stream that is known"),
    }
}

/// What stands elsewhere in a rule.
fn other(name: &str) -> Outcome {
    match name {
        "transformKql" => Outcome::lacking(
            "it is run by the service, not by the agent",
            "the same text as transformKql of deploy/azure/rule.json; columns have the same names",
        ),
        "syslog" => Outcome::lacking(
            "syslog of the nodes is not collected",
            "leave that data source to the rule of another agent",
        ),
        "prometheusForwarder" => Outcome::lacking(
            "it belongs to the rule of managed Prometheus",
            "a sink of type remote_write with azure_auth, and the profile minimal",
        ),
        _ => Outcome::lacking(
            "a rule of its own for some namespaces",
            "a sink for each tenant, with `select: {include: {namespaces: [...]}}` and its own `dcr`",
        ),
    }
}
