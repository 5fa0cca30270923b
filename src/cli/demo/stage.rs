//! Where the demo is played: a directory of its own, a thread for the player, an ear for Ctrl-C.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

use super::DemoError;
use super::lines::Moment;
use super::plan::{Plan, Played, ROUND_MS, Totals};
use super::player::Player;
use crate::clock::Clock;

const NAMES_TRIED_MAX: u32 = 16;
/// A play that is further behind than this goes on late and does not hurry.
const LATE_MAX: Duration = Duration::from_millis(200);
const ROTATE_BYTES: u64 = 1024 * 1024;
const BUSY_BYTES_PER_S: u32 = 700_000;

/// A directory that goes with its owner, unless it is to be kept.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: PathBuf,
    keep: bool,
}

impl TemporaryDirectory {
    /// A new directory in the system's place for temporary files, readable by its owner alone.
    pub fn new(keep: bool) -> Result<TemporaryDirectory, DemoError> {
        let mut tried = 0;
        loop {
            let name = format!("longshore-demo-{:08x}", fastrand::u32(..));
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(TemporaryDirectory { path, keep }),
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && tried < NAMES_TRIED_MAX =>
                {
                    tried += 1;
                }
                Err(error) => return Err(DemoError::at("make", &path)(error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if !self.keep {
            // Nobody is left to tell; the system clears its temporary files sooner or later.
            let _ignored: io::Result<()> = fs::remove_dir_all(&self.path);
        }
    }
}

/// A play that has not begun.
pub struct Play {
    player: Player,
}

/// What the player's thread and the demo tell each other.
#[derive(Default)]
struct Shared {
    totals: Mutex<Totals>,
    /// Held during a round: whoever changes it waits for the deletions under way.
    away: Mutex<bool>,
    stop: AtomicBool,
    ended: Arc<AtomicBool>,
}

impl Play {
    /// Sets the stage in `directory`.
    pub fn prepare(
        seed: u64,
        rounds: u32,
        directory: &Path,
        clock: &dyn Clock,
    ) -> Result<Play, DemoError> {
        let since_epoch = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let plan = Plan {
            seed,
            rounds,
            rotate_bytes: ROTATE_BYTES,
            busy_bytes_per_s: BUSY_BYTES_PER_S,
            start: Moment(u64::try_from(since_epoch.as_nanos()).unwrap_or(0)),
        };
        let (pods, links) = (directory.join(super::PODS), directory.join(super::LINKS));
        Ok(Play {
            player: Player::new(plan, &pods, &links)?,
        })
    }

    /// Begins, on a thread of its own.
    pub fn begin(self, clock: Arc<dyn Clock>) -> Playing {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let result = play(self.player, &*clock, &theirs);
            theirs.ended.store(true, Ordering::Release);
            result
        });
        Playing {
            shared,
            thread: Some(thread),
        }
    }
}

fn play(mut player: Player, clock: &dyn Clock, shared: &Shared) -> Result<Played, DemoError> {
    let round = Duration::from_millis(ROUND_MS);
    let mut due = clock.now();
    loop {
        let away = shared.away.lock().unwrap_or_else(PoisonError::into_inner);
        let more = player.round(*away)?;
        drop(away);
        *shared.totals.lock().unwrap_or_else(PoisonError::into_inner) = player.totals();
        if !more || shared.stop.load(Ordering::Acquire) {
            return Ok(player.into_played());
        }
        due = due + round;
        let now = clock.now();
        if now.since(due) > LATE_MAX {
            due = now;
        }
        thread::sleep(due.since(now));
    }
}

/// A play that has begun. Dropping it ends it.
pub struct Playing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Played, DemoError>>>,
}

impl Playing {
    /// The play in numbers, so far.
    pub fn totals(&self) -> Totals {
        let totals = self.shared.totals.lock();
        *totals.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether an agent is running. Nothing is deleted any more once it is away: what an agent that stops has
    /// looked for and found, it leaves to the next one.
    pub fn set_away(&self, away: bool) {
        let shown = &self.shared.away;
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    /// Becomes true when the play is over.
    pub fn ended_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.ended)
    }

    /// Waits for the end (which comes at once when the play is over) and tells what was played.
    pub fn end(mut self) -> Result<Played, DemoError> {
        self.stop()
            .unwrap_or(Err(DemoError::Player("it was ended before")))
    }

    fn stop(&mut self) -> Option<Result<Played, DemoError>> {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        Some(
            thread
                .join()
                .unwrap_or(Err(DemoError::Player("its thread panicked"))),
        )
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        // The directory is about to go: the player must not write into it any more.
        let _ended = self.stop();
    }
}

/// Sets `interrupted` at Ctrl-C, so that the demo can clear up behind itself; a second one ends the process. Where
/// signals cannot be had, Ctrl-C ends the process as ever.
pub fn watch_interrupt(interrupted: Arc<AtomicBool>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        let Ok(runtime) = runtime else {
            return;
        };
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            if interrupted.swap(true, Ordering::AcqRel) {
                std::process::exit(130);
            }
        }
    });
}
