//! What the played containers write: realistic messages, each with a ticket that makes it countable, cut into the
//! lines that a container runtime writes to the log file.
//!
//! Invariant: a ticket names the container instance, the stream and the number of the line in it, and carries a
//! checksum of the whole message as a reader of text sees it (invalid UTF-8 replaced by U+FFFD).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::Range;

use crate::record::Stream;

/// The longest content of one physical line; the runtime splits what is longer.
pub const PART_BYTES_MAX: usize = 16 * 1024;

const MARK: &str = "demo-";
const CHECKSUM_DIGITS: usize = 8;
const UNSEALED: &[u8; CHECKSUM_DIGITS] = b"00000000";

/// How a container logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One JSON object per line.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// The header of Kubernetes' own components.
    Klog,
    /// Free text behind a time and a level.
    Plain,
    /// Free text with stack traces on stderr.
    Traces,
    /// Free text with bytes that are not UTF-8, NULs and escape sequences.
    Binary,
}

/// Names one line of one container instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Index of the instance in [`super::plan::Played::instances`].
    pub instance: usize,
    /// Which output.
    pub stream: Stream,
    /// The number of the line in that stream, from 0.
    pub number: u64,
}

impl Ticket {
    /// Finds the ticket in a message, and whether the message is what was written.
    pub fn read(message: &str) -> Option<(Ticket, bool)> {
        memchr::memmem::find_iter(message.as_bytes(), MARK).find_map(|at| {
            let (ticket, digits) = Ticket::parse(message.get(at..)?)?;
            let digits = at + digits.start..at + digits.end;
            let sealed = u32::from_str_radix(message.get(digits.clone())?, 16).ok()?;
            let actual = checksum(
                message.get(..digits.start)?.as_bytes(),
                message.get(digits.end..)?.as_bytes(),
            );
            Some((ticket, sealed == actual))
        })
    }

    fn parse(text: &str) -> Option<(Ticket, Range<usize>)> {
        let mut fields = text.splitn(5, '-');
        let mark = fields.next()?;
        let instance = fields.next()?;
        let stream = fields.next()?;
        let number = fields.next()?;
        let start = mark.len() + instance.len() + stream.len() + number.len() + 4;
        let ticket = Ticket {
            instance: instance.parse().ok()?,
            stream: match stream {
                "o" => Stream::Stdout,
                "e" => Stream::Stderr,
                _ => return None,
            },
            number: number.parse().ok()?,
        };
        Some((ticket, start..start + CHECKSUM_DIGITS))
    }

    fn unsealed(self) -> String {
        let stream = match self.stream {
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
        };
        format!("{MARK}{}-{stream}-{}-", self.instance, self.number)
    }
}

fn checksum(before: &[u8], after: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(before);
    hash.update(UNSEALED);
    hash.update(after);
    hash.finalize()
}

/// A message in the making: what stands before and behind its ticket.
#[derive(Debug, Default)]
pub struct Draft {
    head: Vec<u8>,
    tail: Vec<u8>,
}

const WORDS: [&str; 12] = [
    "order accepted",
    "cache refreshed",
    "connection reused",
    "retrying upstream",
    "batch written",
    "session expired",
    "\u{4e2d}\u{6587} \u{65e5}\u{672c}\u{8a9e} received",
    "token renewed",
    "gr\u{fc}\u{df}e from node",
    "queue drained",
    "snapshot taken",
    "\u{1f6a2} docked",
];
const PLACES: [&str; 8] = [
    "warehouses",
    "north",
    "shelves",
    "17",
    "items",
    "4711",
    "containers",
    "berth-3",
];
const LEVELS: [&str; 8] = [
    "INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARN", "ERROR",
];

impl Draft {
    /// An ordinary message. `frame` numbers the lines of a stack trace, from 1; 0 is a line of its own.
    pub fn new(rng: &mut fastrand::Rng, style: Style, time: Moment, frame: u32) -> Draft {
        let words = WORDS[rng.usize(..WORDS.len())];
        let level = LEVELS[rng.usize(..LEVELS.len())];
        let (id, ms) = (rng.u32(..), rng.u32(1..900));
        let filler = path(rng);
        let (head, tail) = match style {
            Style::Json => (
                format!(
                    "{{\"time\":\"{time}\",\"level\":\"{}\",\"msg\":\"{words}\",\"path\":\"{filler}\",\
                     \"order\":{id},\"line\":\"",
                    level.to_ascii_lowercase()
                ),
                format!("\",\"tags\":[\"a\\tb\",\"c\\\\d\"],\"took_ms\":{ms}}}"),
            ),
            Style::Logfmt => (
                format!("ts={time} level={} line=", level.to_ascii_lowercase()),
                format!(" msg=\"{words}\" path={filler} status=200 took_ms={ms} id={id:08x}"),
            ),
            Style::Klog => (
                format!(
                    "{}{}       1 controller.go:{ms}] \"{words}\" line=\"",
                    level.get(..1).unwrap_or("I"),
                    time.klog()
                ),
                format!("\" object=\"{filler}\" generation={id}"),
            ),
            Style::Traces if frame > 0 => (
                format!("\tat com.example.store.Shelf{id}.lift(Shelf.java:{ms}) ["),
                "]".to_owned(),
            ),
            Style::Plain | Style::Traces | Style::Binary => (
                format!("{time} {level:<5} worker-{} - {words} (", id % 16),
                format!(") {filler} in {ms} ms"),
            ),
        };
        let mut tail = tail.into_bytes();
        if style == Style::Binary {
            tail.extend_from_slice(b" \x1b[31m\x00\xff\xfe\xc3(\xe2\x82");
            tail.extend((0..rng.usize(..64)).map(|_| match rng.u8(..) {
                b'\n' | b'\r' => b'.',
                byte => byte,
            }));
            tail.push(b';');
        }
        Draft {
            head: head.into_bytes(),
            tail,
        }
    }

    /// Makes the message long: `bytes` more, with characters of one to four bytes, so that the runtime's cuts fall
    /// inside some of them.
    #[must_use]
    pub fn lengthened(mut self, bytes: usize) -> Draft {
        let dump = " dump=0a1b2c3d4e5f \u{e9} \u{20ac} \u{1f6a2} ".as_bytes();
        let tail = std::mem::take(&mut self.tail);
        self.tail.reserve(bytes + tail.len());
        while self.tail.len() < bytes {
            self.tail.extend_from_slice(dump);
        }
        self.tail.extend_from_slice(&tail);
        self
    }

    /// Finishes the message: the ticket goes in, and its checksum.
    pub fn seal(self, ticket: Ticket) -> Vec<u8> {
        let mut message = self.head;
        message.extend_from_slice(ticket.unsealed().as_bytes());
        let digits = message.len();
        message.extend_from_slice(UNSEALED);
        message.extend_from_slice(&self.tail);
        let (before, after) = message.split_at(digits + CHECKSUM_DIGITS);
        let before = String::from_utf8_lossy(before.get(..digits).unwrap_or(before));
        let sum = checksum(before.as_bytes(), String::from_utf8_lossy(after).as_bytes());
        let sealed = format!("{sum:08x}");
        for (place, digit) in message.iter_mut().skip(digits).zip(sealed.bytes()) {
            *place = digit;
        }
        message
    }

    /// As [`Draft::seal`], but the message fills whole parts and not a byte more: `parts` of them.
    pub fn seal_parts(self, ticket: Ticket, parts: usize) -> Vec<u8> {
        let ticket_bytes = ticket.unsealed().len() + CHECKSUM_DIGITS;
        let mut draft = self.lengthened(parts * PART_BYTES_MAX);
        let room = (parts * PART_BYTES_MAX).saturating_sub(draft.head.len() + ticket_bytes);
        draft.tail.truncate(room);
        draft.seal(ticket)
    }
}

/// A path of some length.
fn path(rng: &mut fastrand::Rng) -> String {
    let mut path = String::from("/api/v1");
    for _ in 0..rng.usize(2..9) {
        path.push('/');
        path.push_str(PLACES[rng.usize(..PLACES.len())]);
    }
    path
}

/// How a message's last line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Whole,
    /// With a part that waits for more: the container was killed in mid-line.
    OpenPart,
    /// Without a line end: the runtime was killed in mid-write.
    Torn,
}

/// Cuts a message into the lines that the runtime writes, each with a header of its own; `clock` gives each its time.
/// Returns how many there are.
pub fn physical_lines(
    message: &[u8],
    stream: Stream,
    ending: Ending,
    clock: &mut impl FnMut() -> Moment,
    out: &mut VecDeque<Vec<u8>>,
) -> u64 {
    let parts = message.len().div_ceil(PART_BYTES_MAX).max(1);
    for (number, part) in message.chunks(PART_BYTES_MAX).enumerate() {
        let last = number + 1 == parts;
        let tag = if last && ending != Ending::OpenPart {
            'F'
        } else {
            'P'
        };
        let mut line = format!("{} {} {tag} ", clock(), stream.as_str()).into_bytes();
        line.extend_from_slice(part);
        if !(last && ending == Ending::Torn) {
            line.push(b'\n');
        }
        out.push_back(line);
    }
    parts as u64
}

/// A moment of the play: nanoseconds since the Unix epoch. Displayed as a container runtime does: RFC 3339 in UTC,
/// trailing zeros of the fraction cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    fn civil(self) -> (u64, u64, u64, u64, u64, u64) {
        let seconds = self.0 / 1_000_000_000;
        let (day, rest) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let day = day + 719_468;
        let (era, of_era) = (day / 146_097, day % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        (year, month, day, rest / 3_600, rest / 60 % 60, rest % 60)
    }

    /// The suffix of a rotated file: `YYYYMMDD-HHMMSS`.
    pub fn rotation_suffix(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
    }

    fn klog(self) -> String {
        let (_, month, day, hour, minute, second) = self.civil();
        let micros = self.0 / 1_000 % 1_000_000;
        format!("{month:02}{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        let fraction = format!("{:09}", self.0 % 1_000_000_000);
        match fraction.trim_end_matches('0') {
            "" => {}
            digits => write!(f, ".{digits}")?,
        }
        f.write_char('Z')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket {
        instance: 12,
        stream: Stream::Stderr,
        number: 345,
    };

    #[test]
    fn a_ticket_is_read_back_from_every_style_and_any_changed_character_shows() {
        let mut rng = fastrand::Rng::with_seed(7);
        for style in [
            Style::Json,
            Style::Logfmt,
            Style::Klog,
            Style::Plain,
            Style::Traces,
            Style::Binary,
        ] {
            for frame in 0..2 {
                let draft = Draft::new(&mut rng, style, Moment(1_700_000_000_000_000_000), frame);
                let message = draft.seal(TICKET);
                let text = String::from_utf8_lossy(&message).into_owned();
                assert_eq!(Ticket::read(&text), Some((TICKET, true)), "{text}");
                for at in 0..text.len() {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] ^= 1;
                    if let Ok(changed) = String::from_utf8(bytes) {
                        assert_ne!(Ticket::read(&changed), Some((TICKET, true)), "at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn text_without_a_ticket_has_none() {
        for text in [
            "",
            "demo-",
            "demo-1-o-2",
            "demo-1-x-2-00000000",
            "demo-1-o-2-zz",
        ] {
            assert_eq!(Ticket::read(text), None, "{text}");
        }
    }

    #[test]
    fn lines_hold_at_most_16_kib_and_only_the_last_part_is_final() {
        for (bytes, expected) in [(1, 1), (16_384, 1), (16_385, 2), (100_000, 7)] {
            let mut lines = VecDeque::new();
            let message = vec![b'x'; bytes];
            let parts = physical_lines(
                &message,
                Stream::Stdout,
                Ending::Whole,
                &mut || Moment(0),
                &mut lines,
            );
            assert_eq!(parts, expected);
            let tags: String = lines.iter().map(|line| char::from(line[28])).collect();
            assert_eq!(tags, "P".repeat(lines.len() - 1) + "F");
            assert!(lines.iter().all(|line| line.ends_with(b"\n")));
        }
    }

    #[test]
    fn moments_read_as_the_runtime_writes_them() {
        assert_eq!(Moment(0).to_string(), "1970-01-01T00:00:00Z");
        let leap = Moment(1_709_210_096_020_300_000); // 29 February 2024
        assert_eq!(leap.to_string(), "2024-02-29T12:34:56.0203Z");
        assert_eq!(leap.rotation_suffix(), "20240229-123456");
        assert_eq!(
            Moment(4_102_444_799_999_999_999).to_string(),
            "2099-12-31T23:59:59.999999999Z"
        );
    }
}
