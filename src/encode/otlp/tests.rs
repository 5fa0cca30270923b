mod messages;

use proptest::prelude::*;
use prost::Message;

use self::messages::{
    AnyValue, ArrayValue, KeyValue, LogRecord, Request, Resource, ResourceLogs, Scope, ScopeLogs,
    Value,
};
use super::*;
use crate::encode::testing;
use crate::pods::PodState;
use crate::record::{ChainKey, TimeText};

/// An attribute whose value is text.
fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(string(value)),
    }
}

/// A text as any value.
fn string(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::Text(value.to_owned())),
    }
}

/// An attribute whose value is a number.
fn number(key: &str, value: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::Number(value)),
        }),
    }
}

const SEED: u64 = 7;

type Runs = Vec<(ChainMeta, Vec<Owned>)>;

/// A record that owns its parts.
#[derive(Clone, Debug)]
struct Owned {
    /// Nanoseconds since 1970, and how they are written.
    time: (u64, &'static str),
    stream: Stream,
    message: Vec<u8>,
    level: Level,
    flags: Flags,
    start: u64,
}

const TIMES: [(u64, &str); 4] = [
    (1_709_251_199_987_654_321, "2024-02-29T23:59:59.987654321Z"),
    (1_709_251_200_500_000_000, "2024-03-01T00:00:00.5Z"),
    (1_709_251_200_000_000_000, "2024-03-01T00:00:00Z"),
    (0, "1970-01-01T00:00:00Z"),
];

impl Owned {
    fn of(message: &[u8]) -> Owned {
        Owned {
            time: TIMES[0],
            stream: Stream::Stderr,
            message: message.to_vec(),
            level: Level::Warning,
            flags: Flags::NONE,
            start: 1000,
        }
    }

    fn with<T>(&self, then: impl FnOnce(&Record<'_>) -> T) -> T {
        let time = TimeText::new(self.time.1.as_bytes());
        then(&Record {
            time: &time,
            stream: self.stream,
            message: &self.message,
            level: self.level,
            flags: self.flags,
            start: self.start,
            end: self.start + self.message.len() as u64 + 1,
        })
    }

    /// What a receiver should see.
    fn model(&self, uid: bool) -> LogRecord {
        let mut attributes = vec![text("log.iostream", self.stream.as_str())];
        if uid {
            let uid = self.with(|record| record_uid(SEED, record));
            attributes.push(text("log.record.uid", &format!("{uid:032x}")));
        }
        if !self.flags.is_empty() {
            let names: Vec<_> = self.flags.names().collect();
            attributes.push(text("longshore.log.flags", &names.join(",")));
        }
        let (severity_number, severity_text) = match self.level {
            Level::Critical => (21, "CRITICAL"),
            Level::Error => (17, "ERROR"),
            Level::Warning => (13, "WARNING"),
            Level::Info => (9, "INFO"),
            Level::Debug => (5, "DEBUG"),
            Level::Trace => (1, "TRACE"),
            Level::Unknown => (0, ""),
        };
        LogRecord {
            time_unix_nano: self.time.0,
            severity_number,
            severity_text: severity_text.to_owned(),
            body: Some(string(&String::from_utf8_lossy(&self.message))),
            attributes,
            ..LogRecord::default()
        }
    }
}

fn chain(pod: &str) -> ChainMeta {
    ChainMeta {
        key: ChainKey {
            pod_uid: format!("uid of {pod}"),
            container: "app".to_owned(),
            restart: 2,
        },
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        container_id: "0123abcd".to_owned(),
        pod_state: PodState::Unasked,
    }
}

fn model(runs: &Runs, uid: bool) -> Request {
    let runs = runs.iter().filter(|(_, records)| !records.is_empty());
    let resource_logs = runs.map(|(chain, records)| ResourceLogs {
        resource: Some(Resource {
            attributes: vec![
                text("service.name", &chain.key.container),
                text("k8s.cluster.name", "harbour"),
                text("k8s.node.name", "node-1"),
                text("k8s.namespace.name", &chain.namespace),
                text("k8s.pod.name", &chain.pod),
                text("k8s.pod.uid", &chain.key.pod_uid),
                text("k8s.container.name", &chain.key.container),
                number("k8s.container.restart_count", chain.key.restart.into()),
                text("container.id", &chain.container_id),
            ],
            dropped_attributes_count: 0,
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(Scope {
                name: "longshore".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            log_records: records.iter().map(|record| record.model(uid)).collect(),
            schema_url: String::new(),
        }],
        schema_url: "https://opentelemetry.io/schemas/1.44.0".to_owned(),
    });
    Request {
        resource_logs: resource_logs.collect(),
    }
}

fn encoder(uid: bool) -> Otlp {
    Otlp::new("node-1", Some("harbour"), Attributes::default(), uid)
}

/// Encodes runs as the pipeline does: what a run appended is moved away before the next begins. Gives the payload, the
/// ends of its records, and which of them were mended.
fn encode(otlp: &mut Otlp, runs: &Runs) -> (Vec<u8>, Vec<u32>, Vec<bool>) {
    let (mut bytes, mut ends, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
    let mut staging = Vec::new();
    otlp.begin(&mut staging);
    for (chain, records) in runs {
        let described = otlp.describe(chain);
        let run = Run {
            parse_json: None,
            chain,
            described: &described,
            uid_seed: SEED,
        };
        otlp.begin_run(&run, &mut staging);
        for record in records {
            replaced.push(record.with(|record| otlp.record(record, &mut staging).replaced));
            ends.push((bytes.len() + staging.len()) as u32);
            // A record that is one too many is taken back, as the builder does.
            let before = staging.len();
            record.with(|record| otlp.record(record, &mut staging));
            staging.truncate(before);
        }
        otlp.end_run(&mut staging);
        bytes.append(&mut staging);
    }
    otlp.finish(&mut staging);
    bytes.append(&mut staging);
    (bytes, ends, replaced)
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "\\PC{0,40}".prop_map(String::into_bytes),
        (0_usize..20_000).prop_map(|len| vec![b'm'; len]),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let flags = prop::sample::subsequence(vec![Flags::PARTIAL, Flags::CUT, Flags::UNPARSED], 0..=3);
    let flags = flags.prop_map(|set| set.into_iter().fold(Flags::NONE, Flags::with));
    let stream = prop::sample::select(Stream::ALL.to_vec());
    let level = prop::sample::select(LEVELS.to_vec());
    let time = prop::sample::select(TIMES.to_vec());
    (message(), flags, stream, level, time, any::<u32>()).prop_map(
        |(message, flags, stream, level, time, start)| Owned {
            time,
            stream,
            message,
            level,
            flags,
            start: start.into(),
        },
    )
}

fn runs() -> impl Strategy<Value = Runs> {
    let run = ("[a-z]{1,8}", prop::collection::vec(record(), 0..6));
    let run = run.prop_map(|(pod, records)| (chain(&pod), records));
    prop::collection::vec(run, 0..6)
}

proptest! {
    /// Whatever the records hold, a receiver decodes them and sees each as it was, in its run.
    #[test]
    fn what_is_decoded_is_what_was_encoded(runs in runs(), uid: bool) {
        let (bytes, ends, replaced) = encode(&mut encoder(uid), &runs);
        let decoded = Request::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(decoded, model(&runs, uid));
        prop_assert_eq!(ends.len(), replaced.len());
        let records = runs.iter().flat_map(|(_, records)| records);
        for (record, replaced) in records.zip(replaced) {
            prop_assert_eq!(std::str::from_utf8(&record.message).is_err(), replaced);
        }
    }

    /// A payload cut out of another is the one that encoding the kept records alone makes.
    #[test]
    fn a_cut_is_what_would_have_been_encoded(runs in runs(), picks in prop::collection::vec(any::<bool>(), 36)) {
        let mut otlp = encoder(true);
        let (whole, ends, _) = encode(&mut otlp, &runs);
        let mut number = 0_u32;
        let mut keep: Vec<Range<u32>> = Vec::new();
        let mut kept = runs.clone();
        for (_, records) in &mut kept {
            records.retain(|_| {
                let wanted = picks[number as usize];
                if wanted {
                    match keep.last_mut() {
                        Some(last) if last.end == number => last.end += 1,
                        _ => keep.push(number..number + 1),
                    }
                }
                number += 1;
                wanted
            });
        }
        let mut cut = Vec::new();
        otlp.cut(&whole, &ends, &keep, &mut cut);
        prop_assert_eq!(cut, encode(&mut otlp, &kept).0);
    }

    /// Whatever bytes are to be cut, cutting ends.
    #[test]
    fn damaged_payloads_are_cut_without_harm(
        runs in runs(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ends in prop::collection::vec(any::<u32>(), 0..8),
    ) {
        let mut otlp = encoder(true);
        let (mut whole, mut true_ends, _) = encode(&mut otlp, &runs);
        for (at, byte) in damage {
            if !whole.is_empty() {
                let at = at.index(whole.len());
                whole[at] = byte;
            }
        }
        true_ends.extend(ends);
        let mut out = Vec::new();
        otlp.cut(&whole, &true_ends, &[0..3, 5..100], &mut out);
    }
}

#[test]
fn attributes_of_the_user_take_the_place_of_ours() {
    let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let attributes = Attributes::new(vec![
        set("service.name", Some("checkout")),
        set("k8s.pod.uid", None),
        set("deployment.environment.name", Some("test")),
        set("empty", Some("")),
    ]);
    let mut otlp = Otlp::new("node-1", None, attributes, false);
    let mut chain = chain("web-0");
    chain.container_id.clear();
    let runs = vec![(chain, vec![Owned::of(b"x")])];
    let (bytes, ..) = encode(&mut otlp, &runs);
    let decoded = Request::decode(bytes.as_slice()).unwrap();
    let resource = decoded.resource_logs[0].resource.clone().unwrap();
    let expected = [
        text("k8s.node.name", "node-1"),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", "web-0"),
        text("k8s.container.name", "app"),
        number("k8s.container.restart_count", 2),
        text("service.name", "checkout"),
        text("deployment.environment.name", "test"),
    ];
    assert_eq!(resource.attributes, expected);
}

#[test]
fn bytes_that_are_no_text_are_replaced_as_in_rows() {
    let runs = vec![(
        chain("web-0"),
        vec![
            Owned::of(b"caf\xC3 \xF0\x9F\x98"),
            Owned::of("caf\u{E9}".as_bytes()),
        ],
    )];
    let (bytes, _, replaced) = encode(&mut encoder(true), &runs);
    assert_eq!(replaced, [true, false]);
    let decoded = Request::decode(bytes.as_slice()).unwrap();
    let records = &decoded.resource_logs[0].scope_logs[0].log_records;
    let bodies: Vec<_> = records.iter().map(|record| record.body.clone()).collect();
    let expected = ["caf\u{FFFD} \u{FFFD}", "caf\u{E9}"].map(|text| {
        Some(AnyValue {
            value: Some(Value::Text(text.to_owned())),
        })
    });
    assert_eq!(bodies, expected);
}

#[test]
fn what_is_known_of_a_pod_is_in_the_attributes_of_its_resource() {
    let runs = vec![(testing::known("web-0"), vec![Owned::of(b"x")])];
    let (bytes, ..) = encode(&mut encoder(false), &runs);
    let decoded = Request::decode(bytes.as_slice()).unwrap();
    let attributes = decoded.resource_logs[0]
        .resource
        .clone()
        .unwrap()
        .attributes;
    let has = |pair: KeyValue| assert!(attributes.contains(&pair), "{pair:?}: {attributes:?}");
    has(text("k8s.pod.uid", "api-uid"));
    has(text("k8s.deployment.name", "web"));
    has(text("k8s.pod.label.app.kubernetes.io/name", "web \"1\""));
    has(text("k8s.pod.annotation.note", "n"));
    has(text("container.image.name", "reg:5000/team/web"));
    for (name, item) in [
        ("container.image.tags", "1.2"),
        (
            "container.image.repo_digests",
            "reg:5000/team/web@sha256:ab",
        ),
    ] {
        let list = ArrayValue {
            values: vec![string(item)],
        };
        has(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::List(list)),
            }),
        });
    }
}
