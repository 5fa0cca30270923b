//! The file sink on real directories.

// Helpers of tests: clippy.toml exempts only the test functions themselves.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use longshore::clock::{Clock, Time};
use longshore::config::FileSink;
use longshore::sink::file::{FileTransport, Framing, StartError, files};
use longshore::sink::{Attempt, Transport, Verdict};
use longshore::waker::Waker;
use tempfile::TempDir;

const FRAMINGS: [Framing; 3] = [Framing::Gzip, Framing::Zstd, Framing::Lines];

fn suffix(framing: Framing) -> &'static str {
    match framing {
        Framing::Gzip => "ndjson.gz",
        Framing::Zstd => "ndjson.zst",
        Framing::Lines => "ndjson",
    }
}

/// A clock that stands still until it is told.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Time {
        Time::from_ms(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

/// One transport and the worker that waits for it.
struct Rig {
    transport: FileTransport,
    woken: Receiver<()>,
    next_id: u64,
}

fn waker() -> (Waker, Receiver<()>) {
    let (wake, woken) = channel();
    let wake = Mutex::new(wake);
    let waker = Waker::new(move || {
        let _gone = wake.lock().expect("waker").send(());
    });
    (waker, woken)
}

impl Rig {
    fn start(
        config: &FileSink,
        framing: Framing,
        clock: Arc<dyn Clock>,
    ) -> Result<Rig, StartError> {
        let (waker, woken) = waker();
        let suffix = suffix(framing);
        let transport = FileTransport::start("test", config, suffix, framing, clock, waker)?;
        Ok(Rig {
            transport,
            woken,
            next_id: 0,
        })
    }

    fn submit(&mut self, body: impl Into<Bytes>) -> Result<(), Attempt> {
        let body = body.into();
        let attempt = Attempt {
            id: self.next_id,
            uncompressed_bytes: body.len() as u64,
            body,
            records: 1,
        };
        self.transport.try_submit(attempt)?;
        self.next_id += 1;
        Ok(())
    }

    fn verdict(&mut self) -> (u64, Verdict) {
        self.woken.recv().expect("a verdict wakes");
        self.transport.poll_verdict().expect("it is there")
    }

    fn put(&mut self, body: impl Into<Bytes>) -> Verdict {
        self.submit(body).expect("nothing waits");
        let (id, verdict) = self.verdict();
        assert_eq!(id, self.next_id - 1);
        verdict
    }
}

fn config(directory: &Path) -> FileSink {
    FileSink {
        directory: directory.to_owned(),
        roll_bytes: 1 << 20,
        roll_interval_ms: 60_000,
        total_bytes_max: 1 << 30,
    }
}

fn start(config: &FileSink, framing: Framing) -> Rig {
    Rig::start(config, framing, Arc::<HandClock>::default()).expect("start")
}

/// In memory where that can be had: thousands of syncs need no spindle.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("temporary directory")
}

fn frame(framing: Framing, text: &str) -> Vec<u8> {
    match framing {
        Framing::Lines => text.as_bytes().to_vec(),
        Framing::Zstd => zstd::encode_all(text.as_bytes(), 1).expect("memory"),
        Framing::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text.as_bytes()).expect("memory");
            encoder.finish().expect("memory")
        }
    }
}

/// All rows in a directory, in order; fails on anything that is not whole.
fn rows(directory: &Path, framing: Framing) -> String {
    let mut text = String::new();
    for path in files(directory).expect("listable") {
        let content = std::fs::read(path).expect("readable");
        match framing {
            Framing::Lines => text.push_str(std::str::from_utf8(&content).expect("text")),
            Framing::Zstd => {
                let rows = zstd::decode_all(content.as_slice()).expect("whole frames");
                text.push_str(std::str::from_utf8(&rows).expect("text"));
            }
            Framing::Gzip => {
                let mut decoder = flate2::read::MultiGzDecoder::new(content.as_slice());
                decoder.read_to_string(&mut text).expect("whole members");
            }
        }
    }
    text
}

fn names(directory: &Path) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().expect("a file").to_string_lossy().into();
    let paths = files(directory).expect("listable");
    paths.into_iter().map(name).collect()
}

/// A process that dies leaves a beginning of what it wrote: whatever its length, the next instance keeps exactly the
/// whole members, frames or lines in it, and goes on behind them in the same file.
#[test]
fn a_restart_keeps_what_is_whole_whatever_the_cut() {
    let texts = ["{\"row\":1}\n", "{\"row\":22}\n", "{\"row\":333}\n"];
    for framing in FRAMINGS {
        let home = directory();
        let mut rig = start(&config(home.path()), framing);
        let mut ends = Vec::new();
        for text in texts {
            assert_eq!(rig.put(frame(framing, text)), Verdict::Accepted);
            let open = files(home.path()).expect("listable").remove(0);
            ends.push(std::fs::metadata(open).expect("there").len() as usize);
        }
        drop(rig);
        let open = files(home.path()).expect("listable").remove(0);
        let written = std::fs::read(&open).expect("readable");
        assert_eq!(Some(&written.len()), ends.last());
        for cut in 0..=written.len() {
            let copy = directory();
            let name = open.file_name().expect("a file");
            std::fs::write(copy.path().join(name), &written[..cut]).expect("copy");
            let mut rig = start(&config(copy.path()), framing);
            assert_eq!(rig.put(frame(framing, "{\"row\":4}\n")), Verdict::Accepted);
            drop(rig);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let expected = texts[..whole].concat() + "{\"row\":4}\n";
            assert_eq!(rows(copy.path(), framing), expected, "{framing:?} {cut}");
            assert_eq!(names(copy.path()).len(), 1, "{framing:?} {cut}");
        }
    }
}

#[test]
fn a_leftover_of_another_format_is_cut_by_its_own_rules_and_finished() {
    let home = directory();
    let mut rig = start(&config(home.path()), Framing::Gzip);
    assert_eq!(rig.put(frame(Framing::Gzip, "old\n")), Verdict::Accepted);
    drop(rig);
    let open = files(home.path()).expect("listable").remove(0);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(open)
        .expect("there");
    let torn = frame(Framing::Gzip, "torn\n");
    file.write_all(&torn[..torn.len() - 3]).expect("append");
    let mut rig = start(&config(home.path()), Framing::Lines);
    assert_eq!(rig.put("new\n"), Verdict::Accepted);
    let names = names(home.path());
    assert!(names[0].ends_with("-0000000001.ndjson.gz"), "{names:?}");
    assert!(names[1].ends_with("-0000000002.ndjson.open"), "{names:?}");
    let cut = rig.transport.stats().bytes_cut.load(Ordering::Relaxed);
    assert_eq!(cut, torn.len() as u64 - 3);
}

#[test]
fn what_a_torn_write_does_not_explain_is_set_aside_uncut() {
    let home = directory();
    let name = "20240101T000000Z-0000000007.ndjson.gz.open";
    let mut content = frame(Framing::Gzip, "good\n");
    content.extend_from_slice(b"this is no gzip member");
    std::fs::write(home.path().join(name), &content).expect("write");
    let mut rig = start(&config(home.path()), Framing::Gzip);
    assert_eq!(rig.put(frame(Framing::Gzip, "new\n")), Verdict::Accepted);
    let aside = home
        .path()
        .join("20240101T000000Z-0000000007.ndjson.gz.damaged");
    assert_eq!(std::fs::read(aside).expect("kept"), content);
    assert_eq!(rows(home.path(), Framing::Gzip), "new\n");
    let damaged = &rig.transport.stats().files_damaged;
    assert_eq!(damaged.load(Ordering::Relaxed), 1);
}

#[test]
fn size_and_age_roll_a_file() {
    let home = directory();
    let config = FileSink {
        roll_bytes: 30,
        ..config(home.path())
    };
    let clock = Arc::<HandClock>::default();
    let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let mut rig = Rig::start(&config, Framing::Lines, as_clock).expect("start");
    for row in 0..4 {
        // 12 bytes with the LF that the payload lacks: two fit, and 6 more bytes.
        assert_eq!(rig.put(format!("{{\"row\": {row} }}")), Verdict::Accepted);
    }
    clock.0.store(59_999, Ordering::Relaxed);
    assert_eq!(rig.put("y\n"), Verdict::Accepted);
    let expected = [
        "20231114T221320Z-0000000001.ndjson",
        "20231114T221320Z-0000000002.ndjson.open",
    ];
    assert_eq!(names(home.path()), expected);
    clock.0.store(60_000, Ordering::Relaxed);
    assert_eq!(rig.put("in the next\n"), Verdict::Accepted);
    let expected = [
        "20231114T221320Z-0000000001.ndjson",
        "20231114T221320Z-0000000002.ndjson",
        "20231114T221420Z-0000000003.ndjson.open",
    ];
    assert_eq!(names(home.path()), expected);
    assert_eq!(rig.transport.stats().rolls.load(Ordering::Relaxed), 2);
    for path in files(home.path()).expect("listable") {
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777 & !0o640, 0);
    }
}

#[test]
fn the_oldest_files_are_retired_and_foreign_files_are_not() {
    let home = directory();
    let foreign = home.path().join("0000-notes.ndjson");
    std::fs::write(&foreign, [b'n'; 5_000]).expect("write");
    let config = FileSink {
        roll_bytes: 100,
        total_bytes_max: 400,
        ..config(home.path())
    };
    let mut rig = start(&config, Framing::Lines);
    let mut all = String::new();
    for row in 0..100 {
        let text = format!("{{\"row\":{row:02}}}\n");
        all.push_str(&text);
        assert_eq!(rig.put(text), Verdict::Accepted);
    }
    let rows = rows(home.path(), Framing::Lines);
    assert!(all.ends_with(&rows) && rows.len() > 200, "{rows}");
    assert!(rows.len() <= 400);
    let stats = rig.transport.stats();
    let retired = stats.bytes_retired.load(Ordering::Relaxed);
    assert_eq!(retired as usize + rows.len(), all.len());
    assert_eq!(stats.bytes.load(Ordering::Relaxed) as usize, rows.len());
    assert!(stats.files_retired.load(Ordering::Relaxed) > 0);
    assert_eq!(foreign.metadata().expect("there").len(), 5_000);
}

#[test]
fn a_directory_has_one_owner() {
    let home = directory();
    let config = config(&home.path().join("made").join("on the way"));
    let mut first = start(&config, Framing::Lines);
    assert_eq!(first.put("a\n"), Verdict::Accepted);
    let refused = Rig::start(&config, Framing::Lines, Arc::<HandClock>::default());
    let refused = refused.err().expect("the directory is taken");
    assert!(matches!(&refused, StartError::Locked { directory } if *directory == config.directory));
    assert!(refused.to_string().contains("on the way"), "{refused}");
    assert_eq!(first.put("b\n"), Verdict::Accepted);
    drop(first);
    let mut second = start(&config, Framing::Lines);
    assert_eq!(second.put("c\n"), Verdict::Accepted);
    assert_eq!(rows(&config.directory, Framing::Lines), "a\nb\nc\n");
}

#[test]
fn a_directory_that_cannot_be_made_is_a_clear_error() {
    let home = directory();
    std::fs::write(home.path().join("file"), b"").expect("write");
    let config = config(&home.path().join("file").join("rows"));
    let refused = Rig::start(&config, Framing::Lines, Arc::<HandClock>::default());
    let refused = refused.err().expect("a file is in the way").to_string();
    assert!(refused.contains("file/rows"), "{refused}");
}

#[test]
fn a_file_or_directory_deleted_under_us_is_begun_anew() {
    let home = directory();
    let config = config(&home.path().join("rows"));
    let mut rig = start(&config, Framing::Lines);
    assert_eq!(rig.put("lost with its file\n"), Verdict::Accepted);
    let open = files(&config.directory).expect("listable").remove(0);
    std::fs::remove_file(open).expect("remove");
    assert_eq!(rig.put("a\n"), Verdict::Accepted);
    assert_eq!(rows(&config.directory, Framing::Lines), "a\n");
    std::fs::remove_dir_all(&config.directory).expect("remove");
    assert_eq!(rig.put("b\n"), Verdict::Accepted);
    assert_eq!(rows(&config.directory, Framing::Lines), "b\n");
    let refused = Rig::start(&config, Framing::Lines, Arc::<HandClock>::default());
    assert!(matches!(refused.err(), Some(StartError::Locked { .. })));
}

/// Two workers, one sink: each gets its own verdicts, once each, and all rows are there, in order per worker.
#[test]
fn shared_handles_keep_their_verdicts_apart() {
    let home = directory();
    let mut one = start(&config(home.path()), Framing::Gzip);
    let (waker, woken) = waker();
    let two = Rig {
        transport: one.transport.share(waker),
        woken,
        next_id: 1_000,
    };
    let other = std::thread::spawn(move || many(two, "two"));
    one.next_id = 0;
    many(one, "one");
    other.join().expect("the other worker");
    let rows = rows(home.path(), Framing::Gzip);
    for worker in ["one", "two"] {
        let found: Vec<&str> = rows.lines().filter(|row| row.contains(worker)).collect();
        let expected: Vec<String> = (0..100).map(|row| format!("{worker} {row}")).collect();
        assert_eq!(found, expected);
    }
}

fn many(mut rig: Rig, worker: &str) {
    let first = rig.next_id;
    let mut answered = first;
    for row in 0..100 {
        let body: Bytes = frame(Framing::Gzip, &format!("{worker} {row}\n")).into();
        while rig.submit(body.clone()).is_err() {
            // Full of the other's payloads, perhaps: nothing of our own to wait for.
            match answered < rig.next_id {
                true => assert_eq!(rig.verdict(), (answered, Verdict::Accepted)),
                false => std::thread::yield_now(),
            }
            answered = rig.next_id.min(answered + 1);
        }
    }
    for id in answered..first + 100 {
        assert_eq!(rig.verdict(), (id, Verdict::Accepted));
    }
    assert_eq!(rig.transport.poll_verdict(), None);
}

/// A small file system of its own, unmounted at the end.
struct Small {
    point: TempDir,
}

impl Small {
    /// `None`, said aloud, where this user cannot mount.
    fn mount() -> Option<Small> {
        let point = tempfile::tempdir().expect("temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(point.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small { point }),
            other => {
                eprintln!("SKIPPED: a full disk needs a mounted tmpfs: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _left = Command::new("umount")
            .arg("-l")
            .arg(self.point.path())
            .status();
    }
}

fn retry_code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Retry { reason, .. } => reason.code,
        other => panic!("{other:?} is no retry"),
    }
}

#[test]
fn a_full_disk_is_a_retry_until_there_is_room() {
    let Some(small) = Small::mount() else { return };
    let home = small.point.path().join("rows");
    let hog = small.point.path().join("hog");
    let mut rig = start(&config(&home), Framing::Lines);
    assert_eq!(rig.put("before\n"), Verdict::Accepted);
    let mut file = std::fs::File::create(&hog).expect("create");
    while file.write_all(&[0; 4_096]).is_ok() {}
    let large = format!("{}\n", "x".repeat(20_000));
    let verdict = rig.put(large.clone());
    assert_eq!(retry_code(&verdict), "enospc");
    assert_eq!(rows(&home, Framing::Lines), "before\n", "nothing half");
    std::fs::remove_file(hog).expect("remove");
    drop(file);
    assert_eq!(rig.put(large.clone()), Verdict::Accepted);
    assert_eq!(rows(&home, Framing::Lines), format!("before\n{large}"));
    let errors = &rig.transport.stats().write_errors;
    assert_eq!(errors.load(Ordering::Relaxed), 1);
}

#[test]
fn a_volume_smaller_than_the_budget_still_takes_new_rows() {
    let Some(small) = Small::mount() else { return };
    let config = FileSink {
        roll_bytes: 16_000,
        total_bytes_max: 300_000,
        ..config(small.point.path())
    };
    let mut rig = start(&config, Framing::Lines);
    let mut all = String::new();
    for row in 0..100 {
        let text = format!("{row} {}\n", "x".repeat(5_000));
        all.push_str(&text);
        assert_eq!(rig.put(text), Verdict::Accepted);
    }
    let rows = rows(small.point.path(), Framing::Lines);
    assert!(all.ends_with(&rows) && rows.len() >= 150_000);
}
