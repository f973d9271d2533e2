"""Everything about the service that can be set: a flag of `residuum serve` and a key of `serve.toml` for each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from detector.errors import SettingError
from detector.graph import Device
from serving.log import LogFormat

MIB = 2**20
HIGHEST_PORT = 2**16 - 1


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """How the service runs; sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    device: Device = "auto"
    token_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    metrics_port: int | None = None  # of worker 0; the next one has the next port
    metrics_targets: Path | None = None
    shadow_share: float = 0.1  # of requests that a newer version judges too, where a pin holds an older one
    log: LogFormat = "auto"
    access_share: float = 0.01  # of requests that the log has a line of
    log_rows: bool = False  # with their values

    max_body: int = 16 * MIB
    max_rows: int = 100_000
    max_text: int = 10_000  # characters of one cell
    max_depth: int = 8  # lists and objects inside each other
    max_line: int = MIB  # of NDJSON
    max_header: int = 32 * 1024
    header_timeout: float = 10.0
    idle_timeout: float = 30.0
    max_requests: int = 256  # being answered at once
    max_queue: int = 64  # of these, waiting to be judged
    max_keys: int = 10_000  # of series: remembered by one request, and by all sessions
    session_timeout: float = 3600.0  # a session that is not asked for so long is forgotten
    drain_timeout: float = 20.0


def load(path: Path | None, given: dict[str, Any]) -> HttpSettings:
    """Read a file of settings, over which what was `given` on the command line goes.

    Raises:
        SettingError: the file cannot be read, or a setting is unknown or of the wrong kind.
    """
    names = {field.name: field.encode_name for field in msgspec.structs.fields(HttpSettings)}
    flags = {names[name]: value for name, value in given.items() if value is not None}
    try:
        said = tomllib.loads(path.read_text()) if path else {}
        settings = msgspec.convert(said | flags, HttpSettings, dec_hook=_path)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SettingError(f"{path or 'the settings'}: {error}") from error
    _check(settings)
    return settings


def _path(wanted: type, found: object) -> Path:
    """Read a path, which msgspec does not know."""
    if wanted is Path and isinstance(found, str | Path):
        return Path(found)
    raise ValueError(f"expected a path, got {found!r}")


def _check(settings: HttpSettings) -> None:
    """Refuse what cannot be meant."""
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and field.name not in MAY_BE_NOUGHT and value <= 0:
            raise SettingError(f"{field.encode_name} must be more than 0; got {value}")
    last = (settings.metrics_port or 1) + settings.workers - 1
    for name, port in (("port", settings.port), ("metrics-port", last)):
        if port > HIGHEST_PORT:
            raise SettingError(f"{name} goes up to {HIGHEST_PORT}; got {port}")
    if settings.tls_key and not settings.tls_certificate:
        raise SettingError("tls-key is the key of a certificate: name that by tls-certificate")


MAY_BE_NOUGHT: frozenset[str] = frozenset({"port", "access_share", "shadow_share"})
