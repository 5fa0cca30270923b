//! A disk in memory that tells what is cached from what is durable.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::{Disk, DiskFile, FileId};
use super::super::name::Name;
use super::super::writer::LOCK_NAME;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// ENOSPC; a part was done.
    Full,
    /// EIO; a part was done. A failed sync drops the pages and marks them clean.
    Io,
    /// The process dies in the middle: this and every later operation fails.
    Die,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    /// Bytes of `cached` that a failed sync dropped: they read well, and no later sync writes them.
    dropped: Vec<bool>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Add(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes from `durable_names` to `names`.
    changes: Vec<Change>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    plan: VecDeque<Option<Fault>>,
    dead: bool,
    capacity: Option<u64>,
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Add(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Change::Remove(name) => {
            names.remove(name);
        }
    }
}

impl State {
    /// Whether the next operation that changes something fails, and how.
    fn fault(&mut self) -> Option<Fault> {
        if self.dead {
            return Some(Fault::Die);
        }
        let fault = self.plan.pop_front().flatten();
        self.dead = fault == Some(Fault::Die);
        fault
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        match self.fault() {
            Some(fault) => Err(error(fault)),
            None => {
                apply(&mut self.names, &change);
                self.changes.push(change);
                Ok(())
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let len = |inode: &u64| self.inodes.get(inode).map_or(0, |inode| inode.cached.len());
        self.names.values().map(len).sum::<usize>() as u64
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Full => io::ErrorKind::StorageFull.into(),
        Fault::Io | Fault::Die => {
            io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("our own names").to_owned()
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Model(Arc<Mutex<State>>);

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    /// What becomes of the next operations that change something.
    pub(super) fn plan(&self, faults: Vec<Option<Fault>>) {
        self.state().plan = faults.into();
    }

    /// Bytes that fit.
    pub(super) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Whether a fault has killed the process.
    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Another process.
    pub(super) fn revive(&self) {
        self.state().dead = false;
    }

    /// The machine stops. Of each file's unsynced end, and of the directory's unsynced changes, a part survives.
    pub(super) fn crash(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let state = &mut *self.state();
        let survivors = random.usize(..=state.changes.len());
        for change in state.changes.drain(..).take(survivors) {
            apply(&mut state.durable_names, &change);
        }
        state.names = state.durable_names.clone();
        for inode in state.inodes.values_mut() {
            let content = survived(inode, &mut random);
            *inode = Inode {
                dropped: vec![false; content.len()],
                durable: content.clone(),
                cached: content,
            };
        }
    }

    /// What a reader sees in a file.
    pub(super) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[&state.names[path]].cached.clone()
    }

    /// The sizes of all files with names of ours together.
    pub(super) fn own_bytes(&self) -> u64 {
        let files = self.list(Path::new(super::DIRECTORY)).expect("no faults");
        let own = files.iter().filter(|(name, _)| Name::parse(name).is_some());
        own.map(|(_, len)| len).sum()
    }
}

/// The durable content, perhaps with some of what was appended behind it.
fn survived(inode: &Inode, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut content = inode.durable.clone();
    if inode.cached.len() > content.len() && inode.cached.starts_with(&content) {
        let end = random.usize(content.len()..=inode.cached.len());
        for at in content.len()..end {
            content.push(if inode.dropped[at] {
                0
            } else {
                inode.cached[at]
            });
        }
    }
    content
}

impl Disk for Model {
    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let known = self.state().names.contains_key(&text(path));
        let file = if known {
            self.open(path)
        } else {
            self.create(path)
        };
        file.map(Some)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let prefix = format!("{}/", text(directory));
        Ok(state
            .names
            .iter()
            .filter_map(|(path, inode)| Some((path.strip_prefix(&prefix)?, inode)))
            .filter(|(name, _)| *name != LOCK_NAME)
            .map(|(name, inode)| (name.to_owned(), state.inodes[inode].cached.len() as u64))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        assert!(!state.names.contains_key(&text(path)), "never created over");
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change(Change::Add(text(path), inode))?;
        let disk = self.clone();
        Ok(Box::new(ModelFile { disk, inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = *self
            .state()
            .names
            .get(&text(path))
            .ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Box::new(ModelFile { disk, inode }))
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        let state = self.state();
        let inode = state.names.get(&text(path));
        Ok((0, *inode.ok_or(io::ErrorKind::NotFound)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        assert!(!state.names.contains_key(&text(to)), "never renamed over");
        state.change(Change::Rename(text(from), text(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().change(Change::Remove(text(path)))
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        if let Some(fault) = state.fault() {
            return Err(error(fault));
        }
        state.changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct ModelFile {
    disk: Model,
    inode: u64,
}

impl ModelFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inode) -> T) -> T {
        act(self
            .disk
            .state()
            .inodes
            .get_mut(&self.inode)
            .expect("inodes stay"))
    }
}

fn put(inode: &mut Inode, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if inode.cached.len() < end {
        inode.cached.resize(end, 0);
        inode.dropped.resize(end, false);
    }
    inode.cached[offset..end].copy_from_slice(bytes);
    inode.dropped[offset..end].fill(false);
}

impl DiskFile for ModelFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.with(|inode| {
            let from = inode.cached.get(offset as usize..).unwrap_or_default();
            let count = from.len().min(buffer.len());
            buffer[..count].copy_from_slice(&from[..count]);
            count
        }))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = {
            let mut state = self.disk.state();
            let used_bytes = state.used_bytes();
            let full = state
                .capacity
                .is_some_and(|capacity| used_bytes + bytes.len() as u64 > capacity);
            if full {
                Some(Fault::Full)
            } else {
                state.fault()
            }
        };
        let part = match fault {
            Some(_) => &bytes[..bytes.len() * 2 / 3],
            None => bytes,
        };
        self.with(|inode| put(inode, part, offset as usize));
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(fault) = self.disk.state().fault() {
            return Err(error(fault));
        }
        self.with(|inode| {
            inode.cached.resize(len as usize, 0);
            inode.dropped.resize(len as usize, false);
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let fault = self.disk.state().fault();
        self.with(|inode| match fault {
            None => {
                let held = |at: usize| match inode.dropped[at] {
                    true => inode.durable.get(at).copied().unwrap_or(0),
                    false => inode.cached[at],
                };
                inode.durable = (0..inode.cached.len()).map(held).collect();
                Ok(())
            }
            // Death does not drop pages.
            Some(Fault::Die) => Err(error(Fault::Die)),
            Some(fault) => {
                for at in 0..inode.cached.len() {
                    let clean = inode.durable.get(at) == Some(&inode.cached[at]);
                    inode.dropped[at] |= !clean;
                }
                Err(error(fault))
            }
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.with(|inode| {
            for at in 0..inode.cached.len() {
                if std::mem::take(&mut inode.dropped[at]) {
                    inode.cached[at] = inode.durable.get(at).copied().unwrap_or(0);
                }
            }
        });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|inode| inode.cached.len() as u64))
    }

    fn id(&self) -> io::Result<FileId> {
        Ok((0, self.inode))
    }
}
