"""What every variant that scores windows guarantees: one suite over the whole table, as `test_contract` is for rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from detector import graph
from detector.batch import TableBatch
from detector.columns import encode
from detector.errors import SettingError, TableError
from detector.images import ImageSpec
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from detector.windows import SCORED, WARMING_UP
from tests.alone import alone
from tests.tables import moved, series
from tests.training.conftest import LONG, assert_close, table_of
from training import fit, variants
from training import train as training
from training.inputs import prepare
from training.kinds import ColumnOptions
from training.recipe import Recipe
from training.train import fit_detector

STEPS = 60
LENGTH = 12
COLUMNS = ColumnOptions(time="ts", key="machine")


class Case(NamedTuple):
    """A variant that takes windows, with settings."""

    variant: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return "-".join([self.variant, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def recipe(self) -> Recipe:
        return Recipe(variant=self.variant, settings=dict(self.settings), window=LENGTH, columns=COLUMNS)


CASES = [
    *(Case(name) for name, variant in variants.VARIANTS.items() if variant.windowed),
    Case("recurrent", (("cell", "gru"),)),
    Case("plain", (("score", "whitened"),)),
    Case("plain", (("sizes", "16"), ("smoothing", "3"), ("m", "2"), ("n", "3"))),
]


class TrainedSeries(NamedTuple):
    case: Case
    folder: Path
    scorer: Scorer


def normal() -> pl.DataFrame:
    return pl.concat([series(240, 0), series(240, 1, "lathe")])


def train(frame: pl.DataFrame, to: Path, recipe: Recipe) -> training.TrainingResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", STEPS)
        return training.train(table_of(frame), to, recipe)


SHORT = [Case("plain"), Case("convolutional"), Case("plain", (("score", "whitened"),))]


def train_once(case: Case, bundles: Path) -> TrainedSeries:
    """Train the case unless another process did."""
    to = bundles / f"series-{case.name}"
    with alone(bundles / f"{to.name}.lock"):
        folder = to / "1" if (to / "1").exists() else train(normal(), to, case.recipe).folder
    return TrainedSeries(case, folder, Scorer.open(folder, "cpu"))


@pytest.fixture(
    scope="session",
    params=[pytest.param(case, marks=[] if case in SHORT else LONG) for case in CASES],
    ids=lambda case: case.name,
)
def trained(request: pytest.FixtureRequest, bundles: Path) -> TrainedSeries:
    return train_once(request.param, bundles)


@pytest.fixture(scope="session")
def plain(bundles: Path) -> TrainedSeries:
    return train_once(Case("plain"), bundles)


def today(rows: int = 60) -> pl.DataFrame:
    return moved(series(rows, 7, start="2026-03-03 06:00:00"), rows // 2)


def batch_of(frame: pl.DataFrame) -> TableBatch:
    return TableBatch(frame, np.arange(frame.height), [])


def windows_of(scorer: Scorer, frame: pl.DataFrame) -> np.ndarray:
    matrix = encode(frame, scorer.columns, np.arange(frame.height)).matrix
    return matrix[np.arange(frame.height - LENGTH + 1)[:, None] + np.arange(LENGTH)]


def rows_of(parts: Iterable[Verdicts]) -> list[tuple[float, bool, int]]:
    """Return each row's score, verdict and status."""
    return [
        row
        for part in parts
        for row in zip(np.nan_to_num(part.score, nan=-1.0), part.is_anomaly, part.row_status, strict=True)  # type: ignore[arg-type]
    ]


def assert_same(found: list[tuple[float, bool, int]], expected: list[tuple[float, bool, int]]) -> None:
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    assert_close(np.array([row[0] for row in found]), np.array([row[0] for row in expected]))


def test_a_shifted_level_is_an_anomaly_of_its_column(trained: TrainedSeries) -> None:
    verdicts = trained.scorer.score(today(120))
    assert verdicts.is_anomaly[64:].mean() > 0.9
    assert verdicts.is_anomaly[:60].mean() < 0.3
    first = verdicts.reasons.table().filter((pl.col("rank") == 1) & (pl.col("at") >= 70))
    assert first["column"].value_counts(sort=True)["column"][0] == "flow"


def test_contributions_sum_to_the_score(trained: TrainedSeries) -> None:
    outputs = trained.scorer.graph.explain(windows_of(trained.scorer, today()))
    assert outputs.contribution.shape[1] == len(trained.scorer.columns)
    assert_close(outputs.contribution.sum(axis=1), outputs.score)


def test_rows_one_by_one_in_frames_and_restored_have_the_same_verdicts(trained: TrainedSeries) -> None:
    frame = today()
    together = rows_of([trained.scorer.score(frame)])
    one, parts = trained.scorer.session(), trained.scorer.session()
    assert_same(rows_of(one.score(batch_of(frame[row])) for row in range(frame.height)), together)
    assert_same(rows_of(parts.score(batch_of(part)) for part in frame.iter_slices(17)), together)
    kept, verdicts = b"", []
    for row in range(frame.height):
        fresh = trained.scorer.session()
        if kept:
            fresh.windows.restore("press", kept)
        verdicts.append(fresh.score(batch_of(frame[row])))
        kept = fresh.windows.save("press")
    assert_same(rows_of(verdicts), together)


def test_the_batch_size_does_not_matter(plain: TrainedSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = today(1500)
    monkeypatch.setattr(graph, "WINDOW_BATCH", 6000)  # a hundred windows in a batch, a thousand in a chunk
    wide = Scorer.open(plain.folder, "cpu").score(frame, explain="all")
    assert wide.reasons.table().filter(pl.col("rank") == 1)["at"].to_list() == list(range(LENGTH - 1, 1500))
    parts = plain.scorer.session()
    assert_same(rows_of(parts.score(batch_of(part)) for part in frame.iter_slices(31)), rows_of([wide]))
    assert_same(rows_of([plain.scorer.score(frame, explain="none")]), rows_of([wide]))


def test_no_verdict_depends_on_a_later_row(trained: TrainedSeries) -> None:
    frame = today()
    other = frame.with_columns(pl.when(pl.int_range(pl.len()) >= 40).then(1e6).otherwise("flow").alias("flow"))
    one, another = (trained.scorer.score(each) for each in (frame, other))
    assert_same(rows_of([another])[:40], rows_of([one])[:40])
    assert another.reasons.table().filter(pl.col("at") < 40).equals(one.reasons.table().filter(pl.col("at") < 40))
    assert np.all(another.score[40:] != one.score[40:])


def test_interleaved_keys_have_the_verdicts_of_separate_ones(trained: TrainedSeries) -> None:
    frames = [today(40), series(40, 8, "lathe", "2026-03-03 06:00:00"), series(30, 9, "a new one", "2026-03-03 05:59:00")]
    apart = [trained.scorer.score(frame) for frame in frames]
    whole = pl.concat(frames).with_row_index("at").sort("ts", "machine")
    together = trained.scorer.score(whole)
    order = np.argsort(whole["at"].to_numpy())
    found = rows_of([together])
    assert_same([found[place] for place in order], rows_of(apart))


def test_the_first_rows_of_a_key_warm_up(trained: TrainedSeries) -> None:
    verdicts = trained.scorer.score(today())
    assert verdicts.row_status is not None
    assert verdicts.row_status.tolist() == [WARMING_UP] * (LENGTH - 1) + [SCORED] * (60 - LENGTH + 1)
    assert np.isnan(verdicts.score[: LENGTH - 1]).all()
    assert not verdicts.is_anomaly[: LENGTH - 1].any()


def test_the_proof_is_in_the_manifest(trained: TrainedSeries) -> None:
    (proof,) = trained.scorer.manifest.parity
    assert 0 < proof.largest_difference <= proof.tolerance
    assert proof.verdicts_that_differ == 0


def test_extreme_values_have_finite_scores(trained: TrainedSeries) -> None:
    for value in (1e308, -1e308, 0.0, np.nan, 1e-308):
        outputs = trained.scorer.graph.explain(np.full((2, LENGTH, len(trained.scorer.columns)), value))
        assert np.isfinite(outputs.score).all()
        assert np.isfinite(outputs.contribution).all()


def test_an_unseen_value_is_an_anomaly(trained: TrainedSeries) -> None:
    frame = series(60, 5, start="2026-03-03 06:00:00")
    strange = {
        "firmware": pl.lit("7.2"),
        "mode": pl.lit("unheard of"),
        "heat": pl.lit(None, pl.Float64),
    }
    if ("score", "whitened") in trained.case.settings:  # in nats, a cell that is missing or unseen is one surprise among others
        strange = {"firmware": strange["firmware"]}
    for column, cell in strange.items():
        changed = frame.with_columns(pl.when(pl.int_range(pl.len()) >= 30).then(cell).otherwise(column).alias(column))
        verdicts = trained.scorer.score(changed)
        assert verdicts.is_anomaly[36:42].all(), column
        assert verdicts.reasons.table().filter((pl.col("rank") == 1) & (pl.col("at") == 40))["column"].to_list() == [column]


def test_level_and_energy_agree_with_an_oracle(plain: TrainedSeries) -> None:
    """Compute the score in float64, from the formula and the graph's own constants."""
    graph_module = fit_detector(table_of(normal()), plain.case.recipe).graph
    windows = windows_of(plain.scorer, today())
    channels = graph_module.channels(torch.from_numpy(windows), LENGTH)
    values, present, flags = (part.double().numpy() for part in channels)
    slow = graph_module.model.slow.numpy()
    centred = values - (values * present).sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1) * slow
    weights = {name: tensor.double().numpy() for name, tensor in graph_module.model.state_dict().items()}

    def reconstruct(branch: str, inputs: np.ndarray) -> np.ndarray:
        code = (
            inputs.reshape(len(inputs), -1) @ weights[f"{branch}.dense.encoder.0.weight"].T
            + weights[f"{branch}.dense.encoder.0.bias"]
        )
        out = code @ weights[f"{branch}.dense.decoder.0.weight"].T + weights[f"{branch}.dense.decoder.0.bias"]
        return out.reshape(inputs.shape)

    tail, energy = LENGTH // 4, LENGTH // 6
    residual = (centred - reconstruct("level", centred * present))[:, -tail:] * present[:, -tail:]
    shift = np.concatenate([residual.mean(axis=1), flags[:, -tail:].mean(axis=1)], axis=1)
    level = np.abs(shift / graph_module.score.level_unit.numpy()).max(axis=1)
    movement = (values[:, -energy:] - reconstruct("energy", values[:, -energy:])) * present[:, -energy:]
    squared = (movement**2).sum(axis=(1, 2)) + (flags[:, -energy:] ** 2).sum(axis=(1, 2))
    score = np.sqrt(level * np.sqrt(squared / graph_module.score.energy_unit.item()))
    assert_close(plain.scorer.graph.scores(windows), score)


def test_a_single_row_of_one_column_is_an_anomaly(tmp_path: Path) -> None:
    frame, usual = series(240, 0).select("ts", "flow"), series(60, 7, start="2026-03-03 06:00:00").select("ts", "flow")
    scorer = Scorer.open(train_on(frame, tmp_path / "flow", columns=ColumnOptions(time="ts")).folder, "cpu")
    spike = usual.with_columns(
        pl.col("flow") + pl.when(pl.int_range(pl.len()) == 40).then(8 * frame["flow"].std()).otherwise(0.0)
    )
    verdicts = scorer.score(spike)
    assert scorer.manifest.score.name == "level and energy, or a lone row"
    assert verdicts.is_anomaly[40]
    assert not verdicts.is_anomaly[:40].any()
    assert verdicts.reasons.table().filter(pl.col("at") == 40)["column"].to_list() == ["flow"]
    one, other = (scorer.graph.explain(windows_of(scorer, each)) for each in (usual, spike))
    assert_close(other.contribution.sum(axis=1), other.score)
    at = 40 - LENGTH + 1
    assert other.score[at] > 2 * one.score[at]


@pytest.mark.long
def test_rows_in_any_order_give_the_same_bytes(plain: TrainedSeries, tmp_path: Path) -> None:
    shuffled = normal().sample(fraction=1.0, shuffle=True, seed=3)
    again = train(shuffled, tmp_path / "again", plain.case.recipe).folder
    for name in ("model.onnx", "calibration.npy"):
        assert (again / name).read_bytes() == (plain.folder / name).read_bytes()


def test_stretches_end_with_their_run(plain: TrainedSeries) -> None:
    manifest = plain.scorer.manifest
    assert manifest.training.rows.calibration == len(plain.scorer.calibration) == 2 * round((240 - LENGTH + 1) / LENGTH)
    assert manifest.decision.threshold > plain.scorer.calibration.scores[-1]
    assert manifest.window is not None
    assert manifest.window.max_gap == LENGTH


def train_on(frame: pl.DataFrame, to: Path, **recipe: object) -> training.TrainingResult:
    usual = {"variant": "plain", "window": LENGTH, "columns": COLUMNS}
    return train(frame, to, Recipe(**{**usual, **recipe}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"window": 300}, "240 windows of 300|are too few to train on.*shorter --window"),
        ({"window": 1}, "from 2 to"),
        ({"window": 20_000}, "from 2 to"),
        ({"stride": 0}, "a stride is from 1"),
        ({"max_gap": 0.0}, "above 0"),
        ({"max_gap": 0.5}, "larger --max-gap than 0.5"),
        ({"columns": ColumnOptions(key="machine")}, "with --time"),
        ({"columns": ColumnOptions(time="when", key="machine")}, "no column 'when'"),
        ({"columns": ColumnOptions(time="ts", key="mashine")}, "near: 'machine'"),
        ({"variant": "denoising"}, "takes single rows; variants that take windows of a series: plain, convolutional"),
        (
            {"variant": "recurrent", "window": None, "columns": ColumnOptions()},
            "takes windows of a series: name the time column",
        ),
        ({"image": ImageSpec(width=4, height=4, files=False)}, "leave out --image or --window"),
        ({"window": None}, "--key is for windows of a series"),
        ({"settings": {"likelihood": "bernoulli"}}, "likelihood takes gaussian"),
        ({"variant": "recurrent", "settings": {"sizes": "none"}}, "sizes takes one width such as 32"),
        ({"variant": "recurrent", "settings": {"sizes": "8-8"}}, "sizes takes one width such as 32"),
        ({"settings": {"m": "3", "n": "2"}}, "m is at most n"),
        ({"settings": {"corruption": "swap"}}, "there is no setting 'corruption'"),
        ({"false_alarm_rate": 0.001}, "stretches of 12 rows cannot promise"),
        ({"false_alarm_rate": 2.0}, "between 0 and 1"),
    ],
)
def test_invalid_options_are_an_error_that_names_valid_ones(tmp_path: Path, recipe: dict[str, object], message: str) -> None:
    with pytest.raises((SettingError, TableError), match=message):
        train_on(normal(), tmp_path / "none", **recipe)
    assert not (tmp_path / "none").exists()


def test_rows_without_time_key_or_a_rising_time_are_rejected() -> None:
    frame = normal()
    bad = frame[:4].with_columns(
        ts=pl.Series([None, "yesterday", frame["ts"][0], frame["ts"][5]]), machine=pl.Series(["press", "press", None, "press"])
    )
    rejects = prepare(table_of(pl.concat([frame, bad])), Case("plain").recipe).rejects
    assert [(reject.row, reject.column) for reject in rejects] == [
        (480, "ts"),
        (481, "ts"),
        (482, "machine"),
        (483, "ts"),
    ]
    assert "a time after" in rejects[-1].expected


def test_a_key_with_too_few_rows_for_a_window_is_no_error() -> None:
    frame = pl.concat([normal(), series(5, 3, "short")])
    assert len(prepare(table_of(frame), Case("plain").recipe).index.rows) == 485
