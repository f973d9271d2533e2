"""Addresses of `--from`, `--to` and `--dead-letters`: `-`, a file, or a topic such as kafka://broker:9092/readings."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from detector.errors import SettingError
from serving.stream.text import STDIN

TOPIC_FORM = "kafka://broker:9092/topic"


class Topic(NamedTuple):
    """A topic and its bootstrap brokers, separated by commas."""

    brokers: str
    name: str

    def __str__(self) -> str:
        """Return the address."""
        return f"kafka://{self.brokers}/{self.name}"


Address = Topic | Path | None  # None: standard input or output


def parse_address(text: str) -> Address:
    """Parse an address.

    Raises:
        SettingError: the text is no address.
    """
    if text == STDIN:
        return None
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme != "kafka":
        raise SettingError(f"{text}: a stream is {TOPIC_FORM}, a file, or -")
    url = urlsplit(f"//{rest}")
    name = url.path.strip("/")
    if not url.netloc or not name or "/" in name or url.query or "@" in url.netloc:
        raise SettingError(f"{text} is not a topic: write {TOPIC_FORM}, and pass other settings with --kafka key=value")
    return Topic(url.netloc, name)
