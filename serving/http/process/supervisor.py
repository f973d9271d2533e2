"""Several processes on one port; this one only starts them, and again where one dies.

The system deals connections out among the workers. What must be in one place (`hub`) is in worker 0, which the others reach
over a Unix socket (`inside`, `forward`) in a folder that nobody else can open. Metrics are each worker's own: each has a port
for them, --metrics-port and the numbers behind it, and a file lists them for Prometheus (file_sd).
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import msgspec

from detector.errors import ResiduumError, SettingError
from serving.http.core.settings import HttpSettings
from serving.http.process.server import bound, run
from serving.http.process.service import WorkerIdentity
from serving.log import configure_logging, log

PAUSE = 1.0  # seconds before a worker that died is started again
GRACE = 5.0  # seconds beyond the drain timeout before a worker is killed

_SPAWN = multiprocessing.get_context("spawn")


class WorkerProcess(NamedTuple):
    """A process, and the line on which it says that it listens, or why it does not."""

    process: multiprocessing.process.BaseProcess
    line: Connection


class Supervisor:
    """The workers of one service."""

    def __init__(self, path: Path, settings: HttpSettings) -> None:
        """Take the address.

        Raises:
            SettingError: it is not to be had.
        """
        configure_logging(settings.log)
        with bound(settings) as first:  # not shared: whoever else listens there is noticed
            port: int = first.getsockname()[1]
        self._path = path
        self._settings = msgspec.structs.replace(settings, port=port)
        self._workers: dict[int, WorkerProcess] = {}
        self._socket = Path()
        self._ending = False

    def run(self) -> None:
        """Serve until a signal comes.

        Raises:
            ResiduumError: a worker cannot start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        with _private() as folder:
            self._socket = Path(folder) / "worker-0"
            self._run()

    def _run(self) -> None:
        """Start the workers, and look after them to their end."""
        try:
            for place in range(self._settings.workers):
                self._workers[place] = self._start(place)
            for worker in self._workers.values():
                _hear(worker)
            self._tell_prometheus()
            self._look_after()
        finally:
            self._end()
            self._await_all()

    def _start(self, place: int) -> WorkerProcess:
        """Start one worker."""
        line, theirs = _SPAWN.Pipe()
        args = self._path, self._settings, WorkerIdentity(place, self._socket), theirs
        process = _SPAWN.Process(target=_work, args=args, name=f"worker {place}")
        process.start()
        theirs.close()
        return WorkerProcess(process, line)

    def _look_after(self) -> None:
        """Start those again that die."""
        while not self._ending:
            sentinels = {worker.process.sentinel: place for place, worker in self._workers.items()}
            for sentinel in wait(list(sentinels)):
                if self._ending:
                    return
                place = sentinels[sentinel]  # type: ignore[index]  # what was waited for
                log().error("worker died", worker=place, exit_code=self._workers[place].process.exitcode)
                time.sleep(PAUSE)
                self._workers[place].line.close()
                self._workers[place] = self._start(place)

    def _end(self, *_signal: object) -> None:
        """Ask all to end."""
        self._ending = True
        for worker in self._workers.values():
            worker.process.terminate()

    def _await_all(self) -> None:
        """Wait for all to end, but not for ever."""
        until = time.monotonic() + self._settings.drain_timeout + GRACE
        for worker in self._workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.process.kill()
            worker.process.join()

    def _tell_prometheus(self) -> None:
        """Write the file that lists the metrics ports."""
        settings = self._settings
        if settings.metrics_targets is None or settings.metrics_port is None:
            return
        targets = [f"{settings.host}:{settings.metrics_port + place}" for place in range(settings.workers)]
        work = settings.metrics_targets.with_name(f".{settings.metrics_targets.name}.part")
        try:
            work.write_bytes(msgspec.json.encode([{"targets": targets, "labels": {"job": "residuum"}}]) + b"\n")
            work.replace(settings.metrics_targets)
        except OSError as error:
            raise SettingError(f"cannot write {settings.metrics_targets}: {error.strerror}") from error


def _private() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that nobody else can open.

    Raises:
        SettingError: there is no place for it.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="residuum-")
    except OSError as error:
        raise SettingError(f"no folder for the workers' socket: {error.strerror}; TMPDIR names another place") from error


def _hear(worker: WorkerProcess) -> None:
    """Wait until a worker listens.

    Raises:
        ResiduumError: it does not.
    """
    try:
        said = worker.line.recv()
    except EOFError:
        said = "a worker ended before it listened"
    if said:
        raise ResiduumError(said)


def _work(path: Path, settings: HttpSettings, place: WorkerIdentity, parent: Connection) -> None:
    """Be a worker."""
    try:
        with bound(settings, shared=True) as listening:
            run(path, settings, listening, place, parent)
    except ResiduumError as error:
        parent.send(str(error))
