use std::time::UNIX_EPOCH;

use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

const WHAT: &str = "POST http://sink/rows";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn answered(status: u16, headers: &[(&'static str, &str)], head: &[u8]) -> Verdict {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    judge(&Answer {
        what: WHAT,
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map,
        trailers: &HeaderMap::new(),
        head,
        whole: true,
        now: now(),
    })
}

/// A verdict as (kind, code, wait).
fn row(verdict: &Verdict) -> (&'static str, &'static str, Option<Duration>) {
    match verdict {
        Verdict::Accepted => ("accepted", "", None),
        Verdict::Retry { after, reason } => ("retry", reason.code, *after),
        Verdict::Split(reason) => ("split", reason.code, None),
        Verdict::Bisect(reason) => ("bisect", reason.code, None),
        Verdict::Pause(reason) => ("pause", reason.code, None),
        Verdict::AcceptedExcept { .. } => ("accepted_except", "", None),
        Verdict::Items(_) => ("items", "", None),
    }
}

#[test]
fn each_status_has_its_verdict() {
    for (status, kind, code) in [
        (200, "accepted", ""),
        (201, "accepted", ""),
        (202, "accepted", ""),
        (204, "accepted", ""),
        (299, "accepted", ""),
        (400, "bisect", "http_400"),
        (422, "bisect", "http_422"),
        (413, "split", "http_413"),
        (408, "retry", "http_408"),
        (429, "retry", "http_429"),
        (500, "retry", "http_500"),
        (501, "retry", "http_501"),
        (503, "retry", "http_503"),
        (599, "retry", "http_5xx"),
        (101, "pause", "http_1xx"),
        (301, "pause", "http_301"),
        (304, "pause", "http_3xx"),
        (307, "pause", "http_307"),
        (401, "pause", "http_401"),
        (402, "pause", "http_4xx"),
        (403, "pause", "http_403"),
        (404, "pause", "http_404"),
        (405, "pause", "http_405"),
        (407, "pause", "http_407"),
        (409, "pause", "http_409"),
        (415, "pause", "http_415"),
        (418, "pause", "http_4xx"),
        (600, "pause", "http_other"),
        (999, "pause", "http_other"),
    ] {
        let verdict = answered(status, &[], b"");
        assert_eq!(row(&verdict), (kind, code, None), "{status}");
    }
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let date = |moment| httpdate::fmt_http_date(moment);
    let seconds = Duration::from_secs;
    for (value, wait) in [
        ("7".to_string(), Some(seconds(7))),
        (" 7 ".to_string(), Some(seconds(7))),
        ("0".to_string(), None),
        ("-5".to_string(), None),
        ("1.5".to_string(), None),
        ("soon".to_string(), None),
        (String::new(), None),
        ("301".to_string(), Some(RETRY_AFTER_MAX)),
        ("9".repeat(40), Some(RETRY_AFTER_MAX)),
        (date(now() + seconds(90)), Some(seconds(90))),
        (date(now() + seconds(90_000)), Some(RETRY_AFTER_MAX)),
        (date(now()), None),
        (date(now() - seconds(90)), None),
    ] {
        for status in [408, 429, 503] {
            let verdict = answered(status, &[("retry-after", &value)], b"");
            assert_eq!(row(&verdict).2, wait, "{status} {value:?}");
        }
    }
    let verdict = answered(404, &[("retry-after", "7")], b"");
    assert_eq!(row(&verdict), ("pause", "http_404", None));
}

fn text_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Retry { reason, .. }
        | Verdict::Split(reason)
        | Verdict::Bisect(reason)
        | Verdict::Pause(reason) => reason.text,
        Verdict::Accepted | Verdict::AcceptedExcept { .. } | Verdict::Items(_) => String::new(),
    }
}

#[test]
fn the_text_says_what_was_asked_and_what_came_back() {
    let text = text_of(answered(
        404,
        &[],
        b"\r\n\n  no such\x1b[2J table \nstack trace",
    ));
    assert_eq!(
        text,
        "POST http://sink/rows: 404 Not Found: no such[2J table"
    );
    assert_eq!(
        text_of(answered(599, &[], b"")),
        "POST http://sink/rows: 599"
    );
    let text = text_of(answered(
        302,
        &[("location", "https://u:p@other/login?token=abc")],
        b"",
    ));
    assert!(
        text.contains("points to https://other/login?..., "),
        "{text}"
    );
    assert!(!text.contains("abc") && !text.contains("u:p"), "{text}");
}

#[test]
fn a_url_is_shown_without_what_may_be_secret() {
    let shown = |url: &str| shown_url(&url.parse().unwrap());
    assert_eq!(shown("https://h:8443/a/b"), "https://h:8443/a/b");
    assert_eq!(shown("https://me:secret@h/a?sig=secret"), "https://h/a?...");
    assert_eq!(shown("/relative?x"), "/relative?...");
    let long = shown(&format!("http://h/{}?secret", "a".repeat(4_000)));
    assert_eq!(long.len(), URL_CHARS_MAX + "?...".len());
}

#[test]
fn a_failure_pauses_only_when_a_person_must_mend_it() {
    let passing = fail(WHAT, &Failure::passing("connect", "refused\n"));
    assert_eq!(row(&passing), ("retry", "connect", None));
    assert_eq!(text_of(passing), "POST http://sink/rows: refused");
    let lasting = fail(WHAT, &Failure::lasting("tls_certificate", "expired"));
    assert_eq!(row(&lasting), ("pause", "tls_certificate", None));
}

proptest! {
    /// Invariant: whatever a server answers, only 2xx is acceptance, only 408, 429 and 5xx are tried again as they
    /// are, only 400 and 422 can cost a record, and the text is bounded and free of control characters.
    #[test]
    fn no_answer_breaks_the_table(
        status in 100_u16..=999,
        wait in proptest::option::of("[ -~]{0,40}"),
        head in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let headers: Vec<_> = wait.iter().map(|wait| ("retry-after", wait.as_str())).collect();
        let verdict = answered(status, &headers, &head);
        let (kind, code, wait) = row(&verdict);
        let expected = match status {
            200..=299 => "accepted",
            408 | 429 | 500..=599 => "retry",
            413 => "split",
            400 | 422 => "bisect",
            _ => "pause",
        };
        prop_assert_eq!(kind, expected);
        prop_assert!(kind == "accepted" || code.starts_with("http_"));
        prop_assert!(wait.is_none_or(|wait| !wait.is_zero() && wait <= RETRY_AFTER_MAX));
        let text = text_of(verdict);
        prop_assert!(text.len() <= Reason::TEXT_BYTES_MAX);
        prop_assert!(!text.contains(char::is_control));
        prop_assert!(kind == "accepted" || text.contains(&status.to_string()));
    }
}
