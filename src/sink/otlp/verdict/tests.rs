use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::messages::{Any, Delay, PartialSuccess};
use super::*;

type Pairs<'a> = &'a [(&'static str, &'a str)];

fn map(pairs: Pairs<'_>) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    });
    pairs.collect()
}

fn answered(
    judge: fn(&Answer<'_>, u64) -> Verdict,
    status: u16,
    (headers, trailers): (Pairs<'_>, Pairs<'_>),
    head: &[u8],
) -> Verdict {
    let answer = Answer {
        what: "POST http://h/",
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map(headers),
        trailers: &map(trailers),
        head,
        whole: true,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
    };
    judge(&answer, 10)
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::AcceptedExcept { .. } => "accepted_except",
        Verdict::Items(_) => "items",
        Verdict::Retry { .. } => "retry",
        Verdict::Split(_) => "split",
        Verdict::Bisect(_) => "bisect",
        Verdict::Pause(_) => "pause",
    }
}

fn response(rejected: i64, message: &str) -> Vec<u8> {
    let response = Response {
        partial_success: Some(PartialSuccess {
            rejected,
            error_message: message.to_owned(),
        }),
    };
    response.encode_to_vec()
}

fn details(seconds: i64, nanos: i32) -> String {
    let info = RetryInfo {
        retry_delay: Some(Delay { seconds, nanos }),
    };
    let status = Status {
        message: "later".to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    BASE64.encode(status.encode_to_vec())
}

#[test]
fn every_status_of_http_has_its_verdict() {
    let table: [(&str, &[u16]); 6] = [
        ("accepted", &[200, 202, 204]),
        ("retry", &[429, 502, 503, 504]),
        ("split", &[413]),
        ("bisect", &[400, 422, 500]),
        (
            "pause",
            &[301, 302, 307, 308, 401, 403, 404, 405, 406, 407, 408],
        ),
        (
            "pause",
            &[409, 410, 415, 417, 431, 451, 501, 505, 507, 511, 599],
        ),
    ];
    for (verdict, statuses) in table {
        for status in statuses {
            let found = answered(judge_http, *status, (&[], &[]), b"");
            assert_eq!(name(&found), verdict, "{status}");
        }
    }
}

#[test]
fn both_forms_of_retry_after_are_heard() {
    for (value, wait) in [("7", 7), ("Sun, 09 Sep 2001 01:46:52 GMT", 12)] {
        for status in [429, 502, 503, 504] {
            let found = answered(judge_http, status, (&[("retry-after", value)], &[]), b"");
            let Verdict::Retry { after, .. } = found else {
                panic!("{found:?}");
            };
            assert_eq!(after, Some(Duration::from_secs(wait)));
        }
    }
}

/// Over both protocols.
fn taken_with(message: &[u8]) -> [Verdict; 2] {
    let framed = [&[0, 0, 0, 0, message.len() as u8], message].concat();
    [
        answered(judge_http, 200, (&[], &[]), message),
        answered(judge_grpc, 200, (&[], &[("grpc-status", "0")]), &framed),
    ]
}

#[test]
fn a_partial_success_is_counted_and_not_sent_again() {
    for (rejected, counted) in [(1, 1), (10, 10), (99, 10), (i64::MAX, 10)] {
        for found in taken_with(&response(rejected, "too old")) {
            let Verdict::AcceptedExcept { rejected, reason } = found else {
                panic!("{found:?}");
            };
            assert_eq!((rejected, reason.code), (counted, "partial_success"));
            assert!(reason.text.ends_with("rejected: too old"), "{reason:?}");
        }
    }
    for message in [
        response(0, "please compress"),
        response(-1, ""),
        vec![],
        vec![0xFF; 9],
    ] {
        assert_eq!(taken_with(&message), [Verdict::Accepted, Verdict::Accepted]);
    }
}

#[test]
fn every_status_of_grpc_has_its_verdict() {
    let table: [(&str, &[u32]); 4] = [
        ("accepted", &[0]),
        ("retry", &[1, 4, 10, 11, 14, 15]),
        ("bisect", &[2, 3, 13]),
        ("pause", &[5, 6, 7, 8, 9, 12, 16]),
    ];
    for (verdict, statuses) in table {
        for status in statuses {
            let status = status.to_string();
            let said = [("grpc-status", status.as_str())];
            for found in [
                answered(judge_grpc, 200, (&[], &said), b""),
                answered(judge_grpc, 200, (&said, &[]), b""),
            ] {
                assert_eq!(name(&found), verdict, "{status}");
            }
        }
    }
    for status in ["", "x", "17", "-1"] {
        let found = answered(judge_grpc, 200, (&[], &[("grpc-status", status)]), b"");
        assert!(!matches!(found, Verdict::Accepted), "{found:?}");
    }
}

#[test]
fn retry_info_says_when_and_whether() {
    for (seconds, nanos, wait) in [
        (2, 500_000_000, Duration::from_millis(2_500)),
        (0, 0, Duration::ZERO),
        (-5, -1, Duration::ZERO),
        (i64::MAX, i32::MAX, RETRY_AFTER_MAX),
    ] {
        for status in ["8", "14"] {
            let encoded = details(seconds, nanos);
            for details in [encoded.as_str(), encoded.trim_end_matches('=')] {
                let said = [
                    ("grpc-status", status),
                    ("grpc-status-details-bin", details),
                ];
                let found = answered(judge_grpc, 200, (&[], &said), b"");
                let Verdict::Retry { after, .. } = found else {
                    panic!("{found:?}");
                };
                assert_eq!(after, Some(wait));
            }
        }
    }
}

#[test]
fn a_message_that_is_too_large_is_split() {
    for (status, message) in [
        (
            "8",
            "grpc: received message larger than max (5000000 vs. 4194304)",
        ),
        (
            "8",
            "SERVER: Received message larger than max (5000000 vs. 4194304)",
        ),
        ("8", "gRPC message exceeds maximum size 4194304: 5000000"),
        (
            "11",
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        ),
    ] {
        let said = [("grpc-status", status), ("grpc-message", message)];
        let found = answered(judge_grpc, 200, (&[], &said), b"");
        assert_eq!(name(&found), "split", "{message}");
    }
}

#[test]
fn an_answer_without_a_status_broke_off() {
    assert_eq!(name(&answered(judge_grpc, 200, (&[], &[]), b"")), "retry");
    for (status, verdict) in [
        (503, "retry"),
        (404, "pause"),
        (415, "pause"),
        (413, "split"),
    ] {
        assert_eq!(
            name(&answered(judge_grpc, status, (&[], &[]), b"")),
            verdict
        );
    }
}

#[test]
fn what_receivers_say_is_shown() {
    let said = [
        ("grpc-status", "3"),
        ("grpc-message", "no%20such%3A caf%C3%A9%0A 100%"),
    ];
    let Verdict::Bisect(reason) = answered(judge_grpc, 200, (&[], &said), b"") else {
        panic!("another verdict");
    };
    let text = "POST http://h/: INVALID_ARGUMENT: no such: caf\u{E9} 100%";
    assert_eq!(
        (reason.code, reason.text.as_str()),
        ("grpc_invalid_argument", text)
    );

    let status = Status {
        message: "bad field 7".to_owned(),
        details: Vec::new(),
    };
    let protobuf = [("content-type", "application/x-protobuf")];
    let body = status.encode_to_vec();
    for (headers, body) in [
        (&protobuf[..], body.as_slice()),
        (&[], b"\n bad field 7 \nx"),
    ] {
        let Verdict::Bisect(reason) = answered(judge_http, 400, (headers, &[]), body) else {
            panic!("another verdict");
        };
        assert_eq!(reason.text, "POST http://h/: 400 Bad Request: bad field 7");
    }
}

proptest! {
    /// Whatever a receiver says, there is a verdict, and its text is clean and short.
    #[test]
    fn no_answer_is_too_strange(
        status in 100_u16..600,
        grpc in "[0-9]{0,3}",
        message in "[ -~]{0,600}",
        details in "[A-Za-z0-9+/=]{0,80}",
        head in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let said = [
            ("grpc-status", grpc.as_str()),
            ("grpc-message", message.as_str()),
            ("grpc-status-details-bin", details.as_str()),
        ];
        for verdict in [
            answered(judge_http, status, (&said, &[]), &head),
            answered(judge_grpc, status, (&[], &said), &head),
        ] {
            if let Verdict::Retry { reason, .. }
            | Verdict::Split(reason)
            | Verdict::Bisect(reason)
            | Verdict::Pause(reason)
            | Verdict::AcceptedExcept { reason, .. } = verdict
            {
                prop_assert!(!reason.text.chars().any(char::is_control));
                prop_assert!(reason.text.len() <= Reason::TEXT_BYTES_MAX);
            }
        }
    }
}
