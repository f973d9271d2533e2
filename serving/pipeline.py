"""The scoring pipeline: decode -> score -> observe -> encode, for every wire format.

A request, or a long body of which a piece arrives at a time, is one `ScoringExchange`. The codec enforces the limits, because it
knows its format. Observers see every batch with its verdicts, and can fail without changing an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from detector.batch import Batch
from detector.errors import TableError
from detector.inputs import Session
from detector.verdicts import Verdicts
from serving.codecs.base import BodyError, Codec
from serving.log import error_fields, log
from serving.model import ServedModel


class Scored(NamedTuple):
    """A batch with its verdicts."""

    model: ServedModel
    codec: Codec
    batch: Batch
    verdicts: Verdicts
    request_id: str


Observer = Callable[[Scored], None]


class ScoringExchange:
    """Rows in, verdicts out, in one wire format."""

    def __init__(
        self,
        model: ServedModel,
        codec: Codec,
        top: int,
        session: Session | None = None,
        observers: Sequence[Observer] = (),
        request_id: str = "",
    ) -> None:
        """Score the rows of one exchange; those of series follow each other in its `session`."""
        self._model = model
        self._codec = codec
        self._top = top
        self._session = session
        self._observers = observers
        self._request_id = request_id

    def step(self, data: bytes, *, final: bool = True) -> bytes:
        """Score the rows that the next piece of a body completes; return the next piece of the answer.

        Raises:
            BodyError: the rows cannot be decoded, or a limit is exceeded.
        """
        try:
            batch = self._codec.decode(data, final=final)
            answer = b"" if batch is None else self._codec.encode(self._score(batch))
        except TableError as error:
            raise BodyError(422, "columns", str(error)) from error
        except pl.exceptions.PanicException as error:  # as of a date in the year 3,000,000
            raise BodyError(422, "cells", "a cell holds a value that cannot be represented") from error
        return answer + self._codec.finish() if final else answer

    def _score(self, batch: Batch) -> Verdicts:
        self._model.count_differences(batch.differences)
        verdicts = self._model.score(batch, top=self._top, session=self._session)
        scored = Scored(self._model, self._codec, batch, verdicts, self._request_id)
        for observe in self._observers:
            try:
                observe(scored)
            except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - what observes verdicts never changes an answer
                log().error("observer failed", model=self._model.name, **error_fields(error))
        return verdicts
