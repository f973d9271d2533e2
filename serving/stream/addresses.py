"""What `--from`, `--to` and `--dead-letters` mean: `-`, a file, or a topic such as kafka://broker:9092/readings."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from detector.errors import SettingError
from serving.stream.text import STDIN

TOPIC = "kafka://broker:9092/topic"


class Topic(NamedTuple):
    """A topic, and the brokers to ask for it, with commas between."""

    brokers: str
    name: str

    def __str__(self) -> str:
        """Write it as it was given."""
        return f"kafka://{self.brokers}/{self.name}"


Address = Topic | Path | None  # None: standard input or output


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        SettingError: it is none.
    """
    if text == STDIN:
        return None
    scheme, there, rest = text.partition("://")
    if not there:
        return Path(text)
    if scheme != "kafka":
        raise SettingError(f"{text}: streams are {TOPIC}, a file, or -")
    place = urlsplit(f"//{rest}")
    name = place.path.strip("/")
    if not place.netloc or not name or "/" in name or place.query or "@" in place.netloc:
        raise SettingError(f"{text} is no topic: write {TOPIC}, and everything else by --kafka key=value")
    return Topic(place.netloc, name)
