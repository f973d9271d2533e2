"""Real Kafka brokers for tests and benchmarks: one or three processes of a JVM, on free ports, in a temporary folder.

`python -m tests.kafka.brokers` fetches their jars, once; `Cluster` starts and stops them.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # documented, but not exported

from tests.ports import free_port

HERE = Path(__file__).parent
LIBS = HERE / "libs"
STAMP = LIBS / "of-pom"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
JVM = (
    *("-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=112m"),
    "-Djava.awt.headless=true",
)
START_TIMEOUT = 60
QUIET = {"log_level": 0}  # librdkafka logs every connection that a starting broker refuses
REQUIREMENTS = "a JDK (17 or newer) and Maven are needed: apt-get install default-jre-headless maven, or set KAFKA_BOOTSTRAP"


def missing() -> str:
    """Return which programs are missing, as a message; "" if none is."""
    programs = [program for program in ("java", "mvn") if shutil.which(program) is None]
    return f"no {' and no '.join(programs)}: {REQUIREMENTS}" if programs else ""


def fetch() -> None:
    """Fetch the jars by Maven, unless they are present."""
    pom = hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == pom:
        return
    shutil.rmtree(LIBS, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={LIBS}"]
    for attempt in range(3):  # a mirror may fail once
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            STAMP.write_text(pom)
            return
        time.sleep(2 * attempt)
    raise RuntimeError(f"Maven cannot fetch the brokers: {done.stdout}{done.stderr}")


class Cluster:
    """Brokers with combined controllers: one, or three that replicate each record."""

    def __init__(self, folder: Path, brokers: int = 1, **properties: object) -> None:
        """Prepare brokers with their data in a folder; `properties` has underscores for dots."""
        fetch()
        self._folder = folder
        self._properties_given = {name.replace("_", "."): value for name, value in properties.items()}
        self._ports = [(free_port(), free_port()) for _ in range(brokers)]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def add_listeners(self, listeners: Sequence[str], advertised: Sequence[str]) -> None:
        """Add listeners to the first broker, and the addresses that it advertises for them."""
        (port, controller), *_ = self._ports
        plain = f"PLAINTEXT://127.0.0.1:{port}"
        self._properties_given |= {
            "listeners": ",".join([plain, f"CONTROLLER://127.0.0.1:{controller}", *listeners]),
            "advertised.listeners": ",".join([plain, *advertised]),
        }

    def set_properties(self, properties: Mapping[str, object]) -> None:
        """Set properties of brokers that have not started."""
        self._properties_given |= properties

    def start(self) -> Cluster:
        """Start all brokers, and wait until they accept transactions."""
        nodes = range(len(self._ports))
        for node in nodes:
            (self._folder / f"node-{node}").mkdir(parents=True)
            (self._folder / f"node-{node}.properties").write_text(self._properties(node))
        standalone = ["--standalone"] if len(nodes) == 1 else []
        formats = [
            self._java("kafka.tools.StorageTool", node, "format", *standalone, "-t", CLUSTER, "-c", self._config(node))
            for node in nodes
        ]
        for node, process in zip(nodes, formats, strict=True):
            assert process.wait() == 0, self.log(node)
        self.processes = [self._java("kafka.Kafka", node, self._config(node)) for node in nodes]
        self._wait()
        return self

    def kill(self, node: int) -> None:
        """Kill a broker."""
        self.processes[node].kill()
        self.processes[node].wait()

    def restart(self, node: int) -> None:
        """Start a killed broker again."""
        self.processes[node] = self._java("kafka.Kafka", node, self._config(node))

    def stop(self) -> None:
        """Kill all brokers: their data is not needed."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()

    def log(self, node: int) -> str:
        """Return the end of a broker's log."""
        return (self._folder / f"node-{node}.log").read_text()[-4000:]

    def _java(self, main: str, node: int, *arguments: object) -> subprocess.Popen[bytes]:
        with (self._folder / f"node-{node}.log").open("ab") as log:
            command = ["java", *JVM, "-cp", f"{LIBS}/*", main, *map(str, arguments)]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def _config(self, node: int) -> Path:
        return self._folder / f"node-{node}.properties"

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **QUIET})
        while True:
            with contextlib.suppress(KafkaException):
                if len(admin.list_topics(timeout=2).brokers) == len(self._ports):
                    break
            assert time.monotonic() < deadline, self.log(0)
            time.sleep(0.1)
        Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "ready", **QUIET}).init_transactions(START_TIMEOUT)

    def _properties(self, node: int) -> str:
        port, controller = self._ports[node]
        is_replicated = len(self._ports) > 1
        voters = ",".join(f"{index + 1}@127.0.0.1:{other}" for index, (_, other) in enumerate(self._ports))
        quorum = (
            f"controller.quorum.voters={voters}"
            if is_replicated
            else f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}"
        )
        replicas, min_in_sync = (3, 2) if is_replicated else (1, 1)
        properties = {
            "process.roles": "broker,controller",
            "node.id": node + 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self._folder / f"node-{node}",
            "default.replication.factor": replicas,
            "min.insync.replicas": min_in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min_in_sync,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": min_in_sync,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
            "log.cleaner.dedupe.buffer.size": 4194304,
            "log.index.size.max.bytes": 1048576,
            "broker.session.timeout.ms": 2000 if is_replicated else 60_000,  # a slow machine would fence a single broker
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "num.recovery.threads.per.data.dir": 1,
            "auto.create.topics.enable": "false",
            **self._properties_given,
        }
        return "\n".join([quorum, *(f"{name}={value}" for name, value in properties.items())])


def make_topics(bootstrap: str, replicas: int = 1, config: Mapping[str, str] | None = None, /, **partitions: int) -> None:
    """Create topics by name and number of partitions, with a configuration; `__` in a name stands for a dot."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    topics = [
        NewTopic(name.replace("__", "."), number, replicas, config=dict(config or {})) for name, number in partitions.items()
    ]
    for future in admin.create_topics(topics).values():
        future.result(30)


def read(bootstrap: str, topic: str, count: int, timeout: float = START_TIMEOUT) -> list[Message]:
    """Read committed records from a topic's beginning until there are `count`, and those that follow at once."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **QUIET,
        }
    )
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    records: list[Message] = []
    deadline = time.monotonic() + timeout
    while True:
        new = [message for message in consumer.consume(10_000, 0.2) if not message.error()]
        records += new
        if (len(records) >= count and not new) or time.monotonic() > deadline:
            consumer.close()
            return records


if __name__ == "__main__":
    fetch()
