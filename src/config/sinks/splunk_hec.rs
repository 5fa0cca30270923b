//! Type `splunk_hec`: Splunk's HTTP Event Collector.

use super::http;
use crate::config::keys::{HOUR, Key, Known, MINUTE, Number, SWITCH, common, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::secret::SECRET;
use crate::config::walk::Section;
use crate::config::{Columns, Compression, HttpSink, Sink, SinkKind};

/// Splunk.
#[derive(Clone, Debug, PartialEq)]
pub struct SplunkHecSink {
    /// Where to and how; the URL is that of the collector, without path.
    pub http: HttpSink,
    /// The index, see [`hec_parts`]; `None`: the token's.
    pub index: Option<String>,
    /// The index for samples, of the kind that takes metrics; `None`: the token's.
    pub metrics_index: Option<String>,
    /// Where events come from, see [`hec_parts`].
    pub source: String,
    /// What kind of events they are, see [`hec_parts`].
    pub sourcetype: String,
    /// What an event is.
    pub event: HecEvent,
    /// Whether an event counts as delivered only once the indexer says so.
    pub acknowledge: bool,
    /// How long that may take.
    pub ack_timeout_ms: u64,
    /// How often it is asked.
    pub ack_interval_ms: u64,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HecEvent {
    /// The message; what else is known is in indexed fields.
    Text,
    /// A row.
    Row,
}

/// Where the collector takes events, and where it is asked for their acknowledgement.
const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";

impl SplunkHecSink {
    /// To the collector at `url`, all else by default.
    pub fn new(url: String) -> SplunkHecSink {
        SplunkHecSink {
            http: HttpSink::new(url),
            index: None,
            metrics_index: None,
            source: "{namespace}/{pod}/{container}".to_owned(),
            sourcetype: "kube:container:{container}".to_owned(),
            event: HecEvent::Text,
            acknowledge: false,
            ack_timeout_ms: 60_000,
            ack_interval_ms: 1_000,
        }
    }

    /// The settings of the requests.
    pub fn requests(&self) -> HttpSink {
        HttpSink {
            url: self.url(EVENT),
            ..self.http.clone()
        }
    }

    /// Where it is asked for acknowledgements.
    pub fn ack_url(&self) -> String {
        self.url(ACK)
    }

    fn url(&self, path: &str) -> String {
        let url = self.http.url.split('?').next().unwrap_or_default();
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix("/event").unwrap_or(url);
        let url = url.strip_suffix("/services/collector").unwrap_or(url);
        format!("{url}{path}")
    }
}

/// A part of an event's index, source or source type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HecPart {
    /// Itself.
    Text(String),
    /// The namespace.
    Namespace,
    /// The pod's name.
    Pod,
    /// The container's name.
    Container,
}

/// Takes a text apart: itself, and `{namespace}`, `{pod}` and `{container}`. `None` if it has other braces.
pub fn hec_parts(text: &str) -> Option<Vec<HecPart>> {
    let mut parts = Vec::new();
    let mut left = text;
    while let Some((before, behind)) = left.split_once('{') {
        let (name, rest) = behind.split_once('}')?;
        if !before.is_empty() {
            parts.push(HecPart::Text(before.to_owned()));
        }
        parts.push(match name {
            "namespace" => HecPart::Namespace,
            "pod" => HecPart::Pod,
            "container" => HecPart::Container,
            _ => return None,
        });
        left = rest;
    }
    if !left.is_empty() {
        parts.push(HecPart::Text(left.to_owned()));
    }
    (!left.contains('}')).then_some(parts)
}

const PARTS: &str = "a text, with {namespace}, {pod} and {container}";

static KEYS: [Key; 7] = [
    key("token", SECRET),
    key(
        "index",
        "a text, with {namespace}, {pod} and {container}, or null",
    ),
    key("metrics_index", "a text or null"),
    key("source", PARTS),
    key("sourcetype", PARTS),
    key("event", "text or row"),
    key("acknowledge", SWITCH),
];

static NUMBERS: [Number<SplunkHecSink>; 2] = [
    Number::new(
        "ack_timeout_ms",
        (100, HOUR),
        |sink| sink.ack_timeout_ms,
        |sink, value| sink.ack_timeout_ms = value,
    ),
    Number::new(
        "ack_interval_ms",
        (10, MINUTE),
        |sink| sink.ack_interval_ms,
        |sink, value| sink.ack_interval_ms = value,
    ),
];

/// The keys of every sink that it does not have.
const FOREIGN: [&str; 1] = ["format"];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS).numbers(&NUMBERS)
}

/// All its keys.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| !FOREIGN.contains(&name))
        .and(http::request_keys())
        .and(keys())
}

/// The indexed fields of an event that is a text.
const INDEXED: [&str; 11] = [
    "k8s.cluster.name",
    "k8s.node.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.container.name",
    "container.id",
    "log.iostream",
    "log.level",
    "record_uid",
    "log.flags",
];

/// Largest request, in bytes: what every release takes.
const REQUEST_BYTES_MAX: usize = 1_000_000;

/// Requests within a megabyte; many at once where each waits for its acknowledgement, which takes seconds.
pub(super) fn preset(sink: &mut Sink) {
    sink.limits.payload_bytes_max = REQUEST_BYTES_MAX;
    sink.limits.payload_uncompressed_bytes_max = REQUEST_BYTES_MAX;
    if let SinkKind::SplunkHec(own) = &sink.kind
        && own.acknowledge
    {
        sink.limits.requests_in_flight = 16;
        sink.limits.payload_slots = 16;
    }
}

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut SplunkHecSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    http::scheme(section, ("token", "Splunk"), &mut sink.http, report);
    if section.entry("token").is_none() {
        section.missing("token", report);
    }
    section.numbers(&NUMBERS, sink, report);
    if let Some(index) = text(section, "index", report) {
        sink.index = Some(index);
    }
    if let Some(index) = section.name_or_null("metrics_index", report) {
        sink.metrics_index = Some(index);
    }
    if let Some(source) = text(section, "source", report) {
        sink.source = source;
    }
    if let Some(sourcetype) = text(section, "sourcetype", report) {
        sink.sourcetype = sourcetype;
    }
    let events = [("text", HecEvent::Text), ("row", HecEvent::Row)];
    if let Some(event) = section.choice("event", &events, report) {
        sink.event = event;
    }
    if let Some(acknowledge) = section.switch("acknowledge", report) {
        sink.acknowledge = acknowledge;
    }
    if sink.http.url.contains('?') {
        let text =
            "the URL has a query, which the collector has no use for (the value is not shown)";
        section.add("url", report, text);
    }
}

/// A text with known placeholders, or (where that is allowed) null.
fn text(section: &Section<'_>, key: &str, report: &mut Report) -> Option<String> {
    let text = match key {
        "index" => section.name_or_null(key, report)?,
        _ => section.name(key, report)?,
    };
    if hec_parts(&text).is_none() {
        let field = section.field(key)?;
        return field.wrong(report);
    }
    Some(text)
}

/// What of every sink's keys does not fit to this one.
pub(super) fn check_whole(section: &Section<'_>, sink: &Sink, report: &mut Report) {
    if matches!(sink.compression, Compression::Zstd(_)) {
        let text = "the collector does not take zstd; allowed is none or gzip";
        section.add("compression", report, text);
    }
    let SinkKind::SplunkHec(own) = &sink.kind else {
        return;
    };
    // Indexed fields, and the dimensions of metrics, are flat.
    let flat = |value: &serde_json::Value| value.is_string() || value.is_number();
    let is_text = own.event == HecEvent::Text;
    if let Some((name, _)) = sink.rows.fields.iter().find(|(_, value)| !flat(value))
        && (is_text || sink.signals.metrics)
    {
        let text = format!("{name} is neither a text nor a number; indexed fields are no others");
        section.add("fields", report, text);
    }
    if !is_text {
        return;
    }
    for key in ["columns", "parse_json"] {
        let is_default = match key {
            "columns" => sink.rows.columns == Columns::default(),
            _ => !sink.rows.parse_json,
        };
        if !is_default {
            let text = "has no effect with `event: text`; set `event: row` or leave it out";
            section.add(key, report, text);
        }
    }
    let mut fields = sink.rows.fields.iter();
    if let Some((name, _)) = fields.find(|(name, _)| INDEXED.contains(&name.as_str())) {
        let text = format!("there is an indexed field {name} already; choose another name");
        section.add("fields", report, text);
    }
}

/// Writes it out.
pub(super) fn render(sink: &SplunkHecSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    page.scalar_or_null("index", sink.index.as_deref());
    page.scalar_or_null("metrics_index", sink.metrics_index.as_deref());
    page.scalar("source", &sink.source);
    page.scalar("sourcetype", &sink.sourcetype);
    let event = match sink.event {
        HecEvent::Text => "text",
        HecEvent::Row => "row",
    };
    page.raw("event", event);
    page.raw("acknowledge", sink.acknowledge);
    page.numbers(&NUMBERS, sink);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::parse::parse;
    use crate::config::render;

    fn load(keys: &str) -> Result<Config, String> {
        let text = format!("sinks: {{a: {{type: splunk_hec, {keys}}}}}\n");
        let loaded = parse(&text, "f", &|_| None, "n1");
        loaded.map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
            all.join("\n")
        })
    }

    #[test]
    fn what_is_rendered_is_the_same_config() {
        for keys in [
            "url: 'https://h:8088', token: {file: /t}",
            "url: 'https://h', token: {file: /t}, index: 'k-{namespace}', source: s, sourcetype: '{pod}', event: row, \
             acknowledge: true, ack_timeout_ms: 5000, columns: {LogMessage: m}, fields: {a: [1]}",
        ] {
            let config = load(keys).unwrap();
            let text = render::render(&config);
            let again = parse(&text, "f", &|_| None, "n1");
            assert_eq!(again.as_ref(), Ok(&config), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (keys, wanted) in [
            ("token: a", "url: missing"),
            ("url: 'http://h'", "token: missing"),
            ("url: 'http://h?a=b', token: a", "the URL has a query"),
            (
                "url: 'http://h', token: a, bearer_token: b",
                "allowed is one of them",
            ),
            (
                "url: 'http://h', token: a, index: '{app}'",
                "with {namespace}",
            ),
            (
                "url: 'http://h', token: a, source: 'a}'",
                "with {namespace}",
            ),
            (
                "url: 'http://h', token: a, source: null",
                "with {namespace}",
            ),
            (
                "url: 'http://h', token: a, event: raw",
                "allowed is text or row",
            ),
            (
                "url: 'http://h', token: a, compression: zstd",
                "allowed is none or gzip",
            ),
            (
                "url: 'http://h', token: a, parse_json: true",
                "has no effect",
            ),
            (
                "url: 'http://h', token: a, columns: {LogLevel: null}",
                "has no effect",
            ),
            (
                "url: 'http://h', token: a, fields: {x: [1]}",
                "neither a text nor a number",
            ),
            (
                "url: 'http://h', token: a, fields: {log.level: x}",
                "an indexed field log.level",
            ),
            (
                "url: 'http://h', token: a, ack_interval_ms: 1",
                "10 to 60000",
            ),
            (
                "url: 'http://h', token: a, signals: [metrics], event: row, fields: {a: [1]}",
                "neither a text nor a number",
            ),
        ] {
            let mistakes = load(keys).unwrap_err();
            assert!(mistakes.contains(wanted), "{keys}: {mistakes}");
        }
    }

    #[test]
    fn requests_go_to_the_collector() {
        for given in [
            "https://h:8088",
            "https://h:8088/",
            "https://h:8088/services/collector",
            "https://h:8088/services/collector/event",
        ] {
            let sink = SplunkHecSink::new(given.to_owned());
            assert_eq!(
                sink.requests().url,
                "https://h:8088/services/collector/event"
            );
            assert_eq!(sink.ack_url(), "https://h:8088/services/collector/ack");
        }
    }
}
