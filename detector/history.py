"""`history.csv`, the learning curve of a detector: the losses at every check, of each fit.

A training by one split is one fit; where parts of the rows are held out in turn, there is one for each part.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from detector.bundle import HISTORY
from detector.errors import BundleCorrupt
from detector.rejects import shorten

SCHEMA = {"fit": pl.Int64, "step": pl.Int64, "training_loss": pl.Float64, "validation_loss": pl.Float64}


def read(files: Mapping[str, bytes]) -> pl.DataFrame:
    """Return the learning curve among the files of a bundle; without rows if there is none.

    Raises:
        BundleCorrupt: the file is no learning curve.
    """
    if HISTORY not in files:
        return pl.DataFrame(schema=SCHEMA)
    try:
        return pl.read_csv(files[HISTORY], schema_overrides=SCHEMA).select(*SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise BundleCorrupt(f"{HISTORY} is not a learning curve: {shorten(error)}") from error
