"""The second proof of tests/node/receivers: what a real Prometheus answers about nodes, however it got their samples.

Two agents: one on this host, while a load of its own runs; one on a made-up node whose numbers move at known rates.
Prometheus scrapes both (way="scrape") and takes both by remote write (way="write"), as VictoriaMetrics does. The answers
are held against what this program reads of the host, and against the made-up rates; each rule of rules.yml must give a
number; a device that vanishes must end, and a killed agent must leave no spike.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import moving
from servers import (
    LONGSHORE, WORK, end_all, fail, free_port, get, processes, proved, receivers, start_agent, wait_for,
)

HERE = os.path.dirname(os.path.abspath(__file__))
INTERVAL_S, WINDOW_S = 1, 10
# Rates are drawn out from the first and last sample within a window to its ends; and a sample may be an interval old when
# it is scraped.
SLACK_S = 2 * INTERVAL_S
# The same of rates that should be even: what is written has the time at which it was measured.
TOLERANCE = {"scrape": 0.2, "write": 0.1}
HOST_TOLERANCE = 0.05

LOAD = """
import os, socket, sys, time
sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
receiver.bind(("127.0.0.1", 0))
receiver.setblocking(False)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
turn = 0
while True:
    began = time.monotonic()
    os.pwrite(file, os.urandom(1 << 18), 0)
    os.fsync(file)
    for _ in range(20):
        sender.sendto(bytes(8192), receiver.getsockname())
    try:
        while receiver.recv(8192):
            pass
    except BlockingIOError:
        pass
    while time.monotonic() < began + 0.05:
        pass
    time.sleep(0.05)
"""


def configs(prometheus, victoria, ports, node):
    roots = {"n1": {}, "n2": {name: f"{node.root}/{name}" for name in ("proc", "sys", "root")}}
    for name, port in ports.items():
        sink = lambda it: {"type": "remote_write", "url": f"{it.url}/api/v1/write", "backoff_max_ms": 1000,
                           "labels": {"way": "write"}}
        logs = f"{node.root}/log" if name == "n2" else f"{WORK}/log"
        with open(f"{WORK}/{name}.json", "w") as file:
            json.dump({
                "node": name,
                "state_dir": f"{WORK}/state-{name}",
                "logs": {"pod_logs": f"{logs}/pods", "container_links": f"{logs}/containers"},
                "admin": {"listen": f"127.0.0.1:{port}"},
                "metrics": {"interval_ms": 1000 * INTERVAL_S, "profile": "full", **roots[name]},
                "sinks": {"prometheus": sink(prometheus), "victoria": sink(victoria)},
            }, file)
    for directory in ("pods", "containers"):
        os.makedirs(f"{WORK}/log/{directory}", exist_ok=True)


def prometheus_config(ports):
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "way": "scrape"}}
               for name, port in ports.items()]
    times = {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"}
    # JSON is YAML.
    return json.dumps({"global": times, "rule_files": [f"{HERE}/rules.yml"],
                       "scrape_configs": [{"job_name": "node", "static_configs": targets}]})


class Host(threading.Thread):
    """The host's own counters, read again and again: {time: {name: value}}."""

    def __init__(self):
        super().__init__(daemon=True)
        self.readings = {}
        self.start()

    def run(self):
        while True:
            self.readings[time.time()] = self.read()
            time.sleep(0.1)

    @staticmethod
    def text(path):
        with open(f"/proc/{path}") as file:
            return file.read()

    def read(self):
        lines = [line.split() for line in self.text("stat").splitlines()]
        cpus = [list(map(int, line[1:9])) for line in lines if line[0].startswith("cpu") and line[0] != "cpu"]
        found = {"cpus": len(cpus)}
        for at, mode in enumerate(("user", "nice", "system", "idle")):
            found[f"cpu {mode}"] = sum(cpu[at] for cpu in cpus) / 100
        disks = [line.split() for line in self.text("diskstats").splitlines()]
        own = os.stat(WORK).st_dev
        for words in disks:
            if (int(words[0]), int(words[1])) == (os.major(own), os.minor(own)):
                found["disk"], found["disk written"] = words[2], int(words[9]) * 512
        lo = [line.split(":")[1].split() for line in self.text("1/net/dev").splitlines() if line.strip().startswith("lo:")]
        found["network sent"] = int(lo[0][8])
        memory = dict(line.split(":") for line in self.text("meminfo").splitlines())
        kilobytes = lambda field: int(memory[field].split()[0])
        found["memory used"] = 1 - kilobytes("MemAvailable") / kilobytes("MemTotal")
        full = os.statvfs("/")
        found["disk used"] = 1 - full.f_bavail / full.f_blocks
        return found

    def rates(self, name, until):
        """The least and the greatest over a window that begins and ends up to `SLACK_S` beside the one that is meant."""
        def near(moment):
            return [(at, reading[name]) for at, reading in list(self.readings.items()) if abs(at - moment) <= SLACK_S]
        found = [(after - before) / (last - first)
                 for first, before in near(until - WINDOW_S) for last, after in near(until)]
        return min(found), max(found)

    def range(self, name, until):
        seen = [reading[name] for at, reading in list(self.readings.items()) if until - WINDOW_S <= at <= until]
        return min(seen), max(seen)


def ways(prometheus, victoria):
    return [("scrape", prometheus), ("write", prometheus), ("write", victoria)]


def answer(it, query, at):
    found = it.query(query, time=at)
    if len(found) != 1:
        fail(f"{it.name}: {query} gives {len(found)} series: {found}")
    return float(found[0]["value"][1])


def stored_moment(three, name):
    """Now, once everybody has a sample of the node that was taken after it."""
    at = time.time()
    for way, it in three:
        series = f'node_load1{{instance="{name}",way="{way}"}}'
        wait_for(f"{it.name} has the next of {name} ({way})", lambda: it.samples(series, at + INTERVAL_S))
    return at


def prove_host(three, host):
    at = stored_moment(three, "n1")
    disk = next(iter(host.readings.values())).get("disk")
    shown = []
    for way, it in three:
        me = f'instance="n1",way="{way}"'
        rates = {f"cpu {mode}": (f'sum(rate(node_cpu_seconds_total{{{me},mode="{mode}"}}[{WINDOW_S}s]))', 0.02)
                 for mode in ("user", "nice", "system", "idle")}
        rates["network sent"] = f'rate(node_network_transmit_bytes_total{{{me},device="lo"}}[{WINDOW_S}s])', 1e4
        if disk:
            rates["disk written"] = f'rate(node_disk_written_bytes_total{{{me},device="{disk}"}}[{WINDOW_S}s])', 1e5
        for name, (query, margin) in rates.items():
            told, (low, high) = answer(it, query, at), host.rates(name, at)
            if not low * (1 - HOST_TOLERANCE) - margin <= told <= high * (1 + HOST_TOLERANCE) + margin:
                fail(f"{it.name}, {way}: {name} is {told}, the host's {low} to {high}")
            shown.append((name, way, it.name, told, low, high))
        shares = {"memory used": f"1 - node_memory_MemAvailable_bytes{{{me}}} / node_memory_MemTotal_bytes{{{me}}}",
                  "disk used": f'1 - node_filesystem_avail_bytes{{{me},mountpoint="/"}} / '
                               f'node_filesystem_size_bytes{{{me},mountpoint="/"}}'}
        for name, query in shares.items():
            told, (low, high) = answer(it, query, at), host.range(name, at)
            if not low - 0.01 <= told <= high + 0.01:
                fail(f"{it.name}, {way}: {name} is {told}, the host's {low} to {high}")
            shown.append((name, way, it.name, told, low, high))
    for name, way, server, told, low, high in shown:
        print(f"           {name:13} {way:6} {server:10} {told:14.4f}  the host's {low:14.4f} to {high:14.4f}")
    proved(f"{len(shown)} answers about this host, {len({name for name, *_ in shown})} measures, are the host's")


def expected():
    """Of the made-up node: {query, with ME for the node's labels: value}."""
    busy = 1 - sum(moving.CPU_RATES.values())
    exact = {
        "1 - node_memory_MemAvailable_bytes{ME} / node_memory_MemTotal_bytes{ME}":
            1 - moving.AVAILABLE_BYTES / moving.MEMORY_BYTES,
        "count(node_cpu_seconds_total{ME,mode='idle'})": moving.CPUS,
        "node_ip_assigned{ME,source='host_local',family='ipv4'}": moving.ASSIGNED,
        "node_ip_capacity{ME,source='host_local',family='ipv4'}": moving.ADDRESSES_MAX,
        "node_ip_leaked{ME,family='ipv4'}": moving.LEAKED,
        "node_ip_utilization_ratio{ME,family='ipv4'}": moving.ASSIGNED / moving.ADDRESSES_MAX,
        "node_nf_conntrack_entries{ME} / node_nf_conntrack_entries_limit{ME}":
            moving.CONNECTIONS / moving.CONNECTIONS_MAX,
        "container_memory_working_set_bytes{ME,container='main'}": moving.WORKING_SET_BYTES,
        "container_spec_memory_limit_bytes{ME,container='main'}": moving.MEMORY_LIMIT_BYTES,
    }
    rate = {
        **{f"node_cpu_seconds_total{{ME,cpu='1',mode='{mode}'}}": value for mode, value in moving.CPU_RATES.items()},
        "node_cpu_seconds_total{ME,cpu='1',mode='idle'}": busy,
        "node_disk_read_bytes_total{ME,device='nvme0n1'}": moving.READ_BYTES_PER_S,
        "node_disk_written_bytes_total{ME,device='nvme0n1'}": moving.WRITTEN_BYTES_PER_S,
        "node_disk_io_time_seconds_total{ME,device='nvme0n1'}": moving.DISK_BUSY,
        "node_disk_io_time_weighted_seconds_total{ME,device='nvme0n1'}": moving.DISK_QUEUE,
        "node_network_receive_bytes_total{ME,device='eth0'}": moving.RECEIVED_BYTES_PER_S,
        "node_network_transmit_bytes_total{ME,device='eth0'}": moving.SENT_BYTES_PER_S,
        "node_network_receive_errs_total{ME,device='eth0'}": moving.ERRORS_PER_S,
        "container_cpu_usage_seconds_total{ME,container='main'}": moving.CONTAINER_CPU,
        "container_cpu_cfs_throttled_periods_total{ME,container='main'}": 10 * moving.CONTAINER_THROTTLED,
    }
    return exact, rate


def prove_made_up(three):
    at = stored_moment(three, "n2")
    exact, rate = expected()
    worst = {"scrape": 0.0, "write": 0.0}
    for way, it in three:
        me = f'instance="n2",way="{way}"'
        for query, true in exact.items():
            told = answer(it, query.replace("ME", me), at)
            if not math.isclose(told, true, rel_tol=1e-9):
                fail(f"{it.name}, {way}: {query} is {told}, not {true}")
        for series, true in rate.items():
            told = answer(it, f"rate({series.replace('ME', me)}[{WINDOW_S}s])", at)
            worst[way] = max(worst[way], abs(told / true - 1))
            if worst[way] > TOLERANCE[way]:
                fail(f"{it.name}, {way}: the rate of {series} is {told}, not {true}")
    proved(f"{len(exact)} measures of the made-up node are exact; {len(rate)} rates are within "
           f"{worst['scrape']:.1%} scraped, {worst['write']:.1%} written")


def is_number(series):
    return math.isfinite(float(series["value"][1]))


def prove_rules(prometheus, victoria):
    groups = json.loads(get(f"{prometheus.url}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    absent, numbers = 0, 0
    for rule in rules:
        name = rule["name"]
        if rule["health"] != "ok":
            fail(f"{name}: {rule}")
        found = list(filter(is_number, prometheus.query(name)))
        of_victoria = [one for one in victoria.query(rule["query"]) if is_number(one)]
        if "absent_here" in rule.get("labels", {}):
            absent += 1
            if found or of_victoria:
                fail(f"{name} is there, and rules.yml says that it cannot be")
            continue
        have = {one["metric"].get("way") for one in found}
        if have != {"scrape", "write"}:
            fail(f"{name} has numbers of {have or 'nothing'} in Prometheus: {rule['query']}")
        if not of_victoria:
            fail(f"{name} has no number in VictoriaMetrics: {rule['query']}")
        numbers += len(found)
    if len(rules) < 40:
        fail(f"Prometheus knows {len(rules)} rules only")
    proved(f"{len(rules) - absent} rules give {numbers} numbers, of either way, and some in VictoriaMetrics; "
           f"{absent} say why they cannot")


VANISHING = {
    # What goes: a series of it, and one that stays.
    "veth1a2b": ("node_network_receive_bytes_total{ME,device='veth1a2b'}",
                 "node_network_receive_bytes_total{ME,device='eth0'}"),
    "md0": ("node_disk_written_bytes_total{ME,device='md0'}", "node_disk_written_bytes_total{ME,device='nvme0n1'}"),
    "/scratch": ("node_filesystem_size_bytes{ME,mountpoint='/scratch'}",
                 "node_filesystem_size_bytes{ME,mountpoint='/',fstype='ext4'}"),
}


def prove_end(three, node):
    since = time.time() - WINDOW_S
    for way, it in three:
        for goes, stays in VANISHING.values():
            for series in (goes, stays):
                answer(it, series.replace("ME", f'instance="n2",way="{way}"'), time.time())
    node.remove(*VANISHING)
    longest = 0.0
    for way, it in three:
        for name, series in VANISHING.items():
            goes, stays = (one.replace("ME", f'instance="n2",way="{way}"') for one in series)
            wait_for(f"{name} ends in {it.name} ({way})", lambda: not it.query(goes))
            last = max(it.samples(goes, since))
            # The one that stays goes on; with its very next sample the other must have ended.
            later = wait_for(f"{name} is outlived in {it.name}", lambda: [
                at for at in it.samples(stays, since) if at > last + 0.5 * INTERVAL_S])
            if it.query(goes, time=min(later) + 0.001):
                fail(f"{it.name}, {way}: {goes} goes on at {min(later)}, after its last sample at {last}")
            longest = max(longest, min(later) - last)
    proved(f"a network interface, a disk and a mount that vanish end with the next sample, {longest:.2f} s after their "
           "last; the others go on")


def prove_no_spike(three, host, since):
    """From a window after `since` on, over the kill and the gap."""
    cpus, until = next(iter(host.readings.values()))["cpus"], time.time() - INTERVAL_S
    shown = []
    for way, it in three:
        limits = {
            f'sum(rate(node_cpu_seconds_total{{instance="n1",way="{way}"}}[{WINDOW_S}s]))': cpus,
            f'sum(rate(node_cpu_seconds_total{{instance="n2",way="{way}"}}[{WINDOW_S}s]))': moving.CPUS,
            f'rate(node_network_receive_bytes_total{{instance="n2",way="{way}",device="eth0"}}[{WINDOW_S}s])':
                moving.RECEIVED_BYTES_PER_S,
            f'rate(node_disk_read_bytes_total{{instance="n2",way="{way}",device="nvme0n1"}}[{WINDOW_S}s])':
                moving.READ_BYTES_PER_S,
            f'sum(rate(container_cpu_usage_seconds_total{{instance="n2",way="{way}",container="main"}}[{WINDOW_S}s]))':
                moving.CONTAINER_CPU,
        }
        for query, most in limits.items():
            [found] = it.ask("query_range", query=query, start=since + WINDOW_S, end=until, step=0.5)
            values = [float(value) for _, value in found["values"]]
            if not values or max(values) > most * (1 + TOLERANCE[way]) or min(values) < 0:
                fail(f"{it.name}, {way}: {query} is {values}, at most {most}")
            shown.append(max(values) / most)
        resets = answer(it, f'sum(resets(node_cpu_seconds_total{{way="{way}"}}[5m]))', until)
        if resets:
            fail(f"{it.name}, {way}: {resets} resets of CPU time")
        gap = it.samples(f'node_load1{{instance="n1",way="{way}"}}', since)
        times = sorted(gap)
        if max(after - before for before, after in zip(times, times[1:])) < 2 * INTERVAL_S:
            fail(f"{it.name}, {way}: there is no gap, so nothing was proven")
    proved(f"over a kill -9, a gap and a restart no rate is above {max(shown):.2f} of what there is, and none falls")


def prove(prometheus, victoria, ports, node):
    three, host = ways(prometheus, victoria), Host()
    processes.append(subprocess.Popen([sys.executable, "-c", LOAD, f"{WORK}/load"]))
    admins = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    agents = [start_agent(admin, name) for name, admin in admins.items()]
    since = time.time()
    for way, it in three:
        for name in ports:
            series = f'node_load1{{instance="{name}",way="{way}"}}'
            wait_for(f"{it.name} has a window of {name} ({way})",
                     lambda: len(it.samples(series, since)) >= WINDOW_S + 3)
    prove_host(three, host)
    prove_made_up(three)
    prove_rules(prometheus, victoria)
    prove_end(three, node)
    for agent in agents:
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    time.sleep(3 * INTERVAL_S)  # the gap
    restarted = time.time()
    for name, admin in admins.items():
        start_agent(admin, name)
    for way, it in three:
        for name in ports:
            series = f'node_load1{{instance="{name}",way="{way}"}}'
            wait_for(f"{it.name} has new samples of {name} ({way})", lambda: len(it.samples(series, restarted)) >= 10)
    prove_no_spike(three, host, since)


def main():
    node = moving.Moving(f"{WORK}/node")
    ports = {"n1": free_port(), "n2": free_port()}
    prometheus, victoria = receivers(prometheus_config(ports))
    configs(prometheus, victoria, ports, node)
    try:
        prometheus.start()
        victoria.start()
        prove(prometheus, victoria, ports, node)
    finally:
        node.ended = True
        end_all()


began = time.monotonic()
main()
print(f"usage: proved in {time.monotonic() - began:.0f} s")
