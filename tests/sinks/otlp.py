"""The proof of tests/sinks/otlp: receivers, a log tree that is written to, the agent, and what arrived.

Each step says what it proves; the first that fails ends the proof with exit code 1.
"""

import os
import re
import subprocess
import time

import own_schema
from otlp_store import GRPC_FAULTS, HTTP_FAULTS, Proxy, Store, start_grpc, start_http
from proof import KILLS, LINES, PODS, SEED, WORK, Agent, Writer, fail, free_port, proved, wait_for

PATIENCE_S = 80


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


beside_rotel()
own_schema.decoded()
through_faults()
