"""What can be told of dashboards, alerts and the runbook without running anything.

Panels lie side by side and say in which unit they are; the unit is that of the expression. Each alert has its section in
the runbook, and each section its alert.
"""

import json
import os
import re
import sys

import promql

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, "deploy")
RULES = os.path.join(DEPLOY, "alerts", "rules.yaml")
PROMETHEUS_RULE = os.path.join(DEPLOY, "alerts", "prometheusrule.yaml")
RUNBOOK = os.path.join(DEPLOY, "RUNBOOK.md")
HEAD = """# rules.yaml for the Prometheus operator; written by `tests/observe/run --derive`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: longshore
  namespace: longshore
  labels:
    app.kubernetes.io/name: longshore
    app.kubernetes.io/instance: longshore
spec:
"""
# Grafana's names of units, by what they mean.
UNITS = {
    "bytes": {"B": 1}, "Bps": {"B": 1, "s": -1}, "s": {"s": 1}, "percentunit": {}, "short": {"n": 1},
    "cps": {"n": 1, "s": -1}, "iops": {"n": 1, "s": -1}, "pps": {"n": 1, "s": -1}, "reqps": {"n": 1, "s": -1},
    "currencyUSD": {"money": 1},
}
SCHEMA_VERSION_MIN, COLUMNS = 36, 24
KINDS = {"row", "timeseries", "stat", "bargauge"}


class Found:
    def __init__(self):
        self.mistakes = []

    def say(self, where, what):
        self.mistakes.append(f"{where}: {what}")


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def dashboards():
    directory = os.path.join(DEPLOY, "dashboards")
    names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    return {name: json.loads(text_of(os.path.join(directory, name))) for name in names}


def queries(dashboard):
    """Panel and target of each query."""
    return [(panel, target) for panel in dashboard["panels"] if panel["type"] != "row" for target in panel["targets"]]


def variables(dashboard):
    return {one["name"]: one for one in dashboard["templating"]["list"]}


def derived():
    """rules.yaml as a PrometheusRule: its groups, two columns further in."""
    lines = text_of(RULES).splitlines()
    groups = lines[lines.index("groups:"):]
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in groups)


def alert_names():
    return re.findall(r"^ +- alert: (\w+)$", text_of(RULES), re.MULTILINE)


def same_unit(unit, dimension):
    if unit == "bytes" and dimension == {"B": 1, "n": -1}:  # of each
        return True
    if unit == "s" and dimension == {"s": 1, "n": -1}:
        return True
    return UNITS.get(unit) == dimension


def check_grid(found, name, panels):
    taken = {}
    for panel in panels:
        grid = panel["gridPos"]
        if grid["x"] < 0 or grid["x"] + grid["w"] > COLUMNS or min(grid["w"], grid["h"]) < 1:
            found.say(f"{name}, {panel['title']}", f"does not fit: {grid}")
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    return found.say(name, f"{panel['title']} lies on {other}")


def check_panel(found, name, panel, known):
    where = f"{name}, {panel['title']}"
    if panel["type"] not in KINDS:
        found.say(where, f"is a {panel['type']}")
    if panel["type"] == "row":
        return
    if len(panel.get("description", "")) < 10:
        found.say(where, "has no description")
    if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
        found.say(where, "has another data source than the variable's")
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if len({target["refId"] for target in panel["targets"]}) != len(panel["targets"]) or not panel["targets"]:
        found.say(where, "its queries need names of their own")
    for target in panel["targets"]:
        expression = target["expr"]
        for used in set(re.findall(r"\$(\w+)", re.sub(r'"\$\d"', "", expression))) - known:
            if not used.startswith("__"):
                found.say(where, f"there is no variable {used}")
        if "legendFormat" not in target or (panel["type"] == "timeseries" and not target["legendFormat"]):
            found.say(where, "has no legend")
        try:
            measured = promql.dimension(promql.read(expression))
        except promql.Wrong as wrong:
            found.say(where, str(wrong))
            continue
        if not same_unit(unit, measured):
            found.say(where, f"is shown in {unit}, but measured in {measured}: {expression}")
        for series, labels in promql.series(promql.read(expression)):
            joined = series.startswith("process_") and " and on (instance, job) longshore_build_info{" in expression
            if series != "$price" and "$" not in labels and not joined:
                found.say(where, f"{series}{labels} is of all nodes, whatever is chosen")


def check_dashboard(found, name, dashboard):
    if dashboard.get("schemaVersion", 0) < SCHEMA_VERSION_MIN or "id" in dashboard:
        found.say(name, "needs a schemaVersion of now, and no id")
    if f"longshore-{name.removesuffix('.json')}" != dashboard["uid"] or not dashboard["title"]:
        found.say(name, "needs a title, and its file's name in its uid")
    known = variables(dashboard)
    if not {"datasource", "node"} <= set(known):
        found.say(name, "needs the variables datasource and node")
    panels = dashboard["panels"]
    for what in ("id", "title"):
        values = [panel[what] for panel in panels if what == "id" or panel["type"] != "row"]
        for value in {value for value in values if values.count(value) > 1}:
            found.say(name, f"two panels have the {what} {value}")
    check_grid(found, name, panels)
    for panel in panels:
        check_panel(found, name, panel, set(known))


def check_runbook(found):
    alerts, runbook = alert_names(), text_of(RUNBOOK)
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", runbook, re.MULTILINE | re.DOTALL))
    for name in sorted(set(alerts) ^ set(sections)):
        found.say(name, "is an alert without a section in RUNBOOK.md" if name in alerts else "is a section without an alert")
    for name, section in sections.items():
        for word in ("**Means**", "**Look**", "**Do**", "**Lost meanwhile**"):
            if word not in section:
                found.say(f"RUNBOOK.md, {name}", f"does not say {word}")
    urls = re.findall(r"runbook_url: (\S+)/deploy/RUNBOOK.md#(\w+)$", text_of(RULES), re.MULTILINE)
    if [anchor for _, anchor in urls] != [name.lower() for name in alerts]:
        found.say("rules.yaml", "each alert needs the runbook_url of its section")
    manifest = text_of(os.path.join(ROOT, "Cargo.toml"))
    repository = re.search(r'^repository = "(.*)"', manifest, re.MULTILINE)[1]
    if {base for base, _ in urls} != {f"{repository}/blob/main"}:
        found.say("rules.yaml", f"runbook_url is not below {repository}")


def check_kusto(found):
    """The queries for Azure are about tables and columns that rule.json makes."""
    with open(os.path.join(DEPLOY, "azure", "rule.json"), encoding="utf-8") as file:
        resources = json.load(file)["resources"]
    schemas = [one["properties"]["schema"] for one in resources if one["type"].endswith("/tables")]
    tables = {one["name"]: {column["name"] for column in one["columns"]} for one in schemas}
    for block in re.findall(r"```kusto\n(.*?)```", text_of(os.path.join(DEPLOY, "azure", "queries.md")), re.DOTALL):
        table = block.split("\n", 1)[0]
        if table not in tables:
            found.say("queries.md", f"there is no table {table}")
            continue
        code = re.sub(r'@?"[^"]*"', '""', block)
        made = set(re.findall(r"\b([A-Z]\w*) =(?!=)", code))
        used = set(re.findall(r"(?<![.\w])[A-Z]\w*", code)) - made - {table}
        for name in sorted(used - tables[table]):
            found.say("queries.md", f"{table} has no column {name}:\n{block}")


def main():
    if sys.argv[1:] == ["--derive"]:
        with open(PROMETHEUS_RULE, "w", encoding="utf-8") as file:
            file.write(derived())
        return 0
    found = Found()
    for name, dashboard in dashboards().items():
        check_dashboard(found, name, dashboard)
    check_runbook(found)
    check_kusto(found)
    if text_of(PROMETHEUS_RULE) != derived():
        found.say("prometheusrule.yaml", "is not rules.yaml; run tests/observe/run --derive")
    for mistake in found.mistakes:
        print(mistake, file=sys.stderr)
    boards = dashboards()
    print(f"  {len(boards)} dashboards with {sum(len(queries(one)) for one in boards.values())} queries, "
          f"{len(alert_names())} alerts and their runbook")
    return 1 if found.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
