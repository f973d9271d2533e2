"""Modifying a bundle on disk, and checking that it is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from detector import bundle
from detector.errors import BundleError
from detector.scorer import Scorer


def refused(folder: Path, kind: type[BundleError], *texts: str) -> None:
    """Check that a bundle is refused with a one-line printable message that contains all texts."""
    with pytest.raises(BundleError) as caught:
        Scorer.open(folder, "cpu")
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.isprintable()
    assert len(message) < 600
    for text in texts:
        assert text in message


def sign(folder: Path, **changed: object) -> None:
    """Change the manifest and update its checksum, as a forger would."""
    path = folder / bundle.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    (folder / bundle.CHECKSUM).write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def replace(folder: Path, name: str, content: bytes) -> None:
    """Change a file and update its digest in the manifest."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / bundle.MANIFEST).read_text())["files"]
    sign(folder, files=files | {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}})
