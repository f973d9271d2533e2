"""Pictures of where the error is: an image beside itself under a map of its score's contributions. Needs Pillow.

Warmth says where; full heat is kept for images whose score reaches the threshold, so that a normal one stays calm.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from detector.images import DecodedImage, ImageSize, ImageSpec

Look = Callable[[ImageSpec], DecodedImage]

LONGEST, SHORTEST = 512, 192  # pixels of a picture's longer side
GAP = 8  # pixels between the two
SOFTEN = 0.25  # exponent: contributions fall off steeply around their peak
WARMTH = np.array([[255, 236, 160], [253, 141, 60], [189, 0, 38]], dtype=np.float64)  # from a little to all


def heat(contribution: np.ndarray, score: float, threshold: float) -> np.ndarray:
    """Give how warm each place is, in [0, 1]."""
    positive = np.maximum(contribution, 0.0)
    share = positive / max(float(positive.max()), np.finfo(float).tiny)
    calm = min(1.0, max(0.0, score / threshold)) if threshold > 0 else 1.0
    warm: np.ndarray = share**SOFTEN * calm
    return warm


def draw_heatmap(look: Look, warm: np.ndarray) -> bytes:
    """Draw an image beside itself under a map, as a PNG; `look` gives the image at a size, or raises if it is gone by now."""
    from PIL import Image as pillow  # noqa: N813 - it is a module

    height, width = warm.shape
    view = _view(look(ImageSpec(width=width, height=height, mode="rgb")).original)
    shown, size = look(view), view.size
    plain = shown.values.reshape(3, size.height, size.width).transpose(1, 2, 0).astype(np.float64)
    fine = np.asarray(pillow.fromarray(warm.astype(np.float32)).resize(size, pillow.Resampling.BILINEAR))
    grey = plain.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colour = np.stack([np.interp(fine, [0.0, 0.5, 1.0], WARMTH[:, channel]) for channel in range(3)], axis=2)
    weight = 0.8 * np.clip(fine, 0.0, 1.0)[..., None]
    gap = np.full((size.height, GAP, 3), 255.0)
    page = np.concatenate([plain, gap, (1 - weight) * grey + weight * colour], axis=1)
    file = io.BytesIO()
    pillow.fromarray(np.round(page).astype(np.uint8)).save(file, format="png")
    return file.getvalue()


def _view(original: ImageSize) -> ImageSpec:
    """Give the size at which an image is shown."""
    longer = max(original)
    scale = min(LONGEST, max(SHORTEST, longer)) / longer
    width, height = (max(4, round(side * scale)) for side in original)
    return ImageSpec(width=width, height=height, mode="rgb")
