"""Where in an image the error lies: boxes, in words."""

from __future__ import annotations

import numpy as np
import pytest

from detector.graph import Outputs
from detector.image_reasons import rank, regions
from detector.images import ImageSize, ImageSpec

IMAGE = ImageSpec(width=30, height=20)


def spots(*boxes: tuple[int, int, int, int], value: float = 1.0) -> np.ndarray:
    """Return a map with boxes (left, top, width, height) of contributions, each smaller than the one before."""
    found = np.full((20, 30), 1e-5)
    for place, (left, top, width, height) in enumerate(boxes):
        found[top : top + height, left : left + width] = value / 2**place
    return found


def test_a_box_holds_what_hangs_together() -> None:
    (region,) = regions(spots((4, 2, 5, 3)), 3)
    assert region[:4] == (4, 2, 9, 5)
    assert region.share == pytest.approx(1, abs=0.001)


def test_regions_come_by_their_shares_and_small_ones_are_left_out() -> None:
    found = regions(spots((0, 0, 2, 2), (20, 10, 6, 6), (10, 15, 1, 1)), 5)
    assert [region[:4] for region in found] == [(20, 10, 26, 16), (0, 0, 2, 2)]
    assert sum(region.share for region in found) == pytest.approx(0.988, abs=0.01)
    assert len(regions(spots((0, 0, 2, 2), (20, 10, 6, 6)), 1)) == 1


def test_the_hottest_spot_is_left_out_where_it_is_small() -> None:
    found = np.full((20, 30), 1e-5)
    found[1, 1], found[8:18, 10:28] = 2.0, 1.0
    assert [region[:4] for region in regions(found, 3)] == [(10, 8, 28, 18)]


def test_nothing_negative_belongs_to_a_region() -> None:
    found = spots((4, 2, 5, 3))
    found[2:5, 6] = -9.0
    (one, *_) = regions(found, 3)
    assert one[:4] == (4, 2, 6, 5)
    assert one.share == pytest.approx(0.5, abs=0.001)


def test_a_map_of_nothing_has_one_place_at_most() -> None:
    assert len(regions(np.zeros((20, 30)), 3)) <= 1


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 3, 3), "upper left, 3x3 at 0,0"),
        ((14, 0, 3, 3), "upper middle, 3x3 at 14,0"),
        ((25, 9, 3, 3), "right middle, 3x3 at 25,9"),
        ((14, 9, 3, 3), "centre, 3x3 at 14,9"),
        ((25, 16, 5, 4), "lower right, 5x4 at 25,16"),
        ((1, 1, 28, 18), "nearly everywhere, 28x18 at 1,1"),
    ],
)
def test_places_have_words(box: tuple[int, int, int, int], words: str) -> None:
    outputs = Outputs(np.ones(1), spots(box).reshape(1, -1), np.full((1, 600), 20.0))
    reasons = rank(np.full((1, 600), 80.0), outputs, IMAGE, [IMAGE.size], 1)
    assert reasons.row(0)[:5] == (0, 1, words, "grey 80", "grey 20")


def test_boxes_are_in_pixels_of_the_original() -> None:
    outputs = Outputs(np.ones(1), spots((15, 5, 3, 2)).reshape(1, -1), np.zeros((1, 600)))
    reasons = rank(np.zeros((1, 600)), outputs, IMAGE, [ImageSize(300, 400)], 1)
    assert reasons["column"].item() == "upper middle, 30x40 at 150,100"


def test_colours_have_three_parts_and_holes_none() -> None:
    image = ImageSpec(width=30, height=20, mode="rgb")
    outputs = Outputs(np.ones(1), spots((15, 5, 3, 2)).reshape(1, -1), np.repeat([1.0, 2.0, 3.25], 600)[None])
    found = np.repeat([10.0, np.nan, 30.0], 600)[None]
    reasons = rank(found, outputs, image, [image.size], 1)
    assert reasons.row(0)[3:5] == ("rgb 10 nan 30", "rgb 1 2 3.25")
