//! What a pod's annotations ask for: ours, typed, and those that other agents' users already have.
//!
//! Invariants: what they say holds for the containers of that pod alone; each can only take away from what is
//! collected; whatever they hold, the result is bounded, and what cannot be obeyed is said in [`Wishes::errors`].
//!
//! | annotation | for one container | says |
//! |---|---|---|
//! | `longshore.dev/exclude` | `longshore.dev/exclude.CONTAINER` | `true`, `false`, `stdout` or `stderr` |
//! | `longshore.dev/multiline` | `.CONTAINER` | names of groupings, separated by commas |
//! | `longshore.dev/parse-json` | `.CONTAINER` | a switch |
//! | `longshore.dev/sample` | `.CONTAINER` | what part of the records is kept, 0 to 1 |
//! | `longshore.dev/rate` | `.CONTAINER` | `N lines/s`, `N bytes/s`, or both with a comma |
//! | `longshore.dev/redact` | `.CONTAINER` | names of detectors, separated by commas |
//! | `longshore.dev/min-level` | `.CONTAINER` | the least urgent level that is kept |
//! | `fluentbit.io/exclude` | `exclude-CONTAINER`, `exclude_stdout`, `exclude_stderr-CONTAINER` | a switch (its kubernetes filter) |
//! | `vector.dev/exclude`, there a label | | `true` |
//! | `vector.dev/exclude-containers` | | names, separated by commas |
//! | `co.elastic.logs/enabled` | `co.elastic.logs.CONTAINER/enabled` | a switch |
//! | `ad.datadoghq.com/logs_exclude`, `exclude` | `ad.datadoghq.com/CONTAINER.logs_exclude` | a switch |
//!
//! What is said for a container counts before what the same annotation says for its pod.

use crate::pods::PodInfo;
use crate::record::{Level, Stream};

/// What a pod asks for, for one of its containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// The annotation by which the container is excluded as a whole.
    pub excluded_by: Option<String>,
    /// Per stream: whether its lines are excluded.
    pub streams_excluded: [bool; 2],
    /// How lines are grouped to records: names of groupings, at most [`NAMES_MAX`]. Empty: `none` was asked for.
    pub multiline: Option<Vec<String>>,
    /// Whether a message that is a JSON object is written as one.
    pub parse_json: Option<bool>,
    /// What part of the records is kept, 0 to 1.
    pub sample: Option<f64>,
    /// Most lines per second.
    pub rate_lines: Option<u64>,
    /// Most bytes per second.
    pub rate_bytes: Option<u64>,
    /// Names of detectors whose finds are masked, at most [`NAMES_MAX`].
    pub redact: Vec<String>,
    /// The least urgent level that is kept.
    pub min_level: Option<Level>,
    /// What cannot be obeyed, at most [`ERRORS_MAX`].
    pub errors: Vec<AnnotationError>,
}

impl Wishes {
    /// Notes what cannot be obeyed.
    pub fn refuse(&mut self, annotation: &str, found: &str, allowed: &'static str) {
        let cut = |text: &str, most: usize| -> String { text.chars().take(most).collect() };
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(AnnotationError {
                annotation: cut(annotation, 320),
                found: cut(found, 64),
                allowed,
            });
        }
    }
}

/// An annotation that says nothing that could be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationError {
    /// Which, cut.
    pub annotation: String,
    /// What it holds, cut.
    pub found: String,
    /// What it may hold.
    pub allowed: &'static str,
}

impl std::fmt::Display for AnnotationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AnnotationError {
            annotation,
            found,
            allowed,
        } = self;
        write!(f, "{annotation}: found {found:?}; allowed is {allowed}")
    }
}

/// Most names in one annotation.
pub const NAMES_MAX: usize = 32;
/// Most errors that are kept of one pod.
pub const ERRORS_MAX: usize = 16;
/// A longer value is no wish.
const VALUE_BYTES_MAX: usize = 1024;
/// More annotations of a pod are not looked at.
const ANNOTATIONS_MAX: usize = 4_096;
/// Greatest rate: what is faster is no limit.
const RATE_MAX: u64 = 1_000_000_000_000;

const SWITCH: &str = "true or false";
const EXCLUDE: &str = "true, false, stdout or stderr";
const SAMPLE: &str = "a decimal number from 0 to 1";
const RATE: &str = "N lines/s, N bytes/s, or both with a comma between them; N is 1 or more";
const LEVEL: &str = "critical, error, warning, info, debug or trace";
const NAMES: &str = "at most 32 names of a-z, 0-9, - and _, separated by commas";
const OURS: &str = "longshore.dev/exclude, multiline, parse-json, sample, rate, redact or min-level, each alone or with .CONTAINER behind it";
const CONTAINER: &str = "the name of a container of the pod behind it";

/// One setting, said for the pod or for the container; the container's counts.
#[derive(Clone, Debug)]
struct Said<T> {
    of_pod: Option<T>,
    of_container: Option<T>,
}

impl<T> Default for Said<T> {
    fn default() -> Said<T> {
        Said {
            of_pod: None,
            of_container: None,
        }
    }
}

impl<T> Said<T> {
    fn set(&mut self, of_container: bool, value: T) {
        let place = match of_container {
            true => &mut self.of_container,
            false => &mut self.of_pod,
        };
        *place = Some(value);
    }

    fn get(self) -> Option<T> {
        self.of_container.or(self.of_pod)
    }
}

/// What has been read so far.
struct Reader<'a> {
    info: &'a PodInfo,
    container: &'a str,
    obeyed: &'a [&'static str],
    wishes: Wishes,
    exclude: Said<(Excludes, &'a str)>,
    multiline: Said<Vec<String>>,
    parse_json: Said<bool>,
    sample: Said<f64>,
    rate: Said<(Option<u64>, Option<u64>)>,
    redact: Said<Vec<String>>,
    min_level: Said<Level>,
    fluent: [Said<(bool, &'a str)>; 2],
    elastic: Said<(bool, &'a str)>,
    datadog: [Said<(bool, &'a str)>; 2],
}

/// What `longshore.dev/exclude` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excludes {
    Nothing,
    All,
    Only(Stream),
}

impl Wishes {
    /// What the pod asks for, for the container of that name, by those annotations that are obeyed.
    pub fn of(info: &PodInfo, container: &str, obeyed: &[&'static str]) -> Wishes {
        if obeyed.is_empty() {
            return Wishes::default();
        }
        let mut reader = Reader {
            info,
            container,
            obeyed,
            wishes: Wishes::default(),
            exclude: Said::default(),
            multiline: Said::default(),
            parse_json: Said::default(),
            sample: Said::default(),
            rate: Said::default(),
            redact: Said::default(),
            min_level: Said::default(),
            fluent: Default::default(),
            elastic: Said::default(),
            datadog: Default::default(),
        };
        for (name, value) in info.annotations.iter().take(ANNOTATIONS_MAX) {
            reader.annotation(name, value);
        }
        let label = info.labels.get(VECTOR_EXCLUDE);
        if label.is_some_and(|value| value == "true") && reader.obeys(VECTOR_EXCLUDE) {
            reader.wishes.excluded_by = Some(VECTOR_EXCLUDE.to_owned());
        }
        reader.finish()
    }
}

const VECTOR_EXCLUDE: &str = "vector.dev/exclude";

impl<'a> Reader<'a> {
    fn obeys(&self, name: &str) -> bool {
        self.obeyed.contains(&name)
    }

    fn annotation(&mut self, name: &'a str, value: &'a str) {
        if let Some(rest) = name.strip_prefix("longshore.dev/") {
            self.ours(name, rest, value);
        } else if let Some(rest) = name.strip_prefix("fluentbit.io/exclude") {
            if self.obeys("fluentbit.io/exclude") {
                self.fluent(name, rest, value);
            }
        } else if name == VECTOR_EXCLUDE {
            if self.obeys(name) && self.switch(name, value) == Some(true) {
                self.wishes.excluded_by = Some(name.to_owned());
            }
        } else if name == "vector.dev/exclude-containers" {
            if self.obeys(name) && value.split(',').any(|it| it.trim() == self.container) {
                self.wishes.excluded_by = Some(name.to_owned());
            }
        } else if let Some(rest) = name.strip_prefix("co.elastic.logs") {
            self.elastic(name, rest, value);
        } else if let Some(rest) = name.strip_prefix("ad.datadoghq.com/") {
            self.datadog(name, rest, value);
        }
    }

    /// Whether `suffix` names the container at hand; `None`: it names another one.
    fn is_ours(&mut self, name: &str, value: &str, suffix: &str) -> Option<bool> {
        if suffix == self.container {
            return Some(true);
        }
        let known = self.info.containers.is_empty() || self.info.container(suffix).is_some();
        if !known {
            self.error(name, value, CONTAINER);
        }
        None
    }

    fn ours(&mut self, name: &'a str, rest: &'a str, value: &'a str) {
        let (wish, suffix) = match rest.split_once('.') {
            Some((wish, suffix)) => (wish, Some(suffix)),
            None => (rest, None),
        };
        let base = format!("longshore.dev/{wish}");
        if !crate::config::select::ANNOTATIONS.contains(&base.as_str()) {
            return self.error(name, value, OURS);
        }
        if !self.obeys(&base) {
            return;
        }
        let of_container = match suffix {
            Some(suffix) => match self.is_ours(name, value, suffix) {
                Some(ours) => ours,
                None => return,
            },
            None => false,
        };
        let text = value.trim();
        let fits = value.len() <= VALUE_BYTES_MAX;
        let text = if fits { text } else { "" };
        let allowed = match wish {
            "exclude" => match excludes(text) {
                Some(excludes) => return self.exclude.set(of_container, (excludes, name)),
                None => EXCLUDE,
            },
            "multiline" => match names(text) {
                Some(names) => return self.multiline.set(of_container, names),
                None => NAMES,
            },
            "parse-json" => match switch(text) {
                Some(switch) => return self.parse_json.set(of_container, switch),
                None => SWITCH,
            },
            "sample" => match sample(text) {
                Some(part) => return self.sample.set(of_container, part),
                None => SAMPLE,
            },
            "rate" => match rate(text) {
                Some(rate) => return self.rate.set(of_container, rate),
                None => RATE,
            },
            "redact" => match names(text) {
                Some(names) => return self.redact.set(of_container, names),
                None => NAMES,
            },
            _ => match level(text) {
                Some(level) => return self.min_level.set(of_container, level),
                None => LEVEL,
            },
        };
        self.error(name, value, allowed);
    }

    /// `exclude[_STREAM][-CONTAINER]`. What other documentation writes with `_` before the container is meant as well.
    fn fluent(&mut self, name: &'a str, rest: &'a str, value: &'a str) {
        let (streams, rest) = if let Some(rest) = rest.strip_prefix("_stdout") {
            ([true, false], rest)
        } else if let Some(rest) = rest.strip_prefix("_stderr") {
            ([false, true], rest)
        } else {
            ([true, true], rest)
        };
        let of_container = match rest.strip_prefix(['-', '_']) {
            Some(suffix) => match self.is_ours(name, value, suffix) {
                Some(ours) => ours,
                None => return,
            },
            None if rest.is_empty() => false,
            None => return,
        };
        if let Some(switch) = self.switch(name, value) {
            for (said, _) in self.fluent.iter_mut().zip(streams).filter(|(_, of)| *of) {
                // The pod's own word for one stream is not taken back by that for both, whatever order they come in.
                let narrow = streams != [true, true];
                let known = match of_container {
                    true => said.of_container.is_some(),
                    false => said.of_pod.is_some(),
                };
                if narrow || !known {
                    said.set(of_container, (switch, name));
                }
            }
        }
    }

    fn elastic(&mut self, name: &'a str, rest: &'a str, value: &'a str) {
        let Some(who) = rest.strip_suffix("/enabled") else {
            return;
        };
        if !self.obeys("co.elastic.logs/enabled") {
            return;
        }
        let of_container = match who.strip_prefix('.') {
            Some(suffix) if suffix == self.container => true,
            None if who.is_empty() => false,
            _ => return,
        };
        if let Some(switch) = self.switch(name, value) {
            self.elastic.set(of_container, (!switch, name));
        }
    }

    fn datadog(&mut self, name: &'a str, rest: &'a str, value: &'a str) {
        let (who, wish) = match rest.rsplit_once('.') {
            Some((who, wish)) => (Some(who), wish),
            None => (None, rest),
        };
        let (at, base) = match wish {
            "exclude" => (0, "ad.datadoghq.com/exclude"),
            "logs_exclude" => (1, "ad.datadoghq.com/logs_exclude"),
            _ => return,
        };
        if !self.obeys(base) || who.is_some_and(|who| who != self.container) {
            return;
        }
        if let Some(switch) = self.switch(name, value)
            && let Some(said) = self.datadog.get_mut(at)
        {
            said.set(who.is_some(), (switch, name));
        }
    }

    fn switch(&mut self, name: &str, value: &str) -> Option<bool> {
        let found = switch(value.trim());
        if found.is_none() {
            self.error(name, value, SWITCH);
        }
        found
    }

    fn error(&mut self, annotation: &str, found: &str, allowed: &'static str) {
        self.wishes.refuse(annotation, found, allowed);
    }

    fn finish(self) -> Wishes {
        let mut wishes = self.wishes;
        let mut exclude = |name: &str| {
            wishes.excluded_by.get_or_insert_with(|| name.to_owned());
        };
        let [one, other] = self.datadog;
        for (excluded, name) in [one.get(), other.get(), self.elastic.get()]
            .into_iter()
            .flatten()
        {
            if excluded {
                exclude(name);
            }
        }
        let fluent = self.fluent.map(Said::get);
        if let [Some((true, name)), Some((true, _))] = fluent {
            exclude(name);
        }
        let mut streams = fluent.map(|said| said.is_some_and(|(excluded, _)| excluded));
        match self.exclude.get() {
            Some((Excludes::All, name)) => exclude(name),
            Some((Excludes::Only(stream), _)) => {
                if let Some(excluded) = streams.get_mut(stream.index()) {
                    *excluded = true;
                }
            }
            Some((Excludes::Nothing, _)) | None => {}
        }
        let (rate_lines, rate_bytes) = self.rate.get().unwrap_or_default();
        Wishes {
            streams_excluded: streams,
            multiline: self.multiline.get().map(without_none),
            parse_json: self.parse_json.get(),
            sample: self.sample.get(),
            rate_lines,
            rate_bytes,
            redact: self.redact.get().map(without_none).unwrap_or_default(),
            min_level: self.min_level.get(),
            ..wishes
        }
    }
}

/// The words that the other agents take, which are those of Go and YAML together.
fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

fn excludes(text: &str) -> Option<Excludes> {
    match text {
        "stdout" => Some(Excludes::Only(Stream::Stdout)),
        "stderr" => Some(Excludes::Only(Stream::Stderr)),
        _ => switch(text).map(|all| {
            if all {
                Excludes::All
            } else {
                Excludes::Nothing
            }
        }),
    }
}

/// A number without sign, exponent, infinity or the like.
fn sample(text: &str) -> Option<f64> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    if text.len() > 32 || !text.chars().all(digits) {
        return None;
    }
    let part: f64 = text.parse().ok()?;
    (0.0..=1.0).contains(&part).then_some(part)
}

fn rate(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (mut lines, mut bytes) = (None, None);
    for part in text.split(',') {
        let part = part.trim();
        let (into, number) = match (part.strip_suffix("lines/s"), part.strip_suffix("bytes/s")) {
            (Some(number), _) => (&mut lines, number),
            (_, Some(number)) => (&mut bytes, number),
            _ => return None,
        };
        let number = number.trim_end();
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| digits)?;
        if into.is_some() || !(1..=RATE_MAX).contains(&number) {
            return None;
        }
        *into = Some(number);
    }
    Some((lines, bytes))
}

fn level(text: &str) -> Option<Level> {
    Some(match text.to_ascii_lowercase().as_str() {
        "critical" => Level::Critical,
        "error" => Level::Error,
        "warning" | "warn" => Level::Warning,
        "info" => Level::Info,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => return None,
    })
}

/// Names in the order in which they were given.
fn names(text: &str) -> Option<Vec<String>> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',') {
        let name = name.trim();
        let good = (1..=64).contains(&name.len()) && name.chars().all(inner);
        if !good || names.len() == NAMES_MAX {
            return None;
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

/// `none` by itself is the wish for none.
fn without_none(names: Vec<String>) -> Vec<String> {
    match names.as_slice() {
        [only] if only == "none" => Vec::new(),
        _ => names,
    }
}

#[cfg(test)]
mod tests;
