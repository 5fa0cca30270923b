//! What a receiver's answer means: pure functions, no I/O.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | `Accepted`; in version 2 only with a header that says how many samples were written, for a receiver of version 1 takes such a request, stores nothing and says 204 |
//! | 5xx, 429, 408 | `Retry`, not before `Retry-After` |
//! | 413 | `Split` |
//! | 415 in version 2 | `Retry`, in version 1 from now on |
//! | 3xx, 401, 403, 404, 405, 407, 415 | `Pause`: the URL or the credentials are wrong |
//! | any other 4xx | `Bisect`: some sample is refused; the specification forbids to try it again |
//! | no answer | as for every HTTP sink |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use hyper::header::HeaderMap;

use crate::config::RemoteWriteVersion;
use crate::sink::http::verdict::{Answer, judge};
use crate::sink::{Reason, Verdict};

/// Headers that a receiver of version 2 answers with.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// Judges answers to requests of a version; `is_version_1` is set when a receiver turns out to know only version 1.
pub fn judge_of(
    version: RemoteWriteVersion,
    is_version_1: &Arc<AtomicBool>,
) -> impl Fn(&Answer<'_>) -> Verdict + Send + Sync + 'static {
    let is_version_1 = Arc::clone(is_version_1);
    move |answer: &Answer<'_>| match version {
        RemoteWriteVersion::Two if knows_only_version_1(answer.status, answer.headers) => {
            is_version_1.store(true, Ordering::Release);
            let text = format!(
                "{}: {}: the receiver does not know version 2 of remote write; going on with version 1",
                answer.what, answer.status
            );
            Verdict::Retry {
                after: None,
                reason: Reason::new("version_1", text),
            }
        }
        RemoteWriteVersion::One | RemoteWriteVersion::Two => judged(answer),
    }
}

fn knows_only_version_1(status: StatusCode, headers: &HeaderMap) -> bool {
    let wrote = WRITTEN.iter().any(|name| headers.contains_key(*name));
    status == StatusCode::UNSUPPORTED_MEDIA_TYPE || (status.is_success() && !wrote)
}

fn judged(answer: &Answer<'_>) -> Verdict {
    let verdict = judge(answer);
    let is_config = matches!(answer.status.as_u16(), 401 | 403 | 404 | 405 | 407 | 415);
    match verdict {
        Verdict::Pause(reason) if answer.status.is_client_error() && !is_config => {
            Verdict::Bisect(reason)
        }
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn name(version: RemoteWriteVersion, code: u16, wrote: bool) -> (&'static str, bool) {
        let mut headers = HeaderMap::new();
        if wrote {
            headers.insert(WRITTEN[0], "1".parse().unwrap());
        }
        let is_version_1 = Arc::new(AtomicBool::new(false));
        let judge = judge_of(version, &is_version_1);
        let answer = Answer {
            what: "POST http://h/",
            status: StatusCode::from_u16(code).unwrap(),
            headers: &headers,
            trailers: &HeaderMap::new(),
            head: b"",
            whole: true,
            now: SystemTime::UNIX_EPOCH,
        };
        let name = match judge(&answer) {
            Verdict::Accepted => "accepted",
            Verdict::AcceptedExcept { .. } => "accepted_except",
            Verdict::Items(_) => "items",
            Verdict::Retry { .. } => "retry",
            Verdict::Split(_) => "split",
            Verdict::Bisect(_) => "bisect",
            Verdict::Pause(_) => "pause",
        };
        (name, is_version_1.load(Ordering::Acquire))
    }

    #[test]
    fn every_answer_has_its_verdict() {
        use RemoteWriteVersion::{One, Two};
        let table: [(&str, &[u16]); 6] = [
            ("accepted", &[200, 204]),
            ("retry", &[408, 429, 500, 502, 503, 504, 599]),
            ("split", &[413]),
            ("pause", &[301, 401, 403, 404, 405, 407]),
            ("bisect", &[400, 402, 409, 410, 422, 451]),
            ("pause", &[302, 308]),
        ];
        for (verdict, codes) in table {
            for code in codes {
                assert_eq!(name(One, *code, false), (verdict, false), "{code}");
                assert_eq!(name(Two, *code, true), (verdict, false), "{code}");
            }
        }
        assert_eq!(name(One, 415, false), ("pause", false));
        assert_eq!(name(Two, 415, false), ("retry", true));
        assert_eq!(name(Two, 204, false), ("retry", true));
    }
}
