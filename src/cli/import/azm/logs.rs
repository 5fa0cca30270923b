//! `log-data-collection-settings`.

use crate::cli::import::draft::{Draft, Stream};
use crate::cli::import::notes::{Notes, Outcome};
use crate::cli::import::value::Value;

use super::{Row, by, lacking, needless, not, switch, unless_off};

const THROTTLE: &str =
    "logs.lines: namespace_lines_per_second_max limits the lines of each namespace of a node";

/// The section's settings.
pub(super) const ROWS: &[Row] = &[
    by("log_collection_settings.stdout.enabled", |value, draft| {
        stream(value, &mut draft.stdout)
    }),
    by("log_collection_settings.stderr.enabled", |value, draft| {
        stream(value, &mut draft.stderr)
    }),
    by(
        "log_collection_settings.stdout.exclude_namespaces",
        |value, draft| exclude(value, &mut draft.stdout),
    ),
    by(
        "log_collection_settings.stderr.exclude_namespaces",
        |value, draft| exclude(value, &mut draft.stderr),
    ),
    by(
        "log_collection_settings.stdout.collect_system_pod_logs",
        |value, draft| system_pods(value, &mut draft.stdout),
    ),
    by(
        "log_collection_settings.stderr.collect_system_pod_logs",
        |value, draft| system_pods(value, &mut draft.stderr),
    ),
    by("log_collection_settings.env_var.enabled", env_var),
    by(
        "log_collection_settings.enrich_container_logs.enabled",
        |value, draft| switch(value, &mut draft.images),
    ),
    lacking(
        "log_collection_settings.collect_all_kube_events.enabled",
        "events of the cluster are not collected, neither all nor those that are not Normal",
        "run an exporter that prints events on its standard output: that is collected as any log is",
    ),
    by(
        "log_collection_settings.schema.containerlog_schema_version",
        schema,
    ),
    by(
        "log_collection_settings.route_container_logs.version",
        route,
    ),
    by(
        "log_collection_settings.enable_multiline_logs.enabled",
        |value, draft| switch(value, &mut draft.multiline),
    ),
    by(
        "log_collection_settings.enable_multiline_logs.stacktrace_languages",
        languages,
    ),
    by(
        "log_collection_settings.metadata_collection.enabled",
        |value, draft| switch(value, &mut draft.metadata),
    ),
    by(
        "log_collection_settings.metadata_collection.include_fields",
        fields,
    ),
    by(
        "log_collection_settings.filter_using_annotations.enabled",
        |value, draft| switch(value, &mut draft.annotations),
    ),
    unless_off(
        "log_collection_settings.multi_tenancy.enabled",
        "a namespace's rows are routed by its own rule, which the ConfigMap does not name",
        "a sink for each tenant, with `select: {include: {namespaces: [...]}}` and its own `dcr`",
    ),
    unless_off(
        "log_collection_settings.multi_tenancy.disable_fallback_ingestion",
        "there is no fallback: a sink takes what its `select` says",
        "leave the tenants' namespaces out of the other sinks by `select.exclude.namespaces`, or do not",
    ),
    unless_off(
        "log_collection_settings.multi_tenancy.namespaces",
        "a namespace's rows are routed by its own rule, which the ConfigMap does not name",
        "a sink for each tenant, with `select: {include: {namespaces: [...]}}` and its own `dcr`",
    ),
    unless_off(
        "log_collection_settings.multi_tenancy.advanced_mode_enabled",
        "there are no modes of tenancy: every sink reads for itself",
        "a sink for each tenant, with `select: {include: {namespaces: [...]}}` and its own `dcr`",
    ),
    unless_off(
        "log_collection_settings.multi_tenancy.namespace_settings",
        "limits of namespaces are the same for all of them within a sink",
        "a sink for each, with `lines: {namespace_lines_per_second_max: N}`",
    ),
    needless(
        "log_collection_settings.multi_tenancy.disable_throttle",
        "nothing is throttled unless logs.lines says so",
    ),
    lacking(
        "log_collection_settings.multi_tenancy.throttle_rate",
        "nothing is throttled by default",
        THROTTLE,
    ),
    lacking(
        "log_collection_settings.multi_tenancy.throttle_window",
        "a limit has a burst in place of a window",
        "logs.lines: rate_burst_ms, if there is a limit",
    ),
    needless(
        "log_collection_settings.multi_tenancy.throttle_interval",
        "limits are per second",
    ),
    needless(
        "log_collection_settings.multi_tenancy.*",
        "memory is bounded by each sink's limits, and the log files are the buffer",
    ),
];

fn stream(value: &Value, stream: &mut Stream) -> Outcome {
    stream.is_given = true;
    match value.switch() {
        Some(on) => {
            stream.enabled = Some(on);
            Outcome::Taken
        }
        None => not("true or false"),
    }
}

fn exclude(value: &Value, stream: &mut Stream) -> Outcome {
    stream.is_given = true;
    let Some(names) = value.texts() else {
        return no_list("is not a list");
    };
    // What is no name of a namespace would be a glob, or match nothing.
    if let Some(other) = names.iter().find(|name| !is_namespace(name)) {
        let shown = Value::Text((*other).to_owned()).shown();
        return no_list(&format!("has {shown}"));
    }
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if kept.iter().any(|known| known == name) {
            continue;
        }
        if kept.len() < EXCLUDED_MAX {
            kept.push(name.to_owned());
            continue;
        }
        return no_list(&format!("has more than {EXCLUDED_MAX}"));
    }
    stream.exclude = Some(kept);
    Outcome::Taken
}

fn no_list(what: &str) -> Outcome {
    Outcome::wrong(format!(
        "{what}; allowed is a list of names of namespaces; none is left out for it"
    ))
}

/// Most items of one of our lists.
const EXCLUDED_MAX: usize = 256;

/// A DNS label (RFC 1123), as names of namespaces are.
fn is_namespace(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn system_pods(value: &Value, stream: &mut Stream) -> Outcome {
    stream.is_given = true;
    match value.texts() {
        Some(pods) if pods.is_empty() => Outcome::needless("all pods of a namespace are collected"),
        Some(_) => Outcome::lacking(
            "of a system namespace that is not excluded all pods are collected, not the listed controllers alone",
            "logs.select.exclude.namespaces with that namespace, and a second sink with \
             `select: {include: {namespaces: [NAMESPACE], workloads: ['*/CONTROLLER']}, exclude: {namespaces: []}}`",
        ),
        None if value.is_off() => Outcome::needless("all pods of a namespace are collected"),
        None => not("a list of NAMESPACE:CONTROLLER"),
    }
}

fn env_var(value: &Value, _: &mut Draft) -> Outcome {
    match value.switch() {
        Some(false) => Outcome::needless("environment variables are never collected"),
        Some(true) => Outcome::lacking(
            "there is no inventory of containers, and so none of their environment, which may hold secrets",
            "`kubectl describe pod` shows it to whoever may see it",
        ),
        None => not("true or false"),
    }
}

fn schema(value: &Value, _: &mut Draft) -> Outcome {
    match value.text() {
        Some("v2") => Outcome::needless("rows have the columns of ContainerLogV2"),
        Some("v1") => Outcome::lacking(
            "rows have the columns of ContainerLogV2 alone; those of ContainerLog are retired",
            "change queries: LogEntry is LogMessage, LogEntrySource is LogSource; or rename by `columns` of the sink",
        ),
        _ => not("v1 or v2"),
    }
}

fn route(value: &Value, _: &mut Draft) -> Outcome {
    match value.text() {
        Some("v1" | "v2") => Outcome::needless("a sink speaks to the service itself"),
        Some("adx") => Outcome::lacking(
            "rows for Data Explorer went there directly",
            "a sink of type kafka to Event Hubs, with a data connection of the cluster to that",
        ),
        _ => not("v1 or v2"),
    }
}

fn languages(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(names) = value.texts() else {
        return not("a list of go, java, python and dotnet");
    };
    let mut known = Vec::new();
    for name in names {
        let found = ["go", "java", "python", "dotnet"];
        match found.into_iter().find(|it| it.eq_ignore_ascii_case(name)) {
            Some(found) if !known.contains(&found) => known.push(found),
            Some(_) => {}
            None => {
                draft.languages = Some(Vec::new());
                return Outcome::wrong(
                    "allowed is a list of go, java, python and dotnet; nothing is joined, as there",
                );
            }
        }
    }
    // An empty list is as good as none.
    draft.languages = (!known.is_empty()).then_some(known);
    Outcome::Taken
}

/// The names of `KubernetesMetadata`, as both have them.
const FIELDS: [&str; 7] = [
    "podUid",
    "podLabels",
    "podAnnotations",
    "image",
    "imageID",
    "imageRepo",
    "imageTag",
];

fn fields(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(names) = value.texts() else {
        return not("a list of names of fields");
    };
    let of = |name: &&str| FIELDS.into_iter().find(|it| it.eq_ignore_ascii_case(name));
    let mut known: Vec<&str> = Vec::new();
    for field in names.iter().filter_map(of) {
        if !known.contains(&field) {
            known.push(field);
        }
    }
    let is_whole = names.iter().all(|name| of(name).is_some());
    // Without any field it is off, whatever `enabled` says.
    draft.fields = Some(known);
    match is_whole {
        true => Outcome::Taken,
        false => Outcome::wrong(format!(
            "allowed are {}; the others were taken",
            FIELDS.join(", ")
        )),
    }
}

/// What follows from several settings together.
pub(super) fn finish(draft: &Draft, notes: &mut Notes) {
    if !draft.takes_logs() {
        if draft.no_metrics {
            let outcome = Outcome::lacking(
                "neither logs nor metrics are wanted, so nothing is collected",
                "no agent at all",
            );
            notes.add("streams", &Value::List(Vec::new()), outcome);
        }
        return;
    }
    if !(draft.stdout.is_on() && draft.stderr.is_on()) {
        return;
    }
    let (stdout, stderr) = (draft.stdout.excluded(), draft.stderr.excluded());
    for (name, own, other) in [("stdout", &stdout, &stderr), ("stderr", &stderr, &stdout)] {
        let alone = own.iter().filter(|name| !other.contains(name));
        let alone: Vec<Value> = alone.map(|name| Value::Text(name.clone())).collect();
        if !alone.is_empty() {
            let setting =
                format!("log_collection_settings.{name}.exclude_namespaces (not of both streams)");
            let outcome = Outcome::lacking(
                "a namespace is left out as a whole, and one that is left out of one stream alone is collected",
                "a sink for each stream: `select: {streams: [stdout], exclude: {namespaces: [...]}}`",
            );
            notes.add(&setting, &Value::List(alone), outcome);
        }
    }
}
