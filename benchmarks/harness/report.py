"""The results of a benchmark: a table for people, JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

LIBRARIES = ("residuum", "numpy", "polars", "onnxruntime", "torch", "pandas", "pyod")
WIDTH = 150  # where there is no terminal


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: its value (the median of all rounds), its spread and its target."""

    name: str
    value: float
    low: float
    high: float
    rounds: int
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    def with_value(self, value: float) -> Line:
        """Return the line with a value other than the median of the rounds."""
        return msgspec.structs.replace(self, value=value)

    @property
    def target(self) -> str:
        """The target as text, empty if there is none."""
        bounds = [(">=", self.at_least), ("<=", self.at_most)]
        return " and ".join(f"{sign} {bound:.4g}" for sign, bound in bounds if bound is not None)

    @property
    def verdict(self) -> str:
        """Whether the target is met, and if not by how much it is missed."""
        if not self.target:
            return ""
        if self.at_least is not None and self.value < self.at_least:
            return f"MISSED by {self.at_least - self.value:.2g} ({1 - self.value / self.at_least:.0%})"
        if self.at_most is not None and self.value > self.at_most:
            return f"MISSED by {self.value - self.at_most:.2g} ({self.value / self.at_most - 1:.0%})"
        return "met"


def line(
    name: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None, note: str = ""
) -> Line:
    """Return the line that summarises the rounds of one figure."""
    return Line(
        name=name,
        value=statistics.median(values),
        low=min(values),
        high=max(values),
        rounds=len(values),
        at_least=at_least,
        at_most=at_most,
        note=note,
    )


class Report:
    """The lines of one benchmark, printed as they are added."""

    def __init__(self, name: str, *, quick: bool) -> None:
        self.name = name
        self.quick = quick
        self.lines: list[Line] = []
        self.left_out: list[str] = []
        self.details: dict[str, object] = {}  # only for the JSON output
        self._console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)

    def log(self, text: str) -> None:
        """Print a progress message."""
        self._console.print(text, markup=False)

    def leave_out(self, reason: str) -> None:
        """Record what is not measured, and why."""
        self.left_out.append(reason)
        self.log(f"left out: {reason}")

    def add(self, *lines: Line) -> None:
        """Add and print lines."""
        self.lines += lines
        for added in lines:
            self.log(f"{added.name}: {added.value:.4g} {added.verdict}")

    def close(self, json: Path | None) -> None:
        """Print the table, and write the figures to `json` if given."""
        cells = (
            [each.name, *_value_and_spread(each), str(each.rounds), each.target, each.verdict, each.note] for each in self.lines
        )
        headers = ("figure", "median", "spread", "rounds", "target", "verdict", "note")
        self.show(self.name + (", quick form" if self.quick else ""), headers, cells)
        if json:
            json.write_bytes(msgspec.json.format(msgspec.json.encode(self._figures()), indent=1) + b"\n")

    def show(self, title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table."""
        table = Table(*headers, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row)
        self._console.print(table, markup=False)

    def _figures(self) -> dict[str, object]:
        """Return everything for the JSON output."""
        verdicts = {each.name: each.verdict for each in self.lines if each.verdict}
        return {
            "benchmark": self.name,
            "quick": self.quick,
            "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
            "python": platform.python_version(),
            "libraries": {name: _version(name) for name in LIBRARIES},
            "lines": self.lines,
            "verdicts": verdicts,
            "left_out": self.left_out,
            **self.details,
        }


def _value_and_spread(line: Line) -> list[str]:
    """Return a line's value and spread as text."""
    return [f"{line.value:.4g}", f"{line.low:.4g} to {line.high:.4g}" if line.rounds > 1 else ""]


def _version(library: str) -> str | None:
    """Return the installed version of a library, or None."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
