//! `longshore explain NS/POD[/CONTAINER]`: what the running agent knows of a pod's logs, from its admin address.
//!
//! Invariant: whatever the answer holds, each line that is printed is one line, and moves no terminal's cursor.

mod ask;
mod show;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::admin::explain::Answer;
use crate::admin::explain::question::Question;
use crate::config::parse::{host_name, load, process_environment};

/// Exit code when a log of the pod is known.
pub const FOUND: u8 = 0;
/// Exit code when none is, or the answer could not be written.
pub const NOTHING: u8 = 1;
/// Exit code of a config that cannot be used; also of arguments that mean nothing.
pub const BAD: u8 = 2;
/// Exit code when no agent answered.
pub const UNREACHED: u8 = 3;

/// What `explain` is told.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The pod, and the container if one is meant: NAMESPACE/POD[/CONTAINER]
    #[arg(value_name = "NS/POD[/CONTAINER]", value_parser = question)]
    pub question: Question,
    /// HOST:PORT of the agent's admin pages; else what the configuration says
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub admin: Option<String>,
    /// The agent's configuration; without it the embedded default, 127.0.0.1:9600
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Reads `NAMESPACE/POD` or `NAMESPACE/POD/CONTAINER`.
fn question(text: &str) -> Result<Question, String> {
    let mut names = text.split('/');
    let question = Question {
        namespace: names.next().unwrap_or_default().to_owned(),
        pod: names.next().unwrap_or_default().to_owned(),
        container: names.next().map(str::to_owned),
    };
    let container = question.container.as_deref().unwrap_or("-");
    let all = [&question.namespace, &question.pod, container];
    match all.into_iter().all(Question::is_name) && names.next().is_none() {
        true => Ok(question),
        false => Err("a pod is NAMESPACE/POD, its container NAMESPACE/POD/CONTAINER".to_owned()),
    }
}

/// Asks the agent, and prints its answer to `out`; what went wrong to `err`. Gives the exit code.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (code, complaint) = match answer(args) {
        Ok(answer) => match print(&answer, out) {
            Ok(()) => return code_of(&answer),
            // A reader that has seen enough is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return code_of(&answer),
            Err(error) => (NOTHING, format!("cannot write the answer: {error}")),
        },
        Err(failed) => failed,
    };
    // The exit code says it if standard error does not.
    let _ = writeln!(err, "{complaint}");
    code
}

fn code_of(answer: &Answer) -> u8 {
    match answer.instances.is_empty() {
        true => NOTHING,
        false => FOUND,
    }
}

fn print(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(show::text(answer).as_bytes())?;
    out.flush()
}

fn answer(args: &ExplainArgs) -> Result<Answer, (u8, String)> {
    let address = match &args.admin {
        Some(address) => address.clone(),
        None => configured(args)?.to_string(),
    };
    ask::ask(&address, &args.question).map_err(|error| (UNREACHED, error.to_string()))
}

/// Where the agent of a configuration is to be asked from its own node, or its own pod.
fn configured(args: &ExplainArgs) -> Result<SocketAddr, (u8, String)> {
    let loaded = load(args.config.as_deref(), &process_environment, &host_name());
    let mut address = loaded
        .map_err(|error| (BAD, error.to_string()))?
        .admin
        .listen;
    if address.port() == 0 {
        let text = "admin.listen has port 0, so it does not say where the agent listens: say --admin HOST:PORT, as the agent's own log has it";
        return Err((BAD, text.to_owned()));
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_two_names_and_a_container_a_third() {
        let asked = question("ns/web").unwrap();
        assert_eq!(
            (asked.namespace.as_str(), asked.pod.as_str()),
            ("ns", "web")
        );
        assert_eq!(asked.container, None);
        assert_eq!(
            question("ns/web/app").unwrap().container.as_deref(),
            Some("app")
        );
        let long = format!("ns/{}", "w".repeat(254));
        for text in ["", "web", "/web", "ns/", "ns/web/", "ns/web/app/0", &long] {
            assert!(question(text).is_err(), "{text}");
        }
    }
}
