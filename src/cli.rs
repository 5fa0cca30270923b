//! The commands, one file each.

pub mod check;
pub mod demo;
pub mod explain;
pub mod import;
pub mod prepare;
pub mod read;
pub mod run;

use std::io;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Per-node Kubernetes telemetry agent: ships container logs acknowledged end to end and accounts for every byte.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The agent: tail the node's container logs into the configured sinks
    Run {
        /// The configuration; without it the embedded default: /var/log/pods into files under the state directory
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// A node in a box: play pods, run the real agent on them, count what arrives
    Demo(demo::DemoArgs),
    /// Log files (CRI or docker json, plain or gzip) to rows on standard output
    Read(read::ReadArgs),
    /// The configuration of another agent to one of ours, on standard output
    Import {
        /// Whose
        #[command(subcommand)]
        from: import::ImportFrom,
    },
    /// Check a configuration: every mistake at once, or the effective configuration and its bounds
    Check {
        /// The configuration; without it the embedded default
        #[arg(long)]
        config: Option<PathBuf>,
        /// Also try each sink once: name, connection, TLS, credentials, an empty payload
        #[arg(long)]
        connect: bool,
    },
    /// What the running agent knows of a pod's logs, and why it knows nothing
    Explain(explain::ExplainArgs),
    /// Give the state directory to the user that the agent runs as; for an init container that is root
    Prepare(prepare::PrepareArgs),
}

/// Runs a command; returns the exit code.
pub fn perform(command: Command) -> u8 {
    match command {
        Command::Run { config } => run::run(config.as_deref(), &mut io::stderr()),
        Command::Demo(args) => demo::demo(args, &mut io::stdout()),
        Command::Read(args) => {
            let (mut stdin, mut out) = (io::stdin().lock(), io::stdout().lock());
            read::read(&args, &mut stdin, &mut out, &mut io::stderr())
        }
        Command::Import { from } => {
            let (mut stdin, mut out) = (io::stdin().lock(), io::stdout().lock());
            import::import(&from, &mut stdin, &mut out, &mut io::stderr())
        }
        Command::Check { config, connect } => {
            let (mut out, mut err) = (io::stdout(), io::stderr());
            check::check(config.as_deref(), connect, &mut out, &mut err)
        }
        Command::Explain(args) => explain::explain(&args, &mut io::stdout(), &mut io::stderr()),
        Command::Prepare(args) => prepare::prepare(&args, &mut io::stderr()),
    }
}
