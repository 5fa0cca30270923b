//! One measurement: what it does, and what it took.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore::agent::{Agent, Surroundings};
use longshore::config::parse::parse;

use crate::Outcome;

/// The reference of all percentages.
pub const SPLIT: &str = "read + split";

/// What the others are set beside.
pub const REFERENCES: [&str; 2] = ["read", SPLIT];

/// What is measured, in order; the references first.
pub const WHAT: [&str; 9] = [
    "read",
    SPLIT,
    "blackhole",
    "blackhole, gzip 1",
    "blackhole, zstd 1",
    "http",
    "http, gzip 1",
    "http, gzip 6",
    "http, zstd 1",
];

/// Where the receiver is: by HTTP/1.1 and by HTTP/2.
type Urls<'a> = [&'a str; 2];

/// One row for each further sink, as it is by default but for its compression; `http` stands beside them.
pub const SINKS: [&str; 9] = [
    "otlp over http, gzip 1",
    "otlp over http without uid, gzip 1",
    "otlp over grpc, gzip 1",
    "elasticsearch, gzip 1",
    "loki, snappy",
    "splunk_hec, gzip 1",
    "clickhouse, gzip 1",
    "azure_logs, gzip 1",
    "http with uid, gzip 1",
];

/// The keys of a sink of [`WHAT`] or [`SINKS`].
fn keys(sink: &str, [url, url_of_h2]: Urls<'_>) -> String {
    match sink {
        "http" => format!("type: http, url: '{url}/logs'"),
        "http with uid" => format!("type: http, url: '{url}/logs', record_uid: true"),
        "otlp over http" => format!("type: otlp, url: '{url}'"),
        "otlp over http without uid" => format!("type: otlp, url: '{url}', record_uid: false"),
        "otlp over grpc" => format!("type: otlp, protocol: grpc, url: '{url_of_h2}'"),
        "splunk_hec" => format!("type: splunk_hec, url: '{url}', token: t"),
        "azure_logs" => format!(
            "type: azure_logs, endpoint: '{url}', dcr: dcr-{:032x}, azure_auth: {{client_secret: \
             {{tenant_id: t, client_id: c, secret: s, authority: '{url}'}}}}",
            1
        ),
        "elasticsearch" | "loki" | "clickhouse" => format!("type: {sink}, url: '{url}'"),
        other => format!("type: {other}"),
    }
}

/// What a measurement took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Log file bytes.
    pub bytes: u64,
    /// User and system time of the process.
    pub cpu_seconds: f64,
    /// From start to the last verdict.
    pub elapsed_seconds: f64,
    /// High-water mark of resident memory.
    pub peak_bytes: u64,
    /// Bytes of rows that the sink accepted, before compression; 0: no rows were made.
    pub rows_bytes: u64,
    /// The same as they were sent.
    pub sent_bytes: u64,
}

impl Measured {
    /// 10^6 bytes of log file per second of CPU time.
    pub fn mb_per_cpu_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.cpu_seconds
    }

    /// 10^6 bytes of log file per second.
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed_seconds
    }

    /// For the parent process.
    pub fn to_line(self) -> String {
        let Measured {
            bytes,
            cpu_seconds,
            elapsed_seconds,
            peak_bytes,
            rows_bytes,
            sent_bytes,
        } = self;
        format!("{bytes} {cpu_seconds} {elapsed_seconds} {peak_bytes} {rows_bytes} {sent_bytes}")
    }

    /// From the child process.
    pub fn from_line(line: &str) -> Outcome<Measured> {
        let mut words = line.split_whitespace();
        let mut next = || words.next().ok_or("a measurement ended early");
        Ok(Measured {
            bytes: next()?.parse()?,
            cpu_seconds: next()?.parse()?,
            elapsed_seconds: next()?.parse()?,
            peak_bytes: next()?.parse()?,
            rows_bytes: next()?.parse()?,
            sent_bytes: next()?.parse()?,
        })
    }
}

/// Measures in this process.
pub fn measure(what: &str, directory: &Path, urls: Urls<'_>) -> Outcome<Measured> {
    let logs = logs(&directory.join("pods"))?;
    let bytes = logs
        .iter()
        .map(|log| Ok(log.metadata()?.len()))
        .sum::<Outcome<u64>>()?;
    let start = Instant::now();
    let (elapsed, rows_bytes, sent_bytes) = match what {
        "read" | SPLIT => {
            read(&logs, what == SPLIT)?;
            (start.elapsed(), 0, 0)
        }
        _ => ship(what, directory, urls, bytes)?,
    };
    Ok(Measured {
        bytes,
        cpu_seconds: cpu_seconds(),
        elapsed_seconds: elapsed.as_secs_f64(),
        peak_bytes: peak_bytes()?,
        rows_bytes,
        sent_bytes,
    })
}

fn logs(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for pod in std::fs::read_dir(directory)? {
        found.push(pod?.path().join("app/0.log"));
    }
    Ok(found)
}

fn read(logs: &[PathBuf], split: bool) -> Outcome<()> {
    let mut block = vec![0; 256 * 1024];
    let mut lines = 0;
    for log in logs {
        let mut file = File::open(log)?;
        loop {
            let len = file.read(&mut block)?;
            if len == 0 {
                break;
            }
            if split {
                lines += memchr::memchr_iter(b'\n', &block[..len]).count();
            }
        }
    }
    std::hint::black_box(lines);
    Ok(())
}

/// How long it took, the bytes of all rows, and the bytes that were sent for them.
fn ship(what: &str, directory: &Path, urls: Urls<'_>, bytes: u64) -> Outcome<(Duration, u64, u64)> {
    let (sink, compression) = what.split_once(", ").unwrap_or((what, "none"));
    let (compression, level) = compression.split_once(' ').unwrap_or((compression, ""));
    let mut keys = keys(sink, urls);
    if compression != "snappy" {
        keys.push_str(&format!(", compression: {compression}"));
    }
    if !level.is_empty() {
        keys.push_str(&format!(", compression_level: {level}"));
    }
    // One of each measurement: where a checkpoint is, nothing would be left to read.
    let state = directory.join("state").join(std::process::id().to_string());
    std::fs::create_dir_all(&state)?;
    let text = format!(
        "node: bench\nstate_dir: {}\nlogs: {{pod_logs: {}, container_links: {}}}\n\
         sinks: {{s: {{{keys}}}}}\n",
        state.display(),
        directory.join("pods").display(),
        directory.join("links").display(),
    );
    let config =
        parse(&text, "bench", &|_| None, "bench").map_err(|mistakes| format!("{mistakes:?}"))?;
    let start = Instant::now();
    let agent = Agent::start(&config, Surroundings::default())?;
    loop {
        let delivered: u64 = agent
            .boards()
            .iter()
            .map(|board| board.view().totals.delivered.bytes)
            .sum();
        if delivered >= bytes {
            break;
        }
        if start.elapsed() > Duration::from_secs(600) {
            return Err(format!("{delivered} of {bytes} bytes after 10 minutes").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let elapsed = start.elapsed();
    let boards = agent.boards();
    agent.stop(Duration::from_secs(5));
    let (mut rows_bytes, mut sent_bytes) = (0, 0);
    for board in boards {
        let counters = &board.view().counters;
        rows_bytes += counters.sent_uncompressed_bytes;
        sent_bytes += counters.sent_bytes;
    }
    Ok((elapsed, rows_bytes, sent_bytes))
}

/// User and system time of all threads of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .ok_or("no VmHWM")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024)
}
