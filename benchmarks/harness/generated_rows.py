"""Generated rows of correlated numbers, as CSV."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

COLUMNS = 30
FACTORS = 6
NOISE = 0.3
DIGITS = 6  # decimal places: about 285 bytes per row
CHUNK = 100_000


def generated(rows: int, seed: int) -> pl.DataFrame:
    """Return rows whose columns are mixtures of a few factors; `seed` changes the rows, not the mixture."""
    mixture = np.random.default_rng(0).normal(size=(FACTORS, COLUMNS))
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, FACTORS)) @ mixture + NOISE * random.normal(size=(rows, COLUMNS))
    return pl.DataFrame(matrix, schema=[f"x{index}" for index in range(COLUMNS)])


def write(path: Path, rows: int, seed: int) -> Path:
    """Write generated rows and return the path."""
    with path.open("wb") as file:
        for number, start in enumerate(range(0, rows, CHUNK)):
            frame = generated(min(CHUNK, rows - start), seed + number)
            frame.write_csv(file, include_header=number == 0, float_precision=DIGITS)
    return path


def repeat(source: Path, path: Path, times: int) -> Path:
    """Write the rows of a CSV file several times and return the path."""
    with path.open("wb") as file:
        for repetition in range(times):
            with source.open("rb") as rows:
                header = rows.readline()
                if repetition == 0:
                    file.write(header)
                shutil.copyfileobj(rows, file, 1 << 20)
    return path
