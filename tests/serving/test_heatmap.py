"""Heat maps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detector.images import DecodedImage, ImageSize, ImageSpec
from serving.heatmap import GAP, MAX_SIDE, MIN_SIDE, draw_heatmap, heat


def test_heat_is_full_where_an_anomaly_contributes_most() -> None:
    contribution = np.array([[0.0, 1.0], [4.0, -2.0]])
    full = heat(contribution, score=3.0, threshold=2.0)
    assert full[1, 0] == 1
    assert full[0, 0] == full[1, 1] == 0
    assert 0 < full[0, 1] < 1


def test_a_normal_image_stays_pale() -> None:
    contribution = np.array([[0.0, 1.0]])
    assert heat(contribution, score=0.5, threshold=2.0).max() == pytest.approx(0.25)
    assert heat(contribution, score=-1.0, threshold=2.0).max() == 0
    assert heat(contribution, score=0.5, threshold=0.0).max() == 1
    assert heat(np.zeros((2, 2)), score=3.0, threshold=2.0).max() == 0


@pytest.mark.parametrize(
    ("original", "shown"),
    [
        ((10, 5), (MIN_SIDE, MIN_SIDE // 2)),
        ((4000, 2000), (MAX_SIDE, MAX_SIDE // 2)),
        ((300, 200), (300, 200)),
        ((9000, 1), (MAX_SIDE, 4)),
    ],
)
def test_an_image_stands_beside_its_heat_map(original: tuple[int, int], shown: tuple[int, int]) -> None:
    def read_image(spec: ImageSpec) -> DecodedImage:
        return DecodedImage(np.full(3 * spec.width * spec.height, 100, np.uint8), ImageSize(*original))

    png = Image.open(io.BytesIO(draw_heatmap(read_image, np.array([[0.0, 0.0], [0.0, 1.0]]))))
    width, height = shown
    assert png.size == (2 * width + GAP, height)
    pixels = np.asarray(png)
    assert (pixels[:, :width] == 100).all()
    assert (pixels[:, width : width + GAP] == 255).all()
    assert pixels[0, width + GAP].tolist() == [100, 100, 100]  # no heat
    red, _, blue = pixels[-1, -1].tolist()
    assert red > blue
