//! Which lines may begin a group. This is asked of every line of a chain whose groups are wanted.
//!
//! The first byte decides what has to be compared. What may stand anywhere in a line is the name of an exception
//! behind a logger's prefix: for that the line is searched for one byte, the `E` of `Error` and `Exception`.

use super::shape::{is_word, starts_with_any};
use super::{Language, Languages, State};
use super::{cpp, frames, go, php, python, ruby, rust};

/// Where a group stands behind this line, if the line begins one.
#[inline]
pub(super) fn begins(on: Languages, line: &[u8]) -> Option<State> {
    match line.first() {
        // Objects of JSON have traces inside of them.
        None | Some(b'{') => None,
        Some(b' ' | b'\t') => indented(on, line),
        Some(_) => named(on, line).or_else(|| thrown(on, line)),
    }
}

/// A line with an indent begins a group only if it is a frame whose beginning lies elsewhere.
fn indented(on: Languages, line: &[u8]) -> Option<State> {
    if on.has(Language::Python)
        && let Some(state) = python::begins(line)
    {
        return Some(state);
    }
    if on.any(&frames::LANGUAGES) && frames::is_frame(line) {
        return Some(State::Frames(frames::At::Frames));
    }
    if on.has(Language::Ruby)
        && let Some(state) = ruby::begins(line)
    {
        return Some(state);
    }
    let is_cpp = on.has(Language::Cpp) && cpp::is_frame(line);
    is_cpp.then_some(State::Cpp(cpp::At::Frames))
}

/// What is known by how it begins, or how it ends.
fn named(on: Languages, line: &[u8]) -> Option<State> {
    let first = line.first().copied().unwrap_or_default();
    let last = line.last().copied().unwrap_or_default();
    if on.has(Language::Python) {
        if last == b':' && line.ends_with(python::TRACEBACK) {
            return python::begins(line);
        }
        if matches!(first, b'E' | b'F')
            && let Some(state) = python::announces(line)
        {
            return Some(state);
        }
    }
    if on.has(Language::Go) {
        let found = match first {
            b'p' | b'f' | b'g' | b'u' | b'r' | b'S' => go::begins(line),
            b'h' | b'1' | b'2' => go::is_handler(line).then_some(State::Go(go::At::Reason)),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    if on.has(Language::Rust) && first == b't' {
        let found = rust::begins(line);
        if found.is_some() {
            return found;
        }
    }
    if on.has(Language::Php) && matches!(first, b'P' | b'F' | b'W') {
        let found = php::begins(line);
        if found.is_some() {
            return found;
        }
    }
    if on.has(Language::Cpp) {
        let found = match first {
            b't' | b'l' | b'*' | b'=' => cpp::begins(line),
            _ => None,
        };
        let is_frame = last == b']' && cpp::is_frame(line) || first == b'#' && cpp::is_frame(line);
        if found.is_some() || is_frame {
            return found.or(Some(State::Cpp(cpp::At::Frames)));
        }
    }
    if on.has(Language::Ruby) && ruby::is_frame(line) {
        return ruby::begins(line);
    }
    of_frames(on, line, first, last)
}

/// Beginnings of Java, Node and .NET.
fn of_frames(on: Languages, line: &[u8], first: u8, last: u8) -> Option<State> {
    let frames = |at| Some(State::Frames(at));
    if on.has(Language::Java) {
        if first == b'C' && line.starts_with(b"Caused by: ") {
            return frames(frames::At::Frames);
        }
        if first.is_ascii_lowercase() && frames::is_class(line) {
            return frames(frames::At::Frames);
        }
    }
    if on.has(Language::Node) && last.is_ascii_digit() && frames::is_node_place(line) {
        return frames(frames::At::Source);
    }
    if on.has(Language::Dotnet) {
        if last == b']' && frames::is_entry(line) {
            return frames(frames::At::Entry);
        }
        if first == b'U'
            && starts_with_any(line, &[b"Unhandled exception. ", b"Unhandled Exception:"])
        {
            return Some(State::Thrown);
        }
    }
    None
}

/// Languages that name an exception in the line before the frames.
const THROWING: [Language; 6] = [
    Language::Java,
    Language::Node,
    Language::Dotnet,
    Language::Ruby,
    Language::Php,
    Language::Rust,
];

/// A name that ends with `Error` or `Exception`, and what follows such a name where it is one of an exception.
fn thrown(on: Languages, line: &[u8]) -> Option<State> {
    for at in memchr::memchr_iter(b'E', line) {
        let rest = line.get(at..).unwrap_or_default();
        let behind = rest
            .strip_prefix(b"Error")
            .or_else(|| rest.strip_prefix(b"Exception"));
        let Some(behind) = behind else { continue };
        let is_one = match behind {
            [] => at == 0 || is_qualified(line.get(..at).unwrap_or_default()),
            [b':'] | [b':', b' ', ..] => true,
            [b' ', b'[', code, ..] => code.is_ascii_uppercase(),
            [b')'] | [b')', b':'] => on.has(Language::Ruby),
            _ => on.has(Language::Php) && behind.starts_with(b"(code: "),
        };
        if is_one {
            return on.any(&THROWING).then_some(State::Thrown);
        }
    }
    None
}

/// Whether what stands before the end of a class's name has its package in it.
fn is_qualified(before: &[u8]) -> bool {
    let name = before
        .iter()
        .rev()
        .take_while(|byte| is_word(**byte) || **byte == b'.');
    name.into_iter().any(|byte| *byte == b'.')
}
