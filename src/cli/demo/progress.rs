//! What the demo shows while it plays: on a terminal one line that is rewritten, on a pipe a line every two seconds.
//!
//! Invariant: a live line never exceeds [`WIDTH_MAX`] characters, so that rewriting it works on any terminal.

use std::fmt;
use std::io::{self, Write};

use crate::clock::Time;

/// A live line is cut at this many characters.
pub const WIDTH_MAX: usize = 79;
const LIVE_INTERVAL_MS: u64 = 200;
const PIPE_INTERVAL_MS: u64 = 2_000;

/// One look at the play and at the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Bytes in the log files.
    pub written_bytes: u64,
    /// Lines that the containers wrote.
    pub lines: u64,
    /// Of the bytes, those that the sink has.
    pub delivered_bytes: u64,
    /// Log files rotated.
    pub rotations: u64,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} written, {} delivered, {}",
            Counted(self.lines, "line"),
            Megabytes(self.written_bytes),
            Megabytes(self.delivered_bytes),
            Counted(self.rotations, "rotation")
        )
    }
}

/// Shows progress on `out`.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    live: bool,
    start: Time,
    next: Time,
    shown_chars: usize,
}

impl<'a> Progress<'a> {
    /// Progress that starts at `start`; `live` if `out` is a terminal that can rewrite a line.
    pub fn new(out: &'a mut dyn Write, live: bool, start: Time) -> Progress<'a> {
        Progress {
            out,
            live,
            start,
            next: start,
            shown_chars: 0,
        }
    }

    /// Shows a look, if it is time to.
    pub fn show(&mut self, now: Time, look: Look) -> io::Result<()> {
        if now < self.next {
            return Ok(());
        }
        let interval_ms = if self.live {
            LIVE_INTERVAL_MS
        } else {
            PIPE_INTERVAL_MS
        };
        let first = self.next == self.start;
        self.next = now + std::time::Duration::from_millis(interval_ms);
        if first && !self.live {
            return Ok(());
        }
        let line = self.stamped(now, &look.to_string());
        if self.live {
            self.rewrite(&line)
        } else {
            writeln!(self.out, "{line}")?;
            self.out.flush()
        }
    }

    /// Says something that stays.
    pub fn note(&mut self, now: Time, text: &str) -> io::Result<()> {
        let line = self.stamped(now, text);
        if self.live {
            self.rewrite("")?;
        }
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// The last look stays on the screen.
    pub fn finish(mut self, now: Time, look: Look) -> io::Result<()> {
        self.note(now, &look.to_string())
    }

    fn stamped(&self, now: Time, text: &str) -> String {
        format!("{:>4} s  {text}", now.since(self.start).as_secs())
    }

    /// Overwrites the line on the screen; what was longer is blanked.
    fn rewrite(&mut self, line: &str) -> io::Result<()> {
        let line: String = line.chars().take(WIDTH_MAX).collect();
        let chars = line.chars().count();
        let blanks = self.shown_chars.saturating_sub(chars);
        self.shown_chars = chars;
        write!(self.out, "\r{line}{:blanks$}", "")?;
        if line.is_empty() {
            write!(self.out, "\r")?;
        }
        self.out.flush()
    }
}

/// A number with its thousands set apart.
#[derive(Clone, Copy, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A number of things, in words: `1 line`, `1,000 lines`.
#[derive(Clone, Copy, Debug)]
pub struct Counted(pub u64, pub &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", Grouped(self.0), self.1)
    }
}

/// Bytes in megabytes (10^6) with one decimal, rounded.
#[derive(Clone, Copy, Debug)]
pub struct Megabytes(pub u64);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.saturating_add(50_000) / 100_000;
        f.pad(&format!("{}.{} MB", Grouped(tenths / 10), tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(bytes: u64) -> Look {
        Look {
            written_bytes: bytes,
            lines: bytes / 250,
            delivered_bytes: bytes,
            rotations: 3,
        }
    }

    #[test]
    fn numbers_are_grouped_and_rounded() {
        let shown = [0, 999, 1_000, 1_234_567].map(|number| Grouped(number).to_string());
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let shown = [0, 49_999, 50_000, 1_234_567_890].map(|bytes| Megabytes(bytes).to_string());
        assert_eq!(shown, ["0.0 MB", "0.0 MB", "0.1 MB", "1,234.6 MB"]);
    }

    #[test]
    fn a_pipe_gets_a_plain_line_every_two_seconds() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, false, Time::ZERO);
        for ms in (0..5_000).step_by(100) {
            progress
                .show(Time::from_ms(ms), look(ms * 1_000_000))
                .unwrap();
        }
        progress.finish(Time::from_ms(5_000), look(0)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\r') && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_terminal_sees_one_line_rewritten_and_no_remains_of_a_longer_one() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, true, Time::ZERO);
        progress
            .show(Time::ZERO, look(u64::MAX / 1_000_000))
            .unwrap();
        progress.show(Time::from_ms(300), look(0)).unwrap();
        progress.note(Time::from_ms(400), "note").unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut screen = [' '; 200];
        let mut at = 0;
        for character in text.chars() {
            match character {
                '\r' => at = 0,
                '\n' => break,
                other => {
                    screen[at] = other;
                    at += 1;
                    assert!(at <= WIDTH_MAX, "{text:?}");
                }
            }
        }
        let screen: String = screen.iter().collect();
        assert_eq!(screen.trim_end(), "   0 s  note");
    }
}
