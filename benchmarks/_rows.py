"""Generated rows of numbers that hang together, as CSV."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

COLUMNS = 30
FACTORS = 6
NOISE = 0.3
DIGITS = 6  # behind the point: about 285 bytes a row
AT_ONCE = 100_000


def generated(rows: int, seed: int) -> pl.DataFrame:
    """Give rows whose columns are mixtures of a few factors; only the seed of the rows may differ, not of the mixture."""
    mixture = np.random.default_rng(0).normal(size=(FACTORS, COLUMNS))
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, FACTORS)) @ mixture + NOISE * random.normal(size=(rows, COLUMNS))
    return pl.DataFrame(matrix, schema=[f"x{place}" for place in range(COLUMNS)])


def write(path: Path, rows: int, seed: int) -> Path:
    """Write generated rows."""
    with path.open("wb") as file:
        for place, start in enumerate(range(0, rows, AT_ONCE)):
            frame = generated(min(AT_ONCE, rows - start), seed + place)
            frame.write_csv(file, include_header=not place, float_precision=DIGITS)
    return path


def repeat(source: Path, path: Path, times: int) -> Path:
    """Write the rows of a CSV file several times over."""
    with path.open("wb") as file:
        for time in range(times):
            with source.open("rb") as rows:
                header = rows.readline()
                if not time:
                    file.write(header)
                shutil.copyfileobj(rows, file, 1 << 20)
    return path
