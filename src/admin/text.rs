//! The Prometheus text format, version 0.0.4, written by hand: for families that the `metrics` facade cannot
//! carry (counters with fractions; series that must vanish with what they describe).
//!
//! Invariant: a page lists each family once, in the order of the names, HELP and TYPE before its samples.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never falls while the process lives.
    Counter,
    /// A state.
    Gauge,
}

impl Kind {
    /// The kind that a name says: counters end in `_total`.
    pub fn of(name: &str) -> Kind {
        if name.ends_with("_total") {
            Kind::Counter
        } else {
            Kind::Gauge
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// A page of families under construction.
#[derive(Default)]
pub struct Page {
    families: BTreeMap<String, String>,
}

impl Page {
    /// Starts a family, if it is new.
    pub fn family(&mut self, name: &'static str, help: &str) -> Family<'_> {
        let text = self.families.entry(name.to_owned()).or_insert_with(|| {
            let kind = Kind::of(name).as_str();
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
        });
        Family { name, text }
    }

    /// Takes over a page in the same format whose families are parted by blank lines and are not in this page.
    /// The samples of a family are put in order.
    pub fn merge(&mut self, text: &str) {
        for family in text.split_terminator("\n\n") {
            let (comments, mut samples): (Vec<&str>, Vec<&str>) =
                family.lines().partition(|line| line.starts_with('#'));
            let typed = comments
                .iter()
                .find_map(|line| line.strip_prefix("# TYPE "));
            let Some((name, _)) = typed.and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            samples.sort_unstable();
            let mut block = String::with_capacity(family.len() + 1);
            for line in comments.into_iter().chain(samples) {
                block.push_str(line);
                block.push('\n');
            }
            self.families.insert(name.to_owned(), block);
        }
    }

    /// The page.
    pub fn finish(self) -> String {
        self.families.into_values().collect()
    }
}

/// One family of a [`Page`].
pub struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Family<'_> {
    /// Adds a sample. Label names are ours; values may be anything.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.text.push_str(if at == 0 { "{" } else { "," });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    // Some scrapers take a carriage return for a line's end; the format has no escape for it.
                    control if control.is_control() => self.text.push('\u{fffd}'),
                    plain => self.text.push(plain),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a String does not fail.
        let _written: std::fmt::Result = writeln!(self.text, " {value}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_sorted_typed_once_and_escaped() {
        let mut page = Page::default();
        page.family("b", "Two\nlines \\ here.").sample(&[], 0.5);
        page.family("a_total", "One.")
            .sample(&[("x", "q\"b\\n\n"), ("y", "\r")], 1);
        page.family("b", "Two\nlines \\ here.")
            .sample(&[("x", "")], 2);
        assert_eq!(
            page.finish(),
            "# HELP a_total One.\n# TYPE a_total counter\na_total{x=\"q\\\"b\\\\n\\n\",y=\"\u{fffd}\"} 1\n\
             # HELP b Two\\nlines \\\\ here.\n# TYPE b gauge\nb 0.5\nb{x=\"\"} 2\n"
        );
    }

    #[test]
    fn a_merged_page_is_put_in_order() {
        let mut page = Page::default();
        page.family("m", "M.").sample(&[], 1);
        page.merge(
            "# HELP z Z.\n# TYPE z gauge\nz{a=\"2\"} 2\nz{a=\"1\"} 1\n\n# TYPE c counter\nc 3\n\n",
        );
        assert_eq!(
            page.finish(),
            "# TYPE c counter\nc 3\n# HELP m M.\n# TYPE m gauge\nm 1\n\
             # HELP z Z.\n# TYPE z gauge\nz{a=\"1\"} 1\nz{a=\"2\"} 2\n"
        );
    }
}
