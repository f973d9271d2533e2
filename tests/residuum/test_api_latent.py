"""Codes, rebuilt and new rows from Python: the same kind of frame out as came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import residuum
from detector import bundle
from detector.errors import BundleError, TableError
from residuum import Detector
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows

LATENTS = ["latent_1", "latent_2", "latent_3", "latent_4"]


@pytest.fixture(scope="module")
def detector(variational: Path) -> Detector:
    return residuum.load(variational, "cpu")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return normal_rows(20, seed=5, holes=0.1).with_columns(extra=pl.Series(range(20)))


def test_polars_gives_polars(detector: Detector, rows: pl.DataFrame) -> None:
    codes = detector.embed(rows)
    assert codes.schema == dict.fromkeys(LATENTS, pl.Float64)
    assert detector.reconstruct(rows).columns == detector.decode(codes).columns == rows.columns[:-1]
    assert detector.decode(codes.select(reversed(LATENTS))).equals(detector.decode(codes))
    assert detector.embed(rows[:0]).columns == LATENTS


def test_pandas_keeps_its_index(detector: Detector, rows: pl.DataFrame) -> None:
    frame = rows.to_pandas().set_index(pd.Index([f"r{row}" for row in range(20)]))
    codes, rebuilt = detector.embed(frame), detector.reconstruct(frame)
    assert codes.index.equals(frame.index)
    assert rebuilt.index.equals(frame.index)
    assert np.allclose(codes.to_numpy(), detector.embed(rows).to_numpy())
    assert rebuilt["door_open"].dtype == bool
    assert rebuilt["machine"].tolist() == detector.reconstruct(rows)["machine"].to_list()
    assert detector.decode(codes).index.equals(frame.index)


def test_arrow_and_numpy(detector: Detector, rows: pl.DataFrame) -> None:
    assert isinstance(detector.embed(rows.to_arrow()), pa.Table)
    assert detector.reconstruct(rows.to_arrow())["machine"].to_pylist() == detector.reconstruct(rows)["machine"].to_list()
    array = rows.drop("extra").to_pandas().to_numpy(dtype=object)
    codes = detector.embed(array)
    assert np.allclose(codes, detector.embed(rows).to_numpy())
    assert detector.decode(codes)["machine"].tolist() == detector.decode(detector.embed(rows))["machine"].to_list()
    assert detector.reconstruct(array).dtype.names == tuple(rows.columns[:-1])


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_a_row_that_cannot_be_read_is_empty(detector: Detector, rows: pl.DataFrame, kind: str) -> None:
    spoilt = rows.with_columns(pl.col("flow").cast(pl.String)).with_columns(
        flow=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("wet")).otherwise("flow")
    )
    frame = spoilt if kind == "polars" else spoilt.to_pandas()
    codes, rebuilt = detector.embed(frame), detector.reconstruct(frame)
    for found in (codes, rebuilt):
        values = found.rows() if isinstance(found, pl.DataFrame) else found.to_numpy().tolist()
        gone = [all(value is None or value != value for value in row) for row in values]  # noqa: PLR0124 - NaN
        assert gone == [row == 3 for row in range(20)]


def test_generated_rows_look_normal(detector: Detector) -> None:
    new = detector.generate(3000, seed=1)
    assert new.equals(detector.generate(3000, seed=1))
    assert new[:50].equals(detector.generate(50, seed=1))
    assert not new.equals(detector.generate(3000, seed=2))
    assert np.corrcoef(new["temperature"], new["flow"])[0, 1] < -0.5
    assert detector.score(new)["rejected"].null_count() == 3000
    assert detector.generate(3000, mean=True)["serial"].std() < new["serial"].std()


def test_what_cannot_be_decoded(detector: Detector, rows: pl.DataFrame) -> None:
    codes = detector.embed(rows)
    with pytest.raises(TableError, match="'latent_3'"):
        detector.decode(codes.drop("latent_3"))
    with pytest.raises(TableError, match="row 2 of the codes"):
        detector.decode(codes.with_columns(latent_1=pl.when(pl.int_range(20) != 2).then("latent_1")))
    with pytest.raises(TableError, match="4 latents are needed"):
        detector.decode(np.zeros((3, 5)))


@pytest.fixture
def without_decoder(tmp_path: Path) -> Path:
    """A bundle of the least files that one may have."""
    opened = bundle.read(KEPT)
    contents = {name: (KEPT / name).read_bytes() for name in (bundle.MODEL, bundle.CALIBRATION)}
    bundle.write(tmp_path, opened.manifest, contents)
    return tmp_path


def test_without_a_decoder_nothing_is_generated(without_decoder: Path, rows: pl.DataFrame) -> None:
    detector = residuum.load(without_decoder, "cpu")
    with pytest.raises(BundleError, match="train it again"):
        detector.generate(3)
    assert detector.embed(rows).height == detector.reconstruct(rows).height == 20
