//! Java, Node and .NET, whose frames all begin with `at`.
//!
//! | line | of | where it is specified or made |
//! |---|---|---|
//! | `a.b.C: message`, anything with `...Exception: ` or `...Error: ` in it | all | `Throwable.toString`; `Error.stack` of V8; `Exception.ToString` |
//! | `<indent>at ...` | all | `Throwable.printStackTrace`; V8's stack trace API; `StackTrace.ToString` |
//! | `Caused by: `, `Suppressed: `, `Wrapped by: `, `... N more`, `... N common frames omitted`, `[CIRCULAR REFERENCE: ` | Java | `Throwable.printStackTrace`; Logback's and Log4j's converters |
//! | ` ---> `, `--- End of ` | .NET | `Exception.ToString`, `ExceptionDispatchInfo` |
//! | `<level>: <category>[<event>]`, then lines indented by six spaces | .NET | Microsoft.Extensions.Logging.Console, the simple formatter |
//! | `<file>:<line>`, the source, `^`, a blank line, the error | Node | `node::ReportException` |
//! | ` {` at a line's end, properties, `}` | Node | `util.inspect` |
//! | `[cause]: `, `Require stack:`, `- <file>`, `Emitted 'error' event`, `Node.js v<version>` | Node | Node's errors |

use super::shape::{
    after_number, ends_with_place, is_blank, is_indented, is_word, starts_with_any, unindented,
};
use super::{Language, Languages, State, Step};

/// The languages of this grammar.
pub(super) const LANGUAGES: [Language; 3] = [Language::Java, Language::Node, Language::Dotnet];

/// Where among the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind an exception or a frame.
    Frames,
    /// Behind a place in a source of Node: the source's line comes.
    Source,
    /// Behind the source's line: the caret comes.
    Caret,
    /// Behind the caret: blank lines, then the error.
    Error,
    /// Within the properties of an error of Node.
    Properties,
    /// Behind a blank line: only Node's version may come.
    Blank,
    /// Within an entry of .NET's console logger.
    Entry,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Frames(at)))
}

/// What the line leads to, if it continues the group.
pub(super) fn next(languages: Languages, at: At, line: &[u8]) -> Option<Step> {
    let is_node = languages.has(Language::Node);
    match at {
        At::Frames => frames(languages, line),
        At::Source if !is_blank(line) => on(At::Caret),
        At::Source => None,
        At::Caret => {
            let rest = unindented(line);
            let is_caret =
                !rest.is_empty() && rest.iter().all(|byte| matches!(byte, b'^' | b'~' | b' '));
            if is_caret { on(At::Error) } else { None }
        }
        At::Error if is_blank(line) => on(At::Error),
        At::Error if is_node && line.ends_with(b" {") => on(At::Properties),
        At::Error => on(At::Frames),
        At::Properties if is_indented(line) => on(At::Properties),
        At::Properties if starts_with_any(line, &[b"}", b"]"]) => on(At::Frames),
        At::Properties => None,
        At::Blank if is_node_version(line) => Some(Step::End),
        At::Blank => None,
        At::Entry if line.starts_with(b"      ") => on(At::Entry),
        At::Entry => None,
    }
}

fn frames(languages: Languages, line: &[u8]) -> Option<Step> {
    let rest = unindented(line);
    let is_indented = rest.len() < line.len();
    let is_node = languages.has(Language::Node);
    if is_indented && rest.starts_with(b"at ") {
        let opens = is_node && line.ends_with(b" {");
        return on(if opens { At::Properties } else { At::Frames });
    }
    if languages.has(Language::Java) && is_java(rest, is_indented) {
        return on(At::Frames);
    }
    if languages.has(Language::Dotnet) && starts_with_any(rest, &[b"---> ", b"--- End of "]) {
        return on(At::Frames);
    }
    if is_node {
        return node(line, rest, is_indented);
    }
    None
}

fn is_java(rest: &[u8], is_indented: bool) -> bool {
    let starts: &[&[u8]] = &[
        b"Caused by: ",
        b"Suppressed: ",
        b"Wrapped by: ",
        b"[CIRCULAR REFERENCE: ",
    ];
    if starts_with_any(rest, starts) {
        return true;
    }
    let left_out = rest.strip_prefix(b"... ").and_then(after_number);
    let left_out =
        left_out.is_some_and(|rest| starts_with_any(rest, &[b" more", b" common frames omitted"]));
    left_out || (is_indented && rest.starts_with(b"(Coroutine boundary)"))
}

fn node(line: &[u8], rest: &[u8], is_indented: bool) -> Option<Step> {
    if is_blank(line) {
        return on(At::Blank);
    }
    if is_node_version(line) {
        return Some(Step::End);
    }
    let starts: &[&[u8]] = &[
        b"Require stack:",
        b"- /",
        b"Emitted 'error' event",
        b"(Use `node --trace-uncaught",
    ];
    let cause = is_indented && starts_with_any(rest, &[b"[cause]: ", b"[errors]: ["]);
    let alike = rest.strip_prefix(b"... ").and_then(after_number);
    let alike = alike.is_some_and(|rest| rest.starts_with(b" lines matching cause"));
    if cause || alike || starts_with_any(line, starts) {
        let opens = line.ends_with(b" {") || line.ends_with(b" [");
        return on(if opens { At::Properties } else { At::Frames });
    }
    None
}

/// The last line of a process of Node.
pub(super) fn is_node_version(line: &[u8]) -> bool {
    line.strip_prefix(b"Node.js v")
        .and_then(after_number)
        .is_some()
}

/// A frame by itself: the beginning of its trace lies elsewhere.
pub(super) fn is_frame(line: &[u8]) -> bool {
    let Some(rest) = unindented(line).strip_prefix(b"at ") else {
        return false;
    };
    rest.ends_with(b")") && memchr::memchr(b'(', rest).is_some() || ends_with_place(rest)
}

/// A place in a source of Node, as it stands before an error that nobody caught.
pub(super) fn is_node_place(line: &[u8]) -> bool {
    if !ends_with_place(line) || memchr::memchr(b' ', line).is_some() {
        return false;
    }
    let path = line.iter().rposition(|byte| *byte == b':');
    let path = path.and_then(|end| line.get(..end)).unwrap_or_default();
    let ends: &[&[u8]] = &[
        b".js", b".mjs", b".cjs", b".ts", b".mts", b".cts", b".jsx", b".tsx", b"[eval]",
    ];
    path.starts_with(b"node:") || ends.iter().any(|end| path.ends_with(end))
}

/// The first line of an entry of .NET's console logger.
pub(super) fn is_entry(line: &[u8]) -> bool {
    let levels: &[&[u8]] = &[
        b"trce: ", b"dbug: ", b"info: ", b"warn: ", b"fail: ", b"crit: ",
    ];
    if !starts_with_any(line, levels) {
        return false;
    }
    let Some(line) = line.strip_suffix(b"]") else {
        return false;
    };
    let event = line.iter().rposition(|byte| *byte == b'[');
    let event = event.and_then(|at| line.get(at + 1..)).unwrap_or_default();
    let event = event.strip_prefix(b"-").unwrap_or(event);
    after_number(event).is_some_and(<[u8]>::is_empty)
}

/// A qualified name of a class by itself or before a colon, as `Throwable.toString` writes it.
pub(super) fn is_class(line: &[u8]) -> bool {
    // Most lines end this at their first space.
    let end = line
        .iter()
        .position(|byte| !is_word(*byte) && *byte != b'.');
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let is_end = rest.is_empty() || rest == b":" || rest.starts_with(b": ");
    if !is_end || !name.first().is_some_and(u8::is_ascii_lowercase) {
        return false;
    }
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let last = dot.and_then(|dot| name.get(dot + 1));
    last.is_some_and(u8::is_ascii_uppercase)
}
