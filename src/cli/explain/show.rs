//! An agent's answer, for people.

use crate::admin::explain::{
    Answer, ChainStand, Container, Instance, LogFile, Pod, Position, Stand,
};
use crate::config::mistake::printable;

/// Lines, each of them printable, with two blanks for each level.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.0.push_str(&"  ".repeat(level));
        self.0.push_str(&printable(text.as_ref()));
        self.0.push('\n');
    }
}

/// All of an answer.
pub(super) fn text(answer: &Answer) -> String {
    let mut page = Page::default();
    let question = &answer.question;
    let (namespace, pod, node) = (&question.namespace, &question.pod, &answer.node);
    let container = question.container.as_ref();
    let container = container.map_or_else(String::new, |name| format!("/{name}"));
    let what = format!("{namespace}/{pod}{container}");
    let count = answer.instances.len() + answer.instances_omitted;
    page.line(
        0,
        match count {
            0 => format!("{what}: no log of it is known on node {node}"),
            1 => format!("{what}: the log of 1 container instance on node {node}"),
            count => format!("{what}: the logs of {count} container instances on node {node}"),
        },
    );
    for instance in &answer.instances {
        instance_text(&mut page, instance);
    }
    if answer.instances_omitted > 0 {
        page.line(0, format!("{} further instances", answer.instances_omitted));
    }
    for pod in &answer.pods {
        pod_text(&mut page, pod, count == 0);
    }
    if count == 0 {
        why_nothing(&mut page, answer);
    }
    page.0
}

fn instance_text(page: &mut Page, instance: &Instance) {
    let over = if instance.ended { ", ended" } else { "" };
    let (name, restart) = (&instance.container, instance.restart);
    page.line(0, format!("container {name}, restart {restart}{over}"));
    page.line(1, format!("chain     {}", instance.chain));
    let id = match instance.container_id.as_str() {
        "" => "not known",
        id => id,
    };
    page.line(1, format!("id        {id}"));
    page.line(1, format!("metadata  {}", metadata(instance)));
    if let Some(wait_ms) = instance.first_lines_wait_ms {
        let seconds = seconds(wait_ms);
        page.line(
            1,
            format!(
                "waiting   its first lines wait up to {seconds} yet for what is known of the pod"
            ),
        );
    }
    if instance.files_omitted > 0 {
        page.line(1, format!("{} older files", instance.files_omitted));
    }
    for file in &instance.files {
        page.line(1, format!("file      {}", file_text(file)));
    }
    if instance.files.is_empty() {
        page.line(1, "file      none: all that there was is settled or gone");
    }
    for stand in &instance.sinks {
        stand_text(page, stand, &instance.files);
    }
}

fn metadata(instance: &Instance) -> String {
    let metadata = &instance.metadata;
    match metadata.state.as_str() {
        "known" => {
            let (labels, annotations) = (metadata.labels, metadata.annotations);
            let mut text = format!("known: {labels} labels, {annotations} annotations");
            let image = metadata
                .image
                .as_ref()
                .map(|image| format!("image {image}"));
            for more in [image, metadata.workload.clone()].into_iter().flatten() {
                text.push_str(&format!(", {more}"));
            }
            text
        }
        "awaited" => "awaited: the cluster has been asked and has not answered yet".to_owned(),
        "missing" => "missing: the cluster does not know the pod (any more)".to_owned(),
        "unasked" => "unasked: only the path counts (kubernetes.source is none)".to_owned(),
        other => other.to_owned(),
    }
}

fn file_text(file: &LogFile) -> String {
    let LogFile {
        serial: _,
        path,
        len_bytes,
        gzip,
        identity,
        held,
        ended,
        lost,
    } = file;
    let mut text = format!("{path}: {len_bytes} bytes");
    let identity = match identity {
        Some(identity) => format!("identity {identity}"),
        None => "no identity (too short, or not opened)".to_owned(),
    };
    let facts = [
        gzip.then(|| "gzip".to_owned()),
        Some(identity),
        held.then(|| "held open".to_owned()),
        ended.then(|| "ended".to_owned()),
        lost.as_ref().map(|why| format!("lost: {why}")),
    ];
    for fact in facts.into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&fact);
    }
    text
}

fn stand_text(page: &mut Page, stand: &Stand, files: &[LogFile]) {
    let decided = match &stand.chain {
        Some(chain) => decision(chain),
        None => "has not heard of it, or not said so yet".to_owned(),
    };
    page.line(1, format!("sink {}: {decided}", stand.sink));
    if let Some(chain) = &stand.chain {
        chain_text(page, chain, files);
    }
    let verdict = stand.last_verdict.as_deref().unwrap_or("none yet");
    let accepted = match stand.last_accepted_age_ms {
        Some(age_ms) => format!("last accepted {} ago", seconds(age_ms)),
        None => "nothing accepted yet".to_owned(),
    };
    page.line(
        2,
        format!(
            "health    {}; last verdict: {verdict}; {accepted}",
            stand.health
        ),
    );
    if let Some(error) = &stand.last_error {
        let age = seconds(error.age_ms);
        page.line(2, format!("error     {age} ago: {}", error.text));
    }
}

fn decision(chain: &ChainStand) -> String {
    let decided = match chain.decision.as_str() {
        "collect" => "collected",
        "exclude" => "excluded",
        "wait" => "waits, nothing of it is read",
        other => other,
    };
    match &chain.rule {
        Some(rule) => format!("{decided}, by {rule}"),
        None => format!("{decided}, no rule speaks against it"),
    }
}

fn chain_text(page: &mut Page, chain: &ChainStand, files: &[LogFile]) {
    if !chain.streams_excluded.is_empty() {
        let streams = chain.streams_excluded.join(" and ");
        page.line(2, format!("left out  {streams}"));
    }
    for wish in &chain.wishes {
        page.line(2, format!("wish      {wish} (the pod's annotation)"));
    }
    for error in &chain.annotation_errors {
        page.line(2, format!("mistake   {error}"));
    }
    let ChainStand {
        behind_bytes,
        delivered_bytes,
        ..
    } = chain;
    let mut text = format!("{behind_bytes} behind, {delivered_bytes} delivered");
    let others = [
        (chain.excluded_bytes, "excluded"),
        (chain.dropped_bytes, "dropped"),
        (chain.lost_bytes, "lost"),
    ];
    for (bytes, what) in others.into_iter().filter(|(bytes, _)| *bytes > 0) {
        text.push_str(&format!(", {bytes} {what}"));
    }
    page.line(2, format!("bytes     {text} (worker {})", chain.worker));
    for position in &chain.positions {
        page.line(2, format!("cursor    {}", position_text(position, files)));
    }
    if let Some(error) = &chain.read_error {
        page.line(2, format!("reading   {error}"));
    }
}

fn position_text(position: &Position, files: &[LogFile]) -> String {
    let file = files.iter().find(|file| file.serial == position.serial);
    let name = file.map_or("a file that is gone", |file| {
        file.path.rsplit('/').next().unwrap_or_default()
    });
    let Position {
        serial: _,
        read_bytes,
        stdout_bytes,
        stderr_bytes,
    } = position;
    format!("{name}: stdout {stdout_bytes}, stderr {stderr_bytes}, read to {read_bytes}")
}

/// What the cluster tells of a pod: all of it if there is no log, else only which containers have none.
fn pod_text(page: &mut Page, pod: &Pod, all: bool) {
    let without: Vec<&Container> = pod.containers.iter().filter(|it| !it.has_log).collect();
    if all {
        let deleted = if pod.deleted { "deleted, " } else { "" };
        let phase = match pod.phase.as_str() {
            "" => "phase not known",
            phase => phase,
        };
        let (uid, labels) = (&pod.uid, pod.labels);
        let workload = pod.workload.as_ref();
        let workload = workload.map_or_else(String::new, |it| format!(", {it}"));
        page.line(
            0,
            format!("the cluster knows the pod {uid}: {deleted}{phase}, {labels} labels{workload}"),
        );
        page.line(1, format!("its logs are expected in {}", pod.directory));
    }
    // The last instance of a pod that is gone need not have left a log.
    for container in without.into_iter().filter(|_| all || !pod.deleted) {
        let why = match &container.waiting {
            Some(why) => format!("it waits: {why}"),
            None => "no such file has been seen".to_owned(),
        };
        let (name, log) = (&container.name, &container.log);
        page.line(
            1,
            format!("container {name} has no log: {log} is expected; {why}"),
        );
    }
}

fn why_nothing(page: &mut Page, answer: &Answer) {
    let logs = &answer.logs;
    let scanned = match logs.scan_age_ms {
        Some(age_ms) => format!("last scanned completely {} ago", seconds(age_ms)),
        None => "never scanned completely yet".to_owned(),
    };
    let question = &answer.question;
    let (root, namespace, pod) = (&logs.root, &question.namespace, &question.pod);
    let mut directory = format!("{root}/{namespace}_{pod}_<uid>");
    if let Some(container) = &question.container {
        directory.push_str(&format!("/{container}"));
    }
    page.line(
        0,
        format!("no log below {directory} has been seen; {root} is watched, {scanned}"),
    );
    if !logs.ready {
        page.line(
            0,
            "the agent is not ready: the first scan of the logs has not ended; ask again",
        );
    }
    if logs.root_missing {
        page.line(0, format!("{root} cannot be listed, or is empty where it was not: check logs.pod_logs and the agent's mounts"));
    }
    let cluster = &answer.cluster;
    for problem in &cluster.problems {
        page.line(0, format!("asking the cluster fails: {problem}"));
    }
    if answer.pods.is_empty() {
        page.line(0, match (cluster.asked, cluster.answered) {
            (false, _) => "the cluster is not asked for pods (kubernetes.source is none)".to_owned(),
            (true, false) => "the cluster has not told its pods yet".to_owned(),
            (true, true) => format!("the cluster knows no pod {namespace}/{pod} on node {}; on another node another agent knows it", answer.node),
        });
    } else if let Some(name) = &question.container
        && answer.pods.iter().all(|pod| pod.containers.is_empty())
    {
        page.line(
            0,
            format!("the pod has no container {name}, as the cluster knows it"),
        );
    }
    if !answer.similar.is_empty() {
        page.line(0, format!("did you mean {}?", answer.similar.join(" or ")));
    }
}

/// A duration as people read it.
fn seconds(duration_ms: u64) -> String {
    match duration_ms {
        ..10_000 => format!("{}.{} s", duration_ms / 1_000, duration_ms % 1_000 / 100),
        _ => format!("{} s", duration_ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::explain::question::Question;
    use crate::admin::explain::{Cluster, Logs};

    #[test]
    fn an_agent_that_is_not_ready_or_sees_no_directory_says_so_on_lines_of_its_own() {
        let answer = Answer {
            question: Question {
                namespace: "ns".to_owned(),
                pod: "web\u{1b}[2J\nready".to_owned(),
                container: Some("app".to_owned()),
            },
            node: "n1".to_owned(),
            logs: Logs {
                root: "/logs".to_owned(),
                root_missing: true,
                ready: false,
                scan_age_ms: None,
            },
            cluster: Cluster {
                asked: true,
                answered: false,
                problems: vec!["pods: 401\r".to_owned()],
            },
            pods: Vec::new(),
            instances: Vec::new(),
            instances_omitted: 0,
            similar: Vec::new(),
        };
        let pod = "web\\u{1b}[2J\\u{a}ready";
        let lines = [
            format!("ns/{pod}/app: no log of it is known on node n1"),
            format!(
                "no log below /logs/ns_{pod}_<uid>/app has been seen; /logs is watched, never scanned completely yet"
            ),
            "the agent is not ready: the first scan of the logs has not ended; ask again".to_owned(),
            "/logs cannot be listed, or is empty where it was not: check logs.pod_logs and the agent's mounts".to_owned(),
            "asking the cluster fails: pods: 401\\u{d}".to_owned(),
            "the cluster has not told its pods yet".to_owned(),
        ];
        assert_eq!(text(&answer).lines().collect::<Vec<_>>(), lines);
    }
}
