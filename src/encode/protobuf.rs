//! The wire format of protobuf (protobuf.dev/programming-guides/encoding), as far as encoders write it by hand.
//!
//! Invariant: what is appended here is what any decoder of protobuf takes; lengths that are patched later are written
//! as varints of a fixed width, which the format allows.

pub mod groups;

/// Field number and wire type of a field whose content has a length in front of it: strings, bytes and messages.
pub const fn length_delimited(field: u8) -> u8 {
    field << 3 | 2
}

/// Field number and wire type of a varint.
pub const fn varint(field: u8) -> u8 {
    field << 3
}

/// Field number and wire type of eight bytes in little-endian order.
pub const fn fixed64(field: u8) -> u8 {
    field << 3 | 1
}

/// Bytes of a length that is to be patched: enough for what 35 bits count.
pub const PADDED_BYTES: usize = 5;

/// How many bytes [`put_varint`] appends.
#[inline]
pub const fn varint_bytes(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a number, seven bits a byte from the lowest on.
#[inline]
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a text, unless it is empty: an absent field says as much.
pub fn put_text(tag: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(tag, text.as_bytes(), out);
    }
}

/// Appends a field with content of known length.
pub fn put_bytes(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Appends the tag of a field, and room for its length. Returns where the length is, for [`close`].
pub fn open(tag: u8, out: &mut Vec<u8>) -> usize {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; PADDED_BYTES]);
    at
}

/// Writes the length of the field that was opened at `at` and that ends where `out` does.
pub fn close(at: usize, out: &mut [u8]) {
    let mut left = out.len().saturating_sub(at + PADDED_BYTES);
    let Some(place) = out.get_mut(at..at + PADDED_BYTES) else {
        return;
    };
    for (number, byte) in place.iter_mut().enumerate() {
        let more = if number + 1 < PADDED_BYTES { 0x80 } else { 0 };
        *byte = (left & 0x7F) as u8 | more;
        left >>= 7;
    }
}

/// Takes a varint off the beginning of `bytes`.
pub fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (number, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F) << (7 * number);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(number + 1..)?));
        }
    }
    None
}

/// Takes a field with a length, of a number below 16, off the beginning of `bytes`: its tag, its content, what is
/// behind it.
pub fn take_field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (len, rest) = take_varint(rest)?;
    let (content, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Numbers come back, and take the bytes that were foretold.
        #[test]
        fn varints_come_back(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(out.len(), varint_bytes(value));
            prop_assert_eq!(take_varint(&out), Some((value, &[][..])));
            let mut official = Vec::new();
            prost::encoding::encode_varint(value, &mut official);
            prop_assert_eq!(out, official);
        }
    }

    #[test]
    fn a_patched_length_is_a_length() {
        for len in [0, 1, 127, 128, 70_000] {
            let mut out = b"before".to_vec();
            let at = open(length_delimited(1), &mut out);
            out.resize(out.len() + len, b'x');
            close(at, &mut out);
            let (tag, content, rest) = take_field(&out[6..]).unwrap();
            assert_eq!((tag, content.len(), rest.len()), (0x0A, len, 0));
        }
    }

    #[test]
    fn damaged_bytes_are_no_field() {
        for bytes in [
            &b""[..],
            b"\x0A",
            b"\x0A\x05abcd",
            b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ] {
            assert_eq!(take_field(bytes), None);
        }
    }
}
