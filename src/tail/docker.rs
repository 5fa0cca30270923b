//! Lines of docker's json-file logging driver: `{"log":"...\n","stream":"stdout","time":"..."}`.
//!
//! Docker ends `log` with `\n` where the container did, and cuts what is longer than 16 KiB into
//! lines whose `log` has no such end. Fields may come in any order; others than these three (docker
//! writes `attrs`) are stepped over.

use super::json::{self, Object, Step, Value};
use super::line::Line;
use super::time;
use crate::record::{Stream, TimeText};

/// The fields of interest, as they are written. Of a field that comes twice the last one counts.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    log: Option<(&'a [u8], bool)>,
    stream: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
}

/// Takes one line apart (`line` is without its LF). `None`: torn, or not a docker json-file line.
///
/// The content is borrowed from `line`, or from `scratch` if there are escapes in it other than the
/// line end. A carriage return before the line end stays. `partial` says that `log` had no line
/// end.
pub fn parse<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Line<'a>> {
    let fields = fields(line)?;
    let stream = match fields.stream? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let time = time::parse(fields.time?)?;
    let (raw, escaped) = fields.log?;
    let (content, partial) = content(raw, escaped, scratch)?;
    Some(Line {
        time,
        stream,
        partial,
        content,
    })
}

/// The timestamp of a line, without a look at the rest.
pub fn time(line: &[u8]) -> Option<TimeText> {
    time::parse(fields(line)?.time?)
}

fn fields(line: &[u8]) -> Option<Fields<'_>> {
    let mut object = Object::open(line)?;
    let mut fields = Fields::default();
    loop {
        match object.step() {
            Step::Field(b"log", Value::Text { raw, escaped }) => fields.log = Some((raw, escaped)),
            Step::Field(b"stream", Value::Text { raw, .. }) => fields.stream = Some(raw),
            Step::Field(b"time", Value::Text { raw, .. }) => fields.time = Some(raw),
            Step::Field(b"log" | b"stream" | b"time", _) => return None,
            Step::Field(..) => {}
            Step::End(behind) => return behind.trim_ascii().is_empty().then_some(fields),
            Step::Broken => return None,
        }
    }
}

/// What the container wrote, and whether its line end is missing.
fn content<'a>(raw: &'a [u8], escaped: bool, scratch: &'a mut Vec<u8>) -> Option<(&'a [u8], bool)> {
    if !escaped {
        return Some((raw, true));
    }
    // Most lines have no escape but their line end.
    if let Some(bare) = raw.strip_suffix(b"\\n")
        && memchr::memchr(b'\\', bare).is_none()
    {
        return Some((bare, false));
    }
    scratch.clear();
    json::unescape(raw, scratch)?;
    Some(match scratch.strip_suffix(b"\n") {
        Some(content) => (content, false),
        None => (scratch, true),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TIME: &str = "2024-05-06T07:08:09.123456789Z";

    /// Stream, whether partial, content.
    fn parts(line: &[u8]) -> Option<(Stream, bool, Vec<u8>)> {
        let mut scratch = b"left over".to_vec();
        let line = parse(line, &mut scratch)?;
        Some((line.stream, line.partial, line.content.to_vec()))
    }

    /// A line with `log` as it stands between the quotes.
    fn raw(log: &str) -> Vec<u8> {
        format!(r#"{{"log":"{log}","stream":"stdout","time":"{TIME}"}}"#).into_bytes()
    }

    fn log(log: &str) -> Option<(bool, String)> {
        let (_, partial, content) = parts(&raw(log))?;
        Some((partial, String::from_utf8(content).unwrap()))
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = raw(r"hello\n");
        let mut scratch = Vec::new();
        let parsed = parse(&line, &mut scratch).unwrap();
        assert_eq!(parsed.time.as_bytes(), TIME.as_bytes());
        assert_eq!(
            (parsed.stream, parsed.partial, parsed.content),
            (Stream::Stdout, false, b"hello".as_slice())
        );
        assert_eq!(scratch.capacity(), 0, "the line end alone needs no copy");
    }

    #[test]
    fn fields_come_in_any_order_and_others_are_stepped_over() {
        let line = format!(
            r#" {{ "time" : "{TIME}", "attrs":{{"time":"no","log":["x\n"]}}, "stream":"stderr","n":1, "log":"x\n" }} "#
        );
        assert_eq!(
            parts(line.as_bytes()),
            Some((Stream::Stderr, false, b"x".to_vec()))
        );
    }

    #[test]
    fn a_piece_of_16_kib_and_an_unterminated_last_line_are_partial() {
        let piece = "x".repeat(16_384);
        assert_eq!(log(&piece), Some((true, piece)));
        assert_eq!(log(r"no end\t"), Some((true, "no end\t".to_owned())));
        assert_eq!(
            log(r"ends in a backslash\\n"),
            Some((true, "ends in a backslash\\n".to_owned()))
        );
        assert_eq!(log(""), Some((true, String::new())));
    }

    #[test]
    fn line_ends_and_escapes() {
        assert_eq!(log(r"\n"), Some((false, String::new())));
        assert_eq!(log(r"a\r\n"), Some((false, "a\r".to_owned())));
        assert_eq!(log(r"a\u000a"), Some((false, "a".to_owned())));
        assert_eq!(
            log(r#"\u003ca\u003e \"q\" \ud83d\ude00\n"#),
            Some((false, "<a> \"q\" \u{1f600}".to_owned()))
        );
        assert_eq!(
            log(r"\ud83d|\ude00\n"),
            Some((false, "\u{fffd}|\u{fffd}".to_owned()))
        );
        assert_eq!(
            log(r"what docker made of bytes: \ufffd\n"),
            Some((false, "what docker made of bytes: \u{fffd}".to_owned()))
        );
        assert_eq!(log(r"bad \q\n"), None);
    }

    #[test]
    fn a_line_torn_at_any_byte_is_refused() {
        let line = raw(r"some \ttext\n");
        assert!(parts(&line).is_some());
        for cut in 0..line.len() {
            assert_eq!(parts(&line[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_docker_line_is_refused() {
        for line in [
            "",
            "hello",
            "{}",
            r#"{"log":"x\n","stream":"stdout"}"#,
            r#"{"log":"x\n","time":"2024-05-06T07:08:09Z"}"#,
            r#"{"stream":"stdout","time":"2024-05-06T07:08:09Z"}"#,
            r#"{"log":1,"stream":"stdout","time":"2024-05-06T07:08:09Z"}"#,
            r#"{"log":"x\n","stream":"stdin","time":"2024-05-06T07:08:09Z"}"#,
            r#"{"log":"x\n","stream":"stdout","time":"yesterday"}"#,
            r#"{"log":"x\n","stream":"stdout","time":"2024-05-06T07:08:09Z"}{"log":"#,
            r#"{"log":"to{"log":"x\n","stream":"stdout","time":"2024-05-06T07:08:09Z"}"#,
        ] {
            assert_eq!(parts(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_time_is_found_alone() {
        assert_eq!(time(&raw("x")).unwrap().as_bytes(), TIME.as_bytes());
        assert_eq!(time(b"{\"log\":\"x\"}"), None);
    }

    proptest! {
        /// Whatever text an encoder writes as `log` comes back, with its line end told apart.
        #[test]
        fn what_is_written_is_read(text: String, ended: bool, stderr: bool) {
            let text = text.trim_end_matches('\n');
            let end = if ended { "\n" } else { "" };
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            let line = json!({"log": format!("{text}{end}"), "stream": stream.as_str(), "time": TIME});
            let parsed = parts(line.to_string().as_bytes());
            prop_assert_eq!(parsed, Some((stream, !ended, text.as_bytes().to_vec())));
        }

        /// A line with one byte changed is read or refused without a panic.
        #[test]
        fn a_changed_byte_is_read_or_refused(at in 0_usize..80, byte: u8) {
            let mut line = raw(r"a\ud83d\ude00\n");
            if let Some(place) = line.get_mut(at) {
                *place = byte;
            }
            if let Some((_, _, content)) = parts(&line) {
                prop_assert!(content.len() <= line.len());
            }
        }
    }
}
