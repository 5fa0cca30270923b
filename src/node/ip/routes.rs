//! What the kernel's tables say of addresses: routes to single pods. Pure. The forms are
//! those of proc(5) below `/proc/<pid>/net`.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::range;

/// How the pods' ends of networks are called by those who route to each pod alone.
const POD_INTERFACES: [&str; 6] = ["cali", "lxc", "eni", "azv", "gke", "veth"];

fn is_pods(interface: &str) -> bool {
    POD_INTERFACES
        .iter()
        .any(|head| interface.starts_with(head))
}

/// A line of `route`: interface, destination and mask; numbers are in the machine's byte order, which is little-endian
/// on all that Kubernetes runs on in numbers.
fn route(line: &str) -> Option<(&str, Ipv4Addr, Ipv4Addr)> {
    let mut words = line.split_ascii_whitespace();
    let interface = words.next()?;
    let mut address = |skip| {
        let number = u32::from_str_radix(words.nth(skip)?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let destination = address(0)?;
    let mask = address(5)?;
    Some((interface, destination, mask))
}

/// How many version 4 addresses have a route of their own to a pod, in `route`.
pub fn pods_v4(text: &str) -> usize {
    let routes = text.lines().skip(1).filter_map(route);
    let single =
        routes.filter(|(interface, _, mask)| is_pods(interface) && *mask == Ipv4Addr::BROADCAST);
    single
        .map(|(_, address, _)| address)
        .collect::<HashSet<_>>()
        .len()
}

/// How many version 6 addresses have a route of their own to a pod, in `ipv6_route`.
pub fn pods_v6(text: &str) -> usize {
    /// The node's own addresses, and those that several nodes have.
    const LOCAL_OR_ANYCAST: u32 = 0x8010_0000;
    let address = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let [address, "80", _, _, _, _, _, _, flags, interface] = words[..] else {
            return None;
        };
        let address = range::v6_of_hex(address)?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let others = flags & LOCAL_OR_ANYCAST == 0 && !is_own_by_nature(address);
        (is_pods(interface) && others).then_some(address)
    };
    text.lines()
        .filter_map(address)
        .collect::<HashSet<_>>()
        .len()
}

/// Link-local and multicast: every interface has such.
fn is_own_by_nature(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        cali1\t0501F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
        cali1\t0501F40A\t00000000\t0005\t0\t0\t9\tFFFFFFFF\t0\t0\t0\n\
        veth9\t0601F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
        tunl0\t0701F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";

    #[test]
    fn each_routed_pod_counts_once() {
        assert_eq!(pods_v4(ROUTE), 2);
    }

    #[test]
    fn local_and_link_local_addresses_are_no_pods() {
        let none = "00000000000000000000000000000000 00 00000000000000000000000000000000";
        let line = |address: &str, flags: &str, interface: &str| {
            format!("{address} 80 {none} 00000400 00000001 00000000 {flags} {interface}\n")
        };
        let text = line("fd000000000000000000000000000005", "00000001", "  lxc1")
            + &line("fe800000000000000000000000000005", "00000001", "  lxc1")
            + &line("fd000000000000000000000000000006", "80200001", "  lxc1")
            + &line("fd000000000000000000000000000007", "00000001", "  eth0");
        assert_eq!(pods_v6(&text), 1);
    }

    proptest! {
        /// No bytes stop a parser.
        #[test]
        fn any_text_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = (pods_v4(&text), pods_v6(&text));
        }

        /// As many pods are counted as there are different routes to single addresses.
        #[test]
        fn as_many_as_there_are(addresses in proptest::collection::hash_set(any::<u32>(), 0..30)) {
            let mut text = String::from("heading\n");
            for address in &addresses {
                text += &format!("lxc{address}\t{address:08X}\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n");
            }
            prop_assert_eq!(pods_v4(&text), addresses.len());
        }
    }
}
