"""The notebooks of examples/ run, and are kept with the outputs of a complete run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.project.documents import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SHORT = "import training.fit; training.fit.STEPS = 100"
# pyzmq opens sockets of the event loop that it finds; Jupyter warns about its own transport.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.name for path in NOTEBOOKS])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


def run(path: Path, folder: Path, *, is_short: bool) -> Any:  # noqa: ANN401 - nbformat's own type
    """Run a notebook in a folder, with short trainings or whole ones."""
    notebook = nbformat.read(path, 4)
    if is_short:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT))
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs(notebook: Any) -> str:  # noqa: ANN401
    """Return what the cells print."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output["data"].get("text/plain", "") for output in found)


@every_notebook
def test_a_notebook_is_kept_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert path.stat().st_size < 150_000


@pytest.mark.long
@every_notebook
def test_a_notebook_runs_with_short_trainings(path: Path, tmp_path: Path) -> None:
    assert "reason_1" in outputs(run(path, tmp_path, is_short=True))


@pytest.mark.long
def test_the_whole_notebook_of_series_finds_the_leak(tmp_path: Path) -> None:
    shown = outputs(run(ROOT / "examples" / "series.ipynb", tmp_path, is_short=False))
    assert "2026-03-03 06:15:0" in shown
    assert "scored" in shown
