//! For tests: a tree of files that stands in for a node, and any bytes in the place of any of its files.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::*;

use super::Collect;
use super::host::{Host, HostError};
use super::snapshot::Snapshot;

/// A directory with `proc`, `sys` and `root` in it.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree {
            directory: tempfile::tempdir().unwrap(),
        };
        for (path, text) in files {
            tree.write(path, text.as_bytes());
        }
        tree
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            proc: self.directory.path().join("proc"),
            sys: self.directory.path().join("sys"),
            root: self.directory.path().join("root"),
        }
    }

    /// What a collector makes of it.
    pub(crate) fn collect(&self, collector: &mut dyn Collect) -> (Snapshot, Result<(), HostError>) {
        let mut snapshot = empty();
        let result = collector.collect(&self.host(), &mut snapshot);
        (snapshot, result)
    }
}

/// An empty snapshot that wants everything.
pub(crate) fn empty() -> Snapshot {
    Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| true), 10_000)
}

/// The value of a series whose labels are in the order in which the collector gives them.
#[track_caller]
pub(crate) fn value(snapshot: &Snapshot, name: &str, labels: &[(&str, &str)]) -> f64 {
    let found = snapshot.value(name, labels);
    found.unwrap_or_else(|| panic!("no {name} {labels:?}"))
}

/// Bytes that are nearly, or not at all, what the kernel writes.
pub(crate) fn garbage(sound: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (
        any::<prop::sample::Index>(),
        "\\PC{0,3}|[ :\\n()0-9-]{1,3}",
        0..40_usize,
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[a-zA-Z0-9:()_. \\n\\t/\\\\-]{0,300}".prop_map(String::into_bytes),
        damaged.prop_map(move |(at, with, cut)| {
            let (at, mut bytes) = (at.index(sound.len() + 1), sound.as_bytes().to_vec());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, with.into_bytes());
            bytes
        }),
    ]
}

/// Whatever the files hold: no panic, only valid names, only finite values.
pub(crate) fn check_valid(snapshot: &Snapshot) {
    for family in snapshot.families() {
        let name = &family.spec.name;
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(name.chars().all(good), "{name}");
        assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
        for sample in &family.samples {
            assert!(sample.value.is_finite(), "{name}");
        }
    }
}
