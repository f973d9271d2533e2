"""The command line: `residuum VERB ...`, one file a verb.

Nothing heavy is imported before a verb runs, so that `residuum --help` answers at once. `verb` is what all verbs share:
`--debug`, and errors in one line; `options` the options that several have; `output` how they speak.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from residuum.cli.calibrate import calibrate
from residuum.cli.command import DEBUG, end_like_an_exception, verb
from residuum.cli.decode import decode
from residuum.cli.embed import embed
from residuum.cli.evaluate import evaluate
from residuum.cli.finetune import finetune
from residuum.cli.generate import generate
from residuum.cli.inspect import inspect
from residuum.cli.picture import picture
from residuum.cli.promote import promote, rollback
from residuum.cli.reconstruct import reconstruct
from residuum.cli.replay import replay
from residuum.cli.score import score
from residuum.cli.serve import serve
from residuum.cli.stream import stream
from residuum.cli.train import train
from residuum.cli.variants import variants

app = typer.Typer(
    name="residuum",
    help="Learns what normal looks like, and flags what it cannot rebuild: with a stated false-alarm rate and reasons.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
VERBS = (
    train,
    variants,
    score,
    evaluate,
    inspect,
    serve,
    promote,
    rollback,
    stream,
    replay,
    calibrate,
    finetune,
    embed,
    reconstruct,
    decode,
    generate,
    picture,
)
for function in VERBS:
    app.command()(verb(function))


def _show_version(value: bool) -> None:
    if value:
        from detector.version import __version__

        typer.echo(f"residuum {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    _debug: DEBUG = False,
) -> None:
    """Learns what normal looks like, and flags what it cannot rebuild."""


def main() -> None:
    """Run the command line."""
    end_like_an_exception()
    try:
        app()
    except KeyboardInterrupt:  # before a verb could take it
        sys.exit(130)
