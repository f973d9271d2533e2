"""Formats that are not JSON, recognized by their first bytes, so that a dead letter names what its record is."""

from __future__ import annotations

from typing import NamedTuple

from detector.files.json_lines import show
from serving.stream.base import DeadLetterReason

DECODE = "a JSON object: decode records before they come here, or have them written as JSON"
DECOMPRESS = "a JSON object: the client's own compression (compression.type) compresses batches, and not values"
CONTROL = bytes(set(range(32)) - set(b"\t\n\r"))  # in no text


class Format(NamedTuple):
    """A format of values, and what to send instead."""

    reason: DeadLetterReason
    found: str
    expected: str


MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"Obj\x01", Format("Avro", "an Avro container file", DECODE)),
    (b"\xc3\x01", Format("Avro", "Avro in its single-object encoding", DECODE)),
    (b"\x03\x00", Format("schema-registry frame", "a frame of the AWS Glue schema registry", DECODE)),
    (b"\x03\x05", Format("schema-registry frame", "a compressed frame of the AWS Glue schema registry", DECODE)),
    (b"\x1f\x8b", Format("compressed", "gzip data", DECOMPRESS)),
    (b"\x28\xb5\x2f\xfd", Format("compressed", "zstd data", DECOMPRESS)),
    (b"\x04\x22\x4d\x18", Format("compressed", "lz4 data", DECOMPRESS)),
    (b"\xff\x06\x00\x00sNaPpY", Format("compressed", "snappy data", DECOMPRESS)),
    (b"\x82SNAPPY\x00", Format("compressed", "snappy data", DECOMPRESS)),
    (b"BZh", Format("compressed", "bzip2 data", DECOMPRESS)),
    (b"PK\x03\x04", Format("compressed", "a ZIP archive", DECOMPRESS)),
    (b"PAR1", Format("binary", "a Parquet file", DECODE)),
    (b"ARROW1", Format("binary", "an Arrow file", DECODE)),
    (b"\xff\xff\xff\xff", Format("binary", "an Arrow stream", DECODE)),
    (b"\xff\xfe", Format("UTF-16", "text in UTF-16", "a JSON object in UTF-8")),
    (b"\xfe\xff", Format("UTF-16", "text in UTF-16", "a JSON object in UTF-8")),
    (b"{\x00", Format("UTF-16", "text in UTF-16", "a JSON object in UTF-8")),
    (b"\x00{\x00", Format("UTF-16", "text in UTF-16", "a JSON object in UTF-8")),
)
FRAME_BYTES = 5  # 0, and the ID of a schema
HOLE = bytes(FRAME_BYTES + 1)  # of a file that was truncated while it was written


def recognize(value: bytes) -> Format | None:
    """Return the format of a value that is no text in UTF-8; None if it may be JSON."""
    if value[:1] == b"{" and value[1:2] != b"\x00":
        return None
    return next((found for magic, found in MAGIC if value.startswith(magic)), None) or _schema_frame(value) or _binary(value)


def _schema_frame(value: bytes) -> Format | None:
    """Recognize what serializers of Confluent's schema registry write: 0, the ID of a schema, and Avro, Protobuf or JSON."""
    schema = int.from_bytes(value[1:FRAME_BYTES])
    if value[:1] != b"\x00" or len(value) < FRAME_BYTES or value.startswith(HOLE):
        return None
    content = "JSON" if value[FRAME_BYTES : FRAME_BYTES + 1] == b"{" else "Avro or Protobuf"
    return Format("schema-registry frame", f"a schema-registry frame: 0, the schema ID {schema}, and {content}", DECODE)


def _binary(value: bytes) -> Format | None:
    """Recognize what is neither text nor any known format."""
    try:
        value.decode()
    except UnicodeDecodeError:
        is_text = False
    else:
        is_text = value.translate(None, CONTROL) == value
    return None if is_text else Format("not JSON", f"binary data, such as Protobuf or MessagePack ({show(value)})", DECODE)
