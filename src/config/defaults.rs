//! What a sink is when its config says nothing: it depends on the sink's type.

use std::path::{Path, PathBuf};

use super::{
    Auth, Compression, FileSink, HttpSink, Limits, ReadFrom, RemoteWriteSink, RemoteWriteVersion,
    Rows, Signals, Sink, SinkKind, Tls,
};

/// Level of a codec that is not told one: the fastest, for the node comes first.
pub const COMPRESSION_LEVEL: u32 = 1;

impl FileSink {
    /// Rolling files in `directory`, all else by default.
    pub fn new(directory: PathBuf) -> FileSink {
        FileSink {
            directory,
            roll_bytes: 64 * 1024 * 1024,
            roll_interval_ms: 3_600_000,
            total_bytes_max: 1024 * 1024 * 1024,
        }
    }

    /// Where the rows of metrics go: files of logs and of metrics have a budget each.
    pub fn metrics_directory(&self) -> PathBuf {
        self.directory.join("metrics")
    }

    /// Where the files go if nobody says.
    pub fn default_directory(state_dir: &Path) -> PathBuf {
        state_dir.join("logs")
    }
}

impl HttpSink {
    /// POST to `url`, all else by default.
    pub fn new(url: String) -> HttpSink {
        HttpSink {
            url,
            metrics_url: None,
            headers: Vec::new(),
            auth: Auth::None,
            tls: Tls::default(),
            connect_timeout_ms: 5_000,
            request_timeout_ms: 30_000,
            keep_alive_ms: 60_000,
        }
    }
}

impl RemoteWriteSink {
    /// Version 1 to `url`, all else by default. `job` is what the dashboards of node_exporter ask for.
    pub fn new(url: String, node: &str, cluster_name: Option<&str>) -> RemoteWriteSink {
        let mut labels = vec![
            ("job".to_owned(), Some("node".to_owned())),
            ("instance".to_owned(), Some(node.to_owned())),
        ];
        if let Some(cluster) = cluster_name {
            labels.push(("cluster".to_owned(), Some(cluster.to_owned())));
        }
        labels.sort();
        RemoteWriteSink {
            http: HttpSink::new(url),
            version: RemoteWriteVersion::One,
            labels,
        }
    }
}

impl Sink {
    /// A sink with the defaults of its type.
    pub fn new(name: String, kind: SinkKind) -> Sink {
        let mut limits = Limits::default();
        let compression = match &kind {
            SinkKind::Stdout | SinkKind::Blackhole | SinkKind::RemoteWrite(_) => Compression::None,
            SinkKind::File(_) | SinkKind::Http(_) => Compression::Gzip(COMPRESSION_LEVEL),
        };
        // One destination that takes one thing at a time: more in flight would only lose the order.
        if matches!(kind, SinkKind::Stdout | SinkKind::File(_)) {
            limits.requests_in_flight = 1;
        }
        let is_remote_write = matches!(kind, SinkKind::RemoteWrite(_));
        if is_remote_write {
            limits.payload_records_max = 5_000;
        }
        Sink {
            name,
            kind,
            signals: Signals {
                logs: !is_remote_write,
                metrics: is_remote_write,
            },
            rows: Rows::default(),
            compression,
            read_from: ReadFrom::Beginning,
            workers: 1,
            limits,
        }
    }
}
