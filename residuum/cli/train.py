"""`residuum train`: read files of normal rows, write a bundle."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from residuum import describe
from residuum.cli import output
from residuum.cli.command import OptionHelp, allow_interrupted_reads, given, help_of, lazy_help
from residuum.cli.durations import parse_seconds
from residuum.cli.options import DECIMAL_COMMA, ENCODING, FILES, Device, complete_variant
from residuum.cli.output import Fact
from residuum.optional_dependencies import require_training

if TYPE_CHECKING:
    from detector.images import ImageSpec, Mode
    from detector.manifest import Manifest
    from detector.rejects import Reject
    from residuum.training_progress import TrainingProgress
    from training.image_table import ImageTable
    from training.recipe import Table
    from training.train import TrainingResult

Names = list[str] | None
SHOWN_REJECTS = 5
DAYS_OF_WEEK = 7
COLUMNS, SERIES, IMAGES = "Columns", "Series: score windows of rows", "Images"


def _help() -> dict[str, OptionHelp]:
    from training.recipe import Recipe
    from training.split import DEFAULT_RATE
    from training.variants import DEFAULT, DEFAULT_OF_WINDOWS, FOR_IMAGES, VARIANTS

    variants = f"{DEFAULT}; {DEFAULT_OF_WINDOWS} with --window, {FOR_IMAGES} for images"
    return help_of(Recipe) | {
        "variant": OptionHelp(variants, f"The autoencoder: {', '.join(VARIANTS)}."),
        "false_alarm_rate": OptionHelp(f"{DEFAULT_RATE:g}, or the lowest that the rows can promise"),
    }


@lazy_help(_help)
def train(
    files: FILES,
    *,
    to: Annotated[
        Path,
        typer.Option(help="The model's folder, such as models/pumps; each training adds a version to it.", show_default=False),
    ],
    variant: Annotated[
        str | None,
        typer.Option(help="The autoencoder; see `residuum variants`.", show_default=False, autocompletion=complete_variant),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Score rows fastest: `--variant denoising`.")] = False,
    best: Annotated[
        bool, typer.Option("--best", help="Add a network to the memory, and train and score more slowly: `--variant hybrid`.")
    ] = False,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Keep no memory of training rows: `--variant denoising`; see also --no-suspects.")
    ] = False,
    set: Annotated[  # noqa: A002 - the option's name
        Names,
        typer.Option(
            help="A setting of the variant, such as latent=16; see `residuum variants NAME`; repeatable.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file with settings and the variant; the command line overrides it.", show_default=False),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="A network that is still learning at its last step is trained on, up to so many steps: `--set max_steps=9000`.",
            show_default=False,
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="The share of normal rows that may be flagged.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Random seed: the same seed, rows and machine give the same detector.", show_default=False),
    ] = None,
    rejects: Annotated[str | None, typer.Option(help="A file to list the rows that cannot be read.", show_default=False)] = None,
    no_suspects: Annotated[
        bool,
        typer.Option("--no-suspects", help="List no suspicious training rows, which hold training values, in the bundle."),
    ] = False,
    device: Annotated[
        Device | None, typer.Option(help="Where to compute; auto uses a GPU if there is one.", show_default=False)
    ] = None,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
    category: Annotated[
        Names,
        typer.Option(help="A column to treat as categories; repeatable.", show_default=False, rich_help_panel=COLUMNS),
    ] = None,
    numeric: Annotated[
        Names, typer.Option(help="A column to treat as numbers; repeatable.", show_default=False, rich_help_panel=COLUMNS)
    ] = None,
    date: Annotated[
        Names, typer.Option(help="A column to treat as dates; repeatable.", show_default=False, rich_help_panel=COLUMNS)
    ] = None,
    date_format: Annotated[
        Names,
        typer.Option(
            help="How dates are written, if a column leaves this in doubt: dd/mm/yyyy, directives such as %d/%m/%y, or a unit of "
            "numbers (s, ms, us, ns since 1970, serial as in spreadsheets); for one column NAME=FORMAT; repeatable.",
            metavar="[NAME=]FORMAT",
            show_default=False,
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    ignore: Annotated[
        Names, typer.Option(help="A column to leave out; repeatable.", show_default=False, rich_help_panel=COLUMNS)
    ] = None,
    missing: Annotated[
        Names,
        typer.Option(
            help="A text that marks a missing cell, besides the empty cell, NA, NaN, null and None (in numbers, dates and "
            "booleans also -, ?, #N/A, \\N and the like); inf: infinities are missing; repeatable.",
            show_default=False,
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="The column that orders the rows: the newest rows calibrate the threshold.",
            show_default=False,
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Score windows of this many rows of a series, in the order of --time.",
            show_default=False,
            rich_help_panel=SERIES,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The column that identifies a series, such as the name of a machine.",
            show_default=False,
            rich_help_panel=SERIES,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows from the end of a window to the end of the next.", show_default=False, rich_help_panel=SERIES
        ),
    ] = None,
    max_gap: Annotated[
        str | None,
        typer.Option(
            help="A longer gap in time starts a new window: 90s, 5m, 2h, 1d, or a number in the unit of --time.",
            show_default="the usual time span of a window",
            rich_help_panel=SERIES,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="The size that image files are resized to, width x height.",
            show_default="their own, at most 64x64",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    mode: Annotated[
        Literal["grey", "rgb"] | None,
        typer.Option(
            help="The colour mode of image files.", show_default="grey if all of them are, else rgb", rich_help_panel=IMAGES
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            help="The rows of the tables are grey images of this size, such as 28x28, one pixel per column.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
) -> None:
    """Train a detector on normal rows, write it as a bundle, and print what it promises."""
    from detector import images, repository
    from detector.errors import SettingError
    from detector.files import ReadOptions, expand

    paths = expand(files)
    require_training()
    repository.check_writable(to)
    are_images = images.are_image_paths(paths)
    shape = _image(paths, size, mode, image, are_images=are_images)
    paths = images.find_images(paths) if are_images else paths
    from residuum.cli.training_table import read
    from training.kinds import ColumnOptions, check_options
    from training.recipe import Recipe
    from training.variants import BEST, DEFAULT, DEFAULT_OF_WINDOWS, FASTEST, FOR_IMAGES, WITHOUT_MEMORY

    columns = ColumnOptions(
        category=tuple(category or ()),
        numeric=tuple(numeric or ()),
        date=tuple(date or ()),
        ignore=tuple(ignore or ()),
        time=time,
        key=key,
        date_format=tuple(date_format or ()),
        decimal_comma=decimal_comma,
    )
    default = DEFAULT_OF_WINDOWS if window is not None else FOR_IMAGES if shape else DEFAULT
    chosen = {"--fast": (fast, FASTEST), "--best": (best, BEST), "--no-memory": (no_memory, WITHOUT_MEMORY)}
    variant = _variant_for_rows(variant, {option: name for option, (given, name) in chosen.items() if given}, default)
    texts = [*(set or []), *([f"max_steps={max_steps}"] if max_steps else [])]
    variant, settings = _variant_and_settings(variant, config, texts, default)
    if are_images and (columns != ColumnOptions() or window is not None):
        raise SettingError(
            "--category, --numeric, --date, --ignore, --time, --key and --window apply to columns; images have none"
        )
    recipe = Recipe(
        variant=variant,
        settings=settings,
        false_alarm_rate=false_alarm_rate,
        columns=columns,
        missing=tuple(missing or ()),
        window=window,
        max_gap=None if max_gap is None else parse_seconds(max_gap),
        image=shape,
        suspects=not no_suspects,
        **given(seed=seed, device=device, stride=stride),
    )
    recipe.check()
    with _rejects_file(rejects, paths) as write_rejects, output.training_progress() as progress:
        allow_interrupted_reads()
        progress.on_phase("reading")
        table: Table | ImageTable
        if are_images and shape:
            table, blank_lines = _read_images(paths, shape, progress), 0
        else:
            table, blank_lines = read(
                paths, ReadOptions(missing=recipe.missing, decimal_comma=decimal_comma, encoding=encoding, ignored=columns.ignore)
            )
            check_options(columns, table.frame.columns)
        progress.on_phase("loading PyTorch")
        from training.train import train as train_on  # imports torch, which takes seconds: all checks come before it

        trained = train_on(table, to, recipe, progress.on_progress, progress.on_column, progress.on_phase)
        write_rejects(trained.rejects)
    new = "FOLDER" if are_images else "NEW.csv"
    output.print_facts([*_facts(blank_lines, trained), ("next", f"residuum score {to} {new} --to scored.csv")])


def _image(paths: list[str], size: str | None, mode: Mode | None, image: str | None, *, are_images: bool) -> ImageSpec | None:
    """Return the size and the mode of the images in files, or in rows of pixels; None for other tables."""
    from detector import images
    from detector.errors import SettingError
    from residuum.optional_dependencies import require_images

    if are_images:
        if image:
            raise SettingError("--image is for tables with a pixel per column; for image files use --size")
        require_images()
        return images.infer_spec(images.find_images(paths), images.parse_size(size, "--size") if size else None, mode)
    if size or mode:
        raise SettingError("--size and --mode are for image files; for tables with a pixel per column use --image 28x28")
    return images.make_spec(images.parse_size(image, "--image"), "grey", "--image", files=False) if image else None


def _read_images(paths: list[str], image: ImageSpec, progress: TrainingProgress) -> ImageTable:
    from training.image_table import read_images

    return read_images(paths, image, lambda done: progress.on_image(done, len(paths)))


def _variant_for_rows(variant: str | None, chosen: dict[str, str], default: str) -> str | None:
    """Return the variant that an option such as `--fast` stands for, `chosen` by option; without one, the variant given."""
    from detector.errors import SettingError
    from training.variants import DEFAULT

    if not chosen:
        return variant
    options, names = " and ".join(chosen), {*chosen.values(), *([variant] if variant else [])}
    if default != DEFAULT:
        raise SettingError(f"{options} is for single rows; for windows and images, choose with --variant")
    if len(names) > 1:
        raise SettingError(f"{options} and --variant name different variants ({', '.join(sorted(names))}): choose one")
    return names.pop()


def _variant_and_settings(variant: str | None, config: Path | None, texts: list[str], default: str) -> tuple[str, dict[str, Any]]:
    """Return the variant and its settings: the command line overrides the file, which overrides the defaults."""
    from training.settings import from_texts, from_toml

    from_file = from_toml(config) if config else {}
    file_variant = str(from_file.pop("variant", default))
    return variant or file_variant, from_file | from_texts(texts)


@contextlib.contextmanager
def _rejects_file(path: str | None, inputs: list[str]) -> Iterator[Callable[[list[Reject]], None]]:
    """Yield a function that writes rejects to a file, if one is given; raises before training if it cannot be written."""
    from serving.files import output as output_files
    from serving.files.layout import reject_table
    from serving.files.sinks import LazySink, committed

    if path is None:
        yield lambda _rejects: None
        return
    output_files.check(path, inputs, force=False)
    sink = LazySink(path, force=False)
    with committed(sink):
        yield lambda rejects: sink.add(reject_table(rejects, several_files=len(inputs) > 1)) if rejects else None


def _facts(blank_lines: int, trained: TrainingResult) -> list[Fact]:
    """Return the summary: the promise, the data, the model and where it is."""
    manifest = trained.manifest
    training, rows, image, noun = manifest.training, manifest.training.rows, manifest.image, describe.row_noun(manifest)
    used = rows.training + (0 if manifest.window or training.folds else rows.validation + rows.calibration)
    split = f"{used:,} used, {training.order}: {describe.split(manifest)}"
    return [
        ("promise", describe.promise(manifest, trained.lowered_from)),
        (f"{noun}s", "; ".join(filter(None, [split, output.skipped_text(blank_lines, trained.infinite)]))),
        ("windows", describe.window(manifest.window) if manifest.window else ""),
        ("rejected", describe.count(len(trained.rejects), noun) if trained.rejects else ""),
        *output.first_rejects(trained.rejects[:SHOWN_REJECTS], numbered=noun == "row"),
        *_suspects(trained),
        ("columns", "" if image else describe.columns(manifest)),
        ("written", describe.written(manifest)),
        *(("note", f"{column.name}: {column.note}") for column in manifest.columns if column.note),
        ("time", _ordered_by(trained)),
        ("seen as", describe.image(image) if image else ""),
        ("left out", describe.join_names(f"{ignored.name} ({ignored.reason})" for ignored in manifest.ignored)),
        ("constant", describe.join_names(column.name for column in manifest.columns if column.constant)),
        ("warning", _short_dates(manifest)),
        ("wide", describe.wide(manifest)),
        ("privacy", describe.stored_rows(manifest)),
        ("threshold", f"{manifest.decision.threshold:.4g} {manifest.score.unit}, {manifest.score.name}"),
        ("training", _training(manifest)),
        ("bundle", str(trained.folder)),
    ]


def _ordered_by(trained: TrainingResult) -> str:
    """Return the proposal to name the date that orders the rows; empty if there is none."""
    name = trained.ordered_by
    if not name:
        return ""
    is_used = any(column.name == name for column in trained.manifest.columns)
    used = "; until then only its time of day and of week are used" if is_used else ""
    return f"{name} orders the rows: train with {shlex.join(['--time', name])}, so that the newest rows calibrate{used}"


def _suspects(trained: TrainingResult) -> list[Fact]:
    """Return how many training rows are suspicious, what that means, and the first of them."""
    from detector.bundle import SUSPECTS

    suspects = trained.suspects
    if not suspects:
        return []
    rows = len({(suspect.file, suspect.row) for suspect in suspects})
    cell = "a cell" if rows == 1 else "cells"
    listed = f"; {SUSPECTS} in the bundle lists {'it' if rows == 1 else 'them'}" if SUSPECTS in trained.manifest.files else ""
    more = len(suspects) - SHOWN_REJECTS
    text = f"{describe.count(rows, 'row')} with {cell} far from all others of the column: remove what is wrong, and train again"
    return [
        ("suspicious", text + listed),
        *output.first_rejects(suspects[:SHOWN_REJECTS]),
        ("", f"and {more:,} more" if more > 0 else ""),
    ]


def _short_dates(manifest: Manifest) -> str:
    """Return a warning about dates that cover less than a week: hours and weekdays absent from training will look unusual."""
    days = {c.name: (c.highest - c.lowest) / 86_400 for c in manifest.columns if c.kind == "date" and c.lowest and c.highest}
    short = {name: span for name, span in days.items() if span < DAYS_OF_WEEK}
    if not short:
        return ""
    spans = ", ".join(f"{name} covers {span:.2g} days" for name, span in short.items())
    options = " ".join(f"--ignore {name}" for name in short)
    return (
        f"{spans}, and a detector learns the hours and weekdays of a date: rows at other times will look unusual; to leave "
        f"it out: {options}"
    )


def _training(manifest: Manifest) -> str:
    training = manifest.training
    return f"{manifest.variant}, validation loss {describe.loss(manifest)}, {training.seconds:.3g} s on {training.device}"
