"""`residuum reconstruct`: files of rows in, the rows as the detector rebuilds them out."""

from __future__ import annotations

from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, FORCE, IMAGE, MODEL, TO


def reconstruct(
    model: MODEL,
    files: FILES,
    *,
    to: TO,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Write each row as the detector rebuilds it: what it expects there, in your units; holes filled, noise cleaned."""
    from detector.scorer import Scorer
    from residuum.cli.transform import job_of, rewrite
    from serving.files.transform import reconstruction_transform

    scorer = Scorer.open(model, device).only_rows("reconstruct")
    job = job_of(files, to, force=force, decimal_comma=decimal_comma, image=image, manifest=scorer.manifest)
    rewrite(reconstruction_transform(scorer), job, scorer.folder, "rebuilt")
