"""Several worker processes on one port; the supervisor starts them, and restarts those that die.

The operating system distributes connections among the workers. State that must be in one place (`aggregator`, sessions) is in
worker 0, which the others reach over a Unix socket (`internal_api`, `proxy`) in a private folder. Metrics are separate for
each worker: worker k serves its own at port --metrics-port + k, and a file lists these ports for Prometheus (file_sd).
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
from serving.http.process.service import WorkerIdentity
from serving.http.process.sockets import bind
from serving.http.process.worker import EXIT_DELAY, run_worker
from serving.log import configure_logging, log
from serving.standard_error import install

RESTART_DELAY = 1.0  # seconds
STOP_INTERVAL = 0.5  # seconds after which a supervisor that waits notices that it shall stop
KILL_DELAY = EXIT_DELAY + 1  # seconds after the drain timeout

_SPAWN = multiprocessing.get_context("spawn")


class WorkerProcess(NamedTuple):
    """A worker process, and the pipe over which it reports that it listens, or why it cannot."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection


class Supervisor:
    """Starts and restarts the workers of a service."""

    def __init__(self, path: Path, settings: HttpSettings) -> None:
        """Choose the port.

        Raises:
            SettingError: the address is not available, or there is no folder for the file of metrics targets.
        """
        configure_logging(settings.log)
        targets = settings.metrics_targets
        if targets and not targets.absolute().parent.is_dir():
            raise SettingError(f"cannot write {targets}: there is no folder {targets.parent}")
        with bind(settings) as bound:  # not shared, so that another service on this port is noticed
            port: int = bound.getsockname()[1]
        self._path = path
        self._settings = msgspec.structs.replace(settings, port=port)
        self._workers: dict[int, WorkerProcess] = {}
        self._socket = Path()
        self._stopping = False
        self._terminated: set[int | None] = set()  # process IDs

    def run(self) -> None:
        """Serve until a signal arrives.

        Raises:
            ResiduumError: a worker cannot start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        with _private_folder() as folder:
            self._socket = Path(folder) / "worker-0"
            self._run()

    def _run(self) -> None:
        try:
            for number in range(self._settings.workers):
                self._workers[number] = self._start(number)
            for worker in self._workers.values():
                self._wait_until_listening(worker)
            self._write_metrics_targets()
            self._restart_workers()
        finally:
            self._stop()
            self._join()

    def _start(self, number: int, *, is_restart: bool = False) -> WorkerProcess:
        pipe, parent = _SPAWN.Pipe()
        args = self._path, self._settings, WorkerIdentity(number, self._socket, is_restart), parent
        process = _SPAWN.Process(target=_run_in_child, args=args, name=f"worker {number}")
        process.start()
        parent.close()
        return WorkerProcess(process, pipe)

    def _restart_workers(self) -> None:
        """Restart workers that die, until a signal arrives."""
        while not self._stopping:
            numbers = {worker.process.sentinel: number for number, worker in self._workers.items()}
            for sentinel in wait(list(numbers), STOP_INTERVAL):
                if self._stopping:
                    return
                number = numbers[sentinel]  # type: ignore[index]  # one of those that were waited for
                log().error("worker died", worker=number, exit_code=self._workers[number].process.exitcode)
                time.sleep(RESTART_DELAY)
                if not self._stopping:
                    self._restart(number)

    def _restart(self, number: int) -> None:
        """Start a worker again; one that cannot be started stays a dead one, which is found at the next look."""
        try:
            worker = self._start(number, is_restart=True)
        except OSError as error:  # as of a system that is short of memory, processes or files
            log().error("worker not restarted", worker=number, error=str(error))
            return
        self._workers[number].pipe.close()
        self._workers[number] = worker

    def _signalled(self, *_signal: object) -> None:
        """Stop the workers; a second signal kills them."""
        if self._stopping:
            for worker in self._workers.values():
                worker.process.kill()
        self._stop()

    def _stop(self) -> None:
        """Send SIGTERM to the workers that have not got it yet."""
        self._stopping = True
        for worker in self._workers.values():
            if worker.process.pid not in self._terminated:
                self._terminated.add(worker.process.pid)
                worker.process.terminate()

    def _join(self) -> None:
        """Wait for the workers, and kill those that take too long."""
        deadline = time.monotonic() + self._settings.drain_delay + self._settings.drain_timeout + KILL_DELAY
        for worker in self._workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()

    def _wait_until_listening(self, worker: WorkerProcess) -> None:
        """Wait until a worker listens, or until a signal has ended it.

        Raises:
            ResiduumError: it cannot start.
        """
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            message = "" if self._stopping else "a worker ended before it listened"
        if message:
            raise ResiduumError(message)

    def _write_metrics_targets(self) -> None:
        """Write the file that lists the metrics ports, in the format of Prometheus' file_sd; without it the service runs too."""
        settings = self._settings
        path = settings.metrics_targets
        if path is None or settings.metrics_port is None:
            return
        targets = [f"{settings.host}:{settings.metrics_port + number}" for number in range(settings.workers)]
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_bytes(msgspec.json.encode([{"targets": targets, "labels": {"job": "residuum"}}]) + b"\n")
            temporary.replace(path)
        except OSError as error:
            log().error("metrics targets not written", file=str(path), error=error.strerror)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a folder that no other user can open.

    Raises:
        SettingError: it cannot be created.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="residuum-", ignore_cleanup_errors=True)
    except OSError as error:
        detail = f"cannot create a folder for the workers' socket: {error.strerror}; set TMPDIR to another folder"
        raise SettingError(detail) from error


def _run_in_child(path: Path, settings: HttpSettings, identity: WorkerIdentity, parent: Connection) -> None:
    """Run a worker, in its process."""
    install()
    try:
        with bind(settings, shared=True) as bound:
            run_worker(path, settings, bound, identity, parent)
    except ResiduumError as error:
        parent.send(str(error))
