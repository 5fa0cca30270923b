//! Lines that belong together: stack traces of nine languages, or what a user's own expressions say.
//!
//! A [`Grammar`] is a state machine over the whole lines of one stream of one chain: given where the open group stands
//! ([`State`]) and the next line, it says whether the line begins a group, continues it, ends it or stands alone.
//! Each language's grammar is a table at the head of its file.
//!
//! Invariants: the verdict depends on the state and the line alone, so that reading the same lines again gives the same
//! groups. [`Grammar::may_begin`] says what [`Grammar::judge`] would in [`State::Idle`]: a line that cannot begin a group
//! never waits for the next one.

mod begins;
mod cpp;
mod frames;
mod go;
mod own;
mod php;
mod python;
mod ruby;
mod rust;
mod shape;

use std::time::Duration;

pub use self::own::Own;

/// A language whose traces are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Java, and what else runs on its machine.
    Java,
    /// Python 3, and 2.
    Python,
    /// Go.
    Go,
    /// Ruby.
    Ruby,
    /// JavaScript in Node.
    Node,
    /// .NET, and the entries of its console logger.
    Dotnet,
    /// PHP, and Laravel's log.
    Php,
    /// Rust.
    Rust,
    /// C++, and traces of C libraries and sanitizers.
    Cpp,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 9] = [
        Language::Java,
        Language::Python,
        Language::Go,
        Language::Ruby,
        Language::Node,
        Language::Dotnet,
        Language::Php,
        Language::Rust,
        Language::Cpp,
    ];

    /// The word for it in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Java => "java",
            Language::Python => "python",
            Language::Go => "go",
            Language::Ruby => "ruby",
            Language::Node => "node",
            Language::Dotnet => "dotnet",
            Language::Php => "php",
            Language::Rust => "rust",
            Language::Cpp => "cpp",
        }
    }

    /// The language of that name.
    pub fn named(name: &str) -> Option<Language> {
        Language::ALL
            .into_iter()
            .find(|language| language.name() == name)
    }
}

/// A set of languages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Languages(u16);

impl Languages {
    /// Every one.
    pub fn all() -> Languages {
        Languages::of(&Language::ALL)
    }

    /// These.
    pub fn of(languages: &[Language]) -> Languages {
        let bits = languages.iter().map(|language| 1 << *language as u16);
        Languages(bits.fold(0, |all, bit| all | bit))
    }

    /// Whether it is among them.
    #[inline]
    pub fn has(self, language: Language) -> bool {
        self.0 & (1 << language as u16) != 0
    }

    /// Whether one of these is.
    #[inline]
    fn any(self, languages: &[Language]) -> bool {
        languages.iter().any(|language| self.has(*language))
    }
}

/// Where the open group of a stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No group is open.
    #[default]
    Idle,
    /// A line named an exception; of which language, what follows will tell.
    Thrown,
    /// A blank line followed it.
    ThrownBlank,
    /// Among the frames of Java, Node or .NET.
    Frames(frames::At),
    /// In a trace of Python.
    Python(python::At),
    /// In a trace of Go.
    Go(go::At),
    /// In a trace of Ruby.
    Ruby(ruby::At),
    /// In a trace of PHP.
    Php(php::At),
    /// In a panic or an error report of Rust.
    Rust(rust::At),
    /// In what a C++ program says when it dies.
    Cpp(cpp::At),
    /// In a group of the user's own expressions.
    Own,
}

/// What a line is to the open group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to none: an open group is over, and the line is a record by itself.
    Alone,
    /// It is the first of a group: one that is open is over.
    Begins,
    /// It belongs to the open group.
    Continues,
    /// It belongs to the open group and is its last line.
    Ends,
}

/// What a line that continues a group leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// More may follow.
    On(State),
    /// Nothing does.
    End,
}

/// How lines are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Traces of these languages; whichever begins first has its way until it ends.
    Languages(Languages),
    /// The user's own.
    Own(Own),
}

impl Grammar {
    /// Whether a line would begin a group if none is open. Cheap: it is asked of every line.
    #[inline]
    pub fn may_begin(&self, line: &[u8]) -> bool {
        match self {
            Grammar::Languages(on) => begins::begins(*on, shape::trimmed(line)).is_some(),
            Grammar::Own(own) => own.begins(line),
        }
    }

    /// What a whole line is to the group that stands at `state`, and where the group stands then.
    pub fn judge(&self, state: State, line: &[u8]) -> (Verdict, State) {
        let on = match self {
            Grammar::Languages(on) => *on,
            Grammar::Own(own) => return own.judge(state, line),
        };
        let line = shape::trimmed(line);
        match continues(on, state, line) {
            Some(Step::On(state)) => (Verdict::Continues, state),
            Some(Step::End) => (Verdict::Ends, State::Idle),
            None => match begins::begins(on, line) {
                Some(state) => (Verdict::Begins, state),
                None => (Verdict::Alone, State::Idle),
            },
        }
    }
}

fn continues(on: Languages, state: State, line: &[u8]) -> Option<Step> {
    // A line of JSON is a record by itself, whatever stands around it.
    if line.first() == Some(&b'{') && line.len() > 1 {
        return None;
    }
    match state {
        State::Idle | State::Own => None,
        State::Thrown => thrown(on, line),
        State::ThrownBlank => thrown_blank(on, line),
        State::Frames(at) => frames::next(on, at, line),
        State::Python(at) => python::next(at, line),
        State::Go(at) => go::next(at, line),
        State::Ruby(at) => ruby::next(at, line),
        State::Php(at) => php::next(at, line),
        State::Rust(at) => rust::next(at, line),
        State::Cpp(at) => cpp::next(at, line),
    }
}

/// Behind a line that names an exception: the first line that only one language writes decides.
fn thrown(on: Languages, line: &[u8]) -> Option<Step> {
    let blank = shape::is_blank(line);
    if blank && on.any(&[Language::Rust, Language::Node, Language::Ruby]) {
        return Some(Step::On(State::ThrownBlank));
    }
    if on.any(&frames::LANGUAGES)
        && let Some(step) = frames::next(on, frames::At::Frames, line)
    {
        return Some(step);
    }
    if on.has(Language::Php)
        && let Some(step) = php::next(php::At::Head, line)
    {
        return Some(step);
    }
    decided(on, line)
}

fn thrown_blank(on: Languages, line: &[u8]) -> Option<Step> {
    if on.has(Language::Node) && frames::is_node_version(line) {
        return Some(Step::End);
    }
    decided(on, line)
}

fn decided(on: Languages, line: &[u8]) -> Option<Step> {
    if on.has(Language::Ruby) && ruby::is_frame(line) {
        return Some(Step::On(State::Ruby(ruby::At::Frames)));
    }
    if on.has(Language::Rust) && !shape::is_blank(line) {
        return rust::next(rust::At::Report, line).filter(|_| !line.starts_with(b" "));
    }
    None
}

/// A grammar with the bounds of its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Which lines belong together.
    pub grammar: Grammar,
    /// Most lines of one group.
    pub lines_max: u32,
    /// A group to which nothing was added for so long is over.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests;
