"""`residuum generate`: new rows from the prior."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import residuum
from detector import bundle
from tests.residuum.cli.running import TABLE_COLUMNS, Run, error_line


def test_the_seed_decides(run: Run, variational: Path) -> None:
    for name, options in {"a.csv": [], "b.csv": [], "c.csv": ["--seed", "1"], "d.csv": ["--mean"]}.items():
        result = run("generate", variational, "--rows", "5000", "--to", name, *options)
        assert result.exit_code == 0, result.output
    same, other, most_likely = (Path(name).read_text() for name in ("b.csv", "c.csv", "d.csv"))
    assert Path("a.csv").read_text() == same != other
    assert most_likely not in {same, other}
    new = pl.read_csv("a.csv")
    assert new.columns == TABLE_COLUMNS
    assert new.height == 5000
    assert new.equals(pl.read_csv(residuum.load(variational).generate(5000).write_csv().encode()))
    assert pl.read_csv("d.csv")["flow"].std() < new["flow"].std()


def test_a_variant_without_a_prior_is_an_error(run: Run, model: Path) -> None:
    message = error_line(run, "generate", model, "--to", "new.csv")
    assert "pumps (denoising) has no prior to generate rows from" in message
    assert "train a detector with --variant variational or --variant adversarial" in message


def test_a_bundle_without_a_decoder_is_an_error(run: Run, model: Path, tmp_path: Path) -> None:
    opened = bundle.read(model / "1")
    bare = tmp_path / "bare"
    bare.mkdir()
    contents = {name: (model / "1" / name).read_bytes() for name in (bundle.MODEL, bundle.CALIBRATION)}
    bundle.write(bare, opened.manifest, contents)
    message = error_line(run, "generate", bare, "--to", "new.csv")
    assert "no decoder.onnx to turn codes into rows: train it again" in message
