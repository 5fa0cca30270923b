mod messages;

use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use self::messages as wire;
use super::*;
use crate::encode::testing::{Owned, Runs, chain, encode, keep_of, runs};

const SEED: u64 = 7;

fn config(record_uid: bool) -> RowsConfig {
    RowsConfig {
        record_uid,
        fields: vec![
            ("team".to_owned(), json!("a")),
            ("n".to_owned(), json!([1, null])),
        ],
        ..RowsConfig::default()
    }
}

fn encoder(record_uid: bool) -> LogBatch {
    LogBatch::new(&config(record_uid), "node-1", Some("harbour"))
}

fn field(name: &str, json: &str) -> wire::Field {
    wire::Field {
        name: name.to_owned(),
        json: json.to_owned(),
    }
}

/// What a receiver should see of a record.
fn model(owned: &Owned, uid: bool) -> wire::LogRecord {
    let record = owned.record();
    let uid = uid.then(|| record_uid(SEED, &record).to_be_bytes().to_vec());
    wire::LogRecord {
        time_unix_nano: UnixTime::default().of(record.time),
        message: String::from_utf8_lossy(record.message).into_owned(),
        source: match record.stream {
            Stream::Stdout => wire::LogSource::Stdout,
            Stream::Stderr => wire::LogSource::Stderr,
        }
        .into(),
        level: match record.level {
            Level::Unknown => wire::LogLevel::Unknown,
            Level::Trace => wire::LogLevel::Trace,
            Level::Debug => wire::LogLevel::Debug,
            Level::Info => wire::LogLevel::Info,
            Level::Warning => wire::LogLevel::Warning,
            Level::Error => wire::LogLevel::Error,
            Level::Critical => wire::LogLevel::Critical,
        }
        .into(),
        record_uid: uid.unwrap_or_default(),
        partial: record.flags.has(Flags::PARTIAL),
        cut: record.flags.has(Flags::CUT),
        unparsed: record.flags.has(Flags::UNPARSED),
    }
}

fn model_of_all(runs: &Runs, uid: bool) -> wire::LogBatch {
    let runs = runs.iter().filter(|(_, records)| !records.is_empty());
    let groups = runs.map(|(chain, records)| wire::RecordGroup {
        container: Some(wire::Container {
            computer: "node-1".to_owned(),
            container_id: chain.container_id.clone(),
            container_name: chain.key.container.clone(),
            pod_name: chain.pod.clone(),
            pod_namespace: chain.namespace.clone(),
            pod_uid: chain.key.pod_uid.clone(),
            restart_count: chain.key.restart,
            cluster_name: "harbour".to_owned(),
            fields: vec![field("team", "\"a\""), field("n", "[1,null]")],
        }),
        records: records.iter().map(|record| model(record, uid)).collect(),
    });
    wire::LogBatch {
        groups: groups.collect(),
    }
}

proptest! {
    /// Whatever the records hold, a receiver decodes them and sees each as it was, in its group.
    #[test]
    fn what_is_decoded_is_what_was_encoded(runs in runs(), uid: bool) {
        let payload = encode(&mut encoder(uid), SEED, &runs);
        let decoded = wire::LogBatch::decode(payload.bytes.as_slice()).unwrap();
        prop_assert_eq!(decoded, model_of_all(&runs, uid));
    }

    /// A payload cut out of another is the one that encoding the kept records alone makes.
    #[test]
    fn a_cut_is_what_would_have_been_encoded(runs in runs(), keep in keep_of()) {
        let mut encoder = encoder(true);
        let whole = encode(&mut encoder, SEED, &runs);
        let (ranges, kept) = keep.of(&runs);
        let mut cut = Vec::new();
        encoder.cut(&whole.bytes, &whole.ends, &ranges, &mut cut);
        prop_assert_eq!(cut, encode(&mut encoder, SEED, &kept).bytes);
    }

    /// Payloads one behind the other are one payload.
    #[test]
    fn payloads_can_be_put_together(one in runs(), other in runs()) {
        let both = [&one, &other].map(|runs| encode(&mut encoder(false), SEED, runs).bytes);
        let decoded = wire::LogBatch::decode(both.concat().as_slice()).unwrap();
        prop_assert_eq!(decoded, model_of_all(&[one, other].concat(), false));
    }

    /// Whatever bytes are to be cut, cutting ends.
    #[test]
    fn damaged_payloads_are_cut_without_harm(
        runs in runs(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut encoder = encoder(true);
        let mut whole = encode(&mut encoder, SEED, &runs);
        for (at, byte) in damage {
            if !whole.bytes.is_empty() {
                let at = at.index(whole.bytes.len());
                whole.bytes[at] = byte;
            }
        }
        let mut out = Vec::new();
        encoder.cut(&whole.bytes, &whole.ends, &[0..3, 5..100], &mut out);
    }
}

/// What a container has not is not written.
#[test]
fn absent_columns_are_absent() {
    let mut encoder = LogBatch::new(&RowsConfig::default(), "n", None);
    let mut chain = chain("web-0");
    chain.key.restart = 0;
    chain.container_id.clear();
    let payload = encode(&mut encoder, SEED, &[(chain, vec![Owned::of(b"")])]);
    let decoded = wire::LogBatch::decode(payload.bytes.as_slice()).unwrap();
    let container = decoded.groups[0].container.clone().unwrap();
    let expected = wire::Container {
        computer: "n".to_owned(),
        container_name: "app \"one\"".to_owned(),
        pod_name: "web-0".to_owned(),
        pod_namespace: "shop".to_owned(),
        pod_uid: "uid of web-0".to_owned(),
        ..wire::Container::default()
    };
    assert_eq!(container, expected);
    assert_eq!(decoded.groups[0].records[0].record_uid, b"");
}
