//! The writer on a disk that fails, forgets what was not synced, and dies in the middle of an operation.

mod model;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proptest::prelude::*;

use self::model::{Fault, Model};
use super::writer::{Setup, Writer};
use super::*;
use crate::clock::Time;

const DIRECTORY: &str = "/rows";

#[derive(Default)]
struct HandClock(AtomicU64);

impl HandClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Time {
        Time::from_ms(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

/// A writer that can be restarted, and what it was given.
struct Rig {
    model: Model,
    clock: Arc<HandClock>,
    stats: Arc<FileStats>,
    config: FileSink,
    framing: Framing,
    writer: Option<Writer>,
    submitted: u32,
    accepted: Vec<u32>,
}

impl Rig {
    fn new(framing: Framing, roll_bytes: u64, total_bytes_max: u64) -> Rig {
        let config = FileSink {
            directory: DIRECTORY.into(),
            roll_bytes,
            roll_interval_ms: 60_000,
            total_bytes_max,
        };
        let mut rig = Rig {
            model: Model::default(),
            clock: Arc::default(),
            stats: Arc::default(),
            config,
            framing,
            writer: None,
            submitted: 0,
            accepted: Vec::new(),
        };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let suffix = match self.framing {
            Framing::Gzip => "ndjson.gz",
            Framing::Zstd => "ndjson.zst",
            Framing::Lines => "ndjson",
        };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let setup = Setup {
            config: &self.config,
            suffix,
            framing: self.framing,
            clock,
            stats: Arc::clone(&self.stats),
        };
        self.writer = Writer::start(Box::new(self.model.clone()), setup).ok();
        if let Some(writer) = &mut self.writer {
            writer.recover();
        }
    }

    /// Submits payloads of a line each; returns why not all were stored.
    fn store(&mut self, count: u32) -> Option<Failure> {
        let Some(writer) = &mut self.writer else {
            self.start();
            return None;
        };
        let first = self.submitted;
        self.submitted += count;
        let bodies: Vec<Bytes> = (first..self.submitted)
            .map(|number| frame(self.framing, number))
            .collect();
        let (durable, failure) = writer.store(&bodies);
        assert_eq!(durable == bodies.len(), failure.is_none());
        self.accepted.extend(first..first + durable as u32);
        failure
    }

    /// The numbers of all payloads that a reader finds, in file order.
    fn found(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (name, _) in own_files(self.model.list(Path::new(DIRECTORY)).expect("no faults")) {
            assert_ne!(name.state, name::State::Damaged, "no fault damages: {name}");
            let content = self.model.content(&format!("{DIRECTORY}/{name}"));
            let text = decode(self.framing, &content);
            assert!(text.is_empty() || text.ends_with('\n'), "{name}: {text}");
            numbers.extend(text.lines().map(|line| -> u32 {
                let digits = line.trim_matches('x');
                digits.parse().expect("a whole line of ours")
            }));
        }
        numbers
    }
}

fn frame(framing: Framing, number: u32) -> Bytes {
    use std::io::Write;
    // Of different lengths, and never two alike.
    let padding = "x".repeat(number as usize * 7 % 40);
    let line = format!("{padding}{number}\n");
    match framing {
        Framing::Lines => line.trim_end().to_owned().into(),
        Framing::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
            encoder.include_checksum(true).expect("checksum");
            encoder.write_all(line.as_bytes()).expect("memory");
            encoder.finish().expect("memory").into()
        }
        Framing::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(line.as_bytes()).expect("memory");
            encoder.finish().expect("memory").into()
        }
    }
}

fn decode(framing: Framing, content: &[u8]) -> String {
    use std::io::Read;
    let mut text = String::new();
    match framing {
        Framing::Lines => String::from_utf8(content.to_vec()).expect("text"),
        Framing::Zstd => {
            String::from_utf8(zstd::decode_all(content).expect("whole frames")).expect("text")
        }
        Framing::Gzip => {
            let mut decoder = flate2::read::MultiGzDecoder::new(content);
            decoder.read_to_string(&mut text).expect("whole members");
            text
        }
    }
}

fn is_subsequence(part: &[u32], whole: &[u32]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|wanted| whole.any(|found| found == wanted))
}

#[derive(Clone, Debug)]
enum Step {
    Store(u32),
    Advance(u64),
    /// The process dies; what it wrote is in the page cache.
    Kill,
    /// The machine dies; of what was not synced a random part survives.
    Crash(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_u32..6).prop_map(Step::Store),
        1 => (0_u64..70_000).prop_map(Step::Advance),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn faults() -> impl Strategy<Value = Vec<Option<Fault>>> {
    let fault = prop_oneof![
        16 => Just(None),
        2 => Just(Some(Fault::Full)),
        2 => Just(Some(Fault::Io)),
        1 => Just(Some(Fault::Die)),
    ];
    prop::collection::vec(fault, 0..300)
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Gzip),
        Just(Framing::Zstd),
        Just(Framing::Lines)
    ]
}

fn play(rig: &mut Rig, steps: &[Step], seed: u64) {
    for step in steps {
        match step {
            Step::Store(count) => {
                rig.store(*count);
            }
            Step::Advance(ms) => {
                rig.clock.advance(*ms);
                if let Some(writer) = &mut rig.writer {
                    writer.roll_if_due();
                }
            }
            Step::Kill => rig.writer = None,
            Step::Crash(seed) => {
                rig.writer = None;
                rig.model.crash(*seed);
            }
        }
        if rig.model.is_dead() {
            rig.writer = None;
            if seed.is_multiple_of(2) {
                rig.model.crash(seed);
            }
        }
        if rig.writer.is_none() {
            rig.model.revive();
            rig.start();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever fails and whenever it dies: found = the accepted payloads in order, plus at most whole ones that were
    /// submitted and not accepted, in order too. It also holds right after a crash of the machine.
    #[test]
    fn what_was_accepted_is_found(
        steps in steps(), faults in faults(), framing in framings(), roll_bytes in 1_u64..400,
        seed: u64,
    ) {
        let mut rig = Rig::new(framing, roll_bytes, u64::MAX);
        rig.model.plan(faults);
        play(&mut rig, &steps, seed);
        rig.writer = None;
        rig.model.plan(Vec::new());
        rig.model.revive();
        rig.model.crash(seed);
        rig.start();
        let found = rig.found();
        prop_assert!(found.is_sorted_by(|a, b| a < b), "out of order: {found:?}");
        prop_assert!(is_subsequence(&rig.accepted, &found), "{:?} not in {found:?}", rig.accepted);
        prop_assert!(found.last().is_none_or(|last| *last < rig.submitted));
        // All is in order again: the next payloads are taken.
        prop_assert_eq!(rig.store(3), None);
        prop_assert!(rig.found().ends_with(&rig.accepted[rig.accepted.len() - 3..]));
    }

    /// Within a budget: own bytes <= total_bytes_max after every store, found = the newest accepted ones without a
    /// gap, and found + retired = accepted in bytes.
    #[test]
    fn only_the_oldest_are_retired(
        counts in prop::collection::vec(1_u32..6, 1..60), framing in framings(),
        roll_bytes in 1_u64..400, total_bytes_max in 300_u64..2_000, restart in 1_usize..10,
    ) {
        let mut rig = Rig::new(framing, roll_bytes, total_bytes_max);
        for (index, count) in counts.iter().enumerate() {
            if index % restart == restart - 1 {
                rig.writer = None;
                rig.start();
            }
            prop_assert_eq!(rig.store(*count), None);
            let on_disk = rig.model.own_bytes();
            prop_assert!(on_disk <= total_bytes_max);
            prop_assert_eq!(rig.stats.bytes.load(Ordering::Relaxed), on_disk);
            let all: u64 = (0..rig.submitted)
                .map(|number| framing.stored_len(&frame(framing, number)))
                .sum();
            prop_assert_eq!(rig.stats.bytes_retired.load(Ordering::Relaxed) + on_disk, all);
        }
        let found = rig.found();
        prop_assert!(!found.is_empty());
        prop_assert!(rig.accepted.ends_with(&found), "{found:?}");
    }
}

#[test]
fn a_failed_sync_is_never_followed_by_trust() {
    let mut rig = Rig::new(Framing::Lines, 1 << 20, 1 << 30);
    assert_eq!(rig.store(2), None);
    // The write passes, its sync fails; the kernel has dropped the pages by then.
    rig.model.plan(vec![None, Some(Fault::Io)]);
    assert_eq!(rig.store(2).map(|failure| failure.code), Some("io"));
    rig.model.plan(Vec::new());
    assert_eq!(rig.store(2), None);
    assert_eq!(rig.found(), [0, 1, 4, 5]);
    rig.model.crash(1);
    assert_eq!(rig.found(), [0, 1, 4, 5]);
}

#[test]
fn a_full_disk_is_a_retry_and_costs_at_most_half_of_the_budget() {
    let mut rig = Rig::new(Framing::Lines, 100, 2_000);
    rig.model.set_capacity(Some(500));
    let failure = loop {
        if let Some(failure) = rig.store(1) {
            break failure;
        }
    };
    assert_eq!(failure.code, "enospc");
    assert_eq!(rig.found(), rig.accepted, "below half: nothing retired");
    rig.model.set_capacity(Some(1_200));
    for _ in 0..200 {
        assert_eq!(rig.store(1), None, "above half: the oldest make room");
    }
    assert!(rig.accepted.ends_with(&rig.found()));
    assert!(rig.model.own_bytes() > 1_000);
}

#[test]
fn age_rolls_a_file_and_a_restart_does_not_make_it_younger() {
    let mut rig = Rig::new(Framing::Gzip, 1 << 20, 1 << 30);
    rig.clock.advance(1_000);
    assert_eq!(rig.store(1), None);
    rig.clock.advance(40_000);
    rig.writer = None;
    rig.start();
    let writer = rig.writer.as_ref().expect("started");
    assert_eq!(writer.roll_due_in(), Some(Duration::from_secs(20)));
    rig.clock.advance(20_000);
    rig.writer.as_mut().expect("started").roll_if_due();
    let names = rig.model.list(Path::new(DIRECTORY)).expect("no faults");
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["20231114T221321Z-0000000001.ndjson.gz"]);
    let writer = rig.writer.as_ref().expect("started");
    assert_eq!(writer.roll_due_in(), None);
}
