//! Capacity of the node's file systems: its mounts from `1/mountinfo`, each asked with statvfs(3) below the host's root.
//!
//! Invariants: a file system that does not answer delays a sample once, and then no more; one that cannot be asked is
//! a series that says so; a mount that the agent does not see has no numbers, rather than those of the file system
//! around it; a device, mount point and type is there once.

pub mod mounts;
pub mod probe;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::mounts::{Mount, parse};
use self::probe::{Answer, Found, Prober};
use super::Collect;
use super::fields::Faults;
use super::filter::Filter;
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Snapshot, Spec, Unit};
use crate::config::metrics::Metrics;

/// See the module.
pub struct Filesystems {
    text: String,
    mounts_exclude: Filter,
    types_exclude: Filter,
    prober: Prober,
    seen: HashSet<[String; 3]>,
}

static SIZE: Spec = Spec::gauge(
    "node_filesystem_size_bytes",
    Unit::Bytes,
    "Size of the file system.",
);
static FREE: Spec = Spec::gauge(
    "node_filesystem_free_bytes",
    Unit::Bytes,
    "Free space, with what is kept for root.",
);
static AVAILABLE: Spec = Spec::gauge(
    "node_filesystem_avail_bytes",
    Unit::Bytes,
    "Free space that any user may take.",
);
static FILES: Spec = Spec::gauge(
    "node_filesystem_files",
    Unit::Count,
    "Most files that there can be.",
);
static FILES_FREE: Spec = Spec::gauge(
    "node_filesystem_files_free",
    Unit::Count,
    "Files that can still be made.",
);
static READ_ONLY: Spec = Spec::gauge(
    "node_filesystem_readonly",
    Unit::One,
    "1 while it cannot be written to.",
);
static DEVICE_ERROR: Spec = Spec::gauge(
    "node_filesystem_device_error",
    Unit::One,
    "1 while it cannot be asked for its capacity; the label device_error says why.",
);

impl Filesystems {
    /// With the exclusions and the patience of a config.
    pub fn new(config: &Metrics) -> Filesystems {
        Filesystems {
            text: String::new(),
            mounts_exclude: Filter::new(&config.filesystem_mounts_exclude),
            types_exclude: Filter::new(&config.filesystem_types_exclude),
            prober: Prober::new(Duration::from_millis(config.statvfs_timeout_ms)),
            seen: HashSet::new(),
        }
    }

    fn one(&mut self, host: &Host, mount: &Mount<'_>, out: &mut Snapshot) {
        let point = below(&host.root, &mount.point);
        if self.mounts_exclude.matches(point) || self.types_exclude.matches(mount.kind) {
            return;
        }
        let labels = [
            ("device", &*mount.device),
            ("mountpoint", point),
            ("fstype", mount.kind),
        ];
        if !self.seen.insert(labels.map(|(_, value)| value.to_owned())) {
            return;
        }
        let read_only = if mount.read_only { 1.0 } else { 0.0 };
        out.add(&READ_ONLY, &labels, read_only);
        let error = match self.prober.ask(&on(&host.root, point)) {
            Answer::Found(found) if !is_of(&found, mount) => "not_visible".to_owned(),
            Answer::Found(Found { capacity: full, .. }) => {
                let unit = full.f_frsize as f64;
                for (spec, value) in [
                    (&SIZE, full.f_blocks as f64 * unit),
                    (&FREE, full.f_bfree as f64 * unit),
                    (&AVAILABLE, full.f_bavail as f64 * unit),
                    (&FILES, full.f_files as f64),
                    (&FILES_FREE, full.f_ffree as f64),
                ] {
                    out.add(spec, &labels, value);
                }
                out.add(&DEVICE_ERROR, &labels, 0.0);
                return;
            }
            Answer::Error(error) => probe::name(error),
            Answer::Stuck => "stuck".to_owned(),
            Answer::NotAsked => "not_asked".to_owned(),
        };
        let [device, mountpoint, kind] = labels;
        out.add(
            &DEVICE_ERROR,
            &[device, mountpoint, kind, ("device_error", &error)],
            1.0,
        );
    }
}

impl Collect for Filesystems {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut text = std::mem::take(&mut self.text);
        let read = init::read(host, "mountinfo", &mut text);
        let result = read.and_then(|concern| {
            self.seen.clear();
            self.prober.begin();
            let mut faults = Faults::of("a mount");
            for line in text.lines() {
                if let Some(mount) = faults.keep(parse(line)) {
                    self.one(host, &mount, out);
                }
            }
            init::told(concern).and(faults.told(&host.proc.join("1/mountinfo")))
        });
        self.text = text;
        result
    }
}

/// Types whose subvolumes have numbers of their own, which are not those in `mountinfo`.
const NUMBERED: [&str; 2] = ["btrfs", "bcachefs"];

/// Whether what is found at a mount point is the mount: the same file system, or at least something that is mounted
/// there. Else it is the directory below: the mount is not in the agent's view of the host's root.
fn is_of(found: &Found, mount: &Mount<'_>) -> bool {
    found.number == mount.number
        || found
            .is_mount
            .unwrap_or_else(|| NUMBERED.contains(&mount.kind))
}

/// A mount point as the host sees it: where the mounts are the agent's own, they lie below its view of the host's root.
fn below<'m>(root: &Path, point: &'m str) -> &'m str {
    let root = root.to_string_lossy();
    match point.strip_prefix(root.trim_end_matches('/')) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => point,
    }
}

/// The agent's path to a mount point.
fn on(root: &Path, point: &str) -> PathBuf {
    root.join(point.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    /// `HERE` stands for the number of the file system that holds the tree.
    const MOUNTINFO: &str = "\
22 1 HERE / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:5 / /proc rw - proc proc rw
24 22 HERE / /mnt/a\\040b ro,relatime - xfs /dev/sdb rw
25 22 HERE / /mnt/a\\040b rw,relatime - xfs /dev/sdb ro
26 22 0:6 / /gone rw - tmpfs tmpfs rw
27 22 0:7 / /var/lib/kubelet/pods/u/volumes/v rw - tmpfs tmpfs rw
bad line
28 22 HERE / /late rw - tmpfs tmpfs rw
";

    /// The number of the file system that holds temporary files.
    fn here() -> (u32, u32) {
        let device = rustix::fs::stat(std::env::temp_dir()).unwrap().st_dev;
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    fn mountinfo() -> String {
        let (major, minor) = here();
        MOUNTINFO.replace("HERE", &format!("{major}:{minor}"))
    }

    fn collector() -> Filesystems {
        Filesystems::new(&Metrics::new(&|_| None))
    }

    #[test]
    fn each_mount_has_a_capacity_or_an_error() {
        let tree = Tree::new(&[
            ("proc/1/mountinfo", &mountinfo()),
            ("root/mnt/a b/x", ""),
            ("root/late/x", ""),
        ]);
        let (snapshot, result) = tree.collect(&mut collector());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        let labels =
            |device, point, kind| [("device", device), ("mountpoint", point), ("fstype", kind)];
        let here = rustix::fs::statvfs(tree.path()).unwrap();
        for labels in [
            labels("/dev/sda1", "/", "ext4"),
            labels("/dev/sdb", "/mnt/a b", "xfs"),
            labels("tmpfs", "/late", "tmpfs"),
        ] {
            let size = value(&snapshot, "node_filesystem_size_bytes", &labels);
            assert_eq!(size, (here.f_blocks * here.f_frsize) as f64);
            assert_eq!(
                value(&snapshot, "node_filesystem_device_error", &labels),
                0.0
            );
        }
        let gone = labels("tmpfs", "/gone", "tmpfs");
        assert_eq!(value(&snapshot, "node_filesystem_readonly", &gone), 0.0);
        let mut error = gone.to_vec();
        error.push(("device_error", "ENOENT"));
        assert_eq!(
            value(&snapshot, "node_filesystem_device_error", &error),
            1.0
        );
        assert_eq!(snapshot.series(), 3 * 7 + 2);
        let read_only = labels("/dev/sdb", "/mnt/a b", "xfs");
        assert_eq!(
            value(&snapshot, "node_filesystem_readonly", &read_only),
            1.0
        );
    }

    #[test]
    fn a_mount_that_is_not_seen_has_no_numbers_of_another() {
        let other = (here().0 + 1, here().1);
        let line = format!(
            "30 1 {}:{} / /data rw - xfs /dev/sdc rw\n",
            other.0, other.1
        );
        let tree = Tree::new(&[("proc/1/mountinfo", &line), ("root/data/x", "")]);
        let (snapshot, result) = tree.collect(&mut collector());
        result.unwrap();
        let labels = [
            ("device", "/dev/sdc"),
            ("mountpoint", "/data"),
            ("fstype", "xfs"),
            ("device_error", "not_visible"),
        ];
        let name = "node_filesystem_device_error";
        assert_eq!(value(&snapshot, name, &labels), 1.0);
        assert_eq!(
            snapshot.value("node_filesystem_size_bytes", &labels[..3]),
            None
        );
    }

    #[test]
    fn what_is_mounted_is_of_its_mount_whatever_its_number() {
        let of = |line, number, is_mount| {
            let found = Found {
                capacity: rustix::fs::statvfs("/").unwrap(),
                number,
                is_mount,
            };
            is_of(&found, &parse(line).unwrap())
        };
        let plain = "30 1 8:1 / /data rw - xfs /dev/sdc rw";
        let volume = "30 1 0:30 / /data rw - btrfs /dev/sdc rw";
        assert!(of(plain, (8, 1), Some(false)) && of(plain, (8, 1), None));
        assert!(!of(plain, (8, 2), Some(false)) && !of(plain, (8, 2), None));
        assert!(of(volume, (0, 31), Some(true)) && of(volume, (0, 31), None));
        assert!(!of(volume, (0, 31), Some(false)));
    }

    #[test]
    fn the_kernel_says_what_is_a_mount() {
        let mut prober = Prober::new(Duration::from_secs(60));
        let tree = Tree::new(&[]);
        for (path, is_mount) in [(Path::new("/proc"), true), (tree.path(), false)] {
            let Answer::Found(found) = prober.ask(path) else {
                panic!("{path:?} has no answer");
            };
            assert_eq!(found.is_mount.unwrap_or(is_mount), is_mount);
        }
    }

    #[test]
    fn mount_points_are_the_hosts() {
        let root = Path::new("/host/root");
        assert_eq!(below(root, "/host/root/boot"), "/boot");
        assert_eq!(below(root, "/host/root"), "/");
        assert_eq!(below(root, "/host/rooted"), "/host/rooted");
        assert_eq!(below(Path::new("/"), "/boot"), "/boot");
        assert_eq!(below(Path::new("/"), "/"), "/");
        assert_eq!(on(root, "/"), Path::new("/host/root/"));
        assert_eq!(on(root, "/boot"), Path::new("/host/root/boot"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(MOUNTINFO)) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/mountinfo", &bytes);
            check_valid(&tree.collect(&mut collector()).0);
        }
    }
}
