//! How often a log that grows is looked at.

use std::time::Duration;

/// What a look at a growing log is meant to find: each look costs its reader a turn.
const LOOK_BYTES: u64 = 16 * 1024;

/// How long a log that grew by so much within that time takes to grow by [`LOOK_BYTES`].
pub fn pace(bytes: u64, within: Duration) -> Duration {
    let nanoseconds = within.as_nanos() * u128::from(LOOK_BYTES);
    let each = nanoseconds / u128::from(bytes.max(1));
    Duration::from_nanos(u64::try_from(each).unwrap_or(u64::MAX))
}
