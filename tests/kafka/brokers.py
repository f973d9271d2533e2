"""Real Kafka brokers for tests and benchmarks: one or three processes of a JVM, on free ports, in a temporary folder.

`python -m tests.kafka.brokers` fetches what they are made of, once; `Cluster` starts and stops them.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # they are there

from tests.ports import free_port

HERE = Path(__file__).parent
LIBS = HERE / "libs"
STAMP = LIBS / "of-pom"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
JVM = (
    *("-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=112m"),
    "-Djava.awt.headless=true",
)
READY_WITHIN = 60
QUIET = {"log_level": 0}  # of librdkafka, which tells of every connection that a starting broker refuses
HOW = "a JDK (17 or newer) and Maven are needed: apt-get install default-jre-headless maven, or set KAFKA_BOOTSTRAP"


def missing() -> str:
    """Say what is not there of what brokers need."""
    lacking = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"no {' and no '.join(lacking)}: {HOW}" if lacking else ""


def fetch() -> None:
    """Have Maven fetch the jars, unless they are there."""
    pom = hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == pom:
        return
    shutil.rmtree(LIBS, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={LIBS}"]
    for attempt in range(3):  # a mirror may stumble
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            STAMP.write_text(pom)
            return
        time.sleep(2 * attempt)
    raise RuntimeError(f"Maven cannot fetch the brokers: {done.stdout}{done.stderr}")


class Cluster:
    """Brokers that are combined with their controllers: one, or three that copy each record to each."""

    def __init__(self, folder: Path, brokers: int = 1, **properties: object) -> None:
        """Take a folder for their data, and further properties with underscores for dots."""
        fetch()
        self._folder = folder
        self._further = {name.replace("_", "."): value for name, value in properties.items()}
        self._ports = [(free_port(), free_port()) for _ in range(brokers)]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def start(self) -> Cluster:
        """Start all, and wait until they do transactions."""
        nodes = range(len(self._ports))
        for node in nodes:
            (self._folder / f"node-{node}").mkdir(parents=True)
            (self._folder / f"node-{node}.properties").write_text(self._properties(node))
        alone = ["--standalone"] if len(nodes) == 1 else []
        formats = [
            self._java("kafka.tools.StorageTool", node, "format", *alone, "-t", CLUSTER, "-c", self._config(node))
            for node in nodes
        ]
        for node, done in zip(nodes, formats, strict=True):
            assert done.wait() == 0, self.log(node)
        self.processes = [self._java("kafka.Kafka", node, self._config(node)) for node in nodes]
        self._wait()
        return self

    def kill(self, node: int) -> None:
        """Kill a broker."""
        self.processes[node].kill()
        self.processes[node].wait()

    def revive(self, node: int) -> None:
        """Start a broker again."""
        self.processes[node] = self._java("kafka.Kafka", node, self._config(node))

    def stop(self) -> None:
        """End all at once: nobody wants their data."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()

    def log(self, node: int) -> str:
        """Give the end of what a broker says."""
        return (self._folder / f"node-{node}.log").read_text()[-4000:]

    def _java(self, main: str, node: int, *arguments: object) -> subprocess.Popen[bytes]:
        with (self._folder / f"node-{node}.log").open("ab") as log:
            command = ["java", *JVM, "-cp", f"{LIBS}/*", main, *map(str, arguments)]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def _config(self, node: int) -> Path:
        return self._folder / f"node-{node}.properties"

    def _wait(self) -> None:
        until = time.monotonic() + READY_WITHIN
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **QUIET})
        while True:
            with contextlib.suppress(KafkaException):
                if len(admin.list_topics(timeout=2).brokers) == len(self._ports):
                    break
            assert time.monotonic() < until, self.log(0)
            time.sleep(0.1)
        Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "ready", **QUIET}).init_transactions(READY_WITHIN)

    def _properties(self, node: int) -> str:
        port, controller = self._ports[node]
        several = len(self._ports) > 1
        voters = ",".join(f"{place + 1}@127.0.0.1:{other}" for place, (_, other) in enumerate(self._ports))
        quorum = (
            f"controller.quorum.voters={voters}" if several else f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}"
        )
        copies, least = (3, 2) if several else (1, 1)
        said = {
            "process.roles": "broker,controller",
            "node.id": node + 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self._folder / f"node-{node}",
            "default.replication.factor": copies,
            "min.insync.replicas": least,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": least,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": least,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
            "log.cleaner.dedupe.buffer.size": 4194304,
            "log.index.size.max.bytes": 1048576,
            "broker.session.timeout.ms": 2000 if several else 60_000,  # one alone is shut out by itself where the machine is slow
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "num.recovery.threads.per.data.dir": 1,
            "auto.create.topics.enable": "false",
            **self._further,
        }
        return "\n".join([quorum, *(f"{name}={value}" for name, value in said.items())])


def make_topics(bootstrap: str, copies: int = 1, config: Mapping[str, str] | None = None, /, **partitions: int) -> None:
    """Make topics of so many partitions, with settings of theirs; two underscores in a name stand for a dot."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    wanted = [NewTopic(name.replace("__", "."), number, copies, config=dict(config or {})) for name, number in partitions.items()]
    for made in admin.create_topics(wanted).values():
        made.result(30)


def read(bootstrap: str, topic: str, count: int, within: float = READY_WITHIN) -> list[Message]:
    """Read committed records from a topic's beginning until there are so many, and as many as come right after."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **QUIET,
        }
    )
    places = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, place, 0) for place in places])
    found: list[Message] = []
    until = time.monotonic() + within
    while True:
        got = [each for each in consumer.consume(10_000, 0.3) if not each.error()]
        found += got
        if (len(found) >= count and not got) or time.monotonic() > until:
            consumer.close()
            return found


if __name__ == "__main__":
    fetch()
