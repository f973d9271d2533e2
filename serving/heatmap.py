"""Heat maps: an image beside itself, coloured where its score comes from, with a colour bar. Needs Pillow.

All images of a model have one scale: the heat of a pixel is what its neighbourhood, about 1 % of the image, contributes to the
score, as a multiple of the threshold. So no pixel of a normal image reaches 1; one of a small defect that raises the alarm does.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from detector.images import DecodedImage, ImageSize, ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image

ReadImage = Callable[[ImageSpec], DecodedImage]

MAX_SIDE, MIN_SIDE = 512, 192  # pixels of the longer side
GAP = 8  # pixels between the two images, and around the colour bar
NEIGHBOURHOOD = 0.06  # of a side of the image
LOWEST, HIGHEST = 0.1, 10.0  # multiples of the threshold at the ends of the scale, which is logarithmic
TICKS = (0.1, 0.3, 1.0, 3.0, 10.0)
COLOURS = np.array([[255, 237, 140], [253, 141, 40], [220, 10, 30]], dtype=np.float64)  # at 0, 1/2 and 1 of the scale
WEIGHTS = (0.0, 0.65, 0.95)  # of these colours above the grey image
DARKEST, BRIGHTEST = 70.0, 215.0  # of the grey image, so that colours stand out against dark pixels too
BAR_WIDTH, BAR_HEIGHT, FOOTER = 176, 10, 48  # pixels
FONT_SIZE = 11
INK = (40, 40, 40)


def heat(contribution: np.ndarray, threshold: float) -> np.ndarray:
    """Return the place of each pixel on the scale, in [0, 1], from its contribution to the score, `float[height, width]`."""
    near = np.maximum(contribution, 0.0)
    for axis in (0, 1):
        near = _sum_near(near, axis)
    return _place(near / threshold if threshold > 0 else near)


def draw_heatmap(read_image: ReadImage, pixels: np.ndarray, score: float, threshold: float) -> bytes:
    """Return a PNG of an image beside its heat map, above its score and a colour bar.

    `read_image` decodes the image at a given size.
    """
    from PIL import Image as pillow  # noqa: N813 - a module

    height, width = pixels.shape
    spec = _display_spec(read_image(ImageSpec(width=width, height=height, mode="rgb")).original)
    size = spec.size
    image = read_image(spec).values.reshape(3, size.height, size.width).transpose(1, 2, 0).astype(np.float64)
    resized = np.asarray(pillow.fromarray(pixels.astype(np.float32)).resize(size, pillow.Resampling.BILINEAR))
    grey = DARKEST + (BRIGHTEST - DARKEST) / 255 * image.mean(axis=2, keepdims=True)
    page = pillow.new("RGB", (max(2 * size.width + GAP, 2 * BAR_WIDTH), size.height + FOOTER), "white")
    page.paste(_picture(image), (0, 0))
    page.paste(_picture(_coloured(grey, resized)), (size.width + GAP, 0))
    _draw_footer(page, size.height, f"score {score:.4g}\nthreshold {threshold:.4g}")
    file = io.BytesIO()
    page.save(file, format="png")
    return file.getvalue()


def _sum_near(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the sum of the values around each place along an axis; the weight falls to 0 at the edge of the neighbourhood."""
    reach = max(1, round(NEIGHBOURHOOD * values.shape[axis]))
    weights = 1 - np.abs(np.arange(-reach + 1, reach)) / reach
    padding = [(reach - 1, reach - 1) if each == axis else (0, 0) for each in range(values.ndim)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding), len(weights), axis=axis)
    sums: np.ndarray = windows @ weights
    return sums


def _place(multiples: np.ndarray) -> np.ndarray:
    """Return the place of multiples of the threshold on the scale."""
    places: np.ndarray = np.log(np.clip(multiples, LOWEST, HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return places


def _coloured(grey: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return a grey image, `float[height, width, 1]`, with the colours of the scale above it."""
    stops = np.linspace(0, 1, len(COLOURS))
    colour = np.stack([np.interp(places, stops, COLOURS[:, channel]) for channel in range(3)], axis=2)
    weight = np.interp(places, stops, WEIGHTS)[..., None]
    coloured: np.ndarray = (1 - weight) * grey + weight * colour
    return coloured


def _draw_footer(page: Image, top: int, text: str) -> None:
    """Draw the score on the left, and on the right the colour bar, its ticks in multiples of the threshold."""
    from PIL import ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    draw.multiline_text((2, top + GAP), text, fill=INK, font=font)
    left = page.width - BAR_WIDTH + 2 * GAP
    length = BAR_WIDTH - 4 * GAP
    middle_grey = np.full((BAR_HEIGHT, length, 1), (DARKEST + BRIGHTEST) / 2)
    bar = _coloured(middle_grey, np.broadcast_to(np.linspace(0, 1, length), (BAR_HEIGHT, length)))
    page.paste(_picture(bar), (left, top + GAP))
    for tick in TICKS:
        x = left + float(_place(np.array(tick))) * (length - 1)
        bottom = top + GAP + BAR_HEIGHT
        draw.line([(x, bottom), (x, bottom + 2)], fill=INK)
        draw.text((x, bottom + 3), f"{tick:g}", fill=INK, font=font, anchor="mt")
    draw.text((left + length / 2, top + FOOTER - 2), "times the threshold", fill=INK, font=font, anchor="mb")


def _picture(values: np.ndarray) -> Image:
    from PIL import Image as pillow  # noqa: N813 - a module

    return pillow.fromarray(np.round(values).astype(np.uint8))


def _display_spec(original: ImageSize) -> ImageSpec:
    """Return the size at which an image is shown."""
    longer = max(original)
    scale = min(MAX_SIDE, max(MIN_SIDE, longer)) / longer
    width, height = (max(4, round(side * scale)) for side in original)
    return ImageSpec(width=width, height=height, mode="rgb")
