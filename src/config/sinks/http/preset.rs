//! Receivers that take rows over plain HTTP and want them in their own way: names, sizes, a path.

use serde_json::json;

use super::HttpSink;
use crate::config::mistake::Report;
use crate::config::walk::Section;
use crate::config::{RowFormat, Sink};

/// A receiver whose ways are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Datadog's log intake, version 2.
    Datadog,
    /// VictoriaLogs, by its stream of JSON lines.
    VictoriaLogs,
}

/// A byte of a message is six bytes of JSON at worst (`\\u00XX`).
const ESCAPE_FACTOR: usize = 6;

/// What stands around a message in its row, with room for long names.
const AROUND_BYTES: usize = 8 * 1024;

impl Preset {
    /// In the order of the reference.
    pub const ALL: [Preset; 2] = [Preset::Datadog, Preset::VictoriaLogs];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Datadog => "datadog",
            Preset::VictoriaLogs => "victorialogs",
        }
    }

    /// Where it is, if that is known: of Datadog the site of most customers.
    pub const fn url(self) -> Option<&'static str> {
        match self {
            Preset::Datadog => Some("https://http-intake.logs.datadoghq.com/api/v2/logs"),
            Preset::VictoriaLogs => None,
        }
    }

    /// Names of columns, and limits with which no row is too large: what these receivers find too long they cut, or skip
    /// without a word.
    pub(super) fn apply(self, sink: &mut Sink) {
        let (names, row_bytes_max): (&[(&'static str, &str)], usize) = match self {
            Preset::Datadog => {
                sink.rows.format = RowFormat::JsonArray;
                sink.rows.fields = vec![("ddsource".to_owned(), json!("kubernetes"))];
                // 1,000 logs and 5 MB in a request, 1 MB in a log.
                sink.limits.payload_records_max = 1_000;
                sink.limits.payload_uncompressed_bytes_max = 5_000_000;
                let names = &[
                    ("TimeGenerated", "timestamp"),
                    ("Computer", "hostname"),
                    ("ContainerName", "service"),
                    ("LogMessage", "message"),
                    ("LogLevel", "status"),
                ];
                (names, 1_000_000)
            }
            // `-insert.maxLineSizeBytes`
            Preset::VictoriaLogs => {
                let names = &[("TimeGenerated", "_time"), ("LogMessage", "_msg")];
                (names, 256 * 1024)
            }
        };
        for (column, name) in names {
            sink.rows.columns.set(column, Some((*name).to_owned()));
        }
        sink.limits.record_bytes_max = (row_bytes_max - AROUND_BYTES) / ESCAPE_FACTOR;
    }

    /// What has to be there, and what can be told from what is there.
    pub(super) fn complete(self, section: &Section<'_>, sink: &mut HttpSink, report: &mut Report) {
        match self {
            Preset::Datadog => {
                let is_key = |name: &str| name.eq_ignore_ascii_case("DD-API-KEY");
                if !sink.headers.iter().any(|(name, _)| is_key(name)) {
                    let text = "missing is DD-API-KEY, the key of the preset datadog";
                    section.add("headers", report, text);
                }
            }
            Preset::VictoriaLogs => {
                let uri = sink.url.parse::<hyper::Uri>().unwrap_or_default();
                if matches!(uri.path(), "" | "/") && uri.query().is_none() {
                    let host = sink.url.trim_end_matches('/');
                    sink.url = format!("{host}{VICTORIALOGS_PATH}");
                }
            }
        }
    }
}

/// Where VictoriaLogs takes lines, and which of their columns make a stream.
const VICTORIALOGS_PATH: &str =
    "/insert/jsonline?_stream_fields=Computer,PodNamespace,PodName,ContainerName,LogSource";

#[cfg(test)]
mod tests {
    use crate::config::parse::parse;
    use crate::config::render::render;
    use crate::config::{Config, RowFormat, SinkKind};

    fn load(keys: &str) -> Result<Config, String> {
        let text = format!("sinks: {{a: {{type: http, {keys}}}}}");
        parse(&text, "f", &|_| None, "n").map_err(|mistakes| format!("{mistakes:?}"))
    }

    #[test]
    fn a_preset_can_be_overruled_and_is_written_out_whole() {
        for keys in [
            "preset: datadog, headers: {DD-API-KEY: {file: /k}}",
            "preset: datadog, url: 'https://http-intake.logs.datadoghq.eu/api/v2/logs', headers: {dd-api-key: {file: /k}}, \
             columns: {LogMessage: LogMessage, LogLevel: null}, payload_records_max: 10",
            "preset: victorialogs, url: 'http://v:9428'",
            "preset: null, url: 'http://v:9428'",
        ] {
            let config = load(keys).unwrap();
            let again = parse(&render(&config), "f", &|_| None, "n").unwrap();
            assert_eq!(again, config, "{keys}");
        }
        let config = load("preset: victorialogs, url: 'http://v:9428/'").unwrap();
        let sink = &config.sinks[0];
        let SinkKind::Http(http) = &sink.kind else {
            panic!("{sink:?}");
        };
        assert!(
            http.url
                .starts_with("http://v:9428/insert/jsonline?_stream_fields=")
        );
        assert_eq!(sink.rows.columns.name("LogMessage"), Some("_msg"));
        let keys = "preset: datadog, headers: {DD-API-KEY: x}, columns: {LogMessage: LogMessage}";
        let sink = load(keys).unwrap().sinks.remove(0);
        assert_eq!(sink.rows.format, RowFormat::JsonArray);
        assert_eq!(sink.rows.columns.name("LogMessage"), Some("LogMessage"));
        assert_eq!(sink.rows.columns.name("LogLevel"), Some("status"));
    }

    #[test]
    fn what_lacks_is_named() {
        assert!(load("preset: datadog").unwrap_err().contains("DD-API-KEY"));
        assert!(load("preset: victorialogs").unwrap_err().contains("url"));
        assert!(
            load("preset: splunk, url: 'http://h/'")
                .unwrap_err()
                .contains("datadog, victorialogs")
        );
    }
}
