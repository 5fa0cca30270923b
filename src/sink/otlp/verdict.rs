//! What a receiver's answer means: pure functions, no I/O.
//!
//! Over HTTP:
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | `Accepted`; with rejected records `AcceptedExcept`, for these must not be sent again |
//! | 429, 502, 503, 504 | `Retry`, not before `Retry-After`; no other status may be retried |
//! | 413 | `Split` |
//! | 400, 422, 500 | `Bisect`: some record may be at fault |
//! | everything else | `Pause` |
//!
//! Over gRPC, by `grpc-status`, in the trailers or, without a message, in the headers:
//!
//! | status | verdict |
//! |---|---|
//! | OK | as 2xx |
//! | CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS | `Retry`, not before `RetryInfo` |
//! | RESOURCE_EXHAUSTED | with `RetryInfo` `Retry`; else `Pause` |
//! | RESOURCE_EXHAUSTED or OUT_OF_RANGE that says that the message is too large | `Split` |
//! | INVALID_ARGUMENT, UNKNOWN, INTERNAL | `Bisect` |
//! | everything else | `Pause` |
//! | none, with 200 | `Retry`: the answer broke off |
//! | none, with another HTTP status | as over HTTP |

use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::HeaderMap;
use prost::Message;

use super::messages::{Response, RetryInfo, Status};
use crate::sink::http::verdict::{
    Answer, RETRY_AFTER_MAX, code_of, judge, retry_after, without_control,
};
use crate::sink::{Reason, Verdict};

/// How much of what a receiver says goes into the text.
const TEXT_CHARS_MAX: usize = 240;

/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The verdict on an answer over HTTP to a request of so many records.
pub(super) fn judge_http(answer: &Answer<'_>, records: u64) -> Verdict {
    let status = answer.status;
    if status.is_success() {
        return taken(answer.what, answer.head, records);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return judge(answer);
    }
    let is_protobuf = answer.headers.get("content-type").is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/x-protobuf")
    });
    let said = match is_protobuf {
        true => Status::decode(answer.head).map(|status| status.message),
        false => Ok(first_line(answer.head)),
    };
    let reason = reason(
        code_of(status),
        &format!("{}: {status}", answer.what),
        &said.unwrap_or_default(),
    );
    match status.as_u16() {
        429 | 502 | 503 | 504 => Verdict::Retry {
            after: retry_after(answer.headers, answer.now),
            reason,
        },
        413 => Verdict::Split(reason),
        400 | 422 | 500 => Verdict::Bisect(reason),
        _ => Verdict::Pause(reason),
    }
}

/// The verdict on an answer over gRPC to a request of so many records.
pub(super) fn judge_grpc(answer: &Answer<'_>, records: u64) -> Verdict {
    let holder = [answer.trailers, answer.headers].into_iter();
    let Some(said) = holder
        .into_iter()
        .find(|from| from.contains_key("grpc-status"))
    else {
        if !answer.status.is_success() {
            return judge_http(answer, records);
        }
        let text = format!("{}: the answer broke off before its status", answer.what);
        return Verdict::Retry {
            after: None,
            reason: Reason::new("reset", text),
        };
    };
    let status = said.get("grpc-status").and_then(|code| code.to_str().ok());
    let status: u32 = status.and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    if status == OK {
        let message = answer.head.get(PREFIX_BYTES..).unwrap_or_default();
        return taken(answer.what, message, records);
    }
    let message = said
        .get("grpc-message")
        .map(|text| percent_decoded(text.as_bytes()));
    let message = message.unwrap_or_default();
    let (code, name) = CODES
        .iter()
        .find_map(|(number, code, name)| (*number == status).then_some((*code, *name)))
        .unwrap_or(("grpc_unknown", "UNKNOWN"));
    let reason = reason(code, &format!("{}: {name}", answer.what), &message);
    let after = retry_info(said);
    match status {
        RESOURCE_EXHAUSTED | OUT_OF_RANGE if says_too_large(&message) => Verdict::Split(reason),
        CANCELLED | DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
            Verdict::Retry { after, reason }
        }
        RESOURCE_EXHAUSTED if after.is_some() => Verdict::Retry { after, reason },
        INVALID_ARGUMENT | UNKNOWN | INTERNAL => Verdict::Bisect(reason),
        _ => Verdict::Pause(reason),
    }
}

const OK: u32 = 0;
const CANCELLED: u32 = 1;
const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const ABORTED: u32 = 10;
const OUT_OF_RANGE: u32 = 11;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;

/// Status codes of gRPC: number, our code, name.
const CODES: [(u32, &str, &str); 16] = [
    (CANCELLED, "grpc_cancelled", "CANCELLED"),
    (UNKNOWN, "grpc_unknown", "UNKNOWN"),
    (
        INVALID_ARGUMENT,
        "grpc_invalid_argument",
        "INVALID_ARGUMENT",
    ),
    (
        DEADLINE_EXCEEDED,
        "grpc_deadline_exceeded",
        "DEADLINE_EXCEEDED",
    ),
    (5, "grpc_not_found", "NOT_FOUND"),
    (6, "grpc_already_exists", "ALREADY_EXISTS"),
    (7, "grpc_permission_denied", "PERMISSION_DENIED"),
    (
        RESOURCE_EXHAUSTED,
        "grpc_resource_exhausted",
        "RESOURCE_EXHAUSTED",
    ),
    (9, "grpc_failed_precondition", "FAILED_PRECONDITION"),
    (ABORTED, "grpc_aborted", "ABORTED"),
    (OUT_OF_RANGE, "grpc_out_of_range", "OUT_OF_RANGE"),
    (12, "grpc_unimplemented", "UNIMPLEMENTED"),
    (INTERNAL, "grpc_internal", "INTERNAL"),
    (UNAVAILABLE, "grpc_unavailable", "UNAVAILABLE"),
    (DATA_LOSS, "grpc_data_loss", "DATA_LOSS"),
    (16, "grpc_unauthenticated", "UNAUTHENTICATED"),
];

/// The verdict on a request that was taken, perhaps not whole. What cannot be read is an answer without a partial
/// success: the status has said that the request was taken.
fn taken(what: &str, message: &[u8], records: u64) -> Verdict {
    let response = Response::decode(message).unwrap_or_default();
    let Some(partial) = response.partial_success else {
        return Verdict::Accepted;
    };
    let rejected = u64::try_from(partial.rejected).unwrap_or(0).min(records);
    let text = format!("{what}: {rejected} of {records} rejected");
    let reason = reason("partial_success", &text, &partial.error_message);
    if rejected == 0 {
        if !partial.error_message.is_empty() {
            tracing::warn!("{}", reason.text);
        }
        return Verdict::Accepted;
    }
    Verdict::AcceptedExcept { rejected, reason }
}

fn reason(code: &'static str, what: &str, said: &str) -> Reason {
    let said = without_control(said);
    let said: String = said.chars().take(TEXT_CHARS_MAX).collect();
    match said.is_empty() {
        true => Reason::new(code, what),
        false => Reason::new(code, format!("{what}: {said}")),
    }
}

fn first_line(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split(['\n', '\r']).map(str::trim);
    lines
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// Whether a refusal is of the message's size: in the words of grpc-go and gRPC core, of grpc-java, of tonic.
fn says_too_large(message: &str) -> bool {
    let words = [
        "larger than max",
        "exceeds maximum size",
        "message length too large",
    ];
    words.into_iter().any(|words| message.contains(words))
}

/// `%XX` as the bytes that they stand for; what is not of that form stays.
fn percent_decoded(text: &[u8]) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut left = text;
    while let Some((first, rest)) = left.split_first() {
        let pair = match (first, rest) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                left = rest.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                left = rest;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Base64 with or without what fills it up: binary metadata may come in both forms.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `RetryInfo` of the status' details. A delay of nothing is one: the receiver says that it may be retried.
fn retry_info(said: &HeaderMap) -> Option<Duration> {
    let details = said.get("grpc-status-details-bin")?;
    let details = BASE64.decode(details.as_bytes()).ok()?;
    let details = Status::decode(details.as_slice()).ok()?.details;
    let mut infos = details.into_iter();
    let info = infos.find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay;
    let delay = delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
