//! `/status`: the same look as `/metrics`, in JSON, down to each segment: why is this pod's log not there?
//!
//! Invariant: the answer is bounded, whatever is on the node: at most [`CHAINS_MAX`] chains and
//! [`CHAINS_BYTES_MAX`] bytes of them, those with the most lost and pending bytes first, the rest counted.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::filter::Filter;
use super::samples::{self, SamplesStatus};
use super::summary::{self, Summary, Worker};
use super::{Sources, Stat, health};
use crate::catalog::chain::Loss;
use crate::clock::Time;
use crate::pipeline::board::{ChainView, SegmentView};
use crate::pipeline::ledger::{Accounts, Amount, Drop, Exclusion};
use crate::record::Stream;
use crate::select::plan::Plan;

/// Chains that one answer shows, all sinks together.
pub const CHAINS_MAX: usize = 5_000;
/// Bytes of chains that one answer shows, all sinks together.
pub const CHAINS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Segments that one chain shows, the newest of them.
pub const SEGMENTS_MAX: usize = 64;
/// Longest error text, in characters.
const ERROR_CHARACTERS_MAX: usize = 512;

#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    node: &'a str,
    uptime_ms: u64,
    healthy: bool,
    ready: bool,
    own_log_suppressed: u64,
    config: ConfigStatus,
    bounds: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
    catalog: CatalogStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<ClusterStatus>,
    sinks: Vec<SinkStatus<'a>>,
    samples: Vec<SamplesStatus<'a>>,
}

#[derive(Serialize)]
struct ConfigStatus {
    age_ms: u64,
    reloads_applied: u64,
    reloads_refused: u64,
    refused: Option<ErrorStatus>,
}

impl ConfigStatus {
    fn of(sources: &Sources, now: Time) -> ConfigStatus {
        let configured = &sources.configured;
        ConfigStatus {
            age_ms: ms(now.since(configured.applied_at())),
            reloads_applied: configured.applied(),
            reloads_refused: configured.refusals(),
            refused: configured.refused().map(|refused| ErrorStatus {
                age_ms: ms(now.since(refused.at)),
                text: refused.text.clone(),
            }),
        }
    }
}

#[derive(Serialize)]
struct CatalogStatus {
    step_age_ms: u64,
    first_scan_done: bool,
    stats: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct ClusterStatus {
    stats: BTreeMap<String, u64>,
    problems: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct SinkStatus<'a> {
    sink: &'a str,
    health: &'static str,
    last_error: Option<ErrorStatus>,
    last_verdict: Option<&'static str>,
    last_accepted_age_ms: Option<u64>,
    ledger: Ledger,
    payloads_waiting: usize,
    join_bytes: usize,
    failures: BTreeMap<&'static str, u64>,
    read_errors: BTreeMap<&'static str, u64>,
    truncations: u64,
    gaps: u64,
    stats: BTreeMap<String, u64>,
    workers: Vec<WorkerStatus>,
    chains_total: usize,
    chains_matching: usize,
    chains_omitted: usize,
    chains: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct ErrorStatus {
    age_ms: u64,
    text: String,
}

#[derive(Serialize)]
struct WorkerStatus {
    worker: usize,
    step_age_ms: u64,
    health: &'static str,
    last_error: Option<ErrorStatus>,
    last_verdict: Option<&'static str>,
}

#[derive(Serialize)]
struct Ledger {
    balances: bool,
    seen_bytes: u64,
    excluded: BTreeMap<&'static str, Amount>,
    dropped: BTreeMap<&'static str, Amount>,
    delivered: Amount,
    lost_bytes: BTreeMap<&'static str, u64>,
    pending_bytes: u64,
}

impl Ledger {
    fn of(accounts: &Accounts, balances: bool) -> Ledger {
        let excluded = Exclusion::ALL.map(Exclusion::as_str);
        let dropped = Drop::ALL.map(Drop::as_str);
        let lost = Loss::ALL.map(Loss::as_str);
        Ledger {
            balances,
            seen_bytes: accounts.seen,
            excluded: excluded.into_iter().zip(accounts.excluded).collect(),
            dropped: dropped.into_iter().zip(accounts.dropped).collect(),
            delivered: accounts.delivered,
            lost_bytes: lost.into_iter().zip(accounts.lost).collect(),
            pending_bytes: accounts.pending,
        }
    }
}

#[derive(Serialize)]
struct ChainStatus<'a> {
    chain: String,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    container_id: &'a str,
    behind_bytes: u64,
    decision: &'static str,
    rule: Option<String>,
    streams_excluded: Vec<&'static str>,
    annotation_errors: Vec<String>,
    ledger: Ledger,
    error: Option<String>,
    segments_omitted: usize,
    segments: Vec<SegmentStatus>,
}

#[derive(Serialize)]
struct SegmentStatus {
    /// As hex digits: the number does not fit the integers of every JSON reader.
    identity: Option<String>,
    len_bytes: u64,
    read_bytes: u64,
    unread_bytes: u64,
    cursors: BTreeMap<&'static str, u64>,
}

/// The answer, as JSON text.
pub fn render(sources: &Sources, filter: &Filter) -> Result<String, serde_json::Error> {
    let now = sources.clock.now();
    let sinks = summary::sinks(sources);
    let mut room = Room {
        chains: CHAINS_MAX,
        bytes: CHAINS_BYTES_MAX,
    };
    let mut bounds: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for bound in &sources.bounds {
        let of_sink = bounds.entry(&bound.sink).or_default();
        of_sink.insert(bound.name, bound.value);
    }
    let mut status = Status {
        version: sources.version,
        node: &sources.node,
        uptime_ms: ms(now.since(sources.started)),
        healthy: health::live(sources).good,
        ready: sources.catalog.first_scan_done(),
        own_log_suppressed: sources.own_log.suppressed(),
        config: ConfigStatus::of(sources, now),
        bounds,
        catalog: CatalogStatus {
            step_age_ms: ms(sources.step_age(sources.catalog.stepped_at())),
            first_scan_done: sources.catalog.first_scan_done(),
            stats: numbers(sources.catalog.stats()),
        },
        kubernetes: sources.cluster.as_ref().map(|cluster| ClusterStatus {
            stats: numbers(cluster.stats()),
            problems: cluster.problems().into_iter().collect(),
        }),
        sinks: Vec::with_capacity(sinks.len()),
        samples: Vec::new(),
    };
    let wanted = sources.sample_boards.iter();
    let wanted = wanted.filter(|board| filter.wants_sink(&board.sink));
    status.samples = wanted
        .map(|board| samples::status(sources, now, board))
        .collect();
    for sink in sinks.iter().filter(|sink| filter.wants_sink(&sink.sink)) {
        status
            .sinks
            .push(sink_status(sources, now, sink, filter, &mut room)?);
    }
    serde_json::to_string(&status)
}

fn sink_status<'a>(
    sources: &Sources,
    now: Time,
    sink: &'a Summary,
    filter: &Filter,
    room: &mut Room,
) -> Result<SinkStatus<'a>, serde_json::Error> {
    let all = sink.chains();
    let chains_total = all.len();
    let matching: Vec<&ChainView> = all.into_iter().filter(|it| filter.wants(it)).collect();
    let chains = room.fill(&matching)?;
    let extra = sources.extra.iter().filter(|extra| extra.sink == sink.sink);
    let workers = sink.workers.iter();
    Ok(SinkStatus {
        sink: &sink.sink,
        health: sink.health.as_str(),
        last_error: error_status(now, sink.last_error()),
        last_verdict: sink.last_verdict(),
        last_accepted_age_ms: sink.last_accepted().map(|at| ms(now.since(at))),
        ledger: Ledger::of(&sink.totals, sink.balances()),
        payloads_waiting: sink.sum(|view| view.payloads_waiting),
        join_bytes: sink.sum(|view| view.join_bytes),
        failures: sink.counters.failures.iter().copied().collect(),
        read_errors: sink.counters.read_errors.iter().copied().collect(),
        truncations: sink.counters.truncations,
        gaps: sink.counters.gaps,
        stats: numbers(extra.flat_map(|extra| (extra.read)()).collect()),
        workers: workers
            .map(|worker| worker_status(sources, now, worker))
            .collect(),
        chains_total,
        chains_matching: matching.len(),
        chains_omitted: matching.len() - chains.len(),
        chains,
    })
}

fn worker_status(sources: &Sources, now: Time, worker: &Worker) -> WorkerStatus {
    let view = &worker.view;
    WorkerStatus {
        worker: worker.number,
        step_age_ms: ms(sources.step_age(worker.stepped_at)),
        health: view.health.as_str(),
        last_error: error_status(now, view.last_error.as_ref()),
        last_verdict: view.last_verdict,
    }
}

fn error_status(now: Time, error: Option<&(Time, String)>) -> Option<ErrorStatus> {
    error.map(|(at, text)| ErrorStatus {
        age_ms: ms(now.since(*at)),
        text: cut(text),
    })
}

/// What is left of the answer's bounds.
struct Room {
    chains: usize,
    bytes: usize,
}

impl Room {
    /// As many of the chains as there is room for, from the first.
    fn fill(&mut self, chains: &[&ChainView]) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
        let mut shown = Vec::new();
        for chain in chains.iter().take(self.chains) {
            let text = serde_json::to_string(&chain_status(chain))?;
            let Some(left) = self.bytes.checked_sub(text.len()) else {
                break;
            };
            self.bytes = left;
            shown.push(RawValue::from_string(text)?);
        }
        self.chains -= shown.len();
        Ok(shown)
    }
}

fn chain_status(chain: &ChainView) -> ChainStatus<'_> {
    let meta = &chain.meta;
    let segments_omitted = chain.segments.len().saturating_sub(SEGMENTS_MAX);
    ChainStatus {
        chain: meta.key.to_string(),
        namespace: &meta.namespace,
        pod: &meta.pod,
        container: &meta.key.container,
        container_id: &meta.container_id,
        behind_bytes: chain.accounts.pending,
        decision: chain.plan.decision.as_str(),
        rule: (!chain.plan.rule.is_empty()).then(|| cut(&chain.plan.rule)),
        streams_excluded: streams_excluded(&chain.plan),
        annotation_errors: annotation_errors(&chain.plan),
        ledger: Ledger::of(&chain.accounts, chain.accounts.balances()),
        error: chain.error.as_deref().map(cut),
        segments_omitted,
        segments: chain
            .segments
            .iter()
            .skip(segments_omitted)
            .map(segment_status)
            .collect(),
    }
}

/// The streams of a collected chain that are left out.
pub(super) fn streams_excluded(plan: &Plan) -> Vec<&'static str> {
    let streams = Stream::ALL.into_iter().zip(plan.left_out);
    let left_out = streams.filter(|(_, by)| by.is_some());
    left_out.map(|(stream, _)| stream.as_str()).collect()
}

pub(super) fn annotation_errors(plan: &Plan) -> Vec<String> {
    let errors = plan.wishes.errors.iter();
    errors.map(ToString::to_string).collect()
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(ERROR_CHARACTERS_MAX).collect()
}

fn segment_status(segment: &SegmentView) -> SegmentStatus {
    let streams = Stream::ALL.map(Stream::as_str);
    SegmentStatus {
        identity: segment.identity.map(|it| format!("{:016x}", it.0)),
        len_bytes: segment.len_bytes,
        read_bytes: segment.read,
        unread_bytes: segment.len_bytes.saturating_sub(segment.read),
        cursors: streams.into_iter().zip(segment.cursors).collect(),
    }
}

/// Numbers by the name of their series.
fn numbers(stats: Vec<Stat>) -> BTreeMap<String, u64> {
    let series = |stat: &Stat| match stat.label {
        Some((label, text)) => format!("{}{{{label}={text}}}", stat.name),
        None => stat.name.to_owned(),
    };
    stats
        .iter()
        .map(|stat| (series(stat), stat.value))
        .collect()
}

pub(super) fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
