//! Bytes of unknown origin to JSON text (RFC 8259).
//!
//! Invariant: whatever the bytes are, what is appended is valid UTF-8 and valid JSON.

pub mod object;
#[cfg(target_arch = "x86_64")]
mod vector;

/// 0x01 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// 0x80 in each byte.
const HIGH: u64 = ONES << 7;
/// 0x7F in each byte.
const LOW: u64 = !HIGH;

/// The escape of each ASCII byte that needs one (RFC 8259, section 7): its bytes from the lowest on, its length in the
/// highest byte.
const ESCAPES: [u64; 128] = escapes();

const fn escapes() -> [u64; 128] {
    let digits = b"0123456789abcdef";
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 0x20 {
        let (tens, ones) = (digits[byte >> 4], digits[byte & 15]);
        table[byte] = u64::from_le_bytes([b'\\', b'u', b'0', b'0', tens, ones, 0, 6]);
        byte += 1;
    }
    let short = [
        (b'"', b'"'),
        (b'\\', b'\\'),
        (0x08, b'b'),
        (0x0C, b'f'),
        (b'\n', b'n'),
        (b'\r', b'r'),
        (b'\t', b't'),
    ];
    let mut at = 0;
    while at < short.len() {
        let (byte, letter) = short[at];
        table[byte as usize] = u64::from_le_bytes([b'\\', letter, 0, 0, 0, 0, 0, 2]);
        at += 1;
    }
    table
}

/// Appends `bytes` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD, one for each maximal subpart
/// (Unicode 15, section 3.9). Returns whether that happened.
pub fn write_string(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let replaced = write_escaped(bytes, out);
    out.push(b'"');
    replaced
}

/// As [`write_string`], without the quotes.
pub fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    // Most lines are ASCII: whether the bytes are UTF-8 at all is only asked when one of them is beyond it.
    if escape(bytes, out) || simdutf8::basic::from_utf8(bytes).is_ok() {
        return false;
    }
    out.truncate(start);
    for chunk in bytes.utf8_chunks() {
        escape(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    true
}

/// Appends `bytes` with the escapes that JSON asks for, taking bytes beyond ASCII as they are. Returns whether all
/// were ASCII.
#[inline]
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(is_ascii) = vector::escape(bytes, out) {
        return is_ascii;
    }
    escape_by_word(bytes, out)
}

/// [`escape`] on any machine.
fn escape_by_word(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut seen = 0;
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let mut any = 0;
        for word in words {
            let word = u64::from_le_bytes(*word);
            seen |= word;
            any |= to_escape(word);
        }
        if any == 0 {
            out.extend_from_slice(block);
        } else {
            for word in words {
                escape_word(u64::from_le_bytes(*word), 8, out);
            }
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        escape_word(word, 8, out);
    }
    if !rest.is_empty() {
        let mut word = [b' '; 8];
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        let word = u64::from_le_bytes(word);
        seen |= word;
        escape_word(word, rest.len(), out);
    }
    seen & HIGH == 0
}

/// 0x80 in each byte of `word` that is a quote, a backslash or below 0x20; exact, no carry passes between bytes.
const fn to_escape(word: u64) -> u64 {
    let low = word & LOW;
    let from_space = low + ONES * 0x60;
    let not_quote = (low ^ (ONES * b'"' as u64)) + LOW;
    let not_backslash = (low ^ (ONES * b'\\' as u64)) + LOW;
    !((from_space & not_quote & not_backslash) | word) & HIGH
}

/// Appends the first `len` (1 to 8) bytes of `word`, escaped.
#[inline]
fn escape_word(word: u64, len: usize, out: &mut Vec<u8>) {
    let mut mask = to_escape(word);
    let mut done = 0;
    let mut left = word;
    while mask != 0 {
        let at = (mask.trailing_zeros() / 8) as usize;
        put(left, at - done, out);
        let byte = (word >> (at * 8)) as u8;
        let escape = ESCAPES[usize::from(byte & 0x7F)];
        put(escape, (escape >> 56) as usize, out);
        mask &= mask - 1;
        done = at + 1;
        // Two shifts, because a shift by all 64 bits is none.
        left = word >> (at * 8) >> 8;
    }
    put(left, len - done, out);
}

/// Appends the first `len` (0 to 8) bytes of `word`. A copy of fixed size and a cut, which beats a copy of unknown size.
#[inline]
fn put(word: u64, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(bytes: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let replaced = write_string(bytes, &mut out);
        (String::from_utf8(out).unwrap(), replaced)
    }

    fn reference(bytes: &[u8]) -> (String, bool) {
        let text = String::from_utf8_lossy(bytes);
        let replaced = matches!(text, std::borrow::Cow::Owned(_));
        (serde_json::to_string(&text).unwrap(), replaced)
    }

    #[test]
    fn every_byte_at_every_place_of_a_block() {
        for byte in 0..=u8::MAX {
            for len in 1..70 {
                for at in [0, 1, 7, 8, 31, 32, len / 2, len - 1] {
                    let mut bytes = vec![b'x'; len];
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                    assert_eq!(
                        written(&bytes),
                        reference(&bytes),
                        "byte {byte} at {at} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn words_of_nothing_but_escapes() {
        let bytes: Vec<u8> = (0..0x20).chain(*b"\"\\\"\\").cycle().take(500).collect();
        assert_eq!(written(&bytes), reference(&bytes));
    }

    #[test]
    fn appends_and_leaves_what_is_there() {
        let mut out = b"before".to_vec();
        assert!(write_escaped(b"a\xE2\x82\"", &mut out));
        assert_eq!(out, "beforea\u{FFFD}\\\"".as_bytes());
    }

    /// Bytes in which quotes, controls and broken characters are frequent.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[a-z ]{0,40}".prop_map(String::into_bytes),
            "\\PC{0,10}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..12),
            prop::sample::select(vec![
                &b"\""[..],
                b"\\",
                b"\x00",
                b"\x1F",
                b"\x7F",
                b"\xF0\x9F\x98",
                b"\xED\xA0\x80",
                b"\xC0\xAF",
                b"\xF0\x9F\x98\x80",
                b"\n",
                b"\r\n",
                b"\xFF",
            ])
            .prop_map(<[u8]>::to_vec),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// What each way of escaping appends and returns.
    fn both_ways(bytes: &[u8]) -> [(Vec<u8>, bool); 2] {
        [escape, escape_by_word].map(|way| {
            let mut out = b"before".to_vec();
            let is_ascii = way(bytes, &mut out);
            (out, is_ascii)
        })
    }

    #[test]
    fn every_byte_is_escaped_both_ways_alike() {
        for byte in 0..=u8::MAX {
            for len in 1..40 {
                for at in 0..len {
                    let mut bytes = vec![b'x'; len];
                    bytes[at] = byte;
                    let [one, other] = both_ways(&bytes);
                    assert_eq!(one, other, "byte {byte} at {at} of {len}");
                }
            }
        }
    }

    proptest! {
        /// Bytes of any kind and length, from any address on, are escaped both ways alike.
        #[test]
        fn both_ways_of_escaping_agree(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..3_000),
                prop::collection::vec(prop::sample::select(b"\"\\\n\x1bab ".to_vec()), 0..3_000),
                prop::collection::vec(prop_oneof![50 => Just(b'x'), 1 => any::<u8>()], 0..3_000),
            ],
            from in 0..40_usize,
        ) {
            let bytes = bytes.get(from..).unwrap_or_default();
            let [one, other] = both_ways(bytes);
            prop_assert_eq!(one, other);
        }

        /// The text equals what a JSON library makes of the lossily decoded bytes, and says whether they were lossy.
        #[test]
        fn equals_the_lossy_reference(bytes in message()) {
            prop_assert_eq!(written(&bytes), reference(&bytes));
        }
    }
}
