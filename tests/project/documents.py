"""The documents of the project, their fenced blocks, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *PAGES,
    *sorted((ROOT / "examples").glob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(document: Path) -> str:
    """Return a document's path below the root."""
    return str(document.relative_to(ROOT))


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """Yield a document's fenced blocks, of some languages or of all."""
    for match in FENCE.finditer(document.read_text()):
        if not languages or match[2] in languages:
            yield re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE)


def fenced_lines(document: Path) -> Iterator[str]:
    """Yield the lines of a document's shell blocks, continued ones joined."""
    for block in blocks(document, "sh"):
        yield from block.replace("\\\n", " ").splitlines()


def words_of(line: str) -> list[str]:
    """Return a shell line's words without prompt, comment and what it is piped into; none if it is no shell line."""
    try:
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
    except ValueError:
        return []
    ends = [index for index, word in enumerate(words) if word in {"|", ">", ">>", "&&", ";"}]
    return words[: ends[0]] if ends else words


def commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of every `residuum` command after its first word, piped ones included."""
    for line in fenced_lines(document):
        for part in re.split(r"\s\|\s", line):
            words = words_of(part)
            if words[:1] == ["residuum"]:
                yield words[1:]


def links(document: Path) -> Iterator[str]:
    """Yield the targets of a document's links and pictures."""
    yield from LINK.findall(FENCE.sub("", document.read_text()))


def anchors(text: str) -> set[str]:
    """Return the anchors that Markdown's headings get."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}
