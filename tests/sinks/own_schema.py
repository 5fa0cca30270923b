"""proto/longshore/v1 and what is sent of it, by the official compiler and runtime of protobuf.

The receivers know nothing but the .proto files.
"""

import glob
import gzip
import http.server
import importlib
import json
import os
import sys
import threading

import grpc_tools
from grpc_tools import protoc

from proof import WORK, Agent, Writer, fail, free_port, proved, stamp_ns, wait_for

PROTO = os.path.join(os.path.dirname(__file__), "../../proto")


def compiled():
    """The modules of logs.proto and metrics.proto."""
    out = os.path.join(WORK, "compiled")
    os.makedirs(out)
    includes = [f"-I{PROTO}", f"-I{os.path.join(os.path.dirname(grpc_tools.__file__), '_proto')}"]
    files = [os.path.relpath(path, PROTO) for path in glob.glob(f"{PROTO}/longshore/v1/*.proto")]
    if protoc.main(["protoc", *includes, f"--python_out={out}", *files]) != 0:
        fail("protoc does not take the files of proto/longshore/v1")
    sys.path.insert(0, out)
    return [importlib.import_module(f"longshore.v1.{name}_pb2") for name in ("logs", "metrics")]


def receiver(bodies):
    """Keeps what is posted, by path; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Content-Type"] != "application/x-protobuf":
                bodies.setdefault("wrong", []).append(self.headers["Content-Type"])
            bodies.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def lines_of(logs, body, name):
    """Checks a batch against the lines that were written; the lines in it."""
    found = []
    batch = logs.LogBatch.FromString(body)
    for group in batch.groups:
        container = group.container
        pod = container.pod_name
        said = (container.computer, container.container_name, container.pod_namespace, container.pod_uid)
        fields = [(field.name, json.loads(field.json)) for field in container.fields]
        if said != ("n1", "app", "shop", f"{pod}-uid") or container.cluster_name != "blue" or fields != [("sink", name)]:
            fail(f"{name}: a container {container}")
        for record in group.records:
            right = record.source == logs.LOG_SOURCE_STDOUT and len(record.record_uid) == 16
            if not right or record.time_unix_nano != stamp_ns(record.message) or record.cut or record.partial:
                fail(f"{name}: a record {record}")
            found.append((pod, record.message))
    return found


def decoded():
    logs, metrics = compiled()
    bodies = {}
    port = receiver(bodies)
    pods = os.path.join(WORK, "schema-pods")
    writer = Writer(pods, 4_000, 0)
    every = {
        "format": "protobuf",
        "record_uid": True,
        "signals": ["logs", "metrics"],
        "payload_records_max": 700,
        "flush_interval_ms": 100,
    }
    url = f"http://127.0.0.1:{port}"
    directory = os.path.join(WORK, "schema-files")
    sinks = {
        "posted": {**every, "type": "http", "url": f"{url}/logs", "metrics_url": f"{url}/metrics", "fields": {"sink": "posted"}},
        "filed": {**every, "type": "file", "directory": directory, "fields": {"sink": "filed"}},
    }
    agent = Agent("schema", pods, sinks, {"interval_ms": 1000})
    writer.run()
    agent.start()
    written = sorted((pod, body) for pod, all_of in writer.written.items() for body in all_of)

    def posted():
        return sum(len(lines_of(logs, body, "posted")) for body in bodies.get("/logs", [])) >= len(written)

    wait_for("all lines", posted)
    wait_for("samples", lambda: len(bodies.get("/metrics", [])) > 0)
    wait_for("files of samples", lambda: glob.glob(f"{directory}/metrics/*.pb.gz*"))
    agent.stop()
    if "wrong" in bodies:
        fail(f"Content-Type {bodies['wrong'][0]}")

    def files(below):
        return b"".join(gzip.open(path).read() for path in sorted(glob.glob(f"{directory}/{below}*.pb.gz*")))

    for name, log_bytes, metric_bytes in (
        # Batches one behind the other are a batch.
        ("posted", b"".join(bodies["/logs"]), b"".join(bodies["/metrics"])),
        ("filed", files(""), files("metrics/")),
    ):
        lines = sorted(lines_of(logs, log_bytes, name))
        if lines != written:
            fail(f"{name}: {len(lines)} lines of {len(written)}")
        groups = metrics.MetricBatch.FromString(metric_bytes).groups
        for group in groups:
            by_name = {sample.name: sample for sample in group.samples}
            memory, cpu = by_name["node_memory_MemTotal_bytes"], by_name["node_cpu_seconds_total"]
            kinds = (memory.kind, cpu.kind) == (metrics.METRIC_KIND_GAUGE, metrics.METRIC_KIND_COUNTER)
            labels = {label.name for label in cpu.labels}
            if not kinds or memory.value < 1e6 or labels != {"cpu", "mode"} or group.origin.computer != "n1":
                fail(f"{name}: samples {memory} {cpu} of {group.origin}")
        samples = sum(len(group.samples) for group in groups)
        proved(f"own schema, {name}: protobuf's own runtime reads {len(lines)} lines and {samples} samples")
