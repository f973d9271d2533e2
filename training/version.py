"""The next version of a bundle: what every verb that makes one ends with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from detector import bundle, repository
from detector.manifest import Manifest


def write_version(to: Path, manifest: Manifest, contents: dict[str, bytes]) -> tuple[Path, Manifest]:
    """Write a bundle as the next version under a name; gives its folder and the manifest as written."""
    with repository.next_version(to) as (number, folder):
        name = repository.name_of(to)
        manifest = msgspec.structs.replace(manifest, name=name.name, version=number)
        manifest = bundle.write(folder, manifest, contents)
    return repository.name_of(to) / str(number), manifest
