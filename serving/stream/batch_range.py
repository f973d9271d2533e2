"""Which records a batch holds, for messages."""

from __future__ import annotations

from serving.stream.base import Origin, PolledBatch


def format_range(batch: PolledBatch) -> str:
    """Return the first and the last record of each partition, or of the file."""
    ends: dict[tuple[str, int, str], tuple[Origin, Origin]] = {}
    for origin in batch.origins(range(len(batch))):
        place = origin.topic, origin.partition, origin.file
        ends[place] = ends.get(place, (origin, origin))[0], origin
    return "; ".join(_format(first, last) for first, last in ends.values())


def _format(first: Origin, last: Origin) -> str:
    end = last.offset if last.topic else last.row
    return str(first) if first == last else f"{first} to {end}"
