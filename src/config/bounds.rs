//! What the agent may need at most: memory and descriptors, computed from the limits, per sink and in sum.
//!
//! Memory of one worker:
//!
//! ```text
//!   block_bytes                                      the one block that is read into
//! + run staging                                      one run before it is compressed
//! + (payload_slots + 1) * (payload_bytes_max + slack + marks + commits)
//!                                                    finished payloads, and the one being filled
//! + marks                                            while those of the one being filled are moved
//! + join_bytes_max                                   open records
//! + payload_uncompressed_bytes_max                   one scratch for splitting and bisecting
//! + gzip_open_max * inflater                         gzip segments
//! + codec context                                    by codec and level
//! ```
//!
//! Of a sink with `lines`: the automata of its expressions, at most 8 MiB, and per worker 256 KiB for `include` and for
//! `exclude` and twice that for each of `redact_patterns`, which is what searches remember, and room for five messages.
//!
//! Of a sink of type `elasticsearch`, also per worker: `requests_in_flight` answers of 1,024 bytes for each of
//! `payload_records_max` records.
//!
//! Of a sink that takes metrics: `samples_bytes_max`, and two payloads of `payload_uncompressed_bytes_max` at most while
//! one is encoded; of types `elasticsearch` and `kafka` what one worker has for an answer or for brokers; of one that speaks remote write also 1,024 bytes for each of `metrics.series_max` series.
//!
//! Samples of the node: `series_max` times 512 bytes: a series and its labels in the snapshot that is shown and in the
//! one that is made, and its line on the page.
//!
//! Run staging is 64 KiB and one record at its worst (each byte escaped as six). Slack is what a payload may exceed
//! its limit by: with a codec its block and one incompressible run, without one the run staging. Marks are
//! `payload_records_max` times 20 bytes, commits 304 bytes for each segment that a payload has lines of, with room for
//! 1,024.
//!
//! Descriptors: the catalog's `held_files_max`; per worker one to look with, two to write a checkpoint and
//! `gzip_open_max` inflaters; per sink its sockets or files and the dead letters; and a fixed part.

use super::lines::MASKED_FACTOR_MAX;
use super::{Auth, Compression, Config, Limits, Sink, SinkKind};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What does not depend on the sinks: program, stacks, runtime, admin server, a catalog of 1,000 containers.
pub const BASE_MEMORY_BYTES: u64 = 12 * MIB;
/// Standard streams, event queues, the watcher, the admin server with its connections.
pub const BASE_DESCRIPTORS: u64 = 96;
/// A run is handed on to the compressor when it has this many bytes.
pub const RUN_STAGING_BYTES: u64 = 64 * KIB;
/// One inflater with its window.
pub const INFLATER_BYTES: u64 = 48 * KIB;
/// One record's mark in a payload, and where it ends.
pub const MARK_BYTES: u64 = 20;
/// What a payload settles in one segment ...
pub const COMMIT_BYTES: u64 = 304;
/// ... of so many.
const COMMITS: u64 = 1_024;
/// A deflate context, at any level, of any library.
pub const GZIP_CONTEXT_BYTES: u64 = 512 * KIB;
/// The labels of one series as remote write keeps them: seven, each with a name and a value of its own.
const SERIES_LABELS_BYTES: u64 = KIB;
/// A connection and its successor, or a file with its directory and successor.
const SAMPLES_DESCRIPTORS: u64 = 3;
/// One series of the node or a container: two snapshots and a line.
pub const SERIES_BYTES: u64 = 512;
/// What the answer to a bulk request says of one record, as text and taken apart.
const ITEM_ANSWER_BYTES: u64 = KIB;
/// A JSON string holds a byte as `\u00XX` at worst.
const ESCAPE_FACTOR: u64 = 6;
/// A message becomes at most so many times as long by its masks.
const MASK_FACTOR: u64 = MASKED_FACTOR_MAX as u64;
/// What a codec holds back before it writes: a block of zstd.
const CODEC_BLOCK_BYTES: u64 = 128 * KIB;
/// Brokers that a worker of a `kafka` sink is taken to be connected to.
const BROKERS: u64 = 8;
/// Where one record of a payload lies, while it is sorted to its partition.
const PLACE_BYTES: u64 = 64;

/// At most this much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Bound {
    fn plus(self, other: Bound) -> Bound {
        Bound {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            descriptors: self.descriptors.saturating_add(other.descriptors),
        }
    }
}

/// The bounds of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Program, catalog and samples of the node.
    pub base: Bound,
    /// Each sink under its name, in file order.
    pub sinks: Vec<(String, Bound)>,
    /// All together.
    pub total: Bound,
}

/// Computes the bounds.
pub fn bounds(config: &Config) -> Bounds {
    let series = match &config.metrics {
        metrics if metrics.enabled => metrics.series_max as u64,
        _ => 0,
    };
    let base = Bound {
        memory_bytes: BASE_MEMORY_BYTES.saturating_add(series.saturating_mul(SERIES_BYTES)),
        descriptors: BASE_DESCRIPTORS.saturating_add(config.logs.held_files_max as u64),
    };
    let sinks: Vec<_> = config
        .sinks
        .iter()
        .map(|sink| (sink.name.clone(), sink_bound(sink, series)))
        .collect();
    let total = sinks.iter().fold(base, |sum, (_, bound)| sum.plus(*bound));
    Bounds { base, sinks, total }
}

fn sink_bound(sink: &Sink, series: u64) -> Bound {
    let limits = &sink.limits;
    let workers = sink.workers as u64;
    let worker_descriptors = 3 + limits.gzip_open_max as u64;
    let own = match &sink.kind {
        SinkKind::Stdout | SinkKind::Blackhole => 0,
        // The open file and, while it is rolled, its directory and successor.
        SinkKind::File(_) => 3,
        // Has no workers; its one connection is the samples'.
        SinkKind::RemoteWrite(_) => 0,
        SinkKind::Kafka(_) => workers * (BROKERS + 1),
        // All others speak HTTP. A connection may be opened while an idle one is being closed.
        kind => workers * (2 * limits.requests_in_flight as u64 + token_descriptors(kind)),
    };
    let answers = match &sink.kind {
        SinkKind::Elasticsearch(_) => {
            let records = u64::from(limits.payload_records_max);
            limits.requests_in_flight as u64 * records * ITEM_ANSWER_BYTES
        }
        _ => 0,
    };
    let memory = worker_memory(limits, sink.payload_compression()) + answers;
    let memory = memory + lines_memory(sink);
    let logs = match sink.signals.logs {
        true => Bound {
            memory_bytes: workers.saturating_mul(memory)
                + workers.saturating_mul(messages_memory(sink))
                + sink.lines.automata_bytes(),
            descriptors: workers * worker_descriptors + own + 1,
        },
        false => Bound::default(),
    };
    let metrics = match sink.signals.metrics {
        true => Bound {
            memory_bytes: samples_memory(sink, series),
            descriptors: token_descriptors(&sink.kind)
                + match sink.kind {
                    SinkKind::Kafka(_) => BROKERS + 1,
                    _ => SAMPLES_DESCRIPTORS,
                },
        },
        false => Bound::default(),
    };
    logs.plus(metrics)
}

/// A connection and its successor to whoever gives tokens, for each that makes requests.
fn token_descriptors(kind: &SinkKind) -> u64 {
    match kind.request().map(|http| &http.auth) {
        Some(Auth::Azure(_)) => 2,
        _ => 0,
    }
}

/// The ring, a payload while it is encoded and compressed, the labels of the series that are known or the points of a
/// payload before they are encoded, and what the answer to a payload or its way to brokers takes.
fn samples_memory(sink: &Sink, series: u64) -> u64 {
    let labels = match &sink.kind {
        SinkKind::RemoteWrite(_) | SinkKind::Otlp(_) => series.saturating_mul(SERIES_LABELS_BYTES),
        _ => 0,
    };
    let answer = match &sink.kind {
        SinkKind::Elasticsearch(_) => {
            u64::from(sink.limits.payload_records_max) * ITEM_ANSWER_BYTES
        }
        _ => 0,
    };
    let payload = sink.limits.payload_uncompressed_bytes_max as u64;
    let payloads = sink.limits.samples_bytes_max as u64 + 2 * payload;
    (payloads + answer + messages_memory(sink)).saturating_add(labels)
}

/// What judging records takes in a worker: what searches remember, a message in lower case and one with its masks.
fn lines_memory(sink: &Sink) -> u64 {
    let room = (1 + MASK_FACTOR) * sink.limits.record_bytes_max as u64;
    sink.lines.caches_bytes() + room
}

/// What a worker's payload becomes on its way to brokers: where its records lie, the messages of a batch before
/// compression, and the request of each broker.
fn messages_memory(sink: &Sink) -> u64 {
    let SinkKind::Kafka(kafka) = &sink.kind else {
        return 0;
    };
    let limits = &sink.limits;
    let places = u64::from(limits.payload_records_max) * PLACE_BYTES;
    let request = 2 * kafka.message_bytes_max as u64;
    let context = match sink.compression {
        Compression::None | Compression::Snappy => 0,
        Compression::Gzip(_) => GZIP_CONTEXT_BYTES,
        Compression::Zstd(level) => zstd_context_bytes(level),
    };
    places + BROKERS * (request + context)
}

fn worker_memory(limits: &Limits, compression: Compression) -> u64 {
    let record = limits.record_bytes_max as u64;
    let uncompressed = limits.payload_uncompressed_bytes_max as u64;
    let staging = RUN_STAGING_BYTES + ESCAPE_FACTOR * record;
    let (slack, context) = match compression {
        Compression::None => (staging, 0),
        Compression::Gzip(_) => (
            RUN_STAGING_BYTES + record + CODEC_BLOCK_BYTES,
            GZIP_CONTEXT_BYTES,
        ),
        Compression::Zstd(level) => (
            RUN_STAGING_BYTES + record + CODEC_BLOCK_BYTES,
            zstd_context_bytes(level),
        ),
        // A payload waits uncompressed until it is sealed, and may grow by a sixth if it does not compress.
        Compression::Snappy => (uncompressed / 6 + CODEC_BLOCK_BYTES, uncompressed + staging),
    };
    let marks = u64::from(limits.payload_records_max) * MARK_BYTES;
    let payload = limits.payload_bytes_max as u64 + slack + marks + COMMITS * COMMIT_BYTES;
    limits.block_bytes as u64
        + staging
        + (limits.payload_slots as u64 + 1) * payload
        + marks
        + limits.join_bytes_max as u64
        + uncompressed
        + limits.gzip_open_max as u64 * INFLATER_BYTES
        + context
}

/// A Zstandard streaming context: it grows with the level's window and tables.
pub fn zstd_context_bytes(level: i32) -> u64 {
    match level {
        ..=2 => 3 * MIB,
        3..=5 => 6 * MIB,
        6..=8 => 10 * MIB,
        9..=12 => 56 * MIB,
        _ => 112 * MIB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::{DEFAULT_YAML, parse};

    fn config(yaml: &str) -> Config {
        parse(yaml, "f", &|_| None, "node").unwrap()
    }

    #[test]
    fn the_sum_is_the_sum_of_its_parts_and_grows_with_each_limit() {
        let yaml =
            "sinks:\n  a: {type: blackhole, workers: 2}\n  b: {type: http, url: 'http://h/'}";
        let small = bounds(&config(yaml));
        let parts = small.sinks.iter().map(|(_, bound)| *bound);
        let sum = parts.fold(small.base, Bound::plus);
        assert_eq!(small.total, sum);
        let base = config(yaml);
        for number in &crate::config::keys::LIMITS {
            let mut greater = base.clone();
            let limits = &mut greater.sinks[0].limits;
            (number.set)(limits, number.max);
            assert!(
                bounds(&greater).total.memory_bytes >= small.total.memory_bytes,
                "{}",
                number.name
            );
        }
        let mut greater = base.clone();
        greater.sinks[0].limits.payload_slots += 1;
        let more = bounds(&greater).total.memory_bytes - small.total.memory_bytes;
        assert!(more > 2 * greater.sinks[0].limits.payload_bytes_max as u64);
    }

    #[test]
    fn the_default_needs_fewer_descriptors_than_a_process_may_usually_open() {
        /// The soft limit of RLIMIT_NOFILE that Linux gives to its first process, getrlimit(2).
        const USUAL_SOFT_LIMIT: u64 = 1024;
        let total = bounds(&config(DEFAULT_YAML)).total;
        assert!(
            total.descriptors < USUAL_SOFT_LIMIT,
            "{}",
            total.descriptors
        );
    }

    #[test]
    fn no_allowed_limits_overflow() {
        let mut config = config(DEFAULT_YAML);
        let mut sink = config.sinks[0].clone();
        for number in &crate::config::keys::LIMITS {
            (number.set)(&mut sink.limits, number.max);
        }
        sink.workers = 64;
        sink.compression = Compression::Zstd(19);
        config.sinks = vec![sink; 64];
        let total = bounds(&config).total;
        assert!(total.memory_bytes < u64::MAX && total.descriptors < u64::MAX);
    }

    #[test]
    fn zstd_contexts_stay_within_what_is_stated() {
        let block: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| n.to_string().into_bytes())
            .collect();
        let mut out = vec![0; 4 * block.len()];
        for level in [1, 2, 3, 5, 6, 8, 9, 12, 13, 15, 16, 19] {
            let mut context = zstd::zstd_safe::CCtx::create();
            context
                .set_parameter(zstd::zstd_safe::CParameter::CompressionLevel(level))
                .unwrap();
            let mut input = zstd::zstd_safe::InBuffer::around(&block);
            let mut buffer = zstd::zstd_safe::OutBuffer::around(&mut out[..]);
            context.compress_stream(&mut buffer, &mut input).unwrap();
            let size = context.sizeof() as u64;
            assert!(size <= zstd_context_bytes(level), "level {level}: {size}");
        }
    }
}
