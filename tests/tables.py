"""Tables to train on: every kind of column, missing cells, and known anomalies."""

from __future__ import annotations

import numpy as np
import polars as pl

ROWS = 500


def normal_rows(rows: int = ROWS, seed: int = 0, holes: float = 0.03) -> pl.DataFrame:
    """Return normal rows: three correlated numbers, heavy tails, a large offset, texts, dates and a constant."""
    random = np.random.default_rng(seed)
    load = random.normal(size=rows)
    machine = random.choice(["press", "lathe", "mill"], rows, p=[0.5, 0.3, 0.2])
    shift = np.where(machine == "press", 4.0, 0.0)
    table = pl.DataFrame(
        {
            "temperature": 60 + 5 * load + random.normal(scale=0.5, size=rows),
            "pressure": 2 + 0.3 * load + random.normal(scale=0.03, size=rows) + shift,
            "flow": 10 - 2 * load + random.normal(scale=0.2, size=rows),
            "bytes": np.floor(np.exp(random.normal(4, 2, size=rows))),
            "serial": 1e9 + random.normal(size=rows),
            "machine": machine,
            "door_open": random.choice(["yes", "no"], rows, p=[0.1, 0.9]),
            "at": _office_hours(random, rows),
            "firmware": "7.1",
            "slots": 8,
        }
    )
    return with_holes(table, holes, seed)


def with_holes(table: pl.DataFrame, share: float, seed: int = 0) -> pl.DataFrame:
    """Return the table with a share of the cells missing in all columns that vary."""
    random = np.random.default_rng(seed + 1000)
    varying = [name for name in table.columns if name not in {"firmware", "slots"}]
    gone = {name: pl.Series(random.random(table.height) < share) for name in varying}
    return table.with_columns(pl.when(~gone[name]).then(pl.col(name)).alias(name) for name in varying)


def planted_anomalies(rows: int = 60, seed: int = 7) -> pl.DataFrame:
    """Return rows of usual values that do not belong together."""
    table = normal_rows(rows, seed, holes=0.0)
    return table.with_columns(pl.col("temperature").reverse() + 12, pl.col("flow") + 6)


def shares(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Return normal rows of correlated shares in [0, 1], one of them mostly 0, and a category."""
    random = np.random.default_rng(seed)
    load = 1 / (1 + np.exp(-random.normal(size=rows)))
    machine = random.choice(["press", "lathe"], rows, p=[0.6, 0.4])
    table = pl.DataFrame(
        {
            "load": load,
            "heat": np.clip(0.9 * load + random.normal(scale=0.03, size=rows), 0, 1),
            "free": np.clip(1 - load + random.normal(scale=0.03, size=rows), 0, 1),
            "dark": np.clip(random.normal(-0.1, 0.1, size=rows), 0, 1),
            "machine": machine,
            "half": 0.5,
        }
    )
    holes = {name: pl.Series(random.random(rows) < 0.01) for name in ("load", "heat", "machine")}
    return table.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name, gone in holes.items())


def planted_shares(rows: int = 60, seed: int = 7) -> pl.DataFrame:
    """Return rows of usual shares that do not belong together."""
    return shares(rows, seed).with_columns(heat=1 - pl.col("load"), free=pl.col("load"), dark=pl.lit(0.6))


def _office_hours(random: np.random.Generator, rows: int) -> pl.Series:
    """Return dates between eight and sixteen o'clock, as ISO text."""
    day = random.integers(0, 300, rows) * 86_400
    seconds = 1_760_000_000 // 86_400 * 86_400 + day + random.integers(8 * 3600, 16 * 3600, rows)
    return pl.Series(seconds * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S")


def series(rows: int = 240, seed: int = 0, machine: str = "press", start: str = "2026-03-02 06:00:00") -> pl.DataFrame:
    """Return rows of one machine, one per second: two correlated waves, a slow drift, a mode, a constant, missing cells."""
    random = np.random.default_rng(seed)
    at = np.arange(rows)
    load = np.sin(at * 1.7) + 0.2 * random.normal(size=rows)
    flow = 3 + 0.8 * load + 0.1 * random.normal(size=rows)
    heat = 60 + np.cumsum(0.05 * random.normal(size=rows))
    begin = pl.Series([start]).str.to_datetime("%Y-%m-%d %H:%M:%S")[0]
    return pl.DataFrame(
        {
            "ts": pl.Series([begin] * rows)
            .dt.offset_by(pl.Series([f"{second}s" for second in at]))
            .dt.strftime("%Y-%m-%d %H:%M:%S"),
            "machine": [machine] * rows,
            "load": load,
            "flow": np.where(random.random(rows) < 0.02, np.nan, flow),
            "heat": heat,
            "mode": np.where(load > 0.5, "high", "low"),
            "firmware": ["7.1"] * rows,
        }
    ).with_columns(pl.col("flow").fill_nan(None))


def moved(frame: pl.DataFrame, begin: int, column: str = "flow", by: float = 3.0) -> pl.DataFrame:
    """Return the frame with a column shifted from row `begin` on."""
    return frame.with_columns(pl.when(pl.int_range(pl.len()) >= begin).then(pl.col(column) + by).otherwise(column).alias(column))
