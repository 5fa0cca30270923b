//! Python.
//!
//! | line | where it is made |
//! |---|---|
//! | `Traceback (most recent call last):`, also behind `Exception in thread ...:` or `Exception ignored in: ...` | `traceback`, `threading.excepthook`, `sys.unraisablehook` |
//! | indented lines: `  File "...", line N, in ...`, the source, carets, `[Previous line repeated N more times]` | `traceback.StackSummary.format` |
//! | `Name: message` or `Name` at a line's beginning: the exception | `traceback.TracebackException.format_exception_only` |
//! | a blank line, `During handling of the above exception, ...` or `The above exception was the direct cause ...`, a blank line, the next traceback | `TracebackException.format` |
//! | `  File "...", line N` by itself: an error of syntax, without a traceback | `format_exception_only` of `SyntaxError` |
//! | `  + Exception Group Traceback`, lines with `\|` or `+` behind spaces | PEP 654 |
//! | `Fatal Python error: `, `Current thread 0x`, `Thread 0x`, `  File "` | `faulthandler` |

use super::shape::{is_blank, is_indented, is_word, starts_with_any, unindented};
use super::{State, Step};

/// Where in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A traceback has to follow; blank lines may.
    Before,
    /// Among frames: the exception follows.
    Frames,
    /// Behind the exception.
    Done,
    /// Behind a blank line behind the exception.
    Blank,
    /// Within a group of exceptions.
    Group,
    /// In what the interpreter says when it dies.
    Fatal,
}

/// What a traceback begins with.
pub(super) const TRACEBACK: &[u8] = b"Traceback (most recent call last):";

const CHAINS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Python(at)))
}

/// What the line leads to, if it continues the trace.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    match at {
        At::Before if is_blank(line) => on(At::Before),
        At::Before => begins(line).map(Step::On),
        At::Frames if is_indented(line) => on(At::Frames),
        At::Frames if is_exception(line) => on(At::Done),
        At::Frames => None,
        At::Done if is_blank(line) => on(At::Blank),
        At::Done => None,
        At::Blank if CHAINS.contains(&line) => on(At::Before),
        At::Blank => None,
        At::Group => {
            let rest = unindented(line);
            let is_of_it = rest.len() < line.len() && starts_with_any(rest, &[b"|", b"+"]);
            if is_of_it { on(At::Group) } else { None }
        }
        At::Fatal => {
            let starts: &[&[u8]] = &[
                b"Current thread 0x",
                b"Thread 0x",
                b"Python runtime state: ",
                b"Extension modules: ",
            ];
            let is_of_it = is_blank(line) || is_indented(line) || starts_with_any(line, starts);
            if is_of_it && !line.ends_with(TRACEBACK) {
                on(At::Fatal)
            } else {
                None
            }
        }
    }
}

/// Where a traceback stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    let at = if line.ends_with(TRACEBACK) {
        let is_group = unindented(line).starts_with(b"+ Exception Group Traceback");
        if is_group { At::Group } else { At::Frames }
    } else if line.starts_with(b"  File \"") {
        At::Frames
    } else {
        return None;
    };
    Some(State::Python(at))
}

/// Lines without indent that announce a traceback.
pub(super) fn announces(line: &[u8]) -> Option<State> {
    let thread = line.strip_prefix(b"Exception in thread ");
    // Java has the thread's name in quotes.
    let is_thread = thread.is_some_and(|name| !name.starts_with(b"\"") && name.ends_with(b":"));
    if is_thread || starts_with_any(line, &[b"Exception ignored in: "]) {
        return Some(State::Python(At::Before));
    }
    let is_fatal = line.starts_with(b"Fatal Python error: ");
    is_fatal.then_some(State::Python(At::Fatal))
}

fn is_exception(line: &[u8]) -> bool {
    let end = line
        .iter()
        .position(|byte| !is_word(*byte) && *byte != b'.');
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let is_name = name
        .first()
        .is_some_and(|byte| !byte.is_ascii_digit() && *byte != b'.');
    is_name && (rest.is_empty() || rest == b":" || rest.starts_with(b": "))
}
