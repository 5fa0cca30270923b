//! Numbers of payment cards: 13 to 19 digits, alone or in groups, with the prefixes and lengths of the large issuers and
//! a right check digit (ISO/IEC 7812, Luhn).

use super::detect::Text;

/// Most digits of a number.
const DIGITS_MAX: usize = 19;
/// Fewest.
const DIGITS_MIN: usize = 13;
/// With fewer digits at the end of a cut message nobody can do anything.
const CUT_DIGITS_MIN: usize = 8;

pub(super) fn find(text: &Text<'_>, add: &mut dyn FnMut(usize, usize)) {
    let message = text.message;
    let is_digit = |at: usize| message.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while at < message.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        // Starts are the beginnings of groups.
        match from_group(text, at) {
            Some(end) => {
                add(at, end);
                at = end;
            }
            None => {
                while is_digit(at) {
                    at += 1;
                }
            }
        }
    }
}

/// Where the card's number that begins with this group of digits ends, if there is one.
fn from_group(text: &Text<'_>, start: usize) -> Option<usize> {
    let message = text.message;
    let mut digits = [0_u8; DIGITS_MAX];
    let (mut count, mut at, mut found) = (0, start, None);
    loop {
        match message.get(at) {
            Some(byte @ b'0'..=b'9') => {
                *digits.get_mut(count)? = byte - b'0';
                count += 1;
                at += 1;
                let ends = !message.get(at).is_some_and(u8::is_ascii_digit);
                if ends && is_card(digits.get(..count)?) {
                    found = Some(at);
                }
                if count == DIGITS_MAX && !ends {
                    return found;
                }
            }
            Some(b' ' | b'-') if count < DIGITS_MAX => {
                at += 1;
                if !message.get(at).is_some_and(u8::is_ascii_digit) {
                    return found;
                }
            }
            None if text.is_cut && count >= CUT_DIGITS_MIN => return Some(at),
            _ => return found,
        }
    }
}

fn is_card(digits: &[u8]) -> bool {
    let prefix = |length: usize| {
        let first = digits.iter().take(length);
        first.fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let lengths = match (prefix(2), prefix(4)) {
        (40..=49, _) => 13..=19,
        (51..=55, _) | (_, 2221..=2720) => 16..=16,
        (34 | 37, _) => 15..=15,
        (30 | 36 | 38 | 39, _) => 14..=19,
        (35 | 60..=69, _) => 16..=19,
        (50 | 56..=58, _) => DIGITS_MIN..=19,
        _ => return false,
    };
    lengths.contains(&digits.len()) && has_check_digit(digits)
}

fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (1, digit @ 5..) => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}
