//! The table of answers, and that ids are ids.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::*;
use crate::clock::SystemClock;

fn verdict(status: u16, headers: &[(HeaderName, &str)], body: &str) -> Verdict {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect();
    verdict_of(&Answer {
        what: "POST https://h/",
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        trailers: &HeaderMap::new(),
        head: body.as_bytes(),
        whole: true,
        now: SystemTime::UNIX_EPOCH,
    })
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::AcceptedExcept { .. } | Verdict::Items(_) => "items",
        Verdict::Retry { .. } => "retry",
        Verdict::Split(_) => "split",
        Verdict::Bisect(_) => "bisect",
        Verdict::Pause(_) => "pause",
    }
}

#[test]
fn every_answer_has_its_verdict() {
    let rows: [(&str, &[u16], &str); 8] = [
        ("accepted", &[204], ""),
        ("pause", &[200, 201, 202, 206], "<html>"),
        (
            "bisect",
            &[400, 422],
            "{\"error\":{\"code\":\"InvalidPayload\"}}",
        ),
        (
            "split",
            &[400],
            "{\"error\":{\"code\":\"RecordsTimeRangeIsMoreThan30Minutes\"}}",
        ),
        ("split", &[413], ""),
        (
            "split",
            &[400, 404, 499],
            "{\"error\":{\"code\":\"ReadyBody_ClientConnectionAbort\"}}",
        ),
        ("pause", &[301, 401, 403, 404, 405, 410, 415], ""),
        (
            "retry",
            &[408, 429, 500, 502, 503, 504, 599],
            "ReadyBody_ClientConnectionAbort",
        ),
    ];
    for (wanted, statuses, body) in rows {
        for status in statuses {
            let verdict = verdict(*status, &[], body);
            assert_eq!(name(&verdict), wanted, "{status}: {verdict:?}");
        }
    }
}

#[test]
fn both_forms_of_retry_after_are_honoured() {
    let after = |value: &str| {
        let header = (hyper::header::RETRY_AFTER, value);
        match verdict(429, &[header], "") {
            Verdict::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(
        after("Thu, 01 Jan 1970 00:00:42 GMT"),
        Some(Duration::from_secs(42))
    );
    assert_eq!(after("soon"), None);
}

#[test]
fn what_a_person_must_mend_is_said() {
    let text = |status| match verdict(status, &[], "") {
        Verdict::Pause(reason) => reason.text,
        other => panic!("{other:?}"),
    };
    assert!(
        text(403).contains("Monitoring Metrics Publisher"),
        "{}",
        text(403)
    );
    assert!(text(404).contains("stream"), "{}", text(404));
    assert!(text(200).contains("204"), "{}", text(200));
}

#[test]
fn calls_have_ids_of_their_own_and_rules_their_targets() {
    let config = AzureLogsSink {
        dcrs: vec!["dcr-1".to_owned(), "dcr-2".to_owned()],
        ..AzureLogsSink::new()
    };
    let protocol = LogsIngestion::new(&config, "Custom-X", Arc::new(SystemClock::new()));
    let targets: Vec<&str> = protocol
        .dcrs
        .iter()
        .map(|dcr| dcr.target.as_str())
        .collect();
    assert_eq!(
        targets,
        [
            "/dataCollectionRules/dcr-1/streams/Custom-X?api-version=2023-01-01",
            "/dataCollectionRules/dcr-2/streams/Custom-X?api-version=2023-01-01",
        ]
    );
    let ids: HashSet<String> = (0..100).map(|_| protocol.request_id()).collect();
    assert_eq!(ids.len(), 100);
    for id in ids {
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(parts[2].starts_with('4'), "{id}");
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
}
