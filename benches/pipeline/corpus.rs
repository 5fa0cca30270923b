//! CRI log files of about 257 bytes a line, from a fixed seed: JSON, klog and plain lines in turn.

use std::fmt::Write as _;
use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Outcome;

const WORDS: [&str; 12] = [
    "accepted",
    "upstream",
    "timeout",
    "reading",
    "shard",
    "leader",
    "elected",
    "cache",
    "retry",
    "scheduled",
    "/api/v1/orders",
    "checkout",
];

/// Writes `files` logs, one container each, `bytes` in sum. Returns the number of lines.
pub fn write(directory: &Path, files: usize, bytes: u64) -> Outcome<u64> {
    let mut lines = 0;
    for number in 0..files {
        let pod = format!("bench_pod-{number}_00000000-0000-4000-8000-{number:012}");
        let container = directory.join("pods").join(pod).join("app");
        create_dir_all(&container)?;
        let mut file = BufWriter::new(File::create(container.join("0.log"))?);
        let mut random = fastrand::Rng::with_seed(number as u64);
        let mut line = String::new();
        let mut written = 0;
        while written < bytes / files as u64 {
            line.clear();
            cri_line(&mut line, &mut random, lines)?;
            file.write_all(line.as_bytes())?;
            written += line.len() as u64;
            lines += 1;
        }
        file.flush()?;
    }
    Ok(lines)
}

fn cri_line(line: &mut String, random: &mut fastrand::Rng, number: u64) -> Outcome<()> {
    let stream = if number.is_multiple_of(7) {
        "stderr"
    } else {
        "stdout"
    };
    let (seconds, nanos) = (
        number / 1_000 % 60,
        number % 1_000 * 1_000_003 % 1_000_000_000,
    );
    write!(
        line,
        "2026-11-22T10:{:02}:{seconds:02}.{nanos:09}Z {stream} F ",
        number / 60_000 % 60
    )?;
    let mut word = || WORDS[random.usize(..WORDS.len())];
    match number % 3 {
        0 => {
            write!(
                line,
                "{{\"level\":\"info\",\"msg\":\"{} {} {}\",\"id\":{number}",
                word(),
                word(),
                word()
            )?;
            while line.len() < 245 {
                write!(line, ",\"{}\":\"{}-{}\"", word(), word(), word())?;
            }
            line.push('}');
        }
        1 => {
            write!(
                line,
                "I1122 10:00:00.{nanos:06} 1 server.go:{}] ",
                number % 900
            )?;
            while line.len() < 250 {
                write!(line, "{}={} ", word(), word())?;
            }
        }
        _ => {
            while line.len() < 250 {
                write!(line, "{} ", word())?;
            }
        }
    }
    line.push('\n');
    Ok(())
}
