//! What containers wrote, and what became of their files: the truth that deliveries are compared with.
//!
//! Rotation is the kubelet's: compress what is plain, delete what is too much, rename, and later let the runtime
//! reopen its log; until then it goes on writing to the renamed file.

use longshore::catalog::chain::Identity;
use longshore::files::Files as _;
use longshore::record::{ChainKey, Stream};

use super::rig::ROOT;
use crate::support::sim_files::{SimFiles, SimHandle};

/// What one stretch of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The last or only part of a record.
    Full,
    /// A part of a record that goes on.
    Part,
    /// Not a line of the runtime's format.
    Raw,
    /// NULs.
    Hole,
}

/// One physical line, or hole.
#[derive(Clone)]
pub struct Line {
    pub kind: Kind,
    pub stream: Stream,
    /// What the container wrote.
    pub content: Vec<u8>,
    /// Bytes before the content.
    pub header: u64,
    pub file: usize,
    pub start: u64,
    /// Behind what has been written of it, the line end included.
    pub end: u64,
    /// Its line end has been written.
    pub whole: bool,
    /// The next part of the same record.
    pub next: Option<usize>,
    /// The part before.
    pub before: Option<usize>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = String::from_utf8_lossy(&self.content[..self.content.len().min(24)]);
        let Line {
            kind,
            stream,
            file,
            start,
            end,
            whole,
            ..
        } = self;
        write!(
            f,
            "{kind:?} {stream:?} {content:?} in file {file} {start}..{end}"
        )?;
        if *whole { Ok(()) } else { f.write_str(" torn") }
    }
}

/// One file's content, whatever its names.
pub struct LogFile {
    pub chain: usize,
    pub bytes: Vec<u8>,
    pub lines: Vec<usize>,
    /// Its name at the moment.
    pub path: Option<String>,
    /// The agent could see it since then without a break.
    pub seen_since_ms: u64,
    /// It was deleted or truncated in a way that may cost unread bytes.
    pub may_lose: bool,
}

impl LogFile {
    pub fn identity(&self) -> u64 {
        Identity::of_ended(&self.bytes[..self.bytes.len().min(Identity::BYTES_MAX)]).0
    }
}

/// One container instance.
pub struct Chain {
    pub key: ChainKey,
    pub docker: bool,
    pub dir: String,
    pub pod_dir: String,
    pub files: Vec<usize>,
    /// Nothing is written any more.
    pub over: bool,
    pub deleted: bool,
    writer: Option<SimHandle>,
    renamed: bool,
    open: [Option<usize>; 2],
    /// A line whose rest has not been written.
    torn: Option<(usize, Vec<u8>)>,
}

pub struct Model {
    pub files: SimFiles,
    pub lines: Vec<Line>,
    pub logs: Vec<LogFile>,
    pub chains: Vec<Chain>,
    pub files_kept: usize,
    pub now_ms: u64,
    pub agent_up: bool,
}

/// A file that was there for this long while the agent looked is held open by it.
const SEEN_MS: u64 = 3_000;

impl Model {
    pub fn new(files: &SimFiles) -> Model {
        Model {
            files: files.clone(),
            lines: Vec::new(),
            logs: Vec::new(),
            chains: Vec::new(),
            files_kept: 3,
            now_ms: 0,
            agent_up: false,
        }
    }

    /// Starts a container in a pod of its own. Returns its number.
    pub fn begin(&mut self, docker: bool) -> usize {
        let number = self.chains.len();
        let pod_dir = format!("{ROOT}/ns_pod-{number}_uid-{number}");
        let dir = if docker {
            format!("/var/lib/docker/containers/{number:064x}")
        } else {
            format!("{pod_dir}/main")
        };
        self.files.mkdir(&dir);
        self.files.mkdir(format!("{pod_dir}/main"));
        let key = ChainKey {
            pod_uid: format!("uid-{number}"),
            container: "main".to_owned(),
            restart: 0,
        };
        self.add(key, docker, dir, pod_dir);
        if docker {
            self.files.symlink(
                self.live(number),
                format!("{}/main/0.log", self.chains[number].pod_dir),
            );
        }
        number
    }

    fn add(&mut self, key: ChainKey, docker: bool, dir: String, pod_dir: String) {
        self.chains.push(Chain {
            key,
            docker,
            dir,
            pod_dir,
            files: Vec::new(),
            over: false,
            deleted: false,
            writer: None,
            renamed: false,
            open: [None; 2],
            torn: None,
        });
        self.open_live(self.chains.len() - 1);
    }

    /// The container ends and starts again: another chain in the same directory.
    pub fn restart(&mut self, at: usize) {
        let chain = &self.chains[at];
        if chain.over || chain.docker {
            return;
        }
        self.reopen(at);
        self.end(at, false);
        let chain = &self.chains[at];
        let key = ChainKey {
            restart: chain.key.restart + 1,
            ..chain.key.clone()
        };
        let (dir, pod_dir) = (chain.dir.clone(), chain.pod_dir.clone());
        self.add(key, false, dir, pod_dir);
    }

    /// The container ends; what is torn stays torn, unless its rest is written.
    pub fn end(&mut self, at: usize, rest: bool) {
        if rest {
            self.rest(at);
        }
        let chain = &mut self.chains[at];
        chain.over = true;
        chain.torn = None;
        chain.writer = None;
    }

    pub fn live(&self, at: usize) -> String {
        let chain = &self.chains[at];
        match chain.docker {
            true => format!("{}/{at:064x}-json.log", chain.dir),
            false => format!("{}/{}.log", chain.dir, chain.key.restart),
        }
    }

    fn open_live(&mut self, at: usize) {
        let path = self.live(at);
        let writer = self.files.writer(&path);
        self.logs.push(LogFile {
            chain: at,
            bytes: Vec::new(),
            lines: Vec::new(),
            path: Some(path),
            seen_since_ms: self.now_ms,
            may_lose: false,
        });
        let chain = &mut self.chains[at];
        chain.files.push(self.logs.len() - 1);
        chain.writer = Some(writer);
        chain.renamed = false;
    }

    /// Whether the container writes.
    pub fn writes(&self, at: usize) -> bool {
        !self.chains[at].over
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let chain = &self.chains[at];
        let file = *chain.files.last().unwrap();
        chain.writer.as_ref().unwrap().append(bytes);
        self.logs[file].bytes.extend_from_slice(bytes);
    }

    /// Writes one line, all or its first bytes.
    pub fn line(&mut self, at: usize, kind: Kind, stream: Stream, content: &[u8], torn: bool) {
        if !self.writes(at) {
            return;
        }
        self.rest(at);
        let number = self.lines.len();
        let (header, tail) = self.frame(at, kind, stream, number, content);
        let mut bytes = header.clone();
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&tail);
        let file = *self.chains[at].files.last().unwrap();
        let start = self.logs[file].bytes.len() as u64;
        let written = if torn {
            bytes.len() * (number % 7 + 1) / 9
        } else {
            bytes.len()
        };
        let before = match kind {
            Kind::Full | Kind::Part => self.chains[at].open[stream.index()].take(),
            Kind::Raw | Kind::Hole => None,
        };
        if kind == Kind::Part {
            self.chains[at].open[stream.index()] = Some(number);
        }
        if let Some(before) = before {
            self.lines[before].next = Some(number);
        }
        self.lines.push(Line {
            kind,
            stream,
            content: content.to_vec(),
            header: header.len() as u64,
            file,
            start,
            end: start + written as u64,
            whole: !torn,
            next: None,
            before,
        });
        self.logs[file].lines.push(number);
        self.put(at, &bytes[..written]);
        if torn {
            self.chains[at].torn = Some((number, bytes[written..].to_vec()));
        }
    }

    /// What stands before and behind the content. The timestamp tells which line it is.
    fn frame(
        &self,
        at: usize,
        kind: Kind,
        stream: Stream,
        number: usize,
        content: &[u8],
    ) -> (Vec<u8>, Vec<u8>) {
        let time = stamp(number);
        let name = stream.as_str();
        let part = kind == Kind::Part;
        match (kind, self.chains[at].docker) {
            (Kind::Raw, _) => (Vec::new(), b"\n".to_vec()),
            (_, false) => {
                let tag = if part { "P" } else { "F" };
                (format!("{time} {name} {tag} ").into_bytes(), b"\n".to_vec())
            }
            (_, true) => {
                assert!(
                    content
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
                );
                let end = if part { "" } else { "\\n" };
                let tail = format!("{end}\",\"stream\":\"{name}\",\"time\":\"{time}\"}}\n");
                (b"{\"log\":\"".to_vec(), tail.into_bytes())
            }
        }
    }

    /// Writes the rest of a torn line.
    pub fn rest(&mut self, at: usize) {
        if let Some((number, rest)) = self.chains[at].torn.take() {
            self.put(at, &rest);
            self.lines[number].end += rest.len() as u64;
            self.lines[number].whole = true;
        }
    }

    /// A hole of NULs, as a crash of the node leaves it.
    pub fn hole(&mut self, at: usize, bytes: usize) {
        if !self.writes(at) || self.chains[at].renamed || self.chains[at].docker {
            return;
        }
        self.rest(at);
        let file = *self.chains[at].files.last().unwrap();
        let start = self.logs[file].bytes.len() as u64;
        // A file of nothing but NULs has no first line to be known by.
        if start == 0 {
            return;
        }
        let end = start + bytes as u64;
        self.files.truncate(self.live(at), end);
        self.logs[file].bytes.resize(end as usize, 0);
        self.logs[file].lines.push(self.lines.len());
        self.lines.push(Line {
            kind: Kind::Hole,
            stream: Stream::Stdout,
            content: Vec::new(),
            header: 0,
            file,
            start,
            end,
            whole: true,
            next: None,
            before: None,
        });
    }

    /// Compresses, deletes and renames. `false` if there was nothing to do.
    pub fn rename(&mut self, at: usize) -> bool {
        let chain = &self.chains[at];
        let file = *chain.files.last().unwrap();
        let named = self.logs[file].path.as_deref() == Some(&*self.live(at));
        if chain.over || chain.renamed || !named || self.logs[file].bytes.is_empty() {
            return false;
        }
        self.prune(at, self.files_kept.saturating_sub(1));
        let live = self.live(at);
        if self.chains[at].docker {
            self.shift(at);
            self.move_to(file, format!("{live}.1"));
        } else {
            self.compress(at);
            let stamp = format!(
                "2024{:04}-{:06}",
                self.logs.len() / 1_000_000 + 101,
                self.logs.len()
            );
            self.move_to(file, format!("{live}.{stamp}"));
        }
        self.chains[at].renamed = true;
        true
    }

    fn move_to(&mut self, file: usize, to: String) {
        let from = self.logs[file].path.replace(to.clone()).unwrap();
        self.files.rename(from, to);
    }

    /// Docker's names count up with age.
    fn shift(&mut self, at: usize) {
        let live = self.live(at);
        let mut rotated = self.rotated(at);
        rotated.reverse();
        for (age, file) in rotated.iter().enumerate().rev() {
            self.move_to(*file, format!("{live}.{}", age + 2));
        }
    }

    /// Rotated files with a name, oldest first.
    fn rotated(&self, at: usize) -> Vec<usize> {
        let live = self.live(at);
        let named = |file: &usize| {
            self.logs[*file]
                .path
                .as_ref()
                .is_some_and(|path| *path != live)
        };
        self.chains[at]
            .files
            .iter()
            .copied()
            .filter(named)
            .collect()
    }

    fn compress(&mut self, at: usize) {
        for file in self.rotated(at) {
            let path = self.logs[file].path.clone().unwrap();
            if !path.ends_with(".gz") {
                self.files.gzip(&path);
                self.logs[file].path = Some(format!("{path}.gz"));
            }
        }
    }

    fn prune(&mut self, at: usize, keep: usize) {
        let rotated = self.rotated(at);
        for file in &rotated[..rotated.len().saturating_sub(keep)] {
            let path = self.logs[*file].path.clone().unwrap();
            self.files.unlink(path);
            self.deleted(*file);
        }
    }

    fn deleted(&mut self, file: usize) {
        let log = &mut self.logs[file];
        log.path = None;
        log.may_lose |= !self.agent_up || self.now_ms < log.seen_since_ms + SEEN_MS;
    }

    /// The runtime opens its log anew, once what is torn has been written.
    pub fn reopen(&mut self, at: usize) {
        if self.chains[at].renamed && !self.chains[at].over {
            self.rest(at);
            self.open_live(at);
        }
    }

    /// logrotate's copytruncate; without the copy a plain truncation. No copy of a file that does not begin with a
    /// timestamp: that is taken for another file with the same first line, and its lines are repeated.
    pub fn truncate(&mut self, at: usize, copy: bool) {
        let file = *self.chains[at].files.last().unwrap();
        let first = self.logs[file]
            .lines
            .first()
            .map(|first| self.lines[*first].kind);
        let copy = copy && first != Some(Kind::Raw);
        let chain = &self.chains[at];
        if chain.over || chain.renamed || chain.docker || self.logs[file].bytes.is_empty() {
            return;
        }
        self.rest(at);
        let live = self.live(at);
        self.logs[file].may_lose = true;
        if copy {
            let to = format!("{live}.{}", 9_000_000 + self.logs.len());
            self.files.append(&to, self.files.content(&live));
            self.logs[file].path = Some(to);
        } else {
            self.logs[file].path = None;
        }
        self.files.truncate(&live, 0);
        self.open_live(at);
    }

    /// The pod goes with all its files.
    pub fn delete_pod(&mut self, at: usize) {
        let pod_dir = self.chains[at].pod_dir.clone();
        if self.chains[at].deleted {
            return;
        }
        self.files.remove_all(&pod_dir);
        if self.chains[at].docker {
            self.files.remove_all(self.chains[at].dir.clone());
        }
        for other in 0..self.chains.len() {
            if self.chains[other].pod_dir != pod_dir {
                continue;
            }
            self.end(other, false);
            self.chains[other].deleted = true;
            for file in self.chains[other].files.clone() {
                if self.logs[file].path.is_some() {
                    self.deleted(file);
                }
            }
        }
    }

    /// From here on the agent sees everything again: after a start, or a fault.
    pub fn seen_from_now(&mut self) {
        for log in &mut self.logs {
            log.seen_since_ms = self.now_ms;
        }
    }

    /// The agent's descriptors are gone, and with them what has no name.
    pub fn agent_stopped(&mut self) {
        self.agent_up = false;
        for log in &mut self.logs {
            log.may_lose |= log.path.is_none();
        }
    }

    /// Whether every path of the model is where it should be.
    pub fn check_paths(&self) {
        for log in &self.logs {
            if let Some(path) = &log.path {
                assert!(
                    self.files.stat(path.as_ref()).is_ok(),
                    "the model lost {path}"
                );
            }
        }
    }
}

/// A timestamp that names a line.
pub fn stamp(number: usize) -> String {
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    format!("2024-01-01T{hour:02}:{minute:02}:{second:02}.{number:09}Z")
}

/// The line that a timestamp names.
pub fn number_of(stamp: &str) -> Option<usize> {
    let number = stamp.strip_suffix('Z')?.split_once('.')?.1.parse().ok()?;
    (self::stamp(number) == stamp).then_some(number)
}
