//! Masks over places, in text and in JSON.

use serde::de::IgnoredAny;

use super::Place;

/// Whether the message is one JSON object or array.
pub(super) fn is_json(message: &[u8]) -> bool {
    let first = message.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'[')) && serde_json::from_slice::<IgnoredAny>(message).is_ok()
}

/// Sorts places and makes one of those that overlap or touch; none begins or ends inside of a character.
pub(super) fn join(places: &mut Vec<Place>, message: &[u8]) {
    let is_inside = |at: usize| message.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    for place in places.iter_mut() {
        for _ in 0..3 {
            place.start -= usize::from(place.start > 0 && is_inside(place.start));
            place.end += usize::from(is_inside(place.end));
        }
    }
    places.sort_unstable();
    places.dedup_by(|later, earlier| {
        let overlaps = later.start <= earlier.end;
        if overlaps {
            earlier.end = earlier.end.max(later.end);
        }
        overlaps
    });
}

/// Each place becomes its mask. `false`: that would be more than `bytes_max`.
pub(super) fn text<'m>(
    message: &[u8],
    places: &[Place],
    mask: impl Fn(usize) -> &'m [u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut from = 0;
    for place in places {
        if out.len() > bytes_max {
            return false;
        }
        out.extend_from_slice(message.get(from..place.start).unwrap_or_default());
        out.extend_from_slice(mask(place.by));
        from = place.end;
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    out.len() <= bytes_max
}

/// What of a place lies in one string becomes its mask there, as whole characters and escapes; a number becomes null.
/// `false` as above.
pub(super) fn json<'m>(
    message: &[u8],
    places: &[Place],
    mask: impl Fn(usize) -> &'m [u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut places = places.iter().peekable();
    let (mut at, mut in_string, mut masked) = (0, false, None);
    while let Some(byte) = message.get(at).copied() {
        if out.len() > bytes_max {
            return false;
        }
        let rest = message.get(at..).unwrap_or_default();
        let length = match byte {
            _ if in_string => unit(rest),
            b'+' | b'-' | b'0'..=b'9' => {
                rest.iter().take_while(|byte| is_of_number(**byte)).count()
            }
            _ => 1,
        };
        let end = at + length;
        while places.peek().is_some_and(|place| place.end <= at) {
            places.next();
        }
        let place = places.peek().filter(|place| place.start < end);
        let is_quote = byte == b'"';
        match place {
            Some(place) if in_string && !is_quote => {
                if masked != Some(place.start) {
                    out.extend_from_slice(mask(place.by));
                    masked = Some(place.start);
                }
            }
            Some(_) if !in_string && is_of_number(byte) && !byte.eq_ignore_ascii_case(&b'e') => {
                out.extend_from_slice(b"null");
            }
            _ => out.extend_from_slice(message.get(at..end).unwrap_or_default()),
        }
        if is_quote {
            in_string = !in_string;
            masked = None;
        }
        at = end;
    }
    out.len() <= bytes_max
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// The length of the character or escape that a part of a JSON string begins with (RFC 8259, section 7); of an escaped
/// pair of surrogates, both.
fn unit(rest: &[u8]) -> usize {
    let escaped = |at: usize| match rest.get(at..at + 6) {
        Some([b'\\', b'u', digits @ ..]) => {
            let digits = std::str::from_utf8(digits).ok();
            digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
        }
        _ => None,
    };
    match rest {
        [b'\\', b'u', ..] => match (escaped(0), escaped(6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            _ => 6,
        },
        [b'\\', ..] => 2,
        _ => 1,
    }
}
