"""The images, tested without an engine: the order of their layers, their tags, and their health checks as commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from detector.version import __version__
from tests.data.make_bundle import KEPT
from tests.ports import free_port
from tests.serving.http.conftest import Service, ServiceThread

SOURCE = {"detector", "training", "serving", "residuum"}
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")


class Stage(NamedTuple):
    """A stage of the Dockerfile: the image or stage that it starts from, and its instructions."""

    start: str
    instructions: list[str]


@pytest.fixture(scope="module")
def stages(project: Path) -> dict[str, Stage]:
    text = (project / "deploy" / "Dockerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    arguments = dict(line.removeprefix("ARG ").split("=", 1) for line in lines if line.startswith("ARG ") and "=" in line)
    found: dict[str, Stage] = {}
    for line in lines:
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            start = re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], match[1])
            found[match[2]] = Stage(start, [])
        elif found:
            [*found.values()][-1].instructions.append(line)
    return found


def test_every_image_has_an_exact_tag(stages: dict[str, Stage], project: Path) -> None:
    starts = {stage.start for stage in stages.values() if stage.start not in stages}
    composed = "".join((project / name).read_text() for name in ("docker-compose.yml", "deploy/compose.gpu.yml"))
    images = {*starts, *re.findall(r"image: (\S+)", composed), *re.findall(r"^ +FROM (\S+)", composed, re.MULTILINE)}
    assert len(images) >= 7
    assert [image for image in images if not EXACT.fullmatch(image)] == []
    assert {image.partition(":")[2].partition("-")[0] for image in images if image.startswith("residuum:")} == {__version__}


@pytest.mark.parametrize("target", ["runtime", "train"])
def test_dependencies_are_installed_before_the_source_is_copied(stages: dict[str, Stage], target: str) -> None:
    (venv,) = (line for line in stages[target].instructions if line.startswith("COPY --from="))
    name = venv.split()[1].removeprefix("--from=")
    lineage: list[str] = []
    while name in stages:
        lineage = stages[name].instructions + lineage
        name = stages[name].start
    installs = [index for index, line in enumerate(lineage) if "pip install" in line]
    copies = [
        index for index, line in enumerate(lineage) if line.startswith("COPY") and ("/src" in line or SOURCE & {*line.split()})
    ]
    assert len(installs) > 1
    assert all(index < min(copies) for index in installs[:-1])
    assert "--no-deps" in lineage[installs[-1]]
    assert ("TORCH_INDEX" in "".join(lineage)) == (target == "train")


def test_the_empty_project_has_the_dependencies(stages: dict[str, Stage], project: Path, tmp_path: Path) -> None:
    (run,) = (line for line in stages["dependencies"].instructions if line.startswith("RUN touch"))
    shutil.copy(project / "pyproject.toml", tmp_path)
    subprocess.run(["sh", "-euc", run.removeprefix("RUN ").partition("&& /venv")[0].rstrip()], cwd=tmp_path, check=True)
    build = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True, text=True)
    metadata = (tmp_path / done.stdout.splitlines()[-1] / "METADATA").read_text()
    assert {"httptools", "confluent-kafka", "torch", "polars"} <= set(
        re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE)
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(KEPT, folder / "pumps" / "1")
    started = ServiceThread(folder)
    yield started
    started.stop()


def checks(project: Path, stages: dict[str, Stage]) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the command of each health check of the service, with its environment."""
    (check,) = (line for line in stages["runtime"].instructions if line.startswith("HEALTHCHECK"))
    (ready,) = (line for line in stages["runtime"].instructions if line.startswith("ENV READY_URL="))
    services: dict[str, Any] = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    composed = services["service"]["healthcheck"]["test"]
    assert composed[0] == "CMD"
    return {
        "image": (json.loads(check.partition("CMD ")[2]), {"READY_URL": ready.partition("=")[2]}),
        "compose": (composed[1:], {}),
    }


@pytest.mark.parametrize("where", ["image", "compose"])
def test_the_health_check_asks_whether_the_service_is_ready(
    where: str, service: Service, stages: dict[str, Stage], project: Path
) -> None:
    command, environment = checks(project, stages)[where]
    for port, is_healthy in ((service.port, True), (free_port(), False)):
        here = [word.replace("localhost:8080/readyz", f"localhost:{port}/readyz") for word in command]
        ready = {name: value.replace("localhost:8080/readyz", f"localhost:{port}/readyz") for name, value in environment.items()}
        assert here != command or ready != environment
        done = subprocess.run([sys.executable, *here[1:]], env={**os.environ, **ready}, check=False, capture_output=True)
        assert (done.returncode == 0) == is_healthy
