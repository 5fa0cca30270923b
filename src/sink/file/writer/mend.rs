//! Setting `.open` files right: what a predecessor left, and what a failed write or sync made untrustworthy.
//!
//! Invariant: a file gets its final name only once it is cut to its whole part, durably.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::super::Framing;
use super::super::disk::DiskFile;
use super::super::name::{Name, State};
use super::super::whole::{Tail, whole};
use super::{Failure, Open, Suspect, Writer, failure};

/// Files that could not be cut and renamed yet; beyond this many nothing is written until one is settled.
const SUSPECTS_MAX: usize = 4;

impl Writer {
    /// Cuts each leftover `.open` file to its whole part, and continues the newest where it fits, or rolls it.
    pub(in crate::sink::file) fn recover(&mut self) {
        let newest_kept = self.kept.back().map(|kept| kept.name.number);
        let continued = self.suspects.pop_if(|last| {
            last.name.suffix == self.suffix && newest_kept.is_none_or(|n| n < last.name.number)
        });
        if let Some(Suspect { name, .. }) = continued
            && let Err(error) = self.resume(&name)
        {
            self.stats.write_errors.fetch_add(1, Ordering::Relaxed);
            let path = self.path(&name);
            tracing::warn!(path = %path.display(), %error, "cannot continue a file; it is set right later");
            let good_len = None;
            self.suspects.push(Suspect { name, good_len });
        }
        if let Err(failure) = self.settle() {
            tracing::warn!(error = failure.text, "cannot finish a file left open");
        }
        self.roll_if_due();
        self.publish();
    }

    /// Cuts, syncs and finishes the suspects. Fails only when too many remain.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let mut last_failure = None;
        for suspect in std::mem::take(&mut self.suspects) {
            match self.settle_one(&suspect) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = self.path(&suspect.name);
                    last_failure = Some(failure("set right", &path, &error));
                    self.suspects.push(suspect);
                }
            }
        }
        match last_failure {
            Some(failure) if self.suspects.len() >= SUSPECTS_MAX => Err(failure),
            _ => Ok(()),
        }
    }

    fn settle_one(&mut self, suspect: &Suspect) -> io::Result<()> {
        let file = self.disk.open(&self.path(&suspect.name))?;
        let Some(len) = self.cut(file.as_ref(), suspect)? else {
            return Ok(());
        };
        self.finish(&suspect.name, len, State::Finished)
    }

    /// Reopens a predecessor's file for appending, if it is whole and not empty after the cut.
    fn resume(&mut self, name: &Name) -> io::Result<()> {
        let file = self.disk.open(&self.path(name))?;
        let (name, good_len) = (name.clone(), None);
        let suspect = Suspect { name, good_len };
        let Some(good_len) = self.cut(file.as_ref(), &suspect)? else {
            return Ok(());
        };
        if good_len == 0 {
            return self.finish(&suspect.name, 0, State::Finished);
        }
        let started = UNIX_EPOCH + Duration::from_secs(suspect.name.start_s);
        let age = self.clock.wall().duration_since(started);
        let left = self
            .roll_interval
            .saturating_sub(age.unwrap_or(Duration::ZERO));
        self.open = Some(Open {
            id: file.id()?,
            name: suspect.name,
            file,
            good_len,
            len: good_len,
            roll_at: self.clock.now() + left,
        });
        Ok(())
    }

    /// Cuts a suspect to its whole part, durably, and returns that length; or sets a damaged file aside, uncut, since
    /// what lies behind the damage may have been accepted.
    fn cut(&mut self, file: &dyn DiskFile, suspect: &Suspect) -> io::Result<Option<u64>> {
        let path = self.path(&suspect.name);
        let len = file.len()?;
        let good = match suspect.good_len {
            Some(good) if good <= len => good,
            _ => {
                // A sync that failed before our time has left pages that read well and are on no disk. What the disk
                // itself gives back can be built on. A file system without this advice has no such pages to drop.
                file.sync_data()?;
                let _advice: io::Result<()> = file.drop_cache();
                let framing = Framing::of_suffix(suspect.name.suffix);
                let found = whole(file, len, framing)?;
                if found.tail == Tail::Damaged {
                    self.finish(&suspect.name, len, State::Damaged)?;
                    self.stats.files_damaged.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(path = %path.display(), good_bytes = found.len, "a file is damaged; set aside");
                    return Ok(None);
                }
                found.len
            }
        };
        if good < len {
            file.set_len(good)?;
            tracing::info!(path = %path.display(), bytes = len - good, "cut an unfinished write");
            self.stats
                .bytes_cut
                .fetch_add(len - good, Ordering::Relaxed);
        }
        file.sync_data()?;
        Ok(Some(good))
    }
}
