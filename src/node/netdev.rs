//! `1/net/dev`: what the node's network interfaces have received and sent.

use super::Collect;
use super::fields::{Faults, number};
use super::filter::Filter;
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Snapshot, Spec, Unit};
use crate::config::pattern::Pattern;

/// See the module.
pub struct Interfaces {
    text: String,
    exclude: Filter,
}

impl Interfaces {
    /// All but those that are excluded.
    pub fn new(exclude: &Pattern) -> Interfaces {
        Interfaces {
            text: String::new(),
            exclude: Filter::new(exclude),
        }
    }
}

const fn count(name: &'static str, help: &'static str) -> Spec {
    Spec::counter(name, Unit::Count, help)
}

/// The columns behind the name.
static COLUMNS: [Spec; 16] = [
    Spec::counter(
        "node_network_receive_bytes_total",
        Unit::Bytes,
        "Bytes received.",
    ),
    count("node_network_receive_packets_total", "Packets received."),
    count(
        "node_network_receive_errs_total",
        "Packets received with an error.",
    ),
    count(
        "node_network_receive_drop_total",
        "Packets received and dropped.",
    ),
    count(
        "node_network_receive_fifo_total",
        "Packets lost because a queue of the device was full.",
    ),
    count(
        "node_network_receive_frame_total",
        "Packets received with a broken frame.",
    ),
    count(
        "node_network_receive_compressed_total",
        "Compressed packets received.",
    ),
    count(
        "node_network_receive_multicast_total",
        "Multicast packets received.",
    ),
    Spec::counter(
        "node_network_transmit_bytes_total",
        Unit::Bytes,
        "Bytes sent.",
    ),
    count("node_network_transmit_packets_total", "Packets sent."),
    count(
        "node_network_transmit_errs_total",
        "Packets that could not be sent.",
    ),
    count(
        "node_network_transmit_drop_total",
        "Packets dropped in place of being sent.",
    ),
    count(
        "node_network_transmit_fifo_total",
        "Packets not sent because a queue of the device was full.",
    ),
    count(
        "node_network_transmit_colls_total",
        "Collisions on the wire.",
    ),
    count(
        "node_network_transmit_carrier_total",
        "Packets not sent because the carrier was lost.",
    ),
    count(
        "node_network_transmit_compressed_total",
        "Compressed packets sent.",
    ),
];

/// Its two lines of headings.
const HEADINGS: usize = 2;

impl Collect for Interfaces {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/dev", &mut self.text)?;
        let mut faults = Faults::of("a line of an interface");
        for line in self.text.lines().skip(HEADINGS) {
            // A name may hold a colon, numbers do not.
            let Some((device, rest)) = faults.keep(line.rsplit_once(':')) else {
                continue;
            };
            let device = device.trim();
            if self.exclude.matches(device) {
                continue;
            }
            let mut words = rest.split_ascii_whitespace();
            for spec in &COLUMNS {
                if let Some(value) = faults.keep(words.next().and_then(number)) {
                    out.add(spec, &[("device", device)], value);
                }
            }
        }
        init::told(concern).and(faults.told(&host.proc.join("1/net/dev")))
    }
}

/// The names of the interfaces in `net/dev`.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().skip(HEADINGS);
    lines.filter_map(|line| Some(line.rsplit_once(':')?.0.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
eth0:1:18446744073709551615 0 0 0 0 0 0 0 42 0 0 0 0 0 0 0
veth1: x 2
veth2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
";

    #[test]
    fn columns_names_and_a_bad_line() {
        let tree = Tree::new(&[
            ("proc/1/net/dev", DEV),
            ("proc/net/dev", "of another namespace"),
        ]);
        let exclude = Pattern::part("^veth2$").unwrap();
        let (snapshot, result) = tree.collect(&mut Interfaces::new(&exclude));
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        let lo = [("device", "lo")];
        let values: Vec<f64> = COLUMNS
            .iter()
            .map(|spec| value(&snapshot, &spec.name, &lo))
            .collect();
        assert_eq!(values, (1..=16).map(f64::from).collect::<Vec<_>>());
        let alias = [("device", "eth0:1")];
        assert_eq!(
            value(&snapshot, "node_network_transmit_bytes_total", &alias),
            42.0
        );
        assert_eq!(snapshot.series(), 2 * 16 + 1);
    }

    #[test]
    fn a_hidden_first_process_is_an_error_and_not_a_gap() {
        let tree = Tree::new(&[
            ("proc/self/net/dev", DEV),
            ("proc/self/status", "NSpid:\t42\n"),
        ]);
        let (snapshot, result) = tree.collect(&mut Interfaces::new(&Pattern::part("^$").unwrap()));
        assert!(matches!(result, Err(HostError::Unreadable { .. })));
        assert!(snapshot.series() > 32);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(DEV)) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/net/dev", &bytes);
            check_valid(&tree.collect(&mut Interfaces::new(&Pattern::part("^$").unwrap())).0);
        }
    }
}
