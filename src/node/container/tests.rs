//! The collector on trees made like those of real nodes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::LogTree;
use super::*;

const UID: &str = "6d2cd5a0-0f2b-4c37-9c69-1a2b3c4d5e6f";
const BOOT: u64 = 1_700_000_000;

/// A node in a temporary directory.
struct Node {
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let node = Node {
            root: tempfile::tempdir().unwrap(),
        };
        node.write("proc/stat", &format!("cpu 1 2\nbtime {BOOT}\n"));
        node.write(
            "proc/1/net/dev",
            "a\nb\n  eth0: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n",
        );
        node.write(
            "proc/diskstats",
            "   8       0 sda 1 2 3\n 259 0 nvme0n1 1\n",
        );
        node.write("log/pods/shop_web-0_x/main/0.log", "");
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn host(&self) -> Host {
        Host {
            proc: self.path("proc"),
            sys: self.path("sys"),
            root: self.path(""),
        }
    }

    fn containers(&self, settings: ContainerSettings) -> Containers {
        let names = LogTree::new(&self.path("log/containers"), &self.path("log/pods"));
        Containers::new(settings, Box::new(names))
    }

    fn pod(&self, uid: &str, names: &str) {
        fs::create_dir_all(self.path(&format!("log/pods/{names}_{uid}"))).unwrap();
    }

    fn link(&self, names: &str, id: &str) {
        self.write(&format!("log/containers/{names}-{id}.log"), "");
    }

    /// A process of the cgroup at `path`, with interfaces of its own.
    fn process(&self, pid: u32, name: &str, ticks: u64, path: &str) {
        let fields = vec!["0"; 18].join(" ");
        self.write(
            &format!("proc/{pid}/stat"),
            &format!("{pid} ({name}) S {fields} {ticks} 0\n"),
        );
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::{path}\n"));
        self.write(
            &format!("proc/{pid}/net/dev"),
            &format!("a\nb\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  eth0: {pid} 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"),
        );
    }

    /// A cgroup of version 2.
    fn unified(&self, path: &str) {
        self.write("sys/fs/cgroup/cgroup.controllers", "cpu memory io pids\n");
        let write =
            |file: &str, text: &str| self.write(&format!("sys/fs/cgroup{path}/{file}"), text);
        write(
            "cpu.stat",
            "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n",
        );
        write("cpu.max", "50000 100000\n");
        write("cpu.weight", "39\n");
        write("memory.current", "1000000\n");
        write("memory.peak", "2000000\n");
        write("memory.swap.current", "4096\n");
        write(
            "memory.stat",
            "anon 300000\nfile 600000\nfile_mapped 1000\ninactive_file 400000\npgfault 7\npgmajfault 2\n",
        );
        write("memory.events", "low 0\noom 1\noom_kill 3\n");
        write("memory.max", "268435456\n");
        write("memory.min", "0\n");
        write("memory.swap.max", "max\n");
        write(
            "io.stat",
            "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:7 rbytes=1\n",
        );
        write("pids.current", "5\n");
        write("pids.max", "max\n");
        write("cgroup.procs", "");
        write("cpu.pressure", "some avg10=0.00 total=1500000\n");
        write(
            "memory.pressure",
            "some avg10=0.00 total=10\nfull avg10=0.00 total=2000000\n",
        );
    }

    /// A cgroup of version 1, with a controller of each own hierarchy.
    fn separate(&self, path: &str) {
        let write = |file: &str, text: &str| {
            let (controller, file) = file.split_once('/').unwrap();
            for path in ["", path] {
                self.write(&format!("sys/fs/cgroup/{controller}{path}/{file}"), text);
            }
        };
        write("cpu,cpuacct/cpu.shares", "1024\n");
        write("cpu,cpuacct/cpu.cfs_quota_us", "20000\n");
        write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        write(
            "cpu,cpuacct/cpu.stat",
            "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n",
        );
        write("cpu,cpuacct/cpuacct.usage", "3000000000\n");
        write("cpu,cpuacct/cpuacct.stat", "user 200\nsystem 100\n");
        write("memory/memory.usage_in_bytes", "1000000\n");
        write("memory/memory.max_usage_in_bytes", "2000000\n");
        write(
            "memory/memory.stat",
            "cache 1\nrss 1\nswap 1\npgfault 1\ninactive_file 5\ntotal_cache 600000\ntotal_rss 300000\ntotal_swap 4096\ntotal_mapped_file 1000\ntotal_pgfault 7\ntotal_pgmajfault 2\ntotal_inactive_file 400000\n",
        );
        write(
            "memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        );
        write("memory/memory.limit_in_bytes", "268435456\n");
        write("memory/memory.soft_limit_in_bytes", "9223372036854771712\n");
        write(
            "memory/memory.memsw.limit_in_bytes",
            "9223372036854771712\n",
        );
        write("memory/cgroup.procs", "");
        write(
            "blkio/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 10\n8:0 Write 20\n",
        );
        write(
            "blkio/blkio.throttle.io_serviced_recursive",
            "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
        );
        write("blkio/cgroup.procs", "");
        write("pids/cgroup.procs", "");
        write("pids/pids.current", "5\n");
        write("pids/pids.max", "max\n");
    }
}

fn id(letter: &str) -> String {
    letter.repeat(64)
}

fn sample(containers: &mut Containers, node: &Node) -> Snapshot {
    let taken = UNIX_EPOCH + Duration::from_secs(BOOT + 1000);
    let mut snapshot = Snapshot::new(taken, Arc::new(|_| true), 100_000);
    containers.collect(&node.host(), &mut snapshot).unwrap();
    assert_eq!(snapshot.refused(), 0);
    snapshot
}

/// The value of the one series of a family that has these labels, whatever others it has.
fn value(snapshot: &Snapshot, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = snapshot
        .families()
        .find(|family| family.spec.name == name)?;
    let has = |sample: &&crate::node::snapshot::Sample| {
        labels.iter().all(|(name, value)| {
            let found = snapshot.labels(sample).find(|(known, _)| known == name);
            found.map_or("", |(_, value)| value) == *value
        })
    };
    let mut found = family.samples.iter().filter(has);
    let sample = found.next()?;
    assert!(
        found.next().is_none(),
        "{name} {labels:?} is there more than once"
    );
    Some(sample.value)
}

/// A family, labels beside those of the cgroup, a value.
type Expected = (&'static str, &'static [(&'static str, &'static str)], f64);

/// What both versions are asked: the same numbers, by their own files.
const USAGE: [Expected; 25] = [
    (
        "container_cpu_usage_seconds_total",
        &[("cpu", "total")],
        3.0,
    ),
    ("container_cpu_user_seconds_total", &[], 2.0),
    ("container_cpu_system_seconds_total", &[], 1.0),
    ("container_cpu_cfs_periods_total", &[], 10.0),
    ("container_cpu_cfs_throttled_periods_total", &[], 4.0),
    ("container_cpu_cfs_throttled_seconds_total", &[], 0.5),
    ("container_memory_usage_bytes", &[], 1e6),
    ("container_memory_working_set_bytes", &[], 6e5),
    ("container_memory_max_usage_bytes", &[], 2e6),
    ("container_memory_rss", &[], 3e5),
    ("container_memory_cache", &[], 6e5),
    ("container_memory_swap", &[], 4096.0),
    ("container_memory_mapped_file", &[], 1000.0),
    (
        "container_memory_failures_total",
        &[("failure_type", "pgfault"), ("scope", "container")],
        7.0,
    ),
    (
        "container_memory_failures_total",
        &[("failure_type", "pgmajfault"), ("scope", "hierarchy")],
        2.0,
    ),
    ("container_oom_events_total", &[], 3.0),
    (
        "container_fs_reads_bytes_total",
        &[("device", "/dev/sda")],
        10.0,
    ),
    (
        "container_fs_writes_bytes_total",
        &[("device", "/dev/sda")],
        20.0,
    ),
    ("container_fs_reads_total", &[("device", "/dev/sda")], 1.0),
    ("container_fs_writes_total", &[("device", "/dev/sda")], 2.0),
    ("container_threads", &[], 5.0),
    ("container_threads_max", &[], 0.0),
    ("container_spec_cpu_period", &[], 100_000.0),
    ("container_spec_memory_limit_bytes", &[], 268_435_456.0),
    ("container_spec_memory_swap_limit_bytes", &[], 0.0),
];

fn check_usage(snapshot: &Snapshot, of: &[(&str, &str)]) {
    for (name, labels, expected) in USAGE {
        let labels: Vec<_> = of.iter().chain(labels).copied().collect();
        assert_eq!(
            value(snapshot, name, &labels),
            Some(expected),
            "{name} {labels:?}"
        );
    }
}

#[test]
fn version_2_with_the_systemd_driver() {
    let node = Node::new();
    let uid = UID.replace('-', "_");
    let pod = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
    let container = format!("{pod}/cri-containerd-{}.scope", id("a"));
    let sandbox = format!("{pod}/cri-containerd-{}.scope", id("b"));
    for path in [&pod, &container, &sandbox] {
        node.unified(path);
    }
    node.pod(UID, "shop_web-0");
    node.link("web-0_shop_main", &id("a"));
    node.write(
        &format!("sys/fs/cgroup{container}/cgroup.procs"),
        "0\n0\n0\n",
    );
    node.process(70, "app", 5000, &container);
    node.process(60, "app", 6000, &container);
    // As a process of another cgroup namespace sees it.
    node.process(50, "pause", 4000, &format!("/../..{sandbox}"));

    let mut containers = node.containers(ContainerSettings::default());
    let snapshot = sample(&mut containers, &node);
    let name = id("a");
    let labels = [
        ("container", "main"),
        ("id", container.as_str()),
        ("name", &name),
        ("namespace", "shop"),
        ("pod", "web-0"),
    ];
    check_usage(&snapshot, &labels);
    let of_pod = [
        ("container", ""),
        ("id", pod.as_str()),
        ("namespace", "shop"),
        ("pod", "web-0"),
    ];
    check_usage(&snapshot, &of_pod);
    let of = |name, more: &[(&str, &str)]| {
        value(
            &snapshot,
            name,
            &labels.iter().chain(more).copied().collect::<Vec<_>>(),
        )
    };
    assert_eq!(of("container_spec_cpu_quota", &[]), Some(50_000.0));
    assert_eq!(of("container_spec_cpu_shares", &[]), Some(998.0));
    assert_eq!(of("container_processes", &[]), Some(3.0));
    assert_eq!(
        of("container_start_time_seconds", &[]),
        Some(BOOT as f64 + 50.0)
    );
    assert_eq!(of("container_last_seen", &[]), Some(BOOT as f64 + 1000.0));
    assert_eq!(
        of("container_pressure_cpu_waiting_seconds_total", &[]),
        Some(1.5)
    );
    assert_eq!(
        of("container_pressure_cpu_stalled_seconds_total", &[]),
        None
    );
    assert_eq!(
        of("container_pressure_memory_stalled_seconds_total", &[]),
        Some(2.0)
    );
    assert_eq!(
        of("container_fs_reads_bytes_total", &[("device", "253:7")]),
        Some(1.0)
    );

    check_pod_network(&snapshot, &sandbox);
    check_live(&containers, [id("a"), id("b")].into());
}

fn check_live(containers: &Containers, ids: HashSet<String>) {
    let live = containers.live().lock().unwrap().clone();
    let expected = Live {
        ids,
        pods_own_network: 1,
        complete: true,
        ..Live::default()
    };
    assert_eq!(live, expected);
}

/// The network is the pod's, and stands under its sandbox, which has no other samples.
fn check_pod_network(snapshot: &Snapshot, sandbox: &str) {
    let of_sandbox = [
        ("container", ""),
        ("id", sandbox),
        ("pod", "web-0"),
        ("interface", "eth0"),
    ];
    let traffic = |name| value(snapshot, name, &of_sandbox);
    assert_eq!(traffic("container_network_receive_bytes_total"), Some(50.0));
    assert_eq!(
        traffic("container_network_receive_packets_dropped_total"),
        Some(4.0)
    );
    assert_eq!(traffic("container_network_transmit_bytes_total"), Some(5.0));
    assert_eq!(
        traffic("container_network_transmit_errors_total"),
        Some(7.0)
    );
    assert_eq!(
        value(snapshot, "container_memory_rss", &of_sandbox[..3]),
        None
    );
    assert_eq!(
        value(
            snapshot,
            "container_network_receive_bytes_total",
            &[("interface", "lo")]
        ),
        None
    );
    assert_eq!(value(snapshot, "container_scrape_error", &[]), Some(0.0));
}

#[test]
fn version_1_with_the_cgroupfs_driver_and_a_static_pod() {
    let node = Node::new();
    let hash = "0123456789abcdef0123456789abcdef";
    let pod = format!("/kubepods/burstable/pod{hash}");
    let container = format!("{pod}/{}", id("a"));
    node.separate(&pod);
    node.separate(&container);
    node.pod(hash, "kube-system_etcd-n1");
    node.link("etcd-n1_kube-system_etcd", &id("a"));
    node.process(70, "etcd", 5000, &container);
    for hierarchy in ["memory", "pids"] {
        node.write(
            &format!("sys/fs/cgroup/{hierarchy}{container}/cgroup.procs"),
            "70\n",
        );
    }
    // In the node's network: the same file.
    fs::remove_file(node.path("proc/70/net/dev")).unwrap();
    fs::hard_link(node.path("proc/1/net/dev"), node.path("proc/70/net/dev")).unwrap();

    let mut containers = node.containers(ContainerSettings::default());
    let snapshot = sample(&mut containers, &node);
    let labels = [
        ("container", "etcd"),
        ("namespace", "kube-system"),
        ("pod", "etcd-n1"),
    ];
    check_usage(&snapshot, &labels);
    assert_eq!(
        value(&snapshot, "container_spec_cpu_quota", &labels),
        Some(20_000.0)
    );
    assert_eq!(
        value(&snapshot, "container_spec_cpu_shares", &labels),
        Some(1024.0)
    );
    assert_eq!(value(&snapshot, "container_processes", &labels), Some(1.0));
    assert_eq!(
        value(&snapshot, "container_network_receive_bytes_total", &[]),
        None
    );
    assert_eq!(containers.live().lock().unwrap().pods_host_network, 1);
}

#[test]
fn a_pid_of_another_namespace_is_not_taken_for_the_hosts() {
    let node = Node::new();
    let container = format!("/kubepods/pod{UID}/{}", id("a"));
    node.unified(&container);
    // Number 70 of this process's own namespace is somebody else on the host.
    node.write(&format!("sys/fs/cgroup{container}/cgroup.procs"), "70\n");
    node.process(70, "other", 100, "/system.slice/ssh.service");
    node.process(71, "app", 5000, &container);
    let snapshot = sample(&mut node.containers(ContainerSettings::default()), &node);
    let started = value(
        &snapshot,
        "container_start_time_seconds",
        &[("name", &id("a"))],
    );
    assert_eq!(started, Some(BOOT as f64 + 50.0));
    // Nothing names it, so nothing says that it only holds namespaces: it is shown without a name.
    let rss = value(
        &snapshot,
        "container_memory_rss",
        &[("container", ""), ("name", &id("a"))],
    );
    assert_eq!(rss, Some(3e5));
}

#[test]
fn crio_without_sandboxes_and_kind() {
    let node = Node::new();
    let uid = UID.replace('-', "_");
    let pod = format!(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{uid}.slice"
    );
    let container = format!("{pod}/crio-{}.scope", id("a"));
    node.unified(&pod);
    node.unified(&container);
    node.unified(&format!("{pod}/crio-conmon-{}.scope", id("a")));
    node.write(
        &format!("sys/fs/cgroup{container}/container/cgroup.procs"),
        "70\n71\n",
    );
    node.process(70, "app", 5000, &format!("{container}/container"));
    node.pod(UID, "shop_web-0");
    node.link("web-0_shop_main", &id("a"));
    let settings = ContainerSettings {
        image_unknown: "unknown".to_owned(),
        ..ContainerSettings::default()
    };
    let snapshot = sample(&mut node.containers(settings), &node);
    let labels = [("container", "main"), ("image", "unknown")];
    assert_eq!(value(&snapshot, "container_processes", &labels), Some(2.0));
    // No sandbox: the pod itself stands for its network.
    let labels = [("id", pod.as_str()), ("pod", "web-0"), ("image", "")];
    assert_eq!(
        value(&snapshot, "container_network_receive_bytes_total", &labels),
        Some(70.0)
    );
    let rows = snapshot
        .families()
        .find(|family| family.spec.name == "container_memory_rss");
    assert_eq!(rows.unwrap().samples.len(), 2);
}

#[test]
fn what_vanishes_is_left_out_and_what_comes_is_found() {
    let node = Node::new();
    let of = |letter: &str| format!("/kubepods/pod{UID}/{}", id(letter));
    for letter in ["a", "b", "c"] {
        node.unified(&of(letter));
    }
    node.process(70, "app", 5000, &of("a"));
    node.process(71, "app", 5001, &of("b"));
    let settings = ContainerSettings {
        descriptors_max: 0,
        ..ContainerSettings::default()
    };
    let mut containers = node.containers(settings);
    let count = |snapshot: &Snapshot| {
        let mut families = snapshot.families();
        let rss = families.find(|family| family.spec.name == "container_memory_rss");
        rss.map_or(0, |family| family.samples.len())
    };
    assert_eq!(count(&sample(&mut containers, &node)), 3);

    // Between the look at the directories and the reading: files gone, directory still there. The kernel says of open
    // files what a plain file system does not, so none is kept here.
    for file in fs::read_dir(node.path(&format!("sys/fs/cgroup{}", of("a")))).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(count(&sample(&mut containers, &node)), 2);

    fs::remove_dir_all(node.path(&format!("sys/fs/cgroup{}", of("a")))).unwrap();
    fs::remove_dir_all(node.path("proc/70")).unwrap();
    node.unified(&of("d"));
    let snapshot = sample(&mut containers, &node);
    assert_eq!(count(&snapshot), 3);
    let gone = value(&snapshot, "container_memory_rss", &[("name", &id("a"))]);
    assert_eq!(gone, None);
    // The process by which the network was read is gone; that of another container is found.
    let snapshot = sample(&mut containers, &node);
    let received = value(&snapshot, "container_network_receive_bytes_total", &[]);
    assert_eq!(received, Some(71.0));
}

#[test]
fn too_many_are_counted() {
    let node = Node::new();
    for letter in ["a", "b", "c"] {
        node.unified(&format!("/kubepods/pod{UID}/{}", id(letter)));
    }
    let settings = ContainerSettings {
        containers_max: 2,
        ..ContainerSettings::default()
    };
    let snapshot = sample(&mut node.containers(settings), &node);
    assert_eq!(
        value(&snapshot, "longshore_node_containers_omitted", &[]),
        Some(1.0)
    );
    assert_eq!(value(&snapshot, "container_scrape_error", &[]), Some(1.0));
}

#[test]
fn a_node_without_cgroups_is_said_to_have_none() {
    let node = Node::new();
    let mut snapshot = Snapshot::new(SystemTime::UNIX_EPOCH, Arc::new(|_| true), 10);
    let collected = node
        .containers(ContainerSettings::default())
        .collect(&node.host(), &mut snapshot);
    assert!(matches!(collected, Err(HostError::Missing { .. })));
}

#[test]
fn files_of_garbage_give_no_numbers_and_no_end() {
    let node = Node::new();
    let container = format!("/kubepods/pod{UID}/{}", id("a"));
    node.unified(&container);
    let directory = node.path(&format!("sys/fs/cgroup{container}"));
    for file in fs::read_dir(&directory).unwrap() {
        fs::write(file.unwrap().path(), b"\xff\x00 garbage\n-1 -1\n").unwrap();
    }
    let mut containers = node.containers(ContainerSettings::default());
    let snapshot = sample(&mut containers, &node);
    assert_eq!(value(&snapshot, "container_memory_usage_bytes", &[]), None);
    assert_eq!(value(&snapshot, "container_scrape_error", &[]), Some(1.0));
    for file in fs::read_dir(&directory).unwrap() {
        fs::write(file.unwrap().path(), "9".repeat(100_000)).unwrap();
    }
    let snapshot = sample(&mut containers, &node);
    assert_eq!(value(&snapshot, "container_memory_usage_bytes", &[]), None);
}

mod late;
