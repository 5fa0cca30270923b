//! Log files of seven kinds, from a fixed seed: the same bytes in every run and on every machine.

use std::ops::Range;

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
/// What a container runtime makes of a longer line: parts of this size.
const PART_BYTES: usize = 16 * 1024;
/// Length of a record in [`Corpus::parts`]: two whole parts and a half.
const LONG_RECORD_BYTES: usize = PART_BYTES * 5 / 2;
/// Lines of one stack trace.
const TRACE_LINES: usize = 20;

/// Lines of one kind as a container runtime writes them.
pub struct Corpus {
    /// What kind.
    pub name: &'static str,
    /// Docker json lines; else CRI.
    pub docker: bool,
    /// The file.
    pub text: Vec<u8>,
    /// Its lines, without their line ends.
    pub lines: Vec<Range<usize>>,
    /// How many records the lines make.
    pub records: usize,
}

impl Corpus {
    /// One corpus of each kind, of about `bytes` each.
    pub fn all(bytes: usize) -> Vec<Corpus> {
        vec![
            Corpus::cri("json", json_message, bytes),
            Corpus::cri("plain", plain_message, bytes),
            Corpus::cri("klog", klog_message, bytes),
            Corpus::cri("stack", stack_message, bytes),
            Corpus::parts(bytes),
            Corpus::cri("utf8", utf8_message, bytes),
            Corpus::docker(bytes),
        ]
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .map(|range| self.text.get(range.clone()).unwrap_or_default())
    }

    fn empty(name: &'static str, bytes: usize) -> Corpus {
        Corpus {
            name,
            docker: false,
            text: Vec::with_capacity(bytes + 2 * LONG_RECORD_BYTES),
            lines: Vec::new(),
            records: 0,
        }
    }

    fn cri(
        name: &'static str,
        message: fn(&mut fastrand::Rng, usize) -> String,
        bytes: usize,
    ) -> Corpus {
        let mut random = fastrand::Rng::with_seed(42);
        let mut corpus = Corpus::empty(name, bytes);
        while corpus.text.len() < bytes {
            let number = corpus.lines.len();
            let message = message(&mut random, number);
            corpus.push(&cri_header(number, stream(number), "F"), &message);
            corpus.records += 1;
        }
        corpus
    }

    /// Records that are longer than what the runtime writes in one line.
    fn parts(bytes: usize) -> Corpus {
        let mut random = fastrand::Rng::with_seed(42);
        let mut corpus = Corpus::empty("parts", bytes);
        while corpus.text.len() < bytes {
            let mut message = plain_message(&mut random, corpus.records);
            while message.len() < LONG_RECORD_BYTES {
                message.push(' ');
                message.push_str(&json_message(&mut random, corpus.records));
            }
            let mut rest = message.as_str();
            while let Some((part, behind)) = rest.split_at_checked(PART_BYTES) {
                let number = corpus.lines.len();
                corpus.push(&cri_header(number, "stdout", "P"), part);
                rest = behind;
            }
            let number = corpus.lines.len();
            corpus.push(&cri_header(number, "stdout", "F"), rest);
            corpus.records += 1;
        }
        corpus
    }

    /// The lines of `json`, `klog` and `plain` in turn, as docker's json-file driver writes them.
    fn docker(bytes: usize) -> Corpus {
        let mut random = fastrand::Rng::with_seed(42);
        let mut corpus = Corpus::empty("docker", bytes);
        corpus.docker = true;
        while corpus.text.len() < bytes {
            let number = corpus.lines.len();
            let message = match number % 3 {
                0 => json_message(&mut random, number),
                1 => klog_message(&mut random, number),
                _ => plain_message(&mut random, number),
            };
            let line = format!(
                r#"{{"log":"{}\n","stream":"{}","time":"2024-05-01T10:00:00.{:09}Z"}}"#,
                message.replace('\\', r"\\").replace('"', r#"\""#),
                stream(number),
                nanos(number),
            );
            corpus.push("", &line);
            corpus.records += 1;
        }
        corpus
    }

    fn push(&mut self, header: &str, message: &str) {
        let start = self.text.len();
        self.text.extend(header.bytes());
        self.text.extend(message.bytes());
        self.lines.push(start..self.text.len());
        self.text.push(b'\n');
    }
}

fn nanos(number: usize) -> usize {
    number * 7919 % 1_000_000_000
}

fn stream(number: usize) -> &'static str {
    if number.is_multiple_of(7) {
        "stderr"
    } else {
        "stdout"
    }
}

fn cri_header(number: usize, stream: &str, tag: &str) -> String {
    format!("2024-05-01T10:00:00.{:09}Z {stream} {tag} ", nanos(number))
}

fn words(random: &mut fastrand::Rng, from: &[&str], count: usize) -> String {
    let words: Vec<&str> = (0..count)
        .filter_map(|_| random.choice(from))
        .copied()
        .collect();
    words.join(" ")
}

fn level(random: &mut fastrand::Rng) -> &'static str {
    match random.u8(..20) {
        0 => "error",
        1 | 2 => "warn",
        3..6 => "debug",
        _ => "info",
    }
}

fn json_message(random: &mut fastrand::Rng, number: usize) -> String {
    format!(
        r#"{{"ts":"2024-05-01T10:00:00.{:06}Z","level":"{}","logger":"http","msg":"{}","path":"/api/v1/items/{}","status":{},"ms":{}.{},"trace":"{:032x}"}}"#,
        number % 1_000_000,
        level(random),
        words(random, &WORDS, 4),
        random.u32(..10_000),
        random.choice([200, 201, 404, 500]).unwrap_or(200),
        random.u32(..900),
        random.u32(..1000),
        random.u128(..),
    )
}

fn plain_message(random: &mut fastrand::Rng, number: usize) -> String {
    format!("worker {} {}", number % 16, words(random, &WORDS, 29))
}

fn klog_message(random: &mut fastrand::Rng, number: usize) -> String {
    format!(
        r#"{}0501 10:00:00.{:06} {} reconciler.go:{}] "{}" pod="shop/web-{}" volume="{}" err="{}""#,
        random.choice(['I', 'I', 'I', 'W', 'E']).unwrap_or('I'),
        number % 1_000_000,
        number % 9000,
        random.u32(100..999),
        words(random, &WORDS, 4),
        random.u32(..100),
        words(random, &WORDS, 2),
        words(random, &WORDS, 7),
    )
}

/// Lines of stack traces: each is a record of its own.
fn stack_message(random: &mut fastrand::Rng, number: usize) -> String {
    if number.is_multiple_of(TRACE_LINES) {
        return format!(
            "2024-05-01 10:00:00,{:03} ERROR [worker-{}] shop.Orders - {}",
            number % 1000,
            number % 16,
            words(random, &WORDS, 6)
        );
    }
    if number % TRACE_LINES == 1 {
        return format!(
            "java.lang.IllegalStateException: {}",
            words(random, &WORDS, 5)
        );
    }
    format!(
        "\tat org.example.shop.{}.{}$Proxy.invoke({}.java:{})",
        words(random, &WORDS, 1),
        words(random, &WORDS, 1),
        words(random, &WORDS, 1),
        random.u32(1..2000)
    )
}

fn utf8_message(random: &mut fastrand::Rng, number: usize) -> String {
    format!("{number} {}", words(random, &WORDS_BEYOND_ASCII, 24))
}
