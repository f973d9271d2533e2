"""Writing the next version of a bundle: as a whole, or with another threshold."""

from __future__ import annotations

from pathlib import Path

import msgspec

from detector import bundle, repository
from detector.decision import Decision
from detector.errors import SettingError
from detector.manifest import Manifest
from detector.scorer import Scorer


def write_version(to: Path, manifest: Manifest, contents: dict[str, bytes]) -> tuple[Path, Manifest]:
    """Write a bundle as the next version of a model; return its folder and its manifest."""
    with repository.next_version(to) as (number, folder):
        name = repository.model_folder(to)
        manifest = msgspec.structs.replace(manifest, name=name.name, version=number)
        manifest = bundle.write(folder, manifest, contents)
    return repository.model_folder(to) / str(number), manifest


def recalibrate(scorer: Scorer, decision: Decision) -> tuple[Path, Manifest]:
    """Write the next version of a bundle, which differs only in its decision and names its parent."""
    manifest = msgspec.structs.replace(scorer.manifest, decision=decision, parent=scorer.manifest.version)
    contents = {name: (scorer.folder / name).read_bytes() for name in scorer.manifest.files}
    if {name: bundle.digest(content) for name, content in contents.items()} != scorer.manifest.files:
        raise SettingError(f"{scorer.folder} was modified while it was read: try again")
    return write_version(scorer.folder, manifest, contents)
