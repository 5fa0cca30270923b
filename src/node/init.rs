//! Files that show the namespaces of whoever reads them, read as the node's first process sees them.
//!
//! `net/` and `mountinfo` of procfs follow the reader's own namespaces, which within a container are not the node's.
//! Those of process 1 are, and need no capability. Invariant: the agent's own are read in their place only where it
//! runs in the first process' PID namespace, and never without an error beside them.

use std::io;

use super::host::{Host, HostError};

/// Reads `1/<path>` below procfs.
///
/// `Ok(None)`: these are the node's. `Ok(Some(error))`: process 1 is hidden (procfs is mounted with `hidepid`, or is
/// not the host's), and these are the agent's own; to be used, and the error to be given back. A file that this kernel
/// does not have is [`HostError::Missing`].
pub fn read(host: &Host, path: &str, text: &mut String) -> Result<Option<HostError>, HostError> {
    let first = format!("1/{path}");
    let error = match host.read_proc(&first, text) {
        Ok(()) => return Ok(None),
        Err(HostError::Missing { path }) => {
            if is_visible(host, text) {
                return Err(HostError::Missing { path });
            }
            HostError::Unreadable {
                path,
                source: io::ErrorKind::NotFound.into(),
            }
        }
        Err(error) => error,
    };
    if !is_among_the_first(host, text) {
        return Err(error);
    }
    match host.read_proc(&format!("self/{path}"), text) {
        Ok(()) => Ok(Some(error)),
        Err(_) => Err(error),
    }
}

/// The error of a source that was hidden, once what stands in for it has been used.
pub fn told(concern: Option<HostError>) -> Result<(), HostError> {
    concern.map_or(Ok(()), Err)
}

/// Whether process 1 has network files or mounts for us: then a file that is not among them does not exist.
fn is_visible(host: &Host, text: &mut String) -> bool {
    host.proc.join("1/net").is_dir() || host.read_proc("1/mountinfo", text).is_ok()
}

/// Whether the agent is in the PID namespace of this procfs itself, not in one below: `NSpid` in `self/status` has the
/// process' number in each (proc(5)). On a bare node it is; in a container without `hostPID` it is not.
fn is_among_the_first(host: &Host, text: &mut String) -> bool {
    host.read_proc("self/status", text).is_ok()
        && text
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .is_some_and(|numbers| numbers.split_ascii_whitespace().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::fixture::Tree;

    #[test]
    fn the_first_process_comes_first() {
        let tree = Tree::new(&[("proc/1/net/dev", "first"), ("proc/self/net/dev", "own")]);
        let mut text = String::new();
        assert!(read(&tree.host(), "net/dev", &mut text).unwrap().is_none());
        assert_eq!(text, "first");
        let missing = read(&tree.host(), "net/sockstat6", &mut text);
        assert!(matches!(missing, Err(HostError::Missing { .. })));
    }

    #[test]
    fn one_that_is_hidden_is_an_error_and_our_own_stands_in_where_it_is_the_same() {
        let own = ("proc/self/net/dev", "own");
        let mut text = String::new();
        let bare = Tree::new(&[own, ("proc/self/status", "Name:\tx\nNSpid:\t42\n")]);
        let concern = read(&bare.host(), "net/dev", &mut text).unwrap();
        assert_eq!(text, "own");
        assert!(matches!(told(concern), Err(HostError::Unreadable { .. })));
        let within = Tree::new(&[own, ("proc/self/status", "NSpid:\t42\t1\n")]);
        let hidden = read(&within.host(), "net/dev", &mut text);
        assert!(matches!(hidden, Err(HostError::Unreadable { .. })));
    }
}
