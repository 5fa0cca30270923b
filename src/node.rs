//! What the node and its containers use: sampled once per interval from procfs, sysfs and cgroups, shown in several
//! views.
//!
//! ```text
//!  procfs, sysfs, cgroups      (through the roots of `host.rs`: the host's, also from within a container)
//!        |
//!   collectors   one file each: small parsers, each an implementation of [`Collect`]
//!        |
//!   sampler      one thread; all collectors, once per interval -> one [`Snapshot`](snapshot::Snapshot)
//!        |
//!   views        /metrics text, rows, remote write: all of the same snapshot, so they agree
//! ```
//!
//! Samples never travel the log pipeline. What cannot be read is a sample that says so, not a gap.

pub mod host;
pub mod snapshot;

use host::{Host, HostError};
use snapshot::Snapshot;

/// One source of measures.
pub trait Collect: Send {
    /// The value of the label `collector` of `node_scrape_collector_success` and `..._duration_seconds`; where
    /// node_exporter has such a collector, its name there.
    fn name(&self) -> &'static str;

    /// Adds what it measures. An error says what could not be read: what was added before it stays.
    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError>;
}
