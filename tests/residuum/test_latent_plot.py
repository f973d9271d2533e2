"""What a picture of the latent space shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detector.errors import TableError
from residuum.latent_plot import RING, LatentRows, PlotLabels, draw, isolated_rows, project


def embedded(codes: np.ndarray, labels: np.ndarray | None = None) -> LatentRows:
    return LatentRows(codes, np.arange(len(codes), dtype=float), np.arange(len(codes)) > 7, labels)


def test_more_latents_are_shown_by_principal_components() -> None:
    random = np.random.default_rng(0)
    wide = random.normal(size=(50, 2)) * [3, 1] @ np.linalg.qr(random.normal(size=(5, 5)))[0][:2]
    plane = project(embedded(wide), "score")
    apart = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    assert np.allclose(np.linalg.norm(plane.points[:, None] - plane.points[None], axis=2), apart)
    first, second = (np.var(plane.points, axis=0) / np.var(wide, axis=0).sum() * 100).round()
    assert plane.axes == (
        f"principal component 1 of 5 latents ({first:.0f} % of the variance)",
        f"principal component 2 ({second:.0f} %)",
    )


def test_two_latents_are_shown_as_they_are_and_one_against_the_score() -> None:
    two = np.random.default_rng(0).normal(size=(9, 2))
    assert np.array_equal(project(embedded(two), "score").points, two)
    one = project(embedded(two[:, :1]), "score (nats)")
    assert one.axes == ("latent 1", "score (nats)")
    assert np.array_equal(one.points, np.column_stack([two[:, 0], np.arange(9)]))


@pytest.mark.parametrize(("latents", "enough"), [(1, True), (2, True), (3, True), (12, False)])
def test_a_picture_of_too_little_variance_says_so(latents: int, enough: bool) -> None:  # noqa: FBT001 - a parameter
    rows = embedded(np.random.default_rng(0).normal(size=(500, latents)))
    plane = project(rows, "score")
    assert (plane.share >= 0.5) == enough
    assert (plane.warning == "") == enough
    if not enough:
        assert f"only {100 * plane.share:.0f} % of the variance: too little to look at" in plane.warning
        assert draw(rows, PlotLabels("t", "s"), plane) != draw(rows, PlotLabels("t", "s"), plane._replace(share=1.0))


def test_isolated_rows_are_found_and_named() -> None:
    codes = np.random.default_rng(0).normal(size=(300, 2))
    codes[[7, 40]] = [[30, 0], [0, -40]]
    rows = embedded(codes)
    assert isolated_rows(project(rows, "s").points)[:2] == [40, 7]
    assert isolated_rows(np.random.default_rng(0).uniform(size=(300, 2))) == []
    assert isolated_rows(np.zeros((3, 2))) == []
    texts = PlotLabels("t", "s")
    assert draw(rows, texts, names={7: "row 9", 40: "row 42"}) != draw(rows, texts)


def test_rings_are_seen_among_many_rows() -> None:
    codes = np.random.default_rng(0).normal(size=(20_000, 2))
    flagged = np.arange(20_000) < 20
    pixels = np.asarray(Image.open(io.BytesIO(draw(LatentRows(codes, codes[:, 0], flagged, None), PlotLabels("t", "s"))))).astype(
        int
    )
    red = np.abs(pixels[..., :3] - [int(RING[at : at + 2], 16) for at in (1, 3, 5)]).max(axis=2) < 40
    assert red[:, :900].sum() > 20 * 40  # pixels of the rings, without the legend


@pytest.mark.parametrize("latents", [1, 2, 3])
def test_what_lies_far_out_can_be_drawn_under_any_label(latents: int) -> None:
    codes = np.zeros((9, latents))
    codes[0] = 1e9
    assert draw(embedded(codes), PlotLabels("t", "s")).startswith(b"\x89PNG")
    labels = np.array(["a", None, r"$\nonsense$", "_c", "$", "猫", "f", "a", "a"], dtype=object)
    assert draw(embedded(codes, labels), PlotLabels("t", "s", "_kind$")) != draw(embedded(codes), PlotLabels("t", "s"))


def test_rows_that_are_all_alike_cannot_be_drawn() -> None:
    with pytest.raises(TableError, match="all rows have the same code"):
        draw(embedded(np.zeros((9, 3))), PlotLabels("t", "s"))


def test_two_rows_are_too_few() -> None:
    with pytest.raises(TableError, match="at least 3 rows; 2 can be drawn"):
        draw(embedded(np.zeros((2, 2))), PlotLabels("t", "s"))
