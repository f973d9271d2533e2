"""`residuum score`: one verdict a row, whatever the file looks like."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
import zstandard

from detector.files import blocks
from detector.scorer import Scorer
from tests.residuum.cli.running import LIST_MODULES, Run, in_a_process

VERDICT = ["anomaly_score", "p_value", "is_anomaly"]
REASONS = ["reason_1", "reason_2", "reason_3"]


def scored(path: str | Path = "out.csv") -> pl.DataFrame:
    return pl.read_csv(path)


def same_scores(some: pl.Series, others: pl.Series) -> None:
    np.testing.assert_allclose(some.to_numpy(), others.to_numpy(), rtol=1e-5, atol=1e-5)


@pytest.fixture
def plain(run: Run, model: Path, table: Path) -> pl.DataFrame:
    """The table's verdicts by the plainest call."""
    result = run("score", model, table, "--to", "plain.csv")
    assert result.exit_code == 0, result.output
    return scored("plain.csv")


def test_verdicts_are_those_of_the_scorer(plain: pl.DataFrame, model: Path, rows: pl.DataFrame) -> None:
    verdicts = Scorer.open(model).score(rows)
    assert plain.columns == ["row", *VERDICT, *REASONS]
    assert plain["row"].to_list() == list(range(2, 102))
    same_scores(plain["anomaly_score"], pl.Series(verdicts.score))
    np.testing.assert_allclose(plain["p_value"], verdicts.p_value, atol=0.011)
    assert plain["is_anomaly"].to_list() == verdicts.is_anomaly.tolist()
    assert plain["is_anomaly"].tail(20).sum() >= 15
    assert plain.filter("is_anomaly")["reason_1"].str.contains(r"^\w+ = .+ \(expected .+, \d+ % of the score\)$").all()
    assert plain.filter(~pl.col("is_anomaly"))["reason_1"].is_null().all()


def test_summary_counts_and_warns(run: Run, model: Path, table: Path) -> None:
    message = run("score", model, table, "--to", "out.csv").stdout
    assert "100 scored by" in message
    assert "on cpu" in message
    assert "promised: at most 1 % of normal rows" in message
    assert "rejected   none" in message
    assert "warning" in message
    assert "drift" in message


@pytest.mark.parametrize("name", ["out.csv.gz", "out.csv.zst", "out.parquet", "out.ndjson", "out.jsonl.gz"])
def test_every_format_holds_the_same(name: str, run: Run, model: Path, table: Path, plain: pl.DataFrame) -> None:
    assert run("score", model, table, "--to", name).exit_code == 0
    read = pl.read_parquet if "parquet" in name else pl.read_ndjson if "json" in name else pl.read_csv
    out = read(name)
    assert out.select("row", *VERDICT).equals(plain.select("row", *VERDICT))
    if "csv" in name:
        assert out.equals(plain)
        return
    first = out["reasons"].list.first().struct.unnest().filter(out["is_anomaly"])
    assert first.columns == ["column", "found", "expected", "share"]
    text = plain.filter("is_anomaly")["reason_1"]
    assert text.str.starts_with(first["column"] + " = " + first["found"]).all()


def write_gzip(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def write_zstd(path: Path, text: str) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))


def write_semicolons(path: Path, text: str) -> None:
    path.write_text(text.replace(",", ";"))


def write_as_on_windows(path: Path, text: str) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("in.csv.gz", write_gzip),
        ("in.csv.zst", write_zstd),
        ("in.csv", write_semicolons),
        ("in.txt", write_as_on_windows),
        ("in.parquet", lambda path, text: pl.read_csv(text.encode()).write_parquet(path)),
        ("in.ndjson", lambda path, text: pl.read_csv(text.encode()).write_ndjson(path)),
    ],
    ids=["gzip", "zstd", "semicolons", "windows", "parquet", "ndjson"],
)
def test_every_input_reads_the_same(name: str, write: object, run: Run, model: Path, table: Path, plain: pl.DataFrame) -> None:
    write(Path(name), table.read_text())  # type: ignore[operator]
    assert run("score", model, name, "--to", "out.csv").exit_code == 0
    same_scores(scored()["anomaly_score"], plain["anomaly_score"])
    assert scored()[REASONS].equals(plain[REASONS])


def test_standard_input_to_standard_output(run: Run, model: Path, table: Path, plain: pl.DataFrame) -> None:
    result = run("score", model, "-", "--to", "-", stdin=table.read_bytes())
    assert result.exit_code == 0, result.output
    assert pl.read_csv(result.stdout_bytes).equals(plain)
    assert "100 scored by" in result.stderr
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["plain.csv", "today.csv"]


def test_decimal_comma(run: Run, model: Path, rows: pl.DataFrame, plain: pl.DataFrame) -> None:
    numbers = cs.float() | cs.by_name("firmware")
    rows.with_columns(numbers.cast(pl.String).str.replace(".", ",", literal=True)).write_csv("in.csv", separator=";")
    assert run("score", model, "in.csv", "--to", "out.csv", "--decimal-comma").exit_code == 0
    same_scores(scored()["anomaly_score"], plain["anomaly_score"])
    assert run("score", model, "in.csv", "--to", "without.csv").exit_code == 3
    assert scored("without.csv").height == 0


def test_several_files_and_patterns(run: Run, model: Path, rows: pl.DataFrame, plain: pl.DataFrame) -> None:
    Path("days").mkdir()
    rows.head(60).write_csv("days/1.csv")
    rows.tail(40).with_columns(extra=1).write_csv("days/2.csv")
    result = run("score", model, "days/*.csv", "days/1.csv", "--to", "out.csv")
    assert result.exit_code == 0, result.output
    assert "unused     1 column: extra" in result.stdout
    out = scored()
    assert out.columns[:2] == ["file", "row"]
    assert out["file"].to_list() == ["days/1.csv"] * 60 + ["days/2.csv"] * 40
    assert out["row"].to_list() == [*range(2, 62), *range(2, 42)]
    same_scores(out["anomaly_score"], plain["anomaly_score"])


def test_kept_columns_come_out_as_they_went_in(run: Run, model: Path, rows: pl.DataFrame) -> None:
    table = rows.with_columns(tag=pl.lit("007"), temperature=pl.format("{}00", pl.col("temperature").round(3)))
    table.write_csv("in.csv")
    assert (
        run("score", model, "in.csv", "--to", "out.csv", "--keep", "tag", "--keep", "temperature", "--keep", "tag").exit_code == 0
    )
    out = pl.read_csv("out.csv", infer_schema=False)
    assert out.columns[:4] == ["row", "tag", "temperature", "anomaly_score"]
    assert out["tag"].to_list() == ["007"] * 100
    assert out["temperature"].equals(table["temperature"])


def test_only_anomalies(run: Run, model: Path, table: Path, plain: pl.DataFrame) -> None:
    assert run("score", model, table, "--to", "out.csv", "--only-anomalies").exit_code == 0
    assert scored().equals(plain.filter("is_anomaly"))


def test_reasons_for_all_or_none(run: Run, model: Path, table: Path, plain: pl.DataFrame) -> None:
    assert run("score", model, table, "--to", "all.csv", "--reasons", "all", "--top", "1").exit_code == 0
    assert run("score", model, table, "--to", "none.csv", "--reasons", "none").exit_code == 0
    every = scored("all.csv")
    assert every.columns == ["row", *VERDICT, "reason_1"]
    assert every["reason_1"].is_not_null().all()
    assert every.filter("is_anomaly")["reason_1"].equals(plain.filter("is_anomaly")["reason_1"])
    assert scored("none.csv").columns == ["row", *VERDICT]


def test_neither_order_nor_blocks_move_a_verdict(
    run: Run, model: Path, rows: pl.DataFrame, plain: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(0).permutation(rows.height)
    rows[order].write_csv("in.csv")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 700)
    assert run("score", model, "in.csv", "--to", "out.csv").exit_code == 0
    out, back = scored(), np.argsort(order)
    same_scores(out["anomaly_score"][back], plain["anomaly_score"])
    assert out["is_anomaly"][back].to_list() == plain["is_anomaly"].to_list()
    assert out["row"].to_list() == list(range(2, 102))


def test_json_is_json(run: Run, model: Path, table: Path) -> None:
    assert run("score", model, table, "--to", "out.ndjson", "--reasons", "none").exit_code == 0
    assert [set(json.loads(line)) for line in Path("out.ndjson").read_text().splitlines()] == [{"row", *VERDICT}] * 100


def test_training_libraries_are_not_imported(model: Path, table: Path, tmp_path: Path) -> None:
    done = in_a_process("score", model, table, "--to", tmp_path / "out.csv", code=LIST_MODULES)
    assert done.returncode == 0, done.stderr
    assert "polars" in done.stderr.split()
    assert not {"torch", "pandas", "sklearn", "scipy", "onnx", "narwhals", "training", "httpx"} & set(done.stderr.split())
