"""What a picture of the latent space shows."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import TableError
from residuum.latent_plot import LatentRows, PlotLabels, draw, project


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
