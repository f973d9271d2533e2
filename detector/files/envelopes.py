"""Objects around a row, such as change-data records: recognized for the message about a record without any column."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
MAX_DEPTH = 3
MAX_KEYS = 30  # of an object that are looked into
INNER = ("after", "payload", "data", "value", "before")  # where a row is most likely; a deleted one is in `before`
KINDS = (
    ({"before", "after"}, "a change-data record (Debezium): unwrap it with ExtractNewRecordState"),
    ({"after", "op"}, "a change-data record (Debezium): unwrap it with ExtractNewRecordState"),
    ({"schema", "payload"}, "a record with its schema (Kafka Connect): set value.converter.schemas.enable to false"),
    ({"specversion", "type"}, "a CloudEvent: send its data alone"),
)


def describe_envelope(record: Mapping[str, msgspec.Raw], wanted: Collection[str]) -> str:
    """Return what an object without any wanted key is, and where in it the wanted keys are; "" if that is unknown."""
    kind = next((kind for keys, kind in KINDS if keys <= record.keys()), "")
    path = _find(record, wanted, MAX_DEPTH)
    if not path:
        return f"this is {kind}" if kind else ""
    place = f"the columns are in {'.'.join(path)!r}"
    return f"this is {kind}; {place}" if kind else f"{place}: send that object alone"


def _find(record: Mapping[str, msgspec.Raw], wanted: Collection[str], depth: int) -> tuple[str, ...]:
    """Return the keys that lead to the first object with a wanted key."""
    keys = list(dict.fromkeys([*(key for key in INNER if key in record), *record]))[:MAX_KEYS]
    for key in keys:
        try:
            inner = OBJECT.decode(record[key])
        except msgspec.MsgspecError:
            continue
        if any(name in inner for name in wanted):
            return (key,)
        if depth > 1 and (path := _find(inner, wanted, depth - 1)):
            return key, *path
    return ()
