//! The file sink's state: which files there are, which is open, how much of it is durable. Synchronous; no thread.
//!
//! Invariant: what [`Writer::store`] reported as durable stays at the front of its file, whole and in order, until the
//! file is retired. Bytes behind it are cut before anything else is written there, and a file whose fdatasync failed is
//! never written to again: the kernel may have dropped its pages.

mod budget;
mod mend;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::disk::{Disk, DiskFile, FileId};
use super::name::{Name, State, seconds_of};
use super::{FileStats, Framing, StartError};
use crate::clock::{Clock, Time};
use crate::config::FileSink;

pub(super) use self::budget::own_files;

/// The lock file's name: whoever holds it owns the directory's files.
pub(super) const LOCK_NAME: &str = ".longshore.lock";

/// Why something could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `enospc` or `io`.
    pub(super) code: &'static str,
    /// What was attempted on what, and what came of it.
    pub(super) text: String,
}

/// The file being written.
struct Open {
    name: Name,
    file: Box<dyn DiskFile>,
    id: FileId,
    /// Durable.
    good_len: u64,
    /// Written.
    len: u64,
    roll_at: Time,
}

/// A file that is no longer written to, in the directory's account.
struct Kept {
    name: Name,
    len: u64,
}

/// An `.open` file that must be cut, synced and renamed before it counts as finished.
struct Suspect {
    name: Name,
    /// How much of it is known to be durable and whole; `None`: to be found out.
    good_len: Option<u64>,
}

/// See the module.
pub(super) struct Writer {
    disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    suffix: &'static str,
    framing: Framing,
    roll_bytes: u64,
    roll_interval: Duration,
    total_bytes_max: u64,
    lock: (Box<dyn DiskFile>, FileId),
    open: Option<Open>,
    /// Oldest first.
    kept: VecDeque<Kept>,
    /// Oldest first.
    suspects: Vec<Suspect>,
    next_number: u64,
    stats: Arc<FileStats>,
}

/// What [`Writer::start`] is told.
pub(super) struct Setup<'a> {
    pub(super) config: &'a FileSink,
    pub(super) suffix: &'static str,
    pub(super) framing: Framing,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Arc<FileStats>,
}

impl Writer {
    /// Takes the directory. Leftovers of a predecessor wait for [`Writer::recover`].
    pub(super) fn start(disk: Box<dyn Disk>, setup: Setup<'_>) -> Result<Writer, StartError> {
        let config = setup.config;
        let directory = config.directory.clone();
        let locked = take_lock(disk.as_ref(), &directory);
        let lock = match locked {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(StartError::Locked { directory }),
            Err(source) => return Err(StartError::Directory { directory, source }),
        };
        let mut writer = Writer {
            disk,
            clock: setup.clock,
            directory,
            suffix: setup.suffix,
            framing: setup.framing,
            // Two files must fit, or retiring the older would always mean to lose all.
            roll_bytes: config.roll_bytes.min(config.total_bytes_max / 2).max(1),
            roll_interval: Duration::from_millis(config.roll_interval_ms),
            total_bytes_max: config.total_bytes_max,
            lock,
            open: None,
            kept: VecDeque::new(),
            suspects: Vec::new(),
            next_number: 0,
            stats: setup.stats,
        };
        match writer.relist() {
            Ok(opens) => {
                let suspect = |(name, _)| Suspect {
                    name,
                    good_len: None,
                };
                writer.suspects = opens.into_iter().map(suspect).collect();
                Ok(writer)
            }
            Err(source) => Err(StartError::Directory {
                directory: writer.directory,
                source,
            }),
        }
    }

    /// Appends payloads and makes them durable. The first `n` of them are (the returned number); if that is not all,
    /// the failure says why the others are not: nothing of them remains unless a crash follows.
    pub(super) fn store(&mut self, bodies: &[Bytes]) -> (usize, Option<Failure>) {
        let mut durable = 0;
        let stored = self.store_all(bodies, &mut durable);
        if stored.is_err() {
            self.cut_back(|open| open.good_len);
            self.stats.write_errors.fetch_add(1, Ordering::Relaxed);
        }
        self.publish();
        (durable, stored.err())
    }

    /// How long until the open file is due to be rolled; `None`: nothing is open.
    pub(super) fn roll_due_in(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        Some(open.roll_at.since(self.clock.now()))
    }

    /// Rolls the open file if it is large or old enough.
    pub(super) fn roll_if_due(&mut self) {
        let now = self.clock.now();
        let due = |open: &Open| open.good_len >= self.roll_bytes || now >= open.roll_at;
        if self.open.as_ref().is_some_and(due) {
            self.roll();
        }
    }

    fn store_all(&mut self, bodies: &[Bytes], durable: &mut usize) -> Result<(), Failure> {
        self.settle()?;
        self.leave_if_replaced();
        self.roll_if_due();
        for (index, body) in bodies.iter().enumerate() {
            let bytes = self.framing.stored_len(body);
            let full = |open: &Open| open.len > 0 && open.len + bytes > self.roll_bytes;
            if self.open.as_ref().is_some_and(full) {
                self.commit()?;
                *durable = index;
                self.roll();
            }
            self.make_room(bytes)?;
            self.append(body)?;
        }
        self.commit()?;
        *durable = bodies.len();
        self.roll_if_due();
        Ok(())
    }

    /// Appends one payload. On a full disk, old files are retired as far as [`Writer::retire_for_space`] goes.
    fn append(&mut self, body: &[u8]) -> Result<(), Failure> {
        loop {
            let Err((attempted, path, error)) = self.append_once(body) else {
                return Ok(());
            };
            let failure = failure(attempted, &path, &error);
            if failure.code != "enospc" {
                self.suspect();
                return Err(failure);
            }
            // Cut first: a part of the payload takes space too.
            if !(self.cut_back(|open| open.len) && self.retire_for_space()) {
                return Err(failure);
            }
        }
    }

    fn append_once(&mut self, body: &[u8]) -> Result<(), (&'static str, PathBuf, io::Error)> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let open = self.open.insert(open);
        let written = open.file.write_all_at(body, open.len).and_then(|()| {
            match self.framing.lacks_end(body) {
                true => open.file.write_all_at(b"\n", open.len + body.len() as u64),
                false => Ok(()),
            }
        });
        match written {
            Ok(()) => {
                open.len += self.framing.stored_len(body);
                Ok(())
            }
            Err(error) => Err((
                "write to",
                self.directory.join(open.name.to_string()),
                error,
            )),
        }
    }

    /// Makes what was written durable.
    fn commit(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.len == open.good_len {
            return Ok(());
        }
        match open.file.sync_data() {
            Ok(()) => {
                open.good_len = open.len;
                Ok(())
            }
            Err(error) => {
                let path = self.directory.join(open.name.to_string());
                let failure = failure("sync", &path, &error);
                self.suspect();
                if failure.code == "enospc" {
                    self.retire_for_space();
                }
                Err(failure)
            }
        }
    }

    /// Cuts the open file to a length of its own; a file that cannot be cut becomes a suspect. Whether it is still open
    /// (or none was).
    fn cut_back(&mut self, to: impl Fn(&Open) -> u64) -> bool {
        let Some(open) = &mut self.open else {
            return true;
        };
        let len = to(open);
        match open.file.set_len(len) {
            Ok(()) => {
                open.len = len;
                true
            }
            Err(_) => {
                self.suspect();
                false
            }
        }
    }

    /// Begins a new file, its name durable.
    fn create(&mut self) -> Result<Open, (&'static str, PathBuf, io::Error)> {
        let now = self.clock.now();
        let name = Name {
            start_s: seconds_of(self.clock.wall()),
            number: self.next_number,
            suffix: self.suffix,
            state: State::Open,
        };
        let path = self.path(&name);
        self.hold_directory()
            .map_err(|error| ("lock", self.directory.clone(), error))?;
        let file = self
            .disk
            .create(&path)
            .map_err(|error| ("create", path.clone(), error))?;
        self.next_number += 1;
        let begun = file
            .id()
            .and_then(|id| self.disk.sync_directory(&self.directory).map(|()| id));
        match begun {
            Ok(id) => Ok(Open {
                name,
                file,
                id,
                good_len: 0,
                len: 0,
                roll_at: now + self.roll_interval,
            }),
            Err(error) => {
                let good_len = Some(0);
                self.suspects.push(Suspect { name, good_len });
                Err(("begin", path, error))
            }
        }
    }

    /// Takes the lock again if the directory or the lock file was deleted or replaced under us.
    fn hold_directory(&mut self) -> io::Result<()> {
        let named = self.disk.id(&self.directory.join(LOCK_NAME));
        if named.is_ok_and(|id| id == self.lock.1) {
            return Ok(());
        }
        let lock = take_lock(self.disk.as_ref(), &self.directory)?;
        self.lock = lock.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another instance has taken the directory",
            )
        })?;
        self.relist()?;
        Ok(())
    }

    /// Forgets the open file if its name no longer leads to it, or if someone else changed its length.
    fn leave_if_replaced(&mut self) {
        let Some(open) = &self.open else { return };
        let path = self.directory.join(open.name.to_string());
        match self.disk.id(&path) {
            Ok(id) if id == open.id => {
                if open.file.len().is_ok_and(|len| len < open.good_len) {
                    tracing::warn!(path = %path.display(), "a file was cut by someone else");
                    self.suspect();
                }
            }
            Ok(_) => self.open = None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), "a file was removed while being written");
                self.open = None;
            }
            // Nothing is known: the write will tell.
            Err(_) => {}
        }
    }

    /// Stops writing to the open file; [`Writer::settle`] sets it right.
    fn suspect(&mut self) {
        if let Some(open) = self.open.take() {
            let good_len = match open.file.len() {
                Ok(len) if len < open.good_len => None,
                _ => Some(open.good_len),
            };
            let name = open.name;
            self.suspects.push(Suspect { name, good_len });
        }
    }

    /// Finishes the open file, all of which is durable.
    fn roll(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.stats.rolls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.finish(&open.name, open.good_len, State::Finished) {
            self.stats.write_errors.fetch_add(1, Ordering::Relaxed);
            let path = self.path(&open.name);
            tracing::warn!(path = %path.display(), %error, "cannot rename a finished file");
            let (name, good_len) = (open.name, Some(open.good_len));
            self.suspects.push(Suspect { name, good_len });
        }
    }

    /// Gives a durable file its final name (or removes an empty one).
    fn finish(&mut self, name: &Name, len: u64, state: State) -> io::Result<()> {
        let path = self.path(name);
        if len == 0 {
            self.disk.remove(&path)?;
        } else {
            let name = name.with(state);
            self.disk.rename(&path, &self.path(&name))?;
            let at = self
                .kept
                .partition_point(|kept| kept.name.number < name.number);
            self.kept.insert(at, Kept { name, len });
        }
        // If this fails the old name may come back after a crash; the file is then found open, and whole.
        if self.disk.sync_directory(&self.directory).is_err() {
            self.stats.write_errors.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(name.to_string())
    }
}

fn take_lock(disk: &dyn Disk, directory: &Path) -> io::Result<Option<(Box<dyn DiskFile>, FileId)>> {
    disk.make_directory(directory)?;
    match disk.lock(&directory.join(LOCK_NAME))? {
        Some(lock) => {
            let id = lock.id()?;
            Ok(Some((lock, id)))
        }
        None => Ok(None),
    }
}

fn failure(attempted: &str, path: &Path, error: &io::Error) -> Failure {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    Failure {
        code: if full { "enospc" } else { "io" },
        text: format!("{attempted} {}: {error}", path.display()),
    }
}
