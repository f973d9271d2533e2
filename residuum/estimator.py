"""The scikit-learn door: a detector as an estimator, for pipelines, grid searches and whatever else speaks scikit-learn.

Training and scoring are the same as behind `residuum.train` and `residuum.load`; only the signs are scikit-learn's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from detector.errors import TableError
from detector.graph import Device
from detector.versioning import write_version
from residuum.api import Detector, as_polars, warn
from training.recipe import Recipe, Table
from training.split import MIN_ROWS_LENIENT
from training.torch_scorer import torch_scorer
from training.train import export_detector, fit_detector

LARGEST_SEED = np.iinfo(np.int32).max


class AutoencoderDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A detector as a scikit-learn estimator: learns from normal rows, then tells outliers (-1) from inliers (+1).

    scikit-learn's signs are the opposite of Residuum's:

    | here                                      | everywhere else in Residuum                             |
    |-------------------------------------------|---------------------------------------------------------|
    | `score_samples`: higher is more normal    | `anomaly_score` = `-score_samples`: higher is abnormal  |
    | `offset_`                                 | `threshold` = `-offset_`                                |
    | `decision_function`: negative is abnormal | `threshold - anomaly_score`                             |
    | `predict`: -1                             | `is_anomaly`: true                                      |

    Rows may be an array or any frame with columns of numbers, texts, booleans and dates, with holes; pandas frames give
    pandas series with their index. A table that `residuum.train` finds too small is learnt from all the same, from 6 rows
    on, with a warning that says what can be promised.

    Parameters
    ----------
    variant : which autoencoder (`training.variants`).
    settings : the variant's own, as `residuum train --set` takes them, such as `{"latent": 8}`.
    false_alarm_rate : the share of normal rows that may be flagged; None for 0.01. It plays the part that
        `contamination` has in other detectors, but is a promise about fresh normal rows, not a guess about these.
    device : `auto`, `cpu` or `cuda`.
    random_state : an int is the seed of `residuum.train`.

    Attributes
    ----------
    n_features_in_, feature_names_in_ : as in all of scikit-learn.
    offset_ : the score under which a row is an outlier, in the unit of the score (nats).
    detector_ : the detector, scoring with torch, for p-values and reasons; `save` exports it for every other door, where
        scores are the same up to the tolerance of the bundle's proof.

    """

    def __init__(
        self,
        variant: str = "denoising",
        *,
        settings: Mapping[str, Any] | None = None,
        false_alarm_rate: float | None = None,
        device: Device = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.variant = variant
        self.settings = settings
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> AutoencoderDetector:  # noqa: ANN401, ARG002, N803 - scikit-learn's signature
        """Learn from normal rows, `[rows, columns]`; `y` is not looked at.

        Raises:
            TableError: the rows cannot be learnt from.
            SettingError: a parameter cannot be honoured.
            ValueError: the rows are no table.
        """
        frame = self._frame(X, reset=True)
        recipe = Recipe(
            variant=self.variant,
            settings=dict(self.settings or {}),
            false_alarm_rate=self.false_alarm_rate,
            seed=self._seed(),
            device=self.device,
            lenient=True,
        )
        self._study = fit_detector(Table(frame, np.arange(frame.height), []), recipe)
        warn(self._study)
        self.offset_ = -self._study.manifest.decision.threshold
        self._scorer = torch_scorer(self._study)
        return self

    def score_samples(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Give how normal rows are, `float64[rows]`: minus their anomaly score.

        Raises:
            TableError: a row cannot be read; the first such cell is named.
            ValueError: the columns are not those of `fit`.
        """
        check_is_fitted(self)
        verdicts = self._scorer.score(self._frame(X, reset=False), explain="none")
        if verdicts.rejects:
            first = verdicts.rejects[0]
            raise TableError(
                f"{len(verdicts.rejects)} of {len(verdicts.accepted)} rows cannot be read; row {first.row}: {first}. "
                "`detector_.score` judges the others and says why for each of these"
            )
        return _indexed(-verdicts.score, X)

    def decision_function(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Give how far rows are from the threshold, `float64[rows]`: negative for outliers.

        Raises:
            TableError, ValueError: as `score_samples`.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Give -1 for outliers and +1 for all others, `int64[rows]`.

        Raises:
            TableError, ValueError: as `score_samples`.
        """
        return _indexed(np.where(np.asarray(self.decision_function(X)) < 0, -1, 1), X)

    def save(self, path: str | Path) -> Path:
        """Export, prove, and write the next version under a name such as `models/pumps`, for every other door.

        Gives the version's folder.

        Raises:
            TrainingError: the exported graph is not the trained network.
            OutputError: it cannot be written.
        """
        check_is_fitted(self)
        product = export_detector(copy.deepcopy(self._study), self.device)
        return write_version(Path(path), product.manifest, product.contents)[0]

    @property
    def detector_(self) -> Detector:
        """The fitted detector: p-values, reasons, rejected rows."""
        check_is_fitted(self)
        return Detector(self._scorer)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _seed(self) -> int:
        """Give the seed of training."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(LARGEST_SEED))

    def _frame(self, rows: Any, *, reset: bool) -> pl.DataFrame:  # noqa: ANN401 - an array or any frame
        """Check rows as scikit-learn does and give them as a polars frame; its columns have the names of `fit`, by position."""
        if _is_frame(rows):
            validate_data(self, rows, reset=reset, skip_check_array=True)
        else:
            least = MIN_ROWS_LENIENT if reset else 1
            rows = validate_data(self, rows, reset=reset, dtype=None, ensure_all_finite=False, ensure_min_samples=least)
        frame = as_polars(rows)
        if reset:
            self._names = frame.columns
        return frame.rename(dict(zip(frame.columns, self._names, strict=True)))


def _is_frame(rows: Any) -> bool:  # noqa: ANN401 - anything
    """Tell whether narwhals knows rows as a frame."""
    return isinstance(nw.from_native(rows, eager_only=True, pass_through=True), nw.DataFrame)


def _indexed(values: np.ndarray, rows: Any) -> Any:  # noqa: ANN401 - an array or any frame
    """Give values for rows: with the index of a pandas frame, else as they are."""
    if not nw.dependencies.is_pandas_dataframe(rows):
        return values
    import pandas as pd

    return pd.Series(values, index=rows.index)
