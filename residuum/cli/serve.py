"""`residuum serve`: serve bundles over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from residuum.cli.command import OptionHelp, help_of, lazy_help
from residuum.cli.options import Device
from residuum.optional_dependencies import require_serving

MODELS = Annotated[
    Path,
    typer.Argument(
        help="A folder of models (models/), one model (models/pumps) or one version (models/pumps/1).", show_default=False
    ),
]
LogFormat = Literal["auto", "json", "console"]
LIMITS = "Limits (sizes in bytes, times in seconds)"


def _option(text: str, panel: str | None = None) -> Any:  # noqa: ANN401 - typer's own
    """Return an option for the setting of the same name; its default is that of `serving.http.core.settings`."""
    return typer.Option(help=text, show_default=False, rich_help_panel=panel)


def _help() -> dict[str, OptionHelp]:
    from serving.http.core.settings import HttpSettings

    return {name: text._replace(default=text.default or "none") for name, text in help_of(HttpSettings).items()}


@lazy_help(_help)
def serve(
    models: MODELS,
    *,
    host: Annotated[str | None, _option("The address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, _option("The port to listen on; 0 for any free one.")] = None,
    workers: Annotated[int | None, _option("Worker processes; one per core is fastest.")] = None,
    device: Annotated[Device | None, _option("Where to compute; auto uses a GPU if there is one.")] = None,
    config: Annotated[
        Path | None,
        _option("A TOML file of settings, named like these options without the dashes; options override it."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        _option(
            "A name or address, sent as Host, by which clients may call the service, besides localhost and the address that it "
            "listens on; *.example.com for all names below it, * for any. Repeatable."
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        _option(
            "The origin of web pages that may use the service, such as https://dash.example.com; * for any. Repeatable. Pages of "
            "other origins are refused."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, _option("A file of bearer tokens: on each line, the SHA-256 digest of a token and its roles.")
    ] = None,
    tls_certificate: Annotated[Path | None, _option("The certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, _option("The certificate's private key, PEM.")] = None,
    metrics_port: Annotated[
        int | None, _option("A separate port for the metrics, without tokens; further workers use the ports after it.")
    ] = None,
    metrics_targets: Annotated[
        Path | None, _option("A file to write with the workers' metrics ports, for Prometheus' file_sd_configs.")
    ] = None,
    history: Annotated[
        Path | None,
        _option(
            "A file that keeps 30 days of the live page over restarts; without one they are kept in memory. Like "
            "the page, it holds the values that alarms quote."
        ),
    ] = None,
    label_columns: Annotated[
        list[str] | None,
        _option(
            "The columns that name the row of an alarm on the live page, such as station,time; the model need not read them. For "
            "series the default is their key and time. Repeatable."
        ),
    ] = None,
    shadow_share: Annotated[
        float | None, _option("The share of requests that the newest version scores too while an older one is pinned.")
    ] = None,
    log: Annotated[LogFormat | None, _option("The format of the log; auto is console at a terminal, else json.")] = None,
    access_share: Annotated[float | None, _option("The share of requests that get a line in the access log.")] = None,
    log_rows: Annotated[bool | None, _option("Log the values of every row; no value is logged otherwise.")] = None,
    max_body: Annotated[int | None, _option("The size of a request body.", LIMITS)] = None,
    max_rows: Annotated[int | None, _option("Rows in a body; NDJSON is unlimited.", LIMITS)] = None,
    max_text: Annotated[int | None, _option("Characters in a cell.", LIMITS)] = None,
    max_depth: Annotated[int | None, _option("Nesting depth of JSON.", LIMITS)] = None,
    max_line: Annotated[int | None, _option("The size of a line of NDJSON.", LIMITS)] = None,
    max_header: Annotated[int | None, _option("The size of a request's header section.", LIMITS)] = None,
    max_requests: Annotated[
        int | None, _option("Requests scored at the same time; those whose bodies are still arriving do not count.", LIMITS)
    ] = None,
    max_queue: Annotated[int | None, _option("Requests that wait to be scored.", LIMITS)] = None,
    max_keys: Annotated[int | None, _option("Keys of series kept by one request, and by all sessions together.", LIMITS)] = None,
    session_timeout: Annotated[float | None, _option("Time until an unused session is dropped.", LIMITS)] = None,
    header_timeout: Annotated[float | None, _option("Time to receive a request's header section.", LIMITS)] = None,
    body_timeout: Annotated[
        float | None,
        _option("Time to receive a body, plus the time that its bytes take at --min-body-rate; for NDJSON, each line.", LIMITS),
    ] = None,
    min_body_rate: Annotated[
        int | None, _option("The lowest rate at which a body may arrive after that time, in bytes per second.", LIMITS)
    ] = None,
    idle_timeout: Annotated[
        float | None, _option("Time after which a client that neither sends nor receives is disconnected.", LIMITS)
    ] = None,
    drain_delay: Annotated[
        float | None,
        _option("Time after SIGTERM during which /readyz says 503 and new connections are still accepted.", LIMITS),
    ] = None,
    drain_timeout: Annotated[float | None, _option("Time that the service then waits for requests in progress.", LIMITS)] = None,
) -> None:
    """Serve bundles over HTTP, until SIGTERM or Ctrl-C."""
    given = {name: value for name, value in locals().items() if name not in {"models", "config"}}
    lists = {"allowed_host": allowed_host, "cors_origin": cors_origin, "label_columns": label_columns}
    given |= {name: values or None for name, values in lists.items()}  # none given: those of the file
    require_serving()
    from serving.http.core.settings import load
    from serving.http.process.server import serve as run

    run(models, load(config, given))
