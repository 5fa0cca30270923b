"""The proof of tests/sinks/otlp: receivers, a log tree that is written to, the agent, and what arrived.

Each step says what it proves; the first that fails ends the proof with exit code 1.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from otlp_store import GRPC_FAULTS, HTTP_FAULTS, Proxy, Store, stamp, start_grpc, start_http

LONGSHORE, WORK = sys.argv[1:]
PATIENCE_S = 80
KILLS = 3
LINES = int(os.environ.get("LINES", "100000"))
SEED = int(os.environ.get("SEED", "1"))
PODS = [f"web-{number}" for number in range(4)]
ROTATIONS = 4
FILLER = "abcdefghijklmnopqrstuvwxyz \u00e9 \U0001f6a2 " * 6


def fail(why):
    print(f"FAILED: {why}", file=sys.stderr)
    sys.exit(1)


def proved(what):
    print(f"  {time.monotonic() - began:5.1f} s  {what}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, look, patience_s=30):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    fail(f"waited {patience_s} s for: {what}")


class Writer(threading.Thread):
    """Writes numbered lines into a pod log tree as a container runtime does, with the kubelet's rotation."""

    def __init__(self, root, lines, pause_s):
        super().__init__(daemon=True)
        self.share = lines // len(PODS)
        self.pause_s = pause_s
        self.random = random.Random(SEED)
        self.paths = {}
        self.written = {pod: [] for pod in PODS}
        for pod in PODS:
            directory = os.path.join(root, f"shop_{pod}_{pod}-uid", "app")
            os.makedirs(directory)
            self.paths[pod] = os.path.join(directory, "0.log")

    def run(self):
        files = {pod: open(path, "ab") for pod, path in self.paths.items()}
        rotate_at = {self.share * (turn + 1) // (ROTATIONS + 1) for turn in range(ROTATIONS)}
        for number in range(self.share):
            for pod in PODS:
                if number in rotate_at:
                    files[pod].close()
                    os.rename(self.paths[pod], f"{self.paths[pod]}.20260101-{number:06}")
                    files[pod] = open(self.paths[pod], "ab")
                body = f"line {number} {FILLER[: self.random.randrange(20, len(FILLER))]}"
                self.written[pod].append(body)
                files[pod].write(f"{stamp(number)} stdout F {body}\n".encode())
            if number % 50 == 0:
                for file in files.values():
                    file.flush()
                time.sleep(self.pause_s)
        for file in files.values():
            file.close()


class Agent:
    def __init__(self, name, pods, sinks, metrics):
        self.directory = os.path.join(WORK, name)
        os.makedirs(self.directory, exist_ok=True)
        self.admin = free_port()
        self.log = open(os.path.join(self.directory, "agent.log"), "ab")
        self.config = os.path.join(self.directory, "config.yaml")
        config = {
            "node": "n1",
            "cluster_name": "blue",
            "state_dir": os.path.join(self.directory, "state"),
            "logs": {"pod_logs": pods, "rescan_interval_ms": 1000},
            "metrics": metrics,
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "sinks": sinks,
        }
        with open(self.config, "w") as file:
            json.dump(config, file)

    def start(self):
        self.process = subprocess.Popen([LONGSHORE, "run", "--config", self.config], stdout=self.log, stderr=self.log)

    def kill(self):
        if self.process.poll() is not None:
            fail(f"the agent ended by itself with {self.process.returncode}; see {self.log.name}")
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=30) != 0:
            fail(f"the agent ended with {self.process.returncode}")

    def page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()


def sink(url, **more):
    return {
        "type": "otlp",
        "url": url,
        "payload_records_max": 1500,
        "flush_interval_ms": 100,
        "request_timeout_ms": 1000,
        "connect_timeout_ms": 1000,
        "backoff_min_ms": 20,
        "backoff_max_ms": 200,
        "checkpoint_interval_ms": 200,
        "probe_interval_ms": 1000,
        "rejects_per_minute_max": 100000,
        **more,
    }


def beside_rotel():
    """A receiver that others wrote decodes logs and metrics, in each form that they are sent in."""
    import rotel

    program = os.path.join(os.path.dirname(rotel.__file__), "rotel-agent")
    ports = {"grpc": free_port(), "http": free_port()}
    command = [program, "start", "--exporter", "blackhole", "--debug-log", "logs", "--debug-log", "metrics"]
    command += ["--debug-log-verbosity", "detailed"]
    for protocol, port in ports.items():
        command += [f"--otlp-{protocol}-endpoint", f"127.0.0.1:{port}"]
    shown = os.path.join(WORK, "rotel.log")
    receiver = subprocess.Popen(command, stdout=open(shown, "wb"), stderr=subprocess.STDOUT, cwd=WORK)
    pods = os.path.join(WORK, "rotel-pods")
    lines = 400
    writer = Writer(pods, lines, 0)
    forms = [(protocol, codec) for protocol in ports for codec in ("none", "gzip")]
    namings = dict(zip(forms, ("prometheus", "semconv", "hostmetrics", "prometheus")))
    sinks = {
        f"{protocol}-{codec}": sink(
            f"http://127.0.0.1:{ports[protocol]}",
            protocol=protocol,
            compression=codec,
            signals=["logs", "metrics"],
            otel_naming=namings[protocol, codec],
            resource={"proof": f"{protocol}-{codec}"},
        )
        for protocol, codec in forms
    }
    agent = Agent("rotel", pods, sinks, {"interval_ms": 1000})
    writer.run()
    agent.start()

    def decoded():
        """Per sink: bodies of its logs, names of its metrics."""
        found = {name: (set(), {}) for name in sinks}
        name = metric = None
        for line in open(shown, encoding="utf-8", errors="replace"):
            line = line.strip()
            if line.startswith(("ResourceLog #", "ResourceMetrics #")):
                name = metric = None
            elif match := re.fullmatch(r"-> proof: Str\((.*)\)", line):
                name = match[1]
            elif name and (match := re.fullmatch(r"Body: Str\((.*)\)", line)):
                found[name][0].add(match[1])
            elif name and (match := re.fullmatch(r"-> Name: (.*)", line)):
                metric = found[name][1].setdefault(match[1], set())
            elif metric is not None and (match := re.fullmatch(r"-> (Unit|DataType|IsMonotonic|AggregationTemporality): (.*)", line)):
                metric.add(match[2])
        return found

    wanted = {body for bodies in writer.written.values() for body in bodies}

    def complete():
        if receiver.poll() is not None:
            fail(f"rotel ended with {receiver.returncode}; see {shown}")
        found = decoded()
        return found if all(bodies >= wanted and metrics for bodies, metrics in found.values()) else None

    found = wait_for("all lines and some metrics, decoded by rotel", complete)
    cumulative = "AGGREGATION_TEMPORALITY_CUMULATIVE"
    expected = {
        "prometheus": ("node_cpu_seconds_total", "node_memory_MemTotal_bytes"),
        "semconv": ("system.cpu.time", "system.memory.limit"),
        "hostmetrics": ("system.cpu.time", "system.memory.limit"),
    }
    for form, naming in namings.items():
        bodies, metrics = found["-".join(form)]
        cpu, memory = expected[naming]
        if bodies != wanted:
            fail(f"{form}: rotel shows what was not written: {sorted(bodies - wanted)[:3]}")
        if not {"s", "Sum", "true", cumulative} <= metrics.get(cpu, set()) or "By" not in metrics.get(memory, set()):
            fail(f"{form}: {cpu} is {metrics.get(cpu)}, {memory} is {metrics.get(memory)}")
        proved(f"rotel over {form[0]}, compression {form[1]}: {len(bodies)} lines, {len(metrics)} metrics ({naming})")
    page = agent.page()
    for kind in ("records", "samples"):
        if re.search(rf"longshore_{kind}_dropped\S*{{[^}}]*}} [1-9]", page):
            fail(f"{kind} were dropped")
    agent.stop()
    receiver.kill()
    receiver.wait()


def through_faults():
    """Lines through a store that fails in every way, while the agent is killed."""
    stores = {"http": Store("http", SEED, 0.3), "grpc": Store("grpc", SEED + 1, 0.3)}
    http_port = start_http(stores["http"])
    server, grpc_port = start_grpc(stores["grpc"])
    proxies = {"http": Proxy(http_port, SEED, 0.4), "grpc": Proxy(grpc_port, SEED, 0.6)}
    pods = os.path.join(WORK, "pods")
    sinks = {
        protocol: sink(
            f"http://127.0.0.1:{proxy.listens_on}", protocol=protocol, resource={"proof": "faults"}, requests_in_flight=2
        )
        for protocol, proxy in proxies.items()
    }
    lines = LINES // len(PODS) * len(PODS)
    writer = Writer(pods, lines, 0.03)
    agent = Agent("faults", pods, sinks, {"enabled": False})
    agent.start()
    writer.start()

    def settled(store):
        return len(store.rows) + len(store.rejected - set(store.rows.values()))

    def wrong():
        for store in stores.values():
            if store.wrong:
                fail(f"{store.name}: {store.wrong[0]} (and {len(store.wrong) - 1} more)")

    deadline = time.monotonic() + PATIENCE_S * max(1, LINES / 100_000)
    kills = 0
    while any(len(store.rows) + len(store.rejected) < lines for store in stores.values()):
        wrong()
        done = min(len(store.rows) for store in stores.values())
        if kills < KILLS and done > lines * (kills + 1) // (KILLS + 1):
            agent.kill()
            agent.start()
            kills += 1
            proved(f"killed at {done} lines, started again")
        if done > lines * 9 // 10:
            for one in (*stores.values(), *proxies.values()):
                one.calm()
        if time.monotonic() > deadline:
            fail(f"waited for too long: {({name: len(store.rows) for name, store in stores.items()})} of {lines}")
        time.sleep(0.2)

    written = {(pod, body) for pod, bodies in writer.written.items() for body in bodies}

    def complete():
        return all(settled(store) >= len(written) for store in stores.values())

    wait_for("every line", complete)
    time.sleep(0.5)
    agent.stop()
    server.stop(None)
    wrong()
    if kills < KILLS:
        fail(f"only {kills} kills found their moment")
    for name, faults in (("http", HTTP_FAULTS), ("grpc", GRPC_FAULTS)):
        store, proxy = stores[name], proxies[name]
        met = {**store.met, **proxy.met}
        missing = set(faults + Proxy.FAULTS) - set(met)
        if missing:
            fail(f"{name}: faults that were not met: {missing}")
        kept = list(store.rows.values())
        if len(set(kept)) != len(kept):
            fail(f"{name}: {len(kept) - len(set(kept))} lines have two uids")
        lost = written - set(kept) - store.rejected
        if lost or set(kept) - written:
            fail(f"{name}: {len(lost)} of {len(written)} lines are lost: {sorted(lost)[:3]}")
        refused = len(store.rejected - set(kept))
        proved(
            f"{name}: {len(kept)} lines, each once by its uid, and {refused} that a partial success refused; "
            f"{store.records} records in {store.requests} requests, through {sum(met.values())} faults of {len(met)} kinds"
        )


began = time.monotonic()
beside_rotel()
through_faults()
