"""A container runtime as a kubelet sees it: the CRI's calls, with as much of protobuf as they take, and the image."""

import collections
import hashlib
import io
import json
import os
import tarfile

import grpc

NAMESPACE = "real"
IMAGE = "longshore.local/busybox:1"


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(fields):
    """A protobuf message of {field number: int, str, bytes, dict (message) or list of these}."""
    out = b""
    for number, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                out += varint(number << 3) + varint(item)
                continue
            if isinstance(item, dict):
                item = message(item)
            elif isinstance(item, str):
                item = item.encode()
            out += varint(number << 3 | 2) + varint(len(item)) + item
    return out


def fields_of(data):
    """{field number: [int or bytes]} of a protobuf message."""
    fields = collections.defaultdict(list)
    at = 0

    def number():
        nonlocal at
        shift = value = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3].append(number())
        elif key & 7 == 2:
            length = number()
            fields[key >> 3].append(data[at:at + length])
            at += length
        else:
            raise ValueError(f"wire type {key & 7} is not used by the CRI")
    return fields


def string_map(pairs):
    return [{1: key, 2: value} for key, value in pairs.items()]


class Runtime:
    """The calls of runtime.v1.RuntimeService that a kubelet makes. Numbers are those of the CRI's definition."""

    POD, CONTAINER, NODE = 0, 1, 2  # NamespaceMode
    EXITED = 2  # ContainerState

    def __init__(self, work):
        options = [("grpc.default_authority", "localhost")]
        self.channel = grpc.insecure_channel(f"unix://{work}/containerd.sock", options=options)
        self.cgroup = "/" + os.path.basename(work)

    def call(self, method, fields):
        path = f"/runtime.v1.RuntimeService/{method}"
        return self.channel.unary_unary(path, message, fields_of)(fields, timeout=60)

    def namespaces(self):
        # The node's network, so that no network plugin is needed.
        return {1: self.NODE, 2: self.CONTAINER, 3: self.POD}

    def run_pod(self, pod):
        pod.config = {
            1: {1: pod.name, 2: pod.uid, 3: NAMESPACE},
            3: pod.directory,
            6: string_map({"io.kubernetes.pod.uid": pod.uid}),
            8: {1: f"{self.cgroup}/pod{pod.uid}", 2: {1: self.namespaces()}},
        }
        os.makedirs(pod.directory)
        pod.sandbox = self.call("RunPodSandbox", {1: pod.config})[1][0].decode()

    def start_container(self, pod, attempt):
        config = {
            1: {1: "main", 2: attempt},
            2: {1: IMAGE},
            3: ["/bin/sh", "-c", pod.script],
            6: [{1: "ATTEMPT", 2: str(attempt)}],
            11: f"main/{attempt}.log",
            15: {1: {}, 2: {3: self.namespaces()}},
        }
        os.makedirs(f"{pod.directory}/main", exist_ok=True)
        request = {1: pod.sandbox, 2: config, 3: pod.config}
        container = self.call("CreateContainer", request)[1][0].decode()
        self.call("StartContainer", {1: container})
        return container

    def exited(self, container):
        status = fields_of(self.call("ContainerStatus", {1: container})[1][0])
        return status[3] == [self.EXITED]

    def stop_container(self, container):
        self.call("StopContainer", {1: container, 2: 30})

    def reopen_log(self, container):
        self.call("ReopenContainerLog", {1: container})

    def remove_pods(self):
        for pod in self.call("ListPodSandbox", {})[1]:
            sandbox = fields_of(pod)[1][0].decode()
            self.call("StopPodSandbox", {1: sandbox})
            self.call("RemovePodSandbox", {1: sandbox})


def write_image(path, busybox):
    """An image archive with busybox in it; started without a command it sleeps, as a pod's sandbox has to."""
    links = {f"bin/{name}": "busybox" for name in ["awk", "echo", "printf", "seq", "sh", "sleep"]}
    write_archive(path, IMAGE, {"bin/busybox": busybox}, links, ["/bin/sleep", "2147483647"])


def write_archive(path, name, files, links, entrypoint):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        directories = {"dev", "etc", "proc", "sys", "tmp"}
        for file in [*files, *links]:
            parts = os.path.dirname(file).split("/")
            directories |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        for directory in sorted(directories - {""}):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for file, source in files.items():
            with open(source, "rb") as content:
                entry = tarfile.TarInfo(file)
                entry.mode, entry.size = 0o755, os.path.getsize(source)
                tar.addfile(entry, content)
        for link, target in links.items():
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for entry_name, content in [
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ]:
            entry = tarfile.TarInfo(entry_name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
