"""`frozen`: logistic regression on the detector's outputs for a row, its code and its contributions.

scikit-learn fits it and skl2onnx converts it; it is appended to the detector's graph, so that the result takes rows as
every other graph does. Contributions enter as sign(c) log(1 + |c|), so that one extreme value does not set their scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detector.bundle import Bundle
from detector.classifier import OUTPUT
from detector.graph import Graph
from training.export import OPSET

MAX_ITERATIONS = 2000
EVIDENCE = "evidence"
PREFIX = "classifier_"  # of names, against collisions with the detector's
DETECTOR_OUTPUTS = ("latent", "contribution")  # inputs of the regression


class FrozenClassifier:
    """A logistic regression on a detector's outputs."""

    def __init__(self, opened: Bundle, graph: Graph, regression: Any) -> None:  # noqa: ANN401 - scikit-learn's pipeline
        """Combine a bundle, its opened graph and the fitted regression."""
        self._opened = opened
        self._graph = graph
        self._regression = regression

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""
        probabilities: np.ndarray = self._regression.predict_proba(evidence(self._graph, matrix))
        return probabilities

    def to_onnx(self) -> bytes:
        """Return detector and regression as one graph, whose only output is the probabilities."""
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType

        detector = onnx.load_from_string(self._opened.model)
        regression = convert_sklearn(
            self._regression,
            "regression",
            [(EVIDENCE, DoubleTensorType([None, self._regression[0].n_features_in_]))],
            target_opset={"": OPSET, "ai.onnx.ml": 3},
            options={"zipmap": False},
        )
        regression = onnx.version_converter.convert_version(_only_probabilities(regression), OPSET)
        head = onnx.compose.merge_models(
            _with_versions_of(_evidence_model(), detector), _with_versions_of(regression, detector), [(EVIDENCE, EVIDENCE)]
        )
        return _append(detector, onnx.compose.add_prefix(head, PREFIX))


def fit(opened: Bundle, matrix: np.ndarray, labels: np.ndarray, seed: int) -> FrozenClassifier:
    """Fit the regression to rows `float64[rows, columns]` and their classes `int64[rows]`."""
    graph = Graph(opened.model, "cpu")
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS, random_state=seed))
    return FrozenClassifier(opened, graph, regression.fit(evidence(graph, matrix), labels))


def evidence(graph: Graph, matrix: np.ndarray) -> np.ndarray:
    """Return the regression's inputs, `float64[rows, latents + contributions]`."""
    contribution = graph.explain(matrix).contribution
    bent = np.sign(contribution) * np.log(1.0 + np.abs(contribution))
    return np.concatenate([graph.latent(matrix).astype(np.float64), bent], axis=1)


def _evidence_model() -> onnx.ModelProto:
    """Return `evidence` as ONNX."""
    nodes = [
        helper.make_node("Cast", ["latent"], ["latent_double"], to=TensorProto.DOUBLE),
        helper.make_node("Abs", ["contribution"], ["size"]),
        helper.make_node("Add", ["size", "one_more"], ["shifted"]),
        helper.make_node("Log", ["shifted"], ["logarithm"]),
        helper.make_node("Sign", ["contribution"], ["sign"]),
        helper.make_node("Mul", ["sign", "logarithm"], ["bent"]),
        helper.make_node("Concat", ["latent_double", "bent"], [EVIDENCE], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["rows", None]),
        helper.make_tensor_value_info("contribution", TensorProto.DOUBLE, ["rows", None]),
    ]
    outputs = [helper.make_tensor_value_info(EVIDENCE, TensorProto.DOUBLE, ["rows", None])]
    constants = [numpy_helper.from_array(np.array(1.0), "one_more")]
    return helper.make_model(helper.make_graph(nodes, EVIDENCE, inputs, outputs, constants))


def _only_probabilities(regression: onnx.ModelProto) -> onnx.ModelProto:
    """Return the regression without the output that names the class."""
    return onnx.utils.Extractor(regression).extract_model([EVIDENCE], ["probabilities"])


def _with_versions_of(model: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the versions of another model, which merging requires."""
    model.ir_version = other.ir_version
    del model.opset_import[:]
    model.opset_import.extend(other.opset_import)
    return model


def _append(detector: onnx.ModelProto, head: onnx.ModelProto) -> bytes:
    """Append the head's nodes to the detector's and return the file; `onnx.compose` loses the content of an `If`."""
    renamed = {f"{PREFIX}{name}": name for name in DETECTOR_OUTPUTS} | {f"{PREFIX}probabilities": OUTPUT}
    for node in head.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    detector.graph.node.extend(head.graph.node)
    detector.graph.initializer.extend(head.graph.initializer)
    del detector.graph.output[:]
    detector.graph.output.extend(head.graph.output)
    detector.graph.output[0].name = OUTPUT
    onnx.checker.check_model(detector)
    return bytes(detector.SerializeToString(deterministic=True))
