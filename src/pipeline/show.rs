//! What a worker shows of itself, put together from all it owns at one moment.

use std::sync::Arc;

use super::board::{ChainView, SegmentView, View};
use super::chains::SegmentState;
use super::worker::Worker;
use crate::select::lines::hidden_names;

impl Worker {
    pub(super) fn publish(&mut self) {
        let mut totals = self.folded;
        let mut chains = Vec::with_capacity(self.slots.len());
        for state in self.chains.iter().flatten() {
            totals += &state.accounts;
            chains.push(ChainView {
                meta: Arc::clone(&state.meta),
                plan: Arc::clone(&state.plan),
                accounts: state.accounts,
                segments: state.segments.iter().map(segment_view).collect(),
                error: state.error.clone(),
            });
        }
        let mut counters = self.counters.clone();
        let sent = self.delivery.sent();
        counters.attempts = sent.attempts;
        counters.failures = sent.failures.clone();
        counters.attempt_time = sent.attempt_time;
        counters.sent_bytes = sent.bytes;
        counters.sent_uncompressed_bytes = sent.uncompressed_bytes;
        counters.records_redacted = self.judge.masked;
        let hidden = hidden_names().into_iter().zip(self.judge.hidden);
        counters.redactions = hidden.filter(|(_, count)| *count > 0).collect();
        self.board.publish(View {
            totals,
            namespaces: self.namespaces.clone(),
            counters,
            health: self.delivery.health().0,
            last_error: self.delivery.last_error().cloned(),
            last_verdict: sent.last_verdict,
            last_accepted: sent.last_accepted,
            payloads_waiting: self.delivery.len(),
            requests_allowed: self.delivery.allowed(),
            join_bytes: self.join.bytes(),
            chains,
        });
    }
}

fn segment_view(state: &SegmentState) -> SegmentView {
    SegmentView {
        serial: state.serial,
        identity: state.identity,
        len_bytes: state.seen,
        read: state.read,
        cursors: state.cursors.at,
    }
}
