"""`residuum train`: files of normal rows in, a bundle out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from residuum.cli import output, windows
from residuum.cli.command import let_ctrl_c_end_a_read
from residuum.cli.optional_dependencies import need_training
from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES
from residuum.cli.output import Fact

if TYPE_CHECKING:
    from detector.images import ImageSpec, Mode
    from detector.manifest import Manifest
    from detector.rejects import Reject
    from training.fit import FitProgress
    from training.image_table import ImageTable
    from training.recipe import Table
    from training.train import TrainingResult

Names = list[str] | None
LARGEST_SEED = 2**63 - 1  # torch's
FIRST = 5  # rejected rows that are shown
MOST = 4  # columns of a kind that are named
VARIANTS = (  # the table of `training.variants`, which --help has no time to import
    "denoising",
    "plain",
    "stacked",
    "tied",
    "sparse",
    "dropout",
    "contractive",
    "variational",
    "adversarial",
    "convolutional",
    "recurrent",
)
WEEK = 7  # days
PLURALS: dict[str, str] = {"number": "numbers", "category": "categories", "boolean": "booleans", "date": "dates"}


def train(
    files: FILES,
    *,
    to: Annotated[
        Path, typer.Option(help="The bundle's name, such as models/pumps; each training adds a version.", show_default=False)
    ],
    variant: Annotated[
        str | None,
        typer.Option(help=f"Which autoencoder: {', '.join(VARIANTS)}.", show_default="denoising; convolutional for images"),
    ] = None,
    set: Annotated[  # noqa: A002 - the option's name
        Names,
        typer.Option(
            help="A setting of the variant, such as latent=16; see residuum variants; may be repeated.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings, and the variant; the command line wins.", show_default=False)
    ] = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="The share of normal rows that may be flagged.", show_default="0.01, or what the rows can promise"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Same seed, rows and machine: the same detector.")] = 0,
    category: Annotated[Names, typer.Option(help="A column of categories; may be repeated.", show_default=False)] = None,
    numeric: Annotated[Names, typer.Option(help="A column of numbers; may be repeated.", show_default=False)] = None,
    date: Annotated[Names, typer.Option(help="A column of dates; may be repeated.", show_default=False)] = None,
    ignore: Annotated[Names, typer.Option(help="A column to leave out; may be repeated.", show_default=False)] = None,
    missing: Annotated[
        Names,
        typer.Option(
            help="A text that means a missing cell, beside empty, NA, NaN, null, None; may be repeated.", show_default=False
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="The column that orders the rows: the newest calibrate.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The column that tells series apart, such as a machine's name.", show_default=False)
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Judge windows of so many rows of a series, in the order of --time.", show_default=False),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="A window ends at every so many rows.")] = 1,
    max_gap: Annotated[
        str | None,
        typer.Option(
            help="A longer step in time begins a window anew: 90s, 5m, 2h, 1d, or a number in the unit of --time.",
            show_default="the usual span of a window",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Of images: what they are resized to, width before height.", show_default="as they are, 64 at most"),
    ] = None,
    mode: Annotated[
        Literal["grey", "rgb"] | None,
        typer.Option(help="Of images: what is seen of them.", show_default="grey if all are, else rgb"),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Rows of the tables are the pixels of grey images of this size, such as 28x28.", show_default=False),
    ] = None,
    rejects: Annotated[str | None, typer.Option(help="Where to list the rows that cannot be read.", show_default=False)] = None,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Learn from normal rows: writes a detector and says what it promises."""
    from detector import images, repository
    from detector.errors import SettingError
    from detector.files import ReadOptions, expand

    paths = expand(files)
    need_training()
    repository.check_writable(to)
    of_files = images.are_image_paths(paths)
    seen = _seen(paths, size, mode, image, of_files=of_files)
    paths = images.find_images(paths) if of_files else paths
    from residuum.cli.training_table import read
    from residuum.cli.windows import seconds_of
    from training.kinds import ColumnOptions, check_options
    from training.recipe import Recipe
    from training.variants import DEFAULT, DEFAULT_OF_WINDOWS, FOR_IMAGES

    wishes = ColumnOptions(
        category=tuple(category or ()),
        numeric=tuple(numeric or ()),
        date=tuple(date or ()),
        ignore=tuple(ignore or ()),
        time=time,
        key=key,
    )
    default = DEFAULT_OF_WINDOWS if window is not None else FOR_IMAGES if seen else DEFAULT
    named, settings = _chosen(variant, config, set or [], default)
    if of_files and (wishes != ColumnOptions() or window is not None):
        raise SettingError("--category, --numeric, --date, --ignore, --time, --key and --window are of columns; images have none")
    recipe = Recipe(
        variant=named,
        settings=settings,
        false_alarm_rate=false_alarm_rate,
        seed=seed,
        columns=wishes,
        missing=tuple(missing or ()),
        device=device,
        window=window,
        stride=stride,
        max_gap=None if max_gap is None else seconds_of(max_gap),
        image=seen,
    )
    recipe.check()
    with _rejects_file(rejects, paths) as list_rejects:
        let_ctrl_c_end_a_read()
        table: Table | ImageTable
        if of_files and seen:
            table, blank = _pictures(paths, seen), 0
        else:
            table, blank = read(paths, ReadOptions(missing=recipe.missing, decimal_comma=decimal_comma))
            check_options(wishes, table.frame.columns)
        from training.train import train as train_on  # torch, which takes seconds: the rest was worth checking before

        with _watching() as watch:
            trained = train_on(table, to, recipe, watch)
        list_rejects(trained.rejects)
    new = "FOLDER" if of_files else "NEW.csv"
    output.print_facts([*_facts(blank, trained), ("next", f"residuum score {to} {new} --to scored.csv")])


def _seen(paths: list[str], size: str | None, mode: Mode | None, image: str | None, *, of_files: bool) -> ImageSpec | None:
    """Give the image that files, or rows of a table, are to be seen as; nothing for other tables."""
    from detector import images
    from detector.errors import SettingError
    from residuum.cli.optional_dependencies import need_images

    if of_files:
        if image:
            raise SettingError("--image says how rows of a table become images; of files of images say --size")
        need_images()
        return images.infer_spec(images.find_images(paths), images.parse_size(size, "--size") if size else None, mode)
    if size or mode:
        raise SettingError("--size and --mode are for files of images; of rows of pixels say --image 28x28")
    return images.make_spec(images.parse_size(image, "--image"), "grey", "--image", files=False) if image else None


def _pictures(paths: list[str], image: ImageSpec) -> ImageTable:
    """Decode images."""
    from training.image_table import read_images

    with output.progress("reading", len(paths)) as advance:
        return read_images(paths, image, lambda done: advance(done, len(paths), f"{done:,} images"))


def _chosen(variant: str | None, config: Path | None, texts: list[str], default: str) -> tuple[str, dict[str, Any]]:
    """Give the variant and its settings: what the command line says, else the file, else the defaults."""
    from training.settings import from_texts, from_toml

    filed = from_toml(config) if config else {}
    named = str(filed.pop("variant", default))
    return variant or named, filed | from_texts(texts)


@contextlib.contextmanager
def _rejects_file(path: str | None, inputs: list[str]) -> Iterator[Callable[[list[Reject]], None]]:
    """Lend what lists rejected rows in a file, if one was asked for; refused before training if it cannot be."""
    from serving.files import output as output_files
    from serving.files.layout import reject_table
    from serving.files.sinks import LazySink, committed

    if path is None:
        yield lambda _rejects: None
        return
    output_files.check(path, inputs, force=False)
    sink = LazySink(path)
    with committed(sink):
        yield lambda rejects: sink.add(reject_table(rejects, several_files=len(inputs) > 1)) if rejects else None


@contextlib.contextmanager
def _watching() -> Iterator[Callable[[FitProgress], None]]:
    """Show how far training is."""

    def say(progress: FitProgress) -> str:
        return f"validation loss {progress.loss:.4g}, best {progress.best:.4g}; Ctrl-C keeps the best"

    with output.progress("training") as advance:
        yield lambda progress: advance(progress.step, progress.steps, say(progress))


def _facts(blank_lines: int, trained: TrainingResult) -> list[Fact]:
    """Say what was learnt, the promise first."""
    manifest = trained.manifest
    training, rows = manifest.training, manifest.training.rows
    infinite = f"{output.count(trained.infinite, 'infinite number')} taken as missing" if trained.infinite else ""
    blank = f"{output.count(blank_lines, 'blank line')} skipped" if blank_lines else ""
    used = f"{rows.training + rows.validation + rows.calibration:,} used"
    split = f"{rows.training:,} to learn from, {rows.validation:,} to validate, {rows.calibration:,} to calibrate"
    if manifest.window:
        used, split = f"{rows.training:,} used", "all to learn from, each of four blocks of time held out once to calibrate"
    image, noun = manifest.image, output.row_noun(manifest)
    return [
        ("promise", _promise(trained)),
        (f"{noun}s", "; ".join(filter(None, [f"{used}: {split}, {training.order}", infinite, blank]))),
        ("windows", windows.described(manifest.window) if manifest.window else ""),
        ("rejected", output.count(len(trained.rejects), noun) if trained.rejects else ""),
        *output.first_rejects(trained.rejects[:FIRST], numbered=noun == "row"),
        ("columns", "" if image else _columns(manifest)),
        ("seen as", f"{image.size} pixels, {'grey' if image.mode == 'grey' else 'in colour'}" if image else ""),
        ("left out", output.join_names(f"{ignored.name} ({ignored.reason})" for ignored in manifest.ignored)),
        ("constant", output.join_names(column.name for column in manifest.columns if column.constant)),
        ("warning", _short_dates(manifest)),
        ("threshold", f"{manifest.decision.threshold:.4g} {manifest.score.unit}, {manifest.score.name}"),
        ("training", _training(manifest)),
        ("bundle", str(trained.folder)),
    ]


def _short_dates(manifest: Manifest) -> str:
    """Warn of dates that cover no whole week: hours and weekdays that training never saw would be unusual later."""
    days = {c.name: (c.highest - c.lowest) / 86_400 for c in manifest.columns if c.kind == "date" and c.lowest and c.highest}
    short = {name: span for name, span in days.items() if span < WEEK}
    if not short:
        return ""
    said = ", ".join(f"{name} covers {span:.2g} days" for name, span in short.items())
    left_out = " ".join(f"--ignore {name}" for name in short)
    return f"{said}, and a detector learns the hours and weekdays of a date: others will look unusual; {left_out} leaves it out"


def _promise(trained: TrainingResult) -> str:
    """Say what the threshold promises, and that it is less than usual if it is."""
    rate = output.percentage(trained.manifest.decision.false_alarm_rate or 0.0)
    if trained.manifest.window:
        return windows.promise(trained.manifest, trained.lowered_from)
    training, noun = trained.manifest.training, output.row_noun(trained.manifest)
    calibrated = output.count(training.rows.calibration, noun)
    promise = f"at most {rate} of normal {noun}s are flagged, by {calibrated} that training never saw"
    if training.order != "shuffled":
        promise += ", the newest, if the future is like them"
    if trained.lowered_from is None:
        return promise
    return f"{promise}; these are too few for the usual {output.percentage(trained.lowered_from)}"


def _columns(manifest: Manifest) -> str:
    """Say how many columns there are of each kind, and which."""
    named = {kind: [column.name for column in manifest.columns if column.kind == kind] for kind in PLURALS}
    return ", ".join(
        f"{output.plural(len(some), kind, PLURALS[kind])} ({output.join_names(some, MOST)})"
        for kind, some in named.items()
        if some
    )


def _training(manifest: Manifest) -> str:
    """Say how training went."""
    training = manifest.training
    steps = f"best of {training.steps:,} steps at {training.best_step:,}"
    return f"{manifest.variant}, validation loss {training.loss:.4g} ({steps}), {training.seconds:.3g} s on {training.device}"
