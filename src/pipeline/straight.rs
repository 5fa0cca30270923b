//! The straight way, which nearly all lines go: whole lines of the runtime's format, records complete in one line, of
//! a stream that has no record open, that cannot begin a group, and nothing that was read before a restart.
//!
//! What such a line needs to know of its chain cannot change from one to the next, so it is looked up once for many.
//! Invariant: a line that goes the straight way becomes what `Worker::line` would make of it; what is not straight
//! is left to that.

use super::emit::run_of;
use super::ledger::Amount;
use super::payload::{Mark, Offer};
use super::worker::Worker;
use crate::clock::Time;
use crate::record::{Flags, Record};
use crate::select::level;
use crate::tail::multiline::State;
use crate::tail::{cri, docker};

impl Worker {
    /// Takes the lines that `data` begins with, as long as they are straight and the builder has room. `data` lies
    /// where reading stands in the segment. Returns the bytes taken.
    pub(super) fn straight(&mut self, slot: u32, at: usize, data: &[u8], now: Time) -> usize {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return 0;
        };
        let Some(state) = chain.segments.get(at) else {
            return 0;
        };
        let (base, segment, identity) = (state.read, state.serial, state.identity);
        if state.replay.covers(base) {
            return 0;
        }
        let is_docker = chain.chain.as_ref().is_some_and(|chain| chain.docker);
        let left_out = chain.plan.left_out.map(|by| by.is_some());
        let is_bent = [0, 1].map(|stream| {
            let open = chain.open[stream] || chain.grouped[stream];
            open || chain.severed[stream] || left_out[stream] || chain.group[stream] != State::Idle
        });
        let grammar = chain.plan.multiline.as_deref().map(|it| &it.grammar);
        let (mut taken, mut lines) = (0, 0);
        let mut commit = None;
        while let Some(end) = memchr::memchr(b'\n', data.get(taken..).unwrap_or_default()) {
            let line = data.get(taken..taken + end).unwrap_or_default();
            let parsed = if is_docker {
                docker::parse(line, &mut self.scratch)
            } else {
                cri::parse(line)
            };
            // A line that begins with a NUL may be a hole; neither format begins so.
            let Some(parsed) = parsed else { break };
            let too_long = parsed.content.len() > self.limits.record_bytes_max;
            if parsed.partial || too_long || is_bent[parsed.stream.index()] {
                break;
            }
            if grammar.is_some_and(|grammar| grammar.may_begin(parsed.content)) {
                break;
            }
            let commit = *commit.get_or_insert_with(|| {
                self.builder.enter(slot, segment, &run_of(chain, identity));
                self.builder.commit(slot, segment, now)
            });
            let record = Record {
                time: &parsed.time,
                stream: parsed.stream,
                message: parsed.content,
                level: level::infer(parsed.content),
                flags: Flags::NONE,
                start: base + taken as u64,
                end: base + (taken + end) as u64 + 1,
            };
            let amount = Amount {
                bytes: end as u64 + 1,
                lines: 1,
            };
            let Offer::Taken(encoded) = self.builder.offer(&record, Mark::new(commit, amount))
            else {
                break;
            };
            self.counters.records_replaced += u64::from(encoded.replaced);
            lines += 1;
            taken += end + 1;
            if self.builder.is_staged() {
                break;
            }
        }
        if let Some(commit) = commit {
            let bytes = taken as u64;
            self.counters.records += lines;
            self.builder.deliver(commit, Amount { bytes, lines }, bytes);
        }
        if let Some(state) = chain.segments.get_mut(at) {
            state.read += taken as u64;
        }
        taken
    }
}
