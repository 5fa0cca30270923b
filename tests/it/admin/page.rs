//! A strict reader of the Prometheus text format and of the tables in METRICS.md.

use std::collections::{BTreeMap, BTreeSet};

pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

#[derive(Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

impl Family {
    /// The label names of the series, sorted.
    pub fn label_names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self
            .samples
            .iter()
            .flat_map(|sample| sample.labels.keys())
            .collect();
        names.into_iter().cloned().collect()
    }
}

pub struct Page {
    pub families: BTreeMap<String, Family>,
    /// Names in the order of the page.
    pub order: Vec<String>,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

impl Page {
    /// Reads a page; anything out of form is a failed test: HELP, then TYPE, then the samples of a family, each
    /// family once, each series once.
    pub fn parse(text: &str) -> Page {
        assert!(text.is_empty() || text.ends_with('\n'));
        let mut page = Page {
            families: BTreeMap::new(),
            order: Vec::new(),
        };
        let mut series: BTreeSet<String> = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(is_name(name), "{line}");
                let family = Family {
                    help: help.to_owned(),
                    ..Family::default()
                };
                assert!(
                    page.families.insert(name.to_owned(), family).is_none(),
                    "twice: {line}"
                );
                page.order.push(name.to_owned());
                continue;
            }
            let current = page
                .order
                .last()
                .unwrap_or_else(|| panic!("no HELP before {line}"));
            let family = page.families.get_mut(current).unwrap();
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "TYPE follows its HELP");
                assert!(
                    family.kind.is_empty() && ["counter", "gauge", "untyped"].contains(&kind),
                    "{line}"
                );
                family.kind = kind.to_owned();
                continue;
            }
            assert!(!family.kind.is_empty(), "a sample before its TYPE: {line}");
            let rest = line.strip_prefix(&**current);
            let rest = rest.unwrap_or_else(|| panic!("{line:?} is not of the family {current}"));
            let (labels, value) = parse_labels(rest);
            assert!(
                series.insert(format!("{current}{labels:?}")),
                "twice: {line}"
            );
            let value = value.strip_prefix(' ').unwrap().parse().unwrap();
            family.samples.push(Sample { labels, value });
        }
        page
    }

    fn matching<'a>(
        &'a self,
        family: &str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let family = self
            .families
            .get(family)
            .unwrap_or_else(|| panic!("no {family}"));
        family.samples.iter().filter(|sample| {
            labels
                .iter()
                .all(|(name, value)| sample.labels.get(*name).is_some_and(|it| it == value))
        })
    }

    /// The sum of the series that have these labels.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(family, labels)
            .map(|sample| sample.value)
            .sum()
    }

    /// The values of one label among the series that have these labels.
    pub fn label_values(
        &self,
        family: &str,
        labels: &[(&str, &str)],
        name: &str,
    ) -> BTreeSet<String> {
        self.matching(family, labels)
            .map(|sample| sample.labels[name].clone())
            .collect()
    }
}

/// `{name="value",...}` if there is one, and what follows.
fn parse_labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text);
    };
    loop {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{text}");
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("unknown escape {other:?} in {text}"),
                }),
                (_, plain) => value.push(plain),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{text}");
        rest = &quoted[end + 1..];
        if let Some(more) = rest.strip_prefix(',') {
            rest = more;
        } else {
            return (labels, rest.strip_prefix('}').unwrap());
        }
    }
}

/// The families in the tables of METRICS.md: name to type and sorted labels.
pub fn documented(text: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let mut families = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("| `") && !line.starts_with("| `/"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{line}");
        let [name, kind, labels, unit, meaning] = cells[..5] else {
            panic!("{line}");
        };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        let mut labels: Vec<String> = match labels {
            "-" => Vec::new(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        labels.sort();
        let entry = (kind.to_owned(), labels);
        assert!(
            families
                .insert(name.trim_matches('`').to_owned(), entry)
                .is_none(),
            "{line}"
        );
    }
    families
}
