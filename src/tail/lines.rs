//! Where lines begin and end in the bytes of a segment, whatever blocks the bytes come in.
//!
//! Invariant: the pieces of a segment, put together, are the segment: each byte is in exactly one piece. Which pieces
//! they are does not depend on how the bytes were cut into blocks, as long as each block holds the longest line that
//! is not to be cut.

/// A run of NULs at a line's start that is shorter than this belongs to the line.
///
/// Runs are what a file has whose writer went on at its old offset after a truncation, or whose last block a crash
/// left without data.
pub const HOLE_BYTES_MIN: usize = 64;

/// What the next byte of a segment belongs to. Kept per segment between blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// A new line.
    #[default]
    Nothing,
    /// A line whose beginning was taken as [`Piece::TooLong`].
    TooLong,
    /// A hole, as far as NULs go on.
    Hole,
}

/// What follows the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Perhaps more: a line without an end is left for later.
    More,
    /// No more bytes than these fit: a line without an end that fills them is longer than any may be.
    NoRoom,
    /// Nothing, ever: a line without an end is all that there will be of it.
    Nothing,
}

/// What some bytes of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole line, without its line end.
    Line(&'a [u8]),
    /// The beginning of a line that is longer than any may be.
    TooLong(&'a [u8]),
    /// A last line whose end will not come.
    Unfinished(&'a [u8]),
    /// More of a line that is too long, its line end included if it is there.
    Rest,
    /// NULs that nobody wrote.
    Hole,
}

/// Takes the first piece off `data`; gives it and its length in bytes, line end included. `None`: there is none
/// without more bytes.
///
/// With [`Behind::NoRoom`], `data` must be all that is there of the block from the first line's start on, or the line
/// would be cut too short: take what has an end with [`Behind::More`] first.
#[inline]
pub fn take<'a>(data: &'a [u8], within: &mut Within, behind: Behind) -> Option<(Piece<'a>, usize)> {
    let first = *data.first()?;
    if *within != Within::TooLong && first == 0 {
        let run = nul_run(data);
        if *within == Within::Hole || run >= HOLE_BYTES_MIN {
            *within = Within::Hole;
            return Some((Piece::Hole, run));
        }
        if run == data.len() && behind == Behind::More {
            // It may become a hole.
            return None;
        }
    }
    let Some(end) = memchr::memchr(b'\n', data) else {
        return unended(data, within, behind);
    };
    let line = data.get(..end).unwrap_or(data);
    let piece = match std::mem::take(within) {
        Within::TooLong => Piece::Rest,
        Within::Nothing | Within::Hole => Piece::Line(line),
    };
    Some((piece, end + 1))
}

/// Bytes without a line end.
#[cold]
fn unended<'a>(data: &'a [u8], within: &mut Within, behind: Behind) -> Option<(Piece<'a>, usize)> {
    let piece = match (*within, behind) {
        (Within::TooLong, _) => Piece::Rest,
        (_, Behind::More) => return None,
        (_, Behind::NoRoom) => {
            *within = Within::TooLong;
            Piece::TooLong(data)
        }
        (_, Behind::Nothing) => {
            *within = Within::Nothing;
            Piece::Unfinished(data)
        }
    };
    Some((piece, data.len()))
}

/// The length of the run of NULs at the beginning.
#[cold]
fn nul_run(data: &[u8]) -> usize {
    data.iter()
        .position(|byte| *byte != 0)
        .unwrap_or(data.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A piece that owns its bytes: kind, content, length.
    type Owned = (&'static str, Vec<u8>, usize);

    fn owned(piece: Piece<'_>, len: usize) -> Owned {
        match piece {
            Piece::Line(line) => ("line", line.to_vec(), len),
            Piece::TooLong(line) => ("too long", line.to_vec(), len),
            Piece::Unfinished(line) => ("unfinished", line.to_vec(), len),
            Piece::Rest => ("rest", Vec::new(), len),
            Piece::Hole => ("hole", Vec::new(), len),
        }
    }

    /// Reads as a reader does: the sizes of the reads repeat, and at most `room` bytes are held. Neighbouring pieces
    /// without content are one.
    fn pieces(file: &[u8], reads: &[usize], room: usize) -> Vec<Owned> {
        let mut pieces: Vec<Owned> = Vec::new();
        let mut within = Within::default();
        let (mut at, mut end) = (0, 0);
        let mut reads = reads.iter().cycle();
        loop {
            let wanted = (*reads.next().unwrap()).min(room - (end - at));
            end = (end + wanted).min(file.len());
            loop {
                let behind = match () {
                    () if end == file.len() => Behind::Nothing,
                    () if end - at == room => Behind::NoRoom,
                    () => Behind::More,
                };
                let Some((piece, len)) = take(&file[at..end], &mut within, behind) else {
                    break;
                };
                at += len;
                match (piece, pieces.last_mut()) {
                    (Piece::Rest, Some(("rest", _, before)))
                    | (Piece::Hole, Some(("hole", _, before))) => *before += len,
                    _ => pieces.push(owned(piece, len)),
                }
            }
            if at == file.len() {
                return pieces;
            }
        }
    }

    fn line(text: &str) -> Owned {
        ("line", text.as_bytes().to_vec(), text.len() + 1)
    }

    #[test]
    fn lines_end_in_line_ends_and_the_last_one_may_not() {
        let file = b"one\n\ntwo\r\nthree";
        let unfinished = ("unfinished", b"three".to_vec(), 5);
        let all = [line("one"), line(""), line("two\r"), unfinished];
        assert_eq!(pieces(file, &[100], 100), all);
        assert_eq!(take(b"three", &mut Within::Nothing, Behind::More), None);
        assert_eq!(take(b"", &mut Within::Nothing, Behind::Nothing), None);
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_is_taken() {
        let file = b"a\n0123456789abcdef\nb\n";
        let too_long = ("too long", b"01234567".to_vec(), 8);
        let all = [line("a"), too_long, ("rest", vec![], 9), line("b")];
        for read in [1, 3, 8] {
            assert_eq!(pieces(file, &[read], 8), all);
        }
        let endless = pieces(&[b'x'; 100], &[7], 8);
        assert_eq!(
            endless,
            [("too long", vec![b'x'; 8], 8), ("rest", vec![], 92)]
        );
    }

    #[test]
    fn a_run_of_nuls_is_a_hole_and_a_few_are_content() {
        let few = "\0".repeat(HOLE_BYTES_MIN - 1) + "x";
        let hole = "\0".repeat(1_000);
        let file = format!("{hole}a\n{few}\n{hole}");
        let nobody = ("hole", vec![], 1_000);
        let all = [nobody.clone(), line("a"), line(&few), nobody];
        for read in [1, 63, 64, 65, 500] {
            assert_eq!(pieces(file.as_bytes(), &[read], 500), all, "{read}");
        }
    }

    proptest! {
        /// However the bytes are read, the pieces are the same, and hold all bytes; and where no line is longer than
        /// the room and nothing is a hole, they are the lines.
        #[test]
        fn reads_change_nothing(
            file in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), any::<u8>()], 0..400),
            reads in prop::collection::vec(1..90_usize, 1..6),
            room in 64..200_usize,
        ) {
            let found = pieces(&file, &reads, room);
            prop_assert_eq!(&found, &pieces(&file, &[room], room));
            prop_assert_eq!(found.iter().map(|piece| piece.2).sum::<usize>(), file.len());
            let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
            if found.iter().all(|(kind, ..)| ["line", "unfinished"].contains(kind)) {
                prop_assert_eq!(found.len(), lines.len());
                for ((kind, content, len), line) in found.iter().zip(lines) {
                    prop_assert_eq!(*len, line.len());
                    let ended = line.strip_suffix(b"\n");
                    prop_assert_eq!(*kind, if ended.is_some() { "line" } else { "unfinished" });
                    prop_assert_eq!(content, ended.unwrap_or(line));
                }
            }
        }
    }
}
