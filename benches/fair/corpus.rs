//! CRI lines of about 257 bytes, from a fixed seed.

use std::fmt::Write as _;
use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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

/// The directory of a container, made.
pub fn container(directory: &Path, number: usize) -> Outcome<PathBuf> {
    let pod = format!("bench_pod-{number}_00000000-0000-4000-8000-{number:012}");
    let path = directory.join("pods").join(pod).join("app");
    create_dir_all(&path)?;
    Ok(path)
}

/// Writes `files` logs, one container each, `bytes` in sum.
pub fn write(directory: &Path, files: usize, bytes: u64) -> Outcome<()> {
    for number in 0..files {
        let mut file = BufWriter::new(File::create(container(directory, number)?.join("0.log"))?);
        let lines = lines(number as u64, (bytes / files as u64) as usize)?;
        file.write_all(&lines)?;
        file.flush()?;
    }
    Ok(())
}

/// Whole lines, `bytes` or a few more.
pub fn lines(seed: u64, bytes: usize) -> Outcome<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all = Vec::with_capacity(bytes + 512);
    let mut line = String::new();
    let mut number = seed;
    while all.len() < bytes {
        line.clear();
        push_line(&mut line, &mut random, number)?;
        all.extend_from_slice(line.as_bytes());
        number += 1;
    }
    Ok(all)
}

fn push_line(line: &mut String, random: &mut fastrand::Rng, number: u64) -> Outcome<()> {
    let (minute, second) = (number / 60_000 % 60, number / 1_000 % 60);
    let nanos = number % 1_000 * 1_000_003 % 1_000_000_000;
    write!(
        line,
        "2026-11-22T10:{minute:02}:{second:02}.{nanos:09}Z stdout F "
    )?;
    let mut word = || WORDS[random.usize(..WORDS.len())];
    if number.is_multiple_of(2) {
        write!(
            line,
            "{{\"level\":\"info\",\"msg\":\"{}\",\"id\":{number}",
            word()
        )?;
        while line.len() < 245 {
            write!(line, ",\"{}\":\"{}-{}\"", word(), word(), word())?;
        }
        line.push('}');
    } else {
        write!(line, "INFO {number} ")?;
        while line.len() < 250 {
            write!(line, "{} ", word())?;
        }
    }
    line.push('\n');
    Ok(())
}
