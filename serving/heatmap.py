"""Heat maps: an image beside itself, coloured where its score comes from. Needs Pillow.

The full colour range is used only for images whose score reaches the threshold, so that a normal image stays pale.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from detector.images import DecodedImage, ImageSize, ImageSpec

ReadImage = Callable[[ImageSpec], DecodedImage]

MAX_SIDE, MIN_SIDE = 512, 192  # pixels of the longer side
GAP = 8  # pixels between the two images
EXPONENT = 0.25  # contributions fall off steeply around their peak
COLOURS = np.array([[255, 236, 160], [253, 141, 60], [189, 0, 38]], dtype=np.float64)  # at 0, 1/2 and 1


def heat(contribution: np.ndarray, score: float, threshold: float) -> np.ndarray:
    """Return the heat of each pixel, in [0, 1], from its contribution to the score."""
    positive = np.maximum(contribution, 0.0)
    share = positive / max(float(positive.max()), np.finfo(float).tiny)
    scale = min(1.0, max(0.0, score / threshold)) if threshold > 0 else 1.0
    pixels: np.ndarray = share**EXPONENT * scale
    return pixels


def draw_heatmap(read_image: ReadImage, pixels: np.ndarray) -> bytes:
    """Return a PNG of an image beside its heat map; `read_image` decodes the image at a given size."""
    from PIL import Image as pillow  # noqa: N813 - a module

    height, width = pixels.shape
    spec = _display_spec(read_image(ImageSpec(width=width, height=height, mode="rgb")).original)
    size = spec.size
    image = read_image(spec).values.reshape(3, size.height, size.width).transpose(1, 2, 0).astype(np.float64)
    resized = np.asarray(pillow.fromarray(pixels.astype(np.float32)).resize(size, pillow.Resampling.BILINEAR))
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colour = np.stack([np.interp(resized, [0.0, 0.5, 1.0], COLOURS[:, channel]) for channel in range(3)], axis=2)
    weight = 0.8 * np.clip(resized, 0.0, 1.0)[..., None]
    gap = np.full((size.height, GAP, 3), 255.0)
    page = np.concatenate([image, gap, (1 - weight) * grey + weight * colour], axis=1)
    file = io.BytesIO()
    pillow.fromarray(np.round(page).astype(np.uint8)).save(file, format="png")
    return file.getvalue()


def _display_spec(original: ImageSize) -> ImageSpec:
    """Return the size at which an image is shown."""
    longer = max(original)
    scale = min(MAX_SIDE, max(MIN_SIDE, longer)) / longer
    width, height = (max(4, round(side * scale)) for side in original)
    return ImageSpec(width=width, height=height, mode="rgb")
