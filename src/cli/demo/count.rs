//! Reads back what the file sink wrote and holds it against what was played: every line once, whole, in order and
//! under its own container's name.
//!
//! Invariant: memory is bounded by the longest row and one bit per line played; the files are streamed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::DemoError;
use super::lines::Ticket;
use super::plan::Instance;
use super::progress::Counted;
use crate::record::Stream;

/// A longer row is counted as corrupt. The longest record can grow sixfold when JSON escapes it.
const ROW_BYTES_MAX: u64 = 4 * 1024 * 1024;
const SAMPLE_BYTES_MAX: usize = 600;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// What a count found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows read.
    pub rows: u64,
    /// Bytes of the files, as they are on disk.
    pub file_bytes: u64,
    /// Lines that were played and have no row.
    pub lost: u64,
    /// Rows of lines that had a row already.
    pub duplicated: u64,
    /// Rows that are not JSON, name no line that was played, or whose message is not what was written.
    pub corrupted: u64,
    /// Rows under another container's, pod's or stream's name.
    pub misattributed: u64,
    /// Rows that come behind a later line of the same container and stream.
    pub out_of_order: u64,
    /// Rows marked partial whose container did end the line, and rows not so marked whose container did not.
    pub mismarked: u64,
    /// Rows of lines that their container did not end.
    pub unfinished: u64,
    /// Rows without a container id, which is allowed: nothing may have told it.
    pub unnamed: u64,
    /// The first thing that is wrong, in words.
    pub first_fault: Option<String>,
    /// Some row, as written.
    pub sample: Option<String>,
}

impl Tally {
    /// Whether every line arrived exactly once, whole, in order and under the right name.
    pub fn is_exact(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.corrupted == 0
            && self.misattributed == 0
            && self.out_of_order == 0
            && self.mismarked == 0
    }

    fn fault(&mut self, what: impl FnOnce() -> String) {
        self.first_fault.get_or_insert_with(what);
    }
}

/// The columns that the count looks at, under their default names.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(rename = "PodNamespace", borrow)]
    namespace: Cow<'a, str>,
    #[serde(rename = "PodName", borrow)]
    pod: Cow<'a, str>,
    #[serde(rename = "ContainerName", borrow)]
    container: Cow<'a, str>,
    #[serde(rename = "ContainerId", borrow, default)]
    container_id: Cow<'a, str>,
    #[serde(rename = "LogSource", borrow)]
    source: Cow<'a, str>,
    #[serde(rename = "LogMessage", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "KubernetesMetadata", borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(rename = "LogFlags", borrow, default)]
    flags: Option<&'a RawValue>,
}

impl Row<'_> {
    fn belongs_to(&self, instance: &Instance, stream: Stream) -> bool {
        self.namespace == instance.pod.namespace
            && self.pod == instance.pod.name
            && self.container == instance.container
            && (self.container_id.is_empty() || self.container_id == instance.id)
            && self.source == stream.as_str()
            && self
                .metadata
                .is_none_or(|metadata| metadata.get().contains(&instance.pod.uid))
    }

    fn is_partial(&self) -> bool {
        self.flags
            .is_some_and(|flags| flags.get().contains("partial"))
    }
}

/// Which lines of one stream of one instance have arrived.
#[derive(Default)]
struct Arrived {
    seen: Vec<u64>,
    next: u64,
}

impl Arrived {
    /// Notes a line; returns whether it is the first time.
    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        match self.seen.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    fn count(&self) -> u64 {
        self.seen
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    fn first_missing(&self) -> u64 {
        let full = self.seen.iter().take_while(|word| **word == u64::MAX);
        let full = full.count();
        let ones = self.seen.get(full).map_or(0, |word| word.trailing_ones());
        full as u64 * 64 + u64::from(ones)
    }
}

/// A count under way.
struct Count<'a> {
    instances: &'a [Instance],
    arrived: BTreeMap<(usize, usize), Arrived>,
    tally: Tally,
}

/// Counts all rows in the file sink's directory.
pub fn count(rows: &Path, instances: &[Instance]) -> Result<Tally, DemoError> {
    let mut count = Count {
        instances,
        arrived: BTreeMap::new(),
        tally: Tally::default(),
    };
    for path in files_in_order(rows)? {
        count
            .file(&path)
            .map_err(DemoError::at("read back", &path))?;
    }
    Ok(count.finish())
}

/// The sink's files, oldest first; the one that it still writes to is the last.
fn files_in_order(rows: &Path) -> Result<Vec<PathBuf>, DemoError> {
    let mut files: Vec<(bool, SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(rows).map_err(DemoError::at("list", rows))? {
        let entry = entry.map_err(DemoError::at("list", rows))?;
        let path = entry.path();
        let meta = entry.metadata().map_err(DemoError::at("look at", &path))?;
        if meta.is_file() && meta.len() > 0 {
            let open = entry.file_name().to_string_lossy().ends_with(".open");
            let modified = meta.modified().map_err(DemoError::at("look at", &path))?;
            files.push((open, modified, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, _, path)| path).collect())
}

impl Count<'_> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        self.tally.file_bytes += file.metadata()?.len();
        let mut file = BufReader::with_capacity(256 * 1024, file);
        if file.fill_buf()?.starts_with(GZIP_MAGIC) {
            let inflated = flate2::bufread::MultiGzDecoder::new(file);
            self.rows(&mut BufReader::with_capacity(256 * 1024, inflated))
        } else {
            self.rows(&mut file)
        }
    }

    fn rows(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = reader.take(ROW_BYTES_MAX);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.row(&line);
        }
    }

    fn row(&mut self, line: &[u8]) {
        self.tally.rows += 1;
        let Ok(row) = serde_json::from_slice::<Row<'_>>(line) else {
            return self.corrupt("a row is not JSON or lacks a column", line);
        };
        let Some((ticket, whole)) = Ticket::read(&row.message) else {
            return self.corrupt("a row's message is none that was written", line);
        };
        let instances = self.instances;
        let Some(instance) = instances
            .get(ticket.instance)
            .filter(|instance| ticket.number < instance.lines[ticket.stream.index()])
        else {
            return self.corrupt("a row's message is none that was written", line);
        };
        if !whole {
            return self.corrupt("a row's message was changed on the way", line);
        }
        if !row.belongs_to(instance, ticket.stream) {
            self.tally.misattributed += 1;
            self.tally
                .fault(|| format!("a row has another line's name: {}", excerpt(line)));
        }
        let unfinished = instance.unfinished[ticket.stream.index()] == Some(ticket.number);
        if row.is_partial() != unfinished {
            self.tally.mismarked += 1;
            self.tally
                .fault(|| format!("a row is wrongly marked: {}", excerpt(line)));
        }
        self.tally.unnamed += u64::from(row.container_id.is_empty());
        self.arrive(ticket, unfinished, line);
    }

    fn arrive(&mut self, ticket: Ticket, unfinished: bool, line: &[u8]) {
        let key = (ticket.instance, ticket.stream.index());
        let arrived = self.arrived.entry(key).or_default();
        if !arrived.mark(ticket.number) {
            self.tally.duplicated += 1;
            self.tally
                .fault(|| format!("a row came twice: {}", excerpt(line)));
            return;
        }
        self.tally.unfinished += u64::from(unfinished);
        if ticket.number < arrived.next {
            self.tally.out_of_order += 1;
            self.tally
                .fault(|| format!("a row came late: {}", excerpt(line)));
        }
        arrived.next = arrived.next.max(ticket.number + 1);
        if self.tally.sample.is_none() && line.len() <= SAMPLE_BYTES_MAX {
            self.tally.sample = String::from_utf8(line.to_vec()).ok();
        }
    }

    fn corrupt(&mut self, what: &str, line: &[u8]) {
        self.tally.corrupted += 1;
        self.tally.fault(|| format!("{what}: {}", excerpt(line)));
    }

    fn finish(mut self) -> Tally {
        let nothing = Arrived::default();
        for (index, instance) in self.instances.iter().enumerate() {
            for stream in Stream::ALL {
                let arrived = self.arrived.get(&(index, stream.index()));
                let arrived = arrived.unwrap_or(&nothing);
                let missing = instance.lines[stream.index()] - arrived.count();
                if missing == 0 {
                    continue;
                }
                self.tally.lost += missing;
                self.tally.fault(|| {
                    format!(
                        "{} of {}/{} {} (restart {}, {}) never came, the first is number {}",
                        Counted(missing, "line"),
                        instance.pod.namespace,
                        instance.pod.name,
                        instance.container,
                        instance.restart,
                        stream.as_str(),
                        arrived.first_missing()
                    )
                });
            }
        }
        self.tally
    }
}

fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(300).collect()
}

#[cfg(test)]
mod tests;
