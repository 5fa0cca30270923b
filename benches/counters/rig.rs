//! A real worker on real files and the real blackhole, stepped by hand on a clock that stands still: what it does is
//! the same in every run.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use longshore::catalog::chain::{Chain, Identity, Segment, Source};
use longshore::catalog::feed::{Feed, Shard};
use longshore::checkpoint::{Checkpoint, Store};
use longshore::clock::{Clock, Time};
use longshore::config::{Compression, Limits, Sink, SinkKind};
use longshore::encode::Encode;
use longshore::encode::rows::Rows;
use longshore::files::{FileHandle, Meta, NodeFiles};
use longshore::pipeline::board::{Board, Counters};
use longshore::pipeline::worker::{Parts, Worker};
use longshore::pods::PodState;
use longshore::record::{ChainKey, ChainMeta};
use longshore::select::lines::LinesPlanner;
use longshore::select::plan::Planner;
use longshore::sink::Reason;
use longshore::sink::blackhole::{Blackhole, Swallowed};
use longshore::sink::dead_letter::{DeadLetters, Kept};
use longshore::waker::Waker;

use crate::Outcome;

/// Containers, one a pod, that are read in turn.
const CHAINS: usize = 10;
/// Length of each log: more than is ever read.
const ENDLESS_BYTES: u64 = 1 << 40;
/// Behind the start, so that what is due at once is done in the first step.
const START_MS: u64 = 10_000;

/// A worker with endless logs to read.
pub struct Rig {
    worker: Worker,
    segments: Vec<Arc<Segment>>,
    swallowed: Arc<Swallowed>,
    now: Time,
}

impl Rig {
    /// A worker that reads the file at `path` over and over, as ten containers.
    pub fn new(
        path: &Path,
        docker: bool,
        compression: Compression,
        limits: Limits,
    ) -> Outcome<Rig> {
        let mut sink = Sink::new("counted".to_owned(), SinkKind::Blackhole);
        sink.compression = compression;
        sink.limits = limits;
        Rig::of(path, docker, sink)
    }

    /// The same with a sink as it is configured.
    pub fn of(path: &Path, docker: bool, sink: Sink) -> Outcome<Rig> {
        let shard = Shard {
            sink: 0,
            worker: 0,
            workers: 1,
        };
        let feed = Arc::new(Feed::new(shard, 0, Waker::none()));
        let transport = Blackhole::default();
        let swallowed = transport.swallowed();
        let encoder = || -> Box<dyn Encode> { Box::new(Rows::new(&sink.rows, "node-1", None)) };
        let parts = Parts {
            encoders: [encoder(), encoder()],
            sink: sink.clone(),
            feed: Arc::clone(&feed),
            files: Arc::new(NodeFiles),
            clock: Arc::new(Standing),
            transport: Box::new(transport),
            dead_letters: Box::new(NoLetters),
            store: Box::new(NoStore),
            board: Arc::new(Board::new("counted", 0)),
            forget_after: Duration::from_secs(600),
            planner: Planner::default()
                .with_multiline(&sink.multiline)
                .with_lines(Arc::new(LinesPlanner::new(sink.lines.clone()))),
            seed: 7,
        };
        let mut segments = Vec::new();
        for number in 0..CHAINS {
            let (chain, segment) = chain(path, docker, number)?;
            Feed::introduce(std::slice::from_ref(&feed), &chain, false);
            segments.push(segment);
        }
        Ok(Rig {
            worker: Worker::new(parts, None),
            segments,
            swallowed,
            now: Time::from_ms(START_MS),
        })
    }

    /// Steps the worker; the clock stands still.
    pub fn step(&mut self) {
        self.worker.step(self.now);
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    /// Payloads that the sink took.
    pub fn payloads(&self) -> u64 {
        self.swallowed.payloads.load(Ordering::Relaxed)
    }

    /// Bytes and number of the rows that the sink took.
    pub fn rows(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let swallowed = &self.swallowed;
        (
            count(&swallowed.uncompressed_bytes),
            count(&swallowed.records),
        )
    }

    /// Bytes of log file that the worker has taken in.
    fn taken_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.passed_by_all())
            .sum()
    }

    /// Steps until this many further bytes are taken in; returns how many were.
    pub fn take(&mut self, bytes: u64) -> u64 {
        let before = self.taken_bytes();
        loop {
            self.step();
            let taken = self.taken_bytes() - before;
            if taken >= bytes {
                return taken;
            }
        }
    }
}

/// A container whose log is the file at `path`, repeated.
fn chain(path: &Path, docker: bool, number: usize) -> Outcome<(Arc<Chain>, Arc<Segment>)> {
    let file = File::open(path)?;
    let handle = Arc::new(Repeated {
        len_bytes: file.metadata()?.len(),
        file,
    });
    let mut head = vec![0; Identity::BYTES_MAX];
    let len = handle.read_at(&mut head, 0)?;
    let source = Source {
        path: path.to_owned(),
        gzip: false,
        handle: Some(handle),
    };
    let segment = Arc::new(Segment::new(number as u64 + 1, 1, source));
    segment.identify(Identity::of_ended(head.get(..len).unwrap_or_default()));
    segment.observe_len(ENDLESS_BYTES);
    let meta = ChainMeta {
        key: ChainKey {
            pod_uid: format!("0f3b1a52-6d1c-4e0e-9d53-{number:012}"),
            container: "web".to_owned(),
            restart: 0,
        },
        namespace: "shop".to_owned(),
        pod: format!("web-5d9c7b8f6d-{number:05}"),
        container_id: "3f6c".repeat(16),
        pod_state: PodState::Unasked,
    };
    let chain = Arc::new(Chain::new(meta, docker, false, None));
    chain.set_segments(vec![Arc::clone(&segment)]);
    Ok((chain, segment))
}

/// A file over and over. Read by the kernel into the caller's buffer, so that no copy is made that the agent would not
/// make.
struct Repeated {
    file: File,
    len_bytes: u64,
}

impl FileHandle for Repeated {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = (offset + done as u64) % self.len_bytes;
            match self.file.read_at(rest, at)? {
                0 => break,
                len => done += len,
            }
        }
        Ok(done)
    }

    fn meta(&self) -> io::Result<Meta> {
        self.file.meta().map(|meta| Meta {
            len_bytes: ENDLESS_BYTES,
            ..meta
        })
    }

    fn drop_cache(&self) {}
}

/// Only lines without a timestamp of their own ask for the time, and there are none.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Time {
        Time::from_ms(START_MS)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

struct NoStore;

impl Store for NoStore {
    fn save(&mut self, _checkpoint: Checkpoint) {}

    fn poll(&mut self, _counters: &mut Counters) -> bool {
        false
    }

    fn finish(&mut self, _counters: &mut Counters) {}
}

struct NoLetters;

impl DeadLetters for NoLetters {
    fn keep(&mut self, _reason: &Reason, _record: &[u8]) -> io::Result<Kept> {
        Ok(Kept::Kept)
    }
}
