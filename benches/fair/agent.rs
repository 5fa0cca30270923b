//! The agent, and what it has taken so far.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use longshore::agent::{Agent, Surroundings};
use longshore::config::parse::parse;

use crate::Outcome;

/// One look at it.
pub struct Look {
    pub at: Instant,
    /// User and system time of the process.
    pub cpu_seconds: f64,
    /// Log file bytes delivered; up to half a second old.
    pub delivered: u64,
}

pub struct AgentProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl AgentProcess {
    pub fn start(directory: &Path, url: &str, workers: usize) -> Outcome<AgentProcess> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("agent")
            .arg(directory)
            .args([url, &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the agent has no output")?;
        let output = BufReader::new(output);
        Ok(AgentProcess { child, output })
    }

    pub fn look(&mut self) -> Outcome<Look> {
        let at = Instant::now();
        writeln!(self.child.stdin.as_mut().ok_or("no input")?, "look")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (cpu, delivered) = line.trim().split_once(' ').ok_or("the agent failed")?;
        Ok(Look {
            at,
            cpu_seconds: cpu.parse()?,
            delivered: delivered.parse()?,
        })
    }

    /// Stops it, as a drain does.
    pub fn end(&mut self) -> Outcome<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| "the agent failed".into())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _over: std::io::Result<()> = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Starts the agent in this process; `sink` is the sink's mapping without its braces.
pub fn start(directory: &Path, sink: &str) -> Outcome<Agent> {
    let state = directory.join("state");
    std::fs::create_dir_all(&state)?;
    let text = format!(
        "node: bench\nstate_dir: {}\nlogs: {{pod_logs: {}, container_links: {}}}\n\
         sinks: {{s: {{{sink}}}}}\n",
        state.display(),
        directory.join("pods").display(),
        directory.join("links").display(),
    );
    let config =
        parse(&text, "bench", &|_| None, "bench").map_err(|mistakes| format!("{mistakes:?}"))?;
    Ok(Agent::start(&config, Surroundings::default())?)
}

/// Log file bytes delivered.
pub fn delivered(agent: &Agent) -> u64 {
    let boards = agent.boards();
    let views = boards.iter().map(|board| board.view());
    views.map(|view| view.totals.delivered.bytes).sum()
}

/// The process: looks when it is told to, ends with its input.
pub fn run(directory: &Path, url: &str, workers: usize) -> Outcome<()> {
    let sink = format!("type: http, url: '{url}', workers: {workers}");
    let agent = start(directory, &sink)?;
    for _look in std::io::stdin().lines() {
        println!("{} {}", cpu_seconds()?, delivered(&agent));
    }
    agent.stop(Duration::from_secs(10));
    Ok(())
}

/// User and system time of this process.
pub fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
