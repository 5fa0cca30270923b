//! The workers of each sink taken together: one look, one [`View`] per worker.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::Sources;
use crate::clock::Time;
use crate::pipeline::board::{Board, ChainView, Counters, Health, View};
use crate::pipeline::ledger::Accounts;
use crate::pipeline::namespaces::Namespaces;

/// One worker at one look.
pub struct Worker {
    /// Which.
    pub number: usize,
    /// Its heartbeat.
    pub stepped_at: Time,
    /// What it showed.
    pub view: Arc<View>,
}

/// One sink at one look.
pub struct Summary {
    /// Its name.
    pub sink: String,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// Sum over the workers.
    pub totals: Accounts,
    /// Sum over the workers.
    pub namespaces: Namespaces,
    /// Sum over the workers.
    pub counters: Counters,
    /// The worst of the workers.
    pub health: Health,
}

/// The sinks in the order of their first board.
pub fn sinks(sources: &Sources) -> Vec<Summary> {
    let mut sinks: Vec<Summary> = Vec::new();
    for board in &sources.boards {
        match sinks.iter_mut().find(|known| known.sink == board.sink) {
            Some(summary) => summary.add(board),
            None => {
                let mut summary = Summary::new(&board.sink);
                summary.add(board);
                sinks.push(summary);
            }
        }
    }
    sinks
}

impl Summary {
    fn new(sink: &str) -> Summary {
        Summary {
            sink: sink.to_owned(),
            workers: Vec::new(),
            totals: Accounts::default(),
            namespaces: Namespaces::default(),
            counters: Counters::default(),
            health: Health::Good,
        }
    }

    fn add(&mut self, board: &Board) {
        let view = board.view();
        self.totals += &view.totals;
        self.namespaces.add(&view.namespaces);
        add_counters(&mut self.counters, &view.counters);
        if severity(&view.health) > severity(&self.health) {
            self.health = view.health.clone();
        }
        self.workers.push(Worker {
            number: board.worker,
            stepped_at: board.stepped_at(),
            view,
        });
    }

    /// What one of the workers showed is added up over all of them.
    pub fn sum(&self, of: impl Fn(&View) -> usize) -> usize {
        self.workers.iter().map(|worker| of(&worker.view)).sum()
    }

    /// When any worker's payload was last accepted.
    pub fn last_accepted(&self) -> Option<Time> {
        let accepted = self.workers.iter().map(|it| it.view.last_accepted);
        accepted.max().flatten()
    }

    /// The newest error of any worker.
    pub fn last_error(&self) -> Option<&(Time, String)> {
        let errors = self.workers.iter();
        let errors = errors.filter_map(|worker| worker.view.last_error.as_ref());
        errors.max_by_key(|(at, _)| *at)
    }

    /// The last verdict of the worker that fares worst.
    pub fn last_verdict(&self) -> Option<&'static str> {
        let judged = self.workers.iter();
        let judged = judged.filter(|worker| worker.view.last_verdict.is_some());
        let worst = judged.max_by_key(|worker| severity(&worker.view.health))?;
        worst.view.last_verdict
    }

    /// Whether the accounts of every worker and of every chain balance.
    pub fn balances(&self) -> bool {
        self.workers.iter().all(|worker| {
            let view = &worker.view;
            view.totals.balances() && view.chains.iter().all(|chain| chain.accounts.balances())
        })
    }

    /// All live chains, the one with the most lost and pending bytes first.
    pub fn chains(&self) -> Vec<&ChainView> {
        let workers = self.workers.iter();
        let mut chains: Vec<&ChainView> = workers.flat_map(|it| &it.view.chains).collect();
        chains.sort_by(|a, b| {
            let by_name = || a.meta.key.cmp(&b.meta.key);
            let by_size = trouble(&b.accounts).cmp(&trouble(&a.accounts));
            by_size.then_with(by_name)
        });
        chains
    }

    /// The containers by (namespace, pod, name), each summed over those of its instances whose logs exist; the
    /// one with the most lost and pending bytes first.
    pub fn containers(&self) -> Vec<Container<'_>> {
        let mut sums: HashMap<[&str; 3], Accounts> = HashMap::new();
        for chain in self.workers.iter().flat_map(|it| &it.view.chains) {
            let meta = &chain.meta;
            let names = [&*meta.namespace, &*meta.pod, &*meta.key.container];
            *sums.entry(names).or_default() += &chain.accounts;
        }
        let mut containers: Vec<Container<'_>> = sums
            .into_iter()
            .map(|(names, accounts)| Container { names, accounts })
            .collect();
        containers.sort_by_key(|it| (Reverse(trouble(&it.accounts)), it.names));
        containers
    }
}

/// One container of one sink.
pub struct Container<'a> {
    /// Namespace, pod, container.
    pub names: [&'a str; 3],
    /// Summed over its instances.
    pub accounts: Accounts,
}

/// What makes a log worth looking at first: bytes that are lost or wait.
fn trouble(accounts: &Accounts) -> u64 {
    accounts.pending + accounts.lost.iter().sum::<u64>()
}

const fn severity(health: &Health) -> u8 {
    match health {
        Health::Good => 0,
        Health::Retrying => 1,
        Health::Paused => 2,
    }
}

fn add_counters(sum: &mut Counters, more: &Counters) {
    // Taken apart in full: a new counter does not compile until it is added up.
    let Counters {
        read_bytes,
        records,
        records_unparsed,
        records_partial,
        records_multiline,
        records_multiline_cut,
        records_cut,
        records_replaced,
        records_redacted,
        redactions,
        join_pool_full,
        payloads,
        sent_bytes,
        sent_uncompressed_bytes,
        attempts,
        attempt_time,
        failures,
        truncations,
        gaps,
        read_errors,
        checkpoints,
        checkpoint_failures,
    } = more;
    sum.read_bytes += read_bytes;
    sum.records += records;
    sum.records_unparsed += records_unparsed;
    sum.records_partial += records_partial;
    sum.records_multiline += records_multiline;
    sum.records_multiline_cut += records_multiline_cut;
    sum.records_cut += records_cut;
    sum.records_replaced += records_replaced;
    sum.records_redacted += records_redacted;
    add_labelled(&mut sum.redactions, redactions);
    sum.join_pool_full += join_pool_full;
    sum.payloads += payloads;
    sum.sent_bytes += sent_bytes;
    sum.sent_uncompressed_bytes += sent_uncompressed_bytes;
    sum.attempts += attempts;
    sum.attempt_time += *attempt_time;
    add_labelled(&mut sum.failures, failures);
    sum.truncations += truncations;
    sum.gaps += gaps;
    add_labelled(&mut sum.read_errors, read_errors);
    sum.checkpoints += checkpoints;
    sum.checkpoint_failures += checkpoint_failures;
}

fn add_labelled(sum: &mut Vec<(&'static str, u64)>, more: &[(&'static str, u64)]) {
    for (label, count) in more {
        match sum.iter_mut().find(|(known, _)| known == label) {
            Some((_, total)) => *total += count,
            None => sum.push((label, *count)),
        }
    }
}
