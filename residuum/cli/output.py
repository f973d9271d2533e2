"""Printing: facts in two columns, tables and progress bars for people, JSON for programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING

import typer

from residuum.cli.command import NARROW, STANDARD_OUTPUT
from residuum.describe import count, join_names

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, Group
    from rich.progress import TaskID
    from rich.table import Table

    from detector.rejects import Reject
    from residuum.training_progress import Show, TrainingProgress

Fact = tuple[str, str]  # a label and its text; a fact with an empty text is not printed

Advance = Callable[[float, float | None, str], None]  # amount done, total if known, text beside the bar

LABEL_WIDTH = 11
READABLE = 20  # characters of a column that wraps
CELL_PADDING = 2  # between the cells of a row
MAX_WIDTH = 200  # characters, where the output is not a terminal


def print_facts(facts: Iterable[Fact], file: IO[str] | None = None) -> None:
    """Print facts, one per line, to standard output or `file`; on a terminal, long ones continue below their text."""
    with _output_errors():
        width = _terminal_width(sys.stdout if file is None else file)
        for label, text in facts:
            if text:
                typer.echo("\n".join(_lines(label, text, width)), file=file)


def _terminal_width(file: IO[str] | None) -> int | None:
    """Return the width of the terminal that a file is; None if it is none, or closed."""
    return shutil.get_terminal_size().columns if file is not None and file.isatty() else None


def _lines(label: str, text: str, width: int | None) -> list[str]:
    """Return the lines of a fact; a command, to be copied, is one line."""
    line = f"{label:<{LABEL_WIDTH}}{text}"
    if width is None or len(line) <= width or text.startswith("residuum "):
        return [line]
    indent = " " * (LABEL_WIDTH if width >= NARROW else 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def pinned_facts(folder: Path) -> list[Fact]:
    """Return a note if a pin keeps the new version in `folder` from being used."""
    from detector import repository

    used = repository.find(folder.parent)
    return [("pinned", f"{folder.parent} still means {used}")] if used != folder else []


def rejected_fact(rejected: int, noun: str, file: str) -> Fact:
    """Return how many rows were rejected, and the file that lists them."""
    listed_in = f", see {file}" if file else ""
    return ("rejected", f"{count(rejected, noun)}{listed_in}" if rejected else "none")


def first_rejects(rejects: Iterable[Reject], *, numbered: bool = True) -> list[Fact]:
    """Return one line per reject: its file if known, its row if `numbered`, and the reason."""
    return [
        ("", f"{' '.join([reject.file] * bool(reject.file) + [f'row {reject.row}'] * numbered)}: {reject}") for reject in rejects
    ]


def skipped_text(blank_lines: int, infinite: int) -> str:
    """Return how many blank lines were skipped and infinite numbers found; empty if none."""
    parts = [
        f"{count(blank_lines, 'blank line')} skipped" if blank_lines else "",
        f"{count(infinite, 'infinite number')} (train with --missing inf to read them as missing)" if infinite else "",
    ]
    return ", ".join(filter(None, parts))


def unused_fact(columns: Collection[str]) -> Fact:
    """Return the columns of the input that the detector does not use."""
    return ("unused", f"{count(len(columns), 'column')}: {join_names(columns)}" if columns else "")


def facts_table(title: str, facts: Iterable[Fact]) -> Table:
    """Return a table of facts, without those that have no text."""
    return table(title, (), [(label, text) for label, text in facts if text])


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table with a header of `columns`, or none if that is empty."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    result = Table(*columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=bool(columns))
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def print_tables(*tables: Table) -> None:
    """Print the tables that have rows; lines wrap at the width of the terminal or `COLUMNS`, else at `MAX_WIDTH`.

    Where that leaves too little for the columns, each row becomes a block of lines, one for each cell.
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = MAX_WIDTH
    with _output_errors():
        for each in tables:
            if each.row_count:
                console.print(each if _readable_width(console, each) <= console.width else _blocks(each))


def _readable_width(console: Console, table: Table) -> int:
    """Return the width that a table needs: of each column up to `READABLE` characters, and never less than its longest word."""
    from rich.measure import Measurement

    cells = [
        [Measurement.get(console, console.options, cell) for cell in (column.header, *column.cells)] for column in table.columns
    ]
    needed = [max(max(cell.minimum, min(cell.maximum, READABLE)) for cell in column) for column in cells]
    return sum(needed) + len(needed) * CELL_PADDING


def _blocks(table: Table) -> Group:
    """Return the rows of a table as blocks of lines: the first cell, and the others below it with their headings."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    headings = [f"{column.header}: " if column.header else "" for column in table.columns]
    lines: list[Text | Padding] = [Text(str(table.title or ""), style="bold")]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        texts = [f"{heading}{cell}" for heading, cell in zip(headings, map(str, cells), strict=True) if cell.strip()]
        lines += [Padding(Text(text.strip()), (0, 0, 0, 2 * bool(at))) for at, text in enumerate(texts)]
    return Group(*lines, "")


def print_json(value: object) -> None:
    """Print a value as indented JSON; NaN and infinite numbers become null."""
    import msgspec

    with _output_errors():
        typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _output_errors() -> AbstractContextManager[None]:
    from serving.files.output import output_errors

    return output_errors(STANDARD_OUTPUT)


@contextlib.contextmanager
def progress(task: str, total: float | None = None) -> Iterator[Advance]:
    """Show a progress bar on standard error and yield the function that advances it; without a terminal, show nothing."""
    if not sys.stderr.isatty():
        yield lambda _done, _total, _text: None
        return
    with _bar() as show:
        show(task, 0, total, "")
        yield lambda done, of, text: show(task, done, of, text)


@contextlib.contextmanager
def training_progress() -> Iterator[TrainingProgress]:
    """Yield what shows the phases of training: a bar on standard error, or lines if that is no terminal."""
    from residuum.training_progress import TrainingProgress, progress_lines

    if sys.stderr is not None and sys.stderr.isatty():
        with _bar() as show:
            yield TrainingProgress(show, "; Ctrl-C stops and keeps the best")
        return
    with progress_lines() as show:
        yield TrainingProgress(show)


@contextlib.contextmanager
def _bar() -> Iterator[Show]:
    """Show a bar that names its phase and yield the function that advances it; one that is full pulses, as work goes on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown: dict[tuple[str, bool], TaskID] = {}

        def show(phase: str, done: float, total: float | None, text: str) -> None:
            is_full = total is not None and done >= total
            if (phase, is_full) not in shown:
                for task_id in shown.values():
                    bar.remove_task(task_id)
                shown.clear()
                shown[phase, is_full] = bar.add_task(phase, total=None, text=text)
            bar.update(shown[phase, is_full], completed=done, total=None if is_full else total, text=text)

        yield show
