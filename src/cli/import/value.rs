//! A value of a foreign configuration, whether it was TOML, YAML or JSON.
//!
//! Invariant: what is shown of a value is one printable line of bounded length, without user and password of a URL.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::mistake::{cut, printable};
use crate::config::yaml;

/// Longest text that is shown of a value, in characters.
const SHOWN_CHARS_MAX: usize = 100;
/// Most items that are shown of a list.
const SHOWN_ITEMS_MAX: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// true or false.
    Switch(bool),
    /// A number as it is written.
    Number(String),
    /// A text, or what has no type of its own here, such as a date.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A mapping, in order.
    Map(Vec<(String, Value)>),
    /// Nothing.
    Null,
}

impl Value {
    /// A TOML document.
    pub(super) fn of_toml(table: &DeTable<'_>) -> Value {
        let entries = table.iter();
        let entries = entries.map(|(key, value)| (key.get_ref().to_string(), of_toml(value)));
        Value::Map(entries.collect())
    }

    /// A node of YAML or JSON.
    pub(super) fn of_yaml(node: &yaml::Node) -> Value {
        match &node.value {
            yaml::Value::Scalar(scalar) if scalar.is_null() => Value::Null,
            yaml::Value::Scalar(scalar) => match scalar.text.as_str() {
                "true" if scalar.plain => Value::Switch(true),
                "false" if scalar.plain => Value::Switch(false),
                text if scalar.plain && text.parse::<f64>().is_ok() => {
                    Value::Number(text.to_owned())
                }
                text => Value::Text(text.to_owned()),
            },
            yaml::Value::List(items) => Value::List(items.iter().map(Value::of_yaml).collect()),
            yaml::Value::Map(entries) => {
                let entries = entries.iter();
                let entries =
                    entries.map(|entry| (entry.key.clone(), Value::of_yaml(&entry.value)));
                Value::Map(entries.collect())
            }
            yaml::Value::Refused => Value::Null,
        }
    }

    /// What a mapping has under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(entries) => {
                let mut entries = entries.iter();
                entries.find(|(name, _)| name == key).map(|(_, it)| it)
            }
            _ => None,
        }
    }

    /// A switch, also as the texts "true" and "false", which Container Insights takes as well.
    pub(super) fn switch(&self) -> Option<bool> {
        match self {
            Value::Switch(on) => Some(*on),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// A whole number, also as a text.
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Value::Number(text) | Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Value::List(items) => items.iter().map(Value::text).collect(),
            _ => None,
        }
    }

    /// Whether it asks for nothing: off, empty, or zero.
    pub(super) fn is_off(&self) -> bool {
        match self {
            Value::Switch(on) => !on,
            Value::Number(text) => text.parse::<f64>().is_ok_and(|number| number == 0.0),
            Value::Text(text) => text.is_empty() || text.eq_ignore_ascii_case("false"),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Null => true,
        }
    }

    /// Everything that is no mapping, with its path, to `seen`.
    pub(super) fn leaves(&self, path: &str, seen: &mut dyn FnMut(&str, &Value)) {
        match self {
            Value::Map(entries) => {
                for (key, value) in entries {
                    value.leaves(&yaml::join(path, key), seen);
                }
            }
            leaf => seen(path, leaf),
        }
    }

    /// The value for a person.
    pub(super) fn shown(&self) -> String {
        cut(&printable(&self.long()), SHOWN_CHARS_MAX)
    }

    fn long(&self) -> String {
        match self {
            Value::Switch(on) => on.to_string(),
            Value::Number(text) => cut(text, SHOWN_CHARS_MAX),
            Value::Text(text) => match text.split_once("://") {
                Some((scheme, rest)) if rest.contains('@') => format!("\"{scheme}://(hidden)\""),
                _ => format!("\"{}\"", cut(text, SHOWN_CHARS_MAX)),
            },
            Value::List(items) => {
                let shown = items.iter().take(SHOWN_ITEMS_MAX).map(Value::long);
                let mut shown: Vec<String> = shown.collect();
                if items.len() > SHOWN_ITEMS_MAX {
                    shown.push("...".to_owned());
                }
                format!("[{}]", shown.join(", "))
            }
            Value::Map(_) => "a mapping".to_owned(),
            Value::Null => "nothing".to_owned(),
        }
    }
}

fn of_toml(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Integer(number) if number.radix() == 10 => {
            Value::Number(number.as_str().to_owned())
        }
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(of_toml).collect()),
        DeValue::Table(table) => Value::of_toml(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Value {
        Value::of_toml(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn types_of_toml_are_told_apart() {
        let value = toml("a = true\nb = \"True\"\nc = 1_000\nd = 95.0\ne = [\"x\", 'y']\nf = [1]");
        let get = |key| value.get(key).unwrap();
        assert_eq!(get("a").switch(), Some(true));
        assert_eq!(get("b").switch(), Some(true));
        assert_eq!((get("c").whole(), get("c").switch()), (Some(1_000), None));
        assert_eq!((get("d").whole(), get("d").text()), (None, None));
        assert_eq!(get("e").texts(), Some(vec!["x", "y"]));
        assert_eq!(get("f").texts(), None);
    }

    #[test]
    fn credentials_in_urls_are_not_shown() {
        let value = toml("u = [\"http://me:secret@h:1/x\", \"http://h/y\"]");
        let shown = value.get("u").unwrap().shown();
        assert!(
            !shown.contains("secret") && shown.contains("http://h/y"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_shown_is_short_and_one_line() {
        let long = Value::List(vec![Value::Text("\n\u{1b}x".repeat(1_000)); 1_000]);
        let shown = long.shown();
        assert!(shown.chars().count() <= SHOWN_CHARS_MAX + 3, "{shown}");
        assert!(!shown.contains(['\n', '\u{1b}']));
    }

    #[test]
    fn leaves_have_their_paths() {
        let mut paths = Vec::new();
        toml("[a.b]\nc = 1\nd = []\n[e]").leaves("", &mut |path, _| paths.push(path.to_owned()));
        assert_eq!(paths, ["a.b.c", "a.b.d"]);
    }
}
