//! Type `elasticsearch`: the bulk interface of Elasticsearch and OpenSearch.

use super::http;
use crate::config::keys::{Key, Known, SWITCH, common, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::secret::SECRET;
use crate::config::walk::Section;
use crate::config::{Columns, Compression, HttpSink, Rows, Sink, SinkKind};

/// Elasticsearch or OpenSearch.
#[derive(Clone, Debug, PartialEq)]
pub struct ElasticsearchSink {
    /// Where to and how; the URL is that of the cluster.
    pub http: HttpSink,
    /// The name of the data stream or index, see [`index_parts`].
    pub index: String,
    /// That for samples, without a namespace in it.
    pub metrics_index: String,
    /// What is done with a document.
    pub action: BulkAction,
    /// Whether a document's `_id` is the uid of its record.
    pub ids: bool,
    /// How fields are named.
    pub schema: DocumentSchema,
}

/// What is done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// Stored unless there is one of its `_id`; the only action that data streams take.
    Create,
    /// Stored in place of one of its `_id`.
    Index,
}

impl BulkAction {
    /// The word for it, here as in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            BulkAction::Create => "create",
            BulkAction::Index => "index",
        }
    }
}

/// How fields are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentSchema {
    /// As the Elastic Common Schema names them.
    Ecs,
    /// As rows name them, with `@timestamp` before them.
    Rows,
}

/// The names of the Elastic Common Schema (elastic.co/guide/en/ecs), in the order of [`Columns::NAMES`]. Names with dots
/// are the same as objects in each other.
const ECS: [&str; Columns::NAMES.len()] = [
    "@timestamp",
    "host.name",
    "container.id",
    "kubernetes.container.name",
    "kubernetes.pod.name",
    "kubernetes.namespace",
    "message",
    "log.iostream",
    "log.level",
    "kubernetes.pod.uid",
    "orchestrator.cluster.name",
    "event.id",
    "log.flags",
];

/// The field that every document of a data stream must have.
pub const TIMESTAMP: &str = "@timestamp";

impl DocumentSchema {
    /// The names of the columns: those that the user gave, else the schema's.
    pub fn columns(self, given: &Columns) -> Columns {
        let mut columns = given.clone();
        if self == DocumentSchema::Ecs {
            for (column, name) in Columns::NAMES.into_iter().zip(ECS) {
                if given.name(column) == Some(column) {
                    columns.set(column, Some(name.to_owned()));
                }
            }
        }
        columns
    }

    /// Whether `@timestamp` has to be written beside the columns of `rows`.
    pub fn lacks_timestamp(self, rows: &Rows) -> bool {
        self.columns(&rows.columns).name("TimeGenerated") != Some(TIMESTAMP)
    }
}

impl ElasticsearchSink {
    /// To the cluster at `url`, all else by default. The default name is that of a data stream for which Elasticsearch
    /// has a template (`logs-*-*`).
    pub fn new(url: String) -> ElasticsearchSink {
        ElasticsearchSink {
            http: HttpSink::new(url),
            index: "logs-longshore-default".to_owned(),
            metrics_index: "metrics-longshore-default".to_owned(),
            action: BulkAction::Create,
            ids: true,
            schema: DocumentSchema::Ecs,
        }
    }

    /// The names of the columns of samples: the schema's, and the time is the document's.
    pub fn columns_of_metrics(&self, given: &Columns) -> Columns {
        let mut columns = self.schema.columns(given);
        columns.set("TimeGenerated", Some(TIMESTAMP.to_owned()));
        columns
    }

    /// The settings of the requests: the URL is that of the bulk interface, with an answer that says of each document
    /// its status and, if there was one, the kind of error.
    pub fn requests(&self) -> HttpSink {
        const FILTER: &str =
            "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
        let (url, query) = match self.http.url.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (self.http.url.as_str(), None),
        };
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix("/_bulk").unwrap_or(url);
        let query = query.map_or(String::new(), |query| format!("{query}&"));
        HttpSink {
            url: format!("{url}/_bulk?{query}{FILTER}"),
            ..self.http.clone()
        }
    }
}

/// A part of the name of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexPart {
    /// Itself.
    Text(String),
    /// The namespace of the pod.
    Namespace,
    /// Digits of the record's time, in UTC: where in `YYYY-MM-DDTHH` they are, first and last.
    Time(usize, usize),
}

/// Longest name in the config, in bytes: with a namespace in its place it is within Elasticsearch's 255.
const INDEX_BYTES_MAX: usize = 128;

/// Takes a name apart: text, `{namespace}`, and `%Y`, `%m`, `%d`, `%H` for the record's time in UTC. What is wrong with it,
/// if it can never be the name of an index (elastic.co/guide, "create index": path parameters).
pub fn index_parts(name: &str) -> Result<Vec<IndexPart>, &'static str> {
    if name.is_empty() || name.len() > INDEX_BYTES_MAX {
        return Err("has no or more than 128 characters");
    }
    if name.starts_with(['-', '_', '+', '.']) {
        return Err("begins with -, _, + or .");
    }
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut left = name;
    while let Some(first) = left.chars().next() {
        let placeholders = [
            ("{namespace}", IndexPart::Namespace),
            ("%Y", IndexPart::Time(0, 4)),
            ("%m", IndexPart::Time(5, 7)),
            ("%d", IndexPart::Time(8, 10)),
            ("%H", IndexPart::Time(11, 13)),
        ];
        let found = placeholders
            .into_iter()
            .find_map(|(word, part)| Some((left.strip_prefix(word)?, part)));
        if let Some((rest, part)) = found {
            if !text.is_empty() {
                parts.push(IndexPart::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
            left = rest;
            continue;
        }
        match first {
            'a'..='z' | '0'..='9' | '-' | '_' | '.' | '+' => text.push(first),
            '%' => return Err("has a % that is not %Y, %m, %d or %H"),
            '{' | '}' => return Err("has braces that are not {namespace}"),
            'A'..='Z' => return Err("has upper case, which no name of an index may have"),
            _ => return Err("has characters other than a-z, 0-9, -, _, . and +"),
        }
        left = left.get(first.len_utf8()..).unwrap_or_default();
    }
    if !text.is_empty() {
        parts.push(IndexPart::Text(text));
    }
    Ok(parts)
}

static KEYS: [Key; 6] = [
    key("api_key", SECRET),
    key(
        "index",
        "a name of a-z, 0-9, -, _, . and +, with {namespace}, %Y, %m, %d and %H",
    ),
    key(
        "metrics_index",
        "a name of a-z, 0-9, -, _, . and +, with %Y, %m, %d and %H",
    ),
    key("action", "create or index"),
    key("ids", SWITCH),
    key("schema", "ecs or rows"),
];

/// The keys of every sink that it does not have.
const FOREIGN: [&str; 1] = ["format"];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS)
}

/// All its keys.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| !FOREIGN.contains(&name))
        .and(http::request_keys())
        .and(keys())
}

/// Requests of 5 to 15 MB before compression are what Elasticsearch's makers advise; the answer grows with the records.
pub(super) fn preset(sink: &mut Sink) {
    sink.limits.payload_records_max = 10_000;
}

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut ElasticsearchSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    http::scheme(section, ("api_key", "ApiKey"), &mut sink.http, report);
    for (key, into) in [
        ("index", &mut sink.index),
        ("metrics_index", &mut sink.metrics_index),
    ] {
        let Some(name) = section.name(key, report) else {
            continue;
        };
        let wrong = match index_parts(&name) {
            Ok(parts) if key == "metrics_index" && parts.contains(&IndexPart::Namespace) => {
                Some("has a namespace, which samples are not of")
            }
            Ok(_) => None,
            Err(wrong) => Some(wrong),
        };
        if let Some(wrong) = wrong {
            let field = section.field(key);
            let allowed = field.map(|field| field.allowed).unwrap_or_default();
            section.add(key, report, format!("{wrong}; allowed is {allowed}"));
        }
        *into = name;
    }
    let actions = [BulkAction::Create, BulkAction::Index].map(|action| (action.as_str(), action));
    if let Some(action) = section.choice("action", &actions, report) {
        sink.action = action;
    }
    if let Some(ids) = section.switch("ids", report) {
        sink.ids = ids;
    }
    let schemas = [("ecs", DocumentSchema::Ecs), ("rows", DocumentSchema::Rows)];
    if let Some(schema) = section.choice("schema", &schemas, report) {
        sink.schema = schema;
    }
}

/// What of every sink's keys does not fit to this one.
pub(super) fn check_whole(section: &Section<'_>, sink: &Sink, report: &mut Report) {
    if matches!(sink.compression, Compression::Zstd(_)) {
        let text = "Elasticsearch and OpenSearch do not take zstd; allowed is none or gzip";
        section.add("compression", report, text);
    }
    let SinkKind::Elasticsearch(own) = &sink.kind else {
        return;
    };
    let columns = own.schema.columns(&sink.rows.columns);
    let mut names: Vec<(&str, &str)> = Vec::new();
    if own.schema.lacks_timestamp(&sink.rows) {
        names.push((TIMESTAMP, "@timestamp, which every document has"));
    }
    for column in Columns::NAMES {
        let Some(name) = columns.name(column) else {
            continue;
        };
        match names.iter().find(|(other, _)| *other == name) {
            Some((_, other)) => {
                let text = format!("{column} would have the name of {other}");
                section.add("columns", report, text);
            }
            None => names.push((name, column)),
        }
    }
    for (field, _) in &sink.rows.fields {
        if let Some((_, column)) = names.iter().find(|(name, _)| name == field) {
            let text = format!("{field} is there already ({column}); choose another name");
            section.add("fields", report, text);
        }
    }
}

/// Writes it out.
pub(super) fn render(sink: &ElasticsearchSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    page.scalar("index", &sink.index);
    page.scalar("metrics_index", &sink.metrics_index);
    page.raw("action", sink.action.as_str());
    page.raw("ids", sink.ids);
    let schema = match sink.schema {
        DocumentSchema::Ecs => "ecs",
        DocumentSchema::Rows => "rows",
    };
    page.raw("schema", schema);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use crate::config::render;
    use crate::config::{Auth, Config};

    fn load(keys: &str) -> Result<Config, String> {
        let text = format!("sinks: {{a: {{type: elasticsearch, {keys}}}}}\n");
        let loaded = parse(&text, "f", &|_| None, "n1");
        loaded.map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
            all.join("\n")
        })
    }

    #[test]
    fn what_is_rendered_is_the_same_config() {
        for keys in [
            "url: 'http://h:9200'",
            "url: 'https://h', api_key: {file: /k}, index: 'x-{namespace}-%Y.%m.%d-%H', action: index, ids: false, \
             schema: rows, compression: none, columns: {LogMessage: text}, fields: {a: 1}",
            "url: 'https://h', columns: {LogMessage: text, LogLevel: null}",
        ] {
            let config = load(keys).unwrap();
            let text = render::render(&config);
            let again = parse(&text, "f", &|_| None, "n1");
            assert_eq!(again.as_ref(), Ok(&config), "{text}");
        }
        let text = render::render(&load("url: 'http://h', api_key: hush").unwrap());
        assert!(text.contains("api_key: \"(hidden)\""), "{text}");
        let config = load("url: 'http://h', api_key: hush").unwrap();
        let SinkKind::Elasticsearch(sink) = &config.sinks[0].kind else {
            panic!("{config:?}");
        };
        assert!(matches!(
            sink.http.auth,
            Auth::Scheme {
                scheme: "ApiKey",
                ..
            }
        ));
    }

    #[test]
    fn mistakes_are_named() {
        for (keys, wanted) in [
            ("ids: true", "url: missing"),
            ("url: 'http://h', index: Logs", "has upper case"),
            ("url: 'http://h', index: _x", "begins with"),
            ("url: 'http://h', index: 'a%x'", "has a % that is not"),
            ("url: 'http://h', index: 'a{pod}'", "has braces"),
            ("url: 'http://h', index: 'a b'", "has characters other"),
            ("url: 'http://h', index: ''", "found \"\""),
            (
                "url: 'http://h', action: update",
                "allowed is create or index",
            ),
            ("url: 'http://h', schema: otel", "allowed is ecs or rows"),
            ("url: 'http://h', ids: maybe", "allowed is true or false"),
            (
                "url: 'http://h', compression: zstd",
                "allowed is none or gzip",
            ),
            ("url: 'http://h', format: ndjson", "unknown key here"),
            ("url: 'http://h', metrics_index: 'm-{namespace}'", "not of"),
            (
                "url: 'http://h', api_key: a, bearer_token: b",
                "allowed is one of them",
            ),
            (
                "url: 'http://h', api_key: a, headers: {Authorization: b}",
                "allowed is one of them",
            ),
            (
                "url: 'http://h', columns: {LogLevel: message}",
                "would have the name of LogMessage",
            ),
            ("url: 'http://h', fields: {message: 1}", "is there already"),
            (
                "url: 'http://h', schema: rows, fields: {'@timestamp': 1}",
                "is there already",
            ),
        ] {
            let mistakes = load(keys).unwrap_err();
            assert!(mistakes.contains(wanted), "{keys}: {mistakes}");
        }
    }

    #[test]
    fn requests_go_to_the_bulk_interface() {
        const FILTER: &str =
            "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
        for (given, wanted) in [
            ("http://h:9200", "http://h:9200/_bulk?"),
            ("http://h/", "http://h/_bulk?"),
            ("http://h/es/_bulk", "http://h/es/_bulk?"),
            ("http://h/es?pipeline=p", "http://h/es/_bulk?pipeline=p&"),
        ] {
            let url = ElasticsearchSink::new(given.to_owned()).requests().url;
            assert_eq!(url, format!("{wanted}{FILTER}"));
        }
    }

    #[test]
    fn a_name_in_its_parts() {
        let text = |text: &str| IndexPart::Text(text.to_owned());
        assert_eq!(
            index_parts("logs-{namespace}-%Y.%m").unwrap(),
            [
                text("logs-"),
                IndexPart::Namespace,
                text("-"),
                IndexPart::Time(0, 4),
                text("."),
                IndexPart::Time(5, 7)
            ]
        );
    }
}
