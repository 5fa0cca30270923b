//! The container instances of which there is a log, and how each sink stands to them.

use std::cmp::Reverse;
use std::sync::Arc;

use super::question::Question;
use super::{
    ChainStand, FILES_MAX, INSTANCES_MAX, Instance, LogFile, Metadata, PastError, Position, Stand,
};
use crate::admin::Sources;
use crate::admin::status::{annotation_errors, cut, ms, streams_excluded};
use crate::admin::summary::{self, Summary};
use crate::catalog::chain::Segment;
use crate::catalog::register::Registered;
use crate::clock::Time;
use crate::pipeline::board::{ChainView, View};
use crate::pods::{PodInfo, PodState};
use crate::record::{ChainKey, ChainMeta};
use crate::select::annotations::Wishes;

/// Those that are asked for, at most [`INSTANCES_MAX`], and how many there are besides.
pub(super) fn instances(
    sources: &Sources,
    question: &Question,
    now: Time,
) -> (Vec<Instance>, usize) {
    let all = sources.basis.register.chains().into_iter();
    let mut found: Vec<(Registered, Arc<ChainMeta>)> = all
        .map(|it| {
            let meta = it.chain.meta();
            (it, meta)
        })
        .filter(|(_, meta)| is_asked_for(question, meta))
        .collect();
    if found.is_empty() {
        return (Vec::new(), 0);
    }
    found.sort_by_cached_key(|(it, meta)| {
        let key = &meta.key;
        let instance = (key.container.clone(), Reverse(key.restart));
        (it.chain.ended(), instance, key.pod_uid.clone())
    });
    let omitted = found.len().saturating_sub(INSTANCES_MAX);
    let sinks = summary::sinks(sources);
    let shown = found.iter().take(INSTANCES_MAX);
    let shown = shown.map(|(it, meta)| instance(&sinks, it, meta, now));
    (shown.collect(), omitted)
}

fn is_asked_for(question: &Question, meta: &ChainMeta) -> bool {
    let container = question.container.as_ref();
    meta.namespace == question.namespace
        && meta.pod == question.pod
        && container.is_none_or(|container| *container == meta.key.container)
}

fn instance(sinks: &[Summary], it: &Registered, meta: &ChainMeta, now: Time) -> Instance {
    let chain = &it.chain;
    let segments = chain.segments();
    let files_omitted = segments.len().saturating_sub(FILES_MAX);
    let waits = !chain.is_introduced() && now < it.introduced_by;
    Instance {
        chain: meta.key.to_string(),
        container: meta.key.container.clone(),
        restart: meta.key.restart,
        container_id: meta.container_id.clone(),
        ended: chain.ended(),
        metadata: metadata(meta),
        first_lines_wait_ms: waits.then(|| ms(it.introduced_by.since(now))),
        files: segments.iter().skip(files_omitted).map(file).collect(),
        files_omitted,
        sinks: sinks.iter().map(|it| stand(it, &meta.key, now)).collect(),
    }
}

fn metadata(meta: &ChainMeta) -> Metadata {
    let state = match &meta.pod_state {
        PodState::Unasked => "unasked",
        PodState::Awaited => "awaited",
        PodState::Missing => "missing",
        PodState::Known(_) => "known",
    };
    let info = meta.pod_state.info();
    let container = info.and_then(|info| info.container(&meta.key.container));
    Metadata {
        state: state.to_owned(),
        labels: info.map_or(0, |info| info.labels.len()),
        annotations: info.map_or(0, |info| info.annotations.len()),
        image: container.map(|container| cut(&container.image)),
        workload: info.and_then(workload),
    }
}

/// Kind and name of what a pod belongs to.
pub(super) fn workload(info: &PodInfo) -> Option<String> {
    let workload = info.workload.as_ref()?;
    Some(cut(&format!("{}/{}", workload.kind, workload.name)))
}

fn file(segment: &Arc<Segment>) -> LogFile {
    let source = segment.source();
    LogFile {
        serial: segment.serial,
        path: source.path.display().to_string(),
        len_bytes: segment.len_bytes(),
        gzip: source.gzip,
        identity: segment.identity().map(|it| format!("{:016x}", it.0)),
        held: source.handle.is_some(),
        ended: segment.ended(),
        lost: segment.gone().map(|why| why.as_str().to_owned()),
    }
}

/// The sink as the chain's worker shows it; where none has the chain, as all its workers show it together.
fn stand(sink: &Summary, key: &ChainKey, now: Time) -> Stand {
    let owner = sink.workers.iter().find_map(|worker| {
        let chain = worker.view.chains.iter().find(|it| it.meta.key == *key)?;
        Some((worker.number, worker.view.as_ref(), chain))
    });
    let of_owner = |view: &View| (view.health.clone(), view.last_verdict, view.last_accepted);
    let (health, verdict, accepted) = match owner {
        Some((_, view, _)) => of_owner(view),
        None => (
            sink.health.clone(),
            sink.last_verdict(),
            sink.last_accepted(),
        ),
    };
    let error = match owner {
        Some((_, view, _)) => view.last_error.as_ref(),
        None => sink.last_error(),
    };
    Stand {
        sink: sink.sink.clone(),
        health: health.as_str().to_owned(),
        last_verdict: verdict.map(str::to_owned),
        last_error: error.map(|(at, text)| PastError {
            age_ms: ms(now.since(*at)),
            text: cut(text),
        }),
        last_accepted_age_ms: accepted.map(|at| ms(now.since(at))),
        chain: owner.map(|(worker, _, chain)| chain_stand(worker, chain)),
    }
}

fn chain_stand(worker: usize, chain: &ChainView) -> ChainStand {
    let (plan, accounts) = (&chain.plan, &chain.accounts);
    let omitted = chain.segments.len().saturating_sub(FILES_MAX);
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    ChainStand {
        worker,
        decision: plan.decision.as_str().to_owned(),
        rule: (!plan.rule.is_empty()).then(|| cut(&plan.rule)),
        streams_excluded: names(streams_excluded(plan)),
        wishes: wishes(&plan.wishes),
        annotation_errors: annotation_errors(plan),
        behind_bytes: accounts.pending,
        delivered_bytes: accounts.delivered.bytes,
        excluded_bytes: accounts.excluded.iter().map(|it| it.bytes).sum(),
        dropped_bytes: accounts.dropped.iter().map(|it| it.bytes).sum(),
        lost_bytes: accounts.lost.iter().sum(),
        read_error: chain.error.as_deref().map(cut),
        positions: chain
            .segments
            .iter()
            .skip(omitted)
            .map(|segment| Position {
                serial: segment.serial,
                read_bytes: segment.read,
                stdout_bytes: segment.cursors[0],
                stderr_bytes: segment.cursors[1],
            })
            .collect(),
    }
}

/// What a pod's annotations ask for, beside leaving out, which the decision says.
fn wishes(wishes: &Wishes) -> Vec<String> {
    // Taken apart in full: a new wish does not compile until it is shown.
    let Wishes {
        excluded_by,
        streams_excluded: _,
        multiline,
        parse_json,
        sample,
        rate_lines,
        rate_bytes,
        redact,
        min_level,
        errors: _,
    } = wishes;
    let redact = (!redact.is_empty()).then(|| redact.join(","));
    let all = [
        ("excluded by", excluded_by.clone()),
        ("multiline", multiline.as_ref().map(|names| names.join(","))),
        ("parse-json", parse_json.map(|it| it.to_string())),
        ("sample", sample.map(|it| it.to_string())),
        ("lines per second", rate_lines.map(|it| it.to_string())),
        ("bytes per second", rate_bytes.map(|it| it.to_string())),
        ("redact", redact),
        ("min-level", min_level.map(|it| it.as_str().to_owned())),
    ];
    let said = all.into_iter();
    said.filter_map(|(name, value)| Some(cut(&format!("{name} {}", value?))))
        .collect()
}
