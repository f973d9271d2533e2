"""`residuum reconstruct`: write each row as the detector reconstructs it."""

from __future__ import annotations

from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, IMAGE, MODEL, TO


def reconstruct(
    model: MODEL,
    files: FILES,
    *,
    to: TO,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Write each row as the detector reconstructs it: expected values in the units of the input, missing cells filled."""
    from detector.scorer import Scorer
    from residuum.cli.transform import job_of, transform
    from serving.files.transform import reconstruction_transform

    scorer = Scorer.open(model, device).only_rows("reconstruct")
    job = job_of(files, to, force=force, decimal_comma=decimal_comma, encoding=encoding, image=image, manifest=scorer.manifest)
    transform(reconstruction_transform(scorer), job, scorer.folder, "reconstructed")
