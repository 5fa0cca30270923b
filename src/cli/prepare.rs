//! `longshore prepare`: gives the state directory to the user that the agent runs as.
//!
//! A host path is made for root, and an agent that is not root cannot take it. This runs before the agent, as root with
//! no capability but CAP_CHOWN, from an image without a shell. What it is not let into it makes its own first.
//! The directory itself is given last: while it is not, nothing counts as done; once it is, nothing in it is looked at
//! again, so that the agent's user cannot have files of others given to itself. Links are neither followed nor given,
//! nor are files with several names.

use std::ffi::CStr;
use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fstat, openat, statat,
};
use rustix::io::Errno;
use thiserror::Error;

/// Exit code when the directory is the owner's.
const GOOD: u8 = 0;
/// Exit code when it is not.
const FAILED: u8 = 1;
/// Directories within directories, at most. The agent's own have three levels.
const DEPTH_MAX: u32 = 16;
/// The state is the owner's; the group reads it, and whoever is in neither sees nothing: it may hold rows of logs.
const MODE: Mode = Mode::from_raw_mode(0o750);

/// What `prepare` is told.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// The directory, made if it is not there
    #[arg(long, default_value = "/var/lib/longshore")]
    pub state_dir: PathBuf,
    /// Whose it shall be with all that is in it: the user and group that the agent runs as
    #[arg(long, default_value = "65532:0", value_name = "UID:GID")]
    pub owner: Owner,
}

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.user, self.group)
    }
}

/// Not a user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected two numbers below 4294967295, as in 65532:0")]
pub struct BadOwner;

impl FromStr for Owner {
    type Err = BadOwner;

    fn from_str(text: &str) -> Result<Owner, BadOwner> {
        let (user, group) = text.split_once(':').ok_or(BadOwner)?;
        let number = |digits: &str| match digits.parse() {
            // chown(2) takes it for "leave it as it is".
            Ok(u32::MAX) | Err(_) => Err(BadOwner),
            Ok(number) => Ok(number),
        };
        Ok(Owner {
            user: number(user)?,
            group: number(group)?,
        })
    }
}

/// Why the directory could not be given.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// A call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Call {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// There is something else in its place.
    #[error("{} is a link or no directory; the state needs a directory of its own", .0.display())]
    NoDirectory(PathBuf),
    /// It goes deeper than anything the agent makes.
    #[error("{} lies deeper than {DEPTH_MAX} directories; is this the agent's state?", .0.display())]
    TooDeep(PathBuf),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Files and directories that were given to the owner.
    pub given: u64,
    /// What was left to whom it belonged: links, files with several names, and what is neither file nor directory.
    pub left: u64,
}

/// Prepares the directory and says to `err` what was done, or why it was not; returns the exit code.
pub fn prepare(args: &PrepareArgs, err: &mut dyn Write) -> u8 {
    let path = args.state_dir.display();
    let (said, code) = match give(&args.state_dir, args.owner) {
        Ok(Prepared { given: 0, .. }) => (format!("{path} belongs to {}", args.owner), GOOD),
        Ok(Prepared { given, left }) => (
            format!(
                "{path} was given to {}: {given} given, {left} left",
                args.owner
            ),
            GOOD,
        ),
        Err(error) => (error.to_string(), FAILED),
    };
    // The exit code says it if standard error does not.
    let _ = writeln!(err, "{said}");
    code
}

/// Gives `path` and all below it to `owner`. Nothing is done, and nothing in it looked at, if it belongs to the owner.
pub fn give(path: &Path, owner: Owner) -> Result<Prepared, PrepareError> {
    match rustix::fs::mkdir(path, MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(source) => return Err(failed("make", path, source)),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::PATH;
    let place = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(place) => place,
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(PrepareError::NoDirectory(path.to_owned())),
        Err(source) => return Err(failed("open", path, source)),
    };
    let stat = fstat(&place).map_err(|source| failed("look at", path, source))?;
    let mut giving = Giving {
        owner,
        own: Owner {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        },
        done: Prepared::default(),
    };
    if !is_of(&stat, owner) {
        giving.directory(place.as_fd(), path, &stat, 0)?;
    }
    Ok(giving.done)
}

fn failed(what: &'static str, path: &Path, source: Errno) -> PrepareError {
    PrepareError::Call {
        what,
        path: path.to_owned(),
        source,
    }
}

fn is_of(stat: &Stat, owner: Owner) -> bool {
    stat.st_uid == owner.user && stat.st_gid == owner.group
}

struct Giving {
    owner: Owner,
    /// Who does it.
    own: Owner,
    done: Prepared,
}

impl Giving {
    /// One directory: made our own, so that no capability is needed to look into it; what is in it; then itself.
    fn directory(
        &mut self,
        place: BorrowedFd<'_>,
        path: &Path,
        stat: &Stat,
        depth: u32,
    ) -> Result<(), PrepareError> {
        if depth > DEPTH_MAX {
            return Err(PrepareError::TooDeep(path.to_owned()));
        }
        if stat.st_uid != self.own.user {
            chown(place, c"", self.own, AtFlags::EMPTY_PATH, path)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let open = openat(place, c".", flags, Mode::empty());
        let open = open.map_err(|source| failed("open", path, source))?;
        if depth == 0 {
            fchmod(&open, MODE).map_err(|source| failed("set the mode of", path, source))?;
        }
        let entries = Dir::read_from(&open).map_err(|source| failed("list", path, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| failed("list", path, source))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                let below = path.join(&*name.to_string_lossy());
                self.entry(open.as_fd(), name, &below, depth)?;
            }
        }
        chown(open.as_fd(), c"", self.owner, AtFlags::EMPTY_PATH, path)?;
        self.done.given += 1;
        Ok(())
    }

    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: u32,
    ) -> Result<(), PrepareError> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(failed("look at", path, source)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let place: OwnedFd = openat(
                    parent,
                    name,
                    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::PATH,
                    Mode::empty(),
                )
                .map_err(|source| failed("open", path, source))?;
                self.directory(place.as_fd(), path, &stat, depth + 1)
            }
            FileType::RegularFile if stat.st_nlink == 1 => {
                chown(parent, name, self.owner, AtFlags::SYMLINK_NOFOLLOW, path)?;
                self.done.given += 1;
                Ok(())
            }
            _ => {
                self.done.left += 1;
                Ok(())
            }
        }
    }
}

fn chown(
    at: BorrowedFd<'_>,
    name: &CStr,
    owner: Owner,
    flags: AtFlags,
    path: &Path,
) -> Result<(), PrepareError> {
    let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
    chownat(at, name, Some(user), Some(group), flags)
        .map_err(|source| failed("change the owner of", path, source))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!(
            "65532:0".parse(),
            Ok(Owner {
                user: 65532,
                group: 0
            })
        );
        for bad in [
            "",
            "1",
            "1:",
            ":1",
            "a:1",
            "-1:0",
            "4294967295:0",
            "0:4294967295",
            "1:2:3",
        ] {
            assert_eq!(bad.parse::<Owner>(), Err(BadOwner), "{bad}");
        }
    }

    /// Whoever runs the tests, and another group of theirs where there is one: what can be given without being root.
    fn owners() -> (Owner, Option<Owner>) {
        let user = rustix::process::geteuid().as_raw();
        let own = rustix::process::getegid().as_raw();
        let groups = rustix::process::getgroups().unwrap();
        let other = match user {
            0 => Some(65_532),
            _ => groups
                .iter()
                .map(|group| group.as_raw())
                .find(|group| *group != own),
        };
        let owner = |group| Owner { user, group };
        (owner(own), other.map(owner))
    }

    #[test]
    fn a_directory_that_is_the_owners_is_not_looked_into() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let (own, other) = owners();
        assert_eq!(give(&state, own).unwrap(), Prepared::default());
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o750);
        if let Some(other) = other {
            fs::write(state.join("file"), "x").unwrap();
            assert_eq!(give(&state, other).unwrap().given, 2);
            let file = state.join("another");
            fs::write(&file, "x").unwrap();
            assert_eq!(give(&state, other).unwrap(), Prepared::default());
            assert_eq!(fs::metadata(&file).unwrap().gid(), own.group);
        }
    }

    #[test]
    fn everything_in_it_is_given_but_links_and_files_with_several_names() {
        let (own, Some(other)) = owners() else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let (state, elsewhere) = (
            directory.path().join("state"),
            directory.path().join("elsewhere"),
        );
        fs::create_dir_all(state.join("checkpoints/deep")).unwrap();
        fs::write(state.join("checkpoints/deep/file"), "x").unwrap();
        fs::write(&elsewhere, "x").unwrap();
        symlink(&elsewhere, state.join("link")).unwrap();
        fs::hard_link(&elsewhere, state.join("second-name")).unwrap();
        assert_eq!(give(&state, other).unwrap(), Prepared { given: 4, left: 2 });
        for path in [
            "",
            "checkpoints",
            "checkpoints/deep",
            "checkpoints/deep/file",
        ] {
            let found = fs::metadata(state.join(path)).unwrap();
            assert_eq!(
                (found.uid(), found.gid()),
                (other.user, other.group),
                "{path}"
            );
        }
        assert_eq!(fs::metadata(&elsewhere).unwrap().gid(), own.group);
        assert_eq!(
            fs::metadata(&state).unwrap().permissions().mode() & 0o777,
            0o750
        );
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (own, _) = owners();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        for path in [&file, &link] {
            assert!(
                matches!(give(path, own), Err(PrepareError::NoDirectory(_))),
                "{path:?}"
            );
        }
        let missing = directory.path().join("not/there");
        assert!(matches!(
            give(&missing, own),
            Err(PrepareError::Call { what: "make", .. })
        ));
    }

    #[test]
    fn what_was_done_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (owner, _) = owners();
        for (state_dir, code, said) in [
            (directory.path().join("state"), GOOD, "belongs to"),
            (directory.path().join("not/there"), FAILED, "cannot make"),
        ] {
            let mut err = Vec::new();
            assert_eq!(prepare(&PrepareArgs { state_dir, owner }, &mut err), code);
            let err = String::from_utf8(err).unwrap();
            assert!(err.contains(said) && err.ends_with('\n'), "{err}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let (_, Some(other)) = owners() else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir_all(state.join("d/".repeat(20))).unwrap();
        let before = fs::metadata(&state).unwrap().gid();
        assert!(matches!(give(&state, other), Err(PrepareError::TooDeep(_))));
        assert_eq!(fs::metadata(&state).unwrap().gid(), before);
    }
}
