//! Type `clickhouse`: rows into a table, over its HTTP interface.

use super::http;
use crate::config::keys::{Key, Known, SWITCH, common, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::walk::Section;
use crate::config::{HttpSink, RowFormat, Sink};

/// A table of ClickHouse.
#[derive(Clone, Debug, PartialEq)]
pub struct ClickHouseSink {
    /// Where to and how; the URL without database and query.
    pub http: HttpSink,
    /// The database.
    pub database: String,
    /// The table for rows of logs.
    pub table: String,
    /// The table for rows of metrics.
    pub metrics_table: String,
    /// Whether the server collects inserts of many agents before it writes a part. It answers when it has written.
    pub async_insert: bool,
    /// Whether each insert carries a token, by which a table with a deduplication window knows a repeat.
    pub insert_token: bool,
}

impl ClickHouseSink {
    /// Tables of the names that `deploy/clickhouse.sql` makes.
    pub fn new(url: String) -> ClickHouseSink {
        ClickHouseSink {
            http: HttpSink::new(url),
            database: "default".to_owned(),
            table: "ContainerLogV2".to_owned(),
            metrics_table: "InsightsMetrics".to_owned(),
            async_insert: false,
            insert_token: true,
        }
    }
}

const NAME: &str = "1 to 128 letters, digits and _, not beginning with a digit";

static KEYS: [Key; 5] = [
    key("database", NAME),
    key("table", NAME),
    key("metrics_table", NAME),
    key("async_insert", SWITCH),
    key("insert_token", SWITCH),
];

/// The keys of the type alone.
pub(super) fn keys() -> Known {
    Known::of(&KEYS)
}

/// All its keys: rows have one format.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| name != "format")
        .and(http::request_keys())
        .and(keys())
}

/// Each insert makes a part, which the server has to merge: few and large ones. Rows have their uid, by which the table
/// knows repeats.
pub(super) fn preset(sink: &mut Sink) {
    sink.rows.format = RowFormat::Ndjson;
    sink.rows.record_uid = true;
    sink.limits.flush_interval_ms = 5_000;
    sink.limits.payload_bytes_max = 4 * 1024 * 1024;
    sink.limits.payload_uncompressed_bytes_max = 16 * 1024 * 1024;
}

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut ClickHouseSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    for (key, into) in [
        ("database", &mut sink.database),
        ("table", &mut sink.table),
        ("metrics_table", &mut sink.metrics_table),
    ] {
        let Some(field) = section.field(key) else {
            continue;
        };
        match field.text().filter(|text| is_identifier(text)) {
            Some(text) => text.clone_into(into),
            None => field.refuse(report),
        }
    }
    if let Some(wait) = section.switch("async_insert", report) {
        sink.async_insert = wait;
    }
    if let Some(token) = section.switch("insert_token", report) {
        sink.insert_token = token;
    }
    if sink.http.url.contains('?') {
        let text = "has a query; the agent makes it itself: leave it out";
        section.add("url", report, text);
    }
}

/// What needs no quotes in a query, so that nothing in a config can be read as one.
fn is_identifier(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.len() <= 128
        && text.starts_with(first)
        && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Writes it out.
pub(super) fn render(sink: &ClickHouseSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    page.scalar("database", &sink.database);
    page.scalar("table", &sink.table);
    page.scalar("metrics_table", &sink.metrics_table);
    page.raw("async_insert", sink.async_insert);
    page.raw("insert_token", sink.insert_token);
}

#[cfg(test)]
mod tests {
    use crate::config::parse::parse;
    use crate::config::render::render;
    use crate::config::{RowFormat, SinkKind};

    #[test]
    fn what_is_rendered_is_the_same_and_mistakes_are_named() {
        let text = |keys: &str| {
            format!("sinks: {{c: {{type: clickhouse, url: 'http://h:8123/', {keys}}}}}")
        };
        let load = |keys: &str| parse(&text(keys), "f", &|_| None, "n");
        let config = load("table: t, async_insert: true, compression: zstd").unwrap();
        let again = parse(&render(&config), "f", &|_| None, "n").unwrap();
        assert_eq!(again, config);
        let sink = &config.sinks[0];
        assert!(sink.rows.record_uid && sink.rows.format == RowFormat::Ndjson);
        let SinkKind::ClickHouse(it) = &sink.kind else {
            panic!("{sink:?}");
        };
        assert_eq!((it.database.as_str(), it.table.as_str()), ("default", "t"));
        for (keys, wanted) in [
            ("table: 't; DROP'", "letters, digits and _"),
            ("table: 1t", "letters, digits and _"),
            ("format: ndjson", "unknown key"),
            ("async_insert: 3", "true or false"),
        ] {
            let mistakes = load(keys).unwrap_err();
            assert!(mistakes[0].to_string().contains(wanted), "{mistakes:?}");
        }
    }
}
