"""A plot of the latent space: one point per row, coloured by label, anomalies ringed.

Two latents are drawn as they are, more by their two principal components, one against the score. `residuum picture` draws
it; needs matplotlib and scikit-learn (the extra `picture`).
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

MIN_ROWS = 3  # two points always lie on a line
MAX_LABELS = 9  # with a colour of their own
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#f0e442", "#5b4ba0", "#a0a0a0")  # colour-blind safe
OTHER_LABELS, NO_LABEL = "#b8b8b8", "#d9d9d9"
RING = "#c1121f"
INK = "#333333"
REACH = 3.0  # a point farther out than this many times the central 96 % is drawn at the edge


class LatentRows(NamedTuple):
    """Rows in the latent space; all arrays have one item per row."""

    codes: np.ndarray  # float[rows, k]
    scores: np.ndarray  # float64[rows]
    is_anomaly: np.ndarray  # bool[rows]
    labels: np.ndarray | None  # str or None [rows]


class PlotLabels(msgspec.Struct, frozen=True):
    """The texts around the points."""

    title: str
    score: str  # name and unit
    label: str | None = None  # the column that colours the points


class Projection(NamedTuple):
    """The position of each row in the plane, and the names of the axes."""

    points: np.ndarray  # float64[rows, 2]
    axes: tuple[str, str]


def draw(rows: LatentRows, texts: PlotLabels) -> bytes:
    """Return the plot as a PNG file.

    Raises:
        TableError: there are fewer than three rows, or all have the same code.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(rows.codes) < MIN_ROWS:
        raise TableError(f"a picture needs at least {MIN_ROWS} rows; {len(rows.codes)} can be drawn")
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    projection = project(rows, texts.score)
    outside = _draw_points(axes, projection, rows, texts)
    axes.set_title(_escape(texts.title), loc="left", color=INK, fontsize=12, pad=12)
    axes.set_xlabel(projection.axes[0], color=INK)
    axes.set_ylabel(projection.axes[1], color=INK)
    if outside:
        note = f"{outside:,} farther out, drawn at the edge"
        axes.annotate(note, (0.99, 0.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=9, color="#666666")
    _style(axes)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a script without an installed font becomes boxes
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def project(rows: LatentRows, score: str) -> Projection:
    """Project codes to the plane; the axes' names state the share of the variance that they show.

    Raises:
        TableError: all rows have the same code.
    """
    codes = rows.codes.astype(np.float64)
    if codes.shape[1] == 1:
        return Projection(np.column_stack([codes[:, 0], rows.scores]), ("latent 1", score))
    if codes.shape[1] == 2:  # noqa: PLR2004 - a plane
        shares = 100 * codes.var(axis=0) / max(codes.var(axis=0).sum(), np.finfo(float).tiny)
        return Projection(codes, (f"latent 1 ({shares[0]:.0f} % of the variance)", f"latent 2 ({shares[1]:.0f} %)"))
    if not codes.var(axis=0).any():
        raise TableError("all rows have the same code, so there is nothing to draw: give rows that differ")
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(codes)
    shares = 100 * pca.explained_variance_ratio_
    names = (
        f"principal component 1 of {codes.shape[1]} latents ({shares[0]:.0f} % of the variance)",
        f"principal component 2 ({shares[1]:.0f} %)",
    )
    return Projection(pca.transform(codes), names)


def _draw_points(axes: Axes, projection: Projection, rows: LatentRows, texts: PlotLabels) -> int:
    """Draw every row; return the number of rows so far out that they are drawn at the edge."""
    points, is_outside = _pull_in(projection.points)
    size = float(np.clip(6000 / len(points), 3, 26))
    for name, colour, selected in _groups(rows):
        axes.scatter(points[selected, 0], points[selected, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=name)
    anomalies = rows.is_anomaly
    if anomalies.any():
        axes.scatter(
            points[anomalies, 0],
            points[anomalies, 1],
            s=2.6 * size,
            facecolors="none",
            edgecolors=RING,
            linewidths=0.9,
            label=f"anomaly ({anomalies.sum():,})",
        )
    if texts.label is not None or anomalies.any():
        title = _escape(texts.label or "")
        legend = axes.legend(title=title, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, alignment="left")
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[36], alpha=1)
    return int(is_outside.sum())


def _groups(rows: LatentRows) -> list[tuple[str, str, np.ndarray]]:
    """Return the name, the colour and the rows (bool[rows]) of each group, the most frequent label first."""
    if rows.labels is None:
        normal = ~rows.is_anomaly
        return [(f"normal ({normal.sum():,})", COLOURS[0], np.ones(len(rows.codes), dtype=bool))]
    unlabelled = np.array([label is None for label in rows.labels])
    names, counts = np.unique(rows.labels[~unlabelled].astype(str), return_counts=True)
    by_count = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    coloured = MAX_LABELS if len(by_count) <= MAX_LABELS else MAX_LABELS - 1
    groups = [(name, colour, rows.labels == name) for name, colour in zip(by_count[:coloured], COLOURS, strict=False)]
    others = ~unlabelled & ~np.isin(rows.labels.astype(str), by_count[:coloured])
    groups += [(f"{len(by_count) - coloured:,} other labels", OTHER_LABELS, others), ("no label", NO_LABEL, unlabelled)]
    return [(_escape(f"{name} ({selected.sum():,})"), colour, selected) for name, colour, selected in groups if selected.any()]


def _pull_in(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move far outliers to the edge, so that the other points stay visible; return the points and which were moved."""
    low, middle, high = np.quantile(points, [0.02, 0.5, 0.98], axis=0)
    reach = REACH * np.maximum(np.maximum(high - middle, middle - low), np.finfo(float).tiny)
    inside = np.clip(points, middle - reach, middle + reach)
    return inside, (inside != points).any(axis=1)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors="#666666", labelsize=9)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)


def _escape(text: str) -> str:
    """Escape what matplotlib interprets: $ starts mathematics, a leading _ hides a legend entry."""
    return ("\u2009" if text.startswith("_") else "") + text.replace("$", r"\$")
