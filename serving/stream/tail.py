"""Tailing a file as `tail -F` does, through rotations; the position is kept in a state file beside it (`state_store`).

A name is not a file: rotation renames the file, and its writer may go on in it for a while; the file is compressed, or copied and
truncated. The source reads each file of the name to its end, then the next one (`rotation` knows their order, `file_content`
recognises a file that has another name or inode). It leaves a file that has another name now once nothing was added to it for a
while and a newer one has content. What it cannot find is logged with its range of bytes, and counted.

Delivery is at least once: the position is written after the verdicts, so the last batch may be scored again after a sudden end.
The windows of series are those at the position, so its verdicts are the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detector.errors import StreamError
from detector.files.compression import DECOMPRESSORS, DamagedFile
from serving.log import log
from serving.stream.base import FileObserver
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.file_content import FileContent, Truncated, find_content, open_content
from serving.stream.rotation import Generations, NamedFile
from serving.stream.state_store import FilePosition, StateStore
from serving.stream.text import BATCH_BYTES, LineBatch, LineBuffer, LineSource

ROTATION_IDLE = 5.0
SCAN_INTERVAL = 1.0  # seconds between two lists of the folder while there is no newer file with content


class TailedFile:
    """A file that is being read, and its unfinished line."""

    def __init__(self, name: str, content: FileContent, row: int = 1, *, is_finished: bool = False) -> None:
        """Read from the content's offset on; a finished one gets no more lines."""
        self.content = content
        self._name = name
        self.lines = LineBuffer(name, row)
        self.is_finished = is_finished
        self.size = content.offset  # the largest that was seen
        self.has_lines = row > 1  # whether a complete line was read
        self._grown = self._polled = time.monotonic()
        self._age = 0.0  # seconds since it was modified, when it was polled

    def read(self) -> bool:
        """Read new bytes, and return whether there were any.

        Raises:
            Truncated, DamagedFile: as `FileContent.read`.
        """
        self._polled, now = time.monotonic(), self.content.stat
        self._age, self.size = time.time() - now.st_mtime, max(self.size, now.st_size)
        is_start = self.lines.row == 1 and not len(self.lines)
        if is_start:
            self.content.skip_hole()
        data = self.content.read(BATCH_BYTES)
        self.lines.add(data.lstrip(b"\0") if is_start else data)  # a hole that was copied is no hole
        if data:
            self._grown = time.monotonic()
            self.has_lines = self.has_lines or b"\n" in data
        return bool(data)

    @property
    def end(self) -> FilePosition:
        """The position after everything that was read, be the last line complete or not."""
        return self.content.position(0, self.lines.row, None)

    def is_idle(self, seconds: float) -> bool:
        """Return whether nothing was added for so long, when it was read last."""
        return self.is_finished or self.content.is_compressed or max(self._polled - self._grown, self._age) >= seconds

    def take_batch(self, since: int) -> LineBatch:
        """Return the complete lines, with the position after them."""
        batch = self.lines.take_batch()
        if len(batch):
            batch.end = self.position(since)
        self.content.keep(len(self.lines))
        return batch

    def position(self, since: int) -> FilePosition:
        """Return the position of the next line."""
        return self.content.position(len(self.lines), self.lines.row, since)

    def give_up(self) -> None:
        """Read no more of the file, and drop its unfinished line."""
        self.lines = LineBuffer(self._name, self.lines.row)
        self.content.end()
        self.is_finished = True

    def switch(self, content: FileContent, *, is_finished: bool) -> None:
        """Go on in another file that holds the same bytes, at the same offset."""
        self.content.close()
        self.content, self.is_finished = content, is_finished


class TailSource(LineSource):
    """A file that grows and is rotated."""

    def __init__(
        self,
        path: Path,
        state: Path,
        linger: float,
        rotation_idle: float = ROTATION_IDLE,
        observer: FileObserver | None = None,
    ) -> None:
        """Continue at the position in the state file, or start at the beginning of the file.

        A file with another name is left after `rotation_idle` seconds without new bytes.

        Raises:
            StreamError: the state file is invalid, or the file cannot be tailed.
        """
        super().__init__()
        if path.exists() and not path.is_file():
            raise StreamError(f"{path} is not a regular file: read it by `residuum stream --from - < {path}`")
        if path.suffix in DECOMPRESSORS:
            raise StreamError(
                f"{path} is compressed and does not grow line by line: decompress it and pipe it into `residuum stream --from -`"
            )
        self._path = path
        self._store = StateStore(state)
        self._linger = linger
        self._rotation_idle = rotation_idle
        self._observer = observer
        self._file: TailedFile | None = None
        self._left: TailedFile | None = None  # the file before, in case a writer goes on in it
        self._since = 0  # as in `FilePosition`
        self._scanned = 0.0
        self._has_warned = False
        with self._read_errors():
            if position := self._store.position():
                self._resume(position)
            else:
                self._start()

    def _read_batch(self) -> LineBatch:
        with self._read_errors():
            file = self._file = self._file or self._open_first()
            if file is None or not self._read(file):
                time.sleep(self._linger)
            # `_read` may have moved to another file
            return self._file.take_batch(self._since) if self._file else LineBatch(b"", str(self._path), 1)

    def commit(self, batch: LineBatch, changes: Sequence[ChangelogRecord]) -> None:
        """Write the position and the changes to windows of series.

        Raises:
            StreamError: the state file cannot be written.
        """
        if isinstance(batch.end, FilePosition):
            self._store.commit(batch.end, changes)

    def read_state(self, partitions: Sequence[int]) -> Iterable[ChangelogRecord]:  # noqa: ARG002 - `StreamSource`
        """Yield the windows of series at the position."""
        return self._store.records()

    def close(self) -> None:
        """Close the files and the state file."""
        self._store.close()
        for file in (self._file, self._left):
            if file:
                file.content.close()

    def _start(self) -> None:
        """Start at the beginning of the file; store what is older, so that nothing is missed if it is rotated before a commit."""
        generations = Generations(self._path)
        live = [generations.live] if generations.live else []
        older = (file.modified for file in generations.rotated if file.identity not in {named.identity for named in live})
        self._since = max(older, default=0)
        self._file = self._open_next(live)
        try:
            self._store.commit(FilePosition(0, "", 0, 0, 1, since=self._since), ())
        except StreamError as error:  # the first batch raises it, after its verdicts
            log().warning("cannot store where the file starts", error=str(error))

    def _resume(self, position: FilePosition) -> None:
        """Open the file that was read, whatever its name in the folder is now."""
        self._since = position.since or 0
        content, is_complete = find_content(self._path, position)
        if content:
            self._file = TailedFile(str(self._path), content, position.row, is_finished=not is_complete)
            if content.path != self._path and content.identity[1] != position.inode == self._live_identity()[1]:
                self._warn_of_truncation()
        elif position.offset:
            if position.since is None:
                self._since = time.time_ns()  # only the file itself is surely new
            self._lost(position.offset, None, "the file is gone: it was deleted, moved away or overwritten")

    def _open_first(self) -> TailedFile | None:
        """Open the oldest file that was not read; None if there is none yet."""
        if not self._path.exists() and not self._is_scan_due():
            return None
        return self._open_next(self._unread(Generations(self._path)))

    def _unread(self, generations: Generations) -> list[NamedFile]:
        """Return the files after the one that was left, oldest first; without one, those that its time says are newer."""
        left = self._left and self._named(generations, self._left)
        return generations.after(left, self._since) if left else generations.since(self._since)

    def _read(self, file: TailedFile) -> bool:
        """Read new bytes or go to another file, and return whether there was one or the other."""
        try:
            had_lines = file.has_lines
            if file.read():
                if file.has_lines and not had_lines:
                    self._read_skipped(file)
                return True
            self._check_left()
            is_done = file.content.identity != self._live_identity() and file.is_idle(self._rotation_idle)
            return is_done and self._go_on(file)
        except Truncated:
            self._recover_truncated(file)
        except DamagedFile as error:
            return self._recover_damaged(file, error)
        return True

    def _read_skipped(self, file: TailedFile) -> None:
        """Go back to what was written before this file: it may be truncated after a copy was made, before a line was read."""
        generations = Generations(self._path)
        following, name = self._unread(generations), self._named(generations, file)
        if name in following and (skipped := following[: following.index(name)]) and (opened := self._open_next(skipped)):
            file.content.close()
            self._file = opened

    def _go_on(self, file: TailedFile) -> bool:
        """Leave a file that has another name now, if a newer one has content; return whether it was left or has more lines."""
        if not self._has_content() and not self._is_scan_due():
            return False
        generations = Generations(self._path)
        name = self._named(generations, file)
        if name and name == generations.live:
            return self._switch_to_replacement(file)
        following = generations.after(name, self._since) if name else generations.since(self._since)
        if not any(named.stat.st_size for named in following):
            return False
        if file.read():  # written after the folder was listed
            return True
        if len(file.lines):
            file.lines.end_line()
            return True  # the line is delivered before the file is left
        return self._leave(file, following, is_gone=name is None)

    def _switch_to_replacement(self, file: TailedFile) -> bool:
        """Go on in a copy that replaced the file under its name, with more lines."""
        content, is_complete = find_content(self._path, file.end)
        if content and is_complete:
            file.switch(content, is_finished=False)
        elif content:
            content.close()
        return is_complete

    def _leave(self, file: TailedFile, following: Sequence[NamedFile], *, is_gone: bool) -> bool:
        """Go to the next file, and return whether there is one."""
        opened = self._open_next(following)
        if opened is None:
            return False
        if is_gone and file.content.offset:
            self._lost(file.content.offset, None, "the file was deleted or moved away, perhaps together with newer ones")
        # The next file was written later; a file that was compressed may have a later time.
        self._since = max(self._since, min(file.content.stat.st_mtime_ns, opened.content.stat.st_mtime_ns - 1))
        if self._left:
            self._left.content.close()
        self._file, self._left = opened, file
        return True

    def _named(self, generations: Generations, file: TailedFile) -> NamedFile | None:
        """Return the name of a file, or of one that holds its bytes; None if it is gone."""
        if name := next((named for named in generations if file.content.is_file(named)), None):
            return name
        content, _ = find_content(self._path, file.end)
        if content is None:
            return None
        with contextlib.closing(content):
            return next((named for named in generations if content.is_file(named)), None)

    def _open_next(self, following: Sequence[NamedFile]) -> TailedFile | None:
        """Open the first of some files that can be read; None if there is none, or if it was renamed meanwhile."""
        for index, named in enumerate(following):
            try:
                content = open_content(self._path, named)
            except FileNotFoundError:
                return None
            except DamagedFile:
                continue
            for skipped in following[:index]:
                self._lost(0, None, f"{skipped.path.suffix} cannot be decompressed", skipped.path)
            return TailedFile(str(self._path), content)
        return None

    def _recover_truncated(self, file: TailedFile) -> None:
        """Read the rest of a truncated file from the copy that was made of it, or go to what came after it."""
        self._warn_of_truncation()
        content, is_complete = find_content(self._path, file.end, file.content.identity)
        if content and is_complete:
            log().warning("file was truncated: reading the rest from its copy", file=str(self._path), copy=str(content.path))
            file.switch(content, is_finished=True)
            return
        log().warning("file was truncated: reading it from the beginning", file=str(self._path))
        start = file.content.offset - len(file.lines)
        end = file.content.offset if content else max(file.content.offset, file.size)
        if start < end:
            self._lost(start, end, "the file was truncated, and no copy holds them")
        file.content.close()
        self._file = TailedFile(str(self._path), content, file.lines.row, is_finished=True) if content else None

    def _recover_damaged(self, file: TailedFile, error: DamagedFile) -> bool:
        """Wait until a compressed file is complete, or give up the rest of it; return whether to go on at once."""
        content = None
        if time.time() - file.content.stat.st_mtime < self._rotation_idle:
            content, _ = find_content(self._path, file.end)
        if content:
            file.switch(content, is_finished=False)
            return False
        self._lost(file.content.offset - len(file.lines), None, f"the file is damaged: {error}", file.content.path)
        file.give_up()
        return True

    def _live_identity(self) -> tuple[int, int]:
        """Return device and inode of the file that has the tailed name now; zeros if there is none."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return now.st_dev, now.st_ino

    def _has_content(self) -> bool:
        try:
            return self._path.stat().st_size > 0
        except FileNotFoundError:
            return False

    def _is_scan_due(self) -> bool:
        now = time.monotonic()
        if is_due := now - self._scanned >= SCAN_INTERVAL:
            self._scanned = now
        return is_due

    def _check_left(self) -> None:
        """Count what a writer adds to the file before, which was left."""
        file = self._left
        if file is None or file.content.is_closed:
            return
        if (size := file.content.stat.st_size) > file.size and not file.content.is_compressed:
            reason = f"added to a rotated file after {self._rotation_idle:g} s without new lines: raise --rotation-idle"
            self._lost(file.size, size, reason, file.content.path)
            file.size = size
        if file.content.is_deleted:
            file.content.close()  # frees its space on the disk

    def _lost(self, start: int, end: int | None, reason: str, path: Path | None = None) -> None:
        """Log and count bytes that were not read; the end may be unknown."""
        log().warning("lines of a file were lost", file=str(path or self._path), start=start, end=end, reason=reason)
        if self._observer:
            self._observer.lost(str(self._path), end - start if end else 0)

    def _warn_of_truncation(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            advice = "lines written between copy and truncation are lost and cannot be counted: rotate by create instead"
            log().warning("file is rotated by copytruncate", file=str(self._path), advice=advice)

    @contextlib.contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StreamError(f"{error.filename or self._path} cannot be read: {error.strerror}") from error
