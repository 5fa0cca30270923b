//! Lines to records to rows, as the pipeline makes them, without what a running agent needs beside.
//!
//! Invariant: at most one open record per stream is held, each within the record limit, and they are all delivered:
//! with their end, or marked partial when the files of their container are over.

use std::io::{self, Write};

use super::format::{Format, parse};
use super::summary::Summary;
use crate::catalog::chain::Identity;
use crate::clock::Time;
use crate::config;
use crate::encode::rows::Rows;
use crate::encode::{Encode, Run, uid_seed};
use crate::record::{ChainMeta, Flags, Record, Stream, TimeText};
use crate::select::level;
use crate::tail::join::{Held, JoinPool, Place};
use crate::tail::line::Line;
use crate::tail::lines::Piece;

/// The one slot of the join pool.
const SLOT: u32 = 0;
/// Rows are written out when there are more bytes of them than this.
const ROWS_BYTES: usize = 64 * 1024;

/// Makes rows of the lines of one file after another.
pub(super) struct Records<'a> {
    out: &'a mut dyn Write,
    encoder: Rows,
    rows: Vec<u8>,
    json_array: bool,
    join: JoinPool,
    scratch: Vec<u8>,
    record_bytes_max: usize,
    summary: Summary,
    chain: ChainMeta,
    described: Vec<u8>,
    in_run: bool,
    /// The fixed part of the uids of each segment of the chain.
    uid_seeds: Vec<u64>,
    /// The beginning of the file, as far as its identity needs it.
    head: Vec<u8>,
    format: Format,
    /// Where the file has been read to, decompressed.
    at: u64,
    /// The time of the line before.
    time: TimeText,
}

impl<'a> Records<'a> {
    /// Rows as configured, of records of at most `record_bytes_max`.
    pub(super) fn new(
        config: &config::Rows,
        record_bytes_max: usize,
        out: &'a mut dyn Write,
    ) -> Records<'a> {
        let mut encoder = Rows::new(config, "", None);
        let mut rows = Vec::new();
        encoder.begin(&mut rows);
        Records {
            out,
            encoder,
            rows,
            json_array: config.format == config::RowFormat::JsonArray,
            join: JoinPool::new(
                record_bytes_max.saturating_mul(Stream::ALL.len()),
                record_bytes_max,
            ),
            scratch: Vec::new(),
            record_bytes_max,
            summary: Summary::default(),
            chain: super::whose::nobody(),
            described: Vec::new(),
            in_run: false,
            uid_seeds: Vec::new(),
            head: Vec::new(),
            format: Format::Auto,
            at: 0,
            time: TimeText::EPOCH,
        }
    }

    /// Begins a file. One of the same container instance as the file before goes on with its open records.
    pub(super) fn begin_file(&mut self, chain: ChainMeta, format: Format) -> io::Result<()> {
        if chain.key.pod_uid.is_empty() || chain.key != self.chain.key {
            self.end_chain()?;
        }
        self.described = self.encoder.describe(&chain);
        self.chain = chain;
        self.head.clear();
        self.uid_seeds.push(0);
        self.enter(self.segment());
        self.format = format;
        self.at = 0;
        self.time = TimeText::EPOCH;
        self.summary.files += 1;
        Ok(())
    }

    /// Sees the next bytes of the file, before the pieces they hold.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        let room = Identity::BYTES_MAX - self.head.len();
        if bytes.is_empty() || room == 0 {
            return;
        }
        self.head
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        // Right when it is needed: a record comes with a line end, with as many bytes as count, or with the file's end.
        let identity = Identity::of_ended(&self.head);
        if let Some(seed) = self.uid_seeds.last_mut() {
            *seed = uid_seed(&self.chain.key.to_string(), identity.0);
        }
        self.enter(self.segment());
    }

    fn segment(&self) -> u64 {
        self.uid_seeds.len().saturating_sub(1) as u64
    }

    /// Makes a segment's run the current one.
    fn enter(&mut self, segment: u64) {
        if std::mem::replace(&mut self.in_run, true) {
            self.encoder.end_run(&mut self.rows);
        }
        let run = Run {
            parse_json: None,
            chain: &self.chain,
            described: &self.described,
            uid_seed: self
                .uid_seeds
                .get(segment as usize)
                .copied()
                .unwrap_or_default(),
        };
        self.encoder.begin_run(&run, &mut self.rows);
    }

    /// Takes the next piece of the file, of `len` bytes.
    pub(super) fn piece(&mut self, piece: Piece<'_>, len: usize) -> io::Result<()> {
        let start = self.at;
        self.at += len as u64;
        match piece {
            Piece::Line(line) => self.line(line, start, Flags::NONE),
            Piece::TooLong(line) => self.line(line, start, Flags::CUT),
            Piece::Unfinished(line) => self.line(line, start, Flags::PARTIAL),
            Piece::Rest => {
                self.summary.cut_bytes += len as u64;
                Ok(())
            }
            Piece::Hole => {
                self.summary.hole_bytes += len as u64;
                Ok(())
            }
        }
    }

    fn line(&mut self, line: &[u8], start: u64, flags: Flags) -> io::Result<()> {
        self.summary.lines += 1;
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = match parse(&mut self.format, line, &mut scratch) {
            Some(parsed) => {
                self.time = parsed.time;
                self.parsed(&parsed, start, flags)
            }
            None => {
                let raw = Line {
                    time: self.time,
                    stream: Stream::Stdout,
                    partial: false,
                    content: line,
                };
                self.emit(&raw, start, flags.with(Flags::UNPARSED))
            }
        };
        self.scratch = scratch;
        result
    }

    fn parsed(&mut self, line: &Line<'_>, start: u64, flags: Flags) -> io::Result<()> {
        let goes_on = line.partial && flags.is_empty();
        if !goes_on && self.join.get((SLOT, line.stream), Held::Line).is_none() {
            return self.emit(line, start, flags);
        }
        let place = Place {
            segment: self.segment(),
            start,
            end: self.at,
        };
        self.join.push(SLOT, line, place, Time::ZERO);
        if goes_on {
            return Ok(());
        }
        self.emit_open(line.stream, flags)
    }

    /// Encodes a record that is one line.
    fn emit(&mut self, line: &Line<'_>, start: u64, flags: Flags) -> io::Result<()> {
        let kept = line
            .content
            .get(..self.record_bytes_max)
            .unwrap_or(line.content);
        let end = self.at;
        self.record(
            &Record {
                time: &line.time,
                stream: line.stream,
                message: kept,
                level: level::infer(kept),
                flags,
                start,
                end,
            },
            (line.content.len() - kept.len()) as u64,
        )
    }

    /// Encodes an open record as it is, if there is one.
    fn emit_open(&mut self, stream: Stream, flags: Flags) -> io::Result<()> {
        let Some(open) = self.join.take((SLOT, stream), Held::Line) else {
            return Ok(());
        };
        let Some(last) = open.stretches.last() else {
            return Ok(());
        };
        // It is named by the file of its last part, as the agent does it.
        self.enter(last.segment);
        let written = self.record(
            &Record {
                time: &open.time,
                stream,
                message: &open.content,
                level: level::infer(&open.content),
                flags,
                start: if open.stretches.len() == 1 {
                    last.start
                } else {
                    0
                },
                end: last.end,
            },
            open.too_long_bytes,
        );
        self.enter(self.segment());
        self.join.recycle(open);
        written
    }

    /// Encodes a record of which `too_long_bytes` were left out.
    fn record(&mut self, record: &Record<'_>, too_long_bytes: u64) -> io::Result<()> {
        let mut record = *record;
        if too_long_bytes > 0 {
            record.flags = record.flags.with(Flags::CUT);
        }
        let summary = &mut self.summary;
        summary.records += 1;
        summary.partial += u64::from(record.flags.has(Flags::PARTIAL));
        summary.cut += u64::from(record.flags.has(Flags::CUT));
        summary.unparsed += u64::from(record.flags.has(Flags::UNPARSED));
        summary.cut_bytes += too_long_bytes;
        self.encoder.record(&record, &mut self.rows);
        if self.rows.len() >= ROWS_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes the rows out.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.out.write_all(&self.rows)?;
        self.rows.clear();
        self.out.flush()
    }

    /// No more files of the container instance.
    fn end_chain(&mut self) -> io::Result<()> {
        for stream in Stream::ALL {
            self.emit_open(stream, Flags::PARTIAL)?;
        }
        self.uid_seeds.clear();
        Ok(())
    }

    /// Delivers what is open and closes the rows.
    pub(super) fn finish(mut self) -> io::Result<Summary> {
        self.end_chain()?;
        if self.in_run {
            self.encoder.end_run(&mut self.rows);
        }
        self.encoder.finish(&mut self.rows);
        if self.json_array {
            self.rows.push(b'\n');
        }
        self.flush()?;
        Ok(self.summary)
    }
}
