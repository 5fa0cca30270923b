//! A walk over the fields of one JSON object, without building anything.
//!
//! Lenient where leniency costs nothing (the kinds of nested brackets are not matched, escapes are
//! only stepped over, raw control characters pass), strict about where strings, fields and the
//! object end. Work is linear in the bytes given, whatever the nesting.

use memchr::{memchr, memchr2};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string: what is between its quotes, escapes and all.
    Text {
        /// As it is written.
        raw: &'a [u8],
        /// Whether there is a backslash in it.
        escaped: bool,
    },
    /// A number or literal, as it is written.
    Bare(&'a [u8]),
    /// An object or array.
    Nested,
}

/// What comes next in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A field. The key is as it is written, between its quotes.
    Field(&'a [u8], Value<'a>),
    /// The object is over; the bytes behind it.
    End(&'a [u8]),
    /// The bytes end inside the object, or are not JSON.
    Broken,
}

/// The walk.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    rest: &'a [u8],
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins at the object's `{`, perhaps behind blanks; `None` if there is none.
    pub fn open(text: &'a [u8]) -> Option<Object<'a>> {
        match skip_blanks(text).split_first() {
            Some((b'{', rest)) => Some(Object { rest, first: true }),
            _ => None,
        }
    }

    /// The next field. After `End` and `Broken` it says `Broken`.
    pub fn step(&mut self) -> Step<'a> {
        self.try_step().unwrap_or_else(|| {
            self.rest = &[];
            Step::Broken
        })
    }

    fn try_step(&mut self) -> Option<Step<'a>> {
        let mut rest = skip_blanks(self.rest);
        if let Some((b'}', behind)) = rest.split_first() {
            self.rest = &[];
            return Some(Step::End(behind));
        }
        if !self.first {
            rest = skip_blanks(strip(rest, b',')?);
        }
        self.first = false;
        let (key, _, behind) = take_text(strip(rest, b'"')?)?;
        let (value, behind) = take_value(skip_blanks(strip(skip_blanks(behind), b':')?))?;
        self.rest = behind;
        Some(Step::Field(key, value))
    }
}

fn strip(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text.split_first() {
        Some((first, rest)) if *first == byte => Some(rest),
        _ => None,
    }
}

fn skip_blanks(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t' | b'\r' | b'\n', rest)) = text.split_first() {
        text = rest;
    }
    text
}

/// A string from behind its opening quote: what is in it, whether it has escapes, what follows.
fn take_text(text: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut at = 0;
    let mut escaped = false;
    loop {
        at += mark_at(text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, escaped, text.get(at + 1..)?));
        }
        escaped = true;
        at += 2;
    }
}

/// Where the first quote or backslash is. Most keys and many values are short: these are searched eight bytes at a
/// time before a search is begun that is worth its beginning only in long texts.
#[inline]
fn mark_at(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    while at < 32
        && let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>)
    {
        let word = u64::from_le_bytes(*word);
        // 0x80 in the bytes that are 0; above the lowest of these there may be more, which does not matter.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let found =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    Some(at + memchr2(b'"', b'\\', text.get(at..)?)?)
}

fn take_value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match text.split_first()? {
        (b'"', rest) => {
            let (raw, escaped, behind) = take_text(rest)?;
            Some((Value::Text { raw, escaped }, behind))
        }
        (b'{' | b'[', _) => Some((Value::Nested, skip_nested(text)?)),
        _ => {
            let len = text.iter().position(|byte| {
                !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            })?;
            let (bare, behind) = text.split_at_checked(len)?;
            (!bare.is_empty()).then_some((Value::Bare(bare), behind))
        }
    }
}

/// What follows the object or array that `text` begins with.
fn skip_nested(mut text: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    loop {
        let (byte, rest) = text.split_first()?;
        text = match byte {
            b'"' => take_text(rest)?.2,
            b'{' | b'[' => {
                depth += 1;
                rest
            }
            b'}' | b']' if depth == 1 => return Some(rest),
            b'}' | b']' => {
                depth -= 1;
                rest
            }
            _ => rest,
        };
    }
}

/// Appends the string whose raw form is `raw` to `out`, escapes undone. A surrogate without its
/// partner becomes U+FFFD. `None` for an escape that JSON does not have.
pub fn unescape(mut raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(raw.len());
    while let Some(at) = memchr(b'\\', raw) {
        out.extend_from_slice(raw.get(..at)?);
        let (escape, rest) = raw.get(at + 1..)?.split_first()?;
        raw = rest;
        out.push(match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'u' => {
                let (character, rest) = take_unicode(raw)?;
                raw = rest;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    out.extend_from_slice(raw);
    Some(())
}

/// The character of a `\u` escape (or of the two of a surrogate pair), from behind its `u`.
fn take_unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (unit, rest) = take_hex(text)?;
    if (0xd800..0xdc00).contains(&unit)
        && let Some((low, behind)) = rest.strip_prefix(b"\\u").and_then(take_hex)
        && (0xdc00..0xe000).contains(&low)
    {
        let point = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        return Some((char::from_u32(point)?, behind));
    }
    let character = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((character, rest))
}

fn take_hex(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let mut unit = 0;
    for digit in digits {
        unit = unit * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> (Vec<(String, String)>, Option<String>) {
        let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut object = Object::open(text.as_bytes()).unwrap();
        let mut fields = Vec::new();
        loop {
            match object.step() {
                Step::Field(key, Value::Text { raw, .. }) => {
                    fields.push((string(key), string(raw)))
                }
                Step::Field(key, Value::Bare(bare)) => fields.push((string(key), string(bare))),
                Step::Field(key, Value::Nested) => fields.push((string(key), "nested".to_owned())),
                Step::End(rest) => return (fields, Some(string(rest))),
                Step::Broken => return (fields, None),
            }
        }
    }

    #[test]
    fn fields_are_walked_over_blanks_and_nesting() {
        let text = r#" { "a" : "x\"}" ,"b":-1.5e3,"c":{"d":["}",{}]},"e":null,"f":[] } rest"#;
        let (fields, rest) = fields(text);
        let expected = [
            ("a", "x\\\"}"),
            ("b", "-1.5e3"),
            ("c", "nested"),
            ("e", "null"),
            ("f", "nested"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
        assert_eq!(rest.as_deref(), Some(" rest"));
        assert_eq!(super::tests::fields("{}").1.as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_an_object_is_broken() {
        assert!(Object::open(b"[1]").is_none());
        for text in [
            "{",
            "{,}",
            "{\"a\"",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":\"",
            "{\"a\":\"\\",
            "{\"a\":[[]",
            "{\"a\":1,,\"b\":2}",
            "{\"a\":1;}",
        ] {
            assert_eq!(fields(text).1, None, "{text}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        let undone = |raw: &str| {
            let mut out = Vec::new();
            unescape(raw.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            undone(r#"a\"\\\/\b\f\n\r\tz"#).unwrap(),
            "a\"\\/\u{8}\u{c}\n\r\tz"
        );
        assert_eq!(undone(r"\u0041\u00e9\u20AC").unwrap(), "A\u{e9}\u{20ac}");
        assert_eq!(undone(r"\ud83d\ude00!").unwrap(), "\u{1f600}!");
        assert_eq!(undone(r"\ud83d").unwrap(), "\u{fffd}");
        assert_eq!(undone(r"\ude00x").unwrap(), "\u{fffd}x");
        assert_eq!(undone(r"\ud83d\u0041").unwrap(), "\u{fffd}A");
        assert_eq!(undone(r"\ud83d\ud83d\ude00").unwrap(), "\u{fffd}\u{1f600}");
        for raw in [r"\", r"\x", r"\u12", r"\u12g4", r"\ud83d\u12"] {
            assert_eq!(undone(raw), None, "{raw}");
        }
    }

    proptest! {
        /// Any bytes are walked to an end without a panic.
        #[test]
        fn any_bytes_are_walked_to_an_end(text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            r#"[{}\[\]:,"\\a1u ]{0,64}"#.prop_map(|text| format!("{{{text}").into_bytes()),
        ]) {
            if let Some(mut object) = Object::open(&text) {
                while let Step::Field(key, value) = object.step() {
                    prop_assert!(key.len() <= text.len());
                    if let Value::Text { raw, .. } = value {
                        let _whether: Option<()> = unescape(raw, &mut Vec::new());
                    }
                }
                prop_assert_eq!(object.step(), Step::Broken);
            }
        }

        /// The first quote or backslash is found, wherever it is.
        #[test]
        fn the_first_mark_is_found(text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            prop::collection::vec(prop_oneof![40 => Just(b'!'), 20 => Just(b'#'), 1 => Just(b'"'), 1 => Just(b'\\')], 0..80),
        ]) {
            let plainly = text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(mark_at(&text), plainly);
        }

        /// The walk sees each field of what an independent encoder wrote, and undoes its escapes.
        #[test]
        fn the_walk_agrees_with_an_encoder(
            map in proptest::collection::btree_map("[a-z]{1,4}", any::<String>(), 0..5),
        ) {
            let text = serde_json::to_vec(&map).unwrap();
            let mut object = Object::open(&text).unwrap();
            let mut seen = std::collections::BTreeMap::new();
            while let Step::Field(key, Value::Text { raw, escaped }) = object.step() {
                let mut value = Vec::new();
                unescape(raw, &mut value).unwrap();
                prop_assert_eq!(escaped, raw != value.as_slice());
                seen.insert(String::from_utf8(key.to_vec()).unwrap(), String::from_utf8(value).unwrap());
            }
            prop_assert_eq!(seen, map);
        }
    }
}
