//! Gzip segments to their content, a piece at a time.
//!
//! Invariant: how the input and the room for output are cut into pieces changes no byte; the memory is the state and
//! the 32 KiB window of deflate, whatever the input is; and content that differs from what was compressed never passes
//! for complete: each member's CRC and length are compared before it counts as ended.
//!
//! The format is RFC 1952: a file is any number of members, one behind the other, with nothing between or behind them.

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

const MAGIC_AND_METHOD: [u8; 3] = [0x1F, 0x8B, 8];
const START_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const HAS_HEADER_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;

/// What is wrong with a gzip file. Nothing more can be read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Corrupt {
    /// No member begins where one should.
    #[error("not gzip where a member should begin")]
    Start,
    /// The header says what no known gzip says, or is damaged.
    #[error("the gzip header is damaged or of an unknown kind")]
    Header,
    /// The compressed bytes make no sense.
    #[error("the compressed data is damaged")]
    Data,
    /// The content has another CRC than was compressed.
    #[error("the content does not match its checksum")]
    Checksum,
    /// The content has another length than was compressed.
    #[error("the content does not match its length")]
    Length,
}

/// What one [`Inflater::feed`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the front of the input.
    pub consumed: usize,
    /// Bytes written to the front of the output.
    pub produced: usize,
    /// All input so far is whole members, and their content has been handed out and checked. A file that ends while
    /// this is false is truncated. More input may follow, and begins another member.
    pub ended: bool,
}

/// What is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    ExtraLen,
    Extra { left: u16 },
    Name,
    Comment,
    HeaderCrc,
    Body,
    Trailer,
    Failed(Corrupt),
}

/// The state between two pieces of one gzip file.
#[derive(Debug)]
pub struct Inflater {
    stage: Stage,
    /// The bytes at hand of a field of fixed size.
    field: [u8; START_BYTES],
    field_len: usize,
    /// The parts of the header that are still to come.
    flags: u8,
    header_crc: Hasher,
    body: Decompress,
    crc: Hasher,
    /// Content of this member, in bytes, modulo 2^32 as the trailer has it.
    len: u32,
    /// At least one member was whole.
    any: bool,
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater::new()
    }
}

impl Inflater {
    /// The state before the first byte of a file.
    pub fn new() -> Inflater {
        Inflater {
            stage: Stage::Start,
            field: [0; START_BYTES],
            field_len: 0,
            flags: 0,
            header_crc: Hasher::new(),
            body: Decompress::new(false),
            crc: Hasher::new(),
            len: 0,
            any: false,
        }
    }

    /// Takes as much of `input` as there is room for in `output`. Content may be kept back while the output is full:
    /// after a call that filled it, call again, also when no input is left. What comes before damage is handed out by a
    /// call of its own, which leaves some of the input; after an error every call gives the same.
    pub fn feed(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Corrupt> {
        let mut progress = Progress::default();
        loop {
            let stage = self.stage;
            let input = input.get(progress.consumed..).unwrap_or_default();
            let room = output.get_mut(progress.produced..).unwrap_or_default();
            let step = if stage == Stage::Body {
                self.inflate(input, room)
            } else {
                self.frame(input).map(|consumed| (consumed, 0))
            };
            let (consumed, produced) = match step {
                Ok(step) => step,
                Err(why) => {
                    self.stage = Stage::Failed(why);
                    if progress == Progress::default() {
                        return Err(why);
                    }
                    // What came before the damage is handed out; the next call says what is wrong.
                    break;
                }
            };
            progress.consumed += consumed;
            progress.produced += produced;
            if (consumed, produced) == (0, 0) && self.stage == stage {
                break;
            }
        }
        progress.ended = self.any && self.stage == Stage::Start && self.field_len == 0;
        Ok(progress)
    }

    /// One step in the compressed data.
    fn inflate(&mut self, input: &[u8], room: &mut [u8]) -> Result<(usize, usize), Corrupt> {
        let before = (self.body.total_in(), self.body.total_out());
        let status = self.body.decompress(input, room, FlushDecompress::None);
        let consumed = (self.body.total_in() - before.0) as usize;
        let produced = (self.body.total_out() - before.1) as usize;
        self.crc.update(room.get(..produced).unwrap_or_default());
        self.len = self.len.wrapping_add(produced as u32);
        match status {
            Ok(Status::StreamEnd) => self.stage = Stage::Trailer,
            Ok(_) => {}
            Err(_) if produced > 0 => {
                self.stage = Stage::Failed(Corrupt::Data);
                return Ok((0, produced));
            }
            Err(_) => return Err(Corrupt::Data),
        }
        Ok((consumed, produced))
    }

    /// One step in what stands around the compressed data. Returns how much of the input it took.
    fn frame(&mut self, input: &[u8]) -> Result<usize, Corrupt> {
        match self.stage {
            Stage::Start => self.fixed(input, START_BYTES, Inflater::start),
            Stage::ExtraLen => self.fixed(input, 2, Inflater::extra_len),
            Stage::Extra { left } => Ok(self.extra(input, left)),
            Stage::Name | Stage::Comment => Ok(self.text(input)),
            Stage::HeaderCrc => self.fixed(input, 2, Inflater::check_header),
            Stage::Trailer => self.fixed(input, TRAILER_BYTES, Inflater::check_content),
            Stage::Body => Ok(0),
            Stage::Failed(why) => Err(why),
        }
    }

    /// Gathers a field of fixed size and, once it is whole, acts on it.
    fn fixed(
        &mut self,
        input: &[u8],
        len: usize,
        act: fn(&mut Inflater) -> Result<(), Corrupt>,
    ) -> Result<usize, Corrupt> {
        let places = self.field.get_mut(self.field_len..len).unwrap_or_default();
        let taken = places.len().min(input.len());
        for (place, byte) in places.iter_mut().zip(input) {
            *place = *byte;
        }
        self.field_len += taken;
        if self.field_len == len {
            self.field_len = 0;
            act(self)?;
        }
        Ok(taken)
    }

    fn start(&mut self) -> Result<(), Corrupt> {
        if !self.field.starts_with(&MAGIC_AND_METHOD) {
            return Err(Corrupt::Start);
        }
        let [_, _, _, flags, ..] = self.field;
        if flags & RESERVED != 0 {
            return Err(Corrupt::Header);
        }
        self.flags = flags;
        self.header_crc = Hasher::new();
        self.header_crc.update(&self.field);
        self.body.reset(false);
        self.crc = Hasher::new();
        self.len = 0;
        self.stage = self.next_part();
        Ok(())
    }

    /// The next part of the header that the flags announce, or the body.
    fn next_part(&mut self) -> Stage {
        let parts = [
            (HAS_EXTRA, Stage::ExtraLen),
            (HAS_NAME, Stage::Name),
            (HAS_COMMENT, Stage::Comment),
            (HAS_HEADER_CRC, Stage::HeaderCrc),
        ];
        match parts.into_iter().find(|(flag, _)| self.flags & flag != 0) {
            Some((flag, stage)) => {
                self.flags &= !flag;
                stage
            }
            None => Stage::Body,
        }
    }

    fn extra_len(&mut self) -> Result<(), Corrupt> {
        let [low, high, ..] = self.field;
        self.header_crc.update(&[low, high]);
        self.stage = Stage::Extra {
            left: u16::from_le_bytes([low, high]),
        };
        Ok(())
    }

    fn extra(&mut self, input: &[u8], left: u16) -> usize {
        let part = input.get(..usize::from(left)).unwrap_or(input);
        self.header_crc.update(part);
        self.stage = match usize::from(left) - part.len() {
            0 => self.next_part(),
            left => Stage::Extra { left: left as u16 },
        };
        part.len()
    }

    /// A text that ends in a zero byte.
    fn text(&mut self, input: &[u8]) -> usize {
        let end = memchr::memchr(0, input);
        let part = end.and_then(|end| input.get(..=end)).unwrap_or(input);
        self.header_crc.update(part);
        if end.is_some() {
            self.stage = self.next_part();
        }
        part.len()
    }

    fn check_header(&mut self) -> Result<(), Corrupt> {
        let [low, high, ..] = self.field;
        let crc = self.header_crc.clone().finalize() as u16;
        self.stage = self.next_part();
        if u16::from_le_bytes([low, high]) == crc {
            Ok(())
        } else {
            Err(Corrupt::Header)
        }
    }

    fn check_content(&mut self) -> Result<(), Corrupt> {
        let [a, b, c, d, e, f, g, h, ..] = self.field;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.clone().finalize() {
            return Err(Corrupt::Checksum);
        }
        if u32::from_le_bytes([e, f, g, h]) != self.len {
            return Err(Corrupt::Length);
        }
        self.any = true;
        self.stage = Stage::Start;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::write::DeflateEncoder;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    /// A member with the given optional parts.
    #[derive(Clone, Debug)]
    struct Parts {
        extra: Option<Vec<u8>>,
        name: Option<Vec<u8>>,
        comment: Option<Vec<u8>>,
        header_crc: bool,
        content: Vec<u8>,
        level: u32,
    }

    impl Parts {
        fn plain(content: &[u8]) -> Parts {
            Parts {
                extra: None,
                name: None,
                comment: None,
                header_crc: false,
                content: content.to_vec(),
                level: 6,
            }
        }

        fn member(&self) -> Vec<u8> {
            let flag = |there: bool, flag: u8| if there { flag } else { 0 };
            let flags = flag(self.header_crc, 2)
                | flag(self.extra.is_some(), 4)
                | flag(self.name.is_some(), 8)
                | flag(self.comment.is_some(), 16);
            let mut bytes = vec![0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 0, 255];
            if let Some(extra) = &self.extra {
                bytes.extend((extra.len() as u16).to_le_bytes());
                bytes.extend(extra);
            }
            for text in [&self.name, &self.comment].into_iter().flatten() {
                bytes.extend(text);
                bytes.push(0);
            }
            if self.header_crc {
                bytes.extend((crc32fast::hash(&bytes) as u16).to_le_bytes());
            }
            let mut encoder = DeflateEncoder::new(bytes, Compression::new(self.level));
            encoder.write_all(&self.content).unwrap();
            let mut bytes = encoder.finish().unwrap();
            bytes.extend(crc32fast::hash(&self.content).to_le_bytes());
            bytes.extend((self.content.len() as u32).to_le_bytes());
            bytes
        }
    }

    /// Feeds `file` in pieces and rooms of the given sizes (repeated), as a reader does: until the input is used up and
    /// a call does not fill its room.
    fn inflate(file: &[u8], pieces: &[usize], rooms: &[usize]) -> (Vec<u8>, Result<bool, Corrupt>) {
        let mut inflater = Inflater::new();
        let mut content = Vec::new();
        let mut pieces = pieces.iter().cycle();
        let mut rooms = rooms.iter().cycle();
        let (mut at, mut end) = (0, 0);
        loop {
            if at == end {
                end = (end + pieces.next().unwrap()).min(file.len());
            }
            let mut room = vec![0; *rooms.next().unwrap()];
            let progress = match inflater.feed(&file[at..end], &mut room) {
                Ok(progress) => progress,
                Err(why) => {
                    let again = inflater.feed(b"", &mut room);
                    assert_eq!(again, Err(why), "an error stays");
                    return (content, Err(why));
                }
            };
            at += progress.consumed;
            content.extend(&room[..progress.produced]);
            if at == file.len() && progress.produced < room.len() {
                return (content, Ok(progress.ended));
            }
        }
    }

    fn inflate_whole(file: &[u8]) -> (Vec<u8>, Result<bool, Corrupt>) {
        inflate(file, &[file.len().max(1)], &[4096])
    }

    #[test]
    fn reads_what_the_usual_tools_write() {
        let content = b"line one\nline two\n".repeat(9000);
        let mut encoder = GzBuilder::new()
            .filename("0.log")
            .comment("rotated")
            .extra("xx")
            .write(Vec::new(), Compression::default());
        encoder.write_all(&content).unwrap();
        let file = encoder.finish().unwrap();
        assert!(inflate_whole(&file) == (content, Ok(true)));
    }

    #[test]
    fn nothing_is_truncated_and_an_empty_member_is_whole() {
        assert_eq!(inflate_whole(b""), (vec![], Ok(false)));
        let member = Parts::plain(b"").member();
        assert_eq!(inflate_whole(&member), (vec![], Ok(true)));
    }

    #[test]
    fn damage_has_its_name() {
        let member = Parts {
            header_crc: true,
            ..Parts::plain(b"content")
        }
        .member();
        let with = |at: usize, byte: u8| {
            let mut member = member.clone();
            member[at] ^= byte;
            inflate_whole(&member).1
        };
        let end = member.len();
        assert_eq!(with(0, 1), Err(Corrupt::Start));
        assert_eq!(with(2, 1), Err(Corrupt::Start));
        assert_eq!(with(3, 0x80), Err(Corrupt::Header));
        assert_eq!(with(5, 1), Err(Corrupt::Header));
        assert_eq!(with(12, 6), Err(Corrupt::Data));
        assert_eq!(with(end - 8, 1), Err(Corrupt::Checksum));
        assert_eq!(with(end - 1, 1), Err(Corrupt::Length));
        let garbage = [&member[..], &[0; 10]].concat();
        assert_eq!(inflate_whole(&garbage).1, Err(Corrupt::Start));
    }

    #[test]
    fn what_comes_before_damage_is_handed_out() {
        let content = b"line\n".repeat(60);
        let member = Parts::plain(&content).member();
        let garbage = [&member[..], &[0; 10]].concat();
        assert_eq!(
            inflate_whole(&garbage),
            (content.clone(), Err(Corrupt::Start))
        );
        let mut changed = member.clone();
        changed[member.len() - 8] ^= 1;
        assert_eq!(
            inflate_whole(&changed),
            (content.clone(), Err(Corrupt::Checksum))
        );
        // One stored block that is not the last, and then a block of the kind that does not exist (RFC 1951, 3.2.3).
        let len = content.len() as u16;
        let (len, inverse) = (len.to_le_bytes(), (!len).to_le_bytes());
        let start = &member[..START_BYTES];
        let broken = [start, &[0], &len, &inverse, &content, &[7, 0, 0]].concat();
        assert_eq!(inflate_whole(&broken), (content, Err(Corrupt::Data)));
    }

    #[test]
    fn a_small_file_of_much_content_fills_no_more_than_its_room() {
        let member = Parts::plain(&vec![0; 16 << 20]).member();
        let mut inflater = Inflater::new();
        let mut room = [1; 1000];
        let progress = inflater.feed(&member, &mut room).unwrap();
        assert_eq!(progress.produced, room.len());
        assert!(!progress.ended);
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let text = || prop::option::of(prop::collection::vec(1..=255_u8, 0..20));
        let content = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            ("[a-z]{1,20}", 0..4000_usize)
                .prop_map(|(word, times)| word.repeat(times).into_bytes()),
        ];
        let extra = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        (extra, text(), text(), any::<bool>(), content, 0..=9_u32).prop_map(
            |(extra, name, comment, header_crc, content, level)| Parts {
                extra,
                name,
                comment,
                header_crc,
                content,
                level,
            },
        )
    }

    fn file_of(members: &[Parts]) -> (Vec<u8>, Vec<u8>) {
        let file = members.iter().flat_map(Parts::member).collect();
        let content = members
            .iter()
            .flat_map(|parts| parts.content.clone())
            .collect();
        (file, content)
    }

    proptest! {
        /// However input and output are cut into pieces, the content of all members comes out whole.
        #[test]
        fn pieces_change_nothing(
            members in prop::collection::vec(parts(), 1..4),
            pieces in prop::collection::vec(1..600_usize, 1..5),
            rooms in prop::collection::vec(1..600_usize, 1..5),
        ) {
            let (file, content) = file_of(&members);
            let mut reference = Vec::new();
            flate2::bufread::MultiGzDecoder::new(&file[..]).read_to_end(&mut reference).unwrap();
            prop_assert!(reference == content);
            prop_assert!(inflate(&file, &pieces, &rooms) == (content, Ok(true)));
        }

        /// A file that stops anywhere but behind a member is seen to be truncated, and what came before is right.
        #[test]
        fn a_missing_end_is_seen(members in prop::collection::vec(parts(), 1..3), at: prop::sample::Index) {
            let (file, content) = file_of(&members);
            let cut = at.index(file.len());
            let boundary = members[0].member().len();
            let (found, ended) = inflate_whole(&file[..cut]);
            prop_assert!(content.starts_with(&found));
            prop_assert_eq!(ended, Ok(cut == boundary));
        }

        /// A changed byte is reported, or makes the file look truncated, or did not matter: other content never passes
        /// for whole.
        #[test]
        fn a_changed_byte_never_passes(
            members in prop::collection::vec(parts(), 1..3),
            at: prop::sample::Index,
            change in 1..=255_u8,
        ) {
            let (mut file, content) = file_of(&members);
            let at = at.index(file.len());
            file[at] ^= change;
            let (found, ended) = inflate_whole(&file);
            prop_assert!(ended != Ok(true) || found == content);
        }

        /// Bytes that are no gzip end in an error or as truncated, and not in a panic.
        #[test]
        fn any_bytes_are_taken(mut file in prop::collection::vec(any::<u8>(), 0..300), flags: u8) {
            file.splice(..0, [0x1F, 0x8B, 8, flags & 0x1F]);
            let (_, ended) = inflate_whole(&file);
            prop_assert!(ended != Ok(true));
        }
    }
}
