"""Names and versions: what is found, and what is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from detector import bundle, repository
from detector.errors import BundleCorrupt, BundleMissing, OutputError
from tests.data.make_bundle import KEPT


@pytest.fixture
def name(folder: Path) -> Path:
    return folder.parent


def add(name: Path, *numbers: object) -> None:
    for number in numbers:
        shutil.copytree(KEPT, name / str(number))


def test_the_highest_version_is_found_by_number(name: Path) -> None:
    add(name, 2, 9, 10)
    assert repository.versions(name) == [1, 2, 9, 10]
    assert repository.find(name) == name / "10"
    assert repository.find(name / "9") == name / "9"


def test_only_numbered_bundles_are_versions(name: Path) -> None:
    add(name, "latest", "-3", "03", "0", "4.0", "\N{ARABIC-INDIC DIGIT FIVE}", ".new-x")
    (name / "7").mkdir()
    (name / "8").touch()
    assert repository.versions(name) == [1]
    assert repository.find(name) == name / "1"


@pytest.mark.parametrize("text", ["2", " 2\n", "2\r\n"])
def test_a_pin_is_honoured(name: Path, text: str) -> None:
    add(name, 2, 3)
    (name / "pin").write_text(text)
    assert repository.find(name) == name / "2"
    assert repository.find(name / "3") == name / "3"


@pytest.mark.parametrize("text", ["7", "", "latest", "-1", "1.0", "../1", "/", "1\n2", "9" * 5000, "\0", "\x1b[31m"])
def test_a_pin_to_a_missing_version_is_refused(name: Path, text: str) -> None:
    (name / "pin").write_text(text)
    with pytest.raises(BundleCorrupt) as caught:
        repository.find(name)
    assert str(name / "pin") in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_missing_bundle_is_an_error_with_suggestions(tmp_path: Path, name: Path) -> None:
    with pytest.raises(BundleMissing, match=r"nowhere does not exist; .* --to .*nowhere"):
        repository.find(tmp_path / "nowhere")
    with pytest.raises(BundleMissing, match=r"pumpz does not exist \(near: 'pumps'\)"):
        repository.find(name.with_name("pumpz"))
    with pytest.raises(BundleMissing, match=r"77 does not exist \(pumps has the versions [0-9, ]+\)"):
        repository.find(name / "77")
    with pytest.raises(BundleMissing, match="it holds the models pumps: choose one of them"):
        repository.find(name.parent)
    (tmp_path / "file").touch()
    with pytest.raises(BundleMissing, match="is not a bundle"):
        repository.find(tmp_path / "file")


def test_an_unreadable_path_is_a_missing_bundle(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", deny)
    with pytest.raises(BundleMissing, match="Permission denied"):
        repository.find(name)


def test_a_name_that_is_too_long_is_a_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="cannot be read"):
        repository.find(tmp_path / ("x" * 5000))


def write(path: Path) -> int:
    """Write the kept bundle as the next version."""
    with repository.next_version(path) as (number, work):
        for file in KEPT.iterdir():
            shutil.copy(file, work)
    return number


def half(path: Path, error: BaseException) -> None:
    """Fail in the middle of a version."""
    with repository.next_version(path) as (_, work):
        (work / bundle.MODEL).write_bytes(b"half")
        raise error


def left(folder: Path) -> list[str]:
    """List everything under a folder but the files of versions."""
    files = {file.name for file in KEPT.iterdir()}
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name not in files)


def test_versions_count_up(tmp_path: Path) -> None:
    name = tmp_path / "new" / "deep" / "pumps"
    assert [write(name), write(name), write(name / "1")] == [1, 2, 3]
    assert left(name) == ["1", "2", "3"]
    assert bundle.read(repository.find(name)).folder == name / "3"
    shutil.rmtree(name / "2")
    assert write(name) == 4


def test_a_version_may_be_read_by_others(tmp_path: Path) -> None:
    write(tmp_path / "pumps")
    assert (tmp_path / "pumps" / "1").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(name: Path) -> None:
        with pytest.raises(error):
            half(name, error())

    fail(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()
    (tmp_path / "mine").mkdir()
    fail(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir(), "a folder that was there before stays"
    write(tmp_path / "pumps")
    fail(tmp_path / "pumps")
    assert left(tmp_path) == ["mine", "pumps", "pumps/1"]


def test_a_version_is_invisible_until_it_is_complete(name: Path) -> None:
    with repository.next_version(name) as (number, work):
        shutil.copytree(KEPT, work, dirs_exist_ok=True)
        assert repository.versions(name) == [1]
        assert repository.find(name) == name / "1"
    assert repository.find(name) == name / str(number)


def test_concurrent_writers_get_different_numbers(name: Path) -> None:
    together = threading.Barrier(6)
    numbers: list[int] = []

    def work() -> None:
        with repository.next_version(name) as (number, folder):
            together.wait(20)
            shutil.copytree(KEPT, folder, dirs_exist_ok=True)
            numbers.append(number)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [2, 3, 4, 5, 6, 7]
    assert repository.versions(name) == [1, 2, 3, 4, 5, 6, 7]
    assert left(name) == ["1", "2", "3", "4", "5", "6", "7"]


def test_concurrent_processes_get_different_numbers(name: Path, project: Path) -> None:
    code = f"from pathlib import Path; from tests.detector.test_repository import write; print(write(Path({str(name)!r})))"
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(int(process.communicate()[0]) for process in running) == [2, 3]


def test_an_unwritable_path_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "pumps", tmp_path / ("x" * 300), Path("/proc/pumps")):
        with pytest.raises(OutputError, match="cannot write") as caught:
            write(place)
        assert str(caught.value).isprintable()


def test_a_full_disk_is_an_output_error(name: Path) -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        half(name, OSError(28, os.strerror(28)))
    assert left(name) == ["1"]


def test_no_version_is_written_inside_a_bundle(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "deployed")
    with pytest.raises(OutputError, match="a bundle without a version number"):
        write(tmp_path / "deployed")
    assert left(tmp_path) == ["deployed"]
