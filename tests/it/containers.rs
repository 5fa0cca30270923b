//! The collectors of containers and addresses on a real node with real pods; `tests/real/run --containers` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use longshore::node::Collect;
use longshore::node::container::names::LogTree;
use longshore::node::container::{ContainerSettings, Containers, SharedLive};
use longshore::node::host::Host;
use longshore::node::ip::endpoint::Fetch;
use longshore::node::ip::{IpSettings, IpUsage, SharedFacts};
use longshore::node::snapshot::Snapshot;
use serde_json::Value;

/// No pages are asked for.
struct NoPages;

impl Fetch for NoPages {
    fn get(&mut self, url: &str) -> Result<String, String> {
        panic!("{url} was asked for");
    }
}

/// What the script that made the pods says of them.
struct Plan(Value);

impl Plan {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.0[key].as_f64().unwrap()
    }

    fn cgroup(&self) -> String {
        format!("{}/{}", self.text("pod_cgroup"), self.text("container"))
    }

    /// A number of a file of the container's cgroup, in whichever version this node has; of a file with keys, that of
    /// `key`.
    fn kernel(&self, separate: &str, unified: &str, key: &str) -> f64 {
        let root = Path::new("/sys/fs/cgroup");
        let path = if root.join("cgroup.controllers").exists() {
            root.join(self.cgroup().trim_start_matches('/'))
                .join(unified)
        } else {
            let (controller, file) = separate.split_once('/').unwrap();
            root.join(controller)
                .join(self.cgroup().trim_start_matches('/'))
                .join(file)
        };
        let text = fs::read_to_string(&path).unwrap();
        let value = match key {
            "" => text.trim(),
            key => text
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap()
                .trim(),
        };
        value.parse().unwrap()
    }

    fn cpu_seconds(&self) -> f64 {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            self.kernel("", "cpu.stat", "usage_usec ") / 1e6
        } else {
            self.kernel("cpuacct/cpuacct.usage", "", "") / 1e9
        }
    }

    fn memory(&self) -> f64 {
        self.kernel("memory/memory.usage_in_bytes", "memory.current", "")
    }

    fn throttled(&self) -> f64 {
        self.kernel("cpu/cpu.stat", "cpu.stat", "nr_throttled ")
    }
}

/// The value of the one series of a family that has these labels, and only those others that are allowed.
fn value(snapshot: &Snapshot, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = snapshot
        .families()
        .find(|family| family.spec.name == name)?;
    let mut found = family.samples.iter().filter(|sample| {
        labels.iter().all(|(name, value)| {
            let found = snapshot.labels(sample).find(|(known, _)| known == name);
            found.map_or("", |(_, value)| value) == *value
        })
    });
    let sample = found.next()?;
    assert!(
        found.next().is_none(),
        "{name} {labels:?} is there more than once"
    );
    Some(sample.value)
}

fn between(low: f64, value: Option<f64>, high: f64, what: &str) {
    let value = value.unwrap_or_else(|| panic!("there is no {what}"));
    assert!(
        low <= value && value <= high,
        "{what}: {value} is not in {low}..={high}"
    );
}

struct Collectors {
    containers: Containers,
    addresses: IpUsage,
}

impl Collectors {
    fn new(plan: &Plan) -> Collectors {
        let logs = Path::new(plan.text("logs"));
        let names = LogTree::new(&logs.join("containers"), &logs.join("pods"));
        let containers = Containers::new(ContainerSettings::default(), Box::new(names));
        let live: SharedLive = containers.live();
        let settings = IpSettings {
            host_local_directory: Some(PathBuf::from("/nonexistent")),
            configuration_directory: PathBuf::from(plan.text("networks")),
            ..IpSettings::default()
        };
        let addresses = IpUsage::new(settings, Box::new(NoPages), live, SharedFacts::default());
        Collectors {
            containers,
            addresses,
        }
    }

    fn sample(&mut self) -> Snapshot {
        let host = Host {
            proc: PathBuf::from("/proc"),
            sys: PathBuf::from("/sys"),
            root: PathBuf::from("/"),
        };
        let mut snapshot = Snapshot::new(SystemTime::now(), Arc::new(|_| true), 100_000);
        self.containers.collect(&host, &mut snapshot).unwrap();
        self.addresses.collect(&host, &mut snapshot).unwrap();
        snapshot
    }
}

#[test]
#[ignore = "needs the pods that tests/real/run --containers makes"]
fn a_real_pod_is_measured_as_kernel_and_runtime_do() {
    let path = std::env::var("LONGSHORE_REAL").unwrap();
    let plan = Plan(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap());
    let mut collectors = Collectors::new(&plan);
    collectors.sample();
    let before = (plan.cpu_seconds(), plan.memory(), plan.throttled());
    let snapshot = collectors.sample();
    let after = (plan.cpu_seconds(), plan.memory(), plan.throttled());

    let cgroup = plan.cgroup();
    let labels = [
        ("container", "main"),
        ("id", cgroup.as_str()),
        ("name", plan.text("container")),
        ("namespace", plan.text("namespace")),
        ("pod", plan.text("pod")),
    ];
    let of = |name: &str| value(&snapshot, name, &labels);
    check_limits(&plan, &of);
    between(
        before.0,
        of("container_cpu_usage_seconds_total"),
        after.0,
        "CPU time",
    );
    assert!(before.0 >= plan.number("runtime_cpu_ns") / 1e9);
    assert!(before.2 > 0.0);
    between(
        before.2,
        of("container_cpu_cfs_throttled_periods_total"),
        after.2,
        "throttled periods",
    );
    let (low, high) = (before.1.min(after.1), before.1.max(after.1));
    between(low, of("container_memory_usage_bytes"), high, "memory");
    // Between the runtime's look and this one the kernel may have moved some pages.
    let runtime = plan.number("runtime_working_set");
    let moved = f64::from(2 << 20);
    between(
        runtime - moved,
        of("container_memory_working_set_bytes"),
        runtime + moved,
        "working set",
    );
    let held = f64::from(16 << 20);
    between(
        held,
        of("container_memory_rss"),
        plan.number("memory_limit"),
        "held memory",
    );
    assert!(of("container_memory_working_set_bytes") < of("container_memory_usage_bytes"));
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    between(
        now - 120.0,
        of("container_start_time_seconds"),
        now,
        "start",
    );

    let received = check_network(&plan, &snapshot);
    check_addresses(&plan, &snapshot);
    println!(
        "measured: {} series, {:.3} s of CPU, working set {} B (runtime: {runtime}), {received} B received",
        snapshot.series(),
        of("container_cpu_usage_seconds_total").unwrap(),
        of("container_memory_working_set_bytes").unwrap(),
    );
}

fn check_limits(plan: &Plan, of: &dyn Fn(&str) -> Option<f64>) {
    for (name, key) in [
        ("container_spec_memory_limit_bytes", "memory_limit"),
        ("container_spec_cpu_period", "period_us"),
        ("container_spec_cpu_quota", "quota_us"),
    ] {
        assert_eq!(of(name), Some(plan.number(key)), "{name}");
    }
    let shares = plan.number("shares");
    // Version 2 knows weights, which are coarser.
    between(
        shares * 0.9,
        of("container_spec_cpu_shares"),
        shares * 1.1,
        "shares",
    );
    let threads = of("container_threads").unwrap();
    assert!(threads >= 3.0);
    let processes = of("container_processes");
    if plan.0["privileged"] == true {
        assert_eq!(processes, Some(threads));
    } else {
        assert!(processes.is_none_or(|count| count == threads));
    }
}

/// What the pod's interface received is what its peer on the node sent; returns it.
fn check_network(plan: &Plan, snapshot: &Snapshot) -> f64 {
    let sandbox = format!("{}/{}", plan.text("pod_cgroup"), plan.text("sandbox"));
    let labels = [
        ("container", ""),
        ("id", sandbox.as_str()),
        ("name", plan.text("sandbox")),
        ("pod", plan.text("pod")),
        ("interface", "eth0"),
    ];
    let of = |name: &str| value(snapshot, name, &labels).unwrap();
    let received = of("container_network_receive_bytes_total");
    assert!(received > plan.number("page_bytes"));
    assert!(of("container_network_transmit_packets_total") > 0.0);
    assert_eq!(of("container_network_receive_errors_total"), 0.0);
    // A pod in the node's network has no traffic of its own.
    let other = [("pod", plan.text("other_pod"))];
    assert_eq!(
        value(snapshot, "container_network_receive_bytes_total", &other),
        None
    );
    assert!(value(snapshot, "node_pods", &[("network", "host")]) >= Some(1.0));
    assert!(value(snapshot, "node_pods", &[("network", "pod")]) >= Some(1.0));
    received
}

/// One address is the pod's, one is nobody's; some plugins let only root read whose they are.
fn check_addresses(plan: &Plan, snapshot: &Snapshot) {
    let labels = [("family", "ipv4"), ("source", "host_local")];
    let of = |name: &str| snapshot.value(name, &labels);
    assert_eq!(of("node_ip_capacity"), Some(253.0));
    assert_eq!(of("node_ip_allocated"), Some(2.0));
    if plan.0["privileged"] == true || of("node_ip_unknown") == Some(0.0) {
        assert_eq!(of("node_ip_leaked"), Some(1.0));
        assert_eq!(of("node_ip_assigned"), Some(1.0));
    } else {
        assert_eq!(of("node_ip_leaked"), None);
    }
}
