//! Messages as text of known length, for formats that want the length before the content.
//!
//! Invariant: what is put is UTF-8, and as long as was said.

/// A message as UTF-8.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// It is UTF-8.
    Whole(&'a [u8]),
    /// It is not: each maximal subpart that is not becomes U+FFFD, as in rows.
    Broken {
        /// What the container wrote.
        message: &'a [u8],
        /// How long it becomes.
        bytes: usize,
    },
}

const REPLACEMENT: &str = "\u{FFFD}";

impl Text<'_> {
    /// The text of a message.
    #[inline]
    pub fn of(message: &[u8]) -> Text<'_> {
        if simdutf8::basic::from_utf8(message).is_ok() {
            return Text::Whole(message);
        }
        let chunks = message.utf8_chunks();
        let bytes = chunks.map(|chunk| match chunk.invalid() {
            [] => chunk.valid().len(),
            _ => chunk.valid().len() + REPLACEMENT.len(),
        });
        Text::Broken {
            message,
            bytes: bytes.sum(),
        }
    }

    /// Its length.
    #[inline]
    pub fn bytes(&self) -> usize {
        match self {
            Text::Whole(message) => message.len(),
            Text::Broken { bytes, .. } => *bytes,
        }
    }

    /// Whether something was replaced.
    pub fn is_broken(&self) -> bool {
        matches!(self, Text::Broken { .. })
    }

    /// Appends it.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Text::Whole(message) => out.extend_from_slice(message),
            Text::Broken { message, .. } => {
                for chunk in message.utf8_chunks() {
                    out.extend_from_slice(chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        out.extend_from_slice(REPLACEMENT.as_bytes());
                    }
                }
            }
        }
    }
}
