"""The Python door: frames of any kind in, the same kind with verdicts out.

    import residuum

    detector = residuum.train(normal, to="models/pumps")
    judged = residuum.load("models/pumps").score(today)
    judged[judged["is_anomaly"]]

narwhals lets pandas, polars, pyarrow and others pass alike; everything behind this file works on polars frames.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import narwhals as nw
import numpy as np
import polars as pl

from detector.cells import category_text
from detector.columns import Column, Encoded, as_frame, encode, format_names, require_columns
from detector.decoder import Decoder, latent_names
from detector.errors import SettingError, TableError
from detector.graph import Device
from detector.images import make_spec, parse_size
from detector.manifest import Manifest
from detector.reasons import Explain, as_texts
from detector.scorer import Scorer

if TYPE_CHECKING:
    from training.train import TrainedDetector, TrainingResult

Frame = TypeVar("Frame")
Names = str | tuple[str, ...] | list[str]  # one name, or several

TAKEN = "taken are pandas, polars and pyarrow frames, and arrays [rows, columns]; a LazyFrame is collected first, by collect()"


class Detector:
    """A trained detector, open for scoring."""

    def __init__(self, scorer: Scorer) -> None:
        """Take an opened bundle; `residuum.load` gives one by its path."""
        self._scorer = scorer

    def __repr__(self) -> str:
        """Name the bundle, its variant and its promise."""
        manifest = self.manifest
        return f"<Detector {manifest.name}/{manifest.version}: {manifest.variant}, {len(manifest.columns)} columns>"

    @property
    def manifest(self) -> Manifest:
        """Everything that the bundle says of itself."""
        return self._scorer.manifest

    @property
    def threshold(self) -> float:
        """The score above which a row is an anomaly, in nats."""
        return self.manifest.decision.threshold

    def score(self, rows: Frame, *, reasons: Explain = "anomalies", top: int = 3) -> Frame:
        """Judge every row; gives the frame with the columns of the verdict added, its index and types kept.

        Added are `anomaly_score` (nats, higher is more abnormal), `p_value`, `is_anomaly`, `class` and
        `class_probability` where the bundle was fine-tuned, `reason_1` to `reason_<top>`, and `rejected`, which says why
        a row could not be scored (its score is then missing and it is no anomaly). A numpy array `[rows, columns]` has the
        detector's columns in their order; it comes back as a structured array of the verdicts alone. A detector of windows
        takes a frame's rows in order, adds `state`, and gives no verdict on rows that warm a window up.

        Raises:
            TableError: the rows are no frame, a column is missing, or one already bears the name of a verdict's.
            SettingError: `reasons` is none of "anomalies", "all" and "none".
        """
        if reasons not in get_args(Explain):
            raise SettingError(f"reasons={reasons!r}: reasons are given for one of {format_names(get_args(Explain))}")
        window = self.manifest.window
        if isinstance(rows, np.ndarray):
            if window is not None:
                raise TableError(f"an array has no column {window.time!r} to order a series by: give a frame")
            return cast("Frame", _records(self._judge(self._frame_of(rows), reasons, top)))
        given = _opened(rows)
        require_columns([str(name) for name in given.columns], self.manifest.columns)
        needed = {column.name for column in self.manifest.columns} | set(window.columns if window else ())
        verdicts = self._judge(_polars(given, needed), reasons, top)
        taken = [name for name in verdicts.columns if name in given.columns]
        if taken:
            raise TableError(f"the frame has a column {taken[0]!r} already, which the verdict needs: rename or drop it")
        added = [_series(verdicts[name], given) for name in verdicts.columns]
        return cast("Frame", given.with_columns(*added).to_native())

    def embed(self, rows: Frame) -> Frame:
        """Give each row's code, `latent_1` to `latent_<k>`, in the same kind of frame with its index kept.

        A row that cannot be read has no code. Of a numpy array `[rows, columns]`, codes come as an array `[rows, k]`.

        Raises:
            TableError: a column is missing.
        """
        if isinstance(rows, np.ndarray):
            return cast("Frame", self._embedded(self._frame_of(rows)).to_numpy())
        return self._rewritten(rows, self._embedded)

    def reconstruct(self, rows: Frame) -> Frame:
        """Give each row as the detector rebuilds it, in the same kind of frame with its index kept: the detector's columns.

        Categories come as their texts, dates as ISO text; a row that cannot be read is empty. Of a numpy array, rows
        come as a structured array.

        Raises:
            TableError: a column is missing.
        """
        if isinstance(rows, np.ndarray):
            return cast("Frame", _records(self._rebuilt(self._frame_of(rows))))
        return self._rewritten(rows, self._rebuilt)

    def decode(self, codes: Frame) -> Frame:
        """Give the most likely row of each code, as `embed` gives codes; a numpy array gives a structured one.

        Raises:
            TableError: a latent is missing, or is no finite number.
            BundleError: the bundle has no decoder.
        """
        if isinstance(codes, np.ndarray):
            return cast("Frame", _records(as_frame(self._decoder.decode(codes), self.manifest.columns)))
        return self._rewritten(codes, self._decoded, [column.name for column in self._decoder.latent_columns])

    def generate(self, rows: int, seed: int = 0, *, mean: bool = False) -> pl.DataFrame:
        """Draw new rows: a code from the prior, then a row from what the decoder makes of it (with `mean`, its most likely).

        The same seed gives the same rows, those of `residuum generate`, as a polars frame.

        Raises:
            SettingError: the detector's variant has no prior.
            BundleError: the bundle has no decoder.
        """
        drawn = self._decoder.generate(rows, seed, mean=mean)
        return pl.concat([as_frame(block, self.manifest.columns) for block in drawn])

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder.open(self._scorer.folder, self._scorer.graph.device)

    def _rewritten(self, rows: Frame, rewrite: Callable[[pl.DataFrame], pl.DataFrame], needed: list[str] | None = None) -> Frame:
        """Rewrite a frame as another one of its kind."""
        given = _opened(rows)
        needed = [column.name for column in self.manifest.columns] if needed is None else needed
        written = rewrite(_polars(given, set(needed)))
        return cast(
            "Frame", given.with_columns(*(_series(series, given) for series in written)).select(written.columns).to_native()
        )

    def _frame_of(self, rows: np.ndarray) -> pl.DataFrame:
        """Give an array's columns the names of the detector's; an array of images is one of rows."""
        image = self.manifest.image
        if image and rows.ndim > 2:  # noqa: PLR2004 - rows and columns
            if rows.shape[1:] not in {image.shape, image.shape[-2:] if image.mode == "grey" else image.shape}:
                raise TableError(f"images of shape {image.shape} are needed; these have shape {rows.shape[1:]}")
            rows = rows.reshape(len(rows), -1)
        return _array_frame(rows, [column.name for column in self.manifest.columns])

    def _embedded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give codes of a polars frame, rejected rows included."""
        self._scorer.only_rows("embed")
        encoded = self._encoded(frame, self.manifest.columns)
        codes = self._scorer.graph.latent(encoded.matrix).astype(np.float64)
        return _whole(pl.DataFrame(codes, schema=latent_names(codes.shape[1])), encoded)

    def _rebuilt(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the rows of a polars frame as rebuilt, rejected ones included."""
        self._scorer.only_rows("reconstruct")
        encoded = self._encoded(frame, self.manifest.columns)
        return _whole(as_frame(self._scorer.graph.explain(encoded.matrix).expected, self.manifest.columns), encoded)

    def _decoded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the rows that a polars frame's codes stand for; one that is no code is an error."""
        encoded = self._encoded(frame, self._decoder.latent_columns)
        if encoded.rejects:
            raise TableError(f"row {encoded.rejects[0].row} of the codes, {encoded.rejects[0]}")
        return as_frame(self._decoder.decode(encoded.matrix), self.manifest.columns)

    def _encoded(self, frame: pl.DataFrame, columns: tuple[Column, ...]) -> Encoded:
        """Encode a polars frame."""
        return encode(frame, columns, np.arange(frame.height), missing=self.manifest.missing)

    def _judge(self, frame: pl.DataFrame, explain: Explain, top: int) -> pl.DataFrame:
        """Give a verdict for each row of a polars frame, rejected ones included."""
        verdicts = self._scorer.score(frame, explain=explain, top=top)
        texts = [] if explain == "none" else as_texts(verdicts.reasons.table(), len(verdicts.score), top)
        table = verdicts.whole(verdicts.table().with_columns(texts))
        if verdicts.row_status is None:  # a rejected row is no anomaly
            table = table.with_columns(pl.col("is_anomaly").fill_null(value=False))
        rejected = {reject.row: str(reject) for reject in verdicts.rejects}
        return table.with_columns(pl.Series("rejected", [rejected.get(row) for row in range(frame.height)], dtype=pl.String))


def load(path: str | Path, device: Device = "auto") -> Detector:
    """Open a bundle: a name's folder (its pinned or newest version) or one version's.

    Raises:
        BundleError: there is none that can be trusted.
        SettingError: the device is not there.
    """
    return Detector(Scorer.open(Path(path), device))


def train(  # noqa: PLR0913 - the options of `residuum train`, by keyword
    normal: Any,  # noqa: ANN401 - whatever frame narwhals knows, or an array
    to: str | Path,
    *,
    variant: str | None = None,
    settings: Mapping[str, Any] | None = None,
    false_alarm_rate: float | None = None,
    seed: int = 0,
    category: Names = (),
    numeric: Names = (),
    ignore: Names = (),
    date: Names = (),
    missing: Names = (),
    time: str | None = None,
    key: str | None = None,
    window: int | None = None,
    stride: int = 1,
    max_gap: float | None = None,
    image: str | None = None,
    device: Device = "auto",
) -> Detector:
    """Train a detector on a frame of normal rows, write it as the next version under `to`, and open it.

    With `image`, a size such as "28x28", the rows are grey images, pixels line by line, or an array `[images, height, width]`,
    for `variant="convolutional"`; folders of images are trained on by `residuum train`.

    `settings` are the variant's, such as `{"latent": 16}`; `residuum variants NAME` lists them. `false_alarm_rate`
    defaults to 0.01, or to the smallest rate that so few rows can promise: then, and of rows that cannot be read, it warns.
    The default variant is "denoising", of windows "plain". With `window` the detector judges windows of so many rows of each
    `key` in the order of `time`; `max_gap` is in seconds. Needs the extra `train`.

    Raises:
        TableError: the rows cannot be learnt from.
        SettingError: an option cannot be honoured.
        OutputError: the bundle cannot be written.
    """
    from training.kinds import ColumnOptions
    from training.recipe import Recipe, Table
    from training.train import train as train_table
    from training.variants import DEFAULT, DEFAULT_OF_WINDOWS

    wishes = ColumnOptions(
        category=_names(category), numeric=_names(numeric), date=_names(date), ignore=_names(ignore), time=time, key=key
    )
    recipe = Recipe(
        variant=variant or (DEFAULT if window is None else DEFAULT_OF_WINDOWS),
        settings=dict(settings or {}),
        false_alarm_rate=false_alarm_rate,
        seed=seed,
        columns=wishes,
        missing=_names(missing),
        device=device,
        window=window,
        stride=stride,
        max_gap=max_gap,
        image=make_spec(parse_size(image, "image"), "grey", "image", files=False) if image else None,
    )
    if isinstance(normal, str | Path):
        raise TableError(f"{normal} is a path: files and folders are trained on by `residuum train`, frames and arrays here")
    if image and isinstance(normal, np.ndarray) and normal.ndim == 3:  # noqa: PLR2004 - images, height, width
        normal = normal.reshape(len(normal), -1)
    frame = as_polars(normal)
    trained = train_table(Table(frame, np.arange(frame.height), []), Path(to), recipe)
    warn(trained)
    return load(trained.folder, device)


def warn(made: TrainedDetector | TrainingResult) -> None:
    """Warn the caller's caller of what a summary of training would say first."""
    rate = made.manifest.decision.false_alarm_rate
    if made.lowered_from is not None:
        warnings.warn(
            f"too few rows to promise a false-alarm rate of {made.lowered_from:g}: the smallest they can promise is {rate:g}",
            stacklevel=3,
        )
    if made.rejects:
        first = made.rejects[0]
        warnings.warn(f"{len(made.rejects)} rows cannot be read and were left out; row {first.row}: {first}", stacklevel=3)


def as_polars(rows: Any) -> pl.DataFrame:  # noqa: ANN401 - whatever frame narwhals knows, or an array
    """Give any frame or array as a polars frame; an array's columns are `x0`, `x1` and so on.

    Raises:
        TableError: it is no frame, two columns have the same name, or the array has no rows and columns.
    """
    return _array_frame(rows, None) if isinstance(rows, np.ndarray) else _polars(_opened(rows))


def _names(names: Names) -> tuple[str, ...]:
    """Give names as a tuple; a text is one of them."""
    return (names,) if isinstance(names, str) else tuple(names)


def _opened(frame: Any) -> nw.DataFrame[Any]:  # noqa: ANN401 - whatever narwhals knows
    """Open any frame by narwhals."""
    try:
        opened: nw.DataFrame[Any] = nw.from_native(frame, eager_only=True)
        names = [str(name) for name in opened.columns]
    except TypeError as error:
        raise TableError(f"a {type(frame).__name__} is no table of rows: {TAKEN}") from error
    except nw.exceptions.DuplicateError as error:
        raise TableError("two columns of the frame have the same name") from error
    if len(set(names)) < len(names):
        raise TableError("two columns of the frame have the same name")
    return opened


def _polars(frame: nw.DataFrame[Any], only: Container[str] | None = None) -> pl.DataFrame:
    """Give any frame, or some of its columns, as a polars one, without needing pyarrow for it."""
    native = frame.to_native()
    if isinstance(native, pl.DataFrame):
        return native
    return pl.DataFrame([_polars_series(frame.get_column(name)) for name in frame.columns if only is None or str(name) in only])


def _polars_series(series: nw.Series[Any]) -> pl.Series:
    """Give one column as polars: numbers, booleans and instants as such, all else as text."""
    name = str(series.name)
    if series.dtype.is_integer() and (values := series.to_numpy()).dtype.kind in "iu":  # an identifier keeps its digits
        return pl.Series(name, values)
    if series.dtype.is_numeric():
        return pl.Series(name, series.cast(nw.Float64).to_numpy(), dtype=pl.Float64, nan_to_null=True)
    absent = series.is_null().to_list()
    if isinstance(series.dtype, nw.Datetime | nw.Date):
        instants = series.cast(nw.Datetime("us")) if isinstance(series.dtype, nw.Date) else series
        micros = [None if gone else int(value) for value, gone in zip(instants.dt.timestamp("us").to_list(), absent, strict=True)]
        return pl.Series(name, micros, dtype=pl.Int64).cast(pl.Datetime("us"))
    cells = [None if gone else value for value, gone in zip(series.to_list(), absent, strict=True)]
    if series.dtype == nw.Boolean:
        return pl.Series(name, cells, dtype=pl.Boolean)
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(value: object) -> str | None:
    """Give a cell of no particular type as the text that CSV would hold."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # pandas' own, and pandas need not be there
        return None
    return str(value).lower() if isinstance(value, bool | np.bool_) else category_text(str(value))


def _array_frame(array: np.ndarray, names: list[str] | None) -> pl.DataFrame:
    """Give an array's columns their names: those given, else `x0`, `x1` and so on."""
    if array.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise TableError(f"an array of rows and columns is needed; this one has shape {array.shape}")
    names = names or [f"x{place}" for place in range(array.shape[1])]
    if array.shape[1] != len(names):
        raise TableError(f"the array has {array.shape[1]} columns, the detector takes {len(names)}: {', '.join(names)}")
    return pl.DataFrame([_array_series(name, array[:, place]) for place, name in enumerate(names)])


def _array_series(name: str, values: np.ndarray) -> pl.Series:
    """Give an array's column as polars; one of objects as text, like any column of no particular type."""
    if values.dtype == object:
        return pl.Series(name, [_text(value) for value in values], dtype=pl.String)
    return _polars_series(nw.new_series(name, values, backend="polars"))


def _whole(written: pl.DataFrame, encoded: Encoded) -> pl.DataFrame:
    """Put the accepted rows at their places, and nothing at those of the others."""
    if not encoded.rejects:
        return written
    places = np.where(encoded.accepted, np.cumsum(encoded.accepted) - 1, len(written))
    return pl.concat([written, written.clear(1)])[places]


def _series(series: pl.Series, like: nw.DataFrame[Any]) -> nw.Series[Any]:
    """Give a column of the verdict in the kind of frame that came in."""
    if series.dtype == pl.Float64:  # missing is NaN to pandas, null to others
        values = series.to_numpy() if like.implementation.is_pandas_like() else series.to_list()
        return nw.new_series(series.name, values, nw.Float64, backend=like.implementation)
    if series.dtype == pl.Boolean and not series.null_count():
        return nw.new_series(series.name, series.to_numpy(), nw.Boolean, backend=like.implementation)
    dtype = nw.String if series.dtype == pl.String else None  # numpy, and so pandas, has no boolean that is missing
    return nw.new_series(series.name, series.to_list(), dtype, backend=like.implementation)


def _records(verdicts: pl.DataFrame) -> np.ndarray:
    """Give verdicts as a structured array."""
    return verdicts.to_numpy(structured=True)
