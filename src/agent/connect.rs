//! Tries each sink once: name, connection, TLS, credentials, and an empty payload, by the very transport that a running
//! agent would use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::build::SinkParts;
use super::workers::Bell;
use super::{Network, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Sink, SinkKind};
use crate::sink::{Attempt, Transport, Verdict};

/// No sink is waited for longer, whatever its own limits allow.
const PATIENCE: Duration = Duration::from_secs(45);

/// What came of trying one way to one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The sink's name.
    pub sink: String,
    /// What it would take by this way: `logs` or `metrics`.
    pub signal: &'static str,
    /// Whether it can be used.
    pub good: bool,
    /// What was found, in a line.
    pub text: String,
}

/// Tries all sinks of a configuration, one after the other.
pub fn connect(config: &Config) -> Result<Vec<Tried>, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut network = Network::start()?;
    let mut all = Vec::new();
    for sink in &config.sinks {
        for (signal, takes) in [
            ("logs", sink.signals.logs),
            ("metrics", sink.signals.metrics),
        ] {
            if !takes {
                continue;
            }
            let (good, text) = match &sink.kind {
                SinkKind::Stdout | SinkKind::Blackhole => (true, "nothing to connect".to_owned()),
                SinkKind::File(file) => writable(&file.directory),
                _ => attempt(config, sink, signal, &clock, network.handle()),
            };
            all.push(Tried {
                sink: sink.name.clone(),
                signal,
                good,
                text,
            });
        }
    }
    network.stop();
    Ok(all)
}

/// Whether files can be made in a directory, or it can be made itself.
fn writable(directory: &Path) -> (bool, String) {
    let mut there = directory;
    while !there.exists() {
        match there.parent() {
            Some(parent) => there = parent,
            None => break,
        }
    }
    if !there.is_dir() {
        return (false, format!("{} is no directory", there.display()));
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::access(there, access) {
        Ok(()) => (true, format!("{} can be written", directory.display())),
        Err(error) => (
            false,
            format!("cannot write in {}: {error}", there.display()),
        ),
    }
}

fn attempt(
    config: &Config,
    sink: &Sink,
    signal: &str,
    clock: &Arc<dyn Clock>,
    network: &tokio::runtime::Handle,
) -> (bool, String) {
    let bell = Bell::new();
    bell.set(std::thread::current());
    let mut parts = SinkParts::new(config, sink, clock, network, false);
    let made = match signal {
        "logs" => parts.empty_of_logs(&bell),
        _ => parts.empty_of_samples(&bell),
    };
    match made {
        Ok((transport, body)) => told(submit(transport, body, clock.as_ref())),
        Err(error) => (false, error.to_string()),
    }
}

fn submit(
    mut transport: Box<dyn Transport>,
    body: bytes::Bytes,
    clock: &dyn Clock,
) -> Option<Verdict> {
    let until = clock.now() + PATIENCE;
    let attempt = Attempt {
        id: 0,
        uncompressed_bytes: body.len() as u64,
        body,
        records: 0,
    };
    transport.try_submit(attempt).ok()?;
    loop {
        if let Some((_, verdict)) = transport.poll_verdict() {
            return Some(verdict);
        }
        let left = until.since(clock.now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

fn told(verdict: Option<Verdict>) -> (bool, String) {
    let refuses = "it is there and lets us in, and refuses an empty payload, as it may";
    match verdict {
        Some(Verdict::Accepted | Verdict::AcceptedExcept { .. } | Verdict::Items(_)) => {
            (true, "took an empty payload".to_owned())
        }
        Some(Verdict::Bisect(reason) | Verdict::Split(reason)) => {
            (true, format!("{refuses}: {}", reason.text))
        }
        Some(Verdict::Retry { reason, .. } | Verdict::Pause(reason)) => (false, reason.text),
        None => (false, format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
