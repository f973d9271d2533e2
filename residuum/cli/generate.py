"""`residuum generate`: new rows that look like normal ones."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum.cli.options import DEVICE, FORCE, IMAGE, MODEL, TO


def generate(
    model: MODEL,
    *,
    to: TO,
    rows: Annotated[int, typer.Option(min=1, help="The number of rows.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed: the same seed gives the same rows.")] = 0,
    mean: Annotated[bool, typer.Option("--mean", help="Write the most likely row of each code instead of a random one.")] = False,
    image: IMAGE = None,
    device: DEVICE = "auto",
    force: FORCE = False,
) -> None:
    """Generate rows: draw codes from the prior and decode them. Needs a variant with a prior: variational, adversarial."""
    import time

    from detector.columns import as_frame
    from detector.decoder import Decoder
    from residuum.cli import output, placeholders
    from residuum.cli.transform import print_result, rows_fact
    from residuum.optional_dependencies import require_plotting
    from serving.files import output as output_files
    from serving.files.sinks import committed, open_sink

    if image is not None:
        require_plotting()
    began = time.monotonic()
    to = placeholders.fill(to)
    output_files.check(to, (), force=force)
    decoder = Decoder.open(model, device)
    blocks = decoder.generate(rows, seed, mean=mean)
    sink = open_sink(to, image, force=force)
    done = 0
    with committed(sink), output.progress("generating", rows) as advance:
        for block in blocks:
            sink.add(as_frame(block, decoder.columns))
            done += len(block)
            advance(done, rows, f"{done:,} rows")
    print_result(to, [rows_fact(rows, "generated", decoder.folder, time.monotonic() - began)])
