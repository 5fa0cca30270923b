"""Trees of files that stand in for nodes: kernels old and new. Values are made up, each different from the next."""

import itertools
import os

MOUNTS = [
    # device, mount point, type, mount options, options of the file system
    ("/dev/nvme0n1p1", "/", "ext4", "rw,relatime", "rw,errors=remount-ro"),
    ("/dev/nvme0n1p2", "/data/a b", "xfs", "ro,noatime", "rw"),
    ("tmpfs", "/scratch", "tmpfs", "rw,nosuid", "rw,size=1k"),
    ("/dev/nvme0n1p1", "/", "ext4", "rw,relatime", "rw,errors=remount-ro"),
    ("proc", "/proc", "proc", "rw", "rw"),
    ("tmpfs", "/var/lib/kubelet/pods/u/volumes/v", "tmpfs", "rw", "rw"),
    ("overlay", "/run/containerd/io/rootfs", "overlay", "rw", "rw"),
    ("nfs:/gone", "/gone", "nfs", "rw", "rw"),
]

MEMINFO = """MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon)
Active(file) Inactive(file) Unevictable Mlocked SwapTotal SwapFree Dirty Writeback AnonPages Mapped Shmem KReclaimable Slab
SReclaimable SUnreclaim KernelStack PageTables NFS_Unstable Bounce WritebackTmp CommitLimit Committed_AS VmallocTotal
VmallocUsed VmallocChunk Percpu HardwareCorrupted AnonHugePages Hugepagesize DirectMap4k DirectMap2M DirectMap1G""".split()

VMSTAT = """nr_free_pages pgpgin pgpgout pswpin pswpout pgalloc_dma pgfree pgfault pgmajfault pgsteal_kswapd oom_kill
pgmigrate_success""".split()

TCP_EXT = """SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled ListenOverflows ListenDrops TCPTimeouts
TCPSynRetrans TCPOFOQueue TCPRcvQDrop TCPOrigDataSent""".split()
SNMP = {
    "Ip": "Forwarding DefaultTTL InReceives InHdrErrors OutRequests",
    "Icmp": "InMsgs InErrors InCsumErrors OutMsgs OutErrors",
    "IcmpMsg": "InType3 OutType3",
    "Tcp": "RtoAlgorithm MaxConn ActiveOpens PassiveOpens AttemptFails CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts",
    "Udp": "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors",
    "UdpLite": "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors",
}
SNMP6 = """Ip6InReceives Ip6InOctets Ip6OutOctets Icmp6InMsgs Icmp6InErrors Icmp6OutMsgs Icmp6OutType135 Udp6InDatagrams
Udp6NoPorts Udp6InErrors Udp6OutDatagrams Udp6RcvbufErrors Udp6SndbufErrors UdpLite6InErrors""".split()


class Tree:
    def __init__(self, root, new):
        self.root, self.new = root, new
        self.values = itertools.count(1001, 7)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def next(self, count=1):
        return " ".join(str(next(self.values)) for _ in range(count))

    def make(self):
        self.kernel()
        self.memory()
        self.disks()
        self.network()
        self.processes()
        self.mounts()
        return self

    def kernel(self):
        # A large machine with every fifth CPU offline; or a small one whose kernel knows no guests.
        cpus = [cpu for cpu in range(128) if cpu % 5 != 4] if self.new else [0, 1]
        columns = 10 if self.new else 8
        lines = ["cpu  " + self.next(columns)]
        lines += [f"cpu{cpu} {self.next(columns)}" for cpu in cpus]
        lines += [f"intr {self.next(300)}", f"ctxt {self.next()}", "btime 1700000000", f"processes {self.next()}",
                  "procs_running 3", "procs_blocked 2"]
        if self.new:
            lines.append(f"softirq {self.next(11)}")
        self.write("proc/stat", "\n".join(lines) + "\n")
        self.write("proc/loadavg", "0.52 1.58 11.59 2/977 12345\n")
        self.write("proc/sys/fs/file-nr", "1292\t0\t9223372036854775807\n")
        psi = "avg10=0.00 avg60=0.12 avg300=1.00 total="
        for resource, lines in (("cpu", "some full"), ("io", "some full"), ("memory", "some full"), ("irq", "full")):
            if self.new:
                text = "".join(f"{line} {psi}{self.next()}\n" for line in lines.split())
                self.write(f"proc/pressure/{resource}", text)

    def memory(self):
        fields = [field for field in MEMINFO if self.new or field not in ("MemAvailable", "KReclaimable", "Percpu")]
        lines = [f"{field}: {self.next():>12} kB" for field in fields]
        lines += [f"HugePages_{what}: {self.next():>6}" for what in ("Total", "Free", "Rsvd", "Surp")]
        self.write("proc/meminfo", "\n".join(lines) + "\n")
        fields = [field for field in VMSTAT if self.new or field != "oom_kill"]
        self.write("proc/vmstat", "".join(f"{field} {self.next()}\n" for field in fields))

    def disks(self):
        names = ["nvme0n1", "nvme0n1p1", "nvme0n1p2", "dm-0", "md0"] if self.new else ["sda", "sda1", "sr0"]
        names += ["loop0", "ram0"]
        columns = 17 if self.new else 11
        self.write("proc/diskstats", "".join(f" 259 {at} {name} {self.next(columns)}\n" for at, name in enumerate(names)))

    def network(self):
        net = "proc/1/net"
        devices = ["lo", "eth0", "cni0", "veth1a2b"] if self.new else ["lo", "eth0"]
        heading = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
        self.write(f"{net}/dev", heading + "".join(f"{device:>6}: {self.next(16)}\n" for device in devices))
        pairs = [("TcpExt", TCP_EXT), ("IpExt", ["InNoRoutes", "InOctets", "OutOctets"])]
        self.write(f"{net}/netstat", self.pairs(pairs))
        self.write(f"{net}/snmp", self.pairs([(name, fields.split()) for name, fields in SNMP.items()]))
        self.write(f"{net}/sockstat", "sockets: used 1602\nTCP: inuse 35 orphan 1 tw 4 alloc 59 mem 22\n"
                   "UDP: inuse 12 mem 62\nUDPLITE: inuse 0\nRAW: inuse 2\nFRAG: inuse 3 memory 4096\n")
        self.write(f"{net}/arp", "IP address  HW type  Flags  HW address  Mask  Device\n"
                   "10.0.0.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n10.0.0.2 0x1 0x2 02:fc:00:00:00:06 * eth0\n"
                   "10.1.0.2 0x1 0x2 02:fc:00:00:00:07 * cni0\n")
        words = 15 if self.new else 11
        lines = []
        for cpu in range(3):
            row = [f"{next(self.values):08x}" for _ in range(3)] + ["00000000"] * (words - 3)
            if self.new:
                row[12] = f"{cpu:08x}"
            lines.append(" ".join(row))
        self.write(f"{net}/softnet_stat", "\n".join(lines) + "\n")
        if self.new:
            self.write(f"{net}/snmp6", "".join(f"{field:<32}\t{self.next()}\n" for field in SNMP6))
            self.write(f"{net}/sockstat6", "TCP6: inuse 17\nUDP6: inuse 9\nUDPLITE6: inuse 0\nRAW6: inuse 1\n"
                       "FRAG6: inuse 2 memory 8192\n")
            self.write(f"{net}/if_inet6", "fe800000000000000000000000000001 02 40 20 80 eth0\n")
            self.conntrack(net)
        os.symlink("1/net", os.path.join(self.root, "proc/net"))
        for at, device in enumerate(devices):
            state = "unknown" if device == "lo" else "up" if at % 2 else "down"
            self.write(f"sys/class/net/{device}/operstate", state + "\n")
            self.write(f"sys/class/net/{device}/mtu", f"{1400 + at}\n")
            self.write(f"sys/class/net/{device}/speed", f"{'-1' if device == 'lo' else 10000 * at}\n")

    def conntrack(self, net):
        names = "entries clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop " \
                "icmp_error expect_new expect_create expect_delete search_restart"
        rows = "".join("00000213 " + " ".join(f"{next(self.values):08x}" for _ in range(16)) + "\n" for _ in range(2))
        self.write(f"{net}/stat/nf_conntrack", names + "\n" + rows)
        self.write("proc/sys/net/netfilter/nf_conntrack_count", "531\n")
        self.write("proc/sys/net/netfilter/nf_conntrack_max", "262144\n")

    def pairs(self, protocols):
        return "".join(f"{name}: {' '.join(fields)}\n{name}: {self.next(len(fields))}\n" for name, fields in protocols)

    def processes(self):
        self.write("proc/sys/kernel/pid_max", "4194304\n")
        self.write("proc/sys/kernel/threads-max", "127000\n")
        for pid, state, threads in ((1, "S", 1), (22, "R", 17), (333, "S", 4)):
            rest = "0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0"
            stat = f"{pid} (a) b) {state} {rest} {threads} 0 2 100 200 300 " + " ".join(["0"] * 30) + "\n"
            self.write(f"proc/{pid}/stat", stat)
            for task in range(pid, pid + threads):
                self.write(f"proc/{pid}/task/{task}/stat", stat)

    def mounts(self):
        def escaped(text):
            return text.replace(" ", "\\040")
        info, table = "", ""
        device_number = os.stat(self.root).st_dev
        # A mount of another number than the directory's would be one that is not to be seen below the root.
        number = f"{os.major(device_number)}:{os.minor(device_number)}"
        for at, (device, point, kind, own, system) in enumerate(MOUNTS):
            info += f"{20 + at} 1 {number} / {escaped(point)} {own} shared:{at} - {kind} {device} {system}\n"
            flag = "ro" if "ro" in (own.split(",") + system.split(",")) else "rw"
            table += f"{device} {escaped(point)} {kind} {flag},{own.split(',', 1)[-1]} 0 0\n"
            if point != "/gone":
                os.makedirs(self.root + "/root" + point, exist_ok=True)
        self.write("proc/1/mountinfo", info)
        self.write("proc/1/mounts", table)
