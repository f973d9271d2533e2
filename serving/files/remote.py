"""A service that gives the verdicts in place of a scorer: blocks of rows go there as Arrow, verdicts come back.

A block is answered before the next is sent, so that neither side waits for the other with full buffers, and memory stays flat.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import time
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
import polars as pl

from detector import reasons
from detector.classifier import ClassPredictions
from detector.columns import Column
from detector.decision import CalibrationCounts
from detector.errors import ResiduumError, SettingError, TableError
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.rejects import Reject
from detector.scorer import Verdicts
from serving.files.judging import Session
from serving.files.remote_series import BUSY, PATIENCE, Exchange

ROWS = 10_000  # in one request
TIMEOUT = 120.0  # seconds for an answer
ARROW = "application/vnd.apache.arrow.stream"


class _Calibration(msgspec.Struct):
    """Where the threshold stands."""

    rows: int
    above: int


class _Said(msgspec.Struct):
    """What a service says of a model."""

    manifest: Manifest
    calibration: _Calibration


class _Fault(msgspec.Struct):
    """What a service says of a fault."""

    detail: str = ""


class Answer(NamedTuple):
    """An answer of the service."""

    status: int
    body: bytes
    retry_after: float


class Service:
    """A model behind HTTP."""

    def __init__(self, url: str, model: str, token: str = "") -> None:
        """Ask what the model is; `model` is a name, or a name and a version: `pumps/2`.

        Raises:
            SettingError: the service cannot be reached, or has no such model.
        """
        name, _, version = model.partition("/")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingError(f"{url} is no address of a service, such as http://localhost:8080")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connect = functools.partial(connection, parts.hostname, parts.port, timeout=TIMEOUT)
        self._connection = self._connect()
        self._exchange: Exchange | None = None
        self._url = url
        self._path = f"{parts.path.rstrip('/')}/v1/models/{quote(name, safe='')}" + (
            f"/versions/{quote(version)}" if version else ""
        )
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            model_there = msgspec.json.decode(self._ask("GET", self._path, b""), type=_Said)
        except msgspec.DecodeError as error:
            self.close()
            raise SettingError(f"{url} is no service of this release: {error}") from error
        except ResiduumError:
            self.close()
            raise
        self.manifest = model_there.manifest
        self.calibration_counts = CalibrationCounts(model_there.calibration.rows, model_there.calibration.above)

    def session(self) -> Session:
        """Give what judges the blocks of one file: itself, or a stream of its own where rows are judged by those before them."""
        if self.manifest.window is None:
            return self
        if self._exchange:
            self._exchange.close()
        path = f"{self._path}/score"
        self._exchange = Exchange(self._connect, path, self._headers, self._url, self.manifest, self._refused)
        return self._exchange

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._exchange:
            self._exchange.close()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the detector reads."""
        return self.manifest.columns

    def score(self, frame: pl.DataFrame, rows: np.ndarray, *, file: str, explain: Explain, top: int) -> Verdicts:
        """Judge every row of a frame.

        Raises:
            SettingError: reasons are asked for which a service does not give, or it does not answer.
            TableError: it refuses the rows.
        """
        if explain == "all":
            raise SettingError("a service explains anomalies only: leave --reasons all out")
        wanted = [column.name for column in self.columns]
        path = f"{self._path}/score?reasons={0 if explain == 'none' else top}"
        parts = [self._judged(part, path) for part in frame.select(wanted).iter_slices(ROWS)]
        return _verdicts(pl.concat(parts) if parts else self._judged(frame.select(wanted), path), rows, file)

    def _judged(self, frame: pl.DataFrame, path: str) -> pl.DataFrame:
        """Ask for verdicts."""
        body = io.BytesIO()
        frame.write_ipc_stream(body)
        return pl.read_ipc_stream(io.BytesIO(self._ask("POST", path, body.getvalue())))

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        """Ask until there is an answer."""
        until = time.monotonic() + PATIENCE
        while (answer := self._asked(method, path, body)).status in BUSY and time.monotonic() < until:
            time.sleep(answer.retry_after)
        if answer.status == http.client.OK:
            return answer.body
        raise self._refused(answer.status, answer.body)

    def _refused(self, status: int, body: bytes) -> ResiduumError:
        """Say why there are no verdicts."""
        detail = ""
        with contextlib.suppress(msgspec.DecodeError):
            detail = msgspec.json.decode(body, type=_Fault).detail
        said = f"{self._url} answers {status}: {detail or http.client.responses.get(status, 'no reason')}"
        if status == http.client.UNAUTHORIZED:
            said += " (put the token into the environment as RESIDUUM_TOKEN)"
        return TableError(said) if status in {413, 422} else SettingError(said)

    def _asked(self, method: str, path: str, body: bytes) -> Answer:
        """Ask once, or twice where a kept connection turns out to be closed."""
        kept = self._connection.sock is not None
        try:
            self._connection.request(method, path, body, self._headers | {"content-type": ARROW})
            response = self._connection.getresponse()
            wait = response.headers.get("retry-after", "1")
            return Answer(response.status, response.read(), float(wait) if wait.isdigit() else 1.0)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if kept:
                return self._asked(method, path, body)
            raise SettingError(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error


def _verdicts(said: pl.DataFrame, rows: np.ndarray, file: str) -> Verdicts:
    """Turn an answer into verdicts."""
    accepted = said["anomaly_score"].is_not_null().to_numpy()
    scored = said.filter(accepted)
    rejects = [Reject(int(rows[at]), **said["rejected"][int(at)], file=file) for at in np.flatnonzero(~accepted)]
    told = scored.select("reasons").with_row_index("at").drop_nulls().explode("reasons").unnest("reasons")
    classes = (
        ClassPredictions(scored["class"].to_numpy(), scored["class_probability"].to_numpy())
        if "class" in scored.columns
        else None
    )
    ranked = told.with_columns(rank=pl.int_range(pl.len()).over("at") + 1)
    return Verdicts(
        score=scored["anomaly_score"].to_numpy(),
        p_value=scored["p_value"].to_numpy(),
        is_anomaly=scored["is_anomaly"].to_numpy(),
        reasons=ranked.select(pl.col(name).cast(kind) for name, kind in reasons.SCHEMA.items()),
        accepted=accepted,
        rejects=rejects,
        infinite=0,  # a service does not say
        classes=classes,
    )
