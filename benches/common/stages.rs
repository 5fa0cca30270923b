//! The stages of the hot path one by one, on a corpus: what goes into a stage was made by the ones before it, before
//! anything is measured.

use std::hint::black_box;
use std::ops::Range;

use longshore::clock::Time;
use longshore::config::{RowFormat, Rows as RowsConfig};
use longshore::encode::log_batch::LogBatch;
use longshore::encode::otlp::{Attributes, Otlp};
use longshore::encode::rows::Rows;
use longshore::encode::{Encode, Run, json};
use longshore::pods::PodState;
use longshore::record::{ChainKey, ChainMeta, Flags, Level, Record, Stream, TimeText};
use longshore::select::level;
use longshore::tail::join::{Held, JoinPool, Place};
use longshore::tail::line::Line;
use longshore::tail::multiline::{Grammar, Languages};
use longshore::tail::{cri, docker};

use super::corpora::Corpus;

/// Records of one run; the pipeline's come to 64 KiB of staging.
const RUN_RECORDS: usize = 100;
/// Longer than any record of any corpus.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A line is taken apart.
    Parse,
    /// Parts become records; nothing is done for lines that are records.
    Join,
    /// Whether the record's line may begin a trace, of any language.
    Multiline,
    /// The level is inferred.
    Level,
    /// The message becomes a JSON string.
    Escape,
    /// Records become rows, or what stands for them in protobuf.
    Rows(RowFormat),
    /// Records become rows with their uid.
    RowsWithUid,
    /// Records become OTLP, with their uid or without.
    Otlp(bool),
}

impl Stage {
    /// All of them, in the order of the line.
    pub const ALL: [Stage; 11] = [
        Stage::Parse,
        Stage::Join,
        Stage::Multiline,
        Stage::Level,
        Stage::Escape,
        Stage::Rows(RowFormat::Ndjson),
        Stage::Rows(RowFormat::JsonArray),
        Stage::RowsWithUid,
        Stage::Rows(RowFormat::Protobuf),
        Stage::Otlp(false),
        Stage::Otlp(true),
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Join => "join",
            Stage::Multiline => "multiline",
            Stage::Level => "level",
            Stage::Escape => "escape",
            Stage::Rows(RowFormat::Ndjson) => "rows",
            Stage::Rows(RowFormat::JsonArray) => "rows, array",
            Stage::Rows(RowFormat::Protobuf) => "protobuf",
            Stage::RowsWithUid => "rows, uid",
            Stage::Otlp(false) => "otlp, no uid",
            Stage::Otlp(true) => "otlp",
        }
    }
}

/// A record of a corpus; its message lies in [`Stages::messages`].
struct Joined {
    time: TimeText,
    stream: Stream,
    message: Range<usize>,
    level: Level,
    start: u64,
    end: u64,
}

/// What the stages of one corpus need.
pub struct Stages<'a> {
    corpus: &'a Corpus,
    messages: Vec<u8>,
    records: Vec<Joined>,
    pool: JoinPool,
    grammar: Grammar,
    scratch: Vec<u8>,
    out: Vec<u8>,
    ndjson: Rows,
    array: Rows,
    with_uid: Rows,
    protobuf: LogBatch,
    otlp: [Otlp; 2],
    chain: ChainMeta,
}

fn parse<'a>(corpus: &Corpus, line: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Line<'a>> {
    if corpus.docker {
        docker::parse(line, scratch)
    } else {
        cri::parse(line)
    }
}

const NODE: &str = "aks-nodepool1-12345678-vmss000003";

fn encoder(format: RowFormat, record_uid: bool) -> Rows {
    let config = RowsConfig {
        format,
        record_uid,
        ..RowsConfig::default()
    };
    Rows::new(&config, NODE, None)
}

impl<'a> Stages<'a> {
    /// Takes the corpus apart.
    pub fn new(corpus: &'a Corpus) -> Stages<'a> {
        let mut stages = Stages {
            corpus,
            messages: Vec::with_capacity(corpus.text.len()),
            records: Vec::with_capacity(corpus.records),
            pool: JoinPool::new(RECORD_BYTES_MAX, RECORD_BYTES_MAX),
            grammar: Grammar::Languages(Languages::all()),
            scratch: Vec::new(),
            out: Vec::new(),
            ndjson: encoder(RowFormat::Ndjson, false),
            array: encoder(RowFormat::JsonArray, false),
            with_uid: encoder(RowFormat::Ndjson, true),
            protobuf: LogBatch::new(&RowsConfig::default(), NODE, None),
            otlp: [false, true].map(|uid| Otlp::new(NODE, None, Attributes::default(), uid)),
            chain: ChainMeta {
                key: ChainKey {
                    pod_uid: "0f3b1a52-6d1c-4e0e-9d53-6f6f2f0c9a11".to_owned(),
                    container: "web".to_owned(),
                    restart: 0,
                },
                namespace: "shop".to_owned(),
                pod: "web-5d9c7b8f6d-x2x7k".to_owned(),
                container_id: "3f6c".repeat(16),
                pod_state: PodState::Unasked,
            },
        };
        stages.join(|joined, content, messages, records| {
            let start = messages.len();
            messages.extend_from_slice(content);
            let message = start..messages.len();
            let level = level::infer(content);
            records.push(Joined {
                message,
                level,
                ..joined
            });
        });
        stages
    }

    /// Does one stage's work once.
    pub fn run(&mut self, stage: Stage) {
        match stage {
            Stage::Parse => {
                for line in self.corpus.lines() {
                    black_box(parse(self.corpus, black_box(line), &mut self.scratch));
                }
            }
            Stage::Join => self.join(|_, content, _, _| {
                black_box(content);
            }),
            Stage::Multiline => {
                for record in &self.records {
                    let message = &self.messages[record.message.clone()];
                    black_box(self.grammar.may_begin(black_box(message)));
                }
            }
            Stage::Level => {
                for record in &self.records {
                    black_box(level::infer(black_box(
                        &self.messages[record.message.clone()],
                    )));
                }
            }
            Stage::Escape => {
                for record in &self.records {
                    self.out.clear();
                    let message = &self.messages[record.message.clone()];
                    json::write_string(black_box(message), &mut self.out);
                    black_box(&self.out);
                }
            }
            Stage::Rows(_) | Stage::RowsWithUid | Stage::Otlp(_) => self.encode(stage, |run| {
                black_box(run);
            }),
        }
    }

    /// Encodes all records, handing each run on as the pipeline does; nothing for a stage that encodes none.
    pub fn encode(&mut self, stage: Stage, mut hand_on: impl FnMut(&[u8])) {
        let [plain, with_uid] = &mut self.otlp;
        let rows: &mut dyn Encode = match stage {
            Stage::Rows(RowFormat::Ndjson) => &mut self.ndjson,
            Stage::Rows(RowFormat::JsonArray) => &mut self.array,
            Stage::Rows(RowFormat::Protobuf) => &mut self.protobuf,
            Stage::RowsWithUid => &mut self.with_uid,
            Stage::Otlp(false) => plain,
            Stage::Otlp(true) => with_uid,
            Stage::Parse | Stage::Join | Stage::Multiline | Stage::Level | Stage::Escape => return,
        };
        let described = rows.describe(&self.chain);
        let run = Run {
            parse_json: None,
            chain: &self.chain,
            described: &described,
            uid_seed: 1,
        };
        self.out.clear();
        rows.begin(&mut self.out);
        for records in self.records.chunks(RUN_RECORDS) {
            rows.begin_run(&run, &mut self.out);
            for joined in records {
                let record = Record {
                    time: &joined.time,
                    stream: joined.stream,
                    message: black_box(&self.messages[joined.message.clone()]),
                    level: joined.level,
                    flags: Flags::NONE,
                    start: joined.start,
                    end: joined.end,
                };
                rows.record(&record, &mut self.out);
            }
            rows.end_run(&mut self.out);
            hand_on(&self.out);
            self.out.clear();
        }
        rows.finish(&mut self.out);
        hand_on(&self.out);
    }

    /// Takes lines apart and joins parts, as the pipeline does.
    fn join(&mut self, mut done: impl FnMut(Joined, &[u8], &mut Vec<u8>, &mut Vec<Joined>)) {
        let (messages, records) = (&mut self.messages, &mut self.records);
        let mut open = [false; 2];
        for range in &self.corpus.lines {
            let line = &self.corpus.text[range.clone()];
            let Some(line) = parse(self.corpus, line, &mut self.scratch) else {
                continue;
            };
            let place = Place {
                segment: 1,
                start: range.start as u64,
                end: range.end as u64 + 1,
            };
            let open = &mut open[line.stream.index()];
            if line.partial || *open {
                self.pool.push(0, &line, place, Time::ZERO);
                *open = line.partial;
                if line.partial {
                    continue;
                }
                let Some(whole) = self.pool.take((0, line.stream), Held::Line) else {
                    continue;
                };
                let start = whole.start_in(1).unwrap_or_default();
                let joined = joined(whole.time, line.stream, start, place.end);
                done(joined, &whole.content, messages, records);
                self.pool.recycle(whole);
            } else {
                let joined = joined(line.time, line.stream, place.start, place.end);
                done(joined, line.content, messages, records);
            }
        }
    }
}

fn joined(time: TimeText, stream: Stream, start: u64, end: u64) -> Joined {
    Joined {
        time,
        stream,
        message: 0..0,
        level: Level::Unknown,
        start,
        end,
    }
}
