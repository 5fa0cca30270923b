//! Payloads: what one request carries, and the builder that fills one.
//!
//! A payload knows, beside its bytes, where each of its records ends (so that it can be cut without reading the
//! files again) and which cursors become durable once it and all payloads before it are finished.

use bytes::Bytes;

use crate::clock::Time;
use crate::config::{Compression, Limits};
use crate::encode::compress::{CompressError, Compressor};
use crate::encode::{Encode, Encoded, Run};
use crate::record::Record;

use super::ledger::{Amount, Drop, Exclusion};

/// One record of a payload. There are as many as records on their way: small.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Which of the payload's commits it belongs to.
    pub commit: u32,
    /// The lines it was made of, at most what fits.
    lines: u32,
    /// The file bytes it was made of.
    bytes: u64,
}

impl Mark {
    /// The mark of a record that was made of so much.
    #[inline]
    pub fn new(commit: u32, amount: Amount) -> Mark {
        Mark {
            commit,
            lines: u32::try_from(amount.lines).unwrap_or(u32::MAX),
            bytes: amount.bytes,
        }
    }

    /// What the record was made of.
    pub fn amount(self) -> Amount {
        Amount {
            bytes: self.bytes,
            lines: u64::from(self.lines),
        }
    }
}

/// Hash of the bytes before an offset: tells whether a file still is what it was when they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// The offset behind the bytes.
    pub at: u64,
    /// How many bytes, at most [`Frontier::BYTES_MAX`]; 0: nothing is known.
    pub len: u8,
    /// xxh3 of them.
    pub hash: u64,
}

impl Frontier {
    /// How many bytes before the offset are looked at.
    pub const BYTES_MAX: usize = 16;

    /// The frontier at `at`, given some bytes that end there.
    pub fn of(at: u64, before: &[u8]) -> Frontier {
        let tail = before
            .get(before.len().saturating_sub(Self::BYTES_MAX)..)
            .unwrap_or(before);
        Frontier {
            at,
            len: tail.len() as u8,
            hash: xxhash_rust::xxh3::xxh3_64(tail),
        }
    }

    /// Whether `before`, which ends at the offset, is what was there.
    pub fn matches(&self, before: &[u8]) -> bool {
        *self == Frontier::of(self.at, before)
    }
}

/// The durable part of where a sink stands in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// Per stream: everything below is settled. Lower than `read` while a record of that stream is open.
    pub at: [u64; 2],
    /// Everything below has been read: whatever is not part of an open record is settled.
    pub read: u64,
    /// Whether `read` lies inside a line whose rest is to be skipped.
    pub skip: Skip,
    /// The bytes before the read position.
    pub frontier: Frontier,
}

/// Whether, and as what, bytes up to the next line end are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Reading is at the start of a line.
    #[default]
    No,
    /// Inside a line beyond the record limit.
    TooLong,
    /// Inside a line that began in an excluded backlog.
    Backlog,
    /// Inside a line that began while the chain was excluded.
    Excluded,
}

/// What a payload settles in one segment.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The worker's slot of the chain.
    pub slot: u32,
    /// Which segment.
    pub segment: u64,
    /// Where the cursors stand once the payload is finished; set when it is sealed.
    pub cursors: Cursors,
    /// File bytes of this segment that leave `pending`.
    pub settled_bytes: u64,
    /// Delivered, if the sink accepts the payload whole.
    pub delivered: Amount,
    /// Given up while reading or by the sink.
    pub dropped: [Amount; Drop::ALL.len()],
    /// Not wanted.
    pub excluded: [Amount; Exclusion::ALL.len()],
}

/// Finished bytes for one request.
#[derive(Debug)]
pub struct Payload {
    /// Ascending without gaps, per worker.
    pub number: u64,
    /// The (compressed) bytes; empty if the payload only settles bytes that need no delivery.
    pub body: Bytes,
    /// Size before compression.
    pub uncompressed_bytes: u64,
    /// The offset behind each record, before compression.
    pub ends: Vec<u32>,
    /// Per record, beside `ends`.
    pub marks: Vec<Mark>,
    /// What becomes durable, per segment.
    pub commits: Vec<Commit>,
}

impl Payload {
    /// How many records it holds.
    pub fn records(&self) -> u32 {
        self.marks.len() as u32
    }
}

/// Buffers of a payload that is done with, emptied, to be filled again: in the steady state nothing is allocated for a
/// record, and next to nothing for a payload.
#[derive(Debug, Default)]
pub struct Spare {
    body: Vec<u8>,
    ends: Vec<u32>,
    marks: Vec<Mark>,
    commits: Vec<Commit>,
}

impl Spare {
    /// The buffers of `payload`; of its body only if nobody else holds it.
    pub fn of(payload: Payload) -> Spare {
        let body = match payload.body.is_unique() {
            true => Vec::from(payload.body),
            false => Vec::new(),
        };
        let mut spare = Spare {
            body,
            ends: payload.ends,
            marks: payload.marks,
            commits: payload.commits,
        };
        spare.body.clear();
        spare.ends.clear();
        spare.marks.clear();
        spare.commits.clear();
        spare
    }
}

/// What came of offering a record to the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is in.
    Taken(Encoded),
    /// The payload is full: seal it and offer the record again.
    Full,
}

/// Staging is handed to the compressor when it is larger than this.
const STAGING_BYTES: usize = 64 * 1024;

/// Room kept for what closes a payload and what an encoder needs per run.
const ENVELOPE_BYTES: usize = 256;

/// Fills one payload at a time.
pub struct Builder {
    encoder: Box<dyn Encode>,
    compressor: Compressor,
    /// Nothing is compressed: what is encoded is the body.
    plain: bool,
    /// What is encoded and not yet compressed.
    staging: Vec<u8>,
    body: Vec<u8>,
    staged_before: usize,
    run: Option<(u32, u64)>,
    ends: Vec<u32>,
    marks: Vec<Mark>,
    commits: Vec<Commit>,
    begun: bool,
    opened_at: Option<Time>,
    number: u64,
    body_bytes_max: usize,
    uncompressed_bytes_max: usize,
    records_max: usize,
}

impl Builder {
    /// An empty builder.
    pub fn new(encoder: Box<dyn Encode>, compression: Compression, limits: &Limits) -> Builder {
        Builder {
            encoder,
            compressor: Compressor::new(compression),
            plain: compression == Compression::None,
            staging: Vec::new(),
            body: Vec::new(),
            staged_before: 0,
            run: None,
            ends: Vec::new(),
            marks: Vec::new(),
            commits: Vec::new(),
            begun: false,
            opened_at: None,
            number: 0,
            body_bytes_max: limits.payload_bytes_max,
            uncompressed_bytes_max: limits
                .payload_uncompressed_bytes_max
                .saturating_sub(ENVELOPE_BYTES),
            records_max: limits.payload_records_max as usize,
        }
    }

    /// The format.
    pub fn encoder(&self) -> &dyn Encode {
        self.encoder.as_ref()
    }

    /// Since when the payload has waited to be sealed, if there is anything in it: since the first thing was put into
    /// it, or was written.
    pub fn opened_at(&self) -> Option<Time> {
        self.opened_at
    }

    /// Something in the payload may have been written at that moment.
    pub fn backdate(&mut self, written_at: Time) {
        self.opened_at = self.opened_at.map(|at| at.min(written_at));
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.opened_at.is_none()
    }

    /// Whether it should be sealed before more is read into it.
    pub fn is_full(&self) -> bool {
        self.body.len() >= self.body_bytes_max
            || self.uncompressed() >= self.uncompressed_bytes_max
            || self.marks.len() >= self.records_max
    }

    /// Bytes so far, before compression.
    fn uncompressed(&self) -> usize {
        if self.plain {
            self.body.len()
        } else {
            self.staged_before + self.staging.len()
        }
    }

    /// Where the encoder is, and where it writes.
    #[inline]
    fn desk(&mut self) -> (&mut dyn Encode, &mut Vec<u8>) {
        let out = if self.plain {
            &mut self.body
        } else {
            &mut self.staging
        };
        (self.encoder.as_mut(), out)
    }

    /// The number of the commit for a segment, made if there is none. The last one is looked at first: that is the
    /// one that a turn keeps asking for.
    pub fn commit(&mut self, slot: u32, segment: u64, now: Time) -> u32 {
        self.opened_at.get_or_insert(now);
        let known = self
            .commits
            .iter()
            .rposition(|commit| commit.slot == slot && commit.segment == segment);
        let at = known.unwrap_or_else(|| {
            self.commits.push(Commit {
                slot,
                segment,
                cursors: Cursors::default(),
                settled_bytes: 0,
                delivered: Amount::default(),
                dropped: Default::default(),
                excluded: Default::default(),
            });
            self.commits.len() - 1
        });
        at as u32
    }

    /// The commit with that number.
    pub fn commit_mut(&mut self, number: u32) -> Option<&mut Commit> {
        self.commits.get_mut(number as usize)
    }

    /// Makes `run` the current run, closing another one.
    pub fn enter(&mut self, slot: u32, segment: u64, run: &Run<'_>) {
        if self.run == Some((slot, segment)) {
            return;
        }
        self.leave();
        if !self.begun {
            self.begun = true;
            check(self.compressor.begin());
            let (encoder, out) = self.desk();
            encoder.begin(out);
        }
        let (encoder, out) = self.desk();
        encoder.begin_run(run, out);
        self.run = Some((slot, segment));
    }

    /// Whether that segment's run is the current one.
    pub fn is_in(&self, slot: u32, segment: u64) -> bool {
        self.run == Some((slot, segment))
    }

    /// Whether the payload being filled settles anything of a chain.
    pub fn holds(&self, slot: u32) -> bool {
        self.commits.iter().any(|commit| commit.slot == slot)
    }

    /// Closes the current run, if there is one, and compresses what it staged.
    pub fn leave(&mut self) {
        if self.run.take().is_some() {
            let (encoder, out) = self.desk();
            encoder.end_run(out);
            self.squeeze();
        }
    }

    fn squeeze(&mut self) {
        if self.plain {
            return;
        }
        check(self.compressor.write(&self.staging, &mut self.body));
        self.staged_before += self.staging.len();
        self.staging.clear();
    }

    /// Appends a record to the current run, unless it would burst the payload's bounds. A record that is too large
    /// for any payload gets one of its own. What its commit delivers is for the caller to add ([`Builder::deliver`]).
    #[inline]
    pub fn offer(&mut self, record: &Record<'_>, mark: Mark) -> Offer {
        debug_assert!(self.run.is_some(), "a record was offered outside of a run");
        let (encoder, out) = self.desk();
        let before = out.len();
        let encoded = encoder.record(record, out);
        let over = self.uncompressed() > self.uncompressed_bytes_max || self.is_crowded();
        if over && !self.marks.is_empty() {
            self.desk().1.truncate(before);
            return Offer::Full;
        }
        if self.marks.len() == self.marks.capacity() || self.ends.len() == self.ends.capacity() {
            self.make_room_for_marks();
        }
        self.ends
            .push(u32::try_from(self.uncompressed()).unwrap_or(u32::MAX));
        self.marks.push(mark);
        Offer::Taken(encoded)
    }

    /// Room for twice as many records, but never for more than a payload may have: the bound on memory counts on it.
    #[cold]
    fn make_room_for_marks(&mut self) {
        const FIRST: usize = 64;
        let records = self.marks.len();
        let wanted = (2 * records).max(FIRST).min(self.records_max);
        let more = wanted.saturating_sub(records).max(1);
        self.marks.reserve_exact(more);
        self.ends.reserve_exact(more);
    }

    /// Adds to what a commit delivers and settles.
    pub fn deliver(&mut self, commit: u32, delivered: Amount, settled_bytes: u64) {
        if let Some(commit) = self.commits.get_mut(commit as usize) {
            commit.delivered += delivered;
            commit.settled_bytes += settled_bytes;
        }
    }

    fn is_crowded(&self) -> bool {
        self.marks.len() >= self.records_max || self.body.len() >= self.body_bytes_max
    }

    /// Whether the current run has staged enough to be closed.
    pub fn is_staged(&self) -> bool {
        self.staging.len() >= STAGING_BYTES
    }

    /// The commits so far, for the caller to set their cursors before sealing.
    pub fn commits_mut(&mut self) -> &mut [Commit] {
        &mut self.commits
    }

    /// Closes the payload and hands it over; the builder is empty then. `spare` is what the next one is filled into.
    pub fn seal(&mut self, spare: Spare) -> Payload {
        self.leave();
        if self.begun {
            let (encoder, out) = self.desk();
            encoder.finish(out);
            self.squeeze();
            check(self.compressor.finish(&mut self.body));
        }
        let number = self.number;
        self.number += 1;
        let uncompressed_bytes = self.uncompressed() as u64;
        let payload = Payload {
            number,
            body: Bytes::from(std::mem::replace(&mut self.body, spare.body)),
            uncompressed_bytes,
            ends: std::mem::replace(&mut self.ends, spare.ends),
            marks: std::mem::replace(&mut self.marks, spare.marks),
            commits: std::mem::replace(&mut self.commits, spare.commits),
        };
        self.staged_before = 0;
        self.begun = false;
        self.opened_at = None;
        payload
    }
}

/// Compressing into memory fails only if the codec's own state is damaged. The body is then refused by the sink, which
/// pauses it: the data stays in the files.
fn check(result: Result<(), CompressError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a payload could not be compressed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(body: Bytes) -> Payload {
        let mark = Mark::new(0, Amount::default());
        Payload {
            number: 0,
            body,
            uncompressed_bytes: 3,
            ends: vec![3],
            marks: vec![mark],
            commits: Vec::with_capacity(7),
        }
    }

    #[test]
    fn a_record_and_a_segment_take_what_is_counted_for_them() {
        use crate::config::bounds::{COMMIT_BYTES, MARK_BYTES};
        let mark = size_of::<Mark>() + size_of::<u32>();
        assert_eq!(mark as u64, MARK_BYTES);
        assert_eq!(size_of::<Commit>() as u64, COMMIT_BYTES);
    }

    #[test]
    fn buffers_are_used_again_but_for_a_body_that_somebody_holds() {
        let body = Vec::from(b"abc");
        let place = body.as_ptr();
        let spare = Spare::of(payload(Bytes::from(body)));
        assert_eq!(spare.body.as_ptr(), place, "the body was copied");
        assert!(spare.body.is_empty() && spare.ends.is_empty() && spare.marks.is_empty());
        assert!(spare.ends.capacity() > 0 && spare.marks.capacity() > 0);
        assert!(spare.commits.capacity() >= 7);

        let held = Bytes::from(Vec::from(b"abc"));
        let spare = Spare::of(payload(held.clone()));
        assert_eq!(spare.body.capacity(), 0);
        assert_eq!(held, "abc");
    }
}
