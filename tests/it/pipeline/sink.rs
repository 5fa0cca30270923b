//! A destination that answers as badly as real ones do, and remembers every row it ever took.
//!
//! What becomes of an attempt is decided when it is made; the verdict comes later. An attempt whose worker died
//! before its verdict is therefore one whose answer got lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore::config::{Compression, RowFormat, Sink};
use longshore::encode::compress::decompress;
use longshore::sink::dead_letter::{DeadLetters, Kept, rfc3339};
use longshore::sink::{Attempt, Item, Reason, Transport, Verdict};
use prost::Message;
use serde::Deserialize;

use crate::sinks::protobuf::messages::{LogBatch, LogRecord, LogSource, RecordGroup};
use crate::support::sim_clock::SimClock;

/// Text in a message that makes a sink refuse the record.
pub const POISON: &str = "POISON";

/// One row as the receiver reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    pub time_generated: String,
    pub container_name: String,
    pub pod_name: String,
    pub pod_namespace: String,
    #[serde(deserialize_with = "message")]
    pub log_message: String,
    pub log_source: String,
    pub record_uid: String,
    #[serde(default)]
    pub log_flags: String,
}

/// A text as it is, an object as its JSON.
fn message<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        other => format!("JSON: {other}"),
    })
}

impl Row {
    pub fn has(&self, flag: &str) -> bool {
        self.log_flags.split(',').any(|known| known == flag)
    }
}

/// The rows of a payload in its format.
fn rows_in(bytes: &[u8], format: RowFormat) -> Vec<Row> {
    match format {
        RowFormat::Ndjson => {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let rows = lines.map(|line| serde_json::from_slice(line).unwrap());
            rows.collect()
        }
        RowFormat::JsonArray => serde_json::from_slice(bytes).unwrap(),
        RowFormat::Protobuf => {
            let groups = LogBatch::decode(bytes).unwrap().groups;
            let rows = groups
                .iter()
                .flat_map(|group| group.records.iter().map(|record| row_of(group, record)));
            rows.collect()
        }
    }
}

/// What a record's row would be.
fn row_of(group: &RecordGroup, record: &LogRecord) -> Row {
    let container = group.container.as_ref().unwrap();
    let flags = [
        (record.partial, "partial"),
        (record.cut, "cut"),
        (record.unparsed, "unparsed"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
    let source = match record.source() {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Unspecified => "",
    };
    let uid = record.record_uid.iter();
    Row {
        time_generated: time_of(record.time_unix_nano),
        container_name: container.container_name.clone(),
        pod_name: container.pod_name.clone(),
        pod_namespace: container.pod_namespace.clone(),
        log_message: record.message.clone(),
        log_source: source.to_owned(),
        record_uid: uid.map(|byte| format!("{byte:02x}")).collect(),
        log_flags: flags.join(","),
    }
}

/// As the logs of the simulation have it.
fn time_of(nanos: u64) -> String {
    if nanos == 0 {
        return "1970-01-01T00:00:00Z".to_owned();
    }
    let moment = std::time::UNIX_EPOCH + Duration::from_nanos(nanos);
    let text = rfc3339(moment);
    let seconds = text.split('.').next().unwrap();
    format!("{seconds}.{:09}Z", nanos % 1_000_000_000)
}

/// A row that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub row: Row,
    /// Which run of the agent sent it.
    pub life: u32,
    /// The agent was not told.
    pub ambiguous: bool,
    pub at_ms: u64,
}

/// How it behaves; odds are in percent.
#[derive(Clone, Debug)]
pub struct Manner {
    pub latency_ms: u64,
    pub retry: u8,
    pub retry_after_ms: Option<u64>,
    pub ambiguous: u8,
    pub busy: u8,
    /// Answers for each record; this share is "later".
    pub items: Option<u8>,
    pub split_above_bytes: u64,
    /// Answers a request that holds poison with: find it.
    pub bisects: bool,
    /// Answers a request that holds poison with: later.
    pub chokes: bool,
    /// Takes a request without its poison, and says how much that was.
    pub partly: bool,
    pub pauses: bool,
    pub dead: bool,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            latency_ms: 5,
            retry: 0,
            retry_after_ms: None,
            ambiguous: 0,
            busy: 0,
            items: None,
            split_above_bytes: u64::MAX,
            bisects: false,
            chokes: false,
            partly: false,
            pauses: false,
            dead: false,
        }
    }
}

pub struct SinkState {
    pub manner: Manner,
    pub taken: Vec<Taken>,
    pub letters: Vec<Row>,
    pub attempts: u64,
    pub submitted_at_ms: Vec<u64>,
    pub body_bytes_most: usize,
    pub compression: Compression,
    pub format: RowFormat,
    pub records_max: u32,
    pub life: u32,
    under_way: Vec<u64>,
    random: fastrand::Rng,
}

/// The destination; clones are the same.
#[derive(Clone)]
pub struct SimSink(Arc<Mutex<SinkState>>);

impl SimSink {
    pub fn new(seed: u64, config: &Sink) -> SimSink {
        SimSink(Arc::new(Mutex::new(SinkState {
            manner: Manner::default(),
            taken: Vec::new(),
            letters: Vec::new(),
            attempts: 0,
            submitted_at_ms: Vec::new(),
            body_bytes_most: 0,
            compression: config.compression,
            format: config.rows.format,
            records_max: config.limits.payload_records_max,
            life: 0,
            under_way: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, SinkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.lock().manner);
    }

    /// When the next verdict is due.
    pub fn due_ms(&self) -> Option<u64> {
        self.lock().under_way.iter().min().copied()
    }

    pub fn begin_life(&self, life: u32) {
        let mut state = self.lock();
        state.life = life;
        state.under_way.clear();
    }

    pub fn transport(&self, clock: &SimClock, in_flight_max: usize) -> SimTransport {
        let (clock, answers) = (clock.clone(), VecDeque::new());
        SimTransport {
            sink: self.clone(),
            clock,
            answers,
            in_flight_max,
        }
    }
}

impl SinkState {
    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    fn take(&mut self, row: &Row, ambiguous: bool, at_ms: u64) {
        let row = row.clone();
        self.taken.push(Taken {
            row,
            life: self.life,
            ambiguous,
            at_ms,
        });
    }

    fn rows(&mut self, attempt: &Attempt) -> Vec<Row> {
        let mut text = Vec::new();
        let size = attempt.uncompressed_bytes as usize;
        decompress(self.compression, &attempt.body, &mut text, size).unwrap();
        assert_eq!(text.len(), size, "a payload's size is not what it says");
        self.body_bytes_most = self.body_bytes_most.max(size);
        let rows = rows_in(&text, self.format);
        assert_eq!(
            rows.len() as u32,
            attempt.records,
            "a payload's count is not what it says"
        );
        assert!(attempt.records <= self.records_max);
        rows
    }

    fn decide(&mut self, attempt: &Attempt, now_ms: u64) -> Verdict {
        self.attempts += 1;
        self.submitted_at_ms.push(now_ms);
        let rows = self.rows(attempt);
        let manner = self.manner.clone();
        let poisoned = |row: &Row| row.log_message.contains(POISON);
        let later = |text| Verdict::Retry {
            after: manner.retry_after_ms.map(Duration::from_millis),
            reason: Reason::new("sim_later", text),
        };
        if manner.dead {
            return later("down");
        }
        if manner.pauses {
            return Verdict::Pause(Reason::new("sim_404", "not here"));
        }
        if self.chance(manner.retry) {
            return later("not now");
        }
        if attempt.uncompressed_bytes > manner.split_above_bytes && rows.len() > 1 {
            return Verdict::Split(Reason::new("sim_413", "too large"));
        }
        if let Some(share) = manner.items {
            let items = rows
                .iter()
                .map(|row| self.item(row, poisoned(row), share, now_ms));
            return Verdict::Items(items.collect());
        }
        if manner.bisects && rows.iter().any(poisoned) {
            return Verdict::Bisect(Reason::new("sim_400", "bad record"));
        }
        if manner.chokes && rows.iter().any(poisoned) {
            return later("internal error");
        }
        if manner.partly {
            let (bad, good): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| poisoned(row));
            for row in good {
                self.take(row, false, now_ms);
            }
            return match bad.len() as u64 {
                0 => Verdict::Accepted,
                rejected => Verdict::AcceptedExcept {
                    rejected,
                    reason: Reason::new("sim_partial", "bad records"),
                },
            };
        }
        let ambiguous = self.chance(manner.ambiguous);
        for row in &rows {
            self.take(row, ambiguous, now_ms);
        }
        if ambiguous {
            later("the answer got lost")
        } else {
            Verdict::Accepted
        }
    }

    fn item(&mut self, row: &Row, poisoned: bool, share: u8, now_ms: u64) -> Item {
        if poisoned {
            return Item::Rejected(Reason::new("sim_mapping", "bad record"));
        }
        if self.chance(share) {
            return Item::Retry;
        }
        self.take(row, false, now_ms);
        Item::Accepted
    }
}

/// One worker's way to the sink.
pub struct SimTransport {
    sink: SimSink,
    clock: SimClock,
    answers: VecDeque<(u64, u64, Verdict)>,
    in_flight_max: usize,
}

impl Transport for SimTransport {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        let now_ms = self.clock.ms();
        let mut sink = self.sink.lock();
        let busy = sink.manner.busy;
        if self.answers.len() >= self.in_flight_max || sink.chance(busy) {
            return Err(attempt);
        }
        let verdict = sink.decide(&attempt, now_ms);
        if std::env::var_os("LONGSHORE_SIM_TRACE").is_some() {
            let rows = sink.rows(&attempt);
            let rows: Vec<_> = rows
                .iter()
                .map(|row| row.record_uid.get(..8).unwrap_or_default())
                .collect();
            eprintln!(
                "  {now_ms} ms: attempt {} of {rows:?}: {verdict:?}",
                attempt.id
            );
        }
        let most_ms = sink.manner.latency_ms.max(1);
        let due_ms = now_ms + sink.random.u64(1..=most_ms);
        sink.under_way.push(due_ms);
        self.answers.push_back((due_ms, attempt.id, verdict));
        Ok(())
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        let now_ms = self.clock.ms();
        let at = self
            .answers
            .iter()
            .position(|(due_ms, _, _)| *due_ms <= now_ms)?;
        let (due_ms, id, verdict) = self.answers.remove(at)?;
        let mut sink = self.sink.lock();
        let known = sink.under_way.iter().position(|known| *known == due_ms);
        known.map(|known| sink.under_way.swap_remove(known));
        Some((id, verdict))
    }
}

/// Dead letters that a test can read.
pub struct SimLetters(pub SimSink);

impl DeadLetters for SimLetters {
    fn keep(&mut self, _reason: &Reason, record: &[u8]) -> std::io::Result<Kept> {
        let mut sink = self.0.lock();
        let rows = rows_in(record, sink.format);
        assert_eq!(rows.len(), 1, "a letter is one record");
        sink.letters.extend(rows);
        Ok(Kept::Kept)
    }
}
