"""The proof of tests/sinks/kafka: brokers, faults before them, a log tree that is written to, the agent, a reader.

Each step says what it proves; the first that fails ends the proof with exit code 1.
"""

import atexit
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from kafka_proxy import Cluster

PATIENCE_S = 75
BROKERS = 3
KILLS = 3
LINES = int(os.environ.get("LINES", "100000"))
SEED = int(os.environ.get("SEED", "1"))
CHAINS = [(namespace, pod, container) for namespace in ("shop", "bank") for pod in (0, 1) for container in ("app", "proxy")]
ROTATIONS = 4
RECORDS_PER_MESSAGE = 40
# Each line has some of it.
FILLER = "abcdefghijklmnopqrstuvwxyz" * 8


def fail(why):
    print(f"FAILED: {why}", file=sys.stderr)
    sys.exit(1)


def proved(what):
    print(f"  {time.monotonic() - began:5.1f} s  {what}", flush=True)


def mock():
    """The brokers, in a process of their own. Ends with its standard input."""
    producer = Producer({"test.mock.num.brokers": BROKERS, "bootstrap.servers": "", "log_level": 0})
    found = producer.list_topics(timeout=10)
    print(json.dumps([broker.port for broker in found.brokers.values()]), flush=True)
    sys.stdin.read()


def uid_of(namespace, pod):
    return f"{namespace}-{pod}-uid"


class Writer(threading.Thread):
    """Writes numbered lines into a pod log tree as a container runtime does, with the kubelet's rotation."""

    def __init__(self, root, lines):
        super().__init__(daemon=True)
        self.lines = lines
        self.random = random.Random(SEED)
        self.written = 0
        self.files = {}
        self.paths = {}
        for namespace, pod, container in CHAINS:
            directory = os.path.join(root, f"{namespace}_web-{pod}_{uid_of(namespace, pod)}", container)
            os.makedirs(directory)
            self.paths[namespace, pod, container] = os.path.join(directory, "0.log")

    def run(self):
        share = self.lines // len(CHAINS)
        rotate_at = {share * (turn + 1) // (ROTATIONS + 1) for turn in range(ROTATIONS)}
        for path in self.paths.values():
            self.files[path] = open(path, "ab")
        for number in range(0, share):
            if number in rotate_at:
                self.rotate(number)
            for path in self.paths.values():
                filler = FILLER[: self.random.randrange(20, len(FILLER))]
                stamp = f"2026-01-01T00:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}000000Z"
                self.files[path].write(f"{stamp} stdout F line {number} {filler}\n".encode())
            self.written = (number + 1) * len(CHAINS)
            if number % 50 == 0:
                for file in self.files.values():
                    file.flush()
                time.sleep(0.03)
        for file in self.files.values():
            file.close()

    def rotate(self, number):
        for path in self.paths.values():
            self.files[path].close()
            os.rename(path, f"{path}.20260101-{number:06}")
            self.files[path] = open(path, "ab")


class Agent:
    def __init__(self, longshore, work, ports):
        self.command = [longshore, "run", "--config", os.path.join(work, "config.yaml")]
        self.log = open(os.path.join(work, "agent.log"), "ab")
        config = {
            "node": "n1",
            "state_dir": os.path.join(work, "state"),
            "logs": {"pod_logs": os.path.join(work, "pods"), "rescan_interval_ms": 1000},
            "metrics": {"interval_ms": 1000},
            "admin": {"listen": "127.0.0.1:0"},
            "sinks": {
                "plain": self.sink(ports, topic="logs-{namespace}", compression="gzip"),
                "packed": self.sink(
                    ports,
                    topic="packed",
                    compression="zstd",
                    format="json_array",
                    records_per_message=RECORDS_PER_MESSAGE,
                    signals=["logs", "metrics"],
                    metrics_topic="metrics",
                ),
            },
        }
        with open(os.path.join(work, "config.yaml"), "w") as file:
            json.dump(config, file)

    def sink(self, ports, **more):
        return {
            "type": "kafka",
            "bootstrap_servers": [f"127.0.0.1:{port}" for port in ports],
            "payload_bytes_max": 256 * 1024,
            "message_bytes_max": 64 * 1024,
            "flush_interval_ms": 200,
            "request_timeout_ms": 1000,
            "connect_timeout_ms": 1000,
            "backoff_min_ms": 50,
            "backoff_max_ms": 400,
            "checkpoint_interval_ms": 200,
            "probe_interval_ms": 1000,
            **more,
        }

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def end(self):
        """However the proof ends, nothing of it stays."""
        if self.process.poll() is None:
            self.process.kill()

    def kill(self):
        if self.process.poll() is not None:
            fail(f"the agent ended by itself with {self.process.returncode}; see agent.log")
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=30) != 0:
            fail(f"the agent ended with {self.process.returncode}")


class Store:
    """What a reader finds in one sink's topics, in the order of each partition."""

    def __init__(self, name, topics):
        self.name = name
        self.topics = topics
        self.rows = {}  # uid: (key, line)
        self.keys = {}  # key: the lines in the order of their first appearance
        self.places = {}  # key: the topic and partition
        self.messages = 0
        self.records = 0
        self.longest = 0

    def take(self, message):
        key = message.key().decode()
        place = (message.topic(), message.partition())
        if self.places.setdefault(key, place) != place:
            fail(f"{self.name}: {key} is in {self.places[key]} and in {place}")
        headers = dict(message.headers())
        uids = headers["record_uid"].decode().split(",")
        value = json.loads(message.value())
        rows = value if isinstance(value, list) else [value]
        if len(rows) != len(uids):
            fail(f"{self.name}: a message of {len(rows)} rows names {len(uids)} uids")
        self.messages += 1
        self.longest = max(self.longest, len(rows))
        for uid, row in zip(uids, rows):
            self.records += 1
            line = int(row["LogMessage"].split()[1])
            whose = f"{row['KubernetesMetadata']['podUid']}/{row['ContainerName']}/0"
            if whose != key or len(uid) != 32:
                fail(f"{self.name}: a row of {whose} has key {key} and uid {uid}")
            if uid not in self.rows:
                self.rows[uid] = (key, line)
                self.keys.setdefault(key, []).append(line)
            elif self.rows[uid] != (key, line):
                fail(f"{self.name}: uid {uid} names two records")

    def check(self, lines):
        share = lines // len(CHAINS)
        for namespace, pod, container in CHAINS:
            key = f"{uid_of(namespace, pod)}/{container}/0"
            found = self.keys.get(key, [])
            if found != list(range(share)):
                missing = sorted(set(range(share)) - set(found))
                out_of_order = [b for a, b in zip(found, found[1:]) if b < a]
                fail(
                    f"{self.name}: {key} has {len(found)} of {share} lines; missing {missing[:5]} ({len(missing)}), "
                    f"out of order {out_of_order[:5]} ({len(out_of_order)})"
                )


class Samples:
    """What a reader finds in the topic of samples."""

    topics = ["metrics"]

    def __init__(self):
        self.rows = {}  # uid: what it is of
        self.names = set()

    def take(self, message):
        uids = dict(message.headers())["record_uid"].decode().split(",")
        rows = json.loads(message.value())
        if message.key() != b"n1" or len(rows) != len(uids) or len(rows) > RECORDS_PER_MESSAGE:
            fail(f"samples: a message of {len(rows)} rows with key {message.key()} and {len(uids)} uids")
        for uid, row in zip(uids, rows):
            series = (row["TimeGenerated"], row["Name"], tuple(sorted(row["Tags"].items())))
            self.names.add(row["Name"])
            if self.rows.setdefault(uid, series) != series or row["Computer"] != "n1":
                fail(f"samples: uid {uid} names {series} and {self.rows[uid]}")

    def check(self):
        if "node_memory_MemTotal_bytes" not in self.names or len(set(self.rows.values())) != len(self.rows):
            fail(f"samples: {len(self.rows)} uids of {len(set(self.rows.values()))} samples, {sorted(self.names)[:5]}")
        proved(f"samples: {len(self.rows)} of {len(self.names)} metrics under the node's key, each with one uid")


class Reading(threading.Thread):
    """Reads all topics from their beginning, from the brokers themselves."""

    def __init__(self, port, stores):
        super().__init__(daemon=True)
        self.stores = {topic: store for store in stores for topic in store.topics}
        self.error = None
        self.reader = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "proof", "log_level": 0, "enable.auto.commit": False})
        # Asked for by a producer, topics are made.
        maker = Producer({"bootstrap.servers": f"127.0.0.1:{port}"})
        metadata = [maker.list_topics(topic, timeout=10).topics[topic] for topic in self.stores]
        places = [TopicPartition(topic.topic, number, OFFSET_BEGINNING) for topic in metadata for number in topic.partitions]
        self.partitions = len(places)
        self.reader.assign(places)

    def run(self):
        try:
            while True:
                for message in self.reader.consume(1000, timeout=0.2):
                    if message.error():
                        raise RuntimeError(message.error())
                    self.stores[message.topic()].take(message)
        except SystemExit:
            self.error = "see above"
        except Exception as error:  # told by the main thread
            self.error = repr(error)


def same_partitions(port, stores):
    """Another client puts the same keys where we put them."""
    wanted = {}
    for store in stores:
        for key, (topic, partition) in store.places.items():
            wanted[topic, key] = partition
    found = {}

    def delivered(error, message):
        if error:
            fail(f"another producer: {error}")
        found[message.topic(), message.key().decode()] = message.partition()

    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "partitioner": "murmur2_random"})
    for topic, key in wanted:
        producer.produce(topic, value=b"", key=key, on_delivery=delivered)
    producer.flush(10)
    if found != wanted:
        fail(f"another client's partitions are {found}, ours {wanted}")


def main(longshore, work):
    brokers = subprocess.Popen(
        [sys.executable, "-B", __file__, "mock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    ports = json.loads(brokers.stdout.readline())
    cluster = Cluster(ports, SEED, chance=0.15)
    stores = [Store("plain", ["logs-shop", "logs-bank"]), Store("packed", ["packed"])]
    samples = Samples()
    reading = Reading(ports[0], [*stores, samples])
    reading.start()
    proved(f"{BROKERS} brokers with {reading.partitions} partitions, a proxy before each")

    os.makedirs(os.path.join(work, "pods"))
    lines = LINES // len(CHAINS) * len(CHAINS)
    writer = Writer(os.path.join(work, "pods"), lines)
    agent = Agent(longshore, work, list(cluster.ports.values()))
    agent.start()
    atexit.register(agent.end)
    writer.start()
    deadline = time.monotonic() + PATIENCE_S * max(1, LINES / 100_000)
    kills = 0
    while any(len(store.rows) < lines for store in stores):
        if reading.error:
            fail(f"reading: {reading.error}")
        if time.monotonic() > deadline:
            for store in stores:
                print(f"{store.name}: {len(store.rows)} of {lines}", file=sys.stderr)
                store.check(lines)
            fail("waited for too long")
        done = min(len(store.rows) for store in stores)
        if kills < KILLS and done > lines * (kills + 1) // (KILLS + 1):
            agent.kill()
            cluster.cut_all()
            agent.start()
            kills += 1
            proved(f"killed at {done} lines, started again")
        time.sleep(0.1)
    if kills < KILLS:
        fail(f"only {kills} kills found their moment")
    agent.stop()
    time.sleep(1)
    if reading.error:
        fail(f"reading: {reading.error}")
    for store in stores:
        store.check(lines)
        again = store.records - len(store.rows)
        proved(
            f"{store.name}: {lines} lines, each once per uid and in the order of its container; "
            f"{store.messages} messages, {again} records came again"
        )
    samples.check()
    if stores[0].longest != 1 or not 1 < stores[1].longest <= RECORDS_PER_MESSAGE:
        fail(f"messages of {stores[0].longest} and {stores[1].longest} records")
    # A head of the request, and of the batch, is all that may come on top.
    if cluster.largest > 64 * 1024 + 512:
        fail(f"a request had {cluster.largest} bytes")
    proved(f"no request larger than {cluster.largest} bytes, no message of more than {RECORDS_PER_MESSAGE} records")
    unmet = [fault for fault, count in cluster.met.items() if count == 0]
    if unmet:
        fail(f"of {cluster.requests} requests none met with: {unmet}")
    met = ", ".join(f"{fault} {count}" for fault, count in cluster.met.items())
    proved(f"{cluster.requests} requests met with: {met}")
    same_partitions(ports[0], stores)
    proved("another client puts the same keys into the same partitions")
    brokers.stdin.close()
    brokers.wait(timeout=10)
    print(f"kafka: good; {lines} lines to each of two sinks, {KILLS} kills")


if sys.argv[1] == "mock":
    mock()
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    main(*sys.argv[1:])
