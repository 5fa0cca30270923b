//! What holds of the sources as a whole: which room may use which, how long a file may be, and that all is ASCII.

use std::fs;
use std::path::{Path, PathBuf};

/// A room is a file or folder in `src`. Each row: the rooms, the others that they may use, and why they stand there.
/// A room may use only what stands above it, so the table has no circles; what one row holds together is one room.
type Row = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const ROOMS: &[Row] = &[
    (&["clock"], &[], "a seam: knows nothing of the project"),
    (&["files"], &[], "a seam: knows nothing of the project"),
    (&["waker"], &[], "passed between threads of any room"),
    (
        &["pods"],
        &["clock", "waker"],
        "who the node's pods are; whoever asks the cluster fills it",
    ),
    (
        &["record"],
        &["pods"],
        "the one schema that the reader fills and every encoder reads",
    ),
    (&["own_pod"], &[], "pure over an environment and /proc"),
    (
        &["config"],
        &["record"],
        "plain values; whoever is configured reads them, they know nobody; levels have one set of names",
    ),
    (
        &["node"],
        &["clock", "waker", "config"],
        "what the node uses: knows neither logs nor where samples go",
    ),
    (
        &["own_log"],
        &["clock", "config"],
        "may be needed before anything else works",
    ),
    (
        &["catalog"],
        &[
            "clock", "files", "waker", "pods", "record", "own_pod", "config",
        ],
        "what exists on the node, whoever reads it: knows neither lines nor sinks",
    ),
    (
        &["tail"],
        &["clock", "files", "record", "catalog"],
        "segments to lines: knows no config, nor what becomes of a line",
    ),
    (
        &["select"],
        &["clock", "pods", "record", "config", "tail"],
        "judges messages; reads JSON with the reader's scanner",
    ),
    (
        &["encode"],
        &["pods", "record", "config"],
        "records to bytes: knows neither where from nor where to",
    ),
    (
        &["sink"],
        &["clock", "waker", "config", "encode"],
        "one attempt, one verdict: neither records nor cursors; of encoding, frames and codecs for those that make messages",
    ),
    (
        &["samples"],
        &["clock", "waker", "config", "node", "encode", "sink"],
        "the side door: knows no log, no cursor and nothing of the pipeline",
    ),
    (
        &["scrape"],
        &["clock", "config", "node", "sink"],
        "another source of samples; fetches with the sinks' client",
    ),
    (
        &["kube"],
        &["clock", "waker", "pods", "config", "node", "sink"],
        "asks the cluster with the sinks' client; fills the store of pods and knows nobody who reads it",
    ),
    (
        &["pipeline", "checkpoint"],
        &[
            "clock", "files", "pods", "record", "config", "catalog", "tail", "select", "encode",
            "sink",
        ],
        "the loop, and its states as they are written down",
    ),
    (
        &["admin"],
        &[
            "clock", "pods", "record", "config", "node", "own_log", "catalog", "select", "sink",
            "samples", "pipeline",
        ],
        "shows what the others publish, and is needed by none of them",
    ),
    (
        &["agent"],
        &[
            "clock",
            "files",
            "waker",
            "pods",
            "own_pod",
            "node",
            "config",
            "own_log",
            "catalog",
            "select",
            "encode",
            "sink",
            "samples",
            "scrape",
            "kube",
            "pipeline",
            "checkpoint",
            "admin",
        ],
        "builds and starts all of them",
    ),
    (
        &["cli"],
        &[
            "clock", "pods", "record", "own_pod", "config", "own_log", "catalog", "tail", "select",
            "encode", "pipeline", "admin", "agent",
        ],
        "the commands; `read` goes without an agent, `explain` reads what the admin pages write",
    ),
];

/// A file with more lines holds more than one thing.
const LINES_MAX: usize = 600;

/// All sources, with their paths below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    sources.sort();
    sources
}

/// The room that a file is in; none of the two that only join them.
fn room(path: &Path) -> Option<String> {
    let first = Path::new(path.iter().next().unwrap()).with_extension("");
    let name = first.to_str().unwrap().to_owned();
    (!["lib", "main"].contains(&name.as_str())).then_some(name)
}

/// The rooms that a source names behind `crate::`, alone or in braces, outside of comments.
fn used(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut rooms = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let (before, rest) = code.split_at(at);
        let rest = rest.strip_prefix(found).unwrap_or_default();
        let is_longer = before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        if is_longer {
            continue;
        }
        match rest.strip_prefix('{') {
            None => rooms.push(word(rest)),
            Some(list) => rooms.extend(heads(list)),
        }
    }
    rooms.sort();
    rooms.dedup();
    rooms
}

fn word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first word of each item in a list that ends in the brace which closes it.
fn heads(list: &str) -> Vec<String> {
    let mut heads = vec![word(list)];
    let mut depth = 0;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(list.split_at(at + 1).1)),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// What is wrong with a file that lies at `path`.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let Some(room) = room(path) else {
        return Vec::new();
    };
    // Tests may bring rooms together that the code may not.
    if path.ends_with("tests.rs") {
        return Vec::new();
    }
    let Some((together, may_use, why)) = ROOMS.iter().find(|row| row.0.contains(&room.as_str()))
    else {
        return vec![format!("{} is in no room of the table", path.display())];
    };
    let known =
        |used: &String| together.contains(&used.as_str()) || may_use.contains(&used.as_str());
    used(text)
        .into_iter()
        .filter(|used| !known(used))
        .map(|used| format!("{} uses {used}, but {room} may not: {why}", path.display()))
        .collect()
}

#[test]
fn no_room_reaches_into_one_that_it_may_not_use() {
    let faults: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| faults(path, text))
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_table_has_an_order_and_only_rooms_that_exist() {
    let sources = sources();
    let exists = |name: &str| {
        sources
            .iter()
            .any(|(path, _)| room(path).as_deref() == Some(name))
    };
    let mut above: Vec<&str> = Vec::new();
    for (rooms, may_use, _) in ROOMS {
        for used in *may_use {
            assert!(
                above.contains(used),
                "{rooms:?} may use {used}, which does not stand above"
            );
        }
        for room in *rooms {
            assert!(exists(room) && !above.contains(room), "{room}");
        }
        above.extend(*rooms);
    }
}

#[test]
fn a_reach_upwards_is_seen() {
    let tail = Path::new("tail/line.rs");
    let good = "use crate::record::Stream;\n// use crate::agent::Agent;\nuse xcrate::agent;\n";
    assert_eq!(faults(tail, good), Vec::<String>::new());
    for bad in [
        "use crate::sink::Verdict;",
        "    fn x() -> crate::sink::Verdict {}",
        "use crate::{record, sink};",
        "use crate::{\n    record::{self, Stream},\n    sink::{Verdict},\n};",
        "pub use crate::sink;",
    ] {
        let faults = faults(tail, bad);
        assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
        assert!(
            faults[0].starts_with("tail/line.rs uses sink, but tail may not: "),
            "{faults:?}"
        );
    }
    assert_eq!(faults(Path::new("attic/x.rs"), "").len(), 1);
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn sources_are_ascii() {
    for (path, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            assert!(line.is_ascii(), "{}:{}: {line}", path.display(), at + 1);
        }
    }
}
