"""A picture of the latent space: a point for each row, its label as its colour, anomalies ringed.

Codes of two latents are drawn as they are, of more by their two principal components; of one, against the score. What
`residuum picture` shows; needs matplotlib and scikit-learn (the extra `picture`).
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from detector.errors import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 3  # rows: through two there is always a line
MOST_LABELS = 9  # that get a colour of their own
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#f0e442", "#5b4ba0", "#a0a0a0")  # told apart by all
OTHERS, UNLABELLED = "#b8b8b8", "#d9d9d9"
RING = "#c1121f"
FAR = 3.0  # a point so many times as far out as most is drawn at the edge
INK = "#333333"


class Embedded(NamedTuple):
    """Rows in the latent space; all arrays speak of the same rows."""

    codes: np.ndarray  # float[rows, k]
    scores: np.ndarray  # float64[rows]
    is_anomaly: np.ndarray  # bool[rows]
    labels: np.ndarray | None  # str or None [rows]


class Caption(msgspec.Struct, frozen=True):
    """What is written around the points."""

    title: str
    score: str  # the score's name and unit
    label: str | None = None  # the column that colours


class Plane(NamedTuple):
    """Where each row is drawn, and what the axes are."""

    points: np.ndarray  # float64[rows, 2]
    axes: tuple[str, str]


def draw(embedded: Embedded, caption: Caption) -> bytes:
    """Draw rows as a PNG.

    Raises:
        TableError: there are fewer than three, or all have the same code.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(embedded.codes) < LEAST:
        raise TableError(f"a picture needs at least {LEAST} rows; {len(embedded.codes)} can be drawn")
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    plane = plane_of(embedded, caption.score)
    outside = _draw_points(axes, plane, embedded, caption)
    axes.set_title(_plain(caption.title), loc="left", color=INK, fontsize=12, pad=12)
    axes.set_xlabel(plane.axes[0], color=INK)
    axes.set_ylabel(plane.axes[1], color=INK)
    if outside:
        note = f"{outside:,} farther out, drawn at the edge"
        axes.annotate(note, (0.99, 0.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=9, color="#666666")
    _quieten(axes)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a script that no font here has: boxes in its place
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def plane_of(embedded: Embedded, score: str) -> Plane:
    """Lay codes out in a plane; principal components say what share of the variance they show."""
    codes = embedded.codes.astype(np.float64)
    if codes.shape[1] == 1:
        return Plane(np.column_stack([codes[:, 0], embedded.scores]), ("latent 1", score))
    if codes.shape[1] == 2:  # noqa: PLR2004 - a plane
        shares = 100 * codes.var(axis=0) / max(codes.var(axis=0).sum(), np.finfo(float).tiny)
        return Plane(codes, (f"latent 1 ({shares[0]:.0f} % of the variance)", f"latent 2 ({shares[1]:.0f} %)"))
    if not codes.var(axis=0).any():
        raise TableError("all rows have the same code, so there is nothing to see: give rows that differ")
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(codes)
    shares = 100 * pca.explained_variance_ratio_
    names = (
        f"principal component 1 of {codes.shape[1]} latents ({shares[0]:.0f} % of the variance)",
        f"principal component 2 ({shares[1]:.0f} %)",
    )
    return Plane(pca.transform(codes), names)


def _draw_points(axes: Axes, plane: Plane, embedded: Embedded, caption: Caption) -> int:
    """Draw every row; gives how many lie so far out that they are drawn at the edge."""
    points, outside = _within_sight(plane.points)
    size = float(np.clip(6000 / len(points), 3, 26))
    for name, colour, chosen in _groups(embedded):
        axes.scatter(points[chosen, 0], points[chosen, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=name)
    odd = embedded.is_anomaly
    if odd.any():
        axes.scatter(
            points[odd, 0],
            points[odd, 1],
            s=2.6 * size,
            facecolors="none",
            edgecolors=RING,
            linewidths=0.9,
            label=f"anomaly ({odd.sum():,})",
        )
    if caption.label is not None or odd.any():
        legend = axes.legend(
            title=_plain(caption.label or ""), loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, alignment="left"
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[36], alpha=1)
    return int(outside.sum())


def _groups(embedded: Embedded) -> list[tuple[str, str, np.ndarray]]:
    """Give what has a colour of its own: its name, the colour and its rows, the most frequent label first."""
    everything = np.ones(len(embedded.codes), dtype=bool)
    if embedded.labels is None:
        normal = everything & ~embedded.is_anomaly
        return [(f"passed ({normal.sum():,})", COLOURS[0], everything)]
    absent = np.array([label is None for label in embedded.labels])
    names, counts = np.unique(embedded.labels[~absent].astype(str), return_counts=True)
    order = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    most = MOST_LABELS if len(order) <= MOST_LABELS else MOST_LABELS - 1
    chosen = [(name, colour, embedded.labels == name) for name, colour in zip(order[:most], COLOURS, strict=False)]
    rest = everything & ~absent & ~np.isin(embedded.labels.astype(str), order[:most])
    groups = [*chosen, (f"{len(order) - most:,} other labels", OTHERS, rest), ("no label", UNLABELLED, absent)]
    return [(_plain(f"{name} ({rows.sum():,})"), colour, rows) for name, colour, rows in groups if rows.any()]


def _within_sight(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pull in what lies so far out that all else would shrink to a dot; tells which rows were."""
    low, middle, high = np.quantile(points, [0.02, 0.5, 0.98], axis=0)
    reach = FAR * np.maximum(np.maximum(high - middle, middle - low), np.finfo(float).tiny)
    pulled = np.clip(points, middle - reach, middle + reach)
    return pulled, (pulled != points).any(axis=1)


def _quieten(axes: Axes) -> None:
    """Leave out what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors="#666666", labelsize=9)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Keep a user's text from being read as mathematics ($) or as a legend entry to be hidden (_)."""
    return ("\u2009" if text.startswith("_") else "") + text.replace("$", r"\$")
