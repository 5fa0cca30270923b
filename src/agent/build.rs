//! THE list of sinks, as code: from a sink's configuration to the parts of its workers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::StartError;
use super::workers::Bell;
use crate::admin::{SinkStats, Stat};
use crate::catalog::feed::Feed;
use crate::checkpoint::FileStore;
use crate::clock::{Clock, Time};
use crate::config::{
    Compression, Config, FileSink, HttpSink, KafkaSink, OtlpSink, RowFormat, Sink, SinkKind,
    SplunkHecSink,
};
use crate::encode::Encode;
use crate::encode::azure_logs::AzureRows;
use crate::encode::bulk::Bulk;
use crate::encode::frames::Frames;
use crate::encode::hec::Hec;
use crate::encode::log_batch::LogBatch;
use crate::encode::loki::Loki;
use crate::encode::otlp::{Attributes, Otlp};
use crate::encode::rows::Rows;
use crate::files::Files;
use crate::pipeline::board::Board;
use crate::pipeline::worker::Parts;
use crate::samples;
use crate::samples::batches::Batches;
use crate::samples::envelope::Envelope;
use crate::samples::hec::Hec as SampleHec;
use crate::samples::inbox::Inbox;
use crate::samples::metric_batch::MetricBatch;
use crate::samples::otlp::Otlp as SampleOtlp;
use crate::samples::payload::{Codec, Packer, Plain};
use crate::samples::remote_write::RemoteWrite;
use crate::samples::remote_write::transport::Versions;
use crate::samples::rows::Rows as SampleRows;
use crate::samples::shape::Shape;
use crate::select::lines::LinesPlanner;
use crate::select::plan::Planner;
use crate::sink::azure_logs::LogsIngestion;
use crate::sink::blackhole::Blackhole;
use crate::sink::clickhouse::Insert;
use crate::sink::dead_letter::DeadLetterFile;
use crate::sink::elasticsearch::Elasticsearch;
use crate::sink::file::{FileTransport, Framing};
use crate::sink::http::{Http, Surroundings, Wire};
use crate::sink::kafka::{Batches as KafkaBatches, Kafka};
use crate::sink::loki;
use crate::sink::otlp::Signal;
use crate::sink::splunk_hec::{Acknowledge, SplunkHec};
use crate::sink::stdout::{StdoutTransport, Under, facts, refusal};
use crate::sink::{self, Transport};

/// Where a sink keeps its checkpoints and dead letters.
pub(super) fn sink_directory(state_dir: &Path, sink: &str) -> PathBuf {
    state_dir.join("sinks").join(sink)
}

/// What the workers of one sink have in common.
pub(super) struct SinkParts<'a> {
    config: &'a Config,
    sink: &'a Sink,
    clock: &'a Arc<dyn Clock>,
    network: &'a tokio::runtime::Handle,
    in_pod: bool,
    /// Which chains and which of their records the sink wants: one for all workers.
    planner: Planner,
    /// One set of files for all workers of a file sink.
    files: Option<FileTransport>,
    /// One set of files for the samples of a file sink.
    sample_files: Option<FileTransport>,
    /// One writer for logs and samples.
    stdout: Option<StdoutTransport>,
}

impl<'a> SinkParts<'a> {
    pub(super) fn new(
        config: &'a Config,
        sink: &'a Sink,
        clock: &'a Arc<dyn Clock>,
        network: &'a tokio::runtime::Handle,
        in_pod: bool,
    ) -> SinkParts<'a> {
        SinkParts {
            config,
            sink,
            clock,
            network,
            in_pod,
            planner: Planner::new(sink.select.clone())
                .with_multiline(&sink.multiline)
                .with_lines(Arc::new(LinesPlanner::new(sink.lines.clone()))),
            files: None,
            sample_files: None,
            stdout: None,
        }
    }

    /// The parts of one worker.
    pub(super) fn worker(
        &mut self,
        worker: usize,
        bell: &Bell,
        feed: &Arc<Feed>,
        board: &Arc<Board>,
        files: &Arc<dyn Files>,
    ) -> Result<Parts, StartError> {
        let directory = sink_directory(&self.config.state_dir, &self.sink.name);
        let store = FileStore::start(&directory, worker, self.sink.workers).map_err(|source| {
            StartError::Thread {
                what: "the checkpoint writer",
                source,
            }
        })?;
        let letters = directory.join(format!("dead-letters-{worker}"));
        let share = self.sink.limits.dead_letter_bytes_max / self.sink.workers.max(1) as u64;
        let dead_letters =
            DeadLetterFile::open(&letters, share, Arc::clone(self.clock)).map_err(|source| {
                StartError::File {
                    attempt: "keep dead letters in",
                    path: letters.display().to_string(),
                    source,
                }
            })?;
        Ok(Parts {
            encoders: [self.encoder(), self.encoder()],
            transport: self.transport(bell)?,
            sink: self.own_sink(),
            feed: Arc::clone(feed),
            files: Arc::clone(files),
            clock: Arc::clone(self.clock),
            dead_letters: Box::new(dead_letters),
            store: Box::new(store),
            board: Arc::clone(board),
            forget_after: Duration::from_millis(self.config.logs.forget_after_ms),
            planner: self.planner.clone(),
            seed: fastrand::u64(..),
        })
    }

    fn encoder(&self) -> Box<dyn Encode> {
        let (rows, node) = (&self.sink.rows, &self.config.node);
        let cluster_name = self.config.cluster_name.as_deref();
        match &self.sink.kind {
            SinkKind::Kafka(kafka) => {
                let topic = kafka.topic.clone();
                Box::new(Frames::new(rows, node, cluster_name, topic))
            }
            SinkKind::Otlp(otlp) => {
                let resource = Attributes::new(otlp.resource.clone());
                let otlp = Otlp::new(node, cluster_name, resource, rows.record_uid);
                Box::new(otlp.including(rows.include_fields))
            }
            SinkKind::AzureLogs(_) => Box::new(AzureRows::new(Rows::new(rows, node, cluster_name))),
            SinkKind::Elasticsearch(own) => Box::new(Bulk::new(own, rows, node, cluster_name)),
            SinkKind::Loki(own) => {
                let loki = Loki::new(own, node, cluster_name, rows.record_uid);
                Box::new(loki.including(rows.include_fields))
            }
            SinkKind::SplunkHec(own) => Box::new(Hec::new(own, rows, node, cluster_name)),
            _ if rows.format == RowFormat::Protobuf => {
                Box::new(LogBatch::new(rows, node, cluster_name))
            }
            _ => Box::new(Rows::new(rows, node, cluster_name)),
        }
    }

    /// The sink as this process runs it: the agents of a cluster must not call one data collection rule in step.
    fn own_sink(&self) -> Sink {
        let mut sink = self.sink.clone();
        sink.compression = sink.payload_compression();
        if let SinkKind::AzureLogs(_) = &sink.kind {
            let interval = sink.limits.flush_interval_ms;
            sink.limits.flush_interval_ms = interval + fastrand::u64(..=interval / 5);
        }
        sink
    }

    fn transport(&mut self, bell: &Bell) -> Result<Box<dyn Transport>, StartError> {
        let name = self.sink.name.clone();
        let fail =
            |error: &dyn std::fmt::Display| StartError::Sink(format!("sink {name}: {error}"));
        Ok(match &self.sink.kind {
            SinkKind::Blackhole => Box::new(Blackhole::default()),
            SinkKind::Stdout => self.stdout(bell)?,
            SinkKind::RemoteWrite(_) => return Err(fail(&"takes no logs")),
            SinkKind::File(file) => match &self.files {
                Some(first) => Box::new(first.share(bell.waker())),
                None => {
                    let first = self.file(file, bell).map_err(|error| fail(&error))?;
                    let transport = first.share(bell.waker());
                    self.files = Some(first);
                    Box::new(transport)
                }
            },
            SinkKind::Http(http) => Box::new(self.http(http, bell)?),
            SinkKind::ClickHouse(config) => {
                let insert = Insert::new(config, &config.table);
                Box::new(self.http(&config.http, bell)?.speaking(insert))
            }
            SinkKind::Kafka(kafka) => Box::new(self.kafka(kafka, bell)),
            SinkKind::Otlp(config) => {
                let in_flight = self.sink.limits.requests_in_flight;
                Box::new(self.otlp(config, Signal::Logs, in_flight, bell)?)
            }
            SinkKind::AzureLogs(config) => {
                let protocol = LogsIngestion::new(config, &config.stream, Arc::clone(self.clock));
                Box::new(self.http(&config.http, bell)?.speaking(protocol))
            }
            SinkKind::Elasticsearch(own) => {
                let http = self.http(&own.requests(), bell)?;
                Box::new(http.speaking(Elasticsearch { ids: own.ids }))
            }
            SinkKind::Loki(own) => {
                Box::new(self.http(&own.requests(), bell)?.judged_by(loki::judge))
            }
            SinkKind::SplunkHec(own) => {
                let in_flight = self.sink.limits.requests_in_flight;
                Box::new(self.splunk(own, in_flight, bell)?)
            }
        })
    }

    fn kafka(&self, kafka: &KafkaSink, bell: &Bell) -> Kafka {
        let wire = KafkaBatches {
            format: self.sink.rows.format,
            compression: self.sink.compression,
        };
        let (clock, waker) = (Arc::clone(self.clock), bell.waker());
        Kafka::start(kafka, wire, clock, self.network, waker)
    }

    /// The way of the sink's records over HTTP.
    fn http(&self, http: &HttpSink, bell: &Bell) -> Result<Http, StartError> {
        self.http_of(http, self.wire(), self.sink.limits.requests_in_flight, bell)
    }

    /// The way of the sink's rows of samples over HTTP: one at a time.
    fn http_of_samples(&self, http: &HttpSink, bell: &Bell) -> Result<Http, StartError> {
        self.http_of(http, self.wire(), 1, bell)
    }

    fn http_of(
        &self,
        http: &HttpSink,
        wire: Wire,
        in_flight: usize,
        bell: &Bell,
    ) -> Result<Http, StartError> {
        let name = &self.sink.name;
        let started = Http::start(name, http, wire, in_flight, self.network, bell.waker());
        started.map_err(|error| StartError::Sink(error.to_string()))
    }

    /// A channel of the collector's for one worker. Only payloads are compressed, so they say so themselves.
    fn splunk(
        &self,
        own: &SplunkHecSink,
        in_flight: usize,
        bell: &Bell,
    ) -> Result<Http, StartError> {
        let wire = self.wire();
        let channel = fastrand::u128(..);
        let acknowledge = Acknowledge::new(channel, own).map_err(|error| {
            StartError::Sink(format!(
                "sink {}: cannot use its url: {error}",
                self.sink.name
            ))
        })?;
        let protocol = SplunkHec::new(channel, wire.content_encoding, acknowledge);
        let plain = Wire {
            content_encoding: None,
            ..wire
        };
        let http = self.http_of(&own.requests(), plain, in_flight, bell)?;
        Ok(http.speaking(protocol))
    }

    fn wire(&self) -> Wire {
        Wire {
            content_type: self.encoder().content_type(),
            content_encoding: self.sink.compression.content_encoding(),
        }
    }

    fn otlp(
        &self,
        config: &OtlpSink,
        signal: Signal,
        in_flight: usize,
        bell: &Bell,
    ) -> Result<Http, StartError> {
        let config = (config, self.sink.compression);
        let name = &self.sink.name;
        let started =
            sink::otlp::start(name, config, signal, in_flight, self.network, bell.waker());
        started.map_err(|error| StartError::Sink(error.to_string()))
    }

    fn stdout(&mut self, bell: &Bell) -> Result<Box<dyn Transport>, StartError> {
        if let Some(first) = &self.stdout {
            return Ok(Box::new(first.share(bell.waker())));
        }
        self.refuse_loop()?;
        let name = &self.sink.name;
        let fail =
            |error: &dyn std::fmt::Display| StartError::Sink(format!("sink {name}: {error}"));
        let stdout = duplicate_stdout().map_err(|error| fail(&error))?;
        let started = StdoutTransport::start(bell.waker(), Under::Run, stdout);
        let first = started.map_err(|error| fail(&error))?;
        let transport = first.share(bell.waker());
        self.stdout = Some(first);
        Ok(Box::new(transport))
    }

    /// The way of the sink's logs, and a payload without records.
    pub(super) fn empty_of_logs(
        &mut self,
        bell: &Bell,
    ) -> Result<(Box<dyn Transport>, Bytes), StartError> {
        let transport = self.transport(bell)?;
        let body = self.packed(Codec::Http(self.sink.compression), self.without_records())?;
        Ok((transport, body))
    }

    /// The way of the sink's samples, and a payload without samples.
    pub(super) fn empty_of_samples(
        &mut self,
        bell: &Bell,
    ) -> Result<(Box<dyn Transport>, Bytes), StartError> {
        let transport = self.samples_transport(bell)?;
        let body = match &self.sink.kind {
            SinkKind::RemoteWrite(_) => self.packed(Codec::Snappy, Vec::new())?,
            kind => {
                let codec = Codec::Http(match kind {
                    SinkKind::Kafka(_) => Compression::None,
                    _ => self.sink.compression,
                });
                self.packed(codec, self.without_records())?
            }
        };
        Ok((transport, body))
    }

    fn without_records(&self) -> Vec<u8> {
        let (mut encoder, mut bytes) = (self.encoder(), Vec::new());
        encoder.begin(&mut bytes);
        encoder.finish(&mut bytes);
        bytes
    }

    fn packed(&self, codec: Codec, bytes: Vec<u8>) -> Result<Bytes, StartError> {
        let plain = Plain {
            bytes,
            ..Plain::default()
        };
        let packed = Packer::new(codec).pack(plain, 0, Time::ZERO);
        let packed = packed.map_err(|error| StartError::Sink(error.to_string()))?;
        Ok(packed.body)
    }

    /// The parts of the thread that takes the sink's samples.
    pub(super) fn samples(
        &mut self,
        bell: &Bell,
        inbox: &Arc<Inbox>,
        board: &Arc<samples::board::Board>,
    ) -> Result<samples::worker::Parts, StartError> {
        let sink = self.sink;
        let cluster_name = self.config.cluster_name.as_deref();
        let limits = &sink.limits;
        let (shape, codec): (Box<dyn Shape>, Codec) = match &sink.kind {
            SinkKind::RemoteWrite(config) => {
                let labels = config.labels.iter();
                let labels =
                    labels.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
                let shape = RemoteWrite::new(config.version, labels.collect(), limits);
                (Box::new(shape), Codec::Snappy)
            }
            SinkKind::Otlp(config) => {
                let resource = Attributes::new(config.resource.clone());
                let (naming, node) = (config.otel_naming, &self.config.node);
                let shape = SampleOtlp::new(naming, node, cluster_name, &resource, limits);
                (Box::new(shape), Codec::Http(sink.compression))
            }
            SinkKind::SplunkHec(own) => {
                let hec = SampleHec::new(own, &sink.rows, &self.config.node, cluster_name);
                let codec = Codec::Http(sink.compression);
                (Box::new(Batches::new(hec, limits)), codec)
            }
            _ => (
                self.rows_of_samples(),
                Codec::Http(sink.payload_compression()),
            ),
        };
        Ok(samples::worker::Parts {
            limits: limits.clone(),
            inbox: Arc::clone(inbox),
            shape,
            packer: Packer::new(codec),
            transport: self.samples_transport(bell)?,
            board: Arc::clone(board),
            clock: Arc::clone(self.clock),
            seed: fastrand::u64(..),
        })
    }

    /// The shape of rows, or of what stands for them in protobuf, in the envelope of the sink.
    fn rows_of_samples(&self) -> Box<dyn Shape> {
        let (sink, node) = (self.sink, &self.config.node);
        let cluster_name = self.config.cluster_name.as_deref();
        let mut config = sink.rows.clone();
        let envelope = match &sink.kind {
            SinkKind::Kafka(kafka) => Envelope::Frames {
                topic: kafka.metrics_topic.clone().unwrap_or_default(),
                key: node.clone(),
            },
            SinkKind::Elasticsearch(own) => {
                config.columns = own.columns_of_metrics(&config.columns);
                Envelope::documents(own)
            }
            _ => Envelope::of_rows(config.format),
        };
        if config.format == RowFormat::Protobuf {
            let frames = matches!(envelope, Envelope::Frames { .. }).then_some(envelope);
            let batch = MetricBatch::new(&config, frames, node, cluster_name);
            return Box::new(Batches::new(batch, &sink.limits));
        }
        let rows = SampleRows::new(&config, envelope, node, cluster_name);
        Box::new(Batches::new(rows, &sink.limits))
    }

    /// The samples' own way to the sink. Only standard output is one with the logs', for there is but one; what waits
    /// there waits in the operating system.
    fn samples_transport(&mut self, bell: &Bell) -> Result<Box<dyn Transport>, StartError> {
        let name = &self.sink.name;
        let waker = bell.waker();
        let fail =
            |error: &dyn std::fmt::Display| StartError::Sink(format!("sink {name}: {error}"));
        Ok(match &self.sink.kind {
            SinkKind::Blackhole => Box::new(Blackhole::default()),
            SinkKind::Stdout => self.stdout(bell)?,
            SinkKind::File(file) => {
                let own = FileSink {
                    directory: file.metrics_directory(),
                    ..file.clone()
                };
                let started = self.file(&own, bell).map_err(|error| fail(&error))?;
                let transport = started.share(waker);
                self.sample_files = Some(started);
                Box::new(transport)
            }
            SinkKind::Http(http) => {
                let mut own = http.as_ref().clone();
                if let Some(url) = own.metrics_url.take() {
                    own.url = url;
                }
                Box::new(self.http_of_samples(&own, bell)?)
            }
            SinkKind::ClickHouse(config) => {
                let insert = Insert::new(config, &config.metrics_table);
                Box::new(self.http_of_samples(&config.http, bell)?.speaking(insert))
            }
            SinkKind::Kafka(kafka) => Box::new(self.kafka(kafka, bell)),
            SinkKind::Elasticsearch(own) => {
                let http = self.http_of_samples(&own.requests(), bell)?;
                Box::new(http.speaking(Elasticsearch { ids: own.ids }))
            }
            SinkKind::SplunkHec(own) => Box::new(self.splunk(own, 1, bell)?),
            SinkKind::Otlp(config) => Box::new(self.otlp(config, Signal::Metrics, 1, bell)?),
            SinkKind::AzureLogs(config) => {
                let stream = &config.metrics_stream;
                let protocol = LogsIngestion::new(config, stream, Arc::clone(self.clock));
                Box::new(self.http_of_samples(&config.http, bell)?.speaking(protocol))
            }
            SinkKind::RemoteWrite(config) => {
                let started = Versions::start(
                    &Surroundings::of_process(),
                    name,
                    &config.http,
                    config.version,
                    self.network,
                    waker,
                );
                Box::new(started.map_err(|error| fail(&error))?)
            }
            SinkKind::Loki(_) => return Err(fail(&"takes no metrics")),
        })
    }

    /// Rows on a standard output that we collect would be collected again.
    fn refuse_loop(&self) -> Result<(), StartError> {
        let logs = &self.config.logs;
        let descriptor = Path::new("/proc/self/fd/1");
        let facts = facts(descriptor, &logs.pod_logs, self.in_pod, logs.collect_self);
        match refusal(facts) {
            None => Ok(()),
            Some(why) => Err(StartError::Sink(format!("sink {}: {why}", self.sink.name))),
        }
    }

    fn file(
        &self,
        file: &FileSink,
        bell: &Bell,
    ) -> Result<FileTransport, crate::sink::file::StartError> {
        let rows = self.sink.rows.format;
        let (suffix, framing) = match (rows, self.sink.compression) {
            (RowFormat::Ndjson, Compression::None) => ("ndjson", Framing::Lines),
            (RowFormat::Ndjson, Compression::Gzip(_)) => ("ndjson.gz", Framing::Gzip),
            (RowFormat::Ndjson, Compression::Zstd(_)) => ("ndjson.zst", Framing::Zstd),
            (RowFormat::JsonArray, Compression::None) => ("json", Framing::Lines),
            (RowFormat::JsonArray, Compression::Gzip(_)) => ("json.gz", Framing::Gzip),
            (RowFormat::JsonArray, Compression::Zstd(_)) => ("json.zst", Framing::Zstd),
            (RowFormat::Protobuf, Compression::Gzip(_)) => ("pb.gz", Framing::Gzip),
            (RowFormat::Protobuf, Compression::Zstd(_)) => ("pb.zst", Framing::Zstd),
            // No configuration asks for them, and the file sink refuses the names.
            (RowFormat::Protobuf, Compression::None) => ("pb", Framing::Lines),
            (_, Compression::Snappy) => ("snappy", Framing::Lines),
        };
        let clock = Arc::clone(self.clock);
        FileTransport::start(&self.sink.name, file, suffix, framing, clock, bell.waker())
    }

    /// The sink's own numbers.
    pub(super) fn stats(&self) -> Option<SinkStats> {
        let files = [&self.files, &self.sample_files];
        let files = files.into_iter().flatten();
        let stats: Vec<_> = files.map(FileTransport::stats).collect();
        if stats.is_empty() {
            return None;
        }
        let read = move || -> Vec<Stat> { super::stats::of_files(&stats) };
        Some(SinkStats {
            sink: self.sink.name.clone(),
            read: Box::new(read),
        })
    }
}

/// Standard output past the standard library's lock and line buffer.
fn duplicate_stdout() -> std::io::Result<Box<dyn Write + Send>> {
    let descriptor = rustix::io::dup(std::io::stdout())?;
    Ok(Box::new(std::fs::File::from(descriptor)))
}
