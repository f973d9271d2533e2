"""Every command and every line of Python that the README shows runs as it stands; the requests and streams of the docs too."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from tests.data.make_bundle import KEPT
from tests.kafka.brokers import QUIET, make_topics, read
from tests.kafka.shared import shared
from tests.ports import free_port
from tests.project.documents import DOCUMENTS, ROOT, blocks, commands, fenced_lines, words_of
from tests.project.snippets import run_commands, run_python, write_files
from tests.serving.stream.conftest import until
from tests.tables import normal_rows, planted_anomalies

README = ROOT / "README.md"
HTTP_PAGES = [README, *(ROOT / "docs" / "how-to" / f"{name}.md" for name in ("serve", "versions", "score"))]
CLIENT = '"localhost", 8080'
RUN = [sys.executable, "-m", "residuum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README names."""
    return write_files(tmp_path_factory.mktemp("readme"))


@pytest.mark.long
def test_every_command_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    ran = run_commands(README, monkeypatch)
    assert ran >= {"train", "score", "evaluate"}
    assert pl.read_csv(folder / "scored.csv").height == 100
    assert pl.read_csv(folder / "tiles.csv").height == 64
    assert len(list((folder / "heat").rglob("*.png"))) == 64


@pytest.mark.long
def test_every_line_of_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    run_python(README, monkeypatch)
    assert "of the score" in capsys.readouterr().out


@pytest.mark.long
def test_every_request_works(
    presses: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    rows.write_csv(tmp_path / "today.csv")
    rows.write_ndjson(tmp_path / "today.ndjson")
    rows.write_json(tmp_path / "today.json")
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    port = str(free_port())
    lines = [line.replace("8080", port) for page in HTTP_PAGES for line in fenced_lines(page)]
    serve = next(words for line in lines if (words := words_of(line))[:2] == ["residuum", "serve"])
    requests = dict.fromkeys(tuple(words) for line in lines if (words := words_of(line))[:1] == ["curl"] or "--url" in words)
    assert len(requests) > 8
    server = subprocess.Popen([*RUN, *serve[1:], "--port", port], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        answers = []
        for program, *words in requests:
            curl = ["curl", "--fail", "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
            command = curl if program == "curl" else RUN
            done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr}"
            answers.append(done.stdout)
        assert '"rejected":{"column":"temperature"' in answers[0]
        assert any(answer.count("\n") == 101 for answer in answers)
        assert pl.read_csv(tmp_path / "by-http.csv").height == 100
        assert any('"session":"press-7","rows":1' in answer for answer in answers)
        monkeypatch.chdir(tmp_path)
        (client,) = [block.replace("8080", port) for page in HTTP_PAGES for block in blocks(page, "python") if CLIENT in block]
        exec(compile(client, "serve.md", "exec"), {})  # noqa: S102 - the page is ours
        assert "{'rows': 100" in capsys.readouterr().out
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.long
def test_every_stream_works(tmp_path: Path, run_folder: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    records = [line.encode() for line in normal_rows(40, seed=5).write_ndjson().splitlines()]
    for name in ("today", "readings"):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(record + b"\n" for record in records))
    (pipe,) = [line for line in fenced_lines(README) if line.startswith("cat ")]
    shell = pipe.replace("residuum", f"{sys.executable} -m residuum", 1)
    subprocess.run(shell, shell=True, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)  # noqa: S602 - the README is ours
    assert len((tmp_path / "scored.ndjson").read_bytes().splitlines()) == 40
    with shared(run_folder, 1) as bootstrap:
        make_topics(bootstrap, readings=1, verdicts=1, readings__dlq=1)
        shown = [[word.replace("broker:9092", bootstrap) for word in words] for words in commands(README)]
        (replay,) = [words for words in shown if words[0] == "replay"]
        producer = Producer({"bootstrap.servers": bootstrap, **QUIET})
        for record in [*records, b'{"temperature": "hot"}']:
            producer.produce("readings", record)
        producer.flush()
        workers = [
            subprocess.Popen([*RUN, *words], cwd=tmp_path, stderr=subprocess.DEVNULL)
            for words in shown
            if words[0] == "stream" and "-" not in words
        ]
        assert len(workers) == 2
        try:
            assert len(read(bootstrap, "verdicts", 40)) == 40
            assert len(read(bootstrap, "readings.dlq", 1)) == 1
            done = subprocess.run([*RUN, *replay], capture_output=True, text=True, check=True)
            assert re.search(r"replayed\s+1 ", done.stdout)
            until(lambda: (out := tmp_path / "verdicts.ndjson").exists() and len(out.read_bytes().splitlines()) == 40)
        finally:
            for process in workers:
                process.terminate()
            assert [process.wait(60) for process in workers] == [0, 0]


def test_the_streams_of_the_docs_are_those_of_the_readme() -> None:
    tested = {tuple(words) for words in commands(README) if words[0] in {"stream", "replay"}}
    for document in DOCUMENTS:
        for words in commands(document):
            if words[0] in {"stream", "replay"}:
                index = words.index("--metrics-port") if "--metrics-port" in words else len(words)
                assert tuple(words[:index] + words[index + 2 :]) in tested
