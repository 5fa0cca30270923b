//! Lines that belong together, through everything that happens to files and to the agent.

use std::collections::HashMap;

use longshore::config::multiline::{Multiline, MultilineMode, OwnPatterns};
use longshore::config::pattern::Pattern;
use longshore::pipeline::ledger::Accounts;
use longshore::record::Stream;
use longshore::select::multiline::grouping;
use longshore::tail::multiline::{State, Verdict};
use proptest::prelude::*;

use super::model::{Kind, Model};
use super::rig::{Rig, sink};
use super::sink::Row;
use crate::multiline::{ORDINARY, traces};

/// Long enough that no group is over before a test is.
const NEVER_MS: u64 = 60_000;

fn auto(timeout_ms: u64) -> Multiline {
    Multiline {
        mode: MultilineMode::Auto,
        timeout_ms,
        ..Multiline::default()
    }
}

/// A node with one sink and one container.
fn one(multiline: Multiline) -> (Rig, Model, usize) {
    let mut sink = sink("a");
    sink.multiline = multiline;
    sink.limits.record_bytes_max = 32 * 1024;
    let rig = Rig::simple(vec![sink]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    model.agent_up = true;
    (rig, model, at)
}

fn write(model: &mut Model, at: usize, stream: Stream, line: &str) {
    model.line(at, Kind::Full, stream, line.as_bytes(), false);
}

/// Writes a line in as many parts as it has words, at most three.
fn write_in_parts(model: &mut Model, at: usize, stream: Stream, line: &str) {
    let cuts: Vec<usize> = line.match_indices(' ').map(|(at, _)| at).take(2).collect();
    let mut from = 0;
    for cut in cuts {
        model.line(at, Kind::Part, stream, &line.as_bytes()[from..cut], false);
        from = cut;
    }
    write(model, at, stream, &line[from..]);
}

fn rotate(model: &mut Model, at: usize) {
    if model.rename(at) {
        model.reopen(at);
    }
}

/// What arrived of a stream, each record once, in order. Invariant: one uid never names two contents.
fn arrived(rig: &Rig, stream: Stream) -> Vec<Row> {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut rows = Vec::new();
    for taken in &rig.places[0].sink.lock().taken {
        let row = &taken.row;
        if row.log_source != stream.as_str() {
            continue;
        }
        let before = known.insert(row.record_uid.clone(), row.log_message.clone());
        match before {
            Some(before) => assert_eq!(before, row.log_message, "one uid for two records"),
            None => rows.push(row.clone()),
        }
    }
    rows
}

fn messages(rig: &Rig, stream: Stream) -> Vec<String> {
    let rows = arrived(rig, stream).into_iter();
    rows.map(|row| row.log_message).collect()
}

fn totals(rig: &Rig) -> Accounts {
    let mut totals = Accounts::default();
    for view in &rig.places[0].views {
        totals += &view.totals;
    }
    totals
}

/// Every byte and physical line is delivered, in the accounts as in the files.
fn all_is_accounted(rig: &Rig, model: &Model) {
    let accounts = totals(rig);
    let bytes: u64 = model.logs.iter().map(|log| log.bytes.len() as u64).sum();
    assert_eq!(
        (accounts.seen, accounts.pending),
        (bytes, 0),
        "{accounts:?}"
    );
    assert_eq!(accounts.delivered.bytes, bytes, "{accounts:?}");
    assert_eq!(accounts.delivered.lines, model.lines.len() as u64);
    assert!(accounts.balances());
}

fn records() -> Vec<Vec<String>> {
    let mut records: Vec<Vec<String>> = Vec::new();
    for (_, _, trace) in traces() {
        records.extend(trace);
        records.push(vec![ORDINARY[records.len() % ORDINARY.len()].to_owned()]);
    }
    records
}

fn joined(records: &[Vec<String>]) -> Vec<String> {
    records.iter().map(|lines| lines.join("\n")).collect()
}

/// Every recorded trace on standard error is one record, in order, while lines of standard output come between its
/// lines, lines are in parts, the log is rotated every few lines and then compressed, and the agent reads as it is
/// written or only when all is there.
#[test]
fn real_traces_survive_rotation_parts_and_other_streams() {
    let records = records();
    for (at_once, rotated_after) in [(false, 7), (true, 7), (false, 60), (true, 60)] {
        let (mut rig, mut model, at) = one(auto(NEVER_MS));
        model.files_kept = 1_000;
        let mut out = Vec::new();
        if !at_once {
            rig.start();
        }
        for (number, line) in records.concat().iter().enumerate() {
            if number % 3 == 0 {
                write_in_parts(&mut model, at, Stream::Stderr, line);
            } else {
                write(&mut model, at, Stream::Stderr, line);
            }
            if number % 4 == 0 {
                out.push(format!("out {number}"));
                write(&mut model, at, Stream::Stdout, &out[out.len() - 1]);
            }
            if number % rotated_after == rotated_after - 1 {
                rotate(&mut model, at);
                rig.run_ms(30);
            }
        }
        if at_once {
            rig.start();
        }
        rig.run_ms(2 * NEVER_MS);
        let (found, expected) = (messages(&rig, Stream::Stderr), joined(&records));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{at_once}, rotated after {rotated_after}");
        }
        assert_eq!(found.len(), expected.len());
        assert_eq!(messages(&rig, Stream::Stdout), out);
        all_is_accounted(&rig, &model);
        let flagged = arrived(&rig, Stream::Stderr).into_iter();
        let flagged: Vec<Row> = flagged.filter(|row| !row.log_flags.is_empty()).collect();
        assert!(flagged.is_empty(), "{flagged:?}");
    }
}

/// Killed or stopped behind any line of a trace, the agent reads the open group again: it arrives whole, and a drain does
/// not send a piece of it.
#[test]
fn a_group_that_is_open_at_a_restart_is_read_again() {
    let (_, _, trace) = traces()
        .into_iter()
        .find(|it| it.1 == "java-chained")
        .unwrap();
    let trace = &trace[0];
    for killed in [true, false] {
        for cut in 1..trace.len() {
            let (mut rig, mut model, at) = one(auto(NEVER_MS));
            write(&mut model, at, Stream::Stdout, "before");
            rig.start();
            for line in &trace[..cut] {
                write(&mut model, at, Stream::Stderr, line);
                write(&mut model, at, Stream::Stdout, "between");
            }
            rig.run_ms(3_000);
            if killed {
                rig.crash();
            } else {
                assert!(rig.stop(5_000), "an open group held up a drain");
            }
            assert_eq!(messages(&rig, Stream::Stderr), [""; 0], "behind line {cut}");
            rig.start();
            for line in &trace[cut..] {
                write(&mut model, at, Stream::Stderr, line);
            }
            rig.run_ms(3_000);
            write(&mut model, at, Stream::Stderr, "behind");
            rig.run_ms(3_000);
            assert_eq!(
                messages(&rig, Stream::Stderr),
                [&trace.join("\n"), "behind"]
            );
            assert_eq!(messages(&rig, Stream::Stdout).len(), 1 + cut);
            all_is_accounted(&rig, &model);
        }
    }
}

/// What cannot begin a trace is not held back for a moment by one that might go on, on its own stream or the other; and
/// what might go on is sent when it has not for `timeout_ms`.
#[test]
fn only_what_may_go_on_waits() {
    let (mut rig, mut model, at) = one(auto(5_000));
    write(&mut model, at, Stream::Stdout, "first");
    rig.start();
    rig.run_ms(3_000);
    write(&mut model, at, Stream::Stderr, "Error: may go on");
    write(&mut model, at, Stream::Stdout, "other stream");
    rig.run_ms(3_000);
    assert_eq!(messages(&rig, Stream::Stdout), ["first", "other stream"]);
    assert_eq!(messages(&rig, Stream::Stderr), [""; 0]);
    rig.run_ms(5_000);
    assert_eq!(messages(&rig, Stream::Stderr), ["Error: may go on"]);
    write(&mut model, at, Stream::Stderr, "Error: may go on");
    write(&mut model, at, Stream::Stderr, "does not");
    rig.run_ms(3_000);
    assert_eq!(
        messages(&rig, Stream::Stderr)[1..],
        ["Error: may go on", "does not"]
    );
    all_is_accounted(&rig, &model);
}

/// When a container is over, so is its group.
#[test]
fn the_end_of_a_container_is_the_end_of_its_group() {
    let (mut rig, mut model, at) = one(auto(600_000));
    write(&mut model, at, Stream::Stderr, "java.lang.Exception: x");
    write(&mut model, at, Stream::Stderr, "\tat a.B.c(B.java:1)");
    rig.start();
    rig.run_ms(3_000);
    assert_eq!(messages(&rig, Stream::Stderr), [""; 0]);
    model.restart(at);
    rig.run_ms(30_000);
    let whole = "java.lang.Exception: x\n\tat a.B.c(B.java:1)";
    assert_eq!(messages(&rig, Stream::Stderr), [whole]);
    all_is_accounted(&rig, &model);
}

/// A trace without end is cut at the bound on lines, on bytes of a record, or on the pool, and no line is lost.
#[test]
fn a_group_is_cut_at_its_bounds() {
    type Bound = fn(&mut longshore::config::Sink);
    let bounds: [(Bound, usize); 3] = [
        (|sink| sink.multiline.lines_max = 10, 9),
        (|sink| sink.limits.record_bytes_max = 1_024, 3),
        (|sink| sink.limits.join_bytes_max = 1_000, 3),
    ];
    for (set, least) in bounds {
        let (mut rig, mut model, at) = one(auto(NEVER_MS));
        set(&mut rig.places[0].config);
        let mut lines = vec!["a.b.Fault: endless".to_owned()];
        lines.extend((0..100).map(|number| format!("\tat a.b.Fault.call{number}(Fault.java:1)")));
        for line in &lines {
            write(&mut model, at, Stream::Stderr, line);
        }
        write(&mut model, at, Stream::Stderr, "end");
        rig.start();
        rig.run_ms(5_000);
        let rows = arrived(&rig, Stream::Stderr);
        let text: Vec<&str> = rows.iter().map(|row| row.log_message.as_str()).collect();
        assert_eq!(text.join("\n"), lines.join("\n") + "\nend");
        let cut = rows.iter().filter(|row| row.has("multiline_cut")).count();
        assert!(cut >= least && cut < lines.len() / 2, "{cut} cut");
        // All but what was over by itself, and what followed.
        assert_eq!(cut, rows.len() - 2, "{rows:?}");
        let counted = rig.places[0].views[0].counters.records_multiline_cut;
        assert_eq!(counted, cut as u64);
        all_is_accounted(&rig, &model);
    }
}

/// A file that is lost in the midst of a group ends it.
#[test]
fn what_was_lost_within_a_group_is_not_joined_over() {
    let (mut rig, mut model, at) = one(auto(NEVER_MS));
    write(&mut model, at, Stream::Stderr, "a.b.Fault: first");
    rig.start();
    rig.run_ms(2_000);
    model.truncate(at, false);
    write(&mut model, at, Stream::Stderr, "\tat a.B.c(B.java:1)");
    rig.run_ms(2 * NEVER_MS);
    let rows = arrived(&rig, Stream::Stderr);
    let text: Vec<&str> = rows.iter().map(|row| row.log_message.as_str()).collect();
    assert_eq!(text, ["a.b.Fault: first", "\tat a.B.c(B.java:1)"]);
    assert!(rows[0].has("multiline_cut"));
    assert!(totals(&rig).balances());
}

/// What is done between two lines.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Wait,
    Rotate,
    Kill,
    Stop,
}

fn line() -> impl Strategy<Value = String> {
    let fixed = [
        "a.b.Fault: x",
        "\tat a.B.c(B.java:1)",
        "Caused by: a.E: y",
        "Traceback (most recent call last):",
        "  File \"a.py\", line 1, in f",
        "KeyError: 'x'",
        "panic: x",
        "",
        "goroutine 1 [running]:",
        "main.f(0x1, 0x2)",
        "plain",
        "{\"a\": 1}",
        "+ more",
    ];
    let long = (0..3_000_usize).prop_map(|bytes| format!("\tat {}(x)", "long ".repeat(bytes / 5)));
    prop_oneof![9 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned), 1 => long]
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        10 => Just(Between::Nothing),
        2 => Just(Between::Wait),
        2 => Just(Between::Rotate),
        1 => Just(Between::Kill),
        1 => Just(Between::Stop),
    ]
}

fn mode() -> impl Strategy<Value = MultilineMode> {
    let pattern = |text: &str| Some(Pattern::part(text).unwrap());
    prop_oneof![
        3 => Just(MultilineMode::Auto),
        1 => Just(MultilineMode::Own(Box::new(OwnPatterns {
            start: None,
            continues: pattern("^[+\\s]"),
            end: None,
        }))),
        1 => Just(MultilineMode::Own(Box::new(OwnPatterns {
            start: pattern("^[pa]"),
            continues: None,
            end: pattern("^KeyError"),
        }))),
    ]
}

type PlayStep = (String, bool, bool, Between);

/// A drain delivers what is open in a file that was deleted when it was compressed, so a rotated log is only killed.
fn steps() -> impl Strategy<Value = Vec<PlayStep>> {
    let step = (line(), any::<bool>(), any::<bool>(), between());
    prop::collection::vec(step, 1..60).prop_map(|mut steps| {
        if steps.iter().any(|step| matches!(step.3, Between::Rotate)) {
            for step in &mut steps {
                if matches!(step.3, Between::Stop) {
                    step.3 = Between::Kill;
                }
            }
        }
        steps
    })
}

/// The records that the grammar makes of lines that follow one another.
fn reference(multiline: &Multiline, lines: &[String]) -> Vec<String> {
    let grammar = &grouping(multiline, None).unwrap().grammar;
    let mut records: Vec<String> = Vec::new();
    let mut state = State::Idle;
    for line in lines {
        let (verdict, next) = grammar.judge(state, line.as_bytes());
        match (verdict, records.last_mut()) {
            (Verdict::Continues | Verdict::Ends, Some(last)) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => records.push(line.clone()),
        }
        state = next;
    }
    records
}

fn play(rig: &mut Rig, model: &mut Model, at: usize, steps: &[PlayStep]) {
    rig.start();
    for (line, err, parts, then) in steps {
        let stream = if *err { Stream::Stderr } else { Stream::Stdout };
        if *parts {
            write_in_parts(model, at, stream, line);
        } else {
            write(model, at, stream, line);
        }
        match then {
            Between::Nothing => {}
            Between::Wait => rig.run_ms(400),
            Between::Rotate => rotate(model, at),
            Between::Kill => {
                rig.crash();
                rig.start();
            }
            Between::Stop => {
                rig.run_ms(300);
                assert!(rig.stop(5_000));
                rig.start();
            }
        }
    }
    rig.run_ms(3 * NEVER_MS);
}

fn written(steps: &[PlayStep], stream: Stream) -> Vec<String> {
    let is_err = stream == Stream::Stderr;
    let of_it = steps.iter().filter(|step| step.1 == is_err);
    of_it.map(|step| step.0.clone()).collect()
}

proptest! {
    #![proptest_config(super::config())]

    /// Invariant: however lines are cut into blocks, parts and segments, whatever stands between them on the other stream,
    /// and wherever the agent is killed or stopped, the records are those that the grammar makes of the lines alone.
    #[test]
    fn the_way_of_lines_makes_no_difference(
        mode in mode(),
        steps in steps(),
    ) {
        let multiline = Multiline { mode, ..auto(NEVER_MS) };
        let (mut rig, mut model, at) = one(multiline.clone());
        model.files_kept = 1_000;
        play(&mut rig, &mut model, at, &steps);
        for stream in Stream::ALL {
            let expected = reference(&multiline, &written(&steps, stream));
            prop_assert_eq!(messages(&rig, stream), expected);
        }
        let accounts = totals(&rig);
        prop_assert!(accounts.balances() && accounts.pending == 0, "{:?}", accounts);
    }

    /// Invariant: with any bounds no line is lost, repeated or out of its order.
    #[test]
    fn bounds_lose_nothing(
        mode in mode(),
        lines_max in 2..8_u32,
        record_bytes_max in 3_100..4_000_usize,
        join_bytes_max in 100..6_000_usize,
        steps in prop::collection::vec((line(), any::<bool>(), any::<bool>(), Just(Between::Wait)), 1..60),
    ) {
        let (mut rig, mut model, at) = one(Multiline { mode, lines_max, ..auto(500) });
        let limits = &mut rig.places[0].config.limits;
        limits.record_bytes_max = record_bytes_max;
        limits.join_bytes_max = join_bytes_max;
        let steps: Vec<_> = steps.into_iter().map(|step| (step.0, step.1, false, step.3)).collect();
        play(&mut rig, &mut model, at, &steps);
        for stream in Stream::ALL {
            let text = messages(&rig, stream).join("\n");
            prop_assert_eq!(text, written(&steps, stream).join("\n"));
        }
        all_is_accounted(&rig, &model);
    }
}
