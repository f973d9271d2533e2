"""What training says while it runs: lines where there is no terminal, a bar that names its phases where there is one."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import time
from pathlib import Path

import pytest

import residuum
from detector.errors import SettingError
from residuum import training_progress
from residuum.cli import output
from residuum.estimator import AutoencoderDetector
from tests.residuum.cli.running import in_a_process
from tests.tables import normal_rows
from training.fit import FitProgress

LINE = re.compile(
    r"(starting|loading PyTorch|kinds of columns|preparing|training|measuring|calibrating|exporting|writing)\b.*\(\d+ s\)"
)
SETTINGS = {"steps": 100, "sizes": "8"}
SOON = "import residuum.training_progress as p; p.FIRST_LINE, p.BETWEEN_LINES = 0.2, 0.3; from residuum.cli import main; main()"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_progress, "FIRST_LINE", 0.05)
    monkeypatch.setattr(training_progress, "BETWEEN_LINES", 0.1)


def test_the_first_line_comes_within_five_seconds_and_then_every_ten() -> None:
    assert training_progress.FIRST_LINE < 4
    assert training_progress.BETWEEN_LINES == 10


@pytest.mark.long
def test_a_piped_training_writes_lines(tmp_path: Path) -> None:
    normal_rows(120).write_csv(tmp_path / "normal.csv")
    done = in_a_process(
        "train", "normal.csv", "--to", "models/new", code=f"import sys; sys.argv[0] = 'residuum'; {SOON}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert done.stdout.startswith("promise")


@pytest.mark.usefixtures("soon")
def test_fit_writes_lines_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    AutoencoderDetector("denoising", settings=SETTINGS, false_alarm_rate=0.1).fit(normal_rows(120))
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(LINE.fullmatch(line) for line in lines), lines
    AutoencoderDetector("denoising", settings=SETTINGS, false_alarm_rate=0.1, verbose=False).fit(normal_rows(120))
    assert not capsys.readouterr().err


@pytest.mark.usefixtures("soon")
def test_a_command_without_a_terminal_writes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with output.training_progress() as progress:
        progress.on_phase("training")
        progress.on_progress(FitProgress(50, 100, 1.5, 1.25))
        time.sleep(0.2)
    assert capsys.readouterr().err.startswith("training: step 50 of 100, validation loss 1.5, best 1.25 (0 s)\n")


@pytest.mark.usefixtures("soon")
def test_train_in_python_writes_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_arguments: object) -> None:
        time.sleep(0.2)
        raise SettingError("stopped by the test")

    monkeypatch.setattr("training.train.train", train)
    with pytest.raises(SettingError):
        residuum.train(normal_rows(120), tmp_path / "new")
    assert capsys.readouterr().err.startswith("loading PyTorch (0 s)\n")


@pytest.mark.usefixtures("soon")
def test_a_closed_standard_error_does_not_stop_training(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        with output.training_progress() if stream is None else training_progress.training_progress(verbose=True) as progress:
            progress.on_phase("training")
            time.sleep(0.1)


def test_the_bar_names_its_phases_and_is_never_full(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stderr = pty.openpty()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(stderr, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with output.training_progress() as progress:
            progress.on_column(3, 3)
            progress.on_phase("training, part 1 of 2 held out")
            for step in (50, 100):
                progress.on_progress(FitProgress(step, 100, 1.5, 1.2))
                time.sleep(0.15)
            progress.on_phase("exporting")
            time.sleep(0.15)
        stream.flush()
        shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    for text in (
        "kinds of columns",
        "training, part 1 of 2 held out",
        "step 100 of 100",
        "best 1.2",
        "Ctrl-C stops",
        "exporting",
    ):
        assert text in shown
    assert "0:00:00" not in shown
