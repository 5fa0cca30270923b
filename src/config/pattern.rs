//! Regular expressions in a config: names that are kept or dropped, mounts and devices that are left out.
//!
//! Invariant: a [`Pattern`] is known to be one, and not longer than a config's text may be.

use regex_lite::{Regex, RegexBuilder};

/// Largest compiled expression, in bytes: an alternation of a hundred names has some 50 KiB.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// A regular expression in the syntax that Prometheus uses (RE2), without Unicode classes.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    compiled: Regex,
}

impl Pattern {
    /// One that has to match a whole name, as in Prometheus' relabelling. The error says what is wrong with it.
    pub fn whole(text: &str) -> Result<Pattern, String> {
        Pattern::compile(text, &format!("^(?:{text})$"))
    }

    /// One that has to match any part of a name; `^` and `$` tie it to its ends. The error says what is wrong with it.
    pub fn part(text: &str) -> Result<Pattern, String> {
        Pattern::compile(text, text)
    }

    fn compile(text: &str, expression: &str) -> Result<Pattern, String> {
        // By itself first: in parentheses `a)(b` would be one.
        Regex::new(text).map_err(|error| error.to_string())?;
        let mut builder = RegexBuilder::new(expression);
        let compiled = builder.size_limit(COMPILED_BYTES_MAX).build();
        Ok(Pattern {
            text: text.to_owned(),
            compiled: compiled.map_err(|error| error.to_string())?,
        })
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        self.compiled.is_match(name)
    }

    /// The expression itself.
    pub fn compiled(&self) -> &Regex {
        &self.compiled
    }

    /// As it stands in the config.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        let kind = |it: &Pattern| (it.text.clone(), it.compiled.as_str().to_owned());
        kind(self) == kind(other)
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_names_and_parts_of_names() {
        let whole = Pattern::whole("node_cpu|node_load.*").unwrap();
        assert!(whole.matches("node_cpu") && whole.matches("node_load15"));
        assert!(!whole.matches("node_cpu_seconds_total") && !whole.matches("x_node_cpu"));
        let part = Pattern::part("^loop").unwrap();
        assert!(part.matches("loop0") && !part.matches("xloop0"));
        assert_ne!(Pattern::part("a"), Pattern::whole("a"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["(", "a)(b", "*", "[z-a]", "(?:a{1000}){1000}", "\\p{L}"] {
            assert!(Pattern::whole(text).is_err(), "{text}");
            assert!(Pattern::part(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Invariant: any text is an expression or refused; what is taken can be matched against anything.
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[a(|)*+?.{}0-9\\[\\]^$\\\\-]{0,40}", name in "\\PC{0,20}") {
            for pattern in [Pattern::whole(&text), Pattern::part(&text)].into_iter().flatten() {
                let _matched: bool = pattern.matches(&name);
                prop_assert_eq!(pattern.as_str(), &text);
            }
        }
    }
}
