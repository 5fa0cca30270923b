// The helpers of tests are tests too: a failed expectation in them is a failed test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stderr
)]

/// Killed at any moment, against a server that does anything: nothing is lost, repeats stay within what was under way.
#[path = "process/kill.rs"]
mod kill;
/// Few descriptors, endless lines, holes, things that are not logs, a root that is not there.
#[path = "process/limits.rs"]
mod limits;
/// The admin pages under load, and the demo.
#[path = "process/pages.rs"]
mod pages;
/// New configurations while the agent runs: sinks change, come and go, and wrong ones are refused.
#[path = "process/reload.rs"]
mod reload;
/// Dead, hanging, refusing and mended sinks, and records that a sink refuses.
#[path = "process/sinks.rs"]
mod sinks;
/// SIGTERM, wrong configurations, damaged checkpoints, a full disk.
#[path = "process/state.rs"]
mod state;
/// Several workers of one sink: chains move when their number changes, nothing is lost or repeated by it.
#[path = "process/workers.rs"]
mod workers;
