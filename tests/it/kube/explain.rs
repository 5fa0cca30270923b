use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use longshore::catalog::chain::Identity;

use super::*;
use crate::agent::LONGSHORE;

/// What `longshore explain` said: exit code, standard output and standard error together.
fn said(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(LONGSHORE);
    command.arg("explain").args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    (output.status.code().unwrap(), text)
}

/// What the agent knows of a pod, once it says all of that.
fn explained(agent: &Agent, pod: &str, code: i32, facts: &[&str]) -> String {
    let admin = agent.address().to_string();
    let ask = || said(&[pod, "--admin", &admin]);
    let sight = || {
        let (code, text) = ask();
        let lacking: Vec<_> = facts.iter().filter(|fact| !text.contains(**fact)).collect();
        format!("exit {code}, without {lacking:#?}\n{text}\n{}", agent.log())
    };
    wait_for(pod, sight, || {
        let (exit, text) = ask();
        let whole = facts.iter().all(|fact| text.contains(*fact));
        (exit == code && whole).then_some(text)
    })
}

/// The rig's configuration with other values in it.
fn reconfigure(rig: &Rig, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(&rig.config).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    fs::write(&rig.config, config.to_string()).unwrap();
}

#[test]
fn of_a_collected_pod_files_cursors_metadata_and_each_sink_are_told() {
    let rig = Rig::new(json!({}));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    reconfigure(&rig, |config| {
        config["sinks"]["away"] = json!({
            "type": "http", "url": format!("http://{closed}/"), "flush_interval_ms": 20,
        });
    });
    let mut web = pod("web", "u1", "web");
    web["metadata"]["annotations"]["longshore.dev/min-level"] = json!("info");
    web["metadata"]["annotations"]["longshore.dev/redact"] = json!("email");
    web["metadata"]["annotations"]["longshore.dev/sample"] = json!("\u{1b}[2J\nsink");
    rig.api.put("pods", web);
    rig.say("web", "u1", "hello");
    let directory = rig.directory("web", "u1").join("app");
    let (live, rotated) = (
        directory.join("0.log"),
        directory.join("0.log.20260102-000000.gz"),
    );
    let old = format!("2026-01-01T03:04:05.000000006Z stdout F {:.>500}\n", "");
    let mut gzip = flate2::write::GzEncoder::new(
        fs::File::create(&rotated).unwrap(),
        flate2::Compression::fast(),
    );
    gzip.write_all(old.as_bytes()).unwrap();
    gzip.finish().unwrap();
    let content = fs::read(&live).unwrap();
    let (len, old_len) = (content.len(), old.len());
    let both = len + old_len;
    let identity = |content: &[u8]| format!("identity {:016x}", Identity::of(content).unwrap().0);
    let agent = rig.run();
    let text = explained(
        &agent,
        "ns/web",
        0,
        &[
            "ns/web: the log of 1 container instance on node n1\n",
            "container app, restart 0\n",
            "chain     u1/app/0\n",
            "id        u1\n",
            "metadata  known: 1 labels, 4 annotations, image reg:5000/team/app:1\n",
            &format!("{}: {len} bytes, {}", live.display(), identity(&content)),
            &format!(
                "{}: {old_len} bytes, gzip, {}",
                rotated.display(),
                identity(old.as_bytes())
            ),
            "sink rows: collected, no rule speaks against it\n",
            "wish      min-level INFO (the pod's annotation)\n",
            "wish      redact email (the pod's annotation)\n",
            &format!("bytes     0 behind, {both} delivered (worker 0)\n"),
            &format!("cursor    0.log: stdout {len}, stderr {len}, read to {len}\n"),
            &format!("cursor    0.log.20260102-000000.gz: stdout {old_len}, stderr {old_len}"),
            "health    good; last verdict: accepted; last accepted ",
            "sink away: collected",
            &format!("bytes     {both} behind, 0 delivered"),
            "health    retrying; last verdict: retry; nothing accepted yet\n",
            " ago: ",
        ],
    );
    // What its author wrote cannot pass for a line of the answer.
    assert!(text.contains("mistake   "), "{text}");
    assert!(text.contains("\\u{1b}"), "{text}");
    assert!(!text.contains("no log"), "{text}");

    // One of its containers alone; and what there is none of.
    explained(&agent, "ns/web/app", 0, &["chain     u1/app/0\n"]);
    let text = explained(&agent, "ns/web/sidecar", 1, &["no log of it is known"]);
    assert!(text.contains("the pod has no container sidecar"), "{text}");
    assert!(text.contains("did you mean ns/web/app?\n"), "{text}");
    agent.kill();
}

#[test]
fn of_an_excluded_pod_the_rule_is_told() {
    let rig = Rig::new(json!({}));
    reconfigure(&rig, |config| {
        config["logs"]["select"] =
            json!({"exclude": {"pods": ["noisy-*"], "labels": ["who=secret"]}});
    });
    let mut quiet = pod("quiet", "u2", "quiet");
    quiet["metadata"]["annotations"]["longshore.dev/exclude"] = json!("true");
    let mut half = pod("half", "u4", "half");
    half["metadata"]["annotations"]["longshore.dev/exclude"] = json!("stdout");
    for (name, uid, object) in [
        ("noisy-1", "u1", pod("noisy-1", "u1", "noisy")),
        ("quiet", "u2", quiet),
        ("vault", "u3", pod("vault", "u3", "secret")),
        ("half", "u4", half),
    ] {
        rig.api.put("pods", object);
        rig.say(name, uid, "unwanted");
    }
    let agent = rig.run();
    let len = fs::metadata(rig.directory("vault", "u3").join("app/0.log"))
        .unwrap()
        .len();
    let excluded = format!("bytes     0 behind, 0 delivered, {len} excluded");
    for (name, rule) in [
        ("ns/noisy-1", "sink rows: excluded, by exclude.pods"),
        ("ns/quiet", "longshore.dev/exclude"),
        ("ns/vault", "sink rows: excluded, by exclude.labels"),
    ] {
        explained(
            &agent,
            name,
            0,
            &[rule, "sink rows: excluded, by ", &excluded],
        );
    }
    let half = ["sink rows: collected", "left out  stdout\n", &excluded];
    explained(&agent, "ns/half", 0, &half);
    agent.stop();
}

#[test]
fn of_a_pod_without_a_log_the_place_is_told_where_it_was_expected() {
    let rig = Rig::new(json!({}));
    let mut absent = pod("absent", "u1", "absent");
    let state = json!({"waiting": {"reason": "ImagePullBackOff"}});
    absent["status"]["phase"] = json!("Pending");
    absent["status"]["containerStatuses"][0]["state"] = state;
    rig.api.put("pods", absent);
    // One of two containers has begun.
    let mut half = pod("half", "u2", "half");
    let containers = half["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "proxy", "image": "proxy:1"}));
    rig.api.put("pods", half);
    rig.say("half", "u2", "hello");
    // A static pod's directory bears another uid.
    let mut mirror = pod("etcd-n1", "api-uid", "etcd");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0a1b"});
    rig.api.put("pods", mirror);
    let agent = rig.run();
    let expected = |pod: &str, uid: &str, container: &str| {
        let log = rig.directory(pod, uid).join(container).join("0.log");
        format!(
            "container {container} has no log: {} is expected; ",
            log.display()
        )
    };
    let root = format!(
        "{} is watched, last scanned completely ",
        rig.node.path("pods").display()
    );
    let text = explained(
        &agent,
        "ns/absent",
        1,
        &[
            "ns/absent: no log of it is known on node n1\n",
            "the cluster knows the pod u1: Pending, 1 labels\n",
            &format!(
                "{}it waits: ImagePullBackOff\n",
                expected("absent", "u1", "app")
            ),
            &root,
        ],
    );
    assert!(!text.contains("did you mean"), "{text}");
    let proxy = format!(
        "{}no such file has been seen\n",
        expected("half", "u2", "proxy")
    );
    let text = explained(&agent, "ns/half", 0, &["chain     u2/app/0\n", &proxy]);
    assert!(!text.contains("container app has no log"), "{text}");
    explained(
        &agent,
        "ns/etcd-n1",
        1,
        &[&expected("etcd-n1", "0a1b", "app")],
    );
    agent.stop();
}

#[test]
fn of_a_name_that_does_not_exist_it_is_told_where_it_was_looked_for_and_what_is_like_it() {
    let rig = Rig::new(json!({}));
    rig.api.put("pods", pod("web-7d9f-abcde", "u1", "web"));
    rig.api.put("pods", pod("db-0", "u2", "db"));
    rig.say("db-0", "u2", "hello");
    rig.say("cron-1", "u3", "of a pod that the cluster does not know");
    let agent = rig.run();
    let root = rig.node.path("pods");
    let root = root.display();
    let unseen = format!(
        "no log below {root}/ns_web_<uid> has been seen; {root} is watched, last scanned completely "
    );
    explained(
        &agent,
        "ns/web",
        1,
        &[
            "ns/web: no log of it is known on node n1\n",
            &unseen,
            "the cluster knows no pod ns/web on node n1",
            "did you mean ns/web-7d9f-abcde?\n",
        ],
    );
    explained(&agent, "ns/db-1", 1, &["did you mean ns/db-0?\n"]);
    explained(&agent, "ns/cron-2", 1, &["did you mean ns/cron-1?\n"]);
    explained(
        &agent,
        "ns/cron-1/ap",
        1,
        &["did you mean ns/cron-1/app?\n"],
    );
    explained(&agent, "other/db-0", 1, &["did you mean ns/db-0?\n"]);
    let text = explained(&agent, "ns/zzzzzzzz", 1, &["the cluster knows no pod"]);
    assert!(!text.contains("did you mean"), "{text}");
    explained(
        &agent,
        "ns/\u{1b}[2J&pod=db-0",
        1,
        &["no log of it is known"],
    );
    explained(&agent, "ns/cron-1", 0, &["metadata  missing: "]);
    agent.stop();
}

#[test]
fn while_the_cluster_does_not_answer_that_is_told() {
    let rig = Rig::new(json!({"metadata_wait_ms": 60_000}));
    reconfigure(&rig, |config| {
        config["logs"]["select"] = json!({"exclude": {"labels": ["who=secret"]}});
    });
    rig.api.change_token("not ours");
    rig.say("web", "u1", "alone");
    let agent = rig.run();
    explained(
        &agent,
        "ns/web",
        0,
        &[
            "metadata  awaited: ",
            "its first lines wait up to ",
            "sink rows: has not heard of it, or not said so yet\n",
        ],
    );
    let facts = [
        "the cluster has not told its pods yet\n",
        "asking the cluster fails: pods: ",
    ];
    explained(&agent, "ns/db", 1, &facts);
    agent.kill();
    // Nor are the lines read once the wait is over, for a rule depends on the answer.
    reconfigure(&rig, |config| {
        config["kubernetes"]["metadata_wait_ms"] = json!(100);
    });
    let agent = rig.run();
    let facts = [
        "metadata  awaited: ",
        "sink rows: waits, nothing of it is read, by ",
    ];
    let text = explained(&agent, "ns/web", 0, &facts);
    assert!(!text.contains("its first lines wait"), "{text}");
    agent.kill();
    // Where nobody is asked, that is the answer.
    reconfigure(&rig, |config| {
        config["kubernetes"] = json!({"source": "none"});
        config["logs"]["select"] = json!({});
    });
    let agent = rig.run();
    explained(
        &agent,
        "ns/web",
        0,
        &["metadata  unasked: ", "sink rows: collected"],
    );
    explained(&agent, "ns/db", 1, &["the cluster is not asked for pods"]);
    agent.stop();
}

#[test]
fn exit_codes_tell_mistakes_from_an_agent_that_does_not_answer() {
    for wrong in [
        &["web"][..],
        &["ns/web/app/0"],
        &["ns/"],
        &[],
        &["ns/web", "--adminn", "x"],
    ] {
        assert_eq!(said(wrong).0, 2, "{wrong:?}");
    }
    let node = Node::new();
    let config = node.configure(json!({"rows": node.file_sink("rows")}), json!({}));
    let config = config.to_str().unwrap();
    let (code, text) = said(&["ns/web", "--config", config]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("say --admin"), "{text}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 \x1b[2J smtp\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Whatever else is said is of no interest.
        let _read = stream.read_to_end(&mut Vec::new());
    });
    let (code, text) = said(&["ns/web", "--admin", &address]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("does not know /explain"), "{text}");
    stranger.join().unwrap();
    // Nobody listens there any more.
    let (code, text) = said(&["ns/web", "--admin", &address]);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains(&format!("cannot ask the agent at {address}")),
        "{text}"
    );
}
