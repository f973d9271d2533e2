from pathlib import Path

import pytest

from detector.errors import TableError
from detector.files import expand


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "days").mkdir()
    for name in ("days/b.csv", "days/a.csv", "days/[x].csv", "today.csv"):
        (tmp_path / name).write_text("a\n1\n")
    (tmp_path / "days" / "folder.csv").mkdir()
    return tmp_path


@pytest.mark.usefixtures("days")
def test_the_order_is_kept_and_a_pattern_is_sorted() -> None:
    assert expand(["today.csv", "-", "days/[ab].csv"]) == ["today.csv", "-", "days/a.csv", "days/b.csv"]


def test_a_file_named_twice_is_read_once_under_its_first_name(days: Path) -> None:
    (days / "link.csv").symlink_to("today.csv")
    assert expand(["./today.csv", "today.csv", "link.csv", "-", "-"]) == ["./today.csv", "-"]


@pytest.mark.usefixtures("days")
def test_a_pattern_leaves_folders_out_and_a_literal_name_is_itself() -> None:
    assert expand(["days/*.csv"]) == ["days/[x].csv", "days/a.csv", "days/b.csv"]
    assert expand(["days/[x].csv"]) == ["days/[x].csv"]


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("days/c*.csv", r"days/c\*\.csv matches no file; similar: days/"),
        ("todya.csv", r"todya\.csv does not exist; similar: today\.csv"),
        ("nights/x.csv", r"nights/x\.csv does not exist; nor does the folder nights"),
        ("zzzzzz", "no file in . has a similar name"),
    ],
)
def test_a_missing_file_is_an_error_with_suggestions(path: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        expand([path])
