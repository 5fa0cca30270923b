//! What is measured of the node and its containers, and where its file systems are.

use std::path::PathBuf;

use super::pattern::Pattern;
use super::scrape::Scrape;
use super::substitute::Environment;

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Whether anything is.
    pub enabled: bool,
    /// How often.
    pub interval_ms: u64,
    /// Which families, before `keep` and `drop`.
    pub profile: Profile,
    /// If there are any: only families whose whole name one of these matches, whatever the profile.
    pub keep: Vec<Pattern>,
    /// Not the families whose whole name one of these matches.
    pub drop: Vec<Pattern>,
    /// Most series of one sample.
    pub series_max: usize,
    /// The host's procfs.
    pub proc: PathBuf,
    /// The host's sysfs.
    pub sys: PathBuf,
    /// The host's root directory.
    pub root: PathBuf,
    /// How long a file system may take to say how full it is.
    pub statvfs_timeout_ms: u64,
    /// Mount points, as the host sees them, that are left out.
    pub filesystem_mounts_exclude: Pattern,
    /// Types of file systems that are left out.
    pub filesystem_types_exclude: Pattern,
    /// Block devices that are left out.
    pub disks_exclude: Pattern,
    /// Network interfaces that are left out.
    pub interfaces_exclude: Pattern,
    /// The node's addresses.
    pub ip: Ip,
    /// What others on the own node show.
    pub scrape: Vec<Scrape>,
}

/// Which families are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// [`MINIMAL`] of the node's families, [`MINIMAL_CONTAINERS`] of those of containers, and what is known of addresses
    /// and of the agent's own sampling. Other families, which are scraped, have filters of their own.
    Minimal,
    /// All but what is dear: processes one by one.
    Standard,
    /// All.
    Full,
}

/// Where the use of the node's IP addresses is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Ip {
    /// State of the host-local IPAM plugin, as the host sees it; read below the host's root. `None`: not read.
    pub cni_networks: Option<PathBuf>,
    /// Metrics of Azure's container networking service; `None`: not asked.
    pub azure_cns_url: Option<String>,
    /// Metrics of the AWS VPC CNI's daemon; `None`: not asked.
    pub aws_url: Option<String>,
    /// Metrics of Cilium's agent; `None`: not asked.
    pub cilium_url: Option<String>,
    /// Whether what is known is repeated under the names of Azure's container networking service.
    pub compat_azure: bool,
}

/// The minimal profile's families of the node: what the minimal ingestion profile of Azure Monitor's managed
/// Prometheus keeps of the job `node`, which is also what the recording rules of dashboards need.
pub const MINIMAL: [&str; 27] = [
    "node_cpu_seconds_total",
    "node_disk_io_time_seconds_total",
    "node_disk_io_time_weighted_seconds_total",
    "node_disk_read_bytes_total",
    "node_disk_written_bytes_total",
    "node_exporter_build_info",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_load1",
    "node_load15",
    "node_load5",
    "node_memory_Buffers_bytes",
    "node_memory_Cached_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_MemTotal_bytes",
    "node_memory_Slab_bytes",
    "node_netstat_TcpExt_TCPSynRetrans",
    "node_netstat_Tcp_OutSegs",
    "node_netstat_Tcp_RetransSegs",
    "node_network_receive_bytes_total",
    "node_network_receive_drop_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_drop_total",
    "node_time_seconds",
    "node_uname_info",
    "node_vmstat_pgmajfault",
];

/// The minimal profile's families of containers: what the same profile keeps of the job `cadvisor`.
pub const MINIMAL_CONTAINERS: [&str; 20] = [
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_usage_seconds_total",
    "container_fs_reads_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_bytes_total",
    "container_fs_writes_total",
    "container_memory_cache",
    "container_memory_rss",
    "container_memory_swap",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_packets_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_packets_total",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
];

/// Mount points of other programs' file systems: node_exporter's default, and those that a container runtime and the
/// kubelet make for each pod.
pub const MOUNTS_EXCLUDE: &str = "^/(dev|proc|run/containerd/.+|run/credentials/.+|run/netns|run/netns/.+|sys|\
                                  var/lib/containerd/.+|var/lib/containers/storage/.+|var/lib/docker/.+|\
                                  var/lib/kubelet/pods/.+)($|/)";
/// Types without a capacity of their own: node_exporter's default.
pub const TYPES_EXCLUDE: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|\
                                 hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|\
                                 selinuxfs|squashfs|erofs|sysfs|tracefs)$";
/// Partitions, and devices that are no disks: node_exporter's default.
pub const DISKS_EXCLUDE: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
/// Matches no name.
pub const NOTHING: &str = "^$";

impl Metrics {
    /// The defaults; the roots are taken from the variables HOST_PROC, HOST_SYS and HOST_ROOT, if they are set.
    pub fn new(env: &Environment<'_>) -> Metrics {
        let root = |name: &str, default: &str| {
            let set = env(name).filter(|value| !value.is_empty());
            PathBuf::from(set.unwrap_or_else(|| default.to_owned()))
        };
        Metrics {
            enabled: true,
            interval_ms: 15_000,
            profile: Profile::Standard,
            keep: Vec::new(),
            drop: Vec::new(),
            series_max: 20_000,
            proc: root("HOST_PROC", "/proc"),
            sys: root("HOST_SYS", "/sys"),
            root: root("HOST_ROOT", "/"),
            statvfs_timeout_ms: 5_000,
            filesystem_mounts_exclude: own(MOUNTS_EXCLUDE),
            filesystem_types_exclude: own(TYPES_EXCLUDE),
            disks_exclude: own(DISKS_EXCLUDE),
            interfaces_exclude: own(NOTHING),
            ip: Ip::default(),
            scrape: Vec::new(),
        }
    }

    /// Whether a family is measured, by its name.
    pub fn wants(&self, family: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(family));
        let of_profile = || match self.profile {
            Profile::Minimal => {
                let is_listed = MINIMAL.contains(&family) || MINIMAL_CONTAINERS.contains(&family);
                is_listed || !(is_of_node(family) || is_of_containers(family))
            }
            Profile::Standard => !family.starts_with("node_processes_"),
            Profile::Full => true,
        };
        let kept = if self.keep.is_empty() {
            of_profile()
        } else {
            any(&self.keep)
        };
        kept && !any(&self.drop)
    }
}

/// Whether a family tells of the node itself. Its addresses and how sampling goes are wanted in any profile.
fn is_of_node(family: &str) -> bool {
    let others = ["node_ip_", "node_pods", "node_scrape_"];
    family.starts_with("node_") && !others.iter().any(|other| family.starts_with(other))
}

/// Whether a family tells of containers. How their sampling goes is wanted in any profile.
fn is_of_containers(family: &str) -> bool {
    family.starts_with("container_") && family != "container_scrape_error"
}

impl Default for Ip {
    fn default() -> Ip {
        Ip {
            cni_networks: Some(PathBuf::from("/var/lib/cni/networks")),
            azure_cns_url: None,
            aws_url: None,
            cilium_url: None,
            compat_azure: false,
        }
    }
}

/// One of the expressions above. A test holds them to be expressions.
#[allow(clippy::expect_used)] // constants of this file
fn own(text: &str) -> Pattern {
    Pattern::part(text).expect("a constant of this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_come_from_the_environment() {
        let env = |name: &str| match name {
            "HOST_PROC" => Some("/host/proc".to_owned()),
            "HOST_SYS" => Some(String::new()),
            _ => None,
        };
        let metrics = Metrics::new(&env);
        assert_eq!(metrics.proc, PathBuf::from("/host/proc"));
        assert_eq!(metrics.sys, PathBuf::from("/sys"));
        assert_eq!(metrics.root, PathBuf::from("/"));
    }

    #[test]
    fn profiles_keep_and_drop() {
        let mut metrics = Metrics::new(&|_| None);
        assert!(metrics.wants("node_arp_entries") && !metrics.wants("node_processes_threads"));
        metrics.profile = Profile::Minimal;
        for name in [
            "node_load1",
            "node_ip_capacity",
            "node_scrape_collector_success",
            "container_spec_cpu_quota",
            "container_scrape_error",
            "longshore_node_containers_omitted",
            "cx_ipam_max_ips",
            "up",
            "kubelet_running_pods",
        ] {
            assert!(metrics.wants(name), "{name}");
        }
        for name in ["container_memory_max_usage_bytes", "container_last_seen"] {
            assert!(!metrics.wants(name), "{name}");
        }
        assert!(!metrics.wants("node_arp_entries") && !metrics.wants("node_load"));
        metrics.keep = vec![Pattern::whole("node_(arp|load).*").unwrap()];
        metrics.drop = vec![Pattern::whole("node_load15?").unwrap()];
        assert!(metrics.wants("node_arp_entries") && metrics.wants("node_load5"));
        assert!(!metrics.wants("node_load15") && !metrics.wants("node_time_seconds"));
    }

    #[test]
    fn other_programs_mounts_are_left_out_and_disks_are_kept() {
        let metrics = Metrics::new(&|_| None);
        for mount in [
            "/proc",
            "/sys/fs/cgroup",
            "/dev/shm",
            "/run/netns",
            "/run/netns/cni-1",
            "/run/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs",
            "/var/lib/kubelet/pods/a/volumes/b",
            "/var/lib/docker/overlay2/a/merged",
        ] {
            assert!(metrics.filesystem_mounts_exclude.matches(mount), "{mount}");
        }
        for mount in [
            "/",
            "/var/lib/kubelet",
            "/process",
            "/var/lib/docker",
            "/run",
        ] {
            assert!(!metrics.filesystem_mounts_exclude.matches(mount), "{mount}");
        }
        for disk in ["sda1", "nvme0n1p2", "loop3", "vdb15", "zram0"] {
            assert!(metrics.disks_exclude.matches(disk), "{disk}");
        }
        for disk in ["sda", "nvme0n1", "dm-0", "md0", "mmcblk0"] {
            assert!(!metrics.disks_exclude.matches(disk), "{disk}");
        }
        assert!(!metrics.interfaces_exclude.matches("eth0"));
        assert!(metrics.filesystem_types_exclude.matches("cgroup2"));
        assert!(!metrics.filesystem_types_exclude.matches("tmpfs"));
    }
}
