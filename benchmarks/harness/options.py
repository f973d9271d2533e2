"""The command-line options of every benchmark."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
TINY = bool(os.environ.get("RESIDUUM_BENCHMARKS_TINY"))  # set by the tests, which only check that the script runs


class Size(NamedTuple):
    """The size of a run."""

    rows: int
    rounds: int


class Options(NamedTuple):
    """The parsed command line."""

    quick: bool
    json: Path | None
    rows: int
    rounds: int


def parse(description: str | None, full: Size, quick: Size, rounds: str = "rounds of the comparison") -> Options:
    """Parse the command line; `rounds` describes what is repeated."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run the short form")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as JSON")
    parser.add_argument("--rows", type=int, help=f"rows (default {full.rows:,}; quick {quick.rows:,})")
    parser.add_argument("--rounds", type=int, help=f"{rounds} (default {full.rounds}; quick {quick.rounds})")
    arguments = parser.parse_args()
    size = quick if arguments.quick else full
    return Options(arguments.quick, arguments.json, arguments.rows or size.rows, arguments.rounds or size.rounds)


def unless_tiny(usual: T, tiny: T) -> T:
    """Return `usual` for a measurement, `tiny` when a test runs the script."""
    return tiny if TINY else usual
