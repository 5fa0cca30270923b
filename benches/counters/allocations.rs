//! Allocations on the hot path, once every buffer has its size: from `pread` to the commit of the verdict.

use std::collections::BTreeMap;
use std::path::Path;

use longshore::config::{Compression, Limits};
use serde::Deserialize;

use super::corpus_file::CorpusFile;
use super::rig::Rig;
use crate::Outcome;

/// Payloads before counting begins: more than there are slots, so that each buffer has been filled.
const PAYLOADS_BEFORE: u64 = 16;
/// Bytes of log file while counting.
const COUNTED_BYTES: u64 = 64_000_000;
/// Call sites that are shown.
const SITES_MAX: usize = 8;
/// Our own frames that are shown of a call site.
const FRAMES_MAX: usize = 3;

/// Allocations (reallocations are some) in a million records.
pub fn per_million_records(corpus: &CorpusFile, compression: Compression) -> Outcome<f64> {
    let mut rig = warm(corpus, compression)?;
    let profiler = dhat::Profiler::builder().testing().build();
    let taken = rig.take(COUNTED_BYTES);
    let stats = dhat::HeapStats::get();
    drop(profiler);
    Ok(stats.total_blocks as f64 / corpus.records_in(taken) * 1e6)
}

/// Where they come from: how many in a million records, and our own frames, innermost first.
pub fn sites(
    corpus: &CorpusFile,
    compression: Compression,
    file: &Path,
) -> Outcome<Vec<(f64, String)>> {
    let mut rig = warm(corpus, compression)?;
    let profiler = dhat::Profiler::builder().file_name(file).build();
    let taken = rig.take(COUNTED_BYTES);
    drop(profiler);
    let profile: Profile = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut sites: BTreeMap<String, u64> = BTreeMap::new();
    for point in &profile.pps {
        *sites.entry(profile.own_frames(point)).or_default() += point.tbk;
    }
    let millions = corpus.records_in(taken) / 1e6;
    let mut sites: Vec<(f64, String)> = sites
        .into_iter()
        .map(|(site, blocks)| (blocks as f64 / millions, site))
        .collect();
    sites.sort_by(|a, b| b.0.total_cmp(&a.0));
    sites.truncate(SITES_MAX);
    Ok(sites)
}

fn warm(corpus: &CorpusFile, compression: Compression) -> Outcome<Rig> {
    let mut rig = Rig::new(&corpus.path, corpus.docker, compression, Limits::default())?;
    while rig.payloads() < PAYLOADS_BEFORE {
        rig.step();
    }
    Ok(rig)
}

/// The part of dhat's file that is read here.
#[derive(Deserialize)]
struct Profile {
    pps: Vec<Point>,
    ftbl: Vec<String>,
}

/// One call stack: how many blocks, and its frames as numbers in the table, innermost first.
#[derive(Deserialize)]
struct Point {
    tbk: u64,
    fs: Vec<usize>,
}

impl Profile {
    fn own_frames(&self, point: &Point) -> String {
        let frames = point.fs.iter().filter_map(|frame| self.ftbl.get(*frame));
        // `0x5581: seal (src/pipeline/payload.rs:310:5)`; paths of other crates look the same.
        let own = frames
            .filter_map(|frame| frame.split_once(": "))
            .map(|(_, frame)| frame)
            .filter(|frame| is_own(frame).unwrap_or_default());
        let own: Vec<&str> = own.take(FRAMES_MAX).collect();
        if own.is_empty() {
            "outside of our own code".to_owned()
        } else {
            own.join(" < ")
        }
    }
}

fn is_own(frame: &str) -> Option<bool> {
    let (_, place) = frame.rsplit_once('(')?;
    let (path, _) = place.split_once(':')?;
    let is_ours = path.starts_with("src/");
    Some(is_ours && Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists())
}
