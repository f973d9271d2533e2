"""Reasons in the user's own units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import column_reasons, reasons
from detector.columns import Column, encode
from detector.graph import Outputs
from detector.scorer import Scorer
from tests.tables import normal_rows, planted_anomalies, with_holes

COLUMNS = [
    Column(name="duration", kind="number", lowest=0.0, highest=1.0),
    Column(name="serial", kind="number", lowest=1e9 - 3, highest=1e9 + 3),
    Column(name="machine", kind="category", vocabulary=("mill", "3"), rare=("lathe",)),
    Column(name="open", kind="boolean", vocabulary=("false", "true")),
    Column(name="at", kind="date", date_format="s", lowest=0.0, highest=2e9),
]
NAMES = [column.name for column in COLUMNS]
ROW: dict[str, Any] = {"duration": 58329.0, "serial": 1e9 + 1.25, "machine": "mill", "open": "yes", "at": "2026-01-31 18:30:00"}
MOMENT = 1769884200.0
EXPECTED = [0.4, 1e9, 0.0, 0.0, MOMENT - 3600]


def texts_of(row: dict[str, Any], contribution: list[float], *, top: int = 3, expected: list[float] = EXPECTED) -> list[str]:
    """Return the texts for one row; beyond its columns, contributions belong to `latent`."""
    frame = pl.DataFrame([ROW | row])
    matrix = encode(frame, COLUMNS, np.arange(1)).matrix
    outputs = Outputs(np.array([sum(contribution)]), np.array([contribution]), np.array([expected]))
    ranked = column_reasons.rank(frame, matrix, outputs, COLUMNS, ["latent"], top)
    return [text for series in reasons.as_texts(ranked, 1, top) for text in series if text is not None]


def alone(name: str) -> list[float]:
    return [float(name == one) for one in [*NAMES, "latent"]]


def test_the_text_of_a_reason() -> None:
    assert texts_of({}, [71, 20, 9, 0, 0, 0])[:2] == [
        "duration = 58329 (expected 0.4, 71 % of the score)",
        "serial = 1000000001.25 (expected 1000000000, 20 % of the score)",
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("duration", 0.123456789, "duration = 0.123457 (expected 0.4, 100 % of the score)"),
        ("duration", 1e-9, "duration = 1e-9 (expected 0.4, 100 % of the score)"),
        ("duration", -3.0, "duration = -3 (expected 0.4, 100 % of the score)"),
        ("duration", 0.0, "duration = 0 (expected 0.4, 100 % of the score)"),
        ("duration", None, "duration = missing (expected 0.4, 100 % of the score)"),
        ("serial", 1e9 - 2.5, "serial = 999999997.5 (expected 1000000000, 100 % of the score)"),
        ("serial", 1e9 + 0.123456, "serial = 1000000000.12346 (expected 1000000000, 100 % of the score)"),
        ("machine", "crane", "machine = crane, never seen in training (expected mill, 100 % of the score)"),
        ("machine", " Crane {} 7 ", "machine = Crane {} 7, never seen in training (expected mill, 100 % of the score)"),
        ("machine", "lathe", "machine = lathe (expected mill, 100 % of the score)"),
        ("machine", 3.0, "machine = 3 (expected mill, 100 % of the score)"),
        ("machine", None, "machine = missing (expected mill, 100 % of the score)"),
        ("machine", "N/A", "machine = missing (expected mill, 100 % of the score)"),
        ("at", "31.01.2026", "at = 2026-01-31 00:00:00 (expected 2026-01-31 17:30:00, 100 % of the score)"),
        ("at", "2026-01-31T20:30:00+02:00", "at = 2026-01-31 18:30:00 (expected 2026-01-31 17:30:00, 100 % of the score)"),
    ],
)
def test_the_found_value_is_shown_as_its_kind(name: str, value: object, text: str) -> None:
    assert texts_of({name: value}, alone(name)) == [text]


def test_a_missing_date_expects_a_date() -> None:
    assert texts_of({"at": None}, alone("at"), expected=[*EXPECTED[:4], math.nan]) == [
        "at = missing (expected a date, 100 % of the score)"
    ]


def test_a_rare_value_is_expected_as_such() -> None:
    assert texts_of({}, alone("machine"), expected=[0, 0, 2, 0, 0]) == [
        "machine = mill (expected a rare value, 100 % of the score)"
    ]


def test_a_term_without_a_column_has_no_found_value() -> None:
    assert texts_of({}, [3, 0, 0, 0, 0, 1]) == [
        "duration = 58329 (expected 0.4, 75 % of the score)",
        "latent (25 % of the score)",
    ]


def test_negative_contributions_give_no_reasons() -> None:
    assert texts_of({}, [3, -5, 1, -1e9, 0, 0], top=99) == [
        "duration = 58329 (expected 0.4, 75 % of the score)",
        "machine = mill (expected mill, 25 % of the score)",
    ]
    assert texts_of({}, [-1.0] * 6) == []


@pytest.mark.parametrize(("second", "reported"), [(0.51, 2), (0.5, 1), (0.4, 1)])
def test_a_share_that_rounds_to_zero_is_not_reported(second: float, reported: int) -> None:
    assert len(texts_of({}, [100 - second, second, 0, 0, 0, 0])) == reported


@pytest.mark.parametrize("top", [1, 2, 3, 9])
def test_a_value_never_seen_in_training_is_named_however_small_its_share(top: int) -> None:
    contribution = [1000.0, 400.0, 0.1, 300.0, 200.0, 100.0]
    texts = texts_of({"machine": "crane"}, contribution, top=top)
    assert len(texts) == min(top, 6)
    assert texts[-1] == "machine = crane, never seen in training (expected mill, 0 % of the score)"
    assert not any("machine" in text for text in texts_of({"machine": "mill"}, contribution, top=top))


def test_the_first_reason_is_reported_whatever_its_share() -> None:
    nearly_alike = np.linspace(1.0, 0.9, 300)[None]
    assert reasons.is_reported(np.sort(reasons.shares_of(nearly_alike))[:, ::-1]).sum() == 1


contributions = st.lists(
    st.lists(st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, 1e-300, 5e-324]), min_size=6, max_size=6), min_size=1, max_size=8
)


@given(contributions, st.integers(1, 9))
def test_shares_are_positive_and_at_most_everything(contribution: list[list[float]], top: int) -> None:
    rows = len(contribution)
    frame = pl.DataFrame([ROW] * rows)
    matrix = encode(frame, COLUMNS, np.arange(rows)).matrix
    outputs = Outputs(np.sum(contribution, axis=1), np.array(contribution), np.array([EXPECTED] * rows))
    ranked = column_reasons.rank(frame, matrix, outputs, COLUMNS, ["latent"], top)
    assert dict(ranked.schema) == reasons.SCHEMA
    texts, structs = reasons.as_texts(ranked, rows, top), reasons.as_structs(ranked, rows).to_list()
    assert [series.name for series in texts] == [f"reason_{place}" for place in range(1, top + 1)]
    assert {len(series) for series in texts} | {len(structs)} == {rows}
    for at, cells in enumerate(contribution):
        reported = structs[at] or []
        shares = [reason["share"] for reason in reported]
        assert shares == sorted(shares, reverse=True)
        assert all(0 < share <= 1 for share in shares)
        assert sum(shares) <= 1 + 1e-9
        assert len({reason["column"] for reason in reported}) == len(reported) <= min(top, sum(cell > 0 for cell in cells))
        assert all(round(100 * share) > 0 for share in shares[1:])
        if top >= len(cells) and max(cells) > 1e-290:
            assert sum(shares) > 1 - 0.005 * len(cells)  # the rest is too small to be reported
        assert [series[at] for series in texts] == [_text(reason) for reason in reported] + [None] * (top - len(reported))


def test_reasons_of_a_row_do_not_depend_on_other_rows(scorer: Scorer) -> None:
    rows = with_holes(pl.concat([normal_rows(12, seed=3), planted_anomalies(6)]), 0.2)
    rows = rows.with_columns(machine=pl.Series(["crane", None, "mill"] * 6), door_open=pl.Series(["yes", "FALSE", "1"] * 6))
    together = reasons.as_structs(scorer.score(rows, explain="all", top=99).reasons.table(), rows.height).to_list()
    for at in range(rows.height):
        (reported,) = reasons.as_structs(scorer.score(rows[at], explain="all", top=99).reasons.table(), 1).to_list()
        assert [(r["column"], r["found"]) for r in reported] == [(r["column"], r["found"]) for r in together[at]]
        for reason in reported:
            assert (reason["found"] == "missing") == (rows[at, reason["column"]] is None)


def test_reasons_cover_the_rows_asked_for(scorer: Scorer) -> None:
    rows = pl.concat([normal_rows(12, seed=3), planted_anomalies(6)]).with_columns(pl.col("slots").cast(pl.String))
    rows[4, "slots"] = "many"  # a rejected row in between
    some = scorer.score(rows)
    assert some.reasons.table()["at"].unique().to_list() == np.flatnonzero(some.is_anomaly).tolist()
    assert scorer.score(rows, explain="all").reasons.table()["at"].n_unique() == rows.height - 1
    for explained in (scorer.score(rows, explain="none"), scorer.score(rows, top=0), scorer.score(rows[:0])):
        assert not explained.reasons
        assert dict(explained.reasons.table().schema) == reasons.SCHEMA


def _text(reason: dict[str, Any]) -> str:
    share = f"{round(reason['share'] * 100)} % of the score"
    if reason["found"] is None:
        return f"{reason['column']} ({share})"
    return f"{reason['column']} = {reason['found']} (expected {reason['expected']}, {share})"
