//! What the kernel counts for one cgroup, from the files of version 2 or of version 1, whichever the node has.
//!
//! Invariant: of one file at most [`FILE_BYTES_MAX`] are read; a file that is not there is a number that is not known.

pub mod parse;
pub mod reader;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use self::parse::{Device, Io, Limit, Pressure};
use self::reader::Reader;
use super::host::HostError;

/// More of one cgroup file is not read; `memory.stat` has about 2 KiB, `io.stat` 100 bytes a device.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Where a container's processes are listed: in its cgroup, or in the leaf that CRI-O may make in it.
const PROCESSES: [&str; 2] = ["cgroup.procs", "container/cgroup.procs"];

/// Which numbers are wanted; what is not is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// CPU time and throttling.
    pub cpu: bool,
    /// What memory is used for.
    pub memory: bool,
    /// The most memory ever used.
    pub memory_max: bool,
    /// Kills for want of memory.
    pub kills: bool,
    /// Disk operations and bytes.
    pub io: bool,
    /// Threads.
    pub threads: bool,
    /// Processes.
    pub processes: bool,
    /// Waiting times.
    pub pressure: bool,
}

/// What a cgroup has used; each number only where the kernel tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, ns.
    pub cpu_ns: Option<u64>,
    /// Of it in user mode, ns.
    pub user_ns: Option<u64>,
    /// Of it in the kernel, ns.
    pub system_ns: Option<u64>,
    /// Periods in which a quota was enforced.
    pub periods: Option<u64>,
    /// Of those, in which it was used up.
    pub throttled_periods: Option<u64>,
    /// How long it was held back by a quota, ns.
    pub throttled_ns: Option<u64>,
    /// Memory in use, bytes, page cache included.
    pub memory: Option<u64>,
    /// The most of it, bytes.
    pub memory_max: Option<u64>,
    /// Anonymous memory, bytes.
    pub rss: Option<u64>,
    /// Page cache, bytes.
    pub cache: Option<u64>,
    /// Page cache that was not used lately, bytes.
    pub inactive_file: Option<u64>,
    /// Mapped files, bytes.
    pub mapped_file: Option<u64>,
    /// Swapped out, bytes.
    pub swap: Option<u64>,
    /// Page faults.
    pub faults: Option<u64>,
    /// Of those, with a read from disk.
    pub major_faults: Option<u64>,
    /// Processes killed for want of memory.
    pub kills: Option<u64>,
    /// Threads now.
    pub threads: Option<u64>,
    /// Processes now.
    pub processes: Option<u64>,
    /// Disk operations and bytes.
    pub io: Vec<(Device, Io)>,
    /// Waiting for the CPU.
    pub cpu_pressure: Pressure,
    /// Waiting for memory.
    pub memory_pressure: Pressure,
    /// Waiting for disks.
    pub io_pressure: Pressure,
}

impl Usage {
    /// The memory that cannot be taken back without harm: what the kubelet compares with limits when it evicts.
    pub fn working_set(&self) -> Option<u64> {
        let memory = self.memory?;
        Some(memory.saturating_sub(self.inactive_file.unwrap_or(0)))
    }

    fn clear(&mut self) {
        let mut io = std::mem::take(&mut self.io);
        io.clear();
        *self = Usage {
            io,
            ..Usage::default()
        };
    }
}

/// What a cgroup may use at most. Rarely changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The period of the CPU quota, us.
    pub period_us: Option<u64>,
    /// CPU time in each period, us.
    pub quota_us: Option<Limit>,
    /// Share of the CPU, in the units of version 1.
    pub shares: Option<u64>,
    /// Memory, bytes.
    pub memory: Option<Limit>,
    /// Memory that is kept for it, bytes.
    pub reservation: Option<Limit>,
    /// Swap (version 2), or memory and swap (version 1), bytes.
    pub swap: Option<Limit>,
    /// Threads.
    pub threads: Option<Limit>,
}

/// Where the controllers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The hierarchy in which to look for pods.
    pub walk: PathBuf,
    controllers: Controllers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Controllers {
    Unified(PathBuf),
    Separate(Box<Separate>),
}

/// Version 1: each controller has a hierarchy of its own, some share one. `unified`: version 2 beside it, without
/// controllers, but with pressure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Separate {
    cpu: Option<PathBuf>,
    accounting: Option<PathBuf>,
    memory: Option<PathBuf>,
    io: Option<PathBuf>,
    pids: Option<PathBuf>,
    unified: Option<PathBuf>,
}

impl Layout {
    /// Finds the hierarchies below a sysfs: by the files in them, because what a mount's type says within a container
    /// depends on how it was mounted.
    pub fn find(sys: &Path) -> Result<Layout, HostError> {
        let root = sys.join("fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            return Ok(Layout {
                walk: root.clone(),
                controllers: Controllers::Unified(root),
            });
        }
        let of = |names: &[&str], file: &str| {
            let mut paths = names.iter().map(|name| root.join(name));
            paths.find(|path| path.join(file).exists())
        };
        let separate = Separate {
            cpu: of(&["cpu", "cpu,cpuacct", "cpuacct,cpu"], "cpu.shares"),
            accounting: of(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"], "cpuacct.usage"),
            memory: of(&["memory"], "memory.usage_in_bytes"),
            io: of(&["blkio"], "cgroup.procs"),
            pids: of(&["pids"], "cgroup.procs"),
            unified: of(&["unified"], "cgroup.controllers"),
        };
        let walk = [&separate.memory, &separate.accounting, &separate.cpu]
            .into_iter()
            .find_map(Clone::clone)
            .ok_or(HostError::Missing { path: root })?;
        Ok(Layout {
            walk,
            controllers: Controllers::Separate(Box::new(separate)),
        })
    }

    /// Whether controllers are those of version 2.
    pub fn is_unified(&self) -> bool {
        matches!(self.controllers, Controllers::Unified(_))
    }

    /// Reads what the cgroup at `path` (below each hierarchy, beginning with `/`) has used. False: it is gone.
    pub fn usage(&self, path: &str, wants: Wants, reader: &mut Reader, out: &mut Usage) -> bool {
        out.clear();
        match &self.controllers {
            Controllers::Unified(root) => usage_unified(root, path, wants, reader, out),
            Controllers::Separate(roots) => usage_separate(roots, path, wants, reader, out),
        }
        out.cpu_ns.is_some() || out.memory.is_some() || !(wants.cpu || wants.memory)
    }

    /// Reads what the cgroup at `path` may use.
    pub fn limits(&self, path: &str, reader: &mut Reader) -> Limits {
        match &self.controllers {
            Controllers::Unified(root) => limits_unified(root, path, reader),
            Controllers::Separate(roots) => limits_separate(roots, path, reader),
        }
    }

    /// The processes in the cgroup at `path`, as this process sees them: 0 for one of another pid namespace (version
    /// 2), or none of those at all (version 1).
    pub fn processes(&self, path: &str, reader: &mut Reader, mut take: impl FnMut(u32)) {
        let mut count = 0;
        for file in PROCESSES {
            if count == 0
                && let Some(text) = reader.whole(self.walk.as_os_str(), path, file)
            {
                let processes = text.lines().filter_map(|line| line.parse().ok());
                count += processes.map(&mut take).count();
            }
        }
    }
}

fn usage_unified(root: &Path, path: &str, wants: Wants, reader: &mut Reader, out: &mut Usage) {
    let root = root.as_os_str();
    if wants.cpu
        && let Some(text) = reader.text(root, path, "cpu.stat")
    {
        parse::keyed(text, |key, value| match key {
            "usage_usec" => out.cpu_ns = Some(value.saturating_mul(1000)),
            "user_usec" => out.user_ns = Some(value.saturating_mul(1000)),
            "system_usec" => out.system_ns = Some(value.saturating_mul(1000)),
            "nr_periods" => out.periods = Some(value),
            "nr_throttled" => out.throttled_periods = Some(value),
            "throttled_usec" => out.throttled_ns = Some(value.saturating_mul(1000)),
            _ => {}
        });
    }
    if wants.memory {
        out.memory = reader.number(root, path, "memory.current");
        out.swap = reader.number(root, path, "memory.swap.current");
        if let Some(text) = reader.text(root, path, "memory.stat") {
            parse::keyed(text, |key, value| match key {
                "anon" => out.rss = Some(value),
                "file" => out.cache = Some(value),
                "file_mapped" => out.mapped_file = Some(value),
                "inactive_file" => out.inactive_file = Some(value),
                "pgfault" => out.faults = Some(value),
                "pgmajfault" => out.major_faults = Some(value),
                _ => {}
            });
        }
    }
    if wants.memory_max {
        out.memory_max = reader.number(root, path, "memory.peak");
    }
    if wants.kills
        && let Some(text) = reader.text(root, path, "memory.events")
    {
        parse::keyed(text, |key, value| {
            if key == "oom_kill" {
                out.kills = Some(value);
            }
        });
    }
    if wants.io
        && let Some(text) = reader.text(root, path, "io.stat")
    {
        parse::io_stat(text, &mut out.io);
    }
    if wants.threads {
        out.threads = reader.number(root, path, "pids.current");
    }
    if wants.processes {
        out.processes = count(root, path, reader);
    }
    if wants.pressure {
        pressures(root, path, reader, out);
    }
}

fn usage_separate(
    roots: &Separate,
    path: &str,
    wants: Wants,
    reader: &mut Reader,
    out: &mut Usage,
) {
    if wants.cpu {
        cpu_separate(roots, path, reader, out);
    }
    if let Some(root) = &roots.memory {
        let root = root.as_os_str();
        if wants.memory {
            out.memory = reader.number(root, path, "memory.usage_in_bytes");
            if let Some(text) = reader.text(root, path, "memory.stat") {
                memory_stat(text, out);
            }
        }
        if wants.memory_max {
            out.memory_max = reader.number(root, path, "memory.max_usage_in_bytes");
        }
        if wants.kills
            && let Some(text) = reader.text(root, path, "memory.oom_control")
        {
            parse::keyed(text, |key, value| {
                if key == "oom_kill" {
                    out.kills = Some(value);
                }
            });
        }
    }
    if wants.io
        && let Some(root) = &roots.io
    {
        for (file, bytes) in [
            ("blkio.throttle.io_service_bytes_recursive", true),
            ("blkio.throttle.io_serviced_recursive", false),
        ] {
            if let Some(text) = reader.text(root.as_os_str(), path, file) {
                parse::blkio(text, bytes, &mut out.io);
            }
        }
    }
    if let Some(root) = &roots.pids {
        let root = root.as_os_str();
        if wants.threads {
            out.threads = reader.number(root, path, "pids.current");
        }
        if wants.processes {
            // None seen where there are threads: they are in a pid namespace that this process does not see.
            let processes = count(root, path, reader);
            out.processes = processes.filter(|count| *count > 0 || out.threads == Some(0));
        }
    }
    if wants.pressure
        && let Some(root) = &roots.unified
    {
        pressures(root.as_os_str(), path, reader, out);
    }
}

fn cpu_separate(roots: &Separate, path: &str, reader: &mut Reader, out: &mut Usage) {
    if let Some(root) = &roots.accounting {
        let root = root.as_os_str();
        out.cpu_ns = reader.number(root, path, "cpuacct.usage");
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        if let Some(text) = reader.text(root, path, "cpuacct.stat") {
            parse::keyed(text, |key, value| match key {
                "user" => out.user_ns = Some(value.saturating_mul(tick_ns)),
                "system" => out.system_ns = Some(value.saturating_mul(tick_ns)),
                _ => {}
            });
        }
    }
    if let Some(root) = &roots.cpu
        && let Some(text) = reader.text(root.as_os_str(), path, "cpu.stat")
    {
        parse::keyed(text, |key, value| match key {
            "nr_periods" => out.periods = Some(value),
            "nr_throttled" => out.throttled_periods = Some(value),
            "throttled_time" => out.throttled_ns = Some(value),
            _ => {}
        });
    }
}

/// `memory.stat` of version 1: what is below the cgroup is in the `total_` lines, which come last; a cgroup without
/// hierarchical accounting has only the others.
fn memory_stat(text: &str, out: &mut Usage) {
    parse::keyed(text, |key, value| match key {
        "rss" | "total_rss" => out.rss = Some(value),
        "cache" | "total_cache" => out.cache = Some(value),
        "swap" | "total_swap" => out.swap = Some(value),
        "mapped_file" | "total_mapped_file" => out.mapped_file = Some(value),
        "total_inactive_file" => out.inactive_file = Some(value),
        "pgfault" | "total_pgfault" => out.faults = Some(value),
        "pgmajfault" | "total_pgmajfault" => out.major_faults = Some(value),
        _ => {}
    });
}

fn pressures(root: &OsStr, path: &str, reader: &mut Reader, out: &mut Usage) {
    let mut of = |file: &'static str| {
        let text = reader.text(root, path, file);
        text.map_or_else(Pressure::default, parse::pressure)
    };
    out.cpu_pressure = of("cpu.pressure");
    out.memory_pressure = of("memory.pressure");
    out.io_pressure = of("io.pressure");
}

/// How many processes there are.
fn count(root: &OsStr, path: &str, reader: &mut Reader) -> Option<u64> {
    let mut count = None;
    for file in PROCESSES {
        if count.unwrap_or(0) == 0
            && let Some(text) = reader.whole(root, path, file)
        {
            count = Some(text.lines().count() as u64);
        }
    }
    count
}

fn limits_unified(root: &Path, path: &str, reader: &mut Reader) -> Limits {
    let root = root.as_os_str();
    let max = reader.text(root, path, "cpu.max").and_then(parse::cpu_max);
    let weight = reader.number(root, path, "cpu.weight");
    Limits {
        quota_us: max.map(|(quota, _)| quota),
        period_us: max.map(|(_, period)| period),
        shares: weight.map(parse::shares_of_weight),
        memory: reader.limit(root, path, "memory.max"),
        reservation: reader.limit(root, path, "memory.min"),
        swap: reader.limit(root, path, "memory.swap.max"),
        threads: reader.limit(root, path, "pids.max"),
    }
}

fn limits_separate(roots: &Separate, path: &str, reader: &mut Reader) -> Limits {
    let mut limits = Limits::default();
    if let Some(root) = &roots.cpu {
        let root = root.as_os_str();
        limits.quota_us = reader.limit(root, path, "cpu.cfs_quota_us");
        limits.period_us = reader.number(root, path, "cpu.cfs_period_us");
        limits.shares = reader.number(root, path, "cpu.shares");
    }
    if let Some(root) = &roots.memory {
        let root = root.as_os_str();
        limits.memory = reader.limit(root, path, "memory.limit_in_bytes");
        limits.reservation = reader.limit(root, path, "memory.soft_limit_in_bytes");
        limits.swap = reader.limit(root, path, "memory.memsw.limit_in_bytes");
    }
    if let Some(root) = &roots.pids {
        limits.threads = reader.limit(root.as_os_str(), path, "pids.max");
    }
    limits
}
