//! How rows look: the envelope, the columns, the static fields.
//!
//! Invariant: no two columns of a row have one name.

use std::collections::HashMap;

use serde_json::{Map, Number, Value as Json};

use crate::config::keys::Known;
use crate::config::mistake::{Report, nearest};
use crate::config::walk::{Section, is_name};
use crate::config::yaml::{Node, Scalar, Value, join};
use crate::config::{
    Columns, Compression, MetadataFields, RowFormat, Rows, Signals, Sink, SinkKind,
};

/// Most static fields of one sink.
const FIELDS_MAX: usize = 256;

/// Fills in `rows`.
pub(super) fn check(section: &Section<'_>, rows: &mut Rows, signals: Signals, report: &mut Report) {
    let formats = [
        ("ndjson", RowFormat::Ndjson),
        ("json_array", RowFormat::JsonArray),
        ("protobuf", RowFormat::Protobuf),
    ];
    if let Some(format) = section.choice("format", &formats, report) {
        rows.format = format;
    }
    if let Some(parse) = section.switch("parse_json", report) {
        rows.parse_json = parse;
    }
    if let Some(uid) = section.switch("record_uid", report) {
        rows.record_uid = uid;
    }
    include_fields(section, &mut rows.include_fields, report);
    columns(section, &mut rows.columns, report);
    fields(section, rows, report);
    if signals.metrics {
        rows_of_metrics(section, rows, report);
    }
}

/// What messages of protobuf cannot have: names and types of fields are those of their definition, and a file has to
/// tell a message that a crash cut short.
pub(in crate::config) fn protobuf(section: &Section<'_>, sink: &Sink, report: &mut Report) {
    let beside = "found beside format: protobuf, ";
    let rows = &sink.rows;
    let has_preset = matches!(&sink.kind, SinkKind::Http(http) if http.preset.is_some());
    let given = [
        ("columns", !has_preset && rows.columns != Columns::default()),
        ("parse_json", rows.parse_json),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        let text = format!("{beside}whose fields are those of proto/longshore/v1; leave it out");
        section.add(key, report, text);
    }
    match &sink.kind {
        SinkKind::Stdout => {
            let text = "protobuf has no lines, which whoever reads standard output looks for; \
                        allowed are ndjson and json_array";
            section.add("format", report, text);
        }
        SinkKind::Http(_) if has_preset => {
            let text = format!("{beside}which that receiver does not take; leave one of them out");
            section.add("preset", report, text);
        }
        SinkKind::File(_) if sink.compression == Compression::None => {
            let text = format!(
                "{beside}in which nothing tells what a crash cut short; allowed are gzip and zstd"
            );
            section.add("compression", report, text);
        }
        _ => {}
    }
}

/// What is said of a pod: a list of names, whatever their case.
fn include_fields(section: &Section<'_>, fields: &mut MetadataFields, report: &mut Report) {
    let Some(field) = section.field("include_fields") else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    let mut found = MetadataFields::NONE;
    for item in items {
        let named = match &item.value {
            Value::Scalar(scalar) => found.with(&scalar.text),
            _ => None,
        };
        match named {
            Some(more) => found = more,
            None => return field.refuse(report),
        }
    }
    *fields = found;
}

/// Rows of metrics have columns of their own, which nothing else may be named like.
fn rows_of_metrics(section: &Section<'_>, rows: &Rows, report: &mut Report) {
    let columns = Columns::SHARED.into_iter();
    let columns = columns.filter_map(|column| Some(("columns", rows.columns.name(column)?)));
    let fields = rows
        .fields
        .iter()
        .map(|(name, _)| ("fields", name.as_str()));
    for (key, name) in columns.chain(fields) {
        if Columns::OF_METRICS.contains(&name) {
            let text = format!("rows of metrics have a column named {name}; choose another name");
            section.add(key, report, text);
        }
    }
}

fn mapping<'n>(section: &Section<'n>, key: &str, report: &mut Report) -> Option<Section<'n>> {
    let entry = section.entry(key)?;
    let path = join(&section.path, key);
    Section::of(&entry.value, path, entry.place, Known::default(), report)
}

fn columns(section: &Section<'_>, columns: &mut Columns, report: &mut Report) {
    let Some(map) = mapping(section, "columns", report) else {
        return;
    };
    for entry in map.entries {
        let known = |name: &&'static str| *name == entry.key;
        if Columns::NAMES.into_iter().any(|name| known(&name)) {
            continue;
        }
        let hint = match nearest(&entry.key, Columns::NAMES) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("allowed are {}", Columns::NAMES.join(", ")),
        };
        let path = join(&map.path, &entry.key);
        report.add(entry.place, &path, format!("no such column; {hint}"));
    }
    // In the order of the columns and without renames to the same name, so that equal meaning is an equal config.
    for column in Columns::NAMES {
        let Some(mut field) = map.field(column) else {
            continue;
        };
        field.allowed = "a new name, or null, false or \"\" to drop the column".to_owned();
        match field.scalar() {
            Some(scalar) if drops(scalar) => columns.set(column, None),
            Some(scalar) if is_name(&scalar.text) && !is_true(scalar) => {
                columns.set(column, Some(scalar.text.clone()));
            }
            _ => field.refuse(report),
        }
    }
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for column in Columns::NAMES {
        let Some(name) = columns.name(column) else {
            continue;
        };
        if let Some(other) = taken.insert(name, column) {
            let both = [column, other].map(|column| map.entry(column));
            let entry = both.into_iter().flatten().next();
            let place = entry.map_or(map.place, |entry| entry.value.place);
            let text = format!("{other} and {column} would both be named \"{name}\"");
            report.add(place, &map.path, text);
        }
    }
}

fn drops(scalar: &Scalar) -> bool {
    scalar.is_null() || scalar.text.is_empty() || (scalar.plain && scalar.text == "false")
}

fn is_true(scalar: &Scalar) -> bool {
    scalar.plain && scalar.text == "true"
}

fn fields(section: &Section<'_>, rows: &mut Rows, report: &mut Report) {
    let Some(map) = mapping(section, "fields", report) else {
        return;
    };
    // In place of those that a preset has.
    rows.fields.clear();
    if map.entries.len() > FIELDS_MAX {
        let text = format!("found {}; allowed are {FIELDS_MAX}", map.entries.len());
        report.add(map.place, &map.path, text);
    }
    for entry in map.entries {
        let path = join(&map.path, &entry.key);
        if !is_name(&entry.key) {
            let text = "not a name for a column; allowed are 1 to 1024 printable characters";
            report.add(entry.place, &path, text);
        }
        let mut columns = Columns::NAMES.into_iter();
        if let Some(column) = columns.find(|column| rows.columns.name(column) == Some(&entry.key)) {
            let hint = if column == "ClusterName" {
                "set cluster_name"
            } else {
                "rename or drop that under columns, or choose another name"
            };
            let text = format!("there is a column of this name ({column}); {hint}");
            report.add(entry.place, &path, text);
        }
        if let Some(value) = json(&entry.value, &path, report) {
            rows.fields.push((entry.key.clone(), value));
        }
    }
}

/// The JSON value of a node. What came from the environment is text, whatever it looks like: a type that changes with
/// the node would spoil a column.
fn json(node: &Node, path: &str, report: &mut Report) -> Option<Json> {
    match &node.value {
        Value::Refused => None,
        Value::Scalar(scalar) if scalar.plain && !scalar.substituted => {
            let value = plain_json(scalar);
            if value.is_none() {
                let text = "a number that JSON does not have; quote it if text is meant";
                report.add(node.place, path, text);
            }
            value
        }
        Value::Scalar(scalar) => Some(Json::String(scalar.text.clone())),
        Value::List(items) => {
            let items = items.iter().enumerate();
            // Every item is looked at before the list is given up, so that each mistake is reported.
            let values: Vec<_> = items
                .map(|(index, item)| json(item, &format!("{path}[{index}]"), report))
                .collect();
            values
                .into_iter()
                .collect::<Option<Vec<_>>>()
                .map(Json::Array)
        }
        Value::Map(entries) => {
            let values: Vec<_> = entries
                .iter()
                .map(|entry| {
                    let value = json(&entry.value, &join(path, &entry.key), report);
                    value.map(|value| (entry.key.clone(), value))
                })
                .collect();
            values
                .into_iter()
                .collect::<Option<Map<_, _>>>()
                .map(Json::Object)
        }
    }
}

/// Resolves a plain scalar as YAML's core schema does (YAML 1.2.2, section 10.3.2). `None`: infinite, or not a number.
fn plain_json(scalar: &Scalar) -> Option<Json> {
    let text = scalar.text.as_str();
    if scalar.is_null() {
        return Some(Json::Null);
    }
    match text {
        "true" | "True" | "TRUE" => return Some(Json::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Json::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        let digits = text.strip_prefix(prefix);
        if let Some(digits) =
            digits.filter(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(radix)))
        {
            return u64::from_str_radix(digits, radix).ok().map(Json::from);
        }
    }
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    if number {
        if let Ok(value) = text.parse::<u64>() {
            return Some(Json::from(value));
        }
        if let Ok(value) = text.parse::<i64>() {
            return Some(Json::from(value));
        }
        if let Ok(value) = text.parse::<f64>() {
            return Number::from_f64(value).map(Json::Number);
        }
    }
    Some(Json::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::config::parse::parse;
    use crate::config::render::render;
    use crate::config::{Config, RowFormat};

    fn load(text: &str) -> Result<Config, Vec<String>> {
        let loaded = parse(text, "f", &|_| None, "n");
        loaded.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn protobuf_says_where_it_cannot_be() {
        for (sink, wanted) in [
            ("{type: stdout, format: protobuf}", "protobuf has no lines"),
            (
                "{type: file, format: protobuf, compression: none}",
                "a crash cut short",
            ),
            (
                "{type: http, url: 'http://h/', format: protobuf, parse_json: true}",
                "proto/longshore/v1",
            ),
            (
                "{type: http, url: 'http://h/', format: protobuf, columns: {LogMessage: m}}",
                "proto/longshore/v1",
            ),
            (
                "{type: http, url: 'http://h/', preset: victorialogs, format: protobuf}",
                "does not take",
            ),
            (
                "{type: clickhouse, url: 'http://h/', format: protobuf}",
                "unknown key",
            ),
        ] {
            let mistakes = load(&format!("sinks: {{main: {sink}}}")).unwrap_err();
            let told = mistakes.iter().any(|mistake| mistake.contains(wanted));
            assert!(told && mistakes.len() == 1, "{sink}: {mistakes:#?}");
        }
        for sink in [
            "{type: file, format: protobuf}",
            "{type: http, url: 'http://h/', format: protobuf, signals: [logs, metrics]}",
            "{type: kafka, bootstrap_servers: ['h:1'], topic: t, format: protobuf}",
        ] {
            let config = load(&format!("sinks: {{main: {sink}}}")).unwrap();
            assert_eq!(config.sinks[0].rows.format, RowFormat::Protobuf);
            let rendered = render(&config);
            assert_eq!(load(&rendered).unwrap(), config);
        }
    }
}
