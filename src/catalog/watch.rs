//! The catalog's thread: steps it when something is due, and sooner when inotify says that a pod or a container
//! has come or gone.
//!
//! Only the root and the pod directories are watched: in a directory that holds logs every write would be an event.
//! When watches cannot be had (the limits `max_user_instances` and `max_user_watches`), polling alone does it.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Catalog, WatchChange};
use crate::clock::Clock;

/// Paths that have been reported and not been looked at yet.
#[derive(Default)]
struct Inbox {
    paths: HashSet<PathBuf>,
    overflown: bool,
}

impl Inbox {
    /// Beyond this everything is looked at, which costs less than remembering more.
    const PATHS_MAX: usize = 4_096;

    fn take_in(&mut self, event: notify::Result<Event>) -> bool {
        match event {
            // Reading a directory is an event too: our own.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return false,
            Ok(event) if event.need_rescan() => self.overflown = true,
            Ok(event) => self.paths.extend(event.paths),
            Err(_) => self.overflown = true,
        }
        if self.paths.len() > Inbox::PATHS_MAX {
            self.paths.clear();
            self.overflown = true;
        }
        true
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Wakes the thread before something is due.
    pub fn wake(&self) {
        self.thread.thread().unpark();
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

/// Runs the catalog on a thread of its own until it is stopped.
pub fn spawn(catalog: Catalog, clock: Arc<dyn Clock>) -> io::Result<Running> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("catalog".to_owned())
        .spawn(move || run(catalog, clock.as_ref(), &stopped))?;
    Ok(Running { stop, thread })
}

/// Runs the catalog on this thread until `stop` is set (and the thread unparked).
pub fn run(mut catalog: Catalog, clock: &dyn Clock, stop: &AtomicBool) {
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    let mut watcher = start(&inbox, thread::current());
    while !stop.load(Ordering::Acquire) {
        let waiting = {
            let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *inbox)
        };
        if waiting.overflown {
            catalog.hint_all();
        }
        for path in &waiting.paths {
            catalog.hint(path);
        }
        let due = catalog.step(clock.now());
        let wishes = catalog.take_watch_changes();
        if !wishes.is_empty() {
            for wish in wishes {
                fulfil(&mut catalog, watcher.as_mut(), wish);
            }
            continue;
        }
        let wait = due.since(clock.now());
        if !wait.is_zero() {
            thread::park_timeout(wait);
        }
    }
}

fn start(inbox: &Arc<Mutex<Inbox>>, thread: Thread) -> Option<RecommendedWatcher> {
    let inbox = Arc::clone(inbox);
    let watcher = notify::recommended_watcher(move |event| {
        let news = inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_in(event);
        if news {
            thread.unpark();
        }
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "could not start watching directories: polling instead; raise fs.inotify.max_user_instances");
            None
        }
    }
}

fn fulfil(catalog: &mut Catalog, watcher: Option<&mut RecommendedWatcher>, wish: WatchChange) {
    match (wish, watcher) {
        (WatchChange::Add(path), Some(watcher)) => {
            let watched = watcher.watch(&path, RecursiveMode::NonRecursive);
            catalog.set_watched(&path, watched.is_ok());
        }
        (WatchChange::Remove(path), Some(watcher)) => {
            // It is usually gone with its directory.
            let _gone: notify::Result<()> = watcher.unwatch(&path);
        }
        (_, None) => {}
    }
}
