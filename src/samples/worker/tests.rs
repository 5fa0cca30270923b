use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::config::{Compression, Rows as RowsConfig};
use crate::node::snapshot::{Spec, Unit};
use crate::samples::batches::Batches;
use crate::samples::envelope::Envelope;
use crate::samples::payload::Codec;
use crate::samples::rows::Rows;
use crate::waker::Waker;

const LOAD: Spec = Spec::gauge("node_load1", Unit::One, "Load.");

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Time {
        Time::ZERO
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH
    }
}

/// What a sink has been asked and has not answered, and what it took.
#[derive(Default)]
struct Asked {
    under_way: Option<Attempt>,
    answers: Vec<(u64, Verdict)>,
    stored: Vec<String>,
    attempts: usize,
    /// Takes no attempt.
    is_full: bool,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Asked>>);

impl Sink {
    fn with<T>(&self, act: impl FnOnce(&mut Asked) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// The rows of the attempt under way.
    fn rows(&self) -> Vec<String> {
        self.with(|asked| {
            let body = asked.under_way.as_ref().map(|attempt| attempt.body.clone());
            let text = String::from_utf8(body.unwrap_or_default().to_vec()).unwrap();
            text.lines().map(str::to_owned).collect()
        })
    }

    fn answer(&self, verdict: Verdict) {
        let rows = self.rows();
        self.with(|asked| {
            let Some(attempt) = asked.under_way.take() else {
                return;
            };
            match &verdict {
                Verdict::Accepted => asked.stored.extend(rows),
                Verdict::Items(items) => {
                    let rows = rows.into_iter().zip(items);
                    let taken = rows.filter(|(_, item)| **item == Item::Accepted);
                    asked.stored.extend(taken.map(|(row, _)| row));
                }
                _ => {}
            }
            asked.answers.push((attempt.id, verdict));
        });
    }
}

impl Transport for Sink {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        self.with(|asked| {
            assert!(asked.under_way.is_none(), "one attempt at a time");
            if asked.is_full {
                return Err(attempt);
            }
            asked.attempts += 1;
            asked.under_way = Some(attempt);
            Ok(())
        })
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.with(|asked| asked.answers.pop())
    }
}

struct Bench {
    sink: Sink,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    worker: Worker,
    now: Time,
    snapshots: u64,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        let sink = Sink::default();
        let inbox = Arc::new(Inbox::new(Waker::none()));
        let board = Arc::new(Board::new("s"));
        let worker = Worker::new(Parts {
            shape: Box::new(Batches::new(
                Rows::new(&RowsConfig::default(), Envelope::Lines, "n", None),
                &limits,
            )),
            limits,
            inbox: Arc::clone(&inbox),
            packer: Packer::new(Codec::Http(Compression::None)),
            transport: Box::new(sink.clone()),
            board: Arc::clone(&board),
            clock: Arc::new(FixedClock),
            seed: 1,
        });
        Bench {
            sink,
            inbox,
            board,
            worker,
            now: Time::ZERO,
            snapshots: 0,
        }
    }

    /// Offers a snapshot of so many samples; each has its own number as value.
    fn offer(&mut self, samples: usize) {
        self.snapshots += 1;
        let mut snapshot = Snapshot::new(UNIX_EPOCH, Arc::new(|_| true), 1_000);
        for number in 0..samples {
            let value = (self.snapshots * 1_000 + number as u64) as f64;
            snapshot.add(&LOAD, &[("n", &number.to_string())], value);
        }
        self.inbox.offer(Arc::new(snapshot));
    }

    fn step(&mut self) -> Time {
        self.worker.step(self.now)
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn accounts(&self) -> crate::samples::ledger::Accounts {
        self.board.view().accounts
    }

    fn dropped(&self, why: Drop) -> u64 {
        self.accounts().dropped[why as usize]
    }

    /// The values that the sink stored, in its order.
    fn stored(&self) -> Vec<u64> {
        let rows = self.sink.with(|asked| asked.stored.clone());
        let value = |row: &String| -> u64 {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            row["Val"].as_f64().unwrap() as u64
        };
        rows.iter().map(value).collect()
    }
}

fn reason(code: &'static str) -> Reason {
    Reason::new(code, "why")
}

fn retry(code: &'static str) -> Verdict {
    Verdict::Retry {
        after: None,
        reason: reason(code),
    }
}

#[derive(Clone, Debug)]
enum Act {
    Offer(usize),
    Step,
    Pass(u64),
    Answer(u8),
    Full(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_usize..8).prop_map(Act::Offer),
        6 => Just(Act::Step),
        3 => (0_u64..5_000).prop_map(Act::Pass),
        5 => (0_u8..14).prop_map(Act::Answer),
        1 => any::<bool>().prop_map(Act::Full),
    ]
}

fn verdict(number: u8, rows: usize) -> Verdict {
    match number {
        0..=4 => Verdict::Accepted,
        5 => retry("connect"),
        6 => retry("http_500"),
        7 => Verdict::Retry {
            after: Some(Duration::from_millis(3_000)),
            reason: reason("http_429"),
        },
        8 => Verdict::Split(reason("http_413")),
        9 | 10 => Verdict::Bisect(reason("http_400")),
        11 => Verdict::Pause(reason("http_401")),
        _ => {
            let kinds = [Item::Accepted, Item::Retry, Item::Rejected(reason("item"))];
            let kinds = kinds.into_iter().cycle().skip(usize::from(number));
            // Fewer than there are: what is not answered for is asked again.
            Verdict::Items(kinds.take(rows.saturating_sub(1)).collect())
        }
    }
}

proptest! {
    /// Whatever the sink answers and however time passes: the accounts balance at every look, what is counted as
    /// delivered is what the sink has stored, nothing is stored twice, and the memory stays within its bound.
    #[test]
    fn the_accounts_balance_at_every_look(
        acts in prop::collection::vec(act(), 1..300),
        records_max in 1_u32..6,
    ) {
        let limits = Limits {
            samples_bytes_max: 4_000,
            samples_age_max_ms: 20_000,
            payload_records_max: records_max,
            stuck_after_ms: 4_000,
            ..Limits::default()
        };
        let mut bench = Bench::new(limits);
        let mut offered = 0;
        for act in acts {
            match act {
                Act::Offer(samples) => {
                    bench.offer(samples);
                    offered += samples as u64;
                }
                Act::Step => { bench.step(); }
                Act::Pass(ms) => bench.pass(ms),
                Act::Full(is_full) => bench.sink.with(|asked| asked.is_full = is_full),
                Act::Answer(number) => {
                    let rows = bench.sink.rows().len();
                    bench.sink.answer(verdict(number, rows));
                }
            }
            let view = bench.board.view();
            prop_assert!(view.accounts.balances(), "{:?}", view.accounts);
            prop_assert!(view.ring_bytes <= 4_000, "{}", view.ring_bytes);
        }
        bench.step();
        let stored = bench.stored();
        prop_assert_eq!(bench.accounts().delivered, stored.len() as u64);
        let mut once = stored.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), stored.len(), "stored twice: {:?}", stored);
        prop_assert_eq!(bench.accounts().taken, offered);
        let board = Arc::clone(&bench.board);
        bench.worker.drain(bench.now, bench.now);
        bench.worker.finish();
        let accounts = board.view().accounts;
        prop_assert!(accounts.balances() && accounts.pending == 0, "{accounts:?}");
    }

    /// As long as the sink answers for whole payloads, the samples of each series are stored in the order of time.
    #[test]
    fn samples_arrive_in_order(answers in prop::collection::vec(0_u8..12, 1..200), seed in any::<u64>()) {
        let mut bench = Bench::new(Limits { payload_records_max: 3, ..Limits::default() });
        let mut random = fastrand::Rng::with_seed(seed);
        for answer in answers {
            if random.bool() {
                bench.offer(5);
            }
            bench.step();
            bench.sink.answer(verdict(answer, 0));
            bench.pass(random.u64(0..40_000));
        }
        for series in 0..5 {
            let stored = bench.stored();
            let of_series: Vec<u64> = stored.into_iter().filter(|value| value % 1_000 == series).collect();
            prop_assert!(of_series.is_sorted(), "{of_series:?}");
        }
    }
}

#[test]
fn a_dead_sink_costs_the_oldest_samples_and_says_so() {
    let limits = Limits {
        samples_age_max_ms: 60_000,
        backoff_max_ms: 1_000,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    for _ in 0..10 {
        bench.offer(2);
        bench.step();
        bench.sink.answer(retry("connect"));
        bench.step();
        bench.pass(15_000);
    }
    bench.step();
    assert_eq!(bench.dropped(Drop::TooOld), 2 * 6);
    let view = bench.board.view();
    assert_eq!(view.accounts.pending, 2 * 4);
    assert!(view.failures.iter().any(|(code, _)| *code == "connect"));
    while bench.accounts().pending > 0 {
        bench.sink.answer(Verdict::Accepted);
        bench.step();
    }
    assert_eq!(
        bench.stored(),
        [7000, 7001, 8000, 8001, 9000, 9001, 10000, 10001]
    );
}

#[test]
fn one_bad_sample_is_found_and_the_others_arrive() {
    let mut bench = Bench::new(Limits::default());
    bench.offer(7);
    bench.step();
    while bench.accounts().pending > 0 {
        let is_bad = bench.sink.rows().iter().any(|row| row.contains("1004"));
        bench.sink.answer(match is_bad {
            true => Verdict::Bisect(reason("http_400")),
            false => Verdict::Accepted,
        });
        bench.step();
    }
    assert_eq!(bench.stored(), [1000, 1001, 1002, 1003, 1005, 1006]);
    assert_eq!(bench.dropped(Drop::Rejected), 1);
}

#[test]
fn what_a_sink_refuses_without_saying_which_is_counted_and_not_sent_again() {
    for (rejected, counted) in [(2, 2), (7, 7), (99, 7)] {
        let mut bench = Bench::new(Limits::default());
        bench.offer(7);
        bench.step();
        let reason = reason("partial_success");
        bench
            .sink
            .answer(Verdict::AcceptedExcept { rejected, reason });
        bench.step();
        assert_eq!(bench.dropped(Drop::Rejected), counted);
        let accounts = bench.accounts();
        assert_eq!((accounts.delivered, accounts.pending), (7 - counted, 0));
        assert_eq!(bench.sink.with(|asked| asked.attempts), 1);
    }
}

#[test]
fn a_sink_that_refuses_everything_is_not_asked_about_each_sample() {
    let mut bench = Bench::new(Limits::default());
    bench.offer(1_000);
    bench.step();
    while bench.accounts().pending > 0 {
        bench.sink.answer(Verdict::Bisect(reason("http_400")));
        bench.step();
    }
    assert_eq!(bench.dropped(Drop::Rejected), 1_000);
    let attempts = bench.sink.with(|asked| asked.attempts);
    assert!(attempts <= 2 * CUTS_PER_MINUTE_MAX + 1, "{attempts}");
}

#[test]
fn a_payload_that_makes_the_sink_fail_is_stepped_over() {
    let limits = Limits {
        stuck_after_ms: 60_000,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    for _ in 0..3 {
        bench.offer(1);
    }
    // The first sample fails for ever, the others are taken.
    for _ in 0..100 {
        bench.step();
        let is_bad = bench.sink.rows().iter().any(|row| row.contains("1000"));
        bench.sink.answer(match is_bad {
            true => retry("http_500"),
            false => Verdict::Accepted,
        });
        bench.pass(10_000);
    }
    assert_eq!(bench.stored(), [2000, 3000]);
    assert_eq!(bench.dropped(Drop::Rejected), 1);
    assert!(bench.now >= Time::from_ms(60_000));
}

#[test]
fn nothing_is_stepped_over_while_the_sink_cannot_be_reached() {
    let limits = Limits {
        stuck_after_ms: 1_000,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    for _ in 0..3 {
        bench.offer(1);
    }
    for _ in 0..20 {
        bench.step();
        assert!(bench.sink.rows().iter().all(|row| row.contains("1000")));
        bench.sink.answer(retry("connect"));
        bench.pass(60_000);
    }
    assert_eq!(bench.accounts().pending, 3);
}

#[test]
fn a_thread_that_is_too_late_counts_what_it_missed() {
    let mut bench = Bench::new(Limits::default());
    for _ in 0..crate::samples::inbox::WAITING_MAX + 2 {
        bench.offer(5);
    }
    bench.step();
    assert_eq!(bench.dropped(Drop::Overrun), 10);
    assert_eq!(bench.accounts().pending, 20);
}

#[test]
fn a_drain_waits_for_what_may_be_sent_in_time_and_no_longer() {
    let mut bench = Bench::new(Limits::default());
    bench.offer(1);
    bench.step();
    let until = Time::from_ms(10_000);
    bench.worker.drain(bench.now, until);
    assert!(!bench.worker.is_drained());
    bench.sink.answer(Verdict::Retry {
        after: Some(Duration::from_secs(60)),
        reason: reason("http_503"),
    });
    bench.step();
    assert!(
        bench.worker.is_drained(),
        "it may not be tried before the end"
    );
    bench.offer(3);
    bench.step();
    let board = Arc::clone(&bench.board);
    bench.worker.finish();
    assert_eq!(board.view().accounts.dropped[Drop::Stopped as usize], 4);
    assert_eq!(board.view().accounts.pending, 0);
}
