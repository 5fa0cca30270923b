//! One pass over a message for the literals of all rules: most messages hold none, and no rule is tried on them.
//!
//! Each literal is represented by a window of four of its bytes, in lower case, so that all windows are found by one
//! SIMD search over the lower-cased message; where one is found the whole literal is compared. With windows of three
//! bytes that search would stop at every few words to compare. Shorter literals, of which there are few, have a search
//! of their own.
//!
//! Invariant: a group whose literal is in the message, in any case, is among the marks.

use aho_corasick::packed::{Builder, Searcher};
use aho_corasick::{AhoCorasick, Input, Span};
use memchr::memmem;

use super::required::LITERAL_BYTES_MIN;

/// Bytes of a window.
const WINDOW_BYTES: usize = LITERAL_BYTES_MIN;

/// Groups of rules, as bits.
pub(super) type Marks = u64;

/// Finds literals.
#[derive(Debug)]
pub(super) struct Sieve {
    finder: Option<Finder>,
    windows: Vec<Window>,
    /// Literals too short for a window.
    short: Vec<(memmem::Finder<'static>, Marks)>,
    /// Groups that need no literal.
    always: Marks,
    /// Groups that need an `@`.
    at_sign: Marks,
    /// Groups that need thirteen digits, with blanks or dashes between them.
    digits: Marks,
}

#[derive(Debug)]
enum Finder {
    Packed(Box<Searcher>),
    /// Where there are too many windows for the other, or no SIMD for it.
    Automaton(Box<AhoCorasick>),
}

/// A window, and the literals that it stands for.
#[derive(Debug)]
struct Window {
    bytes: [u8; WINDOW_BYTES],
    literals: Vec<Literal>,
}

#[derive(Debug)]
struct Literal {
    bytes: Vec<u8>,
    /// Where the window lies in it.
    window_at: usize,
    marks: Marks,
}

/// What a group needs.
#[derive(Debug)]
pub(super) enum Need {
    /// One of these, in lower case.
    Literals(Vec<Vec<u8>>),
    /// An `@`.
    AtSign,
    /// Digits of a card.
    Digits,
    /// Nothing that could be searched for.
    Nothing,
}

impl Sieve {
    /// A sieve for groups that need this.
    pub(super) fn new(needs: &[(Marks, Need)]) -> Sieve {
        let mut sieve = Sieve {
            finder: None,
            windows: Vec::new(),
            short: Vec::new(),
            always: 0,
            at_sign: 0,
            digits: 0,
        };
        for (marks, need) in needs {
            match need {
                Need::Literals(literals) => {
                    for literal in literals {
                        sieve.add(literal, *marks);
                    }
                }
                Need::AtSign => sieve.at_sign |= marks,
                Need::Digits => sieve.digits |= marks,
                Need::Nothing => sieve.always |= marks,
            }
        }
        let windows = sieve.windows.iter().map(|window| window.bytes);
        let windows: Vec<[u8; WINDOW_BYTES]> = windows.collect();
        if !windows.is_empty() {
            sieve.finder = match Builder::new().extend(&windows).build() {
                Some(packed) => Some(Finder::Packed(Box::new(packed))),
                None => AhoCorasick::new(&windows)
                    .ok()
                    .map(|it| Finder::Automaton(Box::new(it))),
            };
            if sieve.finder.is_none() {
                // Not to be expected of a few hundred windows; all rules are tried then.
                sieve.always |= needs.iter().fold(0, |all, (marks, _)| all | marks);
            }
        }
        sieve
    }

    fn add(&mut self, literal: &[u8], marks: Marks) {
        let bytes = literal.to_ascii_lowercase();
        if bytes.len() < WINDOW_BYTES {
            let finder = memmem::Finder::new(&bytes).into_owned();
            self.short.push((finder, marks));
            return;
        }
        let places = || bytes.windows(WINDOW_BYTES).enumerate();
        let known = places().find_map(|(at, place)| {
            let number = self.windows.iter().position(|it| it.bytes == place)?;
            Some((number, at))
        });
        let rarest = || places().min_by_key(|(_, place)| commonness(place));
        let (number, window_at) = match known {
            Some(known) => known,
            None => {
                let Some((at, place)) = rarest() else {
                    self.always |= marks;
                    return;
                };
                let mut window = [0; WINDOW_BYTES];
                window.copy_from_slice(place);
                self.windows.push(Window {
                    bytes: window,
                    literals: Vec::new(),
                });
                (self.windows.len() - 1, at)
            }
        };
        if let Some(window) = self.windows.get_mut(number) {
            window.literals.push(Literal {
                bytes,
                window_at,
                marks,
            });
        }
    }

    /// The groups that may have something to do with the message. `lowered` is room to work in.
    #[inline]
    pub(super) fn marks(&self, message: &[u8], lowered: &mut Vec<u8>) -> Marks {
        let mut marks = self.always;
        if self.finder.is_some() || !self.short.is_empty() {
            lower(message, lowered);
        }
        for (finder, of) in &self.short {
            if finder.find(lowered).is_some() {
                marks |= of;
            }
        }
        if let Some(finder) = &self.finder {
            let mut from = 0;
            while let Some((number, at)) = finder.find(lowered, from) {
                marks |= self.confirm(lowered, number, at);
                from = at + 1;
            }
        }
        if self.at_sign != 0 && memchr::memchr(b'@', message).is_some() {
            marks |= self.at_sign;
        }
        if self.digits != 0 && may_hold_digits(message) {
            marks |= self.digits;
        }
        marks
    }

    #[cold]
    fn confirm(&self, lowered: &[u8], number: usize, at: usize) -> Marks {
        let literals = self.windows.get(number).map(|window| &window.literals);
        let there = literals.into_iter().flatten().filter(|literal| {
            let start = at.checked_sub(literal.window_at);
            let place = start.and_then(|start| lowered.get(start..start + literal.bytes.len()));
            place == Some(literal.bytes.as_slice())
        });
        there.fold(0, |marks, literal| marks | literal.marks)
    }
}

impl Finder {
    /// The number of the first window at `from` or behind it, and where it is.
    #[inline]
    fn find(&self, haystack: &[u8], from: usize) -> Option<(usize, usize)> {
        let span = Span {
            start: from.min(haystack.len()),
            end: haystack.len(),
        };
        // All windows are of one length: at one place there is at most one.
        let found = match self {
            Finder::Packed(searcher) => searcher.find_in(haystack, span),
            Finder::Automaton(automaton) => automaton.find(Input::new(haystack).span(span)),
        }?;
        Some((found.pattern().as_usize(), found.start()))
    }
}

/// `message` in lower case.
#[inline]
fn lower(message: &[u8], lowered: &mut Vec<u8>) {
    lowered.clear();
    lowered.extend_from_slice(message);
    lowered.make_ascii_lowercase();
}

/// How often a window is likely to be found in logs; letters and blanks are everywhere.
fn commonness(window: &[u8]) -> u32 {
    let of = |byte: &u8| match byte {
        b'e' | b't' | b'a' | b'i' | b'n' | b'o' | b'r' | b's' => 9,
        b' ' | b'0'..=b'2' => 8,
        b'l' | b'd' | b'c' | b'u' | b'm' | b'p' => 6,
        b'"' | b':' | b',' | b'3'..=b'9' | b'-' | b'.' | b'=' => 5,
        b'a'..=b'y' | b'/' => 4,
        _ => 1,
    };
    window.iter().map(of).sum()
}

/// Fewest digits of a card's number.
const CARD_DIGITS_MIN: usize = 12;

/// Whether somewhere so many digits, blanks and dashes stand together that they may be a card's number: one of each so
/// many bytes is looked at.
#[inline]
fn may_hold_digits(message: &[u8]) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || byte == b' ' || byte == b'-';
    let mut at = CARD_DIGITS_MIN - 1;
    while let Some(byte) = message.get(at) {
        if is_part(*byte) {
            let before = message.get(..at).unwrap_or_default();
            let behind = message.get(at..).unwrap_or_default();
            let before = before.iter().rev().take_while(|byte| is_part(**byte));
            let behind = behind.iter().take_while(|byte| is_part(**byte));
            let length = behind.clone().count();
            let digits = before.chain(behind).filter(|byte| byte.is_ascii_digit());
            if digits.count() >= CARD_DIGITS_MIN {
                return true;
            }
            at += length;
        }
        at += CARD_DIGITS_MIN;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sieve(literals: &[&str]) -> Sieve {
        let needs = literals.iter().enumerate().map(|(at, literal)| {
            let need = Need::Literals(vec![literal.as_bytes().to_vec()]);
            (1 << at, need)
        });
        Sieve::new(&needs.collect::<Vec<_>>())
    }

    #[test]
    fn overlapping_literals_are_all_found() {
        let sieve = sieve(&["token", "tok", "okens", "nsx"]);
        let marks = sieve.marks(b"my TOKENSX", &mut Vec::new());
        assert_eq!(marks, 0b1111);
        assert_eq!(sieve.marks(b"tok", &mut Vec::new()), 0b10);
        assert_eq!(sieve.marks(b"", &mut Vec::new()), 0);
    }

    #[test]
    fn more_literals_than_simd_can_take() {
        let literals: Vec<String> = (0..200).map(|n| format!("{n:03}-{n:03}")).collect();
        let needs: Vec<_> = literals
            .iter()
            .map(|it| (1, Need::Literals(vec![it.clone().into_bytes()])))
            .collect();
        let sieve = Sieve::new(&needs);
        for literal in &literals {
            let message = format!("some text {literal} and more of it behind");
            assert_eq!(sieve.marks(message.as_bytes(), &mut Vec::new()), 1);
        }
        assert_eq!(
            sieve.marks(b"some text 777 and more of it", &mut Vec::new()),
            0
        );
    }

    proptest! {
        /// Invariant: the marks are those of the literals that are in the message.
        #[test]
        fn marks_are_what_is_there(
            literals in proptest::collection::vec("[a-c]{3,6}", 1..40),
            message in "[a-cA-C]{0,80}",
        ) {
            let names: Vec<&str> = literals.iter().map(String::as_str).collect();
            let marks = sieve(&names).marks(message.as_bytes(), &mut Vec::new());
            let lowered = message.to_ascii_lowercase();
            for (at, literal) in names.iter().enumerate() {
                prop_assert_eq!(marks >> at & 1 == 1, lowered.contains(literal), "{}", literal);
            }
        }

        /// Invariant: a number of twelve digits or more is never passed over.
        #[test]
        fn digits_are_noticed(
            before in "[a-z ]{0,30}",
            number in "[0-9]([ -]?[0-9]){11,18}",
            behind in "[a-z ]{0,30}",
        ) {
            let message = format!("{before}{number}{behind}");
            prop_assert!(may_hold_digits(message.as_bytes()));
        }
    }
}
