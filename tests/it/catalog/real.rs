//! The same on a real file system, with a real watcher.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use longshore::catalog::watch;
use longshore::clock::SystemClock;
use longshore::files::NodeFiles;

use super::*;

/// Waits until something is so; fails after far longer than it may take.
fn until(what: &str, so: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !so() {
        assert!(clock.now().as_ms() < 30_000, "not in 30 s: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether an inotify instance of this process watches the file, see proc_pid_fdinfo(5).
fn watched(inode: u64) -> bool {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = infos
        .flatten()
        .flat_map(|info| fs::read_to_string(info.path()));
    let mark = format!(" ino:{inode:x} ");
    texts.into_iter().any(|text| {
        let mut lines = text.lines();
        lines.any(|line| line.starts_with("inotify ") && line.contains(&mark))
    })
}

/// The next chain that is introduced.
fn introduced(feed: &Feed) -> Arc<Chain> {
    let found = std::cell::RefCell::new(None);
    until("the chain is introduced", || {
        let mut events = Vec::new();
        feed.drain(&mut events);
        for event in events {
            if let Event::Added { chain, .. } = event {
                *found.borrow_mut() = Some(chain);
            }
        }
        found.borrow().is_some()
    });
    found.take().unwrap()
}

#[test]
fn real_files_and_a_real_watcher() {
    let node = tempfile::tempdir().unwrap();
    let at = |path: &str| -> PathBuf { node.path().join(path.trim_start_matches('/')) };
    fs::create_dir_all(at("pods")).unwrap();
    fs::create_dir_all(at("links")).unwrap();
    let logs = Logs {
        pod_logs: at("pods"),
        container_links: at("links"),
        ..Logs::default()
    };
    let shard = Shard {
        sink: 0,
        worker: 0,
        workers: 1,
    };
    let feed = Arc::new(Feed::new(shard, 0, Waker::none()));
    let clock = Arc::new(SystemClock::new());
    let feeds = vec![Arc::clone(&feed)];
    let catalog = Catalog::new(&logs, Arc::new(NodeFiles), clock.clone(), 1, feeds, None);
    let stats = catalog.stats();
    let running = watch::spawn(catalog, clock).unwrap();
    until("the root is scanned", || stats.scans.get() > 0);

    let directory = at("pods/default_web-1_uid-1/main");
    fs::create_dir_all(&directory).unwrap();
    let log = directory.join("0.log");
    fs::write(&log, lines(0..10)).unwrap();
    let id = "0f".repeat(32);
    symlink(&log, at(&format!("links/web-1_default_main-{id}.log"))).unwrap();
    let chain = introduced(&feed);
    let sum = || -> u64 {
        let segments = chain.segments();
        segments.iter().map(|segment| segment.len_bytes()).sum()
    };
    until("the first lines are seen", || {
        sum() == lines(0..10).len() as u64
    });
    until("the container id is known", || {
        chain.meta().container_id == id
    });

    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&log).unwrap());
    until("the log at rest is watched", || watched(inode));
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut file, lines(20..21).as_bytes()).unwrap();
    until("what it grew by is seen", || {
        sum() == (lines(0..10) + &lines(20..21)).len() as u64
    });

    let rotated = directory.join("0.log.20240101-000001");
    fs::rename(&log, &rotated).unwrap();
    fs::write(&log, lines(10..20)).unwrap();
    until("both segments are seen", || {
        sum() == (lines(0..20) + &lines(20..21)).len() as u64
    });
    let packed = rotated.with_file_name("0.log.20240101-000001.gz");
    fs::write(&packed, gzipped((lines(0..10) + &lines(20..21)).as_bytes())).unwrap();
    fs::remove_file(&rotated).unwrap();
    until("the first has ended", || chain.segments()[0].ended());
    fs::remove_dir_all(at("pods/default_web-1_uid-1")).unwrap();
    until("the chain has ended", || chain.ended());
    assert_eq!(chain.segments().len(), 2, "held, though deleted");
    assert_eq!(sum(), (lines(0..20) + &lines(20..21)).len() as u64);
    running.stop();
}
