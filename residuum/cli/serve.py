"""`residuum serve`: bundles behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from residuum.cli.optional_dependencies import need_serving
from residuum.cli.options import Device

MODELS = Annotated[
    Path,
    typer.Argument(
        help="A folder of bundles, one bundle, or one version: models/, models/pumps, models/pumps/1.", show_default=False
    ),
]
Log = Literal["auto", "json", "console"]
LIMITS = "Limits (bytes and seconds)"


def _flag(said: str, default: str, panel: str | None = None) -> Any:  # noqa: ANN401 - typer's own
    """Give a flag that goes before a setting; its default stands in `serving.http.core.settings`, too heavy for --help."""
    return typer.Option(help=said, show_default=default, rich_help_panel=panel)


def serve(
    models: MODELS,
    *,
    host: Annotated[str | None, _flag("The address to listen on; 0.0.0.0 is every one.", "127.0.0.1")] = None,
    port: Annotated[int | None, _flag("The port; 0 takes a free one.", "8080")] = None,
    workers: Annotated[int | None, _flag("Processes; one for each core is the fastest.", "1")] = None,
    device: Annotated[Device | None, _flag("What computes; auto takes a GPU where there is one.", "auto")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file of settings, named like these flags; a flag goes before it.", show_default=False),
    ] = None,
    token_file: Annotated[Path | None, _flag("Bearer tokens: a line of SHA-256 and roles each.", "none")] = None,
    tls_certificate: Annotated[Path | None, _flag("A certificate and those it rests on, PEM.", "none")] = None,
    tls_key: Annotated[Path | None, _flag("The certificate's key, PEM.", "none")] = None,
    metrics_port: Annotated[
        int | None, _flag("A port for the metrics alone, without tokens; worker 1 has the next one, and so on.", "none")
    ] = None,
    metrics_targets: Annotated[
        Path | None, _flag("The file, for Prometheus' file_sd, that lists the workers' metrics ports.", "none")
    ] = None,
    shadow_share: Annotated[
        float | None, _flag("The share of requests that a newer version judges too, where a pin holds an older one.", "0.1")
    ] = None,
    log: Annotated[Log | None, _flag("How the log is written; auto is for a person at a terminal.", "auto")] = None,
    access_share: Annotated[float | None, _flag("The share of requests that the log has a line of.", "0.01")] = None,
    log_rows: Annotated[bool | None, _flag("Write the values of every row into the log; otherwise none is.", "off")] = None,
    max_body: Annotated[int | None, _flag("Bytes of a body.", "16777216", LIMITS)] = None,
    max_rows: Annotated[int | None, _flag("Rows of a body; NDJSON may have any number.", "100000", LIMITS)] = None,
    max_text: Annotated[int | None, _flag("Characters of one cell.", "10000", LIMITS)] = None,
    max_depth: Annotated[int | None, _flag("Lists and objects inside each other.", "8", LIMITS)] = None,
    max_line: Annotated[int | None, _flag("Bytes of a line of NDJSON.", "1048576", LIMITS)] = None,
    max_header: Annotated[int | None, _flag("Bytes of a request's head.", "32768", LIMITS)] = None,
    max_requests: Annotated[int | None, _flag("Requests being answered at once.", "256", LIMITS)] = None,
    max_queue: Annotated[int | None, _flag("Requests waiting to be judged.", "64", LIMITS)] = None,
    max_keys: Annotated[
        int | None, _flag("Keys of series remembered, by one request and by all sessions.", "10000", LIMITS)
    ] = None,
    session_timeout: Annotated[float | None, _flag("How long a session is kept that nobody asks.", "3600", LIMITS)] = None,
    header_timeout: Annotated[float | None, _flag("How long a request's head may take.", "10", LIMITS)] = None,
    idle_timeout: Annotated[float | None, _flag("How long a client may neither send nor read.", "30", LIMITS)] = None,
    drain_timeout: Annotated[float | None, _flag("How long SIGTERM waits for what was begun.", "20", LIMITS)] = None,
) -> None:
    """Serve bundles: verdicts by HTTP, until SIGTERM or Ctrl-C."""
    given = {name: value for name, value in locals().items() if name not in {"models", "config"}}
    need_serving()
    from serving.http.core.settings import load
    from serving.http.process.server import serve as run

    run(models, load(config, given))
