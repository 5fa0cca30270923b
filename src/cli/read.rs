//! `longshore read FILE...`: log files to the rows that the agent would make of them, on standard output. One shot, no
//! state: what the same files give is the same, byte for byte.
//!
//! Invariant: memory is bounded by a few times the record limit, whatever the files hold; and what cannot be read of
//! one file keeps nothing of the others from being read.

mod format;
mod records;
mod source;
mod summary;
mod whose;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Limits, RowFormat, Rows};
use crate::tail::lines::{self, Behind, Within};
use format::Format;
use records::Records;
use source::{Source, SourceError};

/// Exit code when all files were read, or the reader of the rows had seen enough.
pub const GOOD: u8 = 0;
/// Exit code when something could not be read or written.
pub const FAILED: u8 = 1;

/// Room in a block for what stands around a record of the largest size.
const HEADER_BYTES: usize = 8 * 1024;

/// What `read` is told.
#[derive(Clone, Debug, Args)]
pub struct ReadArgs {
    /// CRI or docker json log files, plain or gzip; `-` is standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Of which format the lines are; auto: that of a file's first line which is of either
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// Embed messages that are JSON objects as objects
    #[arg(long)]
    pub parse_json: bool,
    /// Give each row the id that the agent gives it
    #[arg(long)]
    pub record_uid: bool,
    /// One JSON array instead of a row per line
    #[arg(long)]
    pub json_array: bool,
    /// At the end, say on standard error how much was read
    #[arg(long)]
    pub summary: bool,
}

/// Reads the files in the order given; rows to `out`, what is wrong to `err`. Returns the exit code.
pub fn read(args: &ReadArgs, stdin: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let config = Rows {
        format: if args.json_array {
            RowFormat::JsonArray
        } else {
            RowFormat::Ndjson
        },
        parse_json: args.parse_json,
        record_uid: args.record_uid,
        ..Rows::default()
    };
    // If standard error cannot be written, the exit code has to speak for itself.
    match read_all(args, &config, stdin, out, err) {
        Ok(code) => code,
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => GOOD,
        Err(error) => {
            let _ = writeln!(err, "cannot write rows to standard output: {error}");
            FAILED
        }
    }
}

/// Gives the exit code, or why nothing can be written any more.
fn read_all(
    args: &ReadArgs,
    config: &Rows,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let record_bytes_max = Limits::default().record_bytes_max;
    let mut records = Records::new(config, record_bytes_max, out);
    let mut block = vec![0; record_bytes_max + HEADER_BYTES];
    let mut code = GOOD;
    for path in &args.files {
        let is_stdin = path == Path::new("-");
        let input: io::Result<Box<dyn Read + '_>> = if is_stdin {
            Ok(Box::new(&mut *stdin))
        } else {
            File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
        };
        let failure = match input.and_then(Source::new) {
            Ok(mut source) => {
                let whose = if is_stdin {
                    whose::nobody()
                } else {
                    whose::whose(path)
                };
                records.begin_file(whose, args.format)?;
                copy(&mut source, &mut block, &mut records)?
            }
            Err(error) => Some(SourceError::Read(error)),
        };
        if let Some(failure) = failure {
            code = FAILED;
            let _ = writeln!(err, "cannot read {}: {failure}", path.display());
        }
    }
    let summary = records.finish()?;
    if args.summary {
        let _ = writeln!(err, "{summary}");
    }
    Ok(code)
}

/// Takes a file's lines through `block` into records, up to its end or to where it cannot be read.
fn copy(
    source: &mut Source<'_>,
    block: &mut [u8],
    records: &mut Records<'_>,
) -> io::Result<Option<SourceError>> {
    let mut within = Within::default();
    let mut held = 0;
    loop {
        let (len, failure) = match source.read(block.get_mut(held..).unwrap_or_default()) {
            Ok(len) => (len, None),
            Err(failure) => (0, Some(failure)),
        };
        records.see(block.get(held..held + len).unwrap_or_default());
        held += len;
        let mut taken = 0;
        loop {
            let data = block.get(taken..held).unwrap_or_default();
            let behind = match () {
                () if len == 0 => Behind::Nothing,
                () if data.len() == block.len() => Behind::NoRoom,
                () => Behind::More,
            };
            let Some((piece, bytes)) = lines::take(data, &mut within, behind) else {
                break;
            };
            records.piece(piece, bytes)?;
            taken += bytes;
        }
        // What follows may be long in coming.
        records.flush()?;
        block.copy_within(taken..held, 0);
        held -= taken;
        if len == 0 {
            return Ok(failure);
        }
    }
}
