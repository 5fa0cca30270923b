//! Ranges of addresses and how many of them a node can hand out. Pure.

use std::net::{IpAddr, Ipv6Addr};

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The value of the label `family`.
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }

    /// Of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// A network: `10.0.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Of which addresses.
    pub family: Family,
    first: u128,
    prefix: u32,
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl Cidr {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = text.trim().split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let family = Family::of(address);
        let prefix: u32 = prefix.parse().ok()?;
        let host_bits = family.bits().checked_sub(prefix)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Cidr {
            family,
            first: number(address) & mask,
            prefix,
        })
    }

    fn host_bits(self) -> u32 {
        self.family.bits() - self.prefix
    }

    /// Its last address.
    fn last(self) -> u128 {
        let hosts = 1_u128.checked_shl(self.host_bits());
        self.first
            .saturating_add(hosts.unwrap_or(0).wrapping_sub(1))
    }
}

/// From where to where addresses are handed out, as the `host-local` plugin understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The network.
    pub subnet: Cidr,
    /// The first address, if it is not the first one after the network's own.
    pub start: Option<IpAddr>,
    /// The last address, if it is not the last one before the broadcast address.
    pub end: Option<IpAddr>,
    /// The gateway, which is not handed out, if it is not the first one after the network's own.
    pub gateway: Option<IpAddr>,
}

impl Range {
    /// A whole network.
    pub fn whole(subnet: Cidr) -> Range {
        Range {
            subnet,
            start: None,
            end: None,
            gateway: None,
        }
    }

    /// How many addresses can be handed out: neither the network's own, nor the broadcast address of version 4, nor
    /// the gateway.
    pub fn size(&self) -> u128 {
        let Cidr { family, first, .. } = self.subnet;
        // The plugin refuses networks without room for a gateway and an address.
        if self.subnet.host_bits() < 2 {
            return 0;
        }
        let inside = |address: Option<IpAddr>| {
            let address = address.filter(|address| Family::of(*address) == family)?;
            let number = number(address);
            (first..=self.subnet.last())
                .contains(&number)
                .then_some(number)
        };
        let broadcast = u128::from(family == Family::V4);
        let start = inside(self.start).unwrap_or(first + 1);
        let end = inside(self.end).unwrap_or(self.subnet.last() - broadcast);
        let Some(size) = end.checked_sub(start) else {
            return 0;
        };
        let gateway = inside(self.gateway).unwrap_or(first + 1);
        let taken = u128::from((start..=end).contains(&gateway));
        size.saturating_add(1) - taken
    }
}

/// A number of addresses that can be shown: that of version 6 networks means nothing unless it is bounded by how many
/// pods the node takes.
pub fn shown(family: Family, size: u128, pods_max: Option<u64>) -> Option<f64> {
    const MEANINGFUL: u128 = 65_536;
    let most = pods_max.map(u128::from);
    match (family, most) {
        (Family::V6, None) if size > MEANINGFUL => None,
        (Family::V6, Some(most)) => Some(size.min(most) as f64),
        _ => Some(size as f64),
    }
}

/// The address in 32 hex digits, as `/proc/net/if_inet6` writes it.
pub fn v6_of_hex(text: &str) -> Option<Ipv6Addr> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(subnet: &str) -> u128 {
        Range::whole(Cidr::parse(subnet).unwrap()).size()
    }

    #[test]
    fn a_network_without_its_three_special_addresses() {
        assert_eq!(size("10.244.1.0/24"), 253);
        assert_eq!(size("10.244.1.77/24"), 253);
        assert_eq!(size("10.0.0.0/30"), 1);
        assert_eq!(size("10.0.0.0/31"), 0);
        assert_eq!(size("0.0.0.0/0"), (1 << 32) - 3);
        assert_eq!(size("fd00::/120"), 254);
        assert!(size("::/0") > 1 << 126);
    }

    #[test]
    fn a_part_of_a_network() {
        let address = |text: &str| Some(text.parse().unwrap());
        let range = Range {
            start: address("10.0.0.10"),
            end: address("10.0.0.19"),
            gateway: address("10.0.0.12"),
            ..Range::whole(Cidr::parse("10.0.0.0/24").unwrap())
        };
        assert_eq!(range.size(), 9);
        let backwards = Range {
            end: address("10.0.0.9"),
            ..range
        };
        assert_eq!(backwards.size(), 0);
    }

    #[test]
    fn version_6_counts_only_up_to_the_pods() {
        assert_eq!(shown(Family::V6, 1 << 64, None), None);
        assert_eq!(shown(Family::V6, 1 << 64, Some(110)), Some(110.0));
        assert_eq!(shown(Family::V4, 253, Some(110)), Some(253.0));
    }

    proptest! {
        /// No text stops it; what is read lies in order.
        #[test]
        fn any_text_is_taken(text in "[0-9a-f:./]{0,24}|.{0,12}") {
            let _ = v6_of_hex(&text);
            if let Some(cidr) = Cidr::parse(&text) {
                prop_assert!(cidr.first <= cidr.last());
                let _ = Range::whole(cidr).size();
            }
        }

        /// A version 4 network of any size has three fewer addresses to hand out than it has.
        #[test]
        fn sizes_follow_the_prefix(address in any::<u32>(), prefix in 0_u32..=30) {
            let text = format!("{}/{prefix}", std::net::Ipv4Addr::from(address));
            prop_assert_eq!(size(&text), (1 << (32 - prefix)) - 3);
        }
    }
}
