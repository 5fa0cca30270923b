//! A configuration as YAML, every default written out, secrets hidden.
//!
//! Invariant: what is rendered parses to an equal configuration, but for secrets that were given as text.

mod select;

use std::fmt::Write;
use std::path::Path;

use super::keys::{
    LIMITS, LINES_NUMBERS, LOGS_NUMBERS, METRICS_NUMBERS, Number, SCRAPE_NUMBERS, TOP_NUMBERS,
};
use super::metrics::{Metrics, Profile};
use super::multiline;
use super::pattern::Pattern;
use super::preset::Preset;
use super::scrape::Scrape;
use super::sinks::http;
use super::substitute::escape;
use super::{Columns, Compression, Config, Lines, ReadFrom, RowFormat, Rows, Secret, Sink};
use crate::record::Level;

/// What stands in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// The configuration as YAML.
pub fn render(config: &Config) -> String {
    let mut page = Page {
        text: String::new(),
        depth: 0,
    };
    page.scalar("node", &config.node);
    page.scalar_or_null("cluster_name", config.cluster_name.as_deref());
    page.raw("preset", config.preset.map_or("null", Preset::name));
    page.path("state_dir", &config.state_dir);
    page.numbers(&TOP_NUMBERS, config);
    page.open("logs");
    page.path("pod_logs", &config.logs.pod_logs);
    page.path("container_links", &config.logs.container_links);
    page.raw("collect_self", config.logs.collect_self);
    page.numbers(&LOGS_NUMBERS, &config.logs);
    multiline::render(&config.logs.multiline, &mut page);
    select::render(&config.logs.select, &mut page);
    page.lines(&config.logs.lines);
    page.close();
    page.metrics(&config.metrics);
    super::kubernetes::render(&config.kubernetes, &mut page);
    page.open("admin");
    page.scalar("listen", &config.admin.listen.to_string());
    page.close();
    page.open("own_log");
    let level = config.own_log.level.as_str().to_ascii_lowercase();
    page.raw("level", level);
    page.raw("format", if config.own_log.json { "json" } else { "text" });
    page.close();
    page.open("sinks");
    for sink in &config.sinks {
        page.sink(sink);
    }
    page.text
}

/// What is written so far.
pub(super) struct Page {
    text: String,
    depth: usize,
}

impl Page {
    /// A key with a value that needs no quotes.
    pub(super) fn raw(&mut self, key: &str, value: impl std::fmt::Display) {
        let indent = self.depth * 2;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{key}: {value}", "");
    }

    /// A key with a text.
    pub(super) fn scalar(&mut self, key: &str, value: &str) {
        self.raw(key, quoted(&escape(value)));
    }

    /// A key with a text or null.
    pub(super) fn scalar_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.scalar(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// A key with a path.
    pub(super) fn path(&mut self, key: &str, path: &Path) {
        self.scalar(key, &path.to_string_lossy());
    }

    /// A key with a secret, or where it lies.
    pub(super) fn secret(&mut self, key: &str, secret: &Secret) {
        match secret {
            Secret::Literal(_) => self.scalar(key, HIDDEN),
            Secret::File(path) => {
                self.open(key);
                self.path("file", path);
                self.close();
            }
        }
    }

    /// Some numbers.
    pub(super) fn numbers<T>(&mut self, numbers: &[Number<T>], from: &T) {
        for number in numbers {
            self.raw(number.name, (number.get)(from));
        }
    }

    /// A key that opens a mapping.
    pub(super) fn open(&mut self, key: &str) {
        self.raw(key, "");
        // The space behind the colon of a key that opens a mapping.
        self.text.truncate(self.text.trim_end().len());
        self.text.push('\n');
        self.depth += 1;
    }

    /// The end of the mapping that was opened last.
    pub(super) fn close(&mut self) {
        self.depth -= 1;
    }

    fn patterns(&mut self, key: &str, patterns: &[Pattern]) {
        self.texts(key, patterns.iter().map(Pattern::as_str));
    }

    /// A key with a list of texts.
    pub(super) fn texts<'a>(&mut self, key: &str, texts: impl Iterator<Item = &'a str>) {
        let items: Vec<String> = texts.map(|text| in_quotes(&escape(text))).collect();
        self.raw(key, format!("[{}]", items.join(", ")));
    }

    fn metrics(&mut self, metrics: &Metrics) {
        self.open("metrics");
        self.raw("enabled", metrics.enabled);
        let profile = match metrics.profile {
            Profile::Minimal => "minimal",
            Profile::Standard => "standard",
            Profile::Full => "full",
        };
        self.raw("profile", profile);
        self.patterns("keep", &metrics.keep);
        self.patterns("drop", &metrics.drop);
        for (key, path) in [
            ("proc", &metrics.proc),
            ("sys", &metrics.sys),
            ("root", &metrics.root),
        ] {
            self.path(key, path);
        }
        for (key, pattern) in [
            (
                "filesystem_mounts_exclude",
                &metrics.filesystem_mounts_exclude,
            ),
            (
                "filesystem_types_exclude",
                &metrics.filesystem_types_exclude,
            ),
            ("disks_exclude", &metrics.disks_exclude),
            ("interfaces_exclude", &metrics.interfaces_exclude),
        ] {
            self.scalar(key, pattern.as_str());
        }
        self.numbers(&METRICS_NUMBERS, metrics);
        self.open("ip");
        let ip = &metrics.ip;
        let networks = ip.cni_networks.as_ref().map(|path| path.to_string_lossy());
        self.scalar_or_null("cni_networks", networks.as_deref());
        self.scalar_or_null("azure_cns_url", ip.azure_cns_url.as_deref());
        self.scalar_or_null("aws_url", ip.aws_url.as_deref());
        self.scalar_or_null("cilium_url", ip.cilium_url.as_deref());
        self.raw("compat_azure", ip.compat_azure);
        self.close();
        if metrics.scrape.is_empty() {
            self.raw("scrape", "[]");
        } else {
            self.open("scrape");
            for target in &metrics.scrape {
                self.scrape(target);
            }
            self.close();
        }
        self.close();
    }

    /// One item of a list: a dash, and its keys one level deeper.
    fn scrape(&mut self, target: &Scrape) {
        let indent = self.depth * 2;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}-", "");
        self.depth += 1;
        http::render_request(&target.http, self);
        self.numbers(&SCRAPE_NUMBERS, target);
        self.patterns("keep", &target.keep);
        self.patterns("drop", &target.drop);
        self.labels(&target.labels);
        self.close();
    }

    /// The mapping `labels`.
    pub(super) fn labels(&mut self, labels: &[(String, Option<String>)]) {
        self.open("labels");
        for (name, value) in labels {
            self.scalar_or_null(&quoted(name), value.as_deref());
        }
        self.close();
    }

    fn sink(&mut self, sink: &Sink) {
        self.open(&sink.name);
        self.raw("type", sink.kind.of().name());
        sink.kind.render(self);
        let words = [
            ("logs", sink.signals.logs),
            ("metrics", sink.signals.metrics),
        ];
        let words = words.iter().filter(|(_, taken)| *taken);
        let words: Vec<&str> = words.map(|(word, _)| *word).collect();
        self.raw("signals", format!("[{}]", words.join(", ")));
        let known = sink.kind.of().keys();
        let has = |key: &str| known.allowed(key).is_some();
        if has("select") {
            select::render(&sink.select, self);
        }
        if has("workers") {
            self.raw("workers", sink.workers);
        }
        if has("read_from") {
            self.read_from(sink.read_from);
        }
        if has("lines") {
            self.lines(&sink.lines);
        }
        if has("format") {
            self.raw("format", format_of(sink.rows.format));
        }
        if has("columns") {
            self.rows(&sink.rows, sink.kind.renames_columns());
        }
        if has("multiline") {
            multiline::render(&sink.multiline, self);
        }
        if has("record_uid") {
            self.raw("record_uid", sink.rows.record_uid);
        }
        if has("include_fields") {
            let names: Vec<&str> = sink.rows.include_fields.names().collect();
            self.raw("include_fields", format!("[{}]", names.join(", ")));
        }
        if has("compression") {
            self.compression(sink.compression);
        }
        for limit in LIMITS.iter().filter(|limit| has(limit.name)) {
            self.raw(limit.name, (limit.get)(&sink.limits));
        }
        self.close();
    }

    fn compression(&mut self, compression: Compression) {
        match compression {
            Compression::None => {
                self.raw("compression", "none");
                self.raw("compression_level", "null");
            }
            Compression::Gzip(level) => {
                self.raw("compression", "gzip");
                self.raw("compression_level", level);
            }
            Compression::Zstd(level) => {
                self.raw("compression", "zstd");
                self.raw("compression_level", level);
            }
            // A part of the protocol; no sink that has it has these keys.
            Compression::Snappy => {}
        }
    }

    fn lines(&mut self, lines: &Lines) {
        self.open("lines");
        self.raw("min_level", level_word(lines.min_level));
        self.raw("keep_unknown", lines.keep_unknown);
        for (key, patterns) in [("include", &lines.include), ("exclude", &lines.exclude)] {
            let items = patterns.iter().map(|it| in_quotes(&escape(it.as_str())));
            let items: Vec<String> = items.collect();
            self.raw(key, format!("[{}]", items.join(", ")));
        }
        self.raw("sample", lines.sample);
        self.raw("sample_keep_level", level_word(lines.sample_keep_level));
        let detectors: Vec<&str> = lines.redact.iter().map(|it| it.as_str()).collect();
        self.raw("redact", format!("[{}]", detectors.join(", ")));
        if lines.redact_patterns.is_empty() {
            self.raw("redact_patterns", "{}");
        } else {
            self.open("redact_patterns");
            for own in &lines.redact_patterns {
                let pattern = in_quotes(&escape(own.pattern.as_str()));
                self.raw(&quoted(&own.name), pattern);
            }
            self.close();
        }
        self.numbers(&LINES_NUMBERS, lines);
        self.close();
    }

    fn read_from(&mut self, read_from: ReadFrom) {
        match read_from {
            ReadFrom::Beginning => self.raw("read_from", "beginning"),
            ReadFrom::End => self.raw("read_from", "end"),
            ReadFrom::Backlog {
                age_max_ms,
                bytes_max,
            } => {
                self.open("read_from");
                for (key, value) in [("age_max_ms", age_max_ms), ("bytes_max", bytes_max)] {
                    match value {
                        Some(value) => self.raw(key, value),
                        None => self.raw(key, "null"),
                    }
                }
                self.close();
            }
        }
    }

    /// `all`: a name that is not written would be another one.
    fn rows(&mut self, rows: &Rows, all: bool) {
        let changed = |column: &&'static str| all || rows.columns.name(column) != Some(*column);
        let columns: Vec<_> = Columns::NAMES.into_iter().filter(changed).collect();
        if columns.is_empty() {
            self.raw("columns", "{}");
        } else {
            self.open("columns");
            for column in columns {
                self.scalar_or_null(column, rows.columns.name(column));
            }
            self.close();
        }
        if rows.fields.is_empty() {
            self.raw("fields", "{}");
        } else {
            self.open("fields");
            for (name, value) in &rows.fields {
                self.raw(&quoted(name), json(value));
            }
            self.close();
        }
        self.raw("parse_json", rows.parse_json);
    }
}

fn level_word(level: Option<Level>) -> String {
    level.map_or_else(|| "null".to_owned(), |it| it.as_str().to_ascii_lowercase())
}

fn format_of(format: RowFormat) -> &'static str {
    match format {
        RowFormat::Ndjson => "ndjson",
        RowFormat::JsonArray => "json_array",
        RowFormat::Protobuf => "protobuf",
    }
}

/// A JSON value in YAML's flow style.
fn json(value: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => quoted(&escape(text)),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) => {
            let entries = entries.iter();
            // Keys are always quoted: in flow style YAML reads more into plain ones.
            let entries: Vec<String> = entries
                .map(|(key, value)| format!("{}: {}", in_quotes(key), json(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// A text as a YAML scalar: plain where nothing else can be read into it.
pub fn quoted(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(word)
        && !meant.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        in_quotes(text)
    }
}

/// A text in double quotes (YAML 1.2.2, section 7.3.1).
fn in_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
