//! statvfs(3) on a thread of its own, with a deadline: of a network file system whose server is away it does not return.
//!
//! Invariants: who asks waits for at most the deadline; a path that did not answer in time is not asked again before it
//! has; its thread is never used again; at most [`STUCK_MAX`] threads are stuck at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfs, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// Most paths that may be stuck; with more of them, those that are left are not asked.
pub const STUCK_MAX: usize = 8;

/// Once one path was late in a sample, the others of that sample get this share of the deadline.
const PATIENCE_LEFT: u32 = 10;

/// A file system, as it is found at a path.
pub struct Found {
    /// Its capacity.
    pub capacity: StatVfs,
    /// Its major and minor number.
    pub number: (u32, u32),
    /// Whether something is mounted at the path itself; `None`: this kernel does not say (before 5.8).
    pub is_mount: Option<bool>,
}

/// What came of asking.
pub enum Answer {
    /// What there is.
    Found(Found),
    /// It cannot be asked.
    Error(Errno),
    /// It has not answered, now or at an earlier time.
    Stuck,
    /// Too many others are stuck, or there could be no thread.
    NotAsked,
}

type Ask = fn(&Path) -> Reply;
type Reply = Result<Found, Errno>;

/// Asks, one path after the other.
pub struct Prober {
    ask: Ask,
    deadline: Duration,
    late: bool,
    worker: Option<Worker>,
    stuck: HashMap<PathBuf, Receiver<Reply>>,
}

struct Worker {
    requests: SyncSender<PathBuf>,
    replies: Receiver<Reply>,
}

impl Prober {
    /// With a deadline for each path.
    pub fn new(deadline: Duration) -> Prober {
        Prober::asking(find, deadline)
    }

    fn asking(ask: Ask, deadline: Duration) -> Prober {
        Prober {
            ask,
            deadline,
            late: false,
            worker: None,
            stuck: HashMap::new(),
        }
    }

    /// Begins a sample: threads whose paths have answered since are over.
    pub fn begin(&mut self) {
        self.late = false;
        let waits =
            |replies: &Receiver<Reply>| matches!(replies.try_recv(), Err(TryRecvError::Empty));
        self.stuck.retain(|_, replies| waits(replies));
    }

    /// Asks one path.
    pub fn ask(&mut self, path: &Path) -> Answer {
        if self.stuck.contains_key(path) {
            return Answer::Stuck;
        }
        if self.stuck.len() >= STUCK_MAX {
            return Answer::NotAsked;
        }
        let Some(worker) = self.worker.take().or_else(|| Worker::start(self.ask)) else {
            return Answer::NotAsked;
        };
        if worker.requests.send(path.to_owned()).is_err() {
            return Answer::NotAsked;
        }
        let patience = if self.late {
            self.deadline / PATIENCE_LEFT
        } else {
            self.deadline
        };
        match worker.replies.recv_timeout(patience) {
            Ok(reply) => {
                self.worker = Some(worker);
                match reply {
                    Ok(found) => Answer::Found(found),
                    Err(error) => Answer::Error(error),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late = true;
                // Without its sender the thread ends when the path answers.
                self.stuck.insert(path.to_owned(), worker.replies);
                Answer::Stuck
            }
            Err(RecvTimeoutError::Disconnected) => Answer::NotAsked,
        }
    }
}

/// Asks the kernel, all of one and the same file system.
fn find(path: &Path) -> Reply {
    let here = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // What is known will do: no question to a server.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let (number, is_mount) = match rustix::fs::statx(&here, "", flags, StatxFlags::empty()) {
        Ok(stat) => {
            let is_known = stat
                .stx_attributes_mask
                .contains(StatxAttributes::MOUNT_ROOT);
            let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
            let number = (stat.stx_dev_major, stat.stx_dev_minor);
            (number, is_known.then_some(is_mount))
        }
        // A kernel before 4.11, or a filter of system calls.
        Err(_) => {
            let device = rustix::fs::fstat(&here)?.st_dev;
            let number = (rustix::fs::major(device), rustix::fs::minor(device));
            (number, None)
        }
    };
    Ok(Found {
        capacity: rustix::fs::fstatvfs(&here)?,
        number,
        is_mount,
    })
}

impl Worker {
    fn start(ask: Ask) -> Option<Worker> {
        let (requests, to_ask) = sync_channel::<PathBuf>(1);
        let (reply, replies) = sync_channel::<Reply>(1);
        let thread = std::thread::Builder::new()
            .name("statvfs".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                for path in to_ask {
                    if reply.send(ask(&path)).is_err() {
                        break;
                    }
                }
            });
        thread.is_ok().then_some(Worker { requests, replies })
    }
}

/// The name of an error that a mount point can give, as in errno(3).
pub fn name(error: Errno) -> String {
    let known = [
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::IO, "EIO"),
        (Errno::STALE, "ESTALE"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::OVERFLOW, "EOVERFLOW"),
    ];
    let found = known.iter().find(|(errno, _)| *errno == error);
    found.map_or_else(
        || error.raw_os_error().to_string(),
        |(_, name)| (*name).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Shut: paths that are called `hung` wait.
    static SERVER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn ask(path: &Path) -> Reply {
        if path.to_string_lossy().contains("hung") {
            let (open, changed) = &SERVER;
            let _open = changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap();
        }
        find(Path::new("/"))
    }

    #[test]
    fn a_hung_mount_is_marked_and_left_alone_until_it_answers() {
        let mut prober = Prober::asking(ask, Duration::from_millis(20));
        for number in 0..STUCK_MAX {
            let answer = prober.ask(Path::new(&format!("/hung{number}")));
            assert!(matches!(answer, Answer::Stuck), "{number}");
            if number + 1 < STUCK_MAX {
                // Those that can be asked are, on another thread; with time, for the machine may be busy.
                prober.late = false;
                prober.deadline = Duration::from_secs(60);
                assert!(matches!(prober.ask(Path::new("/")), Answer::Found(_)));
                prober.deadline = Duration::from_millis(20);
            }
        }
        prober.begin();
        assert_eq!(prober.stuck.len(), STUCK_MAX);
        assert!(matches!(prober.ask(Path::new("/hung0")), Answer::Stuck));
        assert!(matches!(prober.ask(Path::new("/")), Answer::NotAsked));

        *SERVER.0.lock().unwrap() = true;
        SERVER.1.notify_all();
        while !prober.stuck.is_empty() {
            prober.begin();
            std::thread::yield_now();
        }
        prober.deadline = Duration::from_secs(60);
        assert!(matches!(prober.ask(Path::new("/hung0")), Answer::Found(_)));
    }

    #[test]
    fn errors_have_their_names() {
        let mut prober = Prober::new(Duration::from_secs(60));
        let Answer::Error(error) = prober.ask(Path::new("/nowhere/at/all")) else {
            panic!("it is somewhere");
        };
        assert_eq!(name(error), "ENOENT");
        assert_eq!(name(Errno::XDEV), Errno::XDEV.raw_os_error().to_string());
    }
}
