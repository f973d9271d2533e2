"""Names of rotated files: which files of a folder continue a tailed file, and in which order they were written.

Known are the names that logrotate and the logging libraries give: `readings.ndjson.1`, `readings.ndjson-20261128`,
`readings.ndjson.2026-11-28_10`, with logrotate's `extension` also `readings.1.ndjson`, a single `readings.ndjson.old`; each of
them may be compressed. A greater number is an older file, a greater date a newer one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detector.files.compression import DECOMPRESSORS

COMPRESSED = (*DECOMPRESSORS, ".bz2", ".lz4", ".xz", ".Z")  # the others are named when they are met, but cannot be read
MARK = r"(?:(?P<backup>\.(?:old|bak|prev))|(?P<separator>[-.])(?P<digits>\d+(?:[-_.:T]\d+)*))"
FIRST_YEAR = 1900  # a single smaller number counts files
SCANS = 20  # of a folder in which files are renamed meanwhile


class NamedFile(NamedTuple):
    """A file that is, was, or may have been the tailed one."""

    path: Path
    stat: os.stat_result
    style: str = ""  # of a rotated file's name; empty for the tailed name itself and for names that are no rotated file's
    order: tuple[int, ...] = ()  # within a style, of rotated files

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.stat.st_dev, self.stat.st_ino

    @property
    def modified(self) -> int:
        """When it was last modified, in nanoseconds since 1970."""
        return self.stat.st_mtime_ns


class Generations:
    """The files of a tailed name: the file itself, rotated ones, and others whose name begins the same way."""

    def __init__(self, path: Path) -> None:
        """List the folder; a rename meanwhile may hide a file or show it twice, so two lists in a row must agree."""
        self._path = path
        found = _scan(path)
        for _ in range(SCANS):
            previous, found = found, _scan(path)
            if [(file.path, file.identity) for file in previous] == [(file.path, file.identity) for file in found]:
                break
        files = _without_copies(found)
        self.live = next((file for file in files if file.path == path), None)
        self.rotated = sorted((file for file in files if file.style), key=lambda file: (file.style, file.order))
        self.others = [file for file in files if not file.style and file.path != path]

    def __iter__(self) -> Iterator[NamedFile]:
        """Yield all files, those first that more probably hold what a file held that is gone."""
        if self.live:
            yield self.live
        yield from sorted(self.rotated, key=lambda file: -file.modified)
        yield from self.others

    def after(self, anchor: NamedFile, since: int) -> list[NamedFile]:
        """Return the files that were written after one of them, oldest first.

        Those modified at or before `since` (nanoseconds since 1970) were read before the anchor, whatever their names say.
        """
        if anchor.path == self._path:
            return []
        same_style = [file for file in self.rotated if file.style == anchor.style and file.order > anchor.order]
        others = [file for file in self.rotated if file.style != anchor.style and file.modified > anchor.modified]
        return self._with_live([*same_style, *sorted(others, key=lambda file: file.modified)], since)

    def since(self, since: int) -> list[NamedFile]:
        """Return the files that were modified after a time (nanoseconds since 1970), oldest first."""
        return self._with_live(self.rotated, since)

    def _with_live(self, rotated: Sequence[NamedFile], since: int) -> list[NamedFile]:
        live = [self.live] if self.live else []
        identities = {file.identity for file in live}  # the name may be a link to the newest of the dated files
        return [file for file in rotated if file.modified > since and file.identity not in identities] + live


def _scan(path: Path) -> list[NamedFile]:
    """Return the regular files whose name is the tailed one, or may be that of a rotated one."""
    patterns = _patterns(path.name)
    found: list[NamedFile] = []
    if not path.parent.is_dir():
        return found
    with os.scandir(path.parent) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(path.name) or patterns[1].fullmatch(entry.name):
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # renamed or deleted meanwhile
                    continue
                if entry.is_file():
                    found.append(NamedFile(path.parent / entry.name, stat, *_style(entry.name, patterns)))
    return found


def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a rotated file's name, whose mark stands after the tailed name or before its extension."""
    extension = Path(name).suffix
    stem = name.removesuffix(extension)
    compressed = "|".join(map(re.escape, COMPRESSED))
    ending = rf"(?:{compressed})?"
    return (
        re.compile(rf"{re.escape(name)}{MARK}{ending}"),
        re.compile(rf"{re.escape(stem)}{MARK}{re.escape(extension)}{ending}"),
    )


def _style(name: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, tuple[int, ...]]:
    """Return the style of a rotated file's name and its place in it; an empty style if it is none."""
    for place, pattern in zip(("after", "before"), patterns, strict=True):
        if not (match := pattern.fullmatch(name)):
            continue
        if match["backup"]:
            return f"{place} backup", ()
        numbers = tuple(map(int, re.findall(r"\d+", match["digits"])))
        if numbers[0] >= FIRST_YEAR:
            return f"{place} date", numbers
        if len(numbers) == 1 and match["separator"] == ".":
            return f"{place} number", (-numbers[0],)
    return "", ()


def _without_copies(files: Sequence[NamedFile]) -> list[NamedFile]:
    """Leave out compressed files that stand beside the plain one: they may be incomplete."""
    names = {file.path for file in files}
    return [
        file for file in files if file.path.suffix not in COMPRESSED or not file.style or file.path.with_suffix("") not in names
    ]
