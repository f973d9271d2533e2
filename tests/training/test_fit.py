"""The settings of training steps: how long a network is trained, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

import residuum
from detector import bundle, history
from detector.errors import BundleCorrupt, SettingError
from detector.manifest import Manifest
from residuum import describe
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows, series
from tests.training.conftest import table_of
from training.fit import FitProgress, FitResult
from training.kinds import ColumnOptions
from training.recipe import Recipe
from training.settings import NetworkSettings
from training.train import fit_detector
from training.variants import VARIANTS

RATE = 0.1
SMALL = {"sizes": "8"}
NORMAL = normal_rows(200)


def fitted(frame: pl.DataFrame = NORMAL, *, variant: str = "denoising", **settings: Any) -> FitResult:  # noqa: ANN401 - of any type
    recipe = Recipe(variant=variant, settings=SMALL | settings, false_alarm_rate=RATE)
    return fit_detector(table_of(frame), recipe).fitted.fit


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_with_a_network_can_be_steered(name: str) -> None:
    windowed = VARIANTS[name].windowed
    kinds = [VARIANTS[name].settings, *([windowed.settings] if windowed else [])]
    assert all(issubclass(kind, NetworkSettings) for kind in kinds) == (name != "memory")


def test_steps_batch_and_learning_rate_change_the_training() -> None:
    usual = fitted(steps=60)
    assert usual.steps == 60
    assert [check.step for check in usual.history[0]] == [0, 50, 60]
    assert fitted(steps=60, batch=16).loss != usual.loss != fitted(steps=60, learning_rate=0.0001).loss


def test_patience_stops_a_training_that_learns_nothing() -> None:
    result = fitted(steps=400, patience=2, learning_rate=1.0)
    assert result.steps < 400
    assert result.steps == result.best_step + 100


def test_a_network_that_is_still_learning_is_trained_on() -> None:
    short = fitted(steps=50)
    assert short.best_step == short.steps == 50
    longer = fitted(steps=50, max_steps=120)
    assert 50 < longer.steps <= 120
    assert longer.loss < short.loss
    assert longer.history[0][:2] == short.history[0]  # the same until there
    assert fitted(steps=50, max_steps=20).steps == 20


def test_the_goal_moves_while_a_network_is_trained_on() -> None:
    goals = []
    recipe = Recipe(variant="denoising", settings=SMALL | {"steps": 50, "max_steps": 120}, false_alarm_rate=RATE)

    def watch(progress: FitProgress) -> None:
        goals.append((progress.step, progress.steps))

    fit_detector(table_of(NORMAL), recipe, watch)
    assert goals == [(50, 50), (100, 100), (120, 120)]


def test_folds_are_trained_on_and_so_is_the_network_that_scores() -> None:
    recipe = Recipe(
        variant="convolutional",
        settings={"steps": 50, "max_steps": 100, "sizes": "4"},
        window=8,
        columns=ColumnOptions(time="ts"),
    )
    result = fit_detector(table_of(series(160)), recipe).fitted.fit
    assert len(result.history) == 4
    assert 50 < result.steps <= 100


@pytest.mark.parametrize("name", ["steps", "max_steps", "learning_rate", "batch", "patience"])
def test_a_memory_has_no_steps(name: str) -> None:
    with pytest.raises(SettingError, match=f"no setting '{name}', because this variant is fitted without steps"):
        Recipe(settings={name: 1}).check()


@pytest.mark.parametrize("text", ["steps=-1", "learning_rate=0", "learning_rate=2", "batch=0", "patience=0", "max_steps=x"])
def test_settings_out_of_range(text: str) -> None:
    name, _, value = text.partition("=")
    with pytest.raises(SettingError, match=f"{name} takes a"):
        Recipe(variant="plain", settings={name: value}).check()


@pytest.fixture
def manifest() -> Manifest:
    return bundle.read_manifest(Path(KEPT))


@pytest.mark.parametrize(
    ("steps", "best", "text"),
    [
        (3000, 3000, "best of 3,000 steps at 3,000: still learning; --max-steps 9000 trains on"),
        (3000, 1500, "best of 3,000 steps at 1,500)"),
        (600, 0, "none of 600 steps was better than the start"),
        (0, 0, "without training steps"),
    ],
    ids=["learning", "done", "worse", "none"],
)
def test_the_sentence_about_the_steps(steps: int, best: int, text: str, manifest: Manifest) -> None:
    training = msgspec.structs.replace(manifest.training, steps=steps, best_step=best)
    assert text in describe.loss(msgspec.structs.replace(manifest, training=training))


@pytest.mark.long
def test_the_curve_is_kept_in_the_bundle_and_in_later_versions(tmp_path: Path) -> None:
    settings = SMALL | {"steps": 120}
    detector = residuum.train(NORMAL, tmp_path / "new", variant="denoising", settings=settings, false_alarm_rate=RATE)
    curve = detector.history
    assert curve.columns == ["fit", "step", "training_loss", "validation_loss"]
    assert curve["fit"].to_list() == [1] * 4
    assert curve["step"].to_list() == [0, 50, 100, 120]
    assert curve["training_loss"].null_count() == 1
    assert curve["validation_loss"].min() == detector.manifest.training.loss
    assert pl.read_csv(tmp_path / "new" / "1" / "history.csv").equals(curve)
    assert residuum.calibrate(tmp_path / "new", false_alarm_rate=0.2).history.equals(curve)
    with (tmp_path / "new" / "1" / "history.csv").open("a") as file:
        file.write("1,200,0,0\n")
    with pytest.raises(BundleCorrupt, match=r"history\.csv"):
        residuum.load(tmp_path / "new" / "1")


def test_an_estimator_has_a_curve_before_it_is_saved_and_a_memory_has_none() -> None:
    settings = SMALL | {"steps": 60}
    unsaved = residuum.AutoencoderDetector("plain", settings=settings, false_alarm_rate=RATE, random_state=0).fit(NORMAL)
    assert unsaved.detector_.history["step"].to_list() == [0, 50, 60]
    memory = residuum.AutoencoderDetector(false_alarm_rate=RATE, random_state=0).fit(NORMAL).detector_.history
    assert memory.is_empty()
    assert memory.columns == unsaved.detector_.history.columns
    assert residuum.load(KEPT).history.is_empty()  # of a release that kept none


def test_a_file_that_is_no_curve_is_refused() -> None:
    for content in (b"", b"a,b\n1,2\n", b"fit,step,training_loss,validation_loss\n1,x,2,3\n", b"\xff\xfe"):
        with pytest.raises(BundleCorrupt, match=r"history\.csv is not a learning curve"):
            history.read({bundle.HISTORY: content})
