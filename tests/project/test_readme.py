"""Every command and every line of Python that the README shows runs as it stands."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from detector.images import ImageSpec
from residuum.cli import app
from tests import images
from tests.data.make_bundle import KEPT
from tests.kafka.brokers import QUIET, make_topics, read
from tests.kafka.shared import shared
from tests.ports import free_port
from tests.project.documents import blocks, fenced_lines, words_of
from tests.serving.stream.conftest import until
from tests.tables import normal_rows, planted_anomalies, series

ASKING = '"localhost", 8080'
RUN = [sys.executable, "-m", "residuum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    normal_rows(600).write_csv(folder / "normal.csv")
    today = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    pl.concat([series(200, 0), series(200, 1, "lathe")]).write_csv(folder / "series.csv")
    today.write_csv(folder / "today.csv")
    today.with_columns(is_bad=pl.Series([False] * 80 + [True] * 20)).write_csv(folder / "labelled.csv")
    plates = ImageSpec(width=16, height=16)
    images.write(images.plates(60, 0, plates), plates, folder / "tiles" / "good")
    images.write(images.spotted(4, 1, plates), plates, folder / "tiles" / "spot")
    return folder


def test_every_command_runs(project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import fit

    monkeypatch.setattr(fit, "STEPS", 100)
    monkeypatch.chdir(folder)
    lines = [words[1:] for line in fenced_lines(project / "README.md") if (words := words_of(line))[:1] == ["residuum"]]
    commands = [words for words in lines if words[0] not in {"serve", "stream", "replay"} and "--url" not in words]
    assert {command[0] for command in commands} >= {"train", "score", "evaluate"}
    for command in commands:
        ran = CliRunner().invoke(app, command)
        assert ran.exit_code == 0, f"residuum {' '.join(command)}: {ran.output}"
    assert pl.read_csv(folder / "scored.csv").height == 100
    assert pl.read_csv(folder / "tiles.csv").height == 64
    assert len(list((folder / "heat").rglob("*.png"))) == 64
    assert pl.read_csv(folder / "walk.csv").height == 9
    assert pl.read_csv(folder / "new.csv").height == 1000


def test_the_table_of_variants_is_the_programs(project: Path) -> None:
    from training.variants import VARIANTS

    rows = [f"| `{name}` | {row.summary} | {row.choose_when} | {row.paper} |" for name, row in VARIANTS.items()]
    assert "\n".join(rows) + "\n\n" in (project / "README.md").read_text()


def test_every_line_that_asks_the_service_works(
    project: Path, presses: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    rows.write_csv(tmp_path / "today.csv")
    rows.write_ndjson(tmp_path / "today.ndjson")
    rows.write_json(tmp_path / "today.json")
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    port = str(free_port())
    said = [line.replace("8080", port) for line in fenced_lines(project / "README.md")]
    (serving,) = [words for line in said if (words := words_of(line))[:2] == ["residuum", "serve"]]
    asking = [words for line in said if (words := words_of(line))[:1] == ["curl"] or "--url" in words]
    assert len(asking) > 3
    server = subprocess.Popen([*RUN, *serving[1:], "--port", port], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        answers = []
        for program, *words in asking:
            patient = ["curl", "--fail", "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
            command = patient if program == "curl" else RUN
            done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr}"
            answers.append(done.stdout)
        assert '"rejected":{"column":"temperature"' in answers[0]
        assert answers[1].count("\n") == 101
        assert pl.read_csv(tmp_path / "by-http.csv").height == 100
        assert any('"session":"press-7","rows":1' in answer for answer in answers)
        monkeypatch.chdir(tmp_path)
        (client,) = [block.replace("8080", port) for block in blocks(project / "README.md", "python") if ASKING in block]
        exec(compile(client, "README.md", "exec"), {})  # noqa: S102 - the README is ours
        assert "{'rows': 100" in capsys.readouterr().out
    finally:
        server.terminate()
        server.wait(30)


def test_every_line_that_streams_works(project: Path, tmp_path: Path, run_folder: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    records = [line.encode() for line in normal_rows(40, seed=5).write_ndjson().splitlines()]
    for name in ("today", "readings"):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(record + b"\n" for record in records))
    (piped,) = [line for line in fenced_lines(project / "README.md") if line.startswith("cat ")]
    shell = piped.replace("residuum", f"{sys.executable} -m residuum", 1)
    subprocess.run(shell, shell=True, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)  # noqa: S602 - the README is ours
    assert len((tmp_path / "judged.ndjson").read_bytes().splitlines()) == 40
    with shared(run_folder, 1) as bootstrap:
        make_topics(bootstrap, readings=1, verdicts=1, readings__dlq=1)
        told = [words[1:] for line in fenced_lines(project / "README.md") if (words := words_of(line))[:1] == ["residuum"]]
        told = [[word.replace("broker:9092", bootstrap) for word in words] for words in told]
        (replaying,) = [words for words in told if words[0] == "replay"]
        producer = Producer({"bootstrap.servers": bootstrap, **QUIET})
        for record in [*records, b'{"temperature": "hot"}']:
            producer.produce("readings", record)
        producer.flush()
        streaming = [
            subprocess.Popen([*RUN, *words], cwd=tmp_path, stderr=subprocess.DEVNULL) for words in told if words[0] == "stream"
        ]
        assert len(streaming) == 2
        try:
            assert len(read(bootstrap, "verdicts", 40)) == 40
            assert len(read(bootstrap, "readings.dlq", 1)) == 1
            done = subprocess.run([*RUN, *replaying], capture_output=True, text=True, check=True)
            assert "1 letter" in done.stdout
            until(lambda: (out := tmp_path / "verdicts.ndjson").exists() and len(out.read_bytes().splitlines()) == 40)
        finally:
            for process in streaming:
                process.terminate()
            assert [process.wait(60) for process in streaming] == [0, 0]


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
