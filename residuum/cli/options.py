"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Literal["auto", "cpu", "cuda"]
Format = Literal["text", "json"]

MODEL = Annotated[
    Path, typer.Argument(help="A bundle: models/pumps (its newest or pinned version) or models/pumps/1.", show_default=False)
]
FILES = Annotated[
    list[str],
    typer.Argument(
        help="CSV, Parquet or NDJSON, also .gz and .zst; images, or folders of them; patterns; - is standard input.",
        show_default=False,
    ),
]
TO = Annotated[
    str,
    typer.Option(
        help="The file to write: .csv or .ndjson (also .gz, .zst) or .parquet; - is standard output.", show_default=False
    ),
]
IMAGE = Annotated[
    str | None,
    typer.Option(help="Rows are images of so many pixels, such as 28x28: draw them on a sheet, a .png.", show_default=False),
]
FORCE = Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")]
DEVICE = Annotated[Device, typer.Option(help="What computes; auto takes a GPU where there is one.")]
DECIMAL_COMMA = Annotated[bool, typer.Option("--decimal-comma", help="Numbers are written like 1,5.")]
FORMAT = Annotated[Format, typer.Option("--format", help="For a person, or for a program.")]
LABEL = Annotated[str, typer.Option(help="The column that tells normal rows from anomalies.", show_default=False)]
LABEL_OR_FOLDER = Annotated[
    str | None,
    typer.Option(help="The column that tells normal rows from anomalies.", show_default="of images: the folders' names"),
]
NAMES = Annotated[
    str | None,
    typer.Option("--names", help="Of images: a table that labels them, with a column file.", show_default="the folders' names"),
]
NORMAL_VALUES = Annotated[
    list[str] | None,
    typer.Option(
        "--normal-value", help="A label that means normal; may be repeated.", show_default="0, false, no, normal, ok ..."
    ),
]
