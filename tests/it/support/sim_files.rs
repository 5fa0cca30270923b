//! A file system in memory that behaves as badly as real ones: inode numbers are reused at once (the lowest free
//! one), deleted files live on in open handles, stamps are as coarse as the kernel's clock, and faults can be
//! injected. Clones are the same file system.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore::files::{Entry, FileHandle, Files, Kind, Meta};

use super::sim_clock::SimClock;

/// Names a node for ever, as an inode number does not.
type Key = u64;

enum Body {
    /// Stretches of data by offset, and the length; what lies between is a hole.
    File {
        data: BTreeMap<u64, Vec<u8>>,
        len: u64,
    },
    Directory(BTreeMap<OsString, Key>),
    Symlink(PathBuf),
    Pipe,
}

struct Node {
    device: u64,
    inode: u64,
    links: u64,
    opens: u64,
    modified_ns: i64,
    changed_ns: i64,
    body: Body,
    read_fault: Option<i32>,
}

struct State {
    nodes: HashMap<Key, Node>,
    root: Key,
    next_key: Key,
    device: u64,
    inodes: BTreeSet<(u64, u64)>,
    faults: HashMap<PathBuf, i32>,
    unmounted: HashMap<PathBuf, Option<Key>>,
    tick_ms: u64,
    handles: usize,
    handles_most: usize,
    handles_max: usize,
    opened: u64,
    calls: u64,
    dropped_cache: u64,
}

/// The file system.
#[derive(Clone)]
pub struct SimFiles {
    state: Arc<Mutex<State>>,
    clock: SimClock,
}

/// An open file; also what a container runtime writes through.
pub struct SimHandle {
    files: SimFiles,
    key: Key,
    counted: bool,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl State {
    fn inode(&mut self, device: u64) -> u64 {
        let mut inode = 2;
        for (_, used) in self.inodes.range((device, 0)..=(device, u64::MAX)) {
            if *used >= 2 {
                if *used != inode {
                    break;
                }
                inode += 1;
            }
        }
        self.inodes.insert((device, inode));
        inode
    }

    fn add(&mut self, body: Body, device: u64, now_ns: i64) -> Key {
        let inode = self.inode(device);
        self.next_key += 1;
        let node = Node {
            device,
            inode,
            links: 1,
            opens: 0,
            modified_ns: now_ns,
            changed_ns: now_ns,
            body,
            read_fault: None,
        };
        self.nodes.insert(self.next_key, node);
        self.next_key
    }

    fn release(&mut self, key: Key) {
        let node = &self.nodes[&key];
        if node.links == 0 && node.opens == 0 {
            self.inodes.remove(&(node.device, node.inode));
            self.nodes.remove(&key);
        }
    }

    fn entries(&mut self, key: Key) -> io::Result<&mut BTreeMap<OsString, Key>> {
        match &mut self.nodes.get_mut(&key).unwrap().body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(errno(libc::ENOTDIR)),
        }
    }

    /// Resolves a path; the last component is followed only if asked.
    fn find(&mut self, path: &Path, follow_last: bool) -> io::Result<Key> {
        self.find_from(path, follow_last, 0)
    }

    fn find_from(&mut self, path: &Path, follow_last: bool, depth: usize) -> io::Result<Key> {
        if depth > 8 {
            return Err(errno(libc::ELOOP));
        }
        let mut at = self.root;
        let mut here = PathBuf::from("/");
        let parts: Vec<_> = path.components().collect();
        for (index, part) in parts.iter().enumerate() {
            let Component::Normal(name) = part else {
                continue;
            };
            at = *self.entries(at)?.get(*name).ok_or(errno(libc::ENOENT))?;
            let last = index + 1 == parts.len();
            if let Body::Symlink(target) = &self.nodes[&at].body
                && (!last || follow_last)
            {
                let target = here.join(target);
                at = self.find_from(&target, true, depth + 1)?;
            }
            here.push(name);
        }
        Ok(at)
    }

    fn parent(&mut self, path: &Path) -> io::Result<Key> {
        self.find(path.parent().unwrap(), true)
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        self.faults
            .get(path)
            .map_or(Ok(()), |code| Err(errno(*code)))
    }

    fn meta(&self, key: Key) -> Meta {
        let node = &self.nodes[&key];
        Meta {
            device: node.device,
            inode: node.inode,
            len_bytes: if let Body::File { len, .. } = &node.body {
                *len
            } else {
                0
            },
            links: node.links,
            modified_ns: node.modified_ns,
            changed_ns: node.changed_ns,
            kind: kind(&node.body),
        }
    }
}

fn kind(body: &Body) -> Kind {
    match body {
        Body::File { .. } => Kind::File,
        Body::Directory(_) => Kind::Directory,
        Body::Symlink(_) => Kind::Symlink,
        Body::Pipe => Kind::Other,
    }
}

impl SimFiles {
    /// An empty file system whose stamps follow `clock`, in steps of 4 ms.
    pub fn new(clock: &SimClock) -> SimFiles {
        let mut state = State {
            nodes: HashMap::new(),
            root: 0,
            next_key: 0,
            device: 1,
            inodes: BTreeSet::new(),
            faults: HashMap::new(),
            unmounted: HashMap::new(),
            tick_ms: 4,
            handles: 0,
            handles_most: 0,
            handles_max: usize::MAX,
            opened: 0,
            calls: 0,
            dropped_cache: 0,
        };
        state.root = state.add(Body::Directory(BTreeMap::new()), 1, 0);
        SimFiles {
            state: Arc::new(Mutex::new(state)),
            clock: clock.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self, tick_ms: u64) -> i64 {
        let ms = self.clock.ms() / tick_ms * tick_ms;
        (SimClock::WALL_START_S * 1_000_000_000 + ms * 1_000_000) as i64
    }

    fn touch(&self, state: &mut State, key: Key) {
        let now = self.now_ns(state.tick_ms);
        let node = state.nodes.get_mut(&key).unwrap();
        (node.modified_ns, node.changed_ns) = (now, now);
    }

    /// A name was given or taken.
    fn relink(&self, state: &mut State, key: Key) {
        let now = self.now_ns(state.tick_ms);
        state.nodes.get_mut(&key).unwrap().changed_ns = now;
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, path: impl AsRef<Path>) {
        let mut state = self.lock();
        let mut at = state.root;
        for part in path.as_ref().components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let found = state.entries(at).unwrap().get(name).copied();
            at = found.unwrap_or_else(|| {
                let now = self.now_ns(state.tick_ms);
                let device = state.device;
                let key = state.add(Body::Directory(BTreeMap::new()), device, now);
                state.entries(at).unwrap().insert(name.to_owned(), key);
                self.touch(&mut state, at);
                key
            });
        }
    }

    fn link_new(&self, path: &Path, body: Body) -> Key {
        let mut state = self.lock();
        let parent = state.parent(path).expect("the parent directory exists");
        let now = self.now_ns(state.tick_ms);
        let device = state.nodes[&parent].device;
        let key = state.add(body, device, now);
        let name = path.file_name().unwrap().to_owned();
        let before = state.entries(parent).unwrap().insert(name, key);
        assert!(before.is_none(), "{} exists already", path.display());
        self.touch(&mut state, parent);
        key
    }

    /// Makes an empty file (or opens an existing one) as a runtime does, to append to. Does not count as a handle.
    pub fn writer(&self, path: impl AsRef<Path>) -> SimHandle {
        let path = path.as_ref();
        let found = self.lock().find(path, true);
        let key = found.unwrap_or_else(|_| {
            self.link_new(
                path,
                Body::File {
                    data: BTreeMap::new(),
                    len: 0,
                },
            )
        });
        self.lock().nodes.get_mut(&key).unwrap().opens += 1;
        SimHandle {
            files: self.clone(),
            key,
            counted: false,
        }
    }

    /// Appends to a file, made if missing.
    pub fn append(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        self.writer(path).append(bytes.as_ref());
    }

    /// The whole content of a file, whatever faults it has.
    pub fn content(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let handle = self.writer(path);
        let fault = std::mem::take(&mut self.lock().nodes.get_mut(&handle.key).unwrap().read_fault);
        let mut bytes = vec![0; handle.meta().unwrap().len_bytes as usize];
        let count = handle.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        self.lock().nodes.get_mut(&handle.key).unwrap().read_fault = fault;
        bytes
    }

    /// truncate(2): shorter cuts, longer makes a hole.
    pub fn truncate(&self, path: impl AsRef<Path>, to: u64) {
        let mut state = self.lock();
        let key = state.find(path.as_ref(), true).unwrap();
        if let Body::File { data, len } = &mut state.nodes.get_mut(&key).unwrap().body {
            *len = to;
            data.retain(|offset, _| *offset < to);
            if let Some((offset, bytes)) = data.iter_mut().next_back() {
                bytes.truncate((to - offset) as usize);
            }
        }
        self.touch(&mut state, key);
    }

    /// rename(2).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut state = self.lock();
        let (source, target) = (state.parent(from).unwrap(), state.parent(to).unwrap());
        let key = state
            .entries(source)
            .unwrap()
            .remove(from.file_name().unwrap());
        let key = key.expect("there is something to rename");
        let name = to.file_name().unwrap().to_owned();
        let before = state.entries(target).unwrap().insert(name, key);
        if let Some(before) = before {
            state.nodes.get_mut(&before).unwrap().links -= 1;
            self.relink(&mut state, before);
            state.release(before);
        }
        self.relink(&mut state, key);
        self.touch(&mut state, source);
        self.touch(&mut state, target);
    }

    /// unlink(2).
    pub fn unlink(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let mut state = self.lock();
        let parent = state.parent(path).unwrap();
        let key = state
            .entries(parent)
            .unwrap()
            .remove(path.file_name().unwrap());
        let key = key.expect("there is something to unlink");
        state.nodes.get_mut(&key).unwrap().links -= 1;
        self.relink(&mut state, key);
        state.release(key);
        self.touch(&mut state, parent);
    }

    /// Removes a directory with all that is in it.
    pub fn remove_all(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        for entry in self.list(path).unwrap() {
            let child = path.join(&entry.name);
            match entry.kind {
                Kind::Directory => self.remove_all(child),
                _ => self.unlink(child),
            }
        }
        self.unlink(path);
    }

    /// Makes a symlink.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) {
        self.link_new(path.as_ref(), Body::Symlink(target.as_ref().to_owned()));
    }

    /// Makes a named pipe.
    pub fn pipe(&self, path: impl AsRef<Path>) {
        self.link_new(path.as_ref(), Body::Pipe);
    }

    /// The kubelet's compression: `X.tmp`, renamed to `X.gz`, then `X` is unlinked.
    pub fn gzip(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let with = |end: &str| PathBuf::from(format!("{}.{end}", path.display()));
        self.append(with("tmp"), gzipped(&self.content(path)));
        self.rename(with("tmp"), with("gz"));
        self.unlink(path);
    }

    /// Every operation on this very path fails with this code until it is given as `None`.
    pub fn fail(&self, path: impl AsRef<Path>, code: Option<i32>) {
        let path = path.as_ref().to_owned();
        let mut state = self.lock();
        match code {
            Some(code) => state.faults.insert(path, code),
            None => state.faults.remove(&path),
        };
    }

    /// Every read of this file fails, through any handle.
    pub fn fail_reads(&self, path: impl AsRef<Path>, code: Option<i32>) {
        let mut state = self.lock();
        let key = state.find(path.as_ref(), true).unwrap();
        state.nodes.get_mut(&key).unwrap().read_fault = code;
    }

    /// Takes what is at `path` away, as umount does: an empty directory of another file system is left, or, with
    /// `leave` false, nothing.
    pub fn unmount(&self, path: impl AsRef<Path>, leave: bool) {
        let path = path.as_ref();
        let mut state = self.lock();
        let parent = state.parent(path).unwrap();
        let name = path.file_name().unwrap().to_owned();
        let hidden = state.entries(parent).unwrap().remove(&name).unwrap();
        state.unmounted.insert(path.to_owned(), Some(hidden));
        if leave {
            let now = self.now_ns(state.tick_ms);
            let key = state.add(Body::Directory(BTreeMap::new()), 99, now);
            state.entries(parent).unwrap().insert(name, key);
        }
    }

    /// Brings back what [`Self::unmount`] took away.
    pub fn mount(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let mut state = self.lock();
        let hidden = state.unmounted.remove(path).flatten().unwrap();
        let parent = state.parent(path).unwrap();
        let name = path.file_name().unwrap().to_owned();
        state.entries(parent).unwrap().insert(name, hidden);
    }

    /// All of `path` gets new device and inode numbers, as after a reboot or on another mount. Open handles stay
    /// with what they opened.
    pub fn renumber(&self, path: impl AsRef<Path>) {
        let mut state = self.lock();
        state.device += 1;
        let device = state.device;
        // Another allocation order: the numbers of before mean other files now.
        let key = state.find(path.as_ref(), false).unwrap();
        let copy = Self::copy(&mut state, key, device);
        let parent = state.parent(path.as_ref()).unwrap();
        let name = path.as_ref().file_name().unwrap().to_owned();
        state.entries(parent).unwrap().insert(name, copy);
    }

    fn copy(state: &mut State, key: Key, device: u64) -> Key {
        let body = match &state.nodes[&key].body {
            Body::File { data, len } => Body::File {
                data: data.clone(),
                len: *len,
            },
            Body::Symlink(target) => Body::Symlink(target.clone()),
            Body::Pipe => Body::Pipe,
            Body::Directory(entries) => {
                let mut copies = BTreeMap::new();
                for (name, child) in entries.clone().into_iter().rev() {
                    copies.insert(name, Self::copy(state, child, device));
                }
                Body::Directory(copies)
            }
        };
        let modified_ns = state.nodes[&key].modified_ns;
        state.add(body, device, modified_ns)
    }

    /// At most this many handles from now on; opening more fails with EMFILE.
    pub fn limit_handles(&self, max: usize) {
        self.lock().handles_max = max;
    }

    /// Handles open now.
    pub fn handles(&self) -> usize {
        self.lock().handles
    }

    /// The most handles that were ever open at once.
    pub fn handles_most(&self) -> usize {
        self.lock().handles_most
    }

    /// How often a file was opened.
    pub fn opened(&self) -> u64 {
        self.lock().opened
    }

    /// How often a name or a handle was looked at, a directory listed, or a file opened.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// How often a page cache was dropped.
    pub fn dropped_cache(&self) -> u64 {
        self.lock().dropped_cache
    }
}

/// A gzip file with this content.
pub fn gzipped(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

impl Files for SimFiles {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.lock();
        state.calls += 1;
        state.check(directory)?;
        let key = state.find(directory, true)?;
        let entries = state.entries(key)?.clone();
        Ok(entries
            .into_iter()
            .map(|(name, key)| Entry {
                name,
                kind: kind(&state.nodes[&key].body),
            })
            .collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        let mut state = self.lock();
        state.calls += 1;
        state.check(path)?;
        let key = state.find(path, false)?;
        Ok(state.meta(key))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let mut state = self.lock();
        state.check(path)?;
        let key = state.find(path, false)?;
        match &state.nodes[&key].body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(errno(libc::EINVAL)),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        let mut state = self.lock();
        state.calls += 1;
        state.check(path)?;
        let key = state.find(path, false)?;
        match kind(&state.nodes[&key].body) {
            Kind::File => {}
            Kind::Symlink => return Err(errno(libc::ELOOP)),
            Kind::Directory | Kind::Other => return Err(errno(libc::EINVAL)),
        }
        if state.handles >= state.handles_max {
            return Err(errno(libc::EMFILE));
        }
        state.handles += 1;
        state.opened += 1;
        state.handles_most = state.handles_most.max(state.handles);
        state.nodes.get_mut(&key).unwrap().opens += 1;
        Ok(Arc::new(SimHandle {
            files: self.clone(),
            key,
            counted: true,
        }))
    }
}

impl SimHandle {
    /// Every read of this file fails, through any handle, whatever names it has.
    pub fn fail_reads(&self, code: Option<i32>) {
        self.files
            .lock()
            .nodes
            .get_mut(&self.key)
            .unwrap()
            .read_fault = code;
    }

    /// Appends, as O_APPEND does.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = self.files.lock();
        let Body::File { data, len } = &mut state.nodes.get_mut(&self.key).unwrap().body else {
            panic!("not a file")
        };
        match data.iter_mut().next_back() {
            Some((offset, last)) if offset + last.len() as u64 == *len => {
                last.extend_from_slice(bytes);
            }
            _ => {
                data.insert(*len, bytes.to_vec());
            }
        }
        *len += bytes.len() as u64;
        self.files.touch(&mut state, self.key);
    }
}

impl FileHandle for SimHandle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.files.lock();
        let node = &state.nodes[&self.key];
        if let Some(code) = node.read_fault {
            return Err(errno(code));
        }
        let Body::File { data, len } = &node.body else {
            return Err(errno(libc::EINVAL));
        };
        let count = len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..count];
        buffer.fill(0);
        for (start, bytes) in data.range(..offset + count as u64) {
            let from = (*start).max(offset);
            let to = (start + bytes.len() as u64).min(offset + count as u64);
            if from < to {
                let source = &bytes[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(count)
    }

    fn meta(&self) -> io::Result<Meta> {
        let mut state = self.files.lock();
        state.calls += 1;
        Ok(state.meta(self.key))
    }

    fn drop_cache(&self) {
        self.files.lock().dropped_cache += 1;
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        let mut state = self.files.lock();
        state.handles -= usize::from(self.counted);
        state.nodes.get_mut(&self.key).unwrap().opens -= 1;
        state.release(self.key);
    }
}
