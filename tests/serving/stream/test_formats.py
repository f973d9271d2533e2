"""Formats that are not JSON are named for what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json

import polars as pl
import pytest

from detector.files.envelopes import OBJECT, describe_envelope
from serving.stream.formats import recognize

FRAME = pl.DataFrame({"a": [1]})


def parquet() -> bytes:
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "reason", "found"),
    [
        (b"\x00\x00\x00\x00\x07\x02abc", "schema-registry frame", "schema ID 7, and Avro or Protobuf"),
        (b'\x00\x00\x00\x01\x00{"a": 1}', "schema-registry frame", "schema ID 256, and JSON"),
        (b"\x03\x00" + bytes(16) + b"x", "schema-registry frame", "AWS Glue"),
        (b"Obj\x01\x04\x14avro.codec", "Avro", "container"),
        (b"\xc3\x01" + bytes(8), "Avro", "single-object"),
        (gzip.compress(b"{}", mtime=0), "compressed", "gzip"),
        (bz2.compress(b"{}"), "compressed", "bzip2"),
        (parquet(), "binary", "Parquet"),
        ("{}".encode("utf-16"), "UTF-16", "UTF-16"),
        ("{}".encode("utf-16-le"), "UTF-16", "UTF-16"),
        ("{}".encode("utf-16-be"), "UTF-16", "UTF-16"),
        (b"\x08\x96\x01\x12\x07testing", "not JSON", "binary data, such as Protobuf"),
        (b"\x81\xa1a\x01", "not JSON", "binary data, such as Protobuf or MessagePack"),
        (bytes(100), "not JSON", "binary data"),
    ],
)
def test_a_format_is_recognized_by_its_first_bytes(value: bytes, reason: str, found: str) -> None:
    recognized = recognize(value)
    assert recognized is not None
    assert recognized.reason == reason
    assert found in recognized.found


@pytest.mark.parametrize("value", [b"", b"{", b'{"a": 1}', b" [1]\r\n", b'"x"', b"null", "ä".encode(), b"\xef\xbb\xbf{}"])
def test_text_may_be_json(value: bytes) -> None:
    assert recognize(value) is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"before": None, "after": {"a": 1}, "op": "c"}, ("Debezium", "'after'")),
        ({"before": {"a": 1}, "after": None, "op": "d"}, ("Debezium", "'before'")),
        ({"before": {"a": 1}, "after": {"a": 2}, "op": "u"}, ("Debezium", "'after'")),
        ({"schema": {"fields": []}, "payload": {"a": 1}}, ("schemas.enable", "'payload'")),
        ({"schema": {}, "payload": {"before": None, "after": {"a": 1}, "op": "c"}}, ("schemas.enable", "'payload.after'")),
        ({"specversion": "1.0", "type": "reading", "data": {"a": 1}}, ("CloudEvent", "'data'")),
        ({"id": 1, "reading": {"values": {"a": 1}}}, ("'reading.values': send that object alone",)),
        ({"b": 1, "c": {"d": 2}, "e": [{"a": 1}]}, ()),
    ],
)
def test_an_envelope_is_described(record: dict[str, object], expected: tuple[str, ...]) -> None:
    described = describe_envelope(OBJECT.decode(json.dumps(record)), ["a"])
    assert all(part in described for part in expected)
    assert bool(described) == bool(expected)
