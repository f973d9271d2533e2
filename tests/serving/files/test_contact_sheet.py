"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from detector.errors import OutputError, SettingError
from serving.files.contact_sheet import MARGIN, MAX_IMAGES, MIN_SIDE, contact_sheet
from serving.files.sinks import committed, open_sink


def test_images_are_arranged_in_a_square() -> None:
    images = [np.full((100, 100), value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    page = contact_sheet(images)
    assert page.shape == (2 * (100 + MARGIN), 3 * (100 + MARGIN))
    side = 100 + MARGIN
    assert [page[0, 0], page[0, side], page[0, 2 * side], page[side, 0], page[side, side]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert page[side, 2 * side] == 1.0  # an empty place is white


def test_small_images_are_enlarged() -> None:
    assert contact_sheet([np.zeros((2, 3))]).shape == ((2 + MARGIN) * MIN_SIDE // 3, (3 + MARGIN) * MIN_SIDE // 3)


def test_other_ranges_are_rescaled() -> None:
    page = contact_sheet([np.full((100, 100), -1.0), np.full((100, 100), 3.0)])
    assert (page[0, 0], page[0, 100 + MARGIN]) == (0.0, 1.0)
    assert contact_sheet([]).shape == (1, 1)


def test_the_sink_draws_the_last_columns(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "sheet.png"), "2x1")
    with committed(sink):
        sink.add(pl.DataFrame({"row": [1], "left": [0.0], "right": [1.0]}))
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (pixels[0, 0], pixels[0, MIN_SIDE // 2]) == (0, 255)


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "sheet.png")
    sink = open_sink(path, "2x2")
    with pytest.raises(OutputError, match="an image of 2x2 takes 4 columns of numbers; these rows have 3"):
        sink.add(pl.DataFrame({"a": [0.0], "b": [0.0], "c": [0.0]}))
    with pytest.raises(OutputError, match="columns of numbers"):
        sink.add(pl.DataFrame({"a": [0.0], "b": [0.0], "c": [0.0], "d": ["x"]}))
    with pytest.raises(OutputError, match="at most 4,096 images"):
        sink.add(pl.DataFrame(np.zeros((MAX_IMAGES + 1, 4))))
    with pytest.raises(SettingError, match=r"images are written as \.png"):
        open_sink(str(tmp_path / "sheet.csv"), "2x2")
    assert not list(tmp_path.iterdir())
