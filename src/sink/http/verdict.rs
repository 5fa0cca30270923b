//! What an answer, or the lack of one, means: pure functions, no I/O.
//!
//! Invariant: whatever a server says, the result is one [`Verdict`] whose code is from the fixed set below and whose
//! text has no control characters.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | `Accepted` |
//! | 408, 429, 5xx | `Retry`, not before `Retry-After` |
//! | 413 | `Split` |
//! | 400, 422 | `Bisect` |
//! | everything else: 1xx, 3xx, 401, 403, 404, 415, ... | `Pause`: a person must mend it, the data stays in the files |
//! | no connection, no name, reset, timeout | `Retry` |
//! | a certificate that is not trusted, no common TLS, not HTTP at all, a proxy that wants other credentials, files that cannot be read | `Pause` |

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};
use hyper::{StatusCode, Uri};

use crate::sink::{Reason, Verdict};

/// A server may ask for more; it gets this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How much of the answer's first line goes into the text.
const LINE_CHARS_MAX: usize = 240;

/// How much of a URL goes into the text.
const URL_CHARS_MAX: usize = 180;

/// Why no answer was had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason's code.
    pub code: &'static str,
    /// What happened.
    pub text: String,
    /// Whether a person must mend it.
    pub pause: bool,
}

impl Failure {
    /// One that may pass by itself.
    pub fn passing(code: &'static str, text: impl Into<String>) -> Failure {
        Failure {
            code,
            text: text.into(),
            pause: false,
        }
    }

    /// One that a person must mend.
    pub fn lasting(code: &'static str, text: impl Into<String>) -> Failure {
        Failure {
            code,
            text: text.into(),
            pause: true,
        }
    }

    /// The attempt was cut short on our side.
    pub fn cancelled() -> Failure {
        Failure::passing("cancelled", "cancelled before the answer was there")
    }
}

/// The verdict on an attempt that got no answer. `what` is method and URL, as [`shown_url`] makes it.
pub fn fail(what: &str, failure: &Failure) -> Verdict {
    let reason = Reason::new(
        failure.code,
        format!("{what}: {}", without_control(&failure.text)),
    );
    if failure.pause {
        Verdict::Pause(reason)
    } else {
        Verdict::Retry {
            after: None,
            reason,
        }
    }
}

/// An answer to judge.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Method and URL, as [`shown_url`] makes it.
    pub what: &'a str,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What came behind its body; none in HTTP/1.1 as we speak it.
    pub trailers: &'a HeaderMap,
    /// The beginning of its body.
    pub head: &'a [u8],
    /// Whether that is all of the body.
    pub whole: bool,
    /// The wall clock, against which a date in `Retry-After` is measured.
    pub now: SystemTime,
}

/// The verdict on an answer.
pub fn judge(answer: &Answer<'_>) -> Verdict {
    let Answer {
        what,
        status,
        headers,
        head,
        now,
        ..
    } = *answer;
    if status.is_success() {
        return Verdict::Accepted;
    }
    let mut text = format!("{what}: {}", shown_status(status));
    if let Some(target) = headers.get(LOCATION).filter(|_| status.is_redirection()) {
        let target = String::from_utf8_lossy(target.as_bytes()).parse::<Uri>();
        let target = target.map_or("somewhere else".to_string(), |uri| shown_url(&uri));
        text.push_str(&format!(", points to {target}, which is not followed"));
    }
    let line = first_line(head);
    if !line.is_empty() {
        text.push_str(": ");
        text.push_str(&line);
    }
    let reason = Reason::new(code_of(status), text);
    match status.as_u16() {
        408 | 429 | 500..=599 => Verdict::Retry {
            after: retry_after(headers, now),
            reason,
        },
        413 => Verdict::Split(reason),
        400 | 422 => Verdict::Bisect(reason),
        _ => Verdict::Pause(reason),
    }
}

/// A status and its name.
pub fn shown_status(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(name) => format!("{} {name}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3); `None` for a wait that is over or unreadable.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are a very long time all the same.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .ok()?
    };
    (!wait.is_zero()).then_some(wait.min(RETRY_AFTER_MAX))
}

/// The code of a status: its own for those that are met in practice, else its class.
pub fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        301 => "http_301",
        302 => "http_302",
        303 => "http_303",
        307 => "http_307",
        308 => "http_308",
        400 => "http_400",
        401 => "http_401",
        403 => "http_403",
        404 => "http_404",
        405 => "http_405",
        407 => "http_407",
        408 => "http_408",
        409 => "http_409",
        410 => "http_410",
        411 => "http_411",
        413 => "http_413",
        415 => "http_415",
        421 => "http_421",
        422 => "http_422",
        429 => "http_429",
        431 => "http_431",
        500 => "http_500",
        501 => "http_501",
        502 => "http_502",
        503 => "http_503",
        504 => "http_504",
        507 => "http_507",
        other => match other / 100 {
            1 => "http_1xx",
            3 => "http_3xx",
            4 => "http_4xx",
            5 => "http_5xx",
            _ => "http_other",
        },
    }
}

/// A URL without what may be secret in it: no user information, no query.
pub fn shown_url(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let scheme = uri
        .scheme_str()
        .map_or(String::new(), |scheme| format!("{scheme}://"));
    let query = if uri.query().is_some() { "?..." } else { "" };
    let shown = format!("{scheme}{host}{}", without_control(uri.path()));
    shown.chars().take(URL_CHARS_MAX).collect::<String>() + query
}

fn first_line(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let line = head
        .split(['\n', '\r'])
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    without_control(line).chars().take(LINE_CHARS_MAX).collect()
}

/// The text without control characters, for messages.
pub fn without_control(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests;
