"""Everything about the worker that can be set; a flag of `residuum stream` for what is often set."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from detector.errors import SettingError
from detector.graph import Device
from serving.log import LogFormat
from serving.stream.addresses import Address, Topic
from serving.stream.scoring import Limits

Guarantee = Literal["exactly-once", "at-least-once"]
MIB = 2**20


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker runs; sizes in bytes, times in seconds."""

    source: Address
    sink: Address
    dead_letters: Address | Literal["default"] = "default"
    group: str
    worker_id: str | None = None  # None: one of its own for each process
    guarantee: Guarantee | None = None  # None: the best that source and sink can give
    kafka: Mapping[str, str] = {}
    state: Path | None = None  # where a followed file's position stands, and the windows of its series
    changelog: str | None = None  # the topic that keeps those of a topic's series; None: named after topic and group
    state_memory: int | None = None  # bytes that windows may take, about; None: what a million series take
    device: Device = "auto"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    log: LogFormat = "auto"

    max_batch: int = 2000  # records
    max_batch_bytes: int = 4 * MIB
    linger: float = 0.05  # that a batch waits for more records
    max_record: int = MIB
    max_depth: int = 8
    max_text: int = 10_000
    reasons: int = 3
    deadline: float = 20.0  # from SIGTERM to the end

    @property
    def limits(self) -> Limits:
        """What is still judged."""
        return Limits(self.max_record, self.max_depth, self.max_text, self.reasons)

    @property
    def letters(self) -> Address:
        """Where dead letters go: by default a topic with .dlq behind its name, or, among lines, where verdicts go."""
        if self.dead_letters != "default":
            return self.dead_letters
        for address in (self.source, self.sink):
            if isinstance(address, Topic):
                return address._replace(name=f"{address.name}.dlq")
        return self.sink

    @property
    def exactly_once(self) -> bool:
        """Whether verdicts, letters and position are one transaction.

        Raises:
            SettingError: that was asked for, and cannot be.
        """
        brokers = {end.brokers if isinstance(end, Topic) else None for end in (self.source, self.sink, self.letters)}
        one_cluster = len(brokers) == 1 and None not in brokers
        if self.guarantee == "exactly-once" and not one_cluster:
            raise SettingError(
                "exactly-once needs --from, --to and --dead-letters to be topics of the same brokers; at-least-once does not"
            )
        return one_cluster and self.guarantee != "at-least-once"

    @property
    def member(self) -> str:
        """The name under which transactions are made: stable if the worker has an id, so that a restart ends the old one's."""
        return f"residuum-{self.group}-{self.worker_id or secrets.token_hex(8)}"


def read_kafka(path: Path | None, given: Iterable[str]) -> dict[str, str]:
    """Read settings of Kafka's client from a file, over which those that were `given` go.

    A value may be file:PATH, the content of a file, or env:NAME, a variable of the environment.

    Raises:
        SettingError: one is none, or its value is not there; no value is ever told.
    """
    lines = list(given)
    if path is not None:
        try:
            said = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
        lines = [line for line in map(str.strip, said) if line and not line.startswith(("#", "!"))] + lines
    read = {}
    for line in lines:
        key, there, value = line.partition("=")
        if not there or not key.strip():
            raise SettingError("a setting of Kafka's client is key=value; got one without a value, or without a key")
        read[key.strip()] = _secret(key.strip(), value.strip())
    return read


def _secret(key: str, value: str) -> str:
    """Fetch a value from where it is kept."""
    kind, _, place = value.partition(":")
    if kind == "env":
        if place not in os.environ:
            raise SettingError(f"{key}: the environment has no {place}")
        return os.environ[place]
    if kind == "file":
        try:
            return Path(place).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{key}: {place} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    return value
