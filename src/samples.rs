//! The side door: samples of the node on their way to the sinks that take metrics.
//!
//! ```text
//!  snapshot (all samples of one moment, shared by all sinks)
//!     |  inbox     a few snapshots at most
//!  ===== one thread per sink that takes metrics ==========================================
//!     |  shape     snapshot -> payloads: rows, or remote write
//!     |  pack      compressed
//!     |  ring      bounded in bytes and age; the oldest go first, counted
//!  =======================================================================================
//!     |  transport one attempt, one verdict; the samples' own, not the logs'
//! ```
//!
//! Nothing here knows the log pipeline: a retry there never delays a sample, nor the other way round. Samples are not
//! made durable: what the ring held when the agent ended is gone, and the next start has newer ones. Invariant: each
//! sample that a sink was offered is in exactly one account of its [`ledger`].

pub mod batches;
pub mod board;
pub mod envelope;
pub mod hec;
pub mod inbox;
pub mod ledger;
pub mod metric_batch;
pub mod otlp;
pub mod payload;
pub mod remote_write;
pub mod ring;
pub mod rows;
pub mod shape;
pub mod worker;
