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
    known: HashMap<OsString, String>,
    ids: HashMap<String, String>,
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
        self.ids.get(log_key).map(String::as_str)
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
        let mut known = HashMap::new();
        self.ids.clear();
        for entry in entries.into_iter().take(Links::COUNT_MAX) {
            let Some(id) = path::link_id(&entry.name) else {
                continue;
            };
            if entry.kind != Kind::Symlink {
                continue;
            }
            let key = self.known.remove(&entry.name).or_else(|| {
                let target = files.read_link(&self.directory.join(&entry.name)).ok()?;
                let key = path::log_key(&target)?;
                new.push(key.clone());
                Some(key)
            });
            if let Some(key) = key {
                self.ids.insert(key.clone(), id.to_owned());
                known.insert(entry.name, key);
            }
        }
        self.known = known;
        if let Ok(after) = files.stat(&self.directory) {
            self.fresh.listed(&after, now, clock.now());
        }
        new
    }
}
