"""The pods of `tests/real/run --containers`: what the agent measures of them against kernel, runtime and plugin.

containers.py WORK TEST    TEST: the program of the integration tests; exit 0 if all of it holds

One pod has a network of its own, made by the real bridge and host-local plugins, and a container with limits that
burns CPU, holds memory, fills page cache and fetches a page of known size; another pod is in the node's network. The
test named in `measure` samples them twice: as root, and without any right in a pid namespace of its own.
"""

import http.server
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid

from runtime import IMAGE, NAMESPACE, Runtime, fields_of

TEST = "containers::a_real_pod_is_measured_as_kernel_and_runtime_do"
MEMORY_LIMIT = 64 << 20
PERIOD_US, QUOTA_US, SHARES = 100_000, 20_000, 512
PAGE_BYTES = 1 << 20
READY_WITHIN_S = 30

SCRIPT = r"""
seq 1 300000 > /tmp/page-cache; while read -r line; do :; done < /tmp/page-cache &
awk 'BEGIN { held = "x"; for (i = 0; i < 24; i++) held = held held; system("sleep 2147483647") }' &
/bin/busybox wget -q -O /dev/null URL || exit 1
i=0; while [ $i -lt 150000 ]; do i=$((i + 1)); done
echo ready; sleep 2147483647
"""


class Pod:
    def __init__(self, work, name, script):
        self.name, self.script, self.uid = name, script, str(uuid.uuid4())
        self.directory = f"{work}/pods/{NAMESPACE}_{name}_{self.uid}"


class Limited(Runtime):
    """A runtime whose pods have networks of their own, and whose containers have limits."""

    def namespaces(self):
        return {1: self.POD, 2: self.CONTAINER, 3: self.POD}

    def start_limited(self, pod):
        resources = {1: PERIOD_US, 2: QUOTA_US, 3: SHARES, 4: MEMORY_LIMIT}
        config = {
            1: {1: "main", 2: 0},
            2: {1: IMAGE},
            3: ["/bin/sh", "-c", pod.script],
            11: "main/0.log",
            15: {1: resources, 2: {3: self.namespaces()}},
        }
        os.makedirs(f"{pod.directory}/main")
        container = self.call("CreateContainer", {1: pod.sandbox, 2: config, 3: pod.config})[1][0].decode()
        self.call("StartContainer", {1: container})
        return container

    def stats(self, container):
        """CPU time in ns and working set in bytes, as the runtime computes them."""
        stats = fields_of(self.call("ContainerStats", {1: container})[1][0])
        cpu, memory = fields_of(stats[2][0]), fields_of(stats[3][0])
        return fields_of(cpu[2][0])[1][0], fields_of(memory[2][0])[1][0]


def link(work, pod, container):
    os.makedirs(f"{work}/containers", exist_ok=True)
    name = f"{pod.name}_{NAMESPACE}_main-{container}.log"
    os.symlink(f"{pod.directory}/main/0.log", f"{work}/containers/{name}")


def serve(address):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(PAGE_BYTES))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{address}:{server.server_port}/"


def wait_ready(pod):
    end = time.monotonic() + READY_WITHIN_S
    log = f"{pod.directory}/main/0.log"
    while "ready" not in (open(log).read() if os.path.exists(log) else ""):
        if time.monotonic() > end:
            sys.exit(f"the container did not get ready within {READY_WITHIN_S} s")
        time.sleep(0.1)


def address_of(plan):
    """The pod's address, and a reservation of nobody beside it."""
    (network,) = os.listdir(plan["reservations"])
    directory = f"{plan['reservations']}/{network}"
    addresses = [name for name in os.listdir(directory) if name[0].isdigit()]
    with open(f"{directory}/{ipaddress.ip_address(addresses[0]) + 9}", "w") as leak:
        leak.write("f" * 64 + "\r\neth0")
    return addresses


def measure(plan, work, test, who, wrapper):
    plan = dict(plan, privileged=who == "root")
    path = f"{work}/plan.json"
    with open(path, "w") as file:
        json.dump(plan, file)
    command = [*wrapper, test, "--exact", TEST, "--ignored", "--nocapture"]
    done = subprocess.run(command, env={"LONGSHORE_REAL": path}, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "1 passed" not in done.stdout:
        sys.exit(f"as {who}:\n{done.stdout}{done.stderr}")
    print(f"as {who}: {done.stdout.split('measured: ')[1].splitlines()[0]}")


def main(work, test):
    os.chmod(work, 0o755)
    shutil.copy(test, f"{work}/it")
    runtime, host_network = Limited(work), Runtime(work)
    with open(f"{work}/containerd/cni/10-real.conflist") as file:
        ipam = json.load(file)["plugins"][0]["ipam"]
    pod, other = Pod(work, "limited", ""), Pod(work, "hosted", "sleep 2147483647")
    runtime.run_pod(pod)
    subnet = ipaddress.ip_network(ipam["ranges"][0][0]["subnet"])
    pod.script = SCRIPT.replace("URL", serve(str(subnet[1])))
    container = runtime.start_limited(pod)
    link(work, pod, container)
    host_network.run_pod(other)
    link(work, other, host_network.start_container(other, 0))
    wait_ready(pod)
    plan = {
        "logs": work,
        "namespace": NAMESPACE,
        "pod": pod.name,
        "other_pod": other.name,
        "container": container,
        "sandbox": pod.sandbox,
        "pod_cgroup": f"{runtime.cgroup}/pod{pod.uid}",
        "memory_limit": MEMORY_LIMIT,
        "period_us": PERIOD_US,
        "quota_us": QUOTA_US,
        "shares": SHARES,
        "page_bytes": PAGE_BYTES,
        "reservations": ipam["dataDir"],
        "networks": f"{work}/containerd/cni",
    }
    addresses = address_of(plan)
    if len(addresses) != 1:
        sys.exit(f"the plugin gave out {addresses}, not one address")
    plan["runtime_cpu_ns"], plan["runtime_working_set"] = runtime.stats(container)
    measure(plan, work, f"{work}/it", "root", [])
    powerless = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--bounding-set", "-all"]
    wrapper = ["unshare", "--pid", "--fork", *powerless, "--no-new-privs"]
    measure(plan, work, f"{work}/it", "nobody in a pid namespace of its own", wrapper)


main(*sys.argv[1:])
