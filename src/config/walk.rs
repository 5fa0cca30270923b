//! Typed values out of a tree: each getter takes a key's value or reports what is wrong with it.
//!
//! Invariant: a getter that gives `None` for a key that is there has reported it (or an earlier stage has).

use std::path::PathBuf;

use super::keys::{Known, Number, home};
use super::mistake::{Place, Report, cut, nearest};
use super::yaml::{Entry, Node, Scalar, Value, join};

/// Longest text, in characters.
const TEXT_CHARS_MAX: usize = 1024;

/// A mapping with known keys.
#[derive(Debug)]
pub struct Section<'n> {
    /// From the top.
    pub path: String,
    /// Where it is named: the place of its key.
    pub place: Place,
    /// Its keys.
    pub entries: &'n [Entry],
    known: Known,
}

/// One key with its value.
#[derive(Debug)]
pub struct Field<'n> {
    /// From the top.
    pub path: String,
    /// Where the value stands.
    pub place: Place,
    /// The value.
    pub node: &'n Node,
    /// What it may be.
    pub allowed: String,
}

/// What a node is, for a message. Nothing that came from the environment is shown.
pub fn found(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
        Value::Scalar(scalar) if scalar.substituted => {
            format!("the value of {}", cut(&scalar.written, 64))
        }
        Value::Scalar(scalar) => format!("\"{}\"", cut(&scalar.text, 64)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Refused => "something refused".to_owned(),
    }
}

impl<'n> Field<'n> {
    /// Reports that the value is not what is allowed.
    pub fn refuse(&self, report: &mut Report) {
        if self.node.value != Value::Refused {
            let text = format!("found {}; allowed is {}", found(self.node), self.allowed);
            report.add(self.place, &self.path, text);
        }
    }

    /// As [`Field::refuse`], for a value that could be a secret.
    pub fn refuse_hidden(&self, report: &mut Report) {
        if self.node.value != Value::Refused {
            let text = format!("allowed is {} (the value is not shown)", self.allowed);
            report.add(self.place, &self.path, text);
        }
    }

    /// [`Field::refuse`] where a value is wanted.
    pub fn wrong<T>(&self, report: &mut Report) -> Option<T> {
        self.refuse(report);
        None
    }

    /// [`Field::refuse_hidden`] where a value is wanted.
    pub fn wrong_hidden<T>(&self, report: &mut Report) -> Option<T> {
        self.refuse_hidden(report);
        None
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// The value if it is a scalar; nothing is reported.
    pub fn scalar(&self) -> Option<&'n Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar that is not null; nothing is reported.
    pub fn text(&self) -> Option<&'n str> {
        self.scalar()
            .filter(|scalar| !scalar.is_null())
            .map(|scalar| scalar.text.as_str())
    }
}

/// Whether `text` may be a name or a label: some, not too many, and no control characters.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= TEXT_CHARS_MAX
        && !text.chars().any(char::is_control)
}

/// `text` as an absolute path.
pub fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    (path.is_absolute() && is_name(text)).then_some(path)
}

impl<'n> Section<'n> {
    /// The mapping in `node`. Its keys are not looked at before [`Section::refuse_unknown`]. A value under it may be
    /// secret, so a wrong one is not shown.
    pub fn of(
        node: &'n Node,
        path: String,
        place: Place,
        known: Known,
        report: &mut Report,
    ) -> Option<Section<'n>> {
        match &node.value {
            Value::Map(entries) => Some(Section {
                path,
                place,
                entries,
                known,
            }),
            Value::Refused => None,
            other => {
                let found = match other {
                    Value::Scalar(scalar) if scalar.is_null() => "nothing",
                    Value::List(_) => "a list",
                    _ => "a single value",
                };
                report.add(
                    node.place,
                    &path,
                    format!("found {found}; allowed is a mapping"),
                );
                None
            }
        }
    }

    /// The mapping under `key`, its unknown keys refused.
    pub fn section(&self, key: &str, known: Known, report: &mut Report) -> Option<Section<'n>> {
        let entry = self.entry(key)?;
        let path = join(&self.path, key);
        let section = Section::of(&entry.value, path, entry.place, known, report)?;
        section.refuse_unknown(report);
        Some(section)
    }

    /// The mapping under `key`, whose keys may be anything.
    pub fn section_of_any(&self, key: &str, report: &mut Report) -> Option<Section<'n>> {
        let entry = self.entry(key)?;
        let path = join(&self.path, key);
        Section::of(&entry.value, path, entry.place, Known::default(), report)
    }

    /// Reports every key that has no meaning here.
    pub fn refuse_unknown(&self, report: &mut Report) {
        for entry in self.entries {
            if self.known.allowed(&entry.key).is_some() {
                continue;
            }
            let names = || self.known.iter().map(|(name, _)| name);
            let hint = if report.is_full() {
                String::new()
            } else if let Some(place) = home(&entry.key) {
                format!("it belongs to {place}")
            } else if let Some(name) = nearest(&entry.key, names()) {
                format!("did you mean {name}?")
            } else {
                let all: Vec<&str> = names().collect();
                format!("allowed are {}", all.join(", "))
            };
            let path = join(&self.path, &entry.key);
            report.add(entry.place, &path, format!("unknown key here; {hint}"));
        }
    }

    /// Another set of known keys.
    #[must_use]
    pub fn knowing(self, known: Known) -> Section<'n> {
        Section { known, ..self }
    }

    /// A key with its value, if it is there.
    pub fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// A key's value, if it is there.
    pub fn field(&self, key: &str) -> Option<Field<'n>> {
        let entry = self.entry(key)?;
        Some(Field {
            path: join(&self.path, key),
            place: entry.value.place,
            node: &entry.value,
            allowed: self.known.allowed(key).unwrap_or_default().to_owned(),
        })
    }

    /// Reports something about a key: at its place if it is there, else at the section's.
    pub fn add(&self, key: &str, report: &mut Report, text: impl AsRef<str>) {
        let place = self
            .entry(key)
            .map_or(self.place, |entry| entry.value.place);
        report.add(place, &join(&self.path, key), text);
    }

    /// Reports that a key must be there.
    pub fn missing(&self, key: &str, report: &mut Report) {
        let allowed = self.known.allowed(key).unwrap_or_default();
        let text = format!("missing; needed is {allowed}");
        report.add(self.place, &join(&self.path, key), text);
    }

    /// A name.
    pub fn name(&self, key: &str, report: &mut Report) -> Option<String> {
        let field = self.field(key)?;
        match field.text() {
            Some(text) if is_name(text) => Some(text.to_owned()),
            _ => field.wrong(report),
        }
    }

    /// A name or null.
    pub fn name_or_null(&self, key: &str, report: &mut Report) -> Option<String> {
        if self.field(key)?.is_null() {
            return None;
        }
        self.name(key, report)
    }

    /// An absolute path.
    pub fn path(&self, key: &str, report: &mut Report) -> Option<PathBuf> {
        let field = self.field(key)?;
        match field.text().and_then(absolute) {
            Some(path) => Some(path),
            None => field.wrong(report),
        }
    }

    /// An absolute path or null.
    pub fn path_or_null(&self, key: &str, report: &mut Report) -> Option<PathBuf> {
        if self.field(key)?.is_null() {
            return None;
        }
        self.path(key, report)
    }

    /// One of several words.
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        report: &mut Report,
    ) -> Option<T> {
        let field = self.field(key)?;
        let text = field.text().unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        field.wrong(report)
    }

    /// `true` or `false`.
    pub fn switch(&self, key: &str, report: &mut Report) -> Option<bool> {
        self.choice(key, &[("true", true), ("false", false)], report)
    }

    /// Puts the texts of the mapping under `key` into `texts`, which has defaults; null takes one of these out. There are
    /// at most `most`, and `wrong_name` says what is wrong with a name, if something is.
    pub fn texts_or_null(
        &self,
        key: &str,
        most: usize,
        wrong_name: impl Fn(&str) -> Option<&'static str>,
        texts: &mut Vec<(String, Option<String>)>,
        report: &mut Report,
    ) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        let path = join(&self.path, key);
        let known = Known::default();
        let Some(map) = Section::of(&entry.value, path, entry.place, known, report) else {
            return;
        };
        if map.entries.len() > most {
            let text = format!("found {}; allowed are {most}", map.entries.len());
            report.add(map.place, &map.path, text);
        }
        for entry in map.entries.iter().take(most) {
            let Some(mut field) = map.field(&entry.key) else {
                continue;
            };
            if let Some(wrong) = wrong_name(&entry.key) {
                report.add(entry.place, &field.path, wrong);
                continue;
            }
            field.allowed = "a text of 1 to 1024 printable characters, or null".to_owned();
            let value = match field.text() {
                None if field.is_null() => None,
                Some(text) if is_name(text) => Some(text.to_owned()),
                _ => {
                    field.refuse(report);
                    continue;
                }
            };
            texts.retain(|(name, _)| *name != entry.key);
            texts.push((entry.key.clone(), value));
        }
        texts.sort();
    }

    /// Sets every number that is there.
    pub fn numbers<T>(&self, numbers: &[Number<T>], into: &mut T, report: &mut Report) {
        for number in numbers {
            let Some(field) = self.field(number.name) else {
                continue;
            };
            let value: Option<u64> = field.text().and_then(|text| text.parse().ok());
            match value {
                Some(value) if (number.min..=number.max).contains(&value) => {
                    (number.set)(into, value);
                }
                _ => {
                    let allowed = format!("a whole number, {}", number.allowed());
                    Field { allowed, ..field }.refuse(report);
                }
            }
        }
    }
}
