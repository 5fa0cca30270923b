//! What a record is: the one schema that the reader fills and every encoder reads.

use std::fmt;

use crate::pods::PodState;

/// Which of its two outputs the container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in index order.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The name as the runtime writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// 0 for stdout, 1 for stderr: the index into per-stream pairs.
    pub const fn index(self) -> usize {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        }
    }
}

/// How urgent a record says it is; inferred, see `select/level.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The process or the service is going down.
    Critical,
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Ordinary progress.
    Info,
    /// For the developer.
    Debug,
    /// For the developer, in every detail.
    Trace,
    /// The line does not say.
    #[default]
    Unknown,
}

impl Level {
    /// Those that a line can state, the most urgent first.
    pub const STATED: [Level; 6] = [
        Level::Critical,
        Level::Error,
        Level::Warning,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// The name in the `LogLevel` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Critical => "CRITICAL",
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
            Level::Unknown => "UNKNOWN",
        }
    }
}

/// What happened to a record on its way; written to the `LogFlags` column when there is any.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Nothing happened.
    pub const NONE: Flags = Flags(0);
    /// The runtime or the container stopped before the record's end.
    pub const PARTIAL: Flags = Flags(1);
    /// Longer than `record_bytes_max`: the rest was skipped and counted.
    pub const CUT: Flags = Flags(2);
    /// Not a line of the runtime's format: delivered raw.
    pub const UNPARSED: Flags = Flags(4);
    /// Lines that belong together, up to a bound: more of them may follow in the next record.
    pub const MULTILINE_CUT: Flags = Flags(8);
    /// Written by the agent: how many records were left out. No bytes of the file belong to it.
    pub const SUMMARY: Flags = Flags(128);

    const NAMES: [(Flags, &'static str); 5] = [
        (Flags::PARTIAL, "partial"),
        (Flags::CUT, "cut"),
        (Flags::UNPARSED, "unparsed"),
        (Flags::MULTILINE_CUT, "multiline_cut"),
        (Flags::SUMMARY, "summary"),
    ];

    /// Whether all of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of those that are set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A timestamp as text: RFC 3339 in UTC, ending in `Z`, with the fraction digits that the runtime wrote.
///
/// Kept as text because rows want the text and most never need the number. The bytes are digits and
/// punctuation only (whoever builds one checks that), so they may be copied into JSON as they are.
#[derive(Clone, Copy)]
pub struct TimeText {
    len: u8,
    /// What is behind `len` is of no meaning.
    bytes: [u8; TimeText::BYTES_MAX],
}

impl TimeText {
    /// The longest: `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ` is 30 bytes.
    pub const BYTES_MAX: usize = 31;
    /// The Unix epoch, for records whose time nobody knows.
    pub const EPOCH: TimeText = TimeText::new(b"1970-01-01T00:00:00Z");

    /// Takes text that is known to be of the form above; longer text is cut.
    pub const fn new(text: &[u8]) -> TimeText {
        let mut bytes = [0; TimeText::BYTES_MAX];
        let mut len = 0;
        while len < text.len() && len < TimeText::BYTES_MAX {
            bytes[len] = text[len];
            len += 1;
        }
        TimeText {
            len: len as u8,
            bytes,
        }
    }

    /// As [`TimeText::new`] of the first `len` of these bytes: a copy of fixed size, for the log line's hot path.
    #[inline]
    pub fn of_first(bytes: &[u8; TimeText::BYTES_MAX], len: usize) -> TimeText {
        TimeText {
            len: len.min(TimeText::BYTES_MAX) as u8,
            bytes: *bytes,
        }
    }

    /// The text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for TimeText {
    fn eq(&self, other: &TimeText) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for TimeText {}

impl fmt::Debug for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// One log line of a container, joined from its parts, as an encoder sees it. Borrowed: nothing is allocated for it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The runtime's timestamp of the first part.
    pub time: &'a TimeText,
    /// Which output.
    pub stream: Stream,
    /// The bytes the container wrote, without the line end; may be invalid UTF-8.
    pub message: &'a [u8],
    /// Inferred level.
    pub level: Level,
    /// What happened on the way.
    pub flags: Flags,
    /// Where its first part starts in the decompressed segment that its last part lies in (0 if it began in an earlier segment).
    pub start: u64,
    /// Where its last part ends in the decompressed segment, behind the line end.
    pub end: u64,
}

/// Names one container instance: stable over agent restarts, never reused by Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainKey {
    /// The pod's uid as its log directory names it (for a static pod: its config hash).
    pub pod_uid: String,
    /// Container name.
    pub container: String,
    /// Restart count.
    pub restart: u32,
}

impl ChainKey {
    /// A hash that is the same in every run.
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.to_string().as_bytes())
    }
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pod_uid, self.container, self.restart)
    }
}

/// Whose log it is: everything that is the same for all records of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainMeta {
    /// The chain.
    pub key: ChainKey,
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// The runtime's id of the container; empty while nothing names it.
    pub container_id: String,
    /// What the cluster says of its pod.
    pub pod_state: PodState,
}
