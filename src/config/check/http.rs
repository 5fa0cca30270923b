//! Keys of the type `http`. Most of them hold secrets: no value is shown in a mistake.

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use crate::config::keys::{BASIC, HTTP_NUMBERS, Known, TLS};
use crate::config::mistake::Report;
use crate::config::walk::{Field, Section, absolute, is_name};
use crate::config::yaml::{Value, join};
use crate::config::{Auth, HttpSink, Secret};

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

/// Fills in `http`.
pub(super) fn check(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    section.numbers(&HTTP_NUMBERS, http, report);
    url(section, http, report);
    if let Some(field) = section.field("metrics_url")
        && !field.is_null()
        && let Some(url) = url_in(&field, report)
    {
        http.metrics_url = Some(url);
    }
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
pub(super) fn url_in(field: &Field<'_>, report: &mut Report) -> Option<String> {
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
pub(super) fn wrong_url(text: &str) -> Option<&'static str> {
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
    if authorized && (section.entry("bearer_token").is_some() || section.entry("basic").is_some()) {
        let text = "found Authorization beside bearer_token or basic; allowed is one of them";
        report.add(map.place, &map.path, text);
    }
}

/// A text that fits into a header, or a file that will hold one.
fn secret(field: &Field<'_>, report: &mut Report) -> Option<Secret> {
    if let Value::Map(entries) = &field.node.value {
        let [entry] = entries.as_slice() else {
            return field.wrong_hidden(report);
        };
        let path = match &entry.value.value {
            Value::Refused => return None,
            Value::Scalar(scalar) if entry.key == "file" => absolute(&scalar.text),
            _ => None,
        };
        return path
            .map(Secret::File)
            .or_else(|| field.wrong_hidden(report));
    }
    let fits = |text: &&str| !text.is_empty() && HeaderValue::from_str(text).is_ok();
    match field.text().filter(fits) {
        Some(text) => Some(Secret::Literal(text.to_owned())),
        None => field.wrong_hidden(report),
    }
}

fn auth(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let token = section.field("bearer_token");
    if let Some(token) = token.as_ref().and_then(|field| secret(field, report)) {
        http.auth = Auth::Bearer(token);
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

fn tls(section: &Section<'_>, http: &mut HttpSink, report: &mut Report) {
    let Some(inner) = section.section("tls", Known::of(&TLS), report) else {
        return;
    };
    let tls = &mut http.tls;
    tls.ca_file = inner.path_or_null("ca_file", report);
    tls.certificate_file = inner.path_or_null("certificate_file", report);
    tls.key_file = inner.path_or_null("key_file", report);
    let given = |key: &str| inner.field(key).is_some_and(|field| !field.is_null());
    for (one, other) in [
        ("certificate_file", "key_file"),
        ("key_file", "certificate_file"),
    ] {
        if given(one) && !given(other) {
            inner.missing(other, report);
        }
    }
    let any = ["ca_file", "certificate_file", "key_file"]
        .into_iter()
        .any(given);
    let is_plain = |url: &str| url.to_ascii_lowercase().starts_with("http://");
    if any && (is_plain(&http.url) || http.metrics_url.as_deref().is_some_and(is_plain)) {
        let text = "has no effect with an http:// URL; use https:// or leave it out";
        report.add(inner.place, &inner.path, text);
    }
}
