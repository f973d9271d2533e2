"""Tables in files, read block by block in constant memory; training and scoring use the same readers.

    with open_source("today.csv.gz") as source:
        for block in source.blocks(wanted=["flow", "kind"], numbers=["flow"]):
            block.frame, block.rows, block.rejects

`source` defines the interface of a reader, `opening` chooses one: `delimited` (CSV and similar), `ndjson` or `parquet`.
`stream` and `compression` supply bytes, `blocks` splits them at line ends. A bad record becomes a reject and the records
around it are kept; only a file that is not a table raises. `detector.columns` converts cells to numbers.
"""

from detector.files.opening import open_source
from detector.files.paths import expand
from detector.files.source import ReadOptions, TableSource

__all__ = ["ReadOptions", "TableSource", "expand", "open_source"]
