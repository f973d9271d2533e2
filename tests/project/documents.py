"""What stands in the fenced blocks of a document."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path


def blocks(document: Path, language: str = r"[^\n]*") -> Iterator[str]:
    """Give a document's fenced blocks, of one language or of all."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def fenced_lines(document: Path) -> Iterator[str]:
    """Give the lines of a document's fenced blocks, continued ones joined."""
    for block in blocks(document):
        yield from block.replace("\\\n", " ").splitlines()


def words_of(line: str) -> list[str]:
    """Give a shell line's words without prompt, comment and what it is piped into; none if it is no shell line."""
    try:
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
    except ValueError:
        return []
    ends = [at for at, word in enumerate(words) if word in {"|", ">", "&&", ";"}]
    return words[: ends[0]] if ends else words
