use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::config::{LokiField, LokiLabel};
use crate::encode::testing::{Owned, Runs, chain, encode, keep_of, known, runs};
use crate::record::TimeText;

const SEED: u64 = 7;

/// The messages by their public field numbers, read by another library than wrote them.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamAdapter>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamAdapter {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn loki(change: impl FnOnce(&mut LokiSink)) -> Loki {
    let mut sink = LokiSink::new("http://h".to_owned(), true);
    change(&mut sink);
    Loki::new(&sink, "node-1", Some("blue"), true)
}

fn of_field(name: &str, field: LokiField) -> (String, Option<LokiLabel>) {
    (name.to_owned(), Some(LokiLabel::Field(field)))
}

fn decode(bytes: &[u8]) -> Vec<StreamAdapter> {
    PushRequest::decode(bytes).unwrap().streams
}

/// Each entry with the labels of its stream.
fn entries(streams: &[StreamAdapter]) -> Vec<(String, Entry)> {
    let with_labels = |stream: &StreamAdapter| {
        assert!(!stream.entries.is_empty());
        let labels = stream.labels.clone();
        stream
            .entries
            .iter()
            .map(move |entry| (labels.clone(), entry.clone()))
            .collect::<Vec<_>>()
    };
    streams.iter().flat_map(with_labels).collect()
}

#[test]
fn a_line_with_all_that_is_known_of_it() {
    let mut record = Owned::of(b"say \"hi\"\xFF");
    record.flags = Flags::CUT.with(Flags::PARTIAL);
    let uid = format!("{:032x}", record_uid(SEED, &record.record()));
    let payload = encode(&mut loki(|_| {}), SEED, &[(chain("web-0"), vec![record])]);
    let streams = decode(&payload.bytes);
    assert_eq!(streams.len(), 1);
    assert_eq!(
        streams[0].labels,
        r#"{cluster="blue", container="app \"one\"", namespace="shop", node="node-1"}"#
    );
    let entry = &streams[0].entries[0];
    // `date -u -d 2024-02-29T23:59:59 +%s`
    let time = Timestamp {
        seconds: 1_709_251_199,
        nanos: 1,
    };
    assert_eq!(entry.timestamp, Some(time));
    assert_eq!(entry.line, "say \"hi\"\u{FFFD}");
    let metadata: Vec<(&str, &str)> = entry
        .metadata
        .iter()
        .map(|pair| (pair.name.as_str(), pair.value.as_str()))
        .collect();
    assert_eq!(
        metadata,
        [
            ("pod", "web-0"),
            ("pod_uid", "uid of web-0"),
            ("container_id", "0123abcd"),
            ("stream", "stderr"),
            ("level", "warning"),
            ("record_uid", &uid),
            ("log_flags", "partial,cut"),
        ]
    );
}

#[test]
fn labels_alone() {
    let mut encoder = loki(|sink| {
        sink.structured_metadata = false;
        sink.labels = vec![
            (
                "job".to_owned(),
                Some(LokiLabel::Text("a\\\n\u{1}".to_owned())),
            ),
            of_field("id", LokiField::ContainerId),
            ("node".to_owned(), None),
        ];
    });
    let mut chain = chain("web-0");
    chain.container_id = String::new();
    let payload = encode(&mut encoder, SEED, &[(chain, vec![Owned::of(b"hi")])]);
    let streams = decode(&payload.bytes);
    assert_eq!(streams[0].labels, r#"{job="a\\\n\u0001"}"#);
    assert!(streams[0].entries[0].metadata.is_empty());
}

#[test]
fn a_stream_is_never_without_labels() {
    let mut encoder = loki(|sink| sink.labels = vec![of_field("id", LokiField::ContainerId)]);
    let mut chain = chain("web-0");
    chain.container_id = String::new();
    let payload = encode(&mut encoder, SEED, &[(chain, vec![Owned::of(b"hi")])]);
    assert_eq!(decode(&payload.bytes)[0].labels, r#"{node="node-1"}"#);
}

#[test]
fn values_are_cut_to_what_is_taken() {
    let mut encoder = loki(|sink| sink.labels = vec![of_field("pod", LokiField::Pod)]);
    let chain = chain(&"\u{e9}".repeat(3_000));
    let payload = encode(&mut encoder, SEED, &[(chain, vec![Owned::of(b"hi")])]);
    let wanted = format!("{{pod=\"{}\"}}", "\u{e9}".repeat(1_024));
    assert_eq!(decode(&payload.bytes)[0].labels, wanted);
}

/// What a record is sent as, made the slow way.
fn model(chain: &ChainMeta, owned: &Owned, by_stream: bool, by_level: bool) -> (String, Entry) {
    let mut labels = BTreeMap::from([("namespace", chain.namespace.clone())]);
    let mut metadata = vec![
        ("cluster", "blue".to_owned()),
        ("node", "node-1".to_owned()),
        ("pod", chain.pod.clone()),
        ("pod_uid", chain.key.pod_uid.clone()),
        ("container", chain.key.container.clone()),
        ("container_id", chain.container_id.clone()),
    ];
    let (stream, level) = (owned.stream.as_str(), owned.level.as_str().to_lowercase());
    match by_stream {
        true => drop(labels.insert("stream", stream.to_owned())),
        false => metadata.push(("stream", stream.to_owned())),
    }
    match by_level {
        true => drop(labels.insert("level", level)),
        false if owned.level != Level::Unknown => metadata.push(("level", level)),
        false => {}
    }
    metadata.push((
        "record_uid",
        format!("{:032x}", record_uid(SEED, &owned.record())),
    ));
    let flags: Vec<&str> = owned.flags.names().collect();
    if !flags.is_empty() {
        metadata.push(("log_flags", flags.join(",")));
    }
    metadata.retain(|(_, value)| !value.is_empty());
    let labels = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""));
    let labels: Vec<String> = labels.collect();
    let pair = |(name, value): (&str, String)| Pair {
        name: name.to_owned(),
        value,
    };
    let nanos = time_of(&owned.time);
    let entry = Entry {
        timestamp: Some(Timestamp {
            seconds: (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as i32,
        }),
        line: String::from_utf8_lossy(&owned.message).into_owned(),
        metadata: metadata.into_iter().map(pair).collect(),
    };
    (format!("{{{}}}", labels.join(", ")), entry)
}

fn time_of(time: &TimeText) -> u64 {
    UnixTime::default().of(time)
}

proptest! {
    /// Any records decode to what the model makes of them, in order, whatever is a label; and a cut holds the kept ones
    /// as encoding these alone would have made them, byte for byte where no label depends on the record.
    #[test]
    fn lines_equal_the_model_and_cuts_are_payloads(
        runs in runs(), keep in keep_of(), by_stream: bool, by_level: bool
    ) {
        let make = || loki(|sink| {
            sink.labels = vec![of_field("namespace", LokiField::Namespace)];
            if by_stream {
                sink.labels.push(of_field("stream", LokiField::Stream));
            }
            if by_level {
                sink.labels.push(of_field("level", LokiField::Level));
            }
        }).including(MetadataFields::NONE);
        let expected = |runs: &Runs| -> Vec<(String, Entry)> {
            let of_run = |(chain, all): &(ChainMeta, Vec<Owned>)| -> Vec<(String, Entry)> {
                all.iter().map(|it| model(chain, it, by_stream, by_level)).collect()
            };
            runs.iter().flat_map(of_run).collect()
        };
        let whole = encode(&mut make(), SEED, &runs);
        prop_assert_eq!(entries(&decode(&whole.bytes)), expected(&runs));
        let (ranges, kept) = keep.of(&runs);
        let mut cut = Vec::new();
        make().cut(&whole.bytes, &whole.ends, &ranges, &mut cut);
        prop_assert_eq!(entries(&decode(&cut)), expected(&kept));
        if !by_stream && !by_level {
            prop_assert_eq!(cut, encode(&mut make(), SEED, &kept).bytes);
        }
    }

    /// What is no payload is cut to something, and nothing breaks.
    #[test]
    fn any_bytes_can_be_cut(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        loki(|_| {}).cut(&bytes, &[9, 3], &[0..1, 1..2, 5..9], &mut Vec::new());
    }
}

#[test]
fn what_is_known_of_a_pod_is_beside_its_lines_and_no_label() {
    let runs = [(known("web-0"), vec![Owned::of(b"x")])];
    let payload = encode(&mut loki(|_| {}), SEED, &runs);
    let streams = decode(&payload.bytes);
    assert!(!streams[0].labels.contains("web"));
    let metadata = &streams[0].entries[0].metadata;
    let value = |name: &str| {
        metadata
            .iter()
            .find(|it| it.name == name)
            .map(|it| it.value.as_str())
    };
    assert_eq!(value("workload"), Some("Deployment/web"));
    assert_eq!(value("image"), Some("reg:5000/team/web"));
    assert_eq!(value("label_app_kubernetes_io_name"), Some("web \"1\""));
    let none = encode(
        &mut loki(|_| {}).including(MetadataFields::NONE),
        SEED,
        &runs,
    );
    let metadata = &decode(&none.bytes)[0].entries[0].metadata;
    assert!(
        metadata
            .iter()
            .all(|it| !it.name.starts_with("label_") && it.name != "image")
    );
}
