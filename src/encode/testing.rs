//! What the tests of encoders share: chains and records of any kind, and payloads of them.

use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Encode, Run};
use crate::pods::{ContainerInfo, PodInfo, PodState, Workload};
use crate::record::{ChainKey, ChainMeta, Flags, Level, Record, Stream, TimeText};

/// Runs, each of a chain's records.
pub type Runs = Vec<(ChainMeta, Vec<Owned>)>;

/// A container of a pod of this name.
pub fn chain(pod: &str) -> ChainMeta {
    ChainMeta {
        key: ChainKey {
            pod_uid: format!("uid of {pod}"),
            container: "app \"one\"".to_owned(),
            restart: 2,
        },
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        container_id: "0123abcd".to_owned(),
        pod_state: PodState::Unasked,
    }
}

/// The same container with all that the cluster can say of its pod.
pub fn known(pod: &str) -> ChainMeta {
    let text = |text: &str| text.to_owned();
    let mut chain = chain(pod);
    chain.pod_state = PodState::Known(Arc::new(PodInfo {
        uid: text("api-uid"),
        labels: [(text("app.kubernetes.io/name"), text("web \"1\""))].into(),
        annotations: [
            (text("kubernetes.io/config.hash"), text("0a1b")),
            (text("note"), text("n")),
        ]
        .into(),
        workload: Some(Workload {
            kind: text("Deployment"),
            name: text("web"),
        }),
        containers: vec![ContainerInfo {
            name: chain.key.container.clone(),
            image: text("reg:5000/team/web:1.2"),
            image_id: text("reg:5000/team/web@sha256:ab"),
            ..ContainerInfo::default()
        }],
        ..PodInfo::default()
    }));
    chain
}

/// A record that owns its parts.
#[derive(Clone, Debug)]
pub struct Owned {
    pub time: TimeText,
    pub stream: Stream,
    pub message: Vec<u8>,
    pub level: Level,
    pub flags: Flags,
    pub start: u64,
}

impl Owned {
    /// A warning on stderr.
    pub fn of(message: &[u8]) -> Owned {
        Owned {
            time: TimeText::new(b"2024-02-29T23:59:59.000000001Z"),
            stream: Stream::Stderr,
            message: message.to_vec(),
            level: Level::Warning,
            flags: Flags::NONE,
            start: 1000,
        }
    }

    /// As an encoder sees it.
    pub fn record(&self) -> Record<'_> {
        Record {
            time: &self.time,
            stream: self.stream,
            message: &self.message,
            level: self.level,
            flags: self.flags,
            start: self.start,
            end: self.start + self.message.len() as u64 + 1,
        }
    }
}

/// What encoding some runs gave.
#[derive(Debug, Default, PartialEq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub ends: Vec<u32>,
}

/// Encodes runs as the pipeline does: what a run appended is moved away before the next begins, and a record that does
/// not fit any more is taken back.
pub fn encode(
    encoder: &mut dyn Encode,
    uid_seed: u64,
    runs: &[(ChainMeta, Vec<Owned>)],
) -> Payload {
    let mut payload = Payload::default();
    let mut staging = Vec::new();
    encoder.begin(&mut staging);
    for (chain, records) in runs {
        let described = encoder.describe(chain);
        let run = Run {
            parse_json: None,
            chain,
            described: &described,
            uid_seed,
        };
        encoder.begin_run(&run, &mut staging);
        for record in records {
            encoder.record(&record.record(), &mut staging);
            let end = payload.bytes.len() + staging.len();
            payload.ends.push(end as u32);
        }
        let before = staging.len();
        encoder.record(&Owned::of(b"one too many").record(), &mut staging);
        staging.truncate(before);
        encoder.end_run(&mut staging);
        payload.bytes.append(&mut staging);
    }
    encoder.finish(&mut staging);
    payload.bytes.append(&mut staging);
    payload
}

fn record() -> impl Strategy<Value = Owned> {
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        Just(Vec::new()),
    ];
    let level = prop::sample::select(vec![Level::Critical, Level::Info, Level::Unknown]);
    let flags = prop::sample::select(vec![
        Flags::NONE,
        Flags::CUT,
        Flags::PARTIAL.with(Flags::UNPARSED),
    ]);
    let stream = prop::sample::select(Stream::ALL.to_vec());
    let time = (
        1_u32..29,
        0_u32..24,
        0_u32..60,
        prop::option::of(0_u32..1_000_000_000),
    );
    (message, level, flags, stream, any::<u32>(), time).prop_map(
        |(message, level, flags, stream, start, (day, hour, second, nanos))| {
            let fraction = nanos.map_or(String::new(), |nanos| format!(".{nanos:09}"));
            let time = format!("2024-02-{day:02}T{hour:02}:59:{second:02}{fraction}Z");
            Owned {
                time: TimeText::new(time.as_bytes()),
                stream,
                message,
                level,
                flags,
                start: u64::from(start),
            }
        },
    )
}

/// Any runs, some of them without records.
pub fn runs() -> impl Strategy<Value = Runs> {
    let pod = any::<String>().prop_map(|pod| chain(&pod));
    let namespace = "[a-z]{1,8}";
    let labels = prop::collection::btree_map(any::<String>(), any::<String>(), 0..3);
    let pods =
        (labels.clone(), labels, any::<String>()).prop_map(|(labels, annotations, image)| {
            let container = ContainerInfo {
                name: chain("").key.container,
                image_id: image.clone(),
                image,
                ..ContainerInfo::default()
            };
            PodState::Known(Arc::new(PodInfo {
                labels,
                annotations,
                containers: vec![container],
                ..PodInfo::default()
            }))
        });
    let state = prop_oneof![Just(PodState::Missing), pods];
    let chain = (pod, namespace, state).prop_map(|(chain, namespace, pod_state)| ChainMeta {
        namespace,
        pod_state,
        ..chain
    });
    prop::collection::vec((chain, prop::collection::vec(record(), 0..4)), 0..4)
}

/// Which of at most 16 records to keep.
#[derive(Clone, Debug)]
pub struct Keep(Vec<bool>);

/// Any of them.
pub fn keep_of() -> impl Strategy<Value = Keep> {
    prop::collection::vec(any::<bool>(), 16).prop_map(Keep)
}

impl Keep {
    /// As ranges of record numbers, and as runs of the kept records alone.
    pub fn of(&self, runs: &[(ChainMeta, Vec<Owned>)]) -> (Vec<Range<u32>>, Runs) {
        let mut keep = self.0.iter().copied();
        let (mut ranges, mut kept) = (Vec::<Range<u32>>::new(), Runs::new());
        let mut number = 0;
        for (chain, records) in runs {
            let mut of_chain = Vec::new();
            for record in records {
                if keep.next().unwrap() {
                    of_chain.push(record.clone());
                    match ranges.last_mut() {
                        Some(last) if last.end == number => last.end += 1,
                        _ => ranges.push(number..number + 1),
                    }
                }
                number += 1;
            }
            kept.push((chain.clone(), of_chain));
        }
        (ranges, kept)
    }
}
