//! Instructions for each record, from callgrind: the same whatever else the machine does.
//!
//! The child is this program under valgrind. It calls one function for each figure, and callgrind counts inside of
//! that function alone and writes a dump after each call; the child says beside it what the call was.

use std::hint::black_box;
use std::path::Path;

use longshore::config::multiline::MultilineMode;
use longshore::config::{Compression, Limits, RowFormat, Sink, SinkKind};

use super::corpus_file::CorpusFile;
use super::rig::Rig;
use super::rules;
use super::table::Table;
use crate::Outcome;
use crate::corpora::Corpus;
use crate::stages::{Stage, Stages};

/// What stages work on: small, for under callgrind also making it takes its time.
const STAGES_BYTES: usize = 256 * 1024;
/// What the worker reads before it is counted, and while it is.
const BEFORE_BYTES: u64 = 2 << 20;
const COUNTED_BYTES: u64 = 2 << 20;

/// The codecs behind the whole worker.
pub const WORKERS: [(&str, Compression); 3] = [
    ("worker", Compression::None),
    ("worker, gzip 1", Compression::Gzip(1)),
    ("worker, zstd 1", Compression::Zstd(1)),
];

/// Runs this program under callgrind and adds what it counted to the table.
pub fn count(directory: &Path, files: &[CorpusFile], table: &mut Table) -> Outcome<()> {
    let dumps = directory.join("callgrind");
    let output = crate::valgrind("callgrind")
        .arg("--quiet")
        .arg("--toggle-collect=*callgrind_collects_this*")
        .arg("--dump-after=*callgrind_dumps_after_this*")
        .arg(format!("--callgrind-out-file={}", dumps.display()))
        .arg(std::env::current_exe()?)
        .arg("instructions")
        .arg(directory)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the run under callgrind failed".into());
    }
    let said = String::from_utf8(output.stdout)?;
    for (number, line) in said.lines().enumerate() {
        let dump = dumps.with_extension((number + 1).to_string());
        let [corpus, column, unit, count] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("the run under callgrind said {line}").into());
        };
        let file = files.iter().find(|file| file.name == corpus);
        let file = file.ok_or("the run under callgrind named a corpus that is not there")?;
        let records = match unit {
            "bytes" => file.records_in(count.parse()?),
            _ => count.parse()?,
        };
        table.set(corpus, column, total(&dump)? / records);
    }
    Ok(())
}

fn total(dump: &Path) -> Outcome<f64> {
    let text = std::fs::read_to_string(dump)
        .map_err(|error| format!("cannot read {}: {error}", dump.display()))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or("a dump of callgrind has no totals")?;
    Ok(total.trim().parse()?)
}

/// The child's part.
#[allow(clippy::print_stdout)] // read by the parent
pub fn child(directory: &Path) -> Outcome<()> {
    for corpus in Corpus::all(STAGES_BYTES) {
        let mut stages = Stages::new(&corpus);
        for stage in Stage::ALL {
            if stage == Stage::Rows(RowFormat::JsonArray) {
                continue;
            }
            stages.run(stage);
            callgrind_dumps_after_this(&mut || stages.run(stage));
            let (corpus, records) = (corpus.name, corpus.records);
            println!("{corpus}\t{}\trecords\t{records}", stage.name());
        }
        let path = CorpusFile::path(corpus.name, directory);
        for (name, compression) in WORKERS {
            let mut rig = Rig::new(&path, corpus.docker, compression, Limits::default())?;
            rig.take(BEFORE_BYTES);
            let mut taken = 0;
            callgrind_dumps_after_this(&mut || taken = rig.take(COUNTED_BYTES));
            println!("{}\t{name}\tbytes\t{taken}", corpus.name);
        }
        let (mut grouped, mut ruled) = (counted(), counted());
        grouped.multiline.mode = MultilineMode::Auto;
        ruled.lines = rules::rules()?;
        let hits = rules::with_hits(&path)?;
        for (name, path, sink) in [
            ("worker, multiline", &path, &grouped),
            ("worker, rules", &path, &ruled),
            ("worker, rules, 1 % hits", &hits, &ruled),
        ] {
            let mut rig = Rig::of(path, corpus.docker, sink.clone())?;
            rig.take(BEFORE_BYTES);
            let mut taken = 0;
            callgrind_dumps_after_this(&mut || taken = rig.take(COUNTED_BYTES));
            println!("{}\t{name}\tbytes\t{taken}", corpus.name);
        }
    }
    Ok(())
}

/// A sink to be counted; what it writes is not compressed.
fn counted() -> Sink {
    let mut sink = Sink::new("counted".to_owned(), SinkKind::Blackhole);
    sink.compression = Compression::None;
    sink
}

/// Callgrind is told these names; it takes only one order for each function.
#[inline(never)]
fn callgrind_dumps_after_this(work: &mut dyn FnMut()) {
    callgrind_collects_this(work);
    black_box(()); // no tail call: the frame has to be there until the work is done
}

#[inline(never)]
fn callgrind_collects_this(work: &mut dyn FnMut()) {
    work();
    black_box(());
}
