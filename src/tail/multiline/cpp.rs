//! C++, and what C libraries and sanitizers write beside it.
//!
//! | line | where it is made |
//! |---|---|
//! | `terminate called `, `  what():  `, `libc++abi: terminating ` | the verbose terminate handlers of libstdc++ and libc++abi |
//! | `*** ... ***`, `PC: @ 0x...`, `    @ 0x...` | the failure signal handlers of Abseil and glog, glog's `CHECK` |
//! | `*** Error in ...`, `*** stack smashing detected ***`, `======= Backtrace: =========`, `======= Memory map: ========` and its lines | glibc (`__libc_message`; the backtrace until 2.25) |
//! | `object(function+0x1f) [0x...]` | `backtrace_symbols_fd` |
//! | ` N# function at file:line` | Boost.Stacktrace |
//! | `#N 0x...` | gdb, folly's symbolizer, sanitizers |
//! | `==PID==ERROR: `, whatever follows, to `==PID==ABORTING` or the summary of leaks | AddressSanitizer, LeakSanitizer |
//! | `Aborted`, `Segmentation fault` | the shell |

use super::shape::{after_number, starts_with_any, unindented};
use super::{State, Step};

/// Where in what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Among frames, or before them.
    Frames,
    /// Behind the rule before a sanitizer's report.
    Rule,
    /// In a report of a sanitizer.
    Sanitizer,
}

fn on(at: At) -> Option<Step> {
    Some(Step::On(State::Cpp(at)))
}

/// What the line leads to, if it continues the group.
pub(super) fn next(at: At, line: &[u8]) -> Option<Step> {
    match at {
        At::Sanitizer if is_sanitizer(line, b"ABORTING") => Some(Step::End),
        At::Sanitizer if line.starts_with(b"SUMMARY: LeakSanitizer") => Some(Step::End),
        At::Sanitizer => on(At::Sanitizer),
        At::Frames if starts_with_any(line, &[b"Aborted", b"Segmentation fault"]) => {
            Some(Step::End)
        }
        At::Frames if is_of_it(line) => on(At::Frames),
        At::Rule if is_sanitizer(line, b"ERROR: ") => on(At::Sanitizer),
        At::Frames | At::Rule => None,
    }
}

fn is_of_it(line: &[u8]) -> bool {
    let rest = unindented(line);
    let is_indented = rest.len() < line.len();
    (is_indented && rest.starts_with(b"what():"))
        || line.starts_with(b"PC: @ ")
        || line.starts_with(b"*** ")
        || line.starts_with(b"======= ")
        || line.starts_with(b"[failure_signal_handler")
        || is_frame(line)
        || is_mapping(line)
}

/// Where it stands behind its first line, if this is one.
pub(super) fn begins(line: &[u8]) -> Option<State> {
    if is_sanitizer(line, b"ERROR: ") {
        return Some(State::Cpp(At::Sanitizer));
    }
    if line.len() == RULE_BYTES && line.iter().all(|byte| *byte == b'=') {
        return Some(State::Cpp(At::Rule));
    }
    let starts: &[&[u8]] = &[
        b"terminate called ",
        b"libc++abi: terminating ",
        b"*** SIG",
        b"*** Aborted at ",
        b"*** Check failure stack trace: ***",
        b"*** Error in ",
        b"*** stack smashing detected ***",
        b"*** buffer overflow detected ***",
        b"======= Backtrace: ",
    ];
    starts_with_any(line, starts).then_some(State::Cpp(At::Frames))
}

/// A sanitizer rules off its report with so many `=`.
const RULE_BYTES: usize = 65;

/// A frame of any of these libraries.
pub(super) fn is_frame(line: &[u8]) -> bool {
    let rest = unindented(line);
    if let Some(address) = rest.strip_prefix(b"@ ") {
        return rest.len() < line.len() && unindented(address).starts_with(b"0x");
    }
    if let Some(frame) = rest.strip_prefix(b"#").and_then(after_number) {
        return unindented(frame).starts_with(b"0x");
    }
    if let Some(frame) = after_number(rest) {
        return frame.starts_with(b"# ");
    }
    is_symbol(line)
}

/// `object(function+0x1f) [0x55d0]`, with or without the space.
fn is_symbol(line: &[u8]) -> bool {
    let Some(inner) = line.strip_suffix(b"]") else {
        return false;
    };
    let Some(bracket) = inner.iter().rposition(|byte| *byte == b'[') else {
        return false;
    };
    let (object, address) = inner.split_at(bracket);
    let object = object.strip_suffix(b" ").unwrap_or(object);
    let digits = address.strip_prefix(b"[0x").unwrap_or_default();
    !digits.is_empty()
        && digits.iter().all(u8::is_ascii_hexdigit)
        && (object.ends_with(b")") || object.is_empty())
        && memchr::memchr(b' ', object).is_none()
}

/// A line of a memory map: `7f00-7f10 r-xp ...`.
fn is_mapping(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let range = words.next().unwrap_or_default();
    let rights = words.next().unwrap_or_default();
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    range.len() > 8
        && range.iter().all(is_hex)
        && rights.len() == 4
        && rights.iter().all(|byte| b"rwxps-".contains(byte))
}

fn is_sanitizer(line: &[u8], word: &[u8]) -> bool {
    let rest = line.strip_prefix(b"==").and_then(after_number);
    let rest = rest.and_then(|rest| rest.strip_prefix(b"=="));
    rest.is_some_and(|rest| rest.starts_with(word))
}
