"""Suspicious training rows: those with a cell that is far from all others of its column. They train all the same."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column
from detector.rejects import Reject
from training.layout import FeatureLayout, find_far_cells
from training.recipe import Table

MAX_LISTED = 1000


class EncodedRows(NamedTuple):
    """All rows that a detector is trained and calibrated on, and where they come from."""

    matrix: np.ndarray  # float64[rows, columns]
    rows: np.ndarray  # int64[rows], their numbers
    table: Table


def find_suspects(encoded: EncodedRows, layout: FeatureLayout) -> list[Reject]:
    """Return the cells that are far from the usual ones of the training rows, by file and row."""
    found: list[Reject] = []
    for index, far in find_far_cells(encoded.matrix, layout):
        column = layout.columns[index]
        ends = [column.lowest, column.highest]
        first, last, *texts = _texts(column, np.array([*ends, *encoded.matrix[far, index]], dtype=float))
        expected = f"{first} to {last}, as in all other rows"
        found += [Reject(int(row), column.name, text, expected) for row, text in zip(encoded.rows[far], texts, strict=True)]
    located = encoded.table.locate(found)
    return [msgspec.structs.replace(each, file=each.file or encoded.table.file) for each in located]


def to_csv(suspects: Sequence[Reject]) -> bytes:
    """Return the first `MAX_LISTED` suspects as the content of a CSV file."""
    listed = suspects[:MAX_LISTED]
    content = io.BytesIO()
    pl.DataFrame(
        {
            "file": [each.file for each in listed],
            "line": [each.row for each in listed],
            "column": [each.column for each in listed],
            "why": [f"found {each.found}, expected {each.expected}" for each in listed],
        }
    ).write_csv(content)
    return content.getvalue()


def _texts(column: Column, values: np.ndarray) -> list[str]:
    found: list[str] = (cells.date_texts(values) if column.kind == "date" else cells.number_texts(values)).to_list()
    return found
