//! THE list of sinks. Each type has one file here: its settings, its keys, what can be wrong with them, and how they are
//! written out.
//!
//! A new type is one such file, one variant of [`SinkType`] and of [`SinkKind`], and one arm in each match on them.

pub mod azure_logs;
pub mod clickhouse;
pub mod elasticsearch;
pub mod file;
pub mod http;
pub mod kafka;
pub mod loki;
pub mod otlp;
pub mod remote_write;
pub mod splunk_hec;

use self::clickhouse::ClickHouseSink;
use super::keys::{Known, common};
use super::mistake::Report;
use super::multiline::Multiline;
use super::render::Page;
use super::select::Select;
use super::walk::Section;
use super::{
    AzureLogsSink, Compression, Config, ElasticsearchSink, FileSink, HttpSink, KafkaSink, Limits,
    Lines, LokiSink, OtlpSink, ReadFrom, RemoteWriteSink, RowFormat, Rows, Signals, Sink,
    SplunkHecSink,
};

/// Level of a codec that is not told one: the fastest, for the node comes first.
pub const COMPRESSION_LEVEL: u32 = 1;

/// What the key `type` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkType {
    /// [`SinkKind::Http`]
    Http,
    /// [`SinkKind::File`]
    File,
    /// [`SinkKind::Stdout`]
    Stdout,
    /// [`SinkKind::Blackhole`]
    Blackhole,
    /// [`SinkKind::RemoteWrite`]
    RemoteWrite,
    /// [`SinkKind::ClickHouse`]
    ClickHouse,
    /// [`SinkKind::Kafka`]
    Kafka,
    /// [`SinkKind::Otlp`]
    Otlp,
    /// [`SinkKind::AzureLogs`]
    AzureLogs,
    /// [`SinkKind::Elasticsearch`]
    Elasticsearch,
    /// [`SinkKind::Loki`]
    Loki,
    /// [`SinkKind::SplunkHec`]
    SplunkHec,
}

/// What a sink is.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// Rows on standard output.
    Stdout,
    /// Accepts everything, keeps nothing: for measuring.
    Blackhole,
    /// Rolling files.
    File(FileSink),
    /// HTTP POST.
    Http(Box<HttpSink>),
    /// Prometheus remote write; takes metrics only.
    RemoteWrite(Box<RemoteWriteSink>),
    /// Rows into a table of ClickHouse.
    ClickHouse(Box<ClickHouseSink>),
    /// Messages to brokers of Kafka's protocol.
    Kafka(Box<KafkaSink>),
    /// OpenTelemetry's protocol.
    Otlp(Box<OtlpSink>),
    /// The Logs Ingestion API of Azure Monitor.
    AzureLogs(Box<AzureLogsSink>),
    /// Elasticsearch or OpenSearch.
    Elasticsearch(Box<ElasticsearchSink>),
    /// Grafana Loki; takes logs only.
    Loki(Box<LokiSink>),
    /// Splunk's HTTP Event Collector.
    SplunkHec(Box<SplunkHecSink>),
}

impl SinkType {
    /// In the order of the reference.
    pub const ALL: [SinkType; 12] = [
        SinkType::Http,
        SinkType::File,
        SinkType::Stdout,
        SinkType::Blackhole,
        SinkType::RemoteWrite,
        SinkType::ClickHouse,
        SinkType::Kafka,
        SinkType::Otlp,
        SinkType::AzureLogs,
        SinkType::Elasticsearch,
        SinkType::Loki,
        SinkType::SplunkHec,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            SinkType::Http => "http",
            SinkType::File => "file",
            SinkType::Stdout => "stdout",
            SinkType::Blackhole => "blackhole",
            SinkType::RemoteWrite => "remote_write",
            SinkType::ClickHouse => "clickhouse",
            SinkType::Kafka => "kafka",
            SinkType::Otlp => "otlp",
            SinkType::AzureLogs => "azure_logs",
            SinkType::Elasticsearch => "elasticsearch",
            SinkType::Loki => "loki",
            SinkType::SplunkHec => "splunk_hec",
        }
    }

    /// Where the reference lists its own keys, and what they are.
    pub fn own_keys(self) -> Option<(&'static str, Known)> {
        match self {
            SinkType::Http => Some(("sinks.NAME of type http", http::keys())),
            SinkType::File => Some(("sinks.NAME of type file", file::keys())),
            SinkType::Stdout | SinkType::Blackhole => None,
            SinkType::RemoteWrite => {
                Some(("sinks.NAME of type remote_write", remote_write::keys()))
            }
            SinkType::ClickHouse => Some(("sinks.NAME of type clickhouse", clickhouse::keys())),
            SinkType::Kafka => Some(("sinks.NAME of type kafka", kafka::keys())),
            SinkType::Otlp => Some(("sinks.NAME of type otlp", otlp::keys())),
            SinkType::AzureLogs => Some(("sinks.NAME of type azure_logs", azure_logs::keys())),
            SinkType::Elasticsearch => {
                Some(("sinks.NAME of type elasticsearch", elasticsearch::keys()))
            }
            SinkType::Loki => Some(("sinks.NAME of type loki", loki::keys())),
            SinkType::SplunkHec => Some(("sinks.NAME of type splunk_hec", splunk_hec::keys())),
        }
    }

    /// All that one may write into a sink of this type.
    pub fn keys(self) -> Known {
        match self {
            SinkType::Http => common().and(http::keys()),
            SinkType::File => common().and(file::keys()),
            SinkType::Stdout | SinkType::Blackhole => common(),
            SinkType::RemoteWrite => remote_write::all_keys(),
            SinkType::ClickHouse => clickhouse::all_keys(),
            SinkType::Kafka => kafka::all_keys(),
            SinkType::Otlp => otlp::all_keys(),
            SinkType::AzureLogs => azure_logs::all_keys(),
            SinkType::Elasticsearch => elasticsearch::all_keys(),
            SinkType::Loki => loki::all_keys(),
            SinkType::SplunkHec => splunk_hec::all_keys(),
        }
    }

    /// What it can be asked to take.
    pub const fn takes(self) -> Signals {
        Signals {
            logs: !matches!(self, SinkType::RemoteWrite),
            metrics: !matches!(self, SinkType::Loki),
        }
    }
}

impl SinkKind {
    /// A sink of this type as far as it can be without its keys.
    pub fn new(of: SinkType, config: &Config) -> SinkKind {
        match of {
            SinkType::Http => SinkKind::Http(Box::new(HttpSink::new(String::new()))),
            SinkType::File => SinkKind::File(FileSink::new(FileSink::default_directory(
                &config.state_dir,
            ))),
            SinkType::Stdout => SinkKind::Stdout,
            SinkType::Blackhole => SinkKind::Blackhole,
            SinkType::RemoteWrite => {
                let cluster = config.cluster_name.as_deref();
                let made = RemoteWriteSink::new(String::new(), &config.node, cluster);
                SinkKind::RemoteWrite(Box::new(made))
            }
            SinkType::ClickHouse => {
                SinkKind::ClickHouse(Box::new(ClickHouseSink::new(String::new())))
            }
            SinkType::Kafka => SinkKind::Kafka(Box::default()),
            SinkType::Otlp => SinkKind::Otlp(Box::new(OtlpSink::new(String::new()))),
            SinkType::AzureLogs => SinkKind::AzureLogs(Box::default()),
            SinkType::Elasticsearch => {
                SinkKind::Elasticsearch(Box::new(ElasticsearchSink::new(String::new())))
            }
            SinkType::Loki => {
                let cluster = config.cluster_name.is_some();
                SinkKind::Loki(Box::new(LokiSink::new(String::new(), cluster)))
            }
            SinkType::SplunkHec => SinkKind::SplunkHec(Box::new(SplunkHecSink::new(String::new()))),
        }
    }

    /// Its type.
    pub const fn of(&self) -> SinkType {
        match self {
            SinkKind::Stdout => SinkType::Stdout,
            SinkKind::Blackhole => SinkType::Blackhole,
            SinkKind::File(_) => SinkType::File,
            SinkKind::Http(_) => SinkType::Http,
            SinkKind::RemoteWrite(_) => SinkType::RemoteWrite,
            SinkKind::ClickHouse(_) => SinkType::ClickHouse,
            SinkKind::Kafka(_) => SinkType::Kafka,
            SinkKind::Otlp(_) => SinkType::Otlp,
            SinkKind::Elasticsearch(_) => SinkType::Elasticsearch,
            SinkKind::Loki(_) => SinkType::Loki,
            SinkKind::SplunkHec(_) => SinkType::SplunkHec,
            SinkKind::AzureLogs(_) => SinkType::AzureLogs,
        }
    }

    /// Where its requests go and how, if it speaks HTTP.
    pub fn request(&self) -> Option<&HttpSink> {
        match self {
            SinkKind::Stdout | SinkKind::Blackhole | SinkKind::File(_) | SinkKind::Kafka(_) => None,
            SinkKind::Http(sink) => Some(sink),
            SinkKind::RemoteWrite(sink) => Some(&sink.http),
            SinkKind::ClickHouse(sink) => Some(&sink.http),
            SinkKind::Otlp(sink) => Some(&sink.http),
            SinkKind::AzureLogs(sink) => Some(&sink.http),
            SinkKind::Elasticsearch(sink) => Some(&sink.http),
            SinkKind::Loki(sink) => Some(&sink.http),
            SinkKind::SplunkHec(sink) => Some(&sink.http),
        }
    }

    /// Takes over its own keys.
    pub(super) fn check(&mut self, section: &Section<'_>, config: &Config, report: &mut Report) {
        match self {
            SinkKind::Stdout | SinkKind::Blackhole => {}
            SinkKind::File(file) => file::check(section, file, config, report),
            SinkKind::Http(sink) => http::check(section, sink, report),
            SinkKind::RemoteWrite(sink) => remote_write::check(section, sink, report),
            SinkKind::ClickHouse(sink) => clickhouse::check(section, sink, report),
            SinkKind::Kafka(sink) => kafka::check(section, sink, report),
            SinkKind::Otlp(sink) => otlp::check(section, sink, report),
            SinkKind::AzureLogs(sink) => azure_logs::check(section, sink, report),
            SinkKind::Elasticsearch(sink) => elasticsearch::check(section, sink, report),
            SinkKind::Loki(sink) => loki::check(section, sink, report),
            SinkKind::SplunkHec(sink) => splunk_hec::check(section, sink, report),
        }
    }

    /// Whether its rows have other names for columns than those of ContainerLogV2 if nobody says.
    pub(super) fn renames_columns(&self) -> bool {
        matches!(self, SinkKind::Http(sink) if sink.preset.is_some())
    }

    /// Writes out its own keys.
    pub(super) fn render(&self, page: &mut Page) {
        match self {
            SinkKind::Stdout | SinkKind::Blackhole => {}
            SinkKind::File(file) => file::render(file, page),
            SinkKind::Http(sink) => http::render(sink, page),
            SinkKind::RemoteWrite(sink) => remote_write::render(sink, page),
            SinkKind::ClickHouse(sink) => clickhouse::render(sink, page),
            SinkKind::Kafka(sink) => kafka::render(sink, page),
            SinkKind::Otlp(sink) => otlp::render(sink, page),
            SinkKind::AzureLogs(sink) => azure_logs::render(sink, page),
            SinkKind::Elasticsearch(sink) => elasticsearch::render(sink, page),
            SinkKind::Loki(sink) => loki::render(sink, page),
            SinkKind::SplunkHec(sink) => splunk_hec::render(sink, page),
        }
    }
}

impl Sink {
    /// A sink with the defaults of its type.
    pub fn new(name: String, kind: SinkKind) -> Sink {
        let takes = kind.of().takes();
        let mut sink = Sink {
            name,
            kind,
            signals: Signals {
                logs: takes.logs,
                metrics: !takes.logs,
            },
            select: Select::default(),
            lines: Lines::default(),
            rows: Rows::default(),
            multiline: Multiline::default(),
            compression: Compression::Gzip(COMPRESSION_LEVEL),
            read_from: ReadFrom::Beginning,
            workers: 1,
            limits: Limits::default(),
        };
        match sink.kind.of() {
            SinkType::Http => http::preset(&mut sink),
            SinkType::File => file::preset(&mut sink),
            SinkType::Stdout => {
                sink.compression = Compression::None;
                // There is one: more in flight would only lose the order.
                sink.limits.requests_in_flight = 1;
            }
            SinkType::Blackhole => sink.compression = Compression::None,
            SinkType::RemoteWrite => remote_write::preset(&mut sink),
            SinkType::ClickHouse => clickhouse::preset(&mut sink),
            SinkType::Kafka => kafka::preset(&mut sink),
            SinkType::Otlp => otlp::preset(&mut sink),
            SinkType::AzureLogs => azure_logs::preset(&mut sink),
            SinkType::Elasticsearch => elasticsearch::preset(&mut sink),
            SinkType::Loki => loki::preset(&mut sink),
            SinkType::SplunkHec => splunk_hec::preset(&mut sink),
        }
        sink
    }

    /// How the pipeline compresses payloads. Batches of messages are made of them before they are compressed.
    pub fn payload_compression(&self) -> Compression {
        match &self.kind {
            SinkKind::Kafka(_) => Compression::None,
            _ => self.compression,
        }
    }

    /// Checks what the keys of its type ask of those that every sink has.
    pub(super) fn check_whole(&self, section: &Section<'_>, report: &mut Report) {
        if self.rows.format == RowFormat::Protobuf {
            super::check::protobuf(section, self, report);
        }
        match &self.kind {
            SinkKind::Elasticsearch(_) => elasticsearch::check_whole(section, self, report),
            SinkKind::SplunkHec(_) => splunk_hec::check_whole(section, self, report),
            SinkKind::AzureLogs(_) => azure_logs::check_whole(section, self, report),
            SinkKind::Kafka(_) => kafka::check_whole(section, self, report),
            _ => {}
        }
    }
}
