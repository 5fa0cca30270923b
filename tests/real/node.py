"""What the node's own files say, and whether an agent in a pod says the same of it.

Each family of the minimal profile is held against what this program reads at the same time on the node itself: counters
lie between a reading before and one after, gauges within what was read meanwhile, and labels are the same.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODE = "real-node"
USER, GROUP = 65532, 0
PATIENCE_S = 20
SECTOR_BYTES, TICKS_PER_S = 512, 100
MODES = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
# What may lie between two of this program's readings and be gone again in both: in parts of the value, or in bytes.
GAUGE_TOLERANCE, GAUGE_TOLERANCE_BYTES = 0.02, 16 << 20
# The kernel lets I/O wait fall by itself; the agent keeps the greatest (proc(5)).
IOWAIT_TOLERANCE_S = 1.0
# Times are kept in hundredths, and thousandths, of seconds.
ROUNDING_S = 0.011


def fail(why):
    print(f"FAILED: {why}", file=sys.stderr)
    sys.exit(1)


def say(text):
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


START = time.monotonic()


def wait_for(what, look):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    fail(f"waited {PATIENCE_S} s for {what}")


def text_of(path):
    with open(path) as file:
        return file.read()


def check_confined(process, read_only):
    """That the kernel says so, not only what was asked for."""
    status = dict(line.split(":\t", 1) for line in text_of(f"/proc/{process}/status").splitlines() if ":\t" in line)
    expected = {"Uid": "\t".join([str(USER)] * 4), "Gid": "\t".join([str(GROUP)] * 4), "NoNewPrivs": "1", "Seccomp": "2"}
    expected |= {f"Cap{which}": "0" * 16 for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    for key, value in expected.items():
        if status.get(key, "").strip() != value:
            fail(f"the agent's {key} is {status.get(key)!r}, not {value!r}")
    if len(status["NSpid"].split()) != 2:
        fail(f"the agent is in the node's PID namespace: {status['NSpid']}")
    for namespace in ("net", "pid", "mnt", "ipc", "uts"):
        if os.readlink(f"/proc/{process}/ns/{namespace}") == os.readlink(f"/proc/self/ns/{namespace}"):
            fail(f"the agent is in the node's {namespace} namespace")
    options = {}
    for line in text_of(f"/proc/{process}/mountinfo").splitlines():
        words = line.split()
        options[words[4]] = words[5].split(",")
    for mount in ("/", *read_only):
        if "ro" not in options[mount]:
            fail(f"{mount} is not read-only: {options[mount]}")


# --- The node, as this program sees it ------------------------------------------------------------------------------

def excluded():
    """The expressions for what is left out: by default, as the documentation gives them, and by the manifest's config."""
    text = text_of(f"{TOP}/CONFIG.md").replace("\\|", "|")
    rows = re.findall(r"^\| `(\w+_exclude)` \| a regular expression \| `(.*?)` \| ", text, re.M)
    found = dict(rows)
    for key, value in re.findall(r"^  (\w+_exclude): (.*)$", text_of(f"{TOP}/deploy/base/longshore.yaml"), re.M):
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
        found[key] = default[1] if default else value.strip('"')
    return {key: re.compile(pattern) for key, pattern in found.items()}


EXCLUDED = excluded()

# Runs as the agent's user, for what that user may not look into is no error of the agent's.
STATVFS = """
import json, os, sys
for point in json.load(sys.stdin):
    try:
        full = os.statvfs(point)
        print(json.dumps([full.f_frsize * full.f_blocks, full.f_frsize * full.f_bavail]))
    except OSError as error:
        print(json.dumps(error.errno))
"""


def file_systems():
    """{(device, mount point, type): (size, available) or an error's number}."""
    mounts = {}
    for line in text_of("/proc/1/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        unescaped = [re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), word)
                     for word in (right.split()[1], left.split()[4])]
        device, point, kind = unescaped[0], unescaped[1], right.split()[0]
        if not EXCLUDED["filesystem_mounts_exclude"].search(point) and \
                not EXCLUDED["filesystem_types_exclude"].search(kind):
            mounts[device, point, kind] = point
    done = subprocess.run([sys.executable, "-c", STATVFS], input=json.dumps(list(mounts.values())), text=True,
                          capture_output=True, user=USER, group=GROUP, extra_groups=[], check=True)
    return dict(zip(mounts, map(json.loads, done.stdout.splitlines())))


def pairs(path):
    """{protocol: {field: number}} of files with a line of names above a line of numbers."""
    lines = text_of(path).splitlines()
    return {names.split()[0]: dict(zip(names.split()[1:], map(float, numbers.split()[1:])))
            for names, numbers in zip(lines[::2], lines[1::2])}


def interfaces(path):
    found = {}
    for line in text_of(path).splitlines()[2:]:
        device, _, numbers = line.rpartition(":")
        found[device.strip()] = list(map(float, numbers.split()))
    return found


def read_node():
    """{family: {labels: value}}, but for file systems."""
    values = {}

    def put(family, value, **labels):
        values.setdefault(family, {})[frozenset(labels.items())] = float(value)

    for line in text_of("/proc/stat").splitlines():
        if re.match(r"cpu\d", line):
            cpu, *ticks = line.split()
            for mode, count in zip(MODES, ticks):
                put("node_cpu_seconds_total", int(count) / TICKS_PER_S, cpu=cpu[3:], mode=mode)
    for line in text_of("/proc/diskstats").splitlines():
        _, _, device, *numbers = line.split()
        if not EXCLUDED["disks_exclude"].search(device):
            put("node_disk_read_bytes_total", int(numbers[2]) * SECTOR_BYTES, device=device)
            put("node_disk_written_bytes_total", int(numbers[6]) * SECTOR_BYTES, device=device)
            put("node_disk_io_time_seconds_total", int(numbers[9]) / 1000, device=device)
            put("node_disk_io_time_weighted_seconds_total", int(numbers[10]) / 1000, device=device)
    for minutes, load in zip((1, 5, 15), text_of("/proc/loadavg").split()):
        put(f"node_load{minutes}", load)
    memory = dict(line.split(":") for line in text_of("/proc/meminfo").splitlines())
    for field in ("Buffers", "Cached", "MemAvailable", "MemFree", "MemTotal", "Slab"):
        put(f"node_memory_{field}_bytes", int(memory[field].split()[0]) * 1024)
    tcp, extended = pairs("/proc/1/net/snmp")["Tcp:"], pairs("/proc/1/net/netstat")["TcpExt:"]
    put("node_netstat_Tcp_OutSegs", tcp["OutSegs"])
    put("node_netstat_Tcp_RetransSegs", tcp["RetransSegs"])
    put("node_netstat_TcpExt_TCPSynRetrans", extended["TCPSynRetrans"])
    for device, numbers in interfaces("/proc/1/net/dev").items():
        if EXCLUDED["interfaces_exclude"].search(device):
            continue
        for family, column in (("receive_bytes", 0), ("receive_drop", 3), ("transmit_bytes", 8), ("transmit_drop", 11)):
            put(f"node_network_{family}_total", numbers[column], device=device)
    put("node_time_seconds", time.time())
    put("node_vmstat_pgmajfault", re.search(r"^pgmajfault (\d+)$", text_of("/proc/vmstat"), re.M)[1])
    return values


class Watcher(threading.Thread):
    """Reads the node until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.readings, self.disks, self.ended = [read_node()], [file_systems()], False
        self.start()

    def run(self):
        while not self.ended:
            time.sleep(0.02)
            self.readings.append(read_node())

    def stop(self):
        self.ended = True
        self.join()
        self.readings.append(read_node())
        self.disks.append(file_systems())


# --- What the agent says --------------------------------------------------------------------------------------------

def page_of(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    page = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            found = re.findall(r'([a-zA-Z_0-9]+)="((?:[^"\\]|\\.)*)"', labels)
            page.setdefault(name, {})[frozenset(found)] = float(value)
    return page


def samples_of(page):
    return page["longshore_node_samples_total"][frozenset()]


def fresh_page(url):
    """A page of a sample that was begun after now, and what this program read from before it until after it."""
    watcher = Watcher()
    # The sample that is under way may have been begun before; the one after it was not.
    wanted = samples_of(page_of(url)) + 2

    def look():
        page = page_of(url)
        return page if samples_of(page) >= wanted else None

    page = wait_for("two samples", look)
    watcher.stop()
    return page, watcher


def families():
    """The minimal profile's, from the agent's own list."""
    source = text_of(f"{TOP}/src/config/metrics.rs")
    listed = source[source.index("pub const MINIMAL"):]
    names = re.findall(r'"(\w+)"', listed[:listed.index("];")])
    if len(names) != 27:
        fail(f"the minimal profile has {len(names)} families")
    return names


def wrong_values(family, series, watcher):
    """What is not the node's among the series of one family."""
    readings = [reading.get(family, {}) for reading in watcher.readings]
    # Interfaces may come and go meanwhile.
    always, ever = set(readings[0]).intersection(*readings), set().union(*readings)
    if not always <= series.keys() <= ever:
        yield f"series {sorted(map(sorted, series))}, the node has {sorted(map(sorted, ever))}"
    for labels, value in series.items():
        seen = [reading[labels] for reading in readings if labels in reading]
        if not seen:
            continue
        low, high = min(seen), max(seen)
        if family.startswith("node_memory_") and family != "node_memory_MemTotal_bytes":
            margin = max(GAUGE_TOLERANCE * high, GAUGE_TOLERANCE_BYTES)
        elif ("mode", "iowait") in labels:
            margin = IOWAIT_TOLERANCE_S
        else:
            margin = ROUNDING_S if "seconds" in family else 0
        if not low - margin <= value <= high + margin:
            yield f"{sorted(labels)} is {value}, the node's {low} to {high}"


def wrong_file_systems(page, watcher):
    """The same of file systems, the two families at once; and how many the agent's user may look at."""
    sizes, available = page["node_filesystem_size_bytes"], page["node_filesystem_avail_bytes"]
    before, after = watcher.disks
    key = lambda mount: frozenset(zip(("device", "mountpoint", "fstype"), mount))
    for labels in (sizes.keys() | available.keys()) - set(map(key, before)) - set(map(key, after)):
        yield f"{sorted(labels)} is not the node's"
    for mount in before.keys() & after.keys():
        old, new, labels = before[mount], after[mount], key(mount)
        if isinstance(old, int) or isinstance(new, int):
            if labels in sizes:
                yield f"{mount} has a size, and nobody of the agent's rights can see it: {os.strerror(old)}"
            continue
        if sizes.get(labels) != old[0]:
            yield f"the size of {mount} is {sizes.get(labels)}, the node's {old[0]}"
        low, high = sorted((old[1], new[1]))
        margin = GAUGE_TOLERANCE * high
        if not low - margin <= available.get(labels, -1) <= high + margin:
            yield f"{mount} has {available.get(labels)} left, the node's {low} to {high}"


def verdicts(page, watcher):
    """{family: what is wrong}."""
    version = re.search(r'^version = "(.*)"$', text_of(f"{TOP}/Cargo.toml"), re.M)[1]
    kernel = os.uname()
    uname = {"sysname": kernel.sysname, "release": kernel.release, "version": kernel.version, "machine": kernel.machine}
    found = {}
    for family in families():
        series = page.get(family, {})
        if not series:
            found[family] = ["no series"]
        elif family == "node_exporter_build_info":
            found[family] = [] if frozenset({("version", version)}) in series else [str(series)]
        elif family == "node_uname_info":
            [labels] = series
            labels = {name: value for name, value in labels if name != "domainname"}
            found[family] = [] if labels == {**uname, "nodename": NODE} else [str(labels)]
        elif family.startswith("node_filesystem_"):
            found[family] = list(wrong_file_systems(page, watcher))
        else:
            found[family] = list(wrong_values(family, series, watcher))
    return found


def check_not_the_pods(process, page):
    """What the pod's own files say is something else: the proof could have failed."""
    own, node = interfaces(f"/proc/{process}/net/dev"), interfaces("/proc/1/net/dev")
    if own.keys() == node.keys():
        fail(f"the pod has the node's interfaces, which proves nothing: {sorted(own)}")
    segments = pairs(f"/proc/{process}/net/snmp")["Tcp:"]["OutSegs"]
    shown = page["node_netstat_Tcp_OutSegs"][frozenset()]
    if segments >= shown:
        fail(f"the pod has sent {segments} segments, the node is said to have sent {shown}")
    say(f"the pod's own are others: interfaces {', '.join(sorted(own))}; {segments:.0f} segments sent")


def check_late_mount(work, url):
    """A file system that is mounted while the agent runs, and taken away again."""
    point, size = f"{work}/late", 8 << 20
    os.mkdir(point)
    labels = frozenset({("device", "late"), ("mountpoint", point), ("fstype", "tmpfs")})
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "late", point], check=True)
    try:
        shown = wait_for("the new mount", lambda: page_of(url)["node_filesystem_size_bytes"].get(labels))
        if shown != size:
            fail(f"the new mount has {shown} bytes, not {size}")
    finally:
        subprocess.run(["umount", point], check=True)
    wait_for("the mount's end", lambda: labels not in page_of(url)["node_filesystem_size_bytes"])
    say("a file system that is mounted later is seen with its own size, and ends when it is gone")


def prove(work, url, process):
    rounds = [fresh_page(url) for _ in range(2)]
    for (page, watcher) in rounds:
        wrong = verdicts(page, watcher)
        for family, reasons in wrong.items():
            verdict = f"NOT THE NODE'S: {'; '.join(reasons)}" if reasons else "the node's"
            print(f"  {family:42} {len(page.get(family, {})):3} series  {verdict}")
        if any(wrong.values()):
            fail("a measure is not the node's")
        say(f"{len(wrong)} families are the node's, held against {len(watcher.readings)} readings of it")
    # A reader that stood still would pass once.
    busy = frozenset({("cpu", "0"), ("mode", "idle")})
    moments = [page["node_time_seconds"][frozenset()] for page, _ in rounds]
    idle = [page["node_cpu_seconds_total"][busy] for page, _ in rounds]
    if moments[0] >= moments[1] or idle[0] > idle[1]:
        fail(f"two pages: {moments}, {idle}")
    page = rounds[-1][0]
    check_not_the_pods(process, page)
    failed = [dict(labels)["collector"] for labels, value in page["node_scrape_collector_success"].items() if value != 1]
    if failed:
        fail(f"collectors that failed: {failed}: {page.get('node_scrape_collector_source_error')}")
    seen = page["node_filesystem_size_bytes"].keys()
    say(f"file systems with a size: {', '.join(sorted(dict(labels)['mountpoint'] for labels in seen))}")
    closed = [mount for mount, full in rounds[-1][1].disks[-1].items() if isinstance(full, int)]
    say(f"closed to user {USER}, whoever asks: {len(closed)} mounts, which have no size here either")
    check_late_mount(work, url)

