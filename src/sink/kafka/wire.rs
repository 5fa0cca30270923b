//! The primitive types of Kafka's protocol: what brokers send is read within its bounds, what we send is appended.
//!
//! Facts: "Kafka protocol guide", section "Protocol Primitive Types". All numbers are big-endian.

/// A message that is not what its version says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's answer ends early or holds a length that cannot be")]
pub struct Malformed;

/// Reads one message from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of the whole message.
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader(message)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// BOOLEAN.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.fixed::<1>()? != [0])
    }

    /// INT16.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// INT32.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// INT64.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// NULLABLE_STRING.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match usize::try_from(self.i16()?) {
            Ok(len) => {
                let text = std::str::from_utf8(self.take(len)?);
                Ok(Some(text.map_err(|_| Malformed)?))
            }
            Err(_) => Ok(None),
        }
    }

    /// STRING.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_string()?.ok_or(Malformed)
    }

    /// BYTES.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.i32()?).map_err(|_| Malformed)?;
        self.take(len)
    }

    /// How many elements of an ARRAY follow. A null array has none. There cannot be more than bytes are left, which
    /// bounds every loop over what a broker sent.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        if count > self.0.len() {
            return Err(Malformed);
        }
        Ok(count)
    }
}

/// Appends a STRING. One that is too long is cut to nothing, which no broker takes for the name of something.
pub fn put_string(text: &str, out: &mut Vec<u8>) {
    let len = i16::try_from(text.len());
    let text = if len.is_ok() { text } else { "" };
    out.extend_from_slice(&len.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a count or a length as INT32.
pub fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
}

/// Sets the INT32 at `at`, which was left open, to the number of bytes behind it.
pub fn patch_len(at: usize, out: &mut [u8]) {
    let len = out.len().saturating_sub(at + 4);
    patch(at, len, out);
}

/// Sets the INT32 at `at`.
pub fn patch(at: usize, value: usize, out: &mut [u8]) {
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Appends a VARLONG, which for values that fit is a VARINT too.
pub fn put_varint(value: i64, out: &mut Vec<u8>) {
    let mut left = zigzag(value);
    while left >= 0x80 {
        out.push((left as u8) | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// How many bytes [`put_varint`] appends.
pub fn varint_len(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varints_are_those_of_protocol_buffers_zigzag() {
        for (value, bytes) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (63, vec![126]),
            (64, vec![0x80, 1]),
            (-65, vec![0x81, 1]),
            (i64::MAX, [vec![0xFE], vec![0xFF; 8], vec![1]].concat()),
            (i64::MIN, [vec![0xFF], vec![0xFF; 8], vec![1]].concat()),
        ] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out, bytes, "{value}");
        }
    }

    proptest! {
        /// The length is known before the number is written.
        #[test]
        fn a_varint_is_as_long_as_foretold(value: i64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(out.len(), varint_len(value));
        }

        /// Whatever a broker sends, reading ends within it.
        #[test]
        fn reading_never_leaves_the_message(message: Vec<u8>) {
            let mut reader = Reader::new(&message);
            let read = (|| -> Result<(), Malformed> {
                for _ in 0..reader.count()? {
                    reader.nullable_string()?;
                    reader.bytes()?;
                    reader.i64()?;
                }
                Ok(())
            })();
            prop_assert!(read.is_err() || reader.0.len() <= message.len());
        }
    }
}
