"""A file of a series, sent to a service as one stream of lines: all of it is one run there, and verdicts come back meanwhile.

A block is sent by a thread while its verdicts are read, so that neither side waits for the other with full buffers.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import polars as pl

from detector import reasons
from detector.cells import category_text
from detector.errors import ResiduumError, SettingError, TableError
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.rejects import Reject
from detector.row_reasons import Reason
from detector.scorer import Verdicts
from detector.series import require_window
from detector.windows import BETWEEN, FATES, JUDGED

PIECE = 64 * 1024  # bytes of a chunk
PATIENCE = 60.0  # seconds for which a busy service is asked again
BUSY = frozenset({429, 503})
NDJSON = "application/x-ndjson"

Connect = Callable[[], http.client.HTTPConnection]
Refuse = Callable[[int, bytes], ResiduumError]


class _Fault(msgspec.Struct):
    """What a service says of a fault in the middle of a stream."""

    detail: str = ""


class _Rejected(msgspec.Struct):
    """Why a row was rejected."""

    column: str
    found: str
    expected: str


class _Line(msgspec.Struct):
    """A line of the answer: a verdict, a rejected row, or the last one."""

    anomaly_score: float | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    state: str = ""
    reasons: list[Reason] = []
    rejected: _Rejected | None = None
    error: _Fault | None = None
    done: dict[str, object] | None = None


_LINE = msgspec.json.Decoder(_Line)


class Exchange:
    """One stream."""

    def __init__(
        self, connect: Connect, path: str, headers: dict[str, str], url: str, manifest: Manifest, refuse: Refuse
    ) -> None:
        """Take where to send it; it is opened when there are rows. `refuse` makes an error of an answer that is none."""
        self._connect = connect
        self._path = path
        self._headers = headers | {"content-type": NDJSON, "transfer-encoding": "chunked"}
        self._url = url
        self._manifest = manifest
        self._refuse = refuse
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._on: dict[str, bool] = {}  # whether there is an alarm, by key

    def score(self, frame: pl.DataFrame, rows: np.ndarray, *, file: str, explain: Explain, top: int) -> Verdicts:
        """Judge every row of a frame that follows those before.

        Raises:
            SettingError: reasons are asked for which a service does not give, or it does not answer.
            TableError: it refuses the rows, or they lack the time or the key.
        """
        if explain == "all":
            raise SettingError("a service explains anomalies only: leave --reasons all out")
        window = self._manifest.window
        assert window is not None  # noqa: S101 - the caller knows
        require_window(frame.columns, window)
        wanted = dict.fromkeys([*(column.name for column in self._manifest.columns), *window.columns])
        lines = frame.select(*wanted).write_ndjson().encode()
        try:
            said = self._asked(lines, frame.height, 0 if explain == "none" else top)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            self.abort()
            raise SettingError(f"{self._url} broke off: {str(error) or type(error).__name__}") from error
        except BaseException:
            self.abort()
            raise
        keys = [""] * frame.height if window.key is None else frame[window.key].cast(pl.String).to_list()
        return _verdicts(said, rows, file, self._begun(said, keys))

    def close(self) -> None:
        """End the stream, if it was begun, and make sure that the service has seen its end.

        Raises:
            SettingError: it has not.
        """
        if self._connection is None or self._response is None:
            return
        try:
            self._connection.send(b"0\r\n\r\n")
            last = _LINE.decode(self._response.readline())
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise SettingError(f"{self._url} broke off: {str(error) or type(error).__name__}") from error
        finally:
            self.abort()
        if last.done is None:
            raise SettingError(
                f"{self._url} broke off: {last.error.detail if last.error else 'it answers more rows than it was sent'}"
            )

    def abort(self) -> None:
        """Drop the connection."""
        if self._connection:
            self._connection.close()
        self._connection = self._response = None

    def _asked(self, lines: bytes, rows: int, top: int) -> list[_Line]:
        """Send lines, and read what is said of each."""
        if not rows:
            return []
        until = time.monotonic() + PATIENCE
        while self._response is None:
            connection = self._connection = self._opened(f"{self._path}?reasons={top}")
            with _sent(connection, lines):
                response = connection.getresponse()
                if response.status == http.client.OK:
                    self._response = response
                    return self._read(response, rows)
                body = response.read()
                self.abort()
            if response.status not in BUSY or time.monotonic() > until:
                raise self._refuse(response.status, body)
            time.sleep(1.0)
        connection = self._connection or self._connect()
        with _sent(connection, lines):
            return self._read(self._response, rows)

    def _opened(self, path: str) -> http.client.HTTPConnection:
        """Begin a request."""
        connection = self._connect()
        connection.putrequest("POST", path)
        for name, value in self._headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection

    def _read(self, response: http.client.HTTPResponse, rows: int) -> list[_Line]:
        """Read a line for each row."""
        said = []
        for _ in range(rows):
            line = _LINE.decode(response.readline())
            if line.error:
                raise TableError(f"{self._url} ends with an error: {line.error.detail}")
            said.append(line)
        return said

    def _begun(self, said: Sequence[_Line], keys: Sequence[str | None]) -> int:
        """Count the alarms that begin; one that is on when a window begins anew has ended."""
        begun = 0
        for line, key in zip(said, keys, strict=True):
            if line.rejected or line.state == FATES[BETWEEN]:
                continue
            name, is_on = category_text(key or ""), line.is_anomaly is True
            begun += is_on and not self._on.get(name, False)
            self._on[name] = is_on
        return begun


@contextlib.contextmanager
def _sent(connection: http.client.HTTPConnection, lines: bytes) -> Iterator[None]:
    """Send lines as long as the block lasts, and then the rest of them; whoever reads learns what goes wrong."""

    def send() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for start in range(0, len(lines), PIECE):
                piece = lines[start : start + PIECE]
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    thread = threading.Thread(target=send, name="sending", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        connection.close()  # so that nothing is sent any more
        raise
    finally:
        thread.join()


def _verdicts(said: Sequence[_Line], rows: np.ndarray, file: str, begun: int) -> Verdicts:
    """Turn an answer into verdicts."""
    accepted = np.array([line.rejected is None for line in said], dtype=bool)
    taken = [line for line in said if line.rejected is None]
    fates = np.array([FATES.index(line.state) for line in taken], dtype=np.int8)
    told = [
        (at, rank, each.column, each.found, each.expected, each.share)
        for at, line in enumerate(taken)
        for rank, each in enumerate(line.reasons, 1)
    ]
    return Verdicts(
        score=np.array([line.anomaly_score for line in taken], dtype=np.float64),
        p_value=np.array([line.p_value for line in taken], dtype=np.float64),
        is_anomaly=np.array([fate == JUDGED and line.is_anomaly for fate, line in zip(fates, taken, strict=True)], dtype=bool),
        reasons=pl.DataFrame(told, schema=reasons.SCHEMA, orient="row"),
        accepted=accepted,
        rejects=[
            Reject(int(row), line.rejected.column, line.rejected.found, line.rejected.expected, file)
            for row, line in zip(rows.tolist(), said, strict=True)
            if line.rejected
        ],
        infinite=0,  # a service does not say
        fates=fates,
        alarms=begun,
    )
