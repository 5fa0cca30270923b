//! Selection on a simulated node: what waits is not read, what is excluded is not opened, and what changes its mind
//! starts where it stands; the accounts balance at every view (`rig.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore::config::ReadFrom;
use longshore::config::glob::Glob;
use longshore::config::select::{MetadataMissing, Rules, Select, Streams};
use longshore::config::selector::{Selector, Values};
use longshore::pipeline::ledger::{Accounts, Exclusion};
use longshore::pods::{PodInfo, PodState};
use longshore::record::Stream;
use longshore::select::plan::Decision;

use super::model::{Kind, Model};
use super::rig::{Rig, sink};

fn totals(rig: &Rig, number: usize) -> Accounts {
    let mut totals = Accounts::default();
    for view in &rig.places[number].views {
        totals += &view.totals;
    }
    totals
}

fn excluded(rig: &Rig, number: usize, why: Exclusion) -> u64 {
    totals(rig, number).excluded[why as usize].bytes
}

fn messages(rig: &Rig, number: usize) -> Vec<String> {
    let sink = rig.places[number].sink.lock();
    sink.taken
        .iter()
        .map(|taken| taken.row.log_message.clone())
        .collect()
}

fn written(model: &Model) -> u64 {
    model.logs.iter().map(|log| log.bytes.len() as u64).sum()
}

fn say(model: &mut Model, at: usize, text: &str) {
    model.line(at, Kind::Full, Stream::Stdout, text.as_bytes(), false);
}

fn namespaces(exclude: &str) -> Select {
    Select {
        exclude: Rules {
            namespaces: vec![Glob::new(exclude).unwrap()],
            ..Rules::default()
        },
        ..Select::default()
    }
}

fn labels(exclude: &str) -> Select {
    Select {
        exclude: Rules {
            labels: vec![Selector::new(exclude, Values::OfLabels).unwrap()],
            ..Rules::default()
        },
        ..Select::default()
    }
}

fn labelled(text: &str) -> PodState {
    let (key, value) = text.split_once('=').unwrap();
    PodState::Known(Arc::new(PodInfo {
        labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..PodInfo::default()
    }))
}

fn annotated(name: &str, value: &str) -> PodState {
    PodState::Known(Arc::new(PodInfo {
        annotations: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        ..PodInfo::default()
    }))
}

/// A node with one container, and one sink with these rules.
fn one(select: Select) -> (Rig, Model, usize) {
    let mut sink = sink("a");
    sink.select = select;
    let rig = Rig::simple(vec![sink]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    model.agent_up = true;
    (rig, model, at)
}

fn tell(rig: &mut Rig, at: usize, state: PodState) {
    rig.pods.insert(format!("uid-{at}"), state);
}

fn decision(rig: &Rig) -> (Decision, String) {
    let plan = &rig.places[0].views[0].chains[0].plan;
    (plan.decision, plan.rule.clone())
}

#[test]
fn what_a_path_rule_excludes_is_never_opened_and_counted_by_its_length() {
    let (mut rig, mut model, at) = one(namespaces("n?"));
    say(&mut model, at, "before");
    rig.start();
    for round in 0..40 {
        for _ in 0..50 {
            say(&mut model, at, "chatty");
        }
        if round % 8 == 7 {
            assert!(model.rename(at));
            model.reopen(at);
        }
        rig.run_ms(1_000);
    }
    assert_eq!(rig.files.opened(), 0, "an excluded log was opened");
    assert_eq!(rig.files.handles(), 0);
    let accounts = totals(&rig, 0);
    assert_eq!(accounts.pending, 0);
    assert_eq!(
        accounts.excluded[Exclusion::Rule as usize].bytes,
        accounts.seen
    );
    assert!(accounts.seen > 0 && messages(&rig, 0).is_empty());
    assert_eq!(
        decision(&rig),
        (Decision::Exclude, "exclude.namespaces: n?".to_owned())
    );
}

#[test]
fn a_restart_does_not_count_what_is_excluded_again() {
    let (mut rig, mut model, at) = one(namespaces("ns"));
    say(&mut model, at, "one");
    rig.start();
    rig.run_ms(3_000);
    let before = excluded(&rig, 0, Exclusion::Rule);
    assert_eq!(before, written(&model));
    for crash in [false, true] {
        if crash {
            rig.crash();
        } else {
            rig.stop(5_000);
        }
        say(&mut model, at, "while down");
        rig.start();
        rig.run_ms(3_000);
        assert_eq!(excluded(&rig, 0, Exclusion::Rule), written(&model));
        assert_eq!(totals(&rig, 0).seen, written(&model));
    }
    assert_eq!(rig.files.opened(), 0);
}

#[test]
fn one_sink_excludes_what_another_collects() {
    let mut strict = sink("strict");
    strict.select = namespaces("ns");
    let mut rig = Rig::simple(vec![strict, sink("all")]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(false);
    rig.start();
    say(&mut model, at, "one");
    assert!(rig.run_until(5_000, |rig| messages(rig, 1).len() == 1));
    rig.run_ms(2_000);
    assert!(messages(&rig, 0).is_empty());
    assert_eq!(excluded(&rig, 0, Exclusion::Rule), written(&model));
    assert_eq!(totals(&rig, 1).delivered.bytes, written(&model));
}

#[test]
fn what_waits_is_not_read_and_then_read_from_its_beginning() {
    let (mut rig, mut model, at) = one(labels("secret=yes"));
    tell(&mut rig, at, PodState::Awaited);
    rig.start();
    for _ in 0..10 {
        say(&mut model, at, "waiting");
        rig.run_ms(1_000);
    }
    assert_eq!(decision(&rig).0, Decision::Wait);
    assert_eq!(totals(&rig, 0).pending, written(&model));
    assert_eq!(rig.places[0].views[0].counters.read_bytes, 0);
    // Also over a restart.
    rig.stop(5_000);
    rig.start();
    rig.run_ms(3_000);
    assert_eq!(totals(&rig, 0).pending, written(&model));
    tell(&mut rig, at, labelled("secret=no"));
    assert!(rig.run_until(5_000, |rig| messages(rig, 0).len() == 10));
    rig.run_ms(2_000);
    let accounts = totals(&rig, 0);
    assert_eq!(
        (accounts.pending, accounts.delivered.bytes),
        (0, written(&model))
    );
}

#[test]
fn what_waits_and_is_rotated_meanwhile_is_all_there() {
    let (mut rig, mut model, at) = one(labels("secret=yes"));
    tell(&mut rig, at, PodState::Awaited);
    rig.start();
    for round in 0..5 {
        say(&mut model, at, &format!("line {round}"));
        rig.run_ms(2_000);
        assert!(model.rename(at));
        model.reopen(at);
        rig.run_ms(2_000);
    }
    tell(&mut rig, at, labelled("secret=no"));
    assert!(rig.run_until(20_000, |rig| messages(rig, 0).len() == 5));
    let expected: Vec<String> = (0..5).map(|round| format!("line {round}")).collect();
    assert_eq!(messages(&rig, 0), expected);
}

#[test]
fn what_waited_and_is_excluded_was_never_read_and_gives_its_descriptor_back() {
    let (mut rig, mut model, at) = one(labels("secret=yes"));
    tell(&mut rig, at, PodState::Awaited);
    rig.start();
    say(&mut model, at, "secret");
    rig.run_ms(3_000);
    assert_eq!(rig.files.handles(), 1);
    tell(&mut rig, at, labelled("secret=yes"));
    rig.run_ms(6_000);
    assert_eq!(
        decision(&rig),
        (Decision::Exclude, "exclude.labels: secret=yes".to_owned())
    );
    let opened = rig.files.opened();
    for _ in 0..20 {
        say(&mut model, at, "more secrets");
        rig.run_ms(1_000);
    }
    assert_eq!((rig.files.handles(), rig.files.opened()), (0, opened));
    assert_eq!(excluded(&rig, 0, Exclusion::Rule), written(&model));
    assert_eq!(totals(&rig, 0).pending, 0);
    // After a restart it waits again, and is excluded again; nothing counts twice.
    rig.stop(5_000);
    say(&mut model, at, "while down");
    tell(&mut rig, at, PodState::Awaited);
    rig.start();
    rig.run_ms(2_000);
    say(&mut model, at, "while waiting");
    rig.run_ms(2_000);
    tell(&mut rig, at, labelled("secret=yes"));
    rig.run_ms(3_000);
    assert_eq!(excluded(&rig, 0, Exclusion::Rule), written(&model));
    assert_eq!(totals(&rig, 0).seen, written(&model));
    assert!(messages(&rig, 0).is_empty());
}

#[test]
fn what_is_no_longer_excluded_starts_at_the_next_line() {
    // Opened while it waited, and then closed; or never opened at all.
    for awaited in [true, false] {
        let (mut rig, mut model, at) = one(Select {
            metadata_missing: match awaited {
                true => MetadataMissing::Wait,
                false => MetadataMissing::Exclude,
            },
            ..labels("secret=yes")
        });
        rig.start();
        rig.run_ms(1_000);
        if awaited {
            tell(&mut rig, at, labelled("secret=yes"));
        }
        say(&mut model, at, "secret one");
        rig.run_ms(2_000);
        assert!(model.rename(at));
        model.reopen(at);
        say(&mut model, at, "secret two");
        rig.run_ms(12_000);
        model.line(at, Kind::Full, Stream::Stdout, b"secret three", true);
        rig.run_ms(3_000);
        assert_eq!(rig.files.handles(), 0);
        assert!(awaited || rig.files.opened() == 0);
        tell(&mut rig, at, labelled("secret=no"));
        rig.run_ms(6_000);
        let before = excluded(&rig, 0, Exclusion::Rule);
        model.rest(at);
        say(&mut model, at, "public");
        assert!(
            rig.run_until(8_000, |rig| !messages(rig, 0).is_empty()),
            "awaited: {awaited}"
        );
        rig.run_ms(2_000);
        assert_eq!(messages(&rig, 0), ["public"], "awaited: {awaited}");
        let accounts = totals(&rig, 0);
        assert_eq!((accounts.pending, accounts.seen), (0, written(&model)));
        assert!(excluded(&rig, 0, Exclusion::Rule) >= before);
        // And a restart brings nothing back.
        rig.crash();
        rig.start();
        rig.run_ms(3_000);
        say(&mut model, at, "public too");
        rig.run_ms(5_000);
        assert_eq!(messages(&rig, 0).last().unwrap(), "public too");
        assert!(!messages(&rig, 0).iter().any(|it| it.contains("secret")));
        assert_eq!(totals(&rig, 0).seen, written(&model));
    }
}

#[test]
fn a_rule_that_a_restart_takes_away_does_not_bring_back_the_past() {
    let (mut rig, mut model, at) = one(namespaces("ns"));
    rig.start();
    say(&mut model, at, "secret");
    rig.run_ms(3_000);
    rig.stop(5_000);
    rig.places[0].config.select = Select::default();
    rig.start();
    rig.run_ms(3_000);
    say(&mut model, at, "public");
    rig.run_ms(3_000);
    assert_eq!(messages(&rig, 0), ["public"]);
    let accounts = totals(&rig, 0);
    assert_eq!((accounts.seen, accounts.pending), (written(&model), 0));
    // Nor does one that a restart brings lose or repeat what was delivered.
    rig.stop(5_000);
    rig.places[0].config.select = namespaces("ns");
    rig.start();
    say(&mut model, at, "secret again");
    rig.run_ms(3_000);
    assert_eq!(messages(&rig, 0), ["public"]);
    let accounts = totals(&rig, 0);
    assert_eq!((accounts.seen, accounts.pending), (written(&model), 0));
}

#[test]
fn exclusion_stops_at_once_and_what_is_in_a_payload_goes() {
    let (mut rig, mut model, at) = one(Select::default());
    tell(&mut rig, at, labelled("a=b"));
    rig.places[0].sink.set(|manner| manner.latency_ms = 3_000);
    rig.start();
    say(&mut model, at, "sent");
    rig.run_ms(1_500);
    // Read, but neither its end nor a payload has come.
    model.line(at, Kind::Part, Stream::Stdout, b"half a ", false);
    rig.run_ms(500);
    tell(&mut rig, at, annotated("fluentbit.io/exclude", "true"));
    say(&mut model, at, "after");
    rig.run_ms(20_000);
    assert_eq!(messages(&rig, 0), ["sent"]);
    let accounts = totals(&rig, 0);
    let by_annotation = accounts.excluded[Exclusion::Annotation as usize].bytes;
    assert_eq!(accounts.delivered.bytes + by_annotation, written(&model));
    assert_eq!(accounts.pending, 0);
    assert_eq!(
        decision(&rig),
        (Decision::Exclude, "fluentbit.io/exclude".to_owned())
    );
}

/// Killed with the exclusion still behind a payload that is under way, nothing is settled that was not.
#[test]
fn a_crash_between_a_payload_and_the_exclusion_behind_it_repeats_at_most() {
    for after_ms in [0, 100, 400, 1_000, 2_500, 4_000] {
        let (mut rig, mut model, at) = one(Select::default());
        tell(&mut rig, at, labelled("a=b"));
        rig.places[0].sink.set(|manner| manner.latency_ms = 2_000);
        rig.start();
        say(&mut model, at, "sent");
        rig.run_ms(1_200);
        tell(&mut rig, at, annotated("longshore.dev/exclude", "true"));
        say(&mut model, at, "after");
        rig.run_ms(after_ms);
        rig.crash();
        rig.start();
        rig.run_ms(15_000);
        let accounts = totals(&rig, 0);
        assert_eq!(
            (accounts.seen, accounts.pending),
            (written(&model), 0),
            "{after_ms}"
        );
        assert!(!messages(&rig, 0).contains(&"after".to_owned()));
    }
}

#[test]
fn one_stream_alone_is_left_out_line_by_line() {
    let mut select = Select {
        streams: Streams {
            stdout: true,
            stderr: false,
        },
        ..Select::default()
    };
    select.pod_annotations.clear();
    let (mut rig, mut model, at) = one(select);
    rig.start();
    let mut stderr = 0;
    for round in 0..30 {
        say(&mut model, at, &format!("out {round}"));
        let before = written(&model);
        model.line(at, Kind::Part, Stream::Stderr, b"err ", false);
        model.line(at, Kind::Full, Stream::Stderr, b"or", false);
        stderr += written(&model) - before;
        if round % 10 == 0 {
            rig.run_ms(700);
        }
        if round == 20 {
            rig.crash();
            rig.start();
        }
    }
    assert!(rig.run_until(10_000, |rig| {
        messages(rig, 0).last().is_some_and(|it| it == "out 29")
    }));
    rig.run_ms(3_000);
    assert!(messages(&rig, 0).iter().all(|it| it.starts_with("out ")));
    let accounts = totals(&rig, 0);
    assert_eq!(accounts.excluded[Exclusion::Rule as usize].bytes, stderr);
    assert_eq!(accounts.excluded[Exclusion::Rule as usize].lines, 60);
    assert_eq!(accounts.delivered.bytes + stderr, written(&model));
    assert_eq!(accounts.pending, 0);
}

#[test]
fn a_backlog_that_is_skipped_stays_skipped_for_what_waits() {
    let (mut rig, mut model, at) = one(labels("secret=yes"));
    rig.places[0].config.read_from = ReadFrom::End;
    say(&mut model, at, "old");
    tell(&mut rig, at, PodState::Awaited);
    rig.start();
    rig.run_ms(2_000);
    say(&mut model, at, "new");
    rig.run_ms(2_000);
    tell(&mut rig, at, labelled("secret=no"));
    assert!(rig.run_until(5_000, |rig| !messages(rig, 0).is_empty()));
    rig.run_ms(2_000);
    assert_eq!(messages(&rig, 0), ["new"]);
    assert!(excluded(&rig, 0, Exclusion::Backlog) > 0);
    assert_eq!(excluded(&rig, 0, Exclusion::Rule), 0);
}

#[test]
fn a_pod_of_which_nothing_can_be_known_is_treated_as_the_config_says() {
    for (missing, taken) in [
        (MetadataMissing::Wait, 0),
        (MetadataMissing::Include, 1),
        (MetadataMissing::Exclude, 0),
    ] {
        let (mut rig, mut model, at) = one(Select {
            metadata_missing: missing,
            ..labels("secret=yes")
        });
        say(&mut model, at, "line");
        tell(&mut rig, at, PodState::Missing);
        rig.start();
        rig.run_ms(5_000);
        assert_eq!(messages(&rig, 0).len(), taken, "{missing:?}");
        let pending = totals(&rig, 0).pending;
        assert_eq!(pending > 0, missing == MetadataMissing::Wait);
    }
}

#[test]
fn a_pod_may_have_its_json_parsed() {
    let (mut rig, mut model, at) = one(Select::default());
    tell(&mut rig, at, annotated("longshore.dev/parse-json", "true"));
    say(&mut model, at, r#"{"a":1}"#);
    rig.start();
    assert!(rig.run_until(5_000, |rig| !messages(rig, 0).is_empty()));
    assert_eq!(messages(&rig, 0), ["JSON: {\"a\":1}"]);
}

/// What the cluster says in turn, at random, with rotations, crashes and stops between: what was written while a chain
/// was excluded never arrives, everything else arrives exactly once when it is wanted at the end, and the accounts say
/// the same.
#[test]
fn what_is_decided_decides_about_each_line_whatever_happens() {
    for seed in super::seeds().take(150) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut rig, mut model, at) = one(labels("secret=yes"));
        let states = [
            PodState::Awaited,
            labelled("secret=no"),
            labelled("secret=yes"),
        ];
        let mut state = 0;
        tell(&mut rig, at, states[0].clone());
        rig.start();
        // Lines that may go, and those of the present wait.
        let (mut public, mut waiting) = (Vec::new(), Vec::new());
        for step in 0..25 {
            match random.u8(..10) {
                0..5 => {
                    for _ in 0..random.u8(1..4) {
                        let line = format!("seed {seed} step {step} line {}", model.lines.len());
                        say(&mut model, at, &line);
                        match state {
                            0 => waiting.push(line),
                            1 => public.push(line),
                            _ => {}
                        }
                    }
                }
                5 => {
                    if model.rename(at) {
                        model.reopen(at);
                    }
                }
                6 => rig.crash(),
                7 => {
                    rig.stop(5_000);
                }
                _ => {
                    // Once more is known of a pod, it is not forgotten again.
                    state = random.usize(1..3);
                    tell(&mut rig, at, states[state].clone());
                    match state {
                        1 => public.append(&mut waiting),
                        _ => waiting.clear(),
                    }
                }
            }
            if !rig.is_up() {
                rig.start();
            }
            rig.run_ms(random.u64(2_500..15_000));
        }
        tell(&mut rig, at, states[1].clone());
        public.append(&mut waiting);
        assert!(
            rig.run_until(60_000, |rig| messages(rig, 0).len() >= public.len()),
            "seed {seed}"
        );
        rig.run_ms(5_000);
        assert_eq!(messages(&rig, 0), public, "seed {seed}");
        let accounts = totals(&rig, 0);
        assert_eq!(accounts.pending, 0, "seed {seed}: {accounts:?}");
        assert_eq!(accounts.lost, [0; 4], "seed {seed}");
        assert_eq!(
            accounts.delivered.lines as usize,
            public.len(),
            "seed {seed}"
        );
    }
}
