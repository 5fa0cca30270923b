use proptest::prelude::*;

use super::*;
use crate::record::{Stream, TimeText};

fn patterns(texts: &[&str]) -> Vec<MessagePattern> {
    texts
        .iter()
        .map(|it| MessagePattern::new(it).unwrap())
        .collect()
}

fn record(message: &[u8], level: Level) -> Record<'_> {
    Record {
        time: &TimeText::EPOCH,
        stream: Stream::Stdout,
        message,
        level,
        flags: Flags::NONE,
        start: 0,
        end: 1,
    }
}

fn judged_by(plan: Option<&ChainLines>, message: &[u8], level: Level, uid: u128) -> Judged {
    plan.map_or(Judged::Wanted, |plan| {
        plan.judge(&record(message, level), || uid, &mut Bench::default())
    })
}

fn judged(lines: &Lines, message: &str, level: Level) -> Judged {
    let plan = LinesPlanner::new(lines.clone()).plan(&LinesWishes::default());
    judged_by(plan.as_deref(), message.as_bytes(), level, 0)
}

#[test]
fn without_rules_there_is_no_plan() {
    let planner = LinesPlanner::new(Lines::default());
    assert_eq!(planner.plan(&LinesWishes::default()), None);
}

#[test]
fn levels() {
    let mut lines = Lines {
        min_level: Some(Level::Warning),
        ..Lines::default()
    };
    let low = Judged::Unwanted(Unwanted::MinLevel);
    for level in Level::STATED {
        let wanted = if level <= Level::Warning {
            Judged::Wanted
        } else {
            low
        };
        assert_eq!(judged(&lines, "x", level), wanted, "{level:?}");
    }
    assert_eq!(judged(&lines, "x", Level::Unknown), Judged::Wanted);
    lines.keep_unknown = false;
    assert_eq!(judged(&lines, "x", Level::Unknown), low);
}

#[test]
fn patterns_include_and_exclude() {
    let lines = Lines {
        include: patterns(&["order", "(?i)PAYMENT [0-9]+", "^x.*y$"]),
        exclude: patterns(&["/healthz", "order .* test"]),
        ..Lines::default()
    };
    let out = Judged::Unwanted(Unwanted::Pattern);
    for (message, wanted) in [
        ("an order came", Judged::Wanted),
        ("an Order came", out),
        ("payment 12", Judged::Wanted),
        ("payment x", out),
        ("xy", Judged::Wanted),
        ("GET /healthz of an order", out),
        ("order as a test", out),
        ("order as a TEST", Judged::Wanted),
        ("", out),
    ] {
        assert_eq!(judged(&lines, message, Level::Unknown), wanted, "{message}");
    }
}

#[test]
fn what_is_urgent_is_not_sampled() {
    let mut lines = Lines {
        sample: 0.0,
        ..Lines::default()
    };
    let out = Judged::Unwanted(Unwanted::Sampled);
    assert_eq!(judged(&lines, "x", Level::Error), Judged::Wanted);
    assert_eq!(judged(&lines, "x", Level::Warning), out);
    assert_eq!(judged(&lines, "x", Level::Unknown), out);
    lines.sample_keep_level = None;
    assert_eq!(judged(&lines, "x", Level::Critical), out);
}

#[test]
fn pods_that_ask_for_the_same_share_what_is_searched_for() {
    let planner = LinesPlanner::new(Lines {
        redact: vec![Detector::Cards],
        ..Lines::default()
    });
    let wishes = LinesWishes {
        redact: vec![Detector::Emails, Detector::Cards],
        ..LinesWishes::default()
    };
    assert_eq!(planner.plan(&wishes), planner.plan(&wishes));
    let plain = planner.plan(&LinesWishes::default());
    assert_ne!(planner.plan(&wishes), plain);
    assert_eq!(
        judged_by(plain.as_deref(), b"jo@mail.example", Level::Info, 0),
        Judged::Wanted
    );
    assert_eq!(
        judged_by(
            planner.plan(&wishes).as_deref(),
            b"jo@mail.example",
            Level::Info,
            0
        ),
        Judged::Masked
    );
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select([&Level::STATED[..], &[Level::Unknown]].concat())
}

proptest! {
    /// Invariant: the sample is what was asked for, give or take chance, and one uid is always judged alike.
    #[test]
    fn samples_are_of_the_size_that_was_asked_for(percent in 0_u32..=100, seed: u64) {
        let lines = Lines { sample: f64::from(percent) / 100.0, ..Lines::default() };
        let plan = LinesPlanner::new(lines).plan(&LinesWishes::default());
        let kept = (0..4_000_u64).filter(|n| {
            let place = Record { start: *n, end: n + 1, ..record(b"x", Level::Info) };
            let mut bytes = seed.to_le_bytes().to_vec();
            bytes.extend(place.start.to_le_bytes());
            let uid = xxhash_rust::xxh3::xxh3_128(&bytes);
            let first = judged_by(plan.as_deref(), b"x", Level::Info, uid);
            assert_eq!(first, judged_by(plan.as_deref(), b"x", Level::Info, uid));
            first == Judged::Wanted
        });
        let kept = kept.count() as f64 / 4_000.0;
        prop_assert!((kept - f64::from(percent) / 100.0).abs() < 0.05, "{kept}");
    }

    /// Invariant: whatever a pod wishes, it is sent nothing that the operator leaves out or hides.
    #[test]
    fn a_pod_can_only_make_less_of_its_output(
        operator_level in prop::option::of(level()), wished_level in prop::option::of(level()),
        operator_sample in 0.0_f64..=1.0, wished_sample in prop::option::of(-1.0_f64..=2.0),
        level in level(), uid: u128, hidden: bool,
    ) {
        let lines = Lines {
            min_level: operator_level,
            sample: operator_sample,
            exclude: patterns(&["never"]),
            redact: if hidden { vec![Detector::Emails] } else { Vec::new() },
            ..Lines::default()
        };
        let planner = LinesPlanner::new(lines);
        let wishes = LinesWishes {
            min_level: wished_level,
            sample: wished_sample,
            rate: None,
            redact: vec![Detector::Cards],
        };
        for message in [&b"jo@mail.example"[..], b"never", b"plain"] {
            let rank = |judged| match judged {
                Judged::Wanted => 0,
                Judged::Masked => 1,
                Judged::Unwanted(_) => 2,
            };
            let alone = judged_by(planner.plan(&LinesWishes::default()).as_deref(), message, level, uid);
            let wished = judged_by(planner.plan(&wishes).as_deref(), message, level, uid);
            prop_assert!(rank(wished) >= rank(alone), "{alone:?} became {wished:?}");
        }
    }

    /// Invariant: the sieve only saves work: with it the patterns decide as without.
    #[test]
    fn the_sieve_changes_nothing(
        include in proptest::collection::vec("(\\(\\?i\\))?[a-c]{1,4}(\\.\\*[a-c]{1,3})?", 0..3),
        exclude in proptest::collection::vec("(\\(\\?i\\))?[a-c]{2,4}|\\^[a-c]+\\$", 0..3),
        message in "[a-cA-C ]{0,20}",
    ) {
        let texts = |all: &[String]| {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            patterns(&all)
        };
        let lines = Lines { include: texts(&include), exclude: texts(&exclude), ..Lines::default() };
        let any = |all: &[MessagePattern]| all.iter().any(|it| it.regex().is_match(message.as_bytes()));
        let wanted = (include.is_empty() || any(&lines.include)) && !any(&lines.exclude);
        let found = judged(&lines, &message, Level::Info);
        prop_assert_eq!(found == Judged::Wanted, wanted, "{:?}", lines);
    }
}
