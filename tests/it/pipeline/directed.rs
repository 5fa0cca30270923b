//! One situation each: what a random plan would meet too seldom, or only on a larger scale.

use longshore::config::{Compression, Logs, ReadFrom, RowFormat};
use longshore::pipeline::board::Health;
use longshore::pipeline::ledger::{Accounts, Amount, Drop, Exclusion};
use longshore::record::Stream;

use super::check::{Allowed, check};
use super::model::{Kind, Model};
use super::rig::{ROOT, Rig, sink};
use super::sink::POISON;

fn totals(rig: &Rig, number: usize) -> Accounts {
    let mut totals = Accounts::default();
    for view in &rig.places[number].views {
        totals += &view.totals;
    }
    totals
}

/// What was delivered of all namespaces since the agent's start.
fn of_namespaces(rig: &Rig, number: usize) -> Amount {
    let mut sum = Amount::default();
    for view in &rig.places[number].views {
        for (_, amount) in view.namespaces.iter() {
            sum += amount;
        }
    }
    sum
}

fn taken(rig: &Rig, number: usize) -> usize {
    rig.places[number].sink.lock().taken.len()
}

/// A node with one sink and one container.
fn one() -> (Rig, Model, usize) {
    let rig = Rig::simple(vec![sink("a")]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    model.agent_up = true;
    (rig, model, at)
}

fn lines(model: &mut Model, at: usize, count: usize) {
    for _ in 0..count {
        let content = format!("line {} with some text behind it", model.lines.len());
        model.line(at, Kind::Full, Stream::Stdout, content.as_bytes(), false);
    }
}

fn rotate(model: &mut Model, at: usize) {
    assert!(model.rename(at));
    model.reopen(at);
}

/// All that was written arrived once, in order, and is accounted.
fn all_arrived(model: &Model, rig: &Rig, number: usize) {
    let nothing = vec![None; rig.life as usize];
    check(model, rig, number, &nothing, Allowed { ordered: true });
}

/// The same where a payload may have been stepped over because it was stuck for long.
fn all_arrived_somehow(model: &Model, rig: &Rig, number: usize) {
    let nothing = vec![None; rig.life as usize];
    check(model, rig, number, &nothing, Allowed { ordered: false });
}

#[test]
fn a_docker_log_between_rename_and_reopen_is_found_once_it_is_there() {
    let mut rig = Rig::simple(vec![sink("a")]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(true);
    model.line(at, Kind::Full, Stream::Stdout, b"one", false);
    assert!(model.rename(at));
    rig.start();
    rig.run_ms(9_000);
    model.reopen(at);
    rig.files.unmount(ROOT, false);
    rig.run_ms(16_000);
    rig.files.mount(ROOT);
    model.line(at, Kind::Full, Stream::Stdout, b"two", false);
    assert!(rig.run_until(10_000, |rig| taken(rig, 0) == 2));
}

#[test]
fn what_is_not_mounted_for_a_while_is_still_known() {
    for rotated_ms in [0, 10, 30, 200, 622] {
        let (mut rig, mut model, at) = one();
        model.line(at, Kind::Full, Stream::Stdout, b"one", false);
        rig.start();
        rig.run_ms(3_000);
        for _ in 0..2 {
            assert!(model.rename(at));
            model.line(at, Kind::Full, Stream::Stderr, b"late", false);
            model.reopen(at);
            model.line(at, Kind::Full, Stream::Stdout, b"next", false);
        }
        rig.run_ms(rotated_ms);
        // Compresses the file that is held open, unseen.
        assert!(model.rename(at));
        rig.files.unmount(ROOT, false);
        rig.run_ms(18_000);
        rig.files.mount(ROOT);
        rig.run_ms(10_000);
        rig.stop(5_000);
        rig.start();
        rig.run_ms(5_000);
        assert_eq!(taken(&rig, 0), 5, "{rotated_ms}");
    }
}

/// Runs two hours in which one of three sinks, each of a format of its own, is dead, while a container writes and rotates beyond what the kubelet
/// keeps. Returns what the dead one lost.
fn two_hours(held_bytes_max: u64) -> (Rig, Model, u64) {
    let logs = Logs {
        held_bytes_max,
        ..Logs::default()
    };
    let sinks = [
        ("good", RowFormat::Ndjson, Compression::Gzip(1)),
        ("dead", RowFormat::Protobuf, Compression::Zstd(1)),
        ("slow", RowFormat::JsonArray, Compression::None),
    ];
    let sinks = sinks.map(|(name, format, compression)| {
        let mut sink = sink(name);
        sink.rows.format = format;
        sink.compression = compression;
        sink
    });
    let mut rig = Rig::new(logs, sinks.to_vec(), 1);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    model.agent_up = true;
    rig.places[1].sink.set(|manner| manner.dead = true);
    rig.places[2].sink.set(|manner| manner.latency_ms = 500);
    rig.start();
    for minute in 0..120 {
        model.now_ms = rig.clock.ms();
        lines(&mut model, at, 20);
        let written = model.lines.len();
        let fast = rig.run_until(2_000, |rig| {
            taken(rig, 0) == written && taken(rig, 2) == written
        });
        assert!(fast, "others wait for the dead sink at minute {minute}");
        rig.run_ms(58_000);
        if minute % 5 == 4 {
            rotate(&mut model, at);
        }
    }
    rig.places[1].sink.set(|manner| manner.dead = false);
    rig.run_ms(180_000);
    let lost = totals(&rig, 1).lost.iter().sum();
    (rig, model, lost)
}

#[test]
fn a_sink_that_was_dead_for_two_hours_catches_up_from_the_files() {
    let (rig, model, lost) = two_hours(u64::MAX);
    assert_eq!(lost, 0);
    for number in 0..3 {
        all_arrived_somehow(&model, &rig, number);
    }
}

#[test]
fn what_the_keeper_may_not_hold_is_lost_to_the_dead_sink_alone_and_counted_to_the_byte() {
    let (rig, model, lost) = two_hours(20_000);
    all_arrived(&model, &rig, 0);
    all_arrived(&model, &rig, 2);
    let all: u64 = model.logs.iter().map(|log| log.bytes.len() as u64).sum();
    let accounts = totals(&rig, 1);
    let rows = taken(&rig, 1) as u64;
    let line_bytes = all / model.lines.len() as u64;
    assert!(
        lost > 0 && accounts.pending == 0 && accounts.seen == all,
        "{accounts:?}"
    );
    assert_eq!(accounts.delivered.bytes, all - lost);
    assert_eq!(accounts.delivered.lines, rows);
    // Named files are still there, and of the deleted ones the budget's worth was kept.
    assert!(lost <= all - 20_000 + 100 * line_bytes, "{lost} of {all}");
}

#[test]
fn few_descriptors_suffice_for_many_files() {
    const FILES: usize = 1_200;
    let logs = Logs {
        held_files_max: 64,
        ..Logs::default()
    };
    let mut rig = Rig::new(logs, vec![sink("a")], 1);
    rig.files.limit_handles(72);
    let mut model = Model::new(&rig.files);
    for _ in 0..FILES {
        let at = model.begin(false);
        lines(&mut model, at, 2);
    }
    rig.start();
    assert!(
        rig.run_until(60_000, |rig| taken(rig, 0) == 2 * FILES),
        "{}",
        taken(&rig, 0)
    );
    for at in 0..FILES {
        lines(&mut model, at, 1);
    }
    assert!(
        rig.run_until(60_000, |rig| taken(rig, 0) == 3 * FILES),
        "{}",
        taken(&rig, 0)
    );
    rig.run_ms(5_000);
    assert!(rig.files.handles_most() <= 72);
    all_arrived(&model, &rig, 0);
}

#[test]
fn a_sink_that_answers_pause_to_all_keeps_everything_and_is_probed_now_and_then() {
    let (mut rig, mut model, at) = one();
    rig.places[0].sink.set(|manner| manner.pauses = true);
    lines(&mut model, at, 500);
    rig.start();
    rig.run_ms(60_000);
    let sink = rig.places[0].sink.clone();
    assert!(
        rig.places[0]
            .views
            .iter()
            .any(|view| view.health == Health::Paused)
    );
    assert!(
        (20..=61).contains(&sink.lock().attempts),
        "{}",
        sink.lock().attempts
    );
    assert_eq!(
        (sink.lock().letters.len(), totals(&rig, 0).dropped),
        (0, Default::default())
    );
    sink.set(|manner| manner.pauses = false);
    rig.run_ms(20_000);
    all_arrived_somehow(&model, &rig, 0);
}

#[test]
fn a_sink_that_refuses_every_record_gets_none_into_the_dead_letters() {
    let (mut rig, mut model, at) = one();
    rig.places[0].sink.set(|manner| manner.bisects = true);
    for _ in 0..200 {
        model.line(at, Kind::Full, Stream::Stdout, POISON.as_bytes(), false);
    }
    rig.start();
    rig.run_ms(300_000);
    assert_eq!(rig.places[0].sink.lock().letters.len(), 0);
    assert_eq!(totals(&rig, 0).delivered.bytes, 0);
    rig.places[0].sink.set(|manner| manner.bisects = false);
    rig.run_ms(30_000);
    all_arrived_somehow(&model, &rig, 0);
}

/// A record that a sink cannot take is found, and nothing but it given up, whether the sink says so or chokes on it.
#[test]
fn one_poison_record_costs_one_dead_letter() {
    for chokes in [false, true] {
        let (mut rig, mut model, at) = one();
        rig.places[0]
            .sink
            .set(|manner| (manner.chokes, manner.bisects) = (chokes, !chokes));
        lines(&mut model, at, 130);
        model.line(at, Kind::Full, Stream::Stdout, POISON.as_bytes(), false);
        lines(&mut model, at, 130);
        rig.start();
        for _ in 0..20 {
            rig.run_ms(10_000);
            lines(&mut model, at, 1);
        }
        rig.run_ms(60_000);
        assert_eq!(
            rig.places[0].sink.lock().letters.len(),
            1,
            "chokes: {chokes}"
        );
        assert_eq!(totals(&rig, 0).dropped[Drop::Rejected as usize].lines, 1);
        all_arrived_somehow(&model, &rig, 0);
    }
}

/// What a sink refuses without saying which is charged once and not sent again; where it is all of a request it is known,
/// and kept.
#[test]
fn a_partial_success_is_charged_and_never_sent_again() {
    let (mut rig, mut model, at) = one();
    let poison = |model: &mut Model| {
        model.line(at, Kind::Full, Stream::Stdout, POISON.as_bytes(), false);
    };
    rig.places[0].sink.set(|manner| manner.partly = true);
    for _ in 0..2 {
        lines(&mut model, at, 100);
        poison(&mut model);
    }
    lines(&mut model, at, 1);
    rig.start();
    rig.run_ms(60_000);
    let refused = |rig: &Rig| totals(rig, 0).dropped[Drop::Rejected as usize].lines;
    assert_eq!((taken(&rig, 0), refused(&rig)), (201, 2));
    assert_eq!(rig.places[0].sink.lock().letters.len(), 0);
    for _ in 0..3 {
        poison(&mut model);
    }
    rig.run_ms(60_000);
    assert_eq!((taken(&rig, 0), refused(&rig)), (201, 5));
    assert_eq!(rig.places[0].sink.lock().letters.len(), 3);
    let accounts = totals(&rig, 0);
    assert_eq!((accounts.delivered.lines, accounts.pending), (201, 0));
    assert!(accounts.balances());
}

#[test]
fn read_from_decides_what_of_the_past_is_read() {
    let of = |read_from, expected_lines: usize| {
        let mut config = sink("a");
        config.read_from = read_from;
        let mut rig = Rig::simple(vec![config]);
        let mut model = Model::new(&rig.files);
        let at = model.begin(false);
        lines(&mut model, at, 100);
        rotate(&mut model, at);
        lines(&mut model, at, 100);
        rig.start();
        rig.run_ms(2_000);
        assert_eq!(taken(&rig, 0), expected_lines, "{read_from:?}");
        let written: u64 = model.logs.iter().map(|log| log.bytes.len() as u64).sum();
        let accounts = totals(&rig, 0);
        let excluded = accounts.excluded[Exclusion::Backlog as usize].bytes;
        assert_eq!(accounts.seen, written);
        assert_eq!(accounts.delivered.bytes + excluded, written, "{accounts:?}");
        // What comes later is read, as are new containers, and a second start skips nothing.
        lines(&mut model, at, 10);
        rig.run_ms(2_000);
        rig.crash();
        let new = model.begin(false);
        lines(&mut model, new, 5);
        lines(&mut model, at, 10);
        rig.start();
        rig.run_ms(3_000);
        let expected = expected_lines + 20 + if read_from == ReadFrom::End { 0 } else { 5 };
        assert!(taken(&rig, 0) >= expected, "{read_from:?}");
        assert_eq!(totals(&rig, 0).pending, 0);
    };
    let backlog = |bytes_max| ReadFrom::Backlog {
        age_max_ms: None,
        bytes_max,
    };
    of(ReadFrom::Beginning, 200);
    of(ReadFrom::End, 0);
    of(backlog(None), 200);
    of(backlog(Some(0)), 0);
    // The line in which the limit falls is not read.
    let line_bytes = 79;
    of(backlog(Some(10 * line_bytes + 1)), 10);
}

#[test]
fn a_compressed_segment_is_read_on_where_the_plain_one_was_left() {
    for share in [1, 37, 62, 99] {
        let (mut rig, mut model, at) = one();
        rig.places[0].config.limits.payload_slots = 1;
        rig.places[0].sink.set(|manner| manner.latency_ms = 400);
        lines(&mut model, at, 2_000);
        rig.start();
        assert!(rig.run_until(600_000, |rig| taken(rig, 0) * 100 >= share * 2_000));
        rig.run_ms(3_000);
        rig.crash();
        let before = rig.places[0].disk.load();
        for _ in 0..2 {
            lines(&mut model, at, 1);
            rotate(&mut model, at);
        }
        rig.places[0].sink.set(|manner| manner.latency_ms = 1);
        rig.start();
        rig.run_ms(30_000);
        check(
            &model,
            &rig,
            0,
            &vec![None, before],
            Allowed { ordered: true },
        );
    }
}

#[test]
fn a_damaged_compressed_segment_is_a_counted_loss_and_nothing_else_suffers() {
    let (mut rig, mut model, at) = one();
    lines(&mut model, at, 3_000);
    for _ in 0..2 {
        rotate(&mut model, at);
        lines(&mut model, at, 10);
    }
    let path = model.logs[0].path.clone().unwrap();
    assert!(path.ends_with(".gz"));
    let mut bytes = rig.files.content(&path);
    let (middle, trailer) = (bytes.len() / 2, bytes.len() - 8);
    bytes[middle..trailer].fill(0xFF);
    rig.files.truncate(&path, 0);
    rig.files.append(&path, bytes);
    rig.start();
    rig.run_ms(60_000);
    let accounts = totals(&rig, 0);
    let all: u64 = model.logs.iter().map(|log| log.bytes.len() as u64).sum();
    let lost: u64 = accounts.lost.iter().sum();
    assert!(
        lost > 0 && accounts.pending == 0 && accounts.seen == all,
        "{accounts:?}"
    );
    // What the damaged bytes were inflated to before they were found out may be one endless line.
    let cut = accounts.dropped[Drop::TooLong as usize].bytes;
    assert_eq!(accounts.delivered.bytes + cut + lost, all);
    assert!(taken(&rig, 0) >= 20 && accounts.delivered.lines == taken(&rig, 0) as u64);
    // It stays damaged, and is not read again.
    rig.stop(5_000);
    rig.start();
    rig.run_ms(60_000);
    assert_eq!(totals(&rig, 0), accounts);
    assert_eq!(taken(&rig, 0) as u64, accounts.delivered.lines);
}

#[test]
fn a_chain_is_forgotten_ten_minutes_after_it_was_last_seen_and_not_before() {
    let (mut rig, mut model, at) = one();
    let other = model.begin(false);
    lines(&mut model, at, 10);
    lines(&mut model, other, 1);
    rig.start();
    rig.run_ms(3_000);
    let known = |rig: &Rig| rig.places[0].disk.load().unwrap().chains.len();
    model.delete_pod(at);
    rig.run_ms(590_000);
    assert_eq!(known(&rig), 2);
    let before = totals(&rig, 0);
    rig.run_ms(30_000);
    assert_eq!(known(&rig), 1);
    assert_eq!(totals(&rig, 0), before, "its accounts are kept");
    assert_eq!(of_namespaces(&rig, 0), before.delivered);
    // The same while the agent was down when it went.
    rig.stop(5_000);
    model.delete_pod(other);
    rig.start();
    rig.run_ms(590_000);
    assert_eq!(known(&rig), 1);
    rig.run_ms(30_000);
    assert_eq!(known(&rig), 0);
    assert_eq!(totals(&rig, 0), before);
    assert_eq!(of_namespaces(&rig, 0), Amount::default(), "nothing new");
}

#[test]
fn a_chain_with_something_under_way_is_forgotten_once_that_is_settled() {
    let (mut rig, mut model, at) = one();
    rig.logs.forget_after_ms = 20_000;
    rig.places[0].sink.set(|manner| manner.dead = true);
    lines(&mut model, at, 10);
    rig.start();
    rig.run_ms(2_000);
    model.delete_pod(at);
    rig.run_ms(60_000);
    assert_eq!(rig.places[0].views[0].chains.len(), 1);
    rig.places[0].sink.set(|manner| manner.dead = false);
    rig.run_ms(10_000);
    assert_eq!(rig.places[0].views[0].chains.len(), 0);
    all_arrived(&model, &rig, 0);
}

#[test]
fn a_line_of_64_mib_is_cut_in_bounded_memory_and_the_next_is_whole() {
    const BYTES: usize = 64 * 1024 * 1024;
    let mut config = sink("a");
    config.limits.block_bytes = 256 * 1024;
    let mut rig = Rig::simple(vec![config]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    lines(&mut model, at, 1);
    model.line(at, Kind::Full, Stream::Stdout, &vec![b'x'; BYTES], false);
    lines(&mut model, at, 1);
    rig.start();
    assert!(rig.run_until(60_000, |rig| taken(rig, 0) == 3));
    rig.run_ms(2_000);
    assert!(rig.places[0].sink.lock().body_bytes_most < 64 * 1024);
    all_arrived(&model, &rig, 0);
}

#[test]
fn lines_around_the_size_of_a_block_are_cut_at_the_record_limit_wherever_they_begin() {
    let (mut rig, mut model, at) = one();
    for bytes in 8_600..8_720 {
        model.line(at, Kind::Full, Stream::Stdout, &vec![b'y'; bytes], false);
        lines(&mut model, at, bytes % 3);
    }
    rig.start();
    rig.run_ms(30_000);
    all_arrived(&model, &rig, 0);
}

#[test]
fn a_full_join_pool_gives_up_the_oldest_record_and_marks_it() {
    let mut config = sink("a");
    config.limits.join_bytes_max = 1_000;
    config.limits.partial_timeout_ms = 600_000;
    let mut rig = Rig::simple(vec![config]);
    let mut model = Model::new(&rig.files);
    rig.start();
    for _ in 0..20 {
        let at = model.begin(false);
        model.line(at, Kind::Part, Stream::Stdout, &[b'p'; 100], false);
        rig.run_ms(2_000);
    }
    let partial = rig.places[0]
        .sink
        .lock()
        .taken
        .iter()
        .filter(|taken| taken.row.has("partial"))
        .count();
    assert_eq!(partial, 10);
    for at in 0..20 {
        model.line(at, Kind::Full, Stream::Stdout, b"the end", false);
    }
    rig.run_ms(5_000);
    all_arrived(&model, &rig, 0);
}
