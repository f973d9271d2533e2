"""Text in other encodings than UTF-8, converted to it as it is read."""

from __future__ import annotations

import codecs

from detector.errors import SettingError
from detector.files.compression import ByteReader

BOM = codecs.BOM_UTF8
MARKS = {  # the byte order marks of other encodings; those of UTF-32 start like those of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    BOM: "utf-8",
}
UTF8 = "utf-8"


class WrongEncoding(Exception):
    """Bytes that are no text in an encoding: its name."""


def find_codec(encoding: str) -> str:
    """Return Python's name of an encoding; "" is UTF-8.

    Raises:
        SettingError: there is none of this name.
    """
    try:
        found = codecs.lookup(encoding or UTF8)
    except (LookupError, ValueError) as error:
        raise SettingError(f"--encoding {encoding} is not known: name one such as utf-8, latin-1, cp1252 or utf-16") from error
    if not getattr(found, "_is_text_encoding", True):
        raise SettingError(f"--encoding {encoding} is not a text encoding: name one such as utf-8, latin-1, cp1252 or utf-16")
    return UTF8 if found.name in {UTF8, "utf-8-sig"} else found.name


class TranscodingReader:
    """Reads text as UTF-8; bytes that an encoding of single bytes leaves undefined stay as they are."""

    def __init__(self, start: bytes, rest: ByteReader, codec: str) -> None:
        """Convert bytes that were read already, and the rest."""
        self._start = start
        self._rest = rest
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        self._output = b""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            WrongEncoding: the bytes are no text in the encoding.
        """
        while not self._output:
            data, self._start = self._start or self._rest.read(size), b""
            try:
                self._output = self._decoder.decode(data, final=not data).encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise WrongEncoding(f"{self._codec} ({error})") from error
            if not data:
                break
        data, self._output = self._output[:size], self._output[size:]
        return data
