//! The collector on nodes of several kinds.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, SystemTime};

use super::*;
use crate::node::container::Live;

/// Pages that are there or not.
struct Pages(HashMap<String, String>);

impl Fetch for Pages {
    fn get(&mut self, url: &str) -> Result<String, String> {
        self.0.get(url).cloned().ok_or_else(|| "refused".to_owned())
    }
}

struct Node {
    root: tempfile::TempDir,
    settings: IpSettings,
    pages: HashMap<String, String>,
    live: Live,
    facts: Option<ClusterFacts>,
}

impl Node {
    fn new() -> Node {
        Node {
            root: tempfile::tempdir().unwrap(),
            settings: IpSettings::default(),
            pages: HashMap::new(),
            live: Live {
                complete: true,
                ..Live::default()
            },
            facts: None,
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sample(&self) -> Snapshot {
        let mut collector = IpUsage::new(
            self.settings.clone(),
            Box::new(Pages(self.pages.clone())),
            Arc::new(Mutex::new(self.live.clone())),
            Arc::new(Mutex::new(self.facts.clone())),
        );
        let root = |path: &str| self.root.path().join(path);
        let host = Host {
            proc: root("proc"),
            sys: root("sys"),
            root: root(""),
        };
        let far = SystemTime::now() + Duration::from_secs(3600);
        let mut snapshot = Snapshot::new(far, Arc::new(|_| true), 10_000);
        collector.collect(&host, &mut snapshot).unwrap();
        assert_eq!(snapshot.refused(), 0);
        snapshot
    }
}

fn of(snapshot: &Snapshot, name: &str, source: &str) -> Option<f64> {
    snapshot.value(name, &[("family", "ipv4"), ("source", source)])
}

fn ratio(snapshot: &Snapshot) -> Option<f64> {
    snapshot.value("node_ip_utilization_ratio", &[("family", "ipv4")])
}

fn with_reservations() -> Node {
    let mut node = Node::new();
    node.write(
        "etc/cni/net.d/10-bridge.conf",
        r#"{"type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/28"}}"#,
    );
    for (address, sandbox) in [
        ("10.1.0.2", "one"),
        ("10.1.0.3", "two"),
        ("10.1.0.4", "gone"),
    ] {
        node.write(&format!("var/lib/cni/networks/cbr0/{address}"), sandbox);
    }
    node.live.ids = ["one", "two", "app"].map(str::to_owned).into();
    node
}

#[test]
fn reservations_without_a_sandbox_are_leaks() {
    let node = with_reservations();
    let snapshot = node.sample();
    assert_eq!(of(&snapshot, "node_ip_capacity", "host_local"), Some(13.0));
    assert_eq!(of(&snapshot, "node_ip_allocated", "host_local"), Some(3.0));
    assert_eq!(of(&snapshot, "node_ip_assigned", "host_local"), Some(2.0));
    assert_eq!(of(&snapshot, "node_ip_available", "host_local"), Some(10.0));
    assert_eq!(of(&snapshot, "node_ip_leaked", "host_local"), Some(1.0));
    assert_eq!(of(&snapshot, "node_ip_unknown", "host_local"), Some(0.0));
    assert_eq!(ratio(&snapshot), Some(2.0 / 13.0));
    let info = [("source", "host_local"), ("cidr", "10.1.0.0/28")];
    assert_eq!(snapshot.value("node_ip_source_info", &info), Some(1.0));
    assert_eq!(snapshot.value("cx_ipam_max_ips", &[]), None);
}

#[test]
fn a_runtime_without_sandbox_cgroups_has_no_leaks_to_tell() {
    let mut node = with_reservations();
    node.live.ids = ["app".to_owned()].into();
    let snapshot = node.sample();
    assert_eq!(of(&snapshot, "node_ip_leaked", "host_local"), None);
    assert_eq!(of(&snapshot, "node_ip_unknown", "host_local"), Some(3.0));
    assert_eq!(of(&snapshot, "node_ip_assigned", "host_local"), Some(3.0));
}

#[test]
fn pages_are_believed_first_and_a_dead_one_is_said() {
    let mut node = with_reservations();
    node.settings.compat_azure = true;
    node.settings.endpoints = vec![
        Endpoint {
            source: Source::AzureCns,
            url: "a".to_owned(),
        },
        Endpoint {
            source: Source::Cilium,
            url: "b".to_owned(),
        },
    ];
    let page = "cx_ipam_max_ips{subnet=\"s\"} 200\ncx_ipam_total_ips{subnet=\"s\"} 32\ncx_ipam_pod_allocated_ips{subnet=\"s\"} 20\ncx_ipam_other{subnet=\"s\"} 1\n";
    node.pages.insert("a".to_owned(), page.to_owned());
    let snapshot = node.sample();
    assert_eq!(ratio(&snapshot), Some(0.1));
    assert_eq!(of(&snapshot, "node_ip_available", "azure_cns"), Some(12.0));
    assert_eq!(
        snapshot.value("node_ip_source_up", &[("source", "azure_cns")]),
        Some(1.0)
    );
    assert_eq!(
        snapshot.value("node_ip_source_up", &[("source", "cilium")]),
        Some(0.0)
    );
    assert_eq!(
        snapshot.value("cx_ipam_max_ips", &[("subnet", "s")]),
        Some(200.0)
    );
    assert_eq!(snapshot.value("cx_ipam_other", &[("subnet", "s")]), None);

    node.pages.clear();
    let snapshot = node.sample();
    assert_eq!(ratio(&snapshot), Some(2.0 / 13.0));
    let labels = [("subnet_cidr", "10.1.0.0/28")];
    assert_eq!(
        snapshot.value("cx_ipam_pod_allocated_ips", &labels),
        Some(2.0)
    );
    assert_eq!(snapshot.value("cx_ipam_max_ips", &labels), Some(13.0));
}

#[test]
fn routes_take_their_capacity_from_the_cluster() {
    let mut node = Node::new();
    node.write(
        "proc/1/net/route",
        "heading\ncali1\t0501F40A\t0\t5\t0\t0\t0\tFFFFFFFF\t0\t0\t0\ncali2\t0601F40A\t0\t5\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n",
    );
    assert_eq!(ratio(&node.sample()), None);
    assert_eq!(of(&node.sample(), "node_ip_assigned", "routes"), Some(2.0));

    node.facts = Some(ClusterFacts {
        pod_cidrs: vec!["10.2.0.0/24".to_owned(), "fd00::/64".to_owned()],
        pods_max: Some(110),
        pods_host_network: Some(4),
        pods_pending: Some(0),
        ..ClusterFacts::default()
    });
    node.live.pods_own_network = 3;
    let snapshot = node.sample();
    assert_eq!(ratio(&snapshot), Some(2.0 / 110.0));
    assert_eq!(of(&snapshot, "node_ip_capacity", "max_pods"), Some(110.0));
    let six = [("family", "ipv6"), ("source", "pod_cidr")];
    assert_eq!(snapshot.value("node_ip_capacity", &six), Some(110.0));
    assert_eq!(
        snapshot.value("node_pods", &[("network", "pod")]),
        Some(3.0)
    );
    assert_eq!(
        snapshot.value("node_pods", &[("network", "host")]),
        Some(4.0)
    );
    assert_eq!(snapshot.value("node_ip_pending_pods", &[]), Some(0.0));
}

#[test]
fn a_node_that_tells_nothing_has_nothing_wrong() {
    let snapshot = Node::new().sample();
    assert_eq!(ratio(&snapshot), None);
    assert!(
        snapshot
            .families()
            .all(|family| family.spec.name == "node_pods")
    );
}
