//! The keys of `lines`, under `logs` and under each sink that takes logs.

use super::{GIB, HOUR, KIB, Key, Known, MINUTE, Number, SECOND, SWITCH, key};
use crate::config::Lines;

const LEVEL_OR_NULL: &str = "critical, error, warning, info, debug, trace or null";
const PATTERNS: &str = "a list of at most 64 regular expressions";

/// `lines`, without numbers.
pub static LINES: [Key; 8] = [
    key("min_level", LEVEL_OR_NULL),
    key("keep_unknown", SWITCH),
    key("include", PATTERNS),
    key("exclude", PATTERNS),
    key("sample", "a number from 0 to 1"),
    key("sample_keep_level", LEVEL_OR_NULL),
    key(
        "redact",
        "all, or a list of url_credentials, secret_values, bearer_tokens, jwt, aws_keys, private_keys, cards, emails",
    ),
    key(
        "redact_patterns",
        "a mapping of at most 32 names to regular expressions",
    ),
];

/// Numbers of `lines`.
pub static LINES_NUMBERS: [Number<Lines>; 7] = [
    Number::new(
        "pod_bytes_per_second_max",
        (0, GIB),
        |lines| lines.rate.pod.bytes,
        |lines, value| lines.rate.pod.bytes = value,
    ),
    Number::new(
        "pod_lines_per_second_max",
        (0, 10_000_000),
        |lines| lines.rate.pod.lines,
        |lines, value| lines.rate.pod.lines = value,
    ),
    Number::new(
        "namespace_bytes_per_second_max",
        (0, GIB),
        |lines| lines.rate.namespace.bytes,
        |lines, value| lines.rate.namespace.bytes = value,
    ),
    Number::new(
        "namespace_lines_per_second_max",
        (0, 10_000_000),
        |lines| lines.rate.namespace.lines,
        |lines, value| lines.rate.namespace.lines = value,
    ),
    Number::new(
        "rate_burst_ms",
        (SECOND, HOUR),
        |lines| lines.rate.burst_ms,
        |lines, value| lines.rate.burst_ms = value,
    ),
    Number::new(
        "rate_backlog_bytes_max",
        (64 * KIB, 1024 * GIB),
        |lines| lines.rate.backlog_bytes_max,
        |lines, value| lines.rate.backlog_bytes_max = value,
    ),
    Number::new(
        "repeats_window_ms",
        (0, 10 * MINUTE),
        |lines| lines.repeats_window_ms,
        |lines, value| lines.repeats_window_ms = value,
    ),
];

/// All keys of `lines`.
pub fn lines() -> Known {
    Known::of(&LINES).numbers(&LINES_NUMBERS)
}
