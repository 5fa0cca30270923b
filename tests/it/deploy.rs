//! The manifests for a cluster, held to the configurations that they carry. What the overlays come to, and whether
//! Kubernetes takes it, is tried by `tests/deploy/run`.
#![allow(clippy::unwrap_used)] // a helper that cannot go on ends its test

use std::iter;
use std::path::Path;

use clap::Parser;
use longshore::cli::prepare::Owner;
use longshore::cli::{Arguments, Command};
use longshore::config::bounds::bounds;
use longshore::config::mistake::Report;
use longshore::config::parse::parse;
use longshore::config::yaml::{Node, Value, read};
use longshore::config::{Auth, Config, Secret, SinkKind};

/// A file below `deploy/`.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one document of a file below `deploy/`.
fn document(name: &str) -> Node {
    let mut report = Report::new(name);
    let any = |_: &str| Some("x".to_owned());
    let found = read(&page(name), &any, &mut report);
    assert_eq!(report.into_mistakes().len(), 0, "{name}");
    found.unwrap()
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

/// What the pod gives a variable: as it is written, or something that the cluster may give.
fn given(variable: &Node) -> String {
    let Value::Map(entries) = &variable.value else {
        panic!("a variable is no mapping");
    };
    if entries.iter().any(|entry| entry.key == "value") {
        return text(variable, &["value"]).to_owned();
    }
    match text(variable, &["name"]) {
        "LOGS_URL" => "https://logs.example/rows",
        _ => "x",
    }
    .to_owned()
}

/// What every pod has of its cluster.
fn of_cluster(name: &str) -> Option<String> {
    let value = match name {
        "KUBERNETES_SERVICE_HOST" => "10.0.0.1",
        "KUBERNETES_SERVICE_PORT" => "443",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The pod, its container, and the configuration that it is given, which has only the container's variables.
fn deployed(set: &Node) -> (&Node, &Node, Config) {
    let pod = get(set, &["spec", "template", "spec"]);
    let container = &list(pod, &["containers"])[0];
    let variables = list(container, &["env"]);
    let environment = |name: &str| {
        let mut variables = variables.iter();
        variables
            .find(|variable| text(variable, &["name"]) == name)
            .map(given)
            .or_else(|| of_cluster(name))
    };
    let config = parse(
        &page("base/longshore.yaml"),
        "longshore.yaml",
        &environment,
        "node",
    );
    (pod, container, config.unwrap())
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
    let set = document("base/daemonset.yaml");
    let (pod, container, config) = deployed(&set);
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

/// The agent is not root, and the state is prepared for whom it is by the same image; nobody has a right beyond that.
#[test]
fn the_state_is_prepared_for_the_user_that_the_agent_is() {
    let set = document("base/daemonset.yaml");
    let (pod, container, config) = deployed(&set);
    let [prepare] = list(pod, &["initContainers"]) else {
        panic!("not one init container");
    };
    assert_eq!(text(prepare, &["image"]), text(container, &["image"]));
    let words: Vec<&str> = list(prepare, &["args"])
        .iter()
        .map(|word| text(word, &[]))
        .collect();
    let command = Arguments::try_parse_from(iter::once("longshore").chain(words)).unwrap();
    let Command::Prepare(args) = command.command else {
        panic!("the init container does something else");
    };
    assert_eq!(args.state_dir, config.state_dir);
    let user = |name: &str| text(container, &["securityContext", name]).parse().unwrap();
    let owner = Owner {
        user: user("runAsUser"),
        group: user("runAsGroup"),
    };
    assert_eq!(args.owner, owner);
    assert!(
        owner.user != 0 && owner.group == 0,
        "logs are root:root, 0640"
    );
    let state = |container| text(mount(container, &config.state_dir), &["name"]);
    assert_eq!(state(prepare), state(container));
    for (of, added) in [(prepare, vec!["CHOWN"]), (container, vec![])] {
        let rights = get(of, &["securityContext"]);
        assert_eq!(text(rights, &["allowPrivilegeEscalation"]), "false");
        assert_eq!(text(rights, &["readOnlyRootFilesystem"]), "true");
        let capabilities = get(rights, &["capabilities"]);
        assert_eq!(text(&list(capabilities, &["drop"])[0], &[]), "ALL");
        let Value::Map(entries) = &capabilities.value else {
            panic!("capabilities are no mapping");
        };
        let adds = entries.iter().any(|entry| entry.key == "add");
        let found = if adds {
            list(capabilities, &["add"])
        } else {
            &[]
        };
        let found: Vec<&str> = found.iter().map(|name| text(name, &[])).collect();
        assert_eq!(found, added);
    }
}

/// Whoever takes the comment marks away has what the comments promise.
#[test]
fn what_is_commented_out_loads_as_well() {
    let (mut begun, mut text) = (0, String::new());
    for line in page("base/longshore.yaml").lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        // A comment in words has a blank behind its mark; what is inside of an example has two.
        let example = content
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with(' ') && !rest.is_empty() || rest.starts_with("  "));
        begun += usize::from(example.is_some_and(|rest| !rest.starts_with(' ')));
        text.push_str(line.get(..indent).unwrap());
        text.push_str(example.unwrap_or(content));
        text.push('\n');
    }
    assert!(begun >= 4, "{begun} examples");
    let environment = |name: &str| match name {
        "LOGS_URL" => Some("https://logs.example/rows".to_owned()),
        "NODE_NAME" => Some("x".to_owned()),
        name => of_cluster(name),
    };
    let config = parse(&text, "longshore.yaml", &environment, "node").unwrap();
    let plain = parse(
        &page("base/longshore.yaml"),
        "longshore.yaml",
        &environment,
        "node",
    );
    let plain = plain.unwrap();
    assert_ne!(config.logs.select, plain.logs.select);
    assert_ne!(config.logs.lines, plain.logs.lines);
    assert_ne!(config.logs.multiline, plain.logs.multiline);
}

/// A drain ends before the kubelet's patience does; probes reach the admin server; the memory suffices.
#[test]
fn the_manifest_leaves_room_for_what_its_config_asks() {
    let set = document("base/daemonset.yaml");
    let (pod, container, config) = deployed(&set);
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
