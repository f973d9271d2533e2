"""Claim: scoring a file costs little more than reading it, running the graph and writing the score.

`residuum score` on rows of 30 numbers is compared with a bare loop (`benchmarks.baselines.file_loop`) over the same file and
graph, each in a process of its own with the same number of polars threads, in turns: bare / ours must be at least 0.85 in CPU
time and in wall time. The time of `residuum score` includes starting Python, verifying the bundle, validating every block,
p-values, verdicts, reasons for the anomalies and syncing the file to disk. `--reasons all` and mixed columns (the test rows of
NSL-KDD, repeated) have bare loops of their own and no target.

Compared with pandas + PyOD's AutoEncoder (`benchmarks.peers.pandas_pyod`), per row: at least 10 times as fast. PyOD scores
fewer rows, because all would take minutes, and its start-up and training do not count; ours scores all rows, start-up included.

Peak memory on a file ten times as long: at most 1.1 times as much.

The targets are for a million rows: in the quick form start-up weighs too much, and only memory has a target.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import datasets, generated_rows
from benchmarks.harness.bundles import train
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.processes import RESIDUUM, Pairs, Usage, in_turns, measure
from benchmarks.harness.report import Line, Report, line

FULL, QUICK = Size(1_000_000, 5), Size(200_000, 3)
TRAINING_ROWS = 20_000
LONGER = 10
MIXED_SHARE = 0.5  # of the rows; NSL-KDD's have 41 columns
PEER_SHARE = 0.05  # of the rows
PEER_BATCH = 2048
AT_LEAST = 0.85
FASTER = 10.0
MEMORY = 1.1
MEMORY_ROUNDS = 1


class Work(NamedTuple):
    """The files of one comparison."""

    folder: Path
    model: Path
    table: Path

    def bare(self, kind: str, threads: int) -> Usage:
        """Run a bare loop."""
        return measure(
            sys.executable,
            "-m",
            "benchmarks.baselines.file_loop",
            kind,
            self.model,
            self.table,
            self.folder / "bare.csv",
            threads=threads,
        )

    def ours(self, threads: int, *flags: str) -> Usage:
        """Run `residuum score`."""
        output = self.folder / "ours.csv"
        return measure(RESIDUUM, "score", self.model, self.table, "--to", output, "--force", *flags, threads=threads)


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("batch_scoring", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        report.log(f"generating {options.rows:,} rows x {generated_rows.COLUMNS} columns and training a detector")
        table = generated_rows.write(folder / "today.csv", options.rows, seed=1)
        normal = generated_rows.write(folder / "normal.csv", min(TRAINING_ROWS, options.rows), seed=10_000)
        work = Work(folder, train(normal, folder / "numbers"), table)
        beside_bare(report, work, options)
        beside_pyod(report, work, options)
        mixed(report, folder, options)
        memory(report, work, options)
    report.close(options.json)


def beside_bare(report: Report, work: Work, options: Options) -> None:
    """Compare on numbers with one thread and with all, and with reasons for every row."""
    target = AT_LEAST if options.rows >= FULL.rows else None
    for threads in unless_tiny(sorted({1, os.cpu_count() or 1}), [1]):
        pairs = in_turns(options.rounds, partial(work.bare, "numbers", threads), partial(work.ours, threads))
        report.add(*ratios(f"30 numbers, {_threads(threads)}", pairs, options.rows, target))
    pairs = in_turns(options.rounds, partial(work.bare, "reasons", 1), partial(work.ours, 1, "--reasons", "all"))
    report.add(*ratios("30 numbers, --reasons all", pairs, options.rows))


def beside_pyod(report: Report, work: Work, options: Options) -> None:
    """Compare on numbers with pandas and PyOD."""
    if reason := _no_pyod():
        report.leave_out(f"pandas + PyOD: {reason}")
        return
    rows = max(1000, int(PEER_SHARE * options.rows))
    for label, batch in (("", []), (f" in batches of {PEER_BATCH}", [PEER_BATCH])):
        pairs = in_turns(options.rounds, partial(_pyod, work, rows, batch), partial(work.ours, 1))
        wall, cpu = zip(*(_per_row(peer, rows, ours, options.rows) for peer, ours in pairs), strict=True)
        target = FASTER if options.rows >= FULL.rows and not batch else None
        note = f"per row; PyOD scored {rows:,} rows, ours {options.rows:,}"
        report.add(line(f"pandas + PyOD{label} / ours, cpu", cpu, at_least=target, note=note))
        report.add(line(f"pandas + PyOD{label} / ours, wall", wall, at_least=target, note=note))


def mixed(report: Report, folder: Path, options: Options) -> None:
    """Compare on numbers, booleans and categories."""
    if not datasets.SHARED.is_dir():
        report.leave_out(f"mixed columns: {datasets.ABSENT}")
        return
    source = datasets.nsl_kdd("test_labelled.csv")
    with source.open("rb") as file:
        height = sum(1 for _ in file) - 1
    times = max(1, round(MIXED_SHARE * options.rows / height))
    table = generated_rows.repeat(source, folder / "mixed.csv", times)
    work = Work(folder, train(datasets.nsl_kdd("train_normal.csv"), folder / "mixed"), table)
    pairs = in_turns(options.rounds, partial(work.bare, "mixed", 1), partial(work.ours, 1))
    report.add(*ratios("mixed columns (NSL-KDD)", pairs, times * height))
    table.unlink()


def memory(report: Report, work: Work, options: Options) -> None:
    """Compare the peak memory on a file and on one ten times as long."""
    longer = work._replace(table=generated_rows.repeat(work.table, work.folder / "longer.csv", LONGER))
    pairs = in_turns(MEMORY_ROUNDS, partial(longer.ours, 1), partial(work.ours, 1))
    peaks = [long.peak / short.peak for long, short in pairs]
    long, short = pairs[0]
    note = f"{long.peak:,.0f} MB for {LONGER * options.rows:,} rows, {short.peak:,.0f} MB for {options.rows:,}"
    target = MEMORY if options.rows >= QUICK.rows else None
    report.add(line("peak memory, ten times the rows", peaks, at_most=target, note=note))


def ratios(name: str, pairs: Pairs, rows: int, at_least: float | None = None) -> list[Line]:
    """Return the lines for bare / ours in CPU time and in wall time."""
    wall, cpu = zip(*(bare.over(ours) for bare, ours in pairs), strict=True)
    note = "bare {:.2f}, ours {:.2f} us per row"
    by_cpu = note.format(*(1e6 * min(pair[side].cpu for pair in pairs) / rows for side in (0, 1)))
    by_wall = note.format(*(1e6 * min(pair[side].wall for pair in pairs) / rows for side in (0, 1)))
    return [
        line(f"{name}: bare / ours, cpu", cpu, at_least=at_least, note=by_cpu),
        line(f"{name}: bare / ours, wall", wall, at_least=at_least, note=by_wall),
    ]


def _pyod(work: Work, rows: int, batch: list[int]) -> Usage:
    """Run the peer and return the usage that it prints."""
    used = measure(
        sys.executable, "-m", "benchmarks.peers.pandas_pyod", work.table, work.folder / "peer.csv", rows, *batch, threads=1
    )
    printed = json.loads(used.output.splitlines()[-1])
    return used._replace(wall=printed["wall"], cpu=printed["cpu"])


def _per_row(peer: Usage, peer_rows: int, ours: Usage, our_rows: int) -> tuple[float, float]:
    """Return the ratios of wall and CPU time per row."""
    wall, cpu = peer.over(ours)
    return wall * our_rows / peer_rows, cpu * our_rows / peer_rows


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _no_pyod() -> str:
    """Return why PyOD cannot be used, or an empty text; its deep models import tqdm, which it does not require."""
    absent = [name for name in ("pandas", "pyod", "tqdm") if importlib.util.find_spec(name) is None]
    return f"pip install {' '.join(absent)}" if absent else ""


if __name__ == "__main__":
    main()
