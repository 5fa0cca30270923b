//! Copies of each byte of a payload in user space, counted: every store of a worker (valgrind's lackey lists them), those
//! to the stack and to bookkeeping left out, beside the bytes of the rows.
//!
//! What the kernel writes (`pread`) is in no list, so 1.0 is: from the block that was read straight into the payload.
//! The worker is run for some steps and for twice as many, and the difference is taken.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use longshore::config::{Compression, Limits};

use super::corpus_file::CorpusFile;
use super::rig::Rig;
use crate::Outcome;

/// Steps until every buffer has its size, and steps that are counted: few, for each instruction becomes a line of text.
const STEPS_BEFORE: usize = 4;
const STEPS: usize = 3;
/// Above this valgrind puts the stack.
const STACK: u64 = 0x1f_0000_0000;
/// A cache line.
const LINE_BYTES: u64 = 64;
/// A store of this size is a copy wherever it goes: bookkeeping is done in words.
const WIDE_BYTES: u64 = 32;

/// Smaller than by default, so that a short run fills its buffers often; copies do not depend on it.
fn limits(record_bytes_max: usize) -> Limits {
    Limits {
        record_bytes_max,
        block_bytes: record_bytes_max,
        payload_bytes_max: 64 * 1024,
        ..Limits::default()
    }
}

/// The child's part: works on a corpus for some steps, and says how much came of it.
#[allow(clippy::print_stdout)] // read by the parent
pub fn child(path: &Path, docker: bool, record_bytes_max: usize, steps: usize) -> Outcome<()> {
    let mut rig = Rig::new(path, docker, Compression::None, limits(record_bytes_max))?;
    for _ in 0..STEPS_BEFORE + steps {
        rig.step();
    }
    // What is not sealed yet becomes a payload.
    rig.wait(2_000);
    rig.step();
    let (rows, records) = rig.rows();
    println!("{rows} {records}");
    Ok(())
}

/// Bytes stored for each byte of row.
pub fn per_row_byte(corpus: &CorpusFile) -> Outcome<f64> {
    let once = Stores::of_run(corpus, STEPS)?;
    let twice = Stores::of_run(corpus, 2 * STEPS)?;
    let rows = (twice.rows_bytes - once.rows_bytes) as f64;
    let records = (twice.records - once.records) as f64;
    // A place that is written for each record is no buffer; and no place of a buffer of 64 KiB or more, all of which is
    // written in turn, is written this often.
    let most = (6.0 * records).max(rows * 2.0 * LINE_BYTES as f64 / 65_536.0);
    let mut bytes = (twice.wide_bytes - once.wide_bytes) as f64;
    for (line, stored) in &twice.bytes {
        let before = once.bytes.get(line).copied().unwrap_or_default();
        let stored = stored.saturating_sub(before) as f64;
        if stored <= most {
            bytes += stored;
        }
    }
    Ok(bytes / rows)
}

/// What one run stored.
#[derive(Default)]
struct Stores {
    wide_bytes: u64,
    /// The others, by cache line.
    bytes: HashMap<u64, u64>,
    rows_bytes: u64,
    records: u64,
}

impl Stores {
    fn of_run(corpus: &CorpusFile, steps: usize) -> Outcome<Stores> {
        let mut child = crate::valgrind("lackey")
            .args(["--trace-mem=yes", "--basic-counts=no"])
            .arg(std::env::current_exe()?)
            .arg("copies")
            .arg(&corpus.path)
            .arg(corpus.docker.to_string())
            .arg(corpus.room_bytes().to_string())
            .arg(steps.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let list = child.stderr.take().ok_or("valgrind has no output")?;
        let mut stores = Stores::default();
        stores.read(BufReader::with_capacity(1 << 20, list))?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err("the run under lackey failed".into());
        }
        let said = String::from_utf8(output.stdout)?;
        let (rows, records) = said
            .trim()
            .split_once(' ')
            .ok_or("the run under lackey ended early")?;
        stores.rows_bytes = rows.parse()?;
        stores.records = records.parse()?;
        Ok(stores)
    }

    /// Sums lackey's lines ` S 04025f8c,8` (a store) and ` M 04025f8c,8` (a load and a store).
    fn read(&mut self, mut list: impl BufRead) -> Outcome<()> {
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line)? > 0 {
            if let [b' ', b'S' | b'M', b' ', rest @ ..] = line.as_slice()
                && let Some((address, len)) = std::str::from_utf8(rest)?.trim().split_once(',')
            {
                let address = u64::from_str_radix(address, 16)?;
                let len: u64 = len.parse()?;
                match address {
                    STACK.. => {}
                    _ if len >= WIDE_BYTES => self.wide_bytes += len,
                    _ => *self.bytes.entry(address / LINE_BYTES).or_default() += len,
                }
            }
            line.clear();
        }
        Ok(())
    }
}
