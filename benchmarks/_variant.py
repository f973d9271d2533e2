"""One variant, or one peer of the family, on one task: what it finds and what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks import _trained
from detector.graph import Graph
from training import export
from training.fit import one_thread

COMPONENTS = 32
NEIGHBOURS = 5
BATCHES = (1, 64, 1024)
TURNS = 15
SHORTEST = 1e-2  # seconds of the processor that a timing takes at least

Settings = Mapping[str, str]


class Task(NamedTuple):
    """Normal rows to learn from, and rows to tell apart: `float64[rows, columns]`."""

    name: str
    normal: np.ndarray
    rows: np.ndarray
    is_anomaly: np.ndarray
    scale: bool  # whether peers get standardised columns


class Found(NamedTuple):
    """What came of it."""

    auroc: float
    seconds: float  # of the processor, to train


class Speed(NamedTuple):
    """How fast the exported graph scores: rows a second at the largest batch, and torch's time over its own by batch."""

    rows_per_second: float
    precision: str  # of both
    ratios: dict[int, list[float]]


def ours(task: Task, variant: str, settings: Settings, seed: int) -> tuple[Found, _trained.Detector]:
    """Train a variant and score."""
    began = time.process_time()
    detector = _trained.detector(_trained.frame(task.normal), seed, variant=variant, settings=settings)
    seconds = time.process_time() - began
    return Found(_auroc(task, detector.scores(_trained.frame(task.rows))), seconds), detector


def speed(detector: _trained.Detector) -> Speed:
    """Export, and time the graph in ONNX Runtime beside torch, in turns, on one thread each."""
    rows = detector.calibrating
    graph = Graph(export.proven(detector.graph, rows), "cpu")
    ratios: dict[int, list[float]] = {}
    rate = 0.0
    with one_thread(), torch.inference_mode():
        for size in BATCHES:
            batch = np.resize(rows, (size, rows.shape[1]))
            tensor = torch.from_numpy(batch)
            both = [(_seconds(partial(detector.graph, tensor)), _seconds(partial(graph.explain, batch))) for _ in range(TURNS)]
            ratios[size] = [eager / runtime for eager, runtime in both]
            rate = size / min(runtime for _, runtime in both)
    return Speed(rate, str(detector.graph.features.real).removeprefix("torch."), ratios)


def pca(task: Task, _seed: int) -> Found:
    """Score by the squared error of a projection on principal components."""
    began = time.process_time()
    normal, rows = _for_peers(task)
    model = PCA(min(COMPONENTS, normal.shape[1] // 2, len(normal))).fit(normal)
    seconds = time.process_time() - began
    errors = ((rows - model.inverse_transform(model.transform(rows))) ** 2).sum(axis=1)
    return Found(_auroc(task, errors), seconds)


def knn(task: Task, _seed: int) -> Found:
    """Score by the distance to the fifth neighbour."""
    began = time.process_time()
    normal, rows = _for_peers(task)
    model = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(normal)
    seconds = time.process_time() - began
    return Found(_auroc(task, model.kneighbors(rows)[0][:, -1]), seconds)


def pyod(name: str, task: Task, seed: int) -> Found:
    """Train one of PyOD's autoencoders as it comes, and score."""
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.vae import VAE

    began = time.process_time()
    model = {"AutoEncoder": AutoEncoder, "VAE": VAE}[name](verbose=0, random_state=seed)
    model.fit(task.normal)
    seconds = time.process_time() - began
    return Found(_auroc(task, model.decision_function(task.rows)), seconds)


PEERS: dict[str, Callable[[Task, int], Found]] = {"PCA": pca, "kNN": knn}
PYOD: dict[str, Callable[[Task, int], Found]] = {
    "PyOD AutoEncoder": partial(pyod, "AutoEncoder"),
    "PyOD VAE": partial(pyod, "VAE"),
}


def _for_peers(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows as a peer gets them."""
    if not task.scale:
        return task.normal, task.rows
    scaler = StandardScaler().fit(task.normal)
    return scaler.transform(task.normal), scaler.transform(task.rows)


def _auroc(task: Task, scores: np.ndarray) -> float:
    return float(roc_auc_score(task.is_anomaly, scores))


def _seconds(run: Callable[[], object]) -> float:
    """Give the processor time of one call, over as many as a timing needs."""
    run()
    calls, began = 0, time.process_time()
    while time.process_time() - began < SHORTEST:
        run()
        calls += 1
    return (time.process_time() - began) / calls
