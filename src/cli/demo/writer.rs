//! One container instance at work: what it says, line by line into its log file, and the runtime's habits while it
//! does so (parts, torn writes, appending to a renamed file until told to reopen).

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use super::DemoError;
use super::kubelet::Kubelet;
use super::lines::{Draft, Ending, Moment, PART_BYTES_MAX, Style, Ticket, physical_lines};
use super::plan::{Instance, Played, Totals};
use crate::record::Stream;

/// About the length of a line.
const LINE_BYTES: u64 = 256;
const LONG_LINE_ODDS: u32 = 1_000;
const TRACE_ODDS: u32 = 12;
const STDERR_ODDS: u32 = 8;

/// How a container's last words end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With whole lines.
    Whole,
    /// Killed in the middle of a line.
    OpenPart,
    /// Killed in the middle of a line longer than the runtime's longest.
    OpenParts,
    /// The runtime's last write lacks its end.
    Torn,
}

/// One container instance.
#[derive(Debug)]
pub struct Writer {
    instance: usize,
    /// Index of its role.
    pub role: usize,
    /// Its restart count.
    pub restart: u32,
    /// Rounds since it started.
    pub age: u32,
    /// The path of its live log.
    pub log: PathBuf,
    /// Bytes in the file it writes to.
    pub live_bytes: u64,
    /// When its log was last rotated.
    pub rotated_round: Option<u32>,
    /// How often that was since an agent last ran.
    pub rotations_away: u32,
    life: Option<u32>,
    file: File,
    reopen: Option<(u32, PathBuf)>,
    credit: u64,
    trace_lines: u32,
    clock_us: u64,
    queue: VecDeque<Vec<u8>>,
    torn: Vec<u8>,
}

impl Writer {
    /// An instance that has written nothing.
    pub fn new(
        instance: usize,
        role: usize,
        restart: u32,
        life: Option<u32>,
        log: PathBuf,
        file: File,
    ) -> Writer {
        Writer {
            instance,
            role,
            restart,
            age: 0,
            log,
            live_bytes: 0,
            rotated_round: None,
            rotations_away: 0,
            life,
            file,
            reopen: None,
            credit: 0,
            trace_lines: 0,
            clock_us: 0,
            queue: VecDeque::new(),
            torn: Vec::new(),
        }
    }

    /// Whether its end is planned.
    pub fn is_mortal(&self) -> bool {
        self.life.is_some()
    }

    /// One round has passed. Returns whether it is over.
    pub fn grow_older(&mut self) -> bool {
        self.age += 1;
        self.life.is_some_and(|life| self.age >= life)
    }

    /// Says about `bytes` more.
    pub fn speak(
        &mut self,
        style: Style,
        bytes: u64,
        now: Moment,
        rng: &mut fastrand::Rng,
        played: &mut Played,
    ) {
        self.credit += bytes;
        self.clock_us = 0;
        while self.credit >= LINE_BYTES {
            let first = self.queue.len();
            self.say(style, now, rng, played);
            let said: usize = self.queue.range(first..).map(Vec::len).sum();
            self.credit = self.credit.saturating_sub(said.max(1) as u64);
        }
    }

    fn say(&mut self, style: Style, now: Moment, rng: &mut fastrand::Rng, played: &mut Played) {
        if style == Style::Traces && self.trace_lines == 0 && rng.u32(..TRACE_ODDS) == 0 {
            self.trace_lines = rng.u32(3..9);
        }
        let frame = self.trace_lines;
        self.trace_lines = self.trace_lines.saturating_sub(1);
        let stream = if frame > 0 || rng.u32(..STDERR_ODDS) == 0 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        let mut draft = Draft::new(rng, style, self.tick(now), frame);
        let long = frame == 0 && rng.u32(..LONG_LINE_ODDS) == 0;
        if long {
            draft = draft.lengthened(rng.usize(PART_BYTES_MAX..6 * PART_BYTES_MAX));
        }
        let Some(ticket) = self.ticket(stream, played) else {
            return;
        };
        let message = draft.seal(ticket);
        let first = self.queue.len();
        self.enqueue(&message, stream, Ending::Whole, now, played);
        if long {
            self.interrupt(first, stream, now, rng, played);
        }
    }

    /// The other stream writes between the parts of a long line.
    fn interrupt(
        &mut self,
        first: usize,
        stream: Stream,
        now: Moment,
        rng: &mut fastrand::Rng,
        played: &mut Played,
    ) {
        let other = match stream {
            Stream::Stdout => Stream::Stderr,
            Stream::Stderr => Stream::Stdout,
        };
        let Some(ticket) = self.ticket(other, played) else {
            return;
        };
        let message = Draft::new(rng, Style::Plain, self.tick(now), 0).seal(ticket);
        let end = self.queue.len();
        self.enqueue(&message, other, Ending::Whole, now, played);
        if let Some(line) = self.queue.pop_back() {
            self.queue
                .insert(rng.usize(first + 1..end.max(first + 2)), line);
        }
    }

    fn ticket(&self, stream: Stream, played: &mut Played) -> Option<Ticket> {
        let instance = played.instances.get_mut(self.instance)?;
        let lines = instance.lines.get_mut(stream.index())?;
        *lines += 1;
        Some(Ticket {
            instance: self.instance,
            stream,
            number: *lines - 1,
        })
    }

    fn tick(&mut self, now: Moment) -> Moment {
        self.clock_us += 1;
        Moment(now.0 + self.clock_us * 1_000)
    }

    fn enqueue(
        &mut self,
        message: &[u8],
        stream: Stream,
        ending: Ending,
        now: Moment,
        played: &mut Played,
    ) {
        let mut clock_us = self.clock_us;
        let mut clock = || {
            clock_us += 1;
            Moment(now.0 + clock_us * 1_000)
        };
        let parts = physical_lines(message, stream, ending, &mut clock, &mut self.queue);
        self.clock_us = clock_us;
        let totals = &mut played.totals;
        totals.lines += 1;
        totals.binary += u64::from(std::str::from_utf8(message).is_err());
        if parts > 1 {
            totals.long_lines += 1;
            totals.parts += parts;
        }
    }

    /// Writes what was said. With `hold` some of it may wait for the next round: the last parts of a long line, or
    /// the end of a line in mid-write.
    pub fn write(
        &mut self,
        hold: Option<&mut fastrand::Rng>,
        totals: &mut Totals,
    ) -> Result<(), DemoError> {
        let mut out = std::mem::take(&mut self.torn);
        let mut keep = 0;
        let mut tear = false;
        if let Some(rng) = hold {
            if self.queue.iter().any(|line| line.len() > PART_BYTES_MAX) {
                keep = rng.usize(..self.queue.len());
            }
            tear = rng.u32(..4) == 0;
        }
        let now = self.queue.len() - keep;
        for line in self.queue.drain(..now) {
            out.extend_from_slice(&line);
        }
        if tear && out.len() > 1 {
            // Somewhere in the last line, its header included.
            self.torn = out.split_off(out.len() - out.len().min(100) / 2);
        }
        self.append(&out, totals)
    }

    fn append(&mut self, bytes: &[u8], totals: &mut Totals) -> Result<(), DemoError> {
        self.file
            .write_all(bytes)
            .map_err(DemoError::at("write", &self.log))?;
        self.live_bytes += bytes.len() as u64;
        totals.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Its log was renamed; it will notice at round `reopen`.
    pub fn renamed(&mut self, renamed: PathBuf, round: u32, reopen: u32) {
        self.rotated_round = Some(round);
        self.reopen = Some((reopen, renamed));
        self.live_bytes = 0;
    }

    /// Reopens its log if it is time; a line in mid-write is finished in the old file.
    pub fn reopen_if_due(&mut self, round: u32, totals: &mut Totals) -> Result<(), DemoError> {
        if self.reopen.as_ref().is_some_and(|(due, _)| *due <= round) {
            let torn = std::mem::take(&mut self.torn);
            self.append(&torn, totals)?;
            self.file = Kubelet::open_log(&self.log)?;
            self.live_bytes = 0;
            self.reopen = None;
        }
        Ok(())
    }

    /// Says its last words and ends.
    pub fn end(
        mut self,
        exit: Exit,
        style: Style,
        now: Moment,
        rng: &mut fastrand::Rng,
        kubelet: &mut Kubelet,
        played: &mut Played,
    ) -> Result<(), DemoError> {
        if let Some((_, renamed)) = self.reopen.take() {
            kubelet.undo_rotation(&renamed, &self.log)?;
        }
        let ending = match exit {
            Exit::Whole => return self.write(None, &mut played.totals),
            Exit::OpenPart | Exit::OpenParts => Ending::OpenPart,
            Exit::Torn => Ending::Torn,
        };
        let stream = Stream::ALL[rng.usize(..Stream::ALL.len())];
        let draft = Draft::new(rng, style, self.tick(now), 0);
        let Some(ticket) = self.ticket(stream, played) else {
            return Ok(());
        };
        let message = if exit == Exit::OpenParts {
            draft.seal_parts(ticket, rng.usize(1..4))
        } else {
            draft.seal(ticket)
        };
        self.enqueue(&message, stream, ending, now, played);
        played.totals.unfinished += 1;
        if let Some(Instance { unfinished, .. }) = played.instances.get_mut(self.instance)
            && let Some(place) = unfinished.get_mut(stream.index())
        {
            *place = Some(ticket.number);
        }
        self.write(None, &mut played.totals)
    }
}
