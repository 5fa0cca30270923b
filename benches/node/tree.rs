//! A node with containers, made of real files: cgroups of version 2 or 1, the procfs of the pods' processes, the
//! kubelet's log tree and an IPAM directory. The texts are as long as a kernel writes them.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore::node::host::Host;

/// Pods, each with a sandbox and so many containers.
const PODS: usize = 50;
const CONTAINERS_EACH: usize = 2;

/// Which cgroups there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy.
    Unified,
    /// One for each controller.
    Separate,
}

/// The directory, which goes with it.
pub struct Tree {
    directory: tempfile::TempDir,
    version: Version,
}

impl Tree {
    /// Below `parent`.
    pub fn new(parent: &Path, version: Version) -> io::Result<Tree> {
        let directory = tempfile::tempdir_in(parent)?;
        let tree = Tree { directory, version };
        tree.node()?;
        for pod in 0..PODS {
            tree.pod(pod)?;
        }
        Ok(tree)
    }

    /// Its roots.
    pub fn host(&self) -> Host {
        Host {
            proc: self.path("proc"),
            sys: self.path("sys"),
            root: self.path("root"),
        }
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.path(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)
    }

    fn node(&self) -> io::Result<()> {
        self.write("proc/stat", "cpu 1 2\nbtime 1700000000\n")?;
        self.write("proc/1/net/dev", &interfaces(9))?;
        self.write(
            "proc/diskstats",
            "   8       0 sda 1 2 3\n 259 0 nvme0n1 1\n",
        )?;
        self.write("root/etc/cni/net.d/10.conflist", CNI)?;
        match self.version {
            Version::Unified => self.write("sys/fs/cgroup/cgroup.controllers", "cpu memory io\n"),
            Version::Separate => self.cgroup(""),
        }
    }

    fn pod(&self, pod: usize) -> io::Result<()> {
        let uid = format!("6d2cd5a0-0f2b-4c37-9c69-{pod:012x}");
        let name = format!("checkout-{pod:04}-7c9d8b6f5d-x2lqp");
        fs::create_dir_all(self.path(&format!("log/pods/shop_{name}_{uid}")))?;
        let slice = uid.replace('-', "_");
        let parent =
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice");
        self.cgroup(&parent)?;
        for number in 0..=CONTAINERS_EACH {
            let id = format!("{:064x}", (pod + 1) * 16 + number);
            let path = format!("{parent}/cri-containerd-{id}.scope");
            self.cgroup(&path)?;
            let pid = 1_000 + pod * 16 + number;
            self.process(pid, &path, number == 0)?;
            if number == 0 {
                let address = format!("root/var/lib/cni/networks/pods/10.244.3.{}", pod + 2);
                self.write(&address, &format!("{id}\r\neth0"))?;
            } else {
                let link = format!("log/containers/{name}_shop_main-{number}-{id}.log");
                self.write(&link, "")?;
            }
        }
        Ok(())
    }

    fn process(&self, pid: usize, cgroup: &str, is_sandbox: bool) -> io::Result<()> {
        let name = if is_sandbox { "pause" } else { "server" };
        let fields = vec!["0"; 18].join(" ");
        let stat = format!("{pid} ({name}) S {fields} {} 0\n", 5_000 + pid);
        self.write(&format!("proc/{pid}/stat"), &stat)?;
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"))?;
        self.write(&format!("proc/{pid}/net/dev"), &interfaces(pid))?;
        let file = match self.version {
            Version::Unified => format!("sys/fs/cgroup{cgroup}/cgroup.procs"),
            Version::Separate => format!("sys/fs/cgroup/memory{cgroup}/cgroup.procs"),
        };
        self.write(&file, &format!("{pid}\n"))
    }

    fn cgroup(&self, path: &str) -> io::Result<()> {
        match self.version {
            Version::Unified => {
                for (file, text) in UNIFIED {
                    self.write(&format!("sys/fs/cgroup{path}/{file}"), text)?;
                }
                let stat = format!("{}{}", MEMORY_STAT, rest_of_memory_stat(""));
                self.write(&format!("sys/fs/cgroup{path}/memory.stat"), &stat)
            }
            Version::Separate => {
                for (controller, file, text) in SEPARATE {
                    self.write(&format!("sys/fs/cgroup/{controller}{path}/{file}"), text)?;
                }
                let stat = format!("{}{TOTALS}", rest_of_memory_stat(""));
                self.write(&format!("sys/fs/cgroup/memory{path}/memory.stat"), &stat)
            }
        }
    }
}

fn interfaces(number: usize) -> String {
    format!(
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs \
         drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:   \
         123456     1234    0    0    0     0          0         0   123456     1234    0    0    0     0       0     \
             0\n  eth0: {number}     5678    0    0    0     0          0         0   987654     4321    0    0    0 \
             0       0          0\n"
    )
}

/// Keys that are read over.
fn rest_of_memory_stat(head: &str) -> String {
    let mut text = String::new();
    for key in [
        "shmem",
        "kernel",
        "kernel_stack",
        "pagetables",
        "sec_pagetables",
        "percpu",
        "sock",
        "vmalloc",
        "zswap",
        "zswapped",
        "file_dirty",
        "file_writeback",
        "swapcached",
        "anon_thp",
        "file_thp",
        "shmem_thp",
        "inactive_anon",
        "active_anon",
        "active_file",
        "unevictable",
        "slab_reclaimable",
        "slab_unreclaimable",
        "slab",
        "workingset_refault_anon",
        "workingset_refault_file",
        "workingset_activate_anon",
        "workingset_activate_file",
        "workingset_restore_anon",
        "workingset_restore_file",
        "workingset_nodereclaim",
        "pgscan",
        "pgsteal",
        "pgscan_kswapd",
        "pgscan_direct",
        "pgsteal_kswapd",
        "pgsteal_direct",
        "pgrefill",
        "pgactivate",
        "pgdeactivate",
        "pglazyfree",
        "pglazyfreed",
        "thp_fault_alloc",
        "thp_collapse_alloc",
    ] {
        // Writing to a String does not fail.
        let _written = writeln!(text, "{head}{key} 1234567");
    }
    text
}

const CNI: &str = r#"{"name":"pods","plugins":[{"type":"bridge","ipam":{"type":"host-local",
"ranges":[[{"subnet":"10.244.3.0/24"}]]}}]}"#;

const MEMORY_STAT: &str = "anon 300000000\nfile 600000000\nfile_mapped 1000000\ninactive_file 400000000\n\
                           pgfault 7654321\npgmajfault 2345\n";

const TOTALS: &str = "cache 600000000\nrss 300000000\ntotal_cache 600000000\ntotal_rss 300000000\ntotal_swap 4096\n\
                      total_mapped_file 1000000\ntotal_pgfault 7654321\ntotal_pgmajfault 2345\n\
                      total_inactive_file 400000000\n";

const PRESSURE: &str = "some avg10=0.00 avg60=0.12 avg300=0.07 total=1500000\n\
                        full avg10=0.00 avg60=0.05 avg300=0.02 total=900000\n";

const UNIFIED: [(&str, &str); 19] = [
    (
        "cpu.stat",
        "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\ncore_sched.force_idle_usec 0\nnr_periods 10\n\
         nr_throttled 4\nthrottled_usec 500000\nnr_bursts 0\nburst_usec 0\n",
    ),
    ("cpu.max", "50000 100000\n"),
    ("cpu.weight", "39\n"),
    ("cpu.pressure", PRESSURE),
    ("memory.current", "1000000000\n"),
    ("memory.peak", "2000000000\n"),
    ("memory.swap.current", "4096\n"),
    (
        "memory.events",
        "low 0\nhigh 0\nmax 0\noom 1\noom_kill 3\noom_group_kill 0\n",
    ),
    ("memory.max", "2684354560\n"),
    ("memory.min", "0\n"),
    ("memory.swap.max", "max\n"),
    ("memory.pressure", PRESSURE),
    (
        "io.stat",
        "259:0 rbytes=12345678 wbytes=23456789 rios=12345 wios=23456 dbytes=0 dios=0\n\
         8:0 rbytes=1234 wbytes=2345 rios=12 wios=23 dbytes=0 dios=0\n",
    ),
    ("io.pressure", PRESSURE),
    ("pids.current", "25\n"),
    ("pids.max", "max\n"),
    ("pids.peak", "30\n"),
    ("cgroup.procs", ""),
    ("cgroup.controllers", "cpu memory io pids\n"),
];

const SEPARATE: [(&str, &str, &str); 19] = [
    ("cpu,cpuacct", "cpu.shares", "1024\n"),
    ("cpu,cpuacct", "cpu.cfs_quota_us", "20000\n"),
    ("cpu,cpuacct", "cpu.cfs_period_us", "100000\n"),
    (
        "cpu,cpuacct",
        "cpu.stat",
        "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n",
    ),
    ("cpu,cpuacct", "cpuacct.usage", "3000000000\n"),
    ("cpu,cpuacct", "cpuacct.stat", "user 200\nsystem 100\n"),
    ("memory", "memory.usage_in_bytes", "1000000000\n"),
    ("memory", "memory.max_usage_in_bytes", "2000000000\n"),
    (
        "memory",
        "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    ),
    ("memory", "memory.limit_in_bytes", "268435456\n"),
    (
        "memory",
        "memory.soft_limit_in_bytes",
        "9223372036854771712\n",
    ),
    (
        "memory",
        "memory.memsw.limit_in_bytes",
        "9223372036854771712\n",
    ),
    ("memory", "cgroup.procs", ""),
    (
        "blkio",
        "blkio.throttle.io_service_bytes_recursive",
        "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 30\nTotal 30\n",
    ),
    (
        "blkio",
        "blkio.throttle.io_serviced_recursive",
        "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 3\nTotal 3\n",
    ),
    ("blkio", "cgroup.procs", ""),
    ("pids", "cgroup.procs", ""),
    ("pids", "pids.current", "5\n"),
    ("pids", "pids.max", "max\n"),
];
