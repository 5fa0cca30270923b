"""What the proofs beside this file share: a log tree that is written to, the agent, waiting and failing.

Called as `python PROOF.py LONGSHORE WORK`: the binary to try, and a directory that is the proof's own.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

LONGSHORE, WORK = sys.argv[1:]
LINES = int(os.environ.get("LINES", "100000"))
SEED = int(os.environ.get("SEED", "1"))
KILLS = 3
PODS = [f"web-{number}" for number in range(4)]
ROTATIONS = 4
FILLER = "abcdefghijklmnopqrstuvwxyz \u00e9 \U0001f6a2 " * 6
BEGAN = time.monotonic()
# The moment of line 0: young enough for stores that keep a month.
EPOCH_S = int(time.time()) // 86_400 * 86_400 - 86_400


def fail(why):
    print(f"FAILED: {why}", file=sys.stderr)
    sys.exit(1)


def proved(what):
    print(f"  {time.monotonic() - BEGAN:5.1f} s  {what}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, look, patience_s=30):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    fail(f"waited {patience_s} s for: {what}")


def stamp(number):
    """When a line was written, as the runtime says it."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(EPOCH_S + number // 1000))
    return f"{moment}.{number % 1000:03}000{number % 1000:03}Z"


def stamp_ns(body):
    number = int(body.split()[1])
    return (EPOCH_S + number // 1000) * 1_000_000_000 + number % 1000 * 1_000_000 + number % 1000


class Writer(threading.Thread):
    """Writes numbered lines into a pod log tree as a container runtime does, with the kubelet's rotation."""

    def __init__(self, root, lines, pause_s):
        super().__init__(daemon=True)
        self.share = lines // len(PODS)
        self.pause_s = pause_s
        self.random = random.Random(SEED)
        self.paths = {}
        self.written = {pod: [] for pod in PODS}
        for pod in PODS:
            directory = os.path.join(root, f"shop_{pod}_{pod}-uid", "app")
            os.makedirs(directory)
            self.paths[pod] = os.path.join(directory, "0.log")

    def run(self):
        files = {pod: open(path, "ab") for pod, path in self.paths.items()}
        rotate_at = {self.share * (turn + 1) // (ROTATIONS + 1) for turn in range(ROTATIONS)}
        for number in range(self.share):
            for pod in PODS:
                if number in rotate_at:
                    files[pod].close()
                    os.rename(self.paths[pod], f"{self.paths[pod]}.20260101-{number:06}")
                    files[pod] = open(self.paths[pod], "ab")
                body = f"line {number} {FILLER[: self.random.randrange(20, len(FILLER))]}"
                self.written[pod].append(body)
                files[pod].write(f"{stamp(number)} stdout F {body}\n".encode())
            if number % 50 == 0:
                for file in files.values():
                    file.flush()
                time.sleep(self.pause_s)
        for file in files.values():
            file.close()


class Agent:
    def __init__(self, name, pods, sinks, metrics):
        self.directory = os.path.join(WORK, name)
        os.makedirs(self.directory, exist_ok=True)
        self.admin = free_port()
        self.log = open(os.path.join(self.directory, "agent.log"), "ab")
        self.config = os.path.join(self.directory, "config.yaml")
        config = {
            "node": "n1",
            "cluster_name": "blue",
            "state_dir": os.path.join(self.directory, "state"),
            "logs": {"pod_logs": pods, "rescan_interval_ms": 1000},
            "metrics": metrics,
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "sinks": sinks,
        }
        with open(self.config, "w") as file:
            json.dump(config, file)

    def start(self):
        self.process = subprocess.Popen([LONGSHORE, "run", "--config", self.config], stdout=self.log, stderr=self.log)

    def kill(self):
        if self.process.poll() is not None:
            fail(f"the agent ended by itself with {self.process.returncode}; see {self.log.name}")
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=30) != 0:
            fail(f"the agent ended with {self.process.returncode}")

    def page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def connects(self):
        """What `check --connect` says."""
        done = subprocess.run([LONGSHORE, "check", "--connect", "--config", self.config], capture_output=True, text=True)
        return done.stdout + done.stderr
