"""How verbs speak to a person: facts in two columns, counts, shares, progress bars."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from detector.manifest import Manifest
    from detector.rejects import Reject

Fact = tuple[str, str]  # what is told, and what there is to tell; nothing there, nothing said

Advance = Callable[[float, float | None, str], None]  # how much is done, of how much, and what to say

WIDTH = 11
WIDEST = 200


def print_facts(facts: Iterable[Fact], to: IO[str] | None = None) -> None:
    """Print facts, one a line."""
    for name, said in facts:
        if said:
            typer.echo(f"{name:<{WIDTH}}{said}", file=to)


def count(number: int, noun: str) -> str:
    """Say how many there are of something: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def row_noun(manifest: Manifest) -> str:
    """Say what the detector judges, one of them."""
    return "image" if manifest.image and manifest.image.files else "row"


def plural(number: int, one: str, several: str) -> str:
    """Say how many there are of something whose plural is its own: `2 categories`."""
    return f"{number:,} {one if number == 1 else several}"


def percentage(part: float) -> str:
    """Say a share as a percentage of three digits: `1.25 %`."""
    return f"{100 * part:.3g} %"


def join_names(some: Iterable[str], most: int = 8) -> str:
    """List names, cut where nobody would read on."""
    all_names = list(some)
    return ", ".join(all_names[:most]) + (f" and {len(all_names) - most:,} more" if len(all_names) > most else "")


def pinned_facts(folder: Path) -> list[Fact]:
    """Say that a pin keeps a new version from being used, if one does."""
    from detector import repository

    used = repository.find(folder.parent)
    return [("pinned", f"{folder.parent} still means {used}")] if used != folder else []


def first_rejects(rejects: Iterable[Reject], *, numbered: bool = True) -> list[Fact]:
    """Show rejected rows, or images, which are known by their files alone."""
    return [
        ("", f"{' '.join([reject.file] * bool(reject.file) + [f'row {reject.row}'] * numbered)}: {reject}") for reject in rejects
    ]


def facts(title: str, some: Iterable[Fact]) -> Table:
    """Make a table of facts; nothing there, nothing said."""
    return table(title, (), [(name, said) for name, said in some if said])


def table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """Make a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=bool(columns))
    for line in lines:
        made.add_row(*(Text(cell) for cell in line))
    return made


def print_tables(*tables: Table) -> None:
    """Print the tables that hold something; what is not a terminal gets lines as long as they are."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = WIDEST
    for made in tables:
        if made.row_count:
            console.print(made)


def print_json(said: object) -> None:
    """Print something for a program; numbers that JSON cannot write become null."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(said), indent=2).decode())


@contextlib.contextmanager
def progress(task: str, total: float | None = None) -> Iterator[Advance]:
    """Lend what moves a progress bar on standard error; where that is no terminal, nothing moves and nothing is imported."""
    if not sys.stderr.isatty():
        yield lambda _done, _total, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(task, total=total, text="")
        yield lambda done, of, text: bar.update(shown, completed=done, total=of, text=text)
