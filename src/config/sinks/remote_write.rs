//! Type `remote_write`: Prometheus remote write. Takes metrics only.

use super::http;
use crate::config::keys::{Key, Known, LABELS, common, key};
use crate::config::mistake::Report;
use crate::config::render::Page;
use crate::config::walk::Section;
use crate::config::{Compression, HttpSink, Sink};

/// Prometheus remote write.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteSink {
    /// Where to and how.
    pub http: HttpSink,
    /// The version to begin with.
    pub version: RemoteWriteVersion,
    /// Labels of every series that has none of that name itself; `None`: a default one is left out.
    pub labels: Vec<(String, Option<String>)>,
}

/// A version of Prometheus remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    /// 1.0, which every receiver knows.
    One,
    /// 2.0, with 1.0 for a receiver that does not know it.
    Two,
}

impl RemoteWriteSink {
    /// Version 1 to `url`, all else by default. `job` is what the dashboards of node_exporter ask for.
    pub fn new(url: String, node: &str, cluster_name: Option<&str>) -> RemoteWriteSink {
        let mut labels = vec![
            ("job".to_owned(), Some("node".to_owned())),
            ("instance".to_owned(), Some(node.to_owned())),
        ];
        if let Some(cluster) = cluster_name {
            labels.push(("cluster".to_owned(), Some(cluster.to_owned())));
        }
        labels.sort();
        RemoteWriteSink {
            http: HttpSink::new(url),
            version: RemoteWriteVersion::One,
            labels,
        }
    }
}

static KEYS: [Key; 2] = [key("version", "1 or 2"), key("labels", LABELS)];

/// The keys of every sink that it has.
const SHARED: [&str; 10] = [
    "type",
    "signals",
    "payload_uncompressed_bytes_max",
    "payload_records_max",
    "backoff_min_ms",
    "backoff_max_ms",
    "probe_interval_ms",
    "stuck_after_ms",
    "samples_bytes_max",
    "samples_age_max_ms",
];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS)
}

/// All its keys: its own, those of a request, and some of every sink's.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| SHARED.contains(&name))
        .and(http::request_keys())
        .and(keys())
}

/// Receivers take thousands of samples at a time, and no compression but that of the protocol.
pub(super) fn preset(sink: &mut Sink) {
    sink.compression = Compression::None;
    sink.limits.payload_records_max = 5_000;
}

/// Most labels of one sink.
const LABELS_MAX: usize = 32;

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut RemoteWriteSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    let versions = [
        ("1", RemoteWriteVersion::One),
        ("2", RemoteWriteVersion::Two),
    ];
    if let Some(version) = section.choice("version", &versions, report) {
        sink.version = version;
    }
    labels(section, &mut sink.labels, report);
}

/// Puts what is under `labels` into the default ones.
pub fn labels(
    section: &Section<'_>,
    labels: &mut Vec<(String, Option<String>)>,
    report: &mut Report,
) {
    let wrong_name = |name: &str| (!is_label_name(name)).then_some(WRONG_LABEL_NAME);
    section.texts_or_null("labels", LABELS_MAX, wrong_name, labels, report);
}

/// What is said of a name that is none for a label.
pub(super) const WRONG_LABEL_NAME: &str =
    "not a name for a label; allowed is a-z, A-Z, 0-9 and _, not beginning with a digit or __";

/// Names that begin with `__` are the receiver's own (Prometheus data model).
pub(super) fn is_label_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first)
        && !name.starts_with("__")
        && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Writes it out.
pub(super) fn render(sink: &RemoteWriteSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    let version = match sink.version {
        RemoteWriteVersion::One => 1,
        RemoteWriteVersion::Two => 2,
    };
    page.raw("version", version);
    page.labels(&sink.labels);
}

#[cfg(test)]
mod tests {
    use crate::config::parse::parse;
    use crate::config::render::render;
    use crate::config::{Config, SinkKind};

    fn load(text: &str) -> Result<Config, String> {
        let loaded = parse(text, "f", &|_| None, "n1");
        loaded.map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
            all.join("\n")
        })
    }

    const WHOLE: &str = "\
cluster_name: blue
metrics:
  scrape:
    - {url: 'http://10.0.0.1:9100/metrics', keep: ['a.*'], drop: ['ab'], labels: {job: x, instance: null}}
    - {url: 'https://h/metrics', interval_ms: 5000, tls: {ca_file: /ca}, bearer_token: {file: /t}}
sinks:
  prom: {type: remote_write, url: 'http://h/', version: 2, labels: {job: null, zone: 'a b'}}
  rows: {type: file, signals: [metrics, logs]}
  web: {type: http, url: 'http://h/', metrics_url: 'http://m/', signals: [metrics]}
";

    #[test]
    fn what_is_rendered_is_the_same_config() {
        let config = load(WHOLE).unwrap();
        let text = render(&config);
        assert_eq!(load(&text).as_ref(), Ok(&config), "{text}");
        let SinkKind::RemoteWrite(sink) = &config.sinks[0].kind else {
            panic!("{config:?}");
        };
        let labels: Vec<(&str, Option<&str>)> = sink
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        assert_eq!(
            labels,
            [
                ("cluster", Some("blue")),
                ("instance", Some("n1")),
                ("job", None),
                ("zone", Some("a b"))
            ]
        );
        let [first, second] = config.metrics.scrape.as_slice() else {
            panic!("{config:?}");
        };
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(first.target_labels(), [label("job", "x")]);
        assert!(first.wants("aa") && !first.wants("ab") && !first.wants("b"));
        assert_eq!(
            second.target_labels(),
            [label("instance", "h"), label("job", "scrape")]
        );
        assert!(config.sinks[1].signals.logs && config.sinks[1].signals.metrics);
        assert!(!config.sinks[2].signals.logs);
    }

    #[test]
    fn mistakes_are_named() {
        let sink = |keys: &str| format!("sinks: {{a: {{{keys}}}}}\n");
        let write = |keys: &str| sink(&format!("type: remote_write, url: 'http://h/', {keys}"));
        let scrape =
            |entry: &str| format!("metrics: {{scrape: {entry}}}\n{}", sink("type: blackhole"));
        for (text, wanted) in [
            (write("signals: [logs]"), "cannot take"),
            (write("signals: []"), "allowed is a list of logs"),
            (write("signals: [metrics, metrics]"), "found metrics twice"),
            (write("signals: metrics"), "allowed is a list of logs"),
            (write("format: ndjson"), "unknown key here"),
            (write("metrics_url: 'http://h/'"), "unknown key here"),
            (write("version: 3"), "allowed is 1 or 2"),
            (write("labels: {a-b: x}"), "not a name for a label"),
            (write("labels: {__name__: x}"), "not a name for a label"),
            (write("labels: {a: ''}"), "printable characters"),
            (sink("type: remote_write"), "url: missing"),
            (
                sink("type: file, version: 1"),
                "it belongs to sinks.NAME of type remote_write",
            ),
            (
                sink("type: blackhole, signals: [metrics], fields: {Val: 1}"),
                "a column named Val",
            ),
            (
                sink("type: blackhole, signals: [metrics], columns: {Computer: Name}"),
                "a column named Name",
            ),
            (scrape("{}"), "allowed is a list"),
            (scrape("[{}]"), "metrics.scrape[0].url: missing"),
            (scrape("['http://h/']"), "allowed is a mapping"),
            (
                scrape("[{url: 'http://h/', keep: ['(']}]"),
                "not a regular expression",
            ),
            (
                scrape("[{url: 'http://h/', interval_ms: 1}]"),
                "1000 to 3600000",
            ),
        ] {
            let mistakes = load(&text).unwrap_err();
            assert!(mistakes.contains(wanted), "{text}: {mistakes}");
        }
        let both = "sinks:\n  a: {type: file, directory: /d, signals: [metrics]}\n  b: {type: file, directory: /d/metrics}\n";
        assert!(load(both).unwrap_err().contains("same directory"));
    }
}
