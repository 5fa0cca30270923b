//! Grafana Loki's push interface: what an answer means.
//!
//! Invariant: a line counts as delivered only if a request that held it was answered with success.
//!
//! | answer | verdict |
//! |---|---|
//! | 200, 204 | `Accepted` |
//! | other 2xx | `Retry`: Loki answers with neither |
//! | 400, 422 | `Bisect`: some lines are refused (too old, too far behind their stream, too long), the others were kept |
//! | 413; 500 with "message larger than max" | `Split` |
//! | 429, other 5xx, 408 | `Retry`, not before `Retry-After` |
//! | everything else (401, 403, 404, ...) | `Pause` |
//!
//! Loki does not say which lines of a request it refused, only some of them. To know, halves of the request are sent
//! again: a stream keeps a line of the same time and text once, so what was kept before is not kept twice, and the
//! accounts say of each line what became of it.

use hyper::StatusCode;

use super::http::verdict::{Answer, judge as judge_http};
use super::{Reason, Verdict};

/// What a component of Loki says of a request that is larger than those between components may be.
const TOO_LARGE: [&[u8]; 2] = [b"message larger than max", b"larger than the max"];

/// The verdict on an answer.
pub fn judge(answer: &Answer<'_>) -> Verdict {
    match answer.status {
        StatusCode::OK | StatusCode::NO_CONTENT => return Verdict::Accepted,
        status if status.is_success() => {
            let text = format!("{}: {status} is no answer of Loki's", answer.what);
            return Verdict::Retry {
                after: None,
                reason: Reason::new("not_loki", text),
            };
        }
        _ => {}
    }
    let says = |words: &[u8]| memchr::memmem::find(answer.head, words).is_some();
    match judge_http(answer) {
        Verdict::Retry { reason, .. }
            if answer.status == StatusCode::INTERNAL_SERVER_ERROR
                && TOO_LARGE.into_iter().any(says) =>
        {
            Verdict::Split(reason)
        }
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::*;

    #[test]
    fn answers_and_their_verdicts() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let table = [
            (204, "", "accepted"),
            (200, "", "accepted"),
            (202, "", "retry not_loki"),
            (
                400,
                "entry with timestamp 1 ignored, reason: 'entry too far behind'",
                "bisect http_400",
            ),
            (
                400,
                "1 errors like: max entry size exceeded",
                "bisect http_400",
            ),
            (401, "no org id", "pause http_401"),
            (403, "", "pause http_403"),
            (404, "", "pause http_404"),
            (413, "", "split http_413"),
            (429, "ingestion rate limit exceeded", "retry http_429 7"),
            (500, "", "retry http_500 7"),
            (
                500,
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)",
                "split http_500",
            ),
            (503, "", "retry http_503 7"),
        ];
        for (status, body, wanted) in table {
            let verdict = judge(&Answer {
                what: "POST http://h/loki/api/v1/push",
                status: StatusCode::from_u16(status).unwrap(),
                headers: &headers,
                trailers: &HeaderMap::new(),
                head: body.as_bytes(),
                whole: true,
                now: UNIX_EPOCH,
            });
            let found = match verdict {
                Verdict::Accepted => "accepted".to_owned(),
                Verdict::Retry { after, reason } => {
                    assert!(after.is_none_or(|after| after == Duration::from_secs(7)));
                    format!("retry {}{}", reason.code, after.map_or("", |_| " 7"))
                }
                Verdict::Split(reason) => format!("split {}", reason.code),
                Verdict::Bisect(reason) => format!("bisect {}", reason.code),
                Verdict::Pause(reason) => format!("pause {}", reason.code),
                verdict => format!("{verdict:?}"),
            };
            assert_eq!(found, wanted, "{status} {body}");
        }
    }
}
