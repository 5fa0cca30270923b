//! Type `http`, and what every other has that speaks HTTP: where to, as whom, trusting whom. Most of it may be secret: no
//! value is shown in a mistake.

pub mod azure;
pub mod preset;

use std::path::PathBuf;

use hyper::Uri;
use hyper::header::HeaderName;

use self::azure::AzureAuth;
use self::preset::Preset;
use crate::config::Secret;
use crate::config::keys::{HOUR, Key, Known, MINUTE, Number, PATH_OR_NULL, URL, URL_OR_NULL, key};
use crate::config::mistake::Report;
use crate::config::render::{Page, quoted};
use crate::config::secret::{SECRET, secret};
use crate::config::walk::{Field, Section, is_name};
use crate::config::yaml::join;
use crate::config::{Sink, SinkKind};

/// HTTP POST.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSink {
    /// A receiver whose ways are known.
    pub preset: Option<Preset>,
    /// `http://` or `https://`.
    pub url: String,
    /// Where rows of metrics go, if elsewhere.
    pub metrics_url: Option<String>,
    /// Further request headers.
    pub headers: Vec<(String, Secret)>,
    /// How to authenticate.
    pub auth: Auth,
    /// Trust.
    pub tls: Tls,
    /// Limit on connecting, TLS included.
    pub connect_timeout_ms: u64,
    /// Limit on one request, from its first byte to the answer's last.
    pub request_timeout_ms: u64,
    /// An idle connection is closed after this long.
    pub keep_alive_ms: u64,
}

/// How to authenticate.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: Bearer` with a token of Microsoft Entra.
    Azure(AzureAuth),
    /// `Authorization` with a scheme of the sink's protocol.
    Scheme {
        /// The setting that holds the token.
        key: &'static str,
        /// The word before it.
        scheme: &'static str,
        /// The token.
        token: Secret,
    },
}

/// TLS trust and identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM bundle trusted in place of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM key of the client certificate.
    pub key_file: Option<PathBuf>,
}

impl HttpSink {
    /// POST to `url`, all else by default.
    pub fn new(url: String) -> HttpSink {
        HttpSink {
            preset: None,
            url,
            metrics_url: None,
            headers: Vec::new(),
            auth: Auth::None,
            tls: Tls::default(),
            connect_timeout_ms: 5_000,
            request_timeout_ms: 30_000,
            keep_alive_ms: 60_000,
        }
    }
}

/// Without numbers, and for a sink alone: whose receiver it is, and where rows of metrics go.
static OF_A_SINK: [Key; 2] = [
    key("preset", "datadog, victorialogs or null"),
    key("metrics_url", URL_OR_NULL),
];

/// Without numbers.
static KEYS: [Key; 6] = [
    key("url", URL),
    key(
        "headers",
        "a mapping of header names to texts or {file: PATH}",
    ),
    key("bearer_token", SECRET),
    key("basic", "a mapping with user and password"),
    key(
        "azure_auth",
        "a mapping with one of client_secret, managed_identity and workload_identity",
    ),
    key("tls", "a mapping"),
];

/// Numbers of type `http`.
static NUMBERS: [Number<HttpSink>; 3] = [
    Number::new(
        "connect_timeout_ms",
        (100, MINUTE),
        |http| http.connect_timeout_ms,
        |http, value| http.connect_timeout_ms = value,
    ),
    Number::new(
        "request_timeout_ms",
        (100, 10 * MINUTE),
        |http| http.request_timeout_ms,
        |http, value| http.request_timeout_ms = value,
    ),
    Number::new(
        "keep_alive_ms",
        (0, HOUR),
        |http| http.keep_alive_ms,
        |http, value| http.keep_alive_ms = value,
    ),
];

/// `basic`.
static BASIC: [Key; 2] = [key("user", "a text without colon"), key("password", SECRET)];

/// `tls`.
static TLS: [Key; 3] = [
    key("ca_file", PATH_OR_NULL),
    key("certificate_file", PATH_OR_NULL),
    key("key_file", PATH_OR_NULL),
];

/// The keys of the type alone.
pub fn keys() -> Known {
    request_keys().and(Known::of(&OF_A_SINK))
}

/// The keys of whatever makes requests.
pub fn request_keys() -> Known {
    Known::of(&KEYS).numbers(&NUMBERS)
}

/// The keys of the mappings under them: `basic`, `azure_auth`, `tls`.
pub fn inner_keys() -> Vec<(&'static str, Known)> {
    let mut places = vec![
        ("sinks.NAME.basic", Known::of(&BASIC)),
        ("sinks.NAME.tls", Known::of(&TLS)),
    ];
    places.extend(azure::places());
    places
}

/// Most further headers of one sink.
const HEADERS_MAX: usize = 64;

/// Headers that say how the body lies on the wire; they are the client's.
const HEADERS_OF_THE_CLIENT: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut HttpSink, report: &mut Report) {
    if !section.field("preset").is_some_and(|field| field.is_null()) {
        let presets = Preset::ALL.map(|preset| (preset.name(), preset));
        sink.preset = section.choice("preset", &presets, report);
    }
    if let Some(field) = section.field("metrics_url")
        && !field.is_null()
        && let Some(url) = url_in(&field, report)
    {
        sink.metrics_url = Some(url);
    }
    match sink.preset.and_then(Preset::url) {
        Some(url) if section.entry("url").is_none() => url.clone_into(&mut sink.url),
        _ => url(section, sink, report),
    }
    check_but_url(section, sink, report);
    if let Some(preset) = sink.preset {
        preset.complete(section, sink, report);
    }
}

/// Fills in what every request has.
pub fn check_request(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    url(section, http, report);
    check_but_url(section, http, report);
}

/// Fills in what every request has, to a URL that is known.
pub(in crate::config) fn check_but_url(
    section: &Section<'_>,
    http: &mut HttpSink,
    report: &mut Report,
) {
    section.numbers(&NUMBERS, http, report);
    headers(section, http, report);
    auth(section, http, report);
    tls(section, http, report);
}

fn url(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let Some(field) = section.field("url") else {
        section.missing("url", report);
        return;
    };
    if let Some(url) = url_in(&field, report) {
        http.url = url;
    }
}

/// A URL that can be posted to.
pub fn url_in(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let Some(text) = field.text() else {
        return field.wrong_hidden(report);
    };
    let Some(wrong) = wrong_url(text) else {
        return Some(text.to_owned());
    };
    let text = format!(
        "{wrong}; allowed is {} (the value is not shown)",
        field.allowed
    );
    report.add(field.place, &field.path, text);
    None
}

/// What is wrong with a URL.
pub fn wrong_url(text: &str) -> Option<&'static str> {
    if text.contains('#') {
        return Some("the URL has a fragment");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return Some("not a URL");
    };
    let Some(authority) = uri.authority() else {
        return Some("the URL has no host");
    };
    let after_host = authority.as_str().rsplit_once(':').map(|(_, port)| port);
    let port_is_wrong = authority.port_u16().is_none_or(|port| port == 0);
    if authority.as_str().contains('@') {
        Some("the URL has a user; use basic")
    } else if authority.host().is_empty() {
        Some("the URL has no host")
    } else if !matches!(uri.scheme_str(), Some("http" | "https")) {
        Some("the URL is neither http:// nor https://")
    } else if port_is_wrong && after_host.is_some_and(|after| !after.ends_with(']')) {
        Some("the URL's port is not a number from 1 to 65535")
    } else {
        None
    }
}

fn headers(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let Some(entry) = section.entry("headers") else {
        return;
    };
    let path = join(&section.path, "headers");
    let known = Known::default();
    let Some(map) = Section::of(&entry.value, path, entry.place, known, report) else {
        return;
    };
    if map.entries.len() > HEADERS_MAX {
        let text = format!("found {}; allowed are {HEADERS_MAX}", map.entries.len());
        report.add(map.place, &map.path, text);
    }
    let mut names: Vec<String> = Vec::new();
    for entry in map.entries.iter().take(HEADERS_MAX) {
        let path = join(&map.path, &entry.key);
        let name = entry.key.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            report.add(entry.place, &path, "not a name that a header may have");
        } else if HEADERS_OF_THE_CLIENT.contains(&name.as_str()) {
            report.add(entry.place, &path, "set by the agent itself; leave it out");
        } else if names.contains(&name) {
            report.add(entry.place, &path, "given twice (case does not matter)");
        }
        names.push(name);
        let field = Field {
            path,
            place: entry.value.place,
            node: &entry.value,
            allowed: "a text that a header may have, or {file: PATH} with an absolute path"
                .to_owned(),
        };
        if let Some(value) = secret(&field, report) {
            http.headers.push((entry.key.clone(), value));
        }
    }
    let authorized = names.iter().any(|name| name == "authorization");
    let ways = ["bearer_token", "basic", "azure_auth"];
    if authorized && ways.iter().any(|way| section.entry(way).is_some()) {
        let text =
            "found Authorization beside bearer_token, basic or azure_auth; allowed is one of them";
        report.add(map.place, &map.path, text);
    }
}

fn auth(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let token = section.field("bearer_token");
    if let Some(token) = token.as_ref().and_then(|field| secret(field, report)) {
        http.auth = Auth::Bearer(token);
    }
    if let Some(azure) = section.entry("azure_auth") {
        if token.is_some() || section.entry("basic").is_some() {
            let text = "found beside bearer_token or basic; allowed is one of them";
            let path = join(&section.path, "azure_auth");
            report.add(azure.place, &path, text);
        }
        if let Some(azure) = azure::check(section, report) {
            http.auth = Auth::Azure(azure);
        }
    }
    let Some(basic) = section.section("basic", Known::of(&BASIC), report) else {
        return;
    };
    if token.is_some() {
        let text = "found beside bearer_token; allowed is one of them";
        report.add(basic.place, &basic.path, text);
    }
    for key in ["user", "password"] {
        if basic.entry(key).is_none() {
            basic.missing(key, report);
        }
    }
    let password = basic.field("password");
    let password = password.and_then(|field| secret(&field, report));
    let user = basic.field("user");
    // A colon would end the user's name (RFC 7617, section 2).
    let fits = |text: &&str| is_name(text) && !text.contains(':');
    let user = user.and_then(|field| match field.text().filter(fits) {
        Some(user) => Some(user.to_owned()),
        None => field.wrong_hidden(report),
    });
    if let (Some(user), Some(password)) = (user, password) {
        http.auth = Auth::Basic { user, password };
    }
}

/// A token under `key` that is sent with `scheme`, in place of `bearer_token` and `basic`.
pub(super) fn scheme(
    section: &Section<'_>,
    (key, scheme): (&'static str, &'static str),
    http: &mut HttpSink,
    report: &mut Report,
) {
    let Some(field) = section.field(key) else {
        return;
    };
    if http.auth != Auth::None {
        let text = "found beside bearer_token or basic; allowed is one of them";
        report.add(field.place, &field.path, text);
    }
    let named = |name: &String| name.eq_ignore_ascii_case("authorization");
    if http.headers.iter().any(|(name, _)| named(name)) {
        let text = "found beside the header Authorization; allowed is one of them";
        report.add(field.place, &field.path, text);
    }
    if let Some(token) = secret(&field, report) {
        http.auth = Auth::Scheme { key, scheme, token };
    }
}

fn tls(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let Some(inner) = section.section("tls", Known::of(&TLS), report) else {
        return;
    };
    http.tls = tls_files_of(&inner, report);
    let given = |key: &str| inner.field(key).is_some_and(|field| !field.is_null());
    let any = ["ca_file", "certificate_file", "key_file"]
        .into_iter()
        .any(given);
    let is_plain = |url: &str| url.to_ascii_lowercase().starts_with("http://");
    if any && (is_plain(&http.url) || http.metrics_url.as_deref().is_some_and(is_plain)) {
        let text = "has no effect with an http:// URL; use https:// or leave it out";
        report.add(inner.place, &inner.path, text);
    }
}

/// The files of the mapping under `tls`.
pub fn tls_files(section: &Section<'_>, report: &mut Report) -> Tls {
    match section.section("tls", Known::of(&TLS), report) {
        Some(inner) => tls_files_of(&inner, report),
        None => Tls::default(),
    }
}

fn tls_files_of(inner: &Section<'_>, report: &mut Report) -> Tls {
    let given = |key: &str| inner.field(key).is_some_and(|field| !field.is_null());
    for (one, other) in [
        ("certificate_file", "key_file"),
        ("key_file", "certificate_file"),
    ] {
        if given(one) && !given(other) {
            inner.missing(other, report);
        }
    }
    Tls {
        ca_file: inner.path_or_null("ca_file", report),
        certificate_file: inner.path_or_null("certificate_file", report),
        key_file: inner.path_or_null("key_file", report),
    }
}

/// What the preset knows of its receiver.
pub(super) fn preset(sink: &mut Sink) {
    if let SinkKind::Http(http) = &sink.kind
        && let Some(preset) = http.preset
    {
        preset.apply(sink);
    }
}

/// Writes it out.
pub(super) fn render(sink: &HttpSink, page: &mut Page) {
    match sink.preset {
        Some(preset) => page.raw("preset", preset.name()),
        None => page.raw("preset", "null"),
    }
    page.scalar_or_null("metrics_url", sink.metrics_url.as_deref());
    render_request(sink, page);
}

/// Writes out what every request has.
pub(in crate::config) fn render_request(http: &HttpSink, page: &mut Page) {
    page.scalar("url", &http.url);
    render_but_url(http, page);
}

/// Writes out what every request has, to a URL that is written otherwise.
pub(super) fn render_but_url(http: &HttpSink, page: &mut Page) {
    if http.headers.is_empty() {
        page.raw("headers", "{}");
    } else {
        page.open("headers");
        for (name, value) in &http.headers {
            page.secret(&quoted(name), value);
        }
        page.close();
    }
    match &http.auth {
        Auth::None => {}
        Auth::Bearer(token) => page.secret("bearer_token", token),
        Auth::Basic { user, password } => {
            page.open("basic");
            page.scalar("user", user);
            page.secret("password", password);
            page.close();
        }
        Auth::Azure(auth) => azure::render(auth, page),
        Auth::Scheme { key, token, .. } => page.secret(key, token),
    }
    render_tls(&http.tls, page);
    page.numbers(&NUMBERS, http);
}

/// Writes out what requests to the cluster have beside their URL.
pub(in crate::config) fn render_of_the_cluster(http: &HttpSink, page: &mut Page) {
    if let Auth::Bearer(token) = &http.auth {
        page.secret("bearer_token", token);
    }
    render_tls(&http.tls, page);
    page.numbers(&NUMBERS, http);
}

/// Writes out the mapping `tls`.
pub(super) fn render_tls(tls: &Tls, page: &mut Page) {
    page.open("tls");
    for (key, file) in [
        ("ca_file", &tls.ca_file),
        ("certificate_file", &tls.certificate_file),
        ("key_file", &tls.key_file),
    ] {
        let file = file.as_ref().map(|file| file.to_string_lossy());
        page.scalar_or_null(key, file.as_deref());
    }
    page.close();
}
