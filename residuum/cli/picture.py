"""`residuum picture`: the latent space as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from residuum.cli.optional_dependencies import need_drawing
from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, FORCE, MODEL

if TYPE_CHECKING:
    from detector.scorer import Scorer
    from residuum.latent_plot import Embedded


def picture(
    model: MODEL,
    files: FILES,
    *,
    to: Annotated[str, typer.Option(help="The image to write, a .png.", show_default=False)],
    label: Annotated[str | None, typer.Option(help="A column whose values are the colours.", show_default=False)] = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Draw where rows lie in the latent space, anomalies marked: two latents as they are, more by principal components."""
    need_drawing()
    from detector.errors import SettingError
    from detector.scorer import Scorer
    from residuum.cli import output
    from residuum.cli.score import inputs
    from residuum.latent_plot import Caption, draw
    from serving.files import output as output_files

    if not to.lower().endswith(".png"):
        raise SettingError(f"{to}: pictures are written as .png")
    scorer = Scorer.open(model, device).only_rows("picture")
    paths = inputs(scorer.manifest, files)
    output_files.check(to, paths, force=force)
    embedded, rejected = _embedded(scorer, paths, label, decimal_comma=decimal_comma)
    score = scorer.manifest.score
    title = f"Latent space of {scorer.manifest.name}, version {scorer.manifest.version} ({scorer.manifest.variant})"
    image = draw(embedded, Caption(title, f"{score.name} ({score.unit})", label))
    output_files.write(to, image)
    output.print_facts(
        [
            ("rows", f"{len(embedded.scores):,} drawn, {output.plural(int(embedded.is_anomaly.sum()), 'anomaly', 'anomalies')}"),
            ("rejected", output.count(rejected, "row") if rejected else "none"),
            ("written", to),
        ]
    )


def _embedded(scorer: Scorer, paths: tuple[str, ...], label: str | None, *, decimal_comma: bool) -> tuple[Embedded, int]:
    """Give rows with codes, verdicts and labels, and how many were left out."""
    import numpy as np

    from detector import cells
    from detector.columns import encode
    from detector.files import ReadOptions
    from residuum.cli.score import watching
    from residuum.latent_plot import Embedded
    from serving.files.reading import read

    image = scorer.manifest.image
    if image and image.files:
        return _embedded_images(scorer, paths, label)
    keep = (label,) if label else ()
    missing = scorer.manifest.missing
    codes, scores, rejected = [], [], 0
    labels: list[str | None] = []
    with watching(paths, "drawing") as watch:
        for batch in read(paths, scorer.columns, ReadOptions(missing, decimal_comma), keep, watch):
            encoded = encode(batch.frame, scorer.columns, batch.rows, file=batch.file, missing=missing)
            codes.append(scorer.graph.latent(encoded.matrix))
            scores.append(scorer.graph.scores(encoded.matrix))
            labels += cells.texts(batch.frame[label]).to_numpy()[encoded.accepted].tolist() if label else []
            rejected += len(batch.rejects) + len(encoded.rejects)
    joined = np.concatenate(scores)
    found = np.asarray(labels, dtype=np.object_) if label else None
    return Embedded(np.concatenate(codes), joined, scorer.manifest.decision.is_anomaly(joined), found), rejected


def _embedded_images(scorer: Scorer, paths: tuple[str, ...], label: str | None) -> tuple[Embedded, int]:
    """Give images with codes and verdicts, labelled by their folders, and how many were left out."""
    import numpy as np

    from detector.errors import SettingError
    from residuum.cli.labelled import folder_of
    from residuum.cli.score import watching
    from residuum.latent_plot import Embedded
    from serving.files.images import read_images

    if label:
        raise SettingError("--label names a column, and images have none: the colours are the folders that they lie in")
    image = scorer.manifest.image
    assert image is not None  # noqa: S101 - the caller knows
    codes, scores, rejected = [], [], 0
    labels: list[str] = []
    with watching(paths, "drawing", "image") as watch:
        for batch in read_images(paths, image, watch):
            codes.append(scorer.graph.latent(batch.matrix))
            scores.append(scorer.graph.scores(batch.matrix))
            labels += [folder_of(file) for file in batch.frame["file"]]
            rejected += len(batch.rejects)
    joined = np.concatenate(scores)
    found = np.asarray(labels, dtype=np.object_)
    return Embedded(np.concatenate(codes), joined, scorer.manifest.decision.is_anomaly(joined), found), rejected
