//! Container ids from the names of the container links (`/var/log/containers`). Only names and link targets are
//! read; a name alone is ambiguous over restarts, the target is not.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::freshness::Freshness;
use super::path;
use crate::clock::{Clock, Time};
use crate::files::{Files, Kind};

/// What the links say.
#[derive(Debug, Default)]
pub struct Links {
    directory: PathBuf,
    fresh: Freshness,
    /// The name of each link, which ends in the id, by the key of its log.
    known: HashMap<Box<str>, OsString>,
    present: bool,
}

impl Links {
    /// More links than a node has containers are not looked at.
    const COUNT_MAX: usize = 65_536;

    /// Nothing read yet.
    pub fn new(directory: &Path) -> Links {
        Links {
            directory: directory.to_owned(),
            ..Links::default()
        }
    }

    /// Whether there is a directory of links at all.
    pub fn present(&self) -> bool {
        self.present
    }

    /// The id of the container that writes the log at `log_key` (see [`path::log_key`]).
    pub fn id(&self, log_key: &str) -> Option<&str> {
        path::link_id(self.known.get(log_key)?)
    }

    /// Reads what has changed. Returns the keys of the logs whose links are new.
    pub fn refresh(&mut self, files: &dyn Files, clock: &dyn Clock, now: Time) -> Vec<String> {
        let mut new = Vec::new();
        let Ok(meta) = files.stat(&self.directory) else {
            self.present = false;
            return new;
        };
        self.present = true;
        if !self.fresh.needs_listing(&meta, now, clock.now()) {
            return new;
        }
        let Ok(entries) = files.list(&self.directory) else {
            self.fresh.reset();
            self.present = false;
            return new;
        };
        let before = std::mem::take(&mut self.known).into_iter();
        let mut before: HashMap<_, _> = before.map(|(key, name)| (name, key)).collect();
        self.known.reserve(entries.len().min(Links::COUNT_MAX));
        for entry in entries.into_iter().take(Links::COUNT_MAX) {
            if entry.kind != Kind::Symlink || path::link_id(&entry.name).is_none() {
                continue;
            }
            let key = before.remove(&entry.name).or_else(|| {
                let target = files.read_link(&self.directory.join(&entry.name)).ok()?;
                let key = path::log_key(&target)?;
                new.push(key.clone());
                Some(key.into_boxed_str())
            });
            if let Some(key) = key {
                self.known.insert(key, entry.name);
            }
        }
        if let Ok(after) = files.stat(&self.directory) {
            self.fresh.listed(&after, now, clock.now());
        }
        new
    }
}
