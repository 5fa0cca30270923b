//! What became of each setting, as comments for the head of the configuration.
//!
//! Invariant: every setting that was found is in exactly one account; each comment is one printable line.

use std::borrow::Cow;
use std::fmt::Write;

use crate::config::mistake::{cut, printable};

use super::value::Value;

/// Most settings that are listed in one account; further ones are counted.
const LISTED_MAX: usize = 500;
/// Longest part of a comment, in characters.
const PART_CHARS_MAX: usize = 400;

/// A sentence.
pub(super) type Text = Cow<'static, str>;

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The configuration says the same.
    Taken,
    /// It is so without a key: why.
    Needless(Text),
    /// There is no equivalent.
    Lacking {
        /// Why.
        why: Text,
        /// What to do in its place.
        instead: Text,
    },
    /// It is not a setting, or not a value of it: what is wrong.
    Wrong(Text),
}

impl Outcome {
    pub(super) fn lacking(why: impl Into<Text>, instead: impl Into<Text>) -> Outcome {
        Outcome::Lacking {
            why: why.into(),
            instead: instead.into(),
        }
    }

    pub(super) fn needless(why: impl Into<Text>) -> Outcome {
        Outcome::Needless(why.into())
    }

    pub(super) fn wrong(what: impl Into<Text>) -> Outcome {
        Outcome::Wrong(what.into())
    }
}

/// One account of settings.
#[derive(Debug, Default)]
struct Account {
    lines: Vec<String>,
    count: usize,
}

impl Account {
    fn add(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.lines.len() < LISTED_MAX {
            self.lines.push(line());
        }
    }

    fn write(&self, title: &str, text: &mut String) {
        if self.count == 0 {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "#\n# {title} ({}):", self.count);
        for line in &self.lines {
            text.push_str(line);
        }
        let further = self.count - self.lines.len();
        if further > 0 {
            let _ = writeln!(text, "#   and {further} more");
        }
    }
}

/// All settings that were found.
#[derive(Debug, Default)]
pub(super) struct Notes {
    taken: usize,
    needless: Account,
    lacking: Account,
    wrong: Account,
}

impl Notes {
    /// Notes what became of `setting`.
    pub(super) fn add(&mut self, setting: &str, value: &Value, outcome: Outcome) {
        let head = || format!("#   {} = {}", part(setting), value.shown());
        match outcome {
            Outcome::Taken => self.taken += 1,
            Outcome::Needless(why) => self
                .needless
                .add(|| format!("{}: {}\n", head(), part(&why))),
            Outcome::Lacking { why, instead } => self.lacking.add(|| {
                let (why, instead) = (part(&why), part(&instead));
                format!("{}\n#     why: {why}\n#     instead: {instead}\n", head())
            }),
            Outcome::Wrong(what) => self.wrong.add(|| format!("{}: {}\n", head(), part(&what))),
        }
    }

    /// Notes a text that could not be read at all.
    pub(super) fn unreadable(&mut self, what: &str, why: &str) {
        self.wrong
            .add(|| format!("#   {}: {}\n", part(what), part(why)));
    }

    /// Whether something was not understood.
    pub(super) fn are_wrong(&self) -> bool {
        self.wrong.count > 0
    }

    /// The counts in a line.
    pub(super) fn summary(&self) -> String {
        format!(
            "settings: {} taken, {} need no key, {} without equivalent, {} not understood",
            self.taken, self.needless.count, self.lacking.count, self.wrong.count
        )
    }

    /// The accounts as lines of YAML comments.
    pub(super) fn comments(&self) -> String {
        let mut text = String::new();
        self.lacking
            .write("Without equivalent, in whole or in part", &mut text);
        self.wrong.write("Not understood", &mut text);
        self.needless.write("Needs no key", &mut text);
        text
    }
}

/// A part of a comment.
fn part(text: &str) -> String {
    cut(&printable(text), PART_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_in_one_account_and_the_excess_is_counted() {
        let mut notes = Notes::default();
        let value = Value::Switch(true);
        notes.add("a", &value, Outcome::Taken);
        notes.add("b", &value, Outcome::needless("so it is"));
        notes.add("c", &value, Outcome::lacking("none", "that"));
        for _ in 0..LISTED_MAX + 3 {
            notes.add("d\n- x", &value, Outcome::wrong("what is it"));
        }
        assert_eq!(
            notes.summary(),
            "settings: 1 taken, 1 need no key, 1 without equivalent, 503 not understood"
        );
        let text = notes.comments();
        assert!(text.contains("#   c = true\n#     why: none\n#     instead: that\n"));
        assert!(text.contains("#   b = true: so it is\n"));
        assert!(text.contains("#   and 3 more\n"));
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        assert!(notes.are_wrong());
    }
}
