"""Standard error that cannot fail, and signals and closed standard files: real pipes, devices and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving.standard_error import MAX_QUEUED, StandardError, lost_lines
from tests.data.make_bundle import KEPT, VERDICTS

DEVICE = "/dev/full"


def test_what_a_full_device_does_not_take_is_counted() -> None:
    before = lost_lines.count
    with open(DEVICE, "wb", buffering=0) as file:  # noqa: PTH123 - its descriptor is what is wanted
        assert StandardError(file.fileno()).write(b"one\ntwo\n") == 8
    assert lost_lines.count - before == 2


def test_a_torn_line_is_ended_before_the_next_one(tmp_path: Path) -> None:
    """The disk is full within a line, and has room again later."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6, resource.RLIM_INFINITY)); "
    again = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)); "
    write = "stream.write(b'one\\ntwo\\nthree\\n'); "
    code = f"{limit}from serving.standard_error import *; stream = StandardError(2); {write}{again}{write}print(lost_lines.count)"
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run([sys.executable, "-c", code], stderr=log, stdout=subprocess.PIPE, check=True)
    assert (tmp_path / "log").read_bytes() == b"one\ntw\none\ntwo\nthree\n"
    assert int(done.stdout) == 2


def test_a_full_pipe_that_is_not_read_holds_nothing_up() -> None:
    reader, writer = os.pipe()
    stream, before = StandardError(writer), lost_lines.count
    stream.write_in_background()
    line = b"x" * 999 + b"\n"
    for _ in range(2 * MAX_QUEUED):
        stream.write(line)
    assert lost_lines.count > before
    stream.end_background()  # returns, though nothing has been written
    lost = lost_lines.count
    stream.write(b"after the end\n")
    assert lost_lines.count == lost + 1
    os.close(reader)


def test_what_is_read_is_complete_and_in_order() -> None:
    reader, writer = os.pipe()
    stream, read = StandardError(writer), bytearray()

    def keep() -> None:
        while chunk := os.read(reader, 65536):
            read.extend(chunk)

    thread = threading.Thread(target=keep)
    thread.start()
    stream.write_in_background()
    lines = [b"%d\n" % number for number in range(5000)]
    for line in lines:
        stream.write(line)
    stream.end_background()
    stream.write(b"directly\n")
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(read) == b"".join(lines) + b"directly\n"


@pytest.mark.parametrize("redirection", [f"2>{DEVICE}", "2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("inspect nowhere --debug", 2)])
def test_exit_codes_do_not_depend_on_standard_error(redirection: str, arguments: str, code: int) -> None:
    warned = "import sys, warnings; sys.argv[0] = 'residuum'; from residuum.cli import main; warnings.warn('a warning'); main()"
    command = f'exec {sys.executable} -c "{warned}" {arguments} {redirection}'
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, check=False)
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)


def test_a_signal_within_a_callback_of_an_import_ends_the_command() -> None:
    """Python ignores exceptions in callbacks of weak references, as the import system has them, and in `__del__`."""
    code = (
        "import os, signal, time, residuum.cli.command as command\n"
        "class Callback:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.001)\n"
        "command.exit_on_signals()\n"
        "with command.complete_output():\n"
        "    callback = Callback()\n"
        "    del callback\n"
        "    time.sleep(20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False, timeout=10)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == b""


DROPPED = """
import os, signal, time, typer, residuum.cli.command as command
def import_extension():
    try:
        os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.001)
    except BaseException as error:
        if {replaced}: raise ImportError("initialization failed") from error
command.exit_on_signals()
with command.complete_output():
    try:
        with command.reported_errors():
            import_extension()
            time.sleep(20)
    except typer.Exit as error:
        raise SystemExit(error.exit_code)
"""


@pytest.mark.parametrize("replaced", [False, True])
def test_a_signal_within_the_import_of_an_extension_module_ends_the_command(*, replaced: bool) -> None:
    """Such modules catch what comes while they are imported, and drop it or raise an ImportError instead."""
    done = subprocess.run(
        [sys.executable, "-c", DROPPED.format(replaced=replaced)], stderr=subprocess.PIPE, check=False, timeout=10
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"score {KEPT} {VERDICTS} --to - >&-", "error: cannot write standard output: it is closed"),
        (f"stream {KEPT} --from - --to - >&- </dev/null", "error: cannot write standard output: it is closed"),
        (f"stream {KEPT} --from - --to - <&-", "error: standard input is closed: pipe rows into it, or name a file"),
    ],
)
def test_standard_files_that_are_closed_are_an_error_of_the_user(arguments: str, message: str) -> None:
    command = f"exec {sys.executable} -m residuum {arguments}"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, message)
