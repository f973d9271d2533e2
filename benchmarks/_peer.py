"""The usual way to do the same job: pandas reads, PyOD's AutoEncoder scores, pandas writes.

Run in a process of its own, `python -m benchmarks._peer TABLE TO ROWS [BATCH]`: it trains for one epoch (speed does not
depend on how long), then says as JSON what reading, scoring and writing took, start-up and training left out. PyOD as
it comes: batches of 32 unless BATCH says otherwise, `contamination` left alone (it moves a threshold, no score); only
`verbose=0`, because a progress bar is no part of the job.
"""

import json
import sys
import time

import pandas as pd
from pyod.models.auto_encoder import AutoEncoder

TRAINING_ROWS = 3200


def main() -> None:
    """Train, then read, score and write."""
    table, to, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    batch = int(sys.argv[4]) if sys.argv[4:] else None
    detector = AutoEncoder(epoch_num=1, verbose=0).fit(pd.read_csv(table, nrows=TRAINING_ROWS))
    wall, cpu = time.perf_counter(), time.process_time()
    frame = pd.read_csv(table, nrows=rows)
    scores = detector.decision_function(frame, batch_size=batch)
    pd.DataFrame({"anomaly_score": scores}).to_csv(to, index=False)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "rows": len(frame)}))


if __name__ == "__main__":
    main()
