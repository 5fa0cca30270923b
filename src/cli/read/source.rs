//! The bytes of one input, decompressed if it is a gzip by its first bytes.

use std::io::{self, Chain, Cursor, Read};

use thiserror::Error;

use crate::tail::inflate::{Corrupt, Inflater, Progress};

/// What a gzip begins with (RFC 1952, section 2.3.1).
const MAGIC: [u8; 2] = [0x1F, 0x8B];
/// Compressed bytes read at once.
const INPUT_BYTES: usize = 64 * 1024;

/// Why there is no more of an input. What came before has been read.
#[derive(Debug, Error)]
pub(super) enum SourceError {
    /// The system says no.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// A damaged gzip.
    #[error("{0}; what comes before that was read")]
    Corrupt(#[from] Corrupt),
    /// A gzip without its end.
    #[error("the compressed file is cut short; what there is of it was read")]
    CutShort,
}

type Input<'a> = Chain<Cursor<Vec<u8>>, Box<dyn Read + 'a>>;

/// One input.
pub(super) struct Source<'a> {
    input: Input<'a>,
    gzip: Option<Gzip>,
}

struct Gzip {
    inflater: Inflater,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Source<'a> {
    /// Looks at the first bytes of `input`.
    pub(super) fn new(mut input: Box<dyn Read + 'a>) -> io::Result<Source<'a>> {
        let mut head = Vec::new();
        (&mut input)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut head)?;
        let gzip = (head == MAGIC).then(|| Gzip {
            inflater: Inflater::new(),
            block: Vec::new(),
            at: 0,
        });
        Ok(Source {
            input: Cursor::new(head).chain(input),
            gzip,
        })
    }

    /// Puts the next bytes into `room`, which is not empty; 0: the end.
    pub(super) fn read(&mut self, room: &mut [u8]) -> Result<usize, SourceError> {
        match &mut self.gzip {
            None => Ok(read_some(&mut self.input, room)?),
            Some(gzip) => gzip.read(&mut self.input, room),
        }
    }
}

impl Gzip {
    fn read(&mut self, input: &mut Input<'_>, room: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            if self.at == self.block.len() {
                self.block.resize(INPUT_BYTES, 0);
                self.at = 0;
                let len = read_some(input, &mut self.block);
                self.block.truncate(*len.as_ref().unwrap_or(&0));
                len?;
            }
            let block = self.block.get(self.at..).unwrap_or_default();
            let Progress {
                consumed,
                produced,
                ended,
            } = self.inflater.feed(block, room)?;
            if produced == 0 && block.is_empty() {
                return if ended {
                    Ok(0)
                } else {
                    Err(SourceError::CutShort)
                };
            }
            self.at += consumed;
            if produced > 0 {
                return Ok(produced);
            }
        }
    }
}

/// One read that a signal does not end.
fn read_some(input: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
