"""A detector as a scikit-learn estimator, for pipelines, grid searches and other tools that expect one.

Training and scoring are the same as in `residuum.train` and `residuum.load`; only the signs follow scikit-learn.
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

from detector.errors import SettingError, TableError
from detector.graph import Device
from detector.versioning import write_version
from residuum.api import Detector, as_path, as_settings, warn
from residuum.frames import as_polars, open_frame
from residuum.training_progress import training_progress
from training.recipe import Recipe, Table
from training.split import MIN_ROWS_LENIENT
from training.torch_scorer import torch_scorer
from training.train import export_detector, fit_detector

MAX_SEED = np.iinfo(np.int32).max


class AutoencoderDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A detector as a scikit-learn estimator: fit on normal rows, predict outliers (-1) and inliers (+1).

    The signs of scikit-learn are the opposite of Residuum's:

    | scikit-learn, here                        | everywhere else in Residuum                                       |
    |-------------------------------------------|-------------------------------------------------------------------|
    | `score_samples`: higher is more normal    | `anomaly_score` = `-score_samples`: higher is more abnormal       |
    | `offset_`                                 | `threshold` = `-offset_`                                          |
    | `decision_function`: negative is abnormal | `threshold - anomaly_score`                                       |
    | `predict`: -1                             | `is_anomaly`: true                                                |

    Rows may be an array or a frame with columns of numbers, texts, booleans and dates, with missing cells; for a pandas frame,
    methods return a pandas series with its index. `residuum.train` needs 20 rows or more; this estimator fits 6 or more and
    warns of the false-alarm rate that they can promise.

    Args:
        variant: The autoencoder; `residuum variants` lists them. Default: "memory".
        settings: Settings of the variant, such as `{"latent": 8}`; `residuum variants NAME` lists them. Default: None.
        false_alarm_rate: The share of normal rows that may be flagged, between 0 and 1; None for 0.01. It takes the place of
            `contamination` in other detectors, but is a promise about new normal rows, not a guess about the training rows.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Default: "auto".
        random_state: The random seed; an int gives the same detector as `residuum.train(seed=...)`. Default: None.
        verbose: Whether `fit` writes a line about its progress to standard error within five seconds, and then every ten.
            Default: True.

    Attributes:
        n_features_in_: The number of columns.
        feature_names_in_: The names of the columns, if the rows were a frame with names.
        offset_: The score below which a row is an outlier, in the unit of the score (nats).
        detector_: The fitted detector as a `residuum.Detector`, for p-values and reasons. It scores with torch; `save` exports
            it, and the exported one gives the same scores up to the tolerance that its proof of parity states.

    Example:
        >>> import numpy as np
        >>> from residuum import AutoencoderDetector
        >>> random = np.random.default_rng(0)
        >>> normal = random.normal(size=(400, 3))
        >>> estimator = AutoencoderDetector(random_state=0).fit(normal)
        >>> estimator.predict(np.array([[0.1, -0.2, 0.3], [90.0, 90.0, 90.0]]))
        array([ 1, -1])
    """

    def __init__(
        self,
        variant: str = "memory",
        *,
        settings: Mapping[str, Any] | None = None,
        false_alarm_rate: float | None = None,
        device: Device = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = True,
    ) -> None:
        self.variant = variant
        self.settings = settings
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> AutoencoderDetector:  # noqa: ANN401, ARG002, N803 - scikit-learn's signature
        """Train on normal rows.

        Args:
            X: Normal rows: an array `[rows, columns]` or a frame.
            y: Ignored.

        Returns:
            The estimator.

        Raises:
            TableError: the rows cannot be trained on.
            SettingError: a parameter is invalid.
            ValueError: `X` is not a table.

        Warns:
            UserWarning: rows could not be read and were left out, or the false-alarm rate was raised to the lowest that the
                rows can promise.
        """
        frame = self._frame(X, reset=True)
        recipe = Recipe(
            variant=self.variant,
            settings=as_settings(self.settings),
            false_alarm_rate=self.false_alarm_rate,
            seed=self._seed(),
            device=self.device,
            lenient=True,
        )
        table = Table(frame, np.arange(frame.height), [])
        with training_progress(verbose=self.verbose) as progress:
            self._trained = fit_detector(table, recipe, progress.on_progress, progress.on_column, progress.on_phase)
        warn(self._trained)
        self.offset_ = -self._trained.manifest.decision.threshold
        self._scorer = torch_scorer(self._trained)
        return self

    def score_samples(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Return how normal rows are: minus their anomaly score, in nats.

        Args:
            X: An array or a frame with the columns of `fit`.

        Returns:
            `float64[rows]`, a pandas series for a pandas frame.

        Raises:
            TableError: a row cannot be read; the message names the first such cell.
            ValueError: the columns are not those of `fit`.
        """
        check_is_fitted(self)
        verdicts = self._scorer.score(self._frame(X, reset=False), explain="none")
        if verdicts.rejects:
            first = verdicts.rejects[0]
            raise TableError(
                f"{len(verdicts.rejects)} of {len(verdicts.accepted)} rows cannot be read; row {first.row}: {first}. "
                "`detector_.score` scores the other rows and describes the problem of each of these"
            )
        return _with_index(-verdicts.score, X)

    def decision_function(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Return how far rows are from the threshold, in nats: negative for outliers.

        Args:
            X: An array or a frame with the columns of `fit`.

        Returns:
            `float64[rows]`, a pandas series for a pandas frame.

        Raises:
            TableError: as `score_samples`.
            ValueError: as `score_samples`.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Any:  # noqa: ANN401, N803 - scikit-learn's signature
        """Return -1 for outliers and +1 for inliers.

        Args:
            X: An array or a frame with the columns of `fit`.

        Returns:
            `int64[rows]`, a pandas series for a pandas frame.

        Raises:
            TableError: as `score_samples`.
            ValueError: as `score_samples`.
        """
        return _with_index(np.where(np.asarray(self.decision_function(X)) < 0, -1, 1), X)

    def save(self, path: str | Path) -> Path:
        """Export the detector to ONNX, prove that the export computes the same, and write it as a model's next version.

        Args:
            path: The model's folder, such as "models/pumps".

        Returns:
            The version's folder, such as `Path("models/pumps/1")`; `residuum.load` and the command line open it.

        Raises:
            TrainingError: the exported graph does not compute what the trained network does.
            OutputError: the bundle cannot be written.
        """
        check_is_fitted(self)
        product = export_detector(copy.deepcopy(self._trained), self.device)
        return write_version(as_path(path), product.manifest, product.contents)[0]

    @property
    def detector_(self) -> Detector:
        """The fitted detector: p-values, reasons, rejected rows."""
        check_is_fitted(self)
        return Detector(self._scorer)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_scorer"}  # it holds functions, and is quick to make

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_trained" in state:
            self._scorer = torch_scorer(self._trained)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(MAX_SEED))
        except ValueError as error:
            raise SettingError(f"random_state is a whole number, a RandomState or None; got {self.random_state!r}") from error

    def _frame(self, rows: Any, *, reset: bool) -> pl.DataFrame:  # noqa: ANN401 - an array or any frame
        """Validate rows as scikit-learn does; return them as a polars frame, columns renamed by position to those of `fit`."""
        if _is_frame(rows):
            validate_data(self, rows, reset=reset, skip_check_array=True)
        else:
            min_samples = MIN_ROWS_LENIENT if reset else 1
            rows = validate_data(self, rows, reset=reset, dtype=None, ensure_all_finite=False, ensure_min_samples=min_samples)
        frame = as_polars(rows)
        if reset:
            self._names = frame.columns
        return frame.rename(dict(zip(frame.columns, self._names, strict=True)))


def _is_frame(rows: Any) -> bool:  # noqa: ANN401 - anything
    """Return whether rows are a frame, not an array.

    Raises:
        TableError: they are a frame that cannot be used: lazy, or with column names that are not different texts.
    """
    try:
        is_frame = isinstance(nw.from_native(rows, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError:
        is_frame = True
    if not is_frame:
        return False
    names = list(open_frame(rows).columns)
    if len({type(name) for name in names}) > 1:
        raise TableError(f"the names of columns are of several types, such as {names[0]!r} and {names[-1]!r}: name all by texts")
    return True


def _with_index(values: np.ndarray, rows: Any) -> Any:  # noqa: ANN401 - an array or any frame
    """Return values for rows, with the index of a pandas frame."""
    if not nw.dependencies.is_pandas_dataframe(rows):
        return values
    import pandas as pd

    return pd.Series(values, index=rows.index)
