"""What every benchmark can be told on the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
TINY = bool(os.environ.get("RESIDUUM_BENCHMARKS_TINY"))  # the tests set it: is everything still in working order?


class Size(NamedTuple):
    """How much a benchmark does."""

    rows: int
    rounds: int


class Options(NamedTuple):
    """What was asked for."""

    quick: bool
    json: Path | None
    rows: int
    rounds: int


def parse(description: str | None, full: Size, quick: Size, rounds: str = "rounds of the comparison") -> Options:
    """Read the command line; `rounds` says what is repeated."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--rows", type=int, help=f"rows (default {full.rows:,}; quick {quick.rows:,})")
    parser.add_argument("--rounds", type=int, help=f"{rounds} (default {full.rounds}; quick {quick.rounds})")
    given = parser.parse_args()
    size = quick if given.quick else full
    return Options(given.quick, given.json, given.rows or size.rows, given.rounds or size.rounds)


def unless_tiny(usual: T, tiny: T) -> T:
    """Choose between what a measurement takes and what a test of the script takes."""
    return tiny if TINY else usual
