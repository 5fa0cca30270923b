//! Files as the log path sees them: the seam behind which the node's disk, or a simulated one, lies.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FileType, OFlags, Stat};

/// What a path or a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link (never followed by [`Files::stat`]).
    Symlink,
    /// A pipe, socket or device: never read.
    Other,
}

/// The part of stat(2) that the agent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Device number; may differ after a reboot.
    pub device: u64,
    /// Inode number; reused by the kernel at once.
    pub inode: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// Number of names; 0 means deleted and held open.
    pub links: u64,
    /// Last change of content (of a directory: of its entries), wall clock nanoseconds.
    pub modified_ns: i64,
    /// Last change of anything about it, its names and their number included, wall clock nanoseconds. As coarse as
    /// the kernel's clock: two changes within one tick (up to 10 ms) may have the same.
    pub changed_ns: i64,
    /// What it is.
    pub kind: Kind,
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The bare name.
    pub name: OsString,
    /// What the name is.
    pub kind: Kind,
}

/// An open regular file. Reads carry their own offset, so many workers share one descriptor.
pub trait FileHandle: Send + Sync {
    /// pread(2): 0 means end of file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// fstat(2).
    fn meta(&self) -> io::Result<Meta>;
    /// Tells the page cache that this file will not be read again.
    fn drop_cache(&self);
}

/// A file system.
pub trait Files: Send + Sync {
    /// The entries of a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;
    /// lstat(2): a symlink is reported as one.
    fn stat(&self, path: &Path) -> io::Result<Meta>;
    /// Where a symlink points to.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Opens a regular file for reading. Refuses a symlink in the last component and anything that is not a
    /// regular file, and never blocks on a pipe.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>>;
}

/// The node's own file system.
#[derive(Debug, Default)]
pub struct NodeFiles;

fn kind_of(kind: std::fs::FileType) -> Kind {
    if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Other
    }
}

/// stat(2) in place of the standard library's statx(2): half of its price, and it is what an idle node does most.
#[allow(clippy::unnecessary_cast)] // the widths of these fields differ between architectures
fn meta_of(stat: &Stat) -> Meta {
    let nanoseconds = |seconds: i64, rest: i64| {
        let whole = seconds.saturating_mul(1_000_000_000);
        whole.saturating_add(rest)
    };
    Meta {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        len_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        links: stat.st_nlink as u64,
        modified_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        },
    }
}

impl Files for NodeFiles {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            entries.push(Entry {
                name: entry.file_name(),
                kind: kind_of(entry.file_type()?),
            });
        }
        Ok(entries)
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        Ok(meta_of(&rustix::fs::lstat(path)?))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        if !file.metadata()?.file_type().is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Arc::new(file))
    }
}

impl FileHandle for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(meta_of(&rustix::fs::fstat(self)?))
    }

    fn drop_cache(&self) {
        // Advice only: a file system that does not know it keeps the pages, which costs memory the kernel can take back.
        let _ignored: Result<(), _> = rustix::fs::fadvise(self, 0, None, Advice::DontNeed);
    }
}
