"""`residuum picture`: plot rows in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, MODEL
from residuum.optional_dependencies import require_plotting

if TYPE_CHECKING:
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
    """Plot rows in the latent space, anomalies ringed; more than two latents are projected on two principal components."""
    require_plotting()
    from detector.errors import SettingError
    from detector.scorer import Scorer
    from residuum import describe
    from residuum.cli import output, placeholders
    from residuum.cli.score import find_inputs
    from residuum.latent_plot import PlotLabels, draw
    from serving.files import output as output_files

    to = placeholders.fill(to)
    if not to.lower().endswith(".png"):
        raise SettingError(f"{to}: the picture must be a .png file")
    scorer = Scorer.open(model, device).only_rows("picture")
    paths = find_inputs(scorer.manifest, files)
    output_files.check(to, paths, force=force)
    image = scorer.manifest.image
    if image and image.files:
        rows, rejected = _embed_images(scorer, image, paths, label)
    else:
        rows, rejected = _embed_tables(scorer, paths, label, decimal_comma=decimal_comma, encoding=encoding)
    score = scorer.manifest.score
    title = f"Latent space of {scorer.manifest.name}, version {scorer.manifest.version} ({scorer.manifest.variant})"
    output_files.write(to, draw(rows, PlotLabels(title, f"{score.name} ({score.unit})", label)), force=force)
    anomalies = int(rows.is_anomaly.sum())
    output.print_facts(
        [
            ("rows", f"{len(rows.scores):,} drawn, {describe.plural(anomalies, 'anomaly', 'anomalies')}"),
            ("rejected", describe.count(rejected, "row") if rejected else "none"),
            ("written", to),
        ]
    )


def _embed_tables(
    scorer: Scorer, paths: tuple[str, ...], label: str | None, *, decimal_comma: bool, encoding: str
) -> tuple[LatentRows, int]:
    """Return the rows of tables with codes, verdicts and labels, and the number of rejected rows."""
    import numpy as np

    from detector import cells
    from detector.columns import encode
    from detector.files import ReadOptions
    from residuum.cli.score import reading_progress
    from residuum.latent_plot import LatentRows
    from serving.files.reading import read

    keep = (label,) if label else ()
    missing = scorer.manifest.missing
    codes, scores, rejected = [], [], 0
    labels: list[str | None] = []
    with reading_progress(paths, "drawing") as progress:
        for batch in read(paths, scorer.columns, ReadOptions(missing, decimal_comma, encoding), keep, progress):
            encoded = encode(batch.frame, scorer.columns, batch.rows, file=batch.file, missing=missing)
            codes.append(scorer.graph.latent(encoded.matrix))
            scores.append(scorer.graph.scores(encoded.matrix))
            labels += cells.texts(batch.frame[label]).to_numpy()[encoded.accepted].tolist() if label else []
            rejected += len(batch.rejects) + len(encoded.rejects)
    all_scores = np.concatenate(scores)
    is_anomaly = scorer.manifest.decision.is_anomaly(all_scores)
    return LatentRows(
        np.concatenate(codes), all_scores, is_anomaly, np.asarray(labels, dtype=np.object_) if label else None
    ), rejected


def _embed_images(scorer: Scorer, image: ImageSpec, paths: tuple[str, ...], label: str | None) -> tuple[LatentRows, int]:
    """Return images with codes, verdicts and their folders as labels, and the number of rejected images."""
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
    with reading_progress(paths, "drawing", "image") as progress:
        for batch in read_images(paths, image, progress):
            codes.append(scorer.graph.latent(batch.matrix))
            scores.append(scorer.graph.scores(batch.matrix))
            labels += [folder_of(file) for file in batch.frame["file"]]
            rejected += len(batch.rejects)
    all_scores = np.concatenate(scores)
    is_anomaly = scorer.manifest.decision.is_anomaly(all_scores)
    return LatentRows(np.concatenate(codes), all_scores, is_anomaly, np.asarray(labels, dtype=np.object_)), rejected
