"""The second half of tests/observe/run: every query of every panel and alert, asked of a real Prometheus.

It scrapes a real agent, which measures a made-up node (tests/node/moving.py), tails logs that are written as it runs, and
has a sink that takes everything, one that is away, and one for samples. Each query must give at least one number; those
that cannot stand in README.md with the reason, and then must give none. Comparisons of alerts are made to answer 0 or 1,
so that they are there while all is well.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(os.path.dirname(HERE), "node")]

import cases
import moving
import pages
import promql
from servers import Receiver, WORK, end_all, fail, free_port, get, proved, start_agent, wait_for

INTERVAL_S, WINDOW_S = 1, 10
PODS = {
    "shop_web-7d9f8b6c54-x2k4p": ["main", "longshore"],  # of a Deployment
    "data_ledger-0": ["database"],  # of a StatefulSet
    "data_backup-29384756-z7wqk": ["job"],  # of a CronJob
    "infra_log-agent-8fjtm": ["agent"],  # of a DaemonSet
    "infra_my-cache": ["cache"],  # of nobody
}
WORKLOADS = dict(zip(PODS, ["web", "ledger", "backup", "log-agent", "my-cache"]))
BEGINNINGS = {"humanizePercentage": {}, "humanizeDuration": {"s": 1}, "humanize1024": {"B": 1}}


class Store(http.server.BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Writer(threading.Thread):
    """Writes logs as a container runtime does, and lets the node send segments."""

    def __init__(self, node):
        super().__init__(daemon=True)
        root = f"{node.root}/log/pods"
        self.node, self.ended, self.files = node, False, []
        for number, (pod, containers) in enumerate(PODS.items()):
            uid = f"{number:08d}" if number else moving.UID
            for container in containers:
                directory = f"{root}/{pod}_{uid}/{container}"
                os.makedirs(directory, exist_ok=True)
                self.files.append(open(f"{directory}/0.log", "a", encoding="utf-8"))
        self.start()

    def run(self):
        while not self.ended:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            for file in self.files:
                file.write(f"{now}.000000000Z stdout F a line\n" * 10)
                file.flush()
            self.send()
            time.sleep(0.1)

    def send(self):
        path = "proc/1/net/snmp"
        text = pages.text_of(f"{self.node.root}/{path}")
        more = lambda row: "Tcp: " + " ".join(str(int(word) + 1) for word in row[1].split())
        self.node.put(path, re.sub(r"^Tcp: ([\d ]+)$", more, text, flags=re.MULTILINE))


def made_up_node():
    moving.IDS = {"main": "a" * 64, "longshore": "b" * 64, "pause": "c" * 64}
    node = moving.Moving(f"{WORK}/node")
    for path in [moving.SLICE] + [f"{moving.SLICE}/cri-containerd-{one}.scope" for one in moving.IDS.values()]:
        for kind in ("cpu", "memory", "io"):
            row = "avg10=0.00 avg60=0.00 avg300=0.00 total=1000"
            node.put(f"sys/fs/cgroup/{path}/{kind}.pressure", f"some {row}\nfull {row}\n")
    return node


def configure(node, prometheus, store, admin):
    logs = f"{node.root}/log"
    with open(f"{WORK}/longshore.json", "w", encoding="utf-8") as file:
        json.dump({
            "node": "n1",
            "state_dir": f"{WORK}/state",
            "logs": {"pod_logs": f"{logs}/pods", "container_links": f"{logs}/containers"},
            "admin": {"listen": f"127.0.0.1:{admin}"},
            "metrics": {"interval_ms": 1000 * INTERVAL_S, "profile": "standard",
                        **{root: f"{node.root}/{root}" for root in ("proc", "sys", "root")}},
            "sinks": {
                "store": {"type": "http", "url": f"http://127.0.0.1:{store}/"},
                "away": {"type": "http", "url": f"http://127.0.0.1:{free_port()}/", "backoff_max_ms": 1000},
                "samples": {"type": "remote_write", "url": f"{prometheus.url}/api/v1/write", "labels": {"way": "write"}},
            },
        }, file)


def start_prometheus(admin):
    port = free_port()
    config = {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [pages.RULES],
        "scrape_configs": [{"job_name": "longshore/longshore", "honor_labels": True, "static_configs": [
            {"targets": [f"127.0.0.1:{admin}"], "labels": {"instance": "n1"}}]}],
    }
    with open(f"{WORK}/prometheus.yml", "w", encoding="utf-8") as file:
        json.dump(config, file)  # JSON is YAML
    return Receiver("prometheus", port, [
        os.environ["PROMETHEUS"], f"--config.file={WORK}/prometheus.yml", f"--storage.tsdb.path={WORK}/prometheus",
        f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
    ])


def excused():
    """Of the table in README.md: {query: reason}."""
    rows = re.findall(r"^\| (.+?) \| `(.+)` \| (.+) \|$", pages.text_of(f"{HERE}/README.md"), re.MULTILINE)
    return {(where, query.replace("\\|", "|")): reason for where, query, reason in rows}


def filled_in(expression):
    """As Grafana would send it with everything chosen."""
    expression = expression.replace("$__rate_interval", f"{WINDOW_S}s").replace("$__range", "1m").replace("$price", "2.5")
    return re.sub(r"=~\"\$\w+\"", '=~".*"', expression)


def alerts(prometheus):
    groups = json.loads(get(f"{prometheus.url}/api/v1/rules"))["data"]["groups"]
    return {rule["name"]: rule for group in groups for rule in group["rules"]}


def prove_texts(rules):
    """What an alert says of its value must be of the value's kind."""
    for name, rule in rules.items():
        try:
            measured = promql.dimension(promql.read(rule["query"]))
        except promql.Wrong as wrong:
            fail(f"{name}: {wrong}")
        for form in re.findall(r"\$value \| (\w+)", rule["annotations"]["summary"]):
            wanted = BEGINNINGS.get(form)
            per_second = measured == {"B": 1, "s": -1} and "a second" in rule["annotations"]["summary"]
            if wanted is not None and measured != wanted and not (form == "humanize1024" and per_second):
                fail(f"{name} is measured in {measured}, and said by {form}")
    proved(f"{len(rules)} alerts say their value as what it is")


def prove_promtool(rules):
    covered = set(map(cases.alert_of, cases.CASES))
    if set(rules) != covered:
        fail(f"alerts without a case, or cases without an alert: {sorted(set(rules) ^ covered)}")
    for name, rule in rules.items():
        conditions, tried = 1 + rule["query"].count(" or "), [case for case in cases.CASES if cases.alert_of(case) == name]
        if len(tried) != conditions:
            fail(f"{name} has {conditions} conditions and {len(tried)} cases")
    for name, turned in (("rules_test", False), ("rules_test_turned", True)):
        with open(f"{WORK}/{name}.json", "w", encoding="utf-8") as file:
            json.dump(cases.promtool_tests(pages.RULES, turned), file)
    start = lambda *words: subprocess.Popen(
        [os.environ["PROMTOOL"], *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    checks = [start("check", "rules", "--lint-fatal", pages.RULES), start("test", "rules", f"{WORK}/rules_test.json")]
    turned = start("test", "rules", f"{WORK}/rules_test_turned.json")
    for check in checks:
        said = check.communicate()[0]
        if check.returncode:
            fail(f"{' '.join(check.args)}:\n{said}")
    said = turned.communicate()[0]
    if turned.returncode == 0 or said.count("expr: ") < len(cases.CASES):
        fail(f"of {len(cases.CASES)} tests turned round only {said.count('expr: ')} fail")
    proved(f"promtool: each of {len(rules)} alerts fires when it has to, and is quiet when not, in {len(cases.CASES)} cases")


def wait_for_windows(prometheus):
    """Until whatever begins late is there for a whole window."""
    late = ["longshore_node_samples_total", 'longshore_namespace_delivered_bytes_total{sink="store"}',
            'longshore_sink_failures_total{sink="away"}', 'longshore_container_delivered_bytes{sink="store"}',
            'container_pressure_io_waiting_seconds_total', 'node_load1{way="write"}']
    for series in late:
        wait_for(f"{series} for {WINDOW_S} s", lambda: any(
            len(found["values"]) >= WINDOW_S / INTERVAL_S for found in prometheus.query(f"{series}[{WINDOW_S}s]")))


def all_queries(rules):
    """(where, as written, as asked)"""
    found = []
    for name, board in pages.dashboards().items():
        for panel, target in pages.queries(board):
            found.append((f"{name}, {panel['title']}", target["expr"], filled_in(target["expr"])))
    for name, rule in rules.items():
        # Each condition of an `or`: one alone would hide the other.
        for part in promql.parts(promql.read(rule["query"])):
            found.append((name, promql.write(part), promql.write(part, truth=True)))
    return found


def prove_queries(prometheus, rules):
    excuses = excused()
    used, empty, numbers, queries = set(), [], 0, all_queries(rules)
    for where, written, asked in queries:
        answer = prometheus.query(asked)
        having = [one for one in answer if one["value"][1] != "NaN"]
        numbers += len(having)
        if (where, written) not in excuses:
            if not having:
                empty.append(f"{where}: {asked}")
        else:
            used.add((where, written))
            if having:
                fail(f"{where} has numbers, and README.md says that it cannot: {written}")
    if empty:
        fail("nothing for\n  " + "\n  ".join(empty))
    if set(excuses) - used:
        fail(f"README.md excuses what nobody asks: {sorted(set(excuses) - used)}")
    proved(f"{len(queries) - len(used)} queries give {numbers} numbers; {len(used)} say why they cannot")


def prove_variables(prometheus):
    count = 0
    for name, board in pages.dashboards().items():
        for variable in pages.variables(board).values():
            if variable["type"] != "query":
                continue
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            question = urllib.parse.urlencode({"match[]": filled_in(match[1])})
            values = json.loads(get(f"{prometheus.url}/api/v1/label/{match[2]}/values?{question}"))["data"]
            if not values:
                fail(f"{name}: the variable {variable['name']} has no values: {variable['query']}")
            count += 1
    proved(f"{count} variables have values")


def prove_namespaces(admin):
    """On one page the namespaces of a sink add up to what was delivered since its start, which is all."""
    page = get(f"http://127.0.0.1:{admin}/metrics")
    for what in ("bytes", "lines"):
        total = lambda family: sum(float(value) for value in re.findall(
            rf'^{family}\{{[^}}]*sink="store"[^}}]*\}} (\S+)$', page, re.MULTILINE))
        by_name, all_of_it = total(f"longshore_namespace_delivered_{what}_total"), total(f"longshore_log_delivered_{what}_total")
        if by_name != all_of_it or not all_of_it:
            fail(f"the namespaces have {by_name} delivered {what}, the ledger {all_of_it}")
    proved("the namespaces add up to the ledger")


def prove_workloads(prometheus):
    """Pods are put together by what their controller is called."""
    [expression] = [target["expr"] for panel, target in pages.queries(pages.dashboards()["logs.json"])
                    if panel["title"] == "Volume of workloads"]
    found = {(one["metric"]["namespace"], one["metric"]["workload"]) for one in prometheus.query(filled_in(expression))}
    wanted = {tuple(pod.split("_")[:1]) + (workload,) for pod, workload in WORKLOADS.items()}
    if found != wanted:
        fail(f"the workloads are {found}, not {wanted}")
    proved(f"{len(wanted)} workloads are told by the names of their pods")


def prove_kusto(prometheus):
    """The queries for Azure cannot be run here; that their names and labels are those of samples that are sent can be seen."""
    blocks = re.findall(r"```kusto\n(.*?)```", pages.text_of(f"{pages.DEPLOY}/azure/queries.md"), re.DOTALL)
    for block in blocks:
        names = set(re.findall(r'"((?:node|container)_\w+)"', block))
        labels = set()
        for name in names:
            found = prometheus.query(f'{name}{{way="write"}}')
            if not found:
                fail(f"queries.md asks for {name}, which is not sent")
            for one in found:
                labels |= set(one["metric"])
        missing = set(re.findall(r"\bTags\.(\w+)", block)) - labels
        if missing or (block.startswith("InsightsMetrics_CL") and not names):
            fail(f"no sample has the labels {sorted(missing)} of queries.md:\n{block}")
    proved(f"{len(blocks)} queries for Azure ask for names and labels that are sent")


def main():
    store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    node, admin = made_up_node(), free_port()
    writer = Writer(node)
    prometheus = start_prometheus(admin)
    configure(node, prometheus, store.server_address[1], admin)
    try:
        prometheus.start()
        start_agent(f"http://127.0.0.1:{admin}")
        rules = alerts(prometheus)
        prove_texts(rules)
        prove_promtool(rules)
        wait_for_windows(prometheus)
        prove_queries(prometheus, rules)
        prove_variables(prometheus)
        prove_namespaces(admin)
        prove_workloads(prometheus)
        prove_kusto(prometheus)
    finally:
        writer.ended = node.ended = True
        end_all()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"observe: proved in {time.monotonic() - began:.0f} s")
