//! Rules for records: what is left out is accounted, moves the cursors and is never sent; what is hidden is not seen.

use longshore::config::lines::{Detector, Lines, MessagePattern};
use longshore::pipeline::ledger::{Accounts, Drop, Exclusion};
use longshore::record::{Level, Stream};

use super::model::{Kind, Model};
use super::rig::{Rig, sink};

fn patterns(texts: &[&str]) -> Vec<MessagePattern> {
    let all = texts.iter().map(|text| MessagePattern::new(text).unwrap());
    all.collect()
}

/// Rules under which each record is wanted, by way of everything that judges.
pub fn that_leave_out_nothing() -> Lines {
    Lines {
        min_level: Some(Level::Trace),
        include: patterns(&["(?s-u).*"]),
        exclude: patterns(&["nobody writes this"]),
        redact: vec![Detector::PrivateKeys],
        ..Lines::default()
    }
}

/// Rules under which no record is wanted.
pub fn that_leave_out_all() -> Lines {
    Lines {
        exclude: patterns(&["(?s-u).*"]),
        ..Lines::default()
    }
}

fn totals(rig: &Rig) -> Accounts {
    let mut totals = Accounts::default();
    for view in &rig.places[0].views {
        totals += &view.totals;
    }
    totals
}

/// Nothing of it was sent, and all that was read is excluded.
pub fn check_that_nothing_came(rig: &Rig, number: usize) {
    let place = &rig.places[number];
    let sink = place.sink.lock();
    assert!(
        sink.taken.is_empty() && sink.letters.is_empty(),
        "{:?}",
        sink.taken
    );
    let mut totals = Accounts::default();
    for view in &place.views {
        totals += &view.totals;
        assert_eq!(view.counters.attempts, 0, "an empty request was sent");
    }
    assert_eq!(totals.delivered.bytes, 0, "{totals:?}");
    assert_eq!(
        totals.dropped[Drop::Rejected as usize].bytes,
        0,
        "{totals:?}"
    );
}

fn one(lines: Lines) -> (Rig, Model, usize) {
    let mut config = sink("a");
    config.lines = lines;
    let rig = Rig::simple(vec![config]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    model.agent_up = true;
    (rig, model, at)
}

/// The checkpoint moves over records that nobody wants, without a request.
#[test]
fn what_is_left_out_moves_the_checkpoint_and_sends_nothing() {
    let (mut rig, mut model, at) = one(that_leave_out_all());
    rig.start();
    for _ in 0..200 {
        model.line(at, Kind::Full, Stream::Stdout, b"nobody wants this", false);
    }
    model.line(at, Kind::Part, Stream::Stderr, b"in two ", false);
    model.line(at, Kind::Full, Stream::Stderr, b"parts", false);
    rig.run_ms(5_000);
    let length = model.logs[0].bytes.len() as u64;
    let accounts = totals(&rig);
    assert_eq!(accounts.excluded[Exclusion::Lines as usize].bytes, length);
    assert_eq!(accounts.excluded[Exclusion::Lines as usize].lines, 202);
    check_that_nothing_came(&rig, 0);
    rig.crash();
    let checkpoint = rig.places[0].disk.load().unwrap();
    assert_eq!(checkpoint.chains[0].segments[0].cursors, [length; 2]);
}

/// Killed again and again: each record that is wanted arrives, none that is not, nothing hidden is seen, and the
/// accounts are those of what was written.
#[test]
fn kills_change_nothing_of_what_is_chosen() {
    let lines = Lines {
        min_level: Some(Level::Info),
        exclude: patterns(&["/healthz"]),
        sample: 0.5,
        redact: Detector::ALL.to_vec(),
        ..Lines::default()
    };
    let (mut rig, mut model, at) = one(lines);
    let secret = "hunter2hunter2";
    let mut bytes = [0_u64; 4];
    for round in 0..12_u64 {
        rig.start();
        for number in 0..40_u64 {
            let name = round * 100 + number;
            let (which, text) = match number % 4 {
                0 => (0, format!("DEBUG of no interest {name}")),
                1 => (1, format!("ERROR for GET /healthz {name}")),
                2 => (2, format!("ERROR with password={secret} of record {name}")),
                _ => (3, format!("INFO sampled record {name}")),
            };
            let before = model
                .logs
                .iter()
                .map(|log| log.bytes.len() as u64)
                .sum::<u64>();
            if number % 8 == 2 {
                // Cut in the middle of the secret.
                let (first, second) = text.split_at(text.find("ter2").unwrap());
                model.line(at, Kind::Part, Stream::Stdout, first.as_bytes(), false);
                model.line(at, Kind::Full, Stream::Stdout, second.as_bytes(), false);
            } else {
                model.line(at, Kind::Full, Stream::Stdout, text.as_bytes(), false);
            }
            let after = model
                .logs
                .iter()
                .map(|log| log.bytes.len() as u64)
                .sum::<u64>();
            bytes[which] += after - before;
            rig.run_ms(7 * (number % 5));
        }
        if round % 3 == 0 && model.rename(at) {
            model.reopen(at);
        }
        rig.run_ms(50 + 31 * round);
        if round < 11 {
            rig.crash();
        }
    }
    rig.run_ms(20_000);
    check_what_was_chosen(&rig, &bytes);
}

/// Bytes of what is not urgent enough, excluded, kept whole and sampled.
fn check_what_was_chosen(rig: &Rig, bytes: &[u64; 4]) {
    let accounts = totals(rig);
    let excluded = |why: Exclusion| accounts.excluded[why as usize].bytes;
    assert!(accounts.balances() && accounts.pending == 0, "{accounts:?}");
    assert_eq!(excluded(Exclusion::MinLevel), bytes[0]);
    assert_eq!(excluded(Exclusion::Lines), bytes[1]);
    let sent = accounts.delivered.bytes + excluded(Exclusion::Sampled);
    assert_eq!(sent, bytes[2] + bytes[3]);
    let sink = rig.places[0].sink.lock();
    let mut errors = std::collections::BTreeSet::new();
    let mut sampled = std::collections::BTreeSet::new();
    for taken in &sink.taken {
        let message = &taken.row.log_message;
        assert!(!message.contains("ter2"), "{message}");
        match message.strip_prefix("ERROR with password=[REDACTED:secret_values] of record ") {
            Some(name) => errors.insert(name.to_owned()),
            None => sampled.insert(
                message
                    .strip_prefix("INFO sampled record ")
                    .unwrap()
                    .to_owned(),
            ),
        };
    }
    assert_eq!(errors.len(), 120, "each error is kept, whatever the sample");
    // Of 120, half: what was sent twice is the same records, or there would be many more.
    assert!((30..=90).contains(&sampled.len()), "{}", sampled.len());
    let line = bytes[3] / 120;
    let delivered = (accounts.delivered.bytes - bytes[2]) / line;
    assert!(
        delivered.abs_diff(sampled.len() as u64) <= 1,
        "{delivered} of {}",
        sampled.len()
    );
}

/// Of a pod that writes more than it may send no more is sent than that, nothing is dropped while its backlog is small,
/// and then the least urgent; how much is said, and every byte is accounted.
#[test]
fn a_loud_pod_is_slowed_down_and_then_thinned_out() {
    let mut lines = Lines::default();
    lines.rate.pod.lines = 200;
    lines.rate.burst_ms = 1_000;
    lines.rate.backlog_bytes_max = 64 * 1024;
    let (mut rig, mut model, at) = one(lines);
    rig.start();
    let write = |model: &mut Model, count: usize| {
        for number in 0..count {
            let level = if number % 10 == 0 { "ERROR" } else { "DEBUG" };
            let text = format!("{level} line {} with some text", model.lines.len());
            model.line(at, Kind::Full, Stream::Stdout, text.as_bytes(), false);
        }
    };
    let sent = |rig: &Rig| rig.places[0].sink.lock().taken.len() as u64;
    // 500 lines are far less than 64 KiB: they only take their time.
    write(&mut model, 500);
    let begun_ms = rig.clock.ms();
    for _ in 0..60 {
        rig.run_ms(100);
        let allowed = 200 + (rig.clock.ms() - begun_ms) / 5 + 1;
        assert!(sent(&rig) <= allowed, "{} of {allowed}", sent(&rig));
    }
    rig.run_ms(1_500);
    assert_eq!(sent(&rig), 500);
    assert_eq!(totals(&rig).dropped[Drop::Rate as usize].lines, 0);
    // Ten times of what may wait.
    for _ in 0..10 {
        write(&mut model, 1_000);
        rig.run_ms(700);
    }
    rig.crash();
    rig.start();
    assert!(rig.run_until(300_000, |rig| totals(rig).pending == 0));
    rig.run_ms(40_000);
    let accounts = totals(&rig);
    let dropped = accounts.dropped[Drop::Rate as usize];
    assert!(accounts.balances(), "{accounts:?}");
    assert_eq!(accounts.delivered.lines + dropped.lines, 10_500);
    assert!((3_000..=9_000).contains(&dropped.lines), "{dropped:?}");
    let sink = rig.places[0].sink.lock();
    let rows = sink.taken.iter().map(|taken| &taken.row);
    let errors: std::collections::BTreeSet<&str> = rows
        .clone()
        .filter(|row| row.log_message.starts_with("ERROR"))
        .map(|row| row.log_message.as_str())
        .collect();
    assert_eq!(errors.len(), 1_050, "each error arrived");
    let said = rows.filter(|row| row.has("summary")).count();
    assert!((1..=10).contains(&said), "{said} summaries");
}

/// A message that comes again at once is sent once, with how often it came, also over parts and streams.
#[test]
fn repeats_become_one_record_and_a_count() {
    let lines = Lines {
        repeats_window_ms: 5_000,
        ..Lines::default()
    };
    let (mut rig, mut model, at) = one(lines);
    rig.start();
    for _ in 0..20 {
        model.line(at, Kind::Full, Stream::Stdout, b"the same", false);
        model.line(at, Kind::Full, Stream::Stderr, b"the same elsewhere", false);
        model.line(at, Kind::Part, Stream::Stdout, b"the ", false);
        model.line(at, Kind::Full, Stream::Stdout, b"same", false);
    }
    model.line(at, Kind::Full, Stream::Stdout, b"another", false);
    rig.run_ms(20_000);
    model.line(at, Kind::Full, Stream::Stdout, b"another", false);
    rig.run_ms(5_000);
    let sink = rig.places[0].sink.lock();
    let messages = |stream: &str| {
        let rows = sink.taken.iter().map(|taken| &taken.row);
        let rows = rows.filter(|row| row.log_source == stream);
        rows.map(|row| row.log_message.clone()).collect::<Vec<_>>()
    };
    let said = |count: u32| format!("longshore: the message before was repeated {count} times");
    assert_eq!(
        messages("stdout"),
        [
            "the same".to_owned(),
            said(39),
            "another".to_owned(),
            "another".to_owned()
        ]
    );
    assert_eq!(
        messages("stderr"),
        ["the same elsewhere".to_owned(), said(19)]
    );
    let accounts = totals(&rig);
    assert_eq!(
        accounts.excluded[Exclusion::Repeated as usize].lines,
        59 + 19
    );
    assert!(accounts.balances() && accounts.pending == 0, "{accounts:?}");
}
