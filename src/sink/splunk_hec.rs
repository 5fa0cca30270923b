//! Splunk's HTTP Event Collector: events in, with or without the indexer's acknowledgement.
//!
//! Invariant: with acknowledgement, events count as delivered only if the indexer has said so of their request.
//!
//! What the collector answers has a code (docs.splunk.com, "Troubleshoot HTTP Event Collector"):
//!
//! | code | verdict |
//! |---|---|
//! | 200 with 0 | `Accepted`; with acknowledgement: asked for until it comes, or `Retry` |
//! | 1, 2, 3, 4, 7, 10, 11, 14, 16: token, index, channel, settings | `Pause` |
//! | 5, 6, 12, 13, 15 with `invalid-event-number`: an event is wrong | `Items`: those before it were taken, it is rejected, those behind it are sent again. With acknowledgement those before it are sent again too, for nobody will acknowledge them |
//! | 5, 6, 12, 13, 15 without | `Bisect` |
//! | 8, 9, 18, 19, 20, 23: busy, unhealthy, full, shutting down | `Retry` |
//! | any other code | by its status, as the table of `http/verdict.rs`; with a 200 `Retry` |
//! | no code: not an answer of the collector's | by its status; with a 2xx `Retry` |

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{InvalidUri, PathAndQuery};
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::http::client::{Exchange, Outgoing};
use super::http::verdict::{Answer, judge, retry_after, without_control};
use super::http::{Attempting, Protocol};
use super::{Attempt, Item, Reason, Verdict};
use crate::config::SplunkHecSink;

/// Which of the agent's streams of requests it is; one for each transport.
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// How to ask for an acknowledgement.
#[derive(Clone, Debug)]
pub struct Acknowledge {
    /// Path and query.
    pub target: PathAndQuery,
    /// How long it may take.
    pub timeout: Duration,
    /// How often to ask.
    pub interval: Duration,
}

impl Acknowledge {
    /// On the channel of this number, as configured; `None`: nothing is to be acknowledged.
    pub fn new(channel: u128, sink: &SplunkHecSink) -> Result<Option<Acknowledge>, InvalidUri> {
        if !sink.acknowledge {
            return Ok(None);
        }
        let url = format!("{}?channel={}", sink.ack_url(), guid(channel));
        let target = url.parse::<Uri>()?.into_parts().path_and_query;
        Ok(Some(Acknowledge {
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
            timeout: Duration::from_millis(sink.ack_timeout_ms),
            interval: Duration::from_millis(sink.ack_interval_ms),
        }))
    }
}

/// The protocol of a sink.
#[derive(Clone, Debug)]
pub struct SplunkHec {
    headers: HeaderMap,
    /// The headers of requests for acknowledgements.
    ack_headers: HeaderMap,
    acknowledge: Option<Acknowledge>,
}

impl SplunkHec {
    /// A protocol on the channel of this number. `content_encoding`: that of payloads.
    pub fn new(
        channel: u128,
        content_encoding: Option<&'static str>,
        acknowledge: Option<Acknowledge>,
    ) -> SplunkHec {
        let mut ack_headers = HeaderMap::new();
        if let Ok(channel) = HeaderValue::from_str(&guid(channel)) {
            ack_headers.insert(CHANNEL, channel);
        }
        let mut headers = ack_headers.clone();
        if let Some(encoding) = content_encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        SplunkHec {
            headers,
            ack_headers,
            acknowledge,
        }
    }
}

/// A number in the form of a GUID.
fn guid(number: u128) -> String {
    let digits = format!("{number:032x}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

impl Protocol for SplunkHec {
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        Box::pin(async move {
            let sent = Sent {
                records: attempt.records,
                acknowledged: self.acknowledge.is_some(),
                ack_id: Mutex::default(),
            };
            let outgoing = Outgoing {
                headers: self.headers.clone(),
                ..Outgoing::of(attempt.body)
            };
            let reading = |answer: &Answer<'_>| sent.verdict(answer);
            let verdict = exchange.post(outgoing, &reading).await;
            match (&self.acknowledge, verdict, sent.ack_id()) {
                (Some(acknowledge), Verdict::Accepted, Some(ack_id)) => {
                    self.acknowledged(exchange, acknowledge, ack_id).await
                }
                (_, verdict, _) => verdict,
            }
        })
    }
}

impl SplunkHec {
    /// Asks until the indexer has the events, or does not say so in time.
    async fn acknowledged(
        &self,
        exchange: &Exchange,
        acknowledge: &Acknowledge,
        ack_id: u64,
    ) -> Verdict {
        let deadline = Instant::now() + acknowledge.timeout;
        let mut last = None;
        loop {
            let next = Instant::now() + acknowledge.interval;
            if next > deadline {
                return last.unwrap_or_else(|| never(exchange.what(), acknowledge.timeout));
            }
            sleep_until(next).await;
            let outgoing = Outgoing {
                target: Some(acknowledge.target.clone()),
                headers: self.ack_headers.clone(),
                ..Outgoing::of(Bytes::from(format!("{{\"acks\":[{ack_id}]}}")))
            };
            let reading = |answer: &Answer<'_>| of_ack(answer, ack_id, acknowledge.timeout);
            match exchange.post(outgoing, &reading).await {
                // Not yet; or not now, and the next may be.
                verdict @ Verdict::Retry { .. } => last = Some(verdict),
                verdict => return verdict,
            }
        }
    }
}

fn never(what: &str, timeout: Duration) -> Verdict {
    let text = format!(
        "{what}: the indexer did not acknowledge within {} ms",
        timeout.as_millis()
    );
    Verdict::Retry {
        after: None,
        reason: Reason::new("not_acknowledged", text),
    }
}

/// What the collector says of a request.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    text: String,
    code: u16,
    #[serde(default, rename = "invalid-event-number")]
    invalid: Option<u32>,
    #[serde(default, rename = "ackId")]
    ack_id: Option<u64>,
}

/// What an answer is judged against, and what is taken from it.
#[derive(Debug)]
struct Sent {
    records: u32,
    acknowledged: bool,
    ack_id: Mutex<Option<u64>>,
}

impl Sent {
    fn ack_id(&self) -> Option<u64> {
        *self.ack_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        let Ok(body) = serde_json::from_slice::<Body>(answer.head) else {
            return match judge(answer) {
                Verdict::Accepted => again(answer, "not_hec", "the answer is not the collector's"),
                verdict => verdict,
            };
        };
        let text: String = without_control(&body.text).chars().take(200).collect();
        let text = format!("code {}: {text}", body.code);
        let reason = || Reason::new(code_of(body.code), format!("{}: {text}", answer.what));
        match body.code {
            0 if answer.status == StatusCode::OK => self.taken(answer, &body),
            1..=4 | 7 | 10 | 11 | 14 | 16 => Verdict::Pause(reason()),
            5 | 6 | 12 | 13 | 15 => self.event_at_fault(&body, reason()),
            8 | 9 | 18..=20 | 23 => again(answer, code_of(body.code), &text),
            _ => match judge(answer) {
                Verdict::Accepted => again(answer, code_of(body.code), &text),
                verdict => verdict,
            },
        }
    }

    fn taken(&self, answer: &Answer<'_>, body: &Body) -> Verdict {
        if self.acknowledged && body.ack_id.is_none() {
            let text = format!(
                "{}: no ackId: the token has no indexer acknowledgement; enable it or set acknowledge: false",
                answer.what
            );
            return Verdict::Pause(Reason::new("no_ack_id", text));
        }
        *self.ack_id.lock().unwrap_or_else(PoisonError::into_inner) = body.ack_id;
        Verdict::Accepted
    }

    /// The collector takes events one after the other until one is wrong.
    fn event_at_fault(&self, body: &Body, reason: Reason) -> Verdict {
        let Some(invalid) = body.invalid.filter(|invalid| *invalid < self.records) else {
            return Verdict::Bisect(reason);
        };
        let before = match self.acknowledged {
            true => Item::Retry,
            false => Item::Accepted,
        };
        let item = |number: u32| match number.cmp(&invalid) {
            std::cmp::Ordering::Less => before.clone(),
            std::cmp::Ordering::Equal => Item::Rejected(reason.clone()),
            std::cmp::Ordering::Greater => Item::Retry,
        };
        Verdict::Items((0..self.records).map(item).collect())
    }
}

fn again(answer: &Answer<'_>, code: &'static str, text: &str) -> Verdict {
    Verdict::Retry {
        after: retry_after(answer.headers, answer.now),
        reason: Reason::new(code, format!("{}: {text}", answer.what)),
    }
}

/// The verdict on an answer to the question for an acknowledgement.
fn of_ack(answer: &Answer<'_>, ack_id: u64, timeout: Duration) -> Verdict {
    #[derive(Deserialize)]
    struct Acks {
        acks: std::collections::BTreeMap<String, bool>,
    }
    if let Ok(body) = serde_json::from_slice::<Acks>(answer.head) {
        return match body.acks.get(&ack_id.to_string()) {
            Some(true) => Verdict::Accepted,
            _ => never(answer.what, timeout),
        };
    }
    let sent = Sent {
        records: 0,
        acknowledged: false,
        ack_id: Mutex::default(),
    };
    match sent.verdict(answer) {
        verdict @ (Verdict::Pause(_) | Verdict::Retry { .. }) => verdict,
        // Nothing else says anything of the events.
        _ => again(
            answer,
            "not_hec",
            "the answer is not that to a question for acks",
        ),
    }
}

/// The name of a code.
fn code_of(code: u16) -> &'static str {
    match code {
        1 => "hec_1_token_disabled",
        2 => "hec_2_token_required",
        3 => "hec_3_authorization",
        4 => "hec_4_token",
        5 => "hec_5_no_data",
        6 => "hec_6_format",
        7 => "hec_7_index",
        8 => "hec_8_internal",
        9 => "hec_9_busy",
        10 => "hec_10_channel_missing",
        11 => "hec_11_channel",
        12 => "hec_12_event_missing",
        13 => "hec_13_event_blank",
        14 => "hec_14_ack_disabled",
        15 => "hec_15_fields",
        16 => "hec_16_query_authorization",
        18..=20 => "hec_18_unhealthy",
        23 => "hec_23_shutting_down",
        _ => "hec_other",
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hyper::header::RETRY_AFTER;

    use super::*;

    fn answer<'a>(status: u16, headers: &'a HeaderMap, head: &'a str) -> Answer<'a> {
        Answer {
            what: "POST http://h/services/collector/event",
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            trailers: headers,
            head: head.as_bytes(),
            whole: true,
            now: UNIX_EPOCH,
        }
    }

    fn judged(status: u16, head: &str, acknowledged: bool) -> (Verdict, Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let sent = Sent {
            records: 3,
            acknowledged,
            ack_id: Mutex::default(),
        };
        let verdict = sent.verdict(&answer(status, &headers, head));
        (verdict, sent.ack_id())
    }

    fn name(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Items(_) => "items".to_owned(),
            Verdict::AcceptedExcept { .. } => "accepted except".to_owned(),
            Verdict::Retry { after, reason } => {
                assert!(after.is_none_or(|after| after == Duration::from_secs(7)));
                format!("retry {}", reason.code)
            }
            Verdict::Split(reason) => format!("split {}", reason.code),
            Verdict::Bisect(reason) => format!("bisect {}", reason.code),
            Verdict::Pause(reason) => format!("pause {}", reason.code),
        }
    }

    #[test]
    fn codes_and_their_verdicts() {
        let table = [
            (200, 0, "accepted"),
            (403, 1, "pause hec_1_token_disabled"),
            (401, 2, "pause hec_2_token_required"),
            (401, 3, "pause hec_3_authorization"),
            (403, 4, "pause hec_4_token"),
            (400, 5, "bisect hec_5_no_data"),
            (400, 6, "bisect hec_6_format"),
            (400, 7, "pause hec_7_index"),
            (500, 8, "retry hec_8_internal"),
            (503, 9, "retry hec_9_busy"),
            (400, 10, "pause hec_10_channel_missing"),
            (400, 11, "pause hec_11_channel"),
            (400, 12, "bisect hec_12_event_missing"),
            (400, 13, "bisect hec_13_event_blank"),
            (400, 14, "pause hec_14_ack_disabled"),
            (400, 15, "bisect hec_15_fields"),
            (503, 18, "retry hec_18_unhealthy"),
            (503, 19, "retry hec_18_unhealthy"),
            (503, 20, "retry hec_18_unhealthy"),
            (503, 23, "retry hec_23_shutting_down"),
            (200, 9, "retry hec_9_busy"),
            (200, 99, "retry hec_other"),
            (503, 99, "retry http_503"),
            (413, 27, "split http_413"),
        ];
        for (status, code, wanted) in table {
            let body = format!("{{\"text\":\"as told\",\"code\":{code}}}");
            let (verdict, _) = judged(status, &body, false);
            assert_eq!(name(&verdict), wanted, "{status} {code}");
        }
    }

    #[test]
    fn answers_of_others() {
        for (status, head, wanted) in [
            (200, "<html>", "retry not_hec"),
            (204, "", "retry not_hec"),
            (400, "", "bisect http_400"),
            (404, "not found", "pause http_404"),
            (413, "", "split http_413"),
            (429, "", "retry http_429"),
            (408, "", "retry http_408"),
            (502, "<html>", "retry http_502"),
        ] {
            assert_eq!(name(&judged(status, head, false).0), wanted, "{status}");
        }
    }

    #[test]
    fn a_wrong_event_costs_no_other() {
        let body = r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":1}"#;
        for (acknowledged, before) in [(false, Item::Accepted), (true, Item::Retry)] {
            let (Verdict::Items(items), _) = judged(400, body, acknowledged) else {
                panic!("no items");
            };
            assert_eq!(items.len(), 3);
            assert_eq!(items[0], before);
            assert!(
                matches!(&items[1], Item::Rejected(reason) if reason.code == "hec_13_event_blank")
            );
            assert_eq!(items[2], Item::Retry);
        }
        let beyond = r#"{"code":13,"invalid-event-number":3}"#;
        assert_eq!(
            name(&judged(400, beyond, false).0),
            "bisect hec_13_event_blank"
        );
    }

    #[test]
    fn an_ack_id_is_kept_and_its_lack_is_said() {
        let body = r#"{"text":"Success","code":0,"ackId":7}"#;
        assert_eq!(judged(200, body, true), (Verdict::Accepted, Some(7)));
        let (verdict, _) = judged(200, r#"{"text":"Success","code":0}"#, true);
        assert_eq!(name(&verdict), "pause no_ack_id");
    }

    #[test]
    fn acknowledgements() {
        let headers = HeaderMap::new();
        for (status, head, wanted) in [
            (200, r#"{"acks":{"7":true}}"#, "accepted"),
            (200, r#"{"acks":{"7":false}}"#, "retry not_acknowledged"),
            (200, r#"{"acks":{"8":true}}"#, "retry not_acknowledged"),
            (200, r#"{"code":0}"#, "retry not_hec"),
            (200, "<html>", "retry not_hec"),
            (
                400,
                r#"{"text":"ACK is disabled","code":14}"#,
                "pause hec_14_ack_disabled",
            ),
            (400, "", "retry not_hec"),
            (403, r#"{"code":4}"#, "pause hec_4_token"),
            (503, "", "retry http_503"),
        ] {
            let verdict = of_ack(&answer(status, &headers, head), 7, Duration::from_secs(1));
            assert_eq!(name(&verdict), wanted, "{head}");
        }
    }

    #[test]
    fn a_channel_is_a_guid() {
        assert_eq!(guid(0x1234), "00000000-0000-0000-0000-000000001234");
    }
}
