"""Train a bundle with the command line, to measure how it scores. Speed does not depend on how long it was trained."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness.options import unless_tiny
from benchmarks.harness.processes import measure

STEPS = unless_tiny(100, 50)
TRAIN = "import sys, training.fit; training.fit.STEPS = int(sys.argv.pop(1)); from residuum.cli import main; main()"


def train(normal: Path, to: Path, *flags: str, steps: int = STEPS) -> Path:
    """Train on a file of normal rows, for fewer steps than usual, and return the version's folder."""
    measure(sys.executable, "-c", TRAIN, steps, "train", normal, "--to", to, *flags)
    return to / "1"
