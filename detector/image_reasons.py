"""Why an image was flagged: the regions with the largest share of its score, in words and as a box.

A region grows from the map's largest contribution over all connected neighbours that are at least 1 % of it. Reasons have
the schema of `detector.reasons`: the column is the region, `upper left, 12x8 at 30,4` (width x height, then the pixels to
its left and above it), found and expected are its mean grey or colour.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from detector.graph import Outputs
from detector.images import ImageSize, ImageSpec
from detector.reasons import SCHEMA

EDGE = 0.01  # of the largest contribution: neighbours with less are outside the region
MIN_SHARE = 0.05  # of the score; smaller regions explain nothing
WHOLE = 0.6  # of the image's area: a larger box is "nearly everywhere"
ROWS, ACROSS = ("upper", "", "lower"), ("left", "", "right")


class Region(NamedTuple):
    """A box in an image, in pixels of the map, and its part of the score."""

    left: int
    top: int
    right: int  # the first column behind it
    bottom: int  # the first line below it
    share: float


def rank(matrix: np.ndarray, outputs: Outputs, image: ImageSpec, originals: list[ImageSize], top: int) -> pl.DataFrame:
    """Return up to `top` reasons for each image, one per line, the largest first (`reasons.SCHEMA`; `at` is the image's index).

    `matrix` is `[images, values]`; `originals` holds the size of each image before it was resized.
    """
    maps = outputs.contribution.reshape(-1, image.height, image.width)
    reasons = []
    for at, (found, expected, contribution) in enumerate(zip(matrix, outputs.expected, maps, strict=True)):
        scale = originals[at].width / image.width, originals[at].height / image.height
        for index, region in enumerate(regions(contribution, top), 1):
            means = _mean(found, region, image), _mean(expected, region, image)
            reasons.append((at, index, _position(region, image.size, scale), *means, region.share))
    return pl.DataFrame(reasons, schema=SCHEMA, orient="row")


def regions(contribution: np.ndarray, top: int) -> list[Region]:
    """Return up to `top` boxes with the largest shares of a map, `float64[height, width]`, the largest first."""
    rest = np.maximum(contribution, 0.0)
    total = max(float(rest.sum()), np.finfo(float).tiny)
    found: list[Region] = []
    for _ in range(top):
        grown = _grown(rest)
        lines, across = np.flatnonzero(grown.any(axis=1)), np.flatnonzero(grown.any(axis=0))
        box = slice(lines[0], lines[-1] + 1), slice(across[0], across[-1] + 1)
        share = float(rest[box].sum()) / total
        if share < MIN_SHARE and found:
            break
        found.append(Region(int(across[0]), int(lines[0]), int(across[-1]) + 1, int(lines[-1]) + 1, share))
        rest[box] = 0.0
        if not rest.any():
            break
    found.sort(key=lambda region: -region.share)
    return found[:1] + [region for region in found[1:] if region.share >= MIN_SHARE]


def _grown(values: np.ndarray) -> np.ndarray:
    """Return the region around the largest value, `bool[height, width]`: the connected values of at least `EDGE` of it."""
    passable = values >= EDGE * values.max()
    region: np.ndarray = np.zeros_like(passable)
    region[np.unravel_index(values.argmax(), values.shape)] = True
    size = 0
    while size < (size := int(region.sum())):
        wider = region.copy()
        wider[1:] |= region[:-1]
        wider[:-1] |= region[1:]
        wider[:, 1:] |= region[:, :-1]
        wider[:, :-1] |= region[:, 1:]
        region = wider & passable
    return region


def _position(region: Region, size: ImageSize, scale: tuple[float, float]) -> str:
    """Return the position of a region: in words, and as a box in pixels of the original."""
    across, down = scale
    left, top = round(region.left * across), round(region.top * down)
    width = max(1, round(region.right * across) - left)
    height = max(1, round(region.bottom * down) - top)
    return f"{_words(region, size)}, {width}x{height} at {left},{top}"


def _words(region: Region, size: ImageSize) -> str:
    """Name the part of the image in which a region's middle lies."""
    area = (region.right - region.left) * (region.bottom - region.top)
    if area > WHOLE * size.width * size.height:
        return "nearly everywhere"
    line = ROWS[min(2, int(3 * (region.top + region.bottom) / 2 / size.height))]
    across = ACROSS[min(2, int(3 * (region.left + region.right) / 2 / size.width))]
    return f"{line} {across}" if line and across else f"{line or across} middle" if line or across else "centre"


def _mean(values: np.ndarray, region: Region, image: ImageSpec) -> str:
    """Return the mean grey or colour of a region; NaN if all its pixels are missing."""
    box = values.reshape(image.shape)[:, region.top : region.bottom, region.left : region.right]
    there = ~np.isnan(box)
    means = [float(part[some].mean()) if some.any() else float("nan") for part, some in zip(box, there, strict=True)]
    return f"{'grey' if image.mode == 'grey' else 'rgb'} {' '.join(f'{mean:.3g}' for mean in means)}"
