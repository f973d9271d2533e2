"""The graph in a user function of quix-streams: `python -m benchmarks._peer_quix BUNDLE BROKERS FROM TO GROUP ROWS GUARANTEE`.

In its own environment. Says its processor time and rows, all but the first tenth of the rows.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application

from benchmarks._peer_graph import Graph


class Judge:
    """Judges row by row, as functions of quix-streams do, and takes down when the first tenth was done."""

    def __init__(self, bundle: Path, rows: int) -> None:
        self._graph = Graph(bundle)
        self._warm = rows // 10
        self.done = 0
        self.began = 0.0

    def __call__(self, row: dict[str, float]) -> dict[str, Any]:
        """Judge a row."""
        self.done += 1
        if self.done == self._warm + 1:
            self.began = time.process_time()
        verdict: dict[str, Any] = self._graph.of_rows([row])["verdicts"][0]
        return verdict


def main(bundle: str, brokers: str, source: str, to: str, group: str, rows: str, guarantee: str) -> None:
    """Judge a topic."""
    judge = Judge(Path(bundle), int(rows))
    app = Application(
        brokers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        loglevel="ERROR",
        auto_create_topics=False,
    )
    stream = app.dataframe(app.topic(source, value_deserializer="json"))
    stream.apply(judge).to_topic(app.topic(to, value_serializer="json"))
    app.run(count=int(rows), collect=False)
    sys.stdout.write(json.dumps({"cpu": time.process_time() - judge.began, "rows": judge.done - int(rows) // 10}))


if __name__ == "__main__":
    main(*sys.argv[1:])
