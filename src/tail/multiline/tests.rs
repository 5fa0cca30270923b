//! Grammars against lines; whole traces are in `tests/it/multiline.rs`.

use proptest::prelude::*;
use regex_lite::Regex;

use super::*;

/// How many lines each record has.
fn sizes(grammar: &Grammar, lines: &[&str]) -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::new();
    let mut state = State::Idle;
    for line in lines {
        let (verdict, next) = grammar.judge(state, line.as_bytes());
        match (verdict, sizes.last_mut()) {
            (Verdict::Continues | Verdict::Ends, Some(last)) => *last += 1,
            _ => sizes.push(1),
        }
        state = next;
    }
    sizes
}

fn own(start: &str, continues: &str, end: &str) -> Grammar {
    let regex = |text: &str| (!text.is_empty()).then(|| Regex::new(text).unwrap());
    Grammar::Own(Own {
        start: regex(start),
        continues: regex(continues),
        end: regex(end),
    })
}

#[test]
fn own_expressions() {
    let dated = ["1 a", "b", "2 c", "3 d", "e", "f"];
    assert_eq!(sizes(&own(r"^\d", "", ""), &dated), [2, 1, 3]);
    assert_eq!(sizes(&own("", r"^\D", ""), &dated), [2, 1, 3]);
    assert_eq!(sizes(&own(r"^[13]", r"^[bf]", ""), &dated), [2, 1, 1, 1, 1]);
    let framed = ["x", "BEGIN", "1", "END", "y", "BEGIN END", "z"];
    assert_eq!(sizes(&own("BEGIN", "", "END"), &framed), [1, 3, 1, 1, 1]);
    // Before the first start nothing is joined; both matching, the open group has it.
    assert_eq!(sizes(&own("^a", "", ""), &["x", "y", "a", "y"]), [1, 1, 2]);
    assert_eq!(sizes(&own("^a", "^ab", ""), &["a", "ab", "a"]), [2, 1]);
}

#[test]
fn what_was_cut_off_from_its_beginning_stays_together() {
    let all = Grammar::Languages(Languages::all());
    for lines in [
        ["\tat a.B.c(B.java:1)", "\t... 3 more", "Caused by: a.E: x"],
        ["goroutine 7 [running]:", "main.f()", "\t/app/f.go:1 +0x1"],
        [
            "\tfrom /app/a.rb:1:in `b'",
            "\tfrom /app/a.rb:2:in `c'",
            "\tfrom /app/a.rb:3:in `d'",
        ],
    ] {
        assert_eq!(sizes(&all, &lines), [3], "{lines:?}");
    }
}

#[test]
fn a_carriage_return_changes_nothing_and_json_is_never_joined() {
    let all = Grammar::Languages(Languages::all());
    let lines = [
        "a.b.Fault: x\r",
        "\tat a.B.c(B.java:1)\r",
        "{\"at\": 1}\r",
        "x\r",
    ];
    assert_eq!(sizes(&all, &lines), [2, 1, 1]);
    let python = [
        "Traceback (most recent call last):\r",
        "  File \"a\"\r",
        "E: x\r",
        "y",
    ];
    assert_eq!(sizes(&all, &python), [3, 1]);
}

/// Words and shapes that grammars look at.
fn shape() -> impl Strategy<Value = String> {
    let words = "(Traceback \\(most recent call last\\):|  File \"|panic: |goroutine 1 \\[x\\]:|\
                 \tat |    at |Caused by: |Error: |Exception|[a-z]{0,3}\\.[A-Z]: |#0 |\\*\\*\\* |\
                 thread 'a' panicked at |note: |==1==ERROR: |[ \t:{}()\\[\\]'\"\\r^=@-]|\\PC|[0-9]){0,6}";
    prop_oneof![3 => words, 1 => Just(String::new())]
}

fn grammars() -> impl Strategy<Value = Grammar> {
    prop_oneof![
        Just(Grammar::Languages(Languages::all())),
        (0..9_usize).prop_map(|at| Grammar::Languages(Languages::of(&[Language::ALL[at]]))),
        Just(own("[0-9]", "^ ", "")),
        Just(own("", "^\\s", "")),
        Just(own("a", "", "b")),
    ]
}

proptest! {
    /// Invariants: no line makes a grammar panic; only an open group is continued; a line may begin a group if and only
    /// if it does where none is open; and without one a group is Idle.
    #[test]
    fn verdicts_are_of_one_mind(grammar in grammars(), lines in prop::collection::vec(shape(), 0..30)) {
        let mut state = State::Idle;
        for line in &lines {
            let line = line.as_bytes();
            let begins = grammar.judge(State::Idle, line).0 == Verdict::Begins;
            prop_assert_eq!(grammar.may_begin(line), begins);
            let (verdict, next) = grammar.judge(state, line);
            match verdict {
                Verdict::Alone => prop_assert_eq!(next, State::Idle),
                Verdict::Ends => prop_assert!(state != State::Idle && next == State::Idle),
                Verdict::Begins => prop_assert!(begins && next != State::Idle),
                Verdict::Continues => prop_assert!(state != State::Idle && next != State::Idle),
            }
            state = next;
        }
    }

    /// Invariant: bytes that are no text are read as any other.
    #[test]
    fn no_bytes_make_it_panic(grammar in grammars(), lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut state = State::Idle;
        for line in &lines {
            state = grammar.judge(state, line).1;
        }
    }
}
