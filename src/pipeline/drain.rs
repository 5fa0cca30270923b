//! The last chance: when the agent stops, bytes of files that have no name left exist only behind its descriptors and
//! in its open records. They are read and delivered before the drain is over; everything else is read again at the
//! next start.

use std::io::ErrorKind;

use super::worker::Worker;
use crate::clock::Time;
use crate::record::Stream;
use crate::select::plan::Decision;

/// Who goes on from a worker's last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another process, which has none of this one's descriptors.
    Restart,
    /// Another worker of this process, if any: the catalog still holds what has no name.
    Reload,
}

impl Worker {
    /// From now on nothing is read but what nobody `after` this worker could read: what is under way is sealed, sent
    /// and made durable. Call [`Worker::step`] until [`Worker::is_drained`], then [`Worker::finish`].
    pub fn drain(&mut self, after: After) {
        if self.draining {
            return;
        }
        self.draining = true;
        if after == After::Restart {
            self.last_chances = self.find_last_chances();
        }
    }

    /// Whether everything that was read has been settled.
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.last_chances.is_empty()
            && self.delivery.is_empty()
            && self.builder.is_empty()
    }

    /// Segments that have something unread or open and no name any more: slot and serial.
    fn find_last_chances(&self) -> Vec<(u32, u64)> {
        let mut found = Vec::new();
        for (slot, chain) in self.chains.iter().enumerate() {
            let Some(chain) = chain else { continue };
            if chain.shut || chain.plan.decision != Decision::Collect {
                continue;
            }
            for state in &chain.segments {
                let slot = slot as u32;
                let mut streams = Stream::ALL.into_iter();
                let open = streams
                    .any(|stream| self.join.start_in((slot, stream), state.serial).is_some());
                let Some(segment) = &state.segment else {
                    continue;
                };
                if (state.read < state.seen || open) && state.lost.is_none() {
                    let path = &segment.source().path;
                    let stat = self.files.stat(path);
                    if stat.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                        found.push((slot, state.serial));
                    }
                }
            }
        }
        found
    }

    /// Reads on in segments that have no name any more. Returns whether anything was done.
    pub(super) fn read_last_chances(&mut self, now: Time) -> bool {
        let mut worked = false;
        while self.delivery.has_slot() {
            let Some((slot, serial)) = self.last_chances.first().copied() else {
                break;
            };
            worked = true;
            if !self.read_last_chance(slot, serial, now) {
                self.last_chances.remove(0);
                self.flush_segment(slot, serial, now);
            }
        }
        worked
    }

    /// One turn; `false` when there is nothing left to be had.
    fn read_last_chance(&mut self, slot: u32, serial: u64, now: Time) -> bool {
        let Some(chain) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return false;
        };
        let Some(at) = chain
            .segments
            .iter()
            .position(|state| state.serial == serial)
        else {
            return false;
        };
        let Some(state) = chain.segments.get(at) else {
            return false;
        };
        if let Some(segment) = &state.segment {
            // Nobody will read on from here: an unfinished last line is delivered as it is.
            segment.end();
        }
        if !state.has_work() {
            return false;
        }
        let before = state.read;
        self.turn_at(slot, at, now);
        let chain = self.chains.get(slot as usize).and_then(Option::as_ref);
        chain.is_some_and(|chain| {
            chain
                .segments
                .get(at)
                .is_some_and(|state| state.read > before)
        })
    }

    /// Delivers open records as they are, if they began in that segment or went on there.
    fn flush_segment(&mut self, slot: u32, serial: u64, now: Time) {
        for stream in Stream::ALL {
            if self.join.start_in((slot, stream), serial).is_some() {
                self.close_all((slot, stream), true, now);
            }
        }
        self.builder.leave();
    }
}
