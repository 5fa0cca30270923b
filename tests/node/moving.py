"""A made-up node whose numbers move at known rates: what a server computes of them can be told beforehand.

Files that the agent opens anew are replaced in one step; those of cgroups, which it keeps open, are written in place
with as many bytes as before. So no reading sees half of one.
"""

import os
import threading
import time

from trees import Tree

TICKS_PER_S, SECTOR_BYTES = 100, 512
CPUS = 4
# Of each CPU, in seconds per second; the rest is idle.
CPU_RATES = {"user": 0.30, "system": 0.10, "iowait": 0.05}
READ_BYTES_PER_S, WRITTEN_BYTES_PER_S = 1_024_000, 2_048_000
DISK_BUSY, DISK_QUEUE = 0.25, 2.0
RECEIVED_BYTES_PER_S, SENT_BYTES_PER_S = 500_000, 250_000
PACKETS_PER_S, ERRORS_PER_S = 1000, 10
MEMORY_BYTES, AVAILABLE_BYTES = 16 << 30, 4 << 30
CONNECTIONS, CONNECTIONS_MAX = 196_608, 262_144
CONTAINER_CPU, CONTAINER_THROTTLED = 0.5, 0.2
WORKING_SET_BYTES, MEMORY_LIMIT_BYTES = 200 << 20, 256 << 20
SUBNET, ADDRESSES_MAX = "10.88.0.0/24", 253  # less network, broadcast and gateway
ASSIGNED, LEAKED = 3, 1

UID = "6d2cd5a0-0f2b-4c37-9c69-1a2b3c4d5e6f"
SLICE = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
IDS = {"main": "a" * 64, "beside": "b" * 64, "pause": "c" * 64}
NUMBER = "{:018d}"


class Moving:
    def __init__(self, root):
        self.tree = Tree(root, True).make()
        self.root, self.began = root, time.time()
        self.gone, self.lock, self.ended = set(), threading.Lock(), False
        self.open = {}
        self.pod()
        self.addresses()
        kilobytes = {"MemTotal": MEMORY_BYTES, "MemAvailable": AVAILABLE_BYTES, "MemFree": AVAILABLE_BYTES // 2,
                     "Buffers": 1 << 28, "Cached": 1 << 30, "Slab": 1 << 28}
        self.put("proc/meminfo", "".join(f"{field}: {count >> 10} kB\n" for field, count in kilobytes.items()))
        self.put("proc/1/net/stat/nf_conntrack", f"entries found\n{CONNECTIONS:08x} 00000000\n")
        self.put("proc/sys/net/netfilter/nf_conntrack_max", f"{CONNECTIONS_MAX}\n")
        self.step()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def path(self, path):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put(self, path, text):
        path = self.path(path)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def put_in_place(self, path, text):
        if path not in self.open:
            self.open[path] = os.open(self.path(path), os.O_RDWR | os.O_CREAT)
        os.pwrite(self.open[path], text.encode(), 0)

    def pod(self):
        self.put("sys/fs/cgroup/cgroup.controllers", "cpu memory io pids\n")
        os.makedirs(self.path(f"log/pods/shop_web-0_{UID}/main/x"))
        for name, container in IDS.items():
            if name != "pause":
                self.put(f"log/containers/web-0_shop_{name}-{container}.log", "")
            cgroup = f"{SLICE}/cri-containerd-{container}.scope"
            pid = 5000 + list(IDS).index(name)
            comm = "pause" if name == "pause" else "app"
            self.put(f"proc/{pid}/stat", f"{pid} ({comm}) S {'0 ' * 18}4000 0\n")
            self.put(f"proc/{pid}/cgroup", f"0::/{cgroup}\n")
            self.put(f"proc/{pid}/net/dev", "a\nb\n  eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n")
            for path in (cgroup, SLICE):
                for file, text in {
                    "cgroup.procs": f"{pid}\n", "cpu.max": "50000 100000\n", "cpu.weight": "39\n",
                    "memory.current": f"{WORKING_SET_BYTES + (1 << 20)}\n",
                    "memory.stat": f"anon {WORKING_SET_BYTES}\nfile {1 << 21}\ninactive_file {1 << 20}\n",
                    "memory.max": f"{MEMORY_LIMIT_BYTES}\n", "memory.events": "oom 0\noom_kill 0\n",
                    "io.stat": "259:0 rbytes=10 wbytes=20 rios=1 wios=2\n", "pids.current": "5\n",
                }.items():
                    self.put(f"sys/fs/cgroup/{path}/{file}", text)

    def addresses(self):
        self.put("root/etc/cni/net.d/10-real.conflist", """{"cniVersion": "0.4.0", "name": "real", "plugins": [
            {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]]}}]}""" % SUBNET)
        owners = list(IDS.values()) + ["f" * 64] * LEAKED
        for last, owner in enumerate(owners, 2):
            self.put(f"root/var/lib/cni/networks/real/10.88.0.{last}", f"{owner}\r\neth0")
        self.put("root/var/lib/cni/networks/real/last_reserved_ip.0", "10.88.0.5")

    def lines_of_counters(self, seconds):
        ticks = {mode: int(rate * seconds * TICKS_PER_S) for mode, rate in CPU_RATES.items()}
        idle = int((1 - sum(CPU_RATES.values())) * seconds * TICKS_PER_S)
        columns = f"{ticks['user']} 0 {ticks['system']} {idle} {ticks['iowait']} 0 0 0 0 0"
        stat = "".join(f"cpu{cpu} {columns}\n" for cpu in range(CPUS))
        stat += f"ctxt {int(1000 * seconds)}\nbtime 1700000000\nprocesses {int(10 * seconds)}\nprocs_running 1\n"
        disk = (f"{int(seconds * 100)} 0 {int(seconds * READ_BYTES_PER_S) // SECTOR_BYTES} 0 {int(seconds * 200)} 0 "
                f"{int(seconds * WRITTEN_BYTES_PER_S) // SECTOR_BYTES} 0 0 {int(seconds * 1000 * DISK_BUSY)} "
                f"{int(seconds * 1000 * DISK_QUEUE)} 0 0 0 0 0 0")
        disks = "".join(f" 259 {at} {name} {disk}\n" for at, name in enumerate(("nvme0n1", "md0"))
                        if name not in self.gone)
        packets, errors = int(seconds * PACKETS_PER_S), int(seconds * ERRORS_PER_S)
        received, sent = int(seconds * RECEIVED_BYTES_PER_S), int(seconds * SENT_BYTES_PER_S)
        row = f"{received} {packets} {errors} 0 0 0 0 0 {sent} {packets} {errors} 0 0 0 0 0"
        devices = "heading\nheading\n" + "".join(f"{name:>6}: {row}\n" for name in ("lo", "eth0", "veth1a2b")
                                                 if name not in self.gone)
        return {"proc/stat": stat, "proc/diskstats": disks, "proc/1/net/dev": devices}

    def step(self):
        # Time goes on where it stood as if the node had been up for a while.
        seconds = 1000 + time.time() - self.began
        for path, text in self.lines_of_counters(seconds).items():
            self.put(path, text)
        with open(os.path.join(self.root, "proc/1/mountinfo")) as file:
            kept = [line for line in file if line.split()[4] not in self.gone]
        self.put("proc/1/mountinfo", "".join(kept))
        usage, periods = int(seconds * 1e6 * CONTAINER_CPU), int(seconds * 10)
        stat = {"usage_usec": usage, "user_usec": usage, "system_usec": 0, "nr_periods": periods,
                "nr_throttled": int(periods * CONTAINER_THROTTLED), "throttled_usec": int(seconds * 1e5)}
        text = "".join(f"{key} {NUMBER.format(value)}\n" for key, value in stat.items())
        for container in IDS.values():
            self.put_in_place(f"sys/fs/cgroup/{SLICE}/cri-containerd-{container}.scope/cpu.stat", text)
        self.put_in_place(f"sys/fs/cgroup/{SLICE}/cpu.stat", text)

    def run(self):
        while not self.ended:
            with self.lock:
                self.step()
            time.sleep(0.05)

    def remove(self, *names):
        """Devices and mount points that are there no longer when this returns."""
        with self.lock:
            self.gone.update(names)
            self.step()
