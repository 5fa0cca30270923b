//! The account of the directory's own files, and what makes room in it.
//!
//! Invariant: only finished files are retired, the oldest first, and each is counted.

use std::io;
use std::sync::atomic::Ordering;

use super::super::name::{Name, State};
use super::{Failure, Kept, Writer, failure};

impl Writer {
    /// Retires oldest files until `bytes` more fit into the budget, or none is left to retire.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.own_bytes().saturating_add(bytes) <= self.total_bytes_max {
            return Ok(());
        }
        // Others may have removed files; what they removed need not be retired again.
        self.relist()
            .map_err(|error| failure("list", &self.directory, &error))?;
        while self.own_bytes().saturating_add(bytes) > self.total_bytes_max && !self.kept.is_empty()
        {
            self.retire_oldest()?;
        }
        Ok(())
    }

    /// On a full disk: retires the oldest file, unless that would leave less than half of the budget. A volume somewhat
    /// smaller than the budget thus still takes new data, and a disk that others fill costs no more than half.
    pub(super) fn retire_for_space(&mut self) -> bool {
        let Some(oldest) = self.kept.front() else {
            return false;
        };
        self.own_bytes() - oldest.len >= self.total_bytes_max / 2 && self.retire_oldest().is_ok()
    }

    fn retire_oldest(&mut self) -> Result<(), Failure> {
        let Some(oldest) = self.kept.front() else {
            return Ok(());
        };
        let path = self.path(&oldest.name);
        let bytes = oldest.len;
        match self.disk.remove(&path) {
            Ok(()) => {
                self.stats.files_retired.fetch_add(1, Ordering::Relaxed);
                self.stats.bytes_retired.fetch_add(bytes, Ordering::Relaxed);
                tracing::info!(path = %path.display(), bytes, "retired the oldest file");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure("retire", &path, &error)),
        }
        self.kept.pop_front();
        Ok(())
    }

    /// Reads the directory's account anew; returns the `.open` files in order.
    pub(super) fn relist(&mut self) -> io::Result<Vec<(Name, u64)>> {
        let files = own_files(self.disk.list(&self.directory)?);
        let last_number = files.last().map_or(0, |(name, _)| name.number);
        self.next_number = self.next_number.max(last_number.saturating_add(1));
        let is_open = |file: &(Name, u64)| file.0.state == State::Open;
        let (open, kept): (Vec<_>, Vec<_>) = files.into_iter().partition(is_open);
        self.kept = kept
            .into_iter()
            .map(|(name, len)| Kept { name, len })
            .collect();
        Ok(open)
    }

    /// Saturating: a foreign sparse file under a name of ours may claim any length.
    fn own_bytes(&self) -> u64 {
        let kept = self.kept.iter().map(|kept| kept.len);
        let suspects = self.suspects.iter().filter_map(|suspect| suspect.good_len);
        let open = self.open.iter().map(|open| open.len);
        kept.chain(suspects)
            .chain(open)
            .fold(0, u64::saturating_add)
    }

    /// Shows the account.
    pub(super) fn publish(&self) {
        let files = self.kept.len() + self.suspects.len() + usize::from(self.open.is_some());
        self.stats.files.store(files as u64, Ordering::Relaxed);
        self.stats.bytes.store(self.own_bytes(), Ordering::Relaxed);
    }
}

/// The sink's own files among the names in a directory, in order.
pub(in crate::sink::file) fn own_files(listed: Vec<(String, u64)>) -> Vec<(Name, u64)> {
    let mut files: Vec<(Name, u64)> = listed
        .into_iter()
        .filter_map(|(text, len)| Name::parse(&text).map(|name| (name, len)))
        .collect();
    files.sort_by_key(|(name, _)| (name.number, name.start_s));
    files
}
