"""What embed, reconstruct, decode and generate share: blocks, rejects, output files, contact sheets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib import image

from detector.files import blocks
from tests.residuum.cli.running import LIST_MODULES, Run, edit_line, error_line, in_a_process
from tests.residuum.conftest import train, trained_once


@pytest.mark.parametrize("command_name", ["embed", "reconstruct"])
def test_files_are_read_in_blocks_and_bad_rows_are_rejected(
    command_name: str, run: Run, model: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path("whole.csv")
    assert run(command_name, model, table, "--to", whole).exit_code == 0
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4000)  # bytes: many blocks
    edit_line(table, 7, lambda old: b"warm" + old[old.index(b",") :])
    result = run(command_name, model, table, "--to", "out.csv")
    assert "1 row, see out.rejects.csv" in result.stdout
    with Path("out.rejects.csv").open() as file:
        assert [row["column"] for row in csv.DictReader(file)] == ["temperature"]
    out, expected = pl.read_csv("out.csv"), pl.read_csv(whole).filter(pl.col("row") != 7)
    assert out["row"].to_list() == expected["row"].to_list()
    number = "latent_1" if command_name == "embed" else "flow"
    assert np.allclose(out[number], expected[number], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "command_name", ["embed", *(pytest.param(name, marks=pytest.mark.long) for name in ("reconstruct", "generate"))]
)
def test_training_libraries_are_not_imported(command_name: str, variational: Path, table: Path, tmp_path: Path) -> None:
    arguments = [command_name, variational, *([] if command_name == "generate" else [table]), "--to", tmp_path / "out.csv"]
    done = in_a_process(*arguments, code=LIST_MODULES)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "pandas", "sklearn", "scipy", "onnx", "narwhals", "training", "matplotlib"} & set(done.stderr.split())


@pytest.mark.parametrize("command_name", ["embed", "reconstruct", "generate"])
def test_outputs_that_must_not_be_written(command_name: str, run: Run, variational: Path, table: Path) -> None:
    arguments = [command_name, variational, *([] if command_name == "generate" else [table]), "--to"]
    Path("there.csv").write_text("mine")
    assert "--force" in error_line(run, *arguments, "there.csv")
    assert "no folder" in error_line(run, *arguments, "no/out.csv")
    assert "supported outputs are" in error_line(run, *arguments, "out.xlsx")
    assert run(*arguments, "there.csv", "--force").exit_code == 0
    piped = run(*arguments, "-")
    assert piped.stdout == Path("there.csv").read_text()
    assert piped.stderr.startswith("rows ")


@pytest.fixture(scope="session")
def halves(run_folder: Path) -> Path:
    """A variational detector of images of 4 x 3 pixels, with a bright half on the left or on the right, and its images."""
    with trained_once(run_folder, "residuum-halves") as (folder, is_empty):
        if is_empty:
            random = np.random.default_rng(0)
            left = random.random(300) < 0.5
            bright = np.tile([1.0, 1.0, 0.0, 0.0], 3)
            noise = random.normal(scale=0.05, size=(300, 12))
            pixels = np.clip(np.where(left[:, None], bright, 1 - bright) + noise, 0, 1)
            pl.DataFrame(pixels, schema=[f"p{index}" for index in range(12)]).write_csv(folder / "images.csv")
            options = ("--variant", "variational", "--set", "likelihood=bernoulli")
            train(folder, folder / "images.csv", "--to", folder / "m", *options)
    return folder


@pytest.mark.long  # test_images writes contact sheets too
def test_rows_of_pixels_are_written_as_a_contact_sheet(run: Run, halves: Path) -> None:
    for arguments in (
        ("generate", halves / "m", "--rows", 9, "--mean"),
        ("reconstruct", halves / "m", halves / "images.csv"),
        ("decode", halves / "m", halves / "images.csv", "--between", 2, 3, "--steps", 9),
    ):
        result = run(*arguments, "--to", f"{arguments[0]}.png", "--image", "4x3")
        assert result.exit_code == 0, result.output
    page = image.imread("generate.png")
    assert page.shape == (3 * (3 + 1) * 21, 3 * (4 + 1) * 21)
    first = page[: 3 * 21, : 4 * 21]
    assert abs(first[:, : 2 * 21].mean() - first[:, 2 * 21 :].mean()) > 0.3


def test_invalid_contact_sheets(run: Run, variational: Path) -> None:
    arguments = ("generate", variational, "--rows", "4")
    assert "written like 28x28" in error_line(run, *arguments, "--to", "a.png", "--image", "4by3")
    assert "images are written as .png" in error_line(run, *arguments, "--to", "a.csv", "--image", "4x3")
    assert "takes 100 columns" in error_line(run, *arguments, "--to", "a.png", "--image", "10x10")
    assert "supported outputs are" in error_line(run, *arguments, "--to", "a.png")
