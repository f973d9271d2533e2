"""A plot of the latent space: one point per row, coloured by label, anomalies ringed, isolated rows named.

Two latents are drawn as they are, more by their two principal components, one against the score; the picture says when these
hold too little of the variance. `residuum picture` draws it; needs matplotlib and scikit-learn (the extra `picture`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from types import MappingProxyType
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
RING = "#d00000"
INK, SOFT, WARNING = "#333333", "#666666", "#a64b00"
MIN_RING = 30.0  # points²
ENOUGH = 0.5  # of the variance; a picture that shows less says so
NEIGHBOURS = 3
ISOLATED = 4.0  # times as far from its neighbours as nine rows in ten
MAX_ISOLATED = 5
EDGE = 0.15  # of the width: names of rows in there do not reach beyond it
EXPLANATION = (
    "Rings mark high scores. The place is the code: an anomaly may lie among normal rows, and an isolated row may be normal."
)
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
    """The position of each row in the plane, the names of the axes, and the share of the variance that they show."""

    points: np.ndarray  # float64[rows, 2]
    axes: tuple[str, str]
    share: float

    @property
    def warning(self) -> str:
        """What to know of a picture that shows little of the variance; empty for others."""
        if self.share >= ENOUGH:
            return ""
        return f"Two dimensions hold only {100 * self.share:.0f} % of the variance: too little to look at; distances mislead."


def draw(
    rows: LatentRows, texts: PlotLabels, projection: Projection | None = None, names: Mapping[int, str] = MappingProxyType({})
) -> bytes:
    """Return the plot as a PNG file, with the names of some rows beside them.

    Raises:
        TableError: there are fewer than three rows, or all have the same code.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    projection = projection or project(rows, texts.score)
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    outside = _draw_points(axes, projection, rows, texts, names)
    axes.set_title(_escape(texts.title), loc="left", color=INK, fontsize=12, pad=24 if projection.warning else 12)
    if projection.warning:
        axes.text(0, 1.02, projection.warning, transform=axes.transAxes, color=WARNING, fontsize=9, fontweight="bold")
    figure.supxlabel(EXPLANATION, x=0.01, ha="left", fontsize=8, color=SOFT)
    axes.set_xlabel(projection.axes[0], color=INK)
    axes.set_ylabel(projection.axes[1], color=INK)
    if outside:
        note = f"{outside:,} farther out, drawn at the edge"
        axes.annotate(note, (0.99, 0.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=9, color=SOFT)
    _style(axes)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a script without an installed font becomes boxes
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def project(rows: LatentRows, score: str) -> Projection:
    """Project codes to the plane; the axes' names state the share of the variance that they show.

    Raises:
        TableError: there are fewer than three rows, or all have the same code.
    """
    if len(rows.codes) < MIN_ROWS:
        raise TableError(f"a picture needs at least {MIN_ROWS} rows; {len(rows.codes)} can be drawn")
    codes = rows.codes.astype(np.float64)
    if codes.shape[1] == 1:
        return Projection(np.column_stack([codes[:, 0], rows.scores]), ("latent 1", score), 1.0)
    if codes.shape[1] == 2:  # noqa: PLR2004 - a plane
        shares = 100 * codes.var(axis=0) / max(codes.var(axis=0).sum(), np.finfo(float).tiny)
        return Projection(codes, (f"latent 1 ({shares[0]:.0f} % of the variance)", f"latent 2 ({shares[1]:.0f} %)"), 1.0)
    if not codes.var(axis=0).any():
        raise TableError("all rows have the same code, so there is nothing to draw: give rows that differ")
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(codes)
    shares = 100 * pca.explained_variance_ratio_
    names = (
        f"principal component 1 of {codes.shape[1]} latents ({shares[0]:.0f} % of the variance)",
        f"principal component 2 ({shares[1]:.0f} %)",
    )
    return Projection(pca.transform(codes), names, float(pca.explained_variance_ratio_.sum()))


def isolated_rows(points: np.ndarray) -> list[int]:
    """Return the rows that are farthest from their neighbours, if that is much farther than usual; the farthest first."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(NEIGHBOURS, len(points) - 1)
    distances = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors()[0][:, -1]
    farthest = np.argsort(-distances, kind="stable")[:MAX_ISOLATED]
    usual = np.quantile(distances, 0.9)
    return [int(row) for row in farthest if distances[row] > ISOLATED * usual]


def _draw_points(axes: Axes, projection: Projection, rows: LatentRows, texts: PlotLabels, names: Mapping[int, str]) -> int:
    """Draw every row; return the number of rows so far out that they are drawn at the edge."""
    points, is_outside = _pull_in(projection.points)
    size = float(np.clip(6000 / len(points), 4, 26))
    for name, colour, selected in _groups(rows):
        axes.scatter(points[selected, 0], points[selected, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=name)
    anomalies = rows.is_anomaly
    if anomalies.any():
        # Above all other points, on a white rim, and never so small that a crowd hides them.
        for colour, width, label in (("white", 3.2, None), (RING, 1.6, f"anomaly ({anomalies.sum():,})")):
            axes.scatter(
                points[anomalies, 0],
                points[anomalies, 1],
                s=max(2.6 * size, MIN_RING),
                facecolors="none",
                edgecolors=colour,
                linewidths=width,
                label=label,
                zorder=3,
            )
    _name_points(axes, points, names)
    if texts.label is not None or anomalies.any():
        title = _escape(texts.label or "")
        legend = axes.legend(title=title, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, alignment="left")
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[36], alpha=1)
    return int(is_outside.sum())


def _name_points(axes: Axes, points: np.ndarray, names: Mapping[int, str]) -> None:
    """Write names above or below points, where there is room."""
    low, high = points.min(axis=0), points.max(axis=0)
    for row, name in names.items():
        across, up = (points[row] - low) / np.maximum(high - low, np.finfo(float).tiny)
        is_high = up > 0.5  # noqa: PLR2004 - the middle
        axes.annotate(
            _escape(name),
            points[row],
            xytext=(0, -8 if is_high else 8),
            textcoords="offset points",
            ha="left" if across < EDGE else "right" if across > 1 - EDGE else "center",
            va="top" if is_high else "bottom",
            fontsize=8,
            color=INK,
            fontweight="bold",
        )


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
