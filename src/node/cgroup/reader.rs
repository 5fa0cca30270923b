//! Reads of many small kernel files: no allocation, one buffer.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::FILE_BYTES_MAX;
use super::parse::{self, Limit};

/// A buffer for one file at a time, and what went wrong so far.
#[derive(Debug)]
pub struct Reader {
    path: Vec<u8>,
    bytes: Vec<u8>,
    refused: u64,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            path: Vec::with_capacity(512),
            bytes: vec![0; FILE_BYTES_MAX],
            refused: 0,
        }
    }
}

impl Reader {
    /// How many files could not be read for another reason than that they are gone, since the last question.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// The text of the file `root` + `path` + `/` + `file`, if it is there. The kernel gives files of this kind in one
    /// read; a longer one than the buffer, or one that is not text, counts as refused.
    pub fn text(&mut self, root: &OsStr, path: &str, file: &str) -> Option<&str> {
        self.read(root, path, file, false)
    }

    /// [`Reader::text`] of a file that takes several reads.
    pub fn whole(&mut self, root: &OsStr, path: &str, file: &str) -> Option<&str> {
        self.read(root, path, file, true)
    }

    /// [`Reader::text`] of a file of one number.
    pub fn number(&mut self, root: &OsStr, path: &str, file: &str) -> Option<u64> {
        self.text(root, path, file).and_then(parse::number)
    }

    /// [`Reader::text`] of a file of one limit.
    pub fn limit(&mut self, root: &OsStr, path: &str, file: &str) -> Option<Limit> {
        self.text(root, path, file).and_then(parse::limit)
    }

    fn read(&mut self, root: &OsStr, path: &str, file: &str, to_end: bool) -> Option<&str> {
        self.path.clear();
        self.path.extend_from_slice(root.as_bytes());
        self.path.extend_from_slice(path.as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(file.as_bytes());
        let file = rustix::fs::open(&*self.path, FLAGS, Mode::empty());
        self.take(file, to_end)
    }

    /// [`Reader::text`] of a file below an open directory.
    pub fn text_at(&mut self, directory: &OwnedFd, file: &str) -> Option<&str> {
        let file = rustix::fs::openat(directory, file, FLAGS, Mode::empty());
        self.take(file, true)
    }

    fn take(&mut self, file: Result<OwnedFd, Errno>, to_end: bool) -> Option<&str> {
        let length = match file.and_then(|file| read_into(&file, &mut self.bytes, to_end)) {
            Ok(length) => length,
            // The cgroup or process went away, or this kernel has no such file.
            Err(Errno::NOENT | Errno::NODEV | Errno::SRCH | Errno::OPNOTSUPP) => return None,
            Err(_) => {
                self.refused += 1;
                return None;
            }
        };
        let text = self.bytes.get(..length);
        let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok());
        if text.is_none() {
            self.refused += 1;
        }
        text
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

fn read_into(file: &OwnedFd, bytes: &mut [u8], to_end: bool) -> Result<usize, Errno> {
    let mut length = 0;
    loop {
        let free = bytes.get_mut(length..).unwrap_or_default();
        if free.is_empty() {
            return Err(Errno::FBIG);
        }
        let read = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *free))?;
        length += read;
        if read == 0 || (!to_end && length < bytes.len()) {
            return Ok(length);
        }
    }
}
