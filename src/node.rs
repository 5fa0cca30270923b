//! What the node and its containers use: sampled once per interval from procfs, sysfs and cgroups, shown in several
//! views.
//!
//! ```text
//!  procfs, sysfs, cgroups      (through the roots of `host.rs`: the host's, also from within a container)
//!        |
//!   collectors   one file each: small parsers, each an implementation of [`Collect`]
//!        |
//!   sampler      one thread; all collectors, once per interval -> one [`Snapshot`](snapshot::Snapshot)
//!        |
//!   views        /metrics text, rows, remote write: all of the same snapshot, so they agree
//! ```
//!
//! Samples never travel the log pipeline. What cannot be read is a sample that says so, not a gap.

pub mod addresses;
pub mod cgroup;
pub mod container;
pub mod cpu;
pub mod disk;
pub mod exposition;
pub mod fields;
pub mod filesystem;
pub mod filter;
pub mod gpu;
pub mod host;
pub mod init;
pub mod ip;
pub mod kernel;
pub mod memory;
pub mod netclass;
pub mod netdev;
pub mod netstack;
pub mod netstat;
pub mod pressure;
pub mod processes;
pub mod sampler;
pub mod snapshot;
pub mod sockets;

#[cfg(test)]
pub(crate) mod fixture;

use host::{Host, HostError};
use snapshot::Snapshot;

use crate::config::Config;
use crate::config::metrics::Profile;

/// One source of measures.
pub trait Collect: Send {
    /// The value of the label `collector` of `node_scrape_collector_success` and `..._duration_seconds`; where
    /// node_exporter has such a collector, its name there.
    fn name(&self) -> &'static str;

    /// Adds what it measures. An error says what could not be read: what was added before it stays.
    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError>;
}

/// THE list of collectors, in the order in which they are asked.
pub fn collectors(config: &Config) -> Vec<Box<dyn Collect>> {
    let metrics = &config.metrics;
    let mut all: Vec<Box<dyn Collect>> = vec![
        Box::new(kernel::Moment),
        Box::new(kernel::Uname {
            node: config.node.clone(),
        }),
        Box::new(cpu::Cpu::default()),
        Box::new(kernel::Load::default()),
        Box::new(memory::Memory::default()),
        Box::new(memory::Vmstat::default()),
        Box::new(disk::Disks::new(&metrics.disks_exclude)),
        Box::new(netdev::Interfaces::new(&metrics.interfaces_exclude)),
        Box::new(netstat::Protocols::default()),
    ];
    // Without `keep` the minimal profile wants nothing of the others.
    if metrics.profile != Profile::Minimal || !metrics.keep.is_empty() {
        all.extend([
            Box::new(netclass::InterfaceClass::new(&metrics.interfaces_exclude))
                as Box<dyn Collect>,
            Box::new(sockets::Sockets::default()),
            Box::new(netstack::Connections::default()),
            Box::new(netstack::Neighbours::default()),
            Box::new(netstack::Queues::default()),
            Box::new(addresses::Addresses::default()),
            Box::new(kernel::OpenFiles::default()),
            Box::new(pressure::Pressure::default()),
        ]);
    }
    if ["pids", "threads", "state"]
        .iter()
        .any(|what| metrics.wants(&format!("node_processes_{what}")))
    {
        all.push(Box::new(processes::Processes::default()));
    }
    // Last: it may have to wait for a file system.
    all.push(Box::new(filesystem::Filesystems::new(metrics)));
    all
}
