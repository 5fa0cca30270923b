//! Messages that are JSON objects: told from those that only look like one, without building a tree.
//!
//! Invariant: what [`find`] returns and [`write()`] appends is one JSON object on one line that a strict reader takes.
//! RFC 8259 leaves some things to the reader; where readers are known to refuse (a half of a surrogate pair, a number
//! beyond a double, endless nesting), the message is not called an object, because one refused row costs its payload.

use super::to_escape;

/// Deeper objects are not called objects.
pub const DEPTH_MAX: u32 = 64;
/// Longer messages are not looked at.
pub const BYTES_MAX: usize = 1024 * 1024;
/// A number below ten to this power is surely within a double (its largest is about 1.8e308).
const EXPONENT_MAX: usize = 308;

/// The one object that `message` consists of, without the white space around it.
pub fn find(message: &[u8]) -> Option<&[u8]> {
    if message.len() > BYTES_MAX {
        return None;
    }
    let mut scanner = Scanner { left: message };
    scanner.skip_space();
    let object = scanner.left;
    if object.first() != Some(&b'{') {
        return None;
    }
    scanner.value(0)?;
    let len = object.len() - scanner.left.len();
    scanner.skip_space();
    if scanner.left.is_empty() {
        object.get(..len)
    } else {
        None
    }
}

/// Appends an object from [`find`]. Line ends in it, which can only stand between its tokens, become spaces; invalid
/// UTF-8, which can only stand in its strings, becomes U+FFFD. Returns whether the latter happened.
pub fn write(object: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut replaced = false;
    if std::str::from_utf8(object).is_ok() {
        out.extend_from_slice(object);
    } else {
        for chunk in object.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{FFFD}".as_bytes());
                replaced = true;
            }
        }
    }
    if memchr::memchr2(b'\r', b'\n', object).is_some() {
        for byte in out.iter_mut().skip(start) {
            if matches!(*byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
    replaced
}

/// Walks over JSON text. Each step returns `None` at the first thing that is not as it should be.
struct Scanner<'a> {
    left: &'a [u8],
}

impl Scanner<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let first = *self.left.first()?;
        if wanted(first) { self.take() } else { None }
    }

    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.left = self.left.strip_prefix(text)?;
        Some(())
    }

    fn skip_space(&mut self) {
        while self
            .take_if(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            .is_some()
        {}
    }

    /// A value that lies in `depth` others.
    fn value(&mut self, depth: u32) -> Option<()> {
        match self.left.first()? {
            b'{' => self.members(depth, b'}', Self::named_value),
            b'[' => self.members(depth, b']', Self::value),
            b'"' => self.string(),
            b't' => self.expect(b"true"),
            b'f' => self.expect(b"false"),
            b'n' => self.expect(b"null"),
            _ => self.number(),
        }
    }

    /// What stands between two brackets.
    fn members(
        &mut self,
        depth: u32,
        close: u8,
        member: fn(&mut Self, u32) -> Option<()>,
    ) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.take()?;
        self.skip_space();
        if self.take_if(|byte| byte == close).is_some() {
            return Some(());
        }
        loop {
            self.skip_space();
            member(self, depth + 1)?;
            self.skip_space();
            match self.take()? {
                b',' => {}
                byte if byte == close => return Some(()),
                _ => return None,
            }
        }
    }

    fn named_value(&mut self, depth: u32) -> Option<()> {
        self.string()?;
        self.skip_space();
        self.expect(b":")?;
        self.skip_space();
        self.value(depth)
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b"\"")?;
        loop {
            while let Some((word, left)) = self.left.split_first_chunk::<8>() {
                let special = to_escape(u64::from_le_bytes(*word));
                if special == 0 {
                    self.left = left;
                } else {
                    let plain = (special.trailing_zeros() / 8) as usize;
                    self.left = self.left.get(plain..)?;
                    break;
                }
            }
            match self.take()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..=0x1F => return None,
                _ => {}
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<()> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.unit()? {
                0xD800..=0xDBFF => {
                    self.expect(b"\\u")?;
                    matches!(self.unit()?, 0xDC00..=0xDFFF).then_some(())
                }
                0xDC00..=0xDFFF => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.take()?).to_digit(16)?;
        }
        Some(unit)
    }

    fn number(&mut self) -> Option<()> {
        self.take_if(|byte| byte == b'-');
        let whole_digits = if self.take_if(|byte| byte == b'0').is_some() {
            1
        } else {
            self.digits()?.0
        };
        if self.take_if(|byte| byte == b'.').is_some() {
            self.digits()?;
        }
        let mut exponent = 0;
        if self.take_if(|byte| matches!(byte, b'e' | b'E')).is_some() {
            let sign = self.take_if(|byte| matches!(byte, b'+' | b'-'));
            let power = self.digits()?.1;
            exponent = if sign == Some(b'-') { 0 } else { power };
        }
        (exponent.saturating_add(whole_digits) <= EXPONENT_MAX).then_some(())
    }

    /// At least one digit: how many, and the number they make.
    fn digits(&mut self) -> Option<(usize, usize)> {
        let mut count = 0;
        let mut number = 0_usize;
        while let Some(digit) = self.take_if(|byte| byte.is_ascii_digit()) {
            count += 1;
            number = number
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'));
        }
        (count > 0).then_some((count, number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn written(object: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let replaced = write(object, &mut out);
        (String::from_utf8(out).unwrap(), replaced)
    }

    #[test]
    fn objects_are_found_within_white_space() {
        for text in [
            r#"{}"#,
            r#" { } "#,
            r#"{"a":1,"a":[true,false,null,-0.5e-9,1E+2,"\u00e9\ud83d\ude00\/"],"":{"b":{}}}"#,
            "\t{\"a\"\r\n:\n[ ]\r}\r\n",
            r#"{"n":1e307}"#,
            r#"{"n":0.000000000000000000000000000001e-99999999999999999999999}"#,
        ] {
            assert_eq!(
                find(text.as_bytes()),
                Some(text.trim().as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn other_messages_are_not_objects() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[]",
            "1",
            r#""a""#,
            "{}{}",
            "{} x",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":.1}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":NaN}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"\u{1}\"}",
            "{\u{a0}}",
            "\u{feff}{}",
            r#"{"a":[1}"#,
            r#"{"a":"b}"#,
        ] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
            assert!(
                !serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_strict_readers_refuse_is_not_an_object() {
        for text in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800\u0041"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":1e309}"#,
            r#"{"a":1e99999999999999999999999}"#,
        ] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(find(nested(DEPTH_MAX as usize).as_bytes()).is_some());
        assert!(find(nested(DEPTH_MAX as usize + 1).as_bytes()).is_none());
        let padded = |len: usize| format!("{{}}{}", " ".repeat(len - 2));
        assert!(find(padded(BYTES_MAX).as_bytes()).is_some());
        assert!(find(padded(BYTES_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn invalid_text_and_line_ends_are_mended() {
        let message = b"{\"a\"\r\n: \"x\xF0\x9F\x98\xFFy\\n\"}";
        let object = find(message).unwrap();
        let (text, replaced) = written(object);
        assert!(replaced);
        assert_eq!(text, "{\"a\"  : \"x\u{FFFD}\u{FFFD}y\\n\"}");
    }

    /// Text of the characters that JSON is made of, so that much of it is nearly JSON.
    fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
        let token = prop::sample::select(vec![
            &b"{"[..],
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"a\"",
            b"\"",
            b"\\",
            b"\\u0041",
            b"\\ud800",
            b"\\udc00",
            b"1",
            b"-",
            b"0",
            b".",
            b"e9",
            b"e308",
            b"true",
            b"null",
            b" ",
            b"\r",
            b"\n",
            b"\xC3\xA9",
            b"\xFF",
            b"\xE2\x82",
            b"\x01",
            b"\"a\":",
            b"{\"b\":",
        ]);
        prop::collection::vec(token, 0..12).prop_map(|tokens| {
            let mut text = b"{\"k\":".to_vec();
            text.extend(tokens.concat());
            text.push(b'}');
            text
        })
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// What is called an object is one for a strict reader too, on one line, with the same content; what is not
        /// called one is none for it either.
        #[test]
        fn agrees_with_a_strict_reader(message in nearly_json()) {
            let lossy = String::from_utf8_lossy(&message);
            let read = serde_json::from_str::<Value>(&lossy).ok();
            let object = find(&message);
            if let Some(object) = object {
                let (text, replaced) = written(object);
                prop_assert!(!text.contains(['\r', '\n']));
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), read);
                prop_assert_eq!(replaced, std::str::from_utf8(&message).is_err());
            } else if read.is_some() {
                // The one liberty: a zero or a small fraction written with a vast exponent.
                prop_assert!(lossy.contains("e308") || lossy.contains("e9"), "{}", lossy);
            }
        }

        /// Every object that a writer makes is found and written as it is.
        #[test]
        fn takes_what_writers_make(value in json(), pretty: bool) {
            let object = serde_json::json!({ "k": value });
            let text = if pretty {
                serde_json::to_string_pretty(&object).unwrap()
            } else {
                object.to_string()
            };
            let vast = |text: &str| text.contains("e+30") || text.contains("e30");
            prop_assume!(!vast(&text));
            let found = find(text.as_bytes());
            prop_assert_eq!(found, Some(text.as_bytes()));
            prop_assert_eq!(written(text.as_bytes()), (text.replace('\n', " "), false));
        }
    }
}
