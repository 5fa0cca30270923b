use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encode::testing::{Owned, chain, encode, keep_of, known, runs};
use crate::record::Flags;

const SEED: u64 = 7;

fn hec(change: impl FnOnce(&mut SplunkHecSink)) -> Hec {
    let mut sink = SplunkHecSink::new("http://h".to_owned());
    change(&mut sink);
    let rows = RowsConfig {
        record_uid: true,
        fields: vec![("team".to_owned(), Value::from("a"))],
        ..RowsConfig::default()
    };
    Hec::new(&sink, &rows, "node-1", Some("blue"))
}

fn events(payload: &[u8]) -> Vec<Value> {
    let events = serde_json::Deserializer::from_slice(payload).into_iter();
    events.collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_event_with_all_that_is_known_of_it() {
    let mut encoder = hec(|sink| sink.index = Some("k8s-{namespace}".to_owned()));
    let mut record = Owned::of(b"say \"hi\"\xFF");
    record.flags = Flags::CUT.with(Flags::PARTIAL);
    let uid = format!("{:032x}", record_uid(SEED, &record.record()));
    let payload = encode(&mut encoder, SEED, &[(chain("web-0"), vec![record])]);
    // `date -u -d 2024-02-29T23:59:59 +%s`
    assert!(payload.bytes.starts_with(b"{\"time\":1709251199.000,"));
    let wanted = json!({
        "time": 1_709_251_199.0,
        "host": "node-1",
        "source": "shop/web-0/app \"one\"",
        "sourcetype": "kube:container:app \"one\"",
        "index": "k8s-shop",
        "event": "say \"hi\"\u{FFFD}",
        "fields": {
            "k8s.cluster.name": "blue",
            "k8s.node.name": "node-1",
            "k8s.namespace.name": "shop",
            "k8s.pod.name": "web-0",
            "k8s.pod.uid": "uid of web-0",
            "k8s.container.name": "app \"one\"",
            "container.id": "0123abcd",
            "log.iostream": "stderr",
            "log.level": "WARNING",
            "team": "a",
            "record_uid": uid,
            "log.flags": "partial,cut",
        },
    });
    assert_eq!(events(&payload.bytes), [wanted]);
}

#[test]
fn an_event_that_is_a_row() {
    let mut encoder = hec(|sink| sink.event = HecEvent::Row);
    let payload = encode(
        &mut encoder,
        SEED,
        &[(chain("web-0"), vec![Owned::of(b"")])],
    );
    let events = events(&payload.bytes);
    assert_eq!(events[0]["event"]["LogMessage"], "");
    assert_eq!(events[0]["event"]["PodName"], "web-0");
    assert_eq!(events[0]["event"]["team"], "a");
    assert_eq!(events[0]["fields"], Value::Null);
}

#[test]
fn times_are_numbers_of_json() {
    for (nanos, wanted) in [
        (0, "0.000"),
        (999_999, "0.000"),
        (1_000_000, "0.001"),
        (12_345_678_901, "12.345"),
        (1_709_251_199_987_654_321, "1709251199.987"),
    ] {
        let mut out = Vec::new();
        put_time(nanos, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}

proptest! {
    /// Any records are one event each, in order, none of them blank, with their time and message; and a cut is what
    /// encoding the kept ones alone would have made.
    #[test]
    fn events_decode_to_their_records_and_cuts_are_payloads(
        runs in runs(), keep in keep_of(), rows: bool
    ) {
        let make = || hec(|sink| if rows {
            sink.event = HecEvent::Row;
        });
        let whole = encode(&mut make(), SEED, &runs);
        let events = events(&whole.bytes);
        let of_run = |(chain, all): &(ChainMeta, Vec<Owned>)| -> Vec<(ChainMeta, Owned)> {
            all.iter().map(|it| (chain.clone(), it.clone())).collect()
        };
        let records: Vec<_> = runs.iter().flat_map(of_run).collect();
        prop_assert_eq!(events.len(), records.len());
        for (event, (chain, record)) in events.iter().zip(&records) {
            let text = String::from_utf8_lossy(&record.message);
            let text = if text.is_empty() && !rows { " ".into() } else { text };
            let found = if rows { &event["event"]["LogMessage"] } else { &event["event"] };
            prop_assert_eq!(found, &Value::from(text));
            let seconds = UnixTime::default().of(&record.time) / 1_000_000;
            let found = event["time"].as_f64().unwrap() * 1e3;
            prop_assert_eq!(found.round() as u64, seconds);
            let source = format!("{}/{}/{}", chain.namespace, chain.pod, chain.key.container);
            prop_assert_eq!(&event["source"], &Value::from(source));
        }
        let (ranges, kept) = keep.of(&runs);
        let mut cut = Vec::new();
        make().cut(&whole.bytes, &whole.ends, &ranges, &mut cut);
        prop_assert_eq!(cut, encode(&mut make(), SEED, &kept).bytes);
    }
}

#[test]
fn what_is_known_of_a_pod_is_in_indexed_fields() {
    let chain = known("web-0");
    let payload = encode(&mut hec(|_| {}), SEED, &[(chain, vec![Owned::of(b"x")])]);
    let fields = &events(&payload.bytes)[0]["fields"];
    for (name, value) in [
        ("k8s.pod.uid", "api-uid"),
        ("k8s.deployment.name", "web"),
        ("k8s.pod.labels.app.kubernetes.io/name", "web \"1\""),
        ("container.image.name", "reg:5000/team/web"),
        ("container.image.tag", "1.2"),
        ("container.image.digest", "sha256:ab"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
}
