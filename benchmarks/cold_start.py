"""Claim: the command line starts about as fast as its imports allow.

`residuum score` on one row is compared with a Python process that imports numpy, polars and onnxruntime and opens the same
graph with the same options: at most 1.5 times the CPU time. `residuum --help` is compared with `import typer`: at most 4 times.
Both run in turns, after a round that only warms up files and bytecode; a line is the median ratio of all rounds. After a score,
none of the libraries may be imported that only training or the Python API needs.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness import generated_rows
from benchmarks.harness.bundles import train
from benchmarks.harness.options import Size, parse
from benchmarks.harness.processes import RESIDUUM, Run, in_turns, measure
from benchmarks.harness.report import Report, line

FULL, QUICK = Size(2000, 41), Size(2000, 11)
SCORE, HELP = 1.5, 4.0
HEAVY = ("torch", "pandas", "sklearn", "narwhals")
OPEN = """
import sys, numpy, polars, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
IMPORTED = f"""
import sys
from residuum.cli import main
try:
    main()
finally:
    print(*(name for name in {HEAVY} if name in sys.modules))
"""


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("cold_start", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(generated_rows.write(folder / "normal.csv", options.rows, seed=10_000), folder / "model")
        score = ("score", model, generated_rows.write(folder / "one.csv", 1, seed=1), "--to", folder / "out.csv", "--force")
        imports = partial(measure, sys.executable, "-c", OPEN, model / "model.onnx")
        compare(report, "score one row / imports and graph", imports, partial(measure, RESIDUUM, *score), SCORE, options.rounds)
        typer = partial(measure, sys.executable, "-c", "import typer")
        compare(report, "--help / import typer", typer, partial(measure, RESIDUUM, "--help"), HELP, options.rounds)
        imported = measure(sys.executable, "-c", IMPORTED, *score).output.splitlines()[-1].split()
        note = f"{', '.join(imported) or 'none'} of {', '.join(HEAVY)}"
        report.add(line("heavy libraries after a score", [len(imported)], at_most=0, note=note))
    report.close(options.json)


def compare(report: Report, name: str, other: Run, ours: Run, at_most: float, rounds: int) -> None:
    """Add ours / other in CPU time, which has the target, and in wall time, which depends on the machine's load."""
    pairs = in_turns(1 + rounds, other, ours)[1:]
    wall, cpu = zip(*(our_usage.over(other_usage) for other_usage, our_usage in pairs), strict=True)
    note = "other {:.3f}, ours {:.3f} s at best"
    by_cpu = note.format(*(min(pair[side].cpu for pair in pairs) for side in (0, 1)))
    by_wall = note.format(*(min(pair[side].wall for pair in pairs) for side in (0, 1)))
    report.add(line(f"{name}, cpu", cpu, at_most=at_most, note=by_cpu), line(f"{name}, wall", wall, note=by_wall))


if __name__ == "__main__":
    main()
