"""Images to train on: brushed plates under a lamp, and plates with a dark spot, the known anomalies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image as pillow  # noqa: N813 - it is a module

from detector.images import ImageSpec

SPOT = 5  # pixels


def plates(images: int, seed: int, image: ImageSpec) -> np.ndarray:
    """Return normal images, `uint8[images, values]`: light from one side, brushed stripes, some noise."""
    random = np.random.default_rng(seed)
    channels, height, width = image.shape
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = random.uniform(0, 2 * np.pi, (images, 1, 1, 1))
    light = 120 + 50 * (np.cos(angle) * (down - 0.5) + np.sin(angle) * (across - 0.5))
    stripes = 12 * np.sin(2 * np.pi * (4 * across + random.uniform(size=(images, 1, 1, 1))))
    tint = np.linspace(1.0, 0.7, channels)[None, :, None, None]
    noise = random.normal(scale=3, size=(images, channels, height, width))
    return np.clip(tint * (light + stripes) + noise, 0, 255).astype(np.uint8).reshape(images, -1)


def spotted(images: int, seed: int, image: ImageSpec) -> np.ndarray:
    """Return images with a dark spot somewhere, `uint8[images, values]`."""
    random = np.random.default_rng(seed)
    odd = plates(images, seed, image).reshape(-1, *image.shape)
    _, height, width = image.shape
    for plate in odd:
        top, left = random.integers(height - SPOT), random.integers(width - SPOT)
        plate[:, top : top + SPOT, left : left + SPOT] //= 3
    return odd.reshape(images, -1)


def as_table(matrix: np.ndarray, image: ImageSpec) -> pl.DataFrame:
    """Return images as rows of pixels."""
    return pl.DataFrame(matrix, schema=[column.name for column in image.columns()])


def write(matrix: np.ndarray, image: ImageSpec, folder: Path, *, scale: int = 1) -> None:
    """Write images as files, `000.png` and so on, each pixel as a square of `scale` pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, values in enumerate(matrix.reshape(-1, *image.shape)):
        page = values.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
        pillow.fromarray(page[..., 0] if image.mode == "grey" else page).save(folder / f"{number:03}.png")
