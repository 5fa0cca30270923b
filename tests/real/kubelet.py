"""A kubelet's part for the pods of a DaemonSet: from the rendered manifest to the calls of the CRI, repeating none of it.

Volumes are made as the kubelet makes them: a ConfigMap or a Secret is a directory of links through `..data`, which a
change replaces by one rename; host paths are where `places` says that this node has them.
"""

import json
import os
import shutil
import subprocess
import time
import uuid

from runtime import Runtime, fields_of, string_map

# What the kubelet hides of /proc and /sys, and what it makes read-only, unless a pod asks for more (procMount: Default).
MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
PROPAGATION = {None: 0, "None": 0, "HostToContainer": 1, "Bidirectional": 2}
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
STARTED_WITHIN_S = 60


def render(kubectl, directory):
    """{kind: document} of a kustomization in which each kind is there once."""
    import yaml
    done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=True)
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


def publish(directory, files, mode=0o644):
    """Puts files into a volume as the kubelet does: whoever reads sees all of the old or all of the new."""
    os.makedirs(directory, exist_ok=True)
    name = time.strftime("..%Y_%m_%d_%H_%M_%S.") + str(time.time_ns() % 10**9)
    os.mkdir(f"{directory}/{name}")
    for file, content in files.items():
        with open(f"{directory}/{name}/{file}", "w") as out:
            out.write(content)
        os.chmod(f"{directory}/{name}/{file}", mode)
    old = os.readlink(f"{directory}/..data") if os.path.islink(f"{directory}/..data") else None
    os.symlink(name, f"{directory}/..data_tmp")
    os.rename(f"{directory}/..data_tmp", f"{directory}/..data")
    for file in files:
        if not os.path.islink(f"{directory}/{file}"):
            os.symlink(f"..data/{file}", f"{directory}/{file}")
    if old:
        shutil.rmtree(f"{directory}/{old}")


def memory_of(text):
    return int(text[:-2]) * UNITS[text[-2:]]


def millicores_of(text):
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


class Pod:
    def __init__(self, work, name, namespace):
        self.name, self.namespace, self.uid = name, namespace, str(uuid.uuid4())
        self.directory = f"{work}/pods/{namespace}_{name}_{self.uid}"
        self.containers = {}


class Kubelet(Runtime):
    """Runs pods of one DaemonSet. `secrets` and `maps`: {name: {key: text}}. `account`: the files of the service account;
    `cluster`: the variables by which every pod finds the API server."""

    def __init__(self, work, node, places, dns):
        super().__init__(work)
        self.work, self.node, self.places, self.dns = work, node, places, dns
        self.secrets, self.maps, self.account, self.cluster = {}, {}, {}, {}

    def sandbox_security(self):
        return {1: {1: self.POD, 2: self.CONTAINER, 3: self.POD}, 9: {1: 0}}

    def run_sandbox(self, pod):
        pod.config = {
            1: {1: pod.name, 2: pod.uid, 3: pod.namespace},
            2: pod.name,
            3: pod.directory,
            4: {1: self.dns["servers"], 2: self.dns["searches"], 3: self.dns["options"]},
            6: string_map({"io.kubernetes.pod.uid": pod.uid, "io.kubernetes.pod.name": pod.name,
                           "io.kubernetes.pod.namespace": pod.namespace}),
            8: {1: f"{self.cgroup}/pod{pod.uid}", 2: self.sandbox_security()},
        }
        os.makedirs(pod.directory)
        pod.sandbox = self.call("RunPodSandbox", {1: pod.config})[1][0].decode()
        status = fields_of(self.call("PodSandboxStatus", {1: pod.sandbox})[1][0])
        pod.address = fields_of(status[5][0])[1][0].decode()

    def variables(self, pod, container):
        fields = {"spec.nodeName": self.node, "status.hostIP": self.dns["servers"][0], "metadata.uid": pod.uid,
                  "metadata.name": pod.name, "metadata.namespace": pod.namespace}
        found = dict(self.cluster)
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                found[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                found[variable["name"]] = self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
            else:
                found[variable["name"]] = variable["value"]
        return found

    def volume(self, pod, name):
        return f"{self.work}/volumes/{pod.uid}/{name}"

    def make_volumes(self, pod, spec):
        """{name: path on this node}. For a pod that runs: what changed in maps and secrets is swapped in."""
        found = {}
        for volume in spec["volumes"]:
            name, path = volume["name"], self.volume(pod, volume["name"])
            if "configMap" in volume:
                publish(path, self.maps[volume["configMap"]["name"]])
            elif "secret" in volume:
                publish(path, self.secrets[volume["secret"]["secretName"]], volume["secret"].get("defaultMode", 0o644))
            elif "emptyDir" in volume:
                os.makedirs(path, exist_ok=True)
            else:
                path = self.places.get(volume["hostPath"]["path"], volume["hostPath"]["path"])
                if volume["hostPath"].get("type") == "DirectoryOrCreate" and not os.path.isdir(path):
                    os.makedirs(path, 0o755)
            found[name] = path
        return found

    def mounts(self, pod, spec, container, volumes):
        found = [{1: mount["mountPath"], 2: volumes[mount["name"]], 3: int(mount.get("readOnly", False)),
                  5: PROPAGATION[mount.get("mountPropagation")]} for mount in container.get("volumeMounts", [])]
        if spec.get("automountServiceAccountToken"):
            token = self.volume(pod, "token")
            publish(token, {"namespace": pod.namespace, **self.account})
            found.append({1: TOKEN_PATH, 2: token, 3: 1})
        hosts = self.volume(pod, "hosts")
        with open(hosts, "w") as file:
            file.write("127.0.0.1\tlocalhost\n")
        return found + [{1: "/etc/hosts", 2: hosts, 3: int(container["securityContext"]["readOnlyRootFilesystem"])}]

    def security(self, spec, container):
        asked = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        capabilities = asked.get("capabilities", {})
        if asked.get("runAsNonRoot") and not asked.get("runAsUser"):
            raise ValueError(f"the kubelet refuses {container['name']}: it is to be no root, and is")
        if asked["seccompProfile"] != {"type": "RuntimeDefault"}:
            raise ValueError(f"unknown to this kubelet: {asked['seccompProfile']}")
        return {
            1: {1: capabilities.get("add", []), 2: capabilities.get("drop", [])},
            3: {1: self.POD, 2: self.CONTAINER, 3: self.POD},
            5: {1: asked["runAsUser"]},
            7: int(asked.get("readOnlyRootFilesystem", False)),
            11: int(not asked.get("allowPrivilegeEscalation", True)),
            12: {1: asked["runAsGroup"]},
            13: MASKED,
            14: READ_ONLY,
            15: {1: 0},
        }

    def resources(self, container):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        if "cpu" in limits:
            raise ValueError("unknown to this kubelet: a limit on CPU")
        return {3: max(2, millicores_of(requests["cpu"]) * 1024 // 1000), 4: memory_of(limits["memory"])}

    def start(self, pod, spec, container, volumes):
        name = container["name"]
        config = {
            1: {1: name, 2: 0},
            2: {1: container["image"]},
            4: container["args"],
            6: string_map(self.variables(pod, container)),
            7: self.mounts(pod, spec, container, volumes),
            11: f"{name}/0.log",
            15: {1: self.resources(container), 2: self.security(spec, container)},
        }
        os.makedirs(f"{pod.directory}/{name}")
        made = self.call("CreateContainer", {1: pod.sandbox, 2: config, 3: pod.config})[1][0].decode()
        pod.containers[name] = made
        os.symlink(f"{pod.directory}/{name}/0.log",
                   f"{self.work}/containers/{pod.name}_{pod.namespace}_{name}-{made}.log")
        self.call("StartContainer", {1: made})
        return made

    def run(self, pod, spec):
        """Init containers one after the other, then the container. Returns when it has been started."""
        volumes = self.make_volumes(pod, spec)
        for container in spec["initContainers"]:
            made = self.start(pod, spec, container, volumes)
            code = self.exit_code(made)
            if code != 0:
                raise RuntimeError(f"init container {container['name']} ended with {code}: {self.log(pod, container['name'])}")
        (container,) = spec["containers"]
        return self.start(pod, spec, container, volumes)

    def log(self, pod, name):
        with open(f"{pod.directory}/{name}/0.log") as file:
            return file.read()

    def exit_code(self, container):
        end = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < end:
            status = fields_of(self.call("ContainerStatus", {1: container})[1][0])
            if status[3] == [self.EXITED]:
                return status[7][0] if status[7] else 0
            time.sleep(0.01)
        raise TimeoutError(f"the container {container} does not end")

    def process(self, container):
        """The number of the container's first process, as the node sees it."""
        for pair in self.call("ContainerStatus", {1: container, 2: 1})[2]:
            pair = fields_of(pair)
            if pair[1] == [b"info"]:
                return json.loads(pair[2][0])["pid"]
        raise LookupError("the runtime does not tell the container's process")

    def stop(self, container, grace_s):
        """SIGTERM, and SIGKILL after the grace. Returns how long it took, and the exit code."""
        began = time.monotonic()
        # The client waits longer than the runtime does.
        self.call("StopContainer", {1: container, 2: grace_s})
        return time.monotonic() - began, self.exit_code(container)
