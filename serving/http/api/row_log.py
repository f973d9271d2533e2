"""The values of rows in the log: only where the service was told so, because they may be what nobody else is to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.http.models.model import Model
from serving.log import log


def note(model: Model, values: Mapping[str, Sequence[object]], rows: Sequence[int], request_id: str) -> None:
    """Write down rows as they were read, one event each."""
    names = [name for name in model.columns if name in values]
    cells = zip(*(values[name] for name in names), strict=True)
    for row, found in zip(rows, cells, strict=True):
        log().info(
            "row",
            model=model.name,
            version=model.version,
            request_id=request_id,
            row=row,
            values=dict(zip(names, found, strict=True)),
        )
