"""The pods, the kubelet's part, the agents and the comparison of `tests/real/run`.

scenario.py image TAR BUSYBOX       writes the one image that all pods use
scenario.py probe WORK              runs one pod, to see whether pods can be run at all
scenario.py prove WORK LONGSHORE    the proof; exit 0 if all of it holds
scenario.py remove-pods WORK        removes what is left

What is proven: pods print numbered lines while their logs are rotated as a kubelet does it, restart, and stop in the
middle of a line. One agent with a file sink runs from before the first line; one with an http sink starts when the
logs have already been rotated. Both are killed with SIGKILL at random moments. Every numbered line must arrive with
its own bytes under its own pod, lines may repeat only around a kill, and each agent's ledger must agree with the
bytes and lines that were in the files.
"""

import collections
import datetime
import glob
import gzip
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

from runtime import NAMESPACE, Runtime, write_image

NODE = "real-node"
FILES_MAX = 5  # the kubelet's containerLogMaxFiles
# A killed agent may repeat what its sink got since its last checkpoint (1 s), what was under way, and no more.
REPEAT_WINDOW_S = 3.0
# An agent waits at least this long for a new log's link, which alone tells the container's id; without one, the lines
# that were printed before the link was there go out without an id.
ID_WAIT_S = 0.5
LINK_SEEN_WITHIN_S = 0.5


def say(text):
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


START = time.monotonic()


# --- What the pods print, and what must come of it ------------------------------------------------------------------

PAD = "abcdefghijklmnopqrstuvwxyz0123456789 " * 3000
# Bodies behind `long NNNNNNNN `, in turn: one line of 16 KiB exactly, one byte more, two full parts, many parts, two.
LONG_BYTES = [16370, 16371, 32754, 100000, 20000]
BINARY = rb"\000\001\033[31m\377\200\303( \342\202 end"

LINES = r"""
lines() { awk -v tag="$1" -v from="$2" -v to="$3" 'BEGIN {
    pad = "abcdefghijklmnopqrstuvwxyz0123456789 "; for (i = 0; i < 3; i++) pad = pad pad pad
    for (i = from; i <= to; i++) printf "%s %08d %s\n", tag, i, substr(pad, 1, 40 + i * 7 % 200)
}'; }
"""

# Bursts at full speed until told to stop; says at the end how far it came.
FLOOD = LINES + r"""
trap 'stop=1' TERM
out=0; err=0
while [ -z "$stop" ]; do
    lines out $((out + 1)) $((out + 20000)) & lines err $((err + 1)) $((err + 1000)) >&2
    wait $!
    out=$((out + 20000)); err=$((err + 1000))
    sleep 0.4 & wait $!
done
wait
echo "total $out $err"
"""

# Records of many parts, bytes that are no text, empty lines; ends in the middle of a line.
MIXED = LINES + r"""
trap 'stop=1' TERM
awk 'BEGIN { pad = "abcdefghijklmnopqrstuvwxyz0123456789 "; for (i = 0; i < 8; i++) pad = pad pad pad; print pad
}' > /tmp/pad
round=0
while [ -z "$stop" ]; do
    lines err $((round * 200 + 1)) $((round * 200 + 200)) >&2 &
    awk -v from=$((round * 20 + 1)) -v to=$((round * 20 + 20)) 'BEGIN {
        getline pad < "/tmp/pad"; split("SIZES", size, " ")
        for (i = from; i <= to; i++) printf "long %08d %s\n", i, substr(pad, 1, size[i % 5 + 1])
    }'
    for i in $(seq $((round * 20 + 1)) $((round * 20 + 20))); do printf 'binary %08d BINARY\n' $i; echo; done
    wait
    round=$((round + 1))
    sleep 0.3 & wait $!
done
echo "total $((round * 20)) $((round * 200))"
printf 'last 00000001 has no line end'
""".replace("SIZES", " ".join(map(str, LONG_BYTES))).replace("BINARY", BINARY.decode())

# Exits by itself in the middle of a line, and is started again; the numbers go on.
AGAIN = LINES + r"""
lines again $((ATTEMPT * 20000 + 1)) $((ATTEMPT * 20000 + 20000))
printf 'last %08d has no line end' $((ATTEMPT + 1))
"""


def binary_text():
    raw = re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), BINARY)
    return collapsed(raw.decode("utf-8", "replace"))


def collapsed(text):
    """How many replacement characters stand for some bad bytes is not what is tested here."""
    return re.sub("\ufffd+", "\ufffd", text)


def body(tag, number, binary=binary_text()):
    if tag == "long":
        return PAD[:LONG_BYTES[number % 5]]
    if tag == "binary":
        return binary
    if tag == "last":
        return "has no line end"
    return PAD[:40 + number * 7 % 200]


class Pod:
    """One pod with one container, its restarts, and the kubelet's book-keeping on its log."""

    def __init__(self, work, name, script):
        self.name, self.script, self.uid = name, script, str(uuid.uuid4())
        self.directory = f"{work}/pods/{NAMESPACE}_{name}_{self.uid}"
        self.links = f"{work}/containers"
        self.containers = []
        # (asked to start, linked) of containers whose link was made long after they could have begun to print.
        self.linked_late = []
        self.rotations = 0
        self.deleted = 0
        # Of segments that are no longer plain: {path without .gz: (bytes, lines)}.
        self.sizes = {}

    def start(self, runtime):
        attempt = len(self.containers)
        asked = time.time()
        container = runtime.start_container(self, attempt)
        self.containers.append(container)
        log = f"{self.directory}/main/{attempt}.log"
        os.symlink(log, f"{self.links}/{self.name}_{NAMESPACE}_main-{container}.log")
        linked = time.time()
        if linked - asked > ID_WAIT_S:
            self.linked_late.append((asked, linked))

    def is_id(self, container, printed):
        if container:
            return container in self.containers
        at = datetime.datetime.fromisoformat(printed[:23] + "+00:00").timestamp()
        return any(asked <= at <= linked + LINK_SEEN_WITHIN_S for asked, linked in self.linked_late)

    def log(self):
        return f"{self.directory}/main/{len(self.containers) - 1}.log"

    def rotate(self, runtime):
        """As the kubelet does it: delete the oldest, compress the rest, rename, have the log opened anew."""
        log = self.log()
        rotated = sorted(glob.glob(log + ".*"))
        while len(rotated) > FILES_MAX - 2:
            os.unlink(rotated.pop(0))
            self.deleted += 1
        for path in rotated:
            if not path.endswith(".gz"):
                self.compress(path)
        renamed = log + time.strftime(".%Y%m%d-%H%M%S")
        while os.path.exists(renamed) or os.path.exists(renamed + ".gz"):
            time.sleep(0.1)
            renamed = log + time.strftime(".%Y%m%d-%H%M%S")
        wait_for(lambda: grows(log), 5, "a burst to rotate in")
        os.rename(log, renamed)
        runtime.reopen_log(self.containers[-1])
        self.rotations += 1

    def compress(self, path):
        with open(path, "rb") as plain:
            content = plain.read()
        self.sizes[path] = len(content), content.count(b"\n")
        with gzip.open(path + ".tmp", "wb", compresslevel=1) as packed:
            packed.write(content)
        os.rename(path + ".tmp", path + ".gz")
        os.unlink(path)

    def segments(self):
        """{path without .gz: content} of what is on disk now."""
        found = {}
        for path in glob.glob(f"{self.directory}/main/*.log*"):
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
                found[path.removesuffix(".gz")] = file.read()
        return found

    def total(self):
        """(bytes, lines) of all segments that ever were."""
        sizes = dict(self.sizes)
        for path, content in self.segments().items():
            sizes[path] = len(content), content.count(b"\n")
        return sum(size[0] for size in sizes.values()), sum(size[1] for size in sizes.values())


def grows(path):
    before = os.path.getsize(path)
    time.sleep(0.002)
    return os.path.getsize(path) > before


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.002)


# --- The agents and their sinks -------------------------------------------------------------------------------------

class FileOutput:
    """What the file sink has written."""

    def __init__(self, directory):
        self.directory = directory
        self.answers_lost_rows = 0

    def config(self):
        return {"type": "file", "directory": self.directory, "compression": "gzip"}

    def progress(self):
        return sum(entry.stat().st_size for entry in os.scandir(self.directory)) if os.path.isdir(self.directory) else 0

    def rows(self):
        for name in sorted(os.listdir(self.directory)):
            if ".ndjson" not in name:
                continue
            path = os.path.join(self.directory, name)
            with open(path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            with (gzip.open if packed else open)(path, "rb") as file:
                yield from file


class HttpOutput:
    """A server that keeps what is posted, refuses some of it, and keeps some without saying so."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.file = open(path, "wb")
        self.bytes = self.requests = self.refused = self.answers_lost_rows = 0
        output = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.close_connection = not output.take(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request):
        content = request.rfile.read(int(request.headers["Content-Length"]))
        if request.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        with self.lock:
            self.requests += 1
            refuse, silent = self.requests % 13 == 0, self.requests % 17 == 0
            if refuse:
                self.refused += 1
            else:
                self.file.write(content)
                self.file.flush()
                self.bytes += len(content)
            if silent and not refuse:
                self.answers_lost_rows += content.count(b"\n")
                return False
        request.send_response(503 if refuse else 204)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    def config(self):
        return {"type": "http", "url": f"http://127.0.0.1:{self.server.server_port}/rows", "compression": "gzip"}

    def progress(self):
        return self.bytes

    def rows(self):
        with open(self.path, "rb") as file:
            yield from file


class Agent:
    def __init__(self, work, program, name, output):
        self.name, self.output, self.process = name, output, None
        self.directory = f"{work}/{name}"
        os.makedirs(self.directory)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        sink = {**output.config(), "partial_timeout_ms": 3000}
        config = {
            "node": NODE,
            "state_dir": f"{self.directory}/state",
            "logs": {"pod_logs": f"{work}/pods", "container_links": f"{work}/containers"},
            "admin": {"listen": f"127.0.0.1:{self.port}"},
            "sinks": {name: sink},
        }
        path = f"{self.directory}/config.yaml"
        with open(path, "w") as file:  # JSON is YAML
            json.dump(config, file, indent=2)
        self.command = [program, "run", "--config", path]
        self.kills = []
        self.samples = []
        threading.Thread(target=self.sample, daemon=True).start()

    def sample(self):
        while True:
            self.samples.append((time.monotonic(), self.output.progress()))
            time.sleep(0.05)

    def start(self):
        with open(f"{self.directory}/stderr", "ab") as own_log:
            self.process = subprocess.Popen(self.command, stderr=own_log, stdout=own_log)

    def kill(self):
        assert self.process.poll() is None, f"agent {self.name} ended by itself: {self.process.returncode}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills.append(time.monotonic())
        say(f"killed agent {self.name}")
        time.sleep(random.uniform(0, 0.3))
        self.start()

    def abandon(self):
        if self.process and self.process.poll() is None:
            self.process.kill()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read()

    def wait_until_ready(self):
        def ready():
            try:
                return self.get("/readyz") is not None
            except OSError:
                assert self.process.poll() is None, f"agent {self.name} did not start: see {self.directory}/stderr"
                return False
        wait_for(ready, 15, f"agent {self.name} to be ready")

    def ledger(self):
        """The one place that knows how the agent shows its accounts."""
        sink = next(sink for sink in json.loads(self.get("/status"))["sinks"] if sink["sink"] == self.name)
        ledger = sink["ledger"]
        given_up = [*ledger["excluded"].values(), *ledger["dropped"].values()]
        return {
            "balances": ledger["balances"],
            "seen bytes": ledger["seen_bytes"],
            "delivered bytes": ledger["delivered"]["bytes"],
            "delivered lines": ledger["delivered"]["lines"],
            "excluded, dropped or lost bytes":
                sum(amount["bytes"] for amount in given_up) + sum(ledger["lost_bytes"].values()),
            "pending bytes": ledger["pending_bytes"],
        }

    def caught_up(self):
        self.wait_until_ready()
        time.sleep(0.2)
        ledger = self.ledger()
        return ledger["seen bytes"] > 0 and ledger["pending bytes"] < 2_000_000

    def settle(self, expected_bytes):
        """Waits until the agent says that all is delivered, or its sink has got nothing for a while."""
        self.wait_until_ready()
        newest, since = None, time.monotonic()
        while time.monotonic() < since + 15:
            ledger = self.ledger()
            if ledger["pending bytes"] == 0 and ledger["seen bytes"] >= expected_bytes:
                return
            if self.output.progress() != newest:
                newest, since = self.output.progress(), time.monotonic()
            time.sleep(0.2)

    def repeats_max(self, rows):
        """What the sink got just before each kill, in rows by the share of its bytes."""
        recent = 0
        for kill in self.kills:
            window = [size for at, size in self.samples if kill - REPEAT_WINDOW_S <= at <= kill]
            recent += window[-1] - window[0] if window else 0
        share = recent / max(1, self.output.progress())
        return int(1.5 * share * rows) + 1000 + self.output.answers_lost_rows


# --- The comparison -------------------------------------------------------------------------------------------------

STREAMS = {"out": "stdout", "long": "stdout", "binary": "stdout", "again": "stdout", "last": "stdout", "err": "stderr"}


def numbered(content, found):
    """Adds the least number of each tag in a CRI segment to `found`."""
    for tag, number in re.findall(rb"^\S+ \S+ [FP] (\w+) (\d{8}) ", content, re.MULTILINE):
        tag = tag.decode()
        if int(number) < found.get(tag, 1 << 62):
            found[tag] = int(number)


class Expectation:
    """Of each pod and tag: how often each number came. Numbers below `first` were gone before the agent started."""

    def __init__(self, pods, totals, first):
        self.pods = {pod.name: pod for pod in pods}
        self.first = first
        self.counts = {key: bytearray(total + 1) for key, total in totals.items()}
        self.newest = collections.Counter()
        self.problems = []
        self.rows = self.blank = self.disordered = 0

    def problem(self, text, row):
        self.problems.append(f"{text}: {row['PodName']} {row['TimeGenerated']} {row['LogMessage'][:200]!r}")

    def take(self, line):
        self.rows += 1
        row = json.loads(line)
        pod = self.pods.get(row["PodName"])
        text = row["LogMessage"]
        if pod is None or row["PodNamespace"] != NAMESPACE or row["ContainerName"] != "main":
            return self.problem("a row of a stranger", row)
        metadata = row["KubernetesMetadata"]
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        names_are_right = metadata["podUid"] == pod.uid and row["Computer"] == NODE
        if not names_are_right or not pod.is_id(row["ContainerId"], row["TimeGenerated"]):
            return self.problem("a row with another's names", row)
        if not text:
            self.blank += 1
            return None
        tag, number, rest = (text.split(" ", 2) + ["", ""])[:3]
        if tag == "total":
            return None
        key = pod.name, tag
        number = int(number) if number.isdigit() else -1
        if key not in self.counts or not 0 < number < len(self.counts[key]) or collapsed(rest) != body(tag, number):
            if self.is_tail(pod, row["LogSource"], text):
                return None
            return self.problem("a row that nobody printed", row)
        if row["LogSource"] != STREAMS[tag]:
            return self.problem("a row on the wrong stream", row)
        if self.counts[key][number] == 0:
            self.disordered += number < self.newest[key]
            self.newest[key] = max(number, self.newest[key])
        self.counts[key][number] = min(255, self.counts[key][number] + 1)
        return None

    def is_tail(self, pod, source, text):
        """When its log is opened anew the runtime cuts the line it holds into P and F, however short it is. If the
        file with the P is gone, the F alone is what can be delivered of the line before the first whole one."""
        for (name, tag), first in self.first.items():
            line = f"{tag} {first - 1:08d} {body(tag, first - 1)}"
            if name == pod.name and STREAMS.get(tag) == source and first > 1 and line.endswith(text):
                return True
        return False

    def sums(self):
        """(numbered lines expected, of these lost, repeats)."""
        expected = lost = repeats = 0
        for key, counts in self.counts.items():
            wanted = counts[self.first.get(key, 1):]
            expected += len(wanted)
            lost += wanted.count(0)
            repeats += sum(counts) - (len(counts) - counts.count(0))
        return expected, lost, repeats


def compare(agent, expectation, expected_ledger, ledger, exit_code):
    for line in agent.output.rows():
        expectation.take(line)
    expected, lost, repeats = expectation.sums()
    repeats_max = agent.repeats_max(expectation.rows)
    say(f"agent {agent.name}: {expected} numbered lines expected, {lost} lost, {repeats} repeated "
        f"(at most {repeats_max} allowed after {len(agent.kills)} kills), {expectation.rows} rows")
    problems = list(expectation.problems)
    if lost:
        for key, counts in expectation.counts.items():
            first = expectation.first.get(key, 1)
            missing = [number for number in range(first, len(counts)) if not counts[number]]
            if missing:
                problems.append(f"{key}: {len(missing)} lost, from {missing[0]} to {missing[-1]}")
    if repeats > repeats_max:
        problems.append(f"{repeats} repeats")
    if isinstance(agent.output, FileOutput) and expectation.disordered:
        problems.append(f"{expectation.disordered} lines out of order")
    for name, value in expected_ledger.items():
        if ledger[name] != value:
            problems.append(f"ledger: {name} is {ledger[name]}, expected {value}")
    if exit_code != 0:
        problems.append(f"exit code after SIGTERM is {exit_code}")
    for problem in problems[:20]:
        say(f"agent {agent.name}: WRONG: {problem}")
    return not problems


def last_total(pod):
    """The counts that a container stated when it stopped."""
    content = b"".join(content for _, content in sorted(pod.segments().items()))
    found = re.findall(rb"^\S+ stdout F total (\d+) (\d+)$", content, re.MULTILINE)
    assert len(found) == 1, f"pod {pod.name} has {len(found)} totals"
    return int(found[0][0]), int(found[0][1])


def prove(work, program):
    os.makedirs(f"{work}/pods", exist_ok=True)
    os.makedirs(f"{work}/containers")
    agents = [
        Agent(work, program, "files", FileOutput(f"{work}/files/rows")),
        Agent(work, program, "http", HttpOutput(f"{work}/received")),
    ]
    try:
        return prove_with(Runtime(work), work, *agents)
    finally:
        for agent in agents:
            agent.abandon()


def prove_with(runtime, work, first_agent, second_agent):
    first_agent.start()
    first_agent.wait_until_ready()

    scripts = {"flood-1": FLOOD, "flood-2": FLOOD, "mixed": MIXED, "again": AGAIN}
    pods = [Pod(work, name, script) for name, script in scripts.items()]
    floods, mixed, again = pods[:2], pods[2], pods[3]
    for pod in pods:
        runtime.run_pod(pod)
    for pod in pods:
        pod.start(runtime)
    say("pods are printing")

    def rotate(turn, agents):
        for pod in floods + ([mixed] if turn % 2 else []):
            pod.rotate(runtime)
        say(f"rotation {turn}: {os.path.getsize(floods[0].log())} bytes in the new log already")
        time.sleep(random.uniform(0, 1))
        for agent in agents:
            agent.kill()
        time.sleep(random.uniform(0.5, 1))

    for turn in [1, 2, 3, 4, 5]:
        rotate(turn, [first_agent] if turn in (2, 4) else [])
        if turn == 3:
            wait_for(lambda: runtime.exited(again.containers[0]), 30, "the container to exit")
            again.start(runtime)
            say("restarted a container")

    first = {}
    gone_bytes = gone_lines = 0
    for pod in pods:
        found = {}
        segments = pod.segments()
        for content in segments.values():
            numbered(content, found)
        for path, (size, lines) in pod.sizes.items():
            if path not in segments:
                gone_bytes, gone_lines = gone_bytes + size, gone_lines + lines
        first.update({(pod.name, tag): number for tag, number in found.items()})
    say(f"starting agent http; {gone_bytes} bytes are gone before it")
    second_agent.start()
    for _ in range(2):
        time.sleep(random.uniform(0.2, 0.8))
        second_agent.kill()
    # What is deleted while an agent is dead is lost to it by right: the backlog has to be read before that.
    wait_for(second_agent.caught_up, 30, "agent http to catch up")
    for turn in [6, 7, 8]:
        rotate(turn, [first_agent, second_agent] if turn == 7 else [])

    totals = {("again", "again"): 40000, ("again", "last"): 2, ("mixed", "last"): 1}
    for pod in floods + [mixed]:
        runtime.stop_container(pod.containers[-1])
        out, err = last_total(pod)
        totals.update({(pod.name, tag): out for tag in (["long", "binary"] if pod is mixed else ["out"])})
        totals[pod.name, "err"] = err
    wait_for(lambda: runtime.exited(again.containers[1]), 30, "the container to exit")
    total_bytes, total_lines = map(sum, zip(*(pod.total() for pod in pods)))
    rotations, deleted = sum(pod.rotations for pod in pods), sum(pod.deleted for pod in pods)
    say(f"pods have stopped: {sum(totals.values())} numbered lines; {total_lines} lines and {total_bytes} bytes "
        f"in the files, {rotations} rotations, {deleted} files deleted")
    assert min(pod.rotations for pod in floods) >= 6 and gone_bytes > 0

    good = True
    for agent, gone in [(first_agent, (0, 0, {})), (second_agent, (gone_bytes, gone_lines, first))]:
        expected = {
            "balances": True,
            "seen bytes": total_bytes - gone[0],
            "delivered bytes": total_bytes - gone[0],
            "delivered lines": total_lines - gone[1],
            "excluded, dropped or lost bytes": 0,
            "pending bytes": 0,
        }
        agent.settle(expected["seen bytes"])
        ledger = agent.ledger()
        exit_code = agent.stop()
        good &= compare(agent, Expectation(pods, totals, gone[2]), expected, ledger, exit_code)
    say("all lines accounted for" if good else "NOT all lines accounted for")
    return good


def probe(work):
    pod = Pod(work, "probe", "echo hello")
    runtime = Runtime(work)
    runtime.run_pod(pod)
    container = runtime.start_container(pod, 0)
    wait_for(lambda: runtime.exited(container), 20, "the pod to end")
    with open(f"{pod.directory}/main/0.log") as log:
        assert log.read().endswith(" stdout F hello\n")
    runtime.remove_pods()
    shutil.rmtree(pod.directory)


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "image":
        write_image(*arguments)
    elif command == "probe":
        probe(*arguments)
    elif command == "remove-pods":
        Runtime(*arguments).remove_pods()
    elif command == "prove":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        sys.exit(0 if prove(*arguments) else 1)


if __name__ == "__main__":
    main()
