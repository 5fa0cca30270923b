//! The Kafka transport against a strict broker: every attempt gets exactly one verdict, and the right one; identities
//! and authorities are taken, refused, and followed when their files change.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore::clock::SystemClock;
use longshore::config::{
    Address, Compression, KafkaSink, RowFormat, Rows, Sasl, ScramHash, Secret, Tls, Topic,
};
use longshore::encode::frames::Frames;
use longshore::encode::{Encode, Run};
use longshore::pods::PodState;
use longshore::record::{ChainKey, ChainMeta, Flags, Level, Record, Stream, TimeText};
use longshore::sink::kafka::{Batches, Kafka};
use longshore::sink::{Attempt, Item, Transport, Verdict};
use longshore::waker::Waker;
use tokio::sync::Notify;

use super::certificates::{Authority, Shown, server_tls};
use super::kafka_broker::{Asks, Broker, Deed};

/// How long a verdict may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(broker: &Broker) -> KafkaSink {
    KafkaSink {
        bootstrap_servers: vec![Address {
            host: "localhost".to_owned(),
            port: broker.port,
        }],
        topic: Topic::parse("t").unwrap(),
        request_timeout_ms: 500,
        ..KafkaSink::default()
    }
}

/// A payload of one record for each of these pods.
fn payload(pods: &[u32]) -> Bytes {
    let topic = Topic::parse("t").unwrap();
    let mut frames = Frames::new(&Rows::default(), "n1", None, topic);
    let mut out = Vec::new();
    for pod in pods {
        let chain = ChainMeta {
            key: ChainKey {
                pod_uid: format!("uid-{pod}"),
                container: "app".to_owned(),
                restart: 0,
            },
            namespace: "shop".to_owned(),
            pod: "web".to_owned(),
            container_id: String::new(),
            pod_state: PodState::Unasked,
        };
        let described = frames.describe(&chain);
        let run = Run {
            parse_json: None,
            chain: &chain,
            described: &described,
            uid_seed: 1,
        };
        frames.begin_run(&run, &mut out);
        let record = Record {
            time: &TimeText::new(b"2026-01-01T00:00:00Z"),
            stream: Stream::Stdout,
            message: b"hello",
            level: Level::Info,
            flags: Flags::NONE,
            start: 0,
            end: 5,
        };
        frames.record(&record, &mut out);
    }
    Bytes::from(out)
}

struct Client {
    kafka: Kafka,
    runtime: tokio::runtime::Runtime,
    /// Rung after each verdict.
    woken: Arc<Notify>,
    next_id: u64,
}

impl Client {
    fn start(config: &KafkaSink) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let batches = Batches {
            format: RowFormat::Ndjson,
            compression: Compression::Gzip(1),
        };
        let clock = Arc::new(SystemClock::new());
        let woken = Arc::new(Notify::new());
        let bell = Arc::clone(&woken);
        let waker = Waker::new(move || bell.notify_one());
        let kafka = Kafka::start(config, batches, clock, runtime.handle(), waker);
        Client {
            kafka,
            runtime,
            woken,
            next_id: 0,
        }
    }

    /// One attempt from beginning to end.
    fn send(&mut self, pods: &[u32]) -> Verdict {
        let id = self.next_id;
        self.next_id += 1;
        let attempt = |id| Attempt {
            id,
            body: payload(pods),
            records: pods.len() as u32,
            uncompressed_bytes: 0,
        };
        self.kafka.try_submit(attempt(id)).unwrap();
        let refused = self.kafka.try_submit(attempt(id + 1)).unwrap_err();
        assert_eq!(refused.id, id + 1);
        loop {
            if let Some((settled, verdict)) = self.kafka.poll_verdict() {
                assert_eq!(settled, id);
                assert_eq!(self.kafka.poll_verdict(), None);
                return verdict;
            }
            let woken = Arc::clone(&self.woken);
            let wake = async move { tokio::time::timeout(PATIENCE, woken.notified()).await };
            self.runtime.block_on(wake).expect("no verdict");
        }
    }

    fn send_some(&mut self) -> Verdict {
        self.send(&[0])
    }
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Retry { reason, .. } | Verdict::Pause(reason) => reason.code,
        _ => panic!("{verdict:?}"),
    }
}

fn paused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Pause(_))
}

/// All partitions of a topic of one.
fn answer(code: i16) -> Deed {
    Deed::Answer(HashMap::from([(0, code)]))
}

#[test]
fn each_answer_has_its_verdict() {
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    let mut client = Client::start(&config(&broker));
    assert_eq!(client.send(&[0, 1, 2]), Verdict::Accepted);
    for code_sent in [3, 5, 6, 7, 13, 19, 20, 89, -1] {
        broker.rules.lock().unwrap().deeds = vec![answer(code_sent)];
        let verdict = client.send_some();
        assert!(
            matches!(verdict, Verdict::Retry { .. }),
            "{code_sent}: {verdict:?}"
        );
        assert_eq!(client.send_some(), Verdict::Accepted, "{code_sent}");
    }
    for code_sent in [17, 29, 31, 76] {
        broker.rules.lock().unwrap().deeds = vec![answer(code_sent)];
        let verdict = client.send_some();
        assert!(paused(&verdict), "{code_sent}: {verdict:?}");
    }
    for code_sent in [10, 18, 32, 87] {
        broker.rules.lock().unwrap().deeds = vec![answer(code_sent), answer(code_sent)];
        let verdict = client.send(&[0, 1]);
        let Verdict::Items(items) = &verdict else {
            panic!("{code_sent}: {verdict:?}");
        };
        // Both at once, then the first alone, are refused; the second is stored.
        assert!(
            matches!(items.as_slice(), [Item::Rejected(_), Item::Accepted]),
            "{items:?}"
        );
    }
}

#[test]
fn a_partition_that_fails_holds_up_no_other() {
    let broker = Broker::start("localhost", None, &[("t", 4)]);
    let mut client = Client::start(&config(&broker));
    broker.rules.lock().unwrap().deeds = vec![Deed::Answer(HashMap::from([(1, 6), (3, 29)]))];
    let pods: Vec<u32> = (0..40).collect();
    let Verdict::Items(items) = client.send(&pods) else {
        panic!("all partitions alike");
    };
    let again: Vec<u32> = pods
        .iter()
        .copied()
        .filter(|pod| items[*pod as usize] == Item::Retry)
        .collect();
    assert!(again.len() > 5 && again.len() < 35, "{again:?}");
    broker.rules.lock().unwrap().stored.clear();
    assert_eq!(client.send(&again), Verdict::Accepted);
    let rules = broker.rules.lock().unwrap();
    let mut partitions: Vec<i32> = rules
        .stored
        .iter()
        .map(|(_, partition, _)| *partition)
        .collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [1, 3]);
    let records: i32 = rules.stored.iter().map(|(.., count)| count).sum();
    assert_eq!(records as usize, again.len());
}

#[test]
fn what_was_stored_under_a_throttle_is_not_sent_again() {
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    let mut client = Client::start(&config(&broker));
    broker.rules.lock().unwrap().deeds = vec![Deed::Throttle(300)];
    let began = Instant::now();
    assert_eq!(client.send_some(), Verdict::Accepted);
    assert_eq!(broker.rules.lock().unwrap().stored.len(), 1);
    assert_eq!(client.send_some(), Verdict::Accepted);
    // The broker may count on it: no request comes before its time.
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(broker.rules.lock().unwrap().stored.len(), 2);
}

#[test]
fn a_broker_that_hangs_or_hangs_up_is_tried_again_by_a_new_connection() {
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    let mut client = Client::start(&config(&broker));
    for (deed, expected) in [(Deed::Hang, "timeout"), (Deed::Cut, "reset")] {
        broker.rules.lock().unwrap().deeds = vec![deed];
        let verdict = client.send_some();
        assert_eq!(code(&verdict), expected);
        assert!(!paused(&verdict));
        assert_eq!(client.send_some(), Verdict::Accepted);
    }
    let nobody = KafkaSink {
        bootstrap_servers: vec![Address {
            host: "127.0.0.1".to_owned(),
            port: 1,
        }],
        ..config(&broker)
    };
    let verdict = Client::start(&nobody).send_some();
    assert!(
        code(&verdict) == "connect" && !paused(&verdict),
        "{verdict:?}"
    );
}

#[test]
fn connections_are_kept() {
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    let mut client = Client::start(&config(&broker));
    for _ in 0..5 {
        assert_eq!(client.send_some(), Verdict::Accepted);
    }
    // One to ask for the topic, one for the records.
    assert_eq!(broker.rules.lock().unwrap().connections, 2);
}

#[test]
fn a_topic_that_is_not_there_pauses_until_it_is() {
    let broker = Broker::start("localhost", None, &[]);
    let mut client = Client::start(&config(&broker));
    let verdict = client.send_some();
    assert!(paused(&verdict) && code(&verdict) == "kafka_unknown_topic_or_partition");
    broker
        .rules
        .lock()
        .unwrap()
        .topics
        .insert("t".to_owned(), 2);
    assert_eq!(client.send_some(), Verdict::Accepted);
}

fn write(path: &Path, text: &str) -> Secret {
    std::fs::write(path, text).unwrap();
    Secret::File(path.to_owned())
}

#[test]
fn identities_are_taken_refused_and_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let secret = || Secret::File(path.clone());
    let user = "ann".to_owned();
    let scram = |hash| Sasl::Scram {
        hash,
        user: user.clone(),
        password: secret(),
    };
    let plain = Sasl::Plain {
        user: user.clone(),
        password: secret(),
    };
    let asked = |password: &str| password.to_owned();
    for (sasl, good, better) in [
        (
            plain.clone(),
            Asks::Plain(user.clone(), asked("hunter2")),
            Asks::Plain(user.clone(), asked("hunter3")),
        ),
        (
            scram(ScramHash::Sha256),
            Asks::Scram(true, asked("hunter2")),
            Asks::Scram(true, asked("hunter3")),
        ),
        (
            scram(ScramHash::Sha512),
            Asks::Scram(false, asked("hunter2")),
            Asks::Scram(false, asked("hunter3")),
        ),
        (
            Sasl::Bearer { token: secret() },
            Asks::Token(asked("hunter2")),
            Asks::Token(asked("hunter3")),
        ),
    ] {
        let broker = Broker::start("localhost", None, &[("t", 1)]);
        let mut client = Client::start(&KafkaSink {
            sasl,
            ..config(&broker)
        });
        let _none = std::fs::remove_file(&path);
        broker.rules.lock().unwrap().asks = good.clone();
        let verdict = client.send_some();
        assert!(
            paused(&verdict) && code(&verdict) == "credentials",
            "{verdict:?}"
        );
        write(&path, "hunter2\n");
        assert_eq!(client.send_some(), Verdict::Accepted, "{good:?}");
        // The broker's passwords change, and it hangs up on all; then the file changes.
        broker.rules.lock().unwrap().asks = better.clone();
        broker.rules.lock().unwrap().deeds = vec![Deed::Cut];
        assert_eq!(code(&client.send_some()), "reset");
        let verdict = client.send_some();
        assert!(paused(&verdict), "{verdict:?}");
        assert_eq!(code(&verdict), "kafka_sasl_authentication_failed");
        // The broker echoes what it was told.
        assert!(!format!("{verdict:?}").contains("hunter2"), "{verdict:?}");
        write(&path, "hunter3");
        assert_eq!(client.send_some(), Verdict::Accepted, "{better:?}");
    }
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    broker.rules.lock().unwrap().asks = Asks::Token("x".to_owned());
    let verdict = Client::start(&KafkaSink {
        sasl: plain,
        ..config(&broker)
    })
    .send_some();
    assert!(paused(&verdict) && code(&verdict) == "kafka_unsupported_sasl_mechanism");
}

#[test]
fn an_authority_is_trusted_only_if_it_is_the_one() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let shown = Shown::new(&ours.issue("localhost"));
    let broker = Broker::start("localhost", Some(server_tls(&shown, None)), &[("t", 1)]);
    let ca_file = directory.path().join("ca.pem");
    other.write(&ca_file);
    let mut client = Client::start(&KafkaSink {
        tls: Some(Tls {
            ca_file: Some(ca_file.clone()),
            ..Tls::default()
        }),
        connect_timeout_ms: 5_000,
        ..config(&broker)
    });
    let verdict = client.send_some();
    assert!(
        paused(&verdict) && code(&verdict) == "tls_certificate",
        "{verdict:?}"
    );
    ours.write(&ca_file);
    let deadline = Instant::now() + PATIENCE;
    // Files are looked at once per second.
    while client.send_some() != Verdict::Accepted {
        assert!(Instant::now() < deadline, "the file is not read again");
        std::thread::yield_now();
    }
}

#[test]
fn an_attempt_whose_runtime_is_gone_is_answered_all_the_same() {
    let broker = Broker::start("localhost", None, &[("t", 1)]);
    let Client {
        mut kafka, runtime, ..
    } = Client::start(&config(&broker));
    drop(runtime);
    let attempt = Attempt {
        id: 7,
        body: payload(&[0]),
        records: 1,
        uncompressed_bytes: 0,
    };
    kafka.try_submit(attempt).unwrap();
    let (id, verdict) = kafka.poll_verdict().unwrap();
    assert!(id == 7 && matches!(verdict, Verdict::Retry { .. }));
}
