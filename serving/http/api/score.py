"""The scoring routes: rows in, verdicts out, in the format that the content type names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import lru_cache, partial

import msgspec

from detector.errors import ResiduumError
from detector.inputs import Session
from serving.codecs import arrow, raw
from serving.codecs.base import CodecFactory, CodecOptions
from serving.codecs.image import ImageCodec
from serving.codecs.json import JsonCodec
from serving.codecs.ndjson import NdjsonCodec
from serving.codecs.oip import HEADER_LENGTH, OipCodec
from serving.http.api.bundle_problems import bundle_problem
from serving.http.api.query_params import codec_options
from serving.http.api.row_labels import row_labels
from serving.http.api.row_log import log_rows
from serving.http.core.concurrency import MAX_INLINE_BYTES, ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead, media_type
from serving.http.core.response import AnyResponse, Response, StreamedResponse
from serving.http.core.settings import HttpSettings
from serving.http.models.registry import ModelRegistry
from serving.limits import Limits
from serving.model import ServedModel
from serving.monitoring.alarms import RecentAlarms
from serving.pipeline import Observer, Scored, ScoringExchange

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl", "application/jsonlines")
CODECS: Mapping[str, CodecFactory] = {
    **dict.fromkeys(NDJSON, NdjsonCodec),
    "application/json": JsonCodec,
    arrow.CONTENT_TYPE: arrow.ArrowCodec,
    raw.CONTENT_TYPE: raw.RawCodec,
    "image/png": ImageCodec,
    "image/jpeg": ImageCodec,
}
SESSION_CODECS = {name: CODECS[name] for name in ("application/json", *NDJSON, arrow.CONTENT_TYPE)}


class ScoringApi:
    """Answers bodies of rows."""

    def __init__(self, models: ModelRegistry, limiter: ConcurrencyLimiter, alarms: RecentAlarms, settings: HttpSettings) -> None:
        self._models = models
        self._limiter = limiter
        self._alarms = alarms
        self._settings = settings
        self._limits = settings.limits
        self._label_names = settings.label_names
        self._opening = asyncio.Lock()
        self._codec = lru_cache(maxsize=256)(partial(_codec, CODECS, settings.limits))
        self._session_codec = lru_cache(maxsize=256)(partial(_codec, SESSION_CODECS, settings.limits))
        self._observers: list[Observer] = [self._record_alarms, *([_log_rows] if settings.log_rows else [])]

    async def score(self, request: Request) -> AnyResponse:
        """Score the rows of a request.

        Raises:
            HttpProblem, BodyError: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        factory, options = self._codec(request.headers.get(b"content-type", b""), request.query)
        model = await self.requested_model(request)
        if factory.is_stream:
            codec = factory(model, options)
            exchange = ScoringExchange(model, codec, options.reasons, model.session(), self._observers, request.id)
            return StreamedResponse(self._chunks(exchange, request), codec.content_type, encode_error=error_line)
        return await self._score_body(request, factory, model, options)

    async def infer(self, request: Request) -> Response:
        """Score the rows of a request in the Open Inference Protocol.

        Raises:
            HttpProblem, BodyError: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        return await self._score_body(request, OipCodec, await self.requested_model(request), self._inference_options(request))

    def score_inline(self, request: RequestHead) -> Callable[[bytes], Response] | None:
        """Return what scores a whole small body without waiting for anything; None where waiting is needed.

        Raises:
            HttpProblem: it cannot be answered.
        """
        model = self._open_model(request)
        factory, options = self._codec(request.headers.get(b"content-type", b""), request.query)
        if model is None or factory.is_stream or options.heatmap:
            return None
        return partial(self._answer, request, factory, model, options)

    def infer_inline(self, request: RequestHead) -> Callable[[bytes], Response] | None:
        """Return what scores a whole small body of the Open Inference Protocol without waiting; None where waiting is needed.

        Raises:
            HttpProblem: it cannot be answered.
        """
        model = self._open_model(request)
        return None if model is None else partial(self._answer, request, OipCodec, model, self._inference_options(request))

    async def score_in_session(self, request: Request, model: ServedModel, body: bytes, session: Session) -> Response:
        """Score a whole body whose rows continue a session.

        Raises:
            HttpProblem, BodyError: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        factory, options = self.session_codec(request)
        return await self._limiter.run(request, len(body), partial(self._answer, request, factory, model, options, body, session))

    def session_codec(self, request: RequestHead) -> tuple[CodecFactory, CodecOptions]:
        """Return the codec of a body that continues a session.

        Raises:
            HttpProblem: its content type or its query is not supported.
        """
        return self._session_codec(request.headers.get(b"content-type", b""), request.query)

    async def requested_model(self, request: RequestHead) -> ServedModel:
        """Return the model that the path of a request names."""
        return await self.model(request.path_params["name"], request.path_params.get("version"))

    async def model(self, name: str, version: str | None) -> ServedModel:
        """Return a model; a version that is not open yet is opened, one at a time."""
        if model := self._models.find_open(name, version):
            return model
        async with self._opening:
            if model := self._models.find_open(name, version):
                return model
            return await self._open(name, partial(self._models.open, name, version or ""))

    async def load(self, name: str) -> ServedModel:
        """Switch to the version that is pinned, or highest, now."""
        async with self._opening:
            return await self._open(name, partial(self._models.load, name))

    async def _open(self, name: str, work: Callable[[], ServedModel]) -> ServedModel:
        """Open a version in a thread.

        Raises:
            HttpProblem: the version is missing or invalid.
        """
        try:
            return await self._limiter.run_in_thread(work)
        except ResiduumError as error:
            raise bundle_problem(error, self._models.folder(name)) from error

    def _open_model(self, request: RequestHead) -> ServedModel | None:
        """Return the model that the path of a request names, if it is open."""
        return self._models.find_open(request.path_params["name"], request.path_params.get("version"))

    def _inference_options(self, request: RequestHead) -> CodecOptions:
        return CodecOptions(limits=self._limits, reasons=0, json_length=request.headers.get(HEADER_LENGTH, b""))

    async def _score_body(self, request: Request, factory: CodecFactory, model: ServedModel, options: CodecOptions) -> Response:
        body = await self._limiter.receive(request, self._settings.max_body)
        size = MAX_INLINE_BYTES + 1 if options.heatmap else len(body)  # drawing is slow, however small the image
        with self._limiter.admitted():
            return await self._limiter.run(request, size, partial(self._answer, request, factory, model, options, body))

    def _answer(
        self,
        request: RequestHead,
        factory: CodecFactory,
        model: ServedModel,
        options: CodecOptions,
        body: bytes,
        session: Session | None = None,
    ) -> Response:
        """Score a whole body."""
        codec = factory(model, options)
        answer = ScoringExchange(model, codec, options.reasons, session, self._observers, request.id).step(body)
        return Response(answer, codec.content_type, 200, codec.headers)

    async def _chunks(self, exchange: ScoringExchange, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield the answer chunk by chunk, while the body arrives."""
        with contextlib.ExitStack() as stack:
            is_admitted = is_in_row = False
            async for data in request.chunks():
                is_in_row = is_in_row or not data.isspace()
                if is_in_row and b"\n" in data:
                    is_in_row = not data.endswith(b"\n")
                    request.restart_body_time()  # it has a row: a client may send one now and then, but not blank lines
                    if not is_admitted:
                        is_admitted = True
                        stack.enter_context(self._limiter.admitted_stream())
                if answer := await self._limiter.run_step(len(data), partial(exchange.step, data, final=False)):
                    yield answer
            yield await self._limiter.run_step(0, partial(exchange.step, b"", final=True))

    def _record_alarms(self, scored: Scored) -> None:
        labels_of = partial(row_labels, scored.model, scored.codec, self._label_names)
        self._alarms.record(scored.model, scored.verdicts, scored.request_id, labels_of)


def _codec(
    codecs: Mapping[str, CodecFactory], limits: Limits, content_type: bytes, query: bytes
) -> tuple[CodecFactory, CodecOptions]:
    """Return the codec that a content type names, and the options of a query.

    Raises:
        HttpProblem: it is not among `codecs`, or the query is not understood.
    """
    name = media_type(content_type)
    factory = codecs.get(name)
    if factory is None:
        supported = ", ".join(codecs)
        detail = f"the supported content types are {supported}"
        raise HttpProblem(415, "content_type", detail, found=name[:80], expected=supported)
    return factory, codec_options(query, name, limits)


def _log_rows(scored: Scored) -> None:
    log_rows(scored.model, scored.batch, scored.request_id)


def error_line(problem: HttpProblem, request_id: str) -> bytes:
    """Return the last line of an NDJSON answer that an error cuts short."""
    return msgspec.json.encode({"error": msgspec.structs.replace(problem.details, request_id=request_id)}) + b"\n"
