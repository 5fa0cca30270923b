//! Stack traces as programs print them (`tests/traces`, recorded by `tests/traces/record` or written by hand where it has
//! no interpreter): each is one record, by its own language and by all of them, and nothing else is joined.
#![allow(clippy::unwrap_used)] // a helper that cannot go on ends its test

use std::path::Path;

use longshore::tail::multiline::{Grammar, Language, Languages, State, Verdict};

/// The recorded traces with their language: each a list of records, each of these a list of lines.
pub fn traces() -> Vec<(Language, String, Vec<Vec<String>>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let language = Language::named(name.split('-').next().unwrap()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        found.push((language, name, records(language, lines)));
    }
    found.sort_by(|one, other| one.1.cmp(&other.1));
    found
}

/// A panic of Rust begins with a blank line of its own, which is a record by itself; all others are one record whole.
fn records(language: Language, lines: Vec<String>) -> Vec<Vec<String>> {
    if language != Language::Rust || !lines[0].is_empty() {
        return vec![lines];
    }
    let mut records: Vec<Vec<String>> = Vec::new();
    for line in lines {
        let begins = line.is_empty() || records.last().is_some_and(|last| last[0].is_empty());
        match records.last_mut() {
            Some(last) if !begins => last.push(line),
            _ => records.push(vec![line]),
        }
    }
    records
}

/// What no language of ours calls a trace.
pub const ORDINARY: [&str; 14] = [
    "10.0.0.1 - - [22/Nov/2026:10:00:00 +0000] \"GET /errors HTTP/1.1\" 200 12",
    "2026-11-22T10:00:00Z INFO  http: listening on :8080",
    "I1122 10:00:00.000000       1 server.go:123] ready",
    "ERROR cannot connect: no exception was thrown",
    "{\"level\":\"error\",\"msg\":\"Error: x\",\"stack\":\"Error: x\\n    at f (/a.js:1:2)\"}",
    "thread pool has 8 threads",
    "an indented line follows",
    "    at the moment there is nothing to do",
    "\twith a tab",
    "fatal: not a repository",
    "# 1 heading",
    "*** note ***",
    "[2026-11-22] Error budget: 12 %",
    "level=info msg=\"panic averted\" error=nil",
];

/// The records that a grammar makes of lines.
fn grouped(grammar: &Grammar, lines: &[String]) -> Vec<Vec<String>> {
    let mut records: Vec<Vec<String>> = Vec::new();
    let mut state = State::Idle;
    for line in lines {
        let (verdict, next) = grammar.judge(state, line.as_bytes());
        match verdict {
            Verdict::Continues | Verdict::Ends => records.last_mut().unwrap().push(line.clone()),
            Verdict::Alone | Verdict::Begins => records.push(vec![line.clone()]),
        }
        state = next;
    }
    records
}

fn ordinary() -> Vec<String> {
    ORDINARY.map(str::to_owned).to_vec()
}

/// Each trace is one record, whether its language is named or all are, wherever it stands.
#[test]
fn every_recorded_trace_is_one_record() {
    let mut covered = Vec::new();
    for (language, name, records) in traces() {
        for on in [Languages::of(&[language]), Languages::all()] {
            let grammar = Grammar::Languages(on);
            let mut lines = ordinary();
            let mut expected: Vec<Vec<String>> =
                lines.iter().map(|line| vec![line.clone()]).collect();
            lines.extend(records.concat());
            expected.extend(records.iter().cloned());
            lines.extend(ordinary());
            expected.extend(ordinary().into_iter().map(|line| vec![line]));
            assert_eq!(grouped(&grammar, &lines), expected, "{name} by {on:?}");
        }
        covered.push(language);
    }
    for language in Language::ALL {
        assert!(
            covered.contains(&language),
            "no trace of {}",
            language.name()
        );
    }
}

/// All traces behind one another, without a line between them, are still one record each.
#[test]
fn traces_that_follow_one_another_are_apart() {
    let grammar = Grammar::Languages(Languages::all());
    let mut before = None;
    let mut all: Vec<Vec<String>> = Vec::new();
    for (language, _, records) in traces() {
        // Of these, one looks as if it went on with the other: a cause of Ruby's, another handler's frames.
        let alike = [Language::Ruby, Language::Cpp].contains(&language);
        if !(alike && before == Some(language)) {
            all.extend(records);
        }
        before = Some(language);
    }
    for (found, expected) in grouped(&grammar, &all.concat()).iter().zip(&all) {
        assert_eq!(found, expected);
    }
}

/// A line that cannot begin a trace is never held: not even asked about twice.
#[test]
fn ordinary_lines_begin_nothing() {
    let grammar = Grammar::Languages(Languages::all());
    for line in ORDINARY {
        assert!(!grammar.may_begin(line.as_bytes()), "{line}");
    }
}
