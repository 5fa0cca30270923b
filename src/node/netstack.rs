//! Small tables of the node's network: tracked connections, neighbours, and the queues between cards and CPUs.

use std::collections::BTreeMap;

use super::Collect;
use super::fields::{Faults, number};
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Snapshot, Spec, Unit};

/// Tracked connections: `1/net/stat/nf_conntrack`, whose first column is the count of the namespace that it belongs to,
/// while `sys/net/netfilter/nf_conntrack_count` is that of the reader; the limit is the same for all.
#[derive(Default)]
pub struct Connections {
    text: String,
}

static ENTRIES: Spec = Spec::gauge(
    "node_nf_conntrack_entries",
    Unit::Count,
    "Connections that are tracked.",
);
static LIMIT: Spec = Spec::gauge(
    "node_nf_conntrack_entries_limit",
    Unit::Count,
    "Most connections that can be tracked.",
);

/// Columns by their headings, summed over the CPUs.
static CONNECTION_COUNTS: [(&str, Spec); 8] = [
    (
        "found",
        Spec::gauge(
            "node_nf_conntrack_stat_found",
            Unit::Count,
            "Lookups that found a connection.",
        ),
    ),
    (
        "invalid",
        Spec::gauge(
            "node_nf_conntrack_stat_invalid",
            Unit::Count,
            "Packets that belong to no connection.",
        ),
    ),
    (
        "ignore",
        Spec::gauge(
            "node_nf_conntrack_stat_ignore",
            Unit::Count,
            "Packets that were not to be tracked.",
        ),
    ),
    (
        "insert",
        Spec::gauge(
            "node_nf_conntrack_stat_insert",
            Unit::Count,
            "Connections that were entered.",
        ),
    ),
    (
        "insert_failed",
        Spec::gauge(
            "node_nf_conntrack_stat_insert_failed",
            Unit::Count,
            "Connections that could not be entered.",
        ),
    ),
    (
        "drop",
        Spec::gauge(
            "node_nf_conntrack_stat_drop",
            Unit::Count,
            "Packets dropped because tracking failed.",
        ),
    ),
    (
        "early_drop",
        Spec::gauge(
            "node_nf_conntrack_stat_early_drop",
            Unit::Count,
            "Connections given up because the table was full.",
        ),
    ),
    (
        "search_restart",
        Spec::gauge(
            "node_nf_conntrack_stat_search_restart",
            Unit::Count,
            "Lookups begun anew as the table was resized.",
        ),
    ),
];

impl Collect for Connections {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let read = init::read(host, "net/stat/nf_conntrack", &mut self.text);
        let result = read.and_then(|concern| {
            let mut faults = Faults::of("a table of tracked connections");
            connections(&self.text, out, &mut faults);
            let path = host.proc.join("1/net/stat/nf_conntrack");
            init::told(concern).and(faults.told(&path))
        });
        host.read_proc("sys/net/netfilter/nf_conntrack_max", &mut self.text)?;
        let mut faults = Faults::of("a limit");
        if let Some(limit) = faults.keep(number(self.text.trim())) {
            out.add(&LIMIT, &[], limit);
        }
        result.and(faults.told(&host.proc.join("sys/net/netfilter/nf_conntrack_max")))
    }
}

fn connections(text: &str, out: &mut Snapshot, faults: &mut Faults) {
    let mut lines = text.lines();
    let headings: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .collect();
    let mut sums = vec![0_u64; CONNECTION_COUNTS.len()];
    let mut entries = None;
    for line in lines {
        for (heading, word) in headings.iter().zip(line.split_ascii_whitespace()) {
            let Some(value) = faults.keep(u64::from_str_radix(word, 16).ok()) else {
                continue;
            };
            // The same in each line.
            if *heading == "entries" {
                entries = entries.or(Some(value));
            }
            for (sum, (name, _)) in sums.iter_mut().zip(&CONNECTION_COUNTS) {
                if name == heading {
                    *sum = sum.wrapping_add(value);
                }
            }
        }
    }
    let Some(entries) = faults.keep(entries) else {
        return;
    };
    out.add(&ENTRIES, &[], entries as f64);
    for (sum, (name, spec)) in sums.into_iter().zip(&CONNECTION_COUNTS) {
        if headings.contains(name) {
            out.add(spec, &[], sum as f64);
        }
    }
}

/// Neighbours: `1/net/arp`.
#[derive(Default)]
pub struct Neighbours {
    text: String,
}

static NEIGHBOURS: Spec = Spec::gauge(
    "node_arp_entries",
    Unit::Count,
    "IPv4 neighbours of an interface that are known.",
);

impl Collect for Neighbours {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/arp", &mut self.text)?;
        let mut faults = Faults::of("a neighbour");
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for line in self.text.lines().skip(1) {
            // Address, type, flags, hardware address, mask, device.
            if let Some(device) = faults.keep(line.split_ascii_whitespace().nth(5)) {
                *counts.entry(device).or_default() += 1;
            }
        }
        for (device, count) in counts {
            out.add(&NEIGHBOURS, &[("device", device)], f64::from(count));
        }
        init::told(concern).and(faults.told(&host.proc.join("1/net/arp")))
    }
}

/// What each CPU has taken from the cards' queues: `1/net/softnet_stat`, hexadecimal.
#[derive(Default)]
pub struct Queues {
    text: String,
}

static QUEUES: [Spec; 3] = [
    Spec::counter(
        "node_softnet_processed_total",
        Unit::Count,
        "Packets that a CPU has processed.",
    ),
    Spec::counter(
        "node_softnet_dropped_total",
        Unit::Count,
        "Packets dropped because a CPU's queue was full.",
    ),
    Spec::counter(
        "node_softnet_times_squeezed_total",
        Unit::Count,
        "Times that a CPU's turn ended with packets left.",
    ),
];
/// Where kernels since 5.10 say which CPU a line is of; before, lines are counted.
const CPU_COLUMN: usize = 12;

impl Collect for Queues {
    fn name(&self) -> &'static str {
        "softnet"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/softnet_stat", &mut self.text)?;
        let mut faults = Faults::of("a CPU's queue");
        for (number, line) in self.text.lines().enumerate() {
            let hex = |word: &str| u64::from_str_radix(word, 16).ok();
            let mut words = line.split_ascii_whitespace();
            let named = line.split_ascii_whitespace().nth(CPU_COLUMN);
            let cpu = match named {
                Some(word) => hex(word),
                None => Some(number as u64),
            };
            let Some(cpu) = faults.keep(cpu).map(|cpu| cpu.to_string()) else {
                continue;
            };
            for spec in &QUEUES {
                if let Some(value) = faults.keep(words.next().and_then(hex)) {
                    out.add(spec, &[("cpu", &cpu)], value as f64);
                }
            }
        }
        init::told(concern).and(faults.told(&host.proc.join("1/net/softnet_stat")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const CONNTRACK: &str = "\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop
00000213  00000000 0000000a 00000000 00000001 00000000 00000000 00000003 00000000 00000000 00000000 00000000
00000213  00000000 00000002 00000000 00000001 00000000 00000000 00000003 00000000 00000000 00000000 00000000
";
    const ARP: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.1         0x1         0x2         02:fc:00:00:00:05     *        eth0
10.0.0.2         0x1         0x0         00:00:00:00:00:00     *        eth0
10.244.0.2       0x1         0x2         02:fc:00:00:00:06     *        cni0
";
    const SOFTNET: &str = "\
0000000a 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003
000000ff 00000000 00000000
";

    #[test]
    fn connections_are_those_of_the_node_and_hexadecimal() {
        let tree = Tree::new(&[
            ("proc/1/net/stat/nf_conntrack", CONNTRACK),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "0\n"),
        ]);
        let (snapshot, result) = tree.collect(&mut Connections::default());
        result.unwrap();
        assert_eq!(value(&snapshot, "node_nf_conntrack_entries", &[]), 531.0);
        assert_eq!(value(&snapshot, "node_nf_conntrack_stat_found", &[]), 12.0);
        assert_eq!(
            value(&snapshot, "node_nf_conntrack_entries_limit", &[]),
            262_144.0
        );
        assert_eq!(snapshot.series(), 2 + 7);
    }

    #[test]
    fn neighbours_by_device_and_queues_by_cpu() {
        let tree = Tree::new(&[
            ("proc/1/net/arp", ARP),
            ("proc/1/net/softnet_stat", SOFTNET),
        ]);
        let (arp, result) = tree.collect(&mut Neighbours::default());
        result.unwrap();
        assert_eq!(value(&arp, "node_arp_entries", &[("device", "eth0")]), 2.0);
        assert_eq!(value(&arp, "node_arp_entries", &[("device", "cni0")]), 1.0);
        let (queues, result) = tree.collect(&mut Queues::default());
        result.unwrap();
        assert_eq!(
            value(&queues, "node_softnet_processed_total", &[("cpu", "3")]),
            10.0
        );
        assert_eq!(
            value(&queues, "node_softnet_processed_total", &[("cpu", "1")]),
            255.0
        );
    }

    #[test]
    fn a_node_that_tracks_nothing_lacks_nothing() {
        let tree = Tree::new(&[("proc/1/net/arp", ARP)]);
        let (snapshot, result) = tree.collect(&mut Connections::default());
        assert!(matches!(result, Err(HostError::Missing { .. })));
        assert_eq!(snapshot.series(), 0);
    }

    proptest! {
        /// Invariant: no bytes make them panic or make an invalid sample.
        #[test]
        fn any_bytes(conntrack in garbage(CONNTRACK), arp in garbage(ARP), softnet in garbage(SOFTNET)) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/net/stat/nf_conntrack", &conntrack);
            tree.write("proc/sys/net/netfilter/nf_conntrack_max", &conntrack);
            tree.write("proc/1/net/arp", &arp);
            tree.write("proc/1/net/softnet_stat", &softnet);
            check_valid(&tree.collect(&mut Connections::default()).0);
            check_valid(&tree.collect(&mut Neighbours::default()).0);
            check_valid(&tree.collect(&mut Queues::default()).0);
        }
    }
}
