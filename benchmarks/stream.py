"""Claim: the stream worker costs little more than what it is made of.

Lines: `residuum stream --from - --to -` beside a loop that parses with msgspec, runs the graph and encodes, and does nothing
else; a line is that loop's processor time over ours, without the first tenth of the rows and the start that goes with it. At
least 0.85. What it is with both is told too.

Kafka: rows per second of the worker's processor time, all but the first tenth of the rows, beside a consume-produce loop of the
same batches that scores nothing, plus the scoring alone (parse, graph, encode in a process of its own): (loop + scoring) /
ours. At least 0.8, at least once and exactly once. Beside quix-streams with the same graph in a user function, in an
environment of its own: its processor time a row over ours, at least 5. Two workers on four partitions, rows per second of their
processor time over one worker's: at least 0.85. Latency at 1,000 rows a second, from a row's sending until its verdict is read,
beside that of the row itself.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks import _rows
from benchmarks._child import RESIDUUM, ROOT, Pairs, in_turns, measure
from benchmarks._detector import train
from benchmarks._options import Options, Size, parse, unless_tiny
from benchmarks._peers import installed
from benchmarks._report import Report, line

FULL, QUICK = Size(300_000, 5), Size(100_000, 3)
LINES, KAFKA, SCALING, QUIX = 0.85, 0.8, 0.85, 5.0
RATE = 1000  # rows a second
SECONDS = unless_tiny(22, 2)
WARM = unless_tiny(2, 0)  # of them, in which everybody finds the brokers
BATCH = 1000
LOOK = 0.1  # seconds
PARTITIONS = 4
REDIRECTED = 'exec "$@" < {} > {}'


class Work(NamedTuple):
    """What a worker did, and its processor time."""

    rows: float
    cpu: float

    @property
    def micros(self) -> float:
        """Microseconds a row."""
        return 1e6 * self.cpu / self.rows


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("stream", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(_rows.write(folder / "normal.csv", min(options.rows, 20_000), seed=10_000), folder / "models" / "pumps")
        text = _rows.generated(options.rows, seed=2).write_ndjson().encode()
        lines(report, folder, model, text, options)
        missing = _missing()
        if missing:
            report.leave_out(f"Kafka: {missing}")
        else:
            topics(report, folder, model, text, options)
    report.close(options.json)


def _missing() -> str:
    """Say why there can be no brokers."""
    try:
        from tests.kafka.brokers import missing
    except ImportError as error:
        return str(error)
    return missing()


def lines(report: Report, folder: Path, model: Path, text: bytes, options: Options) -> None:
    """Compare standard input to standard output."""
    ours = [RESIDUUM, "stream", model, "--from", "-", "--to", "-"]
    alone = [sys.executable, "-m", "benchmarks._bare_stream", "lines", model]
    whole, tenth = folder / "rows.ndjson", folder / "tenth.ndjson"
    whole.write_bytes(text)
    tenth.write_bytes(b"".join(text.splitlines(keepends=True)[: options.rows // 10]))

    def pairs(source: Path) -> Pairs:
        shell = ["/bin/sh", "-c", REDIRECTED.format(source, folder / "verdicts"), "sh"]
        return in_turns(2, lambda: measure(*shell, *alone, threads=1), lambda: measure(*shell, *ours, threads=1))

    all_rows, first_rows = [], []
    for _ in range(-(-options.rounds // 2)):
        all_rows += pairs(whole)
        first_rows += pairs(tenth)
    costs = [
        (other.cpu - first_other.cpu, one.cpu - first_one.cpu)
        for (other, one), (first_other, first_one) in zip(all_rows, first_rows, strict=True)
    ]
    rest = options.rows - options.rows // 10
    note = "us a row: alone {:.2f}, ours {:.2f}".format(*(1e6 * np.median(costs, axis=0) / rest))
    ratios = [other / one for other, one in costs]
    report.add(line("lines: msgspec, graph and encoding alone / ours, cpu", ratios, at_least=LINES, note=note))
    note = f"{options.rows:,} rows in all"
    report.add(line("the same, start included", [other.cpu / one.cpu for other, one in all_rows], note=note))


def topics(report: Report, folder: Path, model: Path, text: bytes, options: Options) -> None:
    """Compare topics to topics."""
    from tests.kafka.brokers import Cluster

    records, source = text.splitlines(), folder / "rows.ndjson"
    (folder / "broker").mkdir()
    cluster = Cluster(folder / "broker").start()
    try:
        feed(cluster.bootstrap, "rows", records)
        for guarantee, kind in (("at-least-once", "none"), ("exactly-once", "transactions")):
            ratios, costs = [], []
            for turn in range(options.rounds):
                name = f"{kind}-{turn}"
                alone = scored_alone(model, source)
                raw = copied(cluster.bootstrap, name, options.rows, kind)
                (mine,) = judged(cluster.bootstrap, model, f"ours-{name}", options.rows, guarantee, 1)
                ratios.append((raw.micros + alone.micros) / mine.micros)
                costs.append((raw.micros, alone.micros, mine.micros))
            note = "us a row: loop {:.2f}, scoring {:.2f}, ours {:.2f}".format(*np.median(costs, axis=0))
            report.add(line(f"{guarantee}: (loop + scoring) / ours, cpu", ratios, at_least=KAFKA, note=note))
        quix(report, cluster.bootstrap, model, options)
        scaling(report, cluster.bootstrap, model, options)
        latency(report, cluster.bootstrap, model, records)
    finally:
        cluster.stop()


def quix(report: Report, bootstrap: str, model: Path, options: Options) -> None:
    """Compare quix-streams with one worker of ours; it judges a tenth of the rows, which takes it long enough."""
    programs = None if unless_tiny("", "too long") else installed("quixstreams")
    if programs is None:
        report.leave_out("quix-streams: it cannot be installed")
        return
    for guarantee in ("at-least-once", "exactly-once"):
        ratios = []
        for turn in range(options.rounds):
            name = f"quix-{guarantee}-{turn}"
            make(bootstrap, name, rows=False)
            command = [
                programs / "python",
                "-W",
                "ignore",
                "-m",
                "benchmarks._peer_quix",
                model,
                bootstrap,
                "rows",
                f"{name}-verdicts",
            ]
            command += [name, options.rows // 10, guarantee]
            done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True)
            (mine,) = judged(bootstrap, model, f"ours-{name}", options.rows, guarantee, 1)
            ratios.append(Work(**msgspec.json.decode(done.stdout)).micros / mine.micros)
        report.add(line(f"{guarantee}: quix-streams / ours, cpu", ratios, at_least=QUIX))


def scaling(report: Report, bootstrap: str, model: Path, options: Options) -> None:
    """Compare two workers with one."""
    ratios = []
    for turn in range(options.rounds):
        (one,) = judged(bootstrap, model, f"one-{turn}", options.rows, "exactly-once", 1)
        two = judged(bootstrap, model, f"two-{turn}", options.rows, "exactly-once", 2)
        together = Work(sum(each.rows for each in two), sum(each.cpu for each in two))
        ratios.append(one.micros / together.micros)
    report.add(line("two workers / one, rows a cpu second", ratios, at_least=SCALING))


def latency(report: Report, bootstrap: str, model: Path, records: list[bytes]) -> None:
    """Measure how long a verdict takes."""
    from confluent_kafka import Producer

    make(bootstrap, "live")
    with worker(bootstrap, model, "live", "live-verdicts", "exactly-once") as port:
        seen: dict[str, dict[bytes, float]] = {"live": {}, "live-verdicts": {}}
        readers = [threading.Thread(target=_read, args=(bootstrap, topic, found)) for topic, found in seen.items()]
        for reader in readers:
            reader.start()
        while metrics(port)["residuum_stream_assigned_partitions"] < PARTITIONS:
            time.sleep(LOOK)
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        sent, began = {}, time.perf_counter()
        for at in range(RATE * SECONDS):
            time.sleep(max(0.0, began + at / RATE - time.perf_counter()))
            sent[b"%d" % at] = time.perf_counter()
            producer.produce("live", records[at % len(records)], b"%d" % at)
            producer.poll(0)
        producer.flush()
        for reader in readers:
            reader.join()
    for topic, name in (("live", "a row is read"), ("live-verdicts", "its verdict is read")):
        later = itertools.islice(sent.items(), RATE * WARM, None)
        took = [1000 * (seen[topic][key] - when) for key, when in later if key in seen[topic]]
        p50, p99 = np.percentile(took, [50, 99]).tolist()
        note = f"p99 {p99:.0f} ms, {len(took):,} of {len(sent) - RATE * WARM:,} rows at {RATE:,} a second, exactly once"
        report.add(line(f"ms from sending until {name}, median", [p50], note=note))


def _read(bootstrap: str, topic: str, found: dict[bytes, float]) -> None:
    """Take down when each record of a topic is read."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": "read_committed", "fetch.wait.max.ms": 20}
    )
    consumer.assign([TopicPartition(topic, place, 0) for place in range(PARTITIONS)])
    until = time.monotonic() + 60 + SECONDS
    while len(found) < RATE * SECONDS and time.monotonic() < until:
        for record in consumer.consume(1000, 0.005):
            if not record.error():
                found[record.key()] = time.perf_counter()  # type: ignore[index]  # each has one
    consumer.close()


def scored_alone(model: Path, source: Path) -> Work:
    """Parse, score and encode the same batches, with nothing around."""
    return bare("alone", model, source, BATCH)


def copied(bootstrap: str, name: str, rows: int, kind: str) -> Work:
    """Run the loop that scores nothing."""
    make(bootstrap, f"copy-{name}", rows=False)
    return bare("copy", bootstrap, "rows", f"copy-{name}-verdicts", name, rows, kind, BATCH)


def bare(*how: object) -> Work:
    """Run one of the bare loops, which says what it did."""
    command = [sys.executable, "-m", "benchmarks._bare_stream", *map(str, how)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Work(**msgspec.json.decode(done.stdout))


def judged(bootstrap: str, model: Path, name: str, rows: int, guarantee: str, workers: int) -> list[Work]:
    """Run workers over the topic, and give what each did after the first tenth."""
    make(bootstrap, name, rows=False)
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(written(bootstrap, f"{name}-verdicts"))
        ports = [stack.enter_context(worker(bootstrap, model, "rows", f"{name}-verdicts", guarantee)) for _ in range(workers)]
        first = _when(ports, seen, unless_tiny(rows // 10, 0))
        last = _when(ports, seen, rows)
    return [Work(end.rows - begin.rows, end.cpu - begin.cpu) for begin, end in zip(first, last, strict=True)]


def _when(ports: list[int], so_far: Callable[[], int], rows: int) -> list[Work]:
    """Wait until so many verdicts are written, and ask the workers once: all that they are asked is at their own cost."""
    while so_far() < rows:
        time.sleep(LOOK)
    return [asked(port) for port in ports]


@contextlib.contextmanager
def written(bootstrap: str, topic: str) -> Iterator[Callable[[], int]]:
    """Give what tells how many records a topic has, the marks of transactions counted too."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "looks"})
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    try:
        yield lambda: sum(consumer.get_watermark_offsets(place)[1] for place in places)
    finally:
        consumer.close()


@contextlib.contextmanager
def worker(bootstrap: str, model: Path, source: str, to: str, guarantee: str) -> Iterator[int]:
    """Run a worker, and give its metrics port."""
    from tests.ports import free_port

    port, url = free_port(), f"kafka://{bootstrap}/"
    command = [RESIDUUM, "stream", str(model), "--from", url + source, "--to", url + to, "--dead-letters", url + "letters"]
    command += ["--group", to, "--guarantee", guarantee, "--metrics-port", str(port), "--max-batch", str(BATCH)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until_up(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a worker answers."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            metrics(port)
            return
        time.sleep(LOOK)
    raise RuntimeError("the worker has ended")


def asked(port: int) -> Work:
    """Ask a worker what it has done."""
    said = metrics(port)
    return Work(said.get('residuum_stream_records_total{outcome="scored"}', 0), said["process_cpu_seconds_total"])


def metrics(port: int) -> dict[str, float]:
    """Ask a worker for its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        said = (each.rsplit(" ", 1) for each in answer.read().decode().splitlines() if not each.startswith("#"))
        return {name: float(value) for name, value in said}


def feed(bootstrap: str, topic: str, records: list[bytes]) -> None:
    """Fill a topic."""
    from confluent_kafka import Producer

    from tests.kafka.brokers import make_topics

    make_topics(bootstrap, **{topic: PARTITIONS, "letters": 1})
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 10_000_000})
    for at, record in enumerate(records):
        producer.produce(topic, record, b"%d" % at)
        if at % 10_000 == 0:
            producer.flush()
    producer.flush()


def make(bootstrap: str, name: str, *, rows: bool = True) -> None:
    """Make topics for a run."""
    from tests.kafka.brokers import make_topics

    make_topics(bootstrap, **{f"{name}-verdicts": PARTITIONS}, **({name: PARTITIONS} if rows else {}))


if __name__ == "__main__":
    main()
