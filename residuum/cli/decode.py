"""`residuum decode`: turn codes into rows, or interpolate between two rows."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, IMAGE, MODEL, TO

STEPS = 10


def decode(
    model: MODEL,
    files: FILES,
    *,
    to: TO,
    between: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Interpolate between two rows of the table FILES, given by their row numbers in the output of `score`.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="The number of rows of an interpolation, both ends included.", show_default=str(STEPS)),
    ] = None,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Decode codes (the columns latent_1, latent_2 ... that `embed` writes) into rows, or interpolate between two rows."""
    from detector import bundle, repository
    from detector.decoder import Decoder
    from detector.errors import SettingError
    from detector.scorer import Scorer
    from residuum.cli.transform import job_of, print_result, rows_fact, transform
    from serving.files.transform import decoding_transform, interpolate

    if steps is not None and between is None:
        raise SettingError("--steps needs --between and two row numbers")
    job = job_of(files, to, force=force, decimal_comma=decimal_comma, encoding=encoding, image=image)
    opened = bundle.read(repository.find(model))
    decoder = Decoder(opened, device)
    if between is None:
        transform(decoding_transform(decoder), job, opened.folder, "decoded")
    else:
        walk = interpolate(Scorer(opened, device), decoder, job, between, STEPS if steps is None else steps)
        print_result(job.to, [rows_fact(walk.rows, "decoded", opened.folder, walk.seconds)])
