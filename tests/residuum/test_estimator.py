"""The scikit-learn estimator: scikit-learn's own checks, its signs, and the same verdicts as the rest of Residuum."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import residuum
from detector.decision import TOLERANCE
from detector.errors import ResiduumError, SettingError, TableError
from residuum import AutoencoderDetector
from tests.tables import normal_rows, planted_anomalies
from training import fit

SMALL = {"sizes": "8"}
LOWERED = "ignore:too few rows to promise:UserWarning"


@pytest.fixture(scope="module", autouse=True)
def _few_steps() -> Any:  # noqa: ANN401 - a generator
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", 200)
        yield


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(false_alarm_rate=0.05, random_state=0).fit(normal_rows(400).to_pandas())


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = pl.concat([normal_rows(40, seed=5), planted_anomalies(20, seed=6)]).to_pandas()
    return frame.set_index(pd.Index([f"row {number}" for number in range(60)], name="who"))


@pytest.mark.filterwarnings(LOWERED)
@parametrize_with_checks([AutoencoderDetector("plain", settings=SMALL, false_alarm_rate=0.1)])
def test_scikit_learns_own_checks(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - scikit-learn's
    monkeypatch.setattr(fit, "STEPS", 20)  # dozens of fits, none of which has to be good
    check(estimator)


def test_signs_are_scikit_learns(fitted: AutoencoderDetector, rows: pd.DataFrame) -> None:
    verdicts = fitted.detector_.score(rows)
    assert np.array_equal(fitted.score_samples(rows), -verdicts["anomaly_score"])
    assert fitted.offset_ == -fitted.detector_.threshold
    assert repr(fitted.detector_).startswith("<Detector (not saved): ")
    np.testing.assert_allclose(fitted.detector_.contributions(rows).sum(axis=1), verdicts["anomaly_score"])
    assert np.array_equal(fitted.decision_function(rows), fitted.score_samples(rows) - fitted.offset_)
    assert np.array_equal(fitted.predict(rows) == -1, verdicts["is_anomaly"])
    assert set(fitted.predict(rows)) == {-1, 1}
    normal = np.arange(60) < 40
    assert roc_auc_score(normal, fitted.score_samples(rows)) > 0.9


def test_pandas_gets_its_index_back(fitted: AutoencoderDetector, rows: pd.DataFrame) -> None:
    for answer in (fitted.score_samples, fitted.decision_function, fitted.predict):
        found = answer(rows)
        assert isinstance(found, pd.Series)
        assert found.index.equals(rows.index)
    assert list(fitted.feature_names_in_) == list(rows.columns)
    assert fitted.n_features_in_ == rows.shape[1]


def test_every_kind_of_table_gives_the_same(fitted: AutoencoderDetector, rows: pd.DataFrame) -> None:
    wanted = fitted.score_samples(rows).to_numpy()
    for other in (pl.from_pandas(rows), pl.from_pandas(rows).to_arrow()):
        found = fitted.score_samples(other)
        assert type(found) is np.ndarray
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert np.allclose(fitted.score_samples(rows.to_numpy()), wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def saved(fitted: AutoencoderDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fitted detector's first version."""
    return fitted.save(tmp_path_factory.mktemp("saved") / "pumps")


def test_what_is_saved_gives_the_same_verdicts(fitted: AutoencoderDetector, saved: Path, rows: pd.DataFrame) -> None:
    assert saved.name == "1"
    verdicts = residuum.load(saved.parent).score(rows)
    assert np.allclose(verdicts["anomaly_score"], -fitted.score_samples(rows), rtol=TOLERANCE, atol=TOLERANCE)
    assert np.array_equal(verdicts["is_anomaly"], fitted.predict(rows) == -1)
    assert residuum.load(saved).manifest.training.seed == 0


@pytest.mark.long
def test_the_same_detector_as_trained_by_train(fitted: AutoencoderDetector, saved: Path, tmp_path: Path) -> None:
    trained = residuum.train(normal_rows(400).to_pandas(), tmp_path / "pumps", false_alarm_rate=0.05, seed=0)
    assert trained.manifest.variant == fitted.variant
    for name in ("model.onnx", "calibration.npy", "decoder.onnx", "weights.safetensors"):
        assert (tmp_path / "pumps" / "1" / name).read_bytes() == (saved / name).read_bytes()


def test_a_round_trip_through_pickle_and_joblib(fitted: AutoencoderDetector, rows: pd.DataFrame, tmp_path: Path) -> None:
    joblib.dump(fitted, tmp_path / "one.joblib")
    pickled, loaded = pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "one.joblib")  # noqa: S301 - our own
    for again in (pickled, loaded):
        assert np.array_equal(again.score_samples(rows), fitted.score_samples(rows))
    assert not hasattr(pickle.loads(pickle.dumps(AutoencoderDetector())), "offset_")  # noqa: S301 - our own


@pytest.mark.long
def test_what_was_pickled_can_be_saved(fitted: AutoencoderDetector, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "pumps" / "1")
    pickled = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - our own
    assert pickled.save(str(tmp_path / "pumps")) == tmp_path / "pumps" / "2"


def test_nothing_is_left_on_disk(rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    AutoencoderDetector("plain", settings=SMALL, false_alarm_rate=0.2).fit(rows).predict(rows)
    assert list(tmp_path.iterdir()) == []


def test_in_a_pipeline_and_a_grid_search() -> None:
    normal, odd = normal_rows(160, holes=0.0), planted_anomalies(40)
    numbers = pl.concat([normal, odd]).select("temperature", "pressure", "flow").to_pandas()
    labels = np.repeat([1, -1], [160, 40])
    pipeline = make_pipeline(StandardScaler(), AutoencoderDetector("plain", settings=SMALL, false_alarm_rate=0.1))
    grid = {"autoencoderdetector__settings": [SMALL, {**SMALL, "latent": 2}]}
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=folds, error_score="raise").fit(numbers, labels)
    assert search.best_score_ > 0.6
    assert set(search.predict(numbers)) <= {-1, 1}
    assert clone(search.best_estimator_[-1]).get_params()["false_alarm_rate"] == 0.1


def test_a_seed_decides(rows: pd.DataFrame) -> None:
    made = [AutoencoderDetector("plain", settings=SMALL, false_alarm_rate=0.2, random_state=s) for s in (1, 1, 2)]
    scores = [one.fit(rows).score_samples(rows).to_numpy() for one in made]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_few_rows_lower_the_promise_with_a_warning() -> None:
    few = np.random.default_rng(0).normal(size=(12, 2))
    with pytest.warns(UserWarning, match=r"false-alarm rate of 0\.01: the smallest they can promise is 0\.2"):
        fitted = AutoencoderDetector("plain", settings=SMALL).fit(few)
    assert fitted.detector_.manifest.decision.false_alarm_rate == 0.2
    assert len(fitted.predict(few)) == 12


def test_rows_that_cannot_be_read(fitted: AutoencoderDetector, rows: pd.DataFrame) -> None:
    bad = rows.astype({"flow": object})
    bad.iloc[3, bad.columns.get_loc("flow")] = "fast"
    with pytest.raises(TableError, match=r"1 of 60 rows cannot be read; row 3: .*flow.*fast"):
        fitted.predict(bad)
    assert fitted.detector_.score(bad)["rejected"].notna().sum() == 1
    with pytest.warns(UserWarning, match="1 rows cannot be read and were left out; row 3"):
        AutoencoderDetector("plain", settings=SMALL, false_alarm_rate=0.2).fit(bad)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"variant": "plian"}, "near: 'plain'"),
        ({"settings": {"latnet": 3}}, "near: 'latent'"),
        ({"false_alarm_rate": 1.5}, "between 0 and 1"),
    ],
)
def test_wrong_parameters_are_refused_by_fit(parameters: dict[str, Any], message: str, rows: pd.DataFrame) -> None:
    with pytest.raises(SettingError, match=message):
        AutoencoderDetector(**parameters).fit(rows)


def test_other_columns_are_refused(fitted: AutoencoderDetector, rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(rows.rename(columns={"flow": "stream"}))
    with pytest.raises(ValueError, match="X has 9 features"), warnings.catch_warnings(action="ignore"):
        fitted.predict(rows.drop(columns="flow").to_numpy())


@pytest.mark.parametrize(
    ("rows", "parameters", "message"),
    [
        (pd.DataFrame([[1.0, 2.0]] * 30, columns=["a", "a"]), {}, "two columns of the frame have the same name"),
        (pd.DataFrame([[1.0, 2.0]] * 30, columns=["a", 1]), {}, "names of columns are of several types"),
        (pl.LazyFrame({"a": [1.0]}), {}, "LazyFrame is not a table"),
        (np.zeros((30, 2)), {"variant": 3}, "the option variant is not valid"),
        (np.zeros((30, 2)), {"settings": 5}, "settings are a mapping"),
        (np.zeros((30, 2)), {"false_alarm_rate": "0.1"}, "the option false alarm rate is not valid"),
        (np.zeros((30, 2)), {"device": "tpu"}, "the option device is not valid"),
        (np.zeros((30, 2)), {"random_state": "x"}, "random_state is a whole number"),
    ],
)
def test_invalid_rows_and_parameters_raise_our_errors(rows: Any, parameters: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(ResiduumError, match=message):
        AutoencoderDetector(**parameters).fit(rows)
