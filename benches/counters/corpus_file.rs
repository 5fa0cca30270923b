//! A corpus on disk, and how many records a number of its bytes is.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::corpora::Corpus;

/// A corpus on disk.
pub struct CorpusFile {
    pub name: &'static str,
    pub path: PathBuf,
    pub docker: bool,
    bytes_per_record: f64,
}

impl CorpusFile {
    /// Writes the corpus.
    pub fn write(corpus: &Corpus, directory: &Path) -> Outcome<CorpusFile> {
        let path = CorpusFile::path(corpus.name, directory);
        std::fs::write(&path, &corpus.text)?;
        Ok(CorpusFile {
            name: corpus.name,
            path,
            docker: corpus.docker,
            bytes_per_record: corpus.text.len() as f64 / corpus.records as f64,
        })
    }

    /// Where the corpus of that name is.
    pub fn path(name: &str, directory: &Path) -> PathBuf {
        directory.join(name)
    }

    /// A limit of records that all of this corpus keep to.
    pub fn room_bytes(&self) -> usize {
        let room = 2 * self.bytes_per_record as usize;
        room.max(8 * 1024)
    }

    /// How many records that many bytes are, on average.
    pub fn records_in(&self, bytes: u64) -> f64 {
        bytes as f64 / self.bytes_per_record
    }
}
