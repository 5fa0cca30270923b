//! What a sink is when its config says nothing: it depends on the sink's type.

use std::path::{Path, PathBuf};

use super::{Auth, Compression, FileSink, HttpSink, Limits, ReadFrom, Rows, Sink, SinkKind, Tls};

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
            headers: Vec::new(),
            auth: Auth::None,
            tls: Tls::default(),
            connect_timeout_ms: 5_000,
            request_timeout_ms: 30_000,
            keep_alive_ms: 60_000,
        }
    }
}

impl Sink {
    /// A sink with the defaults of its type.
    pub fn new(name: String, kind: SinkKind) -> Sink {
        let mut limits = Limits::default();
        let compression = match &kind {
            SinkKind::Stdout | SinkKind::Blackhole => Compression::None,
            SinkKind::File(_) | SinkKind::Http(_) => Compression::Gzip(COMPRESSION_LEVEL),
        };
        // One destination that takes one thing at a time: more in flight would only lose the order.
        if matches!(kind, SinkKind::Stdout | SinkKind::File(_)) {
            limits.requests_in_flight = 1;
        }
        Sink {
            name,
            kind,
            rows: Rows::default(),
            compression,
            read_from: ReadFrom::Beginning,
            workers: 1,
            limits,
        }
    }
}
