//! PHP.
//!
//! | line | where it is made |
//! |---|---|
//! | `PHP Fatal error:  Uncaught `, `Fatal error: Uncaught `, anything with `...Exception: ` or `...Error: ` in it | `zend_exception_error` |
//! | `Stack trace:`, `#N ...`, `  thrown in FILE on line N`: the last | `Throwable::__toString`, `zend_exception_error` |
//! | a blank line, `Next Class: ...` | `Throwable::__toString` with a previous one |
//! | `...Exception(code: `, `[stacktrace]`, `[previous exception] `, `#N ...`, `"}`: the last | Monolog's `LineFormatter`, as Laravel sets it |

use super::shape::{after_number, is_blank, starts_with_any};
use super::{State, Step};

/// Where in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind the message.
    Head,
    /// Among frames.
    Frames,
    /// Behind a blank line.
    Blank,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Php(at)))
}

/// What the line leads to, if it continues the trace.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    let is_frame = line.strip_prefix(b"#").and_then(after_number);
    if is_frame.is_some_and(|rest| rest.starts_with(b" ")) && at != At::Blank {
        return on(At::Frames);
    }
    let is_end =
        line.starts_with(b"  thrown in ") || (line.starts_with(b"\"}") && at == At::Frames);
    if is_end && at != At::Blank {
        return Some(Step::End);
    }
    let heads: &[&[u8]] = &[b"Stack trace:", b"[stacktrace]", b"[previous exception] "];
    match at {
        At::Head | At::Frames if starts_with_any(line, heads) => on(At::Frames),
        At::Frames if is_blank(line) => on(At::Blank),
        At::Blank if line.starts_with(b"Next ") => on(At::Head),
        _ => None,
    }
}

/// Where a trace stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    let starts: &[&[u8]] = &[
        b"PHP Fatal error:  Uncaught ",
        b"PHP Warning:  Uncaught ",
        b"Fatal error: Uncaught ",
        b"Warning: Uncaught ",
    ];
    starts_with_any(line, starts).then_some(State::Php(At::Head))
}
