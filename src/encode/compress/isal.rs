//! Gzip through ISA-L, in the place of flate2 at level 1, which is what ISA-L is made for.
//!
//! Invariant: what is appended between [`IsalGzip::reset`] and the end of [`IsalGzip::finish`] is one complete gzip
//! member (RFC 1952). flate2 at the same level is the safe twin that the tests compare it with.
//!
//! The only unsafe code of the encoders. All of it rests on this: outside of `step` the stream's pointers to input and
//! output are null, and within it they are those of the two buffers that `step` was given, with their true lengths.
#![allow(unsafe_code)] // calls into C; ARCHITECTURE.md, "Compression", says what it gains

use std::mem::MaybeUninit;
use std::ptr;

use isal_sys::igzip_lib as lib;
use thiserror::Error;

/// Room that is made in the output at least before each step.
const STEP_BYTES: usize = 32 * 1024;
/// Input of one step: the library counts in 32 bits.
const FEED_BYTES: usize = 1024 * 1024;
/// The buffer for tokens and hashes that the library suggests for level 1, in words: it is cast to a structure.
const LEVEL_WORDS: usize = (lib::ISAL_DEF_LVL1_DEFAULT as usize).div_ceil(8);

/// ISA-L refuses to work: a fault in it or in how it is used.
#[derive(Debug, Error)]
pub enum IsalError {
    /// The library's code.
    #[error("ISA-L gives error {0}")]
    Code(i32),
    /// A step neither took nor gave anything.
    #[error("ISA-L makes no progress")]
    Stuck,
}

/// One stream, used for one member after another.
pub(super) struct IsalGzip {
    stream: Box<lib::isal_zstream>,
    /// `stream` points to it, and nothing else touches it.
    _level_buffer: Vec<u64>,
}

// SAFETY: The stream's pointers are null, or to constants of the library, or to the level buffer, which is owned beside
// it and stays where it is when its vector moves. Nothing of it belongs to a thread.
unsafe impl Send for IsalGzip {}

impl IsalGzip {
    /// A stream, ready for its first member.
    pub(super) fn new() -> IsalGzip {
        let mut stream: Box<MaybeUninit<lib::isal_zstream>> = Box::new(MaybeUninit::zeroed());
        let mut level_buffer = vec![0_u64; LEVEL_WORDS];
        // SAFETY: `isal_deflate_init` writes into the structure that it is given and nowhere else. All fields are
        // integers, arrays of these, or raw pointers, for which the zeros of before are valid where it writes nothing.
        let mut stream = unsafe {
            lib::isal_deflate_init(stream.as_mut_ptr());
            stream.assume_init()
        };
        stream.level = 1;
        stream.level_buf = level_buffer.as_mut_ptr().cast();
        stream.level_buf_size = (LEVEL_WORDS * 8) as u32;
        stream.gzip_flag = lib::IGZIP_GZIP as u16;
        IsalGzip {
            stream,
            _level_buffer: level_buffer,
        }
    }

    /// Begins a member, whatever became of the one before.
    pub(super) fn reset(&mut self) {
        self.stream.flush = lib::NO_FLUSH as u16;
        self.stream.end_of_stream = 0;
        // The library turns this into "the header is written".
        self.stream.gzip_flag = lib::IGZIP_GZIP as u16;
        // SAFETY: A valid stream; only its own fields are written.
        unsafe { lib::isal_deflate_reset(&raw mut *self.stream) };
    }

    /// Compresses the next bytes of the member.
    pub(super) fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), IsalError> {
        let mut input = input;
        while !input.is_empty() {
            let taken = self.step(input, out)?;
            input = input.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the member.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), IsalError> {
        self.stream.end_of_stream = 1;
        while self.stream.internal_state.state != lib::isal_zstate_state_ZSTATE_END {
            self.step(&[], out)?;
        }
        Ok(())
    }

    /// Gives the library up to [`FEED_BYTES`] of input and fresh room; how much of the input it took.
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, IsalError> {
        out.reserve(STEP_BYTES);
        let spare = out.spare_capacity_mut();
        let feed = input.len().min(FEED_BYTES);
        let room = spare.len().min(FEED_BYTES);
        let stream = &mut *self.stream;
        // The library only reads its input, for all that the type says.
        stream.next_in = input.as_ptr().cast_mut();
        stream.avail_in = feed as u32;
        stream.next_out = spare.as_mut_ptr().cast();
        stream.avail_out = room as u32;
        // SAFETY: A valid stream that is used from this thread alone. `next_in` is good for reading `avail_in` bytes and
        // `next_out` for writing `avail_out` bytes until the call returns, and both are forgotten behind it: what the
        // library needs of its input later it has copied.
        let code = unsafe { lib::isal_deflate(&raw mut *stream) };
        let taken = feed.saturating_sub(stream.avail_in as usize);
        let given = room.saturating_sub(stream.avail_out as usize);
        stream.next_in = ptr::null_mut();
        stream.avail_in = 0;
        stream.next_out = ptr::null_mut();
        stream.avail_out = 0;
        // SAFETY: The library has written the first `given` bytes of the spare capacity, of which there are at least
        // `room`.
        unsafe { out.set_len(out.len() + given) };
        match code {
            0 if taken == 0 && given == 0 => Err(IsalError::Stuck),
            0 => Ok(taken),
            code => Err(IsalError::Code(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Compression;
    use crate::encode::compress::{Codec, Compressor};

    /// What the codec in use makes of the pieces, and what its safe twin makes of them.
    fn both(pieces: &[Vec<u8>]) -> [Vec<u8>; 2] {
        let twin = flate2::Compress::new_gzip(flate2::Compression::new(1), 15);
        [Codec::Isal(IsalGzip::new()), Codec::Gzip(twin)].map(|codec| {
            let mut compressor = Compressor::new(Compression::Gzip(1));
            compressor.codec = codec;
            let mut body = Vec::new();
            compressor.begin().unwrap();
            for piece in pieces {
                compressor.write(piece, &mut body).unwrap();
            }
            compressor.finish(&mut body).unwrap();
            body
        })
    }

    fn read(body: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(body);
        reader.read_to_end(&mut content).unwrap();
        content
    }

    proptest! {
        /// The codec and its safe twin say the same of any bytes in any pieces, no piece at all included.
        #[test]
        fn says_what_the_safe_twin_says(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..300),
                    prop::collection::vec(0..3_u8, 0..70_000),
                ],
                0..6,
            ),
        ) {
            let [body, twin] = both(&pieces).map(|body| read(&body));
            prop_assert!(body == twin);
            prop_assert!(body == pieces.concat());
        }
    }

    #[test]
    fn a_level_one_compressor_uses_it() {
        let mut compressor = Compressor::new(Compression::Gzip(1));
        compressor.begin().unwrap();
        assert!(matches!(compressor.codec, Codec::Isal(_)));
    }

    #[test]
    fn short_members_are_no_larger_than_those_of_the_safe_twin() {
        for rows in [20, 100, 300] {
            let piece: String = (0..rows)
                .map(|n| format!("{{\"PodName\":\"web-0\",\"LogMessage\":\"took {n} ms\"}}\n"))
                .collect();
            let [body, twin] = both(&[piece.into_bytes()]);
            assert!(
                body.len() <= twin.len(),
                "{rows}: {} {}",
                body.len(),
                twin.len()
            );
        }
    }
}
