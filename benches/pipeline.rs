//! Speed and memory of the whole line: files of CRI lines -> the real agent -> a sink that takes everything, beside
//! what reading, and reading and splitting, take on the same files in the same run. How to read it: README.md here.
//!
//! Each measurement is a process of its own (this program, started again), so that its CPU time and peak memory are
//! its own and the receiver's are not in them.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "pipeline/corpus.rs"]
mod corpus;
#[path = "pipeline/goals.rs"]
mod goals;
#[path = "pipeline/measure.rs"]
mod measure;
#[path = "pipeline/receiver.rs"]
mod receiver;

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use measure::Measured;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the corpus comes to by default; `LONGSHORE_BENCH_MIB` changes it (1024 for a record).
const CORPUS_MIB: u64 = 512;
/// Numbers of files by default; `LONGSHORE_BENCH_FILES` changes them.
const FILES: [usize; 4] = [1, 10, 100, 1_000];
/// The number of files for which every sink is measured.
const FILES_OF_SINKS: usize = 10;
/// How often each measurement is made; the references, by which all others are divided, oftener.
const ROUNDS: usize = 2;
const REFERENCE_ROUNDS: usize = 4;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [_, "receive"] => receiver::receive(),
        [_, "measure", what, logs, url, url_of_h2] => {
            println!(
                "{}",
                measure::measure(what, Path::new(logs), [url, url_of_h2])?.to_line()
            );
            Ok(())
        }
        _ => report(),
    }
}

fn report() -> Outcome<()> {
    let mib = std::env::var("LONGSHORE_BENCH_MIB")
        .ok()
        .and_then(|text| text.parse().ok());
    let bytes = mib.unwrap_or(CORPUS_MIB) * 1024 * 1024;
    let files: Vec<usize> = match std::env::var("LONGSHORE_BENCH_FILES") {
        Ok(list) => list
            .split(',')
            .filter_map(|text| text.parse().ok())
            .collect(),
        Err(_) => FILES.to_vec(),
    };
    println!("MB/s: 10^6 bytes of log file per second of this process's CPU time\n");
    for files in files {
        let directory =
            std::env::temp_dir().join(format!("longshore-bench-{}", std::process::id()));
        let lines = corpus::write(&directory, files, bytes)?;
        println!(
            "## {files} files\n\n{} MiB of CRI lines, {} bytes a line\n",
            bytes >> 20,
            bytes / lines
        );
        let result = measure_all(&directory, &measure::WHAT);
        let sinks = match files {
            FILES_OF_SINKS => Some(measure_all(&directory, &with_references(&measure::SINKS))),
            _ => None,
        };
        std::fs::remove_dir_all(&directory)?;
        let best = result?;
        print(&best);
        if goals::FILES.contains(&files) {
            goals::print(|what| of_split(&best, what));
        }
        if let Some(best) = sinks {
            println!("### {files} files, each sink\n");
            print(&best?);
        }
    }
    Ok(())
}

/// What was measured, with the best of its rounds.
type Best = Vec<(&'static str, Measured)>;

fn with_references(what: &[&'static str]) -> Vec<&'static str> {
    [measure::REFERENCES.as_slice(), what].concat()
}

/// All measurements, round by round, so that what else the machine does meets the references as well.
fn measure_all(directory: &Path, all: &[&'static str]) -> Outcome<Best> {
    let mut best: Best = Vec::new();
    for round in 0..REFERENCE_ROUNDS {
        for (at, what) in all.iter().copied().enumerate() {
            let is_reference = measure::REFERENCES.contains(&what);
            if !is_reference && round >= ROUNDS {
                continue;
            }
            let measured = run(what, directory)?;
            match best.get_mut(at) {
                Some((_, known)) if known.cpu_seconds <= measured.cpu_seconds => {}
                Some((_, known)) => *known = measured,
                None => best.push((what, measured)),
            }
        }
    }
    Ok(best)
}

/// Speed in percent of that of reading and splitting.
fn of_split(best: &Best, what: &str) -> f64 {
    let speed = |what: &str| {
        let found = best.iter().find(|(known, _)| *known == what);
        found.map_or(f64::NAN, |(_, measured)| measured.mb_per_cpu_second())
    };
    speed(what) * 100.0 / speed(measure::SPLIT)
}

fn print(best: &Best) {
    println!(
        "| what | MB/s per core | % of read + split | MB/s elapsed | peak resident, MiB | sent of the rows |"
    );
    println!("|---|---|---|---|---|---|");
    for (what, measured) in best {
        let sent = match measured.rows_bytes {
            0 => "-".to_owned(),
            rows => format!("{:.1} %", measured.sent_bytes as f64 * 100.0 / rows as f64),
        };
        println!(
            "| {what} | {:.0} | {:.1} | {:.0} | {:.1} | {sent} |",
            measured.mb_per_cpu_second(),
            of_split(best, what),
            measured.mb_per_second(),
            measured.peak_bytes as f64 / 1_048_576.0
        );
    }
    println!();
}

/// One measurement in a process of its own, with a receiver beside it.
fn run(what: &str, directory: &Path) -> Outcome<Measured> {
    let program = std::env::current_exe()?;
    let mut receiver = Command::new(&program)
        .arg("receive")
        .stdout(Stdio::piped())
        .spawn()?;
    let urls = receiver::urls_of(&mut receiver)?;
    let output = Command::new(&program)
        .args(["measure", what])
        .arg(directory)
        .args(&urls)
        .stderr(Stdio::inherit())
        .output();
    receiver.kill()?;
    receiver.wait()?;
    let output = output?;
    if !output.status.success() {
        return Err(format!("measuring {what} failed").into());
    }
    Measured::from_line(&String::from_utf8(output.stdout)?)
}
