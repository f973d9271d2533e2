"""Two autoencoders that are watched while they learn: ours, and PyOD's with its defaults.

Seconds are processor seconds on one thread, the peer's as well (batches of 32 gain nothing from a second one), without
what watching itself takes. Ours is watched on its own validation rows, which its early stopping reads anyway. PyOD has
none, so the loss of fresh normal rows after each epoch tells when it is there; nothing else is done with it.

PyOD as it comes, but for two things: `verbose=0`, and rows standardised beforehand (`preprocessing=False`), which is what
it does itself except that it divides columns that are constant in training by 1e-8. Its `contamination` moves a threshold
and no score.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks import _trained
from training.fit import FitProgress, one_thread

WITHIN = 0.01  # of the best loss


class Task(NamedTuple):
    """Normal rows to train on, fresh rows to score, and which of these are anomalies."""

    name: str
    training: pl.DataFrame
    fresh: pl.DataFrame
    is_anomaly: np.ndarray


class Learnt(NamedTuple):
    """The loss after each check, when that was, when training was over, and the scores of fresh rows."""

    losses: list[float]
    seconds: list[float]
    whole: float
    scores: np.ndarray

    @property
    def plateau(self) -> float:
        """When the loss was first within 1 % of the best."""
        best = min(self.losses)
        reached = (at for loss, at in zip(self.losses, self.seconds, strict=True) if loss <= best + WITHIN * abs(best))
        return next(reached)


def ours(task: Task, seed: int) -> Learnt:
    """Train ours."""
    losses: list[float] = []
    seconds: list[float] = []
    began = time.process_time()

    def watch(progress: FitProgress) -> None:
        losses.append(progress.loss)
        seconds.append(time.process_time() - began)

    detector = _trained.detector(task.training, seed, watch)
    whole = time.process_time() - began
    return Learnt(losses, seconds, whole, detector.scores(task.fresh))


def pyod(task: Task, seed: int) -> Learnt:
    """Train PyOD's."""
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
        whole = time.process_time() - peer.began
        return Learnt(peer.losses, peer.seconds, whole, peer.decision_function(fresh))


def _encoder(frame: pl.DataFrame) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """One-hot for texts, standardised numbers."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    numbers = [name for name in frame.columns if name not in texts]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((StandardScaler(), numbers), (one_hot, texts))


def _watched_pyod(normal: np.ndarray, seed: int) -> Any:  # noqa: ANN401 - PyOD ships no types
    """Give PyOD's autoencoder that notes its loss on rows after each epoch."""
    from pyod.models.auto_encoder import AutoEncoder

    rows = torch.tensor(normal, dtype=torch.float32)

    class Watched(AutoEncoder):  # type: ignore[misc]  # PyOD ships no types
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

    return Watched()
