//! The threads of the side door: one per sink that takes metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::StartError;
use super::build::SinkParts;
use super::workers::{Bell, NOT_DRAINING, SLEEP_MAX};
use crate::clock::{Clock, Time};
use crate::samples::board::Board;
use crate::samples::inbox::Inbox;
use crate::samples::worker::{Parts, Worker};

/// A thread that takes the samples of one sink.
pub(super) struct Running {
    pub(super) inbox: Arc<Inbox>,
    pub(super) board: Arc<Board>,
    bell: Bell,
    drain_until_ms: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// A thread to be.
pub(super) struct Waiting {
    sink: String,
    bell: Bell,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    parts: Parts,
}

impl Waiting {
    /// All that the thread of a sink needs.
    pub(super) fn of(sink: &str, parts: &mut SinkParts<'_>) -> Result<Waiting, StartError> {
        let bell = Bell::new();
        let inbox = Arc::new(Inbox::new(bell.waker()));
        let board = Arc::new(Board::new(sink));
        let parts = parts.samples(&bell, &inbox, &board)?;
        Ok(Waiting {
            sink: sink.to_owned(),
            bell,
            inbox,
            board,
            parts,
        })
    }

    /// Starts the thread.
    pub(super) fn start(self, clock: &Arc<dyn Clock>) -> Result<Running, StartError> {
        let Waiting {
            sink,
            bell,
            inbox,
            board,
            parts,
        } = self;
        let drain_until_ms = Arc::new(AtomicU64::new(NOT_DRAINING));
        let (its_bell, its_drain) = (bell.clone(), Arc::clone(&drain_until_ms));
        let clock = Arc::clone(clock);
        let thread = std::thread::Builder::new()
            .name(format!("samples-{sink}"))
            .spawn(move || {
                its_bell.set(std::thread::current());
                run(parts, clock.as_ref(), &its_drain);
            })
            .map_err(|source| StartError::Thread {
                what: "a thread for samples",
                source,
            })?;
        Ok(Running {
            inbox,
            board,
            bell,
            drain_until_ms,
            thread,
        })
    }
}

impl Running {
    /// Asks it to send until then what it has, and to end.
    pub(super) fn drain(&self, until: Time) {
        self.drain_until_ms.store(until.as_ms(), Ordering::Release);
        self.bell.ring();
    }

    /// Waits for its end.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a thread for samples ended abnormally");
        }
    }
}

fn run(parts: Parts, clock: &dyn Clock, drain_until_ms: &AtomicU64) {
    let mut worker = Worker::new(parts);
    loop {
        let now = clock.now();
        let until_ms = drain_until_ms.load(Ordering::Acquire);
        if until_ms != NOT_DRAINING {
            worker.drain(now, Time::from_ms(until_ms));
        }
        let until = worker.step(now);
        if until_ms != NOT_DRAINING && (worker.is_drained() || now.as_ms() >= until_ms) {
            return worker.finish();
        }
        let sleep = until.since(clock.now()).min(SLEEP_MAX);
        if !sleep.is_zero() {
            std::thread::park_timeout(sleep);
        }
    }
}
