//! The built-in detectors. Each reads a message once; where it is not sure how far a secret goes, it takes more.

use memchr::memmem;

use super::super::sieve::Need;
use super::{cards, values};
use crate::config::lines::Detector;

/// A message, as detectors see it.
pub(super) struct Text<'m> {
    pub(super) message: &'m [u8],
    /// Its end is missing.
    pub(super) is_cut: bool,
    /// It is a JSON object or array.
    pub(super) is_json: bool,
}

/// Shorter words behind `Bearer` are no tokens.
const TOKEN_BYTES_MIN: usize = 8;
/// What stands behind the prefix of an access key id.
const AWS_KEY_BYTES: usize = 16;
/// Longest local part of an address (RFC 5321, section 4.5.3.1.1).
const LOCAL_BYTES_MAX: usize = 64;

/// What has to be in a message for the detector to find anything in it.
pub(super) fn need(detector: Detector) -> Need {
    let literals = |all: &[&str]| {
        let all = all.iter().map(|literal| literal.as_bytes().to_vec());
        Need::Literals(all.collect())
    };
    match detector {
        Detector::UrlCredentials => literals(&["://", ":\\/\\/"]),
        Detector::SecretValues => {
            let mut all = values::WORDS.to_vec();
            all.extend(values::MORE_WORDS);
            literals(&all)
        }
        Detector::BearerTokens => literals(&["bearer ", "basic "]),
        Detector::Jwt => literals(&["eyj"]),
        Detector::AwsKeys => literals(&["akia", "asia"]),
        Detector::PrivateKeys => literals(&["private key-----"]),
        Detector::Cards => Need::Digits,
        Detector::Emails => Need::AtSign,
    }
}

/// Calls `add` with each place.
pub(super) fn find(detector: Detector, text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    match detector {
        Detector::UrlCredentials => url_credentials(text, add),
        Detector::SecretValues => values::find(text, add),
        Detector::BearerTokens => bearer_tokens(text, add),
        Detector::Jwt => jwt(text, add),
        Detector::AwsKeys => aws_keys(text, add),
        Detector::PrivateKeys => private_keys(text, add),
        Detector::Cards => cards::find(text, add),
        Detector::Emails => emails(text, add),
    }
}

/// How many bytes from `at` on are of that kind.
fn count(message: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    let rest = message.get(at..).unwrap_or_default();
    rest.iter().take_while(|byte| is(**byte)).count()
}

/// Between `//` and the last `@` of the authority, if there is a `:` in it.
fn url_credentials(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let mut done = 0;
    for colon in memchr::memchr_iter(b':', message) {
        let rest = message.get(colon + 1..).unwrap_or_default();
        let slashes = match rest {
            [b'/', b'/', ..] => 2,
            [b'\\', b'/', b'\\', b'/', ..] => 4,
            _ => continue,
        };
        let start = colon + 1 + slashes;
        if start < done {
            continue;
        }
        let is_authority = |byte: u8| {
            !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<' | b'>')
        };
        let end = start + count(message, start, is_authority);
        done = end;
        let authority = message.get(start..end).unwrap_or_default();
        let at_sign = memchr::memrchr(b'@', authority);
        let at_sign = at_sign.or((text.is_cut && end == message.len()).then_some(authority.len()));
        let user = authority.get(..at_sign.unwrap_or(0)).unwrap_or_default();
        if user.contains(&b':') {
            add(start, start + user.len());
        }
    }
}

/// What follows the name of a scheme and a blank.
fn bearer_tokens(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    for at in memchr::memchr2_iter(b'b', b'B', message) {
        let rest = message.get(at..).unwrap_or_default();
        let is = |word: &str| {
            let start = rest.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
        };
        let length = if is("bearer ") {
            7
        } else if is("basic ") {
            6
        } else {
            continue;
        };
        let start = at + length + count(message, at + length, |byte| byte == b' ');
        let is_token = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'\\')
        };
        let length = count(message, start, is_token);
        let is_cut = text.is_cut && start + length == message.len();
        if length >= TOKEN_BYTES_MIN || is_cut {
            let token = message.get(start..start + length).unwrap_or_default();
            // The backslash of an escape behind it.
            add(
                start,
                start + length - usize::from(token.last() == Some(&b'\\')),
            );
        }
    }
}

/// `eyJ` is `{"` in base64url: a header, and with points between them payload and signature.
fn jwt(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_any = |byte: u8| is_part(byte) || matches!(byte, b'.' | b'=');
    let mut done = 0;
    for at in memmem::find_iter(message, b"eyJ") {
        if at < done {
            continue;
        }
        let header = count(message, at, is_part);
        let behind = message.get(at + header);
        let goes_on = behind == Some(&b'.') && header >= TOKEN_BYTES_MIN;
        let is_cut = text.is_cut && behind.is_none();
        done = at + header;
        if goes_on || is_cut {
            done = at + count(message, at, is_any);
            add(at, done);
        }
    }
}

fn aws_keys(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let mut done = 0;
    for at in memchr::memchr_iter(b'A', message) {
        let prefix = message.get(at..at + 4);
        if at < done || !matches!(prefix, Some(b"AKIA" | b"ASIA")) {
            continue;
        }
        let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let length = count(message, at, is_part);
        let is_cut = text.is_cut && at + length == message.len();
        if length >= 4 + AWS_KEY_BYTES || is_cut {
            add(at, at + length);
            done = at + length;
        }
    }
}

/// From the line that begins a block to the one that ends it, or to the end of the message.
fn private_keys(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    const END: &[u8] = b"PRIVATE KEY-----";
    /// Longer words before `PRIVATE KEY` are none.
    const KIND_BYTES_MAX: usize = 32;
    let message = text.message;
    let mut from = 0;
    while let Some(at) = memmem::find(message.get(from..).unwrap_or_default(), b"-----BEGIN ") {
        let start = from + at;
        let behind = start + b"-----BEGIN ".len();
        let rest = message.get(behind..).unwrap_or_default();
        let head = rest.get(..KIND_BYTES_MAX + END.len()).unwrap_or(rest);
        let Some(head) = memmem::find(head, END) else {
            from = behind;
            continue;
        };
        let body = behind + head + END.len();
        let rest = message.get(body..).unwrap_or_default();
        let end = match memmem::find(rest, END) {
            Some(end) => body + end + END.len(),
            None => message.len(),
        };
        add(start, end);
        from = end;
    }
}

fn emails(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let is_local = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
    };
    let is_domain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-');
    for at in memchr::memchr_iter(b'@', message) {
        let before = message.get(..at).unwrap_or_default().iter().rev();
        let local = before
            .take(LOCAL_BYTES_MAX)
            .take_while(|byte| is_local(**byte));
        let local = local.count();
        let length = count(message, at + 1, is_domain);
        let domain = message.get(at + 1..at + 1 + length).unwrap_or_default();
        let trailing = domain
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b'.' | b'-'));
        let trailing = trailing.count();
        let domain = domain.get(..length - trailing).unwrap_or_default();
        let point = memchr::memrchr(b'.', domain);
        let top = domain.get(point.map_or(domain.len(), |point| point + 1)..);
        let is_top = top.is_some_and(|top| {
            top.len() >= 2
                && top
                    .iter()
                    .all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80)
        });
        let is_cut = text.is_cut && at + 1 + length == message.len();
        if local > 0 && (is_top && point != Some(0) || is_cut) {
            add(at - local, at + 1 + domain.len());
        }
    }
}
