"""What the README claims, measured: a script a claim, each beside a peer or a limit, in one run.

    batch_scoring   `residuum score` beside a bare loop, beside pandas + PyOD, and its memory
    cold_start      one row, and `--help`, beside what has to be imported anyway
    training        time to the plateau and the AUROC reached, beside PyOD's AutoEncoder
    false_alarms    the promised false-alarm rate on fresh normal rows
    variants        the whole family on tables and digits, beside PCA, kNN and PyOD
    series          SKAB beside its board, speed and memory of windows
    service         `residuum serve` beside a bare handler and its peers, under pressure, and the libraries alone
    digits          MNIST rebuilt, on a plane, and named after 100 labels

Each runs as `python -m benchmarks.NAME [--quick] [--json FILE]`. On a machine that others use too, times are worth
little and ratios much: whatever is compared runs in turns in one run, and a line shows the median ratio of all rounds.
"""

import sys
from pathlib import Path

# Run by its path, a script puts this folder first on sys.path, where training.py would hide the package `training`.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]
