"""Heat maps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detector.images import DecodedImage, ImageSize
from serving.heatmap import BAR_WIDTH, FOOTER, GAP, MAX_SIDE, MIN_SIDE, ReadImage, draw_heatmap, heat

THRESHOLD = 2.0


def spot(contribution: float, side: int = 48) -> np.ndarray:
    """Return a map whose contribution is at one place."""
    values = np.zeros((side, side))
    values[side // 2, side // 3] = contribution
    return values


@pytest.mark.parametrize(("multiple", "place"), [(0.05, 0), (0.1, 0), (1, 0.5), (10, 1), (1000, 1)])
@pytest.mark.parametrize("side", [4, 48, 256])
def test_the_scale_is_that_of_the_threshold(multiple: float, place: float, side: int) -> None:
    assert heat(spot(multiple * THRESHOLD, side), THRESHOLD).max() == pytest.approx(place, abs=1e-9)


def test_no_pixel_of_a_normal_image_reaches_the_threshold() -> None:
    random = np.random.default_rng(0)
    for sparse in (1, 8, 64):
        contribution = random.gamma(1 / sparse, size=(48, 64))
        contribution *= 0.99 * THRESHOLD / contribution.sum()
        assert heat(contribution, THRESHOLD).max() < 0.5


def test_heat_is_where_the_contribution_is() -> None:
    found = heat(spot(100.0), THRESHOLD)
    assert found[24, 16] == 1
    assert (found > 0).mean() < 0.02
    assert not heat(-spot(100.0), THRESHOLD).any()


def filled(grey: int, width: int, height: int) -> ReadImage:
    """Return what reads an image of one grey."""
    return lambda spec: DecodedImage(np.full(3 * spec.width * spec.height, grey, np.uint8), ImageSize(width, height))


def drawn(read_image: ReadImage, places: np.ndarray) -> Image.Image:
    return Image.open(io.BytesIO(draw_heatmap(read_image, places, score=3.0, threshold=THRESHOLD)))


@pytest.mark.parametrize(
    ("original", "shown"),
    [
        ((10, 5), (MIN_SIDE, MIN_SIDE // 2)),
        ((4000, 2000), (MAX_SIDE, MAX_SIDE // 2)),
        ((300, 200), (300, 200)),
        ((9000, 1), (MAX_SIDE, 4)),
        ((1, 9000), (4, MAX_SIDE)),
    ],
)
def test_an_image_stands_beside_its_heat_map_and_above_a_colour_bar(original: tuple[int, int], shown: tuple[int, int]) -> None:
    page = drawn(filled(100, *original), np.array([[0.0, 0.0], [0.0, 1.0]]))
    width, height = shown
    assert page.size == (max(2 * width + GAP, 2 * BAR_WIDTH), height + FOOTER)
    pixels = np.asarray(page)
    assert (pixels[:height, :width] == 100).all()
    assert (pixels[:height, width : width + GAP] == 255).all()
    red, green, blue = pixels[0, width + GAP].tolist()
    assert red == green == blue  # no heat
    red, _, blue = pixels[height - 1, 2 * width + GAP - 1].tolist()
    assert red > blue + 100
    bar = pixels[height + GAP + 1, -BAR_WIDTH:].astype(int)
    warmth = bar[:, 0] - bar[:, 2]
    assert warmth.max() > 150
    assert (np.diff(warmth[2 * GAP : -2 * GAP]) >= -1).mean() > 0.95


@pytest.mark.parametrize("grey", [0, 30, 128, 255])
def test_heat_is_visible_on_dark_and_bright_pixels(grey: int) -> None:
    places = np.zeros((48, 48))
    places[:, :24] = 0.5
    pixels = np.asarray(drawn(filled(grey, 200, 200), places)).astype(int)
    hot, cold = pixels[100, 200 + GAP + 20], pixels[100, 200 + GAP + 180]
    assert np.abs(hot - cold).max() > 60
