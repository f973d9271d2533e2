"""The command line itself: help, versions, errors, and the verbs that look at a bundle."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detector.files import blocks
from detector.scorer import Scorer
from detector.version import __version__
from tests.residuum.cli.conftest import Run
from tests.residuum.cli.running import RUN, command, in_a_process


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A bundle that a test may add versions to."""
    shutil.copytree(model, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def labelled(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    rows.with_columns(state=pl.Series(["ok"] * 80 + ["leak"] * 15 + ["fire"] * 5)).write_csv(path)
    return path


def test_help_is_light() -> None:
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {RUN}"
    done = in_a_process("--help", code=code)
    assert done.returncode == 0
    for verb in ("train", "score", "evaluate", "inspect", "calibrate", "embed", "reconstruct", "decode", "generate", "picture"):
        assert verb in done.stdout
    assert not {"numpy", "polars", "onnxruntime", "msgspec", "torch"} & set(done.stderr.split())


def test_scoring_needs_nothing_of_training(model: Path, table: Path, tmp_path: Path) -> None:
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {RUN}"
    done = in_a_process("score", model, table, "--to", tmp_path / "out.csv", code=code)
    assert done.returncode == 0, done.stderr
    assert "polars" in done.stderr.split()
    assert not {"torch", "pandas", "sklearn", "scipy", "onnx", "narwhals", "training"} & set(done.stderr.split())


def test_version_and_typing_errors(run: Run) -> None:
    assert run("--version").stdout == f"residuum {__version__}\n"
    unknown = run("scor")
    assert unknown.exit_code == 2
    assert "Did you mean 'score'?" in unknown.stderr
    assert run("score").exit_code == 2
    assert run("score", "m", "f", "--to", "o", "--reasons", "some").exit_code == 2


@pytest.mark.parametrize("where", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(where: int, run: Run) -> None:
    arguments = ["inspect", "nowhere", "--format", "text"]
    assert "Traceback" not in run(*arguments).output
    result = run(*arguments[:where], "--debug", *arguments[where:]) if where != 3 else run(*arguments, "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: nowhere does not exist")
    assert "Traceback" not in run(*arguments).output


def test_a_bug_says_that_it_is_one(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(Scorer, "open", broken)
    Path("in.csv").write_text("a\n1\n")
    result = run("score", model, "in.csv", "--to", "out.csv")
    assert result.exit_code == 1
    assert result.stderr == "error: RuntimeError: no idea (this is a bug in residuum: --debug shows where)\n"


@pytest.mark.parametrize(
    ("signal_", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "terminate", "hang up"],
)
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_an_interrupted_run_leaves_nothing(name: str, signal_: signal.Signals, code: int, model: Path, table: Path) -> None:
    folder = table.parent / "out"
    folder.mkdir()
    arguments = command("score", model, "-", "--to", folder / name)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(long(table, blocks.BLOCK_BYTES))
        process.stdin.flush()  # a block is scored, and the next one is waited for
        wait_for(lambda: any(folder.iterdir()))
        process.send_signal(signal_)
        said = process.stderr.read()
        assert process.wait() == code
    assert list(folder.iterdir()) == []
    assert "Traceback" not in said
    assert ("interrupted: nothing was written" in said) == (code == 130)


def long(table: Path, size: int) -> str:
    """Give a table's text again and again, until there is enough of it."""
    header, *lines = table.read_text().splitlines(keepends=True)
    body = "".join(lines)
    return header + body * (size // len(body) + 2)


def wait_for(condition: object, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_that_may_not_grow_leaves_nothing(name: str, model: Path, table: Path) -> None:
    folder = table.parent / "out"
    folder.mkdir()
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {RUN}"
    done = in_a_process("score", model, table, "--to", folder / name, "--reasons", "all", code=code)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write {folder / name}")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_a_reader_that_leaves_is_nobodys_error(model: Path, table: Path) -> None:
    (table.parent / "long.csv").write_text(long(table, 2 * blocks.BLOCK_BYTES))
    arguments = command("score", model, table.parent / "long.csv", "--to", "-")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("row,anomaly_score")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_evaluate(run: Run, model: Path, labelled: Path, rows: pl.DataFrame) -> None:
    result = run("evaluate", model, labelled, "--label", "state", "--format", "json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    flagged = Scorer.open(model).score(rows).is_anomaly
    assert said["true_alarms"] == flagged[80:].sum()
    assert said["false_alarms"] == flagged[:80].sum()
    assert said["auroc"] > 0.9
    assert {kind["label"]: kind["rows"] for kind in said["by_label"]} == {"leak": 15, "fire": 5}
    text = run("evaluate", model, labelled, "--label", "state").stdout
    assert f"{said['auroc']:.4f}" in text
    assert "promised 1 %" in text
    assert re.search(r"leak +15 +\d+ +[\d.]+ %", text)


def test_evaluate_must_know_what_is_normal(run: Run, model: Path, labelled: Path) -> None:
    other = labelled.read_text().replace(",ok\n", ",fine\n")
    labelled.write_text(other)
    unknown = run("evaluate", model, labelled, "--label", "state")
    assert unknown.exit_code == 2
    assert "--normal-value; there are 'fine', 'fire', 'leak'" in unknown.stderr
    assert run("evaluate", model, labelled, "--label", "state", "--normal-value", "fine").exit_code == 0
    assert "no label" in run("evaluate", model, labelled, "--label", "state", "--normal-value", "good").stderr
    assert re.search("near: .*'state'", run("evaluate", model, labelled, "--label", "stat").stderr)
    assert "--ignore machine" in run("evaluate", model, labelled, "--label", "machine").stderr
    labelled.write_text(other.replace(",fire\n", ",fine\n").replace(",leak\n", ",fine\n"))
    assert "normal" in run("evaluate", model, labelled, "--label", "state", "--normal-value", "fine").stderr


def test_a_label_that_is_not_there_shows_first_what_may_have_been_meant(run: Run, model: Path, labelled: Path) -> None:
    said = run("evaluate", model, labelled, "--label", "attack")
    assert said.exit_code == 2
    assert "lacks the column 'attack'; it has 'state', 'temperature', " in said.stderr


def test_rows_without_a_label_are_left_out(run: Run, model: Path, labelled: Path) -> None:
    labelled.write_text(labelled.read_text().replace(",fire\n", ",\n"))
    said = json.loads(run("evaluate", model, labelled, "--label", "state", "--format", "json").stdout)
    assert (said["rows"], said["rejected"]) == (95, 5)


def test_inspect(run: Run, model: Path) -> None:
    manifest = json.loads(run("inspect", model, "--format", "json").stdout)
    assert manifest == json.loads((model / "1" / "manifest.json").read_text())
    text = run("inspect", model / "1").stdout
    for column in manifest["columns"]:
        assert column["name"] in text
    for said in ("version 1", "split conformal", "at most 1 % of normal rows", "0 verdicts differ", "no: the highest version"):
        assert said in text


def test_calibrate_by_rate(run: Run, own: Path, table: Path) -> None:
    dry = run("calibrate", own, "--false-alarm-rate", "0.1", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "alarms among 99 calibration rows" in dry.stdout
    assert not (own / "2").exists()
    assert run("calibrate", own, "--false-alarm-rate", "0.1").exit_code == 0
    manifest = json.loads((own / "2" / "manifest.json").read_text())
    assert (manifest["parent"], manifest["version"], manifest["decision"]["false_alarm_rate"]) == (1, 2, 0.1)
    assert run("score", own, table, "--to", "out.csv").exit_code == 0
    out = pl.read_csv("out.csv")
    assert out["is_anomaly"].to_list() == (out["p_value"] <= 0.1).to_list()
    assert "smallest they can promise" in run("calibrate", own, "--false-alarm-rate", "0.0001").stderr
    (own / "pin").write_text("1")
    assert "still means" in run("calibrate", own, "--false-alarm-rate", "0.2").stdout


@pytest.mark.parametrize(
    "criterion", [("--maximise", "f1"), ("--maximise", "F0.5"), ("--cost-ratio", "3"), ("--precision", "0.9")], ids=" ".join
)
def test_calibrate_by_labels(criterion: tuple[str, str], run: Run, own: Path, labelled: Path) -> None:
    result = run("calibrate", own, "--labels", labelled, "--label", "state", *criterion)
    assert result.exit_code == 0, result.output
    for said in ("alarms among 100 labelled rows", "precision", "recall", "none"):
        assert said in result.stdout
    decision = json.loads((own / "2" / "manifest.json").read_text())["decision"]
    assert decision["promise"] == "labels"
    scores = Scorer.open(own).score(pl.read_csv(labelled)).score
    precision = np.mean((scores > decision["threshold"])[80:].sum() / max((scores > decision["threshold"]).sum(), 1))
    assert precision >= 0.8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give one of"),
        (["--false-alarm-rate", "0.1", "--maximise", "f1"], "not --false-alarm-rate and --maximise"),
        (["--maximise", "f1"], "give --labels and --label too"),
        (["--false-alarm-rate", "0.1", "--label", "state"], "leave --label out"),
        (["--maximise", "recall", "--labels", "l.csv", "--label", "state"], "'recall'"),
        (["--precision", "7", "--labels", "l.csv", "--label", "state"], "between 0 and 1"),
        (["--false-alarm-rate", "7"], "between 0 and 1"),
    ],
    ids=["nothing", "two", "no labels", "idle labels", "measure", "precision", "rate"],
)
def test_calibrate_refuses_what_contradicts_itself(options: list[str], says: str, run: Run, model: Path) -> None:
    result = run("calibrate", model, *options)
    assert result.exit_code == 2
    assert says in result.stderr
