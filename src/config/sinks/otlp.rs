//! Type `otlp`: OpenTelemetry's protocol, over HTTP or gRPC.

use super::http;
use crate::config::keys::{Key, Known, common, key};
use crate::config::mistake::Report;
use crate::config::render::{Page, quoted};
use crate::config::walk::{Section, is_name};
use crate::config::{HttpSink, Sink};

/// OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSink {
    /// Where to and how. The URL is the endpoint, in front of the signals' paths.
    pub http: HttpSink,
    /// What carries it.
    pub protocol: OtlpProtocol,
    /// Attributes of every resource; one that is there by default is replaced, or left out for `None`.
    pub resource: Vec<(String, Option<String>)>,
    /// What the node's metrics are called.
    pub otel_naming: OtelNaming,
}

/// What carries OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// HTTP/1.1.
    Http,
    /// gRPC, over HTTP/2.
    Grpc,
}

/// What the node's metrics are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtelNaming {
    /// As on `/metrics`.
    Prometheus,
    /// As OpenTelemetry's conventions for systems say.
    Semconv,
    /// As the collector's receiver of host metrics has them.
    Hostmetrics,
}

impl OtlpSink {
    /// HTTP to `url`, all else by default.
    pub fn new(url: String) -> OtlpSink {
        OtlpSink {
            http: HttpSink::new(url),
            protocol: OtlpProtocol::Http,
            resource: Vec::new(),
            otel_naming: OtelNaming::Prometheus,
        }
    }
}

const PROTOCOLS: [(&str, OtlpProtocol); 2] =
    [("http", OtlpProtocol::Http), ("grpc", OtlpProtocol::Grpc)];

const NAMINGS: [(&str, OtelNaming); 3] = [
    ("prometheus", OtelNaming::Prometheus),
    ("semconv", OtelNaming::Semconv),
    ("hostmetrics", OtelNaming::Hostmetrics),
];

static KEYS: [Key; 3] = [
    key("protocol", "http or grpc"),
    key(
        "resource",
        "a mapping of attribute names to texts; null leaves a default one out",
    ),
    key("otel_naming", "prometheus, semconv or hostmetrics"),
];

/// The keys of every sink that it has not: they are of rows.
const OF_ROWS: [&str; 4] = ["format", "columns", "fields", "parse_json"];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS)
}

/// All its keys: its own, those of a request, and those of every sink but of rows.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| !OF_ROWS.contains(&name))
        .and(http::request_keys())
        .and(keys())
}

/// Servers take 4 MiB before compression, unless they are told otherwise. Repeats are told by `log.record.uid`.
pub(super) fn preset(sink: &mut Sink) {
    sink.rows.record_uid = true;
    sink.limits.payload_uncompressed_bytes_max = 3_584 * 1024;
}

/// Most attributes of one sink.
const ATTRIBUTES_MAX: usize = 64;

/// Paths that follow from the signal.
const SIGNAL_PATHS: [&str; 2] = ["/v1/logs", "/v1/metrics"];

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut OtlpSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    if let Some(protocol) = section.choice("protocol", &PROTOCOLS, report) {
        sink.protocol = protocol;
    }
    if let Some(naming) = section.choice("otel_naming", &NAMINGS, report) {
        sink.otel_naming = naming;
    }
    let path = sink.http.url.split('?').next().unwrap_or_default();
    let path = path.trim_end_matches('/');
    if SIGNAL_PATHS.iter().any(|signal| path.ends_with(signal)) {
        let text = "ends in the path of a signal, which is added by the agent; leave it out";
        section.add("url", report, text);
    }
    let wrong = "not a name for an attribute; allowed are 1 to 1024 printable characters";
    let wrong_name = |name: &str| (!is_name(name)).then_some(wrong);
    section.texts_or_null(
        "resource",
        ATTRIBUTES_MAX,
        wrong_name,
        &mut sink.resource,
        report,
    );
}

/// The word for a choice.
fn word<T: PartialEq>(words: &[(&'static str, T)], chosen: &T) -> &'static str {
    let found = words.iter().find(|(_, choice)| choice == chosen);
    found.map_or("", |(word, _)| word)
}

/// Writes it out.
pub(super) fn render(sink: &OtlpSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    page.raw("protocol", word(&PROTOCOLS, &sink.protocol));
    page.raw("otel_naming", word(&NAMINGS, &sink.otel_naming));
    if sink.resource.is_empty() {
        page.raw("resource", "{}");
        return;
    }
    page.open("resource");
    for (name, value) in &sink.resource {
        page.scalar_or_null(&quoted(name), value.as_deref());
    }
    page.close();
}

#[cfg(test)]
mod tests {
    use super::{OtelNaming, OtlpProtocol};
    use crate::config::parse::parse;
    use crate::config::render::render;
    use crate::config::{Compression, Config, SinkKind};

    fn load(text: &str) -> Result<Config, String> {
        let loaded = parse(text, "f", &|_| None, "n1");
        loaded.map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
            all.join("\n")
        })
    }

    fn sink(keys: &str) -> String {
        format!("sinks: {{a: {{type: otlp, {keys}}}}}\n")
    }

    #[test]
    fn what_is_rendered_is_the_same_config() {
        let keys = "url: 'https://h:4317', protocol: grpc, otel_naming: semconv, record_uid: false, \
                    compression: zstd, signals: [logs, metrics], headers: {api-key: {file: /k}}, \
                    resource: {'service.name': 'a b', 'host.name': null}";
        let config = load(&sink(keys)).unwrap();
        let text = render(&config);
        assert_eq!(load(&text).as_ref(), Ok(&config), "{text}");
        let SinkKind::Otlp(otlp) = &config.sinks[0].kind else {
            panic!("{config:?}");
        };
        assert_eq!(otlp.protocol, OtlpProtocol::Grpc);
        assert_eq!(otlp.otel_naming, OtelNaming::Semconv);
        assert!(!config.sinks[0].rows.record_uid);
        let name = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            otlp.resource,
            [name("host.name", None), name("service.name", Some("a b"))]
        );
    }

    #[test]
    fn requests_fit_into_what_servers_take() {
        let config = load(&sink("url: 'http://h:4318'")).unwrap();
        let sink = &config.sinks[0];
        assert!(sink.limits.payload_uncompressed_bytes_max <= 4_000_000);
        assert_eq!(sink.compression, Compression::Gzip(1));
        let text = render(&config);
        assert_eq!(load(&text).as_ref(), Ok(&config), "{text}");
    }

    #[test]
    fn mistakes_are_named() {
        for (keys, wanted) in [
            ("compression: none", "url: missing"),
            ("url: 'http://h/v1/logs'", "added by the agent"),
            ("url: 'http://h/x/v1/metrics/?k=v'", "added by the agent"),
            ("url: 'http://h', protocol: tcp", "allowed is http or grpc"),
            (
                "url: 'http://h', otel_naming: x",
                "prometheus, semconv or hostmetrics",
            ),
            ("url: 'http://h', format: ndjson", "unknown key here"),
            (
                "url: 'http://h', metrics_url: 'http://h'",
                "unknown key here",
            ),
            ("url: 'http://h', record_uid: 1", "true or false"),
            ("url: 'http://h', resource: [a]", "allowed is a mapping"),
            ("url: 'http://h', resource: {a: ''}", "printable characters"),
            (
                "url: 'http://h', resource: {a: [b]}",
                "printable characters",
            ),
        ] {
            let mistakes = load(&sink(keys)).unwrap_err();
            assert!(mistakes.contains(wanted), "{keys}: {mistakes}");
        }
    }
}
