//! The agent's own binary as a process, and what the kernel says of it.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{MIB, Outcome};

/// The binary of this very build.
const PROGRAM: &str = env!("CARGO_BIN_EXE_longshore");

/// A running agent; it ends with this.
pub struct Agent {
    process: Child,
    admin: String,
    bound_bytes: u64,
}

/// What a scenario took.
pub struct Cost {
    name: String,
    budget: &'static str,
    cpu_percent: f64,
    wakes_per_second: f64,
    resident_bytes: u64,
    /// High-water mark of resident memory since the agent's start.
    pub peak_bytes: u64,
    /// What `longshore check` says that the agent needs at most.
    pub bound_bytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {:.2} | {:.1} | {:.1} | {:.1} | {:.0} | {} |",
            self.name,
            self.cpu_percent,
            self.peak_bytes as f64 / MIB,
            self.resident_bytes as f64 / MIB,
            self.bound_bytes as f64 / MIB,
            self.wakes_per_second,
            self.budget
        )
    }
}

impl Agent {
    /// Starts it on the node in `directory`, with gzip over HTTP and all else by default.
    pub fn start(directory: &Path, url: &str) -> Outcome<Agent> {
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let state = directory.join("state");
        fs::create_dir_all(&state)?;
        let config = directory.join("config.yaml");
        let text = format!(
            "node: bench\nstate_dir: {}\nadmin: {{listen: '{admin}'}}\n\
             logs: {{pod_logs: {}, container_links: {}}}\n\
             sinks: {{s: {{type: http, compression: gzip, url: '{url}'}}}}\n",
            state.display(),
            directory.join("pods").display(),
            directory.join("links").display(),
        );
        fs::write(&config, text)?;
        let bound_bytes = bound(&config)?;
        let process = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()?;
        let agent = Agent {
            process,
            admin,
            bound_bytes,
        };
        let start = Instant::now();
        while agent.page().is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err("the agent does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }

    /// What it takes while `scenario` runs, and at most since its start.
    pub fn measure(
        &self,
        name: &str,
        budget: &'static str,
        scenario: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Cost> {
        let start = Instant::now();
        let before = self.spent()?;
        scenario()?;
        let after = self.spent()?;
        let seconds = start.elapsed().as_secs_f64();
        let status = fs::read_to_string(self.proc().join("status"))?;
        Ok(Cost {
            name: name.to_owned(),
            budget,
            cpu_percent: (after.0 - before.0) * 100.0 / seconds,
            wakes_per_second: after.1.saturating_sub(before.1) as f64 / seconds,
            resident_bytes: field(&status, "VmRSS:")? * 1024,
            peak_bytes: field(&status, "VmHWM:")? * 1024,
            bound_bytes: self.bound_bytes,
        })
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string())
    }

    /// CPU seconds, and how often a thread went to sleep, of all threads that it has.
    fn spent(&self) -> Outcome<(f64, u64)> {
        let (mut nanoseconds, mut sleeps) = (0, 0);
        for task in fs::read_dir(self.proc().join("task"))? {
            let task = task?.path();
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            let ran = schedstat.split_whitespace().next();
            nanoseconds += ran.ok_or("an empty schedstat")?.parse::<u64>()?;
            let status = fs::read_to_string(task.join("status"))?;
            sleeps += field(&status, "voluntary_ctxt_switches:")?;
        }
        Ok((nanoseconds as f64 / 1e9, sleeps))
    }

    /// Log bytes that the sink has accepted.
    pub fn delivered_bytes(&self) -> Outcome<u64> {
        self.metric("longshore_log_delivered_bytes_total")
    }

    /// Log lines that the sink has accepted.
    pub fn delivered_lines(&self) -> Outcome<u64> {
        self.metric("longshore_log_delivered_lines_total")
    }

    fn metric(&self, name: &str) -> Outcome<u64> {
        let page = self.page()?;
        let mut sum = 0.0;
        for line in page.lines().filter(|line| line.starts_with(name)) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            sum += value.parse::<f64>()?;
        }
        Ok(sum as u64)
    }

    fn page(&self) -> Outcome<String> {
        let mut stream = TcpStream::connect(&self.admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// The memory bound that `longshore check` prints.
fn bound(config: &Path) -> Outcome<u64> {
    let output = Command::new(PROGRAM)
        .args(["check", "--config"])
        .arg(config)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|line| line.contains("all together"));
    let mut words = line.ok_or("`check` prints no bound")?.split_whitespace();
    let mib = words.find_map(|word| word.parse::<u64>().ok());
    Ok(mib.ok_or("`check` prints no number")? * 1024 * 1024)
}

/// A number of a `status` file of proc(5).
fn field(status: &str, name: &str) -> Outcome<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or(format!("no {name}"))?.parse()?)
}
