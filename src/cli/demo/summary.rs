//! The demo's last word: what was played, what arrived, what the agent's own ledger says, and what to do next.

use std::fmt;
use std::path::PathBuf;

use super::count::Tally;
use super::plan::Totals;
use super::progress::{Counted, Grouped, Megabytes};
use crate::pipeline::ledger::{Accounts, Amount};

/// All that the demo found out.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was played.
    pub totals: Totals,
    /// How long the play and the catching up took, in seconds.
    pub seconds: u64,
    /// What the sink's files hold.
    pub tally: Tally,
    /// What the agent says of itself.
    pub accounts: Accounts,
    /// The directory, when it is kept.
    pub kept: Option<PathBuf>,
    /// The seed, to play the same again.
    pub seed: u64,
}

impl Summary {
    /// Whether the agent's ledger says what was played: all of it seen and delivered, and the sum is right.
    pub fn ledger_agrees(&self) -> bool {
        self.accounts.balances()
            && self.accounts.seen == self.totals.bytes
            && self.accounts.delivered.bytes == self.totals.bytes
    }

    /// Whether every line arrived exactly once, and the ledger knows it.
    pub fn is_good(&self) -> bool {
        self.tally.is_exact() && self.ledger_agrees()
    }

    fn played(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let chores = &totals.chores;
        writeln!(f, "Played in {} s", self.seconds)?;
        let rows = [
            (
                "pods",
                totals.pods + totals.short_pods,
                format!(
                    "{} of them ran for less than 2 s and were deleted",
                    totals.short_pods
                ),
            ),
            (
                "containers",
                totals.containers,
                format!("and {}", Counted(totals.restarts, "restart")),
            ),
            (
                "log rotations",
                chores.rotations,
                format!(
                    "{} compressed, {} deleted as the oldest",
                    Counted(chores.compressed, "file"),
                    chores.retired
                ),
            ),
            (
                "lines",
                totals.lines,
                format!("{} of log files", Megabytes(totals.bytes)),
            ),
            (
                "  over 16 KiB",
                totals.long_lines,
                format!("written in {}, to be joined", Counted(totals.parts, "part")),
            ),
            (
                "  cut off",
                totals.unfinished,
                "by the death of their container".to_owned(),
            ),
            (
                "  not text",
                totals.binary,
                "with bytes that are not UTF-8".to_owned(),
            ),
        ];
        rows.iter()
            .try_for_each(|(name, count, more)| row(f, name, *count, more))
    }

    fn arrived(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(f, "Arrived")?;
        let files = format!("{} of files", Megabytes(tally.file_bytes));
        row(f, "rows", tally.rows, &files)?;
        row(f, "lost", tally.lost, "")?;
        row(f, "duplicated", tally.duplicated, "")?;
        row(f, "corrupted", tally.corrupted, "")?;
        row(f, "wrong name", tally.misattributed, "")?;
        row(f, "out of order", tally.out_of_order, "")?;
        if tally.mismarked > 0 {
            let more = "wrongly said to be cut off, or not to be";
            row(f, "wrong mark", tally.mismarked, more)?;
        }
        if tally.unnamed > 0 {
            row(
                f,
                "without an id",
                tally.unnamed,
                "their container's id was not known",
            )?;
        }
        Ok(())
    }

    fn ledger(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accounts = &self.accounts;
        let sum = |amounts: &[Amount]| amounts.iter().map(|amount| amount.bytes).sum();
        writeln!(f, "The agent's own ledger, in bytes of log files")?;
        let rows = [
            ("seen", accounts.seen),
            ("= delivered", accounts.delivered.bytes),
            ("+ excluded", sum(&accounts.excluded)),
            ("+ dropped", sum(&accounts.dropped)),
            ("+ lost", accounts.lost.iter().sum()),
            ("+ pending", accounts.pending),
        ];
        for (name, bytes) in rows {
            row(f, name, bytes, "")?;
        }
        let balance = if accounts.balances() {
            "it balances"
        } else {
            "it does NOT balance"
        };
        let agreement = if accounts.seen == self.totals.bytes {
            "and agrees with what was written".to_owned()
        } else {
            format!("but {} were written", Grouped(self.totals.bytes))
        };
        writeln!(f, "  {balance}, {agreement}")
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_good() {
            return writeln!(f, "Every line arrived exactly once.");
        }
        if self.tally.is_exact() {
            writeln!(
                f,
                "FAILED: every line arrived exactly once, but the agent's ledger says otherwise."
            )?;
        } else {
            writeln!(f, "FAILED: not every line arrived exactly once.")?;
        }
        if let Some(fault) = &self.tally.first_fault {
            writeln!(f, "First fault: {fault}")?;
        }
        writeln!(
            f,
            "To look closer: longshore demo --keep --seed {}",
            self.seed
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, count: u64, more: &str) -> fmt::Result {
    let line = format!("  {name:<15}{:>12}  {more}", Grouped(count));
    writeln!(f, "{}", line.trim_end())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        self.played(f)?;
        writeln!(f)?;
        self.arrived(f)?;
        writeln!(f)?;
        self.ledger(f)?;
        if let Some(sample) = &self.tally.sample {
            writeln!(f, "\nOne of the rows\n  {sample}")?;
        }
        writeln!(f)?;
        self.verdict(f)?;
        writeln!(f)?;
        match &self.kept {
            Some(kept) => {
                writeln!(f, "Rows:  {}", kept.join(super::ROWS).display())?;
                writeln!(f, "Logs:  {}", kept.join(super::PODS).display())?;
            }
            None => writeln!(f, "Keep the rows:   longshore demo --keep")?,
        }
        writeln!(f, "On a real node:  longshore run")
    }
}
