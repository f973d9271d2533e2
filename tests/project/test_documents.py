"""What the documents name exists: commands, options, make targets, links, anchors, pictures."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from residuum.cli import app
from tests.project.documents import DOCUMENTS, PAGES, ROOT, anchors, commands, links, name_of

# In pieces, so that this file does not name one itself.
ABSOLUTE = re.compile(rb"(?<![\w.~-])/(?:home|root|work|Users)/\w")
LARGEST_PICTURE = 150_000  # bytes
LARGEST_README = 8_000  # bytes
MOST_SNIPPET_LINES = 8
GENERATED = {"reference/http.md", "reference/metrics.md"}  # their headings come from running processes: MkDocs checks them
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=map(name_of, DOCUMENTS))


def options_of(command: list[str]) -> tuple[str, set[str]]:
    """Return a command's name, if it exists, and the options that it takes."""
    group: Any = typer.main.get_command(app)
    name, taken = (command[0], group.commands.get(command[0])) if command and command[0][0] != "-" else ("", group)
    if taken is None:
        return "", set()
    context = taken.make_context(name or "residuum", [], resilient_parsing=True)
    return name or "residuum", {option for parameter in taken.get_params(context) for option in parameter.opts}


@every_document
def test_every_command_exists(document: Path) -> None:
    for command in commands(document):
        name, known = options_of(command)
        assert name, f"{name_of(document)} names the command {command[0]!r}, which does not exist"
        used = {word.partition("=")[0] for word in command if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{name_of(document)} gives `residuum {name}` unknown options"


def test_the_readme_shows_commands() -> None:
    assert {command[0] for command in commands(ROOT / "README.md")} >= {"train", "score", "evaluate", "serve", "stream"}


@every_document
def test_every_make_target_exists(document: Path, project: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(), re.MULTILINE))
    # A line of a block, indented or fenced, or a span of code.
    named = set(re.findall(r"(?:^ *(?:\$ )?|`)make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named <= targets


@every_document
def test_every_link_resolves(document: Path) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name_of(document)} links to {link}"
        if anchor and target.suffix == ".md" and name_of(target).removeprefix("docs/") not in GENERATED:
            assert anchor in anchors(target.read_text()), f"{name_of(document)} links to {link}"


def test_every_page_is_in_the_navigation(project: Path) -> None:
    listed = re.findall(r"([\w/-]+\.md)$", (project / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == [str(page.relative_to(project / "docs")) for page in PAGES]


def test_every_picture_is_small_and_shown(project: Path) -> None:
    shown = {(document.parent / link).resolve() for document in DOCUMENTS for link in links(document)}
    pictures = list((project / "docs" / "pictures").iterdir())
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture in shown
        assert 5_000 < picture.stat().st_size < LARGEST_PICTURE
    assert all(re.match(rb"\x89PNG|<svg", picture.read_bytes()) for picture in pictures)


def test_the_readme_is_short(project: Path) -> None:
    text = (project / "README.md").read_text()
    assert len(text.encode()) <= LARGEST_README
    assert max(map(len, (block.splitlines() for block in re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)))) <= MOST_SNIPPET_LINES


def test_no_file_names_a_place_of_one_machine(project: Path) -> None:
    ours = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [path for name in ours.stdout.split("\0") if name and (path := project / name).is_file()]
    assert files
    assert [str(path.relative_to(project)) for path in files if ABSOLUTE.search(path.read_bytes())] == []
