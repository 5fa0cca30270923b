//! Speed of each stage between a line in memory and a payload, in MB (10^6 bytes) of log file per second, beside what
//! copying, searching and compressing the same bytes takes in the same run. How to read it: README.md in this folder.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "common/codecs.rs"]
mod codecs;
#[path = "common/corpora.rs"]
mod corpora;
#[path = "common/stages.rs"]
mod stages;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use corpora::Corpus;
use longshore::config::{Compression, RowFormat};
use longshore::encode::compress::{CompressError, Compressor};
use stages::{Stage, Stages};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Size of each corpus: larger than the caches of a core.
const CORPUS_BYTES: usize = 16_000_000;
/// How often each step is measured; the best counts.
const ROUNDS: u32 = 7;
/// What a reader reads at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// What a compressor is given at once, and what a payload holds before compression.
const STAGED_BYTES: usize = 64 * 1024;
const PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

/// What is measured with its compression.
const COMPRESSED: [Stage; 4] = [
    Stage::Rows(RowFormat::Ndjson),
    Stage::RowsWithUid,
    Stage::Otlp(false),
    Stage::Otlp(true),
];

/// One thing that is measured.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// Reference: copying the file block by block, which is reading alone.
    Copy,
    /// Reference: finding the line ends.
    Search,
    Stage(Stage),
    /// Reference: compressing the finished rows.
    Compress(Compression),
    /// Rows or OTLP, compressed as they are made.
    Compressed(Stage, Compression),
}

impl Step {
    /// References first, what is set beside them after them.
    fn all() -> Vec<Step> {
        let mut all = vec![Step::Copy, Step::Search];
        all.extend(Stage::ALL.map(Step::Stage));
        for kind in codecs::all() {
            all.push(Step::Compress(kind));
            all.extend(COMPRESSED.map(|stage| Step::Compressed(stage, kind)));
        }
        all
    }

    fn name(self) -> String {
        match self {
            Step::Copy => "copy".to_owned(),
            Step::Search => "search".to_owned(),
            Step::Stage(stage) => stage.name().to_owned(),
            Step::Compress(kind) => format!("{} alone", codecs::name(kind)),
            Step::Compressed(stage, kind) => format!("{} + {}", stage.name(), codecs::name(kind)),
        }
    }
}

/// Compresses payload after payload, as the pipeline does.
struct Payloads {
    kind: Compression,
    compressor: Compressor,
    body: Vec<u8>,
    payload_bytes: usize,
    /// Compressed bytes of the last pass.
    out_bytes: usize,
}

impl Payloads {
    fn new(kind: Compression) -> Payloads {
        Payloads {
            kind,
            compressor: Compressor::new(kind),
            body: Vec::new(),
            payload_bytes: 0,
            out_bytes: 0,
        }
    }

    fn begin(&mut self) -> Result<(), CompressError> {
        self.payload_bytes = 0;
        self.compressor.begin()
    }

    fn write(&mut self, staged: &[u8]) -> Result<(), CompressError> {
        self.compressor.write(black_box(staged), &mut self.body)?;
        self.payload_bytes += staged.len();
        if self.payload_bytes >= PAYLOAD_BYTES {
            self.finish()?;
            self.begin()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CompressError> {
        self.compressor.finish(&mut self.body)?;
        self.out_bytes += black_box(&self.body).len();
        self.body.clear();
        Ok(())
    }
}

/// One corpus with all that its steps need.
struct Bench<'a> {
    corpus: &'a Corpus,
    stages: Stages<'a>,
    rows: Vec<u8>,
    block: Vec<u8>,
    payloads: Vec<Payloads>,
}

impl<'a> Bench<'a> {
    fn new(corpus: &'a Corpus) -> Bench<'a> {
        let mut stages = Stages::new(corpus);
        let mut rows = Vec::new();
        stages.encode(Stage::Rows(RowFormat::Ndjson), |run| {
            rows.extend_from_slice(run);
        });
        Bench {
            corpus,
            stages,
            rows,
            block: Vec::with_capacity(BLOCK_BYTES),
            payloads: codecs::all().map(Payloads::new).collect(),
        }
    }

    fn run(&mut self, step: Step) -> Outcome<()> {
        match step {
            Step::Copy => {
                for piece in self.corpus.text.chunks(BLOCK_BYTES) {
                    self.block.clear();
                    self.block.extend_from_slice(black_box(piece));
                    black_box(&self.block);
                }
            }
            Step::Search => {
                let ends = memchr::memchr_iter(b'\n', black_box(&self.corpus.text));
                black_box(ends.fold(0, usize::max));
            }
            Step::Stage(stage) => self.stages.run(stage),
            Step::Compress(kind) | Step::Compressed(_, kind) => {
                let found = self.payloads.iter_mut().find(|known| known.kind == kind);
                let payloads = found.ok_or("a codec without a compressor")?;
                payloads.out_bytes = 0;
                payloads.begin()?;
                if let Step::Compressed(stage, _) = step {
                    let mut written = Ok(());
                    self.stages.encode(stage, |run| {
                        if written.is_ok() {
                            written = payloads.write(run);
                        }
                    });
                    written?;
                } else {
                    for staged in self.rows.chunks(STAGED_BYTES) {
                        payloads.write(staged)?;
                    }
                }
                payloads.finish()?;
            }
        }
        Ok(())
    }

    /// What the last step left, as a share of the rows, if it compressed.
    fn left(&self, step: Step) -> Option<f64> {
        let (Step::Compressed(_, kind) | Step::Compress(kind)) = step else {
            return None;
        };
        let payloads = self.payloads.iter().find(|known| known.kind == kind)?;
        Some(payloads.out_bytes as f64 / self.rows.len() as f64)
    }
}

fn report(corpus: &Corpus) -> Outcome<()> {
    let mut bench = Bench::new(corpus);
    let steps = Step::all();
    let mut best = vec![f64::MAX; steps.len()];
    let mut left = vec![None; steps.len()];
    // Round by round, so that what else the machine does meets the references as well.
    for _ in 0..ROUNDS {
        for ((step, best), left) in steps.iter().zip(&mut best).zip(&mut left) {
            let start = Instant::now();
            bench.run(*step)?;
            *best = best.min(start.elapsed().as_secs_f64());
            *left = bench.left(*step);
        }
    }
    let seconds_of = |wanted: Step| {
        let found = steps.iter().zip(&best).find(|(step, _)| **step == wanted);
        found.map_or(f64::NAN, |(_, seconds)| *seconds)
    };
    let (file_bytes, records) = (corpus.text.len() as f64, corpus.records as f64);
    println!(
        "\n{}: {:.0} bytes of file a record, {:.2} bytes of row for each\n",
        corpus.name,
        file_bytes / records,
        bench.rows.len() as f64 / file_bytes
    );
    println!("| step | MB/s | ns a record | % of copy | % of search | % of codec | of the rows |");
    println!("|---|---|---|---|---|---|---|");
    for ((step, seconds), left) in steps.iter().zip(&best).zip(&left) {
        let percent_of = |reference: Step| seconds_of(reference) * 100.0 / seconds;
        let (codec, left) = match step {
            Step::Compressed(_, kind) => (
                format!("{:.1}", percent_of(Step::Compress(*kind))),
                format!("{:.1} %", left.unwrap_or(f64::NAN) * 100.0),
            ),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} | {codec} | {left} |",
            step.name(),
            file_bytes / seconds / 1e6,
            seconds / records * 1e9,
            percent_of(Step::Copy),
            percent_of(Step::Search),
        );
    }
    Ok(())
}

fn main() -> Outcome<()> {
    println!("MB/s: 10^6 bytes of log file per second on one core; the best of {ROUNDS}");
    for corpus in Corpus::all(CORPUS_BYTES) {
        report(&corpus)?;
    }
    Ok(())
}
