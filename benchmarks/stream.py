"""Claim: the stream worker costs little more than its parts.

Lines: `residuum stream --from - --to -` compared with a loop that parses with msgspec, runs the graph, encodes, and does nothing
else; a line is the loop's CPU time over ours, without the start and the first tenth of the rows: at least 0.85. The ratio with
both is reported too.

Kafka: CPU time per row, without the first tenth of the rows, compared with a consume-produce loop of the same batches that scores
nothing plus the scoring alone (parse, graph, encode in a process of its own): (loop + scoring) / ours, at least 0.8 for
at-least-once and exactly-once. Compared with quix-streams with the same graph in a user function, in an environment of its own:
its CPU time per row over ours, at least 5. Two workers on four partitions, rows per CPU second over one worker's: at least 0.85.
Latency at 1,000 rows per second, from sending a row until its verdict is read, compared with reading the row itself.
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

from benchmarks.harness import generated_rows
from benchmarks.harness.bundles import train
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.processes import RESIDUUM, ROOT, Pairs, in_turns, measure
from benchmarks.harness.report import Report, line
from benchmarks.peers.environments import installed

FULL, QUICK = Size(300_000, 5), Size(100_000, 3)
LINES, KAFKA, SCALING, QUIX = 0.85, 0.8, 0.85, 5.0
RATE = 1000  # rows per second
SECONDS = unless_tiny(22, 2)
WARM_UP = unless_tiny(2, 0)  # of these seconds, until all clients have found the brokers
BATCH = 1000
POLL = 0.1  # seconds
PARTITIONS = 4
REDIRECTED = 'exec "$@" < {} > {}'


class Work(NamedTuple):
    """The rows of a worker, and its CPU time."""

    rows: float
    cpu: float

    @property
    def micros(self) -> float:
        """CPU microseconds per row."""
        return 1e6 * self.cpu / self.rows


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("stream", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(
            generated_rows.write(folder / "normal.csv", min(options.rows, 20_000), seed=10_000), folder / "models" / "pumps"
        )
        text = generated_rows.generated(options.rows, seed=2).write_ndjson().encode()
        compare_lines(report, folder, model, text, options)
        missing = _missing()
        if missing:
            report.leave_out(f"Kafka: {missing}")
        else:
            compare_topics(report, folder, model, text, options)
    report.close(options.json)


def _missing() -> str:
    """Return why no broker can be started, or an empty text."""
    try:
        from tests.kafka.brokers import missing
    except ImportError as error:
        return str(error)
    return missing()


def compare_lines(report: Report, folder: Path, model: Path, text: bytes, options: Options) -> None:
    """Compare scoring standard input to standard output."""
    ours = [RESIDUUM, "stream", model, "--from", "-", "--to", "-"]
    bare = [sys.executable, "-m", "benchmarks.baselines.stream_loops", "lines", model]
    whole, tenth = folder / "rows.ndjson", folder / "tenth.ndjson"
    whole.write_bytes(text)
    tenth.write_bytes(b"".join(text.splitlines(keepends=True)[: options.rows // 10]))

    def pairs(source: Path) -> Pairs:
        shell = ["/bin/sh", "-c", REDIRECTED.format(source, folder / "verdicts"), "sh"]
        return in_turns(2, lambda: measure(*shell, *bare, threads=1), lambda: measure(*shell, *ours, threads=1))

    all_rows, first_rows = [], []
    for _ in range(-(-options.rounds // 2)):
        all_rows += pairs(whole)
        first_rows += pairs(tenth)
    costs = [
        (bare_usage.cpu - first_bare.cpu, our_usage.cpu - first_ours.cpu)
        for (bare_usage, our_usage), (first_bare, first_ours) in zip(all_rows, first_rows, strict=True)
    ]
    rest = options.rows - options.rows // 10
    note = "us per row: bare {:.2f}, ours {:.2f}".format(*(1e6 * np.median(costs, axis=0) / rest))
    ratios = [bare_cost / our_cost for bare_cost, our_cost in costs]
    report.add(line("lines: msgspec, graph and encoding alone / ours, cpu", ratios, at_least=LINES, note=note))
    note = f"{options.rows:,} rows in all"
    report.add(
        line("the same, start included", [bare_usage.cpu / our_usage.cpu for bare_usage, our_usage in all_rows], note=note)
    )


def compare_topics(report: Report, folder: Path, model: Path, text: bytes, options: Options) -> None:
    """Compare scoring from topic to topic."""
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
                scoring = score_alone(model, source)
                copying = copy_topic(cluster.bootstrap, name, options.rows, kind)
                (ours,) = score_topic(cluster.bootstrap, model, f"ours-{name}", options.rows, guarantee, 1)
                ratios.append((copying.micros + scoring.micros) / ours.micros)
                costs.append((copying.micros, scoring.micros, ours.micros))
            note = "us per row: loop {:.2f}, scoring {:.2f}, ours {:.2f}".format(*np.median(costs, axis=0))
            report.add(line(f"{guarantee}: (loop + scoring) / ours, cpu", ratios, at_least=KAFKA, note=note))
        compare_quix(report, cluster.bootstrap, model, options)
        compare_two_workers(report, cluster.bootstrap, model, options)
        measure_latency(report, cluster.bootstrap, model, records)
    finally:
        cluster.stop()


def compare_quix(report: Report, bootstrap: str, model: Path, options: Options) -> None:
    """Compare quix-streams, on a tenth of the rows, with one worker."""
    programs = None if unless_tiny("", "too long") else installed("quixstreams")
    if programs is None:
        report.leave_out("quix-streams: it cannot be installed")
        return
    for guarantee in ("at-least-once", "exactly-once"):
        ratios = []
        for turn in range(options.rounds):
            name = f"quix-{guarantee}-{turn}"
            make_topics_for(bootstrap, name, rows=False)
            command = [
                programs / "python",
                "-W",
                "ignore",
                "-m",
                "benchmarks.peers.quix_worker",
                model,
                bootstrap,
                "rows",
                f"{name}-verdicts",
            ]
            command += [name, options.rows // 10, guarantee]
            done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True)
            (ours,) = score_topic(bootstrap, model, f"ours-{name}", options.rows, guarantee, 1)
            ratios.append(Work(**msgspec.json.decode(done.stdout)).micros / ours.micros)
        report.add(line(f"{guarantee}: quix-streams / ours, cpu", ratios, at_least=QUIX))


def compare_two_workers(report: Report, bootstrap: str, model: Path, options: Options) -> None:
    """Compare two workers with one."""
    ratios = []
    for turn in range(options.rounds):
        (one,) = score_topic(bootstrap, model, f"one-{turn}", options.rows, "exactly-once", 1)
        two = score_topic(bootstrap, model, f"two-{turn}", options.rows, "exactly-once", 2)
        together = Work(sum(work.rows for work in two), sum(work.cpu for work in two))
        ratios.append(one.micros / together.micros)
    report.add(line("two workers / one, rows per CPU second", ratios, at_least=SCALING))


def measure_latency(report: Report, bootstrap: str, model: Path, records: list[bytes]) -> None:
    """Measure the time from sending a row until its verdict is read."""
    from confluent_kafka import Producer

    make_topics_for(bootstrap, "live")
    with worker(bootstrap, model, "live", "live-verdicts", "exactly-once") as port:
        seen: dict[str, dict[bytes, float]] = {"live": {}, "live-verdicts": {}}
        readers = [threading.Thread(target=_read, args=(bootstrap, topic, found)) for topic, found in seen.items()]
        for reader in readers:
            reader.start()
        while metrics(port)["residuum_stream_assigned_partitions"] < PARTITIONS:
            time.sleep(POLL)
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        sent, began = {}, time.perf_counter()
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            sent[b"%d" % number] = time.perf_counter()
            producer.produce("live", records[number % len(records)], b"%d" % number)
            producer.poll(0)
        producer.flush()
        for reader in readers:
            reader.join()
    for topic, name in (("live", "a row is read"), ("live-verdicts", "its verdict is read")):
        later = itertools.islice(sent.items(), RATE * WARM_UP, None)
        latencies = [1000 * (seen[topic][key] - moment) for key, moment in later if key in seen[topic]]
        p50, p99 = np.percentile(latencies, [50, 99]).tolist()
        note = f"p99 {p99:.0f} ms, {len(latencies):,} of {len(sent) - RATE * WARM_UP:,} rows at {RATE:,} per second, exactly once"
        report.add(line(f"ms from sending until {name}, median", [p50], note=note))


def _read(bootstrap: str, topic: str, found: dict[bytes, float]) -> None:
    """Record when each record of a topic is read."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": "read_committed", "fetch.wait.max.ms": 20}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    until = time.monotonic() + 60 + SECONDS
    while len(found) < RATE * SECONDS and time.monotonic() < until:
        for record in consumer.consume(1000, 0.005):
            if not record.error():
                found[record.key()] = time.perf_counter()  # type: ignore[index]  # each has one
    consumer.close()


def score_alone(model: Path, source: Path) -> Work:
    """Parse, score and encode the same batches without a topic."""
    return run_loop("file", model, source, BATCH)


def copy_topic(bootstrap: str, name: str, rows: int, kind: str) -> Work:
    """Run the loop that scores nothing."""
    make_topics_for(bootstrap, f"copy-{name}", rows=False)
    return run_loop("copy", bootstrap, "rows", f"copy-{name}-verdicts", name, rows, kind, BATCH)


def run_loop(*arguments: object) -> Work:
    """Run a bare loop and return the work that it prints."""
    command = [sys.executable, "-m", "benchmarks.baselines.stream_loops", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Work(**msgspec.json.decode(done.stdout))


def score_topic(bootstrap: str, model: Path, name: str, rows: int, guarantee: str, workers: int) -> list[Work]:
    """Score the topic with a number of workers, and return the work of each after the first tenth."""
    make_topics_for(bootstrap, name, rows=False)
    with contextlib.ExitStack() as stack:
        count = stack.enter_context(record_counter(bootstrap, f"{name}-verdicts"))
        ports = [stack.enter_context(worker(bootstrap, model, "rows", f"{name}-verdicts", guarantee)) for _ in range(workers)]
        first = _work_after(ports, count, unless_tiny(rows // 10, 0))
        last = _work_after(ports, count, rows)
    return [Work(end.rows - begin.rows, end.cpu - begin.cpu) for begin, end in zip(first, last, strict=True)]


def _work_after(ports: list[int], count: Callable[[], int], rows: int) -> list[Work]:
    """Wait for a number of verdicts, then query the workers; only once, because each query costs them CPU time."""
    while count() < rows:
        time.sleep(POLL)
    return [work_of(port) for port in ports]


@contextlib.contextmanager
def record_counter(bootstrap: str, topic: str) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of records in a topic, transaction markers included."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "counter"})
    partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    try:
        yield lambda: sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
    finally:
        consumer.close()


@contextlib.contextmanager
def worker(bootstrap: str, model: Path, source: str, target: str, guarantee: str) -> Iterator[int]:
    """Run a worker and yield its metrics port."""
    from tests.ports import free_port

    port, url = free_port(), f"kafka://{bootstrap}/"
    command = [
        RESIDUUM,
        "stream",
        str(model),
        "--from",
        url + source,
        "--to",
        url + target,
        "--dead-letters",
        url + "dead-letters",
    ]
    command += ["--group", target, "--guarantee", guarantee, "--metrics-port", str(port), "--max-batch", str(BATCH)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until_up(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a worker responds.

    Raises:
        RuntimeError: the worker has ended.
    """
    while process.poll() is None:
        with contextlib.suppress(OSError):
            metrics(port)
            return
        time.sleep(POLL)
    raise RuntimeError("the worker has ended")


def work_of(port: int) -> Work:
    """Return the work of a worker so far."""
    values = metrics(port)
    return Work(values.get('residuum_stream_records_total{outcome="scored"}', 0), values["process_cpu_seconds_total"])


def metrics(port: int) -> dict[str, float]:
    """Return the metrics of a worker."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        samples = (text.rsplit(" ", 1) for text in response.read().decode().splitlines() if not text.startswith("#"))
        return {name: float(value) for name, value in samples}


def feed(bootstrap: str, topic: str, records: list[bytes]) -> None:
    """Create a topic and fill it."""
    from confluent_kafka import Producer

    from tests.kafka.brokers import make_topics

    make_topics(bootstrap, **{topic: PARTITIONS, "dead-letters": 1})
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 10_000_000})
    for number, record in enumerate(records):
        producer.produce(topic, record, b"%d" % number)
        if number % 10_000 == 0:
            producer.flush()
    producer.flush()


def make_topics_for(bootstrap: str, name: str, *, rows: bool = True) -> None:
    """Create the topics of a run."""
    from tests.kafka.brokers import make_topics

    make_topics(bootstrap, **{f"{name}-verdicts": PARTITIONS}, **({name: PARTITIONS} if rows else {}))


if __name__ == "__main__":
    main()
