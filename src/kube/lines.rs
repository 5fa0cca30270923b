//! A stream of bytes to the lines in it, one JSON document each, within a bound.

/// Longest line: an object of the API server has at most 1.5 MiB in etcd's form, and less than this as JSON.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// More memory is given back after a long line.
const KEPT_BYTES: usize = 64 * 1024;

/// A line is longer than [`LINE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {LINE_BYTES_MAX} bytes")]
pub struct TooLong;

/// What has come of the line at hand.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes some bytes; shows each line that ends in them, without its end. Empty ones are left out.
    pub fn take(&mut self, mut bytes: &[u8], mut show: impl FnMut(&[u8])) -> Result<(), TooLong> {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.show(line, &mut show);
                continue;
            }
            self.push(line)?;
            let whole = std::mem::take(&mut self.begun);
            self.show(&whole, &mut show);
            self.begun = whole;
            self.begun.clear();
            self.begun.shrink_to(KEPT_BYTES);
        }
        self.push(bytes)
    }

    fn show(&self, line: &[u8], show: &mut impl FnMut(&[u8])) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            show(line);
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.begun.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(TooLong);
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a text is cut into pieces, the same lines come out.
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,200}", cuts in prop::collection::vec(0_usize..200, 0..20)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut lines = Lines::default();
            let mut got: Vec<String> = Vec::new();
            let mut from = 0;
            for cut in cuts {
                let piece = &text.as_bytes()[from..cut];
                lines.take(piece, |line| got.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
                from = cut;
            }
            let ended = text.rsplit_once('\n').map_or("", |(ended, _)| ended);
            let want: Vec<&str> = ended.split('\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_within_the_bound() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LINE_BYTES_MAX / 2 + 1];
        assert_eq!(lines.take(&piece, |_| {}), Ok(()));
        assert_eq!(lines.take(&piece, |_| {}), Err(TooLong));
    }
}
