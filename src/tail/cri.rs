//! Lines in the format of the Kubernetes Container Runtime Interface, taken apart by position.
//!
//! `TIME SP stdout|stderr SP TAG[:TAG...] SP CONTENT`, as the kubelet's CRI logging design and its
//! parser have it; the first tag is `F` (the record is complete) or `P` (more parts follow). Only
//! the first tag has a meaning.

use super::line::Line;
use super::time;
use crate::record::Stream;

/// More bytes of tags than this are no tags.
const TAGS_BYTES_MAX: usize = 128;

/// Takes one line apart (`line` is without its LF). `None`: not a CRI line.
///
/// The content is what the container wrote, byte for byte; it may be empty, and a line may end
/// right behind its tags.
#[inline]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = time::take(line)?;
    let (stream, rest) = rest.split_first_chunk::<8>()?;
    let stream = match stream {
        b" stdout " => Stream::Stdout,
        b" stderr " => Stream::Stderr,
        _ => return None,
    };
    let (tag, rest) = rest.split_first()?;
    let partial = match tag {
        b'F' => false,
        b'P' => true,
        _ => return None,
    };
    let content = match rest.split_first() {
        Some((b' ', content)) => content,
        None => rest,
        Some((b':', tags)) => behind_tags(tags)?,
        Some(_) => return None,
    };
    Some(Line {
        time,
        stream,
        partial,
        content,
    })
}

/// The content behind further tags.
#[cold]
fn behind_tags(tags: &[u8]) -> Option<&[u8]> {
    let head = tags.get(..TAGS_BYTES_MAX).unwrap_or(tags);
    match memchr::memchr(b' ', head) {
        Some(end) => tags.get(end + 1..),
        None if head.len() == tags.len() => Some(&[]),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Time, stream, whether partial, content.
    fn parts(line: &[u8]) -> Option<(String, Stream, bool, Vec<u8>)> {
        let line = parse(line)?;
        let time = String::from_utf8(line.time.as_bytes().to_vec()).unwrap();
        Some((time, line.stream, line.partial, line.content.to_vec()))
    }

    fn full(time: &str, stream: Stream, content: &[u8]) -> Option<(String, Stream, bool, Vec<u8>)> {
        Some((time.to_owned(), stream, false, content.to_vec()))
    }

    const TIME: &str = "2024-05-06T07:08:09.123456789Z";

    fn line(rest: &[u8]) -> Vec<u8> {
        [TIME.as_bytes(), rest].concat()
    }

    #[test]
    fn a_line_is_taken_apart() {
        let parsed = parts(&line(b" stdout F hello world"));
        assert_eq!(parsed, full(TIME, Stream::Stdout, b"hello world"));
        let parsed = parts(&line(b" stderr F  two spaces"));
        assert_eq!(parsed, full(TIME, Stream::Stderr, b" two spaces"));
    }

    #[test]
    fn trailing_zeros_cut_off_the_fraction_change_nothing() {
        for time in [
            "2024-05-06T07:08:09.6476865Z",
            "2024-05-06T07:08:09.5Z",
            "2024-05-06T07:08:09Z",
        ] {
            let parsed = parts(format!("{time} stdout F x").as_bytes());
            assert_eq!(parsed, full(time, Stream::Stdout, b"x"));
        }
    }

    #[test]
    fn an_empty_record_is_a_line_with_or_without_its_last_space() {
        assert_eq!(parts(&line(b" stdout F ")), full(TIME, Stream::Stdout, b""));
        assert_eq!(parts(&line(b" stdout F")), full(TIME, Stream::Stdout, b""));
        assert!(parts(&line(b" stdout P")).unwrap().2);
    }

    #[test]
    fn a_long_record_comes_in_parts_of_16_kib_even_in_the_middle_of_a_character() {
        let record = format!("x{}", "a\u{20ac}".repeat(5_000)).into_bytes();
        let (head, tail) = record.split_at(16_384);
        assert!(std::str::from_utf8(head).is_err());
        let first = parts(&line(&[b" stdout P ", head].concat())).unwrap();
        let second = parts(&line(&[b" stdout F ", tail].concat())).unwrap();
        assert!(first.2 && !second.2);
        assert_eq!([first.3, second.3].concat(), record);
    }

    #[test]
    fn a_short_record_is_cut_too_when_the_log_is_opened_anew() {
        let last_of_old = parts(&line(b" stdout P out 00110085 abc")).unwrap();
        let first_of_new = parts(&line(b" stdout F def")).unwrap();
        assert!(last_of_old.2 && !first_of_new.2);
        assert_eq!(
            [last_of_old.3, first_of_new.3].concat(),
            b"out 00110085 abcdef"
        );
    }

    #[test]
    fn streams_interleave_between_the_parts_of_a_record() {
        let lines: [&[u8]; 4] = [
            b" stdout P one-",
            b" stderr P two-",
            b" stdout F one",
            b" stderr F two",
        ];
        let seen: Vec<(Stream, bool)> = lines
            .iter()
            .map(|rest| parts(&line(rest)).map(|(_, stream, partial, _)| (stream, partial)))
            .map(Option::unwrap)
            .collect();
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(seen, [(out, true), (err, true), (out, false), (err, false)]);
    }

    #[test]
    fn all_bytes_pass_raw() {
        let content: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
        let parsed = parts(&line(&[b" stdout F ", content.as_slice()].concat()));
        assert_eq!(parsed, full(TIME, Stream::Stdout, &content));
        assert_eq!(
            parts(&line(b" stdout F x\r")),
            full(TIME, Stream::Stdout, b"x\r")
        );
    }

    #[test]
    fn only_the_first_tag_counts() {
        assert_eq!(
            parts(&line(b" stdout F:a:P x")),
            full(TIME, Stream::Stdout, b"x")
        );
        assert_eq!(
            parts(&line(b" stdout F:a")),
            full(TIME, Stream::Stdout, b"")
        );
        assert_eq!(
            parts(&line(b" stdout F:a ")),
            full(TIME, Stream::Stdout, b"")
        );
        assert!(parts(&line(b" stdout P:F:b x")).unwrap().2);
        let endless = [b" stdout F:".as_slice(), &[b'a'; 1_000], b" x"].concat();
        assert_eq!(parts(&line(&endless)), None);
    }

    #[test]
    fn a_zone_is_brought_to_utc() {
        let parsed = parts(b"2024-05-06T07:08:09.50+08:00 stdout F x");
        assert_eq!(
            parsed,
            full("2024-05-05T23:08:09.50Z", Stream::Stdout, b"x")
        );
        let parsed = parts(b"2016-12-31T23:59:60.1Z stderr F leap");
        assert_eq!(
            parsed,
            full("2016-12-31T23:59:60.1Z", Stream::Stderr, b"leap")
        );
    }

    #[test]
    fn anything_else_is_no_cri_line() {
        let two_headers =
            "2024-05-06T07:08:09.1+08:00 stdout 2024-05-06T07:08:09.2+08:00 stdout F + true";
        assert_eq!(parts(two_headers.as_bytes()), None);
        for rest in [
            "",
            " ",
            " stdout",
            " stdout ",
            " stdout x",
            " stdout G x",
            " stdout FF x",
            " stdin F x",
            "  stdout F x",
            " stdout  F x",
            " STDOUT F x",
            "stdout F x",
            " stdoutF x",
            " stdout F\tx",
            "\tstdout F x",
            "Z stdout F x",
        ] {
            assert_eq!(parts(&line(rest.as_bytes())), None, "{rest:?}");
        }
        for text in [
            "",
            "hello",
            "\0\0\0\0",
            "2024-05-06 stdout F x",
            "{\"log\":\"x\"}",
        ] {
            assert_eq!(parts(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        /// Whatever is written as a CRI line comes back in the same parts.
        #[test]
        fn what_is_written_is_read(
            time in "2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z",
            stderr: bool,
            partial: bool,
            tags in "(:[a-zA-Z0-9]{0,8}){0,3}",
            content in proptest::collection::vec(any::<u8>().prop_filter("LF", |byte| *byte != b'\n'), 0..200),
        ) {
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            let tag = if partial { 'P' } else { 'F' };
            let mut line = format!("{time} {} {tag}{tags} ", stream.as_str()).into_bytes();
            line.extend_from_slice(&content);
            prop_assert_eq!(parts(&line), Some((time, stream, partial, content)));
        }

        /// Any bytes, also ones that are nearly a line, are read or refused without a panic; the
        /// content is the end of the line.
        #[test]
        fn any_bytes_are_read_or_refused(
            cut in 0_usize..50,
            at in 0_usize..50,
            byte: u8,
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut near = line(b" stdout F:tag content");
            if let Some(place) = near.get_mut(at) {
                *place = byte;
            }
            near.truncate(cut);
            for text in [&near, &noise] {
                if let Some(parsed) = parse(text) {
                    prop_assert!(text.ends_with(parsed.content));
                }
            }
        }
    }
}
