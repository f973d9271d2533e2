"""`residuum embed`: write the code of each row."""

from __future__ import annotations

from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, MODEL, TO


def embed(
    model: MODEL,
    files: FILES,
    *,
    to: TO,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Write each row's code, its coordinates in the latent space: latent_1, latent_2 ..."""
    from detector.scorer import Scorer
    from residuum.cli.transform import job_of, transform
    from serving.files.transform import embedding_transform

    scorer = Scorer.open(model, device).only_rows("embed")
    job = job_of(files, to, force=force, decimal_comma=decimal_comma, encoding=encoding, manifest=scorer.manifest)
    transform(embedding_transform(scorer), job, scorer.folder, "embedded")
