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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::ledger::{Amount, Exclusion};

    /// A file of these lines, as any version would write it.
    fn file(lines: &[&str]) -> Vec<u8> {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let crc = crc32fast::hash(body.as_bytes());
        let chains = lines.len() - 1;
        format!("{body}{{\"chains\":{chains},\"crc32\":\"{crc:08x}\"}}\n").into_bytes()
    }

    const AMOUNT: &str = r#"{"bytes":0,"lines":0}"#;

    fn accounts(excluded: usize) -> String {
        let amounts = |count| vec![AMOUNT; count].join(",");
        let (excluded, dropped) = (amounts(excluded), amounts(4));
        format!(
            r#"{{"seen":7,"excluded":[{excluded}],"dropped":[{dropped}],"delivered":{{"bytes":7,"lines":1}},"lost":[0,0,0,0],"pending":0}}"#
        )
    }

    fn of(excluded: usize) -> Result<Checkpoint, DecodeError> {
        let accounts = accounts(excluded);
        let head = format!(r#"{{"longshore_checkpoint":1,"folded":{accounts}}}"#);
        let chain = format!(
            r#"{{"pod_uid":"u","container":"c","restart":0,"namespace":"n","pod":"p","accounts":{accounts},"segments":[]}}"#
        );
        decode(&file(&[&head, &chain]))
    }

    #[test]
    fn a_file_of_a_version_that_knew_fewer_reasons_is_read() {
        let read = of(2).unwrap();
        assert_eq!(read.folded.delivered.bytes, 7);
        assert_eq!(
            read.folded.excluded,
            [Amount::default(); Exclusion::ALL.len()]
        );
        let chain = &read.chains[0];
        assert_eq!((chain.excluded, chain.counted), (false, 0));
        assert!(chain.accounts.balances());
        let mut again = Vec::new();
        encode(&read, &mut again).unwrap();
        assert_eq!(decode(&again).unwrap(), read);
    }

    #[test]
    fn a_file_of_a_version_that_knows_more_reasons_is_refused() {
        let more = of(Exclusion::ALL.len() + 1);
        assert!(matches!(more, Err(DecodeError::Line { .. })), "{more:?}");
    }
}
