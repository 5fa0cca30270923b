//! The processes of containers, found through the host's procfs: when they started, and which network they are in.
//!
//! No right is needed for any of it, and no shared pid namespace: where `cgroup.procs` names no process that this one
//! can see, the host's procfs still does, and each process says there which cgroup it is in. Which network namespace a
//! process has is told by the inode of its `net/dev`: the kernel makes these files once for each namespace, while the
//! link `ns/net` needs the right to trace.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};

use super::place;
use crate::node::cgroup::reader::Reader;
use crate::node::host::Host;

/// More processes of one node are not looked at in one scan.
const SCAN_MAX: usize = 32_768;

/// More processes of one container are not looked at: the first one is among the first.
pub const PROCESSES_MAX: usize = 8;

/// A container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in the host's procfs.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub started_ticks: u64,
    /// Whether it is called `pause`, as the process is that does nothing but hold a pod's namespaces.
    pub is_pause: bool,
}

/// The oldest of the processes `pids` that are in container `id`.
pub fn first(proc: &Path, pids: &[u32], id: &str, reader: &mut Reader) -> Option<Process> {
    let mut first: Option<Process> = None;
    for pid in pids.iter().take(PROCESSES_MAX) {
        let path = format!("/{pid}");
        if container_of(proc.as_os_str(), &path, reader).as_deref() != Some(id) {
            continue;
        }
        let Some((name, ticks)) = reader
            .text(proc.as_os_str(), &path, "stat")
            .and_then(name_and_start)
        else {
            continue;
        };
        if first.is_none_or(|known| ticks < known.started_ticks) {
            first = Some(Process {
                pid: *pid,
                started_ticks: ticks,
                is_pause: name == "pause",
            });
        }
    }
    first
}

/// The processes of all containers, by id.
pub fn scan(proc: &Path, reader: &mut Reader) -> HashMap<String, Vec<u32>> {
    let mut found: HashMap<String, Vec<u32>> = HashMap::new();
    let Ok(entries) = fs::read_dir(proc) else {
        return found;
    };
    let mut pids: Vec<u32> = entries
        .map_while(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(SCAN_MAX)
        .collect();
    pids.sort_unstable();
    for pid in pids {
        if let Some(id) = container_of(proc.as_os_str(), &format!("/{pid}"), reader) {
            let known = found.entry(id).or_default();
            if known.len() < PROCESSES_MAX {
                known.push(pid);
            }
        }
    }
    found
}

/// The container that a process is in, by its `cgroup` file: lines `<number>:<controllers>:<path>`.
fn container_of(proc: &OsStr, path: &str, reader: &mut Reader) -> Option<String> {
    let text = reader.text(proc, path, "cgroup")?;
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.find_map(|path| place::place(path)?.container)
}

/// The name and the start, in ticks since the boot, in a `stat` file of proc(5): the name stands in brackets and may
/// hold anything, also brackets.
fn name_and_start(text: &str) -> Option<(&str, u64)> {
    let (head, fields) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once(" (")?;
    let start = fields.split(' ').nth(19)?.parse().ok()?;
    Some((name, start))
}

/// The moment `ticks` after the boot.
pub fn moment(boot: SystemTime, ticks: u64) -> Option<SystemTime> {
    let frequency = rustix::param::clock_ticks_per_second().max(1);
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(frequency);
    boot.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// When the node booted.
pub fn boot(host: &Host) -> Option<SystemTime> {
    let mut text = String::new();
    host.read_proc("stat", &mut text).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.trim().parse().ok()?))
}

/// A process whose network is read again and again; it is held by its directory, so that another of the same number
/// is never taken for it.
#[derive(Debug)]
pub struct Network {
    directory: OwnedFd,
}

/// Which network a process has.
#[derive(Debug)]
pub enum Which {
    /// The node's.
    Host,
    /// Another.
    Own(Network),
}

/// The network of process `pid` beside that of the node's first process. `None`: one of them cannot be seen.
pub fn network(proc: &Path, pid: u32) -> Option<Which> {
    let inode = |path: &str| fs::metadata(proc.join(path)).ok().map(|meta| meta.ino());
    let directory = rustix::fs::open(
        proc.join(pid.to_string()),
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let directory = directory.ok()?;
    if inode("1/net/dev")? == inode(&format!("{pid}/net/dev"))? {
        return Some(Which::Host);
    }
    Some(Which::Own(Network { directory }))
}

impl Network {
    /// What its interfaces have carried: calls `take` with each. False: the process is gone.
    pub fn read(&self, reader: &mut Reader, take: impl FnMut(&str, &Traffic)) -> bool {
        let text = reader.text_at(&self.directory, "net/dev");
        text.is_some_and(|text| {
            interfaces(text, take);
            true
        })
    }
}

/// What one interface has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes, packets, errors, drops: received.
    pub received: [u64; 4],
    /// The same, sent.
    pub sent: [u64; 4],
}

/// `net/dev`: two lines of headings, then `<name>: ` and 16 numbers. Left out is what carries nothing in or out of the
/// pod: loopback, and the ends of pairs within it.
fn interfaces(text: &str, mut take: impl FnMut(&str, &Traffic)) {
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        let name = name.trim_ascii();
        if ["lo", "veth", "docker"]
            .iter()
            .any(|head| name.starts_with(head))
        {
            continue;
        }
        let mut all = [0_u64; 16];
        let mut count = 0;
        for (number, word) in all.iter_mut().zip(numbers.split_ascii_whitespace()) {
            let Ok(value) = word.parse() else {
                break;
            };
            *number = value;
            count += 1;
        }
        if count == all.len() {
            let [a, b, c, d, _, _, _, _, e, f, g, h, ..] = all;
            take(
                name,
                &Traffic {
                    received: [a, b, c, d],
                    sent: [e, f, g, h],
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_start() {
        let fields = (3..60).map(|field| field.to_string()).collect::<Vec<_>>();
        let text = format!("12 (a) R (b) {}", fields.join(" "));
        assert_eq!(name_and_start(&text), Some(("a) R (b", 22)));
    }

    #[test]
    fn only_what_leaves_the_pod_counts() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n eth1: 1 2\n";
        let mut seen = Vec::new();
        interfaces(text, |name, traffic| seen.push((name.to_owned(), *traffic)));
        let traffic = Traffic {
            received: [1, 2, 3, 4],
            sent: [9, 10, 11, 12],
        };
        assert_eq!(seen, [("eth0".to_owned(), traffic)]);
    }

    #[test]
    fn this_process_has_its_own_network_or_the_hosts() {
        let own = network(Path::new("/proc"), std::process::id());
        let same = fs::metadata("/proc/1/net/dev").unwrap().ino()
            == fs::metadata("/proc/self/net/dev").unwrap().ino();
        assert_eq!(matches!(own, Some(Which::Host)), same);
    }

    proptest! {
        /// No bytes stop a parser.
        #[test]
        fn any_text_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            interfaces(&text, |_, _| {});
            let _ = name_and_start(&text);
        }

        /// A later moment for more ticks, and none before the boot.
        #[test]
        fn moments_follow_the_boot(ticks in any::<u32>()) {
            let at = moment(UNIX_EPOCH, ticks.into()).unwrap();
            prop_assert!(at >= UNIX_EPOCH && moment(UNIX_EPOCH, u64::from(ticks) + 1).unwrap() > at);
        }
    }
}
