//! The containers: many that write a line a second each, and one that writes as much as it is told.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Outcome, corpus, now, sleep_until};

/// What the containers write, and when; moments are of the wall clock.
pub struct Load {
    pub quiet: usize,
    pub loud_mb: u64,
    pub begin: Duration,
    /// The measured window.
    pub from: Duration,
    pub to: Duration,
    pub end: Duration,
}

impl Load {
    fn to_words(&self) -> Vec<String> {
        let moments = [self.begin, self.from, self.to, self.end];
        let moments = moments.iter().map(|moment| moment.as_nanos().to_string());
        [self.quiet.to_string(), self.loud_mb.to_string()]
            .into_iter()
            .chain(moments)
            .collect()
    }

    pub fn from_words(words: &[&str]) -> Outcome<Load> {
        let [quiet, loud_mb, begin, from, to, end] = words else {
            return Err("not a load".into());
        };
        let moment = |word: &str| Outcome::Ok(Duration::from_nanos(word.parse()?));
        Ok(Load {
            quiet: quiet.parse()?,
            loud_mb: loud_mb.parse()?,
            begin: moment(begin)?,
            from: moment(from)?,
            to: moment(to)?,
            end: moment(end)?,
        })
    }
}

/// What they wrote.
pub struct Written {
    /// Quiet lines within the window.
    pub quiet_lines: u64,
    /// The loud one's, over the whole time.
    pub loud_mb_per_second: f64,
}

pub struct WriterProcess(Child);

impl WriterProcess {
    pub fn start(directory: &Path, load: &Load) -> Outcome<WriterProcess> {
        let child = Command::new(std::env::current_exe()?)
            .arg("write")
            .arg(directory)
            .args(load.to_words())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(WriterProcess(child))
    }

    /// Waits for the end of the load.
    pub fn wait(mut self) -> Outcome<Written> {
        let mut text = String::new();
        let output = self.0.stdout.as_mut().ok_or("the writer has no output")?;
        output.read_to_string(&mut text)?;
        self.0.wait()?;
        let (lines, speed) = text.trim().split_once(' ').ok_or("the writer failed")?;
        Ok(Written {
            quiet_lines: lines.parse()?,
            loud_mb_per_second: speed.parse()?,
        })
    }
}

/// The process.
pub fn run(directory: &Path, load: &Load) -> Outcome<()> {
    let loud_at = corpus::container(directory, load.quiet)?;
    let mut files = Vec::new();
    for number in 0..load.quiet {
        let path = corpus::container(directory, number)?.join("0.log");
        files.push(OpenOptions::new().create(true).append(true).open(path)?);
    }
    let (bytes, lines) = std::thread::scope(|scope| {
        let loud = scope.spawn(|| loud(loud_at, load).map_err(|error| error.to_string()));
        let lines = quiet(&mut files, load).map_err(|error| error.to_string());
        let bytes = loud.join().map_err(|_| "the loud writer died".to_owned());
        (bytes.and_then(|bytes| bytes), lines)
    });
    let seconds = (load.end - load.begin).as_secs_f64();
    println!("{} {}", lines?, bytes? as f64 / 1e6 / seconds);
    Ok(())
}

/// One line a second in each file, evenly spread over the second. Returns how many were in the window.
fn quiet(files: &mut [File], load: &Load) -> Outcome<u64> {
    let step = Duration::from_secs(1) / files.len() as u32;
    let mut counted = 0;
    for number in 0_u32.. {
        let due = load.begin + step * number;
        if due >= load.end {
            break;
        }
        sleep_until(due);
        let at = now();
        let line = format!(
            "2026-11-22T10:00:00.{:09}Z stdout F quiet at={} n={number}\n",
            at.subsec_nanos(),
            at.as_nanos()
        );
        let count = files.len();
        files[number as usize % count].write_all(line.as_bytes())?;
        counted += u64::from(at >= load.from && at < load.to);
    }
    Ok(counted)
}

/// A quarter of a megabyte at a time, as evenly as can be; rotated as a kubelet would. Returns the bytes written.
fn loud(directory: PathBuf, load: &Load) -> Outcome<u64> {
    const CHUNK_BYTES: usize = 256 * 1024;
    const ROTATE_BYTES: u64 = 256 * 1024 * 1024;
    if load.loud_mb == 0 {
        return Ok(0);
    }
    let chunks: Vec<Vec<u8>> = (0..16)
        .map(|seed| corpus::lines(seed, CHUNK_BYTES))
        .collect::<Outcome<_>>()?;
    let live = directory.join("0.log");
    let (mut all, mut number, mut rotated) = (0_u64, 0, 0);
    let mut file = begin_file(&live)?;
    let mut len = 0;
    while now() < load.end {
        let due = Duration::from_secs_f64(all as f64 / (load.loud_mb as f64 * 1e6));
        sleep_until(load.begin + due);
        let chunk: &Vec<u8> = &chunks[number % chunks.len()];
        file.write_all(chunk)?;
        all += chunk.len() as u64;
        len += chunk.len() as u64;
        number += 1;
        if len >= ROTATE_BYTES {
            let name = |number: u64| directory.join(format!("0.log.20261122-{number:06}"));
            rename(&live, name(rotated))?;
            file = begin_file(&live)?;
            len = 0;
            if rotated >= 2 {
                remove_file(name(rotated - 2))?;
            }
            rotated += 1;
        }
    }
    Ok(all)
}

/// The first line tells one file from another.
fn begin_file(path: &Path) -> Outcome<File> {
    let mut file = File::create(path)?;
    let at = now().as_nanos();
    writeln!(
        file,
        "2026-11-22T10:00:00.000000000Z stdout F begins at {at}"
    )?;
    Ok(file)
}
