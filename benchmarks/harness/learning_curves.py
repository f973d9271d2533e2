"""Learning curves of two autoencoders: the project's and PyOD's with its defaults.

Seconds are CPU seconds on one thread, for PyOD too (batches of 32 gain nothing from a second one), without the cost of watching.
The project's detector is watched on its own validation rows, which early stopping evaluates anyway. PyOD has none, so the loss
of fresh normal rows after each epoch shows when the plateau is reached; these rows serve no other purpose.

PyOD has its defaults but for two: `verbose=0`, and rows standardised beforehand (`preprocessing=False`), which is what it
does itself, except that it divides columns that are constant in training by 1e-8. Its `contamination` moves a threshold and no
score.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.harness import detectors
from training.fit import FitProgress, one_thread

WITHIN = 0.01  # of the best loss


class CurveTask(NamedTuple):
    """Normal rows to train on, fresh rows to score, and which of these are anomalies."""

    name: str
    training: pl.DataFrame
    fresh: pl.DataFrame
    is_anomaly: np.ndarray


class LearningCurve(NamedTuple):
    """The loss at each check, the time of each check and of the whole training, and the scores of fresh rows."""

    losses: list[float]
    seconds: list[float]
    total: float
    scores: np.ndarray

    @property
    def plateau(self) -> float:
        """The time at which the loss was first within 1 % of the best."""
        best = min(self.losses)
        reached = (second for loss, second in zip(self.losses, self.seconds, strict=True) if loss <= best + WITHIN * abs(best))
        return next(reached)


def ours(task: CurveTask, seed: int) -> LearningCurve:
    """Train the variant `denoising`."""
    losses: list[float] = []
    seconds: list[float] = []
    began = time.process_time()

    def watch(progress: FitProgress) -> None:
        losses.append(progress.loss)
        seconds.append(time.process_time() - began)

    detector = detectors.detector(task.training, seed, watch, variant="denoising")
    total = time.process_time() - began
    return LearningCurve(losses, seconds, total, detector.scores(task.fresh))


def pyod(task: CurveTask, seed: int) -> LearningCurve:
    """Train PyOD's AutoEncoder."""
    began = time.process_time()
    encoder = _encoder(task.training).fit(task.training.to_pandas())
    training = encoder.transform(task.training.to_pandas())
    encoding = time.process_time() - began
    fresh = encoder.transform(task.fresh.to_pandas())
    with one_thread():
        peer = _watched_pyod(fresh[~task.is_anomaly], seed)
        began = time.process_time()
        peer.began = began - encoding
        peer.fit(training)
        total = time.process_time() - peer.began
        return LearningCurve(peer.losses, peer.seconds, total, peer.decision_function(fresh))


def _encoder(frame: pl.DataFrame) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """Return a transformer: one-hot for texts, standardised numbers."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    numbers = [name for name in frame.columns if name not in texts]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((StandardScaler(), numbers), (one_hot, texts))


def _watched_pyod(normal: np.ndarray, seed: int) -> Any:  # noqa: ANN401 - PyOD ships no types
    """Return PyOD's AutoEncoder, extended to record its loss on rows after each epoch."""
    from pyod.models.auto_encoder import AutoEncoder

    rows = torch.tensor(normal, dtype=torch.float32)

    class WatchedAutoEncoder(AutoEncoder):  # type: ignore[misc]  # PyOD ships no types
        began = 0.0

        def __init__(self) -> None:
            super().__init__(random_state=seed, preprocessing=False, verbose=0, device=torch.device("cpu"))
            self.losses: list[float] = []
            self.seconds: list[float] = []

        def epoch_update(self) -> None:
            now = time.process_time()
            self.seconds.append(now - self.began)
            self.model.eval()
            with torch.no_grad():
                self.losses.append(float(self.criterion(self.model(rows), rows)))
            self.model.train()
            self.began += time.process_time() - now

    return WatchedAutoEncoder()
