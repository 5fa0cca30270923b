//! How many descriptors of logs may be held: what the config allows, as far as the process may open that many.
//!
//! Invariant: what the rest of the agent needs is set aside first, so that logs never take the descriptors of the
//! admin server, of the checkpoints or of the sinks.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::config::bounds::bounds;

/// Fewer are not worth holding; `logs.held_files_max` has the same lower bound.
const HELD_FILES_MIN: usize = 16;

/// More are not used for what is only quicker with them.
const SPARE_MAX: usize = 2_048;

/// The config with `logs.held_files_max` lowered to what the process has room for.
pub(super) fn fitted(config: &Config) -> Config {
    let mut fitted = config.clone();
    let most = getrlimit(Resource::Nofile).current;
    let others = bounds(config).total.descriptors - config.logs.held_files_max as u64;
    fitted.logs.held_files_max = held_files_max(config.logs.held_files_max, others, most);
    if fitted.logs.held_files_max < config.logs.held_files_max {
        tracing::warn!(
            held_files_max = fitted.logs.held_files_max,
            limit = most,
            "fewer log files are held open than logs.held_files_max says, for the process may not open more; logs \
             that are deleted while they are not held are lost: raise the limit on open files (RLIMIT_NOFILE)"
        );
    }
    fitted
}

/// How many more the process may open beside all that is bounded, for what is only quicker with open files. `config`
/// is a fitted one.
pub(super) fn spare(config: &Config) -> usize {
    let all = bounds(config).total.descriptors;
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most.saturating_sub(all)).map_or(SPARE_MAX, |spare| spare.min(SPARE_MAX))
}

/// At most `wanted`, so that with `others` beside them there are at most `most`; `None`: no limit.
fn held_files_max(wanted: usize, others: u64, most: Option<u64>) -> usize {
    let Some(most) = most else { return wanted };
    let room = usize::try_from(most.saturating_sub(others)).unwrap_or(usize::MAX);
    wanted.min(room.max(HELD_FILES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_come_first() {
        assert_eq!(held_files_max(1_024, 100, None), 1_024);
        assert_eq!(held_files_max(1_024, 100, Some(1_124)), 1_024);
        assert_eq!(held_files_max(1_024, 100, Some(1_123)), 1_023);
        assert_eq!(held_files_max(1_024, 100, Some(256)), 156);
        assert_eq!(held_files_max(1_024, 300, Some(256)), HELD_FILES_MIN);
    }
}
