//! Type `loki`: Grafana Loki's push interface. Takes logs only.

use super::http;
use crate::config::keys::{DAY, HOUR, Key, Known, MIB, SWITCH, TEXT, common, key};
use crate::config::mistake::Report;
use crate::config::render::{Page, quoted};
use crate::config::walk::{Section, is_name};
use crate::config::yaml::{Value, join};
use crate::config::{Compression, HttpSink, ReadFrom, Secret, Sink};

/// Loki.
#[derive(Clone, Debug, PartialEq)]
pub struct LokiSink {
    /// Where to and how.
    pub http: HttpSink,
    /// Whose logs they are, where Loki has several tenants.
    pub tenant: Option<String>,
    /// The labels of a stream, by name; `None`: a default one is left out.
    pub labels: Vec<(String, Option<LokiLabel>)>,
    /// Whether what is no label is sent beside each line.
    pub structured_metadata: bool,
}

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LokiLabel {
    /// The same for all.
    Text(String),
    /// What is known of the record.
    Field(LokiField),
}

/// What is known of a record, beside its time and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LokiField {
    /// `cluster_name`.
    Cluster,
    /// The node.
    Node,
    /// The namespace.
    Namespace,
    /// The pod's name.
    Pod,
    /// The pod's uid.
    PodUid,
    /// The container's name.
    Container,
    /// The runtime's id of the container.
    ContainerId,
    /// `stdout` or `stderr`.
    Stream,
    /// The level, in lower case.
    Level,
}

impl LokiField {
    /// All, in the order in which they are sent.
    pub const ALL: [LokiField; 9] = [
        LokiField::Cluster,
        LokiField::Node,
        LokiField::Namespace,
        LokiField::Pod,
        LokiField::PodUid,
        LokiField::Container,
        LokiField::ContainerId,
        LokiField::Stream,
        LokiField::Level,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            LokiField::Cluster => "cluster",
            LokiField::Node => "node",
            LokiField::Namespace => "namespace",
            LokiField::Pod => "pod",
            LokiField::PodUid => "pod_uid",
            LokiField::Container => "container",
            LokiField::ContainerId => "container_id",
            LokiField::Stream => "stream",
            LokiField::Level => "level",
        }
    }
}

/// Where Loki takes lines.
const PUSH: &str = "/loki/api/v1/push";
/// The header that names the tenant.
const TENANT: &str = "X-Scope-OrgID";

impl LokiSink {
    /// To the Loki at `url`, all else by default: labels of which there are few on a node.
    pub fn new(url: String, with_cluster: bool) -> LokiSink {
        let mut labels = vec![LokiField::Container, LokiField::Namespace, LokiField::Node];
        if with_cluster {
            labels.insert(0, LokiField::Cluster);
        }
        let of_field = |field: LokiField| (field.name().to_owned(), Some(LokiLabel::Field(field)));
        LokiSink {
            http: HttpSink::new(url),
            tenant: None,
            labels: labels.into_iter().map(of_field).collect(),
            structured_metadata: true,
        }
    }

    /// The settings of the requests.
    pub fn requests(&self) -> HttpSink {
        let mut http = self.http.clone();
        let (url, query) = match http.url.split_once('?') {
            Some((url, query)) => (url, format!("?{query}")),
            None => (http.url.as_str(), String::new()),
        };
        let url = url.trim_end_matches('/');
        let push = if url.ends_with("/api/v1/push") {
            ""
        } else {
            PUSH
        };
        http.url = format!("{url}{push}{query}");
        if let Some(tenant) = &self.tenant {
            let tenant = Secret::Literal(tenant.clone());
            http.headers.push((TENANT.to_owned(), tenant));
        }
        http
    }
}

const LABELS: &str =
    "a mapping of label names to texts or {field: FIELD}; null leaves a default one out";

static KEYS: [Key; 3] = [
    key("tenant", "a text of 1 to 150 characters, or null"),
    key("labels", LABELS),
    key("structured_metadata", SWITCH),
];

/// The keys of every sink that it does not have.
const FOREIGN: [&str; 8] = [
    "format",
    "columns",
    "fields",
    "parse_json",
    "compression",
    "compression_level",
    "samples_bytes_max",
    "samples_age_max_ms",
];

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

/// Snappy is a part of the protocol. Requests are as large as those of Loki's own agents, well below its limits on
/// bursts; one at a time, so that the lines of a stream arrive in order. What Loki would refuse as too old is not read, and a
/// line that it refuses for its age is seldom alone.
pub(super) fn preset(sink: &mut Sink) {
    sink.compression = Compression::Snappy;
    sink.limits.requests_in_flight = 1;
    sink.limits.payload_bytes_max = MIB as usize;
    sink.limits.payload_uncompressed_bytes_max = MIB as usize;
    sink.limits.payload_records_max = 10_000;
    sink.limits.rejects_per_minute_max = 100;
    sink.read_from = ReadFrom::Backlog {
        age_max_ms: Some(REJECT_OLD_SAMPLES_MAX_AGE_MS - HOUR),
        bytes_max: None,
    };
}

/// The age beyond which Loki refuses a line, unless it is told otherwise.
const REJECT_OLD_SAMPLES_MAX_AGE_MS: u64 = 7 * DAY;
/// Loki's own bound on the labels of a stream.
const LABELS_MAX: usize = 15;
/// Longest name of a tenant.
const TENANT_BYTES_MAX: usize = 150;

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut LokiSink, report: &mut Report) {
    http::check_request(section, &mut sink.http, report);
    if let Some(tenant) = section.name_or_null("tenant", report) {
        let fits = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()|".contains(c);
        if tenant.len() > TENANT_BYTES_MAX || !tenant.chars().all(fits) {
            let text =
                "not a name for a tenant; allowed are up to 150 of a-z, A-Z, 0-9 and !-_.*'()|";
            section.add("tenant", report, text);
        }
        let given = |name: &String| name.eq_ignore_ascii_case(TENANT);
        if sink.http.headers.iter().any(|(name, _)| given(name)) {
            let text = "found beside the header X-Scope-OrgID; allowed is one of them";
            section.add("tenant", report, text);
        }
        sink.tenant = Some(tenant);
    }
    if let Some(metadata) = section.switch("structured_metadata", report) {
        sink.structured_metadata = metadata;
    }
    labels(section, &mut sink.labels, report);
    let some = sink.labels.iter().filter(|(_, label)| label.is_some());
    match some.count() {
        0 => section.add(
            "labels",
            report,
            "no label is left; a stream needs one or more",
        ),
        1..=LABELS_MAX => {}
        count => {
            let text = format!("{count} labels with the default ones; allowed are {LABELS_MAX}");
            section.add("labels", report, text);
        }
    }
}

/// Puts what is under `labels` into the default ones.
fn labels(
    section: &Section<'_>,
    labels: &mut Vec<(String, Option<LokiLabel>)>,
    report: &mut Report,
) {
    let Some(entry) = section.entry("labels") else {
        return;
    };
    let path = join(&section.path, "labels");
    let known = Known::default();
    let Some(map) = Section::of(&entry.value, path, entry.place, known, report) else {
        return;
    };
    for entry in map.entries {
        if !super::remote_write::is_label_name(&entry.key) {
            let path = join(&map.path, &entry.key);
            report.add(entry.place, &path, super::remote_write::WRONG_LABEL_NAME);
            continue;
        }
        let Some(label) = label(&map, &entry.key, report) else {
            continue;
        };
        labels.retain(|(name, _)| *name != entry.key);
        labels.push((entry.key.clone(), label));
    }
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
}

/// The label under `key`; `None`, reported, if it is none.
fn label(map: &Section<'_>, key: &str, report: &mut Report) -> Option<Option<LokiLabel>> {
    let mut field = map.field(key)?;
    let fields = LokiField::ALL.map(LokiField::name).join(", ");
    field.allowed = format!("{TEXT}, {{field: FIELD}} with one of {fields}, or null");
    if field.is_null() {
        return Some(None);
    }
    if let Value::Map(entries) = &field.node.value {
        let named = match entries.as_slice() {
            [entry] if entry.key == "field" => match &entry.value.value {
                Value::Scalar(scalar) => LokiField::ALL
                    .into_iter()
                    .find(|known| known.name() == scalar.text),
                _ => None,
            },
            _ => None,
        };
        return match named {
            Some(named) => Some(Some(LokiLabel::Field(named))),
            None => field.wrong(report),
        };
    }
    match field.text() {
        Some(text) if is_name(text) => Some(Some(LokiLabel::Text(text.to_owned()))),
        _ => field.wrong(report),
    }
}

/// Writes it out.
pub(super) fn render(sink: &LokiSink, page: &mut Page) {
    http::render_request(&sink.http, page);
    page.scalar_or_null("tenant", sink.tenant.as_deref());
    page.open("labels");
    for (name, label) in &sink.labels {
        match label {
            None => page.raw(&quoted(name), "null"),
            Some(LokiLabel::Text(text)) => page.scalar(&quoted(name), text),
            Some(LokiLabel::Field(field)) => {
                page.raw(&quoted(name), format!("{{field: {}}}", field.name()));
            }
        }
    }
    page.close();
    page.raw("structured_metadata", sink.structured_metadata);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use crate::config::render;
    use crate::config::{Config, SinkKind};

    fn load(keys: &str) -> Result<Config, String> {
        let text = format!("cluster_name: blue\nsinks: {{a: {{type: loki, {keys}}}}}\n");
        let loaded = parse(&text, "f", &|_| None, "n1");
        loaded.map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
            all.join("\n")
        })
    }

    #[test]
    fn what_is_rendered_is_the_same_config() {
        for keys in [
            "url: 'http://h:3100'",
            "url: 'https://h', tenant: team-a, labels: {node: null, job: 'a \"b\"', lvl: {field: level}}, \
             structured_metadata: false, record_uid: true",
        ] {
            let config = load(keys).unwrap();
            let text = render::render(&config);
            let again = parse(&text, "f", &|_| None, "n1");
            assert_eq!(again.as_ref(), Ok(&config), "{text}");
        }
        let config = load("url: 'http://h', labels: {node: null, job: x}").unwrap();
        let SinkKind::Loki(sink) = &config.sinks[0].kind else {
            panic!("{config:?}");
        };
        let names: Vec<(&str, bool)> = sink
            .labels
            .iter()
            .map(|(name, label)| (name.as_str(), label.is_some()))
            .collect();
        assert_eq!(
            names,
            [
                ("cluster", true),
                ("container", true),
                ("job", true),
                ("namespace", true),
                ("node", false)
            ]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let many: Vec<String> = (0..20).map(|number| format!("l{number}: x")).collect();
        let many = format!("url: 'http://h', labels: {{{}}}", many.join(", "));
        let none = "url: 'http://h', labels: {cluster: null, container: null, namespace: null, node: null}";
        for (keys, wanted) in [
            ("tenant: a", "url: missing"),
            ("url: 'http://h', tenant: 'a b'", "not a name for a tenant"),
            (
                "url: 'http://h', tenant: a, headers: {x-scope-orgid: b}",
                "allowed is one of them",
            ),
            (
                "url: 'http://h', labels: {a-b: x}",
                "not a name for a label",
            ),
            (
                "url: 'http://h', labels: {a: {field: app}}",
                "{field: FIELD} with one of cluster",
            ),
            (
                "url: 'http://h', labels: {a: {file: /x}}",
                "{field: FIELD} with one of cluster",
            ),
            ("url: 'http://h', labels: {a: ''}", "printable characters"),
            ("url: 'http://h', labels: [a]", "allowed is a mapping"),
            ("url: 'http://h', compression: gzip", "unknown key here"),
            ("url: 'http://h', columns: {}", "unknown key here"),
            ("url: 'http://h', signals: [metrics]", "cannot take"),
            (&many, "allowed are 15"),
            (none, "no label is left"),
        ] {
            let mistakes = load(keys).unwrap_err();
            assert!(mistakes.contains(wanted), "{keys}: {mistakes}");
        }
    }

    #[test]
    fn requests_go_to_the_push_interface() {
        for (given, wanted) in [
            ("http://h:3100", "http://h:3100/loki/api/v1/push"),
            (
                "http://h/gateway/?a=b",
                "http://h/gateway/loki/api/v1/push?a=b",
            ),
            ("http://h/loki/api/v1/push", "http://h/loki/api/v1/push"),
            (
                "http://h/insert/loki/api/v1/push",
                "http://h/insert/loki/api/v1/push",
            ),
        ] {
            assert_eq!(
                LokiSink::new(given.to_owned(), false).requests().url,
                wanted
            );
        }
    }
}
