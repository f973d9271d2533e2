"""Codes, rebuilt rows, walks, new rows and pictures: the verbs around the latent space."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib import image

import residuum
from detector import bundle
from detector.columns import as_frame, encode
from detector.files import blocks
from detector.scorer import Scorer
from tests.residuum.cli.conftest import TRAIN, Run
from tests.residuum.cli.running import RUN, in_a_process
from tests.residuum.cli.test_bad_input import refused, spoil

COLUMNS = ["temperature", "pressure", "flow", "bytes", "serial", "machine", "door_open", "at", "firmware", "slots"]


def test_embed_writes_the_codes_of_the_graph(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    result = run("embed", model, table, "--to", "codes.parquet")
    assert result.exit_code == 0, result.output
    codes = pl.read_parquet("codes.parquet")
    assert codes.columns == ["row", "latent_1", "latent_2", "latent_3", "latent_4"]
    assert codes["row"].to_list() == list(range(2, 102))
    assert codes.drop("row").equals(residuum.load(model).embed(rows).cast(pl.Float32))
    assert codes["latent_1"].n_unique() > 90


def test_reconstruct_gives_what_the_reasons_expect(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    assert run("reconstruct", model, table, "--to", "rebuilt.csv").exit_code == 0
    rebuilt = pl.read_csv("rebuilt.csv", schema_overrides={"firmware": pl.String})
    assert rebuilt.columns == ["row", *COLUMNS]
    assert set(rebuilt["machine"]) == {"press", "lathe", "mill"}
    assert np.corrcoef(rebuilt["temperature"][:80], rows["temperature"][:80].fill_null(strategy="mean"))[0, 1] > 0.9
    scored = residuum.load(model).score(rebuilt)
    assert scored["anomaly_score"].mean() < residuum.load(model).score(rows)["anomaly_score"].mean()


def test_codes_of_rows_decode_to_rows_like_them(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    assert run("embed", model, table, "--to", "codes.csv").exit_code == 0
    result = run("decode", model, "codes.csv", "--to", "again.ndjson")
    assert result.exit_code == 0, result.output
    again = pl.read_ndjson("again.ndjson")
    assert again.columns == ["row", *COLUMNS]
    expected = as_frame(Scorer.open(model).graph.explain(_matrix(model, rows)).expected, Scorer.open(model).columns)
    assert again["machine"].to_list() == expected["machine"].to_list()
    assert np.allclose(again["flow"], expected["flow"], rtol=1e-4)


def test_a_walk_goes_from_one_row_to_the_other(run: Run, model: Path, table: Path) -> None:
    for name, options in {"codes.csv": [], "ends.csv": []}.items():
        assert run("embed" if name == "codes.csv" else "reconstruct", model, table, "--to", name, *options).exit_code == 0
    result = run("decode", model, table, "--between", "5", "42", "--steps", "7", "--to", "walk.csv")
    assert result.exit_code == 0, result.output
    walked, ends = pl.read_csv("walk.csv"), pl.read_csv("ends.csv")
    assert walked["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    for step, row in ((0, 5), (6, 42)):
        assert walked["flow"][step] == pytest.approx(ends.filter(pl.col("row") == row)["flow"][0], rel=1e-4)
    assert run("decode", model, table, "--between", "42", "5", "--to", "back.csv").exit_code == 0
    assert pl.read_csv("back.csv").height == 10


def test_generated_rows_are_the_seeds(run: Run, dreams: Path) -> None:
    for name, options in {"a.csv": [], "b.csv": [], "c.csv": ["--seed", "1"], "d.csv": ["--mean"]}.items():
        result = run("generate", dreams, "--rows", "5000", "--to", name, *options)
        assert result.exit_code == 0, result.output
    same, other, most_likely = (Path(name).read_text() for name in ("b.csv", "c.csv", "d.csv"))
    assert Path("a.csv").read_text() == same != other
    assert most_likely not in {same, other}
    new = pl.read_csv("a.csv")
    assert new.columns == COLUMNS
    assert new.height == 5000
    assert new.equals(pl.read_csv(residuum.load(dreams).generate(5000).write_csv().encode()))
    assert pl.read_csv("d.csv")["flow"].std() < new["flow"].std()


@pytest.mark.parametrize("verb", ["embed", "reconstruct"])
def test_memory_stays_flat_and_bad_rows_go_elsewhere(
    verb: str, run: Run, model: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path("whole.csv")
    assert run(verb, model, table, "--to", whole).exit_code == 0
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4000)  # bytes: many blocks
    spoil(table, 7, lambda old: b"warm" + old[old.index(b",") :])
    result = run(verb, model, table, "--to", "out.csv")
    assert "1 row, see out.rejects.csv" in result.stdout
    with Path("out.rejects.csv").open() as file:
        assert [row["column"] for row in csv.DictReader(file)] == ["temperature"]
    out, expected = pl.read_csv("out.csv"), pl.read_csv(whole).filter(pl.col("row") != 7)
    assert out["row"].to_list() == expected["row"].to_list()
    number = "latent_1" if verb == "embed" else "flow"
    assert np.allclose(out[number], expected[number], rtol=1e-4, atol=1e-5)


def test_several_files_are_named(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("a.csv")
    assert run("embed", model, "a.csv", table, "--to", "codes.csv").exit_code == 0
    assert pl.read_csv("codes.csv")["file"].unique(maintain_order=True).to_list() == ["a.csv", str(table)]


@pytest.mark.parametrize("options", [(), ("--label", "state"), ("--label", "machine")], ids=["plain", "label", "own column"])
def test_a_picture_is_an_image(options: tuple[str, ...], run: Run, model: Path, rows: pl.DataFrame) -> None:
    states = pl.Series([f"s{row % 13}" if row % 5 else None for row in range(100)])
    rows.with_columns(state=states).write_csv("in.csv")
    result = run("picture", model, "in.csv", "--to", "picture.png", *options)
    assert result.exit_code == 0, result.output
    assert "100 drawn" in result.stdout
    pixels = image.imread("picture.png")
    assert pixels.shape[:2] == (900, 1200)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2])[:, :3], axis=0)) > 50


@pytest.mark.parametrize("verb", ["embed", "reconstruct", "generate"])
def test_torch_stays_away(verb: str, dreams: Path, table: Path, tmp_path: Path) -> None:
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {RUN}"
    done = in_a_process(verb, dreams, *([] if verb == "generate" else [table]), "--to", tmp_path / "out.csv", code=code)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "pandas", "sklearn", "scipy", "onnx", "narwhals", "training", "matplotlib"} & set(done.stderr.split())


def test_generate_needs_a_prior(run: Run, model: Path) -> None:
    said = refused(run, "generate", model, "--to", "new.csv")
    assert "pumps (denoising) has no prior to generate rows from: train a detector with --variant variational or" in said


def test_a_bundle_need_not_have_a_decoder(run: Run, model: Path, tmp_path: Path) -> None:
    opened = bundle.read(model / "1")
    bare = tmp_path / "bare"
    bare.mkdir()
    contents = {name: (model / "1" / name).read_bytes() for name in (bundle.MODEL, bundle.CALIBRATION)}
    bundle.write(bare, opened.manifest, contents)
    said = refused(run, "generate", bare, "--to", "new.csv")
    assert "no decoder.onnx to turn codes into rows: train it again" in said


def test_codes_that_are_none(run: Run, model: Path, table: Path) -> None:
    assert "lacks the columns 'latent_1'" in refused(run, "decode", model, table, "--to", "rows.csv")
    Path("codes.csv").write_text("latent_1,latent_2,latent_3,latent_4\n1,2,,4\n1,2,3,4\ninf,2,3,4\n")
    assert run("decode", model, "codes.csv", "--to", "rows.csv").exit_code == 0
    assert pl.read_csv("rows.csv")["row"].to_list() == [3]
    rejects = pl.read_csv("rows.rejects.csv")
    assert rejects["row", "column", "expected"].rows() == [(2, "latent_3", "a finite number"), (4, "latent_1", "a finite number")]


def test_a_walk_that_leads_nowhere(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("a.csv")
    walk = ("decode", model, table, "--to", "walk.csv")
    assert "has no row 1 for --between: its rows are 2 to 101" in refused(run, *walk, "--between", "1", "5")
    assert "at least 2; got 1" in refused(run, *walk, "--between", "2", "5", "--steps", "1")
    assert "--between and two row numbers" in refused(run, *walk, "--steps", "5")
    assert "one file; 2 were given" in refused(run, "decode", model, "a.csv", *walk[2:], "--between", "2", "5")
    spoil(table, 7, lambda old: b"warm" + old[old.index(b",") :])
    assert "row 7, temperature: found 'warm', expected a number: give another row" in refused(run, *walk, "--between", "2", "7")


def test_pictures_that_cannot_be_drawn(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows[:2].write_csv("two.csv")
    assert "at least 3 rows; 2 can be drawn" in refused(run, "picture", model, "two.csv", "--to", "p.png")
    assert "written as .png" in refused(run, "picture", model, table, "--to", "p.jpg")
    assert "near: 'machine'" in refused(run, "picture", model, table, "--to", "p.png", "--label", "machin")
    Path("there.png").write_text("mine")
    assert "--force" in refused(run, "picture", model, table, "--to", "there.png")


@pytest.mark.parametrize("verb", ["embed", "reconstruct", "generate"])
def test_outputs_that_must_not_be_written(verb: str, run: Run, dreams: Path, table: Path) -> None:
    given = [verb, dreams, *([] if verb == "generate" else [table]), "--to"]
    Path("there.csv").write_text("mine")
    assert "--force" in refused(run, *given, "there.csv")
    assert "no folder" in refused(run, *given, "no/out.csv")
    assert "supported outputs are" in refused(run, *given, "out.xlsx")
    assert run(*given, "there.csv", "--force").exit_code == 0
    piped = run(*given, "-")
    assert piped.stdout == Path("there.csv").read_text()
    assert piped.stderr.startswith("rows ")


def _matrix(model: Path, rows: pl.DataFrame) -> np.ndarray:
    return encode(rows, Scorer.open(model).columns, np.arange(rows.height)).matrix


@pytest.fixture(scope="session")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variational detector of images of 4 x 3 pixels: a bright half on the left or on the right."""
    folder = tmp_path_factory.mktemp("painter")
    random = np.random.default_rng(0)
    left = random.random(300) < 0.5
    bright = np.tile([1.0, 1.0, 0.0, 0.0], 3)
    pixels = np.clip(np.where(left[:, None], bright, 1 - bright) + random.normal(scale=0.05, size=(300, 12)), 0, 1)
    pl.DataFrame(pixels, schema=[f"p{place}" for place in range(12)]).write_csv(folder / "images.csv")
    train = ("train", folder / "images.csv", "--to", folder / "m", "--variant", "variational", "--set", "likelihood=bernoulli")
    done = in_a_process(*train, code=TRAIN)
    assert done.returncode == 0, done.stderr
    return folder


def test_rows_of_pixels_are_drawn_on_a_sheet(run: Run, painter: Path) -> None:
    for verb in (
        ("generate", painter / "m", "--rows", 9, "--mean"),
        ("reconstruct", painter / "m", painter / "images.csv"),
        ("decode", painter / "m", painter / "images.csv", "--between", 2, 3, "--steps", 9),
    ):
        result = run(*verb, "--to", f"{verb[0]}.png", "--image", "4x3")
        assert result.exit_code == 0, result.output
    page = image.imread("generate.png")
    assert page.shape == (3 * (3 + 1) * 21, 3 * (4 + 1) * 21)
    first = page[: 3 * 21, : 4 * 21]
    halves = first[:, : 2 * 21].mean(), first[:, 2 * 21 :].mean()
    assert abs(halves[0] - halves[1]) > 0.3


def test_what_is_no_sheet_is_refused(run: Run, painter: Path) -> None:
    ask = ("generate", painter / "m", "--rows", "4")
    assert "written like 28x28" in refused(run, *ask, "--to", "a.png", "--image", "4by3")
    assert "images are written as .png" in refused(run, *ask, "--to", "a.csv", "--image", "4x3")
    assert "takes 100 columns" in refused(run, *ask, "--to", "a.png", "--image", "10x10")
    assert "supported outputs are" in refused(run, *ask, "--to", "a.png")
