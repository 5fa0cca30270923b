//! Whether rows on our standard output would come back to us as log lines: a loop that feeds itself.
//!
//! What can be seen: our stdout is a file below the pod log root, under any of its names; or we run as a pod and were
//! told to collect it. What cannot: a pipe to a process that writes below the root (a shell's `| tee`, another container
//! runtime's shim when we are not known to be a pod), and a network sink that ends on this node.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most files below the root that are compared; beyond them only the path decides.
const FILES_MAX: usize = 100_000;

/// `<pod>/<container>/<segment>`.
const DEPTH_MAX: usize = 3;

/// What the decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Our stdout is a regular file whose path lies below the pod log root.
    pub below_root: bool,
    /// Our stdout is a regular file that also has a name (or a symlink to it) below the pod log root.
    pub among_logs: bool,
    /// We run as a pod, so the container runtime writes our stdout into a log below the root.
    pub in_pod: bool,
    /// The agent's own pod is collected.
    pub collect_self: bool,
}

/// Why stdout must not be a sink here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is a pod log.
    #[error(
        "standard output is a file below the pod log root: every row would be read again as a log line; redirect it elsewhere or use another sink"
    )]
    PodLog,
    /// It becomes our own pod's log, which is collected.
    #[error(
        "the agent's own pod is collected (collect_self: true), and its standard output is that pod's log: every row would be read again; set collect_self: false or use another sink"
    )]
    CollectedPod,
}

/// Decides; `None`: stdout may be a sink.
pub fn refusal(facts: Facts) -> Option<Refusal> {
    if facts.below_root || facts.among_logs {
        Some(Refusal::PodLog)
    } else if facts.in_pod && facts.collect_self {
        Some(Refusal::CollectedPod)
    } else {
        None
    }
}

/// Gathers the facts. `stdout` is `/proc/self/fd/1`; what cannot be read counts as not so.
pub fn facts(stdout: &Path, pod_logs: &Path, in_pod: bool, collect_self: bool) -> Facts {
    let root = pod_logs
        .canonicalize()
        .unwrap_or_else(|_| pod_logs.to_owned());
    // Through the link: this is the open file itself, whatever its name has become.
    let file = std::fs::metadata(stdout).ok().filter(|meta| meta.is_file());
    Facts {
        below_root: file.is_some()
            && std::fs::read_link(stdout).is_ok_and(|path| path.starts_with(&root)),
        among_logs: file.is_some_and(|file| is_among(&file, &root)),
        in_pod,
        collect_self,
    }
}

fn is_among(file: &Metadata, root: &Path) -> bool {
    let mut left: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 1)];
    let mut looked_at = 0;
    while let Some((directory, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            looked_at += 1;
            if looked_at > FILES_MAX {
                return false;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < DEPTH_MAX {
                    left.push((path, depth + 1));
                }
            } else if std::fs::metadata(&path)
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (file.dev(), file.ino()))
            {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_decision_is_a_table() {
        let case = |below_root, among_logs, in_pod, collect_self| {
            refusal(Facts {
                below_root,
                among_logs,
                in_pod,
                collect_self,
            })
        };
        assert_eq!(case(false, false, false, false), None);
        assert_eq!(case(false, false, true, false), None);
        assert_eq!(case(false, false, false, true), None);
        let pod = Some(Refusal::CollectedPod);
        assert_eq!(case(false, false, true, true), pod);
        assert_eq!(case(true, false, false, false), Some(Refusal::PodLog));
        assert_eq!(case(false, true, true, false), Some(Refusal::PodLog));
    }

    #[test]
    fn an_open_pod_log_is_recognised_under_any_name() {
        let node = tempfile::tempdir().expect("temporary directory");
        let root = node.path().join("pods");
        let container = root.join("ns_pod_uid").join("app");
        std::fs::create_dir_all(&container).expect("directories");
        let seen = |path: &Path| {
            let file = std::fs::File::create(path).expect("file");
            let stdout = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let facts = facts(&stdout, &root, false, false);
            (facts.below_root, facts.among_logs)
        };
        assert_eq!(seen(&container.join("0.log")), (true, true));
        let elsewhere = node.path().join("runtime.log");
        assert_eq!(seen(&elsewhere), (false, false));
        std::os::unix::fs::symlink(&elsewhere, container.join("1.log")).expect("symlink");
        assert_eq!(seen(&elsewhere), (false, true));
    }

    #[test]
    fn a_pipe_or_a_missing_root_is_no_pod_log() {
        let node = tempfile::tempdir().expect("temporary directory");
        let (_reader, writer) = std::io::pipe().expect("pipe");
        let stdout = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
        let nothing = facts(&stdout, node.path(), false, false);
        assert_eq!(nothing, Facts::default());
        let missing = facts(&stdout, &node.path().join("none"), true, true);
        assert!(!missing.below_root && !missing.among_logs);
    }
}
