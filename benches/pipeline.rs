//! Speed and memory of the whole line: files of CRI lines -> the real agent -> a sink that takes everything, beside
//! what reading, and reading and splitting, take on the same files in the same run. How to read it: README.md here.
//!
//! Each measurement is a process of its own (this program, started again), so that its CPU time and peak memory are
//! its own and the receiver's are not in them.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "pipeline/corpus.rs"]
mod corpus;
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
const CORPUS_MIB: u64 = 256;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [_, "receive"] => receiver::receive(),
        [_, "measure", what, logs, url] => {
            println!(
                "{}",
                measure::measure(what, Path::new(logs), url)?.to_line()
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
        Err(_) => vec![10, 100],
    };
    println!("MB/s: 10^6 bytes of log file per second of this process's CPU time\n");
    for files in files {
        let directory =
            std::env::temp_dir().join(format!("longshore-bench-{}", std::process::id()));
        let lines = corpus::write(&directory, files, bytes)?;
        println!(
            "{} MiB of CRI lines ({} a line) in {files} files",
            bytes >> 20,
            bytes / lines
        );
        println!(
            "| what | MB/s per core | % of read + split | MB/s elapsed | peak resident, MiB |"
        );
        println!("|---|---|---|---|---|");
        let result = rows(&directory);
        std::fs::remove_dir_all(&directory)?;
        result?;
        println!();
    }
    Ok(())
}

fn rows(directory: &Path) -> Outcome<()> {
    let split = run(measure::SPLIT, directory)?.mb_per_cpu_second();
    for what in measure::WHAT {
        let measured = run(what, directory)?;
        println!(
            "| {what} | {:.0} | {:.1} | {:.0} | {:.1} |",
            measured.mb_per_cpu_second(),
            measured.mb_per_cpu_second() * 100.0 / split,
            measured.mb_per_second(),
            measured.peak_bytes as f64 / 1_048_576.0
        );
    }
    Ok(())
}

/// One measurement in a process of its own, with a receiver beside it.
fn run(what: &str, directory: &Path) -> Outcome<Measured> {
    let program = std::env::current_exe()?;
    let mut receiver = Command::new(&program)
        .arg("receive")
        .stdout(Stdio::piped())
        .spawn()?;
    let url = receiver::address_of(&mut receiver)?;
    let output = Command::new(&program)
        .args(["measure", what])
        .arg(directory)
        .arg(&url)
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
