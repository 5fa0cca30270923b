//! What the others notice of one loud container, and what a second worker brings. How to read it: README.md here.
//!
//! The agent, the containers' writers and the receiver are processes of their own (this program, started again), so
//! that the agent's CPU time is its own. A quiet line carries the moment before its write(2); the receiver notes the
//! moment at which it has a request whole, and takes the bodies apart only when all is over.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "fair/agent.rs"]
mod agent;
#[path = "fair/corpus.rs"]
mod corpus;
#[path = "fair/receiver.rs"]
mod receiver;
#[path = "fair/scale.rs"]
mod scale;
#[path = "fair/writer.rs"]
mod writer;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agent::AgentProcess;
use receiver::{Latencies, Receiver};
use writer::{Load, WriterProcess};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Containers that write one line a second.
const QUIET: usize = 99;

/// Before the measured window, and after it, the containers write as in it.
const AROUND: Duration = Duration::from_secs(4);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["agent", logs, url, workers] => agent::run(Path::new(logs), url, workers.parse()?),
        ["receive"] => receiver::run(),
        ["write", logs, load @ ..] => writer::run(Path::new(logs), &Load::from_words(load)?),
        ["scale", what, workers, logs] => scale::run(what, workers.parse()?, Path::new(logs)),
        _ if words.contains(&"scaling") => scale::report(),
        _ if words.contains(&"latency") => latency(),
        _ => {
            latency()?;
            scale::report()
        }
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A directory of this run's own; removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Scratch> {
        let name = format!("longshore-fair-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone: std::io::Result<()> = std::fs::remove_dir_all(&self.0);
    }
}

fn latency() -> Outcome<()> {
    let loud_mb = setting("LONGSHORE_BENCH_LOUD_MB", 100);
    println!(
        "{QUIET} containers at one line a second, http with gzip 1, flush_interval_ms 1000; \
         ms from write(2) to a received request\n"
    );
    println!("| loud writes, MB/s | workers | p50 | p99 | max | lines | loud delivered, MB/s |");
    println!("|---|---|---|---|---|---|---|");
    let mut cpu = Vec::new();
    for (loud_mb, workers) in [(loud_mb, 1), (loud_mb, 2), (0, 1)] {
        cpu.push(one_latency(loud_mb, workers)?);
    }
    println!("\n| loud writes, MB/s | workers | agent's CPU, % of a core | requests a second |");
    println!("|---|---|---|---|");
    for line in cpu {
        println!("{line}");
    }
    println!();
    Ok(())
}

fn one_latency(loud_mb: u64, workers: usize) -> Outcome<String> {
    let window = Duration::from_secs(setting("LONGSHORE_BENCH_SECONDS", 12));
    let scratch = Scratch::new()?;
    let begin = now() + Duration::from_millis(500);
    let load = Load {
        quiet: QUIET,
        loud_mb,
        begin,
        from: begin + AROUND,
        to: begin + AROUND + window,
        end: begin + AROUND + window + AROUND,
    };
    let mut receiver = Receiver::start()?;
    let writer = WriterProcess::start(&scratch.0, &load)?;
    let mut agent = AgentProcess::start(&scratch.0, &receiver.url, workers)?;
    sleep_until(load.from);
    let before = agent.look()?;
    sleep_until(load.to);
    let after = agent.look()?;
    let written = writer.wait()?;
    agent.end()?;
    let Latencies {
        mut ms,
        requests,
        foreign,
    } = receiver.latencies(&load)?;
    ms.sort_by(f64::total_cmp);
    if ms.len() as u64 != written.quiet_lines || foreign > 0 {
        return Err(format!(
            "{} of {} quiet lines arrived, and {foreign} bodies could not be read",
            ms.len(),
            written.quiet_lines
        )
        .into());
    }
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    let seconds = (after.at - before.at).as_secs_f64();
    println!(
        "| {loud_mb} ({:.0}) | {workers} | {:.0} | {:.0} | {:.0} | {} | {:.0} |",
        written.loud_mb_per_second,
        at(0.5),
        at(0.99),
        at(1.0),
        ms.len(),
        (after.delivered - before.delivered) as f64 / 1e6 / seconds,
    );
    Ok(format!(
        "| {loud_mb} | {workers} | {:.1} | {:.1} |",
        (after.cpu_seconds - before.cpu_seconds) * 100.0 / seconds,
        requests as f64 / window.as_secs_f64()
    ))
}

/// The wall clock, which all processes of a machine share, since its epoch.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn sleep_until(moment: Duration) {
    std::thread::sleep(moment.saturating_sub(now()));
}
