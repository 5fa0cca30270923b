//! What the agent costs where little or nothing happens, and what it holds at most where much waits: the real binary
//! under three nodes, measured from outside by what the kernel says of it. How to read it: README.md here.
//!
//! Each measurement is a process of its own; receiver and writer are others, so that nothing of theirs is in it.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "quiet/agent.rs"]
mod agent;
#[path = "quiet/node.rs"]
mod node;
#[path = "pipeline/receiver.rs"]
mod receiver;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::{Agent, Cost};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: f64 = 1_048_576.0;
/// Containers of a node that is idle or has a backlog.
const CONTAINERS: usize = 1_000;
/// The backlog by default, all segments inflated; `LONGSHORE_BENCH_BACKLOG_MIB` changes it (4096 for a record).
const BACKLOG_MIB: u64 = 256;
/// How long is measured by default; `LONGSHORE_BENCH_SECONDS` changes it.
const SECONDS: u64 = 20;
/// What a start takes that is not to be measured: scans, first payloads, and until every directory is at rest.
const WARM_UP: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "receive"] => receiver::receive(),
        [_, "pace", logs] => node::pace(Path::new(logs)),
        _ => report(),
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().and_then(|text| text.parse().ok());
    value.unwrap_or(default)
}

/// Processes that end with the report, whatever comes of it.
struct Ends(Vec<Child>);

impl Ends {
    fn start(&mut self, words: &[&str]) -> Outcome<&mut Child> {
        let child = Command::new(std::env::current_exe()?)
            .args(words)
            .stdout(Stdio::piped())
            .spawn()?;
        self.0.push(child);
        self.0.last_mut().ok_or_else(|| "no process".into())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _gone = child.kill();
            let _waited = child.wait();
        }
    }
}

/// A directory that goes with the report.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

fn report() -> Outcome<()> {
    let only = std::env::var("LONGSHORE_BENCH_ONLY").unwrap_or_default();
    println!(
        "| node | CPU, % of a core | peak resident, MiB | resident, MiB | bound of `check`, MiB | wake-ups a second | budget |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, scenario) in [
        ("idle", idle as fn(&Path, &str) -> Outcome<Cost>),
        ("paced", paced),
        ("backlog", backlog),
    ] {
        if !only.is_empty() && only != name {
            continue;
        }
        let name = format!("longshore-quiet-{name}-{}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let mut processes = Ends(Vec::new());
        let [url, _] = receiver::urls_of(processes.start(&["receive"])?)?;
        let url = format!("{url}/logs");
        let cost = scenario(&scratch.0, &url)?;
        println!("{cost}");
        if cost.peak_bytes > cost.bound_bytes {
            return Err("the bound that `check` prints was exceeded".into());
        }
    }
    Ok(())
}

/// 1,000 containers that wrote a few lines once.
fn idle(directory: &Path, url: &str) -> Outcome<Cost> {
    node::quiet(directory, CONTAINERS)?;
    let agent = Agent::start(directory, url)?;
    std::thread::sleep(WARM_UP);
    let seconds = from_environment("LONGSHORE_BENCH_SECONDS", SECONDS);
    let budget = "CPU 0.5, peak 15";
    agent.measure("idle: 1,000 containers", budget, || {
        std::thread::sleep(Duration::from_secs(seconds));
        Ok(())
    })
}

/// 10,000 lines a second in 100 files, as gzip over HTTP.
fn paced(directory: &Path, url: &str) -> Outcome<Cost> {
    let mut processes = Ends(Vec::new());
    let path = directory.to_str().ok_or("a path that is no text")?;
    node::empty(directory, node::PACED_FILES)?;
    processes.start(&["pace", path])?;
    let agent = Agent::start(directory, url)?;
    std::thread::sleep(WARM_UP / 5);
    let seconds = from_environment("LONGSHORE_BENCH_SECONDS", SECONDS);
    agent.measure("paced: 10,000 lines/s in 100 files", "CPU 2", || {
        let before = agent.delivered_lines()?;
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(seconds));
        let lines = agent.delivered_lines()? - before;
        let rate = lines as f64 / start.elapsed().as_secs_f64();
        // Payloads are whole seconds of lines.
        if !(8_500.0..11_500.0).contains(&rate) {
            return Err(format!("{rate:.0} lines a second were delivered").into());
        }
        Ok(())
    })
}

/// 1,000 containers with rotated, partly compressed logs that nobody has read.
fn backlog(directory: &Path, url: &str) -> Outcome<Cost> {
    const PATIENCE: Duration = Duration::from_secs(1_800);
    let mib = from_environment("LONGSHORE_BENCH_BACKLOG_MIB", BACKLOG_MIB);
    let bytes = node::backlog(directory, CONTAINERS, mib * 1024 * 1024)?;
    let agent = Agent::start(directory, url)?;
    let name = format!("backlog: 1,000 containers, {:.0} MiB", bytes as f64 / MIB);
    agent.measure(&name, "peak 48", || {
        let start = Instant::now();
        while agent.delivered_bytes()? < bytes {
            if start.elapsed() > PATIENCE {
                return Err("the backlog is still there".into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    })
}
