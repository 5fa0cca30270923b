//! Selectors of labels, as Kubernetes writes them: `app=web,tier in (a, b),!canary`.
//!
//! Grammar and meaning are those of the Kubernetes API (Labels and Selectors, set-based requirements): all terms have
//! to hold, and `!=` and `notin` also hold where the key is not there.

use std::collections::BTreeMap;

/// Terms that have to hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Present,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// What values may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// As those of labels: at most 63 of `A-Z a-z 0-9 - _ .`, beginning and ending with a letter or digit.
    OfLabels,
    /// As those of annotations: anything without comma, bracket or space.
    OfAnnotations,
}

/// Most bytes of a selector, and most terms.
const BYTES_MAX: usize = 1024;

impl Selector {
    /// The selector, or what is wrong with it.
    pub fn new(text: &str, values: Values) -> Result<Selector, &'static str> {
        if text.len() > BYTES_MAX {
            return Err("longer than 1024 bytes");
        }
        let terms = split(text)?;
        let terms = terms.into_iter().map(|term| Term::new(term.trim(), values));
        Ok(Selector {
            text: text.to_owned(),
            terms: terms.collect::<Result<Vec<Term>, &'static str>>()?,
        })
    }

    /// As it stands in the config.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all terms hold.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| term.holds(labels))
    }
}

/// The terms: commas within brackets are no ends.
fn split(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut terms = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if inside => return Err("a bracket within brackets"),
            '(' => inside = true,
            ')' if !inside => return Err("a closing bracket without an opening one"),
            ')' => inside = false,
            ',' if !inside => {
                terms.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a bracket is not closed");
    }
    terms.push(text.get(start..).unwrap_or_default());
    Ok(terms)
}

impl Term {
    fn new(text: &str, values: Values) -> Result<Term, &'static str> {
        let term = |key: &str, wanted: Wanted| {
            let key = key.trim();
            if is_key(key) {
                let key = key.to_owned();
                Ok(Term { key, wanted })
            } else {
                Err("a term without the name of a label: [PREFIX/]NAME")
            }
        };
        let value = |value: &str| {
            let value = value.trim();
            match is_value(value, values) {
                true => Ok(value.to_owned()),
                false => Err("a value that no label can have"),
            }
        };
        if let Some(open) = text.find('(') {
            let (head, set) = text.split_at(open);
            let set = set.trim_start_matches('(').trim_end();
            let set = set.strip_suffix(')').ok_or("text behind a bracket")?;
            let all: Vec<String> = set.split(',').map(value).collect::<Result<_, _>>()?;
            let mut words = head.split_whitespace();
            let (key, operator) = (words.next().unwrap_or_default(), words.next());
            return match (operator, words.next()) {
                (Some("in"), None) => term(key, Wanted::In(all)),
                (Some("notin"), None) => term(key, Wanted::NotIn(all)),
                _ => Err("brackets stand behind `in` or `notin` alone"),
            };
        }
        if let Some(key) = text.strip_prefix('!') {
            return term(key, Wanted::Absent);
        }
        if let Some((key, text)) = text.split_once("!=") {
            return term(key, Wanted::NotIn(vec![value(text)?]));
        }
        if let Some((key, text)) = text.split_once('=') {
            let text = text.strip_prefix('=').unwrap_or(text);
            return term(key, Wanted::In(vec![value(text)?]));
        }
        term(text, Wanted::Present)
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.wanted {
            Wanted::Present => value.is_some(),
            Wanted::Absent => value.is_none(),
            Wanted::In(values) => value.is_some_and(|value| values.contains(value)),
            Wanted::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
        }
    }
}

/// `[PREFIX/]NAME`: at most 253 and 63 characters.
fn is_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let in_prefix = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let good = |prefix: &str| (1..=253).contains(&prefix.len()) && prefix.chars().all(in_prefix);
    prefix.is_none_or(good) && !name.is_empty() && is_label_text(name)
}

fn is_value(text: &str, values: Values) -> bool {
    match values {
        Values::OfLabels => is_label_text(text),
        Values::OfAnnotations => !text.chars().any(|c| c.is_whitespace() || c.is_control()),
    }
}

/// Empty, or at most 63 characters between letters or digits.
fn is_label_text(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
        let selector = Selector::new(selector, Values::OfLabels).unwrap();
        selector.matches(&labels(pairs))
    }

    #[test]
    fn each_kind_of_term_holds_as_in_kubernetes() {
        let web = &[("app", "web"), ("tier", "b")];
        for selector in [
            "app",
            "app=web",
            "app==web",
            " app = web ",
            "app!=db",
            "x!=y",
            "!x",
            "app in (web, db)",
            "app notin (db)",
            "x notin (y)",
            "app=web,tier in (a,b),!x",
        ] {
            assert!(matches(selector, web), "{selector}");
        }
        for selector in [
            "x",
            "app=db",
            "app!=web",
            "!app",
            "app in (db)",
            "app notin (web,db)",
            "x in (y)",
            "app=web,tier=a",
            "app=",
        ] {
            assert!(!matches(selector, web), "{selector}");
        }
        assert!(matches("app=", &[("app", "")]));
        assert!(matches(
            "app.kubernetes.io/name=x",
            &[("app.kubernetes.io/name", "x")]
        ));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "",
            ",",
            "a,",
            "=x",
            "!",
            "a in",
            "a in b",
            "a in (b",
            "a in b)",
            "a (b)",
            "a in ((b))",
            "a in (b) c",
            "-a=b",
            "a=-b",
            "a=b c",
            "a/b/c",
            "/a",
            "a/",
            "in (x)",
            "a b in (c)",
        ] {
            assert!(Selector::new(text, Values::OfLabels).is_err(), "{text}");
        }
        assert!(Selector::new("a=http://x", Values::OfLabels).is_err());
        assert!(Selector::new("a=http://x", Values::OfAnnotations).is_ok());
    }

    proptest! {
        /// Any text is a selector or refused, and what is taken can be asked about anything.
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[a!=,() innot]{0,24}", key in "[a-z]{1,3}") {
            if let Ok(selector) = Selector::new(&text, Values::OfAnnotations) {
                let _held: bool = selector.matches(&labels(&[(&key, "x")]));
                prop_assert_eq!(selector.as_str(), text);
            }
        }

        /// A selector and its opposite never agree.
        #[test]
        fn opposites_disagree(key in "[ab]", value in "[xy]", has in "[ab]", of in "[xy]") {
            let pairs = [(has.as_str(), of.as_str())];
            for (one, other) in [("=", "!="), (" in (", " notin (")] {
                let close = if one.ends_with('(') { ")" } else { "" };
                let is = matches(&format!("{key}{one}{value}{close}"), &pairs);
                let is_not = matches(&format!("{key}{other}{value}{close}"), &pairs);
                prop_assert_ne!(is, is_not);
            }
        }
    }
}
