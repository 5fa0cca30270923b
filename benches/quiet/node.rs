//! The nodes: what the kubelet and the runtime would have left on disk, from a fixed seed, or write at a fixed pace.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Outcome;

/// Files that [`pace`] writes to.
pub const PACED_FILES: usize = 100;
/// Lines that [`pace`] writes in a second, to all files together.
const PACE: u64 = 10_000;
/// About what a line comes to.
const LINE_BYTES: u64 = 257;

/// A container's directory and its link, as they are in a cluster.
fn container(directory: &Path, number: usize) -> Outcome<PathBuf> {
    let (namespace, pod) = (
        format!("namespace-{}", number % 20),
        format!("service-{number}-7d4b9c8f6b-x{number:04}"),
    );
    let uid = format!("{:08x}-0000-4000-8000-{number:012}", number * 7_919);
    let path = directory
        .join("pods")
        .join(format!("{namespace}_{pod}_{uid}"))
        .join("app");
    fs::create_dir_all(&path)?;
    let links = directory.join("links");
    fs::create_dir_all(&links)?;
    let link = format!("{pod}_{namespace}_app-{number:064x}.log");
    std::os::unix::fs::symlink(path.join("0.log"), links.join(link))?;
    Ok(path)
}

/// Containers that have written nothing yet.
pub fn empty(directory: &Path, containers: usize) -> Outcome<()> {
    for number in 0..containers {
        File::create(container(directory, number)?.join("0.log"))?;
    }
    Ok(())
}

/// Containers that wrote four lines each.
pub fn quiet(directory: &Path, containers: usize) -> Outcome<()> {
    let mut lines = Lines::new();
    for number in 0..containers {
        let mut file = File::create(container(directory, number)?.join("0.log"))?;
        for _ in 0..4 {
            file.write_all(lines.next().as_bytes())?;
        }
    }
    Ok(())
}

/// Containers with two compressed rotated files, a plain one and the live one, `bytes` of content in sum. Returns how
/// much it is exactly.
pub fn backlog(directory: &Path, containers: usize, bytes: u64) -> Outcome<u64> {
    let mut lines = Lines::new();
    let each = bytes / containers as u64 / 4;
    let mut sum = 0;
    for number in 0..containers {
        let path = container(directory, number)?;
        for name in ["0.log.20261122-100000.gz", "0.log.20261122-110000.gz"] {
            let packed = GzEncoder::new(File::create(path.join(name))?, Compression::fast());
            let mut file = BufWriter::new(packed);
            sum += lines.fill(&mut file, each)?;
            file.into_inner()?.finish()?;
        }
        for name in ["0.log.20261122-120000", "0.log"] {
            let mut file = BufWriter::new(File::create(path.join(name))?);
            sum += lines.fill(&mut file, each)?;
            file.flush()?;
        }
    }
    Ok(sum)
}

/// Writes lines to the containers of [`empty`], evenly, until it is killed.
pub fn pace(directory: &Path) -> Outcome<()> {
    let mut files = Vec::new();
    for pod in fs::read_dir(directory.join("pods"))? {
        let path = pod?.path().join("app/0.log");
        files.push(File::options().append(true).open(path)?);
    }
    let mut lines = Lines::new();
    let start = Instant::now();
    let mut written = 0;
    loop {
        let due = start.elapsed().as_millis() as u64 * PACE / 1_000;
        while written < due {
            // A stride that has no factor in common with the number of files.
            let at = (written as usize * 37) % files.len();
            files[at].write_all(lines.next().as_bytes())?;
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// CRI lines, each with a later timestamp than the one before.
struct Lines {
    number: u64,
    random: fastrand::Rng,
    line: String,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            number: 0,
            random: fastrand::Rng::with_seed(7),
            line: String::new(),
        }
    }

    fn next(&mut self) -> &str {
        use std::fmt::Write as _;
        const WORDS: [&str; 10] = [
            "accepted",
            "upstream",
            "timeout",
            "shard",
            "leader elected",
            "cache miss",
            "retry",
            "/api/v1/orders",
            "checkout",
            "scheduled",
        ];
        let (seconds, nanos) = (self.number / 10_000, self.number % 10_000 * 100_000);
        self.line.clear();
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        let _infallible = write!(
            self.line,
            "2026-11-22T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z stdout F \
             {{\"level\":\"info\",\"id\":{},\"msg\":\"",
            self.number
        );
        while (self.line.len() as u64) < LINE_BYTES - 10 {
            self.line.push_str(WORDS[self.random.usize(..WORDS.len())]);
            let _infallible = write!(self.line, " {} ", self.random.u16(..));
        }
        self.line.push_str("\"}\n");
        self.number += 1;
        &self.line
    }

    /// Whole lines, at least `bytes` of them. Returns how much it is.
    fn fill(&mut self, file: &mut impl Write, bytes: u64) -> Outcome<u64> {
        let mut written = 0;
        while written < bytes {
            let line = self.next();
            file.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
        Ok(written)
    }
}
