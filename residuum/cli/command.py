"""What all commands share: `--debug`, one-line error messages, exit codes, and help that is filled in when it is shown.

Exit codes: 0 success; 1 a bug in Residuum; 2 an error that the user can fix; 129 the terminal was closed; 130 interrupted; 141
standard output was closed by its reader, as `head` does; 143 terminated. A command may add its own, such as 3 and 4 of `score`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from detector.errors import ResiduumError

if TYPE_CHECKING:
    from msgspec import Struct
    from typer._click import Context, HelpFormatter  # typer's own copy of click

BUG, USER_ERROR, HUNG_UP, INTERRUPTED, READER_GONE, TERMINATED = 1, 2, 129, 130, 141, 143
NARROW, MIN_WIDTH = 60, 20  # characters of a line
SIGNAL_DELAY = 0.01  # seconds before a signal is sent again whose exception was dropped

_EXIT_CODES: dict[int, int] = {signal.SIGTERM: TERMINATED, signal.SIGHUP: HUNG_UP}

STANDARD_OUTPUT = "standard output"

_debug: ContextVar[bool] = ContextVar("debug", default=False)


def _set_debug(context: typer.Context, value: bool) -> None:
    """Set `--debug` from before the command, which resets it, or after the command, which adds to it."""
    _debug.set(value or (context.parent is not None and _debug.get()))


DEBUG = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.", show_default=False)]


class OptionHelp(NamedTuple):
    """What an option's help shows; an empty text leaves what the option declares."""

    default: str = ""
    description: str = ""


LazyHelp = Callable[[], Mapping[str, OptionHelp]]  # by parameter name

_lazy_help: dict[str, LazyHelp] = {}  # by command name


def help_of(struct: type[Struct]) -> dict[str, OptionHelp]:
    """Return the default and the description of each field of a settings struct."""
    from msgspec import Meta
    from msgspec.structs import fields

    found = {}
    for field in fields(struct):
        notes = [note for note in getattr(field.type, "__metadata__", ()) if isinstance(note, Meta)]
        description = next((note.description for note in notes if note.description), "")
        found[field.name] = OptionHelp(_default_text(field.default), _sentence(description))
    return found


def _default_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int | str) else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def given(**options: object) -> dict[str, Any]:
    """Return the options that were given, so that the others get the defaults of a settings struct."""
    return {name: value for name, value in options.items() if value is not None}


def lazy_help(texts: LazyHelp) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Complete the help of a command's options by `texts`, which returns it by parameter name.

    `texts` is called when the command's own help is shown or its options are parsed, never for `residuum --help`, so it may
    import the settings that it describes.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _lazy_help[function.__name__] = texts
        return function

    return register


def add_command(app: typer.Typer, function: Callable[..., None]) -> None:
    """Add a function to the command line: it accepts `--debug` and reports errors in one line."""

    @functools.wraps(function)
    def run(*, debug: bool = False, **options: object) -> None:  # noqa: ARG001 - `_set_debug` reads it
        with reported_errors():
            function(**options)

    signature = inspect.signature(function, eval_str=True)
    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DEBUG)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), debug])  # type: ignore[attr-defined]  # how a wrapper declares its parameters
    app.command(cls=Command)(run)


def _narrow(formatter: HelpFormatter) -> bool:
    """Return whether the terminal is too narrow for help in columns; if so, make every description begin on its own line."""
    if (width := shutil.get_terminal_size().columns) >= NARROW:
        return False
    formatter.width = max(width - 1, MIN_WIDTH)
    formatter.write_dl = functools.partial(formatter.write_dl, col_max=2)  # type: ignore[method-assign]
    return True


class CommandGroup(TyperGroup):
    """All commands."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help, in lines without columns where the terminal is narrow."""
        if _narrow(formatter):
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)


class Command(TyperCommand):
    """A command whose options' help is completed by what `lazy_help` registered for it."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help, in lines without columns where the terminal is narrow."""
        if _narrow(formatter):
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    def get_params(self, ctx: Context) -> list[Any]:
        """Return the parameters."""
        parameters: list[Any] = super().get_params(ctx)  # their common class lacks `help` and `show_default`
        texts = _lazy_help.get(self.name or "")
        if texts:
            with contextlib.suppress(ImportError):  # an optional dependency is missing: the command says so when it runs
                found = texts()
                for parameter in parameters:
                    text = found.get(parameter.name or "", OptionHelp())
                    parameter.show_default = text.default or parameter.show_default
                    parameter.help = text.description or parameter.help
        return parameters


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """Report an exception in one line on standard error and exit with its code."""
    try:
        yield
    except ResiduumError as error:
        _report(f"error: {' '.join(str(error).split())}")
        raise typer.Exit(USER_ERROR) from error
    except KeyboardInterrupt as error:
        _report("interrupted: nothing was written")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        _discard_buffer(sys.stdout)
        raise typer.Exit(READER_GONE) from error
    except Exception as error:
        if isinstance(error, typer.Exit | typer.Abort | typer.TyperException):
            raise
        if ended := _signal_behind(error):  # as an ImportError of an extension module whose import it interrupted
            raise ended from None
        _report(f"error: {type(error).__name__}: {error} (this is a bug in residuum: --debug shows the traceback)")
        raise typer.Exit(BUG) from error


@contextlib.contextmanager
def complete_output() -> Iterator[None]:
    """Write out standard output before the process ends, while an error still has a message and an exit code."""
    stdout = sys.stdout
    try:
        with _exit_on_failed_write(stdout):
            yield
    except SystemExit as error:
        if isinstance(error, _SignalExit):
            error.has_arrived = True
        sys.stdout = stdout  # typer replaces it
        if error.code == BUG and isinstance(error.__context__, BrokenPipeError):  # as typer and rich exit
            error.code = READER_GONE
        if stdout is not None:
            with _exit_on_failed_write(stdout, error.code):
                stdout.flush()
        raise


@contextlib.contextmanager
def _exit_on_failed_write(stdout: TextIO, code: object = 0) -> Iterator[None]:
    """Exit with a code if standard output cannot be written, but keep one that is not 0; drop what is not written."""
    try:
        yield
    except BrokenPipeError:
        _discard_buffer(stdout)
        sys.exit(code or READER_GONE)  # type: ignore[arg-type]
    except OSError as error:
        _discard_buffer(stdout)
        _report(f"error: cannot write {STANDARD_OUTPUT}: {error.strerror}")
        sys.exit(code or USER_ERROR)  # type: ignore[arg-type]


def _discard_buffer(stdout: TextIO) -> None:
    from serving.files.output import discard_buffer

    discard_buffer(stdout)


def allow_interrupted_reads() -> None:
    """Make Ctrl-C end a blocked read from a pipe, which the SIGINT handler that polars installs would resume."""
    signal.siginterrupt(signal.SIGINT, True)


class _SignalExit(SystemExit):
    """A signal that ends the process; sent again if somebody drops the exception before it ends the command.

    Python drops exceptions of callbacks and of `__del__`, and extension modules those that come while they are imported.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_EXIT_CODES[number])
        self._number = number
        self.has_arrived = False  # where it ends the process

    def __del__(self) -> None:
        """Send the signal again, once what has dropped the exception is over."""
        if not self.has_arrived:
            timer = threading.Timer(SIGNAL_DELAY, os.kill, (os.getpid(), self._number))
            timer.daemon = True
            timer.start()


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that context managers remove incomplete files."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _exit_on_signal)
    sys.unraisablehook = _report_unraisable


def _exit_on_signal(number: int, _frame: object) -> None:
    raise _SignalExit(number)


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Report an exception that Python has to drop, unless it is a signal, which is sent again."""
    if not isinstance(unraisable.exc_value, _SignalExit):
        sys.__unraisablehook__(unraisable)


def _signal_behind(error: BaseException | None) -> _SignalExit | None:
    """Return the signal that an exception is, or that it was raised from or during."""
    while error is not None and not isinstance(error, _SignalExit):
        error = error.__cause__ or error.__context__
    return error


def _report(line: str) -> None:
    if _debug.get():
        traceback.print_exc()
    typer.echo(line, err=True)
