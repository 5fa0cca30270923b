//! What the kernel says of itself in a line or two: load, open files, name and release, time; and who measures.

use super::Collect;
use super::fields::{Faults, number};
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};

/// `loadavg`.
#[derive(Default)]
pub struct Load {
    text: String,
}

static LOADS: [Spec; 3] = [
    Spec::gauge(
        "node_load1",
        Unit::One,
        "Tasks that ran or waited for disk, on average over a minute.",
    ),
    Spec::gauge(
        "node_load5",
        Unit::One,
        "Tasks that ran or waited for disk, on average over 5 minutes.",
    ),
    Spec::gauge(
        "node_load15",
        Unit::One,
        "Tasks that ran or waited for disk, on average over 15 minutes.",
    ),
];

impl Collect for Load {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        host.read_proc("loadavg", &mut self.text)?;
        let mut faults = Faults::of("three averages");
        let mut words = self.text.split_ascii_whitespace();
        for spec in &LOADS {
            if let Some(value) = faults.keep(words.next().and_then(number)) {
                out.add(spec, &[], value);
            }
        }
        faults.told(&host.proc.join("loadavg"))
    }
}

/// `sys/fs/file-nr`: descriptions of open files in the whole kernel.
#[derive(Default)]
pub struct OpenFiles {
    text: String,
}

static ALLOCATED: Spec = Spec::gauge(
    "node_filefd_allocated",
    Unit::Count,
    "Open files of all processes.",
);
static MAXIMUM: Spec = Spec::gauge(
    "node_filefd_maximum",
    Unit::Count,
    "Most files that may be open.",
);

impl Collect for OpenFiles {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        host.read_proc("sys/fs/file-nr", &mut self.text)?;
        let mut faults = Faults::of("three counts of files");
        let mut words = self.text.split_ascii_whitespace().map(number);
        for (spec, skipped) in [(&ALLOCATED, 0), (&MAXIMUM, 1)] {
            if let Some(value) = faults.keep(words.nth(skipped).flatten()) {
                out.add(spec, &[], value);
            }
        }
        faults.told(&host.proc.join("sys/fs/file-nr"))
    }
}

/// uname(2). The host name that the kernel tells is that of the reader's own container, so the node's comes from the
/// configuration.
pub struct Uname {
    /// The node's name.
    pub node: String,
}

static UNAME: Spec = Spec::gauge(
    "node_uname_info",
    Unit::One,
    "Always 1; the labels say which kernel runs.",
);

impl Collect for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn collect(&mut self, _: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let names = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let labels = [
            ("domainname", &*text(names.domainname())),
            ("machine", &*text(names.machine())),
            ("nodename", &*self.node),
            ("release", &*text(names.release())),
            ("sysname", &*text(names.sysname())),
            ("version", &*text(names.version())),
        ];
        out.add(&UNAME, &labels, 1.0);
        Ok(())
    }
}

/// The moment of the sample, and the agent's version under the name that dashboards of the node ask for.
pub struct Moment;

static TIME: Spec = Spec::gauge(
    "node_time_seconds",
    Unit::Seconds,
    "When the sample was taken, since the Unix epoch.",
);
static BUILD: Spec = Spec::gauge(
    "node_exporter_build_info",
    Unit::One,
    "Always 1; the version of longshore, which gives these families.",
);

impl Collect for Moment {
    fn name(&self) -> &'static str {
        "time"
    }

    fn collect(&mut self, _: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let since = out.taken.duration_since(std::time::SystemTime::UNIX_EPOCH);
        out.add(&TIME, &[], since.unwrap_or_default().as_secs_f64());
        out.add(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, empty, garbage, value};

    const LOADAVG: &str = "0.52 1.58 11.59 2/977 12345\n";
    const FILE_NR: &str = "1292\t0\t9223372036854775807\n";

    #[test]
    fn load_and_open_files() {
        let tree = Tree::new(&[("proc/loadavg", LOADAVG), ("proc/sys/fs/file-nr", FILE_NR)]);
        let (load, result) = tree.collect(&mut Load::default());
        result.unwrap();
        let loads: Vec<f64> = LOADS
            .iter()
            .map(|spec| value(&load, &spec.name, &[]))
            .collect();
        assert_eq!(loads, [0.52, 1.58, 11.59]);
        let (files, result) = tree.collect(&mut OpenFiles::default());
        result.unwrap();
        assert_eq!(value(&files, "node_filefd_allocated", &[]), 1_292.0);
        assert_eq!(
            value(&files, "node_filefd_maximum", &[]),
            9.223_372_036_854_776e18
        );
    }

    #[test]
    fn the_node_has_the_name_that_it_is_given() {
        let tree = Tree::new(&[]);
        let mut uname = Uname {
            node: "n-1".to_owned(),
        };
        let (snapshot, _) = tree.collect(&mut uname);
        let family = snapshot.families().next().unwrap();
        let labels: Vec<_> = snapshot.labels(&family.samples[0]).collect();
        assert!(labels.contains(&("nodename", "n-1")) && labels.contains(&("sysname", "Linux")));
    }

    #[test]
    fn the_moment_is_that_of_the_snapshot() {
        let mut snapshot = empty();
        snapshot.reset(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        Moment
            .collect(&Tree::new(&[]).host(), &mut snapshot)
            .unwrap();
        assert_eq!(value(&snapshot, "node_time_seconds", &[]), 1.5);
    }

    proptest! {
        /// Invariant: no bytes make them panic or make an invalid sample.
        #[test]
        fn any_bytes(loadavg in garbage(LOADAVG), files in garbage(FILE_NR)) {
            let tree = Tree::new(&[]);
            tree.write("proc/loadavg", &loadavg);
            tree.write("proc/sys/fs/file-nr", &files);
            check_valid(&tree.collect(&mut Load::default()).0);
            check_valid(&tree.collect(&mut OpenFiles::default()).0);
        }
    }
}
