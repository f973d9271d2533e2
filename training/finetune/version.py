"""The fine-tuning pipeline: labelled rows and a bundle in, the bundle's next version out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from detector import bundle
from detector.bundle import Bundle
from detector.classifier import ClassifierSession
from detector.decision import TOLERANCE
from detector.errors import TrainingError
from detector.graph import Device
from detector.manifest import Manifest, Parity
from detector.versioning import write_version
from training.finetune import frozen, joint
from training.finetune.comparison import ClassifierComparison, compare
from training.finetune.examples import FitClassifier, FittedClassifier, LabelledExamples

Mode = Literal["frozen", "joint"]


def fitter_of(mode: Mode, opened: Bundle) -> FitClassifier:
    """Return the function by which a mode fits a classifier to a bundle."""
    return functools.partial(frozen.fit, opened) if mode == "frozen" else functools.partial(joint.fit, opened)


def compare_with_score(opened: Bundle, examples: LabelledExamples, mode: Mode, seed: int) -> ClassifierComparison:
    """Compare a fine-tuned classifier with the bundle's score.

    Raises:
        BundleError: the mode needs weights and the bundle holds none.
    """
    return compare(fitter_of(mode, opened), examples, seed)


def write_next(opened: Bundle, examples: LabelledExamples, mode: Mode, seed: int, device: Device) -> tuple[Path, Manifest]:
    """Fit a classifier to all rows and write the next version with it; nothing else changes.

    Raises:
        TrainingError: the exported graph differs from the fitted classifier.
        OutputError: the bundle cannot be written.
    """
    fitted = fitter_of(mode, opened)(examples.matrix, examples.labels, seed)
    graph = fitted.to_onnx()
    proofs = [prove(fitted, graph, examples.matrix, each) for each in dict.fromkeys(["cpu", device])]
    other_proofs = [proof for proof in opened.manifest.parity if proof.file != bundle.CLASSIFIER]
    manifest = msgspec.structs.replace(
        opened.manifest,
        classes=examples.classes,
        parity=(*other_proofs, *proofs),
        parent=opened.manifest.version,
    )
    contents = {
        **opened.extra_files,
        bundle.MODEL: opened.model,
        bundle.CALIBRATION: bundle.calibration_bytes(opened.calibration),
        bundle.CLASSIFIER: graph,
    }
    return write_version(opened.folder, manifest, contents)


def prove(fitted: FittedClassifier, graph: bytes, rows: np.ndarray, device: Device) -> Parity:
    """Compare a fitted classifier with its graph in ONNX Runtime on rows, `float64[rows, columns]`.

    Raises:
        TrainingError: they disagree.
    """
    opened = ClassifierSession(graph, device)
    expected, served = fitted.probabilities(rows), opened.probabilities(rows)
    difference = float(np.abs(expected - served).max())
    chosen = np.take_along_axis(expected, served.argmax(axis=1)[:, None], axis=1)[:, 0]
    wrong_classes = int((expected.max(axis=1) - chosen > TOLERANCE).sum())
    if not (difference <= TOLERANCE and wrong_classes == 0):
        raise TrainingError(
            f"the exported {bundle.CLASSIFIER} is not the fitted classifier on {opened.provider}: probabilities differ by up "
            f"to {difference:.2g} (allowed {TOLERANCE:g}), {wrong_classes} of {len(rows)} classes differ; nothing was written"
        )
    return Parity(len(rows), opened.provider, difference, TOLERANCE, wrong_classes, opened.nodes_on_cpu, bundle.CLASSIFIER)
