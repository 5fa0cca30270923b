"""The proof of tests/node/receivers: starts the servers and the agent, and asks the servers what they stored.

Each step says what it proves; the first that fails ends the proof with exit code 1.
"""

import http.server
import json
import os
import signal
import threading
import time

from servers import (
    PATIENCE_S, WORK, end_all, fail, free_port, get, ledger, proved, receivers, start_agent, wait_for,
)

COUNT_PER_S = 10.0
TEXT = 'quote " backslash \\ line\nend é'


class Target(http.server.BaseHTTPRequestHandler):
    """What the agent scrapes: its values are known at any time."""

    began = time.time()
    devices = ["eth0", "eth1"]
    shown = []

    def do_GET(self):
        count = int(COUNT_PER_S * (time.time() - Target.began))
        Target.shown.append(count)
        escaped = TEXT.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines = ["# HELP demo_total Counts.", "# TYPE demo_total counter", f"demo_total {count}"]
        lines += [f'demo_up{{device="{device}"}} 1' for device in Target.devices]
        lines += ["demo_constant 42.5", f'demo_text{{text="{escaped}",empty=""}} 1', "demo_left_out 1"]
        page = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def agent_config(prometheus, victoria, admin_port, target_port):
    write = "/api/v1/write"
    def sink(url, **further):
        return {"type": "remote_write", "url": url + write, "backoff_max_ms": 1000, **further}
    return {
        "node": "n1",
        "cluster_name": "blue",
        "state_dir": f"{WORK}/state",
        "logs": {"pod_logs": f"{WORK}/pods", "container_links": f"{WORK}/links"},
        "admin": {"listen": f"127.0.0.1:{admin_port}"},
        "metrics": {
            "interval_ms": 1000,
            "scrape": [
                {
                    "url": f"http://127.0.0.1:{target_port}/metrics",
                    "interval_ms": 1000,
                    "drop": ["demo_left_out"],
                    "labels": {"job": "demo", "instance": "t1"},
                }
            ],
        },
        "sinks": {
            "prometheus": sink(prometheus.url),
            "victoria": sink(victoria.url),
            # Neither knows version 2: both have to be found out, and nothing may be lost thereby.
            "prometheus_2": sink(prometheus.url, version=2, labels={"variant": "v2"}),
            "victoria_2": sink(victoria.url, version=2, labels={"variant": "v2"}),
            "rows": {
                "type": "file",
                "directory": f"{WORK}/rows",
                "compression": "none",
                "signals": ["logs", "metrics"],
            },
        },
    }


def prove_values(both):
    for it in both:
        first = 'job="demo",instance="t1",cluster="blue",variant=""'
        wait_for(f"{it.name} has the constant", lambda: it.value(f"demo_constant{{{first}}}") == 42.5)
        wait_for(f"{it.name} has the load", lambda: it.query('node_load1{job="node",instance="n1",variant=""}'))
        [text] = it.query(f"demo_text{{{first}}}")
        if text["metric"].get("text") != TEXT or "empty" in text["metric"]:
            fail(f"{it.name}: the label came as {text['metric']}")
        if it.query("demo_left_out"):
            fail(f"{it.name} has what was dropped")
        if it.value(f"up{{{first}}}") != 1:
            fail(f"{it.name}: the target is not up")
    proved("labels, escapes, external labels and values are as sent")
    for it in both:
        wait_for(f"{it.name} got version 1 in place of 2", lambda: it.value('demo_constant{variant="v2"}') == 42.5)
    proved("a receiver of version 1 that answers 2xx to version 2 gets version 1")


def prove_same(both, since, series):
    """All receivers have the same samples of a series, to the digit and the millisecond."""
    until = time.time() - 2
    found = []
    for it in both:
        for variant in ("", "v2"):
            all_of_it = it.samples(f'{series}{{variant="{variant}"}}', since)
            found.append({at: float(value) for at, value in all_of_it.items() if at < until})
    first = found[0]
    if len(first) < 3 or any(other != first for other in found):
        fail(f"{series} differs: {found}")
    return first


def prove_no_spike(it, since):
    """From `since` on the counter's rate is the one that it has, over whatever gap."""
    resets = it.value('resets(demo_total{variant=""}[5m])')
    if resets != 0:
        fail(f"{it.name}: {resets} resets")
    [rates] = it.ask(
        "query_range", query='rate(demo_total{variant=""}[10s])', start=since + 5, end=time.time(), step=1
    )
    values = [float(value) for _, value in rates["values"]]
    # Two samples that were fetched a second apart may be taken up to a second closer or further.
    if not values or max(values) > 2 * COUNT_PER_S or min(values) < 0:
        fail(f"{it.name}: rates {values}")
    return max(values)


def prove(both, target_port):
    prometheus, victoria = both
    admin_port = free_port()
    admin = f"http://127.0.0.1:{admin_port}"
    for directory in ("pods", "links"):
        os.makedirs(f"{WORK}/{directory}")
    with open(f"{WORK}/longshore.json", "w") as config:
        json.dump(agent_config(prometheus, victoria, admin_port, target_port), config)
    first_sample = time.time()
    agent = start_agent(admin)
    prove_values(both)

    Target.devices.remove("eth1")
    for it in both:
        wait_for(f"eth1 ends in {it.name}", lambda: not it.query('demo_up{device="eth1"}'))
        if len(it.query('demo_up{device="eth0"}')) != 2:
            fail(f"{it.name}: eth0 ended with eth1")
    proved("a series that vanished ends at once, the others do not")

    samples = prove_same(both, first_sample, "demo_total")
    if not set(samples.values()) <= set(map(float, Target.shown)):
        fail(f"values that were never shown: {samples}")
    proved(f"{len(samples)} samples of a counter are in all four the same, and as the target showed them")

    agent.send_signal(signal.SIGKILL)
    agent.wait()
    time.sleep(4)
    agent = start_agent(admin)
    restarted = time.time()
    for it in both:
        wait_for(f"{it.name} has new samples", lambda: len(it.samples('demo_total{variant=""}', restarted)) >= 5)
    highest = max(prove_no_spike(it, first_sample) for it in both)
    proved(f"over a kill -9 and a restart: no reset, no rate above {highest:.1f} (true: {COUNT_PER_S})")

    prometheus.process.terminate()
    prometheus.process.wait()
    away = time.time()
    wait_for("Prometheus is missed", lambda: ledger(admin)["prometheus"]["pending"] > 20)
    while_away = lambda: victoria.samples('demo_total{variant=""}', away)
    in_victoria = wait_for("VictoriaMetrics goes on", lambda: len(while_away()) >= 3 and while_away())
    back = time.time()
    prometheus.start()
    wait_for("the account of Prometheus is settled", lambda: ledger(admin)["prometheus"]["pending"] < 15)
    time.sleep(2)
    missed = [at for at in prometheus.samples('demo_total{variant=""}', away) if at < back]
    if len(missed) < len([at for at in in_victoria if at < back]):
        fail(f"Prometheus has {missed} of {sorted(in_victoria)}")
    proved(f"{len(missed)} samples taken while Prometheus was away are there; VictoriaMetrics had no gap")

    page = get(f"{admin}/metrics")
    if 'longshore_samples_balanced{sink="prometheus"} 1' not in page:
        fail("the page does not say that the samples balance")
    for name, account in ledger(admin).items():
        if any(account["dropped"].values()) or account["delivered"] == 0:
            fail(f"{name}: {account}")
    rows = 0
    for file in os.listdir(f"{WORK}/rows/metrics"):
        with open(f"{WORK}/rows/metrics/{file}", encoding="utf-8") as lines:
            if not file.startswith("."):
                for line in lines:
                    row = json.loads(line)
                    rows += row["Name"] == "demo_total" and row["Computer"] == "n1"
    if rows < 5:
        fail(f"{rows} rows of the counter")
    proved(f"no sample was dropped, every account balances; {rows} rows of the counter in files")

    agent.terminate()
    if agent.wait(timeout=PATIENCE_S) != 0:
        fail(f"the agent ended with {agent.returncode}")
    for it in both:
        wait_for(f"all ends in {it.name}", lambda: not it.query('{job=~"node|demo"}'))
    proved("with the agent's end its series end")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    prometheus, victoria = receivers("global: {}\n")
    try:
        prometheus.start()
        victoria.start()
        prove([prometheus, victoria], server.server_address[1])
    finally:
        end_all()


began = time.monotonic()
main()
print(f"receivers: proved in {time.monotonic() - began:.0f} s")
