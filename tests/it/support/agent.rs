//! The real binary as a child process: its configuration, its signals, its admin pages; and the logs that it tails,
//! written as the runtime and rotated as the kubelet do.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary under test.
pub const LONGSHORE: &str = env!("CARGO_BIN_EXE_longshore");

/// How long a condition may take to come true before the test fails: longer where `LONGSHORE_PATIENCE_S` says so.
pub static PATIENCE: LazyLock<Duration> = LazyLock::new(|| {
    let set = std::env::var("LONGSHORE_PATIENCE_S");
    Duration::from_secs(set.map_or(90, |seconds| seconds.parse().unwrap()))
});

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `look` gives something; fails the test with what `sight` says when it never does.
pub fn wait_for<T>(
    what: &str,
    sight: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + *PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for: {what}\n{}", sight());
        std::thread::sleep(LOOK);
    }
}

/// The directories of a node, and of the agent on it.
pub struct Node {
    directory: TempDir,
}

impl Node {
    /// A node without logs. In memory where that can be had: a sync needs no spindle there.
    pub fn new() -> Node {
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        fs::create_dir(directory.path().join("pods")).unwrap();
        fs::create_dir(directory.path().join("links")).unwrap();
        Node { directory }
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a configuration with these sinks, and these values at the top in place of its own; gives its path.
    pub fn configure(&self, sinks: Value, top: Value) -> PathBuf {
        let mut config = json!({
            "node": "n1",
            "state_dir": self.path("state"),
            "shutdown_grace_ms": 10_000,
            "logs": {
                "pod_logs": self.path("pods"),
                "container_links": self.path("links"),
                "poll_active_ms": 10,
                "poll_idle_ms": 50,
                "rescan_interval_ms": 1_000,
            },
            "admin": {"listen": "127.0.0.1:0"},
            "own_log": {"format": "json"},
            "sinks": sinks,
        });
        for (key, value) in top.as_object().unwrap() {
            match value {
                Value::Object(inner) => inner.iter().for_each(|(name, value)| {
                    config[key][name] = value.clone();
                }),
                value => config[key] = value.clone(),
            }
        }
        let path = self.path("longshore.yaml");
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// A file sink of uncompressed rows in `directory`, as a value for [`Node::configure`].
    pub fn file_sink(&self, directory: &str) -> Value {
        json!({
            "type": "file",
            "directory": self.path(directory),
            "compression": "none",
            "flush_interval_ms": 20,
        })
    }

    /// The rows in a file sink's directory.
    pub fn rows(&self, directory: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for path in longshore::sink::file::files(&self.path(directory)).unwrap_or_default() {
            let text = fs::read(path).unwrap();
            let whole = text.split_inclusive(|byte| *byte == b'\n');
            rows.extend(whole.filter(|line| line.ends_with(b"\n")).map(Row::of));
        }
        rows
    }

    /// Starts a container of a pod, whose log it is.
    pub fn container(&self, pod: &str, container: &str) -> Log {
        let directory = self
            .path("pods")
            .join(format!("ns_{pod}_uid-{pod}"))
            .join(container);
        fs::create_dir_all(&directory).unwrap();
        Log::start(&format!("{pod}/{container}"), directory.join("0.log"))
    }
}

/// What a row says of the line it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Pod and container, as the columns name them.
    pub origin: String,
    /// The message.
    pub message: String,
    /// What happened to the record.
    pub flags: String,
}

impl Row {
    /// Takes a row apart.
    pub fn of(line: &[u8]) -> Row {
        let row: Value = serde_json::from_slice(line).unwrap();
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        Row {
            origin: format!("{}/{}", text("PodName"), text("ContainerName")),
            message: text("LogMessage"),
            flags: match &row["LogFlags"] {
                Value::Null => String::new(),
                flags => flags.to_string(),
            },
        }
    }
}

/// What was written: messages, and how many bytes and lines the files hold of them.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// By container, in order.
    pub messages: BTreeMap<String, Vec<String>>,
    /// In all files together.
    pub bytes: u64,
    /// The same in lines.
    pub lines: u64,
}

impl Written {
    /// What some logs have written together.
    pub fn of<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Written {
        let mut all = Written::default();
        for log in logs {
            all.add(log);
        }
        all
    }

    /// And what another log has written.
    pub fn add(&mut self, log: &Log) {
        self.messages
            .insert(log.origin.clone(), log.messages.clone());
        self.bytes += log.bytes;
        self.lines += log.lines;
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.messages.values().map(Vec::len).sum()
    }

    /// Fails unless every message has a row and every row is of a message; gives how many rows are repeats.
    pub fn check(&self, rows: &[Row]) -> usize {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for row in rows {
            *counts.entry((&row.origin, &row.message)).or_default() += 1;
        }
        for (origin, messages) in &self.messages {
            for message in messages {
                let found = counts.remove(&(origin.as_str(), message.as_str()));
                assert!(found.is_some(), "lost: {origin}: {message:.80}");
            }
        }
        assert!(
            counts.is_empty(),
            "nobody wrote: {:.400}",
            format!("{counts:?}")
        );
        rows.len() - self.len()
    }
}

/// One container's log, written as the runtime does.
pub struct Log {
    origin: String,
    path: PathBuf,
    file: File,
    messages: Vec<String>,
    bytes: u64,
    lines: u64,
    rotations: u32,
}

impl Log {
    fn start(origin: &str, path: PathBuf) -> Log {
        let file = open_log(&path);
        Log {
            origin: origin.to_owned(),
            path,
            file,
            messages: Vec::new(),
            bytes: 0,
            lines: 0,
            rotations: 0,
        }
    }

    /// The live file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes messages of about 100 bytes, some to stderr; every 16th comes in three parts.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.messages.len();
            let stream = if number % 5 == 4 { "stderr" } else { "stdout" };
            let message = format!("line {number} of {} {:.>60}", self.origin, "");
            if number % 16 == 15 {
                let (first, rest) = message.split_at(20);
                let (second, third) = rest.split_at(30);
                self.part(stream, 'P', first);
                self.part(stream, 'P', second);
                self.part(stream, 'F', third);
            } else {
                self.part(stream, 'F', &message);
            }
            self.messages.push(message);
        }
    }

    /// In how many lines [`Log::write`] wrote a message.
    pub fn lines_of(message: &str) -> usize {
        let number: usize = message.split(' ').nth(1).unwrap().parse().unwrap();
        if number % 16 == 15 { 3 } else { 1 }
    }

    /// Writes one message.
    pub fn say(&mut self, message: &str) {
        self.part("stdout", 'F', message);
        self.messages.push(message.to_owned());
    }

    fn part(&mut self, stream: &str, tag: char, content: &str) {
        let (second, nano) = (self.lines / 1_000_000 % 60, self.lines % 1_000_000);
        let time = format!("2026-01-02T03:04:{second:02}.{nano:09}Z");
        let line = format!("{time} {stream} {tag} {content}\n");
        self.raw(line.as_bytes(), 1);
    }

    /// Appends bytes that make that many lines.
    pub fn raw(&mut self, bytes: &[u8], lines: u64) {
        self.file.write_all(bytes).unwrap();
        self.bytes += bytes.len() as u64;
        self.lines += lines;
    }

    /// Appends a hole.
    pub fn hole(&mut self, bytes: u64) {
        let len = self.file.metadata().unwrap().len();
        self.file.set_len(len + bytes).unwrap();
        self.bytes += bytes;
    }

    /// Rotates as the kubelet does: the older rotated files are compressed by way of a `.tmp`, the live one is renamed
    /// and begun again. Nothing is deleted but what has been compressed.
    pub fn rotate(&mut self) {
        let name = self.path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut plain: Vec<PathBuf> = fs::read_dir(self.path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let file = path.file_name().unwrap().to_str().unwrap();
                file.starts_with(&format!("{name}.")) && !file.ends_with(".gz")
            })
            .collect();
        plain.sort();
        for path in plain {
            compress(&path);
        }
        let renamed = format!("{name}.20260102-{:06}", self.rotations);
        self.rotations += 1;
        fs::rename(&self.path, self.path.with_file_name(renamed)).unwrap();
        self.file = open_log(&self.path);
    }
}

fn open_log(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

fn compress(path: &Path) {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let target = File::create(with(".tmp")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
    std::io::copy(&mut File::open(path).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::rename(with(".tmp"), with(".gz")).unwrap();
    fs::remove_file(path).unwrap();
}

/// A sink's accounts, as `/status` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Bytes seen.
    pub seen: u64,
    /// Bytes delivered.
    pub delivered_bytes: u64,
    /// Lines delivered.
    pub delivered_lines: u64,
    /// Bytes given up, by reason; only what is not 0.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes not wanted.
    pub excluded: u64,
    /// Bytes lost.
    pub lost: u64,
    /// Bytes neither yet.
    pub pending: u64,
}

impl Ledger {
    /// The accounts of a sink; fails if they do not balance.
    pub fn of(status: &Value, sink: &str) -> Ledger {
        let ledger = &of_sink(status, sink)["ledger"];
        assert_eq!(ledger["balances"], true, "{ledger}");
        let number = |value: &Value| value.as_u64().unwrap();
        let sum = |values: &Value| {
            values
                .as_object()
                .unwrap()
                .values()
                .map(number)
                .sum::<u64>()
        };
        let by_reason = |key: &str| -> BTreeMap<String, u64> {
            let all = ledger[key].as_object().unwrap().iter();
            all.map(|(reason, amount)| (reason.clone(), number(&amount["bytes"])))
                .filter(|(_, bytes)| *bytes > 0)
                .collect()
        };
        let ledger = Ledger {
            seen: number(&ledger["seen_bytes"]),
            delivered_bytes: number(&ledger["delivered"]["bytes"]),
            delivered_lines: number(&ledger["delivered"]["lines"]),
            dropped: by_reason("dropped"),
            excluded: by_reason("excluded").values().sum(),
            lost: sum(&ledger["lost_bytes"]),
            pending: number(&ledger["pending_bytes"]),
        };
        let dropped: u64 = ledger.dropped.values().sum();
        let settled = ledger.excluded + dropped + ledger.delivered_bytes + ledger.lost;
        assert_eq!(ledger.seen, settled + ledger.pending, "{ledger:?}");
        ledger
    }

    /// Everything that was written has been delivered, and nothing else has happened to it.
    pub fn is_all_of(&self, written: &Written) -> bool {
        self.seen == written.bytes
            && self.delivered_bytes == written.bytes
            && self.delivered_lines == written.lines
            && self.lost == 0
            && self.pending == 0
    }
}

/// What `/status` says of a sink.
pub fn of_sink<'a>(status: &'a Value, sink: &str) -> &'a Value {
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|one| one["sink"] == sink).unwrap()
}

/// A running agent. Killed when dropped.
pub struct Agent {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Agent {
    /// `longshore run --config FILE`, once its admin server answers.
    pub fn run(config: &Path) -> Agent {
        let mut command = Command::new(LONGSHORE);
        command.args(["run", "--config"]).arg(config);
        Agent::spawn(command)
    }

    /// The same by another command.
    pub fn spawn(mut command: Command) -> Agent {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        for proxy in [
            "http_proxy",
            "HTTP_PROXY",
            "ALL_PROXY",
            "all_proxy",
            "RUST_LOG",
        ] {
            command.env_remove(proxy);
        }
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let collected = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = collected.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut agent = Agent {
            child,
            log,
            reader: Some(reader),
            address: unknown,
        };
        let text = || agent.log();
        agent.address = wait_for("the agent's address", text, || address_in(&agent.log()));
        agent
    }

    /// What it has written to its own log.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where its admin pages are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gets a page: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(*PATIENCE))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = answer().unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            !head.to_ascii_lowercase().contains("transfer-encoding"),
            "{head}"
        );
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// `/status`.
    pub fn status(&self) -> Value {
        let (code, body) = self.get("/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A sink's accounts.
    pub fn ledger(&self, sink: &str) -> Ledger {
        Ledger::of(&self.status(), sink)
    }

    /// Waits until the condition holds for `/status`.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        let sight = || format!("{:#}\n{}", self.status(), self.log());
        wait_for(what, sight, || condition(&self.status()).then_some(()));
    }

    /// Waits until a sink has delivered everything that was written, exactly accounted.
    pub fn wait_for_all(&self, sink: &str, written: &Written) {
        let what = format!(
            "{sink} to deliver {} bytes, {} lines",
            written.bytes, written.lines
        );
        self.wait_for(&what, |status| Ledger::of(status, sink).is_all_of(written));
    }

    /// A number in what it said of itself when it started.
    pub fn said_at_start(&self, name: &str) -> u64 {
        let log = self.log();
        let line = log
            .lines()
            .find(|line| line.contains("longshore is running"))
            .unwrap();
        let said: Value = serde_json::from_str(line).unwrap();
        said["fields"][name].as_u64().unwrap()
    }

    /// A line of `/proc/PID/status`, in the unit given there.
    pub fn proc_status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_ascii_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .count()
    }

    /// SIGKILL; returns once it is dead.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let id = i32::try_from(self.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    }

    /// Waits for its end; gives how it ended and all that it said.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let child = &mut self.child;
        let log = Arc::clone(&self.log);
        let sight = || log.lock().unwrap().clone();
        let status = wait_for("the agent to exit", sight, || child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        (status, self.log())
    }

    /// SIGTERM, then its exit code, which has to be 0, and all that it said.
    pub fn stop(self) -> String {
        self.terminate();
        let (status, log) = self.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The admin server's address in the agent's own log.
fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log
        .lines()
        .find(|line| line.contains("longshore is running"))?;
    let said: Value = serde_json::from_str(line).unwrap();
    Some(said["fields"]["admin"].as_str().unwrap().parse().unwrap())
}
