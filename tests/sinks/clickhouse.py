"""The proof of tests/sinks/clickhouse: the engine, a log tree that is written to, the agent, and what the tables show.

Each step says what it proves; the first that fails ends the proof with exit code 1.
"""

import os
import sys
import time

import clickhouse_shim
from clickhouse_shim import FAULTS, Engine, Store
from proof import EPOCH_S, KILLS, LINES, PODS, SEED, WORK, Agent, Writer, fail, proved, wait_for

PATIENCE_S = 150
DATABASE = "telemetry"
TABLES = os.path.join(os.path.dirname(__file__), "../../deploy/clickhouse.sql")


def sink(port, **more):
    return {
        "type": "clickhouse",
        "url": f"http://127.0.0.1:{port}/",
        "database": DATABASE,
        "payload_records_max": 2000,
        "flush_interval_ms": 100,
        "request_timeout_ms": 1000,
        "backoff_min_ms": 20,
        "backoff_max_ms": 200,
        "checkpoint_interval_ms": 200,
        "probe_interval_ms": 1000,
        **more,
    }


def agent_of(name, pods, config):
    return Agent(name, pods, {"main": config}, {"interval_ms": 1000})


def checked(engine, port, pods):
    """`check --connect` against the engine: a table that is there, and one that is not."""
    said = agent_of("good", pods, sink(port)).connects()
    if "good: took an empty payload" not in said:
        fail(f"check --connect: {said}")
    said = agent_of("wrong", pods, sink(port, table="nowhere")).connects()
    if "UNKNOWN_TABLE" not in said:
        fail(f"check --connect, a table that is not there: {said}")
    proved(f"ClickHouse {engine.version()} (chDB) has the tables of deploy/clickhouse.sql; its words on a missing one are passed on")


def through_faults(engine, store, port, pods):
    lines = LINES // len(PODS) * len(PODS)
    writer = Writer(pods, lines, 0.03 if LINES <= 100_000 else 0.001)
    agent = agent_of("faults", pods, sink(port, signals=["logs", "metrics"]))
    table = f"{DATABASE}.ContainerLogV2"
    agent.start()
    writer.start()
    deadline = time.monotonic() + PATIENCE_S * max(1, LINES / 100_000)
    kills = 0
    stored = distinct = 0
    while distinct < lines or writer.is_alive():
        stored = int(engine.query(f"SELECT count() FROM {table}"))
        if stored >= lines:
            distinct = int(engine.query(f"SELECT count() FROM {table} FINAL"))
        if kills < KILLS and stored > lines * (kills + 1) // (KILLS + 1):
            agent.kill()
            agent.start()
            kills += 1
            proved(f"killed at {stored} rows, started again")
        if stored > lines * 9 // 10:
            store.calm()
        if time.monotonic() > deadline:
            fail(f"waited for too long: {distinct} distinct of {stored} stored, of {lines}")
        time.sleep(0.3)
    time.sleep(0.5)
    agent.stop()
    if kills < KILLS:
        fail(f"only {kills} kills found their moment")
    if store.refused:
        fail(f"the engine refused {len(store.refused)} inserts: {store.refused[0][:400]}")
    missing = set(FAULTS) - set(store.met)
    if missing:
        fail(f"faults that were not met: {missing}")
    compared(engine, table, writer)
    proved(
        f"{lines} lines, each once with FINAL; the table had held {stored} rows from {store.requests} requests,"
        f" through {sum(store.met.values())} faults of {len(store.met)} kinds and {kills} kills"
    )


def compared(engine, table, writer):
    """Fails unless FINAL shows every line once, whole, and at its time."""
    rows = engine.query(f"SELECT PodName, LogMessage FROM {table} FINAL").splitlines()
    found = {tuple(row.split("\t", 1)) for row in rows}
    written = {(pod, body) for pod, bodies in writer.written.items() for body in bodies}
    if len(rows) != len(written) or found != written:
        lost, strange = written - found, found - written
        fail(f"{len(rows)} rows of {len(written)} lines; {len(lost)} lost: {list(lost)[:2]}, strange: {list(strange)[:2]}")
    number = "toUInt64(extract(LogMessage, '^line (\\\\d+) '))"
    moment = f"({EPOCH_S} + intDiv(n, 1000)) * 1000000000 + n % 1000 * 1000000 + n % 1000"
    columns = "Computer, ContainerName, PodNamespace, LogSource, KubernetesMetadata, ClusterName"
    wrong = engine.query(
        f"SELECT count() FROM (SELECT {number} AS n, * FROM {table} FINAL)"
        f" WHERE toUnixTimestamp64Nano(TimeGenerated) != {moment} OR length(RecordUid) != 32"
        f" OR JSONExtractString(KubernetesMetadata, 'podUid') != concat(PodName, '-uid')"
        f" OR (Computer, ContainerName, PodNamespace, LogSource, ClusterName) != ('n1', 'app', 'shop', 'stdout', 'blue')"
    )
    if int(wrong):
        example = engine.query(f"SELECT TimeGenerated, {columns} FROM {table} LIMIT 1")
        fail(f"{int(wrong)} rows have other columns than were written: {example}")


def metrics(engine):
    """The side door's rows are in their table, with numbers and labels."""
    table = f"{DATABASE}.InsightsMetrics"
    query = f"SELECT count(), uniqExact(Name), countIf(Name = 'node_memory_MemTotal_bytes' AND Val > 1e6) FROM {table} FINAL"
    samples, names, memory = map(int, engine.query(query).split())
    labelled = int(engine.query(f"SELECT countIf(JSONExtractString(Tags, 'mode') = 'user') FROM {table} FINAL"))
    if names < 20 or not memory or not labelled:
        fail(f"metrics: {samples} samples of {names} names, {memory} of memory, {labelled} with a mode")
    proved(f"{samples} samples of {names} metrics are in InsightsMetrics")


def main():
    engine = Engine(os.path.join(WORK, "engine"), DATABASE, TABLES)
    store = Store(engine, SEED, 0.3)
    port = clickhouse_shim.start(store)
    pods = os.path.join(WORK, "pods")
    os.makedirs(pods)
    checked(engine, port, pods)
    store.refused.clear()
    through_faults(engine, store, port, pods)
    wait_for("samples", lambda: int(engine.query(f"SELECT count() FROM {DATABASE}.InsightsMetrics")))
    metrics(engine)


try:
    main()
    code = 0
except SystemExit as end:
    code = end.code
# The engine does not outlive the interpreter's own end in good order.
sys.stdout.flush()
os._exit(code)
