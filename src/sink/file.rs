//! Rolling files: a payload is accepted once it is whole and durable in a file of ours.
//!
//! One thread per sink takes all payloads that wait, appends them, and answers after one fdatasync. A file is named
//! `<start time>-<number>.<suffix>`, with `.open` behind it while it is written to; the number gives the order. The
//! directory belongs to one instance, which holds a lock file in it. What a crash leaves is cut to the last whole
//! member, frame or line at the next start; old files are retired within a byte budget, counted.

mod disk;
mod name;
#[cfg(test)]
mod tests;
mod whole;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use self::disk::{Disk, NodeDisk};
use self::writer::{Failure, Setup, Writer, own_files};
use super::outbox::{Outbox, Pending};
use super::{Attempt, Reason, Transport, Verdict};
use crate::clock::Clock;
use crate::config::FileSink;
use crate::waker::Waker;

/// Payloads that may wait for the thread, and that share one fdatasync at most.
const WAITING_MAX: usize = 16;

/// The longest wait of an idle thread with an open file, in case the clock is not the one the kernel waits by.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long dropping the last handle waits for the thread to let go of the directory: a successor can then have it.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How payloads lie in a file one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One gzip member (RFC 1952) per payload.
    Gzip,
    /// One Zstandard frame (RFC 8878) per payload.
    Zstd,
    /// Lines, each ended by LF; a payload that does not end in one gets it.
    Lines,
}

impl Framing {
    fn of_suffix(suffix: &str) -> Framing {
        match suffix.rsplit('.').next() {
            Some("gz") => Framing::Gzip,
            Some("zst") => Framing::Zstd,
            _ => Framing::Lines,
        }
    }

    fn lacks_end(self, body: &[u8]) -> bool {
        self == Framing::Lines && !body.is_empty() && body.last() != Some(&b'\n')
    }

    fn stored_len(self, body: &[u8]) -> u64 {
        body.len() as u64 + u64::from(self.lacks_end(body))
    }
}

/// What a file sink shows of itself; written by its thread, read by the admin server.
#[derive(Debug, Default)]
pub struct FileStats {
    /// The directory's own files now, the open one included.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Files rolled since start.
    pub rolls: AtomicU64,
    /// Old files deleted for the budget since start.
    pub files_retired: AtomicU64,
    /// Their bytes.
    pub bytes_retired: AtomicU64,
    /// Disk operations that failed since start.
    pub write_errors: AtomicU64,
    /// Bytes of unfinished writes that were cut since start.
    pub bytes_cut: AtomicU64,
    /// Leftover files set aside as `.damaged` since start.
    pub files_damaged: AtomicU64,
}

/// Why a file sink cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be made, locked or read.
    #[error(
        "cannot use directory {directory} for the file sink: {source}; make it writable for this user"
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else writes there.
    #[error(
        "directory {directory} belongs to another running file sink; give each a directory of its own"
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The suffix is not among those whose files are recognised at the next start.
    #[error(
        "file name suffix {suffix:?} is not known to the file sink; use ndjson or json, with .gz or .zst, or pb with one of them"
    )]
    Suffix {
        /// The suffix.
        suffix: &'static str,
    },
    /// No thread.
    #[error("cannot start the thread of file sink {name}: {source}; raise the limit on threads")]
    Thread {
        /// The sink.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A handle on the thread that writes the files. Attempts of one handle are written in the order of submission.
#[derive(Debug)]
pub struct FileTransport {
    thread: Arc<Thread>,
    outbox: Arc<Outbox>,
}

#[derive(Debug)]
struct Thread {
    /// `None` only while being dropped.
    jobs: Option<SyncSender<Pending>>,
    /// Set when nobody waits for verdicts any more: what is unwritten stays so, the next start reads it again.
    closing: Arc<AtomicBool>,
    /// Disconnected when the thread has let go of the directory.
    ended: Mutex<Receiver<()>>,
    stats: Arc<FileStats>,
}

impl FileTransport {
    /// Takes the directory and starts the thread of sink `name`. `suffix` names the files: `ndjson` or `json`, with
    /// `.gz` or `.zst` behind it where `framing` says so.
    pub fn start(
        name: &str,
        config: &FileSink,
        suffix: &'static str,
        framing: Framing,
        clock: Arc<dyn Clock>,
        waker: Waker,
    ) -> Result<FileTransport, StartError> {
        if name::Name::known_suffix(suffix).is_none() || Framing::of_suffix(suffix) != framing {
            return Err(StartError::Suffix { suffix });
        }
        let stats = Arc::new(FileStats::default());
        let setup = Setup {
            config,
            suffix,
            framing,
            clock,
            stats: Arc::clone(&stats),
        };
        let mut writer = Writer::start(Box::new(NodeDisk), setup)?;
        let (jobs, queue) = sync_channel(WAITING_MAX);
        let (end, ended) = sync_channel(0);
        let closing = Arc::new(AtomicBool::new(false));
        let thread_closing = Arc::clone(&closing);
        std::thread::Builder::new()
            .name(format!("file-{name}"))
            .spawn(move || {
                run(&mut writer, &queue, &thread_closing);
                // The lock goes before the news of it.
                drop(writer);
                drop(end);
            })
            .map_err(|source| StartError::Thread {
                name: name.to_owned(),
                source,
            })?;
        Ok(FileTransport {
            thread: Arc::new(Thread {
                jobs: Some(jobs),
                closing,
                ended: Mutex::new(ended),
                stats,
            }),
            outbox: Outbox::new(waker),
        })
    }

    /// A further handle on the same files, for another worker of the same sink.
    pub fn share(&self, waker: Waker) -> FileTransport {
        FileTransport {
            thread: Arc::clone(&self.thread),
            outbox: Outbox::new(waker),
        }
    }

    /// What the sink shows of itself.
    pub fn stats(&self) -> Arc<FileStats> {
        Arc::clone(&self.thread.stats)
    }
}

impl Transport for FileTransport {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        let pending = Pending::new(attempt, Arc::clone(&self.outbox));
        let Some(jobs) = &self.thread.jobs else {
            return Err(pending.give_back());
        };
        match jobs.try_send(pending) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(pending)) => Err(pending.give_back()),
            // The thread is dead: dropping the attempt answers it with Retry.
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.outbox.pop()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.jobs = None;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSE_WAIT_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a file sink's thread still waits for the disk; left behind");
        }
    }
}

fn run(writer: &mut Writer, queue: &Receiver<Pending>, closing: &AtomicBool) {
    writer.recover();
    let mut group = Vec::with_capacity(WAITING_MAX);
    loop {
        let first = match writer.roll_due_in() {
            Some(wait) => queue.recv_timeout(wait.min(WAIT_MAX)),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(_) | Err(RecvTimeoutError::Disconnected) if closing.load(Ordering::Acquire) => {
                return;
            }
            Ok(first) => {
                group.push(first);
                group.extend(queue.try_iter().take(WAITING_MAX - 1));
                serve(writer, &mut group);
            }
            Err(RecvTimeoutError::Timeout) => writer.roll_if_due(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn serve(writer: &mut Writer, group: &mut Vec<Pending>) {
    let bodies: Vec<Bytes> = group
        .iter()
        .map(|pending| pending.attempt.body.clone())
        .collect();
    let (durable, failure) = writer.store(&bodies);
    for (index, pending) in group.drain(..).enumerate() {
        pending.answer(match &failure {
            Some(Failure { code, text }) if index >= durable => Verdict::Retry {
                after: None,
                reason: Reason::new(code, text.as_str()),
            },
            _ => Verdict::Accepted,
        });
    }
}

/// The files a file sink has written to a directory, oldest first, the open one last; `.damaged` ones are left out.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = own_files(NodeDisk.list(directory)?);
    Ok(listed
        .into_iter()
        .filter(|(name, _)| name.state != name::State::Damaged)
        .map(|(name, _)| directory.join(name.to_string()))
        .collect())
}
