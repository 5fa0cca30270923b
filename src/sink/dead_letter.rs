//! Records that a sink will never take, kept for a person within a byte budget.
//!
//! Invariant: the file holds whole lines only, and is not made larger than its budget. It is opened anew for each
//! letter, since letters are rare and a person may move, empty or delete the file at any time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Reason;
use crate::clock::Clock;

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk, with the reason.
    Kept,
    /// The budget is used up: it is not kept.
    Full,
}

/// Where dead letters go.
pub trait DeadLetters: Send {
    /// Keeps one encoded record with the sink's answer.
    fn keep(&mut self, reason: &Reason, record: &[u8]) -> io::Result<Kept>;
}

/// `dead-letters.ndjson` in a directory of the sink's own: one object per letter, with `time` (RFC 3339), `reason`
/// (the code), `answer` (the text) and `record` (as it would have been sent; bytes that are not UTF-8 are replaced, and
/// `record_base64` then holds what it was).
pub struct DeadLetterFile {
    directory: PathBuf,
    path: PathBuf,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Letter<'a> {
    time: String,
    reason: &'a str,
    answer: &'a str,
    record: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

/// How far back one step looks for the last line end.
const LOOK_BACK_BYTES: usize = 64 * 1024;

impl DeadLetterFile {
    /// The file's name.
    pub const NAME: &'static str = "dead-letters.ndjson";

    /// Opens or makes the file, and cuts off a last line that a crash left unfinished. `bytes_max` is the budget
    /// for all of the file, what it holds already included.
    pub fn open(
        directory: &Path,
        bytes_max: u64,
        clock: Arc<dyn Clock>,
    ) -> io::Result<DeadLetterFile> {
        std::fs::create_dir_all(directory)?;
        let letters = DeadLetterFile {
            directory: directory.to_path_buf(),
            path: directory.join(Self::NAME),
            bytes_max,
            clock,
        };
        letters.whole_lines()?;
        Ok(letters)
    }

    /// The file, ending behind a whole line, and its length.
    fn whole_lines(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let len_bytes = file.metadata()?.len();
        let whole = whole_bytes(&file, len_bytes)?;
        if whole < len_bytes {
            file.set_len(whole)?;
        }
        if whole == 0 {
            // The name may be new: without this a crash could take it together with the first letter.
            File::open(&self.directory)?.sync_all()?;
        }
        Ok((file, whole))
    }
}

impl DeadLetters for DeadLetterFile {
    fn keep(&mut self, reason: &Reason, record: &[u8]) -> io::Result<Kept> {
        let mut line = serde_json::to_vec(&Letter {
            time: rfc3339(self.clock.wall()),
            reason: reason.code,
            answer: &reason.text,
            record: &String::from_utf8_lossy(record),
            record_base64: std::str::from_utf8(record)
                .is_err()
                .then(|| STANDARD.encode(record)),
        })?;
        line.push(b'\n');
        let (mut file, len_bytes) = self.whole_lines()?;
        if len_bytes.saturating_add(line.len() as u64) > self.bytes_max {
            return Ok(Kept::Full);
        }
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // The caller counts this letter as not kept, so it must not stay by half or by chance. If this fails
            // too, what is left of half a line is cut off at the next look.
            let _unmended: io::Result<()> = file.set_len(len_bytes);
            return Err(error);
        }
        Ok(Kept::Kept)
    }
}

impl std::fmt::Debug for DeadLetterFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterFile")
            .field("path", &self.path)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

/// How many of the first `len_bytes` bytes make up whole lines.
fn whole_bytes(file: &File, len_bytes: u64) -> io::Result<u64> {
    let mut end = len_bytes;
    let mut block = vec![0; LOOK_BACK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(LOOK_BACK_BYTES as u64);
        // Both within LOOK_BACK_BYTES, so the difference fits.
        let look = block.get_mut(..(end - start) as usize).unwrap_or_default();
        file.read_exact_at(look, start)?;
        if let Some(at) = memchr::memrchr(b'\n', look) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// A moment as RFC 3339 in UTC, to the millisecond; moments before 1970 are shown as 1970.
pub fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date of the proleptic Gregorian calendar, in years that begin in March so that the leap day is last
    // (the algorithm of H. Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let (second, millis) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests;
