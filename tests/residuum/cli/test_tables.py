"""How `residuum score` reads and writes tables that are unusual, with the bundle that the tests keep."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from serving.files import output
from tests.data.make_bundle import KEPT
from tests.residuum.cli.running import Run
from tests.tables import normal_rows


@pytest.fixture
def rows() -> pl.DataFrame:
    return normal_rows(6, seed=3, holes=0.0)


def score(run: Run, path: str, *options: object, to: str = "out.csv", exit_code: int = 0) -> pl.DataFrame:
    result = run("score", KEPT, path, "--to", to, "--force", *options)
    assert result.exit_code == exit_code, result.output
    return pl.read_parquet(to) if to.endswith(".parquet") else pl.read_csv(to)


def test_kept_lists_structs_and_bytes(run: Run, rows: pl.DataFrame) -> None:
    nested = rows.with_columns(
        tags=pl.Series([["x", None]] * 6), state=pl.Series([{"n": 1.5, "t": ["é"]}] * 6), raw=pl.Series([b"\xff"] * 5 + [b"ok"])
    )
    nested.write_parquet("in.parquet")
    keep = ["--keep", "tags", "--keep", "state", "--keep", "raw"]
    written = score(run, "in.parquet", *keep)
    assert [json.loads(text) for text in written["tags"]] == nested["tags"].to_list()
    assert [json.loads(text) for text in written["state"]] == nested["state"].to_list()
    assert written["raw"].to_list() == ["\\xff"] * 5 + ["ok"]
    same = score(run, "in.parquet", *keep, to="out.parquet")
    assert same.select("tags", "state", "raw").equals(nested.select("tags", "state", "raw"))
    assert run("score", KEPT, "in.parquet", "--to", "out.ndjson", *keep).exit_code == 0
    line = json.loads(Path("out.ndjson").read_text().splitlines()[5])
    assert (line["tags"], line["state"], line["raw"]) == (["x", None], {"n": 1.5, "t": ["é"]}, "ok")


def test_bytes_of_parquet_are_text_if_they_are_utf8(run: Run, rows: pl.DataFrame) -> None:
    rows.write_parquet("text.parquet")
    rows.with_columns(pl.col("machine", "door_open").cast(pl.Binary)).write_parquet("bytes.parquet")
    assert score(run, "bytes.parquet").equals(score(run, "text.parquet"))
    rows.with_columns(machine=pl.Series([b"\xff", *[b"mill"] * 5])).write_parquet("bytes.parquet")
    assert score(run, "bytes.parquet").height == 5
    assert pl.read_csv("out.rejects.csv").rows() == [(1, "machine", repr(b"\xff"), "UTF-8")]


def test_a_nested_cell_is_rejected_as_json(run: Run, rows: pl.DataFrame) -> None:
    rows.with_columns(flow=pl.Series([[1.5, None]] * 6)).write_parquet("in.parquet")
    assert score(run, "in.parquet", exit_code=3).height == 0
    assert pl.read_csv("out.rejects.csv")["found"].unique().to_list() == ["[1.5,null]"]


def test_an_infinity_is_beyond_all_numbers(run: Run, rows: pl.DataFrame) -> None:
    texts = rows.with_columns(flow=pl.Series(["inf", "-Infinity", "+INF", "1e308", "1e400", "7.5"]))
    texts.write_csv("in.csv")
    written = score(run, "in.csv")
    assert written["is_anomaly"].to_list()[:4] == [True] * 4
    assert written["row"].to_list() == [2, 3, 4, 5, 7]
    assert [reason.split(" (")[0] for reason in written["reason_1"][:3]] == ["flow = inf", "flow = -inf", "flow = inf"]
    rows.with_columns(flow=pl.Series([float("inf"), float("-inf"), *[7.5] * 4])).write_parquet("in.parquet")
    assert score(run, "in.parquet")["is_anomaly"].to_list()[:2] == [True, True]
    Path("in.ndjson").write_text("".join(json.dumps(row) + "\n" for row in texts.to_dicts()))
    assert score(run, "in.ndjson")["is_anomaly"].to_list()[:4] == [True] * 4


def test_a_file_that_appears_meanwhile_is_not_replaced(run: Run, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.write_csv("in.csv")
    monkeypatch.setattr(output, "_check", lambda *_args, **_options: None)  # as if the files appeared after the check
    for to in ("out.csv", "out.ndjson", "out.parquet"):
        Path(to).write_text("theirs")
        for command in ("score", "embed", "reconstruct"):
            result = run(command, KEPT, "in.csv", "--to", to)
            assert result.exit_code == 2, result.output
            assert f"{to} exists already; --force replaces it" in result.stderr
            assert Path(to).read_text() == "theirs"
    Path("new.rejects.csv").write_text("theirs")
    rows.with_columns(flow=pl.Series(["x", *["7.5"] * 5])).write_csv("in.csv")
    assert run("score", KEPT, "in.csv", "--to", "new.csv").exit_code == 2
    assert not Path("new.csv").exists()
    assert {path.name for path in Path().iterdir()} == {"in.csv", "out.csv", "out.ndjson", "out.parquet", "new.rejects.csv"}


def test_without_hard_links_no_file_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    output.write(str(tmp_path / "new"), b"ours", force=False)
    with pytest.raises(output.OutputError, match="exists already"):
        output.write(str(tmp_path / "new"), b"theirs", force=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"ours"]


def test_a_run_that_scores_nothing_is_no_success(run: Run, rows: pl.DataFrame) -> None:
    rows.with_columns(flow=pl.lit("x")).write_csv("in.csv")
    for command in ("score", "embed", "reconstruct"):
        result = run(command, KEPT, "in.csv", "--to", f"{command}.csv")
        assert result.exit_code == 3, result.output
    rows.with_columns(flow=pl.Series(["x", *["7.5"] * 5])).write_csv("in.csv")
    score(run, "in.csv")


def test_only_columns_that_are_read_must_be_utf8(run: Run, rows: pl.DataFrame) -> None:
    rows.with_columns(operator=pl.Series(["Moller", *["Smith"] * 5])).write_csv("in.csv")
    Path("in.csv").write_bytes(Path("in.csv").read_bytes().replace(b"Moller", b"M\xf6ller"))
    assert score(run, "in.csv").height == 6
    assert score(run, "in.csv", "--keep", "operator").height == 5
    assert pl.read_csv("out.rejects.csv")["column", "expected"].rows() == [
        ("operator", "UTF-8, or the encoding of the file named, such as --encoding cp1252 or latin-1")
    ]
    assert score(run, "in.csv", "--keep", "operator", "--encoding", "latin-1")["operator"].to_list() == ["Möller", *["Smith"] * 5]


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("utf-16", ()),
        ("utf-16", ("--encoding", "latin-1")),
        ("utf-8-sig", ("--encoding", "cp1252")),
        ("utf-32", ()),
        ("utf-16-le", ("--encoding", "utf-16-le")),
        ("utf-16-be", ("--encoding", "UTF-16BE")),
        ("cp1252", ("--encoding", "cp1252")),
        ("iso8859-15", ("--encoding", "iso-8859-15")),
    ],
)
def test_encodings(run: Run, rows: pl.DataFrame, codec: str, options: tuple[str, ...]) -> None:
    text = rows.with_columns(Betreiberin=pl.Series(["Zoë – €" if codec != "iso8859-15" else "Zoë €"] * 6)).write_csv()
    Path("in.csv").write_bytes(text.encode(codec))
    assert (
        score(run, "in.csv", "--keep", "Betreiberin", *options)["Betreiberin"].to_list()
        == [text.split("\n")[1].split(",")[-1]] * 6
    )


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"temperature,\xfc\n1,2\n", (), "the header is not UTF-8: name its encoding, such as --encoding cp1252 or latin-1"),
        ("temperature,a\n1,2\n".encode("utf-16-le"), (), "--encoding utf-16-le"),
        (b"\xdc\x00\x00a\x00\n", ("--encoding", "utf-16-be"), "in.csv is not written in utf-16-be"),
        (b"temperature,a\n1,2\n", ("--encoding", "klingon"), "--encoding klingon is not known"),
        (b"temperature,a\n1,2\n", ("--encoding", "base64"), "is not a text encoding"),
    ],
)
def test_errors_name_the_encoding_and_the_option(run: Run, data: bytes, options: tuple[str, ...], message: str) -> None:
    Path("in.csv").write_bytes(data)
    result = run("score", KEPT, "in.csv", "--to", "out.csv", *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def csv(rows: pl.DataFrame, separator: str = ",") -> str:
    return rows.write_csv(separator=separator)


FORMS = {
    "sep": lambda rows: "sep=;\r\n" + csv(rows, ";"),
    "SEP quoted": lambda rows: '"SEP=|"\n' + csv(rows, "|"),
    "comments": lambda rows: "# exported by a tool, 2026\n#\n# two lines\n\n" + csv(rows),
    "commented header": lambda rows: "# made today\n# " + csv(rows),
    "blanks": lambda rows: "\n".join("  " + "   ".join(line.split("\t")) + " " for line in csv(rows, "\t").splitlines()) + "\n",
    "blanks, commented header": lambda rows: "# " + csv(rows, "\t").replace("\t", "  "),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv(run: Run, rows: pl.DataFrame, form: str) -> None:
    rows = rows.with_columns(pl.col("at").cast(pl.String).str.replace(" ", "T"))
    Path("plain.csv").write_text(csv(rows))
    Path("in.csv").write_text(FORMS[form](rows))
    expected = score(run, "plain.csv")
    found = score(run, "in.csv")
    assert found.drop("row").equals(expected.drop("row"))
    assert found["row"][0] == len(FORMS[form](rows).splitlines()) - 5


def test_json_files(run: Run, rows: pl.DataFrame) -> None:
    rows.write_csv("plain.csv")
    expected = score(run, "plain.csv").drop("row")
    records = rows.with_columns(pl.col("at").cast(pl.String)).to_dicts()
    forms = [
        json.dumps(records),
        json.dumps(records, indent=2),
        json.dumps({"rows": records}),
        "".join(json.dumps(row) + "\n" for row in records),
    ]
    for form in forms:
        Path("in.json").write_text(form)
        found = score(run, "in.json")
        assert found["row"].to_list() == [1, 2, 3, 4, 5, 6]
        assert found.drop("row").equals(expected)
    for form in ('{"temperature": {"0": 1}}', "[1,", ""):
        Path("in.json").write_text(form)
        result = run("score", KEPT, "in.json", "--to", "new.csv")
        assert result.exit_code == 2, result.output
        assert "a list of objects, [{...}, ...], is needed" in result.stderr
