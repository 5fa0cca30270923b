//! The few disk operations of the file sink, as a seam: the node's disk, or one that fails and forgets on purpose.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

/// What tells one file from another while both exist: device and inode.
pub(super) type FileId = (u64, u64);

/// A disk.
pub(super) trait Disk: Send {
    /// Makes a directory and its parents, durably. An existing one is fine.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;
    /// Takes the lock file, made if missing, until the handle is dropped; `None`: another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>>;
    /// Name and length of each regular file in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Makes a new file, mode 0640.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing regular file for reading and writing; never follows a symlink.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Which file a path names.
    fn id(&self, path: &Path) -> io::Result<FileId>;
    /// Renames a file; never replaces another where the file system can promise that.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the directory's entries durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// An open file.
pub(super) trait DiskFile: Send {
    /// pread(2): 0 means end of file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at an offset; on an error any part of them may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// fdatasync(2). After an error nothing that was written since the last success may be trusted: the kernel
    /// may have dropped it and will not say so again.
    fn sync_data(&self) -> io::Result<()>;
    /// Drops what the page cache holds of the file and has written: the next read is of the disk itself.
    fn drop_cache(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Which file this is.
    fn id(&self) -> io::Result<FileId>;
}

/// The node's own disk.
#[derive(Debug)]
pub(super) struct NodeDisk;

impl Disk for NodeDisk {
    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        for path in missing.into_iter().rev() {
            match std::fs::DirBuilder::new().mode(0o750).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            if let Some(parent) = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                self.sync_directory(parent)?;
            }
        }
        if directory.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = careful(&mut options).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.metadata() {
                Ok(meta) if meta.is_file() => files.push((name, meta.len())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(Box::new(careful(&mut options).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = careful(&mut options).open(path)?;
        if file.metadata()?.is_file() {
            Ok(Box::new(file))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ))
        }
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system (or an old kernel) does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(from, to),
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

fn careful(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.mode(0o640).custom_flags(flags.bits().cast_signed())
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn drop_cache(&self) -> io::Result<()> {
        rustix::fs::fadvise(self, 0, None, Advice::DontNeed).map_err(io::Error::from)
    }

    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|meta| meta.len())
    }

    fn id(&self) -> io::Result<FileId> {
        self.metadata().map(|meta| (meta.dev(), meta.ino()))
    }
}
