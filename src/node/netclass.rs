//! `class/net` of sysfs: whether an interface is up, how fast it is, how large its packets may be.
//!
//! sysfs shows the network namespace in which it was mounted, whoever reads it: the host's own mount, passed into a
//! container, shows the host's interfaces, and a container's own `/sys` shows the container's. Invariant: what is not
//! the node's is not shown; an interface that the first process has and this sysfs has not is the sign of it.

use super::Collect;
use super::fields::{Faults, number};
use super::filter::Filter;
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit};
use super::{init, netdev};
use crate::config::pattern::Pattern;

/// See the module.
pub struct InterfaceClass {
    devices: String,
    text: String,
    exclude: Filter,
}

impl InterfaceClass {
    /// All but those that are excluded.
    pub fn new(exclude: &Pattern) -> InterfaceClass {
        InterfaceClass {
            devices: String::new(),
            text: String::new(),
            exclude: Filter::new(exclude),
        }
    }
}

static UP: Spec = Spec::gauge(
    "node_network_up",
    Unit::One,
    "1 while the interface is operational.",
);
static SPEED: Spec = Spec::gauge(
    "node_network_speed_bytes",
    Unit::Bytes,
    "What the interface can carry each second; no series where it does not know.",
);
static MTU: Spec = Spec::gauge("node_network_mtu_bytes", Unit::Bytes, "Largest packet.");

/// A megabit.
const BYTES_PER_MBIT: f64 = 125_000.0;

impl Collect for InterfaceClass {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/dev", &mut self.devices)?;
        let class = host.sys.join("class/net");
        let devices = std::mem::take(&mut self.devices);
        let (mut all, mut missing) = (0, 0);
        let mut faults = Faults::of("a number of an interface");
        for device in netdev::names(&devices).filter(|device| is_name(device)) {
            all += 1;
            if !class.join(device).exists() {
                missing += 1;
            } else if !self.exclude.matches(device) {
                self.one(host, device, out, &mut faults);
            }
        }
        self.devices = devices;
        init::told(concern)?;
        // Pods come and go between two reads, but not most of a node's interfaces.
        if missing * 2 > all {
            return Err(HostError::Malformed {
                path: class,
                what: "the node's interfaces: it is of another network namespace, or not mounted",
            });
        }
        faults.told(&class)
    }
}

impl InterfaceClass {
    fn one(&mut self, host: &Host, device: &str, out: &mut Snapshot, faults: &mut Faults) {
        let labels = [("device", device)];
        if self.read(host, device, "operstate") {
            let up = if self.text.trim() == "up" { 1.0 } else { 0.0 };
            out.add(&UP, &labels, up);
        }
        if self.read(host, device, "mtu")
            && let Some(mtu) = faults.keep(number(self.text.trim()))
        {
            out.add(&MTU, &labels, mtu);
        }
        // Interfaces without a speed say -1, or refuse to be read.
        if self.read(host, device, "speed")
            && let Some(mbit) = faults.keep(number(self.text.trim()))
            && mbit >= 0.0
        {
            out.add(&SPEED, &labels, mbit * BYTES_PER_MBIT);
        }
    }

    fn read(&mut self, host: &Host, device: &str, attribute: &str) -> bool {
        let path = format!("class/net/{device}/{attribute}");
        host.read_sys(&path, &mut self.text).is_ok()
    }
}

/// Whether it is one name below a directory: what comes from a file of garbage must not lead elsewhere.
fn is_name(device: &str) -> bool {
    !device.is_empty() && device != "." && device != ".." && !device.contains('/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const DEV: &str = "h\nh\n  lo: 1\neth0: 1\n";

    fn collector() -> InterfaceClass {
        InterfaceClass::new(&Pattern::part("^$").unwrap())
    }

    #[test]
    fn interfaces_say_what_they_know() {
        let tree = Tree::new(&[
            ("proc/1/net/dev", DEV),
            ("sys/class/net/lo/operstate", "unknown\n"),
            ("sys/class/net/lo/speed", "-1\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/eth0/speed", "10000\n"),
        ]);
        let (snapshot, result) = tree.collect(&mut collector());
        result.unwrap();
        let (lo, eth0) = ([("device", "lo")], [("device", "eth0")]);
        assert_eq!(value(&snapshot, "node_network_up", &lo), 0.0);
        assert_eq!(value(&snapshot, "node_network_up", &eth0), 1.0);
        assert_eq!(value(&snapshot, "node_network_mtu_bytes", &eth0), 1_500.0);
        assert_eq!(value(&snapshot, "node_network_speed_bytes", &eth0), 1.25e9);
        assert_eq!(snapshot.series(), 4);
    }

    #[test]
    fn a_sysfs_of_another_namespace_is_an_error() {
        let tree = Tree::new(&[
            (
                "proc/1/net/dev",
                "h\nh\nlo: 1\neth0: 1\ncni0: 1\nveth1: 1\nveth2: 1\n",
            ),
            ("sys/class/net/lo/operstate", "unknown\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
        ]);
        let (_, result) = tree.collect(&mut collector());
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("another network namespace")
        );
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(dev in garbage(DEV), speed in garbage("1000\n")) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/net/dev", &dev);
            for attribute in ["operstate", "mtu", "speed"] {
                tree.write(&format!("sys/class/net/eth0/{attribute}"), &speed);
            }
            check_valid(&tree.collect(&mut collector()).0);
        }
    }
}
