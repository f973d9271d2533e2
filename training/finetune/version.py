"""Fine-tuning, in order: labelled rows and a bundle in, the bundle's next version out, if it is worth one."""

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
from training.finetune.examples import Fit, Fitted, LabelledExamples

Mode = Literal["frozen", "joint"]


def way_of(mode: Mode, opened: Bundle) -> Fit:
    """Give the way in which a mode fits a classifier to a bundle."""
    return functools.partial(frozen.fit, opened) if mode == "frozen" else functools.partial(joint.fit, opened)


def compare_with_score(opened: Bundle, examples: LabelledExamples, mode: Mode, seed: int) -> ClassifierComparison:
    """Compare what fine-tuning would give with the bundle's own score.

    Raises:
        BundleError: the mode needs weights and the bundle holds none.
    """
    return compare(way_of(mode, opened), examples, seed)


def write_next(opened: Bundle, examples: LabelledExamples, mode: Mode, seed: int, device: Device) -> tuple[Path, Manifest]:
    """Fit a classifier to all rows and write it into the next version, which differs in nothing else.

    Raises:
        TrainingError: the exported graph is not the fitted classifier.
        OutputError: the bundle cannot be written.
    """
    fitted = way_of(mode, opened)(examples.matrix, examples.labels, seed)
    graph = fitted.to_onnx()
    proofs = [prove(fitted, graph, examples.matrix, one) for one in dict.fromkeys(["cpu", device])]
    others = [proof for proof in opened.manifest.parity if proof.file != bundle.CLASSIFIER]
    manifest = msgspec.structs.replace(
        opened.manifest,
        classes=examples.classes,
        parity=(*others, *proofs),
        parent=opened.manifest.version,
    )
    contents = {
        **opened.extra_files,
        bundle.MODEL: opened.model,
        bundle.CALIBRATION: bundle.calibration_bytes(opened.calibration),
        bundle.CLASSIFIER: graph,
    }
    return write_version(opened.folder, manifest, contents)


def prove(fitted: Fitted, graph: bytes, rows: np.ndarray, device: Device) -> Parity:
    """Compare what was fitted with its graph in ONNX Runtime on rows, `float64[rows, columns]`.

    Raises:
        TrainingError: they disagree; there must be no bundle.
    """
    opened = ClassifierSession(graph, device)
    wanted, served = fitted.probabilities(rows), opened.probabilities(rows)
    apart = float(np.abs(wanted - served).max())
    chosen = np.take_along_axis(wanted, served.argmax(axis=1)[:, None], axis=1)[:, 0]
    others = int((wanted.max(axis=1) - chosen > TOLERANCE).sum())
    if not (apart <= TOLERANCE and others == 0):
        raise TrainingError(
            f"the exported {bundle.CLASSIFIER} is not the fitted classifier on {opened.provider}: probabilities differ by up "
            f"to {apart:.2g} (allowed {TOLERANCE:g}), {others} of {len(rows)} classes differ; nothing was written"
        )
    return Parity(len(rows), opened.provider, apart, TOLERANCE, others, opened.nodes_on_cpu, bundle.CLASSIFIER)
