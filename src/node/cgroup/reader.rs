//! Reads of many small kernel files: no allocation, one buffer, and files of cgroups that stay kept open, for opening
//! costs several times as much as reading.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::FILE_BYTES_MAX;
use super::parse::{self, Limit};

/// The files of one cgroup that are kept open, and those that it does not have. The kernel writes a file of this kind
/// anew for each read from its start, and says of the files of a cgroup that is gone that there is no such device.
#[derive(Debug, Default)]
pub struct Kept {
    open: Vec<(&'static str, OwnedFd)>,
    absent: Vec<&'static str>,
}

impl Kept {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Files that were not there are looked for again: a controller may have been switched on.
    pub fn look_again(&mut self) {
        self.absent.clear();
    }
}

/// A buffer for one file at a time, and what went wrong so far.
#[derive(Debug)]
pub struct Reader {
    kept: Option<Kept>,
    keep_more: usize,
    is_settled: bool,
    path: Vec<u8>,
    bytes: Vec<u8>,
    refused: u64,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            kept: None,
            keep_more: 0,
            is_settled: false,
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

    /// From now on reads the files of one cgroup, of which `kept` are open; `more` may be opened and kept. If it
    /// `is_settled`, files that it does not have are remembered, and not looked for until [`Kept::look_again`].
    pub fn keep(&mut self, kept: Kept, more: usize, is_settled: bool) {
        self.kept = Some(kept);
        self.keep_more = more;
        self.is_settled = is_settled;
    }

    /// The files that are open, after the last read of one cgroup.
    pub fn take_kept(&mut self) -> Kept {
        self.kept.take().unwrap_or_default()
    }

    /// The text of the file `root` + `path` + `/` + `file`, if it is there. The kernel gives files of this kind in one
    /// read; a longer one than the buffer, or one that is not text, counts as refused.
    pub fn text(&mut self, root: &OsStr, path: &str, file: &'static str) -> Option<&str> {
        self.read(root, path, file, false)
    }

    /// [`Reader::text`] of a file that takes several reads.
    pub fn whole(&mut self, root: &OsStr, path: &str, file: &'static str) -> Option<&str> {
        self.read(root, path, file, true)
    }

    /// [`Reader::text`] of a file of one number.
    pub fn number(&mut self, root: &OsStr, path: &str, file: &'static str) -> Option<u64> {
        self.text(root, path, file).and_then(parse::number)
    }

    /// [`Reader::text`] of a file of one limit.
    pub fn limit(&mut self, root: &OsStr, path: &str, file: &'static str) -> Option<Limit> {
        self.text(root, path, file).and_then(parse::limit)
    }

    fn read(&mut self, root: &OsStr, path: &str, file: &'static str, to_end: bool) -> Option<&str> {
        if let Some(kept) = &mut self.kept {
            if let Some(at) = kept.open.iter().position(|(name, _)| *name == file)
                && let Some((_, open)) = kept.open.get(at)
            {
                match read_at_start(open, &mut self.bytes, to_end) {
                    Ok(length) => return self.as_text(Ok(length)),
                    Err(_) => drop(kept.open.swap_remove(at)),
                }
            } else if kept.absent.contains(&file) {
                return None;
            }
        }
        self.path.clear();
        self.path.extend_from_slice(root.as_bytes());
        self.path.extend_from_slice(path.as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(file.as_bytes());
        let read = rustix::fs::open(&*self.path, FLAGS, Mode::empty()).and_then(|open| {
            let length = read_at_start(&open, &mut self.bytes, to_end)?;
            Ok((open, length))
        });
        let length = match read {
            Ok((open, length)) => {
                if let Some(kept) = &mut self.kept
                    && self.keep_more > 0
                {
                    self.keep_more -= 1;
                    kept.open.push((file, open));
                }
                Ok(length)
            }
            Err(error) => {
                if let Some(kept) = &mut self.kept
                    && self.is_settled
                    && matches!(error, Errno::NOENT | Errno::OPNOTSUPP)
                {
                    kept.absent.push(file);
                }
                Err(error)
            }
        };
        self.as_text(length)
    }

    /// [`Reader::text`] of a file below an open directory.
    pub fn text_at(&mut self, directory: &OwnedFd, file: &str) -> Option<&str> {
        let file = rustix::fs::openat(directory, file, FLAGS, Mode::empty());
        let length = file.and_then(|file| read_at_start(&file, &mut self.bytes, true));
        self.as_text(length)
    }

    fn as_text(&mut self, length: Result<usize, Errno>) -> Option<&str> {
        let length = match length {
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

/// The kernel fills a page with whole records before it gives less than all. What is shorter than this is all, for no
/// record of these files is as long as the rest of a page.
const SHORT_BYTES: usize = 2_048;

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

fn read_at_start(file: &OwnedFd, bytes: &mut [u8], to_end: bool) -> Result<usize, Errno> {
    let mut length = 0;
    loop {
        let free = bytes.get_mut(length..).unwrap_or_default();
        if free.is_empty() {
            return Err(Errno::FBIG);
        }
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *free, length as u64))?;
        length += read;
        if read < SHORT_BYTES || (!to_end && length < bytes.len()) {
            return Ok(length);
        }
    }
}
