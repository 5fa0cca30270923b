//! `longshore demo`: a node in a box. Plays pods and the kubelet in a directory of its own, runs the agent on it, and
//! counts what arrived.
//!
//! Invariant: the exit code is 0 only if every line that was written has exactly one row, whole, in order and under
//! its own container's name, and the agent's ledger says the same. The directory is removed on every way out unless
//! it is to be kept.

pub mod agent;
mod cast;
pub mod count;
pub mod kubelet;
pub mod lines;
pub mod plan;
pub mod player;
pub mod progress;
mod stage;
pub mod summary;
mod writer;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Time};
use crate::config::Config;
use crate::pipeline::board::Board;
use crate::pipeline::ledger::Accounts;
use agent::{Agent, Start, accounts_of};
use plan::{ROUNDS_PER_S, Totals};
use progress::{Look, Progress};
use stage::{Play, TemporaryDirectory};
use summary::Summary;

/// Where the pods log, in the demo's directory.
const PODS: &str = "pods";
/// Where the links are that name the containers' ids, in the demo's directory.
const LINKS: &str = "containers";
/// Where the rows go, in the demo's directory.
const ROWS: &str = "rows";

/// Seconds at the end of a play in which nothing is written and the last pods are deleted.
const EPILOGUE_S: u32 = 3;
/// How long the agent is away between its two runs.
const AWAY: Duration = Duration::from_millis(1_500);
/// Until then the kubelet spares what a restarted agent has not read.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// The end is not waited for when nothing has been delivered for this long.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(50);

/// What `longshore demo` can be told.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long to play, in seconds
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(5..=600))]
    pub seconds: u32,
    /// Which play: the same number plays the same lines
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep the directory with the logs and the rows
    #[arg(long)]
    pub keep: bool,
}

/// What can stop a demo before its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or directory of the play.
    #[error("cannot {attempt} {}: {source}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The agent.
    #[error("the agent did not start: {0}")]
    Agent(String),
    /// The thread that plays.
    #[error("the player stopped: {0}")]
    Player(&'static str),
    /// Where the demo shows itself.
    #[error("cannot show progress: {0}")]
    Output(#[from] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    fn at(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DemoError {
        let path = path.to_owned();
        move |source| DemoError::File {
            attempt,
            path,
            source,
        }
    }
}

/// Runs the demo; returns the exit code.
pub fn demo(args: DemoArgs, out: &mut dyn Write) -> u8 {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let live = io::stdout().is_terminal() && !dumb;
    let interrupted = Arc::new(AtomicBool::new(false));
    stage::watch_interrupt(Arc::clone(&interrupted));
    perform(&args, live, &agent::start_agent, &interrupted, out)
}

/// Runs the demo with an agent of the caller's; returns the exit code.
pub fn perform(
    args: &DemoArgs,
    live: bool,
    start: Start<'_>,
    interrupted: &AtomicBool,
    out: &mut dyn Write,
) -> u8 {
    let result = show(args, live, start, interrupted, out);
    let (text, code) = match result {
        Ok(summary) => (summary.to_string(), u8::from(!summary.is_good())),
        Err(DemoError::Interrupted) => ("\nInterrupted.\n".to_owned(), 130),
        Err(error) => (format!("\nFAILED: {error}.\n"), 1),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => code.max(1),
    }
}

fn show(
    args: &DemoArgs,
    live: bool,
    start: Start<'_>,
    interrupted: &AtomicBool,
    out: &mut dyn Write,
) -> Result<Summary, DemoError> {
    let directory = TemporaryDirectory::new(args.keep)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    writeln!(
        out,
        "longshore demo: a node in a box, {} s of it, in {}\n",
        args.seconds,
        directory.path().display()
    )?;
    let rounds = args.seconds.saturating_sub(EPILOGUE_S) * ROUNDS_PER_S;
    let play = Play::prepare(args.seed, rounds, directory.path(), &*clock)?;
    let config = agent::config(directory.path());
    let agent = Agent::start(&config, start)?;
    let mut direction = Direction {
        progress: Progress::new(out, live, clock.now()),
        restart_at: clock.now() + Duration::from_secs(u64::from(args.seconds) / 2),
        play: play.begin(Arc::clone(&clock)),
        clock: Arc::clone(&clock),
        interrupted,
        began: clock.now(),
        delivered_bytes: 0,
    };
    let accounts = direction.direct(agent, &config, start)?;
    let seconds = clock.now().since(direction.began).as_secs();
    let played = direction.finish(&accounts)?;
    let tally = count::count(&directory.path().join(ROWS), &played.instances)?;
    Ok(Summary {
        totals: played.totals,
        seconds,
        tally,
        accounts,
        kept: args.keep.then(|| directory.path().to_owned()),
        seed: args.seed,
    })
}

/// Leads the play and the agent to their end.
struct Direction<'a> {
    progress: Progress<'a>,
    restart_at: Time,
    play: stage::Playing,
    clock: Arc<dyn Clock>,
    interrupted: &'a AtomicBool,
    began: Time,
    delivered_bytes: u64,
}

impl Direction<'_> {
    /// Runs the agent until it is half time, and again until all is delivered. Returns its final accounts.
    fn direct(
        &mut self,
        first: Agent,
        config: &Config,
        start: Start<'_>,
    ) -> Result<Accounts, DemoError> {
        let half_time = self.restart_at;
        self.watch(&first.boards(), |now, _, _| now >= half_time)?;
        self.play.set_away(true);
        first.stop();
        let stopped = self.clock.now();
        self.progress
            .note(stopped, "the agent is stopped, the pods write on")?;
        self.watch(&[], |now, _, _| now.since(stopped) >= AWAY)?;
        let (started, backlog) = (self.clock.now(), self.play.totals().bytes);
        let second = Agent::start(config, start)?;
        self.progress.note(
            started,
            "the agent is started again and goes on where it was",
        )?;
        let boards = second.boards();
        self.watch(&boards, |now, _, accounts| {
            accounts.settled() >= backlog || now.since(started) >= CATCH_UP_MAX
        })?;
        self.play.set_away(false);
        let ended = self.play.ended_flag();
        self.watch(&boards, |_, totals, accounts| {
            ended.load(Ordering::Acquire) && accounts.pending == 0 && accounts.seen >= totals.bytes
        })?;
        second.stop();
        Ok(accounts_of(&boards))
    }

    /// Shows progress until `done`, or until nothing has moved for [`PATIENCE`].
    fn watch(
        &mut self,
        boards: &[Arc<Board>],
        done: impl Fn(Time, &Totals, &Accounts) -> bool,
    ) -> Result<(), DemoError> {
        let mut moved = (self.clock.now(), (0, 0));
        loop {
            let (now, totals, accounts) =
                (self.clock.now(), self.play.totals(), accounts_of(boards));
            if self.interrupted.load(Ordering::Acquire) {
                return Err(DemoError::Interrupted);
            }
            let state = (totals.bytes, accounts.settled());
            if state != moved.1 {
                moved = (now, state);
            }
            if done(now, &totals, &accounts) || now.since(moved.0) >= PATIENCE {
                return Ok(());
            }
            if !boards.is_empty() {
                // An agent that has just started has not published its accounts yet.
                self.delivered_bytes = self.delivered_bytes.max(accounts.delivered.bytes);
                self.progress
                    .show(now, look(&totals, self.delivered_bytes))?;
            }
            std::thread::sleep(TICK);
        }
    }

    fn finish(self, accounts: &Accounts) -> Result<plan::Played, DemoError> {
        let now = self.clock.now();
        let totals = self.play.totals();
        self.progress
            .finish(now, look(&totals, accounts.delivered.bytes))?;
        self.play.end()
    }
}

fn look(totals: &Totals, delivered_bytes: u64) -> Look {
    Look {
        written_bytes: totals.bytes,
        lines: totals.lines,
        // The two are read one after the other while the play goes on.
        delivered_bytes: delivered_bytes.min(totals.bytes),
        rotations: totals.chores.rotations,
    }
}

#[cfg(test)]
mod tests;
