//! Every process' `stat`: how many there are, in which state, with how many threads. One file for each process, so it
//! is done only when it is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use super::Collect;
use super::fields::{Faults, number};
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};

/// See the module.
#[derive(Default)]
pub struct Processes {
    text: String,
}

static PIDS: Spec = Spec::gauge("node_processes_pids", Unit::Count, "Processes.");
static THREADS: Spec = Spec::gauge(
    "node_processes_threads",
    Unit::Count,
    "Threads of all processes.",
);
static STATE: Spec = Spec::gauge(
    "node_processes_state",
    Unit::Count,
    "Processes in a state, by its letter in proc(5).",
);
static LIMITS: [(&str, Spec); 2] = [
    (
        "sys/kernel/pid_max",
        Spec::gauge(
            "node_processes_max_processes",
            Unit::Count,
            "Most process numbers that there can be.",
        ),
    ),
    (
        "sys/kernel/threads-max",
        Spec::gauge(
            "node_processes_max_threads",
            Unit::Count,
            "Most threads that there can be.",
        ),
    ),
];

/// More are not counted; a kernel allows four million, and a node is lost long before.
const PROCESSES_MAX: usize = 262_144;

impl Collect for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        for (path, spec) in &LIMITS {
            host.read_proc(path, &mut self.text)?;
            let mut faults = Faults::of("a limit");
            if let Some(limit) = faults.keep(number(self.text.trim())) {
                out.add(spec, &[], limit);
            }
            faults.told(&host.proc.join(path))?;
        }
        self.count(host, out)?;
        // With hidepid only our own are seen.
        host.read_proc("1/stat", &mut self.text)
    }
}

impl Processes {
    fn count(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let unreadable = |source| HostError::Unreadable {
            path: host.proc.clone(),
            source,
        };
        let (mut pids, mut threads) = (0_u64, 0_u64);
        let mut states: BTreeMap<char, u64> = BTreeMap::new();
        let entries = std::fs::read_dir(&host.proc).map_err(unreadable)?;
        for entry in entries.flatten().take(PROCESSES_MAX) {
            let name = entry.file_name();
            let is_pid = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            let path = Path::new(&name).join("stat");
            // One that ended meanwhile is no fault.
            if !is_pid || host.read(&host.proc.join(path), &mut self.text).is_err() {
                continue;
            }
            let Some((state, its_threads)) = stat(&self.text) else {
                continue;
            };
            pids += 1;
            threads += its_threads;
            *states.entry(state).or_default() += 1;
        }
        out.add(&PIDS, &[], pids as f64);
        out.add(&THREADS, &[], threads as f64);
        for (state, count) in states {
            let mut letter = [0; 4];
            out.add(
                &STATE,
                &[("state", state.encode_utf8(&mut letter))],
                count as f64,
            );
        }
        Ok(())
    }
}

/// State and threads: the third and the twentieth field. The second, in parentheses, is any text.
fn stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse::<u32>().ok()?;
    state
        .is_ascii_alphabetic()
        .then_some((state, u64::from(threads)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const STAT: &str = "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 17 0 2 100";

    fn tree() -> Tree {
        Tree::new(&[
            ("proc/1/stat", STAT),
            (
                "proc/22/stat",
                "22 (x) R 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0",
            ),
            ("proc/33/other", ""),
            ("proc/self/stat", STAT),
            ("proc/sys/kernel/pid_max", "4194304\n"),
            ("proc/sys/kernel/threads-max", "9\n"),
        ])
    }

    #[test]
    fn processes_threads_and_states() {
        let (snapshot, result) = tree().collect(&mut Processes::default());
        result.unwrap();
        assert_eq!(value(&snapshot, "node_processes_pids", &[]), 2.0);
        assert_eq!(value(&snapshot, "node_processes_threads", &[]), 20.0);
        assert_eq!(
            value(&snapshot, "node_processes_state", &[("state", "S")]),
            1.0
        );
        assert_eq!(value(&snapshot, "node_processes_max_threads", &[]), 9.0);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(STAT)) {
            let tree = tree();
            tree.write("proc/22/stat", &bytes);
            check_valid(&tree.collect(&mut Processes::default()).0);
        }
    }
}
