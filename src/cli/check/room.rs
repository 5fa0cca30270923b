//! How much the system grants this process: descriptors, and the memory of its control group.

use std::path::{Component, Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::config::bounds::Bounds;

/// Limits above this are the kernel's way to say that there is none.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// The soft limit on open descriptors; `None`: no limit.
pub(super) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The least memory limit of the control groups that this process is in; `None`: no limit, or none that can be read.
pub(super) fn memory_max() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup"))?;
    memory_limit(&groups, &read)
}

/// `groups` is the content of `/proc/self/cgroup`: lines of `ID:CONTROLLERS:PATH`, of which `0::PATH` is version 2
/// (cgroups(7)). A path that is not to be seen from here (a container's view of the host) is taken for the root.
fn memory_limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let inside = Path::new(path).components();
        let inside: PathBuf = inside
            .filter(|c| matches!(c, Component::Normal(_)))
            .collect();
        // A group has no more than those above it.
        for group in inside.ancestors() {
            let text = read(&Path::new(root).join(group).join(file));
            let limit = text.and_then(|text| text.trim().parse::<u64>().ok());
            let limit = limit.filter(|bytes| *bytes < UNLIMITED_BYTES);
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}

/// A sentence for each bound that is above what is granted.
pub(super) fn warnings(
    bounds: &Bounds,
    descriptors_max: Option<u64>,
    memory_max: Option<u64>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let total = &bounds.total;
    if let Some(max) = descriptors_max.filter(|max| *max < total.descriptors) {
        warnings.push(format!(
            "up to {} descriptors may be needed, and this process may open {max}; \
             raise the limit (RLIMIT_NOFILE) or lower logs.held_files_max",
            total.descriptors
        ));
    }
    if let Some(max) = memory_max.filter(|max| *max < total.memory_bytes) {
        warnings.push(format!(
            "up to {} bytes of memory may be needed, and the control group grants {max}; \
             raise its limit or lower payload_slots, payload_bytes_max or workers",
            total.memory_bytes
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::bounds::Bound;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let read = |path: &Path| {
            let mut files = files.iter();
            let file = files.find(|(name, _)| Path::new(name) == path);
            file.map(|(_, content)| (*content).to_owned())
        };
        memory_limit(groups, &read)
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "2000\n"),
        ];
        assert_eq!(limit("0::/a/b\n", &files), Some(1000));
        assert_eq!(limit("0::/\n", &files), Some(2000));
        assert_eq!(limit("0::/../../x\n", &files), Some(2000));
    }

    #[test]
    fn version_1_is_read_and_its_unlimited_is_none() {
        let path = "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes";
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let groups = "12:cpu,cpuacct:/pod\n7:memory:/pod\n1:name=systemd:/pod\n";
        let unlimited = "9223372036854771712\n";
        assert_eq!(
            limit(groups, &[(path, "4096\n"), (root, unlimited)]),
            Some(4096)
        );
        assert_eq!(limit(groups, &[(path, unlimited)]), None);
        assert_eq!(limit("nonsense\n1:memory\n", &[(path, "4096\n")]), None);
    }

    #[test]
    fn only_what_is_short_is_warned_of() {
        let bounds = Bounds {
            base: Bound::default(),
            sinks: Vec::new(),
            total: Bound {
                memory_bytes: 100,
                descriptors: 10,
            },
        };
        assert_eq!(warnings(&bounds, Some(10), Some(100)), Vec::<String>::new());
        assert_eq!(warnings(&bounds, None, None), Vec::<String>::new());
        let both = warnings(&bounds, Some(9), Some(99));
        assert!(
            both[0].contains("may open 9;") && both[1].contains("grants 99;"),
            "{both:?}"
        );
    }
}
