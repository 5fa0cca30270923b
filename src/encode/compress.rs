//! Compression of payloads, streaming, and its undoing where a payload has to be cut.
//!
//! Invariant: what is appended between [`Compressor::begin`] and the end of [`Compressor::finish`] is one complete gzip
//! member (RFC 1952), Zstandard frame (RFC 8878) or snappy block, whatever became of the payload before.

#[cfg(feature = "isal")]
mod isal;
#[cfg(feature = "isal")]
pub use isal::IsalError;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::config::Compression;

/// Room that is made in the output at least before each step.
const STEP_BYTES: usize = 32 * 1024;
/// Base-2 logarithm of the deflate window; 16 more asks for the gzip frame.
const GZIP_WINDOW_BITS: u8 = 15;
/// Which library writes gzip in this build, and at which of the levels 1 to 9.
pub const GZIP_CODECS: &str = if cfg!(feature = "isal") {
    "ISA-L at level 1, zlib-rs above"
} else {
    "zlib-rs at all levels"
};
/// Base-2 logarithm of the largest Zstandard window that levels up to 19 use: a frame that wants more is not ours.
const ZSTD_WINDOW_BITS_MAX: u32 = 23;

impl Compression {
    /// The value of the HTTP `Content-Encoding` header (RFC 9110, section 8.4; RFC 8878); absent: none is sent.
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip(_) => Some("gzip"),
            Compression::Zstd(_) => Some("zstd"),
            // No content coding: protocols that have snappy say so by their content type.
            Compression::Snappy => None,
        }
    }

    /// What a file name ends in, without the dot; absent: nothing is added.
    pub const fn file_suffix(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip(_) => Some("gz"),
            Compression::Zstd(_) => Some("zst"),
            Compression::Snappy => Some("snappy"),
        }
    }
}

/// A codec that refuses to work: out of memory, or a fault in it. The payload is unusable and may be begun again.
#[derive(Debug, Error)]
pub enum CompressError {
    /// From the deflate library.
    #[error("cannot compress a payload with gzip: {0}")]
    Gzip(#[from] flate2::CompressError),
    /// From ISA-L.
    #[cfg(feature = "isal")]
    #[error("cannot compress a payload with gzip: {0}")]
    Isal(#[from] isal::IsalError),
    /// From the Zstandard library.
    #[error("cannot compress a payload with zstd: {0}")]
    Zstd(#[from] std::io::Error),
    /// From the snappy library.
    #[error("cannot compress a payload with snappy: {0}")]
    Snappy(#[from] snap::Error),
    /// A step neither took nor gave anything.
    #[error("cannot compress a payload: the codec makes no progress")]
    Stuck,
}

/// Why a body was not decompressed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecompressError {
    /// The bytes are not one complete member or frame.
    #[error("cannot decompress a {codec} body: {what}")]
    Damaged {
        /// `gzip`, `zstd` or `snappy`.
        codec: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// It holds more than the caller has room for.
    #[error("cannot decompress a body into {bytes_max} bytes: it holds more")]
    TooLarge {
        /// The room.
        bytes_max: usize,
    },
}

impl DecompressError {
    fn gzip(what: impl ToString) -> DecompressError {
        DecompressError::Damaged {
            codec: "gzip",
            what: what.to_string(),
        }
    }

    fn zstd(what: impl ToString) -> DecompressError {
        DecompressError::Damaged {
            codec: "zstd",
            what: what.to_string(),
        }
    }

    fn snappy(what: impl ToString) -> DecompressError {
        DecompressError::Damaged {
            codec: "snappy",
            what: what.to_string(),
        }
    }
}

/// Compresses one payload after another. The codec's memory is taken at the first payload and kept.
pub struct Compressor {
    kind: Compression,
    codec: Codec,
    /// A payload was begun and not finished.
    open: bool,
}

enum Codec {
    /// Nothing to do, or nothing begun yet.
    None,
    Gzip(Compress),
    #[cfg(feature = "isal")]
    Isal(isal::IsalGzip),
    Zstd(Encoder<'static>),
    Snappy(Box<Snappy>),
}

/// The block format knows no streams: the payload is kept until it is whole.
struct Snappy {
    codec: snap::raw::Encoder,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor({:?})", self.kind)
    }
}

impl Compressor {
    /// A compressor of this kind; takes no memory yet.
    pub fn new(kind: Compression) -> Compressor {
        Compressor {
            kind,
            codec: Codec::None,
            open: false,
        }
    }

    /// Begins a payload; one that was not finished is forgotten.
    pub fn begin(&mut self) -> Result<(), CompressError> {
        if self.open {
            // zlib-rs 0.6.8 forgets on a reset to close the block that an unfinished level 1 stream has open, and then
            // writes a damaged member.
            self.codec = Codec::None;
        }
        self.open = true;
        match (&mut self.codec, self.kind) {
            (Codec::Gzip(codec), _) => codec.reset(),
            #[cfg(feature = "isal")]
            (Codec::Isal(codec), _) => codec.reset(),
            (Codec::Zstd(codec), _) => codec.reinit()?,
            (Codec::Snappy(snappy), _) => snappy.plain.clear(),
            (Codec::None, Compression::Snappy) => {
                let codec = snap::raw::Encoder::new();
                let plain = Vec::new();
                self.codec = Codec::Snappy(Box::new(Snappy { codec, plain }));
            }
            (Codec::None, Compression::None) => {}
            (Codec::None, Compression::Gzip(level)) => {
                self.codec = gzip_codec(level);
            }
            (Codec::None, Compression::Zstd(level)) => {
                let mut codec = Encoder::new(level)?;
                // Like a gzip member: damage on the way must not pass for content. Kept over `reinit`.
                codec.set_parameter(CParameter::ChecksumFlag(true))?;
                self.codec = Codec::Zstd(codec);
            }
        }
        Ok(())
    }

    /// Compresses the next bytes of the payload. What is appended to `out` lags behind by what the codec keeps back.
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
        match &mut self.codec {
            Codec::None => out.extend_from_slice(input),
            Codec::Snappy(snappy) => snappy.plain.extend_from_slice(input),
            Codec::Gzip(codec) => {
                let mut input = input;
                while !input.is_empty() {
                    let taken = gzip_step(codec, input, out, FlushCompress::None)?.0;
                    input = input.get(taken..).unwrap_or_default();
                }
            }
            #[cfg(feature = "isal")]
            Codec::Isal(codec) => codec.write(input, out)?,
            Codec::Zstd(codec) => {
                let mut input = InBuffer::around(input);
                while input.pos() < input.src.len() {
                    let before = (input.pos(), out.len());
                    out.reserve(STEP_BYTES);
                    let end = out.len();
                    codec.run(&mut input, &mut OutBuffer::around_pos(out, end))?;
                    if (input.pos(), out.len()) == before {
                        return Err(CompressError::Stuck);
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the payload: with what this appends it is complete.
    ///
    /// Each payload takes one `begin` and one `finish`.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), CompressError> {
        match &mut self.codec {
            Codec::None => {}
            Codec::Snappy(snappy) => snappy.finish(out)?,
            Codec::Gzip(codec) => {
                while gzip_step(codec, &[], out, FlushCompress::Finish)?.1 != Status::StreamEnd {}
            }
            #[cfg(feature = "isal")]
            Codec::Isal(codec) => codec.finish(out)?,
            Codec::Zstd(codec) => loop {
                out.reserve(STEP_BYTES);
                let end = out.len();
                let left = codec.finish(&mut OutBuffer::around_pos(out, end), true)?;
                if left == 0 {
                    break;
                }
                if out.len() == end {
                    return Err(CompressError::Stuck);
                }
            },
        }
        self.open = false;
        Ok(())
    }
}

impl Snappy {
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), snap::Error> {
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(self.plain.len()), 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let len = self.codec.compress(&self.plain, room)?;
        out.truncate(start + len);
        Ok(())
    }
}

fn gzip_codec(level: u32) -> Codec {
    #[cfg(feature = "isal")]
    if level == 1 {
        return Codec::Isal(isal::IsalGzip::new());
    }
    let level = flate2::Compression::new(level.min(9));
    Codec::Gzip(Compress::new_gzip(level, GZIP_WINDOW_BITS))
}

/// One step into fresh room: how much of `input` was taken, and what the codec says.
fn gzip_step(
    codec: &mut Compress,
    input: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<(usize, Status), CompressError> {
    out.reserve(STEP_BYTES);
    let before = (codec.total_in(), codec.total_out());
    let status = codec.compress_vec(input, out, flush)?;
    if (codec.total_in(), codec.total_out()) == before && status != Status::StreamEnd {
        return Err(CompressError::Stuck);
    }
    Ok(((codec.total_in() - before.0) as usize, status))
}

/// Appends what `body` holds to `out`, if that is at most `bytes_max` bytes and `body` is exactly one payload of a
/// [`Compressor`]; otherwise `out` is left as it was. Meant for own payloads that have to be cut; takes its codec's
/// memory anew each time.
pub fn decompress(
    kind: Compression,
    body: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), DecompressError> {
    let start = out.len();
    let done = match kind {
        Compression::None if body.len() <= bytes_max => {
            out.extend_from_slice(body);
            Ok(())
        }
        Compression::None => Err(DecompressError::TooLarge { bytes_max }),
        Compression::Gzip(_) => gunzip(body, out, bytes_max),
        Compression::Zstd(_) => unzstd(body, out, bytes_max),
        Compression::Snappy => unsnap(body, out, bytes_max),
    };
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Makes room for a step of decompression: one byte more than may be kept, so that too large a body shows itself.
fn make_room(out: &mut Vec<u8>, produced: usize, bytes_max: usize) -> Result<(), DecompressError> {
    if produced > bytes_max {
        return Err(DecompressError::TooLarge { bytes_max });
    }
    let left = (bytes_max - produced).saturating_add(1);
    out.reserve(left.min(STEP_BYTES));
    Ok(())
}

fn gunzip(body: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), DecompressError> {
    let mut codec = Decompress::new_gzip(GZIP_WINDOW_BITS);
    let start = out.len();
    loop {
        let produced = out.len() - start;
        make_room(out, produced, bytes_max)?;
        let taken = codec.total_in();
        let input = body.get(taken as usize..).unwrap_or_default();
        let status = codec
            .decompress_vec(input, out, FlushDecompress::None)
            .map_err(DecompressError::gzip)?;
        let ended = status == Status::StreamEnd;
        let moved = codec.total_in() > taken || out.len() - start > produced;
        match (ended, codec.total_in() == body.len() as u64) {
            _ if out.len() - start > bytes_max => {
                return Err(DecompressError::TooLarge { bytes_max });
            }
            (true, true) => return Ok(()),
            (true, false) => return Err(DecompressError::gzip("bytes behind its end")),
            (false, _) if !moved => return Err(DecompressError::gzip("its end is missing")),
            (false, _) => {}
        }
    }
}

fn unsnap(body: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), DecompressError> {
    if body.is_empty() {
        return Err(DecompressError::snappy("its length is missing"));
    }
    let len = snap::raw::decompress_len(body).map_err(DecompressError::snappy)?;
    if len > bytes_max {
        return Err(DecompressError::TooLarge { bytes_max });
    }
    let start = out.len();
    out.resize(start + len, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let decompressed = snap::raw::Decoder::new().decompress(body, room);
    decompressed.map_err(DecompressError::snappy)?;
    Ok(())
}

fn unzstd(body: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), DecompressError> {
    let mut codec = Decoder::new().map_err(DecompressError::zstd)?;
    codec
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_BITS_MAX))
        .map_err(DecompressError::zstd)?;
    let start = out.len();
    let mut input = InBuffer::around(body);
    loop {
        let produced = out.len() - start;
        make_room(out, produced, bytes_max)?;
        let before = input.pos();
        let end = out.len();
        let left = codec
            .run(&mut input, &mut OutBuffer::around_pos(out, end))
            .map_err(DecompressError::zstd)?;
        let moved = input.pos() > before || out.len() > end;
        match (left == 0 && moved, input.pos() == body.len()) {
            _ if out.len() - start > bytes_max => {
                return Err(DecompressError::TooLarge { bytes_max });
            }
            (true, true) => return Ok(()),
            (true, false) => return Err(DecompressError::zstd("bytes behind its end")),
            (false, _) if !moved => return Err(DecompressError::zstd("its end is missing")),
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
