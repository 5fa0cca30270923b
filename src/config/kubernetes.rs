//! Who is asked about pods and the node, and how.

use std::path::Path;

use super::keys::{HOUR, Key, Known, MINUTE, Number, SECOND, SWITCH, URL_OR_NULL, key};
use super::mistake::Report;
use super::render::Page;
use super::sinks::http;
use super::substitute::Environment;
use super::walk::Section;
use super::{Auth, HttpSink, Secret, Tls};

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the agent asks the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Kubernetes {
    /// Whom.
    pub source: PodSource,
    /// How long the first lines of a chain wait for what is known of its pod.
    pub metadata_wait_ms: u64,
    /// The first request is made within this long of the start, at random.
    pub start_spread_ms: u64,
    /// How long one watch lasts; a watch that says nothing for much longer is dead.
    pub watch_timeout_ms: u64,
    /// How often the kubelet is asked.
    pub kubelet_interval_ms: u64,
    /// Whether the labels of namespaces are wanted.
    pub namespace_labels: bool,
    /// Whether the own node is wanted.
    pub node_object: bool,
    /// Whether the kubelet's certificate must be the cluster's; else any will do.
    pub kubelet_verify: bool,
    /// Requests to the API server; no URL: there is none.
    pub api: HttpSink,
    /// Requests to the kubelet; no URL: there is none.
    pub kubelet: HttpSink,
}

/// Who knows the node's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodSource {
    /// Nobody is asked: only paths count.
    #[default]
    None,
    /// The API server.
    Api,
    /// The node's kubelet.
    Kubelet,
}

impl PodSource {
    /// Its word in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            PodSource::None => "none",
            PodSource::Api => "api",
            PodSource::Kubelet => "kubelet",
        }
    }
}

impl Kubernetes {
    /// The defaults in this environment: that of a pod with a service account.
    pub fn new(env: &Environment<'_>) -> Kubernetes {
        let given = |name: &str| env(name).filter(|value| !value.is_empty());
        let api_url = given("KUBERNETES_SERVICE_HOST").map(|host| {
            let port = given("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
            format!("https://{}:{port}", bracketed(&host))
        });
        let kubelet_url = given("HOST_IP").or_else(|| given("NODE_IP"));
        let kubelet_url = kubelet_url.map(|host| format!("https://{}:10250", bracketed(&host)));
        Kubernetes {
            source: PodSource::None,
            metadata_wait_ms: 5_000,
            start_spread_ms: 3_000,
            watch_timeout_ms: 150_000,
            kubelet_interval_ms: 10_000,
            namespace_labels: false,
            node_object: true,
            kubelet_verify: true,
            api: of_service_account(api_url),
            kubelet: of_service_account(kubelet_url),
        }
    }
}

/// An address of IP version 6 as a URL has it.
fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

fn of_service_account(url: Option<String>) -> HttpSink {
    let file = |name: &str| Path::new(SERVICE_ACCOUNT).join(name);
    let mut http = HttpSink::new(url.unwrap_or_default());
    // Requests are rare, and one on a connection that died while it was idle would wait for long.
    http.keep_alive_ms = 0;
    http.auth = Auth::Bearer(Secret::File(file("token")));
    http.tls = Tls {
        ca_file: Some(file("ca.crt")),
        ..Tls::default()
    };
    http
}

/// `kubernetes`, without numbers.
pub static KUBERNETES: [Key; 5] = [
    key("source", "none, api or kubelet"),
    key("namespace_labels", SWITCH),
    key("node_object", SWITCH),
    key("api", "a mapping"),
    key("kubelet", "a mapping"),
];

/// Numbers of `kubernetes`.
pub static KUBERNETES_NUMBERS: [Number<Kubernetes>; 4] = [
    Number::new(
        "metadata_wait_ms",
        (0, MINUTE),
        |kubernetes| kubernetes.metadata_wait_ms,
        |kubernetes, value| kubernetes.metadata_wait_ms = value,
    ),
    Number::new(
        "start_spread_ms",
        (0, 10 * MINUTE),
        |kubernetes| kubernetes.start_spread_ms,
        |kubernetes, value| kubernetes.start_spread_ms = value,
    ),
    Number::new(
        "watch_timeout_ms",
        (2 * SECOND, HOUR),
        |kubernetes| kubernetes.watch_timeout_ms,
        |kubernetes, value| kubernetes.watch_timeout_ms = value,
    ),
    Number::new(
        "kubelet_interval_ms",
        (SECOND, 10 * MINUTE),
        |kubernetes| kubernetes.kubelet_interval_ms,
        |kubernetes, value| kubernetes.kubelet_interval_ms = value,
    ),
];

/// `kubernetes.api`, beside what an HTTP request needs.
static OF_THE_API: [Key; 1] = [key("url", URL_OR_NULL)];

/// `kubernetes.kubelet`, beside what an HTTP request needs.
static OF_THE_KUBELET: [Key; 2] = [key("url", URL_OR_NULL), key("verify", SWITCH)];

fn known() -> Known {
    Known::of(&KUBERNETES).numbers(&KUBERNETES_NUMBERS)
}

fn of_requests() -> Known {
    let others = ["url", "azure_auth", "basic", "headers"];
    http::request_keys().only(|name| !others.contains(&name))
}

/// The keys, by place.
pub(super) fn places() -> Vec<(&'static str, Known)> {
    vec![
        ("kubernetes", known()),
        ("kubernetes.api", Known::of(&OF_THE_API)),
        ("kubernetes.kubelet", Known::of(&OF_THE_KUBELET)),
    ]
}

/// Fills in `kubernetes`.
pub(super) fn check(top: &Section<'_>, into: &mut Kubernetes, report: &mut Report) {
    let Some(section) = top.section("kubernetes", known(), report) else {
        return;
    };
    let sources = [PodSource::None, PodSource::Api, PodSource::Kubelet];
    let sources = sources.map(|source| (source.as_str(), source));
    if let Some(source) = section.choice("source", &sources, report) {
        into.source = source;
    }
    for (key, switch) in [
        ("namespace_labels", &mut into.namespace_labels),
        ("node_object", &mut into.node_object),
    ] {
        if let Some(on) = section.switch(key, report) {
            *switch = on;
        }
    }
    section.numbers(&KUBERNETES_NUMBERS, into, report);
    let keys = of_requests().and(Known::of(&OF_THE_API));
    requests(&section, "api", keys, &mut into.api, report);
    let keys = of_requests().and(Known::of(&OF_THE_KUBELET));
    if let Some(kubelet) = requests(&section, "kubelet", keys, &mut into.kubelet, report)
        && let Some(verify) = kubelet.switch("verify", report)
    {
        into.kubelet_verify = verify;
    }
    let (place, url) = match into.source {
        PodSource::None => return,
        PodSource::Api => ("kubernetes.api.url", &into.api.url),
        PodSource::Kubelet => ("kubernetes.kubelet.url", &into.kubelet.url),
    };
    if url.is_empty() {
        let why = match into.source {
            PodSource::Kubelet => "HOST_IP (status.hostIP by the downward API)",
            _ => "KUBERNETES_SERVICE_HOST",
        };
        let text = format!("nobody to ask: set {place}, or run where {why} is set");
        section.add("source", report, text);
    }
}

fn requests<'n>(
    section: &Section<'n>,
    key: &str,
    known: Known,
    into: &mut HttpSink,
    report: &mut Report,
) -> Option<Section<'n>> {
    let inner = section.section(key, known, report)?;
    if inner.field("url").is_some_and(|field| !field.is_null()) {
        let is_plain = |url: &str| url.starts_with("http://");
        if let Some(url) = inner.field("url")
            && let Some(url) = http::url_in(&url, report)
        {
            if is_plain(&url) {
                // Trust has no meaning there, and a token must not be shown to whoever listens.
                into.tls = Tls::default();
                into.auth = Auth::None;
            }
            into.url = url;
        }
    }
    http::check_but_url(&inner, into, report);
    Some(inner)
}

/// Writes it out.
pub(super) fn render(kubernetes: &Kubernetes, page: &mut Page) {
    page.open("kubernetes");
    page.raw("source", kubernetes.source.as_str());
    page.raw("namespace_labels", kubernetes.namespace_labels);
    page.raw("node_object", kubernetes.node_object);
    page.numbers(&KUBERNETES_NUMBERS, kubernetes);
    for (key, http) in [("api", &kubernetes.api), ("kubelet", &kubernetes.kubelet)] {
        page.open(key);
        page.scalar_or_null("url", Some(http.url.as_str()).filter(|url| !url.is_empty()));
        http::render_of_the_cluster(http, page);
        if key == "kubelet" {
            page.raw("verify", kubernetes.kubelet_verify);
        }
        page.close();
    }
    page.close();
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::render::render;
    use super::*;

    const SINKS: &str = "sinks: {a: {type: blackhole}}\n";

    fn in_pod(name: &str) -> Option<String> {
        let value = match name {
            "KUBERNETES_SERVICE_HOST" => "fd00::1",
            "KUBERNETES_SERVICE_PORT" => "6443",
            "HOST_IP" => "10.0.0.4",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn kubernetes(text: &str) -> Kubernetes {
        let text = format!("{SINKS}kubernetes: {text}\n");
        let config = parse(&text, "f", &in_pod, "n1").unwrap();
        let again = parse(&render(&config), "f", &in_pod, "n1").unwrap();
        assert_eq!(again.kubernetes, config.kubernetes);
        config.kubernetes
    }

    #[test]
    fn a_pod_needs_no_more_than_the_source() {
        let api = kubernetes("{source: api}");
        assert_eq!(api.api.url, "https://[fd00::1]:6443");
        assert_eq!(api.kubelet.url, "https://10.0.0.4:10250");
        let token = Secret::File("/var/run/secrets/kubernetes.io/serviceaccount/token".into());
        assert_eq!(api.api.auth, Auth::Bearer(token));
        let ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
        assert_eq!(api.api.tls.ca_file.as_deref(), Some(Path::new(ca)));
    }

    #[test]
    fn a_token_is_not_shown_where_anybody_can_read_it() {
        let plain = kubernetes("{source: api, api: {url: 'http://127.0.0.1:8001'}}");
        assert_eq!(plain.api.auth, Auth::None);
        assert_eq!(plain.api.tls, Tls::default());
        let kubelet = kubernetes("{source: kubelet, kubelet: {verify: false}}");
        assert!(!kubelet.kubelet_verify);
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = format!(
            "{SINKS}kubernetes:\n  source: kubelet\n  metadata_wait_ms: 1h\n  api: {{basic: {{}}, url: x}}\n"
        );
        let mistakes = parse(&text, "f", &|_| None, "n1").unwrap_err();
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let wanted = [
            "kubernetes.source: nobody to ask: set kubernetes.kubelet.url",
            "kubernetes.metadata_wait_ms: found",
            "kubernetes.api.basic: unknown key here",
            "kubernetes.api.url: ",
        ];
        for wanted in wanted {
            assert!(
                mistakes.iter().any(|it| it.contains(wanted)),
                "{wanted}: {mistakes:#?}"
            );
        }
    }
}
