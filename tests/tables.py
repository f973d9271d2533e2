"""Tables that tests train on: every kind of column, holes, and anomalies that are known to be some."""

from __future__ import annotations

import numpy as np
import polars as pl

ROWS = 500


def normal_rows(rows: int = ROWS, seed: int = 0, holes: float = 0.03) -> pl.DataFrame:
    """Give normal rows: three numbers that hang together, heavy tails, a large offset, texts, dates and a constant."""
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
    """Empty a share of the cells of all columns that vary."""
    random = np.random.default_rng(seed + 1000)
    varying = [name for name in table.columns if name not in {"firmware", "slots"}]
    gone = {name: pl.Series(random.random(table.height) < share) for name in varying}
    return table.with_columns(pl.when(~gone[name]).then(pl.col(name)).alias(name) for name in varying)


def planted_anomalies(rows: int = 60, seed: int = 7) -> pl.DataFrame:
    """Give rows whose cells are all usual but do not belong together."""
    table = normal_rows(rows, seed, holes=0.0)
    return table.with_columns(pl.col("temperature").reverse() + 12, pl.col("flow") + 6)


def shares(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Give normal rows of shares in [0, 1] that hang together, one of them mostly black, and a category."""
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
    """Give rows of shares that are all usual but do not belong together."""
    return shares(rows, seed).with_columns(heat=1 - pl.col("load"), free=pl.col("load"), dark=pl.lit(0.6))


def _office_hours(random: np.random.Generator, rows: int) -> pl.Series:
    """Give dates between eight and sixteen o'clock, as ISO text."""
    day = random.integers(0, 300, rows) * 86_400
    seconds = 1_760_000_000 // 86_400 * 86_400 + day + random.integers(8 * 3600, 16 * 3600, rows)
    return pl.Series(seconds * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S")
