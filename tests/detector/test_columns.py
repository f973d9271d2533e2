"""Tables to matrices and back, with a reject for each row that cannot be read."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.columns import Column, Encoded, Kind, as_frame, encode
from detector.errors import TableError

KINDS: list[Kind] = ["number", "category", "boolean", "date"]


def encoded(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None) -> Encoded:  # noqa: ANN401
    series = values.alias("c") if isinstance(values, pl.Series) else pl.Series("c", values, dtype=dtype)
    column = Column(name="c", kind=kind, vocabulary=("3", "mill", "true", "2.5"), rare=("lathe",))
    return encode(series.to_frame(), [column], np.arange(len(series)), missing=missing)


def matrix(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None) -> list[float]:  # noqa: ANN401
    found = encoded(values, kind, missing=missing, dtype=dtype)
    assert found.rejects == []
    return [float(value) for value in found.matrix[:, 0]]


def test_a_row_is_rejected_for_its_first_bad_cell() -> None:
    frame = pl.DataFrame({"b": ["x", "1", "2", "y"], "a": ["1", "z", "2", "w"], "free": ["?"] * 4})
    columns = [Column(name="a", kind="number"), Column(name="b", kind="number")]
    found = encode(frame, columns, np.array([10, 12, 13, 17]), file="today.csv")
    assert [(r.row, r.column, r.found, r.file) for r in found.rejects] == [
        (10, "b", "'x'", "today.csv"),
        (12, "a", "'z'", "today.csv"),
        (17, "a", "'w'", "today.csv"),
    ]
    assert found.matrix.tolist() == [[2.0, 2.0]]


def test_a_reject_shows_the_cell_in_one_short_line() -> None:
    (reject,) = encoded(["a\nb\r\n" * 100], "number").rejects
    assert len(reject.found) <= 80
    assert str(reject).isprintable()


def test_a_missing_column_is_an_error_with_suggestions() -> None:
    frame = pl.DataFrame({"temperatur": [1.0], "Druck": [2.0]})
    columns = [Column(name="temperature", kind="number"), Column(name="flow", kind="number")]
    with pytest.raises(TableError, match=r"lacks the columns 'temperature', 'flow' \(near: 'temperatur'\); it has .*'Druck'"):
        encode(frame, columns, np.arange(1))


def test_a_frame_without_rows() -> None:
    for kind in KINDS:
        for dtype in (pl.String, pl.Float64, pl.Null):
            assert encoded([], kind, dtype=dtype).matrix.shape == (0, 1)


words = st.sampled_from(["", "NA", "3", "3.0", "inf", "1e400", "yes", "mill", "2026-01-31", "2026-01-31T10:00+02", "\ufeff", "٣"])


cells = st.none() | words | st.text(max_size=12) | st.floats().map(str)


@given(st.lists(cells, max_size=30), st.sampled_from(KINDS), st.lists(st.text(max_size=4), max_size=2))
def test_any_text_is_either_read_or_rejected(texts: list[str | None], kind: Kind, missing: list[str]) -> None:
    found = encoded(texts, kind, missing=tuple(missing), dtype=pl.String)
    assert len(found.matrix) + len(found.rejects) == len(texts)
    assert np.flatnonzero(~found.accepted).tolist() == [reject.row for reject in found.rejects]
    assert np.isinf(found.matrix).sum() <= found.infinite
    if kind == "category":
        assert not found.rejects


@given(st.lists(cells, min_size=1, max_size=20), st.sampled_from(KINDS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(texts: list[str | None], kind: Kind, random: Any) -> None:  # noqa: ANN401
    order = random.sample(range(len(texts)), len(texts))
    straight, turned = (encoded(rows, kind, dtype=pl.String) for rows in (texts, [texts[at] for at in order]))
    assert turned.accepted.tolist() == straight.accepted[order].tolist()
    place = np.cumsum(straight.accepted) - 1
    np.testing.assert_array_equal(turned.matrix, straight.matrix[[place[at] for at in order if straight.accepted[at]]])
    assert turned.infinite == straight.infinite


def test_a_message_lists_a_limited_number_of_names() -> None:
    with pytest.raises(TableError) as caught:
        encode(pl.DataFrame({f"x{i}": [1] for i in range(500)}), [Column(name="y", kind="number")], np.arange(1))
    assert re.search("and 480 more$", str(caught.value))


def test_a_matrix_becomes_cells_that_encode_to_it() -> None:
    columns = [
        Column(name="flow", kind="number"),
        Column(name="machine", kind="category", vocabulary=("press", "7"), rare=("crane", "mill")),
        Column(name="open", kind="boolean", vocabulary=("false", "true")),
        Column(name="at", kind="date"),
    ]
    matrix = np.array([[1.5, 0, 1, 1.76e9], [-1e300, 1, 0, 0], [np.nan] * 4, [0, 2, 1, 1e11]])
    frame = as_frame(matrix, columns)
    assert frame["machine"].to_list() == ["press", "7", None, "crane"]
    assert frame["open"].to_list() == [True, False, None, True]
    assert frame["at"].to_list() == ["2025-10-09 08:53:20", "1970-01-01 00:00:00", None, "5138-11-16 09:46:40"]
    np.testing.assert_array_equal(encode(frame, columns, np.arange(4)).matrix, matrix)
    text = pl.read_csv(frame.write_csv().encode(), infer_schema=False)
    np.testing.assert_array_equal(encode(text, columns, np.arange(4)).matrix, matrix)
    assert as_frame(matrix[:0], columns).schema == frame.schema
