//! The node's own file systems, wherever they are mounted: roots and bounded reads.
//!
//! Invariant: nothing outside the three roots is read, and never more than [`FILE_BYTES_MAX`] of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More of one file is not read: `/proc/net/netstat` of any kernel has a few KiB, `stat` of 1,024 CPUs under 200 KiB.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A source that gave nothing, or nothing that could be understood.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It is not there: this kernel has no such thing. Normal; counts as success with no data.
    #[error("{path}: there is no such file")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is there and cannot be read.
    #[error("reading {path}: {source}; check the agent's mounts and its user's rights")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is longer than any such file should be.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It holds what its format does not know.
    #[error("{path}: cannot make out {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Where the host's file systems are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host's procfs: `/proc`, or `/host/proc` within a container.
    pub proc: PathBuf,
    /// The host's sysfs.
    pub sys: PathBuf,
    /// The host's root directory, for the capacity of its mounts.
    pub root: PathBuf,
}

impl Host {
    /// The text of a file below one of the roots, into `text`, which is emptied first. Bytes that are not UTF-8 are
    /// replaced: what files of the kernel hold beyond ASCII are names that users gave.
    pub fn read(&self, path: &Path, text: &mut String) -> Result<(), HostError> {
        text.clear();
        let unreadable = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => HostError::Missing { path },
                _ => HostError::Unreadable { path, source },
            }
        };
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = std::mem::take(text).into_bytes();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        let read = read.map_err(unreadable)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(HostError::TooLong {
                path: path.to_owned(),
            });
        }
        *text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(())
    }

    /// [`Host::read`] of a file below the procfs root.
    pub fn read_proc(&self, path: &str, text: &mut String) -> Result<(), HostError> {
        self.read(&self.proc.join(path), text)
    }

    /// [`Host::read`] of a file below the sysfs root.
    pub fn read_sys(&self, path: &str, text: &mut String) -> Result<(), HostError> {
        self.read(&self.sys.join(path), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(directory: &Path) -> Host {
        Host {
            proc: directory.to_owned(),
            sys: directory.to_owned(),
            root: directory.to_owned(),
        }
    }

    #[test]
    fn what_is_missing_differs_from_what_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path());
        let mut text = String::from("before");
        assert!(matches!(
            host.read_proc("stat", &mut text),
            Err(HostError::Missing { .. })
        ));
        std::fs::create_dir(directory.path().join("stat")).unwrap();
        assert!(matches!(
            host.read_proc("stat", &mut text),
            Err(HostError::Unreadable { .. })
        ));
    }

    #[test]
    fn text_is_replaced_and_bad_bytes_do_not_stop_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mounts"), b"a \xff b").unwrap();
        let mut text = String::from("before");
        host(directory.path())
            .read_proc("mounts", &mut text)
            .unwrap();
        assert_eq!(text, "a \u{fffd} b");
    }

    #[test]
    fn an_endless_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("stat")).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let read = host(directory.path()).read_proc("stat", &mut String::new());
        assert!(matches!(read, Err(HostError::TooLong { .. })));
    }
}
