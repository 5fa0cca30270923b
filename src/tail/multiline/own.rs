//! Groups by a user's own expressions.
//!
//! | given | a line begins a group | a line continues the open one |
//! |---|---|---|
//! | `start` | if it matches | if it does not |
//! | `continue` | if it does not match | if it matches |
//! | both | if it matches `start` and does not continue one | if it matches `continue` |
//!
//! A line of a group that matches `end` is its last. `continue` goes before `start`: a line that matches both is of the
//! open group.

use std::borrow::Cow;

use regex_lite::Regex;

use super::{State, Verdict};

/// The expressions; at least one of `start` and `continues` is there, or no line ever begins a group.
#[derive(Clone, Debug)]
pub struct Own {
    /// What a group's first line matches.
    pub start: Option<Regex>,
    /// What its other lines match.
    pub continues: Option<Regex>,
    /// What its last line matches.
    pub end: Option<Regex>,
}

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        let texts = |own: &Own| {
            [&own.start, &own.continues, &own.end]
                .map(|it| it.as_ref().map(|it| it.as_str().to_owned()))
        };
        texts(self) == texts(other)
    }
}

impl Eq for Own {}

impl Own {
    /// Whether the line begins a group where none is open.
    pub(super) fn begins(&self, line: &[u8]) -> bool {
        self.verdict(State::Idle, &String::from_utf8_lossy(line)) == Verdict::Begins
    }

    /// As [`super::Grammar::judge`].
    pub(super) fn judge(&self, state: State, line: &[u8]) -> (Verdict, State) {
        let text: Cow<'_, str> = String::from_utf8_lossy(line);
        let verdict = self.verdict(state, &text);
        let state = match verdict {
            Verdict::Begins | Verdict::Continues => State::Own,
            Verdict::Alone | Verdict::Ends => State::Idle,
        };
        (verdict, state)
    }

    fn verdict(&self, state: State, line: &str) -> Verdict {
        let is =
            |expression: &Option<Regex>| expression.as_ref().is_some_and(|it| it.is_match(line));
        let is_start = match (&self.start, &self.continues) {
            (Some(start), _) => start.is_match(line),
            (None, Some(continues)) => !continues.is_match(line),
            (None, None) => false,
        };
        let continues = match &self.continues {
            Some(continues) => continues.is_match(line),
            None => !is_start,
        };
        match (state == State::Own && continues, is_start) {
            (true, _) if is(&self.end) => Verdict::Ends,
            (true, _) => Verdict::Continues,
            (false, true) if is(&self.end) => Verdict::Alone,
            (false, true) => Verdict::Begins,
            (false, false) => Verdict::Alone,
        }
    }
}
