//! How many addresses the node's interfaces have: `1/net/if_inet6`, and for IPv4 the local addresses in
//! `1/net/fib_trie`, each counted for the interface of the most specific route in `1/net/route` that covers it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Collect;
use super::fields::Faults;
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Snapshot, Spec, Unit};

/// See the module.
#[derive(Default)]
pub struct Addresses {
    text: String,
    routes: String,
}

static COUNT: Spec = Spec::gauge(
    "node_network_addresses",
    Unit::Count,
    "Addresses of an interface; an IPv4 address is counted where its network is routed to.",
);
/// An interface of which only loopback addresses are local.
const LOOPBACK: &str = "lo";

impl Collect for Addresses {
    fn name(&self) -> &'static str {
        "addresses"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let fourth = self.fourth(host, out);
        match self.sixth(host, out) {
            // A node without IPv6.
            Err(HostError::Missing { .. }) => fourth,
            sixth => fourth.and(sixth),
        }
    }
}

impl Addresses {
    fn fourth(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/fib_trie", &mut self.text)?;
        let routed = init::read(host, "net/route", &mut self.routes);
        let routes: Vec<Route<'_>> = match &routed {
            Ok(_) => self
                .routes
                .lines()
                .skip(1)
                .filter_map(Route::parse)
                .collect(),
            Err(_) => Vec::new(),
        };
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for address in local(&self.text) {
            let covering = routes.iter().filter(|route| route.covers(address));
            let route = covering.max_by_key(|route| route.mask);
            let device = match route {
                _ if address.is_loopback() => LOOPBACK,
                Some(route) => route.device,
                None => "",
            };
            *counts.entry(device).or_default() += 1;
        }
        for (device, count) in counts {
            out.add(
                &COUNT,
                &[("device", device), ("family", "ipv4")],
                f64::from(count),
            );
        }
        init::told(concern).and(routed.map(|_| ()))
    }

    fn sixth(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let concern = init::read(host, "net/if_inet6", &mut self.text)?;
        let mut faults = Faults::of("an IPv6 address");
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for line in self.text.lines() {
            // Address, index, prefix, scope, flags, device.
            if let Some(device) = faults.keep(line.split_ascii_whitespace().nth(5)) {
                *counts.entry(device).or_default() += 1;
            }
        }
        for (device, count) in counts {
            out.add(
                &COUNT,
                &[("device", device), ("family", "ipv6")],
                f64::from(count),
            );
        }
        init::told(concern).and(faults.told(&host.proc.join("1/net/if_inet6")))
    }
}

/// The local addresses of a trie: a leaf `|-- ADDRESS`, and below it `/32 host LOCAL`. The same trie may be there
/// twice, as that of the table main and of the table local.
fn local(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf);
        }
    }
    found
}

/// A route to a network that is more than nothing.
struct Route<'l> {
    device: &'l str,
    network: u32,
    mask: u32,
}

impl Route<'_> {
    /// Device, destination, gateway, flags, three counts, mask; addresses in hexadecimal, as they lie in memory on this
    /// machine.
    fn parse(line: &str) -> Option<Route<'_>> {
        let mut words = line.split_ascii_whitespace();
        let device = words.next()?;
        let address = |word: &str| Some(u32::from_be(u32::from_str_radix(word, 16).ok()?));
        let network = address(words.next()?)?;
        let mask = address(words.nth(5)?)?;
        (mask != 0).then_some(Route {
            device,
            network,
            mask,
        })
    }

    fn covers(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network & self.mask
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/8 2 0 2
        |-- 10.0.0.7
           /32 host LOCAL
        |-- 10.244.1.1
           /32 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
Local:
        |-- 10.0.0.7
           /32 host LOCAL
";
    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
cni0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
";

    #[test]
    fn addresses_are_counted_where_their_network_is_routed_to() {
        let tree = Tree::new(&[
            ("proc/1/net/fib_trie", TRIE),
            ("proc/1/net/route", ROUTE),
            ("proc/1/net/if_inet6", INET6),
        ]);
        let (snapshot, result) = tree.collect(&mut Addresses::default());
        result.unwrap();
        for (device, family) in [
            ("lo", "ipv4"),
            ("eth0", "ipv4"),
            ("cni0", "ipv4"),
            ("lo", "ipv6"),
            ("eth0", "ipv6"),
        ] {
            let labels = [("device", device), ("family", family)];
            assert_eq!(
                value(&snapshot, "node_network_addresses", &labels),
                1.0,
                "{labels:?}"
            );
        }
        assert_eq!(snapshot.series(), 5);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(trie in garbage(TRIE), route in garbage(ROUTE), inet6 in garbage(INET6)) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/net/fib_trie", &trie);
            tree.write("proc/1/net/route", &route);
            tree.write("proc/1/net/if_inet6", &inet6);
            check_valid(&tree.collect(&mut Addresses::default()).0);
        }
    }
}
