//! Speed of encoding and compressing, in MB (10^6 bytes) of log file per second, beside what copying and searching the
//! same bytes takes in the same run. How to run and read it: README.md in this folder.
#![allow(clippy::print_stdout)] // the report is what this program is for

use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use longshore::config::{Compression, Rows as RowsConfig};
use longshore::encode::compress::Compressor;
use longshore::encode::rows::Rows;
use longshore::encode::{Encode, Run, json};
use longshore::record::{ChainKey, ChainMeta, Flags, Level, Record, Stream, TimeText};

/// Size of each corpus: larger than the caches.
const CORPUS_BYTES: usize = 16_000_000;
/// How often each step is measured; the best counts.
const ROUNDS: u32 = 9;
/// What a reader reads at once, and what a payload holds before compression.
const BLOCK_BYTES: usize = 256 * 1024;
const PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
const RUN_LINES: usize = 100;
/// `2024-05-01T10:00:00.123456789Z stdout F `
const HEADER_BYTES: usize = 40;

const WORDS: [&str; 16] = [
    "request",
    "accepted",
    "from",
    "upstream",
    "timeout",
    "while",
    "reading",
    "shard",
    "leader",
    "elected",
    "cache",
    "miss",
    "for",
    "key",
    "retry",
    "scheduled",
];
const WORDS_BEYOND_ASCII: [&str; 8] = [
    "\u{437}\u{430}\u{43f}\u{440}\u{43e}\u{441}",
    "\u{5b8c}\u{4e86}",
    "na\u{ef}ve",
    "\u{1f6a2}",
    "\u{3b4}\u{3ad}\u{3bc}\u{3b1}",
    "ok",
    "caf\u{e9}",
    "\u{5d0}\u{5d1}",
];

/// Lines of one kind as a container runtime writes them.
struct Corpus {
    name: &'static str,
    text: Vec<u8>,
    messages: Vec<Range<usize>>,
}

impl Corpus {
    fn new(name: &'static str, line: fn(&mut fastrand::Rng, usize) -> String) -> Corpus {
        let mut random = fastrand::Rng::with_seed(42);
        let mut corpus = Corpus {
            name,
            text: Vec::with_capacity(CORPUS_BYTES + 1000),
            messages: Vec::new(),
        };
        while corpus.text.len() < CORPUS_BYTES {
            let nanos = corpus.messages.len() * 7919;
            let header = format!("2024-05-01T10:00:00.{nanos:09}Z stdout F ");
            let message = line(&mut random, corpus.messages.len());
            let start = corpus.text.len() + HEADER_BYTES;
            corpus.text.extend(header.bytes().take(HEADER_BYTES));
            corpus.text.extend(message.bytes());
            corpus.messages.push(start..corpus.text.len());
            corpus.text.push(b'\n');
        }
        corpus
    }

    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.messages
            .iter()
            .map(|range| self.text.get(range.clone()).unwrap_or_default())
    }
}

fn words(random: &mut fastrand::Rng, from: &[&str], count: usize) -> String {
    let words: Vec<&str> = (0..count)
        .filter_map(|_| random.choice(from))
        .copied()
        .collect();
    words.join(" ")
}

fn json_line(random: &mut fastrand::Rng, number: usize) -> String {
    format!(
        r#"{{"ts":"2024-05-01T10:00:00.{:06}Z","level":"info","logger":"http","msg":"{}","path":"/api/v1/items/{}","status":{},"ms":{}.{},"trace":"{:032x}"}}"#,
        number % 1_000_000,
        words(random, &WORDS, 4),
        random.u32(..10_000),
        random.choice([200, 201, 404, 500]).unwrap_or(200),
        random.u32(..900),
        random.u32(..1000),
        random.u128(..),
    )
}

fn plain_line(random: &mut fastrand::Rng, number: usize) -> String {
    format!("worker {} {}", number % 16, words(random, &WORDS, 29))
}

fn klog_line(random: &mut fastrand::Rng, number: usize) -> String {
    format!(
        r#"I0501 10:00:00.{:06} {} reconciler.go:{}] "{}" pod="shop/web-{}" volume="{}" err="{}""#,
        number % 1_000_000,
        number % 9000,
        random.u32(100..999),
        words(random, &WORDS, 4),
        random.u32(..100),
        words(random, &WORDS, 2),
        words(random, &WORDS, 7),
    )
}

fn utf8_line(random: &mut fastrand::Rng, number: usize) -> String {
    format!("{number} {}", words(random, &WORDS_BEYOND_ASCII, 24))
}

/// One encoder with the compressor behind it, driven as the pipeline drives them.
struct Line {
    rows: Rows,
    /// Absent: the rows are thrown away.
    compressor: Option<Compressor>,
    chain: ChainMeta,
    described: Vec<u8>,
    staging: Vec<u8>,
    out: Vec<u8>,
    encoded_bytes: usize,
    out_bytes: usize,
}

impl Line {
    fn new(kind: Option<Compression>) -> Line {
        let rows = Rows::new(
            &RowsConfig::default(),
            "aks-nodepool1-12345678-vmss000003",
            None,
        );
        let chain = ChainMeta {
            key: ChainKey {
                pod_uid: "0f3b1a52-6d1c-4e0e-9d53-6f6f2f0c9a11".to_owned(),
                container: "web".to_owned(),
                restart: 0,
            },
            namespace: "shop".to_owned(),
            pod: "web-5d9c7b8f6d-x2x7k".to_owned(),
            container_id: "3f6c".repeat(16),
        };
        Line {
            described: rows.describe(&chain),
            rows,
            compressor: kind.map(Compressor::new),
            chain,
            staging: Vec::new(),
            out: Vec::new(),
            encoded_bytes: 0,
            out_bytes: 0,
        }
    }

    fn pass(&mut self, corpus: &Corpus) -> Result<(), Box<dyn Error>> {
        let time = TimeText::new(b"2024-05-01T10:00:00.123456789Z");
        (self.encoded_bytes, self.out_bytes) = (0, 0);
        let mut payload_bytes = 0;
        self.begin()?;
        for ranges in corpus.messages.chunks(RUN_LINES) {
            let run = Run {
                chain: &self.chain,
                described: &self.described,
                uid_seed: 1,
            };
            self.rows.begin_run(&run, &mut self.staging);
            for range in ranges {
                let record = Record {
                    time: &time,
                    stream: Stream::Stdout,
                    message: corpus.text.get(range.clone()).unwrap_or_default(),
                    level: Level::Info,
                    flags: Flags::NONE,
                    start: range.start as u64,
                    end: range.end as u64,
                };
                self.rows.record(&record, &mut self.staging);
            }
            self.rows.end_run(&mut self.staging);
            payload_bytes += self.staging.len();
            self.hand_on()?;
            if payload_bytes >= PAYLOAD_BYTES {
                self.finish()?;
                self.begin()?;
                payload_bytes = 0;
            }
        }
        self.finish()
    }

    fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        self.rows.begin(&mut self.staging);
        if let Some(compressor) = &mut self.compressor {
            compressor.begin()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), Box<dyn Error>> {
        self.encoded_bytes += self.staging.len();
        if let Some(compressor) = &mut self.compressor {
            compressor.write(black_box(&self.staging), &mut self.out)?;
        }
        black_box(&self.staging);
        self.staging.clear();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        self.rows.finish(&mut self.staging);
        self.hand_on()?;
        if let Some(compressor) = &mut self.compressor {
            compressor.finish(&mut self.out)?;
        }
        self.out_bytes += black_box(&self.out).len();
        self.out.clear();
        Ok(())
    }
}

/// Seconds of the best of all rounds.
fn best(mut step: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        step()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// The steps that everything is compared with: seconds for copying and for finding the line ends.
fn yardsticks(corpus: &Corpus) -> Result<(f64, f64), Box<dyn Error>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let copy = best(|| {
        for piece in corpus.text.chunks(BLOCK_BYTES) {
            block.clear();
            block.extend_from_slice(black_box(piece));
            black_box(&block);
        }
        Ok(())
    })?;
    let find = best(|| {
        black_box(memchr::memchr_iter(b'\n', black_box(&corpus.text)).fold(0, usize::max));
        Ok(())
    })?;
    Ok((copy, find))
}

fn report(corpus: &Corpus) -> Result<(), Box<dyn Error>> {
    let file_bytes = corpus.text.len();
    let (copy, find) = yardsticks(corpus)?;
    println!(
        "\n{}: {} bytes a line",
        corpus.name,
        file_bytes / corpus.messages.len()
    );
    let print = |step: &str, seconds: f64, note: &str| {
        println!(
            "  {step:<16} {:>8.0} MB/s {:>7.1} % of copy {:>7.1} % of search  {note}",
            file_bytes as f64 / seconds / 1e6,
            copy / seconds * 100.0,
            find / seconds * 100.0,
        );
    };
    print("copy", copy, "");
    print("search", find, "");
    let mut out = Vec::new();
    let escape = best(|| {
        for message in corpus.messages() {
            out.clear();
            json::write_string(black_box(message), &mut out);
            black_box(&out);
        }
        Ok(())
    })?;
    print("escape", escape, "");
    let kinds = [
        ("rows", None),
        ("rows + gzip 1", Some(Compression::Gzip(1))),
        ("rows + zstd 1", Some(Compression::Zstd(1))),
    ];
    for (step, kind) in kinds {
        let mut line = Line::new(kind);
        let seconds = best(|| line.pass(corpus))?;
        let out_bytes = kind.map_or(line.encoded_bytes, |_| line.out_bytes);
        let note = format!(
            "{:.2} bytes out per byte in; {:.1} % of the rows",
            out_bytes as f64 / file_bytes as f64,
            out_bytes as f64 / line.encoded_bytes as f64 * 100.0,
        );
        print(step, seconds, &note);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    report(&Corpus::new("json", json_line))?;
    report(&Corpus::new("plain", plain_line))?;
    report(&Corpus::new("klog", klog_line))?;
    report(&Corpus::new("utf8", utf8_line))
}
