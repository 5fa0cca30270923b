"""ClickHouse's engine (chDB) behind as much of its HTTP interface as an insert needs; it fails on purpose.

The engine decides everything that is stored or refused; only faults are made here.
"""

import gzip
import http.server
import os
import random
import re
import threading
import time
import urllib.parse
from email.utils import formatdate

from chdb import session

# Nothing stored: an answer of the server's, of something before it, or none.
EXCEPTIONS = {"too many parts": (500, 252, "TOO_MANY_PARTS"), "memory": (500, 241, "MEMORY_LIMIT_EXCEEDED")}
FAULTS = ["500", "503", "502", "429 seconds", "429 date", "dropped", "hung", "answer lost", "broken off", "trickle"]
FAULTS += list(EXCEPTIONS)
# Parameters of the interface that are no settings of the query.
NOT_SETTINGS = {"query", "database", "wait_end_of_query", "query_id"}
HANG_S = 1.5


class Engine:
    """A database on disk, one query at a time."""

    def __init__(self, directory, database, tables):
        self.session = session.Session(directory)
        self.database = database
        self.lock = threading.Lock()
        self.query(f"CREATE DATABASE IF NOT EXISTS {database}")
        statements = re.sub(r"--.*", "", open(tables, encoding="utf-8").read()).split(";")
        for statement in filter(str.strip, statements):
            # The file names no database: whoever runs it has chosen one.
            self.query(statement.replace("EXISTS ", f"EXISTS {database}.", 1))

    def query(self, text, form="TSVRaw"):
        with self.lock:
            return self.session.query(text, form).bytes().decode()

    def version(self):
        return self.query("SELECT version()").strip()

    def insert(self, parameters, rows):
        """Runs an insert; its exception's text, if it fails."""
        match = re.fullmatch(r"INSERT INTO (\w+) FORMAT JSONEachRow", parameters["query"])
        settings = ", ".join(f"{key} = '{value}'" for key, value in parameters.items() if key not in NOT_SETTINGS)
        table = f"{parameters['database']}.{match[1]}"
        query = f"INSERT INTO {table} SETTINGS {settings} FORMAT JSONEachRow\n{rows.decode()}"
        if not rows:
            # The server's interface takes an insert without rows; the embedded engine's does not, but knows the table.
            query = f"SELECT * FROM {table} LIMIT 0"
        try:
            with self.lock:
                self.session.query(query, "Null")
        except Exception as error:  # whatever the engine says is the answer
            return str(error)
        return None


class Store:
    """What goes wrong, and what has gone wrong."""

    def __init__(self, engine, seed, chance):
        self.engine = engine
        self.random = random.Random(seed)
        self.chance = chance
        self.lock = threading.Lock()
        self.met = {}
        self.requests = 0
        self.refused = []
        self.tokens = set()

    def calm(self):
        with self.lock:
            self.chance = 0

    def fault(self):
        with self.lock:
            self.requests += 1
            if self.random.random() >= self.chance:
                return None
            name = FAULTS[sum(self.met.values()) % len(FAULTS)]
            self.met[name] = self.met.get(name, 0) + 1
            return name


def start(store):
    """Listens on a free port, which it returns."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(store))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def handler(store):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def log_message(self, *_):
            pass

        def do_POST(self):
            try:
                self.answer()
            except (ConnectionError, TimeoutError):
                # An agent that was killed.
                self.close_connection = True

        def answer(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            split = urllib.parse.urlsplit(self.path)
            parameters = dict(urllib.parse.parse_qsl(split.query, strict_parsing=True))
            fault = store.fault() if body else None
            if fault in EXCEPTIONS:
                status, code, name = EXCEPTIONS[fault]
                return self.tell(status, f"Code: {code}. DB::Exception: on purpose. ({name})\n", code=code)
            if fault in ("500", "503", "502"):
                return self.tell(int(fault), "not now")
            if fault == "429 seconds":
                return self.tell(429, "", retry_after="1")
            if fault == "429 date":
                return self.tell(429, "", retry_after=formatdate(time.time() + 2, usegmt=True))
            if fault in ("dropped", "hung"):
                time.sleep(HANG_S if fault == "hung" else 0)
                self.close_connection = True
                return None
            error = store.engine.insert(parameters, body)
            if error:
                code = int(re.search(r"Code: (\d+)", error)[1])
                store.refused.append(error)
                return self.tell(400 if code != 60 else 404, error, code=code)
            if fault == "answer lost":
                self.close_connection = True
                return None
            return self.tell(200, "Ok.\n" if fault else "", fault=fault)

        def tell(self, status, text, code=None, retry_after=None, fault=None):
            text = text.encode()
            self.send_response(status)
            if code:
                self.send_header("X-ClickHouse-Exception-Code", str(code))
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(text) + (10 if fault == "broken off" else 0)))
            self.end_headers()
            for byte in text:
                self.wfile.write(bytes([byte]))
                time.sleep(0.01 if fault == "trickle" else 0)
            if fault == "broken off":
                self.close_connection = True

    return Handler
