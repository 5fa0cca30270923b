//! Blocks of decompressed bytes out of a segment, plain or gzip, at any offset.

use std::io;

use super::inflate::{Inflater, Progress};
use crate::catalog::chain::{Identity, Opened};
use crate::files::FileHandle;

/// An inflater at work on one segment, with the bytes that were inflated and not yet consumed.
pub struct Inflating {
    /// Which segment.
    pub segment: u64,
    inflater: Inflater,
    input: Vec<u8>,
    input_at: usize,
    compressed_at: u64,
    /// Decompressed offset of `carry`'s first byte.
    at: u64,
    carry: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for Inflating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inflating segment {} at {}", self.segment, self.at)
    }
}

/// Compressed bytes read at once.
const INPUT_BYTES: usize = 16 * 1024;

/// What a fill came to.
#[derive(Debug)]
pub enum Fill {
    /// That many bytes are in the block, beginning at the offset asked for; `ended` when there are none behind them.
    Bytes {
        /// How many.
        len: usize,
        /// End of the segment as it is now.
        ended: bool,
    },
    /// Bytes before the offset were skipped and the turn's share is used up: ask again.
    Later,
    /// The compressed data is damaged or cut short.
    Corrupt,
}

impl Inflating {
    /// An inflater at the segment's beginning.
    pub fn new(segment: u64) -> Inflating {
        Inflating {
            segment,
            inflater: Inflater::new(),
            input: Vec::new(),
            input_at: 0,
            compressed_at: 0,
            at: 0,
            carry: Vec::new(),
            ended: false,
        }
    }

    /// The decompressed offset behind everything inflated so far.
    fn inflated(&self) -> u64 {
        self.at + self.carry.len() as u64
    }

    /// Whether it can still give the bytes at `offset`.
    pub fn reaches(&self, offset: u64) -> bool {
        offset >= self.at
    }

    /// Fills `block` with the bytes from `offset` on.
    pub fn fill(
        &mut self,
        handle: &dyn FileHandle,
        offset: u64,
        block: &mut [u8],
    ) -> io::Result<Fill> {
        if self.inflated() <= offset {
            // Bytes before the offset (after a restart, or when a plain file became a gzip): inflate them into the
            // block and let them go.
            self.at = self.inflated();
            self.carry.clear();
            while self.at < offset {
                let wanted = usize::try_from(offset - self.at).unwrap_or(usize::MAX);
                let room = wanted.min(block.len());
                let Some(part) = block.get_mut(..room) else {
                    break;
                };
                match self.inflate(handle, part)? {
                    None => return Ok(Fill::Corrupt),
                    Some(0) => {
                        return Ok(Fill::Bytes {
                            len: 0,
                            ended: true,
                        });
                    }
                    Some(len) => self.at += len as u64,
                }
                if room == block.len() {
                    return Ok(Fill::Later);
                }
            }
        }
        let skip = usize::try_from(offset - self.at).unwrap_or(usize::MAX);
        let kept = self.carry.get(skip..).unwrap_or_default();
        let mut len = kept.len().min(block.len());
        if let (Some(to), Some(from)) = (block.get_mut(..len), kept.get(..len)) {
            to.copy_from_slice(from);
        }
        let carried = len;
        while len < block.len() {
            let Some(part) = block.get_mut(len..) else {
                break;
            };
            match self.inflate(handle, part)? {
                None => return Ok(Fill::Corrupt),
                Some(0) => break,
                Some(more) => len += more,
            }
        }
        if len > carried {
            self.carry
                .extend_from_slice(block.get(carried..len).unwrap_or_default());
        }
        Ok(Fill::Bytes {
            len,
            ended: self.ended,
        })
    }

    /// Lets go of everything before `offset`.
    pub fn consume(&mut self, offset: u64) {
        let len = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = len.min(self.carry.len());
        self.carry.drain(..len);
        self.at += len as u64;
    }

    /// Inflates some bytes; `Some(0)` at the end, `None` if the data is damaged.
    fn inflate(&mut self, handle: &dyn FileHandle, output: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if self.ended {
                return Ok(Some(0));
            }
            if self.input_at == self.input.len() {
                self.input.resize(INPUT_BYTES, 0);
                let len = handle.read_at(&mut self.input, self.compressed_at)?;
                self.input.truncate(len);
                self.input_at = 0;
                self.compressed_at += len as u64;
            }
            let input = self.input.get(self.input_at..).unwrap_or_default();
            let at_end = input.is_empty();
            let Ok(Progress {
                consumed,
                produced,
                ended,
            }) = self.inflater.feed(input, output)
            else {
                return Ok(None);
            };
            if at_end && produced == 0 {
                // The file ends: well, if a member has just ended; else it was cut short.
                self.ended = ended;
                return Ok(ended.then_some(0));
            }
            self.input_at += consumed;
            if produced > 0 {
                return Ok(Some(produced));
            }
        }
    }
}

/// The identity of what an open file holds now.
pub fn identity_of(opened: &Opened) -> io::Result<Option<Identity>> {
    let mut head = [0_u8; Identity::BYTES_MAX];
    let mut len = 0;
    if opened.gzip {
        let mut inflating = Inflating::new(0);
        match inflating.fill(opened.handle.as_ref(), 0, &mut head)? {
            Fill::Bytes { len: filled, .. } => len = filled,
            Fill::Later | Fill::Corrupt => {}
        }
    } else {
        while len < head.len() {
            let Some(rest) = head.get_mut(len..) else {
                break;
            };
            match opened.handle.read_at(rest, len as u64)? {
                0 => break,
                more => len += more,
            }
        }
    }
    Ok(Identity::of(head.get(..len).unwrap_or(&head)))
}
