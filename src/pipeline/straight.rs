//! The straight way, which nearly all lines go: whole lines of the runtime's format, records complete in one line, of
//! a stream that has no record open, and nothing that was read before a restart.
//!
//! What such a line needs to know of its chain cannot change from one to the next, so it is looked up once for many.
//! Invariant: a line that goes the straight way becomes what `Worker::line` would make of it; what is not straight
//! is left to that.

use std::sync::Arc;

use super::chains::ChainState;
use super::emit::run_of;
use super::judge::{Case, Flow, Ruling, leave_out};
use super::ledger::Amount;
use super::payload::{Mark, Offer};
use super::worker::Worker;
use crate::catalog::chain::Identity;
use crate::clock::Time;
use crate::record::{Flags, Record};
use crate::select::level;
use crate::select::lines::ChainLines;
use crate::tail::line::Line;
use crate::tail::multiline::{Grouping, State};
use crate::tail::{cri, docker};

/// What holds of all lines of a block.
struct Block {
    /// Where it begins in the segment.
    base: u64,
    segment: u64,
    identity: Option<Identity>,
    is_docker: bool,
    /// Streams whose lines are not straight.
    is_bent: [bool; 2],
    /// What may begin a group is not straight.
    grouping: Option<Arc<Grouping>>,
    plan: Option<Arc<ChainLines>>,
    uid_seed: u64,
}

impl Block {
    /// `None`: no line of it is straight.
    fn of(chain: &ChainState, at: usize) -> Option<Block> {
        let state = chain.segments.get(at)?;
        if state.replay.covers(state.read) {
            return None;
        }
        let plan = chain.plan.lines.clone();
        let uid_seed = match &plan {
            Some(_) => run_of(chain, state.identity).uid_seed,
            None => 0,
        };
        Some(Block {
            base: state.read,
            segment: state.serial,
            identity: state.identity,
            is_docker: chain.chain.as_ref().is_some_and(|chain| chain.docker),
            is_bent: [0, 1].map(|stream| {
                let open = chain.open[stream] || chain.grouped[stream];
                let in_group = chain.group[stream] != State::Idle;
                let left_out = chain.plan.left_out[stream].is_some();
                open || in_group || left_out || chain.severed[stream]
            }),
            grouping: chain.plan.multiline.clone(),
            plan,
            uid_seed,
        })
    }

    /// The line, if it is straight.
    #[inline]
    fn parse<'a>(
        &self,
        line: &'a [u8],
        scratch: &'a mut Vec<u8>,
        record_bytes_max: usize,
    ) -> Option<Line<'a>> {
        let parsed = if self.is_docker {
            docker::parse(line, scratch)
        } else {
            cri::parse(line)
        };
        // A line that begins with a NUL may be a hole; neither format begins so.
        let parsed = parsed?;
        let is_bent = parsed.partial
            || parsed.content.len() > record_bytes_max
            || self.is_bent[parsed.stream.index()]
            || self
                .grouping
                .as_ref()
                .is_some_and(|grouping| grouping.grammar.may_begin(parsed.content));
        (!is_bent).then_some(parsed)
    }

    /// The record that a line of `len` bytes is, which begins so far behind the block's beginning.
    #[inline]
    fn record<'a>(&self, line: &'a Line<'a>, at: usize, len: usize) -> Record<'a> {
        Record {
            time: &line.time,
            stream: line.stream,
            message: line.content,
            level: level::infer(line.content),
            flags: Flags::NONE,
            start: self.base + at as u64,
            end: self.base + (at + len) as u64 + 1,
        }
    }

    fn case<'a>(
        &self,
        slot: u32,
        lines: &'a ChainLines,
        flow: Option<&'a Flow>,
        now: Time,
    ) -> Case<'a> {
        Case {
            slot,
            lines,
            flow,
            uid_seed: self.uid_seed,
            now,
        }
    }
}

impl Worker {
    /// Takes the lines that `data` begins with, as long as they are straight and the builder has room. `data` lies
    /// where reading stands in the segment. Returns the bytes taken.
    pub(super) fn straight(&mut self, slot: u32, at: usize, data: &[u8], now: Time) -> usize {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return 0;
        };
        let Some(block) = Block::of(chain, at) else {
            return 0;
        };
        let segment = block.segment;
        let lines = block.plan.as_deref();
        let (mut taken, mut delivered) = (0, Amount::default());
        let (mut commit, mut entered) = (None, false);
        while let Some(end) = memchr::memchr(b'\n', data.get(taken..).unwrap_or_default()) {
            let line = data.get(taken..taken + end).unwrap_or_default();
            let Some(parsed) = block.parse(line, &mut self.scratch, self.limits.record_bytes_max)
            else {
                break;
            };
            let mut record = block.record(&parsed, taken, end);
            let amount = Amount {
                bytes: end as u64 + 1,
                lines: 1,
            };
            let mut ruling = Ruling::Keep;
            if let Some(lines) = lines {
                let case = block.case(slot, lines, chain.flow.as_deref(), now);
                ruling = self.judge.rule(&case, &record);
                let done = (record.stream, record.level, ruling, amount);
                match ruling {
                    Ruling::Keep => {}
                    Ruling::Stop { .. } => break,
                    Ruling::Mask => record.message = self.judge.masked_message(),
                    Ruling::Exclude(_) | Ruling::Drop(_) => {
                        let builder = &mut self.builder;
                        let number =
                            commit.get_or_insert_with(|| builder.commit(slot, segment, now));
                        if let Some(commit) = builder.commit_mut(*number) {
                            leave_out(commit, ruling, amount);
                        }
                        self.judge.note((lines, slot), &mut chain.flow, done, now);
                        taken += end + 1;
                        continue;
                    }
                }
            }
            if !entered {
                self.builder
                    .enter(slot, segment, &run_of(chain, block.identity));
                entered = true;
            }
            let commit = *commit.get_or_insert_with(|| self.builder.commit(slot, segment, now));
            let Offer::Taken(encoded) = self.builder.offer(&record, Mark::new(commit, amount))
            else {
                break;
            };
            if let Some(lines) = lines {
                let done = (parsed.stream, record.level, ruling, amount);
                self.judge.note((lines, slot), &mut chain.flow, done, now);
            }
            self.counters.records_replaced += u64::from(encoded.replaced);
            delivered += amount;
            taken += end + 1;
            if self.builder.is_staged() {
                break;
            }
        }
        if let Some(commit) = commit {
            self.counters.records += delivered.lines;
            self.builder.deliver(commit, delivered, taken as u64);
        }
        chain.advance(at, taken as u64);
        taken
    }
}
