"""The usual way to score a file: pandas reads, PyOD's AutoEncoder scores, pandas writes.

Run it in a process of its own: `python -m benchmarks.peers.pandas_pyod TABLE OUTPUT ROWS [BATCH]`. It trains for one epoch
(speed does not depend on the number of epochs), then prints as JSON what reading, scoring and writing took, without start-up
and training. PyOD has its defaults: batches of 32 unless BATCH is given, and the default `contamination`, which moves a
threshold and no score; only `verbose=0`, because a progress bar is not part of the job.
"""

import json
import sys
import time

import pandas as pd
from pyod.models.auto_encoder import AutoEncoder

TRAINING_ROWS = 3200


def main() -> None:
    """Train, then read, score and write, and print the times."""
    table, output, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    batch = int(sys.argv[4]) if sys.argv[4:] else None
    detector = AutoEncoder(epoch_num=1, verbose=0).fit(pd.read_csv(table, nrows=TRAINING_ROWS))
    wall, cpu = time.perf_counter(), time.process_time()
    frame = pd.read_csv(table, nrows=rows)
    scores = detector.decision_function(frame, batch_size=batch)
    pd.DataFrame({"anomaly_score": scores}).to_csv(output, index=False)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "rows": len(frame)}))


if __name__ == "__main__":
    main()
