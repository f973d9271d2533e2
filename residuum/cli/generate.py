"""`residuum generate`: new rows that look like the normal ones."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum.cli.options import DEVICE, FORCE, IMAGE, MODEL, TO


def generate(
    model: MODEL,
    *,
    to: TO,
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same rows.")] = 0,
    mean: Annotated[bool, typer.Option("--mean", help="The most likely row of each code, not one drawn from it.")] = False,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
) -> None:
    """Draw new rows: a code from the prior, then a row from what the decoder makes of it. Needs a variant with a prior."""
    import time

    from detector.columns import as_frame
    from detector.decoder import Decoder
    from residuum.cli import output
    from residuum.cli.optional_dependencies import need_drawing
    from residuum.cli.transform import rows_by, tell
    from serving.files import output as output_files
    from serving.files.sinks import committed, open_sink

    if image is not None:
        need_drawing()
    began = time.monotonic()
    output_files.check(to, (), force=force)
    decoder = Decoder.open(model, device)
    blocks = decoder.generate(rows, seed, mean=mean)
    sink = open_sink(to, image)
    done = 0
    with committed(sink), output.progress("generating", rows) as advance:
        for block in blocks:
            sink.add(as_frame(block, decoder.columns))
            done += len(block)
            advance(done, rows, f"{done:,} rows")
    tell(to, [rows_by(rows, "generated", decoder.folder, time.monotonic() - began)])
