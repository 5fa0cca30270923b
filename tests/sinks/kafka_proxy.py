"""Stands before each broker of a cluster and does what networks and brokers do at their worst.

It knows as much of Kafka's protocol as that takes: Metadata (version 1 to 4) name the proxies in place of the brokers,
and requests of Produce (version 3 to 7) meet with faults, drawn from a seeded generator.
"""

import random
import socket
import struct
import threading
import time

PRODUCE, METADATA = 0, 3

# What may happen to a Produce request. The second word says whether the broker has stored it all the same.
FAULTS = [
    "cut, not stored",
    "cut, stored",
    "hang, stored",
    "slow, stored",
    "throttle, stored",
    "refused, not stored",
    "half refused, stored",
    "too large, not stored",
]
REFUSALS = [5, 6, 7, 13, 19, 20]  # leader not available, not leader, timed out, network, not enough replicas (after append)
TOO_LARGE = 10


def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def read_message(stream):
    (length,) = struct.unpack(">i", read_exactly(stream, 4))
    return read_exactly(stream, length)


def write_message(stream, message):
    stream.sendall(struct.pack(">i", len(message)) + message)


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0]

    def text(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at]


def batches_of(request):
    """Topic, partition and number of messages of each batch of a Produce request."""
    reader = Reader(request, 8)
    reader.text()  # client id
    reader.text()  # transaction
    acks = reader.take("h")
    assert acks == -1, f"acks is {acks}"
    reader.take("i")
    found = []
    for _ in range(reader.take("i")):
        topic = reader.text()
        for _ in range(reader.take("i")):
            partition = reader.take("i")
            length = reader.take("i")
            (messages,) = struct.unpack_from(">i", request, reader.at + 57)
            reader.at += length
            found.append((topic, partition, messages))
    return found


def answer_to(request, version, code):
    """An answer that gives every batch of a Produce request that error code."""
    topics = {}
    for topic, partition, _ in batches_of(request):
        topics.setdefault(topic, []).append(partition)
    out = request[4:8] + struct.pack(">i", len(topics))
    for topic, partitions in topics.items():
        out += struct.pack(">h", len(topic)) + topic + struct.pack(">i", len(partitions))
        for partition in partitions:
            out += struct.pack(">ihqq", partition, code, -1, -1)
            if version >= 5:
                out += struct.pack(">q", -1)
    return out + struct.pack(">i", 0)


def refuse_every_other(answer, version, code):
    """An answer in which every other batch has that error code; None if there are not two."""
    answer = bytearray(answer)
    reader = Reader(answer, 4)
    number = 0
    for _ in range(reader.take("i")):
        reader.text()
        for _ in range(reader.take("i")):
            reader.take("i")
            if number % 2 == 1:
                struct.pack_into(">h", answer, reader.at, code)
            number += 1
            reader.at += 2 + 16 + (8 if version >= 5 else 0)
    return bytes(answer) if number > 1 else None


class Cluster:
    """Proxies of all brokers, which are given by their ports."""

    def __init__(self, ports, seed, chance):
        self.random = random.Random(seed)
        self.chance = chance
        self.lock = threading.Lock()
        self.met = dict.fromkeys(FAULTS, 0)
        self.requests = 0
        self.largest = 0
        self.streams = []
        self.listeners = {port: socket.create_server(("127.0.0.1", 0)) for port in ports}
        self.ports = {port: it.getsockname()[1] for port, it in self.listeners.items()}
        for port, listener in self.listeners.items():
            threading.Thread(target=self.listen, args=(port, listener), daemon=True).start()

    def listen(self, port, listener):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self.serve, args=(port, client), daemon=True).start()

    def cut_all(self):
        with self.lock:
            streams, self.streams = self.streams, []
        for stream in streams:
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def draw(self):
        with self.lock:
            self.requests += 1
            if self.random.random() >= self.chance:
                return None
            # The rarest first, so that a run of any length meets with all.
            least = min(self.met.values())
            return self.random.choice([fault for fault, count in self.met.items() if count == least])

    def count(self, fault):
        with self.lock:
            self.met[fault] += 1

    def serve(self, port, client):
        try:
            with client, socket.create_connection(("127.0.0.1", port)) as broker:
                with self.lock:
                    self.streams += [client, broker]
                while True:
                    if not self.exchange(client, broker):
                        return
        except (ConnectionError, OSError):
            return

    def exchange(self, client, broker):
        """One request and its answer. False: cut."""
        request = read_message(client)
        api, version = struct.unpack_from(">hh", request)
        if api != PRODUCE:
            write_message(broker, request)
            answer = read_message(broker)
            if api == METADATA:
                answer = self.renamed(answer, version)
            write_message(client, answer)
            return True
        self.largest = max(self.largest, len(request))
        fault = self.draw()
        # A single message that is too large would rightly be given up.
        if fault == "too large, not stored" and any(messages < 2 for *_, messages in batches_of(request)):
            fault = None
        if fault == "cut, not stored":
            self.count(fault)
            return False
        if fault in ("refused, not stored", "too large, not stored"):
            code = TOO_LARGE if fault.startswith("too large") else self.random.choice(REFUSALS)
            self.count(fault)
            write_message(client, answer_to(request, version, code))
            return True
        write_message(broker, request)
        answer = read_message(broker)
        if fault == "cut, stored":
            self.count(fault)
            return False
        if fault == "hang, stored":
            self.count(fault)
            return client.recv(1) != b""  # until the other side gives up
        if fault == "slow, stored":
            self.count(fault)
            time.sleep(0.3)
        if fault == "throttle, stored":
            self.count(fault)
            answer = answer[:-4] + struct.pack(">i", 200)
        if fault == "half refused, stored":
            half = refuse_every_other(answer, version, self.random.choice(REFUSALS))
            if half:
                self.count(fault)
                answer = half
        write_message(client, answer)
        return True

    def renamed(self, answer, version):
        answer = bytearray(answer)
        reader = Reader(answer, 4 + (4 if version >= 3 else 0))
        for _ in range(reader.take("i")):
            reader.take("i")
            reader.text()
            (port,) = struct.unpack_from(">i", answer, reader.at)
            struct.pack_into(">i", answer, reader.at, self.ports[port])
            reader.at += 4
            reader.text()
        return bytes(answer)
