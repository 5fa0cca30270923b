//! Where payloads go: one attempt in, one verdict out.
//!
//! A transport knows nothing of records, cursors or retries; those are the pipeline's. THE list of sinks is
//! [`crate::config::SinkKind`] and the match in `agent/build.rs`.

pub mod azure_logs;
pub mod blackhole;
pub mod clickhouse;
pub mod dead_letter;
pub mod elasticsearch;
pub mod file;
pub mod gate;
pub mod http;
pub mod kafka;
pub mod loki;
pub mod otlp;
mod outbox;
pub mod splunk_hec;
pub mod stdout;

use std::time::Duration;

use bytes::Bytes;

/// One try at delivering one payload.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Names the attempt in its verdict; unique per transport.
    pub id: u64,
    /// The (compressed) payload.
    pub body: Bytes,
    /// How many records it holds.
    pub records: u32,
    /// Its size before compression.
    pub uncompressed_bytes: u64,
}

/// Why, for people (`text`, at most [`Reason::TEXT_BYTES_MAX`], no secrets) and for metrics (`code`, from a small fixed set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Label value, for instance `http_404` or `connect`.
    pub code: &'static str,
    /// What was attempted on what, and what came of it.
    pub text: String,
}

impl Reason {
    /// Longer texts are cut.
    pub const TEXT_BYTES_MAX: usize = 512;

    /// A reason with its text cut to size.
    pub fn new(code: &'static str, text: impl Into<String>) -> Reason {
        let mut text: String = text.into();
        if text.len() > Self::TEXT_BYTES_MAX {
            let cut = (0..=Self::TEXT_BYTES_MAX)
                .rev()
                .find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
        }
        Reason { code, text }
    }
}

/// What became of one record of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Stored (or was already).
    Accepted,
    /// Not now.
    Retry,
    /// Never.
    Rejected(Reason),
}

/// What one attempt came to. What follows from it is decided in `pipeline/delivery.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink has it, durably.
    Accepted,
    /// The sink has all but some, and does not say which: these are given up, for they must not be sent again.
    AcceptedExcept {
        /// How many records.
        rejected: u64,
        /// Why.
        reason: Reason,
    },
    /// The sink answered for each record, in payload order.
    Items(Vec<Item>),
    /// Not now; not before `after` if the sink said so.
    Retry {
        /// What the sink asked for.
        after: Option<Duration>,
        /// Why.
        reason: Reason,
    },
    /// Too large: send it in smaller pieces.
    Split(Reason),
    /// Some record in it is not acceptable: find it by halves.
    Bisect(Reason),
    /// Something a person must mend: keep the data, probe now and then.
    Pause(Reason),
}

/// A way to one destination. Never blocks: work happens on a thread or runtime behind it, which wakes the worker
/// when a verdict is there.
pub trait Transport: Send {
    /// Starts an attempt, or gives it back when as many are under way as the transport can take.
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt>;
    /// The next verdict, if one is there, with its attempt's id. Every submitted attempt gets exactly one.
    fn poll_verdict(&mut self) -> Option<(u64, Verdict)>;
}
