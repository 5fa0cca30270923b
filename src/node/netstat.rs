//! `1/net/netstat`, `1/net/snmp` and `1/net/snmp6`: counts of the network protocols.
//!
//! Of several hundred, those are kept that node_exporter keeps by default.

use std::path::Path;

use super::Collect;
use super::fields::{Families, Faults, number, spec};
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Kind, Snapshot, Spec, Unit};

/// See the module.
#[derive(Default)]
pub struct Protocols {
    text: String,
    families: Families,
    field: String,
}

impl Collect for Protocols {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut result = Ok(());
        for (file, parse) in [
            ("net/netstat", Protocols::pairs as Parse),
            ("net/snmp", Protocols::pairs),
            ("net/snmp6", Protocols::lines),
        ] {
            let mut text = std::mem::take(&mut self.text);
            let read = init::read(host, file, &mut text);
            let one = read.and_then(|concern| {
                let path = host.proc.join("1").join(file);
                init::told(concern).and(parse(self, &text, &path, out))
            });
            self.text = text;
            result = match one {
                // A node without IPv6.
                Err(HostError::Missing { .. }) if file == "net/snmp6" => result,
                one => result.and(one),
            };
        }
        result
    }
}

type Parse = fn(&mut Protocols, &str, &Path, &mut Snapshot) -> Result<(), HostError>;

impl Protocols {
    /// `Proto: name name` and, on the next line, `Proto: value value`.
    fn pairs(&mut self, text: &str, path: &Path, out: &mut Snapshot) -> Result<(), HostError> {
        let mut faults = Faults::of("a line of names and a line of values");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let names = line.split_once(':');
            let values = lines.peek().and_then(|below| below.split_once(':'));
            let of_one = names
                .zip(values)
                .filter(|(names, values)| names.0 == values.0);
            let Some(((protocol, names), (_, values))) = faults.keep(of_one) else {
                continue;
            };
            lines.next();
            let mut values = values.split_ascii_whitespace();
            for name in names.split_ascii_whitespace() {
                self.add(protocol, name, values.next(), out, &mut faults);
            }
        }
        faults.told(path)
    }

    /// `Udp6NoPorts  value`.
    fn lines(&mut self, text: &str, path: &Path, out: &mut Snapshot) -> Result<(), HostError> {
        let mut faults = Faults::of("a name and a value");
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(field) = faults.keep(words.next()) else {
                continue;
            };
            let Some((protocol, name)) = field.split_once('6') else {
                continue;
            };
            let protocol = match protocol {
                "Ip" => "Ip6",
                "Icmp" => "Icmp6",
                "Udp" => "Udp6",
                "UdpLite" => "UdpLite6",
                _ => continue,
            };
            self.add(protocol, name, words.next(), out, &mut faults);
        }
        faults.told(path)
    }

    fn add(
        &mut self,
        protocol: &str,
        name: &str,
        value: Option<&str>,
        out: &mut Snapshot,
        faults: &mut Faults,
    ) {
        self.field.clear();
        self.field.push_str(protocol);
        self.field.push('_');
        self.field.push_str(name);
        if let Some(family) = self
            .families
            .get(&self.field, |field| family(field, protocol, name))
            && let Some(value) = faults.keep(value.and_then(number))
        {
            out.add(family, &[], value);
        }
    }
}

fn family(field: &str, protocol: &str, name: &str) -> Option<Spec> {
    let unit = match name {
        "InOctets" | "OutOctets" => Unit::Bytes,
        _ => Unit::Count,
    };
    let help = format!("The kernel's count {name} of {protocol}.");
    let name = format!("node_netstat_{field}");
    is_wanted(field).then(|| spec(name, help, Kind::Untyped, unit))
}

/// Which fields are kept, by protocol and name.
fn is_wanted(field: &str) -> bool {
    let Some((protocol, name)) = field.split_once('_') else {
        return false;
    };
    let datagrams = [
        "InDatagrams",
        "OutDatagrams",
        "NoPorts",
        "RcvbufErrors",
        "SndbufErrors",
    ];
    let segments = [
        "ActiveOpens",
        "InSegs",
        "OutSegs",
        "OutRsts",
        "PassiveOpens",
        "RetransSegs",
        "CurrEstab",
    ];
    let of_protocol = match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(
                    name,
                    "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop"
                )
        }
        "Tcp" => segments.contains(&name),
        "Udp" | "Udp6" => datagrams.contains(&name),
        _ => false,
    };
    of_protocol || matches!(name, "InErrors" | "InErrs")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const NETSTAT: &str = "\
TcpExt: SyncookiesSent PruneCalled ListenOverflows TCPSynRetrans
TcpExt: 1 2 3 4
IpExt: InNoRoutes InOctets OutOctets
IpExt: 5 6 7
";
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm MaxConn ActiveOpens RetransSegs InErrs
Tcp: 1 -1 8 9 10
";
    const SNMP6: &str = "Ip6InOctets                \t11\nUdp6NoPorts \t12\nUdpLite6InErrors 13\nIcmp6OutType135 14\n";

    fn tree() -> Tree {
        Tree::new(&[
            ("proc/1/net/netstat", NETSTAT),
            ("proc/1/net/snmp", SNMP),
            ("proc/1/net/snmp6", SNMP6),
        ])
    }

    fn values(snapshot: &Snapshot, fields: &[&str]) -> Vec<f64> {
        let name = |field: &&str| value(snapshot, &format!("node_netstat_{field}"), &[]);
        fields.iter().map(name).collect()
    }

    #[test]
    fn the_wanted_fields_of_three_files() {
        let (snapshot, result) = tree().collect(&mut Protocols::default());
        result.unwrap();
        let fields = [
            "TcpExt_SyncookiesSent",
            "TcpExt_ListenOverflows",
            "TcpExt_TCPSynRetrans",
            "IpExt_InOctets",
            "IpExt_OutOctets",
            "Ip_Forwarding",
            "Tcp_ActiveOpens",
            "Tcp_RetransSegs",
            "Tcp_InErrs",
            "Ip6_InOctets",
            "Udp6_NoPorts",
            "UdpLite6_InErrors",
        ];
        let wanted = [1, 3, 4, 6, 7, 1, 8, 9, 10, 11, 12, 13].map(f64::from);
        assert_eq!(values(&snapshot, &fields), wanted);
        assert_eq!(snapshot.series(), fields.len());
    }

    #[test]
    fn a_node_without_ipv6_lacks_nothing_and_a_bad_line_costs_itself_alone() {
        let tree = Tree::new(&[
            (
                "proc/1/net/netstat",
                "junk\nTcpExt: TCPTimeouts\nIpExt: InOctets\nIpExt: 5\n",
            ),
            ("proc/1/net/snmp", SNMP),
        ]);
        let (snapshot, result) = tree.collect(&mut Protocols::default());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        assert_eq!(
            values(&snapshot, &["IpExt_InOctets", "Tcp_ActiveOpens"]),
            [5.0, 8.0]
        );
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(netstat in garbage(NETSTAT), snmp6 in garbage(SNMP6)) {
            let tree = tree();
            tree.write("proc/1/net/netstat", &netstat);
            tree.write("proc/1/net/snmp6", &snmp6);
            let (snapshot, _) = tree.collect(&mut Protocols::default());
            check_valid(&snapshot);
            prop_assert_eq!(values(&snapshot, &["Tcp_RetransSegs"]), [9.0]);
        }
    }
}
