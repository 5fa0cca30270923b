//! Liveness and readiness. Neither depends on a sink: a destination that is down must not restart the agent nor
//! stop a rollout.

use std::time::Duration;

use super::Sources;

/// A part that has not stepped for longer than this hangs: the loops of the workers and of the catalog step more
/// often, idle or not.
pub const STEP_AGE_MAX: Duration = Duration::from_secs(60);

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// 200, else 503.
    pub good: bool,
    /// For people.
    pub text: String,
}

/// `/healthz`: good while every worker, every thread of samples and the catalog step; else names those that hang.
pub fn live(sources: &Sources) -> Probe {
    let mut text = String::new();
    let mut check = |what: &str, age: Duration| {
        if age > STEP_AGE_MAX {
            text.push_str(&format!("{what} has not stepped for {} s\n", age.as_secs()));
        }
    };
    check(
        "the catalog",
        sources.step_age(sources.catalog.stepped_at()),
    );
    for board in &sources.boards {
        let what = format!("worker {} of sink {}", board.worker, board.sink);
        check(&what, sources.step_age(board.stepped_at()));
    }
    for board in &sources.sample_boards {
        let what = format!("the thread of the samples of sink {}", board.sink);
        check(&what, sources.step_age(board.stepped_at()));
    }
    Probe {
        good: text.is_empty(),
        text: if text.is_empty() {
            "ok\n".to_owned()
        } else {
            text
        },
    }
}

/// `/readyz`: good once every log that existed at the start is known.
pub fn ready(sources: &Sources) -> Probe {
    let good = sources.catalog.first_scan_done();
    let text = if good {
        "ok\n"
    } else {
        "the first scan of the log directories has not completed\n"
    };
    Probe {
        good,
        text: text.to_owned(),
    }
}
