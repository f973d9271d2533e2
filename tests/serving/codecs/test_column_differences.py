"""Differences between the columns of rows and those of a model."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from detector.manifest import IgnoredColumn
from detector.scorer import Scorer
from serving.codecs.arrow import ArrowCodec
from serving.codecs.base import CodecOptions
from serving.codecs.json import JsonCodec
from serving.http.core.settings import HttpSettings
from serving.model import ServedModel
from tests.data.make_bundle import write_minimal
from tests.tables import normal_rows


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    write_minimal(tmp_path / "pumps" / "1", ignored=(IgnoredColumn("id", "looks like an identifier"),))
    return ServedModel("pumps", Scorer.open(tmp_path / "pumps", "cpu"))


def test_a_column_that_training_left_out_is_not_unknown(model: ServedModel) -> None:
    rows = normal_rows(3, seed=5, holes=0.0).with_columns(id=pl.int_range(3), typo=pl.lit(1))
    options = CodecOptions(limits=HttpSettings().limits)
    body = json.dumps(json.loads(rows.write_json())).encode()
    assert JsonCodec(model, options).decode(body).differences.unknown == {"typo": 3}
    stream = rows.write_ipc_stream(None).getvalue()
    batch = ArrowCodec(model, options).decode(stream, final=True)
    assert batch is not None
    assert list(batch.differences.unknown) == ["typo"]
