//! The catalog's thread: steps it when something is due, and sooner when inotify says that a pod or a container has
//! come or gone, or that a log at rest is written to again.
//!
//! Of directories only the root and those of pods are watched: in one that holds logs every write would be an event. Of
//! files only those at rest, each for one event, however much is written then. When watches cannot be had (the limits
//! `max_user_instances` and `max_user_watches`), polling alone does it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Catalog, WatchChange};
use crate::clock::{Clock, Time};
use crate::waker::Waker;

/// The running thread.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    alarm: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Wakes the thread before something is due.
    pub fn wake(&self) {
        ring(&self.alarm);
    }

    /// [`Running::wake`] for others.
    pub fn waker(&self) -> Waker {
        let alarm = Arc::clone(&self.alarm);
        Waker::new(move || ring(&alarm))
    }

    /// Stops the thread and waits for its end.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        if self.thread.join().is_err() {
            tracing::error!("the catalog's thread ended by a panic");
        }
    }
}

fn ring(alarm: &OwnedFd) {
    // It fails only if it rings already.
    let _rings: rustix::io::Result<usize> = rustix::io::write(alarm, &1_u64.to_ne_bytes());
}

/// Runs the catalog on a thread of its own until it is stopped.
pub fn spawn(catalog: Catalog, clock: Arc<dyn Clock>) -> io::Result<Running> {
    let alarm = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (its_alarm, stopped) = (Arc::clone(&alarm), Arc::clone(&stop));
    let thread = thread::Builder::new()
        .name("catalog".to_owned())
        .spawn(move || run(catalog, clock.as_ref(), &stopped, &its_alarm))?;
    Ok(Running {
        stop,
        alarm,
        thread,
    })
}

fn run(mut catalog: Catalog, clock: &dyn Clock, stop: &AtomicBool, alarm: &OwnedFd) {
    let mut watcher = Watcher::start();
    while !stop.load(Ordering::Acquire) {
        let stepped_at = clock.now();
        let due = catalog.step(stepped_at);
        let wishes = catalog.take_watch_changes();
        if !wishes.is_empty() {
            for wish in wishes {
                fulfil(&mut catalog, watcher.as_mut(), wish);
            }
            continue;
        }
        let slept_at = clock.now();
        wait(due.since(slept_at), alarm, watcher.as_ref());
        if let Some(watcher) = &mut watcher {
            // What happened before the sleep ended it at once.
            let woken_at = clock.now();
            let at_once = woken_at.since(slept_at) < AT_ONCE;
            watcher.tell(&mut catalog, if at_once { stepped_at } else { woken_at });
        }
    }
}

/// A sleep that was shorter was none.
const AT_ONCE: Duration = Duration::from_millis(5);

/// Sleeps until the time is over, or something has happened.
fn wait(most: Duration, alarm: &OwnedFd, watcher: Option<&Watcher>) {
    const LONGEST: Duration = Duration::from_secs(3_600);
    let most = most.min(LONGEST);
    let timeout = Timespec {
        tv_sec: most.as_secs() as i64,
        tv_nsec: most.subsec_nanos().into(),
    };
    let alarm_at = PollFd::new(alarm, PollFlags::IN);
    let woken = match watcher {
        Some(watcher) => {
            let events_at = PollFd::new(&watcher.inotify, PollFlags::IN);
            poll(&mut [events_at, alarm_at], Some(&timeout))
        }
        None => poll(&mut [alarm_at], Some(&timeout)),
    };
    if woken.is_ok_and(|count| count > 0) {
        // Silences the alarm, if it was that.
        let _silent: rustix::io::Result<usize> = rustix::io::read(alarm, &mut [0_u8; 8]);
    }
}

/// What a watch is for.
enum Watched {
    /// To hear which names come and go.
    Directory(PathBuf),
    /// To hear once that something happens to a file of this container directory.
    File(u64),
}

impl Watched {
    /// How many of the watches for files it is.
    fn files(&self) -> usize {
        usize::from(matches!(self, Watched::File(_)))
    }
}

/// An inotify instance and what its watches are for.
struct Watcher {
    inotify: OwnedFd,
    watched: HashMap<i32, Watched>,
    /// How many of them are files.
    files: usize,
    /// At most so many.
    files_max: usize,
}

/// A quarter of what all processes of this user may watch together, see inotify(7): the kubelet is one of them.
fn files_max() -> usize {
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    let most = most.ok().and_then(|text| text.trim().parse().ok());
    most.map_or(0, |most: usize| most / 4)
}

impl Watcher {
    fn start() -> Option<Watcher> {
        match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(inotify) => Some(Watcher {
                inotify,
                watched: HashMap::new(),
                files: 0,
                files_max: files_max(),
            }),
            Err(error) => {
                tracing::warn!(%error, "could not start watching directories: polling instead; raise fs.inotify.max_user_instances");
                None
            }
        }
    }

    fn add(&mut self, path: &Path, watched: Watched) -> bool {
        if matches!(watched, Watched::File(_)) && self.files >= self.files_max {
            return false;
        }
        let flags = match watched {
            Watched::Directory(_) => {
                WatchFlags::CREATE
                    | WatchFlags::DELETE
                    | WatchFlags::MOVE
                    | WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::ONLYDIR
            }
            // The number of its names is an attribute.
            Watched::File(_) => {
                WatchFlags::MODIFY
                    | WatchFlags::ATTRIB
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::ONESHOT
                    | WatchFlags::DONT_FOLLOW
            }
        };
        let added = inotify::add_watch(&self.inotify, path, flags);
        if let Ok(number) = added {
            self.files += watched.files();
            let before = self.watched.insert(number, watched);
            self.files -= before.map_or(0, |before| before.files());
        }
        added.is_ok()
    }

    /// Stops watching a directory.
    fn remove(&mut self, path: &Path) {
        let is_it = |watched: &Watched| matches!(watched, Watched::Directory(own) if own == path);
        let found = self.watched.iter().find(|(_, watched)| is_it(watched));
        if let Some(number) = found.map(|(number, _)| *number) {
            self.watched.remove(&number);
            // It is usually gone with its directory.
            let _gone: rustix::io::Result<()> = inotify::remove_watch(&self.inotify, number);
        }
    }

    /// Tells the catalog what has happened since the last call, which was not before `since`.
    fn tell(&mut self, catalog: &mut Catalog, since: Time) {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        // Until there is none left.
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                catalog.hint_all();
                continue;
            }
            match self.watched.get(&event.wd()) {
                Some(Watched::File(container)) => catalog.rouse(*container, since),
                Some(Watched::Directory(path)) => match event.file_name() {
                    Some(name) => catalog.hint(&path.join(OsStr::from_bytes(name.to_bytes()))),
                    None => catalog.hint(path),
                },
                None => {}
            }
            if event.events().contains(ReadFlags::IGNORED) {
                let ended = self.watched.remove(&event.wd());
                self.files -= ended.map_or(0, |ended| ended.files());
            }
        }
    }
}

fn fulfil(catalog: &mut Catalog, watcher: Option<&mut Watcher>, wish: WatchChange) {
    match (wish, watcher) {
        (WatchChange::Add(path), Some(watcher)) => {
            let watched = watcher.add(&path, Watched::Directory(path.clone()));
            catalog.set_watched(&path, watched);
        }
        (WatchChange::Remove(path), Some(watcher)) => watcher.remove(&path),
        (WatchChange::Await { file, container }, Some(watcher)) => {
            if watcher.add(&file, Watched::File(container)) {
                catalog.set_awaited(container);
            } else {
                catalog.watch_failed();
            }
        }
        (_, None) => {}
    }
}
