//! ClickHouse's HTTP interface: an `INSERT ... FORMAT JSONEachRow` for each payload.
//!
//! An insert is whole or not at all, as long as it fits into one block of the table; so a payload is judged whole, and a
//! row that cannot be stored is found by halves. What an exception means is told by its code, in the header
//! `X-ClickHouse-Exception-Code` or at the beginning of the answer's body, and not by the HTTP status, for an exception
//! may come after a 200.
//!
//! | exception | verdict |
//! |---|---|
//! | none, 2xx | `Accepted` |
//! | a value that cannot be read (6, 26, 27, 33, 38, 41, 53, 72, 117, 130, 131, 349, 469) | `Bisect` |
//! | no such column, table, database, user, right or setting; a wrong query (16, 47, 60, 62, 81, 115, 164, 192, 193, 194, 291, 492, 497, 516) | `Pause` |
//! | memory (241) | `Split` |
//! | any other | `Retry` |
//! | an answer without a code | as for plain HTTP |

use std::fmt::Write;

use hyper::http::uri::PathAndQuery;

use super::http::client::{Exchange, Outgoing};
use super::http::verdict::{Answer, judge, without_control};
use super::http::{Attempting, Protocol};
use super::{Attempt, Reason, Verdict};
use crate::config::sinks::clickhouse::ClickHouseSink;

/// The header that names an exception.
const CODE_HEADER: &str = "x-clickhouse-exception-code";

/// Codes of exceptions that a row is the cause of.
const OF_A_ROW: [u32; 13] = [6, 26, 27, 33, 38, 41, 53, 72, 117, 130, 131, 349, 469];

/// Codes of exceptions that a person must mend.
const OF_THE_SETTINGS: [u32; 14] = [
    16, 47, 60, 62, 81, 115, 164, 192, 193, 194, 291, 492, 497, 516,
];

/// `MEMORY_LIMIT_EXCEEDED`
const OUT_OF_MEMORY: u32 = 241;

/// The protocol of a table.
#[derive(Debug)]
pub struct Insert {
    target: String,
    with_token: bool,
}

impl Insert {
    /// Inserts into a table of the sink's database, by the interface at the path of its URL.
    pub fn new(config: &ClickHouseSink, table: &str) -> Insert {
        let uri = config.http.url.parse::<hyper::Uri>().unwrap_or_default();
        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        // An answer that waits for the query's end has the right status; times are RFC 3339; KubernetesMetadata may be
        // a column of text.
        let mut target = format!(
            "{path}?database={}&query=INSERT%20INTO%20{table}%20FORMAT%20JSONEachRow\
             &wait_end_of_query=1&date_time_input_format=best_effort\
             &input_format_json_read_objects_as_strings=1",
            config.database
        );
        if config.async_insert {
            target.push_str("&async_insert=1&wait_for_async_insert=1");
        }
        Insert {
            target,
            with_token: config.insert_token,
        }
    }

    /// Path and query for a payload. The token is of its bytes: the same for every attempt at it.
    fn target(&self, body: &[u8]) -> Option<PathAndQuery> {
        let mut target = self.target.clone();
        if self.with_token {
            let token = xxhash_rust::xxh3::xxh3_128(body);
            // Writing to a String cannot fail.
            let _ = write!(target, "&insert_deduplication_token={token:032x}");
        }
        target.parse().ok()
    }
}

impl Protocol for Insert {
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        let outgoing = Outgoing {
            target: self.target(&attempt.body),
            ..Outgoing::of(attempt.body)
        };
        Box::pin(exchange.post(outgoing, &judged))
    }
}

/// What an answer means.
fn judged(answer: &Answer<'_>) -> Verdict {
    let text = String::from_utf8_lossy(answer.head);
    let header = answer.headers.get(CODE_HEADER);
    let header = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let code: Option<u32> = header.or_else(|| code_in(&text));
    let Some(code) = code else {
        return judge(answer);
    };
    let line: String = without_control(text.lines().next().unwrap_or_default());
    let line: String = line.chars().take(300).collect();
    let reason = |code: &'static str| Reason::new(code, format!("{}: {line}", answer.what));
    match code {
        code if OF_A_ROW.contains(&code) => Verdict::Bisect(reason("clickhouse_row")),
        code if OF_THE_SETTINGS.contains(&code) => Verdict::Pause(reason("clickhouse_settings")),
        OUT_OF_MEMORY => Verdict::Split(reason("clickhouse_memory")),
        _ => Verdict::Retry {
            after: None,
            reason: reason("clickhouse_exception"),
        },
    }
}

/// The code of an exception's text, `Code: 41. DB::Exception: ...`.
fn code_in(text: &str) -> Option<u32> {
    let code = text.trim_start().strip_prefix("Code: ")?;
    let digits = code.find(|c: char| !c.is_ascii_digit())?;
    code.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hyper::header::HeaderMap;

    use super::*;

    fn name(status: u16, header: Option<&str>, head: &str) -> (&'static str, &'static str) {
        let mut headers = HeaderMap::new();
        if let Some(code) = header {
            headers.insert(CODE_HEADER, code.parse().unwrap());
        }
        let verdict = judged(&Answer {
            what: "POST http://h/",
            status: hyper::StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            trailers: &HeaderMap::new(),
            head: head.as_bytes(),
            whole: true,
            now: SystemTime::UNIX_EPOCH,
        });
        match verdict {
            Verdict::Accepted => ("accepted", ""),
            Verdict::AcceptedExcept { .. } => ("accepted_except", ""),
            Verdict::Items(_) => ("items", ""),
            Verdict::Retry { reason, .. } => ("retry", reason.code),
            Verdict::Split(reason) => ("split", reason.code),
            Verdict::Bisect(reason) => ("bisect", reason.code),
            Verdict::Pause(reason) => ("pause", reason.code),
        }
    }

    #[test]
    fn the_code_of_the_exception_decides_and_not_the_status() {
        for (status, header, head, wanted) in [
            (200, None, "", ("accepted", "")),
            (200, None, "Ok.\n", ("accepted", "")),
            (200, Some("41"), "", ("bisect", "clickhouse_row")),
            (
                200,
                None,
                "Code: 117. DB::Exception: Unknown field",
                ("bisect", "clickhouse_row"),
            ),
            (500, Some("27"), "Code: 27. x", ("bisect", "clickhouse_row")),
            (
                404,
                Some("60"),
                "Code: 60. x",
                ("pause", "clickhouse_settings"),
            ),
            (
                403,
                Some("516"),
                "Code: 516. x",
                ("pause", "clickhouse_settings"),
            ),
            (
                500,
                Some("241"),
                "Code: 241. x",
                ("split", "clickhouse_memory"),
            ),
            (
                500,
                Some("252"),
                "Code: 252. x",
                ("retry", "clickhouse_exception"),
            ),
            (500, Some("999"), "", ("retry", "clickhouse_exception")),
            (400, Some("4242"), "", ("retry", "clickhouse_exception")),
            (503, None, "busy", ("retry", "http_503")),
            (404, None, "not here", ("pause", "http_404")),
            (413, None, "", ("split", "http_413")),
            (200, None, "Code: x", ("accepted", "")),
        ] {
            assert_eq!(
                name(status, header, head),
                wanted,
                "{status} {header:?} {head}"
            );
        }
    }

    #[test]
    fn a_payload_has_one_token_whatever_the_attempt() {
        let config = ClickHouseSink::new("http://h:8123".to_owned());
        let insert = Insert::new(&config, "t");
        let target = insert.target(b"abc").unwrap();
        assert_eq!(target.path(), "/");
        assert_eq!(insert.target(b"abc"), Some(target.clone()));
        assert_ne!(insert.target(b"abd"), Some(target.clone()));
        let query = target.query().unwrap();
        assert!(
            query.contains("INSERT%20INTO%20t%20FORMAT%20JSONEachRow"),
            "{query}"
        );
        assert!(!query.contains("async_insert"), "{query}");
        let without = ClickHouseSink {
            insert_token: false,
            async_insert: true,
            ..config
        };
        let target = Insert::new(&without, "t").target(b"abc").unwrap();
        let query = target.query().unwrap();
        assert!(
            query.contains("&wait_for_async_insert=1") && !query.contains("token"),
            "{query}"
        );
    }
}
