"""A writer of numbered lines whose file is rotated, by logrotate where it is installed and otherwise by the same system calls."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import zstandard

LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
ZSTD = shutil.which("zstd")


class RotatedLog:
    """A file that grows by numbered lines, and its rotations."""

    def __init__(self, path: Path, line: Callable[[int], bytes], *, is_delayed: bool | None = None, suffix: str = ".gz") -> None:
        """Create the file; `line` returns the text of a numbered line.

        `is_delayed` says whether compression is delayed to the next rotation, None that nothing is compressed.
        """
        self._is_delayed, self._suffix = is_delayed, suffix
        self.path = path
        self.count = 0
        self.is_held = False  # whether the writer may be in a file that has another name now
        self._line = line
        self._rest = b""  # of a line that was written in part
        self._file = path.open("ab", buffering=0)

    def write(self, count: int) -> None:
        """Write lines in one call, as a program that logs does."""
        lines = b"".join(self._line(number) for number in range(self.count, self.count + count))
        self._file.write(self._rest + lines)
        self._rest = b""
        self.count += count

    def write_part(self) -> None:
        """Write part of a line; the next write completes it."""
        if not self._rest:
            line = self._line(self.count)
            self._file.write(line[:7])
            self._rest = line[7:]
            self.count += 1

    def complete(self) -> None:
        """Complete a line that was written in part."""
        self._file.write(self._rest)
        self._rest = b""

    def close(self) -> None:
        """Complete the last line, and close the file."""
        self.complete()
        self._file.close()

    def reopen(self) -> None:
        """Go on in the file that has the name now, as after a signal of logrotate."""
        self.close()
        self._file = self.path.open("ab", buffering=0)
        self.is_held = False

    def rotate(self, *, is_copied: bool = False) -> None:
        """Rotate, by logrotate's create or copytruncate."""
        if self.is_held and (is_copied or self._is_delayed is not None):
            self.reopen()  # else lines are written to a deleted file, or twice to one: the documentation says so
        if is_copied or self._is_delayed is False:
            self.complete()
        (self._logrotate if LOGROTATE else self._rename)(is_copied=is_copied)
        self.is_held = not is_copied
        if self._is_delayed is False:
            self.reopen()

    def _logrotate(self, *, is_copied: bool) -> None:
        options = ["rotate 100", "copytruncate" if is_copied else "create"]
        if self._is_delayed is not None:
            options += ["compress", "delaycompress" if self._is_delayed else "nodelaycompress"]
        if self._suffix == ".zst":
            options += [f"compresscmd {ZSTD}", "compressext .zst", "compressoptions -q --rm"]
        config, state = (self.path.with_name(f"rotate.{name}") for name in ("conf", "state"))
        config.write_text(f'"{self.path}" {{\n' + "\n".join(options) + "\n}\n")
        config.chmod(0o600)
        subprocess.run([str(LOGROTATE), "--force", "--state", state, config], check=True, capture_output=True, timeout=60)

    def _rename(self, *, is_copied: bool) -> None:
        """Do what logrotate does: compress, rename the oldest first, then create, or copy and truncate, then compress."""
        folder, name = self.path.parent, self.path.name
        if self._is_delayed and (plain := folder / f"{name}.1").exists():
            compress(plain, self._suffix)
        for number in range(100, 0, -1):
            for ending in ("", self._suffix):
                if (old := folder / f"{name}.{number}{ending}").exists():
                    old.rename(folder / f"{name}.{number + 1}{ending}")
        first = folder / f"{name}.1"
        if is_copied:
            shutil.copyfile(self.path, first)
            os.truncate(self.path, 0)
        else:
            self.path.rename(first)
            self.path.touch()
        if self._is_delayed is False:
            compress(first, self._suffix)


def compress(path: Path, suffix: str) -> None:
    """Compress a file and delete it, as gzip and zstd do."""
    data, stat = path.read_bytes(), path.stat()
    compressed = path.with_name(path.name + suffix)
    compressed.write_bytes(gzip.compress(data) if suffix == ".gz" else zstandard.compress(data))
    os.utime(compressed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.unlink()
