//! The bulk interface of Elasticsearch and OpenSearch: one payload, one request, an answer for each record.
//!
//! Invariant: a record is `Accepted` only if the answer says of this record that it is stored, or was; an answer that
//! cannot be read in full says nothing.
//!
//! | answer | verdict |
//! |---|---|
//! | 200, `errors` false | `Accepted` |
//! | 200, as many items as records: of each | `Items` |
//! | - 2xx | accepted |
//! | - 409, with ids of ours | accepted: the record is there already |
//! | - 429, 5xx | again |
//! | - 401, 403 | again: no right, or an index that takes no writes, is no fault of the record |
//! | - anything else (400, 404, ...) | rejected, with the kind of error |
//! | all items again, for want of a right | `Pause` |
//! | all items again, else | `Retry`, with the first error |
//! | 200, another number of items, not JSON, or broken off | `Retry` |
//! | 200, longer than any answer should be | `Split` |
//! | anything but 200 | as the table of `http/verdict.rs` |

use hyper::StatusCode;
use serde::Deserialize;

use super::http::client::{Exchange, Outgoing};
use super::http::verdict::{Answer, judge, retry_after, without_control};
use super::http::{Attempting, Protocol};
use super::{Attempt, Item, Reason, Verdict};

/// Bytes of an answer beside its items.
const ANSWER_BYTES: usize = 64 * 1024;
/// Bytes of one item of an answer: most are 30; one with an error has its text.
pub const ITEM_BYTES_MAX: usize = 512;
/// How much of an error's text is kept.
const ERROR_CHARS_MAX: usize = 300;

/// The protocol of a sink.
#[derive(Clone, Copy, Debug)]
pub struct Elasticsearch {
    /// Whether documents have ids of ours.
    pub ids: bool,
}

impl Protocol for Elasticsearch {
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        Box::pin(async move {
            let sent = Sent {
                records: attempt.records,
                ids: self.ids,
                answer_bytes_max: answer_bytes_max(attempt.records),
            };
            let outgoing = Outgoing {
                answer_bytes_max: sent.answer_bytes_max,
                ..Outgoing::of(attempt.body)
            };
            exchange
                .post(outgoing, &move |answer: &Answer<'_>| sent.verdict(answer))
                .await
        })
    }
}

/// How long the answer to so many records may be.
fn answer_bytes_max(records: u32) -> usize {
    ANSWER_BYTES + records as usize * ITEM_BYTES_MAX
}

/// What an answer is judged against.
#[derive(Clone, Copy, Debug)]
struct Sent {
    records: u32,
    ids: bool,
    answer_bytes_max: usize,
}

/// The answer's body; fields that are not listed are passed over.
#[derive(Deserialize)]
struct Body {
    errors: bool,
    #[serde(default)]
    items: Vec<Entry>,
}

/// One item, under the name of its action.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "index", alias = "update", alias = "delete")]
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Option<Trouble>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Trouble {
    Told {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        reason: Option<String>,
    },
    /// In a form that nobody knows.
    Other(serde::de::IgnoredAny),
}

impl Outcome {
    fn reason(&self) -> Reason {
        let (kind, text) = match &self.error {
            Some(Trouble::Told { kind, reason }) => {
                (kind.as_str(), reason.as_deref().unwrap_or_default())
            }
            _ => ("no error is told", ""),
        };
        let text: String = without_control(text)
            .chars()
            .take(ERROR_CHARS_MAX)
            .collect();
        let text = format!("{}: {}: {text}", self.status, without_control(kind));
        Reason::new(code_of(kind, self.status), text)
    }

    fn item(&self, ids: bool) -> Item {
        match self.status {
            200..=299 => Item::Accepted,
            409 if ids => Item::Accepted,
            401 | 403 | 429 | 500..=599 => Item::Retry,
            _ => Item::Rejected(self.reason()),
        }
    }
}

/// The code of an item's error: its own for those that are met in practice, else its class.
fn code_of(kind: &str, status: u16) -> &'static str {
    match kind {
        "mapper_parsing_exception" => "mapper_parsing_exception",
        "document_parsing_exception" => "document_parsing_exception",
        "strict_dynamic_mapping_exception" => "strict_dynamic_mapping_exception",
        "illegal_argument_exception" => "illegal_argument_exception",
        "invalid_index_name_exception" => "invalid_index_name_exception",
        "index_not_found_exception" => "index_not_found_exception",
        "index_closed_exception" => "index_closed_exception",
        "version_conflict_engine_exception" => "version_conflict_engine_exception",
        "cluster_block_exception" => "cluster_block_exception",
        "security_exception" => "security_exception",
        "es_rejected_execution_exception" => "es_rejected_execution_exception",
        "rejected_execution_exception" => "rejected_execution_exception",
        _ if status >= 500 => "item_5xx",
        _ if status == 429 => "item_429",
        _ => "item_4xx",
    }
}

impl Sent {
    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        if answer.status != StatusCode::OK {
            return match judge(answer) {
                // Nothing but a 200 of the bulk interface says what became of the records.
                Verdict::Accepted => self.again(answer, "not_bulk", "is not what a bulk gets"),
                verdict => verdict,
            };
        }
        if !answer.whole {
            if answer.head.len() >= self.answer_bytes_max {
                let text = format!(
                    "{}: an answer beyond {} bytes",
                    answer.what,
                    answer.head.len()
                );
                return Verdict::Split(Reason::new("answer_too_long", text));
            }
            return self.again(answer, "answer_cut", "broke off");
        }
        let body: Body = match serde_json::from_slice(answer.head) {
            Ok(body) => body,
            Err(error) => {
                let text = format!("is not that of a bulk: {error}");
                return self.again(answer, "not_bulk", &text);
            }
        };
        if !body.errors && body.items.is_empty() {
            return Verdict::Accepted;
        }
        if body.items.len() != self.records as usize {
            let text = format!("tells of {} of {} records", body.items.len(), self.records);
            return self.again(answer, "items_mismatch", &text);
        }
        self.items(answer, &body.items)
    }

    fn items(&self, answer: &Answer<'_>, entries: &[Entry]) -> Verdict {
        let outcomes = entries.iter().map(|entry| &entry.create);
        let items: Vec<Item> = outcomes.clone().map(|it| it.item(self.ids)).collect();
        if items.iter().all(|item| *item == Item::Accepted) {
            return Verdict::Accepted;
        }
        if items.iter().any(|item| *item != Item::Retry) {
            return Verdict::Items(items);
        }
        let forbidden = outcomes.clone().find(|it| matches!(it.status, 401 | 403));
        let Some(told) = forbidden.or_else(|| outcomes.clone().next()) else {
            return Verdict::Accepted;
        };
        let Reason { code, text } = told.reason();
        let reason = Reason::new(code, format!("{}: all records: {text}", answer.what));
        match forbidden {
            Some(_) => Verdict::Pause(reason),
            None => Verdict::Retry {
                after: retry_after(answer.headers, answer.now),
                reason,
            },
        }
    }

    fn again(&self, answer: &Answer<'_>, code: &'static str, text: &str) -> Verdict {
        let text = format!("{}: the answer {}", answer.what, without_control(text));
        Verdict::Retry {
            after: retry_after(answer.headers, answer.now),
            reason: Reason::new(code, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::*;

    const CREATED: &str = r#"{"create":{"status":201}}"#;
    const THERE: &str = r#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"x"}}}"#;
    const BUSY: &str = r#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}"#;
    const BROKEN: &str = r#"{"index":{"status":503}}"#;
    const WRONG: &str = r#"{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:7] no"}}}"#;
    const FORBIDDEN: &str =
        r#"{"create":{"status":403,"error":{"type":"security_exception","reason":"no right"}}}"#;

    fn body(errors: bool, items: &[&str]) -> String {
        format!("{{\"errors\":{errors},\"items\":[{}]}}", items.join(","))
    }

    fn judged(status: u16, head: &[u8], whole: bool, records: u32, ids: bool) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let sent = Sent {
            records,
            ids,
            answer_bytes_max: answer_bytes_max(records),
        };
        sent.verdict(&Answer {
            what: "POST http://h/_bulk",
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            trailers: &HeaderMap::new(),
            head,
            whole,
            now: UNIX_EPOCH,
        })
    }

    fn of_items(items: &[&str], ids: bool) -> Verdict {
        let body = body(true, items);
        judged(200, body.as_bytes(), true, items.len() as u32, ids)
    }

    fn code(verdict: &Verdict) -> (&'static str, &'static str) {
        match verdict {
            Verdict::Accepted => ("accepted", ""),
            Verdict::AcceptedExcept { reason, .. } => ("accepted except", reason.code),
            Verdict::Items(_) => ("items", ""),
            Verdict::Retry { reason, .. } => ("retry", reason.code),
            Verdict::Split(reason) => ("split", reason.code),
            Verdict::Bisect(reason) => ("bisect", reason.code),
            Verdict::Pause(reason) => ("pause", reason.code),
        }
    }

    #[test]
    fn each_item_has_its_verdict() {
        let Verdict::Items(items) =
            of_items(&[CREATED, THERE, BUSY, BROKEN, WRONG, FORBIDDEN], true)
        else {
            panic!("no items");
        };
        let rejected = Item::Rejected(Reason::new(
            "document_parsing_exception",
            "400: document_parsing_exception: [1:7] no",
        ));
        assert_eq!(
            items,
            [
                Item::Accepted,
                Item::Accepted,
                Item::Retry,
                Item::Retry,
                rejected,
                Item::Retry
            ]
        );
    }

    #[test]
    fn a_conflict_is_success_with_ids_of_ours_alone() {
        assert_eq!(of_items(&[CREATED, THERE], true), Verdict::Accepted);
        let Verdict::Items(items) = of_items(&[CREATED, THERE], false) else {
            panic!("no items");
        };
        assert!(
            matches!(&items[1], Item::Rejected(reason) if reason.code == "version_conflict_engine_exception")
        );
    }

    #[test]
    fn what_holds_for_all_items_is_said_of_the_sink() {
        let Verdict::Retry { after, reason } = of_items(&[BUSY, BUSY], true) else {
            panic!("no retry");
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert_eq!(reason.code, "es_rejected_execution_exception");
        assert!(reason.text.contains("full"), "{reason:?}");
        let all = of_items(&[BUSY, FORBIDDEN], true);
        assert_eq!(code(&all), ("pause", "security_exception"));
        let all = of_items(&[WRONG, WRONG], true);
        assert_eq!(code(&all), ("items", ""));
    }

    #[test]
    fn whole_answers() {
        let good = body(false, &[CREATED, CREATED]);
        let cases: [(u16, &str, bool, (&str, &str)); 14] = [
            (200, &good, true, ("accepted", "")),
            (200, "{\"errors\":false}", true, ("accepted", "")),
            (
                200,
                &body(false, &[CREATED]),
                true,
                ("retry", "items_mismatch"),
            ),
            (200, "{\"errors\":true}", true, ("retry", "items_mismatch")),
            (200, &good, false, ("retry", "answer_cut")),
            (200, "<html>", true, ("retry", "not_bulk")),
            (200, "", true, ("retry", "not_bulk")),
            (200, "[1]", true, ("retry", "not_bulk")),
            (204, "", true, ("retry", "not_bulk")),
            (413, "", true, ("split", "http_413")),
            (429, "", true, ("retry", "http_429")),
            (503, "", true, ("retry", "http_503")),
            (401, "", true, ("pause", "http_401")),
            (400, "", true, ("bisect", "http_400")),
        ];
        for (status, head, whole, wanted) in cases {
            let verdict = judged(status, head.as_bytes(), whole, 2, true);
            assert_eq!(code(&verdict), wanted, "{status} {head}");
        }
        let long = vec![b' '; answer_bytes_max(2)];
        let verdict = judged(200, &long, false, 2, true);
        assert_eq!(code(&verdict), ("split", "answer_too_long"));
    }

    #[test]
    fn errors_of_any_form_are_read() {
        for error in ["\"text\"", "null", "{\"type\":\"new_exception\"}", "[1]"] {
            let item = format!("{{\"create\":{{\"status\":400,\"error\":{error}}}}}");
            let Verdict::Items(items) = of_items(&[&item, CREATED], true) else {
                panic!("{error}");
            };
            assert!(matches!(&items[0], Item::Rejected(reason) if reason.code == "item_4xx"));
        }
    }
}
