"""Tables in files, read block by block in constant memory: the same door for training and for scoring.

    with open_source("today.csv.gz") as source:
        for block in source.blocks(wanted=["flow", "kind"], numbers=["flow"]):
            block.frame, block.rows, block.rejects

`source` says what every reader promises, `opening` picks the reader. The readers are `delimited` (CSV and its kin),
`ndjson` and `parquet`; `stream` and `compression` hand them bytes. A bad record becomes a reject and its neighbours are
kept; only a file that is no table raises. Turning cells into numbers is not done here: see `detector.columns`.
"""

from detector.files.opening import open_source
from detector.files.paths import expand
from detector.files.source import ReadOptions, TableSource

__all__ = ["ReadOptions", "TableSource", "expand", "open_source"]
