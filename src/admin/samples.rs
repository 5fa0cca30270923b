//! The samples of each sink, as `/metrics` and `/status` show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::Sources;
use super::metrics::Scrape;
use crate::clock::Time;
use crate::samples::board::{Board, View};
use crate::samples::ledger::Drop;
use crate::sink::gate::Health;

/// One number per sink: name, help, value.
type PerSink = (&'static str, &'static str, fn(&View) -> u64);

const PER_SINK: &[PerSink] = &[
    (
        "longshore_samples_taken_total",
        "Samples offered to the sink, end marks of series included.",
        |view| view.accounts.taken,
    ),
    (
        "longshore_samples_delivered_total",
        "Samples that the sink has accepted.",
        |view| view.accounts.delivered,
    ),
    (
        "longshore_samples_pending",
        "Samples that wait or are under way.",
        |view| view.accounts.pending,
    ),
    (
        "longshore_samples_balanced",
        "1 while the accounts of the sink's samples balance; 0 is a defect of the agent.",
        |view| u64::from(view.accounts.balances()),
    ),
    (
        "longshore_samples_snapshots_total",
        "Snapshots encoded for the sink.",
        |view| view.snapshots,
    ),
    (
        "longshore_samples_payloads_waiting",
        "Payloads of samples that wait or are under way.",
        |view| view.payloads_waiting as u64,
    ),
    (
        "longshore_samples_ring_bytes",
        "Memory of the payloads of samples that wait or are under way.",
        |view| view.ring_bytes as u64,
    ),
    (
        "longshore_samples_attempts_total",
        "Attempts at delivering a payload of samples.",
        |view| view.attempts,
    ),
    (
        "longshore_samples_sent_bytes_total",
        "Payload bytes of samples that the sink accepted, compressed.",
        |view| view.sent_bytes,
    ),
];

/// Adds the families of samples to a page.
pub(super) fn render(scrape: &Scrape, sources: &Sources) {
    for board in &sources.sample_boards {
        let view = board.view();
        let name = ("sink", board.sink.as_str());
        for (family, help, value) in PER_SINK {
            scrape.set(family, help, &[name], value(&view));
        }
        for (why, samples) in Drop::ALL.into_iter().zip(view.accounts.dropped) {
            let labels = [name, ("reason", why.as_str())];
            let help = "Samples that were given up.";
            scrape.set("longshore_samples_dropped_total", help, &labels, samples);
        }
        for (reason, attempts) in &view.failures {
            let labels = [name, ("reason", *reason)];
            let help = "Attempts at delivering samples that did not end in acceptance.";
            scrape.set("longshore_samples_failures_total", help, &labels, *attempts);
        }
        for state in [Health::Good, Health::Retrying, Health::Paused] {
            let labels = [name, ("state", state.as_str())];
            let help = "1 for the state that the samples' way to the sink is in, 0 for the others.";
            let value = u64::from(state == view.health);
            scrape.set("longshore_samples_state", help, &labels, value);
        }
        let accepted = view.last_accepted.unwrap_or(sources.started);
        scrape.set_gauge(
            "longshore_samples_last_accepted_age_seconds",
            "Time since the sink last accepted samples, or since the agent's start if it has not.",
            &[name],
            sources.clock.now().since(accepted).as_secs_f64(),
        );
        scrape.set_gauge(
            "longshore_samples_step_age_seconds",
            "Time since the thread of the sink's samples last stepped.",
            &[name],
            sources.step_age(board.stepped_at()).as_secs_f64(),
        );
    }
}

/// The samples of one sink in `/status`.
#[derive(Serialize)]
pub(super) struct SamplesStatus<'a> {
    sink: &'a str,
    health: &'static str,
    last_error: Option<ErrorStatus>,
    last_accepted_age_ms: Option<u64>,
    step_age_ms: u64,
    ledger: Ledger,
    payloads_waiting: usize,
    ring_bytes: usize,
    attempts: u64,
    failures: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct ErrorStatus {
    age_ms: u64,
    text: String,
}

#[derive(Serialize)]
struct Ledger {
    balances: bool,
    taken: u64,
    delivered: u64,
    dropped: BTreeMap<&'static str, u64>,
    pending: u64,
}

/// What `/status` says of a sink's samples.
pub(super) fn status<'a>(sources: &Sources, now: Time, board: &'a Arc<Board>) -> SamplesStatus<'a> {
    let view = board.view();
    let accounts = &view.accounts;
    let age = |at: Time| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    let names = Drop::ALL.map(Drop::as_str);
    let step_age = sources.step_age(board.stepped_at()).as_millis();
    SamplesStatus {
        sink: &board.sink,
        health: view.health.as_str(),
        last_error: view.last_error.as_ref().map(|(at, text)| ErrorStatus {
            age_ms: age(*at),
            text: text.clone(),
        }),
        last_accepted_age_ms: view.last_accepted.map(age),
        step_age_ms: u64::try_from(step_age).unwrap_or(u64::MAX),
        ledger: Ledger {
            balances: accounts.balances(),
            taken: accounts.taken,
            delivered: accounts.delivered,
            dropped: names.into_iter().zip(accounts.dropped).collect(),
            pending: accounts.pending,
        },
        payloads_waiting: view.payloads_waiting,
        ring_bytes: view.ring_bytes,
        attempts: view.attempts,
        failures: view.failures.iter().copied().collect(),
    }
}
