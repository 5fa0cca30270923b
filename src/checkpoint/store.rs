//! Checkpoints on disk, written by a thread of their own so that a slow disk never holds up a worker.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use thiserror::Error;

use super::{Checkpoint, decode, encode};
use crate::pipeline::board::Counters;

/// Where a worker's checkpoints go.
pub trait Store: Send {
    /// Takes a checkpoint to be written; one that has not been written yet is replaced by a newer one.
    fn save(&mut self, checkpoint: Checkpoint);
    /// Counts what was written or failed since the last call. Returns whether anything was.
    fn poll(&mut self, counters: &mut Counters) -> bool;
    /// Writes what is left and waits for it.
    fn finish(&mut self, counters: &mut Counters);
}

/// A checkpoint file and the thread that writes it.
#[derive(Debug)]
pub struct FileStore {
    to_write: Option<SyncSender<Checkpoint>>,
    written: Receiver<io::Result<()>>,
    waiting: Option<Checkpoint>,
    thread: Option<JoinHandle<()>>,
}

/// Why a sink cannot start from its checkpoint.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The directory cannot be used.
    #[error("cannot use the checkpoint directory {path}: {source}; make it writable for the agent")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What one worker left.
#[derive(Debug)]
pub struct Left {
    /// Which worker.
    pub worker: usize,
    /// Of how many.
    pub workers: usize,
    /// Where it stood.
    pub checkpoint: Checkpoint,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What each worker left; none if the sink never ran.
    pub left: Vec<Left>,
    /// Files that were put aside because they did not check out.
    pub put_aside: Vec<PathBuf>,
}

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".jsonl";
/// What is written at once.
const WRITE_BYTES: usize = 32 * 1024;

impl FileStore {
    /// A store for one worker of a sink. Files of another number of workers are removed once this worker has written.
    pub fn start(directory: &Path, worker: usize, workers: usize) -> io::Result<FileStore> {
        let (to_write, orders) = sync_channel::<Checkpoint>(1);
        let (report, written) = sync_channel(16);
        let directory = directory.to_owned();
        let name = format!("{PREFIX}{worker}-of-{workers}{SUFFIX}");
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                while let Ok(checkpoint) = orders.recv() {
                    let result = write(&directory, &name, &checkpoint).map_err(|error| {
                        let path = directory.join(&name);
                        io::Error::new(error.kind(), format!("writing {}: {error}", path.display()))
                    });
                    if report.send(result).is_err() {
                        return;
                    }
                }
            })?;
        Ok(FileStore {
            to_write: Some(to_write),
            written,
            waiting: None,
            thread: Some(thread),
        })
    }

    fn hand_over(&mut self) {
        let (Some(checkpoint), Some(to_write)) = (self.waiting.take(), &self.to_write) else {
            return;
        };
        if let Err(TrySendError::Full(back)) = to_write.try_send(checkpoint) {
            self.waiting = Some(back);
        }
    }
}

impl Store for FileStore {
    fn save(&mut self, checkpoint: Checkpoint) {
        self.waiting = Some(checkpoint);
        self.hand_over();
    }

    fn poll(&mut self, counters: &mut Counters) -> bool {
        let mut any = false;
        while let Ok(result) = self.written.try_recv() {
            count(&result, counters);
            any = true;
        }
        self.hand_over();
        any
    }

    fn finish(&mut self, counters: &mut Counters) {
        if let (Some(checkpoint), Some(to_write)) = (self.waiting.take(), self.to_write.take()) {
            // The channel may hold an older one; this waits for it.
            if to_write.send(checkpoint).is_err() {
                counters.checkpoint_failures += 1;
            }
        }
        self.to_write = None;
        for result in self.written.iter() {
            count(&result, counters);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            counters.checkpoint_failures += 1;
        }
    }
}

fn count(result: &io::Result<()>, counters: &mut Counters) {
    match result {
        Ok(()) => counters.checkpoints += 1,
        Err(error) => {
            counters.checkpoint_failures += 1;
            tracing::warn!(%error, "a checkpoint could not be written; after a crash more would be repeated");
        }
    }
}

/// Writes beside, syncs, keeps the old one as `.previous`, renames, syncs the directory.
fn write(directory: &Path, name: &str, checkpoint: &Checkpoint) -> io::Result<()> {
    let path = directory.join(name);
    let beside = directory.join(format!("{name}.tmp"));
    let previous = directory.join(format!("{name}.previous"));
    let file = File::create(&beside)?;
    encode(checkpoint, BufWriter::with_capacity(WRITE_BYTES, &file))?;
    file.sync_all()?;
    match fs::rename(&path, &previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&beside, &path)?;
    File::open(directory)?.sync_all()?;
    remove_others(directory, name)
}

/// Removes files that were written for another number of workers: their chains are in the new files by now.
fn remove_others(directory: &Path, name: &str) -> io::Result<()> {
    let Some((_, of)) = name.split_once("-of-") else {
        return Ok(());
    };
    let of = of.strip_suffix(SUFFIX).unwrap_or(of);
    let keep = format!("-of-{of}{SUFFIX}");
    let mut mine = 0;
    let mut others = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?.path();
        let Some(found) = entry.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if found.starts_with(PREFIX) && found.ends_with(&keep) {
            mine += 1;
        } else if found.starts_with(PREFIX) && !found.contains(&keep) {
            others.push(entry.clone());
        }
    }
    // Only once every worker of the new number has written.
    if Ok(mine) == of.parse() {
        for path in others {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Reads what a sink's workers left in `directory`, which is made if it is missing.
pub fn load(directory: &Path) -> Result<Loaded, LoadError> {
    let fail = |source| LoadError::Directory {
        path: directory.to_owned(),
        source,
    };
    fs::create_dir_all(directory).map_err(fail)?;
    let mut names = std::collections::BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if let Some((stem, _)) = name.split_once(SUFFIX) {
            names.insert(format!("{stem}{SUFFIX}"));
        }
    }
    let mut loaded = Loaded::default();
    for name in names {
        let found = read_one(directory, &name, &mut loaded.put_aside);
        if let Some(checkpoint) = found {
            // Of another form: nobody's, and dealt out anew.
            let (worker, workers) = numbers(&name).unwrap_or_default();
            loaded.left.push(Left {
                worker,
                workers,
                checkpoint,
            });
        }
    }
    Ok(loaded)
}

/// The file, or if it does not check out the previous one.
fn read_one(directory: &Path, name: &str, put_aside: &mut Vec<PathBuf>) -> Option<Checkpoint> {
    for candidate in [name.to_owned(), format!("{name}.previous")] {
        let path = directory.join(candidate);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a checkpoint cannot be read");
                continue;
            }
        };
        match decode(&bytes) {
            Ok(checkpoint) => return Some(checkpoint),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a checkpoint is put aside");
                let mut aside = path.clone().into_os_string();
                aside.push(".damaged");
                if fs::rename(&path, &aside).is_ok() {
                    put_aside.push(aside.into());
                }
            }
        }
    }
    None
}

/// Which worker of how many a file is of.
fn numbers(name: &str) -> Option<(usize, usize)> {
    let name = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (worker, workers) = name.split_once("-of-")?;
    Some((worker.parse().ok()?, workers.parse().ok()?))
}
