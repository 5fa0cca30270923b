//! Payloads cut out of payloads: the sealed bytes are decompressed, cut at the marks and compressed again, never read
//! or selected anew.

use std::ops::Range;

use bytes::Bytes;

use super::flight::Piece;
use crate::config::Compression;
use crate::encode::Encode;
use crate::encode::compress::{Compressor, decompress};
use crate::pipeline::payload::Payload;

/// Makes payloads of some of the records of another.
pub(super) struct Cutter {
    /// Used for nothing but [`Encode::cut`].
    encoder: Box<dyn Encode>,
    compression: Compression,
    compressor: Compressor,
    whole: Vec<u8>,
    part: Vec<u8>,
}

impl Cutter {
    /// A cutter of payloads in the format of `encoder`.
    pub(super) fn new(encoder: Box<dyn Encode>, compression: Compression) -> Cutter {
        Cutter {
            encoder,
            compression,
            compressor: Compressor::new(compression),
            whole: Vec::new(),
            part: Vec::new(),
        }
    }

    /// Some of a payload's records, as an uncompressed payload; `None` if our own bytes cannot be read back.
    pub(super) fn cut(&mut self, payload: &Payload, records: &[Range<u32>]) -> Option<&[u8]> {
        self.whole.clear();
        let size = usize::try_from(payload.uncompressed_bytes).ok()?;
        if let Err(error) = decompress(
            self.compression,
            &payload.body,
            &mut self.whole,
            size.saturating_add(1),
        ) {
            tracing::error!(%error, "a sealed payload could not be decompressed to be cut");
            return None;
        }
        self.part.clear();
        self.encoder
            .cut(&self.whole, &payload.ends, records, &mut self.part);
        Some(&self.part)
    }

    /// A request of some of a payload's records; of all of them if it cannot be cut.
    pub(super) fn piece(&mut self, payload: &Payload, records: Vec<Range<u32>>) -> Piece {
        if self.cut(payload, &records).is_none() {
            return Piece::whole(payload);
        }
        let mut body = Vec::new();
        let compressed = self
            .compressor
            .begin()
            .and_then(|()| self.compressor.write(&self.part, &mut body))
            .and_then(|()| self.compressor.finish(&mut body));
        if let Err(error) = compressed {
            tracing::error!(%error, "a part of a payload could not be compressed");
            return Piece::whole(payload);
        }
        Piece::new(Some(records), Bytes::from(body), self.part.len() as u64)
    }
}
