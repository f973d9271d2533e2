"""Pictures of where the error is: each image beside itself under a map of its score's contributions. Needs Pillow.

Warmth says where; full warmth is kept for images whose score reaches the threshold, so that a normal one stays calm.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.errors import OutputError
from detector.images import Image, Picture, Size, read
from serving.files import output
from serving.files.images import Seen

LONGEST, SHORTEST = 512, 192  # pixels of a picture's longer side
GAP = 8  # pixels between the two
SOFTEN = 0.25  # exponent: contributions fall off steeply around their peak
WARMTH = np.array([[255, 236, 160], [253, 141, 60], [189, 0, 38]], dtype=np.float64)  # from a little to all


class HeatMaps:
    """A folder of pictures, one for each image, under the same names and sub-folders."""

    def __init__(self, folder: str, paths: Sequence[str], image: Image, threshold: float, *, force: bool) -> None:
        """Look at what is there.

        Raises:
            OutputError: the folder lies among the images, or is a file, or a picture is there already.
        """
        self._folder, self._image, self._threshold, self._force = Path(folder), image, threshold, force
        self._root = Path(os.path.commonpath([Path(path).resolve().parent for path in paths]))
        target = self._folder.resolve()
        if self._root in (target, *target.parents):
            raise OutputError(
                f"{folder} lies among the images, and its pictures would be taken for some: name a folder elsewhere"
            )
        if self._folder.exists() and not self._folder.is_dir():
            raise OutputError(f"{folder} is a file: heat maps go into a folder")
        for path in paths:
            if self._path(path).exists() and not force:
                raise OutputError(f"{self._path(path)} is there already; --force replaces it")

    def add(self, seen: Seen) -> None:
        """Draw images; each picture appears when it is whole.

        Raises:
            OutputError: a picture cannot be written.
        """
        maps = seen.outputs.contribution.reshape(-1, self._image.height, self._image.width)
        for path, score, contribution in zip(seen.paths, seen.outputs.score, maps, strict=True):
            place = self._path(path)
            with output.telling(str(place)):
                place.parent.mkdir(parents=True, exist_ok=True)
            output.write(str(place), drawn(path, warmth(contribution, float(score), self._threshold)))

    def _path(self, path: str) -> Path:
        """Say where an image's picture goes."""
        name = Path(path).resolve().relative_to(self._root)
        return self._folder / (name if name.suffix.lower() == ".png" else name.with_name(f"{name.name}.png"))


def warmth(contribution: np.ndarray, score: float, threshold: float) -> np.ndarray:
    """Give how warm each place is, in [0, 1]."""
    positive = np.maximum(contribution, 0.0)
    share = positive / max(float(positive.max()), np.finfo(float).tiny)
    calm = min(1.0, max(0.0, score / threshold)) if threshold > 0 else 1.0
    warm: np.ndarray = share**SOFTEN * calm
    return warm


def drawn(path: str, warm: np.ndarray) -> bytes:
    """Draw an image beside itself under a map, as a PNG.

    Raises:
        OutputError: the image is gone by now.
    """
    from PIL import Image as pillow  # noqa: N813 - it is a module

    height, width = warm.shape
    first = read(path, 0, Image(width=width, height=height, mode="rgb"))
    shown = read(path, 0, _view(first.original)) if isinstance(first, Picture) else first
    if not isinstance(shown, Picture):
        raise OutputError(f"{path} could be scored, but not be drawn: found {shown.found}")
    size = _view(shown.original).size
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


def _view(original: Size) -> Image:
    """Give the size at which an image is shown."""
    longer = max(original)
    scale = min(LONGEST, max(SHORTEST, longer)) / longer
    width, height = (max(4, round(side * scale)) for side in original)
    return Image(width=width, height=height, mode="rgb")
