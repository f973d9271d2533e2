"""HTTP client: a service that scores in place of a bundle on disk, for `residuum score --url`.

Rows that are scored one by one go as Arrow, some thousands in a request. A file of a series goes as one stream of NDJSON,
so that the service keeps its windows from block to block; the verdicts come back while the stream is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
import time
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from urllib.parse import quote

import h11
import httpx
import msgspec
import numpy as np
import polars as pl

from detector.batch import Batch
from detector.cells import category_text
from detector.classifier import ClassPredictions
from detector.columns import Column, Encoded
from detector.decision import CalibrationCounts
from detector.errors import ResiduumError, SettingError, TableError
from detector.inputs import Input, SeriesInput, Session, input_of
from detector.manifest import Manifest
from detector.reasons import SCHEMA, Explain, Reason, ReasonLists, ReasonTable
from detector.rejects import Reject
from detector.verdicts import Verdicts
from detector.windows import BETWEEN_WINDOWS, ROW_STATUS, SCORED
from serving.connection_errors import reason

MAX_ROWS = 10_000  # in one request
CHUNK = 64 * 1024  # bytes
TIMEOUT = 120.0  # seconds for each step of a request
BUSY = frozenset({429, 503})
BUSY_TIMEOUT = 60.0  # seconds for which a busy service is retried
ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"
# A connection that breaks in a request; a service closes an idle one at any time.
BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class _CalibrationSummary(msgspec.Struct):
    rows: int
    above: int


class _ModelDescription(msgspec.Struct):
    """What a service returns for a model."""

    manifest: Manifest
    calibration: _CalibrationSummary


class _ErrorBody(msgspec.Struct):
    detail: str = ""


class _RejectedCell(msgspec.Struct):
    column: str
    found: str
    expected: str


class _ResultLine(msgspec.Struct):
    """A line of an NDJSON response: a verdict, a rejected row, an error or the end."""

    anomaly_score: float | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    state: str = ""
    reasons: list[Reason] = []
    rejected: _RejectedCell | None = None
    error: _ErrorBody | None = None
    done: dict[str, object] | None = None


_RESULT_LINE = msgspec.json.Decoder(_ResultLine)


class RemoteScorer:
    """A model behind HTTP, used like a scorer."""

    def __init__(self, url: str, model: str, token: str = "") -> None:
        """Fetch the model's manifest; `model` is a name, or a name and a version: `pumps/2`.

        Raises:
            SettingError: the service cannot be reached, or has no such model.
        """
        name, _, version = model.partition("/")
        self.url = url
        self.source = f"{url} ({model})"
        self.device = ""  # known to the service only
        self._path = f"v1/models/{quote(name, safe='')}" + (f"/versions/{quote(version)}" if version else "")
        self._tls = ssl.create_default_context()
        self._client = httpx.Client(
            base_url=_base_url(url),
            headers={"accept-encoding": "identity"} | ({"authorization": f"Bearer {token}"} if token else {}),
            verify=self._tls,
            timeout=TIMEOUT,
            trust_env=False,
        )
        self._series: RemoteSeriesSession | None = None
        try:
            description = msgspec.json.decode(self._request("GET", self._path), type=_ModelDescription)
        except msgspec.DecodeError as error:
            self.close()
            raise SettingError(f"{url} is not a service of this release: {error}") from error
        except ResiduumError:
            self.close()
            raise
        self.manifest = description.manifest
        self.calibration_counts = CalibrationCounts(description.calibration.rows, description.calibration.above)

    def session(self) -> Session:
        """Return a session for the blocks of one file: of a series, a stream of its own; otherwise the scorer itself."""
        source = self.input
        if not isinstance(source, SeriesInput):
            return self
        if self._series:
            self._series.close()
        self._series = RemoteSeriesSession(self, source)
        return self._series

    def close(self) -> None:
        """Close the connections.

        Raises:
            SettingError: the service did not confirm the end of a series.
        """
        self._client.close()
        if self._series:
            self._series.close()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the detector reads."""
        return self.manifest.columns

    @cached_property
    def input(self) -> Input:
        """What the detector takes."""
        return input_of(self.manifest)

    def score(self, batch: Batch, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Return the verdicts on a batch.

        Raises:
            SettingError: `explain` is "all", which a service does not offer, or the service does not answer.
            TableError: the service rejects the table.
        """
        path = f"{self._path}/score?reasons={_reason_count(explain, top)}"
        required = batch.frame.select(column.name for column in self.columns)
        parts = [self._score(part, path) for part in required.iter_slices(MAX_ROWS)]
        results = pl.concat(parts) if parts else self._score(required, path)
        return _verdicts_of_table(results, batch, self.input.encode(batch))

    def _score(self, frame: pl.DataFrame, path: str) -> pl.DataFrame:
        body = io.BytesIO()
        frame.write_ipc_stream(body)
        return pl.read_ipc_stream(io.BytesIO(self._request("POST", path, body.getvalue())))

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of the response; retry while the service is busy."""
        deadline = time.monotonic() + BUSY_TIMEOUT
        while (response := self._send(method, path, body)).status_code in BUSY and time.monotonic() < deadline:
            time.sleep(_retry_after(response))
        if response.status_code != HTTPStatus.OK:
            raise self.error_of(response.status_code, response.content)
        return response.content

    def _send(self, method: str, path: str, body: bytes) -> httpx.Response:
        request = self._client.build_request(method, path, content=body, headers={"content-type": ARROW})
        try:
            try:
                return self._client.send(request)
            except BROKEN:
                return self._client.send(request)
        except httpx.HTTPError as error:
            raise SettingError(f"{self.url} does not answer: {reason(error)}") from error

    def error_of(self, status: int, body: bytes) -> ResiduumError:
        """Return the error for a response without verdicts."""
        detail = ""
        with contextlib.suppress(msgspec.DecodeError):
            detail = msgspec.json.decode(body, type=_ErrorBody).detail
        message = f"{self.url} answers {status}: {detail or httpx.codes.get_reason_phrase(status) or 'no reason'}"
        if status == HTTPStatus.UNAUTHORIZED:
            message += " (put the token into the environment variable RESIDUUM_TOKEN)"
        is_about_rows = status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
        return TableError(message) if is_about_rows else SettingError(message)

    def disconnected(self, error: Exception) -> SettingError:
        """Return the error for a stream that broke."""
        return SettingError(f"{self.url} closed the stream early: {reason(error)}")

    def stream(self, top: int) -> DuplexStream:
        """Return an unopened stream of rows to score."""
        path = f"{self._path}/score?reasons={top}"
        return DuplexStream(
            self._client.build_request("POST", path, content=iter(()), headers={"content-type": NDJSON}), self._tls
        )


class RemoteSeriesSession:
    """Scores the blocks of one file of a series, in one stream."""

    def __init__(self, scorer: RemoteScorer, source: SeriesInput) -> None:
        self._scorer = scorer
        self._input = source
        self._stream: DuplexStream | None = None  # opened with the first block
        self._alarm_is_on: dict[str, bool] = {}  # by key

    def score(self, batch: Batch, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Return the verdicts on a batch that follows earlier batches.

        Raises:
            SettingError: `explain` is "all", which a service does not offer, or the service does not answer.
            TableError: the service rejects the rows, or they lack the time or the key.
        """
        reason_count, frame = _reason_count(explain, top), batch.frame
        self._input.require(frame.columns)
        lines = frame.select(*self._input.required).write_ndjson().encode()
        try:
            results = self._exchange(lines, frame.height, reason_count)
        except (OSError, h11.ProtocolError, msgspec.DecodeError) as error:
            self._abort()
            raise self._scorer.disconnected(error) from error
        except BaseException:
            self._abort()
            raise
        key = self._input.window.key
        keys = [""] * frame.height if key is None else frame[key].cast(pl.String).to_list()
        return _verdicts_of_lines(results, batch, self._input.encode(batch), self._count_alarms(results, keys))

    def close(self) -> None:
        """End the stream, if one is open, and check that the service has read all of it.

        Raises:
            SettingError: it has not.
        """
        if self._stream is None:
            return
        try:
            last = self._stream.finish()
        except (OSError, h11.ProtocolError, msgspec.DecodeError) as error:
            raise self._scorer.disconnected(error) from error
        finally:
            self._abort()
        if last.done is None:
            detail = last.error.detail if last.error else "it returns more rows than it was sent"
            raise self._scorer.disconnected(ValueError(detail))

    def _abort(self) -> None:
        if self._stream:
            self._stream.abort()
            self._stream = None

    def _exchange(self, lines: bytes, rows: int, top: int) -> list[_ResultLine]:
        """Send rows and return the result of each; retry the first block while the service is busy."""
        if not rows:
            return []
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            stream = self._stream = self._stream or self._scorer.stream(top)
            results = stream.exchange(lines, rows)
            if stream.status == HTTPStatus.OK:
                break
            body = stream.error_body()
            self._abort()
            if stream.status not in BUSY or time.monotonic() > deadline:
                raise self._scorer.error_of(stream.status, body)
            time.sleep(1.0)
        if results and results[-1].error:
            raise TableError(f"{self._scorer.url} ends with an error: {results[-1].error.detail}")
        return results

    def _count_alarms(self, results: Sequence[_ResultLine], keys: Sequence[str | None]) -> int:
        """Return how many alarms begin; an alarm ends where a window starts anew."""
        count = 0
        for result, key in zip(results, keys, strict=True):
            if result.rejected or result.state == ROW_STATUS[BETWEEN_WINDOWS]:
                continue
            name, is_on = category_text(key or ""), result.is_anomaly is True
            count += is_on and not self._alarm_is_on.get(name, False)
            self._alarm_is_on[name] = is_on
        return count


class DuplexStream:
    """A request whose response is read while its body is sent.

    httpx cannot do this: over HTTP/1.1 it sends the whole body before it reads anything, while the service stops reading
    once its verdicts fill the socket's buffers. So httpx builds the request, h11 frames it, and asyncio sends and receives
    at the same time, in one thread, which TLS needs.
    """

    def __init__(self, request: httpx.Request, tls: ssl.SSLContext) -> None:
        self.status = 0  # of the response, once its head has arrived
        self._request = request
        self._tls = tls
        self._runner = asyncio.Runner()
        self._protocol = h11.Connection(h11.CLIENT)
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lines: deque[bytes] = deque()  # received, not yet decoded
        self._partial_line = b""

    def exchange(self, lines: bytes, rows: int) -> list[_ResultLine]:
        """Send lines, and return the result of each row; fewer behind an error, none if the status is not 200.

        Raises:
            OSError: the connection failed.
            h11.ProtocolError: the response ends early, or is not HTTP.
            msgspec.DecodeError: a line is not a result.
        """
        return self._runner.run(self._exchange(lines, rows))

    def finish(self) -> _ResultLine:
        """End the body, and return the last line of the response; raises as `exchange`."""
        return self._runner.run(self._finish())

    def error_body(self) -> bytes:
        """Return the body of a response whose status is not 200; raises as `exchange`."""
        return self._runner.run(self._error_body())

    def abort(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection[1].transport.abort()
        self._runner.close()

    async def _exchange(self, lines: bytes, rows: int) -> list[_ResultLine]:
        if self._connection is None:
            await self._open()
        sending = asyncio.create_task(self._send(lines))
        try:
            while not self.status:
                event = await self._receive()
                self.status = event.status_code if isinstance(event, h11.Response) else 0
            if self.status != HTTPStatus.OK:
                return []
            results = await self._results(rows)
            await sending
            return results
        finally:
            sending.cancel()

    async def _open(self) -> None:
        url = self._request.url
        tls = self._tls if url.scheme == "https" else None
        async with asyncio.timeout(TIMEOUT):
            self._connection = await asyncio.open_connection(url.host, url.port or (443 if tls else 80), ssl=tls)
        head = h11.Request(method="POST", target=url.raw_path, headers=self._request.headers.raw)
        self._connection[1].write(self._protocol.send(head) or b"")

    async def _send(self, lines: bytes) -> None:
        """Send lines; a failure is left to the reader, which learns its reason."""
        assert self._connection  # noqa: S101 - `_exchange` has opened it
        _, writer = self._connection
        with contextlib.suppress(OSError):
            for start in range(0, len(lines), CHUNK):
                writer.write(self._protocol.send(h11.Data(data=lines[start : start + CHUNK])) or b"")
                await writer.drain()

    async def _receive(self) -> object:
        """Return the next event of the response."""
        assert self._connection  # noqa: S101 - `_exchange` has opened it
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(TIMEOUT):
                self._protocol.receive_data(await self._connection[0].read(CHUNK))
        return event

    async def _results(self, rows: int) -> list[_ResultLine]:
        """Return results until there is one for each row, or an error."""
        results: list[_ResultLine] = []
        while len(results) < rows and not (results and results[-1].error):
            if self._lines:
                results.append(_RESULT_LINE.decode(self._lines.popleft()))
            else:
                *lines, self._partial_line = (self._partial_line + await self._body_chunk()).split(b"\n")
                self._lines.extend(lines)
        return results

    async def _body_chunk(self) -> bytes:
        event = await self._receive()
        if not isinstance(event, h11.Data):
            raise h11.RemoteProtocolError("the response ends before the last row")
        return bytes(event.data)

    async def _error_body(self) -> bytes:
        body = b""
        while isinstance(event := await self._receive(), h11.Data):
            body += event.data
        return body

    async def _finish(self) -> _ResultLine:
        assert self._connection  # noqa: S101 - `_exchange` has opened it
        self._connection[1].write(self._protocol.send(h11.EndOfMessage()) or b"")
        (last,) = await self._results(1)
        return last


def _base_url(url: str) -> httpx.URL:
    """Return the address of a service.

    Raises:
        SettingError: it is not one.
    """
    with contextlib.suppress(httpx.InvalidURL):
        base = httpx.URL(url)
        if base.scheme in {"http", "https"} and base.host:
            return base
    raise SettingError(f"{url} is not the address of a service, such as http://localhost:8080")


def _reason_count(explain: Explain, top: int) -> int:
    """Return how many reasons to request per anomaly.

    Raises:
        SettingError: every row is to be explained.
    """
    if explain == "all":
        raise SettingError("a service explains anomalies only: leave out --reasons all")
    return 0 if explain == "none" else top


def _retry_after(response: httpx.Response) -> float:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdigit() else 1.0


def _cells(encoded: Encoded, accepted: np.ndarray) -> np.ndarray:
    """Return the cells of the rows that a service accepted, which returns no cells: `float64[accepted rows, columns]`."""
    matrix = np.full((len(accepted), encoded.matrix.shape[1]), np.nan)
    matrix[encoded.accepted] = encoded.matrix
    return matrix if accepted.all() else matrix[accepted]


def _verdicts_of_table(results: pl.DataFrame, batch: Batch, encoded: Encoded) -> Verdicts:
    """Return the verdicts of an Arrow response."""
    accepted = results["anomaly_score"].is_not_null().to_numpy()
    scored, rows = results.filter(accepted), np.asarray(batch.rows, np.int64)
    rejects = [
        Reject(int(rows[index]), **results["rejected"][int(index)], file=batch.file) for index in np.flatnonzero(~accepted)
    ]
    explained = scored.select("reasons").with_row_index("at").drop_nulls().explode("reasons").unnest("reasons")
    ranked = explained.with_columns(rank=pl.int_range(pl.len()).over("at") + 1)
    has_classes = "class" in scored.columns
    return Verdicts(
        rows=rows[accepted],
        score=scored["anomaly_score"].to_numpy(),
        p_value=scored["p_value"].to_numpy(),
        is_anomaly=scored["is_anomaly"].to_numpy(),
        reasons=ReasonTable(ranked.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())),
        accepted=accepted,
        rejects=[*batch.rejects, *rejects],
        infinite=encoded.infinite,
        matrix=_cells(encoded, accepted),
        differences=batch.differences,
        classes=ClassPredictions(scored["class"].to_numpy(), scored["class_probability"].to_numpy()) if has_classes else None,
    )


def _verdicts_of_lines(results: Sequence[_ResultLine], batch: Batch, encoded: Encoded, alarms: int) -> Verdicts:
    """Return the verdicts of an NDJSON response."""
    rows, is_accepted = np.asarray(batch.rows, np.int64), np.array([result.rejected is None for result in results], dtype=bool)
    accepted = [result for result in results if result.rejected is None]
    row_status = np.array([ROW_STATUS.index(result.state) for result in accepted], dtype=np.int8)
    rejects = [
        Reject(row, result.rejected.column, result.rejected.found, result.rejected.expected, batch.file)
        for row, result in zip(rows.tolist(), results, strict=True)
        if result.rejected
    ]
    return Verdicts(
        rows=rows[is_accepted],
        score=np.array([result.anomaly_score for result in accepted], dtype=np.float64),
        p_value=np.array([result.p_value for result in accepted], dtype=np.float64),
        is_anomaly=np.array([result.is_anomaly is True for result in accepted], dtype=bool) & (row_status == SCORED),
        reasons=ReasonLists({index: result.reasons for index, result in enumerate(accepted) if result.reasons}),
        accepted=is_accepted,
        rejects=[*batch.rejects, *rejects],
        infinite=encoded.infinite,
        matrix=_cells(encoded, is_accepted),
        row_status=row_status,
        alarms=alarms,
        differences=batch.differences,
    )
