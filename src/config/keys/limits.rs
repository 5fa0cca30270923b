//! The limits of a sink.

use super::{DAY, GIB, HOUR, KIB, MIB, MINUTE, Number, SECOND};
use crate::config::Limits;

/// Numbers of [`Limits`], directly at the sink's level.
pub static LIMITS: [Number<Limits>; 20] = [
    Number::new(
        "record_bytes_max",
        (KIB, 16 * MIB),
        |limits| limits.record_bytes_max as u64,
        |limits, value| limits.record_bytes_max = value as usize,
    ),
    Number::new(
        "block_bytes",
        (64 * KIB, 4 * MIB),
        |limits| limits.block_bytes as u64,
        |limits, value| limits.block_bytes = value as usize,
    ),
    Number::new(
        "join_bytes_max",
        (64 * KIB, 256 * MIB),
        |limits| limits.join_bytes_max as u64,
        |limits, value| limits.join_bytes_max = value as usize,
    ),
    Number::new(
        "partial_timeout_ms",
        (SECOND, HOUR),
        |limits| limits.partial_timeout_ms,
        |limits, value| limits.partial_timeout_ms = value,
    ),
    Number::new(
        "payload_bytes_max",
        (16 * KIB, 64 * MIB),
        |limits| limits.payload_bytes_max as u64,
        |limits, value| limits.payload_bytes_max = value as usize,
    ),
    Number::new(
        "payload_uncompressed_bytes_max",
        (16 * KIB, 256 * MIB),
        |limits| limits.payload_uncompressed_bytes_max as u64,
        |limits, value| limits.payload_uncompressed_bytes_max = value as usize,
    ),
    Number::new(
        "payload_records_max",
        (1, 1_000_000),
        |limits| u64::from(limits.payload_records_max),
        |limits, value| limits.payload_records_max = value as u32,
    ),
    Number::new(
        "flush_interval_ms",
        (10, 10 * MINUTE),
        |limits| limits.flush_interval_ms,
        |limits, value| limits.flush_interval_ms = value,
    ),
    Number::new(
        "payload_slots",
        (1, 256),
        |limits| limits.payload_slots as u64,
        |limits, value| limits.payload_slots = value as usize,
    ),
    Number::new(
        "requests_in_flight",
        (1, 64),
        |limits| limits.requests_in_flight as u64,
        |limits, value| limits.requests_in_flight = value as usize,
    ),
    Number::new(
        "backoff_min_ms",
        (10, MINUTE),
        |limits| limits.backoff_min_ms,
        |limits, value| limits.backoff_min_ms = value,
    ),
    Number::new(
        "backoff_max_ms",
        (10, HOUR),
        |limits| limits.backoff_max_ms,
        |limits, value| limits.backoff_max_ms = value,
    ),
    Number::new(
        "probe_interval_ms",
        (SECOND, HOUR),
        |limits| limits.probe_interval_ms,
        |limits, value| limits.probe_interval_ms = value,
    ),
    Number::new(
        "stuck_after_ms",
        (SECOND, DAY),
        |limits| limits.stuck_after_ms,
        |limits, value| limits.stuck_after_ms = value,
    ),
    Number::new(
        "rejects_per_minute_max",
        (0, 1_000_000),
        |limits| u64::from(limits.rejects_per_minute_max),
        |limits, value| limits.rejects_per_minute_max = value as u32,
    ),
    Number::new(
        "dead_letter_bytes_max",
        (0, 64 * GIB),
        |limits| limits.dead_letter_bytes_max,
        |limits, value| limits.dead_letter_bytes_max = value,
    ),
    Number::new(
        "gzip_open_max",
        (1, 256),
        |limits| limits.gzip_open_max as u64,
        |limits, value| limits.gzip_open_max = value as usize,
    ),
    Number::new(
        "checkpoint_interval_ms",
        (100, MINUTE),
        |limits| limits.checkpoint_interval_ms,
        |limits, value| limits.checkpoint_interval_ms = value,
    ),
    Number::new(
        "samples_bytes_max",
        (64 * KIB, GIB),
        |limits| limits.samples_bytes_max as u64,
        |limits, value| limits.samples_bytes_max = value as usize,
    ),
    Number::new(
        "samples_age_max_ms",
        (SECOND, 7 * DAY),
        |limits| limits.samples_age_max_ms,
        |limits, value| limits.samples_age_max_ms = value,
    ),
];
