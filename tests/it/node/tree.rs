//! A node as files: a new kernel with everything that longshore reads, and what can be wrong with it.

use std::fmt::Write;
use std::path::Path;

/// Files below a directory, by their paths.
pub struct Tree(pub tempfile::TempDir);

impl Tree {
    pub fn empty() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    /// Everything that any collector looks for.
    pub fn whole() -> Tree {
        let tree = Tree::empty();
        for (path, text) in files() {
            tree.write(&path, text.as_bytes());
        }
        let root = tree.0.path().join("root");
        std::fs::create_dir_all(root.join("data")).unwrap();
        // What is mounted here is known by the device that the kernel says of it.
        let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(root).unwrap());
        let device = format!(
            "{}:{}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        );
        let mounts = MOUNTS.replace("DEVICE", &device);
        tree.write("proc/1/mountinfo", mounts.as_bytes());
        tree
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What is mounted, on devices that are filled in.
const MOUNTS: &str = "\
22 1 DEVICE / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 DEVICE / /data ro - xfs /dev/sdb rw
24 22 8:3 / /gone rw - nfs nfs:/gone rw
25 22 0:5 / /proc rw - proc proc rw
";

/// The numbers of the CPUs of [`Tree::whole`]: 128, of which every fifth is offline.
pub fn cpus() -> Vec<u32> {
    (0..128).filter(|cpu| cpu % 5 != 4).collect()
}

pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |path: &str, text: &str| files.push((path.to_owned(), text.to_owned()));
    let mut stat = "cpu  1 2 3 4 5 6 7 8 9 10\n".to_owned();
    for cpu in cpus() {
        writeln!(stat, "cpu{cpu} {cpu} 2 3 4000 5 6 7 8 9 10").unwrap();
    }
    stat.push_str(
        "intr 5 1 2\nctxt 6\nbtime 1700000000\nprocesses 7\nprocs_running 8\nprocs_blocked 9\n",
    );
    add("proc/stat", &stat);
    add("proc/loadavg", "0.52 1.58 11.59 2/977 12345\n");
    add(
        "proc/meminfo",
        "MemTotal: 9 kB\nMemFree: 8 kB\nMemAvailable: 7 kB\nBuffers: 6 kB\nCached: 5 kB\nSlab: 4 kB\nHugePages_Total: 3\n",
    );
    add(
        "proc/vmstat",
        "pgpgin 1\npswpin 2\npgmajfault 3\noom_kill 4\nnr_free_pages 5\n",
    );
    add(
        "proc/diskstats",
        " 259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n 259 1 nvme0n1p1 1 2 3 4 5 6 7 8 9 10 11\n",
    );
    add("proc/sys/fs/file-nr", "1292\t0\t99999\n");
    add("proc/sys/kernel/pid_max", "4194304\n");
    add("proc/sys/kernel/threads-max", "127000\n");
    add("proc/sys/net/netfilter/nf_conntrack_max", "262144\n");
    let rest = "0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0";
    add("proc/1/stat", &format!("1 (a) b) S {rest} 3 0 2\n"));
    let psi = "avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";
    for resource in ["cpu", "io", "memory", "irq"] {
        add(
            &format!("proc/pressure/{resource}"),
            &format!("some {psi}full {psi}"),
        );
    }
    network(&mut add);
    add("proc/1/mountinfo", MOUNTS);
    files
}

fn network(add: &mut impl FnMut(&str, &str)) {
    add(
        "proc/1/net/dev",
        "heading\nheading\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
    );
    for (attribute, text) in [
        ("operstate", "up\n"),
        ("mtu", "1500\n"),
        ("speed", "10000\n"),
    ] {
        add(&format!("sys/class/net/lo/{attribute}"), text);
        add(&format!("sys/class/net/eth0/{attribute}"), text);
    }
    add(
        "proc/1/net/netstat",
        "TcpExt: SyncookiesSent ListenDrops TCPSynRetrans\nTcpExt: 1 2 3\nIpExt: InOctets\nIpExt: 4\n",
    );
    add(
        "proc/1/net/snmp",
        "Ip: Forwarding\nIp: 1\nTcp: OutSegs RetransSegs\nTcp: 5 6\nUdp: NoPorts\nUdp: 7\n",
    );
    add(
        "proc/1/net/snmp6",
        "Ip6InOctets 8\nIcmp6InMsgs 9\nUdp6NoPorts 10\n",
    );
    add(
        "proc/1/net/sockstat",
        "sockets: used 9\nTCP: inuse 1 orphan 2 tw 3 alloc 4 mem 5\n",
    );
    add("proc/1/net/sockstat6", "TCP6: inuse 6\n");
    add(
        "proc/1/net/arp",
        "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n",
    );
    add("proc/1/net/softnet_stat", "0000000a 00000001 00000002\n");
    add(
        "proc/1/net/stat/nf_conntrack",
        "entries found invalid ignore insert insert_failed drop early_drop search_restart\n\
         00000213 1 2 3 4 5 6 7 8\n",
    );
    add(
        "proc/1/net/fib_trie",
        "Local:\n  |-- 127.0.0.1\n     /32 host LOCAL\n",
    );
    add(
        "proc/1/net/route",
        "heading\neth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\n",
    );
    add("proc/1/net/if_inet6", "fe80 02 40 20 80 eth0\n");
}
