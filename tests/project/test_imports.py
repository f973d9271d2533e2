"""Permitted imports, checked in fresh processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OURS = ("detector", "training", "serving")
TRAINING_ONLY = {"torch", "sklearn", "scipy", "pandas", "onnx", "onnxscript", "safetensors", "matplotlib"}
HEAVY = {"numpy", "polars", "onnxruntime", "msgspec", "typer", "rich", "narwhals", *TRAINING_ONLY}
IMPORT_ALL_OF = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["detector", "serving"])
def test_deployed_and_serving_code_needs_nothing_of_training(package: str, tmp_path: Path) -> None:
    done = python("-c", IMPORT_ALL_OF, package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert any(name.startswith(f"{package}.") for name in imported)
    assert not imported & {"narwhals", "training", "residuum", *TRAINING_ONLY}


WITHOUT_TORCH = """
import sys
from residuum.cli import app
for command in ("variants", "variants sparse", "train twice.csv", "train rows.csv --ignore c", "train rows.csv --set depth=2",
                "train rows.csv --variant recurrent", "train rows.csv --window 9", "train rows.csv --false-alarm-rate 2"):
    words = command.split()
    try:
        app(words + ["--to", "models/m"] * (words[0] == "train"), standalone_mode=False)
    except SystemExit as ended:
        assert ended.code == 2
    assert "torch" not in sys.modules, command
"""


def test_invalid_options_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    done = python("-c", WITHOUT_TORCH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == 6


def test_import_residuum_is_light(tmp_path: Path) -> None:
    done = python("-c", "import sys, residuum; print(*sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & HEAVY


def test_every_public_name_exists() -> None:
    import residuum

    assert set(residuum.__all__) <= set(dir(residuum))
    for name in residuum.__all__:
        assert getattr(residuum, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = residuum.nonsense


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", ["{}.py", "{}/__init__.py"])
def test_a_file_that_hides_ours_is_named(name: str, shape: str, tmp_path: Path) -> None:
    stranger = tmp_path / shape.format(name)
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("raise SystemExit('the stranger ran')")
    done = python("-c", "import residuum", cwd=tmp_path)
    assert done.returncode == 1
    last_line = done.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert str(stranger) in last_line
    assert "Rename it" in last_line
    assert python("-P", "-c", "import residuum", cwd=tmp_path).returncode == 0


def test_a_foreign_module_in_sys_modules_is_named(tmp_path: Path) -> None:
    make = "import sys, types; sys.modules['detector'] = types.ModuleType('detector')"
    done = python("-c", f"{make}; import residuum", cwd=tmp_path)
    assert "Residuum's own package 'detector'" in done.stderr


@pytest.mark.parametrize("name", OURS)
def test_a_data_folder_of_that_name_does_no_harm(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "rows.csv").write_text("a,b\n1,2\n")
    done = python("-c", f"import residuum, {name}; print({name}.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout
