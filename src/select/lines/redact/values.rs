//! The values of `password=`, `"token": "..."` and their likes.

use super::detect::Text;

/// What the name of a secret holds, in lower case.
pub(super) const WORDS: [&str; 8] = [
    "password", "passwd", "pwd", "secret", "token", "api_key", "api-key", "apikey",
];
/// What else it may hold.
pub(super) const MORE_WORDS: [&str; 5] = [
    "passphrase",
    "access_key",
    "accesskey",
    "private_key",
    "credential",
];
/// A longer name is looked at no further.
const NAME_BYTES_MAX: usize = 64;
/// More blanks between a name and its value are not skipped.
const BLANKS_MAX: usize = 8;

pub(super) fn find(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let mut from = 0;
    for at in memchr::memchr2_iter(b'=', b':', message) {
        if at < from || !names_secret(message.get(..at).unwrap_or_default()) {
            continue;
        }
        let (start, end) = value(text, at + 1);
        add(start, end);
        from = end;
    }
}

/// Whether what stands before a separator ends with the name of a secret, perhaps in quotes.
fn names_secret(before: &[u8]) -> bool {
    let before = trim_end(before, |byte| matches!(byte, b' ' | b'\t'));
    let before = trim_end(before, |byte| matches!(byte, b'"' | b'\'' | b'\\' | b']'));
    let start = before.len().saturating_sub(NAME_BYTES_MAX);
    let near = before.get(start..).unwrap_or_default();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = near.iter().rev().take_while(|byte| is_part(byte)).count();
    let name = near.get(near.len() - length..).unwrap_or_default();
    let holds = |word: &&'static str| {
        name.windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    WORDS.iter().chain(&MORE_WORDS).any(holds)
}

/// At most [`BLANKS_MAX`] bytes less.
fn trim_end(text: &[u8], is_blank: impl Fn(u8) -> bool) -> &[u8] {
    let blanks = text.iter().rev().take(BLANKS_MAX);
    let blanks = blanks.take_while(|byte| is_blank(**byte)).count();
    text.get(..text.len() - blanks).unwrap_or_default()
}

/// Where the value behind a separator begins and ends.
fn value(text: &Text<'_>, at: usize) -> (usize, usize) {
    let rest = |from: usize| text.message.get(from..).unwrap_or_default();
    let count = |from: usize, is: &dyn Fn(u8) -> bool| {
        rest(from).iter().take_while(|byte| is(**byte)).count()
    };
    // `:=`, `=>` and `==` too.
    let at = at + count(at, &|byte| matches!(byte, b'=' | b'>' | b':')).min(2);
    let at = at + count(at, &|byte| matches!(byte, b' ' | b'\t')).min(BLANKS_MAX);
    let escapes = count(at, &|byte| byte == b'\\');
    match rest(at + escapes).first() {
        Some(b'"') => {
            let start = at + escapes + 1;
            (start, start + quoted(rest(start), escapes))
        }
        Some(b'\'') if escapes == 0 => {
            let start = at + 1;
            let end = memchr::memchr(b'\'', rest(start));
            (
                start,
                start + end.unwrap_or_else(|| bare(rest(start), text.is_json)),
            )
        }
        _ => (at, at + bare(rest(at), text.is_json)),
    }
}

/// The length of a value in double quotes that were escaped by so many backslashes: each level of quoting doubles them.
fn quoted(rest: &[u8], escapes: usize) -> usize {
    for at in memchr::memchr_iter(b'"', rest) {
        let before = rest.get(..at).unwrap_or_default();
        let slashes = before
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if slashes % (2 * (escapes + 1)) <= escapes {
            return at - slashes.min(escapes);
        }
    }
    rest.len()
}

/// The length of a value without quotes: up to a blank or a quote, in JSON also up to an escaped one.
fn bare(rest: &[u8], is_json: bool) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => {
                // The backslash of an escaped quote.
                let before = rest.get(..at).unwrap_or_default();
                return at - usize::from(before.last() == Some(&b'\\'));
            }
            _ if byte.is_ascii_whitespace() => return at,
            b'\\' if is_json => match rest.get(at + 1) {
                Some(b'n' | b't' | b'r' | b'"') => return at,
                _ => at += 2,
            },
            _ => at += 1,
        }
    }
    rest.len()
}
