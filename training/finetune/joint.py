"""`joint`: a classification head on a copy of the encoder, both trained by cross-entropy with early stopping."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from detector.bundle import Bundle
from detector.classifier import OUTPUT
from detector.graph import INPUT
from training import export, weights
from training.fit import reproducible
from training.graph import DetectorGraph
from training.models import Autoencoder, VariationalAutoencoder
from training.penalty import GaussianCode

STEPS = 1000
BATCH = 64
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
CHECK_EVERY = 20  # steps
PATIENCE = 10  # checks without a better loss
VALIDATION = 0.2  # share of the rows


class JointClassifier(nn.Module):
    """An encoder with a classification head: `float64[rows, columns]` in, `float64[rows, classes]` out."""

    centre: Tensor
    scale: Tensor

    def __init__(self, graph: DetectorGraph, matrix: np.ndarray, classes: int) -> None:
        """Scale the codes of a trained graph by their deviation over rows, `float64[rows, columns]`."""
        super().__init__()
        self.features = graph.features
        self.model = graph.score.model
        with torch.no_grad():
            code = self.code(torch.from_numpy(matrix))
        self.register_buffer("centre", code.mean(dim=0))
        self.register_buffer("scale", 1.0 / (code.std(dim=0, correction=0) + 1e-3))
        self.head = nn.Linear(self.model.latent, classes, dtype=graph.features.real)

    def code(self, row: Tensor) -> Tensor:
        """Return the code of rows, `[rows, latent]`; of a distribution, the mean."""
        assert isinstance(self.model, Autoencoder | VariationalAutoencoder)  # noqa: S101 - all models are one of them
        code = self.model.encode(self.features(row))
        return code.mean if isinstance(code, GaussianCode) else code

    def logits(self, row: Tensor) -> Tensor:
        """Return the logit of each class, `[rows, classes]`."""
        logits: Tensor = self.head((self.code(row) - self.centre) * self.scale)
        return logits

    def forward(self, row: Tensor) -> Tensor:
        """Return the probability of each class, `float64[rows, classes]`."""
        return functional.softmax(self.logits(row).double(), dim=1)

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""
        with torch.no_grad():
            probabilities: np.ndarray = self(torch.from_numpy(np.ascontiguousarray(matrix))).numpy()
        return probabilities

    def to_onnx(self) -> bytes:
        """Return the classifier as one ONNX graph."""
        example = torch.zeros(export.EXAMPLE_ROWS, len(self.features.layout.columns), dtype=torch.float64)
        return export.to_onnx([export.GraphPart(self, (example,), [INPUT], [OUTPUT])])[0]


def fit(opened: Bundle, matrix: np.ndarray, labels: np.ndarray, seed: int) -> JointClassifier:
    """Train encoder and head on rows `float64[rows, columns]` and their classes `int64[rows]`, with early stopping.

    Raises:
        BundleError: the bundle holds no weights.
    """
    classes = int(labels.max()) + 1
    validation_rows = max(classes, math.ceil(VALIDATION * len(labels)))
    training, validation = train_test_split(np.arange(len(labels)), test_size=validation_rows, stratify=labels, random_state=seed)
    rows, targets = torch.from_numpy(np.ascontiguousarray(matrix)), torch.from_numpy(labels)
    with reproducible(seed):
        joint = JointClassifier(weights.load(opened), matrix[training], classes)
        _train(joint, (rows[training], targets[training]), (rows[validation], targets[validation]))
    return joint.eval()


def _train(joint: JointClassifier, training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
    """Train in place and keep the best weights."""
    optimiser = torch.optim.AdamW(joint.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_weights, best_step = math.inf, copy.deepcopy(joint.state_dict()), 0
    for step, batch in enumerate(_batches(len(training[1])), start=1):
        optimiser.zero_grad()
        joint.train()
        functional.cross_entropy(joint.logits(training[0][batch]), training[1][batch]).backward()
        optimiser.step()
        if step % CHECK_EVERY:
            continue
        loss = _loss(joint, *validation)
        if loss < best:
            best, best_weights, best_step = loss, copy.deepcopy(joint.state_dict()), step
        elif step - best_step >= PATIENCE * CHECK_EVERY:
            break
    joint.load_state_dict(best_weights)


def _batches(rows: int) -> Iterator[Tensor]:
    """Yield the row indices of each step, drawn with replacement."""
    for _ in range(STEPS):
        yield torch.randint(rows, (min(BATCH, rows),))


def _loss(joint: JointClassifier, rows: Tensor, targets: Tensor) -> float:
    """Return the current cross-entropy."""
    joint.eval()
    with torch.no_grad():
        return float(functional.cross_entropy(joint.logits(rows), targets))
