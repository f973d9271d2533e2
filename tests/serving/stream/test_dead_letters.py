"""The two forms of a dead letter."""

from __future__ import annotations

import time

import msgspec

from detector.rejects import Reject
from serving.stream import dead_letters
from serving.stream.base import DeadLetter
from tests.serving.stream.fakes import FakeRecord, batch_of, kafka_batch

REJECT = Reject(1, "temperature", "'hot'", "a number")


def test_headers_follow_those_of_the_record_and_replace_earlier_ones() -> None:
    record_headers = [("trace", b"7"), (f"{dead_letters.PREFIX}reason", b"not JSON"), ("empty", None)]
    record = FakeRecord(b"key", b"value", 3, 14, record_headers, 1_700_000_000_000)
    batch = kafka_batch([FakeRecord(None, b""), record], {0: 0, 3: 1})
    headers = dead_letters.headers(DeadLetter(1, "wrong type", REJECT), batch)
    assert headers[:2] == [("trace", b"7"), ("empty", None)]
    found = dict(headers[2:])
    assert abs(int(found.pop("__residuum.errors.time") or 0) / 1000 - time.time()) < 60
    assert found == {
        "__residuum.errors.reason": b"wrong type",
        "__residuum.errors.column": b"temperature",
        "__residuum.errors.found": b"'hot'",
        "__residuum.errors.expected": b"a number",
        "__residuum.errors.topic": b"readings",
        "__residuum.errors.partition": b"3",
        "__residuum.errors.offset": b"14",
        "__residuum.errors.timestamp": b"1700000000000",
    }
    assert dead_letters.without_error_headers(headers) == headers[:2]


def test_a_line_holds_the_record_as_text_or_in_base64() -> None:
    rejected = {"reason": "wrong type", "column": "temperature", "found": "'hot'", "expected": "a number"}
    batch = batch_of([b'{"a": "\xc3\xa4"}', b"\xff"], 5)
    lines = [msgspec.json.decode(dead_letters.line(DeadLetter(index, "wrong type", REJECT), batch)) for index in (0, 1)]
    assert lines == [
        {"rejected": rejected, "origin": {"file": "-", "row": 5}, "value": '{"a": "ä"}'},
        {"rejected": rejected, "origin": {"file": "-", "row": 6}, "value_base64": "/w=="},
    ]
    keyed = kafka_batch([FakeRecord(b"\xff", None, 1, 2)], {1: 0})
    assert msgspec.json.decode(dead_letters.line(DeadLetter(0, "not JSON", REJECT), keyed)) == {
        "rejected": rejected | {"reason": "not JSON"},
        "origin": {"topic": "readings", "partition": 1, "offset": 2},
        "key_base64": "/w==",
    }
