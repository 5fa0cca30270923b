//! Type `azure_logs`: the Logs Ingestion API of Azure Monitor.
//!
//! Invariant: what passes the checks here keeps the service's limits: a call is at most 1 MB before compression, every
//! column has a name that a table may have, and one row always fits into a call.

use super::http::{self, azure};
use crate::config::keys::{Key, Known, common, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::walk::{Field, Section};
use crate::config::yaml::Value;
use crate::config::{Columns, Compression, HttpSink, RowFormat, Sink};

/// The Logs Ingestion API.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureLogsSink {
    /// How to speak to the endpoint; its URL is the endpoint's, without a path.
    pub http: HttpSink,
    /// Immutable ids of the data collection rules over which calls are spread; at least one, none twice.
    pub dcrs: Vec<String>,
    /// The stream that takes rows of logs.
    pub stream: String,
    /// The stream that takes rows of metrics.
    pub metrics_stream: String,
}

/// Largest call, compressed or not (Logs Ingestion API, service limits: 1 MB).
pub const CALL_BYTES_MAX: usize = 1_000_000;
/// Largest value of a column (Logs Ingestion API, service limits: 64 KB); the service cuts longer ones in silence.
pub const FIELD_BYTES_MAX: usize = 64 * 1024;
/// Most rules of one sink.
const DCRS_MAX: usize = 32;
/// Longest name of a column (Azure Monitor, limits of custom tables).
const COLUMN_CHARS_MAX: usize = 45;
/// Names that a custom table may not have (Azure Monitor, "create a custom table").
const RESERVED: [&str; 7] = [
    "_ResourceId",
    "id",
    "_SubscriptionId",
    "TenantId",
    "Type",
    "UniqueId",
    "Title",
];
/// The stream of the table that `deploy/azure` makes for logs.
pub const STREAM: &str = "Custom-ContainerLogV2";
/// The stream of the table that `deploy/azure` makes for metrics.
pub const METRICS_STREAM: &str = "Custom-InsightsMetrics";

const STREAM_NAME: &str =
    "Custom-NAME or Microsoft-NAME, of a-z, A-Z, 0-9, _ and -, at most 128 characters";

static KEYS: [Key; 4] = [
    key(
        "endpoint",
        "https://HOST[:PORT] or http://..., without a path",
    ),
    key(
        "dcr",
        "an immutable id (dcr- and 32 of 0-9 and a-f), or a list of 1 to 32 of them",
    ),
    key("stream", STREAM_NAME),
    key("metrics_stream", STREAM_NAME),
];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS)
}

/// All its keys: its own, those of a request but the URL and other ways to authenticate, and those of every sink but
/// the format, which is the service's.
pub(super) fn all_keys() -> Known {
    let foreign = ["url", "bearer_token", "basic"];
    common()
        .only(|name| name != "format")
        .and(http::request_keys().only(|name| !foreign.contains(&name)))
        .and(keys())
}

impl AzureLogsSink {
    /// Without an endpoint and without rules, all else by default.
    pub fn new() -> AzureLogsSink {
        AzureLogsSink {
            http: HttpSink::new(String::new()),
            dcrs: Vec::new(),
            stream: STREAM.to_owned(),
            metrics_stream: METRICS_STREAM.to_owned(),
        }
    }
}

impl Default for AzureLogsSink {
    fn default() -> AzureLogsSink {
        AzureLogsSink::new()
    }
}

/// Calls as large as they may be, and not too many of them: the service counts 12,000 a minute for each rule, which 200
/// nodes reach with one a second.
pub(super) fn preset(sink: &mut Sink) {
    sink.rows.format = RowFormat::JsonArray;
    let limits = &mut sink.limits;
    limits.record_bytes_max = FIELD_BYTES_MAX;
    limits.payload_bytes_max = CALL_BYTES_MAX;
    limits.payload_uncompressed_bytes_max = CALL_BYTES_MAX;
    limits.flush_interval_ms = 5_000;
}

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut AzureLogsSink, report: &mut Report) {
    match azure::origin(section, "endpoint", report) {
        Some(endpoint) => sink.http.url = endpoint,
        None if section
            .field("endpoint")
            .is_none_or(|field| field.is_null()) =>
        {
            section.missing("endpoint", report);
        }
        None => {}
    }
    http::check_but_url(section, &mut sink.http, report);
    if section.entry("azure_auth").is_none() {
        section.missing("azure_auth", report);
    }
    dcrs(section, &mut sink.dcrs, report);
    for (key, stream) in [
        ("stream", &mut sink.stream),
        ("metrics_stream", &mut sink.metrics_stream),
    ] {
        let Some(field) = section.field(key) else {
            continue;
        };
        match field.text().filter(|text| is_stream(text)) {
            Some(text) => text.clone_into(stream),
            None => field.refuse(report),
        }
    }
}

fn dcrs(section: &Section<'_>, dcrs: &mut Vec<String>, report: &mut Report) {
    let Some(field) = section.field("dcr") else {
        return section.missing("dcr", report);
    };
    let Value::List(items) = &field.node.value else {
        return dcr(&field, dcrs, report);
    };
    if !(1..=DCRS_MAX).contains(&items.len()) {
        let text = format!("found {}; allowed are 1 to {DCRS_MAX}", items.len());
        report.add(field.place, &field.path, text);
    }
    for (at, item) in items.iter().take(DCRS_MAX).enumerate() {
        let item = Field {
            path: format!("{}[{at}]", field.path),
            place: item.place,
            node: item,
            allowed: "an immutable id: dcr- and 32 of 0-9 and a-f".to_owned(),
        };
        dcr(&item, dcrs, report);
    }
}

fn dcr(field: &Field<'_>, dcrs: &mut Vec<String>, report: &mut Report) {
    match field.text().filter(|text| is_dcr(text)) {
        Some(text) if dcrs.iter().any(|known| known == text) => {
            let text = "there already; allowed is once";
            report.add(field.place, &field.path, text);
        }
        Some(text) => dcrs.push(text.to_owned()),
        None => field.refuse(report),
    }
}

/// Whether `text` is the immutable id of a data collection rule, which is neither its name nor its resource id.
fn is_dcr(text: &str) -> bool {
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    text.strip_prefix("dcr-")
        .is_some_and(|id| id.len() == 32 && id.chars().all(hex))
}

fn is_stream(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = text
        .strip_prefix("Custom-")
        .or_else(|| text.strip_prefix("Microsoft-"));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(fits)) && text.len() <= 128
}

/// What can only be seen when all keys have been taken over: limits, names of columns, what they hold.
pub(super) fn check_whole(section: &Section<'_>, sink: &Sink, report: &mut Report) {
    let limits = &sink.limits;
    for (key, value, max, why) in [
        (
            "record_bytes_max",
            limits.record_bytes_max,
            FIELD_BYTES_MAX,
            "the service cuts longer values in silence",
        ),
        (
            "payload_bytes_max",
            limits.payload_bytes_max,
            CALL_BYTES_MAX,
            "the service takes no larger call",
        ),
        (
            "payload_uncompressed_bytes_max",
            limits.payload_uncompressed_bytes_max,
            CALL_BYTES_MAX,
            "the service takes no call that is larger before compression",
        ),
    ] {
        if value > max {
            let text = format!("found {value}; allowed is at most {max}: {why}");
            section.add(key, report, text);
        }
    }
    if matches!(sink.compression, Compression::Zstd(_)) {
        let text = "found zstd; allowed is gzip or none, which are all that the service takes";
        section.add("compression", report, text);
    }
    let columns = Columns::NAMES.into_iter();
    let columns = columns.filter_map(|column| Some(("columns", sink.rows.columns.name(column)?)));
    let fields = sink.rows.fields.iter();
    let fields = fields.map(|(name, _)| ("fields", name.as_str()));
    for (key, name) in columns.chain(fields) {
        if let Some(wrong) = wrong_column(name) {
            let name = crate::config::mistake::cut(name, 64);
            let text = format!("a table cannot have a column named \"{name}\": {wrong}");
            section.add(key, report, text);
        }
    }
    let fields = sink.rows.fields.iter();
    let bytes: usize = fields.map(|(_, value)| value.to_string().len()).sum();
    if bytes > FIELD_BYTES_MAX {
        let text = format!(
            "the values have {bytes} bytes together; allowed are {FIELD_BYTES_MAX}, so that one row fits into a call"
        );
        section.add("fields", report, text);
    }
}

/// Why a table cannot have a column of this name.
pub fn wrong_column(name: &str) -> Option<&'static str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        Some("the name is reserved")
    } else if name.chars().count() > COLUMN_CHARS_MAX {
        Some("allowed are at most 45 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) {
        Some("allowed are a-z, A-Z, 0-9 and _, beginning with a letter")
    } else {
        None
    }
}

/// Writes it out.
pub(super) fn render(sink: &AzureLogsSink, page: &mut Page) {
    page.scalar("endpoint", &sink.http.url);
    match sink.dcrs.as_slice() {
        [dcr] => page.scalar("dcr", dcr),
        dcrs => page.raw("dcr", format!("[{}]", dcrs.join(", "))),
    }
    page.scalar("stream", &sink.stream);
    page.scalar("metrics_stream", &sink.metrics_stream);
    http::render_but_url(&sink.http, page);
}

#[cfg(test)]
mod tests;
