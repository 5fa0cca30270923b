//! The Prometheus text format, version 0.0.4, as others write it.
//!
//! Invariant: whatever the page holds, what comes out are at most `series_max` series with valid names and labels; a
//! line that cannot be read is counted and the next one is read. Timestamps are not taken over: a snapshot has one.

use std::collections::HashMap;

use crate::config::scrape::Scrape;
use crate::node::snapshot::{Kind, Spec, Unit};

/// Longer lines are malformed.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// A series with more labels is malformed.
pub const LABELS_MAX: usize = 64;
/// Longer help texts are cut.
const HELP_CHARS_MAX: usize = 256;

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scraped {
    /// In the order of the page.
    pub families: Vec<Family>,
    /// Samples that the page had, wanted or not.
    pub samples: u64,
    /// Lines that could not be read, or were beyond `series_max`.
    pub malformed: u64,
}

/// The series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// What it is.
    pub spec: Spec,
    /// Its series.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names and values, without the target's.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// What the comments said of a family.
#[derive(Default)]
struct Said<'p> {
    kind: Option<&'p str>,
    help: Option<&'p str>,
}

/// Reads a page; takes what the target's config wants.
pub fn read(page: &[u8], config: &Scrape) -> Scraped {
    let page = String::from_utf8_lossy(page);
    let mut scraped = Scraped::default();
    let mut said: HashMap<&str, Said<'_>> = HashMap::new();
    let mut numbers: HashMap<&str, Option<usize>> = HashMap::new();
    let reserved = config.target_labels();
    let mut taken = 0;
    for line in page.lines() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            remember(comment, &mut said);
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let sample = if line.len() <= LINE_BYTES_MAX {
            sample(line)
        } else {
            None
        };
        let Some((name, mut labels, value)) = sample else {
            scraped.malformed += 1;
            continue;
        };
        scraped.samples += 1;
        let families = &mut scraped.families;
        let number = *numbers.entry(name).or_insert_with(|| {
            config.wants(name).then(|| {
                families.push(Family {
                    spec: spec(name, &said),
                    series: Vec::new(),
                });
                families.len() - 1
            })
        });
        let Some(family) = number.and_then(|number| families.get_mut(number)) else {
            continue;
        };
        if taken >= config.series_max {
            scraped.malformed += 1;
            continue;
        }
        taken += 1;
        // What the target says of itself gives way to what we say of it.
        for (label, _) in &mut labels {
            if reserved.iter().any(|(reserved, _)| reserved == label) {
                label.insert_str(0, "exported_");
            }
        }
        family.series.push(Series { labels, value });
    }
    scraped
}

fn remember<'p>(comment: &'p str, said: &mut HashMap<&'p str, Said<'p>>) {
    let mut words = comment.trim_start().splitn(3, [' ', '\t']);
    let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    match what {
        "TYPE" => said.entry(name).or_default().kind = Some(rest.trim()),
        "HELP" => said.entry(name).or_default().help = Some(rest.trim()),
        _ => {}
    }
}

/// What a name's values mean: by its own type, or as a part of a histogram or summary.
fn spec(name: &str, said: &HashMap<&str, Said<'_>>) -> Spec {
    let own = said.get(name).and_then(|said| said.kind);
    let part = ["_bucket", "_count", "_sum"]
        .iter()
        .find_map(|suffix| said.get(name.strip_suffix(suffix)?));
    let part_kind = part.and_then(|said| said.kind);
    let kind = match (own, part_kind) {
        (Some("counter"), _) | (None, Some("histogram" | "summary")) => Kind::Counter,
        (Some("gauge" | "summary"), _) => Kind::Gauge,
        _ => Kind::Untyped,
    };
    let help = said.get(name).or(part).and_then(|said| said.help);
    let help: String = help
        .unwrap_or_default()
        .chars()
        .take(HELP_CHARS_MAX)
        .collect();
    let bare = name.strip_suffix("_total").unwrap_or(name);
    let unit = if bare.ends_with("_seconds") {
        Unit::Seconds
    } else if bare.ends_with("_bytes") {
        Unit::Bytes
    } else {
        Unit::One
    };
    Spec {
        name: name.to_owned().into(),
        help: help.into(),
        kind,
        unit,
    }
}

type Read<'p> = (&'p str, Vec<(String, String)>, f64);

/// A sample's line: name, labels, value, and a timestamp that must be a number if there is one.
fn sample(line: &str) -> Option<Read<'_>> {
    let name_end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at_checked(name_end)?;
    if !is_name(name, true) {
        return None;
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = value(words.next()?)?;
    if let Some(timestamp) = words.next() {
        let _milliseconds: i64 = timestamp.parse().ok()?;
    }
    words.next().is_none().then_some((name, labels, value))
}

fn value(text: &str) -> Option<f64> {
    // Rust reads inf, infinity and nan in any case, and no hexadecimal numbers: as the format does.
    text.parse().ok()
}

fn is_name(name: &str, colon: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

type Labelled<'p> = (Vec<(String, String)>, &'p str);

/// Labels up to the closing brace, and what stands behind it.
fn labels(inner: &str) -> Option<Labelled<'_>> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = inner;
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_end();
        let is_known = labels.iter().any(|(known, _)| known == name);
        if !is_name(name, false) || is_known || labels.len() >= LABELS_MAX {
            return None;
        }
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.to_owned(), value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                // What is no escape stands for itself, as in Prometheus' own reader.
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests;
