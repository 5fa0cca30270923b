//! `longshore import azm FILE...`: the configuration of another agent to one of ours, on standard output.
//!
//! Invariant: every setting that is found is taken, or named in a comment at the head of the output with what is to
//! be done in its place; nothing of the files but text in those comments and quoted values reaches the output.

mod azm;
mod draft;
mod notes;
mod source;
mod value;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::config::mistake::{cut, printable};

use draft::{Draft, PLACEHOLDERS};
use source::{FILE_BYTES_MAX, Found};

/// Exit code when everything was understood.
pub const GOOD: u8 = 0;
/// Exit code when a setting or a section was not understood, or the result could not be written. The output is what
/// the others come to.
pub const FAILED: u8 = 1;
/// Exit code when a file cannot be used at all; nothing is printed.
pub const BAD: u8 = 2;

/// Whose configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ImportFrom {
    /// Container Insights: the ConfigMap container-azm-ms-agentconfig, and settings of a data collection rule
    Azm {
        /// YAML or JSON files: `kubectl get configmap -o yaml`, `az monitor data-collection rule show`, a template;
        /// `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Imports: the configuration to `out`, what is wrong and the counts to `err`. Gives the exit code.
pub fn import(
    from: &ImportFrom,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let ImportFrom::Azm { files } = from;
    match import_all(files, stdin, out, err) {
        Ok(code) => code,
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => GOOD,
        Err(error) => {
            // If standard error cannot be written either, the exit code has to speak for itself.
            let _ = writeln!(err, "cannot write the result: {error}");
            FAILED
        }
    }
}

fn import_all(
    files: &[PathBuf],
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let mut found = Found::default();
    let mut are_bad = false;
    for file in files {
        match look_into(file, stdin) {
            Ok(more) => {
                found.maps.extend(more.maps);
                found.rules.extend(more.rules);
                found.others.extend(more.others);
            }
            Err(why) => {
                are_bad = true;
                writeln!(err, "{why}")?;
            }
        }
    }
    if are_bad {
        writeln!(err, "nothing was imported")?;
        return Ok(BAD);
    }
    let (draft, notes) = azm::translate(&found);
    let config = draft.render();
    let (head, comments) = (head(&found, &draft), notes.comments());
    write!(out, "{head}{comments}\n{config}")?;
    out.flush()?;
    writeln!(err, "{}", notes.summary())?;
    Ok(if notes.are_wrong() { FAILED } else { GOOD })
}

/// What is found in a file; an error is a whole sentence.
fn look_into(file: &Path, stdin: &mut dyn Read) -> Result<Found, String> {
    let is_stdin = file.as_os_str() == "-";
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => cut(&printable(&file.display().to_string()), 400),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a text that is too long is seen to be so.
    let bytes_max = FILE_BYTES_MAX as u64 + 1;
    let read = match is_stdin {
        true => stdin.take(bytes_max).read_to_end(&mut bytes),
        false => File::open(file).and_then(|it| it.take(bytes_max).read_to_end(&mut bytes)),
    };
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    // A cut may have split a character; then the length is the mistake.
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(_) if bytes.len() > FILE_BYTES_MAX => "",
        Err(_) => return Err(format!("{name} is not UTF-8 text")),
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("{name} has more than {FILE_BYTES_MAX} bytes"));
    }
    let found = source::find(text, &name)?;
    if found.maps.is_empty() && found.rules.is_empty() {
        let map = source::MAP_NAME;
        return Err(format!(
            "{name} has neither a ConfigMap {map} nor settings of a data collection rule"
        ));
    }
    Ok(found)
}

/// The first lines of the output.
fn head(found: &Found, draft: &Draft) -> String {
    let [endpoint, rule] = PLACEHOLDERS;
    let mut lines = vec![
        "# Made by `longshore import azm`. Before it is used:".to_owned(),
        format!("# * set {endpoint} and {rule} in the agent's environment, or write them below;"),
        "#   deploy/azure makes the tables, the rule and the role".to_owned(),
        "# * `longshore check --config FILE` says whether it is right, and prints all defaults"
            .to_owned(),
    ];
    if draft.needs_address() {
        lines.push("# * set NODE_IP from status.hostIP of the agent's pod".to_owned());
    }
    if draft.asks_cluster() {
        lines.push(
            "# * allow the agent's service account to get, list and watch pods; where `check` runs"
                .to_owned(),
        );
        lines.push("#   outside of the cluster, set KUBERNETES_SERVICE_HOST for it".to_owned());
    }
    lines.push("# Inventories, Kubernetes events and syslog are not collected, whether they were set or not.".to_owned());
    if found.maps.is_empty() {
        lines.push(
            "# There was no ConfigMap: its settings are those of an agent without one.".to_owned(),
        );
    }
    if found.rules.is_empty() {
        lines.push(
            "# There was no data collection rule: metrics are taken once a minute, and all logs."
                .to_owned(),
        );
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests;
