//! The first bytes of a file: what identifies its content, and what orders it. Reads at most
//! [`Identity::BYTES_MAX`] decompressed bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::{Decompress, FlushDecompress, Status};
use xxhash_rust::xxh3::xxh3_64;

use super::chain::Identity;
use crate::files::FileHandle;

/// The beginning of a file's decompressed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// At most [`Identity::BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// `None` while there is neither a line end nor enough bytes. Always there for a gzip, which is complete.
    pub identity: Option<Identity>,
    /// The runtime's timestamp of the first line, in nanoseconds since 1970.
    pub stamp_ns: Option<i64>,
    /// Decompressed length by the trailer of a gzip, modulo 2^32.
    pub gzip_len: Option<u32>,
}

/// Hash and length of the beginning of content that has no identity yet, so that it is known again when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// How many bytes.
    pub len: usize,
    hash: u64,
}

impl Prefix {
    /// Of all of `bytes`.
    pub fn of(bytes: &[u8]) -> Prefix {
        Prefix {
            len: bytes.len(),
            hash: xxh3_64(bytes),
        }
    }

    /// The identity of content that ended here without a line end, see [`Identity::of_ended`].
    pub fn ended(self) -> Identity {
        Identity(self.hash)
    }

    /// Whether content that begins with `bytes` begins with this.
    pub fn begins(self, bytes: &[u8]) -> bool {
        bytes
            .get(..self.len)
            .is_some_and(|start| xxh3_64(start) == self.hash)
    }
}

/// Why a head could not be had.
#[derive(Debug)]
pub enum Unreadable {
    /// The file system said no: try again later.
    Failed(io::Error),
    /// It is not a gzip, or a broken or unfinished one.
    Damaged,
}

/// Reads heads. One inflater serves all files: to make one for each costs more than the reading, and leaves holes in
/// the heap that nothing else fits into.
#[derive(Debug, Default)]
pub struct Heads {
    inflater: Option<Decompress>,
}

impl Heads {
    /// Reads the head of an open file whose length is `len_bytes`.
    pub fn read(
        &mut self,
        handle: &dyn FileHandle,
        gzip: bool,
        len_bytes: u64,
    ) -> Result<Head, Unreadable> {
        if gzip {
            return self.read_gzip(handle, len_bytes);
        }
        let mut bytes = Vec::new();
        At { handle, offset: 0 }
            .take(Identity::BYTES_MAX as u64)
            .read_to_end(&mut bytes)
            .map_err(Unreadable::Failed)?;
        Ok(Head {
            identity: Identity::of(&bytes),
            stamp_ns: stamp(&bytes),
            bytes,
            gzip_len: None,
        })
    }

    fn read_gzip(&mut self, handle: &dyn FileHandle, len_bytes: u64) -> Result<Head, Unreadable> {
        /// Header, an empty deflate block, and the trailer.
        const GZIP_BYTES_MIN: u64 = 18;
        if len_bytes < GZIP_BYTES_MIN {
            return Err(Unreadable::Damaged);
        }
        let mut trailer = [0; 4];
        let mut end = At {
            handle,
            offset: len_bytes - 4,
        };
        end.read_exact(&mut trailer).map_err(judge)?;
        let mut packed = BufReader::with_capacity(4_096, At { handle, offset: 0 });
        let bytes = self.unpack(&mut packed).map_err(judge)?;
        Ok(Head {
            identity: Some(Identity::of_ended(&bytes)),
            stamp_ns: stamp(&bytes),
            bytes,
            gzip_len: Some(u32::from_le_bytes(trailer)),
        })
    }

    /// The first bytes of a gzip member, RFC 1952; all of it only if its checksum and length are right.
    fn unpack(&mut self, packed: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        skip_header(packed)?;
        let inflater = self.inflater.get_or_insert_with(|| Decompress::new(false));
        inflater.reset(false);
        let mut bytes = vec![0; Identity::BYTES_MAX];
        let mut len = 0;
        loop {
            let input = packed.fill_buf()?;
            let room = bytes.get_mut(len..).unwrap_or_default();
            let before = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress(input, room, FlushDecompress::None)
                .map_err(|_| damaged())?;
            let taken = (inflater.total_in() - before.0) as usize;
            let given = (inflater.total_out() - before.1) as usize;
            packed.consume(taken);
            len += given;
            if status == Status::StreamEnd {
                break;
            }
            if len == bytes.len() {
                return Ok(bytes);
            }
            if (taken, given) == (0, 0) {
                return Err(damaged());
            }
        }
        bytes.truncate(len);
        let mut trailer = [0; 8];
        packed.read_exact(&mut trailer)?;
        let right = crc32fast::hash(&bytes).to_le_bytes().into_iter();
        let right = right.chain((len as u32).to_le_bytes());
        if right.eq(trailer) {
            Ok(bytes)
        } else {
            Err(damaged())
        }
    }
}

/// Reads a gzip header to its end, RFC 1952 section 2.3.
fn skip_header(packed: &mut impl BufRead) -> io::Result<()> {
    const EXTRA: u8 = 1 << 2;
    const TEXTS: [u8; 2] = [1 << 3, 1 << 4];
    const CHECKSUM: u8 = 1 << 1;
    const RESERVED: u8 = 0b1110_0000;
    /// A file name or a comment that is longer is none.
    const TEXT_BYTES_MAX: u64 = 65_536;
    let mut header = [0; 10];
    packed.read_exact(&mut header)?;
    let [0x1f, 0x8b, 8, flags, ..] = header else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if flags & RESERVED != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let skip = |packed: &mut dyn BufRead, count: u64| {
        io::copy(&mut packed.take(count), &mut io::sink()).map(|_| ())
    };
    if flags & EXTRA != 0 {
        let mut len = [0; 2];
        packed.read_exact(&mut len)?;
        skip(packed, u16::from_le_bytes(len).into())?;
    }
    for text in TEXTS {
        if flags & text != 0 {
            packed.by_ref().take(TEXT_BYTES_MAX).skip_until(0)?;
        }
    }
    if flags & CHECKSUM != 0 {
        skip(packed, 2)?;
    }
    Ok(())
}

impl Head {
    /// Whether this is how content of that identity begins; a short head may be all of what ended.
    pub fn is(&self, identity: Identity) -> bool {
        self.identity
            .unwrap_or_else(|| Identity::of_ended(&self.bytes))
            == identity
    }

    /// What to know the content by while it has no identity.
    pub fn prefix(&self) -> Prefix {
        Prefix::of(&self.bytes)
    }
}

/// An error that the operating system raised is a failure; any other comes from the decoder.
fn judge(error: io::Error) -> Unreadable {
    if error.raw_os_error().is_some() {
        Unreadable::Failed(error)
    } else {
        Unreadable::Damaged
    }
}

struct At<'a> {
    handle: &'a dyn FileHandle,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.handle.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The timestamp of the first line: CRI's first word, or docker's `"time":"..."`.
fn stamp(head: &[u8]) -> Option<i64> {
    let line = match memchr::memchr(b'\n', head) {
        Some(end) => head.get(..end)?,
        None => head,
    };
    let text = if line.first() == Some(&b'{') {
        const KEY: &[u8] = b"\"time\":\"";
        let at = memchr::memmem::rfind(line, KEY)? + KEY.len();
        line.get(at..)?.split(|byte| *byte == b'"').next()?
    } else {
        line.split(|byte| *byte == b' ').next()?
    };
    rfc3339_ns(std::str::from_utf8(text).ok()?)
}

/// RFC 3339 to nanoseconds since 1970, good enough to order files: fields are range-checked only as far as needed
/// to stay within `i64`.
fn rfc3339_ns(text: &str) -> Option<i64> {
    let field = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok()).flatten()
    };
    let mark = |at: usize| text.as_bytes().get(at).copied();
    if (mark(4), mark(7), mark(10), mark(13), mark(16))
        != (Some(b'-'), Some(b'-'), Some(b'T'), Some(b':'), Some(b':'))
    {
        return None;
    }
    let seconds = days(field(0, 4)?, field(5, 7)?, field(8, 10)?) * 86_400
        + field(11, 13)? * 3_600
        + field(14, 16)? * 60
        + field(17, 19)?;
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("", rest),
    };
    let nanos = (0..9).fold(0, |sum, at| {
        sum * 10 + i64::from(fraction.as_bytes().get(at).map_or(0, |digit| digit - b'0'))
    });
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digits = [h1, h2, m1, m2];
            if !digits.iter().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            let [h1, h2, m1, m2] = digits.map(|digit| i64::from(digit - b'0'));
            let seconds = (h1 * 10 + h2) * 3_600 + (m1 * 10 + m2) * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    (seconds - offset)
        .checked_mul(1_000_000_000)?
        .checked_add(nanos)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years are counted from March, so that the leap day
/// is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_both_formats_are_read() {
        let cri = b"2024-02-29T12:00:00.5Z stdout F hello\nx";
        let docker =
            br#"{"log":"hello\n","stream":"stdout","time":"2024-02-29T12:00:00.500000000Z"}"#;
        assert_eq!(stamp(cri), Some(1_709_208_000_500_000_000));
        assert_eq!(stamp(docker), stamp(cri));
        assert_eq!(
            stamp(b"2024-02-29T14:30:00.5+02:30 stdout F x\n"),
            stamp(cri)
        );
        assert_eq!(stamp(b"1970-01-01T00:00:00Z "), Some(0));
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for head in [
            &b""[..],
            b"\n",
            b"hello world\n",
            b"2024-02-29T12:00:00 x\n",
            b"{\n",
            b"{\"time\":\"\n",
            b"2024-02-29T12:00:00+1:00 x\n",
            b"\xff\xfe",
            b"2024-02-29T12:00:0\xff ",
            b"9999-99-99T99:99:99.999999999999-99:99 x\n",
        ] {
            let _no_panic = stamp(head);
        }
        assert_eq!(stamp(b"hello world\n"), None);
        assert_eq!(stamp(b"2024-02-29T12:00:00 x\n"), None);
    }

    struct Bytes(Vec<u8>);

    impl FileHandle for Bytes {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn meta(&self) -> io::Result<crate::files::Meta> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn drop_cache(&self) {}
    }

    fn gzipped(content: &[u8], builder: flate2::GzBuilder) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn one_reader_reads_gzips_of_all_kinds_one_after_the_other() {
        let mut heads = Heads::default();
        let long: Vec<u8> = (0..9_000_u32)
            .flat_map(|n| n.to_string().into_bytes())
            .collect();
        for content in [
            &b""[..],
            b"one line\n",
            &long[..1_024],
            &long[..1_025],
            &long,
        ] {
            for builder in [
                flate2::GzBuilder::new(),
                flate2::GzBuilder::new()
                    .filename("n.log")
                    .comment("c")
                    .extra(vec![7; 5_000]),
            ] {
                let packed = gzipped(content, builder);
                let handle = Bytes(packed.clone());
                let head = heads.read(&handle, true, packed.len() as u64).unwrap();
                assert_eq!(
                    head.bytes,
                    &content[..content.len().min(Identity::BYTES_MAX)]
                );
                assert_eq!(head.gzip_len, Some(content.len() as u32));
            }
        }
    }

    #[test]
    fn a_damaged_or_unfinished_gzip_is_told_from_a_good_one() {
        let mut heads = Heads::default();
        let good = gzipped(
            b"2024-02-29T12:00:00Z stdout F x\n",
            flate2::GzBuilder::new(),
        );
        for len in 0..good.len() {
            let short = good[..len].to_vec();
            let read = heads.read(&Bytes(short), true, len as u64);
            assert!(
                matches!(read, Err(Unreadable::Damaged)),
                "cut to {len} bytes"
            );
        }
        // Method, flags, content, checksum, length. Time, extra flags and system say nothing of the content.
        for at in (0..4).chain(10..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x21;
            let read = heads.read(&Bytes(bad), true, good.len() as u64);
            assert!(
                matches!(read, Err(Unreadable::Damaged)),
                "byte {at} changed"
            );
        }
        assert!(
            heads
                .read(&Bytes(good.clone()), true, good.len() as u64)
                .is_ok()
        );
    }

    #[test]
    fn a_prefix_knows_what_it_begins() {
        let prefix = Prefix::of(b"half a li");
        assert_eq!(prefix.ended(), Identity::of_ended(b"half a li"));
        assert!(prefix.begins(b"half a line\n"));
        assert!(!prefix.begins(b"half a"));
        assert!(!prefix.begins(b"half a LInE\n"));
    }
}
