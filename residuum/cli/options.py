"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Literal["auto", "cpu", "cuda"]
Format = Literal["text", "json"]


def complete_variant(start: str) -> list[str]:
    """Return the variants whose names begin with a text, for shells."""
    from training.variants import VARIANTS

    return [name for name in VARIANTS if name.startswith(start)]


MODEL = Annotated[
    Path,
    typer.Argument(
        help="The bundle: models/pumps (its pinned or newest version) or models/pumps/1 (that version).", show_default=False
    ),
]
FILES = Annotated[
    list[str],
    typer.Argument(
        help="CSV, Parquet or NDJSON files, also .gz and .zst; or images and folders of images; glob patterns; "
        "- for standard input.",
        show_default=False,
    ),
]
TO = Annotated[
    str,
    typer.Option(
        help="The output file: .csv or .ndjson (also .gz, .zst) or .parquet; - for standard output. {date} in a name is "
        "today's date, such as 2026-11-28.",
        show_default=False,
    ),
]
IMAGE = Annotated[
    str | None,
    typer.Option(
        help="Write the rows as images of this size, such as 28x28, on one contact sheet: --to is then a .png.",
        show_default=False,
    ),
]
FORCE = Annotated[bool, typer.Option("--force", help="Replace existing output.")]
DEVICE = Annotated[Device, typer.Option(help="Where to compute; auto uses a GPU if there is one.")]
DECIMAL_COMMA = Annotated[bool, typer.Option("--decimal-comma", help="Numbers have a decimal comma: 1,5.")]
ENCODING = Annotated[
    str,
    typer.Option(
        help="The encoding of text files, such as latin-1, cp1252 or utf-16; a byte order mark overrides it.",
        show_default="utf-8",
    ),
]
FORMAT = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]
LABEL_OR_FOLDER = Annotated[
    str | None,
    typer.Option(help="The column that labels rows as normal or anomalous.", show_default="for images: the folder names"),
]
NAMES = Annotated[
    str | None,
    typer.Option(
        "--names",
        help="For images: a table of labels, with a column `file` of file names.",
        show_default="the folder names",
    ),
]
NORMAL_VALUES = Annotated[
    list[str] | None,
    typer.Option("--normal-value", help="A label that means normal; repeatable.", show_default="0, false, no, normal, ok ..."),
]
