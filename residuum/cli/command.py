"""What every verb shares: `--debug`, and whatever goes wrong told in one line.

Exit codes: 0 done; 1 a bug, or the reader of our output has left; 2 an error that the user can mend; 129 the terminal was
closed; 130 interrupted; 143 terminated. A verb may have further ones.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Annotated

import typer

from detector.errors import ResiduumError

BUG, MENDABLE, HUNG_UP, INTERRUPTED, TERMINATED = 1, 2, 129, 130, 143

_debug: ContextVar[bool] = ContextVar("debug", default=False)


def _remember(context: typer.Context, value: bool) -> None:
    """Take `--debug` before the verb, which starts afresh, or behind it, which adds to that."""
    _debug.set(value or (context.parent is not None and _debug.get()))


DEBUG = Annotated[bool, typer.Option("--debug", callback=_remember, help="Show the traceback of an error.", show_default=False)]


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Make a verb of a function: it takes `--debug` and its errors are told in one line."""

    @functools.wraps(function)
    def told(*, debug: bool = False, **options: object) -> None:  # noqa: ARG001 - `_remember` took it
        with telling_errors():
            function(**options)

    signature = inspect.signature(function, eval_str=True)
    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DEBUG)
    told.__signature__ = signature.replace(parameters=[*signature.parameters.values(), debug])  # type: ignore[attr-defined]  # the standard way to say what a wrapper takes
    return told


@contextlib.contextmanager
def telling_errors() -> Iterator[None]:
    """Tell errors in one line and end with the exit code that they stand for."""
    try:
        yield
    except ResiduumError as error:
        _tell(f"error: {' '.join(str(error).split())}")
        raise typer.Exit(MENDABLE) from error
    except KeyboardInterrupt as error:
        _tell("interrupted: nothing was written")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        from serving.files.output import discard_buffer

        discard_buffer(sys.stdout)
        raise typer.Exit(BUG) from error
    except Exception as error:
        if isinstance(error, typer.Exit | typer.Abort | typer.TyperException):
            raise
        _tell(f"error: {type(error).__name__}: {error} (this is a bug in residuum: --debug shows where)")
        raise typer.Exit(BUG) from error


def let_ctrl_c_end_a_read() -> None:
    """Undo what importing polars does to SIGINT: its handler has the system resume a read from a pipe, so Ctrl-C waits."""
    signal.siginterrupt(signal.SIGINT, True)


def end_like_an_exception() -> None:
    """Let SIGTERM and a terminal that is closed unwind the stack, so that half-written files go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(HUNG_UP))


def _tell(line: str) -> None:
    """Say what went wrong, with the traceback if it was asked for."""
    if _debug.get():
        traceback.print_exc()
    typer.echo(line, err=True)
