"""Settings of the worker; those that users change often are options of `residuum stream`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from detector.errors import SettingError
from detector.graph import Device
from serving.limits import RecordLimits
from serving.log import LogFormat
from serving.stream.addresses import Address, Topic

Guarantee = Literal["exactly-once", "at-least-once"]
Tombstones = Literal["dead-letter", "skip"]
LostPosition = Literal["stop", "earliest", "latest"]
MIB = 2**20
# Options that apply only where such an address is given.
FOR_TOPICS = ("--group", "--id", "--kafka", "--kafka-config")
FOR_SOURCE_TOPIC = ("--start", "--on-lost-position", "--tombstones", "--changelog")
FOR_SOURCE_FILE = ("--state", "--rotation-idle")


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the worker; sizes in bytes, times in seconds."""

    source: Address
    sink: Address
    dead_letters: Address | Literal["default"] = "default"
    group: str
    worker_id: str | None = None  # None: a new one for each process
    guarantee: Guarantee | None = None  # None: the strongest that source and sink allow
    start: str = "earliest"  # where a new group starts in a topic: earliest, latest or a time
    on_lost_position: LostPosition = "earliest"  # if the records at a position in a topic are gone
    kafka: Mapping[str, str] = {}
    state: Path | None = None  # state file of a tailed file: its position, and the windows of its series
    rotation_idle: float = 5.0  # without new bytes, after which a rotated file is left for the next one
    changelog: str | None = None  # topic for the windows of a topic's series; None: named after topic and group
    state_memory: int | None = None  # approximate bytes for windows of series; None: those of a million series
    device: Device = "auto"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    log: LogFormat = "auto"

    tombstones: Tombstones = "dead-letter"  # records without a value
    max_batch: int = 2000  # records
    max_batch_bytes: int = 4 * MIB
    linger: float = 0.05  # that a batch waits for more records
    max_record: int = MIB
    max_depth: int = 8
    max_text: int = 10_000
    reasons: int = 3
    deadline: float = 20.0  # from SIGTERM to the exit

    @property
    def limits(self) -> RecordLimits:
        """The limits of a record."""
        return RecordLimits(self.max_record, self.max_depth, self.max_text, self.reasons, self.tombstones == "skip")

    @property
    def dead_letters_to(self) -> Address:
        """Address of dead letters; by default the topic's name followed by .dlq or, without a topic, the sink."""
        if self.dead_letters != "default":
            return self.dead_letters
        for address in (self.source, self.sink):
            if isinstance(address, Topic):
                return address._replace(name=f"{address.name}.dlq")
        return self.sink

    @property
    def has_topic(self) -> bool:
        """Whether source, sink or dead letters are a topic."""
        return any(isinstance(address, Topic) for address in (self.source, self.sink, self.dead_letters_to))

    @property
    def exactly_once(self) -> bool:
        """Whether one transaction holds verdicts, dead letters and position.

        Raises:
            SettingError: `guarantee` requires it, but the addresses do not allow it.
        """
        addresses = (self.source, self.sink, self.dead_letters_to)
        brokers = {address.brokers if isinstance(address, Topic) else None for address in addresses}
        is_one_cluster = len(brokers) == 1 and None not in brokers
        if self.guarantee == "exactly-once" and not is_one_cluster:
            raise SettingError(
                "--guarantee exactly-once requires --from, --to and --dead-letters to be topics of the same brokers; "
                "use at-least-once"
            )
        return is_one_cluster and self.guarantee != "at-least-once"

    @property
    def transactional_id(self) -> str:
        """Kafka's transactional ID; stable for a worker with an ID, so that a restart aborts the open transaction."""
        return f"residuum-{self.group}-{self.worker_id or secrets.token_hex(8)}"


def require_applicable(settings: StreamSettings, given: Collection[str]) -> None:
    """Raise unless all of the given options apply to the addresses.

    Raises:
        SettingError: some do not.
    """
    is_topic, is_file = isinstance(settings.source, Topic), isinstance(settings.source, Path)
    for options, needed, is_met in (
        (FOR_TOPICS, "a topic as --from, --to or --dead-letters", settings.has_topic),
        (FOR_SOURCE_TOPIC, "a topic as --from", is_topic),
        (FOR_SOURCE_FILE, "a file as --from", is_file),
    ):
        found = [option for option in options if option in given]
        if found and not is_met:
            raise SettingError(f"{' and '.join(found)} {'needs' if len(found) == 1 else 'need'} {needed}")


def read_client_settings(path: Path | None, options: Iterable[str]) -> dict[str, str]:
    """Read settings of Kafka's client, `key=value`, from a file and from options; options win.

    A value may be file:PATH, the content of a file, or env:NAME, an environment variable.

    Raises:
        SettingError: a setting is malformed, or its value cannot be read; the message holds no value.
    """
    lines = list(options)
    if path is not None:
        file_lines = map(str.strip, _read_text(path).splitlines())
        lines = [line for line in file_lines if line and not line.startswith(("#", "!"))] + lines
    settings = {}
    for line in lines:
        key, separator, value = line.partition("=")
        if not separator or not key.strip():
            raise SettingError("a setting of Kafka's client must be key=value; found one without a key or without a value")
        settings[key.strip()] = _resolve_secret(key.strip(), value.strip())
    return settings


def _resolve_secret(key: str, value: str) -> str:
    kind, _, name = value.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise SettingError(f"{key}: the environment variable {name} is not set")
        return os.environ[name]
    if kind == "file":
        return _read_text(Path(name), f"{key}: ").strip()
    return value


def _read_text(path: Path, prefix: str = "") -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{prefix}{path} cannot be read: {reason}") from error
