"""Every command and every line of Python that the README shows runs as it stands."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.data.make_bundle import KEPT
from tests.project.documents import blocks, fenced_lines, words_of
from tests.serving.http.conftest import free_port
from tests.tables import normal_rows, planted_anomalies

ASKING = '"localhost", 8080'
RUN = "import sys, training.fit; training.fit.STEPS = 300; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    normal_rows(600).write_csv(folder / "normal.csv")
    today = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    today.write_csv(folder / "today.csv")
    today.with_columns(is_bad=pl.Series([False] * 80 + [True] * 20)).write_csv(folder / "labelled.csv")
    return folder


def test_every_command_runs(project: Path, folder: Path) -> None:
    lines = [words[1:] for line in fenced_lines(project / "README.md") if (words := words_of(line))[:1] == ["residuum"]]
    commands = [words for words in lines if words[0] != "serve" and "--url" not in words]
    assert {command[0] for command in commands} >= {"train", "score", "evaluate"}
    for command in commands:
        ran = subprocess.run([sys.executable, "-c", RUN, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"residuum {' '.join(command)}: {ran.stderr}"
    assert pl.read_csv(folder / "scored.csv").height == 100
    assert pl.read_csv(folder / "walk.csv").height == 9
    assert pl.read_csv(folder / "new.csv").height == 1000


def test_the_table_of_variants_is_the_programs(project: Path) -> None:
    from training.variants import VARIANTS

    rows = [f"| `{name}` | {row.summary} | {row.choose_when} | {row.paper} |" for name, row in VARIANTS.items()]
    assert "\n".join(rows) + "\n\n" in (project / "README.md").read_text()


def test_every_line_that_asks_the_service_works(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    rows.write_csv(tmp_path / "today.csv")
    rows.write_ndjson(tmp_path / "today.ndjson")
    rows.write_json(tmp_path / "today.json")
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    port = str(free_port())
    said = [line.replace("8080", port) for line in fenced_lines(project / "README.md")]
    (serving,) = [words for line in said if (words := words_of(line))[:2] == ["residuum", "serve"]]
    asking = [words for line in said if (words := words_of(line))[:1] == ["curl"] or "--url" in words]
    assert len(asking) > 3
    server = subprocess.Popen([sys.executable, "-c", RUN, *serving[1:], "--port", port], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        answers = []
        for program, *words in asking:
            patient = ["curl", "--fail", "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
            command = patient if program == "curl" else [sys.executable, "-c", RUN]
            done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr}"
            answers.append(done.stdout)
        assert '"rejected":{"column":"temperature"' in answers[0]
        assert answers[1].count("\n") == 101
        assert pl.read_csv(tmp_path / "scored.csv").height == 100
        monkeypatch.chdir(tmp_path)
        (client,) = [block.replace("8080", port) for block in blocks(project / "README.md", "python") if ASKING in block]
        exec(compile(client, "README.md", "exec"), {})  # noqa: S102 - the README is ours
        assert "{'rows': 100" in capsys.readouterr().out
    finally:
        server.terminate()
        server.wait(30)


def test_every_line_of_python_runs(
    project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import fit

    monkeypatch.setattr(fit, "STEPS", 300)
    monkeypatch.chdir(folder)
    given = {name: pl.read_csv(f"{name}.csv").to_pandas() for name in ("normal", "today")}
    shown = [block for block in blocks(project / "README.md", "python") if ASKING not in block]
    assert shown
    for block in shown:
        exec(compile(block, "README.md", "exec"), given)  # noqa: S102 - the README is ours
    assert "of the score" in capsys.readouterr().out
