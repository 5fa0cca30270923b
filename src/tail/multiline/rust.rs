//! Rust.
//!
//! | line | where it is made |
//! |---|---|
//! | `thread '...' panicked at file:line:column:`, then the message; before 1.73 `... panicked at 'message', file:line:column` | the default panic hook, `std::panicking` |
//! | `  left: `, ` right: ` | `assert_eq!` |
//! | `stack backtrace:`, `   N: function`, `             at file:line` | `std::backtrace` |
//! | `note: `: the last | the default panic hook |
//! | `Error: ...`, blank lines, `Caused by:`, `Location:`, `Stack backtrace:`, indented lines | reports of `anyhow` and `eyre` |

use super::shape::{after_number, is_blank, is_indented, starts_with_any, unindented};
use super::{State, Step};

/// Where in a panic or a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind the place: the message comes, whatever it is.
    Place,
    /// Behind the message.
    Message,
    /// Among frames.
    Frames,
    /// In a report of an error.
    Report,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Rust(at)))
}

/// What the line leads to, if it continues the group.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    if at == At::Place {
        return on(At::Message);
    }
    let rest = unindented(line);
    let heads: &[&[u8]] = &[b"stack backtrace:", b"Stack backtrace:"];
    if starts_with_any(line, heads) {
        return on(At::Frames);
    }
    match at {
        At::Place => None,
        At::Message | At::Frames if line.starts_with(b"note: ") => Some(Step::End),
        At::Message => {
            let is_operand = starts_with_any(rest, &[b"left: ", b"right: ", b"error: "]);
            if is_operand && is_indented(line) {
                on(At::Message)
            } else {
                None
            }
        }
        At::Frames => {
            let is_numbered = after_number(rest).is_some_and(|rest| rest.starts_with(b": "));
            let is_frame = is_numbered || rest.starts_with(b"at ");
            if is_frame && is_indented(line) {
                on(At::Frames)
            } else {
                None
            }
        }
        At::Report => {
            let is_head = starts_with_any(line, &[b"Caused by:", b"Location:"]);
            if is_head || is_indented(line) || is_blank(line) {
                on(At::Report)
            } else {
                None
            }
        }
    }
}

/// Where a panic stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    if !line.starts_with(b"thread ") {
        return None;
    }
    memchr::memmem::find(line, b" panicked at ")?;
    let at = if line.ends_with(b":") {
        At::Place
    } else {
        At::Message
    };
    Some(State::Rust(at))
}
