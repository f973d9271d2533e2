"""`residuum picture`: plot rows in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, MODEL
from residuum.optional_dependencies import require_plotting

if TYPE_CHECKING:
    import numpy as np

    from detector.images import ImageSpec
    from detector.scorer import Scorer
    from residuum.latent_plot import LatentRows


def picture(
    model: MODEL,
    files: FILES,
    *,
    to: Annotated[str, typer.Option(help="The image to write, a .png.", show_default=False)],
    label: Annotated[str | None, typer.Option(help="A column whose values colour the points.", show_default=False)] = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Plot rows in the latent space, anomalies ringed; more than two latents are projected on two principal components.

    Isolated rows are named, and explained in the summary.
    """
    require_plotting()
    from detector.errors import SettingError
    from detector.scorer import Scorer
    from residuum import describe
    from residuum.cli import output, placeholders
    from residuum.cli.score import find_inputs
    from residuum.latent_plot import PlotLabels, draw, isolated_rows, project
    from serving.files import output as output_files

    to = placeholders.fill(to)
    if not to.lower().endswith(".png"):
        raise SettingError(f"{to}: the picture must be a .png file")
    scorer = Scorer.open(model, device).only_rows("picture")
    paths = find_inputs(scorer.manifest, files)
    output_files.check(to, paths, force=force)
    image = scorer.manifest.image
    if image and image.files:
        embedded = _embed_images(scorer, image, paths, label)
    else:
        embedded = _embed_tables(scorer, paths, label, decimal_comma=decimal_comma, encoding=encoding)
    rows, score = embedded.rows, scorer.manifest.score
    texts = PlotLabels(_title(scorer), f"{score.name} ({score.unit})", label)
    projection = project(rows, texts.score)
    names = {row: embedded.names[row] for row in isolated_rows(projection.points)}
    output_files.write(to, draw(rows, texts, projection, names), force=force)
    anomalies = int(rows.is_anomaly.sum())
    isolated = [f"{name}: {text}" for name, text in zip(names.values(), _explain(scorer, embedded, [*names]), strict=True)]
    output.print_facts(
        [
            ("rows", f"{len(rows.scores):,} drawn, {describe.plural(anomalies, 'anomaly', 'anomalies')}"),
            ("rejected", describe.count(embedded.rejected, "row") if embedded.rejected else "none"),
            ("shown", f"{describe.percentage(projection.share)} of the variance of the codes"),
            ("warning", projection.warning),
            *(("" if at else "isolated", text) for at, text in enumerate(isolated)),
            ("written", to),
        ]
    )


class Embedded(NamedTuple):
    """Rows in the latent space, with what names and explains them."""

    rows: LatentRows
    names: list[str]  # where each row stands
    matrix: np.ndarray  # float64[rows, columns]; none of images
    rejected: int


def _title(scorer: Scorer) -> str:
    manifest = scorer.manifest
    return f"Latent space of {manifest.name}, version {manifest.version} ({manifest.variant})"


def _explain(scorer: Scorer, embedded: Embedded, rows: list[int]) -> list[str]:
    """Return the score of each of some rows, whether it is flagged, and of a row of a table the first reason."""
    import numpy as np

    from detector.batch import TableBatch
    from detector.columns import as_frame

    scores, is_anomaly = embedded.rows.scores, embedded.rows.is_anomaly
    texts = [f"score {scores[row]:.4g}, {'flagged' if is_anomaly[row] else 'not flagged'}" for row in rows]
    if not rows or not len(embedded.matrix):
        return texts
    frame = as_frame(embedded.matrix[rows], scorer.columns)
    reasons = scorer.session().score(TableBatch(frame, np.arange(len(rows)), []), explain="all", top=1).reasons.by_row()
    for at, (reason, *_) in reasons.items():
        quoted = "" if reason.found is None else f" = {reason.found}, expected {reason.expected}"
        texts[at] += f"; {reason.column}{quoted}"
    return texts


def _embed_tables(scorer: Scorer, paths: tuple[str, ...], label: str | None, *, decimal_comma: bool, encoding: str) -> Embedded:
    """Return the rows of tables with codes, verdicts and labels."""
    import numpy as np

    from detector import cells
    from detector.columns import encode
    from detector.files import ReadOptions
    from residuum.cli.score import reading_progress
    from residuum.latent_plot import LatentRows
    from serving.files.reading import read

    keep = (label,) if label else ()
    missing = scorer.manifest.missing
    codes, scores, matrices, rejected = [], [], [], 0
    labels: list[str | None] = []
    names: list[str] = []
    with reading_progress(paths, "drawing") as progress:
        for batch in read(paths, scorer.columns, ReadOptions(missing, decimal_comma, encoding), keep, progress):
            encoded = encode(batch.frame, scorer.columns, batch.rows, file=batch.file, missing=missing)
            codes.append(scorer.graph.latent(encoded.matrix))
            scores.append(scorer.graph.scores(encoded.matrix))
            matrices.append(encoded.matrix)
            file = f"{batch.file} " if len(paths) > 1 else ""
            names += [f"{file}row {row}" for row in batch.rows[encoded.accepted].tolist()]
            labels += cells.texts(batch.frame[label]).to_numpy()[encoded.accepted].tolist() if label else []
            rejected += len(batch.rejects) + len(encoded.rejects)
    all_scores = np.concatenate(scores)
    is_anomaly = scorer.manifest.decision.is_anomaly(all_scores)
    rows = LatentRows(np.concatenate(codes), all_scores, is_anomaly, np.asarray(labels, dtype=np.object_) if label else None)
    return Embedded(rows, names, np.concatenate(matrices), rejected)


def _embed_images(scorer: Scorer, image: ImageSpec, paths: tuple[str, ...], label: str | None) -> Embedded:
    """Return images with codes, verdicts and their folders as labels."""
    import numpy as np

    from detector.errors import SettingError
    from residuum.cli.labelled import folder_of
    from residuum.cli.score import reading_progress
    from residuum.latent_plot import LatentRows
    from serving.files.images import read_images

    if label:
        raise SettingError("--label names a column, and images have none: leave it out to colour them by folder")
    codes, scores, rejected = [], [], 0
    labels: list[str] = []
    names: list[str] = []
    with reading_progress(paths, "drawing", "image") as progress:
        for batch in read_images(paths, image, progress):
            codes.append(scorer.graph.latent(batch.matrix))
            scores.append(scorer.graph.scores(batch.matrix))
            names += batch.frame["file"].to_list()
            labels += [folder_of(file) for file in batch.frame["file"]]
            rejected += len(batch.rejects)
    all_scores = np.concatenate(scores)
    is_anomaly = scorer.manifest.decision.is_anomaly(all_scores)
    rows = LatentRows(np.concatenate(codes), all_scores, is_anomaly, np.asarray(labels, dtype=np.object_))
    return Embedded(rows, names, np.empty((0, 0)), rejected)
