"""The settings of the HTTP service: each is an option of `residuum serve` and a key of `serve.toml`."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detector.columns import format_names, suggest_names
from detector.errors import SettingError
from detector.graph import Device
from serving.limits import Limits
from serving.log import LogFormat

MIB = 2**20
HOST = re.compile(r"\*|(\*\.)?[^\s/*]+")
ORIGIN = re.compile(r"\*|https?://[^\s/*]+", re.IGNORECASE)
MAX_PORT = 2**16 - 1
MAY_BE_ZERO = frozenset({"port", "access_share", "shadow_share", "drain_delay"})


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """Settings of the service; sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    device: Device = "auto"
    allowed_host: tuple[str, ...] | None = None  # names of the service besides localhost and the host; *.example.com: all below
    cors_origin: tuple[str, ...] | None = None  # whose pages may use the service, such as https://dash.example.com
    token_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    metrics_port: int | None = None  # of worker 0; the other workers use the ports after it
    metrics_targets: Path | None = None
    history: Path | None = None  # a file that keeps the history of the live page; without one it is kept in memory
    label_columns: tuple[str, ...] | None = None  # whose cells name the row of an alarm; separated by commas
    shadow_share: float = 0.1  # of requests that a newer version scores too while an older one is pinned
    log: LogFormat = "auto"
    access_share: float = 0.01  # of requests that are logged
    log_rows: bool = False  # with their values

    max_body: int = 16 * MIB
    max_rows: int = 100_000
    max_text: int = 10_000  # characters of one cell
    max_depth: int = 8  # of nested lists and objects
    max_line: int = MIB  # of NDJSON
    max_header: int = 32 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 20.0  # plus the time that the bytes take at this rate; for NDJSON, each line:
    min_body_rate: int = 256  # bytes a second
    idle_timeout: float = 30.0
    max_requests: int = 256  # whose rows are being scored
    max_queue: int = 64  # of these, waiting to be scored
    max_keys: int = 10_000  # of series, kept by one request, and by all sessions together
    session_timeout: float = 3600.0  # after which an unused session expires
    drain_delay: float = 0.0  # after SIGTERM, while new connections are still accepted, but readiness is false
    drain_timeout: float = 20.0  # after that

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the label columns; one that holds a comma stands in double quotes."""
        return tuple(name.strip() for names in csv.reader(self.label_columns or ()) for name in names)

    @property
    def limits(self) -> Limits:
        """What one body may hold."""
        return Limits(max_rows=self.max_rows, max_depth=self.max_depth, max_text=self.max_text, max_line=self.max_line)


def load(path: Path | None, options: dict[str, Any]) -> HttpSettings:
    """Read a settings file; `options` of the command line override it.

    Raises:
        SettingError: the file cannot be read, or a setting is unknown or invalid.
    """
    keys = {field.name: field.encode_name for field in msgspec.structs.fields(HttpSettings)}
    overrides = {keys[name]: value for name, value in options.items() if value is not None}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        _check_keys(path, values, list(keys.values()))
        settings = msgspec.convert(values | overrides, HttpSettings, dec_hook=_to_path)
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SettingError(f"{path or 'the settings'}: {error}") from error
    _check(settings)
    return settings


def _check_keys(path: Path | None, found: Iterable[str], known: Sequence[str]) -> None:
    """Raise unless all keys of a settings file are settings; the message suggests similar ones."""
    unknown = [key for key in found if key not in known]
    if unknown:
        noun = "key" if len(unknown) == 1 else "keys"
        near = suggest_names(unknown, known)
        raise SettingError(
            f"{path} has the unknown {noun} {format_names(unknown)}{near}; there are {format_names(sorted(known), len(known))}"
        )


def _to_path(target: type, value: object) -> Path:
    """Convert a value to a path, a type that msgspec does not know."""
    if target is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")


def _check(settings: HttpSettings) -> None:
    """Raise unless the values are in range and consistent."""
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and field.name not in MAY_BE_ZERO and value <= 0:
            raise SettingError(f"{field.encode_name} must be more than 0; got {value}")
    last_metrics_port = (settings.metrics_port or 1) + settings.workers - 1
    for name, port in (("port", settings.port), ("metrics-port", last_metrics_port)):
        if port > MAX_PORT:
            raise SettingError(f"{name} must be at most {MAX_PORT}; got {port}")
    _check_names(settings)
    if settings.tls_key and not settings.tls_certificate:
        raise SettingError("tls-key requires tls-certificate")


def _check_names(settings: HttpSettings) -> None:
    """Raise unless hosts, origins and columns can be such."""
    for host in settings.allowed_host or ():
        if not HOST.fullmatch(host):
            raise SettingError(f"allowed-host must be a name or an address, such as pumps.example.com; got {host!r}")
    for origin in settings.cors_origin or ():
        if not ORIGIN.fullmatch(origin):
            raise SettingError(f"cors-origin must be an origin, such as https://dash.example.com; got {origin!r}")
    if not all(settings.label_names):
        raise SettingError(f"label-columns must be names of columns, such as station,time; got {settings.label_columns}")
