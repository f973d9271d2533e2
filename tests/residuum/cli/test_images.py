"""Image files on the command line: training, scoring with heat maps, evaluating, and errors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as pillow  # noqa: N813 - it is a module

import residuum
from detector.images import ImageSpec
from serving.heatmap import BAR_WIDTH, FOOTER
from tests import images
from tests.data.make_bundle import KEPT
from tests.residuum.cli.running import RUN, Run, error_line, in_a_process
from tests.residuum.conftest import TRAIN, train, trained_once
from tests.serving.http.conftest import ASK, ServiceThread

SEEN = ImageSpec(width=24, height=16)
SCALE = 2  # files are twice as large as what is seen of them
LEARN = f"{TRAIN.split(';')[0]}; training.fit.STEPS = 600; {RUN}"


@pytest.fixture(scope="session")
def plates(run_folder: Path) -> tuple[Path, str]:
    """A detector of images, and what training printed."""
    with trained_once(run_folder, "residuum-plates") as (folder, is_empty):
        if is_empty:
            images.write(images.plates(120, 0, SEEN), SEEN, folder / "good", scale=SCALE)
            (folder / "good" / "broken.png").write_bytes((folder / "good" / "000.png").read_bytes()[:300])
            options = ("--size", "24x16", "--set", "sizes=8", "--set", "components=8", "--false-alarm-rate", "0.05")
            train(folder, folder / "good", "--to", folder / "models" / "plates", *options, code=LEARN)
    return folder / "models" / "plates", (folder / "output").read_text()


@pytest.fixture
def model(plates: tuple[Path, str]) -> Path:
    return plates[0]


@pytest.fixture
def today(run: Run) -> Path:
    """A tree of images: normal ones, ones with a spot, and one that cannot be read."""
    del run  # it went to an empty folder
    images.write(images.plates(30, 1, SEEN), SEEN, Path("today/good"), scale=SCALE)
    images.write(images.spotted(10, 2, SEEN), SEEN, Path("today/spot"), scale=SCALE)
    Path("today/spot/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return Path("today")


def test_the_summary_of_training(plates: tuple[Path, str]) -> None:
    summary = plates[1]
    assert "promise    at most 5 % of normal images are flagged, calibrated on 24 images held out from training" in summary
    assert "images     120 used" in summary
    assert "rejected   1 image" in summary
    assert "broken.png: found a damaged image" in summary
    assert "seen as    24x16 pixels, grey" in summary
    assert "convolutional" in summary


def test_each_image_has_a_line_and_spots_a_region(model: Path, today: Path, run: Run) -> None:
    result = run("score", model, today, "--to", "out.csv")
    assert result.exit_code == 0, result.output
    assert "images     40 scored" in result.stdout
    assert "1 image, see out.rejects.csv" in result.stdout
    scored = pl.read_csv("out.csv")
    assert scored.columns == ["file", "anomaly_score", "p_value", "is_anomaly", "reason_1", "reason_2", "reason_3"]
    assert scored["file"].to_list()[0] == "today/good/000.png"
    spots = scored.filter(pl.col("file").str.contains("spot"))
    assert spots["is_anomaly"].sum() >= 8
    assert scored.filter(pl.col("file").str.contains("good"))["is_anomaly"].sum() <= 6
    (reject,) = pl.read_csv("out.rejects.csv").iter_rows(named=True)
    assert list(reject) == ["file", "found", "expected"]
    assert reject["file"] == "today/spot/broken.png"


def test_the_first_reason_names_the_spot_in_the_files_own_pixels(model: Path, today: Path, run: Run) -> None:
    run("score", model, today / "spot", "--to", "out.csv", "--reasons", "all")
    found = pl.read_csv("out.csv")
    pattern = r"(\d+)x(\d+) at (\d+),(\d+) = grey ([\d.]+) \(expected grey ([\d.]+), (\d+) % of the score\)"
    hits = 0
    for file, reason in found.select("file", "reason_1").iter_rows():
        width, height, left, top = (
            int(each) for each in pl.Series([reason]).str.extract_groups(pattern).struct.unnest().row(0)[:4]
        )
        page = np.asarray(pillow.open(file)) < 65
        boxed = page[top : top + height, left : left + width]
        hits += boxed.mean() > 0.2
    assert hits >= 8


def test_heat_maps_stand_beside_their_images(model: Path, today: Path, run: Run) -> None:
    result = run("score", model, today, "--to", "out.csv", "--heatmaps", "heat")
    assert result.exit_code == 0, result.output
    assert "heat maps  heat" in result.stdout
    maps = sorted(path.relative_to("heat") for path in Path("heat").rglob("*") if path.is_file())
    assert maps == sorted(path.relative_to("today") for path in today.rglob("*.png") if path.name != "broken.png")
    page = _pixels("heat/spot/000.png")
    assert page.shape == (128 + FOOTER, 2 * 192 + 8, 3)
    page, half = page[:-FOOTER], 192
    colour = page[:, half + 8 :].max(axis=2) - page[:, half + 8 :].min(axis=2)
    assert page[:, :half].max(axis=2).max() == page[:, :half].min(axis=2).max()  # the original is grey
    assert colour.max() > 60
    dark = page[:, :half, 0] < 60
    assert colour[dark].mean() > 2 * colour[~dark].mean()


def test_all_heat_maps_of_a_run_have_one_scale(model: Path, today: Path, run: Run) -> None:
    run("score", model, today, "--to", "out.csv", "--heatmaps", "heat")
    pages = {path.relative_to("heat"): _pixels(str(path)) for path in Path("heat").rglob("*.png")}
    bars = {page[-FOOTER:, -BAR_WIDTH:].tobytes() for page in pages.values()}
    assert len(bars) == 1
    maps = {path: page[:-FOOTER, 200:] for path, page in pages.items()}
    hottest = {path: (page.max(axis=2) - page.min(axis=2)).max() for path, page in maps.items()}
    haze = {path: (page.max(axis=2) - page.min(axis=2)).mean() for path, page in maps.items()}
    for scale in (hottest, haze):
        good, spots = ([value for path, value in scale.items() if path.parts[0] == folder] for folder in ("good", "spot"))
        assert max(good) < min(spots)


def test_heat_maps_change_no_verdict(model: Path, today: Path, run: Run) -> None:
    run("score", model, today, "--to", "plain.csv")
    run("score", model, today, "--to", "drawn.csv", "--heatmaps", "heat")
    assert Path("plain.csv").read_bytes() == Path("drawn.csv").read_bytes()


def test_an_image_alone_has_the_verdict_that_it_has_among_others(model: Path, today: Path, run: Run) -> None:
    run("score", model, today, "--to", "all.csv")
    run("score", model, today / "spot" / "003.png", "--to", "one.csv")
    together = pl.read_csv("all.csv").filter(pl.col("file") == "today/spot/003.png")
    alone_ = pl.read_csv("one.csv")
    assert alone_["anomaly_score"].item() == pytest.approx(together["anomaly_score"].item(), rel=1e-5)
    assert alone_.drop("anomaly_score").equals(together.drop("anomaly_score"))


def test_folders_are_labels(model: Path, today: Path, run: Run) -> None:
    result = run("evaluate", model, today, "--format", "json")
    assert result.exit_code == 0, result.output
    found = pl.read_json(result.stdout.encode())
    assert found["rows"].item() == 40
    assert found["auroc"].item() > 0.9
    assert found["by_label"].item()[0]["label"] == "spot"


@pytest.mark.parametrize("written", ["as given", "from the folder", "bare names"])
def test_a_table_of_names_is_labels(written: str, model: Path, today: Path, run: Run) -> None:
    for place in range(10):  # unique bare names
        (today / "spot" / f"{place:03}.png").rename(today / "spot" / f"spot{place}.png")
    files = sorted(path for path in today.rglob("*.png") if path.name != "broken.png")
    name = {"as given": str, "from the folder": lambda path: path.relative_to(today), "bare names": lambda path: path.name}[
        written
    ]
    kinds = ["yes" if "spot" in path.name else "no" for path in files]
    pl.DataFrame({"file": [str(name(path)) for path in files], "odd": kinds}).write_csv("labels.csv")
    by_table = run("evaluate", model, today, "--names", "labels.csv", "--format", "json")
    assert by_table.exit_code == 0, by_table.output
    by_folder = run("evaluate", model, today, "--format", "json")
    assert pl.read_json(by_table.stdout.encode())["auroc"].item() == pl.read_json(by_folder.stdout.encode())["auroc"].item()


def test_a_threshold_from_folders(model: Path, today: Path, run: Run) -> None:
    result = run("calibrate", model, "--labels", today, "--maximise", "f1", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "highest F1" in result.stdout


def test_the_bundle_describes_its_images_without_listing_pixels(model: Path, run: Run) -> None:
    assert "pixel_0_0" not in (model / "1" / "manifest.json").read_text()
    message = run("inspect", model).stdout
    assert "24x16 pixels, grey, from files" in message
    assert "pixel_0_0" not in message


def test_codes_and_rebuilt_images(model: Path, today: Path, run: Run) -> None:
    assert run("embed", model, today, "--to", "codes.csv").exit_code == 0
    codes = pl.read_csv("codes.csv")
    assert codes.columns[:2] == ["file", "latent_1"]
    assert codes.height == 40
    assert run("reconstruct", model, today, "--to", "sheet.png", "--image", "24x16").exit_code == 0
    assert run("decode", model, "codes.csv", "--to", "again.png", "--image", "24x16").exit_code == 0
    assert np.abs(_pixels("sheet.png") - _pixels("again.png")).max() <= 1
    assert run("picture", model, today, "--to", "plane.png").exit_code == 0


def test_a_row_of_pixels_is_the_image(model: Path, today: Path, run: Run) -> None:
    matrix = images.plates(30, 1, SEEN)
    run("score", model, today / "good", "--to", "out.csv")
    frame = images.as_table(matrix, SEEN)
    scored = residuum.load(model).score(frame)
    assert np.corrcoef(scored["anomaly_score"], pl.read_csv("out.csv")["anomaly_score"])[0, 1] > 0.9  # but for resizing
    none = residuum.load(model).score(matrix[~scored["is_anomaly"].to_numpy()])
    assert not none["is_anomaly"].any()
    assert residuum.load(model).score(matrix)["anomaly_score"].tolist() == pytest.approx(scored["anomaly_score"].to_list())


ERRORS = {
    "tables for images": (("score", "{model}", "rows.csv", "--to", "out.csv"), "scores images: give PNG or JPEG files"),
    "tables and images": (("score", "{model}", "rows.csv", "today", "--to", "out.csv"), "rows.csv is a table and today is not"),
    "an empty folder": (("score", "{model}", "empty", "--to", "out.csv"), "no images found"),
    "a column to keep": (("score", "{model}", "today", "--to", "out.csv", "--keep", "x"), "images have none"),
    "heat maps among images": (
        ("score", "{model}", "today", "--to", "out.csv", "--heatmaps", "today/heat"),
        "today/heat is among the images",
    ),
    "heat maps in a file": (("score", "{model}", "today", "--to", "out.csv", "--heatmaps", "rows.csv"), "rows.csv is a file"),
    "one class": (("evaluate", "{model}", "today/spot"), "are 'spot': rows of another class are needed"),
    "a label": (("evaluate", "{model}", "today", "--label", "kind"), "labelled by the folders that they lie in"),
    "names without files": (("evaluate", "{model}", "today", "--names", "rows.csv"), "rows.csv has no column 'file'"),
    "classes": (("finetune", "{model}", "today", "--label", "kind"), "scores image files"),
    "rows to generate": (("generate", "{model}", "--to", "new.csv"), "on a table with one column per pixel and without --image"),
    "another variant": (
        ("train", "today", "--to", "new", "--variant", "denoising"),
        "images need --variant convolutional",
    ),
    "a size that is none": (
        ("train", "today", "--to", "new", "--size", "big"),
        "--size big: an image size is written like 28x28",
    ),
    "a size too large": (("train", "today", "--to", "new", "--size", "1000x1000"), "such as --size 64x64"),
    "an image's option": (("train", "today", "--to", "new", "--image", "28x28"), "for image files use --size"),
    "a file's option": (("train", "rows.csv", "--to", "new", "--size", "28x28"), "use --image 28x28"),
    "columns": (("train", "today", "--to", "new", "--ignore", "x"), "images have none"),
    "too few": (
        ("train", "today/spot", "--to", "new"),
        "10 usable rows are too few to train on: at least 20 are needed; 1 of 11",
    ),
    "nothing readable": (("train", "broken", "--to", "new"), "are not readable PNG or JPEG images"),
    "no images at all": (("train", "empty", "--to", "new"), "no images found"),
    "rows": (("train", "rows.csv", "--to", "new", "--variant", "convolutional"), "rows of pixels with --image 28x28"),
    "fewer columns": (
        ("train", "rows.csv", "--to", "new", "--image", "28x28"),
        "takes 784 columns of pixels, line by line; this",
    ),
    "images that are alike": (("train", "black", "--to", "new"), "every pixel of every training image is the same"),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_errors(fault: str, model: Path, today: Path, run: Run) -> None:
    del today
    pl.DataFrame({"a": [1, 5, 2] * 10, "b": [4, 2, 9] * 10}).write_csv("rows.csv")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/1.png").write_bytes(b"\x89PNG")
    images.write(np.zeros((30, SEEN.values), np.uint8), SEEN, Path("black"))
    arguments, message = ERRORS[fault]
    assert message in error_line(run, *(each.replace("{model}", str(model)) for each in arguments))


def test_images_for_a_detector_of_rows(today: Path, run: Run) -> None:
    assert "scores rows of tables: give CSV" in error_line(run, "score", KEPT, today, "--to", "out.csv")
    rows = pl.DataFrame({"a": [1]})
    rows.write_csv("rows.csv")
    assert "scores rows of tables: leave it out" in error_line(
        run, "score", KEPT, "rows.csv", "--to", "out.csv", "--heatmaps", "heat"
    )


def test_scoring_needs_neither_torch_nor_matplotlib_and_says_when_pillow_is_missing(model: Path, today: Path) -> None:
    without = "import sys; [sys.modules.__setitem__(name, None) for name in {names}]; " + RUN
    code = without.replace("{names}", "('torch', 'sklearn', 'matplotlib', 'pandas', 'scipy')")
    done = in_a_process("score", model, today.absolute(), "--to", "out.csv", "--heatmaps", "heat", code=code)
    assert done.returncode == 0, done.stderr
    done = in_a_process("score", model, today.absolute(), "--to", "more.csv", code=without.replace("{names}", "('PIL',)"))
    assert done.returncode == 2, done.stderr
    assert "pip install 'residuum[images]'" in done.stderr


def test_existing_heat_maps_are_kept_without_force(model: Path, today: Path, run: Run) -> None:
    run("score", model, today, "--to", "out.csv", "--heatmaps", "heat")
    assert "exists already; --force" in error_line(run, "score", model, today, "--to", "more.csv", "--heatmaps", "heat")
    assert run("score", model, today, "--to", "out.csv", "--heatmaps", "heat", "--force").exit_code == 0


def _pixels(path: str) -> np.ndarray:
    return np.asarray(pillow.open(path)).astype(int)


def test_a_service_scores_an_image(model: Path, today: Path, run: Run) -> None:
    run("score", model, today / "spot", "--to", "out.ndjson", "--heatmaps", "heat")
    scored = pl.read_ndjson("out.ndjson").row(3, named=True)
    service = ServiceThread(model.parent)
    try:
        image = {"content-type": "image/png"}
        address = f"{service.url}/v1/models/plates/score"
        answer = ASK.post(address, content=Path(scored["file"]).read_bytes(), headers=image).json()
        (verdict,) = answer["verdicts"]
        assert verdict["anomaly_score"] == pytest.approx(scored["anomaly_score"], rel=1e-4)
        assert verdict["reasons"][0]["column"] == scored["reasons"][0]["column"]
        (bad,) = ASK.post(address, content=b"no image", headers=image).json()["verdicts"]
        assert bad["rejected"]["found"] == "not a PNG or JPEG, despite its name"
        drawn = ASK.post(f"{address}?heatmap=1", content=Path(scored["file"]).read_bytes(), headers=image)
        assert drawn.headers["content-type"] == "image/png", drawn.text
        shown = np.asarray(pillow.open(io.BytesIO(drawn.content))).astype(int)
        filed = _pixels(f"heat/{Path(scored['file']).name}")
        assert shown.shape == filed.shape
        assert np.abs(shown - filed).max() <= 1  # alone and among others a score differs by 1e-7
        undrawn = ASK.post(f"{address}?heatmap=1", content=b"no image", headers=image)
        assert (undrawn.status_code, undrawn.json()["found"]) == (422, "not a PNG or JPEG, despite its name")
        assert ASK.post(f"{address}?heatmap=1", json=[]).json()["expected"] == "1, for an image"
        row = dict(zip((column.name for column in SEEN.columns()), images.spotted(1, 2, SEEN)[0].tolist(), strict=True))
        assert ASK.post(address, json=[row]).json()["anomalies"] == 1
    finally:
        service.stop()


@pytest.mark.long
def test_rows_of_pixels_are_images_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fit.STEPS", 150)
    small = ImageSpec(width=12, height=10)
    names = [f"p{place}" for place in range(120)]
    rows = pl.DataFrame(images.plates(80, 0, small), schema=names).with_columns(digit=pl.lit(3))
    rows.write_csv("pixels.csv")
    options = ("--image", "12x10", "--ignore", "digit", "--set", "sizes=8", "--set", "components=8", "--false-alarm-rate", "0.05")
    trained = run("train", "pixels.csv", "--to", "models/digits", *options)
    assert trained.exit_code == 0, trained.output
    assert "seen as    12x10 pixels, grey" in trained.stdout
    assert "12x10 pixels, grey, from rows of a table, line by line" in run("inspect", "models/digits").stdout
    odd = pl.DataFrame(images.spotted(5, 1, small), schema=names)
    odd.with_columns(p7=pl.Series([None, "black", "9", "9", "9"])).write_csv("odd.csv")
    scored = run("score", "models/digits", "odd.csv", "--to", "out.csv", "--reasons", "all")
    assert scored.exit_code == 0, scored.output
    found = pl.read_csv("out.csv")
    assert found["row"].to_list() == [2, 4, 5, 6]
    assert found["reason_1"].str.contains(r"\d+x\d+ at \d+,\d+ = grey").all()
    assert found["is_anomaly"].all()
    (reject,) = pl.read_csv("out.rejects.csv").iter_rows(named=True)
    assert (reject["row"], reject["column"], reject["found"]) == (3, "p7", "'black'")
    scored = residuum.load("models/digits").score(odd.to_numpy().reshape(5, 10, 12))
    assert scored["is_anomaly"].all()
    assert "takes 132 columns of pixels, line by line; this table has 121" in error_line(
        run, "train", "pixels.csv", "--to", "new", "--image", "12x11"
    )
