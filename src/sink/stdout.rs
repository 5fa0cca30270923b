//! Rows on standard output, from a thread of its own: a reader that is slow blocks that thread and nobody else.
//!
//! Invariant: accepted means written and flushed; a payload is never written twice in part: after an error in the
//! middle of it, the same payload is continued where it stopped.

mod collected;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;

use super::outbox::{Outbox, Pending};
use super::{Attempt, Reason, Transport, Verdict};
use crate::waker::Waker;

pub use self::collected::{Facts, Refusal, facts, refusal};

/// Payloads that may wait for the thread.
const WAITING_MAX: usize = 4;

/// How long the thread waits before it tries again on a full pipe that someone set to non-blocking.
const FULL_PIPE_WAIT: Duration = Duration::from_millis(10);

/// Which command writes: a closed pipe means something else to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// The agent: the sink pauses, the other sinks go on.
    Run,
    /// `longshore read`: whoever reads has seen enough; see [`StdoutTransport::closed`].
    Read,
}

/// Why stdout cannot be a sink.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread.
    #[error("cannot start the thread of the stdout sink: {source}; raise the limit on threads")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// The transport to standard output.
#[derive(Debug)]
pub struct StdoutTransport {
    thread: Arc<Thread>,
    outbox: Arc<Outbox>,
}

/// The thread that writes, shared by all handles on it.
#[derive(Debug)]
struct Thread {
    jobs: SyncSender<Pending>,
    closed: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
}

impl StdoutTransport {
    /// Starts the thread that owns `writer`, best an unbuffered duplicate of descriptor 1. Ask [`refusal`] first.
    pub fn start(
        waker: Waker,
        under: Under,
        writer: Box<dyn Write + Send>,
    ) -> Result<StdoutTransport, StartError> {
        let (jobs, queue) = sync_channel(WAITING_MAX);
        let closed = Arc::new(AtomicBool::new(false));
        let closing = Arc::new(AtomicBool::new(false));
        let mut output = Output {
            writer,
            under,
            unfinished: None,
            closed: Arc::clone(&closed),
            closing: Arc::clone(&closing),
        };
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || output.run(&queue))
            .map_err(|source| StartError::Thread { source })?;
        Ok(StdoutTransport {
            thread: Arc::new(Thread {
                jobs,
                closed,
                closing,
            }),
            outbox: Outbox::new(waker),
        })
    }

    /// A further handle on the same output, so that payloads of two origins never mix.
    pub fn share(&self, waker: Waker) -> StdoutTransport {
        StdoutTransport {
            thread: Arc::clone(&self.thread),
            outbox: Outbox::new(waker),
        }
    }

    /// Whether nobody reads any more, under [`Under::Read`]: the command ends with exit code 0.
    pub fn closed(&self) -> bool {
        self.thread.closed.load(Ordering::Acquire)
    }
}

impl Transport for StdoutTransport {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        match self
            .thread
            .jobs
            .try_send(Pending::new(attempt, Arc::clone(&self.outbox)))
        {
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
    /// Does not wait: a reader that never reads would hold the agent's end.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
    }
}

struct Output {
    writer: Box<dyn Write + Send>,
    under: Under,
    /// A payload that failed in its middle, and how much of it is out.
    unfinished: Option<(Bytes, usize)>,
    closed: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
}

impl Output {
    fn run(&mut self, queue: &Receiver<Pending>) {
        for pending in queue {
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            let verdict = match self.put(&pending.attempt.body) {
                Ok(()) => Verdict::Accepted,
                Err(error) => self.verdict(&error),
            };
            pending.answer(verdict);
        }
    }

    fn put(&mut self, body: &Bytes) -> io::Result<()> {
        let mut at = match self.unfinished.take() {
            Some((same, at)) if same == *body => at,
            Some((other, at)) => {
                let mid_line = other.get(..at).is_some_and(|out| !out.ends_with(b"\n"));
                if mid_line && let Err(error) = self.write_from(b"\n", &mut 0) {
                    self.unfinished = Some((other, at));
                    return Err(error);
                }
                0
            }
            None => 0,
        };
        let written = self.write_from(body, &mut at);
        let ended = written.and_then(|()| match lacks_end(body) {
            true => self.write_from(b"\n", &mut 0),
            false => Ok(()),
        });
        let flushed = ended.and_then(|()| self.flush());
        if flushed.is_err() && at > 0 {
            self.unfinished = Some((body.clone(), at));
        }
        flushed
    }

    fn write_from(&mut self, bytes: &[u8], at: &mut usize) -> io::Result<()> {
        while let Some(rest) = bytes.get(*at..).filter(|rest| !rest.is_empty()) {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *at += count,
                Err(error) => self.wait_out(error)?,
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Err(error) = self.writer.flush() {
            self.wait_out(error)?;
        }
        Ok(())
    }

    /// Waits where waiting helps: pipes are shared, and any of their holders can make them non-blocking for all.
    fn wait_out(&self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock if !self.closing.load(Ordering::Acquire) => {
                std::thread::sleep(FULL_PIPE_WAIT);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn verdict(&self, error: &io::Error) -> Verdict {
        let text = format!("write to standard output: {error}");
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                if self.under == Under::Read {
                    self.closed.store(true, Ordering::Release);
                }
                Verdict::Pause(Reason::new("epipe", text))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Verdict::Retry {
                after: None,
                reason: Reason::new("enospc", text),
            },
            _ => Verdict::Retry {
                after: None,
                reason: Reason::new("io", text),
            },
        }
    }
}

/// Rows as text that does not end its last line, as a JSON array does; compressed payloads are left as they are.
fn lacks_end(body: &[u8]) -> bool {
    matches!(body.first(), Some(b'[' | b'{')) && body.last() != Some(&b'\n')
}

#[cfg(test)]
mod tests;
