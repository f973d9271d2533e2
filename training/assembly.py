"""The features and the graph of a layout: rows or images."""

from __future__ import annotations

from training.features import Features
from training.graph import DetectorGraph
from training.image_model import ImageGraph
from training.layout import FeatureLayout
from training.pixels import PixelFeatures
from training.scores import RowScore


def build_features(layout: FeatureLayout) -> Features:
    """Build the first and the last step of a graph."""
    return PixelFeatures(layout) if layout.image else Features(layout)


def build_graph(features: Features, score: RowScore) -> DetectorGraph:
    """Build the whole computation."""
    return ImageGraph(features, score) if isinstance(features, PixelFeatures) else DetectorGraph(features, score)
