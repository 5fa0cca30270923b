//! Ruby.
//!
//! | line | where it is made |
//! |---|---|
//! | ``file:line:in `method': message (Class)``, with `'method'` from 3.4 | `Exception#full_message`, `rb_error_write` |
//! | anything that ends with `...Error)` or `...Error):` | `Logger` with an exception; Rails' debug exceptions |
//! | a blank line, the source and carets, indented | `error_highlight`, `did_you_mean`, `syntax_suggest` |
//! | tab and `from file:line:in ...`, tab and ` ... N levels...`, `N: from ...` | `rb_error_write`, its reverse order until 2.7 |
//! | `file:line:in ...` | `Exception#backtrace` as loggers write it; the cause of an exception |

use super::shape::{after_number, is_blank, is_indented, unindented};
use super::{State, Step};

/// Where in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind the message: a hint may follow.
    Message,
    /// Within a hint.
    Hint,
    /// Among frames.
    Frames,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Ruby(at)))
}

/// What the line leads to, if it continues the trace.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    if is_frame(line) {
        let is_message = has_message(line);
        return on(if is_message { At::Message } else { At::Frames });
    }
    match at {
        At::Message | At::Hint if is_blank(line) => on(At::Hint),
        At::Hint if is_indented(line) || line.starts_with(b"Did you mean?") => on(At::Hint),
        _ => None,
    }
}

/// Where a trace stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    let at = if has_message(line) {
        At::Message
    } else {
        At::Frames
    };
    is_frame(line).then_some(State::Ruby(at))
}

/// Whether the line names a place in a method: its first word ends with `:in`, and a quoted name follows.
pub(super) fn is_frame(line: &[u8]) -> bool {
    let mut rest = unindented(line);
    let is_indented = rest.len() < line.len();
    if is_indented {
        if let Some(levels) = rest.strip_prefix(b"... ").and_then(after_number) {
            return levels.starts_with(b" levels...");
        }
        if let Some(numbered) = after_number(rest) {
            rest = numbered.strip_prefix(b": ").unwrap_or(rest);
        }
        if let Some(from) = rest.strip_prefix(b"from ") {
            return super::shape::after(from, b":").is_some();
        }
    }
    let Some(space) = memchr::memchr(b' ', rest) else {
        return false;
    };
    let (place, method) = rest.split_at(space);
    let line_number = place.strip_suffix(b":in");
    line_number.is_some_and(super::shape::ends_with_place)
        && matches!(method.get(1), Some(b'`' | b'\''))
}

fn has_message(line: &[u8]) -> bool {
    line.ends_with(b")") || memchr::memmem::find(line, b"': ").is_some()
}
