//! `1/net/sockstat` and `1/net/sockstat6`: sockets by protocol, and the memory that they hold.

use super::Collect;
use super::fields::{Families, Faults, number, spec};
use super::host::{Host, HostError};
use super::init;
use super::snapshot::{Kind, Snapshot, Spec, Unit};

/// See the module.
#[derive(Default)]
pub struct Sockets {
    text: String,
    families: Families,
    field: String,
}

impl Collect for Sockets {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn collect(&mut self, host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let mut result = Ok(());
        for file in ["net/sockstat", "net/sockstat6"] {
            let mut text = std::mem::take(&mut self.text);
            let read = init::read(host, file, &mut text);
            let one = read.and_then(|concern| {
                let mut faults = Faults::of("a protocol's pairs of name and value");
                for line in text.lines() {
                    self.line(line, out, &mut faults);
                }
                init::told(concern).and(faults.told(&host.proc.join("1").join(file)))
            });
            self.text = text;
            result = match one {
                // A node without IPv6.
                Err(HostError::Missing { .. }) if file == "net/sockstat6" => result,
                one => result.and(one),
            };
        }
        result
    }
}

impl Sockets {
    /// `TCP: inuse 4 orphan 0 tw 0 alloc 5 mem 2`.
    fn line(&mut self, line: &str, out: &mut Snapshot, faults: &mut Faults) {
        let Some((protocol, pairs)) = faults.keep(line.split_once(':')) else {
            return;
        };
        let mut words = pairs.split_ascii_whitespace();
        while let Some(name) = words.next() {
            let Some(value) = faults.keep(words.next().and_then(number)) else {
                return;
            };
            let known = ["used", "inuse", "orphan", "tw", "alloc", "mem", "memory"];
            if !known.contains(&name) {
                continue;
            }
            self.add(protocol, name, value, out);
            if name == "mem" {
                let page = rustix::param::page_size() as f64;
                self.add(protocol, "mem_bytes", value * page, out);
            }
        }
    }

    fn add(&mut self, protocol: &str, name: &str, value: f64, out: &mut Snapshot) {
        self.field.clear();
        self.field.push_str(protocol);
        self.field.push('_');
        self.field.push_str(name);
        let make = |field: &str| Some(family(field, protocol, name));
        if let Some(family) = self.families.get(&self.field, make) {
            out.add(family, &[], value);
        }
    }
}

fn family(field: &str, protocol: &str, name: &str) -> Spec {
    let unit = match name {
        "mem_bytes" | "memory" => Unit::Bytes,
        _ => Unit::Count,
    };
    let help = match name {
        "mem" => format!("Pages of memory that {protocol} sockets hold."),
        "mem_bytes" | "memory" => format!("Bytes of memory that {protocol} holds."),
        _ => format!("Sockets of {protocol}: {name}."),
    };
    spec(format!("node_sockstat_{field}"), help, Kind::Gauge, unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::fixture::{Tree, check_valid, garbage, value};

    const SOCKSTAT: &str =
        "sockets: used 1602\nTCP: inuse 35 orphan 0 tw 4 alloc 59 mem 22\nFRAG: inuse 1 memory 9\n";

    #[test]
    fn pairs_and_bytes_of_pages() {
        let tree = Tree::new(&[
            ("proc/1/net/sockstat", SOCKSTAT),
            (
                "proc/1/net/sockstat6",
                "TCP6: inuse 17\nbad\nRAW6: inuse x\nUDP6: inuse 9\n",
            ),
        ]);
        let (snapshot, result) = tree.collect(&mut Sockets::default());
        assert!(matches!(result, Err(HostError::Malformed { .. })));
        let page = rustix::param::page_size() as f64;
        for (field, expected) in [
            ("sockets_used", 1_602.0),
            ("TCP_tw", 4.0),
            ("TCP_mem_bytes", 22.0 * page),
            ("FRAG_memory", 9.0),
            ("TCP6_inuse", 17.0),
            ("UDP6_inuse", 9.0),
        ] {
            assert_eq!(
                value(&snapshot, &format!("node_sockstat_{field}"), &[]),
                expected,
                "{field}"
            );
        }
        assert_eq!(snapshot.series(), 1 + 6 + 2 + 2);
    }

    proptest! {
        /// Invariant: no bytes make it panic or make an invalid sample.
        #[test]
        fn any_bytes(bytes in garbage(SOCKSTAT)) {
            let tree = Tree::new(&[]);
            tree.write("proc/1/net/sockstat", &bytes);
            check_valid(&tree.collect(&mut Sockets::default()).0);
        }
    }
}
