//! The families of a sink and of its containers, one row each: a new number is one row here and one in METRICS.md.

use crate::admin::summary::{Container, Summary};
use crate::catalog::chain::Loss;
use crate::pipeline::board::{ChainView, Health};
use crate::pipeline::ledger::{Amount, Drop, Exclusion};
use crate::select::plan::Decision;

/// One number per sink: name, help, value. The name says the kind, see [`Kind::of`](crate::admin::text::Kind::of).
pub type PerSink = (&'static str, &'static str, fn(&Summary) -> u64);

/// The families with one series per sink.
pub const PER_SINK: &[PerSink] = &[
    (
        "longshore_log_seen_bytes_total",
        "Bytes of log files that the agent has seen exist.",
        |sink| sink.totals.seen,
    ),
    (
        "longshore_log_delivered_bytes_total",
        "Bytes of log files whose records the sink has accepted.",
        |sink| sink.totals.delivered.bytes,
    ),
    (
        "longshore_log_delivered_lines_total",
        "Lines of log files whose records the sink has accepted.",
        |sink| sink.totals.delivered.lines,
    ),
    (
        "longshore_log_pending_bytes",
        "Bytes of log files that are unread, open or under way.",
        |sink| sink.totals.pending,
    ),
    (
        "longshore_log_balanced",
        "1 while the accounts of the sink balance; 0 is a defect of the agent.",
        |sink| u64::from(sink.balances()),
    ),
    (
        "longshore_read_bytes_total",
        "Bytes read from log files, or inflated from them.",
        |sink| sink.counters.read_bytes,
    ),
    ("longshore_records_total", "Records encoded.", |sink| {
        sink.counters.records
    }),
    (
        "longshore_records_unparsed_total",
        "Records that were not of the runtime's format and were delivered raw.",
        |sink| sink.counters.records_unparsed,
    ),
    (
        "longshore_records_multiline_total",
        "Records made of several lines that belong together.",
        |sink| sink.counters.records_multiline,
    ),
    (
        "longshore_records_multiline_cut_total",
        "Records whose group of lines was cut at a bound.",
        |sink| sink.counters.records_multiline_cut,
    ),
    (
        "longshore_records_partial_total",
        "Records delivered before their end was seen.",
        |sink| sink.counters.records_partial,
    ),
    (
        "longshore_records_cut_total",
        "Records cut at record_bytes_max.",
        |sink| sink.counters.records_cut,
    ),
    (
        "longshore_records_replaced_total",
        "Records in which invalid UTF-8 was replaced.",
        |sink| sink.counters.records_replaced,
    ),
    (
        "longshore_records_redacted_total",
        "Records in which something was hidden.",
        |sink| sink.counters.records_redacted,
    ),
    (
        "longshore_join_pool_full_total",
        "Open records flushed because join_bytes_max was reached.",
        |sink| sink.counters.join_pool_full,
    ),
    ("longshore_join_bytes", "Bytes in open records.", |sink| {
        sink.sum(|view| view.join_bytes) as u64
    }),
    ("longshore_payloads_total", "Payloads finished.", |sink| {
        sink.counters.payloads
    }),
    (
        "longshore_payloads_waiting",
        "Payloads sealed and not finished.",
        |sink| sink.sum(|view| view.payloads_waiting) as u64,
    ),
    (
        "longshore_sink_requests_allowed",
        "Requests that the sink gets at once, now.",
        |sink| sink.sum(|view| view.requests_allowed) as u64,
    ),
    (
        "longshore_sink_sent_bytes_total",
        "Payload bytes that the sink accepted, compressed.",
        |sink| sink.counters.sent_bytes,
    ),
    (
        "longshore_sink_sent_uncompressed_bytes_total",
        "Payload bytes that the sink accepted, before compression.",
        |sink| sink.counters.sent_uncompressed_bytes,
    ),
    (
        "longshore_sink_attempts_total",
        "Attempts at delivering a payload.",
        |sink| sink.counters.attempts,
    ),
    (
        "longshore_truncations_total",
        "Log files truncated in place.",
        |sink| sink.counters.truncations,
    ),
    (
        "longshore_gaps_total",
        "Containers of which at least one whole log file was never seen.",
        |sink| sink.counters.gaps,
    ),
    (
        "longshore_checkpoints_total",
        "Checkpoints written.",
        |sink| sink.counters.checkpoints,
    ),
    (
        "longshore_checkpoint_failures_total",
        "Checkpoints that could not be written.",
        |sink| sink.counters.checkpoint_failures,
    ),
    (
        "longshore_chains",
        "Container instances whose logs exist.",
        |sink| sink.sum(|view| view.chains.len()) as u64,
    ),
    (
        "longshore_chains_waiting",
        "Of these, those that stay unread until a rule can be decided.",
        |sink| chains_of(sink, Decision::Wait),
    ),
    (
        "longshore_chains_excluded",
        "Of these, those that a rule or an annotation excludes as a whole.",
        |sink| chains_of(sink, Decision::Exclude),
    ),
    (
        "longshore_annotation_errors",
        "Annotations of pods that cannot be obeyed; /status says which.",
        |sink| {
            let errors = |chain: &ChainView| chain.plan.wishes.errors.len();
            sink.sum(|view| view.chains.iter().map(errors).sum()) as u64
        },
    ),
];

fn chains_of(sink: &Summary, decision: Decision) -> u64 {
    let decided = |chain: &&ChainView| chain.plan.decision == decision;
    sink.sum(|view| view.chains.iter().filter(decided).count()) as u64
}

/// Label values and numbers.
pub type Labelled = Vec<(&'static str, u64)>;

/// One number per sink and value of one more label: name, help, label, values.
pub type PerLabel = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Summary) -> Labelled,
);

/// The families with one series per sink and value of one more label.
pub const PER_LABEL: &[PerLabel] = &[
    (
        "longshore_log_excluded_bytes_total",
        "Bytes of log files that somebody asked to leave out.",
        "reason",
        |sink| {
            let excluded = &sink.totals.excluded;
            pairs(&Exclusion::ALL.map(Exclusion::as_str), excluded, |it| {
                it.bytes
            })
        },
    ),
    (
        "longshore_log_dropped_bytes_total",
        "Bytes of log files that were read and given up.",
        "reason",
        |sink| dropped(sink, |amount| amount.bytes),
    ),
    (
        "longshore_log_dropped_lines_total",
        "Lines of log files that were read and given up.",
        "reason",
        |sink| dropped(sink, |amount| amount.lines),
    ),
    (
        "longshore_log_excluded_lines_total",
        "Lines of log files that somebody asked to leave out, where they were read.",
        "reason",
        |sink| {
            let excluded = &sink.totals.excluded;
            pairs(&Exclusion::ALL.map(Exclusion::as_str), excluded, |it| {
                it.lines
            })
        },
    ),
    (
        "longshore_redactions_total",
        "Places in messages that were hidden.",
        "detector",
        |sink| sink.counters.redactions.clone(),
    ),
    (
        "longshore_log_lost_bytes_total",
        "Bytes of log files that could not be read.",
        "reason",
        |sink| pairs(&Loss::ALL.map(Loss::as_str), &sink.totals.lost, |it| *it),
    ),
    (
        "longshore_sink_failures_total",
        "Attempts that did not end in acceptance.",
        "reason",
        |sink| sink.counters.failures.clone(),
    ),
    (
        "longshore_read_errors_total",
        "Log files that could not be opened or read.",
        "kind",
        |sink| sink.counters.read_errors.clone(),
    ),
    (
        "longshore_sink_state",
        "1 for the state that the sink is in, 0 for the others.",
        "state",
        |sink| {
            let states = [Health::Good, Health::Retrying, Health::Paused];
            let states = states.map(|it| (it.as_str(), u64::from(it == sink.health)));
            states.to_vec()
        },
    ),
];

fn dropped(sink: &Summary, of: fn(&Amount) -> u64) -> Labelled {
    pairs(&Drop::ALL.map(Drop::as_str), &sink.totals.dropped, of)
}

fn pairs<T>(labels: &[&'static str], values: &[T], of: fn(&T) -> u64) -> Labelled {
    labels.iter().copied().zip(values.iter().map(of)).collect()
}

/// One number per sink and namespace: name, help, value.
pub type PerNamespace = (&'static str, &'static str, fn(&Amount) -> u64);

/// The families with one series per sink and namespace of which something was delivered.
pub const PER_NAMESPACE: &[PerNamespace] = &[
    (
        "longshore_namespace_delivered_bytes_total",
        "Bytes of the namespace's logs whose records the sink has accepted since the agent's start.",
        |amount| amount.bytes,
    ),
    (
        "longshore_namespace_delivered_lines_total",
        "Lines of the namespace's logs whose records the sink has accepted since the agent's start.",
        |amount| amount.lines,
    ),
];

/// One number per sink and container: name, help, value. Gauges, because a sum over the instances that exist
/// falls when one of them goes.
pub type PerContainer = (&'static str, &'static str, fn(&Container<'_>) -> u64);

/// The families with one series per sink and container.
pub const PER_CONTAINER: &[PerContainer] = &[
    (
        "longshore_container_pending_bytes",
        "Bytes of the container's existing logs that are unread, open or under way.",
        |container| container.accounts.pending,
    ),
    (
        "longshore_container_delivered_bytes",
        "Bytes of the container's existing logs whose records the sink has accepted.",
        |container| container.accounts.delivered.bytes,
    ),
    (
        "longshore_container_lost_bytes",
        "Bytes of the container's existing logs that could not be read.",
        |container| container.accounts.lost.iter().sum(),
    ),
];
