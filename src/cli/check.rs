//! `longshore check`: is this config right, what does it come to, and does the machine have room for it?

mod room;

use std::io::{self, Write};
use std::path::Path;

use crate::agent::connect::connect;
use crate::config::Config;
use crate::config::bounds::{Bound, Bounds, bounds};
use crate::config::mistake::Report;
use crate::config::parse::{LoadError, host_name, load, process_environment};
use crate::config::render::render;
use crate::encode::compress::GZIP_CODECS;

/// Exit code of a config that can be used.
pub const GOOD: u8 = 0;
/// Exit code when the result could not be written.
pub const UNWRITABLE: u8 = 1;
/// Exit code of a config that cannot be used.
pub const BAD: u8 = 2;
/// Exit code of a config that is right, of which a sink cannot be used.
pub const UNREACHED: u8 = 3;

/// Checks `file`, or the embedded default. To `out`: the effective configuration as YAML, then as comments the bounds
/// and what gzip is written by, so that the whole is a config again. To `err`: every mistake, or warnings. Gives the
/// exit code.
///
/// With `tries`, each sink is also tried once, and what was found is told to `out` as comments.
pub fn check(file: Option<&Path>, tries: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let loaded = load(file, &process_environment, &host_name());
    match report(loaded, tries, out, err) {
        Ok(code) => code,
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => GOOD,
        Err(error) => {
            // If standard error cannot be written either, the exit code has to speak for itself.
            let _ = writeln!(err, "cannot write the result: {error}");
            UNWRITABLE
        }
    }
}

fn report(
    loaded: Result<Config, LoadError>,
    tries: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            writeln!(err, "{error}")?;
            if let LoadError::Mistakes(mistakes) = error {
                let count = match mistakes.len() {
                    1 => "1 mistake".to_owned(),
                    count if count > Report::MISTAKES_MAX => {
                        format!("more than {} mistakes", Report::MISTAKES_MAX)
                    }
                    count => format!("{count} mistakes"),
                };
                writeln!(err, "{count}; nothing was started")?;
            }
            return Ok(BAD);
        }
    };
    out.write_all(render(&config).as_bytes())?;
    let bounds = bounds(&config);
    out.write_all(table(&bounds).as_bytes())?;
    writeln!(out, "# gzip in this build: {GZIP_CODECS}")?;
    out.flush()?;
    for warning in warnings(&bounds) {
        writeln!(err, "warning: {warning}")?;
    }
    match tries {
        true => connected(&config, out, err),
        false => Ok(GOOD),
    }
}

/// Tries each sink.
fn connected(config: &Config, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let tried = match connect(config) {
        Ok(tried) => tried,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(UNREACHED);
        }
    };
    writeln!(out, "# Each sink, tried once:")?;
    for one in &tried {
        let found = if one.good { "good" } else { "BAD" };
        writeln!(
            out,
            "#   sinks.{} ({}): {found}: {}",
            one.sink, one.signal, one.text
        )?;
    }
    out.flush()?;
    match tried.iter().all(|one| one.good) {
        true => Ok(GOOD),
        false => Ok(UNREACHED),
    }
}

/// What of the bounds this process has no room for, in whole sentences.
pub fn warnings(bounds: &Bounds) -> Vec<String> {
    room::warnings(bounds, room::descriptors_max(), room::memory_max())
}

/// The bounds as lines of YAML comments.
pub fn table(bounds: &Bounds) -> String {
    let mut lines = vec!["# At most, whatever the containers write:".to_owned()];
    let line = |name: &str, bound: &Bound| {
        let mib = bound.memory_bytes.div_ceil(1024 * 1024);
        format!(
            "#   {name:24} {mib:>7} MiB {:>7} descriptors",
            bound.descriptors
        )
    };
    lines.push(line("agent, 1000 containers", &bounds.base));
    for (name, bound) in &bounds.sinks {
        lines.push(line(&format!("sinks.{name}"), bound));
    }
    lines.push(line("all together", &bounds.total));
    lines.push(String::new());
    lines.join("\n")
}
