"""Labels of rows: the cells by which a person recognises a row, such as its station and its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detector.batch import as_text
from detector.rejects import shorten
from serving.codecs.base import Codec
from serving.model import ServedModel


def row_labels(model: ServedModel, codec: Codec, names: Sequence[str], rows: Sequence[int]) -> Sequence[dict[str, str]]:
    """Return the labels of some rows of the latest batch, by column; without `names` those of a series are its key and time."""
    window = model.scorer.manifest.window
    names = names or (window.columns[::-1] if window else ())
    if not names:
        return [{}] * len(rows)
    return [_texts(cells) for cells in codec.cells(rows, names)]


def _texts(cells: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells that are there as short texts, written as in a file."""
    return {name: shorten(as_text(cell)) for name, cell in cells.items() if cell is not None and cell != ""}
