//! How much of a file is whole members, frames or lines: found by decoding it in a stream, in bounded memory.

use std::io::{self, BufRead, Read};

use super::Framing;
use super::disk::DiskFile;

const BLOCK_BYTES: usize = 64 * 1024;

/// The largest zstd window that our levels (up to 19) ask for is 8 MiB; a frame that wants more than twice that is
/// not ours.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// What lies behind the whole part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    None,
    /// The beginning of something, or zeros: a write that a crash cut short.
    Torn,
    /// Bytes that no cut-short write leaves.
    Damaged,
}

/// How far a file is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Bytes of whole members, frames or lines from the start.
    pub(super) len: u64,
    /// What follows.
    pub(super) tail: Tail,
}

/// Finds how much of the first `len` bytes of a file is whole.
pub(super) fn whole(file: &dyn DiskFile, len: u64, framing: Framing) -> io::Result<Whole> {
    match framing {
        Framing::Lines => whole_lines(file, len),
        Framing::Gzip => whole_frames(file, len, |source| {
            drain(&mut flate2::bufread::GzDecoder::new(source))
        }),
        Framing::Zstd => whole_frames(file, len, |source| {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            drain(&mut decoder)
        }),
    }
}

fn drain(decoder: &mut dyn Read) -> io::Result<()> {
    let mut scratch = vec![0; BLOCK_BYTES];
    loop {
        match decoder.read(&mut scratch) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn whole_frames(
    file: &dyn DiskFile,
    len: u64,
    decode_one: impl Fn(&mut Source<'_>) -> io::Result<()>,
) -> io::Result<Whole> {
    let mut source = Source::new(file, len);
    let mut good = 0;
    loop {
        if source.at == len {
            return Ok(Whole {
                len: good,
                tail: Tail::None,
            });
        }
        let decoded = decode_one(&mut source);
        if let Some(error) = source.failed.take() {
            return Err(error);
        }
        let tail = match decoded {
            Ok(()) if source.at > good => {
                good = source.at;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Tail::Torn,
            Ok(()) | Err(_) if all_zero(file, good, len)? => Tail::Torn,
            Ok(()) | Err(_) => Tail::Damaged,
        };
        return Ok(Whole { len: good, tail });
    }
}

fn all_zero(file: &dyn DiskFile, from: u64, len: u64) -> io::Result<bool> {
    let mut source = Source::new(file, len);
    source.at = from;
    loop {
        let block = source.fill_buf()?;
        let count = block.len();
        if count == 0 {
            return Ok(true);
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        source.consume(count);
    }
}

/// Looks for the last LF from the end backwards.
fn whole_lines(file: &dyn DiskFile, len: u64) -> io::Result<Whole> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let wanted = usize::try_from(end - start).unwrap_or(BLOCK_BYTES);
        let part = block.get_mut(..wanted).unwrap_or_default();
        read_exact_at(file, part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            let good = start + at as u64 + 1;
            let tail = if good == len { Tail::None } else { Tail::Torn };
            return Ok(Whole { len: good, tail });
        }
        end = start;
    }
    let tail = if len == 0 { Tail::None } else { Tail::Torn };
    Ok(Whole { len: 0, tail })
}

fn read_exact_at(file: &dyn DiskFile, mut part: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !part.is_empty() {
        let count = file.read_at(part, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        part = part.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

/// The first `len` bytes of a file as a stream that knows how far it was consumed, and keeps a disk error apart
/// from a decoder's.
struct Source<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    at: u64,
    block: Vec<u8>,
    /// Where the unconsumed part of `block` begins; it ends at the block's end.
    next: usize,
    failed: Option<io::Error>,
}

impl<'a> Source<'a> {
    fn new(file: &'a dyn DiskFile, len: u64) -> Source<'a> {
        Source {
            file,
            len,
            at: 0,
            block: Vec::new(),
            next: 0,
            failed: None,
        }
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.next >= self.block.len() {
            let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
            self.block.resize(left.min(BLOCK_BYTES), 0);
            self.next = 0;
            let read = self.file.read_at(&mut self.block, self.at);
            self.block.truncate(*read.as_ref().unwrap_or(&0));
            if let Err(error) = read {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
        }
        Ok(self.block.get(self.next..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.next += count;
        self.at += count as u64;
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let block = self.fill_buf()?;
        let count = block.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), block.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn frame(framing: Framing, content: &[u8]) -> Vec<u8> {
        match framing {
            Framing::Lines => [content, b"\n"].concat(),
            Framing::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("encoder");
                encoder.include_checksum(true).expect("checksum");
                encoder.write_all(content).expect("memory");
                encoder.finish().expect("memory")
            }
            Framing::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(content).expect("memory");
                encoder.finish().expect("memory")
            }
        }
    }

    fn file_of(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(bytes).expect("write");
        file
    }

    fn whole_of(bytes: &[u8], framing: Framing) -> Whole {
        whole(&file_of(bytes), bytes.len() as u64, framing).expect("readable")
    }

    #[test]
    fn a_cut_anywhere_leaves_the_frames_before_it() {
        for framing in [Framing::Gzip, Framing::Zstd, Framing::Lines] {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for content in ["a", "", "third, a little longer longer longer", "d"] {
                bytes.extend(frame(framing, content.as_bytes()));
                ends.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                let good = *ends.iter().rfind(|end| **end <= cut).expect("0 is one");
                let tail = if good == cut { Tail::None } else { Tail::Torn };
                let len = good as u64;
                let found = whole_of(&bytes[..cut], framing);
                assert_eq!(found, Whole { len, tail }, "{framing:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn frames_larger_than_a_block_are_whole() {
        let mut noise = vec![0_u8; 5 * BLOCK_BYTES + 17];
        fastrand::Rng::with_seed(7).fill(&mut noise);
        noise.retain(|byte| *byte != b'\n');
        for framing in [Framing::Gzip, Framing::Zstd, Framing::Lines] {
            let one = frame(framing, &noise);
            let mut bytes = one.repeat(2);
            let len = bytes.len() as u64;
            let tail = Tail::None;
            assert_eq!(whole_of(&bytes, framing), Whole { len, tail });
            bytes.pop();
            let len = one.len() as u64;
            let tail = Tail::Torn;
            assert_eq!(whole_of(&bytes, framing), Whole { len, tail });
        }
    }

    #[test]
    fn zeros_behind_a_frame_are_torn_and_anything_else_is_damage() {
        for framing in [Framing::Gzip, Framing::Zstd] {
            let good = frame(framing, b"hello hello hello");
            let len = good.len() as u64;
            let zeros = [good.clone(), vec![0; 100]].concat();
            let tail = Tail::Torn;
            assert_eq!(whole_of(&zeros, framing), Whole { len, tail });
            let mut flipped = good.repeat(3);
            flipped[good.len() + good.len() / 2 + 4] ^= 0x55;
            let found = whole_of(&flipped, framing);
            assert_eq!(found.len, len, "{framing:?}");
            assert_eq!(found.tail, Tail::Damaged, "{framing:?}");
        }
    }
}
