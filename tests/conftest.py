"""Fixtures and settings of all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch or numpy are imported, and for every process that a test starts: pytest-xdist uses all cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# pytest-xdist sets it for its workers; tables would wrap as on a narrow terminal.
os.environ.pop("COLUMNS", None)

# No deadlines: the machine is busy with other workers. CI draws the same examples each time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).parents[1]
TORTURE = "RESIDUUM_TORTURE" in os.environ
LONG = 4 * 3600 if TORTURE else 3600  # seconds that a long test may take


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (TORTURE or item.get_closest_marker("long")) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG))


@pytest.fixture(scope="session", autouse=True)
def signals() -> Iterator[None]:
    """Replace ignored signals (nohup, `&` in a script) by empty handlers, so that the processes under test get the defaults."""
    ignored = [number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def project() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public data sets are not in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder shared by all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def presses(run_folder: Path) -> tuple[Path, str]:
    """A bundle for windows, and the output of its training; see `tests.presses`."""
    from tests.presses import trained

    return trained(run_folder)
