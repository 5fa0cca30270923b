"""Every row says whose it is, by what an API server tells: real containers, and an agent that asks `api.py`.

metadata.py WORK LONGSHORE    exit 0 if all of it holds

What is proven, while one agent runs: pods of one name are deleted and made again, the old one still printing under the
same name; a container is restarted; pods live for half a second; 200 pods print their lines and are gone at once, from
the API server as soon as they have ended, their directories soon after. The API server tells of every second pod only
after its container has begun. Each line names the pod's uid, the instance and a number, and has to arrive once, with the
container id, the labels, the annotation and the image of that very pod. One sink obeys pods' annotations, so that nothing is
read before a pod is known; another does not, and has only the time that first lines wait.
"""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from api import Api
from runtime import IMAGE, NAMESPACE, Runtime
from scenario import NODE, Agent, FileOutput, Pod, say, wait_for

TOKEN = "token-of-the-agent"
# As many container instances at once as a node starts when jobs rush in, on two processors.
AT_ONCE = 6
SHORT_PODS = int(os.environ.get("SHORT_PODS", "200"))
SHORT_LINES = 40
# By this much the agent may hear of a pod after the kubelet has; less than it grants another API server.
TOLD_LATE_S = 0.8
# A kubelet removes the directory of a pod that is gone about that late.
DIRECTORY_STAYS_S = 1.5


class Told(Pod):
    """A pod of which the API server is told; its lines say which it is."""

    def __init__(self, work, api, name, lines, pause_s=0.0, last_sleep_s=0.0):
        super().__init__(work, name, "")
        nap = f"sleep {pause_s};" if pause_s else ""
        self.script = (f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo {self.uid} $ATTEMPT $i; {nap} done;"
                       f" sleep {last_sleep_s}")
        self.api, self.lines, self.bytes, self.gone = api, lines, 0, False

    def tell(self):
        running = {"name": "main", "image": IMAGE, "imageID": f"{IMAGE}@sha256:{'0' * 64}", "ready": True,
                   "restartCount": max(0, len(self.containers) - 1)}
        if self.containers:
            running["containerID"] = f"containerd://{self.containers[-1]}"
        if len(self.containers) > 1:
            before = {"containerID": f"containerd://{self.containers[-2]}", "reason": "Error"}
            running["lastState"] = {"terminated": before}
        self.api.put("pods", {
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "uid": self.uid,
                         "labels": {"uid": self.uid, "app": self.name},
                         "annotations": {"example.com/uid": self.uid}},
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": IMAGE}]},
            "status": {"phase": "Running", "containerStatuses": [running]},
        })

    def forget(self):
        self.api.delete("pods", NAMESPACE, self.name)

    def begin(self, runtime, late):
        """The sandbox, and the first container; the API server tells before it or, if `late`, after it has begun."""
        if not late:
            self.tell()
        runtime.run_pod(self)
        self.start(runtime)
        if late:
            time.sleep(TOLD_LATE_S)
        self.tell()

    def end(self, runtime):
        """Waits for the end of the last container, and notes what its logs hold."""
        wait_for(lambda: runtime.exited(self.containers[-1]), 60, f"{self.name} to end")
        self.bytes = self.total()[0]

    def remove(self, runtime):
        runtime.call("StopPodSandbox", {1: self.sandbox})
        runtime.call("RemovePodSandbox", {1: self.sandbox})
        for container in self.containers:
            os.unlink(f"{self.links}/{self.name}_{NAMESPACE}_main-{container}.log")
        time.sleep(DIRECTORY_STAYS_S)
        shutil.rmtree(self.directory)


class Scenario:
    def __init__(self, work, api, runtime):
        self.work, self.api, self.runtime = work, api, runtime
        self.lock, self.pods = threading.Lock(), []

    def pod(self, name, lines, **how):
        pod = Told(self.work, self.api, name, lines, **how)
        with self.lock:
            self.pods.append(pod)
        return pod

    def successors(self):
        """Pods of one name: each is deleted at the API server while it prints, and the next one begins."""
        with ThreadPoolExecutor(AT_ONCE) as others:
            for generation in range(5):
                pod = self.pod("db-0", 60, pause_s=0.03)
                pod.begin(self.runtime, late=generation % 2 == 1)
                time.sleep(0.3)
                assert not self.runtime.exited(pod.containers[0]), "it has ended before its deletion"
                pod.forget()
                others.submit(self.finish, pod).add_done_callback(raised)

    def finish(self, pod):
        pod.end(self.runtime)
        pod.remove(self.runtime)

    def restarts(self):
        """One pod, five instances."""
        pod = self.pod("again", 50)
        pod.begin(self.runtime, late=False)
        for _ in range(4):
            pod.end(self.runtime)
            pod.start(self.runtime)
            pod.tell()
        pod.end(self.runtime)

    def short(self, name, late, **how):
        pod = self.pod(name, SHORT_LINES, **how)
        pod.begin(self.runtime, late)
        pod.end(self.runtime)
        pod.forget()
        pod.remove(self.runtime)

    def many(self):
        with ThreadPoolExecutor(AT_ONCE) as jobs:
            half_seconds = [jobs.submit(self.short, f"half-{number}", number % 2 == 1, last_sleep_s=0.5)
                            for number in range(20)]
            short = [jobs.submit(self.short, f"job-{number}", number % 2 == 1) for number in range(SHORT_PODS)]
            for job in half_seconds + short:
                job.result()


def raised(job):
    if job.exception():
        say(f"WRONG: {job.exception()!r}")
        os.kill(os.getpid(), signal.SIGTERM)


def check(rows, pods):
    """The problems, and how many lines there are."""
    by_uid = {pod.uid: pod for pod in pods}
    counts, problems = collections.Counter(), []
    for line in rows:
        row = json.loads(line)
        words = row["LogMessage"].split(" ")
        pod = by_uid.get(words[0])
        if pod is None or len(words) != 3:
            problems.append(f"a row that nobody printed: {row}")
            continue
        metadata = row["KubernetesMetadata"]
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        attempt = int(words[1])
        # The API server tells late of some, and some links are late: then a row may have no id, never another's.
        if row["ContainerId"] != pod.containers[attempt] and not (
                row["ContainerId"] == "" and pod.is_id("", row["TimeGenerated"])):
            problems.append(f"another container: {row['ContainerId']!r}, not {pod.containers[attempt]}: {row}")
        found = [row["PodName"], row["PodNamespace"], row["ContainerName"], metadata.get("podUid"),
                 metadata.get("podLabels"), metadata.get("podAnnotations"), metadata.get("imageRepo"),
                 metadata.get("image"), metadata.get("imageTag")]
        repository, _, image = IMAGE.partition("/")
        image, _, tag = image.partition(":")
        wanted = [pod.name, NAMESPACE, "main", pod.uid, {"uid": pod.uid, "app": pod.name},
                  {"example.com/uid": pod.uid}, repository, image, tag]
        if found != wanted:
            problems.append(f"another pod's words: {found}, not {wanted}")
        counts[pod.uid, attempt, int(words[2])] += 1
    expected = {(pod.uid, attempt, number) for pod in pods for attempt in range(len(pod.containers))
                for number in range(1, pod.lines + 1)}
    names = {pod.uid: pod.name for pod in pods}
    for uid, attempt, number in sorted(expected - set(counts)):
        problems.append(f"lost: line {number} of {names[uid]}, instance {attempt}, {uid}")
    for key, count in counts.items():
        if key not in expected or count != 1:
            problems.append(f"{count} times: {key}")
    return problems, len(expected)


def explained(agent, program, pod):
    """What is wrong with the agent's word on a pod whose container was restarted."""
    asked = subprocess.run([program, "explain", f"{NAMESPACE}/{pod.name}", "--admin", f"127.0.0.1:{agent.port}"],
                           capture_output=True, text=True, timeout=30)
    wanted = [f"{NAMESPACE}/{pod.name}: the logs of {len(pod.containers)} container instances on node {NODE}",
              "metadata  known: 2 labels, 1 annotations", *(f"sink {name}: collected, no rule speaks against it" for name in ("files", "plain"))]
    for attempt, container in enumerate(pod.containers):
        wanted += [f"container main, restart {attempt}", f"chain     {pod.uid}/main/{attempt}",
                   f"id        {container}", f"file      {pod.directory}/main/{attempt}.log: "]
    lacking = [text for text in wanted if text not in asked.stdout]
    if asked.returncode == 0 and not lacking:
        return []
    return [f"explain: exit {asked.returncode}, without {lacking}: {asked.stdout}{asked.stderr}"]


def prove(work, program):
    os.makedirs(f"{work}/pods", exist_ok=True)
    os.makedirs(f"{work}/containers")
    rights = {"rules": [{"resources": ["pods"], "verbs": ["list", "watch"]}]}
    api = Api(work, "127.0.0.1", TOKEN, rights, {"pods": f"spec.nodeName={NODE}"})
    with open(f"{work}/token", "w") as file:
        file.write(TOKEN)
    agent = Agent(work, program, "files", FileOutput(f"{work}/files/rows"))
    outputs = {"files": agent.output, "plain": FileOutput(f"{work}/plain/rows")}
    path = agent.command[-1]
    with open(path) as file:
        config = json.load(file)
    config["kubernetes"] = {
        "source": "api", "start_spread_ms": 0, "node_object": False,
        "api": {"url": f"https://127.0.0.1:{api.port}", "bearer_token": {"file": f"{work}/token"},
                "tls": {"ca_file": f"{work}/ca.crt"}},
    }
    plain = {**outputs["plain"].config(), "select": {"pod_annotations": []}}
    config["sinks"]["plain"] = plain
    with open(path, "w") as file:
        json.dump(config, file, indent=2)
    runtime = Runtime(work)
    scenario = Scenario(work, api, runtime)
    agent.start()
    try:
        agent.wait_until_ready()
        wait_for(lambda: api.watches > 0, 15, "the agent's watch")
        with ThreadPoolExecutor(3) as parts:
            for part in [parts.submit(it) for it in (scenario.successors, scenario.restarts, scenario.many)]:
                part.result()
        pods = scenario.pods
        again = next(pod for pod in pods if pod.name == "again")
        expected_bytes = sum(pod.bytes for pod in pods)
        say(f"{len(pods)} pods have ended")
        problems = []
        for agent.name in outputs:
            agent.settle(expected_bytes)
            ledger = agent.ledger()
            lost, seen = ledger["excluded, dropped or lost bytes"], ledger["seen bytes"]
            if (lost, seen, ledger["balances"]) != (0, expected_bytes, True):
                problems.append(f"ledger of {agent.name}: {ledger}, {expected_bytes} bytes were printed")
        problems += explained(agent, program, again)
        code = agent.stop()
        if code != 0:
            problems.append(f"exit code after SIGTERM is {code}")
    finally:
        agent.abandon()
    for name, output in outputs.items():
        wrong, lines = check(output.rows(), pods)
        problems += [f"sink {name}: {text}" for text in wrong]
    problems += [f"asked of the API server: {text}" for text in api.violations]
    lists = api.asked.count(("pods", "list"))
    if lists != 1:
        problems.append(f"{lists} lists")
    for problem in problems[:20]:
        say(f"WRONG: {problem}")
    say(f"{len(pods)} pods, {lines} lines, {lists} list and {api.asked.count(('pods', 'watch'))} watches: "
        + (f"{len(problems)} PROBLEMS" if problems else "every row is its own pod's"))
    return not problems


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(0 if prove(*sys.argv[1:]) else 1)
