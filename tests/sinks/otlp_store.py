"""A receiver of OTLP on the official messages and gRPC, that fails on purpose; and a proxy that breaks connections.

What is stored is decided before the answer is given: an answer may say less than is true.
"""

import concurrent.futures
import gzip
import http.server
import itertools
import random
import socket
import struct
import threading
import time
from email.utils import formatdate

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs

from proof import stamp_ns

LOGS_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
ATTRIBUTES = {
    "service.name", "k8s.cluster.name", "k8s.node.name", "k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid",
    "k8s.container.name", "k8s.container.restart_count", "proof",
}


class Store:
    """What arrived over one protocol."""

    def __init__(self, name, seed, chance):
        self.name = name
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.chance = chance
        self.rows = {}  # uid: (pod, body)
        self.records = 0
        self.requests = 0
        self.rejected = set()  # (pod, body) of a partial success
        self.met = {}
        self.wrong = []

    def calm(self):
        with self.lock:
            self.chance = 0

    def fault(self, names):
        """The fault to meet now, if any: one after the other of these."""
        with self.lock:
            self.requests += 1
            if self.random.random() >= self.chance:
                return None
            name = names[sum(self.met.values()) % len(names)]
            self.met[name] = self.met.get(name, 0) + 1
            return name

    def take(self, body, reject=0):
        """Stores the records of a request but the first `reject` ones. Returns how many there were."""
        request = logs.ExportLogsServiceRequest.FromString(body)
        with self.lock:
            count = 0
            for resource_logs in request.resource_logs:
                resource = {one.key: one.value for one in resource_logs.resource.attributes}
                if set(resource) != ATTRIBUTES:
                    self.wrong.append(f"resource attributes {sorted(resource)}")
                    return 0
                pod = resource["k8s.pod.name"].string_value
                if resource["k8s.container.restart_count"].int_value != 0 or not resource_logs.schema_url:
                    self.wrong.append(f"resource {resource}")
                for scope_logs in resource_logs.scope_logs:
                    for record in scope_logs.log_records:
                        count += 1
                        attributes = {one.key: one.value.string_value for one in record.attributes}
                        uid = attributes.pop("log.record.uid")
                        row = (pod, record.body.string_value)
                        if attributes != {"log.iostream": "stdout"} or len(uid) != 32:
                            self.wrong.append(f"record attributes {attributes}, uid {uid}")
                        if record.time_unix_nano != stamp_ns(record.body.string_value):
                            self.wrong.append(f"time {record.time_unix_nano} of {record.body.string_value!r}")
                        if count <= reject:
                            self.rejected.add(row)
                            continue
                        self.records += 1
                        if self.rows.setdefault(uid, row) != row:
                            self.wrong.append(f"uid {uid} is of {self.rows[uid]} and {row}")
            return count


def partial(rejected, message):
    answer = logs.ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = rejected
    answer.partial_success.error_message = message
    return answer.SerializeToString()


HTTP_FAULTS = ["429 seconds", "429 date", "503", "502", "500", "413", "partial success", "warning", "answer lost"]


def http_handler(store):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def log_message(self, *_):
            pass

        def tell(self, status, body=b"", headers=()):
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            if self.path != "/v1/logs" or self.headers["Content-Type"] != "application/x-protobuf":
                store.wrong.append(f"{self.path} {self.headers}")
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            fault = store.fault(HTTP_FAULTS)
            if fault == "429 seconds":
                self.tell(429, headers=[("Retry-After", "1")])
            elif fault == "429 date":
                self.tell(429, headers=[("Retry-After", formatdate(time.time() + 1, usegmt=True))])
            elif fault in ("503", "502", "500", "413"):
                self.tell(int(fault))
            elif fault == "partial success":
                store.take(body, reject=1)
                self.tell(200, partial(1, "one is not wanted"))
            elif fault == "warning":
                store.take(body)
                self.tell(200, partial(0, "take care"))
            elif fault == "answer lost":
                store.take(body)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                store.take(body)
                self.tell(200)

        def handle(self):
            # A connection that is broken on purpose, or by an agent that was killed.
            try:
                super().handle()
            except OSError:
                pass

    return Handler


def start_http(store):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http_handler(store))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


GRPC_FAULTS = [
    "UNAVAILABLE with RetryInfo", "UNAVAILABLE", "RESOURCE_EXHAUSTED with RetryInfo", "too large", "ABORTED",
    "partial success", "warning", "answer lost",
]


def details(code, milliseconds):
    """`google.rpc.Status` with a `RetryInfo`, by their field numbers: their Python package is not in the official set."""
    delay = Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000).SerializeToString()
    info = b"\x0a" + bytes([len(delay)]) + delay
    any_ = Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info).SerializeToString()
    return b"\x08" + bytes([code]) + b"\x1a" + bytes([len(any_)]) + any_


class Service(grpc.GenericRpcHandler):
    def __init__(self, store):
        self.store = store

    def service(self, call):
        if call.method != LOGS_METHOD:
            self.store.wrong.append(call.method)
            return None
        return grpc.unary_unary_rpc_method_handler(self.export)

    def export(self, body, context):
        fault = self.store.fault(GRPC_FAULTS)
        if fault in ("UNAVAILABLE with RetryInfo", "RESOURCE_EXHAUSTED with RetryInfo"):
            code = grpc.StatusCode[fault.split()[0]]
            context.set_trailing_metadata((("grpc-status-details-bin", details(code.value[0], 300)),))
            context.abort(code, "try in 300 ms")
        elif fault in ("UNAVAILABLE", "ABORTED"):
            context.abort(grpc.StatusCode[fault], "not now, caf\u00e9")
        elif fault == "too large":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (9 vs. 4)")
        elif fault == "partial success":
            self.store.take(body, reject=1)
            return partial(1, "one is not wanted")
        elif fault == "warning":
            self.store.take(body)
            return partial(0, "take care")
        elif fault == "answer lost":
            self.store.take(body)
            context.abort(grpc.StatusCode.UNAVAILABLE, "stored, and does not say so")
        self.store.take(body)
        return b""


def start_grpc(store):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Service(store),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


class Proxy:
    """Passes connections on to a port; some break: in the midst of a request, before an answer, by silence, by haste."""

    FAULTS = ["reset", "hang", "trickle", "answer lost on the way"]

    def __init__(self, port, seed, chance):
        self.port = port
        self.random = random.Random(seed)
        self.chance = chance
        self.met = {}
        self.plans = itertools.cycle(self.FAULTS)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listens_on = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def calm(self):
        self.chance = 0

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.port))
            state = {"up": 0, "plan": self.plan()}
            for source, target, is_up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=(source, target, is_up, state), daemon=True).start()

    def plan(self):
        """After how many bytes of requests what happens."""
        if self.random.random() >= self.chance:
            return None
        return next(self.plans), self.random.randrange(1_000, 40_000)

    def pump(self, source, target, is_up, state):
        try:
            while data := source.recv(16_384):
                if is_up:
                    state["up"] += len(data)
                fault = state["plan"] and state["up"] > state["plan"][1] and state["plan"][0]
                if fault and self.chance:
                    if fault == "reset" and is_up:
                        self.count(fault)
                        target.sendall(data[: len(data) // 2])
                        break
                    if fault == "hang":
                        self.count(fault)
                        state["plan"] = None
                        time.sleep(1.5)
                        break
                    if fault == "trickle" and is_up:
                        self.count(fault)
                        state["plan"] = None
                        for at in range(0, len(data), 256):
                            target.sendall(data[at : at + 256])
                            time.sleep(0.005)
                        continue
                    if fault == "answer lost on the way" and not is_up:
                        self.count(fault)
                        break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                # An end that is not orderly: RST.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def count(self, fault):
        self.met[fault] = self.met.get(fault, 0) + 1
