"""One variant, or one peer, on one task: its AUROC and its cost."""

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

from benchmarks.harness import detectors
from detector.graph import Graph
from training import export
from training.fit import one_thread

COMPONENTS = 32
NEIGHBOURS = 5
BATCHES = (1, 64, 1024)
TURNS = 15
MIN_SECONDS = 1e-2  # of CPU time for one timing

Settings = Mapping[str, str]


class Task(NamedTuple):
    """Normal rows to train on and labelled rows to score, `float64[rows, columns]`."""

    name: str
    normal: np.ndarray
    rows: np.ndarray
    is_anomaly: np.ndarray
    scale: bool  # standardise the columns for peers


class Outcome(NamedTuple):
    """The AUROC and the cost of training."""

    auroc: float
    seconds: float  # of CPU time, to train


class Speed(NamedTuple):
    """Speed of the exported graph: rows per second at the largest batch, and torch's time over its own by batch size."""

    rows_per_second: float
    precision: str  # of both graphs
    ratios: dict[int, list[float]]


def ours(task: Task, variant: str, settings: Settings, seed: int) -> tuple[Outcome, detectors.Detector]:
    """Train a variant and score the task's rows."""
    began = time.process_time()
    detector = detectors.detector(detectors.frame(task.normal), seed, variant=variant, settings=settings)
    seconds = time.process_time() - began
    return Outcome(auroc(task, detector.scores(detectors.frame(task.rows))), seconds), detector


def speed(detector: detectors.Detector, turns: int = TURNS) -> Speed:
    """Export, and time the graph in ONNX Runtime and in torch, in turns, on one thread each."""
    rows = detector.calibration_rows.astype(np.float64)
    graph = Graph(export.to_accurate_onnx(detector.graph, rows)[0], "cpu")
    ratios: dict[int, list[float]] = {}
    rate = 0.0
    with one_thread(), torch.inference_mode():
        for size in BATCHES:
            batch = np.resize(rows, (size, rows.shape[1]))
            tensor = torch.from_numpy(batch)
            both = [(seconds(partial(detector.graph, tensor)), seconds(partial(graph.explain, batch))) for _ in range(turns)]
            ratios[size] = [eager / runtime for eager, runtime in both]
            rate = size / min(runtime for _, runtime in both)
    return Speed(rate, str(detector.graph.features.real).removeprefix("torch."), ratios)


def pca(task: Task, _seed: int) -> Outcome:
    """Score by the squared error of a projection onto principal components."""
    began = time.process_time()
    normal, rows = _for_peers(task)
    model = PCA(min(COMPONENTS, normal.shape[1] // 2, len(normal))).fit(normal)
    seconds = time.process_time() - began
    errors = ((rows - model.inverse_transform(model.transform(rows))) ** 2).sum(axis=1)
    return Outcome(auroc(task, errors), seconds)


def knn(task: Task, _seed: int) -> Outcome:
    """Score by the distance to the fifth neighbour."""
    began = time.process_time()
    normal, rows = _for_peers(task)
    model = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(normal)
    seconds = time.process_time() - began
    return Outcome(auroc(task, model.kneighbors(rows)[0][:, -1]), seconds)


def pyod(name: str, task: Task, seed: int) -> Outcome:
    """Train one of PyOD's autoencoders with its defaults, and score."""
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.vae import VAE

    began = time.process_time()
    model = {"AutoEncoder": AutoEncoder, "VAE": VAE}[name](verbose=0, random_state=seed)
    model.fit(task.normal)
    seconds = time.process_time() - began
    return Outcome(auroc(task, model.decision_function(task.rows)), seconds)


PEERS: dict[str, Callable[[Task, int], Outcome]] = {"PCA": pca, "kNN": knn}
PYOD: dict[str, Callable[[Task, int], Outcome]] = {
    "PyOD AutoEncoder": partial(pyod, "AutoEncoder"),
    "PyOD VAE": partial(pyod, "VAE"),
}


def _for_peers(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows as peers get them."""
    if not task.scale:
        return task.normal, task.rows
    scaler = StandardScaler().fit(task.normal)
    return scaler.transform(task.normal), scaler.transform(task.rows)


def auroc(task: Task, scores: np.ndarray) -> float:
    """Return the AUROC of scores on a task."""
    return float(roc_auc_score(task.is_anomaly, scores))


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of one call, averaged over as many as a timing needs."""
    run()
    calls, began = 0, time.process_time()
    while time.process_time() - began < MIN_SECONDS:
        run()
        calls += 1
    return (time.process_time() - began) / calls
