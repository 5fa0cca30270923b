//! What is to be played, and what was: the terms in which the player, the count and the summary speak.

use std::sync::Arc;

use super::kubelet::{Chores, Pod};
use super::lines::Moment;

/// The length of one round.
pub const ROUND_MS: u64 = 20;
/// Rounds in a second.
pub const ROUNDS_PER_S: u32 = 50;
/// Rounds between the end of a pod and its deletion, and at least as many at the end of the play: two seconds.
pub const DELETION_DELAY: u32 = 2 * ROUNDS_PER_S;

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The same seed plays the same lines.
    pub seed: u64,
    /// Rounds in which containers write; a few follow in which the last pods end and are deleted.
    pub rounds: u32,
    /// A log is rotated when it has reached this size.
    pub rotate_bytes: u64,
    /// What the busiest containers write.
    pub busy_bytes_per_s: u32,
    /// The moment of the first line.
    pub start: Moment,
}

/// One container instance, as a count must find it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Its container.
    pub container: String,
    /// Its restart count.
    pub restart: u32,
    /// The id that its link carries.
    pub id: String,
    /// How many lines it wrote to stdout and stderr.
    pub lines: [u64; 2],
    /// The number of the line that it did not end, if there is one.
    pub unfinished: [Option<u64>; 2],
}

/// The play in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pods that lived all the time.
    pub pods: u64,
    /// Pods that came and went.
    pub short_pods: u64,
    /// Containers, each with all its instances.
    pub containers: u64,
    /// Restarts of containers.
    pub restarts: u64,
    /// Lines that the containers wrote.
    pub lines: u64,
    /// Of those, longer than the runtime's longest line.
    pub long_lines: u64,
    /// The parts of those.
    pub parts: u64,
    /// Of those, ended by the death of their container.
    pub unfinished: u64,
    /// Of those, with bytes that are not UTF-8.
    pub binary: u64,
    /// Bytes in the log files.
    pub bytes: u64,
    /// What the kubelet did.
    pub chores: Chores,
}

/// What was played.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// All container instances.
    pub instances: Vec<Instance>,
    /// The play in numbers.
    pub totals: Totals,
}

/// How a container writes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All it can.
    Busy,
    /// A steady stream with bursts.
    Steady,
    /// A line now and then.
    Quiet,
}

impl Pace {
    /// What it writes in one round.
    pub fn bytes_per_round(self, rng: &mut fastrand::Rng, plan: &Plan) -> u64 {
        let (per_s, burst) = match self {
            Pace::Busy => (u64::from(plan.busy_bytes_per_s), 200),
            Pace::Steady => (u64::from(plan.busy_bytes_per_s) / 16, 100),
            Pace::Quiet => (150, u32::MAX),
        };
        let share = per_s * ROUND_MS / 1_000;
        if rng.u32(..burst) == 0 {
            share + per_s / 2
        } else {
            share
        }
    }
}
