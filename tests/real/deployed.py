"""The pod of `tests/real/run --deployed`: the DaemonSet of deploy/, run as a kubelet would run it.

deployed.py WORK IMAGE KUBECTL [DOWN_S]    exit 0 if all of it holds; IMAGE: an archive of longshore:VERSION

Security context, init container, arguments, variables, mounts, probes and limits are the rendered manifest's. Of its
config only two lines are others: a sample is taken each second, and a column tells which config a row was made by.
The receiver is found by its name through a cluster's search domains, and counts every numbered line. The API server is
told of each pod, and is asked with the service account's token and the rights of the manifest's role.
"""

import collections
import gzip
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from api import Api
from kubelet import Kubelet, Pod, memory_of, render
from node import NODE, TOP, USER, check_confined, fail, page_of, prove as prove_measures, samples_of, say, text_of
from runtime import IMAGE, NAMESPACE as PODS_NAMESPACE, Runtime
from scenario import Pod as LoggingPod

NAMESPACE = "longshore"
TOKEN = "token-of-the-receiver"
ACCOUNT_TOKEN = "token-of-the-account"
SEARCH = ["longshore.svc.cluster.local", "svc.cluster.local", "cluster.local"]
RECEIVER = "receiver.logs.svc.cluster.local"
KUBELET = "/var/lib/kubelet"
PATIENCE_S = 60
ROTATE_BYTES = 10 << 20
STEADY = r"""
trap 'stop=1' TERM
i=0
while [ -z "$stop" ]; do i=$((i + 1)); printf 'steady %08d some words of an application\n' $i; sleep 0.02; done
printf 'total %08d is all\n' $i
"""
EARLY = r"""
for i in $(seq 1 500); do printf 'early %08d before there was an agent\n' $i; done
printf 'total %08d is all\n' 500
"""
# As fast as the runtime takes it.
FULL = r"""
awk 'BEGIN {
    pad = "abcdefghijklmnopqrstuvwxyz0123456789 "; for (i = 0; i < 5; i++) pad = pad pad
    for (i = 1; ; i++) printf "full %08d %s\n", i, substr(pad, 1, 900)
}' &
trap "kill $!" TERM
wait
"""
ROW = re.compile(rb'"PodName":"([^"]*)","PodNamespace":"[^"]*","LogMessage":"(\w+) (\d{8}) ')
METADATA = re.compile(rb'"PodName":"([^"]*)",.*,"KubernetesMetadata":(\{.*\}),"ClusterName"')
# By annotation, in words that a row could get wrong.
NOTE = 'of "nobody", \\ \u00e9'


def wait_for(what, look, seconds=PATIENCE_S, pause=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(pause)
    fail(f"waited {seconds} s for {what}")


# --- What the cluster has -------------------------------------------------------------------------------------------

class Names(threading.Thread):
    """A DNS server that knows one name."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.asked, self.address = [], address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.start()

    def run(self):
        while True:
            query, sender = self.socket.recvfrom(4096)
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question, name = query[12:at + 5], ".".join(labels)
            kind = int.from_bytes(query[at + 1:at + 3], "big")
            self.asked.append(name)
            known, is_address = name == RECEIVER, kind == 1
            answers = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04" + socket.inet_aton(self.address)
            flags = b"\x81\x80" if known else b"\x81\x83"
            counts = bytes([0, 1, 0, int(known and is_address), 0, 0, 0, 0])
            self.socket.sendto(query[:2] + flags + counts + question + (answers if known and is_address else b""), sender)


class Receiver:
    """Counts the numbered lines that are posted, and can be away."""

    def __init__(self, address):
        self.lock = threading.Lock()
        self.counts, self.rows, self.others, self.generations = {}, 0, [], collections.Counter()
        # {pod: {the column KubernetesMetadata as it came: rows}}
        self.metadata = {}
        self.away, self.port, self.address = False, 0, address
        self.come()

    def come(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                code = receiver.take(self.headers, content)
                self.close_connection = code != 204
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((self.address, self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.away = False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def go(self):
        """What is open is answered with a refusal and closed; then there is nobody to connect to."""
        with self.lock:
            self.away = True
        self.server.shutdown()
        self.server.server_close()

    def take(self, headers, content):
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return 401
        rows = gzip.decompress(content)
        with self.lock:
            if self.away:
                return 503
            found = ROW.findall(rows)
            lines = rows.count(b"\n")
            self.rows += lines
            if len(found) != lines and len(self.others) < 20:
                self.others += [row for row in rows.splitlines() if not ROW.search(row)][:20]
            for pod, tag, number in found:
                counts = self.counts.setdefault((pod.decode(), tag.decode()), {})
                number = int(number)
                counts[number] = counts.get(number, 0) + 1
            for (pod, column), count in collections.Counter(METADATA.findall(rows)).items():
                columns = self.metadata.setdefault(pod.decode(), {})
                columns[column] = columns.get(column, 0) + count
            self.generations.update(word.decode() for word in re.findall(rb'"generation":"(\w+)"', rows))
        return 204


class Prometheus:
    def __init__(self, work, program, target):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with open(f"{work}/prometheus.yml", "w") as file:
            json.dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
                {"job_name": "longshore", "honor_labels": True, "static_configs": [{"targets": [target]}]}]}, file)
        with open(f"{work}/prometheus.log", "w") as log:
            self.process = subprocess.Popen(
                [program, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/prometheus",
                 f"--web.listen-address={self.url.removeprefix('http://')}"], stdout=log, stderr=log)

    def ask(self, expression):
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else None


def pod_object(pod, namespace, image, labels, annotations, container=None):
    """What the API server has of a pod with one container."""
    running = {"name": "main", "image": image, "imageID": f"{image}@sha256:{'0' * 64}", "restartCount": 0,
               "containerID": f"containerd://{container}", "ready": True, "state": {"running": {}}}
    return {
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": pod.name, "namespace": namespace, "uid": pod.uid, "labels": labels,
                     "annotations": annotations},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": image}]},
        "status": {"phase": "Running" if container else "Pending", "containerStatuses": [running] if container else []},
    }


class KnownPod(LoggingPod):
    """One that the API server is told of, before and after its container is made."""

    def __init__(self, work, name, script, **annotations):
        super().__init__(work, name, script)
        self.labels = {"app.kubernetes.io/name": name.partition("-")[0], "pod": name}
        self.annotations = {"example.com/note": NOTE, **annotations}
        # Whatever they have been.
        self.all_labels = [self.labels]

    def relabel(self, api, **labels):
        self.labels = {**self.labels, **labels}
        self.all_labels.append(self.labels)
        self.tell(api, self.containers[-1])

    def tell(self, api, container=None):
        api.put("pods", pod_object(self, PODS_NAMESPACE, IMAGE, self.labels, self.annotations, container))

    def begin(self, api, runtime):
        self.start(runtime)
        self.tell(api, self.containers[-1])


class FullPod(KnownPod):
    """Its rotated segments stay as they are: to compress what prints at full speed would be what is measured."""

    def compress(self, path):
        self.sizes[path] = os.path.getsize(path), 0

    def rotate_forever(self, runtime, ended):
        while not ended.wait(0.2):
            if os.path.getsize(self.log()) > ROTATE_BYTES:
                self.rotate(runtime)


# --- The agent, as deployed -----------------------------------------------------------------------------------------

class Deployed:
    """The DaemonSet's pod on this node."""

    def __init__(self, work, kubectl):
        self.kubectl = kubectl
        self.use("deploy")
        with open(f"{work}/containerd/cni/10-real.conflist") as file:
            subnet = json.load(file)["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
        self.gateway = subnet.rpartition(".")[0] + ".1"
        places = {"/var/log/pods": f"{work}/pods", "/var/log/containers": f"{work}/containers",
                  "/var/lib/longshore": f"{work}/state"}
        dns = {"servers": [self.gateway], "searches": SEARCH, "options": ["ndots:5"]}
        self.kubelet = Kubelet(work, NODE, places, dns)
        self.work, self.count, self.out_of_memory = work, 0, 0
        self.subnet = subnet

    def find_api(self, api):
        """As a kubelet gives it to pods."""
        self.api = api
        self.kubelet.account = {"token": ACCOUNT_TOKEN, "ca.crt": api.authority}
        self.kubelet.cluster = {"KUBERNETES_SERVICE_HOST": self.gateway, "KUBERNETES_SERVICE_PORT": str(api.port)}

    def use(self, directory):
        """A kustomization; the next pod is as it says."""
        self.documents = render(self.kubectl, f"{TOP}/{directory}")
        self.spec = self.documents["DaemonSet"]["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.memory_max = memory_of(self.container["resources"]["limits"]["memory"])

    def change_config(self, generation):
        """The ConfigMap as somebody applies it. `swap` puts it into a pod that runs; a new pod begins with it."""
        config = self.documents["ConfigMap"]["data"]["longshore.yaml"]
        for old, new in (("interval_ms: 15000", "interval_ms: 1000"),
                         ("agent: longshore", f"agent: longshore\n      generation: {generation}")):
            if config.count(old) != 1:
                fail(f"the config of the manifest has not one `{old}`")
            config = config.replace(old, new)
        self.kubelet.maps["longshore"] = {"longshore.yaml": config}

    def swap(self):
        self.kubelet.make_volumes(self.pod, self.spec)

    def new_pod(self):
        """The pod and its sandbox: what a kubelet does before it has an image to start."""
        self.count += 1
        self.pod = Pod(self.work, f"longshore-{self.count}", NAMESPACE)
        self.kubelet.run_sandbox(self.pod)

    def start(self):
        labels = self.documents["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
        self.api.put("pods", pod_object(self.pod, NAMESPACE, self.container["image"], labels, {}))
        began = time.monotonic()
        self.id = self.kubelet.run(self.pod, self.spec)
        started = time.monotonic()
        self.process = self.kubelet.process(self.id)
        wait_for("the agent to be ready", lambda: self.probe("readinessProbe"), pause=0.005)
        ready = time.monotonic()
        if not self.probe("livenessProbe"):
            fail("the agent is ready and not alive")
        say(f"pod {self.pod.name}: ready {ready - began:.2f} s after its first container was made, of which the agent "
            f"took {ready - started:.2f}; {self.kubelet.log(self.pod, 'prepare').split(' F ')[1].strip()}")

    def url(self, port):
        (number,) = [found["containerPort"] for found in self.container["ports"] if found["name"] == port]
        return f"http://{self.pod.address}:{number}"

    def probe(self, name):
        probe = self.container[name]["httpGet"]
        with urllib.request.urlopen(self.url(probe["port"]) + probe["path"], timeout=5) as answer:
            return answer.status == 200

    def status(self):
        with urllib.request.urlopen(self.url("http") + "/status", timeout=10) as answer:
            (sink,) = json.load(answer)["sinks"]
        return sink

    def memory(self):
        """(peak of the process, peak of its cgroup with page cache, times that the kernel killed for memory)."""
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB$", text_of(f"/proc/{self.process}/status"), re.M)[1]) << 10
        for line in text_of(f"/proc/{self.process}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers.split(",").count("memory"):
                group = f"/sys/fs/cgroup/memory{path}"
                if int(text_of(f"{group}/memory.limit_in_bytes")) != self.memory_max:
                    fail("the cgroup has another limit than the manifest")
                killed = re.search(r"^oom_kill (\d+)$", text_of(f"{group}/memory.oom_control"), re.M)
                return peak, int(text_of(f"{group}/memory.max_usage_in_bytes")), int(killed[1]) if killed else 0
            if not controllers:
                group = f"/sys/fs/cgroup{path}"
                if os.path.exists(f"{group}/memory.max"):
                    if int(text_of(f"{group}/memory.max")) != self.memory_max:
                        fail("the cgroup has another limit than the manifest")
                    killed = re.search(r"^oom_kill (\d+)$", text_of(f"{group}/memory.events"), re.M)
                    usage = f"{group}/memory.peak"
                    return peak, int(text_of(usage)) if os.path.exists(usage) else 0, int(killed[1])
        fail("the agent has no cgroup of memory")

    def remove(self):
        self.kubelet.call("StopPodSandbox", {1: self.pod.sandbox})
        self.kubelet.call("RemovePodSandbox", {1: self.pod.sandbox})
        shutil.rmtree(self.pod.directory)
        self.api.delete("pods", NAMESPACE, self.pod.name)

    def stop(self):
        peak, with_cache, killed = self.memory()
        grace = self.spec["terminationGracePeriodSeconds"]
        took, code = self.kubelet.stop(self.id, grace)
        say(f"SIGTERM: gone after {took:.2f} s of {grace} with code {code}; it had {peak >> 20} MiB at most, "
            f"{with_cache >> 20} with page cache, of {self.memory_max >> 20}")
        if code != 0 or took >= grace:
            fail("the drain did not end within the grace period")
        if killed or peak > self.memory_max:
            fail("the agent had more memory than the manifest gives it")


# --- The proof ------------------------------------------------------------------------------------------------------

def check_state(work, user):
    state = os.stat(f"{work}/state")
    found = state.st_uid, state.st_gid, oct(state.st_mode & 0o7777)
    if found != (user, 0, "0o750"):
        fail(f"the state directory is {found}")
    for directory, names, files in os.walk(f"{work}/state"):
        for name in names + files:
            state = os.stat(f"{directory}/{name}")
            if (state.st_uid, state.st_gid) != (user, 0):
                fail(f"{directory}/{name} belongs to {state.st_uid}:{state.st_gid}")


def total_of(pod):
    content = b"".join(content for _, content in sorted(pod.segments().items()))
    (found,) = re.findall(rb"total (\d{8}) is all$", content, re.M)
    return int(found)


def wrong_counts(receiver, expected, allowed):
    """`expected`: {(pod, tag): how many}; `allowed`: {(pod, tag): how many may be missing}."""
    for key, count in expected.items():
        found = receiver.counts.get(key, {})
        missing = sum(number not in found for number in range(1, count + 1))
        repeated = sum(times - 1 for times in found.values())
        strange = [number for number in found if not 1 <= number <= count]
        say(f"{key[0]:9} {count:9} lines printed, {len(found):9} arrived, {missing} missing, {repeated} repeated")
        if missing != allowed.get(key, 0):
            yield f"{key}: {missing} missing, the ledger says {allowed.get(key, 0)}"
        if repeated or strange:
            yield f"{key}: {repeated} repeated, {strange[:5]} never printed"
    for key in receiver.counts.keys() - expected.keys():
        if key[1] != "total":
            yield f"{key}: from nobody that is known"


def settle(agent, expected_bytes):
    """All is read and nothing pending."""
    def settled():
        ledger = agent.status()["ledger"]
        # Of the agent's own log.
        ledger["seen_bytes"] -= sum(amount["bytes"] for amount in ledger["excluded"].values())
        return ledger if ledger["pending_bytes"] == 0 and ledger["seen_bytes"] >= expected_bytes else None
    return wait_for("everything to be delivered", settled, 120, 0.2)


def main(work, archive, kubectl, down_s="20"):
    os.chmod(work, 0o755)
    for directory in ("pods", "containers"):
        os.makedirs(f"{work}/{directory}", exist_ok=True)
    subprocess.run(["ctr", "-a", f"{work}/containerd.sock", "-n", "k8s.io", "images", "import", "--snapshotter", "native",
                    archive], check=True, stdout=subprocess.DEVNULL)
    agent, runtime = Deployed(work, kubectl), Runtime(work)
    steady = [KnownPod(work, f"steady-{number}", STEADY) for number in (1, 2, 3)]
    early, full = KnownPod(work, "early", EARLY), FullPod(work, "full", FULL)
    unwanted = KnownPod(work, "unwanted", STEADY, **{"longshore.dev/exclude": "true"})
    for pod in [early, *steady, full, unwanted]:
        runtime.run_pod(pod)
    for pod in (early, unwanted):
        pod.start(runtime)
    made = make_kubelet_directory(work)
    try:
        prove(agent, runtime, early, steady, full, unwanted, work, float(down_s))
    except SystemExit:
        print(agent.kubelet.log(agent.pod, "longshore")[-4000:], file=sys.stderr)
        raise
    finally:
        if made:
            os.remove(f"{KUBELET}/{os.path.basename(work)}")
            os.rmdir(KUBELET)


def make_kubelet_directory(work):
    """Every node has one, with something in it."""
    if os.path.isdir(KUBELET):
        return False
    os.mkdir(KUBELET)
    with open(f"{KUBELET}/{os.path.basename(work)}", "w"):
        return True


def start_api(agent, work, pods):
    os.mkdir(f"{work}/api")
    selectors = {"pods": f"spec.nodeName={NODE}", "nodes": f"metadata.name={NODE}"}
    api = Api(f"{work}/api", agent.gateway, ACCOUNT_TOKEN, agent.documents["ClusterRole"], selectors)
    api.put("nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE},
                      "spec": {"podCIDR": agent.subnet},
                      "status": {"capacity": {"pods": "110"}, "allocatable": {"pods": "100"}}})
    for pod in pods:
        pod.tell(api, pod.containers[-1] if pod.containers else None)
    return api


def prove(agent, runtime, early, steady, full, unwanted, work, down_s):
    agent.change_config("first")
    agent.new_pod()
    names, receiver = Names(agent.gateway), Receiver(agent.gateway)
    api = start_api(agent, work, [early, *steady, full, unwanted])
    agent.find_api(api)
    agent.kubelet.secrets["longshore"] = {"url": f"http://receiver.logs:{receiver.port}/rows", "token": TOKEN}
    agent.start()
    check_state(work, USER)
    read_only = [mount["mountPath"] for mount in agent.container["volumeMounts"] if mount.get("readOnly")]
    check_confined(agent.process, read_only)
    say(f"without a right, {', '.join(sorted(read_only))} read-only")
    # Of the same node, as the agent's own mounts show it.
    for hidden in ("run", "var/lib/kubelet"):
        if os.listdir(f"/proc/{agent.process}/root/host/root/{hidden}") or not os.listdir(f"/{hidden}"):
            fail(f"the agent sees /{hidden} of the node, or nothing is there to be hidden")
    for pod in steady:
        pod.begin(api, runtime)
    wait_for("the first rows", lambda: len(receiver.counts) > len(steady))
    say(f"rows arrive at a receiver that was found as {names.asked[-1]}, after asking for {names.asked[0]}")
    wait_for("the first sample", lambda: samples_of(page_of(agent.url("http"))))
    prove_measures(work, agent.url("http"), agent.process)
    if os.environ.get("PROMETHEUS"):
        prometheus = Prometheus(work, os.environ["PROMETHEUS"], agent.url("http").removeprefix("http://"))
        try:
            check_scraped(prometheus)
        finally:
            prometheus.process.terminate()
    relabel(api, receiver, steady[0])
    swap_config(agent, receiver)
    restart(agent, receiver)
    outage(agent, runtime, receiver, full, down_s)
    runtime.stop_container(unwanted.containers[-1])
    compare(agent, runtime, receiver, early, steady, full)
    check_metadata(agent, receiver, [early, *steady, full], unwanted)
    change_user(agent, receiver, work)
    if api.violations:
        fail(f"the API server was asked what must not be: {api.violations[:5]}")
    say(f"the API server was asked for {', '.join(sorted({f'{verb} {kind}' for kind, verb in api.asked}))}, "
        f"{len(api.asked)} requests in all")


def check_metadata(agent, receiver, pods, unwanted):
    """Rows are of whom the API server says, and a pod that asked to be left out has none."""
    for pod in pods:
        found = receiver.metadata.get(pod.name, {})
        rows = sum(found.values())
        lines = sum(sum(counts.values()) for (name, _), counts in receiver.counts.items() if name == pod.name)
        if rows < lines:
            fail(f"{lines} lines of {pod.name}, and {rows} rows that say whose they are")
        for column in map(json.loads, found):
            wanted = {"podUid": pod.uid, "podAnnotations": pod.annotations}
            if {key: column.get(key) for key in wanted} != wanted or column.get("podLabels") not in pod.all_labels:
                fail(f"a row of {pod.name} says {column}, not {wanted} with labels of {pod.all_labels}")
    if unwanted.name in receiver.metadata or unwanted.name.encode() in b"".join(receiver.others):
        fail(f"{unwanted.name} asked to be left out, and was not")
    printed = unwanted.total()[0]

    def excluded():
        return agent.status()["ledger"]["excluded"].get("annotation", {}).get("bytes") == printed
    wait_for(f"the {printed} bytes of {unwanted.name} to be counted as excluded", excluded)
    (pods_allocatable,) = [value for labels, value in page_of(agent.url("http"))["kube_node_status_allocatable"].items()
                           if ("resource", "pods") in labels]
    if pods_allocatable != 100:
        fail(f"the node has room for {pods_allocatable} pods, which nobody said")
    say(f"each row has its pod's labels and annotations; {unwanted.name} asked to be left out: {printed} bytes, no row")


def relabel(api, receiver, pod):
    """A pod that runs is given another label: the rows that follow have it."""
    pod.relabel(api, moved="yes")
    wait_for("rows with the new label", lambda: any(
        json.loads(column)["podLabels"] == pod.labels for column in list(receiver.metadata.get(pod.name, {}))))


def swap_config(agent, receiver):
    """The kubelet swaps a changed ConfigMap into the pod that runs: a wrong one is refused, a right one applied."""
    def reloads(result):
        page = page_of(agent.url("http"))
        return page["longshore_config_reloads_total"].get(frozenset({("result", result)}), 0), \
            page["longshore_config_refused"][frozenset()]
    agent.change_config("swapped")
    right = agent.kubelet.maps["longshore"]["longshore.yaml"]
    agent.kubelet.maps["longshore"] = {"longshore.yaml": right + "\nsink: {}\n"}
    agent.swap()
    wait_for("a wrong config to be refused", lambda: reloads("refused") == (1, 1))
    if receiver.generations["swapped"] or reloads("applied")[0]:
        fail("a config that was refused is in force")
    agent.kubelet.maps["longshore"] = {"longshore.yaml": right}
    began = time.monotonic()
    agent.swap()
    wait_for("rows of the config that was swapped in", lambda: receiver.generations["swapped"])
    took = time.monotonic() - began
    wait_for("the count of it", lambda: reloads("applied") == (1, 0))
    if agent.kubelet.process(agent.id) != agent.process or not os.path.isdir(f"/proc/{agent.process}"):
        fail("the agent was started anew for it")
    say(f"a changed ConfigMap: a wrong one is refused, a right one in force {took:.1f} s after it was swapped in")


def change_user(agent, receiver, work):
    """To the overlay for root and back: each finds what the other has left."""
    rows, seen = receiver.rows, settle(agent, 1)["seen_bytes"]
    agent.stop()
    for directory, user in (("deploy/overlays/root", 0), ("deploy", USER)):
        agent.remove()
        agent.use(directory)
        agent.change_config("third")
        agent.new_pod()
        agent.start()
        check_state(work, user)
        status = text_of(f"/proc/{agent.process}/status")
        if not re.search(rf"^Uid:\t{user}\t", status, re.M) or re.search(r"^Cap\w+:\t(?!0{16}$)", status, re.M):
            fail(f"the agent is not user {user} without a capability")
        # All of it as delivered before, by the checkpoint alone.
        settle(agent, seen)
        agent.stop()
    if receiver.rows != rows:
        fail(f"{receiver.rows - rows} rows were sent again after the user was changed")
    say("the overlay for root takes the state over, and gives it back")


def check_scraped(prometheus):
    wait_for("Prometheus to scrape the pod", lambda: prometheus.ask("up") == 1)
    lines = wait_for("lines in Prometheus", lambda: prometheus.ask("sum(longshore_log_delivered_lines_total)"))
    nodes = prometheus.ask('count(count by (__name__) ({__name__=~"node_.*"}))')
    if not nodes:
        fail("Prometheus has nothing of the node")
    say(f"Prometheus has scraped it: {lines:.0f} lines delivered, {nodes:.0f} families of the node")


def restart(agent, receiver):
    """As a rollout does it: the old pod ends, and another one, with another config, goes on."""
    agent.stop()
    agent.remove()
    before = receiver.rows
    agent.change_config("second")
    agent.new_pod()
    agent.start()
    wait_for("rows of the new config", lambda: receiver.generations["second"])
    if receiver.rows == before:
        fail("nothing was left for the new pod to deliver, which proves nothing")


def outage(agent, runtime, receiver, full, down_s):
    ended = threading.Event()
    receiver.go()
    full.begin(agent.api, runtime)
    rotating = threading.Thread(target=full.rotate_forever, args=(runtime, ended), daemon=True)
    rotating.start()
    say(f"the receiver is away for {down_s:.0f} s, and one pod prints all it can")
    time.sleep(down_s)
    peak, _, killed = agent.memory()
    say(f"{full.rotations} rotations, {full.deleted} files deleted by the kubelet; the agent has had {peak >> 20} MiB "
        f"at most, {agent.status()['ledger']['pending_bytes'] >> 20} MiB are pending")
    if killed:
        fail("the kernel killed the agent for its memory")
    if not (agent.probe("readinessProbe") and agent.probe("livenessProbe")):
        fail("a receiver that is away makes a probe fail")
    receiver.come()
    ended.set()
    rotating.join()
    runtime.stop_container(full.containers[-1])


def compare(agent, runtime, receiver, early, steady, full):
    for pod in steady:
        runtime.stop_container(pod.containers[-1])
    sizes = sum(pod.total()[0] for pod in [early, *steady, full])
    ledger = settle(agent, sizes)
    lost = sum(ledger["lost_bytes"].values())
    say(f"ledger: {ledger['seen_bytes']} bytes seen, {ledger['delivered']['bytes']} delivered, lost: {ledger['lost_bytes']}")
    with open(full.log(), "rb") as file:
        file.seek(max(0, os.path.getsize(full.log()) - (1 << 20)))
        last_lines = file.read()
    printed = int(re.findall(rb"^\S+ stdout F full (\d{8}) ", last_lines, re.M)[-1])
    # It was stopped in the middle of a line, which is delivered as far as it came.
    arrived = receiver.counts[full.name, "full"]
    arrived.pop(printed + 1, None)
    expected = {(pod.name, "steady"): total_of(pod) for pod in steady}
    expected |= {(early.name, "early"): 500, (full.name, "full"): printed}
    missing = printed - len(arrived)
    problems = list(wrong_counts(receiver, expected, {(full.name, "full"): missing}))
    if not ledger["balances"]:
        problems.append(f"the ledger does not balance: {ledger}")
    if ledger["seen_bytes"] != sizes:
        problems.append(f"the ledger has seen {ledger['seen_bytes']} bytes, the kubelet {sizes}")
    if sizes != ledger["delivered"]["bytes"] + lost:
        problems.append("neither delivered nor lost for a named reason")
    # Lines of that pod are alike but for zeros that the runtime cuts off its time.
    per_line = len(last_lines) / last_lines.count(b"\n")
    if abs(missing * per_line - lost) > 0.02 * lost:
        problems.append(f"{missing} lines are missing, {lost} bytes of about {per_line:.0f} a line are counted as lost")
    problems += [f"a row that nobody printed: {row[:300]}" for row in receiver.others if not is_end(full, row)]
    for problem in problems[:20]:
        say(f"WRONG: {problem}")
    if problems:
        fail(f"{len(problems)} problems")
    say("every line is accounted for")


def is_end(full, row):
    """When a log is opened anew the runtime cuts the line that it holds in two; if the segment with the first part is lost,
    the second is what can be delivered."""
    return f'"PodName":"{full.name}"'.encode() in row


main(*sys.argv[1:])
