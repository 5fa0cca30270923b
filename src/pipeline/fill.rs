//! The next bytes of a segment, plain or gzip, and what is done when they are not to be had or not what they were.

use std::sync::Arc;

use super::board::Counters;
use super::chains::{SegmentState, lose_unread, see};
use super::payload::{Frontier, Skip};
use super::worker::{Worker, error_label};
use crate::catalog::chain::{Loss, Opened, Segment};
use crate::clock::Time;
use crate::tail::read::{Fill, Inflating, identity_of};

/// First and longest wait after an error on a file.
const ERROR_WAIT_MS: (u64, u64) = (250, 30_000);

/// Added to the serial of a segment that is begun again in place: far above any serial the catalog gives.
const BEGUN_AGAIN: u64 = 1 << 48;

/// What a block holds.
pub(super) struct Block {
    /// Where the fresh bytes begin in the buffer; the frontier is before them.
    pub(super) from: usize,
    /// Where they end.
    pub(super) to: usize,
    /// The file ends with them, as it is now.
    pub(super) at_end: bool,
    /// They fill the buffer.
    pub(super) full: bool,
    /// The segment had ended before it was read: an unfinished line at its end stays unfinished.
    pub(super) ended: bool,
}

impl Worker {
    /// Gets the next bytes of a segment into the buffer; `None` when there are none to be had now.
    pub(super) fn fill(
        &mut self,
        slot: u32,
        at: usize,
        buffer: &mut [u8],
        now: Time,
    ) -> Option<Block> {
        let state = self.chains.get_mut(slot as usize)?.as_mut()?;
        let segment = Arc::clone(state.segments.get(at)?.segment.as_ref()?);
        // Before the file is read: a line may be finished, and the segment end, while a block is being taken in.
        let ended = segment.ended();
        let opened = match segment
            .open(self.files.as_ref())
            .and_then(|opened| verified(opened, &segment))
        {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                self.ask_for_a_look(slot, now);
                return None;
            }
            Err(error) => {
                self.note_error(
                    slot,
                    now,
                    &error,
                    &segment.source().path.display().to_string(),
                );
                return None;
            }
        };
        let filled = if opened.gzip {
            self.fill_gzip(slot, at, &opened, buffer, now)
        } else {
            self.fill_plain(slot, at, &opened, buffer, now)
        };
        match filled {
            Ok(block) => {
                let state = self.chains.get_mut(slot as usize)?.as_mut()?;
                if block.is_some() {
                    state.errors = 0;
                    state.error = None;
                }
                block.map(|block| Block { ended, ..block })
            }
            Err(error) => {
                self.note_error(
                    slot,
                    now,
                    &error,
                    &segment.source().path.display().to_string(),
                );
                None
            }
        }
    }

    fn fill_plain(
        &mut self,
        slot: u32,
        at: usize,
        opened: &Opened,
        buffer: &mut [u8],
        now: Time,
    ) -> std::io::Result<Option<Block>> {
        if !self.is_unchanged(slot, at, opened)? {
            self.begin_again(slot, at, opened, now);
            return Ok(None);
        }
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        if state.inflating.take().is_some() {
            self.inflating = self.inflating.saturating_sub(1);
        }
        let Some(segment) = state.segments.get_mut(at) else {
            return Ok(None);
        };
        let unsure = matches!(segment.skip, Skip::Backlog | Skip::Excluded);
        if unsure && is_at_line_start(opened, segment.read)? {
            segment.skip = Skip::No;
        }
        let behind = segment.frontier;
        let back = if behind.at == segment.read {
            usize::from(behind.len)
        } else {
            0
        };
        let wanted = buffer.len();
        let len = opened.handle.read_at(buffer, segment.read - back as u64)?;
        let before = buffer.get(..back.min(len)).unwrap_or_default();
        if back > 0 && !behind.matches(before) {
            self.begin_again(slot, at, opened, now);
            return Ok(None);
        }
        let end = segment.read + (len - back) as u64;
        let shorter = len < wanted && end < segment.seen;
        let ended = segment.segment.as_ref().is_some_and(|known| known.ended());
        if shorter && !ended {
            // What is left may be other content by now.
            self.ask_for_a_look(slot, now);
            return Ok(None);
        }
        if shorter && len == back {
            // The copy that copytruncate made is shorter than what was seen of the original.
            lose_unread(segment, &mut state.accounts, Loss::Truncated);
            state.sever();
            return Ok(None);
        }
        see(segment, &mut state.accounts, end);
        if let Some(known) = &segment.segment {
            known.observe_len(segment.seen);
        }
        // What fills the buffer says nothing of what is behind it: the file may be longer than was seen.
        let full = len == wanted;
        Ok(Some(Block {
            from: back,
            to: len,
            at_end: !full,
            full,
            ended: false,
        }))
    }

    /// After a restart: whether the bytes before the cursor are still what they were.
    fn is_unchanged(&mut self, slot: u32, at: usize, opened: &Opened) -> std::io::Result<bool> {
        let state = self.chains.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(segment) = state.and_then(|state| state.segments.get_mut(at)) else {
            return Ok(true);
        };
        if !std::mem::take(&mut segment.verify) {
            return Ok(true);
        }
        let frontier = segment.frontier;
        let mut before = [0_u8; Frontier::BYTES_MAX];
        let before = before
            .get_mut(..usize::from(frontier.len))
            .unwrap_or_default();
        let from = frontier.at.saturating_sub(u64::from(frontier.len));
        let len = opened.handle.read_at(before, from)?;
        Ok(len == before.len() && frontier.matches(before))
    }

    /// The file has other bytes than those that were read. If its head differs too the catalog will see a new segment;
    /// if not (lines without timestamps) this segment is begun again from 0.
    fn begin_again(&mut self, slot: u32, at: usize, opened: &Opened, now: Time) {
        let head = identity_of(opened).ok().flatten();
        let len_bytes = opened.handle.meta().map_or(0, |meta| meta.len_bytes);
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let Some(segment) = state.segments.get_mut(at) else {
            return;
        };
        if head != segment.identity {
            self.ask_for_a_look(slot, now);
            return;
        }
        lose_unread(segment, &mut state.accounts, Loss::Truncated);
        let Some(known) = segment.segment.clone() else {
            return;
        };
        // What is under way of the old content is settled under the old state, by its serial.
        let mut fresh = SegmentState::new(&known);
        fresh.serial = segment.serial + BEGUN_AGAIN;
        see(&mut fresh, &mut state.accounts, len_bytes);
        let mut old = std::mem::replace(segment, fresh);
        old.segment = None;
        state.segments.insert(at, old);
        state.sever();
        self.counters.truncations += 1;
    }

    fn fill_gzip(
        &mut self,
        slot: u32,
        at: usize,
        opened: &Opened,
        buffer: &mut [u8],
        now: Time,
    ) -> std::io::Result<Option<Block>> {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(None);
        };
        let Some(segment) = state.segments.get_mut(at) else {
            return Ok(None);
        };
        let usable = state.inflating.as_ref().is_some_and(|inflating| {
            inflating.segment == segment.serial && inflating.reaches(segment.read)
        });
        if !usable {
            if state.inflating.take().is_none() {
                if self.inflating >= self.limits.gzip_open_max {
                    state.retry_at = now + std::time::Duration::from_millis(ERROR_WAIT_MS.0);
                    return Ok(None);
                }
                self.inflating += 1;
            }
            state.inflating = Some(Box::new(Inflating::new(segment.serial)));
        }
        let Some(inflating) = state.inflating.as_mut() else {
            return Ok(None);
        };
        let filled = inflating.fill(opened.handle.as_ref(), segment.read, buffer)?;
        match filled {
            Fill::Later => Ok(None),
            Fill::Corrupt => {
                lose_unread(segment, &mut state.accounts, Loss::Corrupt);
                state.sever();
                self.close_inflater(slot);
                Ok(None)
            }
            Fill::Bytes { len, ended } => {
                see(segment, &mut state.accounts, segment.read + len as u64);
                let end = segment.read + len as u64;
                if ended && len == 0 && end < segment.seen {
                    // Fewer bytes than the plain file had, or than the trailer says.
                    lose_unread(segment, &mut state.accounts, Loss::Corrupt);
                    state.sever();
                    self.close_inflater(slot);
                    return Ok(None);
                }
                Ok(Some(Block {
                    from: 0,
                    to: len,
                    at_end: ended,
                    full: len == buffer.len(),
                    ended: false,
                }))
            }
        }
    }

    pub(super) fn close_inflater(&mut self, slot: u32) {
        let state = self.chains.get_mut(slot as usize).and_then(Option::as_mut);
        if state.is_some_and(|state| state.inflating.take().is_some()) {
            self.inflating = self.inflating.saturating_sub(1);
        }
    }

    /// The file is not what or where it was said to be.
    fn ask_for_a_look(&mut self, slot: u32, now: Time) {
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(chain) = &state.chain {
            chain.request_look();
        }
        state.retry_at = now + std::time::Duration::from_millis(ERROR_WAIT_MS.0);
    }

    fn note_error(&mut self, slot: u32, now: Time, error: &std::io::Error, path: &str) {
        Counters::count(&mut self.counters.read_errors, error_label(error));
        let Some(state) = self.chains.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let (first, most) = ERROR_WAIT_MS;
        let wait_ms = first.saturating_mul(1 << state.errors.min(16)).min(most);
        state.errors = state.errors.saturating_add(1);
        state.retry_at = now + std::time::Duration::from_millis(wait_ms);
        state.error = Some(format!("reading {path}: {error}"));
        if let Some(chain) = &state.chain {
            chain.request_look();
        }
        tracing::warn!(path, %error, wait_ms, "a log file cannot be read; it will be tried again");
    }
}

/// An opened file whose head is the segment's; `None` if the path has another owner by now.
fn verified(opened: Opened, segment: &Segment) -> std::io::Result<Option<Opened>> {
    if opened.verified || identity_of(&opened)? == segment.identity() {
        return Ok(Some(opened));
    }
    Ok(None)
}

/// Whether the byte before an offset is a line end.
fn is_at_line_start(opened: &Opened, offset: u64) -> std::io::Result<bool> {
    let mut before = [0_u8];
    let Some(at) = offset.checked_sub(1) else {
        return Ok(true);
    };
    Ok(opened.handle.read_at(&mut before, at)? == 1 && before == *b"\n")
}
