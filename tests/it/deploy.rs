//! The manifest for a cluster, held to the configuration that it carries.
#![allow(clippy::unwrap_used)] // a helper that cannot go on ends its test

use std::path::Path;

use longshore::config::bounds::bounds;
use longshore::config::mistake::Report;
use longshore::config::parse::parse;
use longshore::config::yaml::{Node, Value, read};
use longshore::config::{Auth, Config, Secret, SinkKind};

/// The manifest's documents.
fn documents() -> Vec<Node> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/daemonset.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut report = Report::new("deploy/daemonset.yaml");
    let any = |_: &str| Some("x".to_owned());
    let read: Vec<Node> = text
        .split("\n---\n")
        .filter_map(|document| read(document, &any, &mut report))
        .collect();
    assert_eq!(report.into_mistakes().len(), 0);
    read
}

/// What is at a path of keys.
fn get<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, key| {
        let Value::Map(entries) = &node.value else {
            panic!("no mapping at {key} of {path:?}");
        };
        let entry = entries.iter().find(|entry| entry.key == *key);
        &entry
            .unwrap_or_else(|| panic!("no {key} of {path:?}"))
            .value
    })
}

/// A value as it is written.
fn text<'n>(node: &'n Node, path: &[&str]) -> &'n str {
    match &get(node, path).value {
        Value::Scalar(scalar) => &scalar.written,
        _ => panic!("no scalar at {path:?}"),
    }
}

fn list<'n>(node: &'n Node, path: &[&str]) -> &'n [Node] {
    match &get(node, path).value {
        Value::List(items) => items,
        _ => panic!("no list at {path:?}"),
    }
}

fn of_kind<'n>(documents: &'n [Node], kind: &str) -> &'n Node {
    let mut found = documents
        .iter()
        .filter(|document| text(document, &["kind"]) == kind);
    found.next().unwrap()
}

/// The pod, its container, and the configuration that it is given, which has only the container's variables.
fn deployed(documents: &[Node]) -> (&Node, &Node, Config) {
    let pod = get(
        of_kind(documents, "DaemonSet"),
        &["spec", "template", "spec"],
    );
    let container = &list(pod, &["containers"])[0];
    let variables = list(container, &["env"]);
    let environment = |name: &str| {
        let mut variables = variables.iter();
        let variable = variables.find(|variable| text(variable, &["name"]) == name)?;
        let Value::Map(entries) = &variable.value else {
            return None;
        };
        // Some have their value here, others from the cluster.
        let is_here = entries.iter().any(|entry| entry.key == "value");
        Some(
            if is_here {
                text(variable, &["value"])
            } else {
                "x"
            }
            .to_owned(),
        )
    };
    let yaml = text(of_kind(documents, "ConfigMap"), &["data", "longshore.yaml"]);
    let config = parse(yaml, "longshore.yaml", &environment, "node").unwrap();
    (pod, container, config)
}

/// The mount that a path of the config lies in.
fn mount<'n>(container: &'n Node, path: &Path) -> &'n Node {
    let mounts = list(container, &["volumeMounts"]).iter();
    let mut found = mounts.filter(|mount| path.starts_with(text(mount, &["mountPath"])));
    found
        .next()
        .unwrap_or_else(|| panic!("{} is not mounted", path.display()))
}

/// The config in the manifest loads; what it names is mounted, and only the state can be written to.
#[test]
fn the_manifest_mounts_what_its_config_names() {
    let documents = documents();
    let (pod, container, config) = deployed(&documents);
    let is_read_only = |path: &Path| {
        let mount = mount(container, path);
        let Value::Map(entries) = &mount.value else {
            return false;
        };
        entries
            .iter()
            .any(|entry| entry.key == "readOnly" && text(mount, &["readOnly"]) == "true")
    };
    assert!(is_read_only(&config.logs.pod_logs));
    assert!(is_read_only(&config.logs.container_links));
    assert!(!is_read_only(&config.state_dir));
    for (path, on_the_host) in [
        (&config.metrics.proc, "/proc"),
        (&config.metrics.sys, "/sys"),
        (&config.metrics.root, "/"),
    ] {
        assert!(is_read_only(path), "{}", path.display());
        let name = text(mount(container, path), &["name"]);
        let volumes = list(pod, &["volumes"]).iter();
        let mut volumes = volumes.filter(|volume| text(volume, &["name"]) == name);
        assert_eq!(
            text(volumes.next().unwrap(), &["hostPath", "path"]),
            on_the_host
        );
    }
    let root = mount(container, &config.metrics.root);
    assert_eq!(text(root, &["mountPropagation"]), "HostToContainer");
    let SinkKind::Http(http) = &config.sinks[0].kind else {
        panic!("the sink is not of type http");
    };
    let Auth::Bearer(Secret::File(token)) = &http.auth else {
        panic!("the token is not in a file");
    };
    assert!(is_read_only(token));
    let state = text(mount(container, &config.state_dir), &["name"]);
    let volume = list(pod, &["volumes"])
        .iter()
        .find(|volume| text(volume, &["name"]) == state);
    get(volume.unwrap(), &["hostPath"]);
}

/// A drain ends before the kubelet's patience does; probes reach the admin server; the memory suffices.
#[test]
fn the_manifest_leaves_room_for_what_its_config_asks() {
    let documents = documents();
    let (pod, container, config) = deployed(&documents);
    let grace_s: u64 = text(pod, &["terminationGracePeriodSeconds"])
        .parse()
        .unwrap();
    assert!(config.shutdown_grace_ms < grace_s * 1_000);
    assert!(!config.admin.listen.ip().is_loopback());
    let port = &list(container, &["ports"])[0];
    assert_eq!(
        text(port, &["containerPort"]),
        config.admin.listen.port().to_string()
    );
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(
            text(container, &[probe, "httpGet", "port"]),
            text(port, &["name"])
        );
    }
    let memory = text(container, &["resources", "limits", "memory"]);
    let mib: u64 = memory.strip_suffix("Mi").unwrap().parse().unwrap();
    assert!(bounds(&config).total.memory_bytes <= mib * 1024 * 1024);
}
