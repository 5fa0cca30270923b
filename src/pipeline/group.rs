//! Lines that belong together on their way into one record: the pool holds a group as it holds a line in parts.
//!
//! Invariants: a group is delivered before any line of its stream that does not belong to it. Its stream's cursor stands
//! at its first byte until then, so that after a restart it is read again from there, by the same grammar.

use std::time::Duration;

use super::chains::ChainState;
use super::worker::Worker;
use crate::clock::Time;
use crate::record::Flags;
use crate::tail::join::{Held, OpenKey, Place};
use crate::tail::line::Line;
use crate::tail::multiline::{State, Verdict};

impl Worker {
    /// Takes a whole line, or the last part of one, of a stream whose lines may belong together.
    pub(super) fn group_line(
        &mut self,
        slot: u32,
        line: &Line<'_>,
        place: Place,
        flags: Flags,
        now: Time,
    ) {
        let key = (slot, line.stream);
        let Some(state) = self.chain_mut(slot) else {
            return;
        };
        let in_parts = state.open[line.stream.index()];
        let grouping = state.plan.multiline.clone();
        let at = state.group[line.stream.index()];
        if in_parts {
            self.join.push(slot, line, place, now);
        }
        let content = match self.join.get(key, Held::Line) {
            Some(open) if in_parts => open.content.as_slice(),
            _ => line.content,
        };
        let bytes = content.len().min(self.limits.record_bytes_max);
        // Without a grammar any more, whatever is open is over.
        let (verdict, next) = match &grouping {
            Some(grouping) => grouping.grammar.judge(at, content),
            None => (Verdict::Alone, State::Idle),
        };
        let is_of_it = matches!(verdict, Verdict::Continues | Verdict::Ends);
        if !is_of_it {
            self.close_group(key, Flags::NONE, now);
        } else if !self.join.group_has_room(key, bytes) {
            self.close_group(key, Flags::MULTILINE_CUT, now);
        }
        self.stand(key, next);
        let Some(grouping) = grouping.filter(|_| verdict != Verdict::Alone) else {
            if in_parts {
                self.emit_open(key, Held::Line, flags, now);
            } else {
                self.emit(slot, line, place, flags, now);
            }
            return;
        };
        if !in_parts {
            self.join.push(slot, line, place, now);
        }
        let lines = self.add_to_group(key, now + grouping.timeout);
        self.builder.commit(slot, place.segment, now);
        if verdict == Verdict::Ends || !flags.is_empty() {
            self.close_group(key, flags, now);
            self.stand(key, State::Idle);
        } else if lines >= grouping.lines_max {
            // What follows goes on with the same trace, in a record of its own.
            self.close_group(key, Flags::MULTILINE_CUT, now);
        } else {
            self.relieve(now);
        }
    }

    /// The open line is whole: it goes to the group, or is the first of one. Returns how many lines there are.
    fn add_to_group(&mut self, key: OpenKey, due: Time) -> u32 {
        let Some(state) = self.chain_mut(key.0) else {
            return 0;
        };
        state.open[key.1.index()] = false;
        if std::mem::replace(&mut state.grouped[key.1.index()], true) {
            return self.join.extend_group(key, due);
        }
        self.join.begin_group(key, due);
        1
    }

    /// Notes where the grammar stands in a stream.
    fn stand(&mut self, key: OpenKey, at: State) {
        if let Some(state) = self.chain_mut(key.0) {
            state.group[key.1.index()] = at;
        }
    }

    /// Delivers the stream's group, if there is one.
    fn close_group(&mut self, key: OpenKey, flags: Flags, now: Time) {
        self.emit_open(key, Held::Group, flags, now);
    }

    /// Delivers all that is open of a stream as it is: the group, then the line. `cut`: the group may not be whole.
    pub(super) fn close_all(&mut self, key: OpenKey, cut: bool, now: Time) {
        let flags = if cut {
            Flags::MULTILINE_CUT
        } else {
            Flags::NONE
        };
        self.close_group(key, flags, now);
        self.emit_open(key, Held::Line, Flags::PARTIAL, now);
        if let Some(state) = self.chain_mut(key.0) {
            state.group[key.1.index()] = State::Idle;
            state.severed[key.1.index()] = false;
        }
    }

    /// Delivers the oldest open records while there are more than the pool may hold.
    pub(super) fn relieve(&mut self, now: Time) {
        while let Some((key, held)) = self.join.overflow() {
            self.counters.join_pool_full += 1;
            match held {
                // The trace may go on; then it does in a record of its own.
                Held::Group => self.close_group(key, Flags::MULTILINE_CUT, now),
                Held::Line => {
                    self.emit_open(key, Held::Line, Flags::PARTIAL, now);
                    self.stand(key, State::Idle);
                }
            }
        }
    }

    /// Delivers groups to which nothing was added for long enough, while nothing of their chain was left to read.
    pub(super) fn flush_groups(&mut self, now: Time) -> bool {
        if now < self.join.groups_due() {
            return false;
        }
        let mut any = false;
        for key in self.join.groups_over(now) {
            let Some(chain) = self.chain_mut(key.0) else {
                continue;
            };
            let reading = chain.next_segment().is_some();
            if reading || !self.delivery.has_slot() {
                continue;
            }
            self.close_group(key, Flags::NONE, now);
            self.stand(key, State::Idle);
            any = true;
        }
        self.builder.leave();
        any
    }

    /// Delivers open records whose end will not come: their container is over, or they have waited too long while
    /// nothing of their chain was left to read.
    pub(super) fn flush_open_records(&mut self, now: Time) -> bool {
        let timeout = Duration::from_millis(self.limits.partial_timeout_ms);
        let mut any = false;
        for key in self.join.keys() {
            let Some(chain) = self.chains.get(key.0 as usize).and_then(Option::as_ref) else {
                continue;
            };
            let over = chain.chain.as_ref().is_none_or(|chain| chain.ended());
            let line = self.join.get(key, Held::Line);
            let waited = line.is_some_and(|open| now.since(open.opened_at) >= timeout);
            // An unfinished last line may stay unread for ever.
            let reading = chain.next_segment().is_some();
            let severed = chain.severed[key.1.index()];
            if reading || !(over || waited || severed) || !self.delivery.has_slot() {
                continue;
            }
            self.close_all(key, severed, now);
            any = true;
        }
        self.builder.leave();
        any
    }

    fn chain_mut(&mut self, slot: u32) -> Option<&mut ChainState> {
        let chain = self.chains.get_mut(slot as usize)?;
        chain.as_deref_mut()
    }
}
