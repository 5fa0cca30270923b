//! `longshore run`: the agent, until SIGTERM or SIGINT. SIGHUP, or a change of the config file, has it read again.

mod news;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::news::{Listener, News};
use crate::agent::{Agent, StartError, Surroundings};
use crate::cli::check::warnings;
use crate::clock::{Clock, SystemClock};
use crate::config::bounds::bounds;
use crate::config::parse::{LoadError, host_name, load, process_environment};
use crate::encode::compress::GZIP_CODECS;
use crate::{own_log, own_pod};

/// Exit code of a clean end.
const GOOD: u8 = 0;
/// Exit code when the agent could not start.
const FAILED: u8 = 1;
/// Exit code of a config that cannot be used.
const BAD_CONFIG: u8 = 2;

/// Runs the agent; returns the exit code. Mistakes in the configuration go to `err`, all else to the own log.
pub fn run(file: Option<&Path>, err: &mut dyn Write) -> u8 {
    let config = match load(file, &process_environment, &host_name()) {
        Ok(config) => config,
        Err(error) => {
            complain(err, &error);
            return BAD_CONFIG;
        }
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = match own_log::init(config.own_log, clock) {
        Ok(log) => log,
        Err(error) => {
            // There is no log to say it in; the exit code says it if standard error does not.
            let _ = writeln!(err, "{error}");
            return FAILED;
        }
    };
    raise_descriptor_limit();
    let bounds = bounds(&config);
    for warning in warnings(&bounds) {
        tracing::warn!("{warning}");
    }
    let surroundings = Surroundings {
        own_pod: own_pod::find(&process_environment, Path::new("/proc/self")),
        own_log: Some(Arc::clone(&log.limit)),
    };
    let started = Listener::start(file)
        .map_err(|source| StartError::Thread {
            what: "listening for signals",
            source,
        })
        .and_then(|listener| Ok((listener, Agent::start(&config, surroundings)?)));
    let code = match started {
        Ok((mut listener, mut agent)) => {
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                node = config.node,
                sinks = config.sinks.len(),
                admin = %agent.admin_address().unwrap_or(config.admin.listen),
                memory_bytes_max = bounds.total.memory_bytes,
                descriptors_max = bounds.total.descriptors,
                gzip = GZIP_CODECS,
                "longshore is running"
            );
            serve(&mut agent, &mut listener, file);
            let grace = Duration::from_millis(agent.config().shutdown_grace_ms);
            drain(agent, grace);
            GOOD
        }
        Err(error) => {
            tracing::error!("{error}");
            FAILED
        }
    };
    log.finish();
    code
}

fn complain(err: &mut dyn Write, error: &LoadError) {
    let written = match error {
        LoadError::Mistakes(mistakes) => {
            let count = mistakes.len();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            writeln!(err, "{error}\n{count} {noun}; nothing was started")
        }
        LoadError::Unreadable { .. } => writeln!(err, "{error}"),
    };
    // The exit code says it if standard error does not.
    let _ = written;
}

/// The soft limit on descriptors is a courtesy to programs that use select(2); this one does not.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// Lets the agent run until it is to stop.
fn serve(agent: &mut Agent, listener: &mut Listener, file: Option<&Path>) {
    while listener.wait() == News::Look {
        look(agent, file);
    }
}

/// Reads the configuration again and applies what is new in it; one that cannot be used is refused, and the one before
/// stays in force.
fn look(agent: &mut Agent, file: Option<&Path>) {
    let config = match load(file, &process_environment, &host_name()) {
        Ok(config) => config,
        Err(error) => return refuse(agent, &error.to_string()),
    };
    if config == *agent.config() {
        return agent.confirm();
    }
    match agent.reload(&config) {
        Ok(reloaded) => {
            let bounds = bounds(&config);
            for warning in warnings(&bounds) {
                tracing::warn!("{warning}");
            }
            tracing::info!(
                added = ?reloaded.added,
                removed = ?reloaded.removed,
                replaced = ?reloaded.replaced,
                drained = reloaded.drained,
                memory_bytes_max = bounds.total.memory_bytes,
                "a new configuration is in force"
            );
        }
        Err(error) => refuse(agent, &error.to_string()),
    }
}

fn refuse(agent: &Agent, why: &str) {
    if agent.refuse(why) {
        tracing::error!("the new configuration is refused, the one before stays in force: {why}");
    }
}

fn drain(agent: Agent, grace: Duration) {
    tracing::info!(
        grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        "draining"
    );
    let stopped = agent.stop(grace);
    if stopped.drained {
        tracing::info!("stopped; everything that was read has been delivered");
    } else {
        tracing::warn!(
            "stopped before all was delivered; the rest is read again at the next start"
        );
    }
}
