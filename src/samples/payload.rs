//! Payloads of samples: items one behind the other, so that any of them can be cut out again.
//!
//! Invariant: a payload made of some items of another is as good as one that was encoded of these alone.

use bytes::Bytes;

use super::otlp;
use crate::clock::Time;
use crate::config::Compression;
use crate::encode::compress::{CompressError, Compressor, DecompressError, decompress};
use crate::encode::protobuf;

/// An encoded payload before compression: what stands before the items, the items, what stands behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Where its items lie.
    pub items: Items,
}

/// Where the items of a payload lie; an item is one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Bytes before the first.
    pub before: u32,
    /// The end of each.
    pub ends: Vec<u32>,
    /// Bytes between two.
    pub between: u32,
    /// How items are cut out.
    pub form: Form,
}

/// How items of a payload are cut out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// They lie one behind the other.
    #[default]
    Flat,
    /// They lie one behind the other in one field of protobuf: its tag, its length as five bytes, what they share, and they.
    Group,
    /// They are the points of a request of OTLP, in which messages hold messages: only how many there are is known.
    Otlp,
}

impl Plain {
    /// An empty payload that begins with `before`, whose items will be parted by `between` bytes.
    pub fn begin(before: &[u8], between: u32) -> Plain {
        Plain {
            bytes: before.to_vec(),
            items: Items {
                before: before.len() as u32,
                ends: Vec::new(),
                between,
                form: Form::Flat,
            },
        }
    }

    /// What was appended since the last call is one item.
    pub fn end_item(&mut self) {
        self.items.ends.push(self.bytes.len() as u32);
    }

    /// A payload of some items alone, whose numbers ascend.
    #[must_use]
    pub fn cut(&self, keep: impl IntoIterator<Item = usize>) -> Plain {
        if self.items.form == Form::Otlp {
            // Bytes that are not ours hold none of the wanted items.
            return otlp::cut(&self.bytes, keep).unwrap_or_default();
        }
        let Items {
            before,
            ends,
            between,
            form,
        } = &self.items;
        let mut cut = Plain::begin(self.slice(0, *before), *between);
        cut.items.form = *form;
        for item in keep {
            let Some(end) = ends.get(item) else { continue };
            let start = match item.checked_sub(1).and_then(|last| ends.get(last)) {
                Some(last) => last + between,
                None => *before,
            };
            if !cut.items.ends.is_empty() {
                // What parts items is the same between all of them.
                let parting = ends.first().copied().unwrap_or_default();
                cut.bytes
                    .extend_from_slice(self.slice(parting, parting + between));
            }
            cut.bytes.extend_from_slice(self.slice(start, *end));
            cut.end_item();
        }
        let last = ends.last().copied().unwrap_or(*before);
        cut.bytes
            .extend_from_slice(self.slice(last, self.bytes.len() as u32));
        if *form == Form::Group {
            protobuf::close(1, &mut cut.bytes);
        }
        cut
    }

    fn slice(&self, start: u32, end: u32) -> &[u8] {
        self.bytes
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }
}

/// A compressed payload that waits, or is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// What is sent.
    pub body: Bytes,
    /// Where its items lie before compression.
    pub items: Items,
    /// Its size before compression.
    pub plain_bytes: u64,
    /// Names it among those of its sink; its pieces have the same.
    pub serial: u64,
    /// When its samples were taken.
    pub taken_at: Time,
    /// When it was first tried and put off.
    pub failing_since: Option<Time>,
}

/// What a payload costs beside its bytes.
const OVERHEAD_BYTES: usize = 128;

impl Payload {
    /// How many samples it holds.
    pub fn samples(&self) -> u64 {
        self.items.ends.len() as u64
    }

    /// The memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.body.len() + self.items.ends.len() * size_of::<u32>() + OVERHEAD_BYTES
    }
}

/// Why a payload could not be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// gzip or zstd.
    #[error("{0}")]
    Compress(#[from] CompressError),
    /// gzip or zstd.
    #[error("{0}")]
    Decompress(#[from] DecompressError),
    /// Snappy.
    #[error("cannot pack samples with snappy: {0}")]
    Snappy(#[from] snap::Error),
}

/// How payloads are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As the sink's logs are.
    Http(Compression),
    /// The block format of snappy, as remote write asks for.
    Snappy,
}

/// Compresses one payload after another.
#[derive(Debug)]
pub struct Packer {
    codec: Codec,
    compressor: Compressor,
}

impl Packer {
    /// A packer that takes no memory yet.
    pub fn new(codec: Codec) -> Packer {
        let kind = match codec {
            Codec::Http(kind) => kind,
            Codec::Snappy => Compression::None,
        };
        Packer {
            codec,
            compressor: Compressor::new(kind),
        }
    }

    /// Compresses a payload.
    pub fn pack(
        &mut self,
        plain: Plain,
        serial: u64,
        taken_at: Time,
    ) -> Result<Payload, PackError> {
        let body = match self.codec {
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(&plain.bytes)?,
            Codec::Http(_) => {
                let mut body = Vec::new();
                self.compressor.begin()?;
                self.compressor.write(&plain.bytes, &mut body)?;
                self.compressor.finish(&mut body)?;
                body
            }
        };
        let mut items = plain.items;
        items.ends.shrink_to_fit();
        Ok(Payload {
            body: Bytes::from(body.into_boxed_slice()),
            items,
            plain_bytes: plain.bytes.len() as u64,
            serial,
            taken_at,
            failing_since: None,
        })
    }

    /// A packed payload of some items of another.
    pub fn cut(
        &mut self,
        whole: &Payload,
        keep: impl IntoIterator<Item = usize>,
    ) -> Result<Payload, PackError> {
        let bytes = match self.codec {
            Codec::Snappy => snap::raw::Decoder::new().decompress_vec(&whole.body)?,
            Codec::Http(kind) => {
                let mut bytes = Vec::new();
                decompress(kind, &whole.body, &mut bytes, whole.plain_bytes as usize)?;
                bytes
            }
        };
        let plain = Plain {
            bytes,
            items: whole.items.clone(),
        };
        let mut payload = self.pack(plain.cut(keep), whole.serial, whole.taken_at)?;
        payload.failing_since = whole.failing_since;
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(words: &[&str]) -> Plain {
        let mut plain = Plain::begin(b"[", 1);
        for word in words {
            if !plain.items.ends.is_empty() {
                plain.bytes.push(b',');
            }
            plain.bytes.extend_from_slice(word.as_bytes());
            plain.end_item();
        }
        plain.bytes.push(b']');
        plain
    }

    #[test]
    fn a_cut_is_what_would_have_been_encoded() {
        let words = ["1", "22", "333", "4444"];
        let whole = array(&words);
        assert_eq!(whole.cut(0..4), whole);
        assert_eq!(whole.cut(0..2), array(&["1", "22"]));
        assert_eq!(whole.cut(2..4), array(&["333", "4444"]));
        assert_eq!(whole.cut([0, 3, 8]), array(&["1", "4444"]));
        assert_eq!(whole.cut([]), array(&[]));
        assert_eq!(array(&["1"]).cut(0..1), array(&["1"]));
    }

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        let codecs = [
            Codec::Snappy,
            Codec::Http(Compression::None),
            Codec::Http(Compression::Gzip(1)),
            Codec::Http(Compression::Zstd(1)),
        ];
        for codec in codecs {
            let mut packer = Packer::new(codec);
            let whole = packer
                .pack(array(&["1", "22", "333"]), 7, Time::from_ms(5))
                .unwrap();
            let halves = packer.cut(&whole, 1..3).unwrap();
            let other = packer
                .pack(array(&["22", "333"]), 7, Time::from_ms(5))
                .unwrap();
            assert_eq!(halves, other, "{codec:?}");
            assert_eq!((whole.samples(), halves.samples()), (3, 2));
        }
    }
}
