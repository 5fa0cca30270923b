use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::api::Api;
use crate::agent::{Agent, Node, PATIENCE, wait_for};

#[path = "kube/api.rs"]
mod api;
/// `longshore explain` says of each pod what is known of its logs, and where nothing is, why.
#[path = "kube/explain.rs"]
mod explain;

const TIME: &str = "2026-01-02T03:04:05.000000006Z";

/// A node with an API server, an agent that asks it, and what the agent has written.
struct Rig {
    node: Node,
    api: Api,
    config: PathBuf,
}

impl Rig {
    fn new(kubernetes: Value) -> Rig {
        Rig::with(kubernetes, "wait")
    }

    /// With another answer to what is to be done with pods that are not known.
    fn with(kubernetes: Value, missing: &str) -> Rig {
        let node = Node::new();
        let ca = node.path("ca.pem");
        let api = Api::start("first", &ca);
        let token = node.path("token");
        fs::write(&token, "first").unwrap();
        let mut all = json!({
            "source": "api",
            "start_spread_ms": 0,
            "node_object": false,
            "api": {
                "url": api.url(),
                "bearer_token": {"file": token},
                "tls": {"ca_file": ca},
            },
        });
        for (key, value) in kubernetes.as_object().unwrap() {
            all[key] = value.clone();
        }
        let sinks = json!({"rows": node.file_sink("rows")});
        let top = json!({"kubernetes": all, "logs": {"select": {"metadata_missing": missing}}});
        let config = node.configure(sinks, top);
        Rig { node, api, config }
    }

    fn run(&self) -> Agent {
        Agent::run(&self.config)
    }

    /// The directory of a pod's log, by name and what it bears in place of the uid.
    fn directory(&self, pod: &str, uid: &str) -> PathBuf {
        self.node.path("pods").join(format!("ns_{pod}_{uid}"))
    }

    /// Writes a line into a pod's log.
    fn say(&self, pod: &str, uid: &str, message: &str) {
        let directory = self.directory(pod, uid).join("app");
        fs::create_dir_all(&directory).unwrap();
        append(&directory.join("0.log"), message);
    }

    /// The `KubernetesMetadata` of each message.
    fn rows(&self) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for path in longshore::sink::file::files(&self.node.path("rows")).unwrap_or_default() {
            let text = fs::read_to_string(path).unwrap();
            let whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            for line in whole {
                let row: Value = serde_json::from_str(line).unwrap();
                let message = row["LogMessage"].as_str().unwrap().to_owned();
                let before = rows.insert(message, row["KubernetesMetadata"].clone());
                assert_eq!(before, None, "{line}");
            }
        }
        rows
    }

    /// The metadata of a message, once there is a row of it.
    fn row(&self, agent: &Agent, message: &str) -> Value {
        let sight = || format!("{:#?}\n{}", self.api.asked(), agent.log());
        wait_for(message, sight, || self.rows().remove(message))
    }
}

fn append(path: &Path, message: &str) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{TIME} stdout F {message}\n").as_bytes())
        .unwrap();
}

/// A pod of the node, whose label says which it is.
fn pod(name: &str, uid: &str, who: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"who": who},
            "annotations": {"note": who}},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "reg:5000/team/app:1"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "restartCount": 0,
            "imageID": "reg:5000/team/app@sha256:ab", "containerID": format!("containerd://{uid}")}]},
    })
}

fn who(metadata: &Value) -> &str {
    metadata["podLabels"]["who"].as_str().unwrap_or_default()
}

#[test]
fn a_start_is_one_list_and_one_watch_and_rows_say_all_that_is_known() {
    let rig = Rig::new(json!({"node_object": true, "namespace_labels": true}));
    rig.api.put("pods", pod("web", "u1", "web"));
    let mut elsewhere = pod("other", "u9", "elsewhere");
    elsewhere["spec"]["nodeName"] = json!("n2");
    rig.api.put("pods", elsewhere);
    rig.say("web", "u1", "hello");
    let agent = rig.run();
    let expected = json!({
        "podUid": "u1", "podLabels": {"who": "web"}, "podAnnotations": {"note": "web"},
        "image": "team/app", "imageID": "sha256:ab", "imageRepo": "reg:5000", "imageTag": "1",
    });
    assert_eq!(rig.row(&agent, "hello"), expected);
    rig.api
        .wait_for("three watches", |api| api.watches_open() == 3);
    for resource in ["pods", "nodes", "namespaces"] {
        let counts = (
            rig.api.count(resource, false),
            rig.api.count(resource, true),
        );
        assert_eq!(counts, (1, 1), "{resource}");
    }
    let asked = rig.api.asked();
    let list = asked
        .iter()
        .find(|it| it.resource == "pods" && !it.watch)
        .unwrap();
    assert_eq!(list.parameters["resourceVersion"], "0");
    assert_eq!(list.parameters["fieldSelector"], "spec.nodeName=n1");
    assert_eq!(rig.api.violations(), [""; 0]);
    agent.stop();
}

#[test]
fn every_fault_of_the_server_heals_and_no_line_is_lost() {
    // Each fault shall heal: how soon is up to the waits between attempts.
    let rig = Rig::new(json!({"metadata_wait_ms": 60_000}));
    rig.api.fail(|faults| {
        faults.page_objects = Some(2);
        faults.list_delay = Duration::from_millis(50);
        faults.statuses = [503, 429].into();
    });
    for number in 0..5 {
        rig.api.put(
            "pods",
            pod(&format!("old-{number}"), &format!("o{number}"), "old"),
        );
    }
    let agent = rig.run();
    let open = |api: &Api| api.watches_open() == 1;
    rig.api.wait_for("a watch", open);
    let mut number = 0;
    let mut check = |fault: &str| {
        number += 1;
        let (name, uid) = (format!("new-{number}"), format!("n{number}"));
        rig.api.put("pods", pod(&name, &uid, fault));
        rig.say(&name, &uid, fault);
        assert_eq!(who(&rig.row(&agent, fault)), fault);
    };
    check("none");
    let lists = rig.api.count("pods", false);

    // The end of a watch costs no list.
    rig.api.end_watches();
    check("ended");
    // Nor does a connection that is dead and does not say so: a pod that is not known makes the agent ask anew.
    rig.api.freeze();
    check("half-open");
    assert_eq!(rig.api.count("pods", false), lists);

    // A version that is too old is told by the status or by an event: listed again.
    for by_event in [false, true] {
        rig.api.wait_for("a watch", open);
        rig.api.fail(|faults| faults.gone_by_event = by_event);
        rig.api.compact();
        let before = rig.api.count("pods", false);
        rig.api.end_watches();
        rig.api
            .wait_for("a list", |api| api.count("pods", false) > before);
        check(if by_event { "gone by event" } else { "gone" });
    }

    // The token is another one: the file is read again.
    rig.api.change_token("second");
    rig.api.end_watches();
    fs::write(rig.node.path("token"), "second").unwrap();
    check("token");

    // What failed for a while, failed for a while.
    rig.api
        .fail(|faults| faults.statuses = [500, 403, 429].into());
    rig.api.end_watches();
    check("statuses");
    assert_eq!(rig.api.violations(), [""; 0]);
    agent.stop();
}

#[test]
fn pods_of_one_name_are_not_mixed_up() {
    let rig = Rig::new(json!({}));
    rig.api.put("pods", pod("db-0", "u1", "first"));
    rig.say("db-0", "u1", "of the first");
    let agent = rig.run();
    assert_eq!(who(&rig.row(&agent, "of the first")), "first");
    rig.api.delete("pods", "ns/db-0");
    rig.api.put("pods", pod("db-0", "u2", "second"));
    rig.say("db-0", "u2", "of the second");
    // Its log is still drained.
    rig.say("db-0", "u1", "last words of the first");
    assert_eq!(who(&rig.row(&agent, "of the second")), "second");
    assert_eq!(who(&rig.row(&agent, "last words of the first")), "first");
    // A change of labels holds from then on.
    rig.api.put("pods", pod("db-0", "u2", "promoted"));
    let deadline = Instant::now() + *PATIENCE;
    for number in 0.. {
        let message = format!("word {number}");
        rig.say("db-0", "u2", &message);
        if who(&rig.row(&agent, &message)) == "promoted" {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    agent.stop();
}

#[test]
fn two_hundred_pods_that_are_gone_at_once_have_their_own_labels() {
    let rig = Rig::new(json!({}));
    let agent = rig.run();
    rig.api.wait_for("a watch", |api| api.watches_open() == 1);
    let name = |number: usize| (format!("job-{number}"), format!("u{number}"));
    for batch in (0..200).collect::<Vec<usize>>().chunks(20) {
        for number in batch {
            let (name, uid) = name(*number);
            rig.api.put("pods", pod(&name, &uid, &name));
            rig.say(&name, &uid, &format!("began {number}"));
            rig.say(&name, &uid, &format!("ended {number}"));
            // Before anybody has found its directory.
            rig.api.delete("pods", &format!("ns/{name}"));
        }
        for number in batch {
            let (name, uid) = name(*number);
            rig.row(&agent, &format!("ended {number}"));
            fs::remove_dir_all(rig.directory(&name, &uid)).unwrap();
        }
    }
    let sight = || format!("{} rows\n{}", rig.rows().len(), agent.log());
    wait_for("all rows", sight, || {
        (rig.rows().len() == 400).then_some(())
    });
    for (message, metadata) in rig.rows() {
        let number = message.rsplit(' ').next().unwrap();
        assert_eq!(who(&metadata), format!("job-{number}"), "{message}");
    }
    agent.stop();
}

#[test]
fn a_static_pod_is_known_by_its_config_hash() {
    let rig = Rig::new(json!({}));
    let mut mirror = pod("etcd-n1", "api-uid", "etcd");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0a1b", "note": "x"});
    rig.api.put("pods", mirror);
    rig.say("etcd-n1", "0a1b", "elected");
    let agent = rig.run();
    let metadata = rig.row(&agent, "elected");
    assert_eq!(
        (who(&metadata), &metadata["podUid"]),
        ("etcd", &json!("api-uid"))
    );
    assert_eq!(metadata["podAnnotations"], json!({"note": "x"}));
    agent.stop();
}

#[test]
fn lines_wait_for_nobody_who_does_not_answer() {
    let rig = Rig::with(json!({"metadata_wait_ms": 500}), "include");
    rig.api.change_token("not ours");
    rig.api.put("pods", pod("web", "u1", "web"));
    rig.say("web", "u1", "alone");
    let agent = rig.run();
    assert_eq!(rig.row(&agent, "alone"), json!({"podUid": "u1"}));
    // It comes back, and so does what it says.
    rig.api.change_token("first");
    let deadline = Instant::now() + *PATIENCE;
    for number in 0.. {
        let message = format!("word {number}");
        rig.say("web", "u1", &message);
        if who(&rig.row(&agent, &message)) == "web" {
            break;
        }
        assert!(Instant::now() < deadline, "{}", agent.log());
    }
    agent.stop();
}

#[test]
fn the_kubelet_is_asked_again_for_a_pod_that_is_not_known() {
    for verify in [true, false] {
        let rig = Rig::new(json!({"source": "none"}));
        // Its pages are those of a list; whoever verifies has to know its authority.
        let kubelet = json!({
            "source": "kubelet",
            "start_spread_ms": 0,
            "kubelet_interval_ms": 600_000,
            "kubelet": {
                "url": format!("{}/kubelet", rig.api.url()),
                "bearer_token": {"file": rig.node.path("token")},
                "tls": {"ca_file": if verify { json!(rig.node.path("ca.pem")) } else { Value::Null }},
                "verify": verify,
            },
        });
        let sinks = json!({"rows": rig.node.file_sink("rows")});
        let config = rig.node.configure(sinks, json!({"kubernetes": kubelet}));
        rig.api.put("pods", pod("web", "u1", "web"));
        let agent = Agent::run(&config);
        rig.api
            .wait_for("a list", |api| api.count("pods", false) == 1);
        // The next question would be asked ten minutes later.
        rig.api.put("pods", pod("late", "u2", "late"));
        for (name, uid) in [("web", "u1"), ("late", "u2")] {
            rig.say(name, uid, name);
            assert_eq!(who(&rig.row(&agent, name)), name);
        }
        assert_eq!(rig.api.violations(), [""; 0]);
        agent.stop();
    }
}

#[test]
fn what_the_cluster_says_of_the_node_and_its_pods_is_on_the_page() {
    let rig = Rig::new(json!({"node_object": true}));
    rig.api.put(
        "nodes",
        json!({
            "kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"},
            "spec": {"podCIDRs": ["10.1.0.0/24"]},
            "status": {
                "capacity": {"cpu": "4", "nvidia.com/gpu": "2"},
                "allocatable": {"pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }),
    );
    let mut web = pod("web", "u1", "web");
    web["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "250m"}});
    web["status"]["podIPs"] = json!([{"ip": "10.1.0.7"}]);
    let state = &mut web["status"]["containerStatuses"][0];
    state["restartCount"] = json!(3);
    state["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    state["lastState"] = json!({"terminated": {"reason": "OOMKilled"}});
    rig.api.put("pods", web);
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(&rig.config).unwrap()).unwrap();
    config["metrics"] = json!({"interval_ms": 1_000});
    fs::write(&rig.config, config.to_string()).unwrap();
    let agent = rig.run();
    let of_pod = r#"namespace="ns",pod="web",uid="u1""#;
    for line in [
        r#"kube_node_status_condition{node="n1",condition="Ready",status="true"} 1"#.to_owned(),
        r#"kube_node_status_condition{node="n1",condition="Ready",status="false"} 0"#.to_owned(),
        r#"kube_node_status_capacity{node="n1",resource="nvidia_com_gpu",unit="integer"} 2"#
            .to_owned(),
        r#"kube_node_status_allocatable{node="n1",resource="pods",unit="integer"} 110"#.to_owned(),
        format!(r#"kube_pod_status_phase{{{of_pod},phase="Running"}} 1"#),
        format!(r#"kube_pod_container_status_restarts_total{{{of_pod},container="app"}} 3"#),
        format!(
            r#"kube_pod_container_status_waiting_reason{{{of_pod},container="app",reason="CrashLoopBackOff"}} 1"#
        ),
        format!(
            r#"kube_pod_container_status_last_terminated_reason{{{of_pod},container="app",reason="OOMKilled"}} 1"#
        ),
        format!(
            r#"kube_pod_container_resource_requests{{{of_pod},container="app",node="n1",resource="cpu",unit="core"}} 0.25"#
        ),
        r#"node_pods_capacity 110"#.to_owned(),
        r#"node_ip_assigned{family="ipv4",source="kube_api"} 1"#.to_owned(),
        r#"longshore_kubernetes_in_sync{resource="pods"} 1"#.to_owned(),
    ] {
        let page = || agent.get("/metrics").1;
        let sight = || {
            page()
                .lines()
                .filter(|it| it.contains("kube"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        wait_for(&line, sight, || {
            page().lines().any(|it| it == line).then_some(())
        });
    }
    assert_eq!(agent.status()["kubernetes"]["problems"], json!({}));
    agent.stop();
}

/// The server is understood by the system's own client. Started by `tests/kube/run`.
#[test]
#[ignore = "needs kubectl; tests/kube/run starts it"]
fn kubectl_understands_the_server() {
    let rig = Rig::new(json!({}));
    rig.api.fail(|faults| faults.page_objects = Some(2));
    for number in 0..5 {
        rig.api.put(
            "pods",
            pod(&format!("web-{number}"), &format!("u{number}"), "web"),
        );
    }
    let home = rig.node.path("home");
    fs::create_dir_all(&home).unwrap();
    let kubectl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("kubectl");
        command.env("HOME", &home).env_remove("KUBECONFIG");
        command.args(["--server", &rig.api.url(), "--token", "first"]);
        command
            .arg("--certificate-authority")
            .arg(rig.node.path("ca.pem"));
        command.args(arguments);
        command
    };
    let said = |arguments: &[&str]| {
        let output = kubectl(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let names = said(&["get", "pods", "-A", "-o", "name", "--chunk-size", "2"]);
    assert_eq!(names.lines().count(), 5, "{names}");
    let field = [
        "get",
        "pods",
        "-A",
        "--field-selector",
        "spec.nodeName=n2",
        "-o",
        "name",
    ];
    assert_eq!(said(&field), "");
    let watch = ["get", "pods", "-A", "-o", "name", "--watch"];
    let mut child = kubectl(&watch)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    rig.api.wait_for("a watch", |api| api.watches_open() == 1);
    rig.api.put("pods", pod("late", "u9", "late"));
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(output).map_while(Result::ok);
    assert!(lines.any(|line| line == "pod/late"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rig.api.violations(), [""; 0]);
}
