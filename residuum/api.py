"""The Python API: `train` and `load` return a `Detector`, which scores frames of any library.

    import residuum

    detector = residuum.train(normal, "models/pumps")
    verdicts = residuum.load("models/pumps").score(today)
    verdicts[verdicts["is_anomaly"]]

Frames of pandas, polars and pyarrow are converted by `residuum.frames`; this module works on polars frames.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np
import polars as pl

from detector import history
from detector.columns import Column, Encoded, as_frame, encode, format_names
from detector.decoder import Decoder, latent_names
from detector.errors import SettingError, TableError
from detector.graph import Device
from detector.images import make_spec, parse_size
from detector.manifest import Manifest
from detector.reasons import Explain, as_structs, as_texts
from detector.scorer import Scorer
from residuum import describe, frames, html
from residuum.training_progress import training_progress

if TYPE_CHECKING:
    from training.train import TrainedDetector, TrainingResult

Frame = TypeVar("Frame")
Names = str | tuple[str, ...] | list[str]  # one name, or several


class Detector:
    """A trained detector, ready to score rows.

    `residuum.load` opens one, `residuum.train` makes one. Every method accepts a pandas, polars or pyarrow frame or a numpy
    array, and returns the same kind. In a notebook, a detector shows itself as a card.

    Example:
        >>> import polars as pl
        >>> import residuum
        >>> detector = residuum.load("models/pumps")
        >>> verdicts = detector.score(pl.read_csv("today.csv"))
        >>> anomalies = verdicts.filter("is_anomaly").select("anomaly_score", "p_value", "reason_1")
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __repr__(self) -> str:
        manifest = self.manifest
        return f"<Detector {describe.version(manifest)}: {manifest.variant}, {describe.count(len(manifest.columns), 'column')}>"

    def _repr_html_(self) -> str:
        return html.card(self.manifest)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the bundle: columns, settings, threshold, promise, row counts, proof of parity."""
        return self._scorer.manifest

    @property
    def threshold(self) -> float:
        """The score above which a row is an anomaly, in the unit of the score (nats)."""
        return self.manifest.decision.threshold

    @property
    def history(self) -> pl.DataFrame:
        """The learning curve: the losses at every check of the training, in nats a row; without rows for a memory.

        Columns: `fit`, 1 or the part of the rows that was held out; `step`; `training_loss`, the mean since the check before;
        and `validation_loss`.
        """
        return history.read(self._scorer.learning_curve)

    def score(self, rows: Frame, *, reasons: Explain = "anomalies", top: int = 3, structured: bool = False) -> Frame:
        """Score rows: return the frame with the columns of the verdicts added, its index and types kept.

        A row that cannot be read does not raise: it has no score, is not an anomaly, and `rejected` says why.

        Args:
            rows: A frame with at least the detector's columns, in any order, or an array `[rows, columns]` with exactly
                these columns in the order of training. For images trained from pixels, `[images, height, width]` works too.
                For a series, a frame whose rows are in the order of time; the first rows of a window get no verdict.
            reasons: Which rows get reasons: "anomalies", "all" or "none". Default: "anomalies".
            top: The largest number of reasons per row. Default: 3.
            structured: Add one column `reasons` with objects instead of the texts `reason_1`, `reason_2` ... Default: False.

        Returns:
            The frame with these columns added; of an array, a structured array of these columns alone.

            - `anomaly_score`: float, in nats; higher is more abnormal.
            - `p_value`: float in (0, 1], the probability that a normal row scores as high.
            - `is_anomaly`: bool.
            - `state`: str, for a series only: whether the row was scored, or why not.
            - `class`, `class_probability`: str and float, if the detector was fine-tuned on labels.
            - `reason_1` to `reason_<top>`: str, the columns to blame, with the found and the expected value.
            - `reasons`, with `structured` in their place: for each row a list of objects with the keys `column`, `found`,
              `expected` and `share`, the largest share first; missing where a row has none. `explain` returns them as a table.
            - `rejected`: str, why the row could not be read.

        Raises:
            TableError: `rows` is not a frame, lacks a column, or already has a column with the name of a verdict's.
            SettingError: `reasons` is not one of the three values.

        Example:
            >>> import pandas as pd
            >>> import residuum
            >>> detector = residuum.load("models/pumps")
            >>> verdicts = detector.score(pd.read_csv("today.csv"), reasons="all", top=1)
            >>> worst = verdicts.nlargest(5, "anomaly_score")[["anomaly_score", "reason_1"]]
        """
        _check_reasons(reasons, top)
        verdicts = self._verdict_columns(frames.rows_to_polars(rows, self.manifest), reasons, top, structured=structured)
        if isinstance(rows, np.ndarray):
            return cast("Frame", frames.structured_array(verdicts))
        frame = frames.open_frame(rows)
        taken = [name for name in verdicts.columns if name in frame.columns]
        if taken:
            raise TableError(f"the frame already has a column {taken[0]!r}, which the verdicts need: rename or drop it")
        added = [frames.like(verdicts[name], frame) for name in verdicts.columns]
        return cast("Frame", frame.with_columns(*added).to_native())

    def explain(self, rows: Any, *, reasons: Explain = "anomalies", top: int = 3) -> Any:  # noqa: ANN401 - a frame or an array in, a frame out
        """Return the reasons as a table, one line for each reason.

        Args:
            rows: A frame or an array, as for `score`.
            reasons: Which rows get reasons: "anomalies", "all" or "none". Default: "anomalies".
            top: The largest number of reasons per row. Default: 3.

        Returns:
            A frame of the same library, polars for an array, the rows in order and the largest share first:

            - `row`: int, the position of the row, from 0.
            - `rank`: int, from 1.
            - `column`: str, the column to blame, or a term of the score that belongs to no column.
            - `found`, `expected`: str, the value in the row and the one that the detector expected; missing for such a term.
            - `share`: float from 0 to 1, the column's part of the sum of all positive contributions.

        Raises:
            TableError: as `score`.
            SettingError: as `score`.

        Example:
            >>> import polars as pl
            >>> import residuum
            >>> detector = residuum.load("models/pumps")
            >>> reasons = detector.explain(pl.read_csv("today.csv"), reasons="all")
            >>> by_column = reasons.group_by("column").agg(pl.col("share").mean())
        """
        _check_reasons(reasons, top)
        verdicts = self._scorer.score(frames.rows_to_polars(rows, self.manifest), explain=reasons, top=top)
        table = verdicts.reasons.table().sort("at", "rank")
        positions = pl.Series("row", np.flatnonzero(verdicts.accepted))
        table = table.select(positions.gather(table["at"]), "rank", "column", "found", "expected", "share")
        if isinstance(rows, np.ndarray):
            return table
        frame = frames.open_frame(rows)
        return frames.new_frame(table, frame)

    def contributions(self, rows: Any) -> np.ndarray:  # noqa: ANN401 - a frame or an array
        """Return what each column contributes to each row's score.

        Contributions keep their sign, and those of a row sum to its score: `contributions(rows).sum(axis=1)`.

        Args:
            rows: A frame or an array, as for `score`.

        Returns:
            `float64[rows, columns + terms]`: a column for each of `manifest.columns`, in that order, then one for each of
            `manifest.score.extra_terms`, which belong to no column. For images, `float64[images, height, width]`. A row that
            cannot be read is NaN.

        Raises:
            TableError: `rows` is not a frame, or lacks a column.
            SettingError: the detector scores windows of a series.

        Example:
            >>> import polars as pl
            >>> import residuum
            >>> detector = residuum.load("models/pumps")
            >>> contributions = detector.contributions(pl.read_csv("today.csv"))
            >>> worst = contributions[:, : len(detector.manifest.columns)].argmax(axis=1)
        """
        self._scorer.only_rows("contributions")
        encoded = self._encode(frames.rows_to_polars(rows, self.manifest), self.manifest.columns)
        found = self._scorer.graph.explain(encoded.matrix).contribution
        result = np.full((len(encoded.accepted), *found.shape[1:]), np.nan)
        result[encoded.accepted] = found
        image = self.manifest.image
        return result.reshape(len(result), image.height, image.width) if image else result

    def embed(self, rows: Frame) -> Frame:
        """Return each row's code, its coordinates in the latent space.

        Args:
            rows: A frame or an array, as for `score`.

        Returns:
            A frame of the same kind with the same index and the float columns `latent_1` to `latent_<k>`; of an array, an
            array `[rows, k]`. A row that cannot be read has missing values.

        Raises:
            TableError: a column is missing.
            SettingError: the detector scores windows of a series.

        Example:
            >>> import polars as pl
            >>> import residuum
            >>> codes = residuum.load("models/pumps").embed(pl.read_csv("today.csv"))
        """
        if isinstance(rows, np.ndarray):
            return cast("Frame", self._embed(frames.rows_to_polars(rows, self.manifest)).to_numpy())
        return self._transform(rows, self._embed)

    def reconstruct(self, rows: Frame) -> Frame:
        """Return each row as the detector reconstructs it: the expected value of every cell, missing cells filled.

        Args:
            rows: A frame or an array, as for `score`.

        Returns:
            A frame of the same kind with the same index and the detector's columns, in their units: categories as text, dates
            as ISO text. Of an array, a structured array. A row that cannot be read is empty.

        Raises:
            TableError: a column is missing.
            SettingError: the detector scores windows of a series.

        Example:
            >>> import polars as pl
            >>> import residuum
            >>> expected = residuum.load("models/pumps").reconstruct(pl.read_csv("today.csv"))
        """
        if isinstance(rows, np.ndarray):
            return cast("Frame", frames.structured_array(self._reconstruct(frames.rows_to_polars(rows, self.manifest))))
        return self._transform(rows, self._reconstruct)

    def decode(self, codes: Frame) -> Frame:
        """Return the most likely row of each code; the inverse of `embed`.

        Args:
            codes: A frame with the columns `latent_1` to `latent_<k>`, or an array `[rows, k]`.

        Returns:
            A frame of the same kind with the same index and the detector's columns; of an array, a structured array.

        Raises:
            TableError: a latent is missing or not a finite number.
            BundleError: the bundle has no decoder.

        Example:
            >>> import polars as pl
            >>> import residuum
            >>> detector = residuum.load("models/pumps")
            >>> codes = detector.embed(pl.read_csv("today.csv"))
            >>> rows = detector.decode(codes)
        """
        if isinstance(codes, np.ndarray):
            return cast("Frame", frames.structured_array(as_frame(self._decoder.decode(codes), self.manifest.columns)))
        return self._transform(codes, self._decode, [column.name for column in self._decoder.latent_columns])

    def generate(self, rows: int, seed: int = 0, *, mean: bool = False) -> pl.DataFrame:
        """Generate rows that look normal: draw codes from the prior and decode them.

        Args:
            rows: The number of rows.
            seed: The random seed; the same seed gives the same rows, also those of `residuum generate`. Default: 0.
            mean: Return the most likely row of each code instead of one drawn from its distribution. Default: False.

        Returns:
            A polars frame with the detector's columns.

        Raises:
            SettingError: the variant has no prior; "variational" and "adversarial" have one.
            BundleError: the bundle has no decoder.

        Example:
            >>> import residuum
            >>> rows = residuum.load("models/pumps-with-prior").generate(100, seed=1)
        """
        blocks = self._decoder.generate(rows, seed, mean=mean)
        return pl.concat([as_frame(block, self.manifest.columns) for block in blocks])

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder.open(self._scorer.folder, self._scorer.graph.device)

    def _transform(
        self, rows: Frame, transform: Callable[[pl.DataFrame], pl.DataFrame], needed: list[str] | None = None
    ) -> Frame:
        """Apply a function of polars frames to any frame; return its result in the same library, the index kept."""
        frame = frames.open_frame(rows)
        needed = [column.name for column in self.manifest.columns] if needed is None else needed
        result = transform(frames.to_polars(frame, set(needed)))
        columns = [frames.like(series, frame) for series in result]
        return cast("Frame", frame.with_columns(*columns).select(result.columns).to_native())

    def _embed(self, frame: pl.DataFrame) -> pl.DataFrame:
        self._scorer.only_rows("embed")
        encoded = self._encode(frame, self.manifest.columns)
        codes = self._scorer.graph.latent(encoded.matrix).astype(np.float64)
        return _with_empty_rows(pl.DataFrame(codes, schema=latent_names(codes.shape[1])), encoded)

    def _reconstruct(self, frame: pl.DataFrame) -> pl.DataFrame:
        self._scorer.only_rows("reconstruct")
        encoded = self._encode(frame, self.manifest.columns)
        expected = self._scorer.graph.explain(encoded.matrix).expected
        return _with_empty_rows(as_frame(expected, self.manifest.columns), encoded)

    def _decode(self, frame: pl.DataFrame) -> pl.DataFrame:
        encoded = self._encode(frame, self._decoder.latent_columns)
        if encoded.rejects:
            raise TableError(f"row {encoded.rejects[0].row} of the codes, {encoded.rejects[0]}")
        return as_frame(self._decoder.decode(encoded.matrix), self.manifest.columns)

    def _encode(self, frame: pl.DataFrame, columns: tuple[Column, ...]) -> Encoded:
        return encode(frame, columns, np.arange(frame.height), missing=self.manifest.missing)

    def _verdict_columns(self, frame: pl.DataFrame, explain: Explain, top: int, *, structured: bool) -> pl.DataFrame:
        """Return the columns that `score` adds, one row per row of the frame, rejected ones included."""
        verdicts = self._scorer.score(frame, explain=explain, top=top)
        table, rows = verdicts.reasons.table(), len(verdicts.score)
        explained = [] if explain == "none" else [as_structs(table, rows)] if structured else as_texts(table, rows, top)
        table = verdicts.whole(verdicts.table().with_columns(explained))
        if verdicts.row_status is None:  # a rejected row is not an anomaly
            table = table.with_columns(pl.col("is_anomaly").fill_null(value=False))
        rejected = {reject.row: str(reject) for reject in verdicts.rejects}
        return table.with_columns(pl.Series("rejected", [rejected.get(row) for row in range(frame.height)], dtype=pl.String))


def load(path: str | Path, device: Device = "auto") -> Detector:
    """Open a bundle for scoring. Nothing in it is executed, and every file is checked against its digest.

    Args:
        path: A model's folder, such as "models/pumps", for its pinned or else newest version; or one version's,
            "models/pumps/1".
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Default: "auto".

    Returns:
        The detector.

    Raises:
        BundleError: there is no bundle, it was changed, or a newer release wrote it.
        SettingError: the device is not available.

    Example:
        >>> import residuum
        >>> detector = residuum.load("models/pumps")
        >>> threshold = detector.threshold
    """
    return Detector(Scorer.open(as_path(path), device))


def train(  # noqa: PLR0913 - the options of `residuum train`, by keyword
    normal: Any,  # noqa: ANN401 - any frame that narwhals supports, or an array
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
    date_format: Names = (),
    missing: Names = (),
    time: str | None = None,
    key: str | None = None,
    window: int | None = None,
    stride: int = 1,
    max_gap: float | None = None,
    suspects: bool = True,
    image: str | None = None,
    device: Device = "auto",
    verbose: bool = True,
) -> Detector:
    """Train a detector on normal rows, write it as the next version of a model, and open it.

    The kinds of the columns (number, category, boolean, date) are inferred; columns to learn nothing from, such as
    identifiers, are left out. Part of the rows is held out from training and calibrates the threshold. Needs the extra `train`.

    Args:
        normal: At least 20 rows, normal ones as far as known: a pandas, polars or pyarrow frame, or an array
            `[rows, columns]`. With `image`, also an array `[images, height, width]`.
        to: The model's folder, such as "models/pumps"; the detector becomes its next version: "models/pumps/1".
        variant: The autoencoder; `residuum variants` lists them. Default: "memory", or "plain" with `window`.
        settings: Settings of the variant, such as `{"latent": 16}`; `residuum variants NAME` lists them.
        false_alarm_rate: The share of normal rows that may be flagged, between 0 and 1. Default: 0.01, or the lowest rate
            that the rows can promise if there are too few for that, with a warning.
        seed: The random seed, from 0 to 2**63 - 1; the same seed, rows and machine give the same detector. Default: 0.
        category: Columns to treat as categories: one name or several.
        numeric: Columns to treat as numbers.
        ignore: Columns to leave out.
        date: Columns to treat as dates.
        date_format: How dates are written, where a column leaves doubt: "dd/mm/yyyy", directives such as "%d/%m/%y", or a unit
            of numbers ("s", "ms", "us", "ns" since 1970, "serial" as in spreadsheets); for one column "name=format".
        missing: Texts that mark a missing cell, besides the empty text, NA, NaN, null and None, and in numbers, dates and
            booleans such as "-" and "#N/A"; "inf" reads infinities as missing.
        time: The column that orders the rows; the newest rows then calibrate. Default: the rows are shuffled.
        key: The column that identifies a series, such as the name of a machine. With `window` only.
        window: Score windows of this many rows of a series, in the order of `time`. Default: score single rows.
        stride: Rows from the end of a window to the end of the next. Default: 1.
        max_gap: The longest gap in time within a window, in seconds if `time` is a date, else in its unit. Default: the usual
            time span of a window.
        suspects: List training rows with a cell far from all others of its column in the bundle, as `suspects.csv`.
        image: The size of images in pixels, such as "28x28", if each row holds the pixels of a grey image, line by line; for
            `variant="convolutional"`. To train on image files, use `residuum train`.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Default: "auto".
        verbose: Write a line about the progress to standard error within five seconds, and then every ten. Default: True.

    Returns:
        The trained detector.

    Raises:
        TableError: the rows cannot be trained on: not a frame, too few, all the same.
        SettingError: an option is invalid or does not fit the rows.
        TrainingError: the exported graph does not compute what the trained network does.
        OutputError: the bundle cannot be written.

    Warns:
        UserWarning: rows could not be read and were left out, the default false-alarm rate was raised, or a column may be of
            another kind than was inferred.

    Example:
        >>> import numpy as np
        >>> import polars as pl
        >>> import residuum
        >>> random = np.random.default_rng(0)
        >>> normal = pl.DataFrame({"load": random.normal(50, 5, 400), "machine": random.choice(["mill", "press"], 400)})
        >>> detector = residuum.train(normal, "models/shop")
        >>> today = pl.DataFrame({"load": [51.0, 500.0], "machine": ["mill", "press"]})
        >>> detector.score(today)["is_anomaly"].to_list()
        [False, True]
    """
    from training.kinds import ColumnOptions
    from training.recipe import Recipe, Table
    from training.variants import DEFAULT, DEFAULT_OF_WINDOWS

    recipe = Recipe(
        variant=variant or (DEFAULT if window is None else DEFAULT_OF_WINDOWS),
        settings=as_settings(settings),
        false_alarm_rate=false_alarm_rate,
        seed=seed,
        columns=ColumnOptions(
            category=as_names(category),
            numeric=as_names(numeric),
            date=as_names(date),
            ignore=as_names(ignore),
            time=time,
            key=key,
            date_format=as_names(date_format),
        ),
        missing=as_names(missing),
        suspects=suspects,
        device=device,
        window=window,
        stride=stride,
        max_gap=max_gap,
        image=make_spec(parse_size(str(image), "image"), "grey", "image", files=False) if image else None,
    )
    if isinstance(normal, str | Path):
        raise TableError(f"{normal} is a path, and a frame or an array is needed: to train on files, use `residuum train`")
    if image and isinstance(normal, np.ndarray) and normal.ndim == 3:  # noqa: PLR2004 - images, height, width
        normal = normal.reshape(len(normal), -1)
    frame = frames.as_polars(normal)
    with training_progress(verbose=verbose) as progress:
        progress.on_phase("loading PyTorch")
        from training.train import train as train_table

        table = Table(frame, np.arange(frame.height), [])
        trained = train_table(table, as_path(to), recipe, progress.on_progress, progress.on_column, progress.on_phase)
    warn(trained)
    return load(trained.folder, device)


def warn(trained: TrainedDetector | TrainingResult) -> None:
    """Warn the caller's caller of a raised false-alarm rate and of rows left out."""
    rate = trained.manifest.decision.false_alarm_rate
    if trained.lowered_from is not None:
        warnings.warn(
            f"too few rows to promise a false-alarm rate of {trained.lowered_from:g}: the smallest they can promise is {rate:g}",
            stacklevel=3,
        )
    for column in trained.manifest.columns:
        if column.note:
            warnings.warn(f"column {column.name!r}: {column.note}", stacklevel=3)
    if trained.suspects:
        suspect, more = trained.suspects[0], len(trained.suspects) - 1
        others = f", and {more} more such cells" if more else ""
        warnings.warn(f"suspicious training row {suspect.row}: {suspect}{others}", stacklevel=3)
    if trained.rejects:
        first = trained.rejects[0]
        warnings.warn(f"{len(trained.rejects)} rows cannot be read and were left out; row {first.row}: {first}", stacklevel=3)


def _check_reasons(reasons: object, top: object) -> None:
    """Raise unless the options for reasons are valid.

    Raises:
        SettingError: they are not.
    """
    if reasons not in get_args(Explain):
        raise SettingError(f"reasons must be one of {format_names(get_args(Explain))}; got {reasons!r}")
    if not isinstance(top, int):
        raise SettingError(f"top is the largest number of reasons, a whole number; got {top!r}")


def as_names(names: Names) -> tuple[str, ...]:
    """Return one name or several as a tuple.

    Raises:
        SettingError: it is neither.
    """
    if isinstance(names, str):
        return (names,)
    listed: object = names
    if not isinstance(listed, tuple | list) or not all(isinstance(name, str) for name in listed):
        raise SettingError(f"one name or a list of names is needed; got {names!r}")
    return tuple(listed)


def as_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings as a dictionary.

    Raises:
        SettingError: they are no mapping.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise SettingError(f"settings are a mapping of names to values, such as {{'latent': 16}}; got {settings!r}")
    return dict(settings or {})


def as_path(path: str | Path) -> Path:
    """Return a path.

    Raises:
        SettingError: it is none.
    """
    if not isinstance(path, str | Path):
        raise SettingError(f"the path of a folder is needed, such as 'models/pumps'; got {path!r}")
    return Path(path)


def _with_empty_rows(result: pl.DataFrame, encoded: Encoded) -> pl.DataFrame:
    """Return the result for the accepted rows with an empty row in place of each rejected one."""
    if not encoded.rejects:
        return result
    indices = np.where(encoded.accepted, np.cumsum(encoded.accepted) - 1, len(result))
    return pl.concat([result, result.clear(1)])[indices]
