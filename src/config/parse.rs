//! A config's text to a [`Config`], or every mistake in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Config;
use super::check::check;
use super::mistake::{Place, Report};
use super::substitute::Environment;
use super::yaml::{TEXT_BYTES_MAX, read};

pub use super::mistake::Mistake;

/// The configuration of an agent that is given none.
pub const DEFAULT_YAML: &str = include_str!("default.yaml");
/// What [`DEFAULT_YAML`] is called in messages.
pub const DEFAULT_NAME: &str = "(default config)";

/// Parses `text`; `file` is its name in the mistakes. Environment variables come from `env` alone. The node's name is,
/// if the config has none, the variable `NODE_NAME`, else `host_name`.
pub fn parse(
    text: &str,
    file: &str,
    env: &Environment<'_>,
    host_name: &str,
) -> Result<Config, Vec<Mistake>> {
    let mut report = Report::new(file);
    let node = env("NODE_NAME").filter(|name| !name.is_empty());
    let node = node.unwrap_or_else(|| host_name.to_owned());
    let config = read(text, env, &mut report).map(|root| check(&root, &node, env, &mut report));
    match config {
        Some(config) if report.is_empty() => Ok(config),
        _ => Err(report.into_mistakes()),
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the config {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Reads and parses `path`, or [`DEFAULT_YAML`] if there is none.
pub fn load(
    path: Option<&Path>,
    env: &Environment<'_>,
    host_name: &str,
) -> Result<Config, LoadError> {
    let Some(path) = path else {
        return parse(DEFAULT_YAML, DEFAULT_NAME, env, host_name).map_err(LoadError::Mistakes);
    };
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a text that is too long is seen to be so.
    let bytes_max = TEXT_BYTES_MAX as u64 + 1;
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let name = path.display().to_string();
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &name, env, host_name),
        // The cut above may have split a character: then length is the mistake, not encoding.
        Err(_) if bytes.len() > TEXT_BYTES_MAX => {
            parse(&String::from_utf8_lossy(&bytes), &name, env, host_name)
        }
        Err(error) => Err(not_utf8(&bytes, error.valid_up_to(), &name)),
    };
    parsed.map_err(LoadError::Mistakes)
}

fn not_utf8(bytes: &[u8], valid: usize, name: &str) -> Vec<Mistake> {
    let good = bytes.get(..valid).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let last = good.rsplit('\n').next().unwrap_or_default();
    let place = Place {
        line: bounded(good.matches('\n').count() + 1),
        column: bounded(last.chars().count() + 1),
    };
    let mut report = Report::new(name);
    report.add(place, "", "a byte that is not UTF-8; allowed is UTF-8 text");
    report.into_mistakes()
}

/// The node's own name, as the kernel knows it.
pub fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// A variable of this process; one that is not UTF-8 counts as not set.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
