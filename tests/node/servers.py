"""What the proofs on real servers of metrics share: processes that are ended, servers that are asked, accounts."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

LONGSHORE, WORK = sys.argv[1:]
PATIENCE_S = 20

processes = []
began = time.monotonic()


def fail(why):
    print(f"FAILED: {why}", file=sys.stderr)
    sys.exit(1)


def proved(what):
    print(f"  {time.monotonic() - began:5.1f} s  {what}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, *command):
    log = open(os.path.join(WORK, f"{name}.log"), "ab")
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=WORK)
    processes.append(process)
    return process


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def wait_for(what, look):
    """Waits until `look` gives something; servers that are not up yet count as nothing."""
    deadline = time.monotonic() + PATIENCE_S
    last = None
    while time.monotonic() < deadline:
        try:
            found = look()
            if found:
                return found
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            last = error
        time.sleep(0.2)
    fail(f"waited {PATIENCE_S} s for: {what} ({last})")


class Receiver:
    """One server and how it is asked."""

    def __init__(self, name, port, command):
        self.name, self.command = name, command
        self.url = f"http://127.0.0.1:{port}"
        self.process = None

    def start(self):
        self.process = start(self.name, *self.command)
        wait_for(f"{self.name} answers", lambda: self.query("vector(1)"))

    def ask(self, path, **parameters):
        answer = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        if answer["status"] != "success":
            fail(f"{self.name}: {answer}")
        return answer["data"]["result"]

    def query(self, query, **parameters):
        return self.ask("query", query=query, **parameters)

    def value(self, query):
        """The value of the one series that the query gives, or nothing."""
        result = self.query(query)
        if len(result) > 1:
            fail(f"{self.name}: {query} gives {len(result)} series: {result}")
        return float(result[0]["value"][1]) if result else None

    def samples(self, series, since):
        """All samples of a series, as stored: time to value."""
        stored = {}
        for found in self.query(f"{series}[10m]"):
            for at, value in found["values"]:
                if at >= since:
                    stored[at] = value
        return stored


def start_agent(admin, name="longshore"):
    """Starts an agent with the configuration of this name."""
    agent = start(name, LONGSHORE, "run", "--config", f"{WORK}/{name}.json")
    wait_for("the agent answers", lambda: get(f"{admin}/healthz"))
    return agent


def ledger(admin):
    """The samples' accounts of each sink, which must balance."""
    status = json.loads(get(f"{admin}/status"))
    for sink in status["samples"]:
        account = sink["ledger"]
        if not account["balances"]:
            fail(f"the account of {sink['sink']} does not balance: {account}")
    return {sink["sink"]: sink["ledger"] for sink in status["samples"]}


def receivers(prometheus_config):
    """Prometheus with this configuration, and VictoriaMetrics; not started."""
    ports = [free_port(), free_port()]
    with open(f"{WORK}/prometheus.yml", "w") as config:
        config.write(prometheus_config)
    prometheus = Receiver("prometheus", ports[0], [
        os.environ["PROMETHEUS"], "--web.enable-remote-write-receiver", f"--config.file={WORK}/prometheus.yml",
        f"--storage.tsdb.path={WORK}/prometheus", f"--web.listen-address=127.0.0.1:{ports[0]}",
    ])
    victoria = Receiver("victoria", ports[1], [
        os.environ["VICTORIA_METRICS"], f"-storageDataPath={WORK}/victoria", "-retentionPeriod=1",
        f"-httpListenAddr=127.0.0.1:{ports[1]}", "-search.latencyOffset=0s", "-search.disableCache",
    ])
    return prometheus, victoria


def end_all():
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
