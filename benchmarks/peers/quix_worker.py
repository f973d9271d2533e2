"""The graph in a user function of quix-streams, in its own environment.

`python -m benchmarks.peers.quix_worker BUNDLE BROKERS SOURCE TARGET GROUP ROWS GUARANTEE` prints its CPU time and number of
rows, without the first tenth of the rows.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application

from benchmarks.peers.graph import Graph


class RowScorer:
    """Scores row by row, as functions of quix-streams do, and notes the time after the first tenth."""

    def __init__(self, bundle: Path, rows: int) -> None:
        self._graph = Graph(bundle)
        self._warm = rows // 10
        self.done = 0
        self.began = 0.0

    def __call__(self, row: dict[str, float]) -> dict[str, Any]:
        """Return the verdict of a row."""
        self.done += 1
        if self.done == self._warm + 1:
            self.began = time.process_time()
        verdict: dict[str, Any] = self._graph.score_rows([row])["verdicts"][0]
        return verdict


def main(bundle: str, brokers: str, source: str, target: str, group: str, rows: str, guarantee: str) -> None:
    """Score a topic."""
    scorer = RowScorer(Path(bundle), int(rows))
    app = Application(
        brokers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        loglevel="ERROR",
        auto_create_topics=False,
    )
    stream = app.dataframe(app.topic(source, value_deserializer="json"))
    stream.apply(scorer).to_topic(app.topic(target, value_serializer="json"))
    app.run(count=int(rows), collect=False)
    sys.stdout.write(json.dumps({"cpu": time.process_time() - scorer.began, "rows": scorer.done - int(rows) // 10}))


if __name__ == "__main__":
    main(*sys.argv[1:])
