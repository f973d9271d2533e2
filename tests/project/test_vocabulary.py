"""The project keeps to its vocabulary: banned words, retired module names, the form of docstrings, unique class names."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("detector", "serving", "training", "residuum")
TEXT_FILES = {".md", ".yml", ".html", ".js"}

# Words with a plain technical equivalent (in brackets), banned in names and in texts.
BANNED = {
    "door": "interface, API",
    "wish": "option, setting",
    "fate": "row status",
    "judge": "score, decide",
    "telling": "row reasons",
    "ledger": "access log",
    "standing": "state store",
    "letter": "dead letter",
    "teller": "counter, reporter",
}
FORMS = (
    r"(?:(?:door|wish|fate|telling|ledger|letter|teller)(?:e?s)?|wished|wishing|(?:un)?judge[ds]?|judging|judgements?|standings?)"
)
IN_TEXT = re.compile(rf"(?<![a-z])(?<!dead[ _-]){FORMS}(?![a-z])", re.IGNORECASE)
IN_NAME = re.compile(rf"{FORMS}$")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
COLUMN = re.compile("door_open")  # a column of the tables that tests train on, and of the kept bundle in tests/data

# Former module names; as ordinary words they are free.
RETIRED_MODULES = {
    "clean", "current", "detection", "door", "drawing", "exchange", "extra", "fate", "follow", "forward", "gate", "hub",
    "inference", "inside", "judge", "judging", "ledger", "letters", "listener", "martingale", "nesting", "operations",
    "problem", "regions", "regular", "repeat", "reply", "rewriting", "rowlog", "runs", "scraped", "sheet", "shortcut", "sieve",
    "slots", "stability", "standing", "successor", "talk", "target", "telling", "tokens", "trace", "unread", "verb", "warm",
    "watch", "wishes", "words",
}  # fmt: skip
FIRST_WORD = re.compile(r"(?:Give|Tell|Say|Let|Take)s?\b")


def tracked() -> dict[str, list[Path]]:
    """Return the files that git knows or would add, by folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    folders = defaultdict(list)
    for name in filter(None, listed):
        path = PurePosixPath(name)
        if path.suffix in {".py", *TEXT_FILES} and (PROJECT / path).is_file():
            folders[str(path.parent)].append(PROJECT / path)
    return folders


FOLDERS = tracked()


def offences(path: Path) -> Iterator[str]:
    """Yield what breaks the rules in one file."""
    if path == Path(__file__):
        return
    text = path.read_text()
    if path.suffix != ".py":
        if path.name == "CHANGELOG.md":  # quotes what it retires
            text = re.sub(r"`[^`]*`", "", text)
        yield from (f"text: {found}" for found in banned_in_text(text))
        return
    if path.stem in RETIRED_MODULES and path.relative_to(PROJECT).parts[0] in PACKAGES:
        yield f"module name: {path.stem}"
    tree = ast.parse(text)
    yield from (f"line {line}: name: {name}" for line, name in names(tree) if is_banned(name))
    for token in tokenize.generate_tokens(io.StringIO(text).readline) if IN_TEXT.search(text) else ():
        if token.type in {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", None)}:
            yield from (f"line {token.start[0]}: text: {found}" for found in banned_in_text(token.string))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            if FIRST_WORD.match(docstring):
                yield f"docstring: {docstring.splitlines()[0]}"


def banned_in_text(text: str) -> Iterator[str]:
    """Yield each banned word with what stands around it."""
    text = COLUMN.sub("", text)
    for found in IN_TEXT.finditer(text):
        yield repr(text[max(0, found.start() - 30) : found.end() + 30])


def is_banned(name: str) -> bool:
    """Return whether a name has a banned word, except for dead letters."""
    words = [word.lower() for word in WORD.findall(name)]
    return any(
        IN_NAME.match(word) and not (word in {"letter", "letters"} and previous == "dead")
        for previous, word in zip(["", *words], words, strict=False)
    )


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names of classes, functions, arguments, variables and attributes that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case _:
                pass


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_keeps_the_vocabulary(folder: str) -> None:
    found = [f"{path.relative_to(PROJECT)}: {offence}" for path in FOLDERS[folder] for offence in offences(path)]
    assert not found, "\n".join(found)


def test_class_names_are_unique_over_the_packages() -> None:
    modules = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    modules[node.name].append(str(path.relative_to(PROJECT)))
    repeated = {name: paths for name, paths in modules.items() if len(paths) > 1}
    assert not repeated, "\n".join(f"{name}: {', '.join(paths)}" for name, paths in repeated.items())


def test_every_listed_folder_is_there() -> None:
    assert set(PACKAGES) <= FOLDERS.keys()


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("an outstanding request", True),
        ("a dead letter; dead-letter topic; dead_letters", True),
        ("wished", False),
        ("a letter", False),
        ("judging", False),
        ("the door_closed column", False),
    ],
)
def test_what_counts_as_a_banned_word(text: str, *, is_allowed: bool) -> None:
    assert (list(banned_in_text(text)) == []) == is_allowed


@pytest.mark.parametrize(
    ("name", "is_allowed"), [("DeadLetters", True), ("letters_of", False), ("RowFate", False), ("newsletter", True)]
)
def test_what_counts_as_a_banned_name(name: str, *, is_allowed: bool) -> None:
    assert is_banned(name) != is_allowed
