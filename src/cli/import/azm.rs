//! Container Insights: every setting of its ConfigMap and of a rule's data collection settings, and what becomes of it.
//!
//! Invariant: the tables ([`logs::ROWS`], [`metrics::ROWS`], [`agent::ROWS`], [`rule::ROWS`]) are the whole mapping. A
//! setting that is in none of them is reported as not understood.

mod agent;
mod logs;
mod metrics;
mod rule;

use toml::de::DeTable;

use crate::config::mistake::nearest;

use super::draft::Draft;
use super::notes::{Notes, Outcome};
use super::source::Found;
use super::value::Value;

/// What becomes of one setting.
struct Row {
    /// Its path; `.*` at the end is all below it.
    path: &'static str,
    take: Take,
}

/// How it is decided.
enum Take {
    /// By its value.
    By(fn(&Value, &mut Draft) -> Outcome),
    /// It is so in any case: why.
    Needless(&'static str),
    /// There is no equivalent, whatever its value: why, and what to do in its place.
    Lacking(&'static str, &'static str),
    /// The same, unless it is off: then there is nothing to do.
    UnlessOff(&'static str, &'static str),
}

const fn by(path: &'static str, take: fn(&Value, &mut Draft) -> Outcome) -> Row {
    Row {
        path,
        take: Take::By(take),
    }
}

const fn needless(path: &'static str, why: &'static str) -> Row {
    Row {
        path,
        take: Take::Needless(why),
    }
}

const fn lacking(path: &'static str, why: &'static str, instead: &'static str) -> Row {
    Row {
        path,
        take: Take::Lacking(why, instead),
    }
}

const fn unless_off(path: &'static str, why: &'static str, instead: &'static str) -> Row {
    Row {
        path,
        take: Take::UnlessOff(why, instead),
    }
}

/// The sections of the ConfigMap: the key under `data`, and the table of TOML in it.
const SECTIONS: [(&str, &str, &[Row]); 6] = [
    (
        "log-data-collection-settings",
        "log_collection_settings",
        logs::ROWS,
    ),
    (
        "prometheus-data-collection-settings",
        "prometheus_data_collection_settings",
        metrics::ROWS,
    ),
    (
        "metric_collection_settings",
        "metric_collection_settings",
        metrics::ROWS,
    ),
    (
        "alertable-metrics-configuration-settings",
        "alertable_metrics_configuration_settings",
        metrics::ROWS,
    ),
    ("integrations", "integrations", metrics::ROWS),
    ("agent-settings", "agent_settings", agent::ROWS),
];

impl Row {
    fn is_of(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == self.path,
        }
    }

    fn outcome(&self, value: &Value, draft: &mut Draft) -> Outcome {
        match self.take {
            Take::By(take) => take(value, draft),
            Take::Needless(why) => Outcome::needless(why),
            Take::Lacking(why, instead) => Outcome::lacking(why, instead),
            Take::UnlessOff(..) if value.is_off() => Outcome::needless("off there as here"),
            Take::UnlessOff(why, instead) => Outcome::lacking(why, instead),
        }
    }
}

/// Makes the configuration of what was found.
pub(super) fn translate(found: &Found) -> (Draft, Notes) {
    let (mut draft, mut notes) = (Draft::default(), Notes::default());
    let mut maps = found.maps.iter();
    for (key, value) in maps.next().into_iter().flatten() {
        section(key, value, &mut draft, &mut notes);
    }
    for _ in maps {
        notes.unreadable(
            super::source::MAP_NAME,
            "another ConfigMap; a cluster has one, so the first was taken",
        );
    }
    rule::all(found, &mut draft, &mut notes);
    logs::finish(&draft, &mut notes);
    metrics::finish(&draft, &mut notes);
    (draft, notes)
}

/// One key under `data`.
fn section(key: &str, value: &Value, draft: &mut Draft, notes: &mut Notes) {
    match key {
        "schema-version" => return notes.add(key, value, schema_version(value)),
        "config-version" => {
            let why = "a mark of your own; a comment does as well";
            return notes.add(key, value, Outcome::needless(why));
        }
        _ => {}
    }
    let Some((_, root, rows)) = SECTIONS.iter().find(|(name, ..)| *name == key) else {
        let names = SECTIONS.iter().map(|(name, ..)| *name);
        let hint = nearest(key, names).map(|name| format!("; did you mean {name}?"));
        let what = format!("no section that is known{}", hint.unwrap_or_default());
        return notes.unreadable(key, &what);
    };
    let text = match value {
        Value::Null => return,
        Value::Text(text) => text,
        _ => return notes.unreadable(key, "not a text; allowed is a text of TOML"),
    };
    let table = match DeTable::parse(text) {
        Ok(table) => Value::of_toml(table.get_ref()),
        Err(error) => {
            let end = error.span().map_or(0, |span| span.start);
            let line = text.get(..end).unwrap_or_default().matches('\n').count() + 1;
            let what = format!(
                "not TOML, line {line} of the section: {}; Container Insights uses its defaults, and so does this",
                error.message()
            );
            return notes.unreadable(key, &what);
        }
    };
    settings(&table, Some(root), rows, draft, notes);
}

/// All settings in `table`, each by its row. If `root` is given, only that table is read.
fn settings(table: &Value, root: Option<&str>, rows: &[Row], draft: &mut Draft, notes: &mut Notes) {
    table.leaves("", &mut |path, value| {
        if let Some(root) = root
            && path.split('.').next() != Some(root)
        {
            let what = format!("does not belong here; this section has [{root}]");
            return notes.add(path, value, Outcome::wrong(what));
        }
        let outcome = match rows.iter().find(|row| row.is_of(path)) {
            Some(row) => row.outcome(value, draft),
            None => unknown(path, rows),
        };
        notes.add(path, value, outcome);
    });
}

/// What is said of a setting that no row knows.
fn unknown(path: &str, rows: &[Row]) -> Outcome {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let (table, own) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = rows.iter().map(|row| row.path);
    let beside = beside.filter(|it| it.rsplit_once('.').map_or("", |(table, _)| table) == table);
    let hint = nearest(own, beside.map(last)).map(|name| format!("; did you mean {name}?"));
    Outcome::wrong(format!(
        "no setting that is known{}",
        hint.unwrap_or_default()
    ))
}

fn schema_version(value: &Value) -> Outcome {
    match value.text() {
        Some("v1") => Outcome::needless("the form of this ConfigMap"),
        Some("v2") => Outcome::needless(
            "read as v1 is; an agent of Container Insights that knows v1 alone refuses it and uses its defaults",
        ),
        _ => {
            Outcome::wrong("allowed is v1 or v2; Container Insights refuses it; read here as v1 is")
        }
    }
}

/// A switch, set by its value.
fn switch(value: &Value, to: &mut bool) -> Outcome {
    match value.switch() {
        Some(on) => {
            *to = on;
            Outcome::Taken
        }
        None => not("true or false"),
    }
}

/// The value has another type than it should.
fn not(allowed: &str) -> Outcome {
    Outcome::wrong(format!("allowed is {allowed}; the default stays"))
}

/// A duration as Go writes it, for instance `1m`, `90s` or `1h30m`, in milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let unit_ms = match unit {
            "ns" => 1e-6,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * unit_ms;
        rest = after;
    }
    // Beyond what a u64 holds the cast saturates.
    (!text.trim().is_empty()).then_some(sum as u64)
}

#[cfg(test)]
mod tests;
