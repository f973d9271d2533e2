"""The command line: `residuum COMMAND ...`, one module per command.

Nothing heavy is imported before a command runs, so `residuum --help` answers at once. Shared by all commands: `command`
(`--debug`, error messages, exit codes), `options` (common options) and `output` (printing).
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from residuum.cli.calibrate import calibrate
from residuum.cli.command import DEBUG, INTERRUPTED, CommandGroup, add_command, complete_output, exit_on_signals
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
from serving import standard_error

app = typer.Typer(
    name="residuum",
    help="Detect anomalies in tables, time series, streams and images, with a promised false-alarm rate and reasons.",
    no_args_is_help=True,
    cls=CommandGroup,
    pretty_exceptions_enable=False,
)
COMMANDS = (
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
for function in COMMANDS:
    add_command(app, function)


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
    """Detect anomalies in tables, time series, streams and images, with a promised false-alarm rate and reasons."""


def main() -> None:
    """Run the command line."""
    standard_error.install()
    exit_on_signals()
    with complete_output():
        try:
            app()
        except KeyboardInterrupt:  # outside a command
            sys.exit(INTERRUPTED)
