"""`residuum decode`: codes in, the rows that they stand for out; or a walk between two rows."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, FORCE, IMAGE, MODEL, TO

STEPS = 10


def decode(
    model: MODEL,
    files: FILES,
    *,
    to: TO,
    between: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Walk from one row of the table FILES to another: their numbers, as `score` counts them.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How many rows a walk has, both ends included.", show_default=str(STEPS))
    ] = None,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Turn codes (latent_1, latent_2 ... as `embed` writes them) into rows, or walk between the codes of two rows."""
    from detector import bundle, repository
    from detector.decoder import Decoder
    from detector.errors import SettingError
    from detector.scorer import Scorer
    from residuum.cli.transform import job_of, rewrite, rows_by, tell
    from serving.files.transform import decoding_transform, interpolate

    if steps is not None and between is None:
        raise SettingError("--steps belongs to a walk: give --between and two row numbers too")
    job = job_of(files, to, force=force, decimal_comma=decimal_comma, image=image)
    opened = bundle.read(repository.find(model))
    decoder = Decoder(opened, device)
    if between is None:
        rewrite(decoding_transform(decoder), job, opened.folder, "decoded")
    else:
        walked = interpolate(Scorer(opened, device), decoder, job, between, STEPS if steps is None else steps)
        tell(job.to, [rows_by(walked.rows, "decoded", opened.folder, walked.seconds)])
