"""What a benchmark found: a table for people, JSON for programs."""

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
    """One figure: its value (the median of all rounds), its spread, and what it should be."""

    name: str
    value: float
    low: float
    high: float
    rounds: int
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    def at(self, value: float) -> Line:
        """Give the line with another value than the rounds' median."""
        return msgspec.structs.replace(self, value=value)

    @property
    def target(self) -> str:
        """What the value should be."""
        bounds = [(">=", self.at_least), ("<=", self.at_most)]
        return " and ".join(f"{sign} {bound:.4g}" for sign, bound in bounds if bound is not None)

    @property
    def verdict(self) -> str:
        """Whether it is, or by how much it is not."""
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
    """Sum the rounds of one figure up."""
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
    """The lines of one benchmark, printed as they come in."""

    def __init__(self, name: str, *, quick: bool) -> None:
        self.name = name
        self.quick = quick
        self.lines: list[Line] = []
        self.left_out: list[str] = []
        self.details: dict[str, object] = {}  # what only programs want
        self._console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)

    def say(self, text: str) -> None:
        """Tell what is going on."""
        self._console.print(text, markup=False)

    def leave_out(self, what: str) -> None:
        """Tell what is not measured, and why."""
        self.left_out.append(what)
        self.say(f"left out: {what}")

    def add(self, *lines: Line) -> None:
        """Take lines."""
        self.lines += lines
        for one in lines:
            self.say(f"{one.name}: {one.value:.4g} {one.verdict}")

    def close(self, json: Path | None) -> None:
        """Print the table, and write the figures if a file is named for them."""
        cells = ([one.name, *_figures(one), str(one.rounds), one.target, one.verdict, one.note] for one in self.lines)
        heads = ("what", "median", "spread", "rounds", "target", "verdict", "how")
        self.show(self.name + (", quick form" if self.quick else ""), heads, cells)
        if json:
            json.write_bytes(msgspec.json.format(msgspec.json.encode(self._figures()), indent=1) + b"\n")

    def show(self, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table."""
        table = Table(*heads, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row)
        self._console.print(table, markup=False)

    def _figures(self) -> dict[str, object]:
        """Give everything for programs."""
        verdicts = {one.name: one.verdict for one in self.lines if one.verdict}
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


def _figures(one: Line) -> list[str]:
    """Give a line's value and spread."""
    return [f"{one.value:.4g}", f"{one.low:.4g} to {one.high:.4g}" if one.rounds > 1 else ""]


def _version(library: str) -> str | None:
    """Give the version of a library, if it is there."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
