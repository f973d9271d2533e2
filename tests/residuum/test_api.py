"""The Python API: any frame in, the same verdicts out."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import residuum
from detector import reasons
from detector.cells import texts
from detector.decision import TOLERANCE
from detector.errors import SettingError, TableError
from detector.scorer import Scorer
from residuum import Detector, frames
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows, planted_anomalies
from training import fit
from training.kinds import ColumnOptions
from training.recipe import Recipe

ADDED = ["anomaly_score", "p_value", "is_anomaly", "reason_1", "reason_2", "reason_3", "rejected"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return residuum.load(KEPT, "cpu")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return pl.concat([normal_rows(20, seed=5, holes=0.1), planted_anomalies(5)])


@pytest.fixture(scope="module")
def expected(detector: Detector, rows: pl.DataFrame) -> pl.DataFrame:
    return detector.score(rows)


def assert_same(found: Any, expected: pl.DataFrame) -> None:  # noqa: ANN401 - any frame
    """Check that verdicts of any frame are those of polars, scores up to the tolerance that rounding has."""
    assert np.allclose(np.asarray(found["anomaly_score"]), expected["anomaly_score"].to_numpy(), rtol=TOLERANCE, atol=TOLERANCE)
    for name in ("p_value", "is_anomaly"):
        assert np.array_equal(np.asarray(found[name]), expected[name].to_numpy())
    for name in ADDED[3:]:
        texts = found[name].tolist() if hasattr(found[name], "tolist") else found[name].to_pylist()
        assert [text if isinstance(text, str) else None for text in texts] == expected[name].to_list()


def test_verdicts_are_those_of_the_scorer(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    verdicts = Scorer.open(KEPT, "cpu").score(rows)
    assert expected.columns == [*rows.columns, *ADDED]
    assert expected.select(rows.columns).equals(rows)
    assert expected["anomaly_score"].to_list() == verdicts.score.tolist()
    assert expected["p_value"].to_list() == verdicts.p_value.tolist()
    assert expected["is_anomaly"].to_list() == verdicts.is_anomaly.tolist()
    assert expected["is_anomaly"].to_list() == (expected["anomaly_score"] > detector.threshold).to_list()
    for text in reasons.as_texts(verdicts.reasons.table(), rows.height, 3):
        assert expected[text.name].to_list() == text.to_list()
    assert 5 <= expected["is_anomaly"].sum() < rows.height


def test_pandas_gives_the_same(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    frame = rows.to_pandas()
    before = frame.copy(deep=True)
    found = detector.score(frame)
    assert type(found) is pd.DataFrame
    assert_same(found, expected)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(found[before.columns], before)


def test_pyarrow_gives_the_same(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    found = detector.score(rows.to_arrow())
    assert type(found) is pa.Table
    assert_same(found, expected)


def test_numpy_gives_the_same(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    found = detector.score(rows.to_pandas().to_numpy())
    assert found.dtype.names == tuple(ADDED)
    assert_same(found, expected)


def test_the_command_lines_text_gives_the_same(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    text = rows.select(pl.all().cast(pl.String))
    assert_same({name: detector.score(text)[name].to_numpy() for name in ADDED}, expected)


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2026-01-01", periods=25),
        pd.Index(["same"] * 25),
        pd.MultiIndex.from_product([["a"], range(25)]),
        range(7, 57, 2),
    ],
    ids=["dates", "repeated", "levels", "steps"],
)
def test_a_pandas_index_is_kept(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame, index: Any) -> None:  # noqa: ANN401
    frame = rows.to_pandas().set_index(index) if isinstance(index, pd.Index) else rows.to_pandas().set_axis(index)
    found = detector.score(frame)
    assert found.index.equals(frame.index)
    assert_same(found, expected)


def test_a_slice_of_a_frame_is_scored_by_its_own_rows(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_same(detector.score(rows.to_pandas().iloc[::-2]), expected[::-2])


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_nullable_types_are_kept(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame, backend: Any) -> None:  # noqa: ANN401
    frame = rows.to_pandas().convert_dtypes(dtype_backend=backend).astype({"machine": "category"})
    assert frame.isna().to_numpy().sum() > 5
    found = detector.score(frame)
    assert found.dtypes[: frame.shape[1]].equals(frame.dtypes)
    assert_same(found, expected)


def test_dates_of_any_type_give_the_same(detector: Detector, rows: pl.DataFrame) -> None:
    rows = rows.with_columns(at=pl.when(pl.int_range(25) != 3).then("at"))
    expected = detector.score(rows)
    at: Any = pd.to_datetime(rows["at"].to_pandas())
    assert at.isna().sum() == 1
    away = at.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    for each in (at, at.astype("datetime64[s]"), away, at.astype(object), away.astype("timestamp[us, UTC][pyarrow]")):
        found = detector.score(rows.to_pandas().assign(at=each))
        assert found["at"].dtype == each.dtype
        assert_same(found, expected)
    away_too = pl.Series(at).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    assert_same({name: detector.score(rows.with_columns(at=away_too))[name].to_numpy() for name in ADDED}, expected)
    assert_same(detector.score(rows.with_columns(at=away_too).to_arrow()), expected)


def test_numbers_of_other_types_give_the_same(detector: Detector, rows: pl.DataFrame) -> None:
    whole = rows.with_columns(pl.col("temperature", "flow", "bytes").round(), pl.lit(None, pl.Float64).alias("serial"))
    expected = detector.score(whole)
    frame = whole.to_pandas()
    small = frame.astype({"slots": "int8", "bytes": "Int64", "flow": "Float32"})
    assert_same(detector.score(small), expected)
    numbers = [None if pd.isna(value) else Decimal(int(value)) for value in frame["temperature"]]
    assert_same(detector.score(frame.assign(temperature=pd.Series(numbers, dtype=object))), expected)
    assert_same(detector.score(frame.astype({"slots": "uint64", "bytes": "int64[pyarrow]"})), expected)


def test_booleans_of_any_type_give_the_same(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    frame = rows.to_pandas()
    as_bool: Any = [None if pd.isna(value) else value == "yes" for value in frame["door_open"]]
    for values in (
        pd.Series(as_bool, dtype="boolean"),
        pd.Series(as_bool, dtype=object),
        pd.Series(as_bool, dtype="bool[pyarrow]"),
    ):
        found = detector.score(frame.assign(door_open=values))
        assert np.array_equal(found["anomaly_score"], expected["anomaly_score"])


def test_a_category_of_numbers_is_known_by_its_text() -> None:
    frame = pd.DataFrame({"code": pd.Series([3, None], dtype="float64"), "id": [2**53 + 1, 10**16]})
    for each in (frame, frame.convert_dtypes(), frame.astype({"code": "category"}), pl.from_pandas(frame), pa.table(frame)):
        assert _text(each, "code") == ["3", None]
        assert _text(each, "id") == ["9007199254740993", "10000000000000000"]


def test_rejected_rows_have_no_score_and_say_why(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    bad = rows.with_columns(pl.col("temperature").cast(pl.String))
    bad[3, "temperature"] = "warm"
    bad[4, "at"] = "yesterday"
    rest = [row for row in range(rows.height) if row not in {3, 4}]
    for frame, missing in ((bad, None), (bad.to_arrow(), None), (bad.to_pandas(), np.nan)):
        found: Any = detector.score(frame)
        columns = {name: found[name].tolist() if isinstance(found, pd.DataFrame) else _list(found[name]) for name in ADDED}
        assert columns["rejected"][3:5] == [
            "temperature: found 'warm', expected a number",
            "at: found 'yesterday', expected a date such as 2026-01-31 18:30:00",
        ]
        for name in ("anomaly_score", "p_value"):
            assert str(columns[name][3:5]) == str([missing] * 2)
            assert [columns[name][row] for row in rest] == expected[name][rest].to_list()
        assert [bool(flag) for flag in columns["is_anomaly"]] == [
            row in rest and expected["is_anomaly"][row] for row in range(25)
        ]


@pytest.mark.parametrize("name", ADDED)
def test_a_column_by_the_name_of_a_verdicts_is_refused(detector: Detector, rows: pl.DataFrame, name: str) -> None:
    for frame in (rows.with_columns(pl.lit(1).alias(name)), rows.to_pandas().assign(**{name: 1})):
        with pytest.raises(TableError, match=f"already has a column '{name}'"):
            detector.score(frame)
    if name.startswith("reason"):
        assert detector.score(rows.with_columns(pl.lit(1).alias(name)), top=0)[name].to_list() == [1] * rows.height


def test_other_columns_are_carried_whatever_they_are(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    strange = {
        "what": [object()] * 25,
        "gone": [pd.NA] * 25,
        7: range(25),
        "list": [[1]] * 25,
        "took": pd.to_timedelta(range(25)),
    }
    frame = pd.concat([rows.to_pandas(), pd.DataFrame(strange)], axis=1)
    found = detector.score(frame)
    assert found.columns.tolist() == [*frame.columns, *ADDED]
    assert_same(found, expected)


def test_a_missing_column_is_an_error_that_names_what_is_near(detector: Detector, rows: pl.DataFrame) -> None:
    renamed = rows.rename({"flow": "flows"}).with_columns(other=1)
    for frame in (renamed, renamed.to_pandas(), renamed.to_arrow()):
        with pytest.raises(TableError, match=r"lacks the column 'flow' \(near: 'flows'\); it has .*'other'"):
            detector.score(frame)


def test_columns_of_one_name_are_refused(detector: Detector, rows: pl.DataFrame) -> None:
    frame = rows.to_pandas()
    with pytest.raises(TableError, match="the same name"):
        detector.score(pd.concat([frame, frame[["flow"]]], axis=1))
    with pytest.raises(TableError, match="the same name"):
        detector.score(frame.assign(**{"1": 0}).assign(x=0).rename(columns={"x": 1}))


@pytest.mark.parametrize("shape", [(25,), (25, 9), (25, 11), (1, 25, 10)])
def test_an_array_of_another_shape_is_refused(detector: Detector, shape: tuple[int, ...]) -> None:
    with pytest.raises(TableError, match="array"):
        detector.score(np.zeros(shape))


def test_frames_without_rows_and_with_one(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    for frame in (rows[:0], rows[:0].to_pandas(), rows[:0].to_arrow()):
        assert detector.score(frame).shape == (0, 17)
    alone = detector.score(rows[7])
    assert alone["anomaly_score"][0] == pytest.approx(expected["anomaly_score"][7], rel=1e-5)
    assert alone.drop("anomaly_score").equals(expected[7].drop("anomaly_score"))


def test_reasons_as_asked_for(detector: Detector, rows: pl.DataFrame) -> None:
    assert detector.score(rows, reasons="all")["reason_1"].null_count() == 0
    assert detector.score(rows, top=1).columns[-4:] == ["anomaly_score", "p_value", "is_anomaly", "reason_1", "rejected"][-4:]


def test_load_takes_names_versions_and_text(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "kept" / "1")
    for path in (tmp_path / "kept", tmp_path / "kept" / "1", str(tmp_path / "kept")):
        assert residuum.load(path).manifest.variant == "plain"
    assert repr(residuum.load(tmp_path / "kept")) == "<Detector kept/1: plain, 10 columns>"
    with pytest.raises(residuum.errors.BundleMissing):
        residuum.load(tmp_path / "nothing")


def test_train_then_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 60)
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 2)))  # as pandas makes them: columns without names
    frame["machine"] = pd.Series([None if gone else "mill" for gone in random.random(60) < 0.1], dtype="string")
    frame["at"] = pd.Series(pd.date_range("2026-01-01", periods=60, freq="7h", tz="Europe/Berlin")).where(frame.index > 2)
    before = frame.copy(deep=True)
    made = residuum.train(frame, tmp_path / "pumps", variant="plain", false_alarm_rate=0.1, seed=3, device="cpu")
    assert [(column.name, column.kind) for column in made.manifest.columns] == [
        ("0", "number"), ("1", "number"), ("machine", "category"), ("at", "date")
    ]  # fmt: skip
    pd.testing.assert_frame_equal(frame, before)
    loaded = residuum.load(str(tmp_path / "pumps"))
    assert loaded.manifest == made.manifest
    assert (loaded.manifest.version, loaded.manifest.name, loaded.manifest.training.seed) == (1, "pumps", 3)
    pd.testing.assert_frame_equal(loaded.score(frame), made.score(frame))
    assert [path.name for path in tmp_path.iterdir()] == ["pumps"]


@pytest.mark.parametrize("rate", [0.0, 1.0, 2.0, -0.5, float("nan"), 0.001])
def test_a_rate_that_cannot_be_promised_is_refused_before_training(tmp_path: Path, rate: float, monkeypatch: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr("training.cross_fit.fit", None)  # were it called, that would be a TypeError
    with pytest.raises(SettingError, match="rate"):
        residuum.train(np.random.default_rng(0).normal(size=(60, 2)), tmp_path / "x", false_alarm_rate=rate)
    assert not (tmp_path / "x").exists()


def test_options_reach_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: list[Recipe] = []

    def stop(_table: object, _to: object, recipe: Recipe, *_others: object, **_options: object) -> None:
        recipes.append(recipe)
        raise InterruptedError

    monkeypatch.setattr("training.train.train", stop)
    settings = {"driver": "top-k", "k": 2, "sizes": (8, 4)}
    for options in (
        {},
        {"variant": "sparse", "settings": settings, "seed": 3, "category": "slots", "ignore": ["at"], "missing": "?"},
    ):
        with pytest.raises(InterruptedError):
            residuum.train(normal_rows(60), tmp_path / "pumps", **options)
    columns = ColumnOptions(category=("slots",), ignore=("at",))
    assert recipes == [Recipe(), Recipe(variant="sparse", settings=settings, seed=3, columns=columns, missing=("?",))]


def test_an_unknown_setting_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="near: 'driver'"):
        residuum.train(normal_rows(60), tmp_path / "pumps", variant="sparse", settings={"drive": "l1"})


@pytest.mark.parametrize("rows", [[[1, 2]], {"a": [1]}, pl.LazyFrame({"a": [1]}), pl.Series("a", [1]), None, "t.csv"])
def test_what_is_no_table_is_refused(rows: Any, detector: Detector, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(TableError, match=rf"{type(rows).__name__} is not a table: .* are accepted; call collect\(\)"):
        detector.score(rows)
    with pytest.raises(TableError, match=r"is not a table|is a path, and a frame or an array is needed"):
        residuum.train(rows, tmp_path / "x")


def test_reasons_that_are_none_of_the_known(detector: Detector, rows: pl.DataFrame) -> None:
    with pytest.raises(SettingError, match=r"reasons must be one of 'anomalies', 'all', 'none'; got 'some'"):
        detector.score(rows, reasons="some")  # type: ignore[arg-type]
    assert detector.score(rows, reasons="none").columns == [*rows.columns, *ADDED[:3], "rejected"]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_torch_cannot_take(seed: int, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"the seed {seed} is not between 0 and "):
        residuum.train(normal_rows(60), tmp_path / "x", seed=seed)


@pytest.mark.long  # the estimator warns alike
def test_a_text_is_one_name_and_training_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 20)
    values = np.random.default_rng(0).normal(size=60)
    frame = pl.DataFrame({"kind": [1, 2, 3] * 20, "drop": values, "a": ["much", "gone", *map(str, values[2:])]})
    with pytest.warns(UserWarning, match="rows") as warned:
        made = residuum.train(frame, tmp_path / "x", category="kind", numeric="a", ignore="drop", missing="gone")
    assert {column.name: column.kind for column in made.manifest.columns} == {"kind": "category", "a": "number"}
    assert made.manifest.missing == ("gone",)
    lowered, rejected = (str(one.message) for one in warned)
    assert "too few rows to promise a false-alarm rate of 0.01" in lowered
    assert rejected == "1 rows cannot be read and were left out; row 0: a: found 'much', expected a number"
    assert {one.filename for one in warned} == {__file__}


def test_training_says_what_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="at least 20 are needed"):
        residuum.train(pd.DataFrame({"a": [1.5, 2.5]}), tmp_path / "x")
    with pytest.raises(SettingError, match="near: 'temperature'"):
        residuum.train(normal_rows(), tmp_path / "x", ignore=("temperatur",))
    assert not (tmp_path / "x").exists()


def _text(frame: Any, name: str) -> list[str | None]:  # noqa: ANN401 - any frame
    """Return a column's cells as the encoder reads categories."""
    return texts(frames.to_polars(frames.open_frame(frame))[name]).str.replace(r"\.0$", "").to_list()


def _list(column: Any) -> list[Any]:  # noqa: ANN401 - a polars or a pyarrow column
    return list(column.to_list() if isinstance(column, pl.Series) else column.to_pylist())


def test_structured_reasons_are_those_of_the_texts(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    found = detector.score(rows, structured=True)
    assert found.columns == [*expected.columns[: -len(ADDED) + 3], "reasons", "rejected"]
    for objects, text in zip(found["reasons"].to_list(), expected["reason_1"].to_list(), strict=True):
        assert (objects is None) == (text is None)
        if objects:
            assert text.startswith(f"{objects[0]['column']} = {objects[0]['found']} (expected {objects[0]['expected']}")
            assert [*objects[0]] == ["column", "found", "expected", "share"]
    objects = found["reasons"].to_list()
    pandas = detector.score(rows.to_pandas(), structured=True)["reasons"]
    assert [each if isinstance(each, list) else None for each in pandas] == objects
    assert detector.score(rows.to_arrow(), structured=True)["reasons"].to_pylist() == objects
    assert "reasons" not in detector.score(rows, structured=True, reasons="none").columns
    assert detector.score(rows.to_pandas().to_numpy(), structured=True).dtype.names[-2:] == ("reasons", "rejected")


def test_reasons_are_a_table_too(detector: Detector, rows: pl.DataFrame) -> None:
    frame = pl.concat([rows.cast(pl.String).with_columns(temperature=pl.lit("hot")).head(1), rows.cast(pl.String)])
    objects = detector.score(frame, structured=True, reasons="all", top=2)["reasons"].to_list()
    table = detector.explain(frame, reasons="all", top=2)
    assert table.columns == ["row", "rank", "column", "found", "expected", "share"]
    lines = [(row, rank, *each.values()) for row, of_row in enumerate(objects) for rank, each in enumerate(of_row or [], 1)]
    assert table.rows() == lines
    pandas = detector.explain(rows.to_pandas())
    assert type(pandas) is pd.DataFrame
    assert type(detector.explain(rows.to_arrow())) is pa.Table
    assert type(detector.explain(rows.to_pandas().to_numpy())) is pl.DataFrame
    assert pandas["row"].nunique() == detector.score(rows)["is_anomaly"].sum()


def test_contributions_sum_to_the_score(detector: Detector, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    found = detector.contributions(rows)
    manifest = detector.manifest
    assert found.shape == (rows.height, len(manifest.columns) + len(manifest.score.extra_terms))
    np.testing.assert_allclose(found.sum(axis=1), expected["anomaly_score"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_array_equal(detector.contributions(rows.to_pandas()), found)
    hot = rows.with_columns(temperature=pl.when(pl.int_range(rows.height) == 3).then(pl.lit("hot")).otherwise("temperature"))
    assert np.isnan(detector.contributions(hot)).all(axis=1).tolist() == [row == 3 for row in range(rows.height)]


def test_a_category_never_seen_in_training_is_named(detector: Detector, rows: pl.DataFrame) -> None:
    verdicts = detector.score(rows.with_columns(machine=pl.lit("saw")))
    assert verdicts["is_anomaly"].all()
    text = verdicts.select(pl.concat_str(pl.col("^reason_.$"), separator=";", ignore_nulls=True)).to_series()
    assert text.str.contains("machine = saw, never seen in training (expected", literal=True).all()
