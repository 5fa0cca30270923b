//! One worker beside two, on files that are there from the start, into a sink that takes everything.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, Scratch, agent, corpus, setting};

/// How often the workers are looked at, and how much of that one has to run to count as busy.
const LOOK: Duration = Duration::from_millis(4);
const BUSY: Duration = Duration::from_millis(1);

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    /// From start until the last worker was done.
    elapsed_seconds: f64,
    /// Of all worker threads.
    worker_seconds: f64,
    /// Of the one that worked longest.
    busiest_seconds: f64,
}

/// Prints the table.
pub fn report() -> Outcome<()> {
    const ROUNDS: usize = 3;
    let mib = setting("LONGSHORE_BENCH_MIB", 256);
    println!(
        "{mib} MiB to blackhole, one worker and two by turns, best of {ROUNDS} rounds each; MB/s: 10^6 bytes of log file \
         per second\n"
    );
    println!(
        "| files | codec | 1 worker, MB/s elapsed | 2 workers | times | on free cores | busier worker's share |"
    );
    println!("|---|---|---|---|---|---|---|");
    for files in [10, 100] {
        let scratch = Scratch::new()?;
        corpus::write(&scratch.0, files, mib << 20)?;
        for codec in ["gzip", "zstd"] {
            let mut best: [Option<Run>; 2] = [None, None];
            let mut least = [f64::INFINITY; 2];
            for _ in 0..ROUNDS {
                for workers in [1, 2] {
                    let run = one(codec, workers, &scratch.0)?;
                    let best = &mut best[workers - 1];
                    if best.is_none_or(|best| run.elapsed_seconds < best.elapsed_seconds) {
                        *best = Some(run);
                    }
                    least[workers - 1] = least[workers - 1].min(run.busiest_seconds);
                }
            }
            let (Some(one), Some(two)) = (best[0], best[1]) else {
                continue;
            };
            let speed = |run: Run| (mib << 20) as f64 / 1e6 / run.elapsed_seconds;
            println!(
                "| {files} | {codec} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} % |",
                speed(one),
                speed(two),
                one.elapsed_seconds / two.elapsed_seconds,
                least[0] / least[1],
                two.busiest_seconds * 100.0 / two.worker_seconds,
            );
        }
    }
    Ok(())
}

fn one(codec: &str, workers: usize, directory: &Path) -> Outcome<Run> {
    let state = directory.join("state");
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["scale", codec, &workers.to_string()])
        .arg(directory)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [elapsed_seconds, worker_seconds, busiest_seconds] = numbers[..] else {
        return Err("a run failed".into());
    };
    Ok(Run {
        elapsed_seconds,
        worker_seconds,
        busiest_seconds,
    })
}

/// The process. What is delivered is shown twice a second only, so the end is the last moment at which a worker was
/// busy.
pub fn run(codec: &str, workers: usize, directory: &Path) -> Outcome<()> {
    let mut bytes = 0;
    for pod in std::fs::read_dir(directory.join("pods"))? {
        bytes += pod?.path().join("app/0.log").metadata()?.len();
    }
    let sink = format!("type: blackhole, workers: {workers}, compression: {codec}");
    let start = Instant::now();
    let agent = agent::start(directory, &sink)?;
    let threads = worker_threads(workers)?;
    let mut before = vec![Duration::ZERO; threads.len()];
    let (mut end, mut spent) = (start, before.clone());
    while agent::delivered(&agent) < bytes {
        if start.elapsed() > Duration::from_secs(120) {
            return Err("not done after two minutes".into());
        }
        std::thread::sleep(LOOK);
        for ((thread, before), spent) in threads.iter().zip(&mut before).zip(&mut spent) {
            let now = on_cpu(thread)?;
            if now.saturating_sub(*before) >= BUSY {
                end = Instant::now();
                *spent = now;
            }
            *before = now;
        }
    }
    let all: Duration = spent.iter().sum();
    let most = spent.iter().max().copied().unwrap_or_default();
    let elapsed = end.saturating_duration_since(start);
    println!(
        "{} {} {}",
        elapsed.as_secs_f64(),
        all.as_secs_f64(),
        most.as_secs_f64()
    );
    agent.stop(Duration::from_secs(5));
    Ok(())
}

/// A thread names itself once it runs, so they are waited for.
fn worker_threads(count: usize) -> Outcome<Vec<PathBuf>> {
    loop {
        let mut found = Vec::new();
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.starts_with("sink-") {
                found.push(task.join("schedstat"));
            }
        }
        if found.len() == count {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Time that a thread has run.
fn on_cpu(schedstat: &Path) -> Outcome<Duration> {
    let text = std::fs::read_to_string(schedstat)?;
    let nanos = text
        .split_whitespace()
        .next()
        .ok_or("an empty schedstat")?
        .parse()?;
    Ok(Duration::from_nanos(nanos))
}
