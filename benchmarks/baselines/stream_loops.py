"""Lower bounds for `residuum stream`: bare loops, each run in a process of its own.

`python -m benchmarks.baselines.stream_loops LOOP ARGUMENT ...`, where LOOP is one of

- `lines BUNDLE`: read lines from standard input, parse with msgspec, score with ONNX Runtime, encode; no p-values, no reasons,
  no validation.
- `file BUNDLE FILE BATCH`: the same with the lines of a file; prints the CPU time without the start.
- `copy BROKERS SOURCE TARGET GROUP ROWS TRANSACTIONS BATCH`: read a topic and write as many messages of a verdict's size, with
  the offsets but without scoring; prints the CPU time of all but the first tenth.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

BLOCK = 512 * 1024
BATCH = 2048
VERDICT = (
    b'{"anomaly_score":13.448890588623763,"p_value":0.6633663366336634,"is_anomaly":false,"model":"pumps","version":1,'
    b'"origin":{"topic":"rows","partition":2,"offset":123456}}'
)


class _Verdict(msgspec.Struct, gc=False):
    anomaly_score: float
    is_anomaly: bool
    row: int


def main() -> None:
    """Run one of the loops."""
    name, *arguments = sys.argv[1:]
    LOOPS[name](*arguments)


def scorer(bundle: str) -> Callable[[bytes], bytes]:
    """Return a function that parses, scores and encodes a block of lines."""
    import onnxruntime

    manifest = json.loads(Path(bundle, "manifest.json").read_text())
    names = [column["name"] for column in manifest["columns"]]
    threshold = manifest["decision"]["threshold"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(bundle, "model.onnx").read_bytes(), options)
    decoder: Any = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float | None, None) for name in names], gc=False))
    cells, encoder = attrgetter(*names), msgspec.json.Encoder()

    rows = itertools.count(1)

    def score(block: bytes) -> bytes:
        records = decoder.decode_lines(block)
        size = len(records) * len(names)
        matrix = np.fromiter(itertools.chain.from_iterable(map(cells, records)), np.float64, size).reshape(-1, len(names))
        parts = [session.run(["score"], {"row": matrix[start : start + BATCH]})[0] for start in range(0, len(matrix), BATCH)]
        scores = np.concatenate(parts)
        return encoder.encode_lines(map(_Verdict, scores.tolist(), (scores > threshold).tolist(), rows))

    return score


def _lines(bundle: str) -> None:
    """Score standard input."""
    score, rest = scorer(bundle), b""
    while piece := sys.stdin.buffer.read(BLOCK):
        cut = piece.rfind(b"\n") + 1
        block, rest = rest + piece[:cut], piece[cut:]
        sys.stdout.buffer.write(score(block))
    if rest:
        sys.stdout.buffer.write(score(rest))


def _file(bundle: str, source: str, batch: str) -> None:
    """Score the lines of a file in batches cut beforehand."""
    score, lines, size = scorer(bundle), Path(source).read_bytes().splitlines(keepends=True), int(batch)
    batches = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    score(batches[0])
    began = time.process_time()
    for block in batches:
        score(block)
    sys.stdout.write(json.dumps({"cpu": time.process_time() - began, "rows": len(lines)}))


def _copy(brokers: str, source: str, target: str, group: str, rows: str, transactions: str, batch: str) -> None:
    """Copy a topic, in transactions if asked to."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    with_transactions = transactions == "transactions"
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": 10,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    settings = {"bootstrap.servers": brokers, "linger.ms": 5, "compression.type": "lz4", "enable.idempotence": True}
    producer = Producer(settings | ({"transactional.id": group} if with_transactions else {}))
    if with_transactions:
        producer.init_transactions(30)
    consumer.subscribe([source])
    done, warm, wanted = 0, int(rows) // 10, int(rows)
    began = warmed = 0.0
    while done < wanted:
        records = consumer.consume(int(batch), 0.05)
        if not records:
            continue
        if with_transactions:
            producer.begin_transaction()
        ends: dict[int, int] = {}
        for record in records:
            producer.produce(target, VERDICT, record.key(), timestamp=record.timestamp()[1], headers=record.headers() or None)
            ends[record.partition()] = record.offset() + 1  # type: ignore[index, operator]  # records have both
        producer.flush()
        offsets = [TopicPartition(source, partition, end) for partition, end in ends.items()]
        if with_transactions:
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
            producer.commit_transaction()
        else:
            consumer.commit(offsets=offsets, asynchronous=False)
        done += len(records)
        if not warmed and done >= warm:
            began, warmed = time.process_time(), done
    sys.stdout.write(json.dumps({"cpu": time.process_time() - began, "rows": done - warmed}))
    consumer.close()


LOOPS: dict[str, Callable[..., None]] = {"lines": _lines, "file": _file, "copy": _copy}

if __name__ == "__main__":
    main()
