"""The trained network as tensors, so that training can go on from a bundle: `weights.safetensors`.

Holds the weights of the torch module and the buffers of its score (the whitening, the latents of a variational score).
The rest, columns and settings, is in the manifest.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from detector import bundle
from detector.bundle import Bundle
from detector.errors import BundleCorrupt, BundleError
from training import variants
from training.assembly import build_features, build_graph
from training.graph import DetectorGraph
from training.layout import FeatureLayout

LAYOUT = "layout"  # the only entry of the file's metadata: safetensors does not keep the order of several
MODEL, SCORE = "model.", "score."
NO_PRECISION = torch.zeros(0, 0, dtype=torch.float64)


def to_bytes(graph: DetectorGraph) -> bytes:
    """Return the content of the file with a graph's weights."""
    from safetensors.torch import save

    score = graph.score
    tensors = {MODEL + name: tensor for name, tensor in score.model.state_dict().items()}
    tensors |= {SCORE + name: tensor for name, tensor in score.named_buffers(recurse=False)}
    layout = graph.features.layout._replace(columns=())  # the manifest has them
    metadata = {LAYOUT: msgspec.json.encode(layout).decode()}
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def load(opened: Bundle) -> DetectorGraph:
    """Load the torch module of a verified bundle; its scores are those of the bundle.

    Raises:
        BundleError: the bundle holds no weights.
        BundleCorrupt: the weights do not fit its variant and settings.
    """
    path = opened.folder / bundle.WEIGHTS
    if bundle.WEIGHTS not in opened.extra_files:
        raise BundleError(f"{opened.folder} has no {bundle.WEIGHTS} to continue training from: train it again to write them")
    try:
        return _load(opened)
    except (RuntimeError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise BundleCorrupt(f"{path} does not match the manifest: {error}") from error


def _load(opened: Bundle) -> DetectorGraph:
    from safetensors.torch import load as load_tensors

    manifest, content = opened.manifest, opened.extra_files[bundle.WEIGHTS]
    tensors = load_tensors(content)
    layout = msgspec.json.decode(_metadata(content)[LAYOUT], type=FeatureLayout)._replace(columns=manifest.columns)
    settings = {name: value for name, value in manifest.settings.items() if name != "precision"}
    plan = variants.plan(manifest.variant, settings)
    features = build_features(layout)
    model = plan.model(features)
    score = plan.score(model, tensors.get(f"{SCORE}precision", NO_PRECISION), manifest.training.seed)
    graph = build_graph(features, score)
    if manifest.settings["precision"] == "float64":
        graph = graph.in_float64()
    model.load_state_dict(_with_prefix(MODEL, tensors))
    for name, tensor in _with_prefix(SCORE, tensors).items():
        score.get_buffer(name).copy_(tensor)
    return graph.eval()


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _metadata(content: bytes) -> dict[str, str]:
    """Read the metadata, which safetensors reads from files only: eight bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + length], type=dict[str, msgspec.Raw])
    return msgspec.json.decode(header["__metadata__"], type=dict[str, str])
