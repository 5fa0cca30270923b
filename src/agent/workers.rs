//! Worker threads: step, then sleep until the moment the worker named or until somebody rings.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use super::StartError;
use crate::checkpoint::Checkpoint;
use crate::clock::{Clock, Time};
use crate::pipeline::drain::After;
use crate::pipeline::worker::{Parts, Step, Worker};
use crate::waker::Waker;

/// Wakes one worker thread, also before it runs.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<OnceLock<Thread>>);

impl Bell {
    pub(super) fn new() -> Bell {
        Bell::default()
    }

    pub(super) fn waker(&self) -> Waker {
        let bell = self.clone();
        Waker::new(move || bell.ring())
    }

    /// Names the thread that it wakes.
    pub(super) fn set(&self, thread: Thread) {
        let _first: Result<(), Thread> = self.0.set(thread);
    }

    pub(super) fn ring(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// A worker thread.
pub(super) struct Running {
    bell: Bell,
    leave: Arc<Leave>,
    thread: JoinHandle<bool>,
}

/// When to be gone, and who comes after.
struct Leave {
    until_ms: AtomicU64,
    to_another_process: AtomicBool,
}

/// No drain has been asked for.
pub(super) const NOT_DRAINING: u64 = u64::MAX;

/// How long a worker sleeps at most, so that its heartbeat goes on.
pub(super) const SLEEP_MAX: Duration = Duration::from_millis(500);

impl Running {
    /// Asks it to drain until then.
    pub(super) fn drain(&self, until: Time, after: After) {
        let to_another_process = after == After::Restart;
        let leave = &self.leave;
        leave
            .to_another_process
            .store(to_another_process, Ordering::Relaxed);
        leave.until_ms.store(until.as_ms(), Ordering::Release);
        self.bell.ring();
    }

    /// Waits for its end. Whether it was drained.
    pub(super) fn join(self) -> bool {
        self.thread.join().unwrap_or(false)
    }
}

/// Starts a worker thread.
pub(super) fn start(
    bell: Bell,
    parts: Parts,
    checkpoint: Option<Checkpoint>,
    clock: Arc<dyn Clock>,
) -> Result<Running, StartError> {
    let leave = Arc::new(Leave {
        until_ms: AtomicU64::new(NOT_DRAINING),
        to_another_process: AtomicBool::new(true),
    });
    let (its_bell, its_leave) = (bell.clone(), Arc::clone(&leave));
    let name = format!("sink-{}", parts.sink.name);
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            its_bell.set(std::thread::current());
            run(Worker::new(parts, checkpoint), clock.as_ref(), &its_leave)
        })
        .map_err(|source| StartError::Thread {
            what: "a worker",
            source,
        })?;
    Ok(Running {
        bell,
        leave,
        thread,
    })
}

fn run(mut worker: Worker, clock: &dyn Clock, leave: &Leave) -> bool {
    loop {
        let now = clock.now();
        let drain_until = leave.until_ms.load(Ordering::Acquire);
        if drain_until != NOT_DRAINING {
            worker.drain(match leave.to_another_process.load(Ordering::Relaxed) {
                true => After::Restart,
                false => After::Reload,
            });
            if worker.is_drained() || now.as_ms() >= drain_until {
                let drained = worker.is_drained();
                worker.finish(now);
                return drained;
            }
        }
        if let Step::Idle { until } = worker.step(now) {
            let sleep = until.since(clock.now()).min(SLEEP_MAX);
            std::thread::park_timeout(sleep);
        }
    }
}
