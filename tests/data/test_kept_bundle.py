"""A bundle that an earlier commit wrote still loads and gives the same verdicts."""

from __future__ import annotations

import numpy as np
import polars as pl

from detector import bundle
from detector.decision import TOLERANCE
from detector.manifest import FORMAT
from tests.data.make_bundle import KEPT, VERDICTS, scored

VERDICT = ["anomaly_score", "p_value", "is_anomaly", "reason_1", "reason_2"]


def kept() -> pl.DataFrame:
    return pl.read_csv(VERDICTS, schema_overrides={"firmware": pl.String})


def test_the_format_of_this_release_has_its_kept_bundle() -> None:
    assert KEPT.is_dir(), "the format number has risen: python -m tests.data.make_bundle"
    assert bundle.read(KEPT).manifest.format == FORMAT


def test_the_kept_bundle_gives_the_verdicts_stored_beside_it() -> None:
    then = kept()
    now = scored(then.drop(VERDICT))
    apart = np.abs(now["anomaly_score"].to_numpy() - then["anomaly_score"].to_numpy())
    assert np.all(apart <= TOLERANCE * np.maximum(1, np.abs(then["anomaly_score"].to_numpy())))
    assert now["is_anomaly"].to_list() == then["is_anomaly"].to_list()
    assert now["p_value"].to_list() == then["p_value"].to_list()
    assert 0 < then["is_anomaly"].sum() < then.height


def test_the_kept_bundle_gives_the_reasons_stored_beside_it() -> None:
    then = kept()
    now = scored(then.drop(VERDICT))
    for rank in ("reason_1", "reason_2"):
        assert now[rank].str.extract("^(.*) \\(expected").to_list() == then[rank].str.extract("^(.*) \\(expected").to_list()
