//! The seam between a snapshot and a sink's format.

use std::time::SystemTime;

use super::payload::Plain;
use crate::node::snapshot::Snapshot;

/// What became of a snapshot's samples that are in no payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshaped {
    /// The format cannot say them.
    pub unfit: u64,
    /// The sink has newer ones of the same series.
    pub out_of_order: u64,
}

/// Takes finished payloads, one by one, so that no more than one is there at a time.
pub type Out<'a> = dyn FnMut(Plain) + 'a;

/// A format of samples.
pub trait Shape: Send {
    /// Gives out a snapshot as payloads. Each of its samples is an item of one of them, or counted in what is returned;
    /// items beyond those mark the end of series.
    fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Out<'_>) -> Unshaped;

    /// There will be no further snapshot: gives out what ends the series, where the format has such a thing.
    fn farewell(&mut self, at: SystemTime, out: &mut Out<'_>);
}
