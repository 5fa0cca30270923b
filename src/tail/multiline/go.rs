//! Go.
//!
//! | line | where it is made |
//! |---|---|
//! | `panic: `, `fatal error: `, `SIG<name>: `, `unexpected fault address `, `runtime: goroutine stack exceeds `: the reason | `runtime.printpanics`, `runtime.fatalthrow`, `runtime.sighandler` |
//! | `http: panic serving `, behind a logger's date | `net/http.(*conn).serve` |
//! | tab and `panic: `, tab and more of the reason, `[signal `, `[recovered]` | `runtime.printpanics`, `runtime.printindented` |
//! | a blank line | before each goroutine |
//! | `goroutine N [state]:`, `runtime stack:` | `runtime.goroutineheader` |
//! | `package.function(arguments)`, tab and `file:line +0x..`, `created by ...`, `...N frames elided...` | `runtime.traceback` |
//! | names of registers with values | `runtime.dumpregs` |

use super::shape::{after_number, is_blank, starts_with_any};
use super::{State, Step};

/// Where in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind the reason.
    Reason,
    /// Behind a blank line.
    Blank,
    /// Within a goroutine.
    Goroutine,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Go(at)))
}

/// What the line leads to, if it continues the trace.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    if is_goroutine(line) || line == b"runtime stack:" {
        return on(At::Goroutine);
    }
    match at {
        At::Blank if is_blank(line) || is_register(line) => on(At::Blank),
        At::Blank => None,
        _ if is_blank(line) => on(At::Blank),
        At::Reason
            if is_reason(line) || starts_with_any(line, &[b"\t", b"[signal ", b"[recovered"]) =>
        {
            on(At::Reason)
        }
        At::Goroutine if is_frame(line) => on(At::Goroutine),
        At::Reason | At::Goroutine => None,
    }
}

/// Where a trace stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    if is_goroutine(line) {
        return Some(State::Go(At::Goroutine));
    }
    is_reason(line).then_some(State::Go(At::Reason))
}

/// Bytes of the date that the package `log` puts before a line.
const DATE_BYTES: usize = 20;

/// Whether the HTTP server says that a handler panicked.
pub(super) fn is_handler(line: &[u8]) -> bool {
    let start: &[u8] = b"http: panic serving ";
    let dated = line.get(DATE_BYTES..).unwrap_or_default();
    line.starts_with(start) || dated.starts_with(start)
}

fn is_reason(line: &[u8]) -> bool {
    let starts: &[&[u8]] = &[
        b"panic: ",
        b"fatal error: ",
        b"unexpected fault address ",
        b"runtime: goroutine stack exceeds ",
    ];
    if starts_with_any(line, starts) || line == b"panic: " {
        return true;
    }
    let Some(signal) = line.strip_prefix(b"SIG") else {
        return false;
    };
    let name = signal.iter().take_while(|byte| byte.is_ascii_uppercase());
    let rest = signal.get(name.count()..).unwrap_or_default();
    rest.len() < signal.len() && rest.starts_with(b": ")
}

fn is_goroutine(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"goroutine ").and_then(after_number);
    rest.is_some_and(|rest| rest.starts_with(b" ") && rest.ends_with(b":"))
}

fn is_frame(line: &[u8]) -> bool {
    if starts_with_any(
        line,
        &[b"\t", b"created by ", b"[originating from goroutine "],
    ) {
        return true;
    }
    if line.starts_with(b"...") && line.ends_with(b"frames elided...") {
        return true;
    }
    let opens = memchr::memchr2(b'(', b' ', line);
    line.ends_with(b")") && opens.is_some_and(|at| line.get(at) == Some(&b'('))
}

/// `rax    0x0`, as it is written for the thread that crashed.
fn is_register(line: &[u8]) -> bool {
    let name = line.iter().take_while(|byte| byte.is_ascii_alphanumeric());
    let (name, rest) = line.split_at(name.count());
    let value = super::shape::unindented(rest);
    (2..=6).contains(&name.len()) && value.len() < rest.len() && value.starts_with(b"0x")
}
