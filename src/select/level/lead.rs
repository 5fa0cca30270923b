//! What the first words of a plain line say.

use super::names::named;
use crate::record::Level;

/// Words that are looked at before the search for a keyword ends.
const WORDS_MAX: usize = 12;

/// Words that belong to a time, or that PHP puts before its levels.
const TIME_WORDS: [&[u8]; 22] = [
    b"UTC", b"GMT", b"PHP", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun", b"Jan", b"Feb",
    b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Without leading blanks and colour escapes (`ESC [ ... m`).
pub(super) fn skip_blanks(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => rest,
            [0x1b, b'[', rest @ ..] => {
                let end = rest.iter().take(16).position(|byte| *byte == b'm');
                match end.and_then(|end| rest.get(end + 1..)) {
                    Some(behind) => behind,
                    None => return text,
                }
            }
            _ => return text,
        };
    }
}

/// The ASCII letters that `text` begins with.
pub(super) fn letters(text: &[u8]) -> &[u8] {
    prefix(text, u8::is_ascii_alphabetic)
}

fn prefix(text: &[u8], belongs: impl Fn(&u8) -> bool) -> &[u8] {
    let len = text
        .iter()
        .position(|byte| !belongs(byte))
        .unwrap_or(text.len());
    text.get(..len).unwrap_or(text)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'[' | b']' | b'|' | 0x1b)
}

/// A keyword among the first words, behind nothing but times, numbers, and bracketed or dashed-off
/// names.
pub(super) fn keyword(head: &[u8]) -> Option<Level> {
    let mut rest = head;
    // A time has been seen: what follows it is a logger's, not a sentence's.
    let mut timed = false;
    let mut depth = 0_usize;
    for _ in 0..WORDS_MAX {
        let mut bracket = false;
        loop {
            rest = skip_blanks(rest);
            let (byte, behind) = rest.split_first()?;
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b'|' => {}
                0x1b => {}
                _ => break,
            }
            bracket = *byte == b'[';
            rest = behind;
        }
        let word = prefix(rest, |byte| !is_separator(*byte));
        let behind = rest.get(word.len()..)?;
        if let Some(level) = level_of(word, timed, bracket) {
            return Some(level);
        }
        if is_time(word) {
            timed = true;
        } else if !(depth > 0
            || (timed && (is_number(word) || is_dashed(word, behind)))
            || is_ruby(word))
        {
            return None;
        }
        rest = behind;
    }
    None
}

/// The level of a word, if it stands where a level stands.
fn level_of(word: &[u8], timed: bool, bracket: bool) -> Option<Level> {
    let name = letters(word);
    let colon = match word.get(name.len()..)? {
        [] => false,
        [b':', rest @ ..] => {
            // httpd names the module before the level.
            if bracket && let Some(level) = named(rest) {
                return Some(level);
            }
            true
        }
        [b','] if timed => false,
        _ => return None,
    };
    let capitals = name.iter().all(u8::is_ascii_uppercase);
    if timed || bracket || colon || capitals {
        named(name)
    } else {
        None
    }
}

/// A date, a time of day or an epoch: digits with two of `:-/` among them, or with `AM`/`PM`
/// behind, or ten and more.
fn is_time(word: &[u8]) -> bool {
    if word.len() == 3 && TIME_WORDS.contains(&word) {
        return true;
    }
    if !word.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let clock = prefix(word, |byte| {
        matches!(
            byte,
            b'0'..=b'9' | b':' | b'-' | b'/' | b'.' | b',' | b'+' | b'T' | b'Z'
        )
    });
    let marks = clock
        .iter()
        .filter(|byte| matches!(byte, b':' | b'-' | b'/'))
        .count();
    match word.get(clock.len()..) {
        Some([]) => {
            marks >= 2 || word.iter().take_while(|byte| byte.is_ascii_digit()).count() >= 10
        }
        Some(b"AM" | b"PM" | b"am" | b"pm") => marks >= 1,
        // The name of a month inside of a date.
        Some([_, _, _, b'-' | b'/', ..]) => marks == 1,
        _ => false,
    }
}

/// A number, or what only joins: `1`, `+0000`, `#7`, `-`, `--`.
fn is_number(word: &[u8]) -> bool {
    word.iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'#' | b':' | b'.' | b','))
}

/// A name with a dash behind it, as in `TIME - NAME - LEVEL - TEXT`.
fn is_dashed(word: &[u8], behind: &[u8]) -> bool {
    behind.starts_with(b" - ") && word.iter().all(|byte| byte.is_ascii_graphic())
}

/// `E,` and its likes, as Ruby's logger begins a line.
fn is_ruby(word: &[u8]) -> bool {
    matches!(word, [b'D' | b'I' | b'W' | b'E' | b'F' | b'A', b','])
}

/// What runtimes print when a program dies, where no other kind of line begins so.
pub(super) fn last_words(head: &[u8]) -> Option<Level> {
    const WORDS: [(&[u8], Level); 6] = [
        (b"fatal error:", Level::Critical),
        (b"Unhandled exception", Level::Critical),
        (b"Unhandled Exception", Level::Critical),
        (b"Traceback (most recent call last)", Level::Error),
        (b"Exception in thread \"", Level::Error),
        (b"Caused by: ", Level::Error),
    ];
    let begins = matches!(head.first(), Some(b'f' | b'U' | b'T' | b'E' | b'C'));
    let found = WORDS
        .iter()
        .find(|(words, _)| begins && head.starts_with(words));
    if let Some((_, level)) = found {
        return Some(*level);
    }
    if head.starts_with(b"thread '") && memchr::memmem::find(head, b"' panicked at ").is_some() {
        return Some(Level::Critical);
    }
    is_thrown(head).then_some(Level::Error)
}

/// An exception's name with a colon behind it; with dots in it (a package) also alone on its line.
fn is_thrown(head: &[u8]) -> bool {
    let name = prefix(head, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$')
    });
    let thrown = name.ends_with(b"Exception") || name.ends_with(b"Error");
    thrown
        && match head.get(name.len()..) {
            Some([b':', ..]) => true,
            Some([] | [b'\r']) => name.contains(&b'.'),
            _ => false,
        }
}
