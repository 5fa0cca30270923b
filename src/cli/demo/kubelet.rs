//! The kubelet's part of the play: directories, links, rotation, compression, retention, deletion, step for step as
//! the real one does them (`container_log_manager.go`), only in seconds where it takes minutes.
//!
//! Invariant: a played log has at most [`FILES_MAX`] files, the live one included; beyond that the oldest is
//! deleted whether somebody has read it or not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::DemoError;
use super::lines::Moment;

/// `containerLogMaxFiles`.
pub const FILES_MAX: usize = 5;

/// Names one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid, as the directory names it.
    pub uid: String,
}

/// What the kubelet did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chores {
    /// Log files rotated.
    pub rotations: u64,
    /// Rotated files compressed.
    pub compressed: u64,
    /// Rotated files deleted because there were more than [`FILES_MAX`].
    pub retired: u64,
    /// Logs of older instances of a restarted container deleted.
    pub collected: u64,
    /// Pods deleted.
    pub pods_deleted: u64,
}

/// The log directories of a node.
#[derive(Debug)]
pub struct Kubelet {
    pods: PathBuf,
    links: PathBuf,
    /// What it did so far.
    pub chores: Chores,
}

impl Kubelet {
    /// A kubelet over two fresh directories: of pods, and of links.
    pub fn new(pods: &Path, links: &Path) -> Result<Kubelet, DemoError> {
        for directory in [pods, links] {
            fs::create_dir_all(directory).map_err(DemoError::at("make", directory))?;
        }
        Ok(Kubelet {
            pods: pods.to_owned(),
            links: links.to_owned(),
            chores: Chores::default(),
        })
    }

    fn pod_directory(&self, pod: &Pod) -> PathBuf {
        self.pods
            .join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }

    /// Where a container instance logs.
    pub fn live_log(&self, pod: &Pod, container: &str, restart: u32) -> PathBuf {
        self.pod_directory(pod)
            .join(container)
            .join(format!("{restart}.log"))
    }

    /// Opens a live log to append to, as the runtime does at start and after a rotation.
    pub fn open_log(path: &Path) -> Result<File, DemoError> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
            .map_err(DemoError::at("open", path))
    }

    /// Makes a container instance's directory, log and link.
    pub fn start(
        &self,
        pod: &Pod,
        container: &str,
        restart: u32,
        id: &str,
    ) -> Result<File, DemoError> {
        let log = self.live_log(pod, container, restart);
        let directory = log.parent().unwrap_or(&self.pods);
        fs::create_dir_all(directory).map_err(DemoError::at("make", directory))?;
        let file = Kubelet::open_log(&log)?;
        let link = self.links.join(format!(
            "{}_{}_{container}-{id}.log",
            pod.name, pod.namespace
        ));
        symlink(&log, &link).map_err(DemoError::at("link", &link))?;
        Ok(file)
    }

    /// The rotated files of a live log, oldest first, with those that a cut-off compression left behind removed.
    fn rotated(log: &Path) -> Result<Vec<PathBuf>, DemoError> {
        let (Some(directory), Some(live)) = (log.parent(), log.file_name()) else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}.", live.to_string_lossy());
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(DemoError::at("list", directory))? {
            let path = entry.map_err(DemoError::at("list", directory))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(&prefix) {
                continue;
            }
            if name.ends_with(".tmp") {
                remove(&path)?;
            } else {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Makes room for one more rotated file, compresses the plain ones, and renames the live log. The container
    /// goes on appending to the renamed file until it is told to reopen. Returns the new name; `None` when a file
    /// of this second exists already.
    pub fn rotate(&mut self, log: &Path, now: Moment) -> Result<Option<PathBuf>, DemoError> {
        let renamed = with_suffix(log, &now.rotation_suffix());
        let mut rotated = Kubelet::rotated(log)?;
        if rotated
            .iter()
            .any(|path| *path == renamed || *path == with_suffix(&renamed, "gz"))
        {
            return Ok(None);
        }
        let excess = rotated.len().saturating_sub(FILES_MAX - 2);
        for path in rotated.drain(..excess) {
            remove(&path)?;
            self.chores.retired += 1;
        }
        for path in rotated {
            if path.extension().is_none_or(|extension| extension != "gz") {
                compress(&path)?;
                self.chores.compressed += 1;
            }
        }
        fs::rename(log, &renamed).map_err(DemoError::at("rename", log))?;
        self.chores.rotations += 1;
        Ok(Some(renamed))
    }

    /// Renames a rotated file back: the container exited before it could reopen its log.
    pub fn undo_rotation(&mut self, renamed: &Path, log: &Path) -> Result<(), DemoError> {
        fs::rename(renamed, log).map_err(DemoError::at("rename", renamed))?;
        self.chores.rotations -= 1;
        Ok(())
    }

    /// Deletes all files and the link of an older instance of a restarted container.
    pub fn collect(
        &mut self,
        pod: &Pod,
        container: &str,
        restart: u32,
        id: &str,
    ) -> Result<(), DemoError> {
        let log = self.live_log(pod, container, restart);
        let link = self.links.join(format!(
            "{}_{}_{container}-{id}.log",
            pod.name, pod.namespace
        ));
        remove(&link)?;
        for path in Kubelet::rotated(&log)? {
            remove(&path)?;
        }
        remove(&log)?;
        self.chores.collected += 1;
        Ok(())
    }

    /// Deletes a pod: its links and all its logs.
    pub fn delete_pod(&mut self, pod: &Pod) -> Result<(), DemoError> {
        let prefix = format!("{}_{}_", pod.name, pod.namespace);
        for entry in fs::read_dir(&self.links).map_err(DemoError::at("list", &self.links))? {
            let entry = entry.map_err(DemoError::at("list", &self.links))?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                remove(&entry.path())?;
            }
        }
        let directory = self.pod_directory(pod);
        fs::remove_dir_all(&directory).map_err(DemoError::at("delete", &directory))?;
        self.chores.pods_deleted += 1;
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> Result<(), DemoError> {
    fs::remove_file(path).map_err(DemoError::at("delete", path))
}

/// Compresses by way of a `.tmp`, so that a `.gz` is always whole, and deletes the original.
fn compress(path: &Path) -> Result<(), DemoError> {
    let temporary = with_suffix(path, "tmp");
    let compressed = with_suffix(path, "gz");
    let write = || -> io::Result<()> {
        let target = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&temporary)?;
        let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&temporary, &compressed)?;
        fs::remove_file(path)
    };
    write().map_err(DemoError::at("compress", path))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn names(log: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(log.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn rotation_follows_the_kubelets_order_and_keeps_five_files() {
        let root = tempfile::tempdir().unwrap();
        let mut kubelet = Kubelet::new(&root.path().join("p"), &root.path().join("c")).unwrap();
        let pod = Pod {
            namespace: "ns".into(),
            name: "pod".into(),
            uid: "uid".into(),
        };
        kubelet.start(&pod, "web", 0, "abc").unwrap();
        let log = kubelet.live_log(&pod, "web", 0);
        fs::write(log.with_extension("log.20200101-000000.tmp"), "cut off").unwrap();
        for second in 0..7_u64 {
            let mut file = Kubelet::open_log(&log).unwrap();
            writeln!(file, "file {second}").unwrap();
            let renamed = kubelet
                .rotate(&log, Moment(second * SECOND_NS))
                .unwrap()
                .unwrap();
            assert!(!log.exists(), "the live name is free until the reopening");
            assert!(renamed.exists(), "the newest rotated file is still plain");
        }
        Kubelet::open_log(&log).unwrap();
        assert_eq!(
            names(&log),
            [
                "0.log",
                "0.log.19700101-000003.gz",
                "0.log.19700101-000004.gz",
                "0.log.19700101-000005.gz",
                "0.log.19700101-000006",
            ]
        );
        assert_eq!(names(&log).len(), FILES_MAX);
        let mut text = String::new();
        flate2::read::GzDecoder::new(
            File::open(log.with_extension("log.19700101-000004.gz")).unwrap(),
        )
        .read_to_string(&mut text)
        .unwrap();
        assert_eq!(text, "file 4\n");
        assert_eq!(
            kubelet.chores,
            Chores {
                rotations: 7,
                compressed: 6,
                retired: 3,
                ..Chores::default()
            }
        );
        assert_eq!(
            kubelet.rotate(&log, Moment(6 * SECOND_NS)).unwrap(),
            None,
            "no rotated file is overwritten by another of the same second"
        );
    }

    #[test]
    fn deleting_a_pod_leaves_nothing_of_it_and_all_of_its_neighbour() {
        let root = tempfile::tempdir().unwrap();
        let mut kubelet = Kubelet::new(&root.path().join("p"), &root.path().join("c")).unwrap();
        let pod = |name: &str| Pod {
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        };
        for name in ["one", "two"] {
            kubelet.start(&pod(name), "web", 0, "abc").unwrap();
        }
        kubelet.start(&pod("two"), "web", 1, "def").unwrap();
        kubelet.collect(&pod("two"), "web", 0, "abc").unwrap();
        kubelet.delete_pod(&pod("one")).unwrap();
        assert_eq!(names(&kubelet.live_log(&pod("two"), "web", 1)), ["1.log"]);
        assert_eq!(names(&root.path().join("c/x")), ["two_ns_web-def.log"]);
        assert_eq!(names(&root.path().join("p/x")), ["ns_two_uid-two"]);
    }
}
