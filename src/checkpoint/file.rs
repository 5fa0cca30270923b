//! The file format: JSON lines between a header and a checked footer.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Checkpoint, SavedChain};
use crate::pipeline::ledger::Accounts;

/// The version this program writes, and the only one it reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    longshore_checkpoint: u32,
    folded: Accounts,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    chains: usize,
    crc32: String,
}

/// Why a file is not a checkpoint.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Cut short, or bytes changed.
    #[error("the checksum does not match: the file is damaged or was not written to its end")]
    Damaged,
    /// Made by another version.
    #[error("version {0} is not known; this program reads version {VERSION}")]
    Version(u32),
    /// Checked out, but does not say what it should.
    #[error("line {line} is not what it should be: {source}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Writes a checkpoint, chain by chain: all of it at once would be as much memory as all that it is made of.
pub fn encode(checkpoint: &Checkpoint, out: impl Write) -> io::Result<()> {
    let mut out = Summed {
        out,
        crc: crc32fast::Hasher::new(),
    };
    let header = Header {
        longshore_checkpoint: VERSION,
        folded: checkpoint.folded,
    };
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    for chain in &checkpoint.chains {
        serde_json::to_writer(&mut out, chain)?;
        out.write_all(b"\n")?;
    }
    let footer = Footer {
        chains: checkpoint.chains.len(),
        crc32: format!("{:08x}", out.crc.finalize()),
    };
    serde_json::to_writer(&mut out.out, &footer)?;
    out.out.write_all(b"\n")?;
    out.out.flush()
}

/// Sums up what passes.
struct Summed<W> {
    out: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.crc.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The checkpoint in the bytes.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
    let text = bytes.strip_suffix(b"\n").ok_or(DecodeError::Damaged)?;
    let footer_at = memchr::memrchr(b'\n', text).ok_or(DecodeError::Damaged)? + 1;
    let body = text.get(..footer_at).ok_or(DecodeError::Damaged)?;
    let footer: Footer = serde_json::from_slice(text.get(footer_at..).unwrap_or_default())
        .map_err(|_| DecodeError::Damaged)?;
    if u32::from_str_radix(&footer.crc32, 16) != Ok(crc32fast::hash(body)) {
        return Err(DecodeError::Damaged);
    }
    let mut lines = body.split(|byte| *byte == b'\n');
    let head = lines.next().unwrap_or_default();
    let header: Header =
        serde_json::from_slice(head).map_err(|source| DecodeError::Line { line: 1, source })?;
    if header.longshore_checkpoint != VERSION {
        return Err(DecodeError::Version(header.longshore_checkpoint));
    }
    let mut chains = Vec::with_capacity(footer.chains.min(100_000));
    for (at, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        let chain: SavedChain =
            serde_json::from_slice(line).map_err(|source| DecodeError::Line {
                line: at + 2,
                source,
            })?;
        chains.push(chain);
    }
    Ok(Checkpoint {
        folded: header.folded,
        chains,
    })
}
