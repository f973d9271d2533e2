"""The trained network as tensors, so that training can go on from a bundle: `weights.safetensors`.

The graph that scores is frozen; this is the same network as a torch module again, with whatever its score was given
(the whitening, the latents of a variational score). What else it takes, columns and settings, stands in the manifest.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from detector import bundle
from detector.bundle import Bundle
from detector.errors import BundleCorrupt, BundleError
from training import variants
from training.graph import DetectorGraph
from training.image_model import graph_of
from training.layout import Layout
from training.pixels import features_of

LAYOUT = "layout"  # the one entry of the file's metadata: safetensors keeps no order among several
MODEL, SCORE = "model.", "score."
NO_PRECISION = torch.zeros(0, 0, dtype=torch.float64)


def to_bytes(graph: DetectorGraph) -> bytes:
    """Give the content of the file that holds a graph's weights."""
    from safetensors.torch import save

    score = graph.score
    tensors = {MODEL + name: tensor for name, tensor in score.model.state_dict().items()}
    tensors |= {SCORE + name: tensor for name, tensor in score.named_buffers(recurse=False)}
    layout = graph.features.layout._replace(columns=())  # the manifest has them
    metadata = {LAYOUT: msgspec.json.encode(layout).decode()}
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def load(opened: Bundle) -> DetectorGraph:
    """Give the network of a verified bundle as a torch module, whose scores are the bundle's.

    Raises:
        BundleError: the bundle holds no weights.
        BundleCorrupt: they are not those of its variant and settings.
    """
    path = opened.folder / bundle.WEIGHTS
    if bundle.WEIGHTS not in opened.extra_files:
        raise BundleError(f"{opened.folder} has no {bundle.WEIGHTS} for training to go on from: train it again to have them")
    try:
        return _load(opened)
    except (RuntimeError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise BundleCorrupt(f"{path} does not hold the weights that the manifest speaks of: {error}") from error


def _load(opened: Bundle) -> DetectorGraph:
    """Build the module and fill it."""
    from safetensors.torch import load as tensors_of

    manifest, content = opened.manifest, opened.extra_files[bundle.WEIGHTS]
    tensors = tensors_of(content)
    layout = msgspec.json.decode(_metadata(content)[LAYOUT], type=Layout)._replace(columns=manifest.columns)
    settings = {name: value for name, value in manifest.settings.items() if name != "precision"}
    plan = variants.plan(manifest.variant, settings)
    features = features_of(layout)
    model = plan.model(features)
    score = plan.score(model, tensors.get(f"{SCORE}precision", NO_PRECISION), manifest.training.seed)
    graph = graph_of(features, score)
    if manifest.settings["precision"] == "float64":
        graph = graph.in_float64()
    model.load_state_dict(_under(MODEL, tensors))
    for name, tensor in _under(SCORE, tensors).items():
        score.get_buffer(name).copy_(tensor)
    return graph.eval()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _metadata(content: bytes) -> dict[str, str]:
    """Read the metadata, which safetensors itself gives of files only: eight bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + length], type=dict[str, msgspec.Raw])
    return msgspec.json.decode(header["__metadata__"], type=dict[str, str])
