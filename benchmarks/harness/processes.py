"""Measured child processes: wall time, CPU time and peak memory.

A process inherits the peak memory of its parent, and the CPU time of children is only known per parent that waits for them.
So a small launcher (this file, run as a script, which is why it imports so little) stands in between.
"""

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RESIDUUM = str(Path(sysconfig.get_path("scripts")) / "residuum")


class Usage(NamedTuple):
    """The cost of a process, and its standard output."""

    wall: float  # seconds
    cpu: float  # seconds, all threads, user and system
    peak: float  # MB of resident memory
    output: str

    def over(self, other: "Usage") -> tuple[float, float]:
        """Return the ratios of wall time and CPU time to another process."""
        return self.wall / other.wall, self.cpu / other.cpu


Run = Callable[[], Usage]
Pairs = list[tuple[Usage, Usage]]  # per round: other, ours


def measure(*command: object, threads: int = 0) -> Usage:
    """Run a command to its end; `threads` limits those of polars and numerical libraries (0: no limit).

    Raises:
        RuntimeError: the command failed.
    """
    arguments = [str(part) for part in command]
    reader, writer = os.pipe()
    launcher = [sys.executable, "-I", "-S", __file__, str(writer), *arguments]
    done = subprocess.run(
        launcher, cwd=ROOT, env=_environment(threads), pass_fds=[writer], capture_output=True, text=True, check=False
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        figures = pipe.read()
    if done.returncode or not figures:
        raise RuntimeError(f"{' '.join(arguments)} failed with exit code {done.returncode}:\n{done.stderr or done.stdout}")
    wall, cpu, peak = map(float, figures.split())
    return Usage(wall, cpu, peak, done.stdout)


def in_turns(rounds: int, other: Run, ours: Run) -> Pairs:
    """Run both in each round, alternating which one starts."""
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            our_usage, other_usage = ours(), other()
        else:
            other_usage, our_usage = other(), ours()
        pairs.append((other_usage, our_usage))
    return pairs


def _environment(threads: int) -> dict[str, str]:
    """Return this process's environment with threads limited and bytecode caching on, Python's default."""
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS") if threads else ()
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "NO_COLOR": "1", "TERM": "dumb", **dict.fromkeys(names, str(threads))}


def _launch(writer: int, command: list[str]) -> int:
    """Run a command, write its cost to the pipe and return its exit code."""
    os.set_inheritable(writer, False)  # noqa: FBT003 - the standard library's own
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(process, 0)
    wall = time.perf_counter() - began
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss: bytes there, kB elsewhere
    os.write(writer, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss / unit}".encode())
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_launch(int(sys.argv[1]), sys.argv[2:]))
