//! Files as the log path sees them: the seam behind which the node's disk, or a simulated one, lies.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, OFlags, SeekFrom};

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
    /// The first offset at or after `offset` that holds data and not a hole; `None` if only a hole is left.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;
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

fn meta_of(meta: &std::fs::Metadata) -> Meta {
    Meta {
        device: meta.dev(),
        inode: meta.ino(),
        len_bytes: meta.len(),
        links: meta.nlink(),
        modified_ns: meta
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec()),
        kind: kind_of(meta.file_type()),
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
        std::fs::symlink_metadata(path).map(|meta| meta_of(&meta))
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
        self.metadata().map(|meta| meta_of(&meta))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn drop_cache(&self) {
        // Advice only: a file system that does not know it keeps the pages, which costs memory the kernel can take back.
        let _ignored: Result<(), _> = rustix::fs::fadvise(self, 0, None, Advice::DontNeed);
    }
}
