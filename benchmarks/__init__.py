"""Benchmarks: one script per claim of the README, each compared with a peer or a lower bound in the same run.

    batch_scoring   `residuum score` compared with a bare loop and with pandas + PyOD; its memory
    cold_start      one row, and `--help`, compared with the unavoidable imports
    training        time to the plateau and AUROC, compared with PyOD's AutoEncoder
    false_alarms    the promised false-alarm rate on fresh normal rows
    variants        all variants on tables and digits, compared with PCA, kNN and PyOD
    series          SKAB and NAB compared with their leaderboards; speed and memory of windows
    images          magnetic tiles and MNIST compared with PCA and PyOD
    service         `residuum serve` compared with a bare handler, its peers and the libraries alone; overload
    stream          `residuum stream` compared with bare loops and quix-streams
    digits          MNIST: reconstruction, a two-dimensional code, classification from 100 labels

Run one with `python -m benchmarks.NAME [--quick] [--json FILE]`. On a shared machine times mean little and ratios much:
the things compared run in turns within one run, and a line shows the median ratio of all rounds.

`harness/` is what the scripts share, `baselines/` holds the bare loops, `peers/` the other libraries.
"""

import sys
from pathlib import Path

# Run by its path, a script puts this folder first on sys.path, where training.py would hide the package `training`.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]
