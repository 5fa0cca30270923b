"""An API server as far as the agent of one node asks it: lists and watches over TLS.

Who asks needs the token of the service account and, by the ClusterRole that is given, the right; of pods and nodes he is
told his own node's alone, and has to ask for no others. What is asked otherwise is refused, and noted in `violations`.
"""

import http.server
import json
import ssl
import subprocess
import threading
import time
import urllib.parse

KINDS = {"pods": "PodList", "nodes": "NodeList", "namespaces": "NamespaceList"}


def certificates(directory, address):
    """(authority, certificate, key): a key of the server that an authority of its own has signed for."""
    authority, request, certificate, key = (f"{directory}/{name}" for name in ("ca.crt", "api.csr", "api.crt", "api.key"))
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    with open(f"{directory}/names", "w") as file:
        file.write(f"subjectAltName=IP:{address}\n")
    for command in (
            ["req", "-x509", *new_key, "-keyout", f"{directory}/ca.key", "-out", authority, "-days", "2",
             "-subj", "/CN=authority"],
            ["req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=api"],
            ["x509", "-req", "-in", request, "-CA", authority, "-CAkey", f"{directory}/ca.key", "-CAcreateserial",
             "-days", "2", "-extfile", f"{directory}/names", "-out", certificate]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return authority, certificate, key


class Api:
    """`role`: the ClusterRole of whoever asks. `selectors`: {resource: the field selector that he has to give}."""

    def __init__(self, directory, address, token, role, selectors):
        self.token, self.selectors = token, selectors
        self.granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"]
                        for verb in rule["verbs"]}
        self.changed = threading.Condition()
        self.version, self.objects, self.events = 100, {}, []
        self.asked, self.violations, self.watches = [], [], 0
        authority, certificate, key = certificates(directory, address)
        with open(authority) as file:
            self.authority = file.read()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer((address, 0), handler(self))
        self.server.daemon_threads = True
        # In the connection's own thread, for one that says nothing must not keep others waiting.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, resource, item):
        """Adds an object, or changes the one of its name."""
        name = item["metadata"].get("namespace"), item["metadata"]["name"]
        with self.changed:
            kind = "MODIFIED" if (resource, name) in self.objects else "ADDED"
            self.tell(resource, name, kind, item)

    def delete(self, resource, namespace, name):
        with self.changed:
            item = self.objects[resource, (namespace, name)]
            self.tell(resource, (namespace, name), "DELETED", item)
            del self.objects[resource, (namespace, name)]

    def tell(self, resource, name, kind, item):
        self.version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self.objects[resource, name] = item
        self.events.append((self.version, resource, kind, item))
        self.changed.notify_all()

    def refusal(self, resource, verb, token, parameters):
        """(status, why), or nothing."""
        if token != f"Bearer {self.token}":
            return 401, "Unauthorized"
        if (resource, verb) not in self.granted:
            return 403, f"cannot {verb} {resource}"
        wanted, given = self.selectors.get(resource), parameters.get("fieldSelector")
        if given != wanted:
            return 400, f"{resource} of {given}, not of {wanted}"
        return None

    def listed(self, resource):
        with self.changed:
            items = [item for (kind, _), item in self.objects.items() if kind == resource]
            return {"kind": KINDS[resource], "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)},
                    "items": items}

    def events_after(self, version, resource, until):
        """What has happened since, as soon as anything has; nothing if it is too late."""
        with self.changed:
            while True:
                found = [event for event in self.events if event[0] > version and event[1] == resource]
                left = until - time.monotonic()
                if found or left <= 0:
                    return found
                self.changed.wait(left)


def handler(api):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path, _, query = self.path.partition("?")
            resource, parameters = path.removeprefix("/api/v1/"), dict(urllib.parse.parse_qsl(query))
            verb = "watch" if parameters.get("watch") in ("1", "true") else "list"
            refused = api.refusal(resource, verb, self.headers["Authorization"], parameters)
            with api.changed:
                api.asked.append((resource, verb))
                if refused:
                    api.violations.append(f"{self.path}: {refused[1]}")
            if refused:
                self.whole(refused[0], {"kind": "Status", "code": refused[0], "message": refused[1]})
            elif verb == "list":
                self.whole(200, api.listed(resource))
            else:
                self.watch(resource, parameters)

        def whole(self, status, answer):
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def watch(self, resource, parameters):
            until = time.monotonic() + int(parameters["timeoutSeconds"])
            version = int(parameters["resourceVersion"])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            with api.changed:
                api.watches += 1
            try:
                while events := api.events_after(version, resource, until):
                    for version, _, kind, item in events:
                        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # whoever watched has gone

        def log_message(self, *_):
            pass

    return Handler
