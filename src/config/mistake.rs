//! What is wrong with a config, said so that a person can mend it.
//!
//! Invariant: a mistake is one printable line of bounded length and holds no value that could be a secret (nothing
//! that came from the environment, nothing under a key whose value is secret).

use std::fmt;

/// A place in the config text, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The config's name, as given to the parser.
    pub file: String,
    /// Where.
    pub place: Place,
    /// Which key, from the top, for instance `sinks.main.url`; empty for the text as a whole.
    pub path: String,
    /// What was found, and what is allowed.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: ", printable(&self.file))?;
        if !self.path.is_empty() {
            write!(f, "{}: ", printable(&self.path))?;
        }
        f.write_str(&printable(&self.text))
    }
}

/// `text` on one line, with everything that could move a terminal's cursor escaped.
pub fn printable(text: &str) -> String {
    let harmless = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            line.push(c);
        } else {
            line.extend(c.escape_unicode());
        }
    }
    line
}

/// The beginning of `text`, at most `chars_max` characters.
pub fn cut(text: &str, chars_max: usize) -> String {
    let mut short: String = text.chars().take(chars_max).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// The mistakes of one config, as they are found.
#[derive(Debug)]
pub struct Report {
    file: String,
    mistakes: Vec<Mistake>,
    further: usize,
}

impl Report {
    /// More mistakes are counted, not kept.
    pub const MISTAKES_MAX: usize = 200;
    /// Longer paths and texts are cut.
    const TEXT_CHARS_MAX: usize = 400;

    /// A report on the config called `file`.
    pub fn new(file: &str) -> Report {
        Report {
            file: file.to_owned(),
            mistakes: Vec::new(),
            further: 0,
        }
    }

    /// Adds a mistake.
    pub fn add(&mut self, place: Place, path: &str, text: impl AsRef<str>) {
        if self.is_full() {
            self.further += 1;
            return;
        }
        self.mistakes.push(Mistake {
            file: self.file.clone(),
            place,
            path: cut(path, Report::TEXT_CHARS_MAX),
            text: cut(text.as_ref(), Report::TEXT_CHARS_MAX),
        });
    }

    /// Whether further mistakes are only counted, so that nobody need find words for them.
    pub fn is_full(&self) -> bool {
        self.mistakes.len() == Report::MISTAKES_MAX
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// All mistakes in the order of the text.
    pub fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.place);
        if let (Some(last), further @ 1..) = (self.mistakes.last(), self.further) {
            let text = format!("{further} further mistakes are not listed");
            let last = Mistake {
                path: String::new(),
                text,
                ..last.clone()
            };
            self.mistakes.push(last);
        }
        self.mistakes
    }
}

/// The name among `known` that was probably meant by `found`.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are no slips of the finger, and comparing costs length times length.
    if found.len() > 64 {
        return None;
    }
    let found = found.to_ascii_lowercase();
    let slips_max = 1 + found.len() / 4;
    let distance = |name: &str| {
        let name = name.to_ascii_lowercase();
        let distance = strsim::osa_distance(&found, &name);
        // Words left out (a unit, most of all) are one slip, however long they are.
        let mut words = found.split('_');
        let left_out = found.len() >= 4 && words.all(|word| name.split('_').any(|w| w == word));
        if left_out { distance.min(1) } else { distance }
    };
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_printable_line_whatever_it_quotes() {
        let mut report = Report::new("a\nb.yaml");
        report.add(
            Place { line: 3, column: 7 },
            "x\x1b[2J",
            "found \"\r\u{7}\u{202e}\"",
        );
        let line = report.into_mistakes()[0].to_string();
        assert_eq!(
            line,
            "a\\u{a}b.yaml:3:7: x\\u{1b}[2J: found \"\\u{d}\\u{7}\\u{202e}\""
        );
    }

    #[test]
    fn mistakes_are_sorted_and_the_excess_is_counted() {
        let mut report = Report::new("f");
        for line in (1..=Report::MISTAKES_MAX as u32 + 5).rev() {
            report.add(Place { line, column: 1 }, "k", "bad");
        }
        let mistakes = report.into_mistakes();
        assert_eq!(mistakes.len(), Report::MISTAKES_MAX + 1);
        assert!(mistakes.is_sorted_by_key(|mistake| mistake.place));
        assert_eq!(
            mistakes.last().map(|m| m.text.as_str()),
            Some("5 further mistakes are not listed")
        );
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["flush_interval_ms", "payload_slots", "url", "tls"];
        assert_eq!(
            nearest("flush_intervall_ms", known),
            Some("flush_interval_ms")
        );
        assert_eq!(nearest("flush_interval", known), Some("flush_interval_ms"));
        assert_eq!(nearest("flush_ms", known), Some("flush_interval_ms"));
        assert_eq!(nearest("URL", known), Some("url"));
        assert_eq!(nearest("elephant", known), None);
        assert_eq!(nearest(&"u".repeat(100_000), known), None);
    }
}
