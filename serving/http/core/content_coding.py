"""Content codings: bodies that clients send compressed, and responses that they accept compressed.

A body is decompressed piece by piece, each of bounded size, so that the limits on bodies and lines apply to what comes out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

from detector.files.compression import DamagedFile, ZstdStream
from serving.http.core.problem_details import HttpProblem

MAX_CODINGS = 3  # of one body
MAX_WINDOW = 8 * 2**20  # bytes, of zstd: RFC 9659
PIECE = 256 * 1024  # bytes that come out at a time
MAX_INPUT = 16 * 1024  # bytes that go in at a time
MAX_RATIO, FREE_BYTES = 1100, 16 * 2**20  # above so many bytes, a body may expand so many times: gzip at most 1,032 times
# What one coding leaves for the next is compressed itself: it may be larger than what was received, but not much.
MAX_NESTED_RATIO, FREE_NESTED_BYTES = 4, 2**20
MIN_BYTES = 1024  # of a response that is worth compressing
LEVEL = 1  # the fastest
GZIP, ZLIB, RAW = 31, zlib.MAX_WBITS, -zlib.MAX_WBITS  # window bits of zlib
NOT_COMPRESSIBLE = frozenset({b"image/png", b"image/jpeg", b"text/event-stream; charset=utf-8"})  # events are tiny


class Decompressor(Protocol):
    """Decompresses one body."""

    def decompress(self, data: bytes, /) -> Iterator[bytes]:
        """Yield what the next bytes decompress to.

        Raises:
            DamagedFile: they are not of this coding.
        """

    def finish(self) -> None:
        """Raise unless the body was complete.

        Raises:
            DamagedFile: it was not.
        """


class ZlibStream:
    """Decompresses gzip, member after member, or deflate."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._stream: Any = None
        self._has_ended = False

    def decompress(self, data: bytes, /) -> Iterator[bytes]:
        """Yield pieces of the content."""
        for start in range(0, len(data), MAX_INPUT):  # zlib copies what follows a member, so parts are short
            yield from self._decompress_part(data[start : start + MAX_INPUT])

    def _decompress_part(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        while data or len(piece) == PIECE:  # a full piece may have left more behind
            if self._stream is None:
                data = self._next_member(data)
                if not data:
                    return
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error as error:
                raise DamagedFile(str(error)) from error
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data, self._stream, self._has_ended = self._stream.unused_data, None, True
            if piece:
                yield piece

    def finish(self) -> None:
        """Raise if a member is incomplete."""
        if self._stream is not None:
            raise DamagedFile("it ends too early")

    def _next_member(self, data: bytes) -> bytes:
        """Begin a member, and return the data from its start."""
        if self._has_ended:
            data = data.lstrip(b"\0")  # padding
            if data and not self._is_gzip:
                raise DamagedFile("data follows its end")
        if data:
            is_zlib = data[0] & 0x0F == zlib.DEFLATED  # some clients send deflate without this header
            self._stream = zlib.decompressobj(GZIP if self._is_gzip else ZLIB if is_zlib else RAW)
        return data


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "zstd": lambda: ZstdStream(MAX_WINDOW),
    "gzip": lambda: ZlibStream(is_gzip=True),
    "deflate": lambda: ZlibStream(is_gzip=False),
}
CODINGS = tuple(DECOMPRESSORS)  # the best first
ACCEPT_ENCODING = (b"accept-encoding", ", ".join(CODINGS).encode())


def codings_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """Return the codings of a body, in the order in which they were applied.

    Raises:
        HttpProblem: one is not supported, or there are too many.
    """
    value = b",".join(value for name, value in headers if name == b"content-encoding")
    codings = tuple(name for name in _tokens(value) if name != "identity") if value else ()
    if len(codings) > MAX_CODINGS or not set(codings) <= DECOMPRESSORS.keys():
        detail = f"the Content-Encoding of the body is not supported; the service reads {', '.join(CODINGS)}"
        found, expected = ", ".join(codings)[:80], ", ".join(CODINGS)
        raise HttpProblem(
            415, "content_encoding", detail, path="Content-Encoding", found=found, expected=expected, headers=[ACCEPT_ENCODING]
        )
    return codings


class BodyDecompressor:
    """Undoes the codings of one body."""

    def __init__(self, codings: Sequence[str]) -> None:
        self._codings = codings
        self._steps = [DECOMPRESSORS[name]() for name in reversed(codings)]
        self._received = self._returned = self._nested = 0  # bytes

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of a body decompress to.

        Raises:
            HttpProblem: they are damaged, or expand too much.
        """
        self._received += len(data)
        try:
            for piece in self._decompressed(0, data):
                yield piece
                self._returned += len(piece)
                if self._returned > max(FREE_BYTES, MAX_RATIO * self._received):
                    raise _too_large(f"the body expands to more than {MAX_RATIO:,} times its size")
        except DamagedFile as error:
            raise self._damaged(error) from error

    def finish(self) -> None:
        """Raise unless the body was complete.

        Raises:
            HttpProblem: it ended too early.
        """
        try:
            for step in self._steps:
                step.finish()
        except DamagedFile as error:
            raise self._damaged(error) from error

    def _decompressed(self, index: int, data: bytes) -> Iterator[bytes]:
        """Yield what data becomes by the steps from `index` on."""
        if index == len(self._steps):
            yield data
            return
        if index:
            self._nested += len(data)
            if self._nested > FREE_NESTED_BYTES + MAX_NESTED_RATIO * self._received:
                raise _too_large(f"what lies between the codings of the body has more than {MAX_NESTED_RATIO} times its size")
        for piece in self._steps[index].decompress(data):
            yield from self._decompressed(index + 1, piece)

    def _damaged(self, error: DamagedFile) -> HttpProblem:
        detail = f"the body is not valid {', '.join(self._codings)}, as its Content-Encoding says: {error}"
        return HttpProblem(400, "content_encoding", detail, path="Content-Encoding")


def _too_large(detail: str) -> HttpProblem:
    return HttpProblem(413, "content_encoding", detail, path="Content-Encoding")


@lru_cache(maxsize=256)
def accepted_coding(accept_encoding: bytes) -> str:
    """Return the coding that a client prefers for a response; empty if it prefers none, or accepts none of ours."""
    given = dict(map(_weight, accept_encoding.decode("latin-1").lower().split(",")))
    weights = {name: given.get(name, given.get("*", 0.0)) for name in CODINGS}
    best = max(CODINGS, key=weights.__getitem__)  # of equal ones the first
    return best if weights[best] and weights[best] >= given.get("identity", 0.0) else ""


class StreamCompressor:
    """Compresses a response chunk by chunk; each chunk can be decompressed without the next."""

    def __init__(self, coding: str) -> None:
        if coding == "zstd":
            import zstandard

            self._stream: Any = zstandard.ZstdCompressor(LEVEL).compressobj()
            self._flush, self._end = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
        else:
            self._stream = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP if coding == "gzip" else ZLIB)
            self._flush, self._end = zlib.Z_SYNC_FLUSH, zlib.Z_FINISH

    def compress(self, chunk: bytes) -> bytes:
        """Return a chunk."""
        return bytes(self._stream.compress(chunk) + self._stream.flush(self._flush))

    def finish(self, chunk: bytes = b"") -> bytes:
        """Return the last chunk."""
        return bytes(self._stream.compress(chunk) + self._stream.flush(self._end))


def response_coding(body: bytes, content_type: bytes, headers: Iterable[tuple[bytes, bytes]], accept_encoding: bytes) -> str:
    """Return the coding for a response of which `body` is all, or the first chunk; empty if it is not worth one."""
    if len(body) < MIN_BYTES or not content_type or content_type in NOT_COMPRESSIBLE:  # without a type: forwarded as it is
        return ""
    return "" if any(name == b"content-encoding" for name, _ in headers) else accepted_coding(accept_encoding)


def _tokens(value: bytes) -> Iterator[str]:
    """Yield the names in a header that lists codings."""
    for text in value.decode("latin-1").lower().split(","):
        if name := text.strip().removeprefix("x-"):
            yield name


def _weight(text: str) -> tuple[str, float]:
    """Return a coding of Accept-Encoding with its weight; 0 if that is not valid."""
    name, _, parameter = text.partition(";")
    key, _, value = parameter.replace(" ", "").partition("=")
    try:
        return name.strip(), float(value) if key == "q" else 1.0
    except ValueError:
        return name.strip(), 0.0
