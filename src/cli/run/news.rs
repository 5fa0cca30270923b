//! What a running agent is told from outside: signals, and that its config file may have changed.
//!
//! The kubelet changes a mounted ConfigMap by renaming a link `..data` beside the file, editors by renaming a file, others
//! by writing into it: so the directory is watched for names, and for files that are closed after writing. A slow poll
//! finds what no event tells of (inotify at its limits, a file system without it).

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How often the file is read whatever the watch says.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// What follows an event within this time belongs to the same change.
const CALM: Duration = Duration::from_millis(200);

/// One piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// SIGTERM or SIGINT.
    Stop,
    /// The config file may have changed; or SIGHUP.
    Look,
}

/// Where news come from, heard from the moment this is made: also while the agent starts.
pub(super) struct Listener {
    runtime: Runtime,
    ears: Ears,
}

struct Ears {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    bell: Arc<Notify>,
    has_file: bool,
}

impl Listener {
    /// Listens to signals, and to changes beside the config `file` if there is one.
    pub(super) fn start(file: Option<&Path>) -> io::Result<Listener> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let ears = Ears {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            bell: Arc::default(),
            has_file: file.is_some(),
        };
        drop(entered);
        if let Some(file) = file {
            watch(file, &ears.bell);
        }
        Ok(Listener { runtime, ears })
    }

    /// Waits for the next piece.
    pub(super) fn wait(&mut self) -> News {
        let Listener { runtime, ears } = self;
        runtime.block_on(ears.next())
    }
}

impl Ears {
    async fn next(&mut self) -> News {
        tokio::select! {
            _ = self.terminate.recv() => News::Stop,
            _ = self.interrupt.recv() => News::Stop,
            _ = self.hang_up.recv() => News::Look,
            () = changed(&self.bell) => News::Look,
            () = sleep(POLL_INTERVAL), if self.has_file => News::Look,
        }
    }
}

/// Has `bell` rung whenever something changes beside `file`; where that cannot be had the file is polled.
fn watch(file: &Path, bell: &Arc<Notify>) {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let watched = inotify::init(CreateFlags::CLOEXEC).and_then(|watch| {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&watch, directory, flags)?;
        Ok(watch)
    });
    let (bell, name) = (Arc::clone(bell), file.file_name().map(OsStr::to_owned));
    let listening = watched.map_err(io::Error::from).and_then(|watch| {
        // It waits in the kernel for as long as the process lives.
        std::thread::Builder::new()
            .name("config".to_owned())
            .spawn(move || ring_for_each(&watch, name.as_deref(), &bell))
    });
    if let Err(error) = listening {
        tracing::warn!(%error, directory = %directory.display(), "could not watch the config's directory: reading it every 30 s instead");
    }
}

/// Others may be busy beside the file: only its own name and the kubelet's links count.
fn ring_for_each(watch: &OwnedFd, name: Option<&OsStr>, bell: &Notify) {
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let mut events = Reader::new(watch, &mut buffer);
    loop {
        match events.next() {
            Ok(event) => {
                let changed = event.file_name().map(CStr::to_bytes).unwrap_or_default();
                let is_own = name.is_some_and(|name| name.as_bytes() == changed);
                if is_own || changed.starts_with(b"..") {
                    bell.notify_one();
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Ends when something has changed and nothing more does.
async fn changed(bell: &Notify) {
    bell.notified().await;
    while timeout(CALM, bell.notified()).await.is_ok() {}
}
