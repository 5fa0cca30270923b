//! Snapshots to payloads, for formats whose samples lie one behind the other.
//!
//! Invariant: each sample of a snapshot is an item of one payload, or counted as unfit; a payload has an item or more,
//! and no more than it may have. One item that is too large by itself is a payload by itself.

use std::time::SystemTime;

use super::payload::{Form, Plain};
use super::shape::{Out, Shape, Unshaped};
use crate::config::Limits;
use crate::encode::protobuf;
use crate::node::snapshot::{Family, Sample, Snapshot};

/// A format of such samples.
pub trait Items: Send {
    /// A payload without items, for the samples of one snapshot.
    fn begin(&mut self, taken: SystemTime) -> Plain;
    /// Appends a sample; says whether the format can say it.
    fn item(
        &mut self,
        snapshot: &Snapshot,
        family: &Family,
        sample: &Sample,
        out: &mut Vec<u8>,
    ) -> bool;
    /// What stands between two items: as many bytes as [`Items::begin`] says.
    fn between(&self) -> &'static [u8] {
        b""
    }
    /// What stands behind the last.
    fn end(&self) -> &'static [u8] {
        b""
    }
}

/// The shape of such a format.
#[derive(Debug)]
pub struct Batches<I> {
    items: I,
    records_max: usize,
    bytes_max: usize,
    /// The item at hand.
    item: Vec<u8>,
}

impl<I: Items> Batches<I> {
    /// Payloads within these limits.
    pub fn new(items: I, limits: &Limits) -> Batches<I> {
        Batches {
            items,
            records_max: limits.payload_records_max as usize,
            bytes_max: limits.payload_uncompressed_bytes_max,
            item: Vec::new(),
        }
    }

    fn end(&self, mut plain: Plain, out: &mut Out<'_>) {
        if plain.items.ends.is_empty() {
            return;
        }
        plain.bytes.extend_from_slice(self.items.end());
        if plain.items.form == Form::Group {
            protobuf::close(1, &mut plain.bytes);
        }
        out(plain);
    }
}

impl<I: Items> Shape for Batches<I> {
    fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Out<'_>) -> Unshaped {
        let mut unshaped = Unshaped::default();
        let mut plain = self.items.begin(snapshot.taken);
        for family in snapshot.families() {
            for sample in &family.samples {
                self.item.clear();
                if !self.items.item(snapshot, family, sample, &mut self.item) {
                    unshaped.unfit += 1;
                    continue;
                }
                let items = plain.items.ends.len();
                let around = self.items.between().len() + self.items.end().len();
                let bytes = plain.bytes.len() + around + self.item.len();
                if items >= self.records_max || items > 0 && bytes > self.bytes_max {
                    let whole = std::mem::replace(&mut plain, self.items.begin(snapshot.taken));
                    self.end(whole, out);
                }
                if !plain.items.ends.is_empty() {
                    plain.bytes.extend_from_slice(self.items.between());
                }
                plain.bytes.extend_from_slice(&self.item);
                plain.end_item();
            }
        }
        self.end(plain, out);
        unshaped
    }

    /// Samples do not end: a store of them knows no series.
    fn farewell(&mut self, _at: SystemTime, _out: &mut Out<'_>) {}
}
